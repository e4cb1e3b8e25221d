"""Objects in memory, their resourceVersions, and the changes that watches deliver.

Stored objects are never changed: each write stores a new one.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from contentgen_try.api_server.refusals import Refusal, not_found
from contentgen_try.api_server.schemas.resource_types import ResourceType

Body = dict[str, Any]
_HISTORY = 4096  # changes of one type that a watch can start behind
_BEHIND = 16_384  # changes that a slow watch may be behind before it ends


class Key(NamedTuple):
    """Place of an object; the namespace is empty for a cluster-scoped one."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Change:
    """A change of an object: ADDED, MODIFIED or DELETED. `before` is None for a new object."""

    version: int
    type: str
    body: Body
    before: Body | None


class Journal(Protocol):
    """Durable copy of the persistent objects. A write that returns is durable; one that raises is not."""

    def reserve(self, version: int) -> int:
        """Version up to which resourceVersions may be given; at least the requested one."""
        ...

    def put(self, body: Body) -> None:
        """Write an object."""
        ...

    def delete(self, body: Body) -> None:
        """Delete an object."""
        ...


class NoJournal:
    """Nothing is durable."""

    def reserve(self, version: int) -> int:
        """See Journal."""
        return version

    def put(self, body: Body) -> None:
        """See Journal."""

    def delete(self, body: Body) -> None:
        """See Journal."""


class Ended(Exception):
    """A watch that is so far behind that it must list again."""


class Subscription:
    """Changes of one type, from a version on."""

    def __init__(self, earlier: Iterable[Change]) -> None:
        self._changes = deque(earlier)
        self._arrived = asyncio.Event()
        self._ended = False

    def deliver(self, change: Change) -> None:
        """Add a change."""
        if len(self._changes) >= _BEHIND:
            self._ended = True
        else:
            self._changes.append(change)
        self._arrived.set()

    def end(self) -> None:
        """End after the changes that are there."""
        self._ended = True
        self._arrived.set()

    async def next(self, seconds: float) -> Change | None:
        """The next change; None if there is none within `seconds`. Raises Ended."""
        if not self._changes and not self._ended:
            self._arrived.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._arrived.wait()
            except TimeoutError:
                return None
        if self._changes:
            return self._changes.popleft()
        raise Ended


@dataclass(slots=True)
class _Collection:
    objects: dict[Key, Body] = field(default_factory=dict)
    history: deque[Change] = field(default_factory=lambda: deque(maxlen=_HISTORY))
    forgotten: int = 0  # version of the newest change that the history lacks
    watches: set[Subscription] = field(default_factory=set)


class Store:
    """All objects. The state file's versions and objects come first."""

    def __init__(self, journal: Journal | None = None, version: int = 0) -> None:
        self._journal = journal or NoJournal()
        self._collections: dict[ResourceType, _Collection] = {}
        self._reserved = version
        self._version = version
        self._begun = version

    @property
    def version(self) -> int:
        """resourceVersion of the newest write."""
        return self._version

    def load(self, kind: ResourceType, body: Body) -> None:
        """Add an object of the state file, as it is."""
        self._of(kind).objects[_key(body)] = body

    def get(self, kind: ResourceType, namespace: str, name: str) -> Body:
        """The object. Raises Refusal 404."""
        found = self.find(kind, namespace, name)
        if found is None:
            raise not_found(kind.resource, name)
        return found

    def find(self, kind: ResourceType, namespace: str, name: str) -> Body | None:
        """The object; None if there is none."""
        return self._of(kind).objects.get(Key(namespace, name))

    def all(self, kind: ResourceType, namespace: str = "") -> list[Body]:
        """Objects in the order of their names; an empty namespace is all of them."""
        objects = self._of(kind).objects
        return [objects[key] for key in sorted(objects) if namespace in ("", key.namespace)]

    def every(self) -> Iterator[tuple[ResourceType, Body]]:
        """All objects of all types."""
        for kind, collection in list(self._collections.items()):
            yield from ((kind, body) for body in list(collection.objects.values()))

    def put(self, kind: ResourceType, body: Body) -> Body:
        """Store an object under a new resourceVersion; returns it with the version."""
        collection, key = self._of(kind), _key(body)
        before = collection.objects.get(key)
        version = self._next()
        stored = {**body, "metadata": {**body["metadata"], "resourceVersion": str(version)}}
        if kind.persistent:
            self._journal.put(stored)
        collection.objects[key] = stored
        self._changed(collection, Change(version, "ADDED" if before is None else "MODIFIED", stored, before))
        return stored

    def remove(self, kind: ResourceType, body: Body) -> Body:
        """Remove an object; returns its last state, under a new resourceVersion."""
        collection, key = self._of(kind), _key(body)
        before = collection.objects[key]
        version = self._next()
        last = {**body, "metadata": {**body["metadata"], "resourceVersion": str(version)}}
        if kind.persistent:
            self._journal.delete(before)
        del collection.objects[key]
        self._changed(collection, Change(version, "DELETED", last, before))
        return last

    def subscribe(self, kind: ResourceType, since: int) -> Subscription:
        """Changes after a version. Raises Refusal 410 if they are no longer known."""
        collection = self._of(kind)
        if since < collection.forgotten or since > self._version:
            raise Refusal(410, f"too old resource version: {since} ({collection.forgotten})")
        subscription = Subscription(each for each in collection.history if each.version > since)
        collection.watches.add(subscription)
        return subscription

    def unsubscribe(self, kind: ResourceType, subscription: Subscription) -> None:
        """End a subscription."""
        self._of(kind).watches.discard(subscription)

    def end_watches(self) -> None:
        """End all subscriptions."""
        for subscription in itertools.chain(*(collection.watches for collection in self._collections.values())):
            subscription.end()

    def _of(self, kind: ResourceType) -> _Collection:
        if kind not in self._collections:
            self._collections[kind] = _Collection(forgotten=self._begun)
        return self._collections[kind]

    def _next(self) -> int:
        if self._version >= self._reserved:
            self._reserved = self._journal.reserve(self._version + 1)
        self._version += 1
        return self._version

    def _changed(self, collection: _Collection, change: Change) -> None:
        history = collection.history
        if len(history) == history.maxlen:
            collection.forgotten = history[0].version
        history.append(change)
        for subscription in collection.watches:
            subscription.deliver(change)


def _key(body: Body) -> Key:
    metadata = body["metadata"]
    return Key(metadata.get("namespace", ""), metadata["name"])
