"""Lists and watches."""

import base64
import json
import random
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from contentgen_try.api_server.refusals import Refusal
from contentgen_try.api_server.schemas.resource_types import ResourceType
from contentgen_try.api_server.storage.objects import Place
from contentgen_try.api_server.storage.selectors import Selector, selector
from contentgen_try.api_server.storage.store import Change, Ended, Store, Subscription
from contentgen_try.api_server.web.content import encoded
from contentgen_try.api_server.web.representation import Representation

Body = dict[str, Any]
Query = Mapping[str, str]
_BOOKMARK_SECONDS = 60.0
_USUAL_SECONDS = 1800.0


def selected(place: Place, query: Query) -> Selector:
    """Objects that a list or a watch is about. Raises Refusal 400."""
    matches = selector(place.kind, query.get("labelSelector", ""), query.get("fieldSelector", ""))
    namespace, name = place.namespace, place.name

    def within(body: Body) -> bool:
        metadata = body["metadata"]
        here = namespace in ("", metadata.get("namespace", "")) and name in ("", metadata["name"])
        return here and matches(body)

    return within


def listed(store: Store, place: Place, query: Query) -> tuple[list[Body], Body]:
    """Objects of a list, and the list's metadata. Raises Refusal."""
    version, after = _continuation(query.get("continue", "")) or (store.version, ("", ""))
    matches, limit = selected(place, query), _number(query, "limit")
    if _number(query, "resourceVersion") > store.version:
        raise Refusal(504, f"Too large resource version: {query['resourceVersion']}, current: {store.version}",
                      reason="Timeout")  # fmt: skip
    found = [body for body in store.all(place.kind, place.namespace) if _key(body) > after and matches(body)]
    metadata: Body = {"resourceVersion": str(version)}
    if limit and len(found) > limit:
        metadata["continue"] = _token(version, _key(found[limit - 1]))
        if not query.get("labelSelector") and not query.get("fieldSelector"):
            metadata["remainingItemCount"] = len(found) - limit
    return found[:limit] if limit else found, metadata


def _key(body: Body) -> tuple[str, str]:
    return body["metadata"].get("namespace", ""), body["metadata"]["name"]


def _token(version: int, key: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps([version, *key]).encode()).decode()


def _continuation(token: str) -> tuple[int, tuple[str, str]] | None:
    if not token:
        return None
    try:
        version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
        return int(version), (str(namespace), str(name))
    except (ValueError, TypeError) as error:
        raise Refusal(400, "continue key is not valid") from error


def _number(query: Query, name: str) -> int:
    text = query.get(name, "")
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Refusal(400, f"{name}: Invalid value: {text[:50]!r}: must be a whole number")
    return int(text)


class Watch:
    """One watch, as lines of JSON. Raises Refusal when it is made: 410 for a version that is too old."""

    def __init__(self, store: Store, place: Place, query: Query, representation: Representation) -> None:
        self._store, self._kind = store, place.kind
        self._matches = selected(place, query)
        self._representation = representation
        self._bookmarks = query.get("allowWatchBookmarks") in ("true", "1")
        self._initial = query.get("sendInitialEvents") in ("true", "1")
        seconds = _number(query, "timeoutSeconds") or _USUAL_SECONDS * (1 + random.random())  # noqa: S311 - no secret
        self._until = time.monotonic() + seconds
        since = _number(query, "resourceVersion")
        self._now = self._store.version
        self._before: list[Body] = []
        if since == 0 or self._initial:
            self._before = [each for each in store.all(place.kind, place.namespace) if self._matches(each)]
            since = self._now
        self._subscription: Subscription = store.subscribe(place.kind, since)
        self._first = True

    async def lines(self) -> AsyncIterator[bytes]:
        """The events, until the watch ends."""
        try:
            for body in self._before:
                yield self._line("ADDED", body)
            if self._initial and self._bookmarks:
                yield self._bookmark({"k8s.io/initial-events-end": "true"})
            while (left := self._until - time.monotonic()) > 0:
                change = await self._subscription.next(min(left, _BOOKMARK_SECONDS))
                if change is not None:
                    self._now = change.version
                    if (line := self._event(change)) is not None:
                        yield line
                elif self._bookmarks:
                    self._now = self._store.version
                    yield self._bookmark({})
        except Ended:
            pass
        finally:
            self._store.unsubscribe(self._kind, self._subscription)

    def _event(self, change: Change) -> bytes | None:
        """An object that starts to match is added for this watch, and one that stops is deleted."""
        was = change.before is not None and self._matches(change.before)
        matches = change.type != "DELETED" and self._matches(change.body)
        if not was and not matches:
            return None
        return self._line("ADDED" if not was else "MODIFIED" if matches else "DELETED", change.body)

    def _line(self, event: str, body: Body) -> bytes:
        shown = self._representation.of_object(self._kind, body)
        if shown.get("kind") == "Table" and not self._first:
            shown["columnDefinitions"] = []
        self._first = False
        return encoded({"type": event, "object": shown}) + b"\n"

    def _bookmark(self, annotations: Body) -> bytes:
        metadata: Body = {"resourceVersion": str(self._now)} | ({"annotations": annotations} if annotations else {})
        body = {"kind": self._kind.kind, "apiVersion": self._kind.api_version, "metadata": metadata}
        return encoded({"type": "BOOKMARK", "object": body}) + b"\n"


def watch(store: Store, kind: ResourceType, place: Place, query: Query, how: Representation) -> Watch:
    """A watch of a collection, or of one object. Raises Refusal."""
    return Watch(store, Place(kind, place.namespace, place.name), query, how)
