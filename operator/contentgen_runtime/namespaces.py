"""Namespaces that an installation works in, as the API server has them now.

A selector is evaluated by the API server: one that watches with it is told of a namespace that loses its labels as of
one that is deleted.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from contextlib import aclosing

from contentgen_contract.api_paths import NAMESPACES
from contentgen_contract.resources.namespaces import LabelSelector
from contentgen_runtime.kube import KubeApi
from contentgen_runtime.watching import ListComplete, ObjectChanged, ObjectDeleted, Seen, follow

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

    async def run(self, kube: KubeApi, changed: Told = _nobody) -> None:
        """Follow the labels for ever, where there is a selector. `changed` is told the name of each namespace that is
        selected, or no longer, after the first list.
        """
        if self.selector is None:
            await asyncio.Event().wait()
        async with aclosing(follow(kube, NAMESPACES, labels=str(self.selector))) as seen:
            async for each in seen:
                for name in self._see(each):
                    await changed(name)

    def _see(self, seen: Seen) -> tuple[str, ...]:
        """The names of those that are selected now and were not, or the other way round."""
        before = frozenset(self._uids)
        match seen:
            case ObjectChanged(body):
                self._uids[body["metadata"]["name"]] = body["metadata"]["uid"]
            case ObjectDeleted(body):
                self._uids.pop(body["metadata"]["name"], None)
            case ListComplete(uids):
                self._uids = {name: uid for name, uid in self._uids.items() if uid in uids}
        names = tuple(sorted(before ^ self._uids.keys()))
        for name in names:
            _log.info("the namespace %s has the labels of the selector%s", name, " no longer" * (name in before))
        was_known = self.known.is_set()
        if isinstance(seen, ListComplete):
            self.known.set()
        return names if was_known else ()
