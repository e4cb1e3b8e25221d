"""Namespaces that an installation works in: all, a list, or those with labels, followed by a watch.

The API server evaluates the selector: its watch delivers a namespace that loses the labels as deleted.
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
OnChange = Callable[[str], Awaitable[None]]


async def _ignore(_: str) -> None:
    """Do nothing."""


class Namespaces:
    """All namespaces (no names, no selector), those of a list, or those with labels: none before their first list."""

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
        """Scopes of lists and watches: each namespace of the list, or the empty string for all."""
        return self.names or ("",)

    async def run(self, kube: KubeApi, changed: OnChange = _ignore) -> None:
        """Follow the labels until cancelled; without a selector, do nothing. After the first list, `changed` gets the
        name of each namespace that became selected or stopped being so.
        """
        if self.selector is None:
            await asyncio.Event().wait()
        async with aclosing(follow(kube, NAMESPACES, labels=str(self.selector))) as seen:
            async for each in seen:
                for name in self._see(each):
                    await changed(name)

    def _see(self, seen: Seen) -> tuple[str, ...]:
        """Names of the namespaces whose selection has changed; none before the first list is complete."""
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
