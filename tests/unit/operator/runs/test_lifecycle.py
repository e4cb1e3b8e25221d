"""Deletion, suspension and deadlines, in the simulated world and with the process ended at each of its writes."""

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from pymongo.errors import AutoReconnect

from contentgen_contract.names import FINALIZER, Kind, Phase
from contentgen_contract.records.deletion_tombstone import DeletionTombstone
from contentgen_contract.records.ownership import Owner
from contentgen_operator.providers.base import Unavailable
from contentgen_operator.state.provider_requests import RequestState, RequestView
from contentgen_operator.state.purchases import PurchaseState
from contentgen_operator.stores.s3 import DeletedPage
from contentgen_runtime.store_errors import NotDeleted
from contentgen_simulation.world import SPECS, UID, World, Writes

pytestmark = pytest.mark.usefixtures("no_waiting")

LORA, IMAGES = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION
DELETE = {"deletionPolicy": "Delete"}


def finalized(world: World, kind: Kind) -> bool:
    return FINALIZER in world.kube.resources[kind, "it"]["metadata"]["finalizers"]


async def running_for_ever(model: str, request_id: str) -> RequestView:
    return RequestView(state=RequestState.RUNNING, message="running")


async def processing(world: World, kind: Kind, **spec: Any) -> None:
    """A resource whose request is in flight, at a provider that never ends by itself."""
    world.provider.poll = running_for_ever  # type: ignore[method-assign]
    world.kube.apply(kind, SPECS[kind] | spec)
    await world.finish(kind, Phase.PROCESSING)


# The finalizer


@pytest.mark.parametrize("kind", Kind)
async def test_finalizer_exists_only_while_a_paid_request_is_open(kind: Kind, world: World) -> None:
    world.kube.apply(kind, SPECS[kind])
    for _ in range(100):
        await world.reconcile(kind)
        state = (world.database["ledger"].find_one() or {}).get("state")
        assert finalized(world, kind) == (state in ("intent", "submitted")), (world.status(kind).phase, state)
        if world.status(kind).phase is Phase.COMPLETED:
            break
    writes = world.writes.done
    assert writes.index("finalizers") < writes.index("intend") < writes.index("POST"), "held before it is paid"


async def test_with_policy_delete_the_finalizer_stays(world: World) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES] | DELETE)
    await world.finish(IMAGES)
    await world.recover(IMAGES)
    assert finalized(world, IMAGES)
    world.kube.apply(IMAGES, SPECS[IMAGES])  # the policy is Retain again
    await world.reconcile(IMAGES)
    assert not finalized(world, IMAGES)


# Deletion


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_deletion_at_any_time_and_reapplication_pay_once(
    kind: Kind, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = set()
    for reconciles in range(14):
        world = World(monkeypatch, Writes())
        spec = SPECS[kind] | {"deletionPolicy": policy}
        world.kube.apply(kind, spec)
        for _ in range(reconciles):
            await world.reconcile(kind)
        phase = world.status(kind).phase
        await world.until_gone(kind)
        assert world.kube.jobs == {}
        record = world.database["jobs"].find_one({"jobId": UID})
        if policy == "Delete":
            assert record is None
            assert world.storage.files == {}, f"after {reconciles} reconciles"
        elif phase is not None:
            assert record["status"] == ("completed" if phase is Phase.COMPLETED else "cancelled")
        world.kube.apply(kind, spec, uid="another-uid")
        status = await world.finish(kind)
        ends.add((phase, status.reason))
        assert len(world.provider.posts) <= 1, f"after {reconciles} reconciles"
        await world.recover(kind)
    again = "AdoptedFinishedRun" if policy == "Retain" else "OutputsDeleted"
    assert (Phase.COMPLETED, again) in ends
    assert (Phase.PROCESSING, "Cancelled") in ends
    assert (None, "Completed") in ends


async def test_uncancelled_request_is_adopted(world: World) -> None:
    world.provider.cancels = False
    polls = world.provider.poll
    await processing(world, LORA)
    await world.until_gone(LORA)
    assert world.provider.cancelled == ["request-1"]
    world.provider.poll = polls  # type: ignore[method-assign]
    world.kube.apply(LORA, SPECS[LORA], uid="another-uid")
    status = await world.finish(LORA)
    assert (status.phase, len(world.provider.posts)) == (Phase.COMPLETED, 1)


async def test_absent_provider_delays_a_deletion_half_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away(model: str, request_id: str) -> bool:
        raise Unavailable("503")

    world = World(monkeypatch, Writes())
    world.provider.cancel = away  # type: ignore[method-assign]
    await processing(world, IMAGES)
    before = world.now
    await world.until_gone(IMAGES)
    assert timedelta(seconds=20) < world.now - before < timedelta(seconds=40)
    assert world.database["ledger"].find_one()["state"] == PurchaseState.SUBMITTED


@pytest.mark.parametrize("error", [AutoReconnect("away"), EndpointConnectionError(endpoint_url="http://s3")])
async def test_absent_stores_delay_nothing_and_files_go_later(
    error: Exception, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES] | DELETE)
    await world.finish(IMAGES)

    async def away(*_: object) -> None:
        raise error

    monkeypatch.setattr(world.storage, "delete_prefix", away)
    before = world.now
    await world.until_gone(IMAGES)
    assert world.now - before < timedelta(seconds=40)
    assert world.storage.files != {}
    monkeypatch.undo()
    assert len(await world.marks()) == 1
    await world.sweep()
    assert (world.storage.files, world.database["jobs"].count_documents({})) == ({}, 0)


async def test_undeletable_prefix_delays_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    janitor = world.process.actor.garbage_collector
    marks = [
        DeletionTombstone(uid=uid, prefixes=(f"images/ns/{uid}/", f"runs/{uid}/"), job_ids=(uid,))
        for uid in ("first", "second")
    ]
    for mark in marks:
        await janitor.records.mark_discarded(mark)
    world.storage.objects = {f"{prefix}x": 1 for mark in marks for prefix in mark.prefixes}
    delete = world.storage.delete_prefix

    async def kept(owner: Owner, prefix: str, most: int, keep: frozenset[str]) -> DeletedPage:
        if prefix == "images/ns/first/":
            raise NotDeleted("images/ns/first/x: AccessDenied")
        return await delete(owner, prefix, most, keep)

    monkeypatch.setattr(world.storage, "delete_prefix", kept)
    await world.sweep()
    assert set(world.storage.objects) == {"images/ns/first/x"}
    assert await world.marks() == ["first"], "it is tried again"


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_a_crash_at_any_write_of_a_deletion(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def deleted(writes: Writes) -> World:
        world = World(monkeypatch, writes)
        await processing(world, IMAGES, deletionPolicy=policy)
        await world.until_gone(IMAGES)
        return world

    reference = await deleted(Writes())
    first = reference.writes.done.index("cancel")
    for point in range(2 * first, 2 * len(reference.writes.done)):
        world = await deleted(Writes((point,)))
        assert len(world.writes.fired) == 1
        assert world.provider.cancelled[0] == "request-1", world.writes.fired
        states = [purchase["state"] for purchase in world.database["ledger"].find()]
        assert states == ["cancelled"], world.writes.fired
        if policy == "Delete":
            assert (world.storage.files, world.database["jobs"].count_documents({})) == ({}, 0), world.writes.fired


async def test_the_files_of_an_adopted_run_go_too(world: World) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES)
    await world.until_gone(IMAGES)
    assert world.storage.files != {}
    world.kube.apply(IMAGES, SPECS[IMAGES] | DELETE, uid="another-uid")
    assert (await world.finish(IMAGES)).reason == "AdoptedFinishedRun"
    await world.until_gone(IMAGES)
    assert world.storage.files == {}
    assert world.database["jobs"].count_documents({}) == 0, "the older record would lead to nothing"


async def test_a_neighbours_files_stay(world: World) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES] | DELETE)
    await world.finish(IMAGES)
    world.storage.objects[f"generated-images/ns/{UID}0/image_1.png"] = 7
    world.storage.objects["generated-images/ns/other/image_1.png"] = 7
    await world.until_gone(IMAGES)
    assert set(world.storage.files) == {
        f"generated-images/ns/{UID}0/image_1.png",
        "generated-images/ns/other/image_1.png",
    }


# Suspension


@pytest.mark.parametrize("kind", Kind)
async def test_suspended_from_the_start_nothing_is_started(kind: Kind, world: World) -> None:
    world.kube.apply(kind, SPECS[kind] | {"suspend": True})
    for _ in range(10):
        await world.reconcile(kind)
    status = world.status(kind)
    assert (status.phase, status.reason) == (Phase.SUSPENDED, "Suspended")
    seen = {condition.type: condition.status for condition in status.conditions}
    assert (seen["Suspended"], seen["Reconciling"], seen["Ready"], seen["Stalled"]) == (
        "True",
        "False",
        "False",
        "False",
    )
    assert (world.kube.jobs, world.provider.posts) == ({}, [])
    world.kube.apply(kind, SPECS[kind])
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


async def test_suspended_while_it_prepares_it_stops_before_it_pays(world: World) -> None:
    world.kube.apply(LORA, SPECS[LORA])
    await world.reconcile(LORA)
    world.kube.apply(LORA, SPECS[LORA] | {"suspend": True})
    assert (await world.finish(LORA, Phase.SUSPENDED)).phase is Phase.SUSPENDED
    status = world.status(LORA)
    assert status.run is not None
    assert status.run.facts is not None, "the Job that ran was let finish"
    assert world.provider.posts == []
    before = status.progress
    world.kube.apply(LORA, SPECS[LORA])
    end = await world.finish(LORA)
    assert (end.phase, len(world.provider.posts), len(world.kube.jobs)) == (Phase.COMPLETED, 1, 2)
    assert all(each_status.progress >= before for each_status in world.kube.statuses[-3:])


async def test_paid_request_is_completed_while_suspended(world: World) -> None:
    world.kube.apply(LORA, SPECS[LORA])
    await world.finish(LORA, Phase.PROCESSING)
    world.kube.apply(LORA, SPECS[LORA] | {"suspend": True})
    assert (await world.finish(LORA)).phase is Phase.COMPLETED


# Deadlines


@pytest.mark.parametrize("kind", Kind)
async def test_a_provider_that_is_stuck_is_cancelled_at_the_deadline(kind: Kind, world: World) -> None:
    started = world.now
    await processing(world, kind, deadlineSeconds=900)
    status = await world.finish(kind)
    assert (status.phase, status.reason) == (Phase.FAILED, "DeadlineExceeded")
    assert status.message is not None
    assert "deadlineSeconds (900)" in status.message
    assert (
        timedelta(seconds=900)
        <= world.now - started
        < timedelta(seconds=900 + 2 * world.decision_settings.poll_seconds)
    )
    assert (world.provider.cancelled, len(world.provider.posts)) == (["request-1"], 1)
    assert not finalized(world, kind)
    await world.recover(kind)


async def test_the_operators_own_limit_for_a_provider(world: World) -> None:
    world.decision_settings = world.decision_settings.model_copy(update={"provider_seconds": 3600})
    world.restart()
    await processing(world, IMAGES)
    status = await world.finish(IMAGES)
    assert (status.reason, world.provider.cancelled) == ("DeadlineExceeded", ["request-1"])


async def test_a_deadline_holds_while_it_waits_and_while_it_prepares(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.kube.apply(
        IMAGES, {"prompt": "x", "model": "flux-lora", "loras": [{"loraRef": {"name": "none"}}], "deadlineSeconds": 600}
    )
    assert (await world.finish(IMAGES)).reason == "DeadlineExceeded"
    monkeypatch.setattr(world, "work", lambda: None)  # the Job never ends
    world.kube.apply(LORA, SPECS[LORA] | {"deadlineSeconds": 600}, uid="another-uid")
    assert (await world.finish(LORA)).reason == "DeadlineExceeded"
    assert (world.kube.jobs, world.provider.posts) == ({}, [])


async def test_a_result_that_is_paid_is_stored_after_the_deadline_too(world: World) -> None:
    world.kube.apply(LORA, SPECS[LORA])
    await world.finish(LORA, Phase.COLLECTING)
    world.now += timedelta(hours=1)
    world.kube.apply(LORA, SPECS[LORA] | {"deadlineSeconds": 60})
    assert (await world.finish(LORA)).phase is Phase.COMPLETED


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
@pytest.mark.parametrize("kind", Kind)
async def test_unstored_result_is_collected_by_the_next_resource(
    kind: Kind, policy: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With deletionPolicy Delete the deletion would discard the provider's response."""
    world.kube.apply(kind, SPECS[kind] | {"deletionPolicy": policy, "collectDeadlineSeconds": 60})
    stored = world.storage.stored

    async def lost(*_: object) -> dict[str, object]:
        return {}

    await world.finish(kind, Phase.COLLECTING)
    monkeypatch.setattr(world.storage, "stored", lost)
    failed = await world.finish(kind)
    assert failed.reason == "OutputMissing"
    monkeypatch.setattr(world.storage, "stored", stored)
    if policy == "Delete":
        world.kube.apply(kind, SPECS[kind] | {"deletionPolicy": "Retain"})
        await world.reconcile(kind)
    await world.until_gone(kind)
    world.kube.apply(kind, SPECS[kind], uid="another-uid")
    status = await world.finish(kind)
    assert (status.phase, len(world.provider.posts)) == (Phase.COMPLETED, 1)


async def test_a_missing_lora_is_told_from_one_in_training(world: World) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"loras": [{"loraRef": {"name": "it"}}]}, uid="images-uid")
    await world.reconcile(IMAGES)
    status = world.status(IMAGES)
    assert (status.phase, status.reason) == (Phase.PENDING, "LoraMissing")
    assert (status.message or "").startswith("LoraTraining it does not exist in this namespace; nothing was paid here")
    world.kube.apply(LORA, SPECS[LORA])
    await world.finish(LORA, Phase.PROCESSING)
    await world.reconcile(IMAGES)
    status = world.status(IMAGES)
    assert (status.reason, status.message) == (
        "WaitingForLora", "waiting for LoraTraining it, which is running, 60 %"
    )  # fmt: skip
    await world.finish(LORA)
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 2
