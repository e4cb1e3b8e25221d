"""Runs whose collect Job, or its pod, is refused while a quota of the namespace is used up. Room goes to them before
any prepare Job of the namespace, and to the oldest payment first.

In memory of the leader: a run stands in the line again after its next refused try. Entries that no try confirms end.
"""

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from contentgen_operator.state.observed import ResourceRef

_ENTRY_SECONDS = 300.0  # a refused Job is tried again after a minute at most


class _RefusedCollect(NamedTuple):
    paid_at: datetime
    ref: ResourceRef
    end: float


class CollectLine:
    """Lines of the namespaces."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lines: defaultdict[str, dict[str, _RefusedCollect]] = defaultdict(dict)  # by namespace and uid

    def __contains__(self, namespace: str) -> bool:
        return namespace in self._lines

    def put(self, ref: ResourceRef, paid_at: datetime) -> None:
        """Let a run wait, or confirm that it does."""
        self._lines[ref.namespace][ref.uid] = _RefusedCollect(paid_at, ref, self._clock() + _ENTRY_SECONDS)

    def drop(self, ref: ResourceRef) -> bool:
        """Remove a run; False if it does not wait."""
        line = self._lines.get(ref.namespace, {})
        found = line.pop(ref.uid, None)
        if not line:
            self._lines.pop(ref.namespace, None)
        return found is not None

    def first(self, namespace: str) -> ResourceRef | None:
        """The run whose turn it is; None: none waits."""
        line = self._lines.get(namespace, {})
        return min(line.values(), key=lambda each: (each.paid_at, each.ref.uid)).ref if line else None

    def is_behind(self, ref: ResourceRef) -> bool:
        """True if a run waits and another one comes first."""
        return ref.uid in self._lines.get(ref.namespace, {}) and self.first(ref.namespace) != ref

    def end_old(self) -> list[ResourceRef]:
        """Runs that were removed, because no try has confirmed them."""
        now = self._clock()
        old = [waiting.ref for line in self._lines.values() for waiting in line.values() if waiting.end <= now]
        for ref in old:
            self.drop(ref)
        return old
