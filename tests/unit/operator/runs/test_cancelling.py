"""Cancellation of a run after each reconcile: cost, calls to the provider, and message."""

import pytest

from contentgen_contract.names import CANCEL_ANNOTATION, FINALIZER, RERUN_ANNOTATION, Kind, Phase
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.providers.base import Unavailable
from contentgen_operator.state.provider_requests import UNKNOWN, Found, RequestState, RequestView, Search
from contentgen_simulation.world import SPECS, UID, World, Writes, resubmit_token

pytestmark = pytest.mark.usefixtures("no_waiting")

LORA, IMAGES, TRANSCRIPT = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION
CANCEL = {CANCEL_ANNOTATION: "1"}


async def running_for_ever(model: str, request_id: str) -> RequestView:
    return RequestView(state=RequestState.RUNNING, message="running")


async def cancelled(world: World, kind: Kind, **annotations: str) -> ResourceStatus:
    """The end of what is cancelled now."""
    world.kube.apply(kind, SPECS[kind], **(CANCEL | annotations))
    return await world.finish(kind)


def ended(status: ResourceStatus) -> tuple[Phase | None, str | None, bool | None]:
    assert status.run is not None
    return status.phase, status.reason, status.run.billed


def state(world: World) -> str | None:
    found = world.database["ledger"].find_one()
    return found and found["state"]


@pytest.mark.parametrize("kind", Kind)
async def test_cancellation_at_any_time_ends_and_pays_nothing_more(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a result that was paid for is stored all the same."""
    ends = set()
    for reconciles in range(14):
        world = World(monkeypatch, Writes())
        world.kube.apply(kind, SPECS[kind])
        for _ in range(reconciles):
            await world.reconcile(kind)
        before, paid = state(world), len(world.provider.posts)
        over = (world.status(kind).phase or Phase.PENDING).terminal
        status = await cancelled(world, kind)
        assert len(world.provider.posts) == paid, f"after {reconciles} reconciles"
        assert all("status" in job for job in world.kube.jobs.values()), "a Job that runs is stopped"
        record = world.database["jobs"].find_one({"jobId": UID})
        if before is None:
            assert ended(status) == (Phase.FAILED, "Cancelled", False)
            assert "nothing was paid" in (status.message or "")
            assert status.cost is None or (status.cost.actual, status.cost.actual_source) == ("0.00", "not billed")
        if status.phase is Phase.FAILED:
            assert record["status"] == "cancelled"
            assert FINALIZER not in world.kube.resources[kind, "it"]["metadata"]["finalizers"]
        else:
            assert over or before in ("submitted", "succeeded")
            assert record["status"] == "completed"
        ends.add((before, ended(status)))
        await world.recover(kind)
    assert (None, (Phase.FAILED, "Cancelled", False)) in ends
    assert ("submitted", (Phase.FAILED, "Cancelled", None)) in ends
    assert ("collected", (Phase.COMPLETED, "Completed", True)) in ends


async def test_billing_of_a_request_ended_by_the_provider_is_unknown(world: World) -> None:
    world.provider.poll = running_for_ever  # type: ignore[method-assign]
    world.kube.apply(LORA, SPECS[LORA])
    await world.finish(LORA, Phase.PROCESSING)
    status = await cancelled(world, LORA)
    assert ended(status) == (Phase.FAILED, "Cancelled", None)
    assert (world.provider.cancelled, state(world)) == (["request-1"], "cancelled")


async def test_uncancelled_request_is_billed_and_its_result_adopted(world: World) -> None:
    world.provider.cancels = False
    polls, world.provider.poll = world.provider.poll, running_for_ever  # type: ignore[method-assign]
    world.kube.apply(TRANSCRIPT, SPECS[TRANSCRIPT])
    await world.finish(TRANSCRIPT, Phase.PROCESSING)
    status = await cancelled(world, TRANSCRIPT)
    assert ended(status) == (Phase.FAILED, "Cancelled", True)
    assert "is billed" in (status.message or "")
    assert world.provider.cancelled == ["request-1"], "asked once"
    await world.until_gone(TRANSCRIPT)
    world.provider.poll = polls  # type: ignore[method-assign]
    world.kube.apply(TRANSCRIPT, SPECS[TRANSCRIPT], uid="another-uid")
    assert (await world.finish(TRANSCRIPT)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


async def test_billing_of_a_vanished_cancelled_request_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """fal removes a queued request that is cancelled, and does not know it any more."""

    async def poll(model: str, request_id: str) -> RequestView:
        return UNKNOWN if world.provider.cancelled else await running_for_ever(model, request_id)

    world = World(monkeypatch, Writes())
    world.provider.cancels = False
    world.provider.poll = poll  # type: ignore[method-assign]
    world.kube.apply(LORA, SPECS[LORA])
    await world.finish(LORA, Phase.PROCESSING)
    status = await cancelled(world, LORA)
    assert ended(status) == (Phase.FAILED, "Cancelled", None)
    assert "it is unknown whether request" in (status.message or "")


async def test_request_ending_after_its_cancellation_is_not_rebought(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def ends_late(model: str, request_id: str) -> RequestView:
        asked = bool(world.provider.cancelled) and len(looks) > 3
        looks.append(request_id)
        state = RequestState.FAILED if asked else RequestState.RUNNING
        return RequestView(state=state, message="Request was cancelled", cancelled=asked)

    looks: list[str] = []
    world = World(monkeypatch, Writes())
    world.provider.cancels = False
    world.provider.poll = ends_late  # type: ignore[method-assign]
    spec = SPECS[IMAGES] | {"paidAttempts": 3}
    world.kube.apply(IMAGES, spec)
    await world.finish(IMAGES, Phase.PROCESSING)
    world.kube.apply(IMAGES, spec, **CANCEL)
    assert ended(await world.finish(IMAGES)) == (Phase.FAILED, "Cancelled", None)
    assert (state(world), len(world.provider.posts)) == ("cancelled", 1)


async def test_adopted_request_that_fails_is_no_cancellation(world: World) -> None:
    """Money 23: it was asked to end with the resource before; another attempt is as allowed as after any failure."""
    world.provider.cancels = False
    polls, world.provider.poll = world.provider.poll, running_for_ever  # type: ignore[method-assign]
    spec = SPECS[IMAGES] | {"paidAttempts": 2}
    world.kube.apply(IMAGES, spec)
    await world.finish(IMAGES, Phase.PROCESSING)
    await world.until_gone(IMAGES)
    world.provider.poll = polls  # type: ignore[method-assign]
    world.provider.fails = {1}
    world.kube.apply(IMAGES, spec, uid="another-uid")
    status = await world.finish(IMAGES)
    assert ended(status) == (Phase.COMPLETED, "Completed", True)
    assert len(world.provider.posts) == 2
    first = world.database["ledger"].find_one({"_id": {"$regex": "/1$"}})
    assert (first["state"], first["costSource"], first["actualMicros"]) == ("failed", "unknown", None)


@pytest.mark.parametrize(("units", "billed"), [(None, None), (0.0, False), (2.0, True)])
async def test_adopted_request_that_failed_is_billed_as_reported(
    monkeypatch: pytest.MonkeyPatch, units: float | None, billed: bool | None
) -> None:
    """Money 23."""

    async def fails(model: str, request_id: str) -> RequestView:
        return RequestView(state=RequestState.FAILED, message="no", billable_units=units)

    world = World(monkeypatch, Writes())
    world.provider.cancels = False
    world.provider.poll = running_for_ever  # type: ignore[method-assign]
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES, Phase.PROCESSING)
    await world.until_gone(IMAGES)
    world.provider.poll = fails  # type: ignore[method-assign]
    world.kube.apply(IMAGES, SPECS[IMAGES], uid="another-uid")
    assert ended(await world.finish(IMAGES)) == (Phase.FAILED, "ProviderFailed", billed)
    assert len(world.provider.posts) == 1


async def test_a_provider_that_is_away_is_asked_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(model: str, request_id: str) -> bool:
        raise Unavailable("503")

    world = World(monkeypatch, Writes())
    world.provider.poll = running_for_ever  # type: ignore[method-assign]
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES, Phase.PROCESSING)
    cancels, world.provider.cancel = world.provider.cancel, away  # type: ignore[method-assign]
    world.kube.apply(IMAGES, SPECS[IMAGES], **CANCEL)
    for _ in range(5):
        await world.reconcile(IMAGES)
    status = world.status(IMAGES)
    assert status.phase is Phase.PROCESSING
    assert "is being cancelled" in (status.message or "")
    world.provider.cancel = cancels  # type: ignore[method-assign]
    assert ended(await world.finish(IMAGES)) == (Phase.FAILED, "Cancelled", None)


async def test_request_with_a_lost_reply_is_found_and_cancelled(world: World) -> None:
    world.provider.lose_replies = {1}
    world.provider.poll = running_for_ever  # type: ignore[method-assign]
    world.kube.apply(IMAGES, SPECS[IMAGES])
    while not world.provider.posts:
        await world.reconcile(IMAGES)
    assert state(world) == "intent"
    assert ended(await cancelled(world, IMAGES)) == (Phase.FAILED, "Cancelled", None)
    assert world.provider.cancelled == ["request-1"]


async def test_request_never_found_may_be_billed_and_is_not_sent_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def nothing(search: Search) -> Found:
        return Found(request_id=None, complete=True)

    world = World(monkeypatch, Writes())
    world.provider.lose_replies = {1}
    world.provider.find = nothing  # type: ignore[method-assign]
    world.kube.apply(IMAGES, SPECS[IMAGES])
    status = await world.finish(IMAGES, Phase.SUBMISSION_UNKNOWN)
    token = resubmit_token(status)
    status = await cancelled(world, IMAGES, **{"contentgen.dev/resubmit": token})
    assert ended(status) == (Phase.FAILED, "Cancelled", None)
    assert "may have been paid" in (status.message or "")
    assert len(world.provider.posts) == 1


async def test_no_other_attempt_follows_one_that_failed(world: World) -> None:
    world.provider.fails = {1}
    spec = SPECS[IMAGES] | {"paidAttempts": 3}
    world.kube.apply(IMAGES, spec)
    while state(world) != "failed":
        await world.reconcile(IMAGES)
    world.kube.apply(IMAGES, spec, **CANCEL)
    assert ended(await world.finish(IMAGES)) == (Phase.FAILED, "Cancelled", None)
    assert len(world.provider.posts) == 1


async def test_annotation_of_the_last_run_does_not_cancel_the_next(world: World) -> None:
    assert (await cancelled(world, IMAGES)).reason == "Cancelled"
    world.kube.apply(IMAGES, SPECS[IMAGES], **CANCEL, **{RERUN_ANNOTATION: "again"})
    for _ in range(50):
        await world.reconcile(IMAGES)
    status = world.status(IMAGES)
    assert ended(status) == (Phase.COMPLETED, "Completed", True)
    assert (status.run and status.run.number, len(world.provider.posts)) == (2, 1)


@pytest.mark.parametrize("word", ["2", "true", "", "01", " 1"])
async def test_a_word_that_is_not_the_runs_number_cancels_nothing(word: str, world: World) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES], **{CANCEL_ANNOTATION: word})
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED


async def test_suspended_run_can_be_cancelled(world: World) -> None:
    world.kube.apply(LORA, SPECS[LORA] | {"suspend": True})
    await world.finish(LORA, Phase.SUSPENDED)
    world.kube.apply(LORA, SPECS[LORA] | {"suspend": True}, **CANCEL)
    assert ended(await world.finish(LORA)) == (Phase.FAILED, "Cancelled", False)


async def test_a_job_that_a_crash_left_unnoted_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = World(monkeypatch, Writes())
    reference.kube.apply(LORA, SPECS[LORA])
    await reference.reconcile(LORA)
    after_job = 2 * reference.writes.done.index("job") + 1
    world = World(monkeypatch, Writes((after_job,)))
    world.kube.apply(LORA, SPECS[LORA])
    await world.reconcile(LORA)
    assert len(world.kube.jobs) == 1
    assert world.status(LORA).run is None
    assert ended(await cancelled(world, LORA)) == (Phase.FAILED, "Cancelled", False)
    assert world.kube.jobs == {}


async def test_a_crash_at_any_write_of_a_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(writes: Writes) -> World:
        world = World(monkeypatch, writes)
        world.provider.poll = running_for_ever  # type: ignore[method-assign]
        world.kube.apply(IMAGES, SPECS[IMAGES])
        while state(world) != "submitted":
            await world.reconcile(IMAGES)
        await cancelled(world, IMAGES)
        return world

    reference = await run(Writes())
    first = reference.writes.done.index("cancel")
    assert reference.writes.done[first + 1] == "move to cancelled"
    for point in range(2 * first, 2 * len(reference.writes.done)):
        world = await run(Writes((point,)))
        assert len(world.writes.fired) == 1
        assert ended(world.status(IMAGES)) == (Phase.FAILED, "Cancelled", None), world.writes.fired
        assert (state(world), len(world.provider.posts)) == ("cancelled", 1), world.writes.fired
        await world.recover(IMAGES)
