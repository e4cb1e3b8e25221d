"""Charge that is known after the end of a run: status and record show it, and nothing else changes."""

from datetime import timedelta
from typing import Any

import pytest

from contentgen_contract.names import Kind, Phase
from contentgen_operator.background.charge_display import ChargeDisplay
from contentgen_operator.background.settlement import ChargeSettlement
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.purchases import BilledAccount
from contentgen_operator.stores.charges import Charges
from contentgen_simulation.world import SPECS, UID, World, Writes

IMAGES = Kind.IMAGE_GENERATION
REF = ResourceRef(kind=IMAGES, namespace="ns", name="it", uid=UID)


async def settled(world: World, micros: int) -> None:
    """One round of the settler, a day later."""

    class Bill:
        def key(self) -> str:
            return "k"

        async def charges(self, asked: Any) -> dict[str, int]:
            return {each.request_id: micros for each in asked}

    async def wake(ref: ResourceRef) -> None:
        world.process.observer.note_settled(ref.uid)
        await world.process._read_and_reconcile(ref)

    kube: Any = world.kube
    showing = ChargeDisplay(kube, wake)
    bills = Charges(world.database["ledger"])
    billing = {BilledAccount("fal"): Bill()}
    await ChargeSettlement(bills, billing, clock=lambda: world.now + timedelta(hours=1), show=showing.show).round()


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(monkeypatch, Writes())
    made.kube.apply(IMAGES, SPECS[IMAGES])
    await made.finish(IMAGES)
    return made


@pytest.mark.parametrize(
    ("micros", "expected"),
    [(31_000, ("0.0310", "$0.0310", "0.0310", 0, True)), (0, ("0.00", "$0.00", "0.00", 0, False))],
)
async def test_the_status_of_a_run_that_has_ended_says_the_charge(
    world: World, micros: int, expected: tuple[Any, ...]
) -> None:
    before, posts = world.status(IMAGES), len(world.provider.posts)
    assert before.phase is Phase.COMPLETED
    assert before.cost is not None
    assert before.cost.actual_source == "estimate"
    await settled(world, micros)
    after = world.status(IMAGES)
    assert after.cost is not None
    assert after.run is not None
    cost = after.cost
    assert (cost.actual, cost.display, cost.total, cost.unknown, after.run.billed) == expected
    assert (cost.actual_source, cost.estimated, cost.source) == (
        "billing events",
        before.cost.estimated,
        before.cost.source,
    )
    assert before.run is not None
    same = {"cost": before.cost, "run": before.run}
    assert after.model_copy(update=same) == before
    assert after.run.model_copy(update={"billed": before.run.billed}) == before.run
    assert len(world.provider.posts) == posts
    record = world.database["jobs"].find_one({"jobId": UID})
    assert record["cost"]["actual"] == expected[0]


async def test_settled_status_is_read_once(world: World) -> None:
    await settled(world, 31_000)
    world.database["ledger"].update_one({}, {"$set": {"billedMicros": 1}})
    await world.process._read_and_reconcile(REF)
    cost = world.status(IMAGES).cost
    assert cost is not None
    assert cost.actual == "0.0310"


@pytest.mark.parametrize("other", ["gone", "replaced", "owned by another", "started anew"])
async def test_a_resource_that_is_another_or_gone_is_left_alone(world: World, other: str) -> None:
    body = world.kube.resources[IMAGES, "it"]
    if other == "gone":
        del world.kube.resources[IMAGES, "it"]
    if other == "replaced":
        body["metadata"]["uid"] = "another"
    if other == "owned by another":
        world.database["ledger"].update_one({}, {"$set": {"jobId": "another"}})
    if other == "started anew":
        body["metadata"]["generation"] = 99
    before, marks = str(body.get("status")), await world.marks()
    await settled(world, 31_000)
    assert world.database["ledger"].find_one()["billedMicros"] == 31_000
    assert str(body.get("status")) == before
    assert await world.marks() == marks
