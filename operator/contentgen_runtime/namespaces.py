"""Namespaces that an installation works in, as the API server has them now.

A selector is evaluated by the API server: one that watches with it is told of a namespace that loses its labels as of
one that is deleted.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing

from contentgen_contract.api_paths import NAMESPACES
from contentgen_contract.watched import LabelSelector
from contentgen_runtime.kube import KubeApi
from contentgen_runtime.watching import Changed, Deleted, Listed, Seen, follow

_log = logging.getLogger(__name__)
Told = Callable[[str], Awaitable[None]]


async def _nobody(_: str) -> None:
    """Nobody asked."""


class Namespaces:
    """All (no names, no selector), those of a list, or those with labels: none before the first list of these is in."""

    def __init__(self, names: Collection[str] = (), selector: LabelSelector | None = None) -> None:
        self.names = tuple(dict.fromkeys(names))
        self.selector = selector
        self.known = asyncio.Event()
        if selector is None:
            self.known.set()
        self._uids: dict[str, str] = {}  # of those with the labels, by name

    def __contains__(self, name: str) -> bool:
        if self.selector is not None:
            return name in self._uids
        return not self.names or name in self.names

    @property
    def scopes(self) -> tuple[str, ...]:
        """What is listed and watched: each namespace of a list, or (the empty text) all at once."""
        return self.names or ("",)

    async def run(self, kube: KubeApi, gained: Told = _nobody, lost: Told = _nobody) -> None:
        """Follow the labels for ever, where there is a selector. `gained` and `lost` are told the names."""
        if self.selector is None:
            await asyncio.Event().wait()
        async with aclosing(follow(kube, NAMESPACES, labels=str(self.selector))) as seen:
            async for each in seen:
                await self._see(each, gained, lost)

    async def _see(self, seen: Seen, gained: Told, lost: Told) -> None:
        match seen:
            case Changed(body):
                await self._gain(body["metadata"]["name"], body["metadata"]["uid"], gained)
            case Deleted(body):
                await self._lose(body["metadata"]["name"], lost)
            case Listed(uids):
                for name in [name for name, uid in self._uids.items() if uid not in uids]:
                    await self._lose(name, lost)
                self.known.set()

    async def _gain(self, name: str, uid: str, gained: Told) -> None:
        is_new = name not in self._uids
        self._uids[name] = uid
        if is_new:
            _log.info("the namespace %s has the labels of the selector", name)
            await gained(name)

    async def _lose(self, name: str, lost: Told) -> None:
        if self._uids.pop(name, None) is not None:
            _log.info("the namespace %s has the labels of the selector no longer", name)
            await lost(name)
