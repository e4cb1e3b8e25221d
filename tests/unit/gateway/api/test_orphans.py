"""`/api/orphans`: purchases whose resource is gone: permissions, pages, fields."""

from datetime import timedelta
from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_operator.state.purchases import Purchase, PurchaseState
from contentgen_simulation.gateway.server import START, GatewayWorld

FIELDS: dict[str, Any] = {
    "state": PurchaseState.SUCCEEDED, "job_id": "j", "user_id": "ann", "provider": "fal", "model": "fal-ai/flux-lora",
    "correlation_key": "m", "changed_at": START, "request_id": "r", "result_key": "k", "orphaned_at": START,
}  # fmt: skip


class World(GatewayWorld):
    """World with orphans in the ledger, each a minute older than the previous one."""

    bought = 0

    def buy(self, kind: Kind = Kind.IMAGE_GENERATION, namespace: str = "red", **fields: Any) -> None:
        self.bought += 1
        given = FIELDS | {"created_at": START - timedelta(minutes=self.bought), "namespace": namespace,
                          "purchase_id": f"p{self.bought}", "type": kind.record_type} | fields  # fmt: skip
        document = Purchase(**given).model_dump(mode="python", by_alias=True)
        self.database["ledger"].insert_one({"_id": f"{namespace}/{kind}/it{self.bought}/hash/-/1", **document})


@pytest.fixture
def world() -> World:
    return World(("ann", "*", "*", "red"), ("bob", "*", "*", "blue"), ("carol", "list", "transcriptions", "red"))


async def listed(world: World, caller: str = "ann", **params: Any) -> dict[str, Any]:
    async with world.client(caller) as client:
        answer = await client.get("/api/orphans", params={"namespace": "red"} | params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_an_orphan_says_what_it_is_what_it_cost_and_what_to_do(world: World) -> None:
    world.buy(actual_micros=35_000, cost_source="billable units × unit price")
    (told,) = (await listed(world))["orphans"]
    assert (told["namespace"], told["kind"], told["name"], told["requestId"]) == ("red", "ImageGeneration", "it1", "r")
    assert (told["state"], told["cost"], told["costKnown"]) == ("kept", "0.0350", True)
    assert told["keptUntil"].startswith("2026-12-01T12:00")
    assert "apply ImageGeneration it1 again" in told["advice"]
    assert "soon" in told["advice"], "the files are the provider's"


@pytest.mark.parametrize(
    ("fields", "state", "kept", "words"),
    [
        ({"state": "intent", "request_id": None, "result_key": None}, "searched", False, "searches for the request"),
        ({"state": "submitted", "result_key": None}, "unfinished", False, "takes the result"),
        ({"state": "submitted", "result_key": None, "discard_asked": True}, "unfinished", False, "will be discarded"),
        ({"result_key": None}, "lost", False, "no longer has the result"),
    ],
)
async def test_states(world: World, fields: dict[str, Any], state: str, kept: bool, words: str) -> None:
    world.buy(**fields, estimated_micros=35_000)
    (told,) = (await listed(world))["orphans"]
    assert (told["state"], told["keptUntil"] is not None) == (state, kept)
    assert (told["cost"], told["costKnown"]) == ("0.0350", False), "an estimate"
    assert words in told["advice"]


@pytest.mark.parametrize(("loras", "lost", "told"), [([], False, False), (["l"], False, True), (["l"], True, False)])
async def test_of_an_image_with_a_lora_the_exception_is_told(world: World, loras: Any, lost: bool, told: bool) -> None:
    world.buy(state=PurchaseState.SUCCEEDED, result_key=None if lost else "r", loras=tuple(loras))
    (orphan,) = (await listed(world))["orphans"]
    assert ("trained again since, it is generated and paid again" in orphan["advice"]) is told


async def test_only_orphans_are_listed(world: World) -> None:
    world.buy(orphaned_at=None)
    for state in (PurchaseState.COLLECTED, PurchaseState.DISCARDED, PurchaseState.CANCELLED, PurchaseState.FAILED):
        world.buy(state=state)
    assert await listed(world) == {"orphans": [], "total": 0, "nextCursor": None}


async def test_orphans_need_the_right_to_list_the_namespace(world: World) -> None:
    world.buy()
    world.buy(Kind.TRANSCRIPTION)
    world.buy(namespace="blue")
    assert [orphan["name"] for orphan in (await listed(world))["orphans"]] == ["it1", "it2"]
    assert [orphan["name"] for orphan in (await listed(world, "carol"))["orphans"]] == ["it2"], "of her kind"
    assert (await listed(world, "bob"))["orphans"] == []
    assert (await listed(world, "bob", namespace="blue"))["total"] == 1
    async with world.client("unknown") as client:
        assert (await client.get("/api/orphans")).status_code == 401


async def test_pages(world: World) -> None:
    for _ in range(5):
        world.buy()
    names: list[list[str]] = []
    cursor = None
    for _ in range(3):
        page = await listed(world, limit=2, **({"cursor": cursor} if cursor else {}))
        assert page["total"] == 5
        names.append([orphan["name"] for orphan in page["orphans"]])
        cursor = page["nextCursor"]
    assert (names, cursor) == ([["it1", "it2"], ["it3", "it4"], ["it5"]], None)
    async with world.client("ann") as client:
        jobs = await client.get("/api/orphans", params={"cursor": "e30"})
    assert jobs.status_code == 422


async def test_unreadable_orphan_hides_no_other(world: World) -> None:
    world.buy()
    world.buy()
    world.database["ledger"].update_one({"purchaseId": "p1"}, {"$set": {"model": {"$ne": 1}, "estimatedMicros": "x"}})
    assert [orphan["name"] for orphan in (await listed(world))["orphans"]] == ["it2"]
