"""List and watch of a collection until the process ends; it is listed again if changes may have been missed."""

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
_SHORT = 1.0  # seconds; a watch that ends sooner is opened again after a pause
_GONE = 410
# A connection lost in the middle leaves invalid JSON, and a proxy's response may be JSON but not a list.
_ERRORS = (*API_ERRORS, ValueError, KeyError, TypeError)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ObjectChanged:
    """Added or changed object."""

    body: Body


@dataclass(frozen=True, slots=True)
class ObjectDeleted:
    """Deleted object, in its last state."""

    body: Body


@dataclass(frozen=True, slots=True)
class ListComplete:
    """End of a list: these are all objects, each delivered as ObjectChanged before."""

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
    """Objects and changes of a collection, without end; a namespace of None is all. Errors are logged and retried after
    a pause. Raises InvalidName.

    `selector` is a field selector of the lists alone: objects that stop matching are delivered as changed.
    `labels` is a label selector: objects that stop matching are delivered as deleted.
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
            if isinstance(error, ApiException):  # the version may be the cause
                version = ""
            usual = isinstance(error, ApiException) and error.status == _GONE
            _log.log(logging.INFO if usual else logging.WARNING, "the watch of %s broke: %s", path, explain(error))
            began = time.monotonic()
        if time.monotonic() - began < _SHORT:
            await sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
