"""Many resources in several namespaces, reconciled as the work queue does: when they are new, due, or woken.

`python -m contentgen_simulation.queue_driver 900 90 10` checks the fairness rule with so many resources in three
namespaces, and prints CPU seconds and memory of the whole simulation.
"""

import asyncio
import resource
import sys
import time
from collections import Counter
from typing import Any

import pytest

from contentgen_contract.names import Kind, Phase, Reason
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.fairness.fair_queue import FairQueue
from contentgen_operator.queue.fair_turns import PlaceLimits
from contentgen_operator.state.observed import ResourceRef
from contentgen_simulation.world import INLINE, SPECS, World, Writes

_WAITS = (Reason.QUEUED, Reason.CIRCUIT_OPEN, Reason.COLLECT_BACKLOG, Reason.BUYING_PAUSED)
Starts = list[tuple[str, frozenset[str]]]
"""Namespace of each paid request, and the namespaces with waiting work before it."""


def fairness_holds(starts: Starts, window: int = 30) -> bool:
    """The rule of issue 19: of any `window` starts, each of k namespaces with waiting work has ⌊window/k⌋ - 1."""
    for at in range(len(starts) - window + 1):
        part = starts[at : at + window]
        got = Counter(namespace for namespace, _ in part)
        throughout = frozenset.intersection(*(waiting for _, waiting in part))
        k = len(frozenset().union(*(waiting for _, waiting in part)))
        if any(got[each] < window // k - 1 for each in throughout):
            return False
    return True


class QueueDriver:
    """Driver of a world with resources of one kind. A run that waits is reconciled only when it is woken."""

    def __init__(self, world: World, kind: Kind = Kind.IMAGE_GENERATION) -> None:
        self.world = world
        self.kind = kind
        self.refs = dict[str, ResourceRef]()
        self.starts: Starts = []
        self.most_under_way = 0
        self._unsent = Counter[str]()
        self._ready: FairQueue[ResourceRef] = FairQueue(1, group=lambda ref: ref.namespace, goes_first=self._goes_first)

    def apply(self, namespace: str, name: str, **spec: Any) -> ResourceRef:
        """Apply a resource with its own prompt."""
        self.world.kube.namespaces.setdefault(namespace, (f"uid-of-{namespace}", "2026-01-01T00:00:00Z"))
        uid = f"uid-of-{name}"
        metadata = {"name": name, "namespace": namespace, "uid": uid, "annotations": {}}
        self.world.kube.store.apply((self.kind, name), metadata, SPECS[self.kind] | {"prompt": name} | spec)
        ref = self.refs[name] = ResourceRef(kind=self.kind, namespace=namespace, name=name, uid=uid)
        self._unsent[namespace] += 1
        self._ready.put(ref, 0)
        return ref

    def status(self, name: str) -> ResourceStatus:
        """Status of a resource."""
        return self.world.status(self.kind, name)

    def _goes_first(self, ref: ResourceRef) -> bool:
        return self.world.process._goes_first(ref)  # of the present process: a world restarts

    async def wake(self, ref: ResourceRef) -> None:
        """Reconcile a resource next."""
        self._ready.put(ref, 0)

    async def run(self, reconciles: int = 1_000_000) -> None:
        """Reconcile until nothing is due."""
        for _ in range(reconciles):
            await self.world.payment_queue.wake_started(self.wake)
            ref = self._ready.take(0)
            if ref is None:
                return
            try:
                await self._reconcile(ref)
            finally:
                self._ready.done(ref)

    async def _reconcile(self, ref: ResourceRef) -> None:
        waiting = frozenset(each for each, count in self._unsent.items() if count)
        before = len(self.world.provider.posts)
        self.world.watch(ref)
        again, result = await self.world.process._reconcile_or_pause(ref)
        assert result == "done", (ref, result)
        if len(self.world.provider.posts) > before:
            self.starts.append((ref.namespace, waiting))
            self._unsent[ref.namespace] -= 1
            self.most_under_way = max(self.most_under_way, sum(self.world.payment_queue.taken.values()))
        status = self.status(ref.name)
        queued = status.reason in _WAITS
        bought = status.phase in (Phase.COLLECTING, Phase.COMPLETED, Phase.FAILED)
        if again is not None and not queued and not bought:
            self._ready.put(ref, 0)


def limited_driver(patch: pytest.MonkeyPatch, limits: PlaceLimits) -> QueueDriver:
    """Driver of a new world with these limits."""
    asyncio.get_running_loop().set_default_executor(INLINE)
    world = World(patch, Writes())
    world.limits = limits
    world.restart()
    return QueueDriver(world)


async def _check(counts: list[int]) -> None:
    driver = limited_driver(pytest.MonkeyPatch(), PlaceLimits(overall=6))
    for namespace, count in enumerate(counts):
        for number in range(count):
            driver.apply(f"ns-{namespace}", f"it-{namespace}-{number}")
    began = time.process_time()
    await driver.run()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    fair, cpu = fairness_holds(driver.starts), time.process_time() - began
    sys.stdout.write(
        f"{len(driver.starts)} starts, {driver.most_under_way} at a time, fair: {fair}; {cpu:.0f} s of CPU, "
        f"{memory:.0f} MB with the simulated stores\n"
    )


if __name__ == "__main__":
    asyncio.run(_check([int(each) for each in sys.argv[1:]]))
