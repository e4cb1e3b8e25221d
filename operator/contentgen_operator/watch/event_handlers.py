"""Handlers of watch events: store objects in the cache and wake the resources that may have work."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Protocol

from contentgen_contract.names import Kind
from contentgen_contract.resources.operator_class import CLASS_LABEL
from contentgen_contract.resources.owner_references import controllers
from contentgen_operator import metrics
from contentgen_operator.cleanup.left_jobs import LeftJobs
from contentgen_operator.kube.cache import Cache
from contentgen_operator.kube.selection import DEFAULT, Selection
from contentgen_operator.state.observed import JobView, ResourceRef, is_finished
from contentgen_operator.watch.lora_names import LoraNames
from contentgen_operator.worker_api.reports import Reports

Body = dict[str, Any]
Wake = Callable[[ResourceRef], Awaitable[None]]


class Dependents:
    """ImageGenerations that use a LoraTraining, by namespace and name."""

    def __init__(self) -> None:
        self._users: dict[tuple[str, str], set[ResourceRef]] = defaultdict(set)
        self._used: dict[ResourceRef, set[tuple[str, str]]] = {}

    def note(self, ref: ResourceRef, spec: dict[str, Any]) -> None:
        """Store the LoRAs that an ImageGeneration refers to."""
        self.forget(ref)
        names = {(lora.get("loraRef") or {}).get("name") for lora in spec.get("loras") or ()}
        self._used[ref] = {(ref.namespace, name) for name in names if name}
        for lora in self._used[ref]:
            self._users[lora].add(ref)

    def forget(self, ref: ResourceRef) -> None:
        """Remove a finished or deleted ImageGeneration."""
        for lora in self._used.pop(ref, ()):
            self._users[lora].discard(ref)
            if not self._users[lora]:
                del self._users[lora]

    def of(self, lora: ResourceRef) -> tuple[ResourceRef, ...]:
        """ImageGenerations that wait for a LoraTraining."""
        return tuple(self._users.get((lora.namespace, lora.name), ()))


class FinishedListener(Protocol):
    """Component that knows finished resources."""

    def note(self, ref: ResourceRef, body: Body) -> None:
        """Note a finished resource."""

    def forget(self, ref: ResourceRef) -> None:
        """Remove a resource that was deleted, is not served, or whose run goes on."""


@dataclass(frozen=True)
class EventHandlers:
    """Handlers of watch events, independent of kopf.

    `on_deselected` gets each resource of our class in a namespace that is not selected; `on_deleted` gets each deleted
    resource (None: `wake`).
    """

    cache: Cache
    wake: Wake
    reports: Reports
    names: LoraNames = field(default_factory=LoraNames)
    _: KW_ONLY
    selection: Selection = DEFAULT
    finished: Sequence[FinishedListener] = ()
    left_jobs: LeftJobs | None = None
    on_deselected: Callable[[ResourceRef, Body], None] = lambda *_: None
    on_deleted: Wake | None = None
    _dependents: Dependents = field(default_factory=Dependents, init=False)
    _known: dict[str, ResourceRef] = field(default_factory=dict, init=False)  # by uid, of all classes

    def resources(self, kind: Kind, namespace: str) -> tuple[ResourceRef, ...]:
        """Resources of a kind that exist as far as known, of one namespace or (empty) of all."""
        known = self._known.values()
        return tuple(ref for ref in known if ref.kind is kind and namespace in ("", ref.namespace))

    async def resource(self, kind: Kind, body: Body, *, deleted: bool) -> None:
        """Handle a resource that was listed, added, changed or deleted."""
        meta = body["metadata"]
        ref = ResourceRef(kind=kind, namespace=meta["namespace"], name=meta["name"], uid=meta["uid"])
        if deleted:
            self._known.pop(ref.uid, None)
        else:
            self._known[ref.uid] = ref
        status, served = body.get("status") or {}, self.selection.serves(body)
        if deleted or not served:
            self._not_served(ref, body, deleted=deleted)
        else:
            metrics.gauges.note_resource(ref.uid, kind, status.get("phase") or "Pending", status.get("reason") or "")
        over = deleted or is_finished(body)
        for listener in self.finished:
            if over and served and not deleted:
                listener.note(ref, body)
            else:
                listener.forget(ref)
        if kind is Kind.LORA_TRAINING:
            await self._lora(ref, body, over=over, deleted=deleted)
        if over or not served:
            self.cache.forget(ref)
            self._dependents.forget(ref)
            if deleted:  # it may have been served before its class changed: its record ends
                await (self.on_deleted or self.wake)(ref)
            return
        if kind is Kind.IMAGE_GENERATION:
            self._dependents.note(ref, body.get("spec") or {})
        if self.cache.note(ref, body):
            await self.wake(ref)

    async def _lora(self, ref: ResourceRef, body: Body, *, over: bool, deleted: bool) -> None:
        """Wake the ImageGenerations that wait for a LoraTraining, which another installation may serve."""
        for waiting in self.names.forget(ref.uid) if deleted else self.names.note(body):
            await self.wake(waiting)
        if over or not (body.get("status") or {}).get("phase"):  # created, so that it is no longer missing
            for user in self._dependents.of(ref):
                await self.wake(user)

    def _not_served(self, ref: ResourceRef, body: Body, *, deleted: bool) -> None:
        metrics.gauges.forget_resource(ref.uid)
        if not deleted and self.selection.has_left(body):
            self.on_deselected(ref, body)

    async def job(self, body: Body, *, deleted: bool) -> None:
        """Handle a Job that a resource may own. Changes of its pods wake nothing; its end does."""
        ref, job = owner_of(body), JobView.parse(body)
        ended = deleted or job.finished
        if ended:
            self.reports.forget(job.uid)
        if self.left_jobs is not None:
            mine = (body["metadata"].get("labels") or {}).get(CLASS_LABEL) == self.selection.operator_class
            self.left_jobs.note(job.uid, ref if mine and not ended else None)
        if ref is None or ref not in self.cache:
            return
        if deleted:
            self.cache.drop_job(ref, job.name)
            await self.wake(ref)
        elif self.cache.note_job(ref, job):
            await self.wake(ref)


def owner_of(job: Body) -> ResourceRef | None:
    """Resource that owns a Job, by its owner reference; None if there is none."""
    for owner in controllers(job):
        if (kind := owner.resource_kind) is not None:
            return ResourceRef(kind=kind, namespace=job["metadata"]["namespace"], name=owner.name, uid=owner.uid)
    return None
