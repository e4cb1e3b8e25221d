"""Crashes of the operator before and after each write: at most one payment, and the same final state."""

import asyncio
import itertools
import random
from datetime import timedelta
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from contentgen_contract.names import Kind, Phase, progress_at
from contentgen_contract.resources.spec import parse_spec
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.provider_requests import Found, Search
from contentgen_runtime.kube import Conflict
from contentgen_simulation.world import SPECS, UID, World, Writes, resubmit_token

pytestmark = pytest.mark.usefixtures("no_waiting")

ORDER = [
    Phase.PENDING,
    Phase.PREPARING,
    Phase.SUBMITTING,
    Phase.SUBMISSION_UNKNOWN,
    Phase.PROCESSING,
    Phase.COLLECTING,
    Phase.COMPLETED,
    Phase.FAILED,
]


MILESTONES = ("SourceReady", "DatasetReady", "Submitted", "Stored")


def timeless(value: Any) -> Any:
    """Copy without times, resource versions, revisions and purchase ids, which differ between runs of a story.

    A milestone's condition keeps its first message, which a crash may change to "the request was found again".
    """
    if isinstance(value, dict) and value.get("type") in MILESTONES:
        return {k: value[k] for k in ("type", "status", "observedGeneration")}
    if isinstance(value, dict):
        differ = ("time", "at", "purchaseid", "revision")
        return {k: timeless(v) for k, v in value.items() if not k.lower().endswith(differ)}
    if isinstance(value, list):
        return [timeless(element) for element in value]
    return value


def payment_aside(status: dict[str, Any]) -> dict[str, Any]:
    """Copy without the fields that a resubmission changes: the first attempt has an unknown cost and is searched."""
    run = {k: v for k, v in status["run"].items() if k not in ("paidAttempt", "requestId", "requestOpen")}
    return status | {"run": run, "cost": None}


def cost_aside(record: dict[str, Any]) -> dict[str, Any]:
    """Copy of a record without the fields that a resubmission changes."""
    return record | {"cost": None, "versions": [version | {"cost": None} for version in record["versions"]]}


def assert_forward(statuses: list[ResourceStatus]) -> None:
    for before, after in itertools.pairwise(statuses):
        assert before.run is not None
        assert after.run is not None
        if (before.run.number, before.run.paid_attempt) != (after.run.number, after.run.paid_attempt):
            continue
        assert before.phase is not None
        assert after.phase is not None
        assert ORDER.index(before.phase) <= ORDER.index(after.phase), (before.phase, after.phase)
        assert before.progress <= after.progress


async def story(monkeypatch: pytest.MonkeyPatch, kind: Kind, writes: Writes) -> tuple[World, dict[str, Any]]:
    """Process one resource from its creation to its end, with a person's decision where one is required."""
    world = World(monkeypatch, writes)
    world.kube.apply(kind, SPECS[kind])
    status = await world.finish(kind, Phase.SUBMISSION_UNKNOWN)
    if status.phase is Phase.SUBMISSION_UNKNOWN:
        assert world.provider.posts == []
        assert status.message is not None
        world.kube.apply(kind, SPECS[kind], **{"contentgen.dev/resubmit": resubmit_token(status)})
        status = await world.finish(kind)
    await world.recover(kind)
    return world, world.kube.resources[kind, "it"]["status"]


WRITES: dict[Kind, int] = {Kind.LORA_TRAINING: 41, Kind.IMAGE_GENERATION: 33, Kind.TRANSCRIPTION: 41}


@pytest.mark.parametrize("kind", Kind)
async def test_the_story_without_a_crash(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    world, status = await story(monkeypatch, kind, Writes())
    assert status["phase"] == "Completed"
    assert status["progress"] == 100
    assert len(world.provider.posts) == 1
    assert_forward(world.kube.statuses)
    first = {condition.type: condition.status for condition in world.kube.statuses[0].conditions}
    assert (first["Ready"], first["Reconciling"], first["Stalled"]) == ("False", "True", "False")
    record = world.database["jobs"].find_one({"jobId": UID})
    assert record is not None
    assert (record["status"], record["progress"], len(record["versions"])) == ("completed", 100, 1)
    assert len(world.kube.events) == len(set(world.kube.events)), "each transition is told once"
    assert "Signature" not in str(world.kube.resources) + str(world.kube.statuses) + str(record)
    assert parse_spec(kind, SPECS[kind])
    assert len(world.writes.done) <= WRITES[kind]


@pytest.mark.parametrize("kind", Kind)
async def test_a_crash_at_any_write_pays_once_and_converges(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    reference, expected = await story(monkeypatch, kind, Writes())
    points = range(2 * len(reference.writes.done))
    unknown = []
    for point in points:
        world, status = await story(monkeypatch, kind, Writes((point,)))
        assert len(world.writes.fired) == 1, "the fault really fired"
        where = f"crash {world.writes.fired[0]} (point {point})"
        assert len(world.provider.posts) == 1, where
        assert_forward(world.kube.statuses)
        if any(each_status.phase is Phase.SUBMISSION_UNKNOWN for each_status in world.kube.statuses):
            unknown.append(world.writes.fired[0])
            assert status["cost"]["display"].endswith(" + unknown"), where
            assert timeless(payment_aside(status)) == timeless(payment_aside(expected)), where
        else:
            assert timeless(status) == timeless(expected), where
            record, right = (each.database["jobs"].find_one({}, {"_id": 0}) for each in (world, reference))
            assert timeless(record) == timeless(right), where
        record, right = (cost_aside(each.database["jobs"].find_one({}, {"_id": 0})) for each in (world, reference))
        assert timeless(record) == timeless(right), where
    # A person is asked only where no record shows whether the POST was sent.
    assert unknown == ["after sending", "before evidence", "after evidence", "before POST"]


@pytest.mark.parametrize("kind", Kind)
async def test_a_second_crash_during_recovery(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    reference, _ = await story(monkeypatch, kind, Writes())
    chance = random.Random(kind.value)  # noqa: S311 - which points, not secrets
    for _ in range(8):
        first = chance.randrange(2 * len(reference.writes.done))
        world, status = await story(monkeypatch, kind, Writes((first, first + chance.randint(1, 9))))
        assert status["phase"] == "Completed", world.writes.fired
        assert len(world.provider.posts) == 1, world.writes.fired


async def test_a_database_that_drops_any_reply_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Kind.TRANSCRIPTION
    reference, expected = await story(monkeypatch, kind, Writes())
    for index, name in enumerate(reference.writes.done):
        if not name.startswith(("intend", "sending", "bind request", "move", "record", "run document")):
            continue
        for point in (2 * index, 2 * index + 1):
            lost = Writes((point,), lambda: AutoReconnect("connection reset"))
            world, status = await story(monkeypatch, kind, lost)
            assert len(world.provider.posts) == 1, world.writes.fired
            assert timeless(payment_aside(status)) == timeless(payment_aside(expected)), world.writes.fired


async def test_two_operators_at_once_pay_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in Kind:
        world = World(monkeypatch, Writes())
        world.kube.apply(kind, SPECS[kind])
        ref = ResourceRef(kind=kind, namespace="ns", name="it", uid=UID)
        operators = [world.operator(), world.operator()]
        for _ in range(50):
            ends = await asyncio.gather(
                *(operator._read_and_reconcile(ref) for operator in operators), return_exceptions=True
            )
            for operator, end in zip(operators, ends, strict=True):
                if isinstance(end, Conflict):
                    operator.cache.drop(ref)
            assert not [
                each_end
                for each_end in ends
                if isinstance(each_end, BaseException) and not isinstance(each_end, Conflict)
            ]
            world.now += timedelta(seconds=2)
            world.work()
        assert world.status(kind).phase is Phase.COMPLETED
        assert len(world.provider.posts) == 1


async def test_a_lost_reply_is_found_in_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in Kind:
        world = World(monkeypatch, Writes())
        world.provider.lose_replies = {1}
        world.kube.apply(kind, SPECS[kind])
        status = await world.finish(kind)
        assert status.phase is Phase.COMPLETED
        assert status.run is not None
        assert status.run.request_id == "request-1"
        assert len(world.provider.posts) == 1


@pytest.mark.parametrize(("allowed", "posts", "end"), [(1, 1, Phase.FAILED), (2, 2, Phase.COMPLETED)])
async def test_next_attempt_needs_the_providers_failure(
    allowed: int, posts: int, end: Phase, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in Kind:
        world = World(monkeypatch, Writes())
        world.provider.fails = {1}
        world.kube.apply(kind, SPECS[kind] | {"paidAttempts": allowed})
        assert (await world.finish(kind)).phase is end
        assert len(world.provider.posts) == posts
        await world.recover(kind)


async def test_lost_reply_of_a_second_attempt_is_not_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both attempts of a training have the same input file and therefore the same marker."""
    kind = Kind.LORA_TRAINING
    world = World(monkeypatch, Writes())
    world.provider.fails, world.provider.lose_replies = {1}, {2}
    world.kube.apply(kind, SPECS[kind] | {"paidAttempts": 3})
    status = await world.finish(kind)
    assert status.run is not None
    assert (status.phase, status.run.request_id, len(world.provider.posts)) == (Phase.COMPLETED, "request-2", 2)


async def test_an_old_resubmit_annotation_pays_for_no_later_run(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Kind.IMAGE_GENERATION
    reference, _ = await story(monkeypatch, kind, Writes())
    world = World(monkeypatch, Writes((2 * reference.writes.done.index("sending") + 1,)))
    world.kube.apply(kind, SPECS[kind])
    status = await world.finish(kind, Phase.SUBMISSION_UNKNOWN)
    assert status.message is not None
    token = resubmit_token(status)
    annotations = {"contentgen.dev/resubmit": token}
    world.kube.apply(kind, SPECS[kind], **annotations)
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1
    # A person requests another attempt; its reply is lost, and the history does not list it.
    world.provider.lose_replies = {2}
    monkeypatch.setattr(world.provider, "find", nothing_found)
    world.kube.apply(kind, SPECS[kind], **annotations, **{"contentgen.dev/rerun": "once more"})
    await world.reconcile(kind)
    assert (await world.finish(kind, Phase.SUBMISSION_UNKNOWN)).phase is Phase.SUBMISSION_UNKNOWN
    assert len(world.provider.posts) == 2


async def nothing_found(search: Search) -> Found:
    return Found(request_id=None, complete=True)


@pytest.mark.parametrize("kind", Kind)
async def test_deleted_and_applied_again_at_each_step_pays_once(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    for reconciles in range(1, 14, 2):
        world = World(monkeypatch, Writes())
        world.kube.apply(kind, SPECS[kind])
        for _ in range(reconciles):
            await world.reconcile(kind)
        world.kube.apply(kind, SPECS[kind], uid="another-uid")
        world.kube.jobs.clear()  # the garbage collector
        status = await world.finish(kind)
        assert status.phase is Phase.COMPLETED
        assert len(world.provider.posts) == 1
        await world.recover(kind)
    assert status.reason == "AdoptedFinishedRun", "the last of them came after the end"
    assert status.cost is not None
    assert status.cost.actual == "0.00"
    assert status.versions[0].job_id == UID


async def test_an_edit_during_a_run_is_the_next_run(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Kind.IMAGE_GENERATION
    world = World(monkeypatch, Writes())
    world.kube.apply(kind, SPECS[kind])
    for _ in range(3):
        await world.reconcile(kind)
    world.kube.apply(kind, {"prompt": "a dog"})
    first = await world.finish(kind)
    assert first.run is not None
    assert (first.run.number, first.run.spec["prompt"]) == (1, "a cat")
    await world.reconcile(kind)
    second = await world.finish(kind)
    assert second.run is not None
    assert (second.run.number, second.run.spec["prompt"], [v.version for v in second.versions]) == (2, "a dog", [1, 2])
    assert [call.arguments["prompt"] for call in world.provider.posts] == ["a cat", "a dog"]
    # The first spec again, which has a purchase.
    world.kube.apply(kind, SPECS[kind])
    await world.reconcile(kind)
    third = await world.finish(kind)
    assert (third.reason, len(world.provider.posts)) == ("AdoptedFinishedRun", 2)
    assert third.cost is not None
    assert third.cost.actual == "0.00"


async def test_progress_is_monotonic_in_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    world, _ = await story(monkeypatch, Kind.LORA_TRAINING, Writes())
    seen = [status.progress for status in world.kube.statuses]
    assert seen == sorted(seen)
    assert progress_at(Kind.LORA_TRAINING, next(iter(world.kube.statuses)).stage, 0) == seen[0]
