"""Watch of the namespaces with the labels of the installation's selector."""

import asyncio
from contextlib import aclosing

from contentgen_contract.api_paths import NAMESPACES
from contentgen_gateway.live.watching import ListComplete, ObjectChanged, ObjectDeleted, Seen, follow
from contentgen_runtime.kube import KubeApi
from contentgen_runtime.namespaces import Namespaces


async def follow_namespaces(kube: KubeApi, namespaces: Namespaces) -> None:
    """Follow the labels until cancelled; without a selector, do nothing."""
    if namespaces.selector is None:
        await asyncio.Event().wait()
    # The API server evaluates the selector: its watch delivers a namespace that loses the labels as deleted.
    async with aclosing(follow(kube, NAMESPACES, labels=str(namespaces.selector))) as seen:
        async for event in seen:
            apply(namespaces, event)


def apply(namespaces: Namespaces, seen: Seen) -> None:
    """Apply an event of the watch."""
    match seen:
        case ObjectChanged(body):
            namespaces.select(body)
        case ObjectDeleted(body):
            namespaces.deselect(body["metadata"]["name"])
        case ListComplete(uids):
            for name, uid in namespaces.labelled.items():
                if uid not in uids:
                    namespaces.deselect(name)
            namespaces.known.set()
