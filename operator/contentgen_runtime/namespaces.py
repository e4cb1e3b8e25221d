"""Namespaces that an installation works in: all, a list, or those with labels."""

import asyncio
import logging
from collections.abc import Collection
from typing import Any

from contentgen_contract.resources.namespaces import LabelSelector

_log = logging.getLogger(__name__)


class Namespaces:
    """All namespaces (no names, no selector), those of a list, or those with labels: none before their first list."""

    def __init__(self, names: Collection[str] = (), selector: LabelSelector | None = None) -> None:
        self.names = tuple(dict.fromkeys(names))
        self.selector = selector
        self.known = asyncio.Event()  # set after the first list
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

    @property
    def labelled(self) -> dict[str, str]:
        """Names of the namespaces with the labels, and their uids."""
        return dict(self._uids)

    def select(self, body: dict[str, Any]) -> bool:
        """Select a namespace with the labels; True if it was not selected before."""
        name = body["metadata"]["name"]
        changed = name not in self._uids
        self._uids[name] = body["metadata"]["uid"]
        if changed:
            _log.info("the namespace %s has the labels of the selector", name)
        return changed

    def deselect(self, name: str) -> bool:
        """Deselect a namespace without the labels; True if it was selected before."""
        changed = self._uids.pop(name, None) is not None
        if changed:
            _log.info("the namespace %s has the labels of the selector no longer", name)
        return changed
