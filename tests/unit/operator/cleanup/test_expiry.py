"""`spec.ttlSecondsAfterFinished`: a finished resource is deleted, and nothing that was bought or recorded is lost."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contentgen_contract.names import (
    CANCEL_ANNOTATION,
    COLLECT_ANNOTATION,
    RERUN_ANNOTATION,
    Kind,
    Phase,
    Reason,
    Stage,
)
from contentgen_contract.records import keys
from contentgen_contract.resources.spec import parse_spec, run_hash
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.cleanup.expiry_times import Expiries
from contentgen_operator.kube.cache import Cache
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.provider_requests import RequestState, RequestView
from contentgen_operator.watch.event_handlers import EventHandlers
from contentgen_operator.worker_api.reports import Reports
from contentgen_simulation.api_server import rejection
from contentgen_simulation.world import SPECS, UID, World, Writes

IMAGES, LORA = Kind.IMAGE_GENERATION, Kind.LORA_TRAINING
TTL = 3600
HOUR = timedelta(seconds=TTL)
SPEC = SPECS[IMAGES] | {"ttlSecondsAfterFinished": TTL}
OTHER_UID, THIRD_UID = (f"1c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a0{n}" for n in (2, 3))
PICTURE = {"prompt": "jf on a bench", "loras": [{"loraRef": {"name": "it"}}]}


async def finished(world: World, kind: Kind = IMAGES, uid: str = UID, **spec: Any) -> ResourceStatus:
    """Apply a resource that lives an hour after its end, and finish its run."""
    world.kube.apply(kind, SPECS[kind] | {"ttlSecondsAfterFinished": TTL} | spec, uid)
    return await world.finish(kind)


async def expired(world: World, kind: Kind = IMAGES, reconciles: int = 5) -> bool:
    """Let the time of a resource pass; True if it is gone."""
    world.now += HOUR
    for _ in range(reconciles):
        await world.reconcile(kind)
    return not world.there(kind)


def states(world: World) -> list[str]:
    return [str(purchase["state"]) for purchase in world.database["ledger"].find({})]


def result_unreachable(world: World) -> None:
    """Let workers report that the provider's result cannot be read."""
    leave = world._leave_outcome

    def failing(kind: Kind, stage: Stage, status: ResourceStatus) -> None:
        if stage is Stage.PREPARE:
            leave(kind, stage, status)
            return
        assert status.run is not None
        outcome = {"jobId": status.job_id, "stage": stage, "attempt": status.run.stage_attempt}
        outcome |= {"reason": Reason.RESULT_INVALID, "message": "no picture"}
        key = keys.outcome(str(status.job_id), status.run.number, stage, status.run.stage_attempt)
        world.storage.objects[key] = json.dumps(outcome)

    world._leave_outcome = failing  # type: ignore[method-assign]


async def test_finished_resource_is_deleted_at_its_time(world: World) -> None:
    await finished(world)
    world.now += HOUR - timedelta(minutes=5)
    await world.reconcile(IMAGES)
    assert world.there(IMAGES)
    world.now += timedelta(minutes=5)
    await world.reconcile(IMAGES)
    assert not world.there(IMAGES)


async def test_without_the_field_nothing_is_deleted(world: World) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES)
    assert not await expired(world)


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_files_record_ledger_and_run_document_are_kept(world: World, policy: str) -> None:
    await finished(world, deletionPolicy=policy)
    files, record = world.storage.objects.copy(), world.database["jobs"].find_one({"jobId": UID})
    assert await expired(world)
    await world.reconcile(IMAGES)  # after the watch's DELETED event
    await world.sweep()
    kept = world.database["jobs"].find_one({"jobId": UID})
    assert kept is not None
    assert record is not None
    assert kept.pop("expiredAt") is not None
    same = {"revision": 0, "updatedAt": None}
    assert kept | same == record | same
    assert (world.storage.objects, states(world)) == (files, ["collected"])
    assert world.database["runs"].find_one({"_id": UID})["expiredAt"] is not None


@pytest.mark.parametrize("kind", list(Kind))
async def test_an_estimate_is_deleted_too(world: World, kind: Kind) -> None:
    """Its run is completed, and there is no purchase that the ledger could confirm."""
    assert (await finished(world, kind, dryRun="Estimate")).reason == Reason.ESTIMATED
    assert await expired(world, kind)
    assert states(world) == []


async def test_expiry_deletes_the_jobs(world: World) -> None:
    await finished(world)
    assert world.kube.jobs
    assert await expired(world)
    assert world.kube.jobs == {}


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_the_same_resource_applied_again_adopts_and_pays_nothing(world: World, policy: str) -> None:
    await finished(world, deletionPolicy=policy)
    assert await expired(world)
    status = await finished(world, uid=OTHER_UID, deletionPolicy=policy)
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_FINISHED_RUN, 1)
    assert await expired(world)  # counts from its own completionTime
    assert len(world.provider.posts) == 1


def refuse_by_budget(world: World) -> None:
    """A budget that ends each run."""
    body: dict[str, Any] = {"name": "all", "uid": "b", "generation": 1, "resourceVersion": "1"}
    world.kube.budgets = [{"metadata": body, "spec": {"limits": {"day": "0.01"}, "onExceeded": "Fail"}}]


async def applied_again(world: World, kind: Kind = IMAGES, **spec: Any) -> ResourceStatus:
    """Let the resource expire, and apply it again as a GitOps tool does, without the annotations."""
    assert await expired(world, kind, reconciles=12)
    return await finished(world, kind, uid=OTHER_UID, **spec)


async def rerun(world: World) -> ResourceStatus:
    """The next run, by `contentgen.dev/rerun`."""
    world.kube.apply(IMAGES, SPEC, **{RERUN_ANNOTATION: "once more"})
    for _ in range(12):
        await world.reconcile(IMAGES)
    return world.status(IMAGES)


async def test_retried_run_is_adopted_without_rerun_in_the_manifest(world: World) -> None:
    """Its purchase is under the key of the rerun, and nothing is under that of the manifest."""
    refuse_by_budget(world)
    assert (await finished(world)).reason == Reason.BUDGET_EXCEEDED
    world.kube.budgets = []
    assert (await rerun(world)).phase is Phase.COMPLETED
    assert (await applied_again(world)).reason == Reason.ADOPTED_FINISHED_RUN
    assert len(world.provider.posts) == 1


async def test_result_of_the_last_run_is_adopted(world: World) -> None:
    world.provider.fails = {1}
    assert (await finished(world)).reason == Reason.PROVIDER_FAILED
    assert (await rerun(world)).phase is Phase.COMPLETED
    assert (await applied_again(world)).reason == Reason.ADOPTED_FINISHED_RUN
    assert len(world.provider.posts) == 2


async def test_failed_run_stays_failed_after_its_rerun(world: World) -> None:
    refuse_by_budget(world)
    assert (await finished(world)).reason == Reason.BUDGET_EXCEEDED
    world.kube.budgets = []
    world.provider.fails = {1}
    assert (await rerun(world)).reason == Reason.PROVIDER_FAILED
    assert (await applied_again(world)).reason == Reason.PROVIDER_FAILED
    assert len(world.provider.posts) == 1


async def test_an_image_of_an_earlier_training_is_adopted(world: World) -> None:
    """Unlike one that a person has deleted, which is made with the present training."""
    world.kube.apply(LORA, SPECS[LORA], THIRD_UID)
    await world.finish(LORA)
    assert (await finished(world, **PICTURE)).phase is Phase.COMPLETED
    world.kube.apply(LORA, SPECS[LORA] | {"triggerWord": "other"}, THIRD_UID)
    for _ in range(15):
        await world.reconcile(LORA)
    posts = len(world.provider.posts)
    assert (await applied_again(world, **PICTURE)).reason == Reason.ADOPTED_FINISHED_RUN
    assert len(world.provider.posts) == posts


async def test_rerun_or_another_spec_starts_its_own_run(world: World) -> None:
    await finished(world)
    assert await expired(world)
    world.kube.apply(IMAGES, SPEC, OTHER_UID, **{RERUN_ANNOTATION: "once more"})
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 2
    assert await expired(world)
    assert (await finished(world, uid=THIRD_UID, prompt="another one")).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 3


async def test_manifests_key_decides_after_a_manual_deletion(world: World) -> None:
    """Of a chain of resources only the last one counts, and a person has deleted it."""
    refuse_by_budget(world)
    await finished(world)
    world.kube.budgets = []
    await rerun(world)
    await applied_again(world)
    world.kube.delete(IMAGES, world.now)
    await world.reconcile(IMAGES)
    assert not world.there(IMAGES)
    assert (await finished(world, uid=THIRD_UID)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 2, "deleted and applied by a person: a request for another run"


async def test_a_run_that_was_cancelled_before_its_payment_is_kept(world: World) -> None:
    """Applied again, it would be paid, although a person has cancelled it."""
    world.kube.apply(IMAGES, SPEC | {"suspend": True})
    await world.reconcile(IMAGES)
    world.kube.apply(IMAGES, SPEC | {"suspend": True}, **{CANCEL_ANNOTATION: "1"})
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert world.status(IMAGES).reason == Reason.CANCELLED
    assert not await expired(world)


@pytest.mark.parametrize("point", range(2 * 12))
async def test_a_crash_at_any_write_of_the_deletion_loses_no_file(monkeypatch: pytest.MonkeyPatch, point: int) -> None:
    writes = Writes()
    world = World(monkeypatch, writes)
    await finished(world, deletionPolicy="Delete")
    files = world.storage.objects.copy()
    writes._points = (2 * len(writes.done) + point,)
    assert await expired(world, reconciles=8)
    await world.sweep()
    assert (world.storage.objects, states(world)) == (files, ["collected"])
    assert (await finished(world, uid=OTHER_UID)).reason == Reason.ADOPTED_FINISHED_RUN
    assert len(world.provider.posts) == 1


async def test_writes_of_a_deletion_survive_in_their_order(world: World) -> None:
    await finished(world, deletionPolicy="Delete")
    before = len(world.writes.done)
    assert await expired(world)
    assert world.writes.done[before:] == ["run document", "record", "finalizers", "deletion"]


async def test_a_persons_deletion_before_it_deletes_the_files(world: World) -> None:
    """The DELETE of a person changes the resourceVersion, so that ours is refused."""
    await finished(world, deletionPolicy="Delete")
    put = world.kube.put_finalizers

    async def deleted_meanwhile(kind: Kind, namespace: str, name: str, version: str, finalizers: list[str]) -> Any:
        world.kube.put_finalizers = put  # type: ignore[method-assign]
        world.kube.delete(IMAGES, world.now)
        return await put(kind, namespace, name, version, finalizers)

    world.kube.put_finalizers = deleted_meanwhile  # type: ignore[method-assign]
    assert await expired(world, reconciles=10)
    assert (world.storage.files, states(world)) == ({}, ["discarded"])


async def test_an_edit_in_the_same_moment_starts_its_run(world: World) -> None:
    await finished(world)
    delete = world.kube.delete_resource

    async def edited(ref: ResourceRef, version: str, *, dry_run: bool = False) -> None:
        world.kube.delete_resource = delete  # type: ignore[method-assign]
        world.kube.apply(IMAGES, SPEC | {"prompt": "a dog"})
        await delete(ref, version, dry_run=dry_run)

    world.kube.delete_resource = edited  # type: ignore[method-assign]
    world.now += HOUR
    await world.reconcile(IMAGES)
    await world.reconcile(IMAGES)
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 2
    assert world.database["runs"].find_one({"_id": UID})["expiredAt"] is None, "it was not deleted"
    assert "expiredAt" not in world.database["jobs"].find_one({"jobId": UID})


async def test_a_finalizer_stays_where_the_operator_may_not_delete(world: World) -> None:
    """An older chart's Role lacks the verb: a person's deletion still deletes the files."""
    await finished(world, deletionPolicy="Delete")

    async def forbidden(*_: Any, **__: Any) -> None:
        raise rejection(403, "forbidden")

    world.kube.delete_resource = forbidden  # type: ignore[method-assign]
    world.now += HOUR
    ref = ResourceRef(kind=IMAGES, namespace="ns", name="it", uid=UID)
    again, result = await world.process._reconcile_or_pause(ref)
    assert (again, result) == (1.0, "api_error")
    await world.until_gone(IMAGES)
    assert world.storage.files == {}


async def test_foreign_finalizer_keeps_the_resource_and_its_files(world: World) -> None:
    await finished(world, deletionPolicy="Delete")
    meta = world.kube.resources[IMAGES, "it"]["metadata"]
    meta["finalizers"] = [*meta["finalizers"], "foregroundDeletion"]
    files = world.storage.objects.copy()
    assert not await expired(world)
    assert world.kube.resources[IMAGES, "it"]["metadata"]["finalizers"] == ["foregroundDeletion"]
    assert world.storage.objects == files


async def test_failed_run_with_a_paid_result_stays_until_collected(world: World) -> None:
    leave = world._leave_outcome
    result_unreachable(world)
    status = await finished(world)
    assert (status.phase, states(world)) == (Phase.FAILED, ["succeeded"])
    for _ in range(3):
        assert not await expired(world)
    world._leave_outcome = leave  # type: ignore[method-assign]
    world.kube.apply(IMAGES, SPEC, **{COLLECT_ANNOTATION: "1"})
    await world.reconcile(IMAGES)
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert await expired(world)
    assert len(world.provider.posts) == 1


async def test_a_failed_run_that_paid_nothing_is_deleted(world: World) -> None:
    status = await finished(world, prompt="a cat", image={"count": 2}, model="flux-unknown/none")
    assert status.phase is Phase.FAILED
    assert await expired(world)


async def test_a_result_of_an_earlier_run_keeps_the_resource(world: World) -> None:
    leave = world._leave_outcome
    result_unreachable(world)
    await finished(world)
    world._leave_outcome = leave  # type: ignore[method-assign]
    world.kube.apply(IMAGES, SPEC | {"prompt": "a dog"})
    await world.reconcile(IMAGES)
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert sorted(states(world)) == ["collected", "succeeded"]
    assert not await expired(world)


async def test_an_open_request_keeps_the_resource(world: World) -> None:
    """A deadline has ended the run, and the provider does not end the request, which may still finish."""
    world.provider.cancels = False

    async def running(model: str, request_id: str) -> RequestView:
        return RequestView(state=RequestState.RUNNING, message="running")

    world.provider.poll = running  # type: ignore[method-assign]
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"ttlSecondsAfterFinished": 0, "deadlineSeconds": 600})
    assert (await world.finish(IMAGES)).reason == Reason.DEADLINE_EXCEEDED
    for _ in range(20):
        await world.reconcile(IMAGES)
    assert (world.there(IMAGES), states(world)) == (True, ["submitted"])
    world.now += timedelta(days=31)  # the provider keeps no result for so long
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert not world.there(IMAGES)


async def test_a_rerun_that_was_asked_for_comes_first(world: World) -> None:
    await finished(world)
    world.now += HOUR
    world.kube.apply(IMAGES, SPEC, **{RERUN_ANNOTATION: "again"})
    await world.reconcile(IMAGES)
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 2
    assert await expired(world)


async def test_a_forged_end_deletes_nothing_while_a_request_is_open(world: World) -> None:
    """Whoever may write statuses names a time in the past."""
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"ttlSecondsAfterFinished": 0})
    await world.finish(IMAGES, Phase.PROCESSING)
    status = world.kube.resources[IMAGES, "it"]["status"]
    status |= {"phase": "Failed", "reason": "JobFailed", "completionTime": "2020-01-01T00:00:00Z"}
    status["conditions"] = [{"type": "Failed", "status": "True"}]
    status["run"].pop("requestOpen", None)
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert (world.there(IMAGES), states(world)) == (True, ["submitted"])


async def test_a_lora_that_expired_is_used_by_images_that_name_it(world: World) -> None:
    await finished(world, LORA, deletionPolicy="Delete")
    assert await expired(world, LORA)
    world.kube.apply(IMAGES, PICTURE, OTHER_UID)
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    (lora,) = world.provider.posts[1].arguments["loras"]
    assert f"/{UID}/v1/model.safetensors" in lora["path"]


async def test_an_image_waits_for_a_lora_that_a_person_deleted(world: World) -> None:
    await finished(world, LORA)
    await world.until_gone(LORA)
    world.kube.apply(IMAGES, PICTURE, OTHER_UID)
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert world.status(IMAGES).reason == Reason.LORA_MISSING


async def test_last_resource_of_a_name_decides_the_use_of_its_lora(world: World) -> None:
    """An expired LoRA was applied again, and that one was deleted by a person."""
    await finished(world, LORA)
    assert await expired(world, LORA)
    assert (await finished(world, LORA, OTHER_UID)).reason == Reason.ADOPTED_FINISHED_RUN
    await world.until_gone(LORA)
    world.kube.apply(IMAGES, PICTURE, THIRD_UID)
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert world.status(IMAGES).reason == Reason.LORA_MISSING


async def test_the_lora_of_a_namespace_before_this_one_is_not_used(world: World) -> None:
    await finished(world, LORA)
    assert await expired(world, LORA)
    world.now += timedelta(days=1)
    world.kube.namespaces = world.kube.namespaces | {"ns": ("another-namespace", f"{world.now:%Y-%m-%dT%H:%M:%SZ}")}
    world.restart()
    world.kube.apply(IMAGES, PICTURE, OTHER_UID)
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert world.status(IMAGES).reason == Reason.LORA_MISSING
    assert len(world.provider.posts) == 1


async def test_image_of_an_expired_lora_is_adopted(world: World) -> None:
    await finished(world, LORA)
    world.kube.apply(IMAGES, PICTURE, OTHER_UID)
    await world.finish(IMAGES)
    assert await expired(world, LORA)
    await world.until_gone(IMAGES)
    world.kube.apply(IMAGES, PICTURE, THIRD_UID)
    assert (await world.finish(IMAGES)).reason == Reason.ADOPTED_FINISHED_RUN
    assert len(world.provider.posts) == 2


def test_the_field_is_no_input() -> None:
    plain, timed = parse_spec(IMAGES, SPECS[IMAGES]), parse_spec(IMAGES, SPEC)
    assert run_hash(IMAGES, plain) == run_hash(IMAGES, timed)


Body = dict[str, Any]


def body(completed: str, ttl: Any = 60, **status: Any) -> Body:
    conditions = [{"type": "Complete", "status": "True"}]
    run = {"number": 1, "version": 1, "runHash": "h", "generation": 1, "spec": {}, "startedAt": completed}
    end = {
        "phase": "Completed",
        "completionTime": completed,
        "conditions": conditions,
        "run": run,
        "observedGeneration": 1,
    }
    end |= {"versions": [{"version": 1, "completedAt": completed}]}
    meta = {"name": "it", "namespace": "ns", "uid": UID, "resourceVersion": "1", "creationTimestamp": completed}
    return {"metadata": meta, "spec": {"ttlSecondsAfterFinished": ttl}, "status": end | status}


NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("given", "due"),
    [
        (body("2026-11-21T11:59:00Z"), True),
        (body("2026-11-21T11:59:01Z"), False),
        (body("2026-11-21T11:59:00Z", ttl=0), True),
        (body("2026-11-21T11:59:00Z", ttl=None), False),
        (body("2026-11-21T11:59:00Z", ttl="0"), False),
        (body("2026-11-21T11:59:00Z", ttl=True), False),
        (body("2026-11-21T11:59:00Z", ttl=-1), False),
        (body("9999-12-31T23:59:59Z"), False),
        (body("2026-11-21T11:59:00Z", phase="Processing"), False),
        (body("2026-11-21T11:59:00Z", phase="Failed"), False),
        (body("2026-11-21T11:59:00Z", completionTime=None), False),
        (body("2026-11-21T11:59:00Z", completionTime="soon"), False),
    ],
)
async def test_the_watches_wake_a_finished_resource_at_its_time(given: Body, due: bool) -> None:
    woken: list[ResourceRef] = []

    async def wake(ref: ResourceRef) -> None:
        woken.append(ref)

    expiries = Expiries(wake, lambda: NOW)
    ref = ResourceRef(kind=IMAGES, namespace="ns", name="it", uid=UID)
    expiries.note(ref, given)
    assert await expiries.wake_due() > 0
    assert woken == [ref] * due
    await expiries.wake_due()
    assert woken == [ref] * due, "once"


async def test_a_resource_that_goes_on_is_not_woken() -> None:
    woken: list[ResourceRef] = []
    wake: Callable[[ResourceRef], Awaitable[None]] = _appending(woken)
    expiries = Expiries(wake, lambda: NOW)
    ref = ResourceRef(kind=IMAGES, namespace="ns", name="it", uid=UID)
    expiries.note(ref, body("2026-11-21T11:00:00Z"))
    expiries.note(ref, body("2026-11-21T11:00:00Z", ttl=None))
    await expiries.wake_due()
    assert woken == []


async def test_watches_note_finished_resources_only() -> None:
    """Also on a standby, which queues nothing."""
    woken: list[ResourceRef] = []
    expiries = Expiries(_appending(woken), lambda: NOW)
    idle: list[ResourceRef] = []
    handlers = EventHandlers(Cache(), _appending(idle), Reports(), finished=[expiries])
    done = body("2026-11-21T11:00:00Z")
    for deleted in (False, True):
        await handlers.resource(IMAGES, done, deleted=deleted)
    await expiries.wake_due()
    assert woken == []
    await handlers.resource(IMAGES, done, deleted=False)
    await expiries.wake_due()
    assert [each.uid for each in woken] == [UID]


def _appending(woken: list[ResourceRef]) -> Callable[[ResourceRef], Awaitable[None]]:
    async def wake(ref: ResourceRef) -> None:
        woken.append(ref)

    return wake
