"""The label of given-up work: set where a failed run can be retried, removed where it goes on, fought over never."""

from typing import Any

import pytest

from contentgen_contract.advice.given_up import is_given_up, retry_command
from contentgen_contract.advice.guidance import Facts
from contentgen_contract.advice.remedies import Action
from contentgen_contract.names import COLLECT_ANNOTATION, GIVEN_UP_LABEL, Kind, Phase, Reason
from contentgen_simulation.world import SPECS, World, Writes

IMAGES = Kind.IMAGE_GENERATION


def label(world: World) -> str | None:
    value: str | None = world.kube.resources[IMAGES, "it"]["metadata"].get("labels", {}).get(GIVEN_UP_LABEL)
    return value


async def failed(world: World) -> None:
    """A run whose request the provider has ended as failed."""
    world.provider.fails = {1}
    world.kube.apply(IMAGES, SPECS[IMAGES])
    assert (await world.finish(IMAGES)).phase is Phase.FAILED


async def test_a_failed_run_is_labelled_and_a_completed_one_is_not(world: World) -> None:
    await failed(world)
    assert label(world) == "true"
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"prompt": "a dog"})
    await world.reconcile(IMAGES)
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert label(world) is None


@pytest.mark.parametrize("point", range(2))
async def test_a_crash_around_the_label_changes_nothing(monkeypatch: pytest.MonkeyPatch, point: int) -> None:
    rehearsal = World(monkeypatch, Writes())
    await failed(rehearsal)
    at = rehearsal.writes.done.index("label")
    world = World(monkeypatch, Writes((2 * at + point,)))
    await failed(world)
    assert (world.writes.fired, label(world)) == ([f"{('before', 'after')[point]} label"], "true")
    await world.recover(IMAGES)


async def test_the_label_is_not_restored_where_a_tool_removes_it(world: World) -> None:
    await failed(world)
    world.kube.resources[IMAGES, "it"]["metadata"]["labels"] = {}
    before = len(world.writes.done)
    for _ in range(5):
        await world.reconcile(IMAGES)
    assert (world.writes.done[before:], label(world)) == ([], None)


async def test_other_labels_stay_and_a_forged_one_is_left(world: World) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES])
    world.kube.resources[IMAGES, "it"]["metadata"]["labels"] = {GIVEN_UP_LABEL: "true", "team": "a"}
    await world.finish(IMAGES)
    assert world.kube.resources[IMAGES, "it"]["metadata"]["labels"] == {GIVEN_UP_LABEL: "true", "team": "a"}


async def test_the_retry_of_a_collect_stage_removes_it(world: World) -> None:
    await failed(world)
    world.kube.apply(IMAGES, SPECS[IMAGES], **{COLLECT_ANNOTATION: "1"})
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert label(world) == "true", "there is no result to collect, so it stays given up"


def facts(**given: Any) -> Facts:
    return Facts(**{"reason": Reason.JOB_FAILED, "phase": Phase.FAILED, "number": 1} | given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (facts(), True),
        (facts(request_id="r", sent=True, storing=True), True),
        (facts(reason=Reason.RESULT_UNREACHABLE, request_id="r", sent=True), True),
        (facts(reason=Reason.PROVIDER_FAILED, request_id="r", sent=True), True),
        (facts(reason=Reason.INVALID_SPEC), True),
        (facts(reason=Reason.CANCELLED), False),
        (facts(reason=Reason.CANCELLED, request_id="r", sent=True, billed=True), True),
        (facts(reason=Reason.CANCELLED, request_id="r", sent=True, billed=True, open=True), False),
        (facts(phase=Phase.COMPLETED, reason=Reason.COMPLETED), False),
        (facts(phase=Phase.SUBMISSION_UNKNOWN, reason=Reason.SUBMISSION_UNKNOWN, sent=True), False),
        (facts(phase=Phase.PROCESSING, reason=Reason.PROCESSING), False),
        (facts(reason=None), False),
        (Facts(), False),
    ],
)
def test_given_up_runs(given: Facts, expected: bool) -> None:
    assert is_given_up(given) is expected


def test_commands_name_the_resource() -> None:
    found = [retry_command(each, "transcript/talk", "red") for each in (Action.COLLECT, Action.RERUN, Action.EDIT)]
    assert found == [
        "kubectl contentgen collect transcript/talk --namespace red",
        "kubectl contentgen retry transcript/talk --namespace red",
        None,
    ]
