"""Many resources in several namespaces, reconciled as the work queue does: when they are new, due, or woken."""

from collections import Counter
from typing import Any

from contentgen_contract.names import Kind, Phase, Reason
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.queues.fair_queue import FairQueue
from contentgen_operator.state.observed import ResourceRef
from contentgen_simulation.world import SPECS, World


class QueueDriver:
    """Driver of a world with resources of one kind. A run that waits is reconciled only when it is woken."""

    def __init__(self, world: World, kind: Kind = Kind.IMAGE_GENERATION) -> None:
        self.world = world
        self.kind = kind
        self.refs = dict[str, ResourceRef]()
        self.starts = list[tuple[str, frozenset[str]]]()  # namespace of each POST, and the namespaces with waiting work
        self.most_under_way = 0
        self._unsent = Counter[str]()
        self._ready: FairQueue[ResourceRef] = FairQueue(1, group=lambda ref: ref.namespace)

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

    async def wake(self, ref: ResourceRef) -> None:
        """Reconcile a resource next."""
        self._ready.put(ref, 0)

    async def run(self, steps: int = 1_000_000) -> None:
        """Reconcile until nothing is due."""
        for _ in range(steps):
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
        queued = status.reason in (Reason.QUEUED, Reason.CIRCUIT_OPEN)
        bought = status.phase in (Phase.COLLECTING, Phase.COMPLETED, Phase.FAILED)
        if again is not None and not queued and not bought:
            self._ready.put(ref, 0)
