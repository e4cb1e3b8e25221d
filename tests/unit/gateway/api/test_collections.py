"""Collections: create, list, change, delete; jobs in them are listed only for callers who may see them."""

from typing import Any

import httpx
import pytest

from contentgen_contract.names import Kind
from contentgen_gateway.stores.collections import INDEXES, MOST_ASSETS, CollectionFilter
from contentgen_simulation.gateway.cluster import WritableWorld

ANN = ("ann", "*", "*", "red")
CAROL = [("carol", verb, "imagegenerations", "red") for verb in ("get", "list")]
MISSING = "00000000-0000-4000-8000-999999999999"


@pytest.fixture
def world() -> WritableWorld:
    return WritableWorld(ANN, ("bob", "*", "*", "blue"), *CAROL)


async def make(client: httpx.AsyncClient, **fields: Any) -> Any:
    body = {"namespace": "red", "name": "SEO Workshop Campaign"} | fields
    return await client.post("/api/collections", json=body)


async def test_the_seeds_body_makes_one_with_counts(world: WritableWorld) -> None:
    lora, first, second = world.job(1), world.job(2, Kind.IMAGE_GENERATION), world.job(3, Kind.IMAGE_GENERATION)
    assets = [
        {"type": "lora-training", "jobId": lora},
        {"type": "image-generation", "jobId": first},
        {"type": "image-generation", "jobId": second},
    ]
    async with world.client("ann") as ann:
        answer = await make(ann, userId="user123", description="All assets for Dec 2025 workshop", assets=assets)
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert answer.headers["location"] == f"/api/collections/{made['collectionId']}"
        assert (made["assetCount"], made["assetsByType"]) == (3, {"lora-training": 1, "image-generation": 2})
        assert made["assets"] == assets
        listed = (await ann.get("/api/collections?userId=user123&namespace=red")).json()
        assert (listed["total"], listed["collections"][0]["assetCount"]) == (1, 3)
        assert (await ann.get("/api/collections?userId=other&namespace=red")).json()["total"] == 0
        assert (await ann.get(answer.headers["location"])).json() == made


async def test_collection_is_changed_and_deleted_and_its_jobs_stay(world: WritableWorld) -> None:
    job, other = world.job(1), world.job(2)
    async with world.client("ann") as ann:
        place = (await make(ann)).headers["location"]
        for _ in range(2):
            assert (await ann.post(f"{place}/assets", json={"assets": [{"jobId": job}]})).json()["assetCount"] == 1
        assert (await ann.patch(place, json={"assets": [{"jobId": other}]})).json()["assets"][0]["jobId"] == other
        changed = (await ann.patch(place, json={"name": "new"})).json()
        assert (changed["name"], changed["assetCount"]) == ("new", 1)
        assert (await ann.delete(f"{place}/assets/{other}")).status_code == 204
        assert (await ann.get(place)).json()["assetCount"] == 0
        assert (await ann.delete(place)).status_code == 204
        assert (await ann.get(place)).status_code == (await ann.delete(place)).status_code == 404
        assert (await ann.get(f"/api/jobs/{job}")).status_code == 200


async def test_invisible_job_is_not_mentioned(world: WritableWorld) -> None:
    lora, picture = world.job(1), world.job(2, Kind.IMAGE_GENERATION)
    async with world.client("ann") as ann, world.client("carol") as carol, world.client("bob") as bob:
        place = (await make(ann, assets=[{"jobId": lora}, {"jobId": picture}])).headers["location"]
        seen = (await carol.get(place)).json()
        assert ([asset["jobId"] for asset in seen["assets"]], seen["assetCount"]) == ([picture], 1)
        assert (await carol.get("/api/collections")).json()["collections"][0]["assetCount"] == 1
        assert (await carol.patch(place, json={"name": "x"})).status_code == 403
        assert (await carol.delete(place)).status_code == 403
        foreign, missing = await bob.get(place), await bob.get(f"/api/collections/{MISSING}")
        assert foreign.status_code == missing.status_code == 404
        assert (await bob.get("/api/collections")).json()["total"] == 0
        assert (await make(bob)).status_code == 403


async def test_shares_of_all_assets_take_one_query(world: WritableWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Carol may list collections of red, but sees only the LoRAs that are shared with her."""
    jobs = [world.job(number) for number in range(5)]
    async with world.client("ann") as ann, world.client("carol") as carol:
        place = (await make(ann, assets=[{"jobId": job} for job in jobs])).headers["location"]
        await ann.post(f"/api/assets/{jobs[2]}/share", json={"users": ["carol"]})
        asked = []
        find = type(world.dependencies.shares._collection).find

        def counted(collection: Any, *given: Any, **options: Any) -> Any:
            if collection.name == "shares":
                asked.append(given)
            return find(collection, *given, **options)

        monkeypatch.setattr(type(world.dependencies.shares._collection), "find", counted)
        seen = (await carol.get(place)).json()
    assert [asset["jobId"] for asset in seen["assets"]] == [jobs[2]]
    assert len(asked) == 1


async def test_only_what_one_may_see_is_put_in(world: WritableWorld) -> None:
    foreign = world.job(1, namespace="blue")
    mine = world.job(2)
    async with world.client("ann") as ann:
        answers = [await make(ann, assets=[{"jobId": mine}, {"jobId": each}]) for each in (foreign, MISSING)]
        assert [answer.status_code for answer in answers] == [422, 422]
        assert answers[0].json()["detail"].replace(foreign, MISSING) == answers[1].json()["detail"]
        assert "assets.1.jobId" in answers[0].json()["detail"]
        assert (await make(ann, assets=[{"jobId": mine, "type": "transcription"}])).status_code == 422


async def test_caller_without_the_right_names_no_user(world: WritableWorld) -> None:
    world.api.rights = {("ann", "create", "*", "red"), ("ann", "list", "*", "red")}
    async with world.client("ann") as ann:
        assert (await make(ann, userId="user123")).status_code == 403
        assert (await make(ann, userId="red")).status_code == 201


async def test_a_deleted_job_is_in_none(world: WritableWorld) -> None:
    job = world.job(1)
    async with world.client("ann") as ann:
        await make(ann, assets=[{"jobId": job}])
        await ann.delete(f"/api/jobs/{job}")
    assert world.database["collections"].find_one()["assets"] == []


async def test_pages_hold_each_once(world: WritableWorld) -> None:
    async with world.client("ann") as ann:
        for number in range(7):
            await make(ann, name=f"c{number}")
        seen, cursor = [], ""
        for _ in range(5):
            page = (
                await ann.get("/api/collections", params={"limit": 3} | ({"cursor": cursor} if cursor else {}))
            ).json()
            seen += [collection["name"] for collection in page["collections"]]
            if not (cursor := page["nextCursor"]):
                break
    assert sorted(seen) == [f"c{number}" for number in range(7)]


async def test_collection_has_a_limit_of_jobs(world: WritableWorld) -> None:
    jobs = [world.job(number) for number in range(MOST_ASSETS + 1)]
    async with world.client("ann") as ann:
        place = (await make(ann, assets=[{"jobId": job} for job in jobs[:-1]])).headers["location"]
        assert (await ann.post(f"{place}/assets", json={"assets": [{"jobId": jobs[-1]}]})).status_code == 422
        full = (await ann.post(f"{place}/assets", json={"assets": [{"jobId": jobs[-1]}]})).json()["detail"]
        assert full == f"assets: a collection can have at most {MOST_ASSETS} jobs", "it may hold some that are not seen"
        assert (await ann.get(place)).json()["assetCount"] == MOST_ASSETS


@pytest.mark.parametrize(
    "body",
    [{"name": ""}, {"name": {"$gt": ""}}, {"names": "x"}, {"assets": [{"jobId": {"$ne": 1}}]}, {"name": "a\x00b"}],
)
async def test_invalid_collection_is_refused(world: WritableWorld, body: dict[str, Any]) -> None:
    async with world.client("ann") as ann:
        assert (await make(ann, **body)).status_code == 422
    assert world.database["collections"].count_documents({}) == 0


@pytest.mark.parametrize("namespaces", [None, ("red",)])
@pytest.mark.parametrize("user", [None, "ann"])
def test_each_list_is_served_by_an_index(namespaces: tuple[str, ...] | None, user: str | None) -> None:
    asked = CollectionFilter(namespaces, user)
    assert [name for name, _ in INDEXES[asked.index][:-2]] == [each for each in asked.filter() if each != "tenant"]
