"""Operator classes: resources of another class are neither queued nor written to, and count as existing."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from contentgen_contract.names import Kind, Phase, Reason, Stage
from contentgen_operator import metrics
from contentgen_operator.background.charge_display import ChargeDisplay
from contentgen_operator.background.finished import FinishedCheck
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.cache import Cache
from contentgen_operator.kube.selection import Selection
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.provider_requests import RequestState, RequestView
from contentgen_operator.state.purchases import Unsettled
from contentgen_operator.stores.worker_jobs import RecordedJob
from contentgen_operator.watch.event_handlers import EventHandlers
from contentgen_operator.watch.lora_names import LoraNames
from contentgen_operator.worker_api.authentication import NotAWorker, WorkerAuthenticator
from contentgen_operator.worker_api.reports import Reports
from contentgen_simulation.world import SPECS, UID, World, Writes

IMAGES, LORA = Kind.IMAGE_GENERATION, Kind.LORA_TRAINING
TEAM = {"operatorClass": "team-a"}
REF = ResourceRef(kind=IMAGES, namespace="ns", name="it", uid="u1")
END: dict[str, Any] = {
    "phase": "Completed",
    "observedGeneration": 1,
    "completionTime": "2026-11-21T00:00:00Z",
    "conditions": [{"type": "Complete", "status": "True"}, {"type": "Failed", "status": "False"}],
    "run": {"rerun": None, "version": 1},
    "versions": [{"version": 1}],
}


def resource(name: str = "it", uid: str = "u1", version: str = "1", **spec: Any) -> dict[str, Any]:
    meta = {"namespace": "ns", "name": name, "uid": uid, "resourceVersion": version, "generation": 1}
    return {"metadata": meta, "spec": spec, "status": {}}


@pytest.mark.parametrize(
    ("mine", "spec", "served"),
    [
        ("default", {}, True),
        ("default", {"operatorClass": "default"}, True),
        ("default", TEAM, False),
        ("team-a", TEAM, True),
        ("team-a", {}, False),
        ("team-a", {"operatorClass": "team-a-2"}, False),
        ("team-a", {"operatorClass": ["team-a"]}, False),  # of a schema without the field
    ],
)
def test_a_selection_serves_one_class(mine: str, spec: dict[str, Any], served: bool) -> None:
    assert Selection(operator_class=mine).serves({"spec": spec}) is served
    assert Selection(operator_class=mine).serves({}) is (mine == "default")


class Woken:
    """Event handlers of a process of the class default, and the resources that they woke."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.cache = Cache()
        self.finished = FinishedCheck(cast("Any", None), self._wake)
        self.handlers = EventHandlers(
            self.cache, self._wake, Reports(), LoraNames(), selection=Selection(), finished=[self.finished]
        )

    async def _wake(self, ref: ResourceRef) -> None:
        self.names.append(ref.name)

    async def sees(self, kind: Kind, given: dict[str, Any], *, deleted: bool = False) -> list[str]:
        self.names.clear()
        await self.handlers.resource(kind, given, deleted=deleted)
        return list(self.names)


async def test_other_class_is_neither_queued_nor_counted() -> None:
    metrics.gauges.forget_resource(REF.uid)  # of another test
    woken = Woken()
    before = dict(metrics.gauges._tally)
    assert await woken.sees(IMAGES, resource(**TEAM)) == []
    assert (REF in woken.cache, dict(metrics.gauges._tally)) == (False, before)
    assert await woken.sees(IMAGES, resource()) == ["it"]
    assert dict(metrics.gauges._tally) != before
    assert await woken.sees(IMAGES, resource(version="2", **TEAM)) == [], "it has moved"
    assert (REF in woken.cache, dict(metrics.gauges._tally)) == (False, before)
    assert await woken.sees(IMAGES, resource(version="3", **TEAM), deleted=True) == ["it"], "its record ends"


async def test_finished_resource_of_another_class_is_not_compared() -> None:
    woken = Woken()
    await woken.sees(IMAGES, resource() | {"status": END})
    assert len(woken.finished._waiting) == 1
    await woken.sees(IMAGES, resource(version="2", **TEAM) | {"status": END})
    assert woken.finished._waiting == {}


async def test_loras_wake_images_and_names_are_unique_across_classes() -> None:
    woken = Woken()
    image: dict[str, Any] = {"loras": [{"loraRef": {"name": "jesse"}}]}
    await woken.sees(IMAGES, resource(name="mine", uid="u2", **image))
    await woken.sees(IMAGES, resource(name="other", uid="u3", **image, **TEAM))
    lora = resource(name="jesse", loraName="jesse", **TEAM) | {"status": END}
    assert await woken.sees(LORA, lora) == ["mine"]
    for name, uid, spec in (("second", "u5", {}), ("third", "u6", TEAM)):
        await woken.sees(LORA, resource(name=name, uid=uid, loraName="jesse", **spec))
    assert await woken.sees(LORA, lora, deleted=True) == ["second", "mine", "jesse"], "not the third, of another class"


@pytest.mark.parametrize("moves", [False, True])
async def test_a_resource_of_another_class_is_never_written_to(moves: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it has moved since the watch delivered it."""
    world = World(monkeypatch, Writes())
    world.delivers = not moves
    world.kube.apply(IMAGES, SPECS[IMAGES] | ({} if moves else TEAM))
    if moves:
        read = world.kube.get_resource

        async def moved(*asked: Any) -> Any:
            world.kube.apply(IMAGES, SPECS[IMAGES] | TEAM)
            return await read(*asked)

        monkeypatch.setattr(world.kube, "get_resource", moved)
    before = len(world.writes.done)
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert (world.writes.done[before:], world.kube.events, world.kube.jobs) == ([], [], {})
    assert REF.model_copy(update={"uid": UID}) not in world.caches[-1]


@pytest.mark.parametrize("shared", [True, False])
async def test_finished_resource_that_changes_class_is_not_rebought(
    shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same stores and with others, there and back."""
    first = World(monkeypatch, Writes())
    first.kube.apply(IMAGES, SPECS[IMAGES])
    await first.finish(IMAGES)
    second = World(monkeypatch, Writes())
    second.kube, second.selection = first.kube, Selection(operator_class="team-a")
    if shared:
        second.storage, second.database = first.storage, first.database
    second.now = first.now
    second.restart()
    for spec in (TEAM, {}, TEAM):
        first.kube.apply(IMAGES, SPECS[IMAGES] | spec)
        for world in (first, second) * 4:
            await world.reconcile(IMAGES)
        assert first.status(IMAGES).phase is Phase.COMPLETED
    assert (len(first.provider.posts), len(second.provider.posts)) == (1, 0)


async def submitted(world: World) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"deadlineSeconds": 60})
    for _ in range(40):
        if [purchase["state"] for purchase in world.database["ledger"].find()] == ["submitted"]:
            return
        await world.reconcile(IMAGES)
    raise AssertionError("it does not submit")


async def running(*_: Any) -> RequestView:
    return RequestView(state=RequestState.RUNNING)


@pytest.mark.parametrize(
    ("ended", "served", "polls"), [(False, "team-a", 0), (True, "team-a", 0), (True, "default", 1)]
)
async def test_other_class_counts_as_existing_for_its_purchase(
    ended: bool, served: str, polls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of another account is polled, searched or discarded, even if an ended run of an older release left a
    request open.
    """
    world = World(monkeypatch, Writes())
    world.provider.cancels = False
    await submitted(world)
    monkeypatch.setattr(world.provider, "poll", running)
    if ended:
        assert (await world.finish(IMAGES)).reason == Reason.DEADLINE_EXCEEDED
        del world.kube.resources[IMAGES, "it"]["status"]["run"]["requestOpen"]
    world.selection = Selection(operator_class=served)
    world.restart()
    polled = list[Any]()

    async def poll(*asked: Any) -> RequestView:
        polled.append(asked)
        return await running()

    monkeypatch.setattr(world.provider, "poll", poll)
    for _ in range(40):
        world.now += timedelta(days=1)
        await world.orphans[-1].round(world.now)
    (kept,) = world.database["ledger"].find()
    assert (kept["state"], kept["orphanedAt"], min(len(polled), 1)) == ("submitted", None, polls)


async def test_image_waits_for_a_lora_of_another_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, Writes())
    world.kube.apply(LORA, SPECS[LORA] | TEAM, uid="u9", name="jesse")
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"loras": [{"loraRef": {"name": "jesse"}}]})
    for _ in range(4):
        await world.reconcile(IMAGES)
    waiting = world.status(IMAGES)
    assert (waiting.reason, waiting.message) == (
        Reason.WAITING_FOR_LORA, "waiting for LoraTraining jesse, which is queued"
    )  # fmt: skip
    trained = world.kube.resources[LORA, "jesse"]
    trained["status"] = {"phase": "Completed"}
    for _ in range(4):
        await world.reconcile(IMAGES)
    waiting = world.status(IMAGES)
    assert waiting.reason == Reason.WAITING_FOR_LORA
    assert "whose file is not in this installation's ledger" in (waiting.message or "")
    assert world.provider.posts == []


async def test_the_charge_of_another_class_is_not_shown_by_this_one() -> None:
    class Api:
        def __init__(self) -> None:
            self.body: dict[str, Any] = {}

        async def get_resource(self, *_: Any) -> dict[str, Any]:
            return self.body

    woken = list[ResourceRef]()

    async def wake(ref: ResourceRef) -> None:
        woken.append(ref)

    api = Api()
    at = datetime(2026, 11, 21, tzinfo=UTC)
    bought = Unsettled(
        key="ns/ImageGeneration/it/h/-/1", type="image-generation", namespace="ns", job_id="u1", purchase_id="p",
        request_id="r", provider="fal", model="m", created_at=at, ended_at=at,
    )  # fmt: skip
    showing = ChargeDisplay(cast("Kube", api), wake, Selection())
    api.body = resource(**TEAM) | {"status": END}
    await showing.show(bought)
    assert woken == []
    api.body = resource() | {"status": END}
    await showing.show(bought)
    assert woken == [REF]


async def test_a_worker_of_a_resource_of_another_class_is_refused() -> None:
    class Api:
        async def get_resource(self, *_: Any) -> dict[str, Any]:
            return resource(**TEAM)

    at = datetime(2026, 11, 21, tzinfo=UTC)
    job = RecordedJob(uid="j", name="job", owner=REF, run=1, stage=Stage.PREPARE, attempt=1, created_at=at)
    gatekeeper = WorkerAuthenticator(cast("Kube", Api()), Cache(), cast("Any", None))
    with pytest.raises(NotAWorker, match="another installation serves"):
        await gatekeeper._resource("pod ns/p", job)
