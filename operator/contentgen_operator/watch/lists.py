"""Lists of resources beside those of kopf: at the start, of namespaces that become selected, and after lost history."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from contentgen_contract.api_paths import NAMESPACES
from contentgen_contract.names import Kind
from contentgen_operator.kube.api import Kube
from contentgen_operator.watch.event_handlers import Body, EventHandlers
from contentgen_operator.watch.liveness import WatchLiveness
from contentgen_runtime.kube import API_ERRORS, explain
from contentgen_runtime.namespaces import Namespaces

_FIRST_LOOK_SECONDS = 10.0
_AGAIN_SECONDS = 5.0
_KINDS = {kind.plural: kind for kind in Kind}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ResourceLists:
    """Lists whose objects the event handlers get."""

    kube: Kube
    namespaces: Namespaces
    watches: WatchLiveness
    handlers: EventHandlers

    async def begin(self) -> None:
        """List the selected namespaces, then the unfinished resources. Waits for an unavailable API server.

        Before the first list of the labels nothing is selected.
        """
        while True:
            try:
                await self._list_labelled()
                break
            except API_ERRORS as error:
                _log.warning("the namespaces cannot be listed yet: %s", explain(error))
            await asyncio.sleep(_AGAIN_SECONDS)
        self.namespaces.known.set()
        await self.list_unfinished()

    async def list_unfinished(self) -> None:
        """List the unfinished resources before the watches list everything, so that thousands of finished ones delay
        none.

        Only an optimization: the watches deliver what is missed here.
        """
        for namespace in self.namespaces.scopes:
            try:
                async with asyncio.timeout(_FIRST_LOOK_SECONDS):
                    for kind in Kind:
                        async for body in self.kube.unfinished(kind, namespace):
                            await self.handlers.resource(kind, body, deleted=False)
            except API_ERRORS as error:
                _log.info("the first list is incomplete%s: %s", f" in {namespace}" * bool(namespace), explain(error))

    async def list_namespace(self, namespace: str) -> None:
        """List all resources of a namespace whose selection has changed.

        Waits for an unavailable API server.
        """
        while True:
            try:
                for kind in Kind:
                    async for body in self.kube.every(kind, namespace):
                        await self.handlers.resource(kind, body, deleted=False)
                return
            except API_ERRORS as error:
                _log.warning("the resources of %s cannot be listed yet: %s", namespace, explain(error))
            await asyncio.sleep(_AGAIN_SECONDS)

    async def namespace(self, body: Body, *, deleted: bool) -> None:
        """Handle a namespace that has, or has no longer, the labels of the selector."""
        name = body["metadata"]["name"]
        changed = self.namespaces.deselect(name) if deleted else self.namespaces.select(body)
        if changed and self.namespaces.known.is_set():
            await self.list_namespace(name)

    async def notice_deletions(self) -> None:
        """Handle objects as deleted that are gone, for each watch that has missed changes. A later round tries those
        again that cannot be listed. Jobs are not listed: the cache reads an old one again.
        """
        missed = self.watches.missed
        for name in tuple(missed):
            *_, namespace, plural = ("", *name.split("/"))
            del missed[name]
            try:
                if plural == NAMESPACES.plural:
                    await self._list_labelled()
                elif plural in _KINDS:
                    await self._notice_deleted(_KINDS[plural], namespace)
            except API_ERRORS as error:
                _log.info("%s cannot be listed yet: %s", name, explain(error))
                missed[name] = None

    async def _notice_deleted(self, kind: Kind, namespace: str) -> None:
        known = self.handlers.resources(kind, namespace)  # before the list: later ones need not be in it
        listed = {body["metadata"]["uid"] async for body in self.kube.every(kind, namespace)}
        for ref in known:
            if ref.uid not in listed:
                meta = {"namespace": ref.namespace, "name": ref.name, "uid": ref.uid}
                await self.handlers.resource(kind, {"metadata": meta}, deleted=True)

    async def _list_labelled(self) -> None:
        """Select the namespaces with the labels, and no others."""
        before, listed = self.namespaces.labelled, set[str]()
        async for body in self._labelled():
            listed.add(body["metadata"]["name"])
            await self.namespace(body, deleted=False)
        for name in before.keys() - listed:
            await self.namespace({"metadata": {"name": name}}, deleted=True)

    async def _labelled(self) -> AsyncIterator[Body]:
        if self.namespaces.selector is None:
            return
        query = {"labelSelector": str(self.namespaces.selector)}
        async with aclosing(self.kube.pages(NAMESPACES, None, query)) as pages:
            async for page in pages:
                for body in page.items:
                    yield body
