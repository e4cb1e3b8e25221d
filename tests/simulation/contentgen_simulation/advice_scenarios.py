"""Scenarios that produce each status reason, and users who follow the remedies of the advice table."""

import copy
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from pymongo.errors import PyMongoError

from contentgen_cli.item import Item
from contentgen_contract.advice.remedies import Action, Costs
from contentgen_contract.names import (
    APPROVED_BY_ANNOTATION,
    REJECT_ANNOTATION,
    RESUBMIT_ANNOTATION,
    STAGE_LABEL,
    Kind,
    Phase,
    Reason,
    Stage,
)
from contentgen_contract.records import keys
from contentgen_contract.resources.operator_class import DEFAULT_CLASS
from contentgen_contract.resources.spec_checks import SpecProblem
from contentgen_gateway.migration.namespaces import TenantAdministration
from contentgen_operator.decide import decision, purchasable
from contentgen_operator.providers.base import AccessRefused, Busy, Refused, Unavailable
from contentgen_operator.queue.fair_turns import Account, Endpoint, Place, PlaceLimits
from contentgen_operator.state.observed import BucketFile, JobView
from contentgen_operator.state.provider_requests import (
    GONE,
    TOO_LARGE,
    UNKNOWN,
    Found,
    RequestState,
    RequestView,
    Search,
)
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.watch.event_handlers import owner_of
from contentgen_runtime.tenancy import FIRST, SYSTEM
from contentgen_simulation.world import SPECS, UID, World, Writes, outcome_of

LORA, IMAGES, TRANSCRIPT = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION
FREE, ONCE, PAYS, TWICE, AFTER_EARLIER = Costs
_DONE = (Phase.COMPLETED, Phase.FAILED)
_RECONCILES = 600

Body = dict[str, Any]
Repair = Callable[[], Awaitable[None]]
Breaking = Callable[["ScenarioPlace", Body], None]


async def nothing() -> None:
    """No-op repair."""


@dataclass
class ScenarioPlace:
    """A simulated resource and a user's actions on it."""

    world: World
    kind: Kind
    patch: pytest.MonkeyPatch
    uid: str = UID
    spec: Body = field(default_factory=dict)
    edit: Body | None = None  # spec corrected as the advice says
    repair: Repair = nothing  # the cause is removed
    restore: Repair | None = None
    delete_other: Repair | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    breaking: dict[Stage, Breaking] = field(default_factory=dict)  # outcome of the Jobs, by stage

    def __post_init__(self) -> None:
        self.spec = SPECS[self.kind] | {"deletionPolicy": "Delete"}
        work = self.world.work

        def worked() -> None:
            for job in list(self.world.kube.jobs.values()):
                how = self.breaking.get(Stage(job["metadata"]["labels"][STAGE_LABEL]))
                if how is not None and "status" not in job and self._is_current(job):
                    how(self, job)
            work()

        self.patch.setattr(self.world, "work", worked)

    def _is_current(self, job: Body) -> bool:
        run = self.world.status(self.kind).run
        return run is not None and run.job is not None and run.job.uid == job["metadata"]["uid"]

    def apply(self, spec: Body | None = None, **annotations: str) -> None:
        """Apply and annotate like kubectl: other annotations stay."""
        self.spec = self.spec if spec is None else spec
        self.annotations |= annotations
        self.world.kube.apply(self.kind, self.spec, uid=self.uid, **self.annotations)

    def item(self) -> Item:
        """The resource as parsed by the kubectl plugin."""
        return Item.parse(self.kind, copy.deepcopy(self.world.kube.resources[self.kind, "it"]))

    @property
    def posts(self) -> int:
        """Number of paid requests of this kind."""
        return len([post for post in self.world.provider.posts if ("train" in post.model) == (self.kind is LORA)])

    @property
    def purchases(self) -> list[Body]:
        """Ledger entries of this kind."""
        found = self.world.database["ledger"].find().sort("_id", 1)
        return [document for document in found if f"/{self.kind.value}/" in document["_id"]]

    async def until(self, over: Callable[[], bool]) -> None:
        """Reconcile until the condition holds."""
        for _ in range(_RECONCILES):
            if over():
                return
            await self.world.reconcile(self.kind)
        raise AssertionError(f"the condition was not reached: {self.world.status(self.kind)}")

    async def until_reason(self, reason: Reason) -> None:
        """Reconcile until the status has the reason."""
        await self.until(lambda: self.world.status(self.kind).reason == reason)

    async def until_over(self) -> None:
        """Reconcile until the run has ended."""
        await self.until(lambda: self.world.status(self.kind).phase in _DONE)

    async def completed(self) -> None:
        """Reconcile a run to Completed."""
        self.apply()
        await self.world.finish(self.kind)
        assert self.world.status(self.kind).phase is Phase.COMPLETED

    def breaks(self, stage: Stage, how: Breaking) -> None:
        """Break something until it is repaired."""
        self.breaking[stage] = how
        self.repair = self._mended

    async def _mended(self) -> None:
        self.breaking.clear()


# Outcomes of a Job


def _end(place: ScenarioPlace, job: Body, kind: str, reason: str = "") -> None:
    job["status"] = {"conditions": [{"type": kind, "status": "True", "reason": reason, "message": reason}]}
    owner = owner_of(job)
    for cache in place.world.caches:
        if owner is not None and owner in cache:
            cache.note_job(owner, JobView.parse(job))


def died(place: ScenarioPlace, job: Body) -> None:
    """Worker that was evicted or ran out of memory."""
    _end(place, job, "Failed", "BackoffLimitExceeded")


def too_slow(place: ScenarioPlace, job: Body) -> None:
    """Worker that ran until the deadline of its pod, at which the kubelet ended it."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "uid": job["metadata"]["uid"], "controller": True}
    status = {"phase": "Failed", "reason": "DeadlineExceeded", "message": "Pod was active longer than it may"}
    container = {"name": "worker", "containerID": "containerd://1", "state": {"terminated": {"exitCode": 137}}}
    place.world.kube.pods = [
        {"metadata": {"name": "p", "ownerReferences": [owner]}, "status": status | {"containerStatuses": [container]}}
    ]
    _end(place, job, "Failed", "BackoffLimitExceeded")


def leaves(**fields: Any) -> Breaking:
    """Worker with an outcome that differs from a valid one by these fields."""

    def leave(place: ScenarioPlace, job: Body) -> None:
        stage, status = Stage(job["metadata"]["labels"][STAGE_LABEL]), place.world.status(place.kind)
        assert status.run is not None
        good = outcome_of(place.kind, stage, status.job_id or "")
        body = good.model_dump(mode="json", by_alias=True) | fields
        text = type(good).model_validate(body).model_dump_json(by_alias=True)
        place.world.storage.objects[keys.outcome(place.uid, status.run.number, stage, status.run.stage_attempt)] = text
        _end(place, job, "Complete")

    return leave


def verdict(reason: Reason, message: str = "its cause", **fields: Any) -> Breaking:
    """Worker that ends the run with a reason."""
    return leaves(reason=reason.value, message=message, files=[], facts=None, **fields)


def with_other_bytes(place: ScenarioPlace, job: Body) -> None:
    """Overwrite of the worker's files with other bytes."""
    leaves()(place, job)
    stage, status = Stage(job["metadata"]["labels"][STAGE_LABEL]), place.world.status(place.kind)
    assert status.run is not None
    prefix = keys.prefix(place.kind, stage, "ns", place.uid, status.run.version)
    for file in outcome_of(place.kind, stage, "x").files:
        place.world.storage.objects[prefix + file.name] = BucketFile(size_bytes=7, sha256="1" * 64)


# Scenarios

Arrive = Callable[[ScenarioPlace], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """Events that produce a reason, and the remedies of the table for it.

    `skipped` are remedies whose text says that they don't help in this case.
    """

    reason: Reason
    name: str
    kind: Kind
    helps: dict[Action, Costs]
    skipped: frozenset[Action]
    arrive: Arrive
    paid: int  # requests that the run has paid for, or may have paid for
    earlier: str = ""  # end of the run's first paid attempt; empty: the scenario is in that attempt


SCENARIOS: list[Scenario] = []


def scenario(
    reason: Reason,
    name: str,
    kind: Kind,
    helps: dict[Action, Costs],
    *,
    paid: int = 0,
    skipped: tuple[Action, ...] = (),
    earlier: str = "",
) -> Callable[[Arrive], Arrive]:
    """Decorator that registers a scenario."""

    def add(arrive: Arrive) -> Arrive:
        SCENARIOS.append(Scenario(reason, name, kind, helps, frozenset(skipped), arrive, paid, earlier))
        return arrive

    return add


WAIT, REPAIR, EDIT, RERUN, COLLECT = Action.WAIT, Action.REPAIR, Action.EDIT, Action.RERUN, Action.COLLECT
ADOPT, RESTORE, RESUBMIT = Action.ADOPT, Action.RESTORE, Action.RESUBMIT
_PAID_END = {COLLECT: FREE, RERUN: PAYS}


def _on_the_way(reason: Reason, kind: Kind, costs: Costs, paid: int) -> None:
    @scenario(reason, "goes on", kind, {WAIT: costs}, paid=paid)
    async def _(place: ScenarioPlace) -> None:
        place.apply()
        await place.until_reason(reason)


_on_the_way(Reason.PREPARING, TRANSCRIPT, ONCE, 0)
_on_the_way(Reason.SUBMITTING, IMAGES, ONCE, 0)
_on_the_way(Reason.PROCESSING, IMAGES, FREE, 1)
_on_the_way(Reason.COLLECTING, IMAGES, FREE, 1)


@scenario(Reason.SUSPENDED, "before the payment", IMAGES, {Action.RESUME: ONCE})
async def _(place: ScenarioPlace) -> None:
    place.apply(place.spec | {"suspend": True})
    await place.until_reason(Reason.SUSPENDED)


@scenario(Reason.AWAITING_APPROVAL, "after the free stages", IMAGES, {Action.APPROVE: ONCE, EDIT: ONCE})
async def _(place: ScenarioPlace) -> None:
    place.apply(place.spec | {"approval": "Manual"})
    place.edit = place.spec | {"prompt": "another", "approval": "Automatic"}
    await place.until_reason(Reason.AWAITING_APPROVAL)


@scenario(Reason.REJECTED, "by a user", IMAGES, {EDIT: ONCE, RERUN: ONCE})
async def _(place: ScenarioPlace) -> None:
    place.apply(place.spec | {"approval": "Manual"})
    place.edit = place.spec | {"prompt": "another", "approval": "Automatic"}
    await place.until_reason(Reason.AWAITING_APPROVAL)
    place.apply(place.spec | {"approval": "Automatic"}, **{REJECT_ANNOTATION: "1", APPROVED_BY_ANNOTATION: "alice"})
    await place.until_over()


@scenario(Reason.ESTIMATED, "by a dry run", IMAGES, {EDIT: ONCE})
async def _(place: ScenarioPlace) -> None:
    place.edit = place.spec
    place.apply(place.spec | {"dryRun": "Estimate"})
    await place.until_over()


def _draws(place: ScenarioPlace) -> None:
    place.uid = "images-uid"
    place.edit = place.spec | {"loras": [{"path": "https://example.com/other.safetensors"}]}
    place.apply(place.spec | {"loras": [{"loraRef": {"name": "it"}}]})


async def _trained(place: ScenarioPlace) -> None:
    if not place.world.there(LORA):
        place.world.kube.apply(LORA, SPECS[LORA])
    kind, place.kind = place.kind, LORA
    place.breaking.clear()
    for _ in range(_RECONCILES):
        await place.world.reconcile(LORA)
        if place.world.status(LORA).phase is Phase.COMPLETED:
            break
    place.kind = kind


@scenario(Reason.LORA_MISSING, "there is none", IMAGES, {REPAIR: ONCE, EDIT: ONCE})
async def _(place: ScenarioPlace) -> None:
    _draws(place)
    place.repair = lambda: _trained(place)
    await place.until_reason(Reason.LORA_MISSING)


@scenario(Reason.WAITING_FOR_LORA, "it is in training", IMAGES, {WAIT: ONCE, EDIT: ONCE})
async def _(place: ScenarioPlace) -> None:
    place.world.kube.apply(LORA, SPECS[LORA])
    _draws(place)
    place.repair = lambda: _trained(place)
    await place.until_reason(Reason.WAITING_FOR_LORA)


async def _exceeds(place: ScenarioPlace, on_exceeded: str) -> None:
    """The budget has room for one picture, and not for two."""
    metadata = {"name": "all", "uid": "a-budget", "generation": 1, "resourceVersion": "1"}
    spec: Body = {"limits": {"day": "0.05"}, "onExceeded": on_exceeded}
    place.world.kube.budgets = [{"metadata": metadata, "spec": spec}]

    async def raised() -> None:
        spec["limits"]["day"] = "100"

    place.repair = raised
    place.edit = place.spec | {"image": {"count": 1}}
    place.apply()
    await place.until_reason(Reason.BUDGET_EXCEEDED)


@scenario(Reason.BUDGET_EXCEEDED, "the run waits", IMAGES, {WAIT: ONCE, EDIT: ONCE})
async def _(place: ScenarioPlace) -> None:
    await _exceeds(place, "Wait")


@scenario(Reason.BUDGET_EXCEEDED, "the run ends", IMAGES, {EDIT: ONCE, RERUN: ONCE})
async def _(place: ScenarioPlace) -> None:
    await _exceeds(place, "Fail")


@scenario(Reason.LORA_FAILED, "its training failed", IMAGES, {REPAIR: ONCE, EDIT: ONCE})
async def _(place: ScenarioPlace) -> None:
    place.world.kube.apply(LORA, SPECS[LORA])
    place.kind = LORA
    place.breaks(Stage.PREPARE, verdict(Reason.NO_VIDEO))
    await place.until_over()
    place.kind = IMAGES
    _draws(place)

    async def corrected() -> None:
        place.world.kube.apply(LORA, SPECS[LORA] | {"source": {"url": "https://example.com/film.mp4"}})
        await _trained(place)

    place.repair = corrected
    await place.until_reason(Reason.LORA_FAILED)


def _older_of_name(place: ScenarioPlace) -> None:
    """An older LoraTraining with the same loraName; the edit and the deletion release the name."""
    meta = {"name": "first", "namespace": "ns", "uid": "u1", "creationTimestamp": "2026-11-20T00:00:00Z"}
    place.world.names.note({"metadata": meta, "spec": {"loraName": "jesse"}, "status": {}})
    place.edit = place.spec | {"loraName": "another"}

    async def deleted() -> None:
        place.world.names.forget("u1")

    place.delete_other = deleted


@scenario(Reason.WAITING_FOR_LORA_NAME, "an older one", LORA, {EDIT: ONCE, Action.DELETE_OTHER: ONCE})
async def _(place: ScenarioPlace) -> None:
    _older_of_name(place)
    place.apply()
    await place.until_reason(Reason.WAITING_FOR_LORA_NAME)


@scenario(Reason.WAITING_FOR_LORA_NAME, "an older one is paid", LORA, {EDIT: ONCE, Action.DELETE_OTHER: ONCE})
async def _(place: ScenarioPlace) -> None:
    """The deletion follows the end of the older one, so that its paid request is not cancelled."""
    world = place.world
    world.kube.apply(LORA, SPECS[LORA], UID[:-1] + "5", "older")
    older = world.kube.resources[LORA, "older"]
    older["metadata"]["creationTimestamp"] = "2026-11-20T00:00:00Z"

    async def older_until(*phases: Phase) -> None:
        for _ in range(_RECONCILES):
            if world.status(LORA, "older").phase in phases:
                return
            await world.reconcile(LORA, "older")
        raise AssertionError(world.status(LORA, "older"))

    await world.reconcile(LORA, "older")
    await older_until(Phase.PROCESSING)
    world.names.note(older)

    async def deleted() -> None:
        await older_until(*_DONE)
        world.kube.delete(LORA, world.now, "older")
        for _ in range(20):
            await world.reconcile(LORA, "older")
        assert not world.there(LORA, "older")
        assert world.provider.cancelled == []
        world.names.forget(UID[:-1] + "5")

    place.edit = place.spec | {"loraName": "another"}
    place.delete_other = deleted
    place.apply()
    await place.until_reason(Reason.WAITING_FOR_LORA_NAME)


def _before_and_after(
    reason: Reason, action: Action, breaking: Callable[[ScenarioPlace], Repair], kind: Kind = IMAGES
) -> None:
    """Scenarios of one failure, before the payment and while the provider works. `breaking` returns the repair."""

    @scenario(reason, "before the payment", kind, {action: ONCE})
    async def _(place: ScenarioPlace) -> None:
        place.repair = breaking(place)
        place.apply()
        await place.until_reason(reason)

    @scenario(reason, "after the payment", kind, {action: FREE}, paid=1)
    async def _(place: ScenarioPlace) -> None:
        place.apply()
        await place.until_reason(Reason.PROCESSING)
        place.repair = breaking(place)
        await place.until_reason(reason)


def _taken_over(place: ScenarioPlace) -> Repair:
    ours = place.world.kube.namespaces[SYSTEM][0]
    clusters = place.world.database["clusters"]
    clusters.update_one({"_id": FIRST}, {"$setOnInsert": {"cluster": ours}}, upsert=True)
    for each in (ours, "another"):
        clusters.update_one(
            {"_id": each}, {"$setOnInsert": {"confirmed": "", "firstSeenAt": place.world.now}}, upsert=True
        )
    administration = TenantAdministration(place.world.database, "ann")
    administration.confirm("another", force=True)

    async def confirmed() -> None:
        administration.confirm(ours, force=True)

    return confirmed


def _store_unavailable(place: ScenarioPlace) -> Repair:
    async def get(*_: Any) -> Any:
        raise PyMongoError("down")

    place.patch.setattr(Ledger, "get", get)

    async def back() -> None:
        place.patch.setattr(Ledger, "get", _LEDGER_GET)

    return back


_LEDGER_GET = Ledger.get


def _provider_unavailable(
    error: Callable[[], Exception], refusal: Callable[[], Exception]
) -> Callable[[ScenarioPlace], Repair]:
    def breaking(place: ScenarioPlace) -> Repair:
        provider, poll = place.world.provider, place.world.provider.poll

        async def away(*_: Any) -> Any:
            raise error()

        provider.refuses = refusal()
        place.patch.setattr(provider, "poll", away)

        async def back() -> None:
            provider.refuses = None
            place.patch.setattr(provider, "poll", poll)

        return back

    return breaking


def _no_key(place: ScenarioPlace) -> Repair:
    provider, back = (
        place.world.provider,
        _provider_unavailable(lambda: AccessRefused("fal", "401"), lambda: Busy("x"))(place),
    )
    provider.refuses, provider.configured = None, False

    async def given() -> None:
        provider.configured = True
        await back()

    return given


def _job_refused(place: ScenarioPlace) -> Repair:
    place.world.kube.refuses_jobs = (403, "exceeded quota: small")

    async def room() -> None:
        place.world.kube.refuses_jobs = None

    return room


def _pod_pending(place: ScenarioPlace) -> Repair:
    """Pod whose image cannot be pulled."""
    waiting = {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}]}

    def pulls(_: ScenarioPlace, job: Body) -> None:
        owner = {"kind": "Job", "uid": job["metadata"]["uid"], "controller": True}
        limits: Body = {"containers": [{"resources": {}}]}
        place.world.kube.pods = [
            {"metadata": {"ownerReferences": [owner]}, "spec": limits, "status": {"phase": "Pending"} | waiting}
        ]

    for stage in Stage:
        place.breaking[stage] = pulls
    working = place.world.work

    def idle() -> None:
        for job in place.world.kube.jobs.values():
            if "status" not in job:
                pulls(place, job)

    place.patch.setattr(place.world, "work", idle)

    async def pulled() -> None:
        place.world.kube.pods = []
        place.breaking.clear()
        place.patch.setattr(place.world, "work", working)
        place.world.work()

    return pulled


def _job_suspended(place: ScenarioPlace) -> Repair:
    """Job that a queue such as Kueue has suspended."""
    create, working = place.world.kube.create_job, place.world.work

    async def suspended(namespace: str, manifest: Body) -> Body | None:
        return await create(namespace, manifest | {"spec": manifest["spec"] | {"suspend": True}})

    def idle() -> None:
        """A suspended Job has no pod."""

    place.patch.setattr(place.world.kube, "create_job", suspended)
    place.patch.setattr(place.world, "work", idle)

    async def resumed() -> None:
        place.patch.setattr(place.world.kube, "create_job", create)
        place.patch.setattr(place.world, "work", working)
        for job in place.world.kube.jobs.values():
            job["spec"]["suspend"] = False
        place.world.work()

    return resumed


def _attempt_dies(place: ScenarioPlace) -> Repair:
    def once(place: ScenarioPlace, job: Body) -> None:
        died(place, job)
        place.breaking.clear()

    for stage in Stage:
        place.breaking[stage] = once
    return nothing


_before_and_after(Reason.STORE_UNAVAILABLE, REPAIR, _store_unavailable)
_before_and_after(Reason.CLUSTER_NOT_CONFIRMED, REPAIR, _taken_over)
_before_and_after(
    Reason.PROVIDER_UNAVAILABLE, WAIT, _provider_unavailable(lambda: Unavailable("503"), lambda: Busy("429"))
)
_before_and_after(Reason.PROVIDER_NOT_CONFIGURED, REPAIR, _no_key)
_before_and_after(Reason.JOB_REFUSED, REPAIR, _job_refused)
_before_and_after(Reason.POD_NOT_STARTED, REPAIR, _pod_pending, TRANSCRIPT)
_before_and_after(Reason.QUEUED, WAIT, _job_suspended, TRANSCRIPT)
_before_and_after(Reason.RETRYING, WAIT, _attempt_dies, TRANSCRIPT)


def _no_place(place: ScenarioPlace) -> None:
    """Another run has the only place of the operator."""
    place.world.limits = PlaceLimits(overall=1)
    place.world.restart()
    place.world.payment_queue._turns.occupy("another", Place("elsewhere", Account("fal")))

    async def free() -> None:
        place.world.payment_queue._turns.free("another")

    place.repair = free


@scenario(Reason.QUEUED, "all places are in use", IMAGES, {WAIT: ONCE})
async def _(place: ScenarioPlace) -> None:
    _no_place(place)
    place.apply()
    await place.until_reason(Reason.QUEUED)


@scenario(Reason.CIRCUIT_OPEN, "the provider asks to wait", IMAGES, {WAIT: ONCE})
async def _(place: ScenarioPlace) -> None:
    place.world.payment_queue.note_failure(Endpoint("fal", "fal-ai/flux-lora"), "it was busy", 600)
    place.apply()
    await place.until_reason(Reason.CIRCUIT_OPEN)


def _backlog(place: ScenarioPlace) -> None:
    """Paid results of the namespace are not stored."""
    world, ledger = place.world, place.world.database["ledger"]
    uid, _ = world.kube.namespaces["ns"]
    times = {"awaitedSince": world.now - timedelta(hours=1), "awaitedUntil": world.now + timedelta(days=365)}
    late: Body = {"state": "succeeded", "operatorClass": DEFAULT_CLASS, "namespace": "ns", "namespaceUid": uid} | times
    ledger.insert_many([{"_id": f"late-{number}"} | late for number in range(21)])

    async def store() -> None:
        ledger.update_many({"awaitedUntil": times["awaitedUntil"]}, {"$set": {"awaitedSince": None}})

    place.repair = store


def _paused(place: ScenarioPlace) -> None:
    """An administrator has paused buying."""
    world = place.world

    def pause(paused: bool) -> None:
        world.decision_settings = world.decision_settings.model_copy(update={"buying_paused": paused})
        world.restart()

    async def resume() -> None:
        pause(False)

    pause(True)
    place.repair = resume


@scenario(Reason.COLLECT_BACKLOG, "paid results are not stored", IMAGES, {REPAIR: ONCE})
async def _(place: ScenarioPlace) -> None:
    _backlog(place)
    place.apply()
    await place.until_reason(Reason.COLLECT_BACKLOG)


@scenario(Reason.BUYING_PAUSED, "an administrator has paused it", IMAGES, {REPAIR: ONCE})
async def _(place: ScenarioPlace) -> None:
    _paused(place)
    place.apply()
    await place.until_reason(Reason.BUYING_PAUSED)


# Good ends


@scenario(Reason.COMPLETED, "bought", IMAGES, {Action.NONE: FREE, RERUN: PAYS}, paid=1)
async def _(place: ScenarioPlace) -> None:
    await place.completed()


@scenario(Reason.ADOPTED_FINISHED_RUN, "bought before", IMAGES, {Action.NONE: FREE, RERUN: PAYS}, paid=1)
async def _(place: ScenarioPlace) -> None:
    place.spec |= {"deletionPolicy": "Retain"}
    await place.completed()
    await place.world.until_gone(place.kind)
    place.uid = "second"
    await place.completed()


@scenario(Reason.ADOPTED_SAME_REQUEST, "an alias of the model", IMAGES, {Action.NONE: FREE, RERUN: PAYS}, paid=1)
async def _(place: ScenarioPlace) -> None:
    await place.completed()
    place.apply(place.spec | {"model": "fal-ai/flux-lora"})
    await place.until_reason(Reason.ADOPTED_SAME_REQUEST)


# Before the payment


@scenario(Reason.INVALID_SPEC, "never valid", IMAGES, {EDIT: ONCE})
async def _(place: ScenarioPlace) -> None:
    place.edit = place.spec
    place.apply(place.spec | {"prompt": ""})
    await place.until_reason(Reason.INVALID_SPEC)


@scenario(Reason.INVALID_SPEC, "an edit of a finished one", IMAGES, {EDIT: ONCE}, paid=0)
async def _(place: ScenarioPlace) -> None:
    await place.completed()
    place.edit = place.spec | {"prompt": "a dog"}
    place.apply(place.spec | {"prompt": ""})
    await place.until_reason(Reason.INVALID_SPEC)


@scenario(Reason.INVALID_SPEC, "an edit after a failed collect stage", IMAGES, {EDIT: ONCE}, paid=0)
async def _(place: ScenarioPlace) -> None:
    place.breaks(Stage.COLLECT, verdict(Reason.RESULT_INVALID))
    place.apply()
    await place.until_over()
    place.breaking.clear()
    place.edit = place.spec | {"prompt": "a dog"}
    place.apply(place.spec | {"prompt": ""})
    await place.until_reason(Reason.INVALID_SPEC)


@scenario(Reason.INVALID_SPEC, "the worker image before the payment", TRANSCRIPT, {EDIT: ONCE, RERUN: ONCE})
async def _(place: ScenarioPlace) -> None:
    place.edit = place.spec | {"source": {"url": "https://example.com/other.mp3"}}
    place.breaks(Stage.PREPARE, verdict(Reason.INVALID_SPEC))
    place.apply()
    await place.until_over()


@scenario(Reason.INVALID_SPEC, "the worker image after the payment", IMAGES, {COLLECT: FREE, EDIT: PAYS}, paid=1)
async def _(place: ScenarioPlace) -> None:
    place.edit = place.spec | {"prompt": "a dog"}
    place.breaks(Stage.COLLECT, verdict(Reason.INVALID_SPEC))
    place.apply()
    await place.until_over()


@scenario(Reason.MODEL_NOT_ALLOWED, "not in the list", IMAGES, {EDIT: ONCE, RERUN: ONCE})
async def _(place: ScenarioPlace) -> None:
    place.edit = place.spec | {"model": "flux-dev"}

    async def listed() -> None:
        place.world.decision_settings = place.world.decision_settings.model_copy(
            update={"models_allowed": ("flux-lora", "flux-dev")}
        )
        place.world.restart()

    place.world.decision_settings = place.world.decision_settings.model_copy(update={"models_allowed": ("flux-dev",)})
    place.world.restart()
    place.repair = listed
    place.apply(place.spec | {"model": "flux-lora"})
    await place.until_over()


def _refuses_prompt(place: ScenarioPlace) -> None:
    """The provider refuses the prompt of the spec."""
    submit = place.world.provider.submit

    async def picky(call: Any, before_send: Any) -> str:
        wrong = call.arguments["prompt"] == SPECS[IMAGES]["prompt"]
        place.world.provider.refuses = Refused("prompt: not this") if wrong else None
        return await submit(call, before_send)

    place.patch.setattr(place.world.provider, "submit", picky)
    place.edit = place.spec | {"prompt": "a dog"}


@scenario(Reason.PROVIDER_REFUSED, "an option", IMAGES, {EDIT: ONCE})
async def _(place: ScenarioPlace) -> None:
    _refuses_prompt(place)
    place.apply()
    await place.until_over()


_OTHER_SOURCE = {"source": {"url": "https://example.com/other.mp4"}}


def _verdict_on_source(reason: Reason, kind: Kind, edit: Body, helps: dict[Action, Costs]) -> None:
    @scenario(reason, "a worker's verdict", kind, helps)
    async def _(place: ScenarioPlace) -> None:
        place.edit = place.spec | edit
        place.breaks(Stage.PREPARE, verdict(reason))
        place.apply()
        await place.until_over()


_EDIT_ONLY = {EDIT: ONCE}
_OR_AGAIN = {EDIT: ONCE, RERUN: ONCE}
_RIGHT_SUM = {"source": {"url": "https://example.com/talk.mp3", "sha256": "f" * 64}}
_verdict_on_source(Reason.SOURCE_NOT_ALLOWED, TRANSCRIPT, _OTHER_SOURCE, _OR_AGAIN)
_verdict_on_source(Reason.SOURCE_UNREACHABLE, TRANSCRIPT, _OTHER_SOURCE, _OR_AGAIN)
_verdict_on_source(Reason.SOURCE_TOO_LARGE, TRANSCRIPT, _OTHER_SOURCE, _EDIT_ONLY)
_verdict_on_source(Reason.SOURCE_CHECKSUM_MISMATCH, TRANSCRIPT, _RIGHT_SUM, _EDIT_ONLY)
_verdict_on_source(Reason.SOURCE_EMPTY, TRANSCRIPT, _OTHER_SOURCE, _EDIT_ONLY)
_verdict_on_source(Reason.UNSUPPORTED_MEDIA, TRANSCRIPT, _OTHER_SOURCE, _EDIT_ONLY)
_verdict_on_source(Reason.NO_VIDEO, LORA, _OTHER_SOURCE, _EDIT_ONLY)
_verdict_on_source(Reason.NO_AUDIO, TRANSCRIPT, {"options": {"audioTrack": 2}}, _EDIT_ONLY)
_verdict_on_source(Reason.INSUFFICIENT_FRAMES, LORA, {"dataset": {"minImages": 4}}, _EDIT_ONLY)


@scenario(Reason.INSUFFICIENT_FRAMES, "more of each scene", LORA, _EDIT_ONLY)
async def _(place: ScenarioPlace) -> None:
    place.edit = place.spec | {"dataset": {"framesPerScene": 9}}
    place.breaks(Stage.PREPARE, verdict(Reason.INSUFFICIENT_FRAMES))
    place.apply()
    await place.until_over()


# Ends of a stage


def _ends(reason: Reason, how: Breaking, before: dict[Action, Costs]) -> None:
    @scenario(reason, "prepare", TRANSCRIPT, before)
    async def _(place: ScenarioPlace) -> None:
        place.edit = place.spec | {"source": {"url": "https://example.com/short.mp3"}}
        place.breaks(Stage.PREPARE, how)
        place.apply()
        await place.until_over()

    @scenario(reason, "collect", IMAGES, _PAID_END, paid=1)
    async def _(place: ScenarioPlace) -> None:
        place.breaks(Stage.COLLECT, how)
        place.apply(place.spec | {"collectDeadlineSeconds": 60})
        await place.until_over()


_ends(Reason.JOB_FAILED, died, {RERUN: ONCE})
_ends(Reason.DEADLINE_EXCEEDED, too_slow, {RERUN: ONCE, EDIT: ONCE})
_ends(Reason.OUTPUT_MISSING, leaves(), {RERUN: ONCE})
_ends(Reason.OUTPUT_CHANGED, with_other_bytes, {RERUN: ONCE})
_ends(Reason.OUTCOME_INVALID, verdict(Reason.CANCELLED, "a foreign reason"), {RERUN: ONCE})


def _result(reason: Reason, **fields: Any) -> None:
    @scenario(reason, "a worker's verdict", IMAGES, _PAID_END, paid=1)
    async def _(place: ScenarioPlace) -> None:
        place.breaks(Stage.COLLECT, verdict(reason, **fields))
        place.apply()
        await place.until_over()


_result(Reason.RESULT_UNREACHABLE, passing=False)
_result(Reason.RESULT_INVALID)


@scenario(Reason.RESULT_INVALID, "too large to be stored", IMAGES, _PAID_END, paid=1)
async def _(place: ScenarioPlace) -> None:
    poll = place.world.provider.poll

    async def large(*_: Any) -> RequestView:
        return TOO_LARGE

    async def smaller() -> None:
        place.world.provider._polls["request-1"] = 1  # it has ended
        place.patch.setattr(place.world.provider, "poll", poll)

    place.patch.setattr(place.world.provider, "poll", large)
    place.repair = smaller
    place.apply()
    await place.until_over()


def _answers(place: ScenarioPlace, view: RequestView, **changes: Any) -> Repair:
    """A provider with one answer to all polls, and with other attributes, until the returned function is called."""
    provider = place.world.provider
    before = {name: getattr(provider, name) for name in (*changes, "poll")}

    async def poll(*_: Any) -> RequestView:
        return view

    def put(attributes: dict[str, Any]) -> None:
        for name, value in attributes.items():
            place.patch.setattr(provider, name, value)

    async def as_before() -> None:
        put(before)

    put(changes | {"poll": poll})
    return as_before


@scenario(Reason.RESULT_INVALID, "its result is gone", IMAGES, _PAID_END, paid=1)
async def _(place: ScenarioPlace) -> None:
    """The provider has finished, and has no result for a day."""
    place.apply()
    await place.until_reason(Reason.PROCESSING)
    place.repair = _answers(place, GONE)
    await place.until_over()


@scenario(Reason.PROVIDER_NOT_CONFIGURED, "the key of another account", IMAGES, {REPAIR: FREE}, paid=1)
async def _(place: ScenarioPlace) -> None:
    """The key that replaces a revoked one is of another account, which does not know the request."""
    place.apply()
    await place.until_reason(Reason.PROCESSING)
    place.repair = _answers(place, UNKNOWN, key_id="another")
    await place.until_reason(Reason.PROVIDER_NOT_CONFIGURED)
    place.world.now += timedelta(hours=2)
    await place.world.reconcile(place.kind)


@scenario(Reason.PROVIDER_UNAVAILABLE, "it does not know the request", IMAGES, {WAIT: FREE}, paid=1)
async def _(place: ScenarioPlace) -> None:
    place.apply()
    await place.until_reason(Reason.PROCESSING)
    place.repair = _answers(place, UNKNOWN)
    await place.until_reason(Reason.PROVIDER_UNAVAILABLE)
    place.world.now += timedelta(hours=2)
    await place.world.reconcile(place.kind)


@scenario(Reason.DEADLINE_EXCEEDED, "the provider does not know the request", IMAGES, _PAID_END, paid=1)
async def _(place: ScenarioPlace) -> None:
    place.apply()
    await place.until_reason(Reason.PROCESSING)
    place.repair = _answers(place, UNKNOWN, cancels=False)
    await place.until_over()


@scenario(Reason.DEADLINE_EXCEEDED, "before the payment", IMAGES, {RERUN: ONCE})
async def _(place: ScenarioPlace) -> None:
    place.world.provider.configured = False
    place.apply(place.spec | {"deadlineSeconds": 600})
    await place.until_over()

    async def given() -> None:
        place.world.provider.configured = True

    place.repair = given


@scenario(Reason.DEADLINE_EXCEEDED, "the Job of the collect stage is refused", IMAGES, _PAID_END, paid=1)
async def _(place: ScenarioPlace) -> None:
    place.apply()
    await place.until_reason(Reason.PROCESSING)
    place.repair = _job_refused(place)
    await place.until_reason(Reason.JOB_REFUSED)
    place.world.now += timedelta(days=1)
    await place.until_over()


def _runs(place: ScenarioPlace) -> Repair:
    """Requests that run until the returned function is called."""
    poll = place.world.provider.poll

    async def running(*_: Any) -> RequestView:
        if "request-1" in place.world.provider.cancelled and place.world.provider.cancels:
            return RequestView(state=RequestState.FAILED, message="Request was cancelled", cancelled=True)
        return RequestView(state=RequestState.RUNNING, message="running")

    place.patch.setattr(place.world.provider, "poll", running)

    async def finished() -> None:
        place.patch.setattr(place.world.provider, "poll", poll)
        await place.until(lambda: place.purchases[0]["state"] not in ("intent", "submitted"))
        for _ in range(3):
            await place.world.reconcile(place.kind)

    return finished


async def _late(place: ScenarioPlace, *, cancels: bool) -> None:
    place.world.provider.cancels = cancels
    place.repair = _runs(place)
    place.apply(place.spec | {"deadlineSeconds": 900})
    await place.until_over()


async def _cancelled(place: ScenarioPlace, *, cancels: bool) -> None:
    place.world.provider.cancels = cancels
    place.repair = _runs(place)
    place.apply()
    await place.until_reason(Reason.PROCESSING)
    place.apply(None, **{"contentgen.dev/cancel": "1"})
    await place.until_over()


_ENDINGS = ((Reason.DEADLINE_EXCEEDED, _late), (Reason.CANCELLED, _cancelled))


def _around_the_end(reason: Reason, end: Callable[..., Awaitable[None]]) -> None:
    @scenario(reason, "the request goes on", IMAGES, _PAID_END, paid=1)
    async def _(place: ScenarioPlace) -> None:
        await end(place, cancels=False)

    @scenario(reason, "the request has finished since", IMAGES, _PAID_END, paid=1)
    async def _(place: ScenarioPlace) -> None:
        await end(place, cancels=False)
        await place.repair()
        place.repair = nothing

    @scenario(reason, "the provider has cancelled it", IMAGES, {RERUN: PAYS}, paid=1)
    async def _(place: ScenarioPlace) -> None:
        await end(place, cancels=True)


for _reason, _way in _ENDINGS:
    _around_the_end(_reason, _way)


@scenario(Reason.CANCELLED, "before the payment", TRANSCRIPT, {RERUN: ONCE})
async def _(place: ScenarioPlace) -> None:
    place.apply()
    await place.until_reason(Reason.PREPARING)
    place.apply(None, **{"contentgen.dev/cancel": "1"})
    await place.until_over()


@scenario(Reason.PROVIDER_FAILED, "out of memory", IMAGES, {RERUN: PAYS, EDIT: PAYS}, paid=1)
async def _(place: ScenarioPlace) -> None:
    place.world.provider.fails = {1}
    place.edit = place.spec | {"prompt": "a dog"}
    place.apply()
    await place.until_over()


# Lost replies and restored stores


async def _nothing_found(_: Search) -> Found:
    return Found(request_id=None, complete=True)


def _lost(place: ScenarioPlace) -> None:
    """Lost response; the history omits the request until the repair."""
    find = place.world.provider.find
    place.world.provider.lose_replies = {1}
    place.patch.setattr(place.world.provider, "find", _nothing_found)

    async def show_again() -> None:
        place.patch.setattr(place.world.provider, "find", find)

    place.repair = show_again
    place.apply()


@scenario(Reason.LOOKING_FOR_REQUEST, "its reply was lost", IMAGES, {WAIT: FREE, ADOPT: FREE}, paid=1)
async def _(place: ScenarioPlace) -> None:
    _lost(place)
    await place.until_reason(Reason.LOOKING_FOR_REQUEST)


_UNKNOWN = {WAIT: FREE, RESTORE: FREE, ADOPT: FREE, RESUBMIT: TWICE}


@scenario(Reason.SUBMISSION_UNKNOWN, "its reply was lost", IMAGES, _UNKNOWN, paid=1, skipped=(RESTORE,))
async def _(place: ScenarioPlace) -> None:
    _lost(place)
    await place.until_reason(Reason.SUBMISSION_UNKNOWN)


@scenario(Reason.SUBMISSION_UNKNOWN, "the ledger has lost it", IMAGES, _UNKNOWN, paid=1, skipped=(WAIT,))
async def _(place: ScenarioPlace) -> None:
    place.apply()
    await place.until_reason(Reason.PROCESSING)
    ledger = list(place.world.database["ledger"].find())
    place.world.database["ledger"].delete_many({})
    place.patch.setattr(place.world.provider, "find", _nothing_found)

    async def restored() -> None:
        place.world.database["ledger"].delete_many({})
        place.world.database["ledger"].insert_many(ledger)

    place.restore = restored
    await place.until_reason(Reason.SUBMISSION_UNKNOWN)


@scenario(Reason.CANCELLED, "its reply was lost", IMAGES, {RERUN: TWICE}, paid=1)
async def _(place: ScenarioPlace) -> None:
    _lost(place)
    await place.until_reason(Reason.SUBMISSION_UNKNOWN)
    place.apply(None, **{"contentgen.dev/cancel": "1"})
    await place.until_over()


@scenario(Reason.STORES_DISAGREE, "an older MongoDB", IMAGES, {RESTORE: FREE, RESUBMIT: TWICE}, paid=1)
async def _(place: ScenarioPlace) -> None:
    database = place.world.database
    names = ("ledger", "runs", "jobs", "worker_jobs", "request_bindings")
    await place.completed()
    older = {name: list(database[name].find()) for name in names}
    place.apply(place.spec | {"prompt": "a dog"})
    await place.until(lambda: place.posts == 2 and place.world.status(IMAGES).phase is Phase.PROCESSING)
    newest = {name: list(database[name].find()) for name in names}

    def put(content: dict[str, list[Body]]) -> None:
        for name in names:
            database[name].delete_many({})
            if content[name]:
                database[name].insert_many(copy.deepcopy(content[name]))
        place.world.restart()

    async def restored() -> None:
        put(newest)

    put(older)
    for key in [each_key for each_key in place.world.storage.objects if each_key.startswith("purchases/by-key/")]:
        del place.world.storage.objects[key]
    place.restore = restored
    await place.until_reason(Reason.STORES_DISAGREE)


@scenario(Reason.OUTPUTS_DELETED, "gone from the bucket", IMAGES, {RESTORE: FREE, RERUN: PAYS}, paid=1)
async def _(place: ScenarioPlace) -> None:
    place.spec |= {"deletionPolicy": "Retain"}
    await place.completed()
    await place.world.until_gone(place.kind)
    backup = dict(place.world.storage.objects)
    place.world.storage.objects = {}
    place.repair = _answers(place, UNKNOWN)

    async def restored() -> None:
        place.world.storage.objects |= backup

    place.restore, place.uid = restored, "second"
    place.apply()
    await place.until_over()


@scenario(
    Reason.OUTPUTS_DELETED, "deleted", IMAGES, {RESTORE: FREE, RERUN: PAYS}, paid=1, skipped=(RESTORE,)
)  # fmt: skip
async def _(place: ScenarioPlace) -> None:
    await place.completed()
    await place.world.until_gone(place.kind)
    place.uid = "second"
    place.apply()
    await place.until_over()


# Later attempts of a run: the first one was paid, or may have been

BILLED, UNBILLED, FAILED, LOST = "billed", "not billed", "failed", "lost"
_COSTS_AFTER = {BILLED: PAYS, UNBILLED: ONCE, FAILED: AFTER_EARLIER, LOST: TWICE}


async def reach_second_attempt(place: ScenarioPlace, earlier: str) -> None:
    """Reconcile to the second paid attempt, of which nothing is sent yet.

    LOST: the first request may still finish; a user has allowed another payment. Else the provider has reported a
    failure, FAILED: without its billing.
    """
    poll = place.world.provider.poll

    async def failed(model: str, request_id: str) -> RequestView:
        if request_id != "request-1":
            return await poll(model, request_id)
        units = {BILLED: 2, UNBILLED: 0}.get(earlier)
        return RequestView(state=RequestState.FAILED, message="out of memory", billable_units=units)

    if earlier == LOST:
        _lost(place)
        place.repair = nothing
        await place.until_reason(Reason.SUBMISSION_UNKNOWN)
        place.apply(None, **{RESUBMIT_ANNOTATION: place.item().facts.token or ""})
    else:
        place.patch.setattr(place.world.provider, "poll", failed)
        place.apply(place.spec | {"paidAttempts": 2})
    await place.until(lambda: (run := place.world.status(place.kind).run) is not None and run.paid_attempt == 2)
    assert place.posts == 1


def _later(
    reason: Reason,
    name: str,
    *actions: Action,
    kind: Kind = IMAGES,
    ends: bool = False,
    skipped: tuple[Action, ...] = (),
) -> Callable[[Arrive], Arrive]:
    """Decorator that registers what ends or holds the second attempt. While a run waits, its status does not tell
    whether the first attempt is billed.
    """

    def add(hold: Arrive) -> Arrive:
        for earlier in _COSTS_AFTER if ends else (BILLED, LOST):
            costs = _COSTS_AFTER[earlier] if ends else AFTER_EARLIER

            async def arrive(place: ScenarioPlace, earlier: str = earlier) -> None:
                await reach_second_attempt(place, earlier)
                await hold(place)
                await place.until_reason(reason)

            helps = dict.fromkeys(actions, costs)
            paid = 0 if earlier == UNBILLED else 1
            text = f"{name}, after an attempt that was {earlier}"
            scenario(reason, text, kind, helps, paid=paid, skipped=skipped, earlier=earlier)(arrive)
        return hold

    return add


def _too_dear(place: ScenarioPlace, on_exceeded: str) -> None:
    """The budget allows one picture, and not two."""
    metadata = {"name": "all", "uid": "a-budget", "generation": 1, "resourceVersion": "1"}
    spec = {"limits": {"day": "100"}, "maxPerRun": "0.05", "onExceeded": on_exceeded}
    place.world.kube.budgets = [{"metadata": metadata, "spec": spec}]

    async def removed() -> None:
        place.world.kube.budgets = []

    place.repair = removed
    place.edit = place.spec | {"image": {"count": 1}}


@_later(Reason.BUDGET_EXCEEDED, "the run ends", EDIT, RERUN, ends=True)
async def _(place: ScenarioPlace) -> None:
    _too_dear(place, "Fail")


@_later(Reason.BUDGET_EXCEEDED, "the run waits", WAIT, EDIT)
async def _(place: ScenarioPlace) -> None:
    _too_dear(place, "Wait")


async def _requires_approval(place: ScenarioPlace) -> None:
    place.edit = place.spec | {"prompt": "another", "approval": "Automatic"}
    place.apply(place.spec | {"approval": "Manual"})
    await place.until_reason(Reason.AWAITING_APPROVAL)


@_later(Reason.AWAITING_APPROVAL, "required since", Action.APPROVE, EDIT)
async def _(place: ScenarioPlace) -> None:
    await _requires_approval(place)


@_later(Reason.REJECTED, "by a user", EDIT, RERUN, ends=True)
async def _(place: ScenarioPlace) -> None:
    await _requires_approval(place)
    place.apply(place.spec | {"approval": "Automatic"}, **{REJECT_ANNOTATION: "1", APPROVED_BY_ANNOTATION: "alice"})


@_later(Reason.SUSPENDED, "suspended since", Action.RESUME)
async def _(place: ScenarioPlace) -> None:
    place.apply(place.spec | {"suspend": True})


@_later(Reason.ESTIMATED, "a dry run", EDIT, ends=True)
async def _(place: ScenarioPlace) -> None:
    place.edit = place.spec
    place.apply(place.spec | {"dryRun": "Estimate"})


@_later(Reason.SUBMITTING, "goes on", WAIT)
async def _(_: ScenarioPlace) -> None:
    """Nothing holds it."""


@_later(Reason.PROVIDER_REFUSED, "an option", EDIT, ends=True)
async def _(place: ScenarioPlace) -> None:
    _refuses_prompt(place)


@_later(Reason.MODEL_NOT_ALLOWED, "removed from the list", EDIT, RERUN, ends=True)
async def _(place: ScenarioPlace) -> None:
    settings = place.world.decision_settings
    place.world.decision_settings = settings.model_copy(update={"models_allowed": ("flux-dev",)})
    place.world.restart()

    async def listed() -> None:
        place.world.decision_settings = settings
        place.world.restart()

    place.repair = listed
    place.edit = place.spec | {"model": "flux-dev"}


@_later(Reason.INVALID_SPEC, "refused since an upgrade", EDIT, RERUN, ends=True)
async def _(place: ScenarioPlace) -> None:
    def problem(spec: Any) -> SpecProblem | None:
        wrong = spec.prompt == SPECS[IMAGES]["prompt"] and refuses
        return SpecProblem(field=("prompt",), value="", expected="is not supported") if wrong else None

    async def upgraded() -> None:
        refuses.clear()

    refuses = ["the prompt"]
    place.patch.setattr(purchasable, "first_problem", problem)
    place.repair = upgraded
    place.edit = place.spec | {"prompt": "a dog"}


@_later(Reason.SOURCE_NOT_ALLOWED, "a LoRA's address", EDIT, RERUN, ends=True)
async def _(place: ScenarioPlace) -> None:
    def refusal(case: Any) -> str | None:
        wrong = case.spec.prompt == SPECS[IMAGES]["prompt"] and refuses
        return "spec.loras[0].path: is not allowed" if wrong else None

    async def allowed() -> None:
        refuses.clear()

    refuses = ["the address"]
    place.patch.setattr(decision, "_lora_refused", refusal)
    place.repair = allowed
    place.edit = place.spec | {"prompt": "a dog"}


@_later(Reason.DEADLINE_EXCEEDED, "before the payment", RERUN, ends=True)
async def _(place: ScenarioPlace) -> None:
    place.world.now += timedelta(hours=1)
    spec = place.spec
    place.apply(spec | {"deadlineSeconds": 600})

    async def longer() -> None:
        place.spec = spec

    place.repair = longer


@_later(Reason.CANCELLED, "before the payment", RERUN, ends=True)
async def _(place: ScenarioPlace) -> None:
    place.apply(None, **{"contentgen.dev/cancel": "1"})


@_later(Reason.PROVIDER_NOT_CONFIGURED, "the key is refused", REPAIR)
async def _(place: ScenarioPlace) -> None:
    place.repair = _no_key(place)


@_later(Reason.PROVIDER_UNAVAILABLE, "it takes no requests", WAIT)
async def _(place: ScenarioPlace) -> None:
    place.repair = _provider_unavailable(lambda: Unavailable("503"), lambda: Busy("429"))(place)


@_later(Reason.STORE_UNAVAILABLE, "it does not answer", REPAIR)
async def _(place: ScenarioPlace) -> None:
    place.repair = _store_unavailable(place)


@_later(Reason.CLUSTER_NOT_CONFIRMED, "another cluster took over", REPAIR)
async def _(place: ScenarioPlace) -> None:
    place.repair = _taken_over(place)


@_later(Reason.JOB_REFUSED, "that of the collect stage", REPAIR)
async def _(place: ScenarioPlace) -> None:
    place.repair = _job_refused(place)


@_later(Reason.QUEUED, "all places are in use", WAIT)
async def _(place: ScenarioPlace) -> None:
    _no_place(place)


@_later(Reason.CIRCUIT_OPEN, "the provider asks to wait", WAIT)
async def _(place: ScenarioPlace) -> None:
    place.world.payment_queue.note_failure(Endpoint("fal", "fal-ai/flux-lora"), "it was busy", 600)


@_later(Reason.COLLECT_BACKLOG, "paid results are not stored", REPAIR)
async def _(place: ScenarioPlace) -> None:
    _backlog(place)


@_later(Reason.BUYING_PAUSED, "an administrator has paused it", REPAIR)
async def _(place: ScenarioPlace) -> None:
    _paused(place)


@_later(Reason.WAITING_FOR_LORA_NAME, "an older one", EDIT, Action.DELETE_OTHER, kind=LORA)
async def _(place: ScenarioPlace) -> None:
    _older_of_name(place)


NOT_IN_A_LATER_ATTEMPT = frozenset(
    {
        # The prepare stage is over, except for a purchase that another resource has begun.
        *(Reason.PREPARING, Reason.POD_NOT_STARTED, Reason.RETRYING, Reason.JOB_FAILED),
        *(Reason.OUTPUT_MISSING, Reason.OUTPUT_CHANGED, Reason.OUTCOME_INVALID),
        *(Reason.SOURCE_UNREACHABLE, Reason.SOURCE_TOO_LARGE, Reason.SOURCE_CHECKSUM_MISMATCH, Reason.SOURCE_EMPTY),
        *(Reason.UNSUPPORTED_MEDIA, Reason.NO_VIDEO, Reason.NO_AUDIO, Reason.INSUFFICIENT_FRAMES),
        # It uses the LoRA's files of the first attempt.
        *(Reason.WAITING_FOR_LORA, Reason.LORA_MISSING, Reason.LORA_FAILED),
    }
)


def place_of(each: Scenario, patch: pytest.MonkeyPatch) -> ScenarioPlace:
    """Simulated world of a scenario."""
    return ScenarioPlace(World(patch, Writes()), each.kind, patch)
