"""The label of given-up work: set where a failed run can be retried, removed where it goes on, fought over never."""

from typing import Any

import pytest

from contentgen_contract.advice.given_up import is_given_up, retry_command
from contentgen_contract.advice.reasons import Action
from contentgen_contract.advice.remedies import Facts
from contentgen_contract.names import COLLECT_ANNOTATION, GIVEN_UP_LABEL, Kind, Phase, Reason
from contentgen_operator.kube.cache import Cache
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.watch.event_handlers import EventHandlers
from contentgen_operator.watch.given_up_labels import GivenUpLabels
from contentgen_operator.worker_api.reports import Reports
from contentgen_runtime.kube import Conflict
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
    await world.step(IMAGES)
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
    await world.settle(IMAGES)


async def test_the_label_is_not_restored_where_a_tool_removes_it(world: World) -> None:
    await failed(world)
    world.kube.resources[IMAGES, "it"]["metadata"]["labels"] = {}
    before = len(world.writes.done)
    for _ in range(5):
        await world.step(IMAGES)
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
        await world.step(IMAGES)
    assert label(world) == "true", "there is no result to collect, so it stays given up"


# Resources that failed before the upgrade


class Labels:
    """API server for labels: recorded writes, and refusals in turn."""

    def __init__(self, *refusals: Exception) -> None:
        self.written: list[tuple[str, str, str | None]] = []
        self.refusals = list(refusals)
        self.leads = True
        self.labels = GivenUpLabels(self, self._check)
        self.handlers = EventHandlers(Cache(), self._wake, Reports(), given_up=self.labels)

    async def put_label(self, ref: ResourceRef, version: str, name: str, value: str | None) -> Any:
        assert name == GIVEN_UP_LABEL
        if self.refusals:
            raise self.refusals.pop(0)
        self.written.append((ref.uid, version, value))

    def _check(self) -> None:
        if not self.leads:
            raise Conflict("it does not lead")

    async def _wake(self, _: ResourceRef) -> None:
        pass

    async def see(self, uid: str = "u", phase: str = "Failed", version: str = "1", **more: Any) -> None:
        """An event of the watch."""
        labels, deleted = more.get("labels"), more.get("deleted", False)
        about = {"name": uid, "namespace": "ns", "uid": uid, "generation": 1, "resourceVersion": version}
        run = {
            "number": 1,
            "version": 1,
            "runHash": "ab",
            "generation": 1,
            "startedAt": "2026-11-21T00:00:00Z",
            "spec": {},
        }
        ended = {"completionTime": run["startedAt"], "conditions": [{"type": "Failed", "status": "True"}]}
        status = {
            "phase": phase,
            "reason": more.get("reason", "JobFailed"),
            "run": run,
            "observedGeneration": 1,
        } | ended
        body = {"metadata": about | {"labels": labels}, "spec": {"prompt": "x"}, "status": status}
        await self.handlers.resource(IMAGES, body, deleted=deleted)


async def test_a_resource_that_failed_before_the_upgrade_is_labelled_at_its_first_sight() -> None:
    stand = Labels()
    await stand.see("a")
    await stand.see("b", labels={GIVEN_UP_LABEL: "true"})
    await stand.see("c", phase="Completed", reason="Completed")
    await stand.see("d", reason="Cancelled")
    await stand.labels.write()
    await stand.labels.write()
    assert stand.written == [("a", "1", "true")]


async def test_a_label_that_a_tool_removes_is_not_written_again() -> None:
    stand = Labels()
    await stand.see("a", version="1")
    await stand.labels.write()
    await stand.see("a", version="2", labels={GIVEN_UP_LABEL: "true"})
    await stand.see("a", version="3")
    await stand.see("b", labels={GIVEN_UP_LABEL: "true"})
    await stand.see("b", version="2")
    await stand.labels.write()
    assert stand.written == [("a", "1", "true")]


async def test_a_resource_that_changes_before_the_write_is_labelled_in_its_newest_version() -> None:
    stand = Labels(Conflict("changed"))
    await stand.see("a", version="1")
    await stand.labels.write()
    await stand.see("a", version="2")
    await stand.labels.write()
    assert stand.written == [("a", "2", "true")]


@pytest.mark.parametrize(
    "then",
    [{"phase": "Preparing", "reason": "Preparing"}, {"deleted": True}, {"phase": "Completed", "reason": "Completed"}],
)
async def test_a_run_that_goes_on_before_the_write_is_not_labelled(then: dict[str, Any]) -> None:
    stand = Labels()
    await stand.see("a")
    await stand.see("a", version="2", **then)
    await stand.labels.write()
    assert stand.written == []


async def test_a_standby_writes_nothing_and_the_next_leader_does() -> None:
    stand = Labels()
    stand.leads = False
    await stand.see("a")
    with pytest.raises(Conflict):
        await stand.labels.write()
    stand.leads = True
    await stand.labels.write()
    assert stand.written == [("a", "1", "true")]


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
def test_what_is_given_up(given: Facts, expected: bool) -> None:
    assert is_given_up(given) is expected


def test_commands_name_the_resource() -> None:
    found = [retry_command(each, "transcript/talk", "red") for each in (Action.COLLECT, Action.RERUN, Action.EDIT)]
    assert found == [
        "kubectl contentgen collect transcript/talk --namespace red",
        "kubectl contentgen retry transcript/talk --namespace red",
        None,
    ]
