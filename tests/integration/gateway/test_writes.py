"""Writes of the gateway to a real MongoDB server: shares, collections, descriptions, deletions."""

from typing import Any

import pytest
from pymongo.database import Database

from contentgen_contract.names import Kind
from contentgen_gateway.stores.collections import INDEXES, MOST_ASSETS
from contentgen_operator.stores.records import RecordStore
from contentgen_simulation.gateway.cluster import WritableWorld

ANN = ("ann", "*", "*", "red")
BOB = ("bob", "*", "*", "blue")


@pytest.fixture
def world(database: Database[dict[str, Any]]) -> WritableWorld:
    world = WritableWorld(ANN, BOB, database=database)
    for _ in range(2):
        world.dependencies.shares.create_indexes()
        world.dependencies.collections.create_indexes()
    return world


async def test_shares_are_given_and_taken_back(world: WritableWorld) -> None:
    job = world.job(1)
    async with world.client("ann") as ann, world.client("bob") as bob:
        for grantees in ({"users": ["bob"]}, {"namespaces": ["blue"]}):
            for _ in range(2):
                answer = await ann.post(f"/api/assets/{job}/share", json=grantees)
                assert len(answer.json()["shares"]) == 1, answer.text
            assert [each_job["jobId"] for each_job in (await bob.get("/api/jobs")).json()["jobs"]] == [job]
            assert (await ann.delete(f"/api/assets/{job}/share", params=grantees)).json()["shares"] == []
            assert (await bob.get("/api/jobs")).json()["jobs"] == []
        await ann.patch(f"/api/assets/{job}", json={"isPublic": True, "tags": ["found"]})
        assert (await bob.get("/api/jobs?public=true")).json()["total"] == 1
        assert (await ann.get("/api/assets/search?q=found&namespace=red")).json()["total"] == 1


async def test_collections_hold_each_job_once_up_to_their_limit(world: WritableWorld) -> None:
    jobs = [world.job(number, Kind.IMAGE_GENERATION) for number in range(MOST_ASSETS + 1)]
    async with world.client("ann") as ann:
        made = await ann.post("/api/collections", json={"namespace": "red", "name": "campaign", "userId": "red"})
        place = made.headers["location"]
        for part in (jobs[:100], jobs[50:-1], jobs[:-1]):
            answer = await ann.post(f"{place}/assets", json={"assets": [{"jobId": each} for each in part]})
            assert answer.status_code == 200, answer.text
        assert answer.json()["assetCount"] == MOST_ASSETS
        assert (await ann.post(f"{place}/assets", json={"assets": [{"jobId": jobs[-1]}]})).status_code == 422
        await ann.delete(f"{place}/assets/{jobs[0]}")
        assert (await ann.delete(f"/api/jobs/{jobs[1]}")).status_code == 202
        assert (await ann.get(place)).json()["assetCount"] == MOST_ASSETS - 2
        assert (await ann.get("/api/collections?userId=red")).json()["total"] == 1
        names = [index["name"] for index in world.database["collections"].list_indexes()]
        assert set(INDEXES) <= set(names)


async def test_pages_of_collections_hold_each_once(world: WritableWorld) -> None:
    async with world.client("ann") as ann:
        for number in range(7):
            await ann.post("/api/collections", json={"namespace": "red", "name": f"c{number}"})
        seen, cursor = [], ""
        while len(seen) < 20:
            asked = {"limit": 3} | ({"cursor": cursor} if cursor else {})
            page = (await ann.get("/api/collections", params=asked)).json()
            seen += [collection["name"] for collection in page["collections"]]
            if not (cursor := page["nextCursor"]):
                break
    assert sorted(seen) == [f"c{number}" for number in range(7)]


async def test_a_deleted_job_is_marked_for_the_janitor(world: WritableWorld) -> None:
    job = world.job(1)
    async with world.client("ann") as ann:
        assert (await ann.delete(f"/api/jobs/{job}")).status_code == 202
        assert (await ann.get(f"/api/jobs/{job}")).status_code == 404
        assert (await ann.get("/api/jobs")).json()["total"] == 0
    storage: Any = None
    assert [mark.uid for mark in await RecordStore(world.database["jobs"], storage).marks(10)] == [job]
