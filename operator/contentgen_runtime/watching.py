"""A collection followed for as long as the process lives: a list, then its changes, and a list again where changes may
have been missed.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.api_paths import ApiResource, api_path
from contentgen_runtime.kube import API_ERRORS, Body, KubeApi, explain

_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds
_SHORT = 1.0  # seconds; a watch that ends sooner is not asked for again at once
_GONE = 410
# What breaks off in the middle leaves no JSON, and a proxy's answer may be JSON and no list.
_ERRORS = (*API_ERRORS, ValueError, KeyError, TypeError)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ObjectChanged:
    """An object as it is now."""

    body: Body


@dataclass(frozen=True, slots=True)
class ObjectDeleted:
    """An object as it was last."""

    body: Body


@dataclass(frozen=True, slots=True)
class ListComplete:
    """A list is over, and this is all that there is: each was told as Changed before."""

    uids: frozenset[str]


Seen = ObjectChanged | ObjectDeleted | ListComplete


async def follow(
    kube: KubeApi,
    resource: ApiResource,
    namespace: str | None = None,
    *,
    selector: str = "",
    labels: str = "",
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncGenerator[Seen]:
    """What happens in a collection, in one namespace or (None) in all, for ever: errors are logged, and tried again
    after a pause. Raises InvalidName.

    `selector` (of fields) is for the lists alone: what stops to match it is told as Changed, not as Deleted.
    `labels` selects by labels: what stops to match it is told as Deleted.
    """
    version, pause = "", _FIRST_PAUSE
    path = api_path(resource, namespace=namespace)
    given = {"fieldSelector": selector, "labelSelector": labels}
    query = {key: value for key, value in given.items() if value}
    while True:
        began = time.monotonic()
        try:
            if not version:
                uids: set[str] = set()
                async with aclosing(kube.pages(resource, namespace, query)) as pages:
                    async for version, page in pages:  # noqa: B007 - the last one's counts
                        for body in page:
                            uids.add(body["metadata"]["uid"])
                            yield ObjectChanged(body)
                yield ListComplete(frozenset(uids))
            async with aclosing(kube.watch(resource, namespace, version, labels)) as events:
                async for kind, body in events:
                    version, pause = body["metadata"]["resourceVersion"], _FIRST_PAUSE
                    if kind != "BOOKMARK":
                        yield ObjectDeleted(body) if kind == "DELETED" else ObjectChanged(body)
        except _ERRORS as error:
            if isinstance(error, ApiException):  # it may be the version that the API server does not like
                version = ""
            usual = isinstance(error, ApiException) and error.status == _GONE
            _log.log(logging.INFO if usual else logging.WARNING, "the watch of %s broke: %s", path, explain(error))
            began = time.monotonic()
        if time.monotonic() - began < _SHORT:
            await sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
