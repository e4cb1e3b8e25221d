"""`/api/jobs`: lists, pages, single jobs, and visibility."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from contentgen_contract.names import Kind
from contentgen_gateway.schemas.bodies import Listing
from contentgen_gateway.schemas.reports.usage import UsageOf
from contentgen_gateway.schemas.transcript_search import TranscriptSearch
from contentgen_gateway.stores.queries import Order, Sorted
from contentgen_simulation.gateway.server import GatewayWorld, resource

ANN = ("ann", "*", "*", "red")
BOB = ("bob", "*", "*", "blue")
NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture
def world() -> GatewayWorld:
    return GatewayWorld(ANN, BOB)


async def test_a_job_is_given_to_those_who_may_get_it(world: GatewayWorld) -> None:
    job = world.job(1)
    async with world.client("ann") as ann, world.client("bob") as bob:
        given = await ann.get(f"/api/jobs/{job}")
        foreign, missing = await bob.get(f"/api/jobs/{job}"), await bob.get("/api/jobs/none")
    assert given.json()["jobId"] == job
    assert foreign.status_code == missing.status_code == 404
    assert foreign.json()["detail"].replace(job, "X") == missing.json()["detail"].replace("none", "X")


@pytest.mark.parametrize("token", [None, "unknown"])
async def test_only_tokens_of_this_cluster_are_accepted(world: GatewayWorld, token: str | None) -> None:
    async with world.client(token) as nobody:
        answer = await nobody.get("/api/jobs")
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert "kubectl create token" in answer.json()["detail"]


async def test_a_list_holds_what_lies_where_the_caller_may_list(world: GatewayWorld) -> None:
    mine = [world.job(number) for number in range(3)]
    world.job(9, namespace="blue", userId="bob")
    async with world.client("ann") as ann:
        listed = (await ann.get("/api/jobs")).json()
    assert [job["jobId"] for job in listed["jobs"]] == mine[::-1]
    assert listed["total"] == 3
    assert listed["nextCursor"] is None


async def test_list_without_paging_has_all_fields_of_the_seed(world: GatewayWorld) -> None:
    """Ten LoRAs, a hundred pictures, twenty transcripts: `jq` counts them by type."""
    there = {"lora-training": 10, "image-generation": 100, "transcription": 20}
    kinds = [kind for kind in Kind for _ in range(there[kind.record_type])]
    for number, kind in enumerate(kinds):
        world.job(number, kind)
    async with world.client("ann") as ann:
        listed = (await ann.get("/api/jobs?userId=ann")).json()
    assert Counter(job["type"] for job in listed["jobs"]) == there
    assert (listed["total"], listed["nextCursor"]) == (130, None)


@pytest.mark.parametrize("order", list(Order))
@pytest.mark.parametrize("sort", list(Sorted))
async def test_pages_hold_each_job_once(world: GatewayWorld, sort: Sorted, order: Order) -> None:
    """Also if many records have the same value, or none."""
    equal = {"updatedAt": NOW, "costMicros": 140_000, "name": "same"}
    for number in range(23):
        missing = dict.fromkeys(list(equal)[: number % 4])
        status = ("queued", "failed")[number % 2]
        job = world.job(number, progress=number % 3, completedAt=None, status=status, **equal | missing)
        if number % 5 == 0:
            world.database["jobs"].update_one({"jobId": job}, {"$unset": dict.fromkeys(missing, "")})
    for number in range(23, 26):
        world.job(number, namespace="blue", **equal)
    seen, cursor = [], ""
    async with world.client("ann") as ann:
        for _ in range(10):
            asked = {"limit": 5, "sort": sort.value, "order": order.value} | ({"cursor": cursor} if cursor else {})
            page = (await ann.get("/api/jobs", params=asked)).json()
            seen += [each_job["jobId"] for each_job in page["jobs"]]
            if not (cursor := page["nextCursor"]):
                break
            assert page["total"] == 23
    assert len(seen) == len(set(seen)) == 23


SORTS: dict[Sorted, tuple[str, list[Any]]] = {
    Sorted.NAME: ("name", ["Zeta", "avatar", "avatar-2", None]),
    Sorted.USER: ("userId", ["ann", "bob", "carol"]),
    Sorted.COST: ("costMicros", [35_000, 140_000, 2_000_000, None]),
    Sorted.UPDATED: ("updatedAt", [NOW, NOW + timedelta(days=1), None]),
}


@pytest.mark.parametrize("sort", SORTS)
async def test_lists_are_sorted_by_a_field(world: GatewayWorld, sort: Sorted) -> None:
    """Without a value: first ascending, last descending."""
    field, values = SORTS[sort]
    expected = [world.job(number, **{field: value}) for number, value in enumerate(values)]
    ascending = expected if values[-1] is not None else [expected[-1], *expected[:-1]]
    for path in ("/api/jobs", "/api/lora/list", "/api/assets/search?q=avatar"):
        world.database["jobs"].update_many({}, {"$set": {"terms": ["avatar"]}})
        for order, ids in ((Order.OLDEST, ascending), (Order.NEWEST, ascending[::-1])):
            async with world.client("ann") as ann:
                listed = await ann.get(httpx.URL(path).copy_merge_params({"sort": sort.value, "order": order.value}))
            assert [job["jobId"] for job in listed.json()["jobs"]] == ids, (path, order)
    async with world.client("ann") as ann:
        (refused,) = (await ann.get("/api/jobs", params={"sort": "price"})).json()["errors"]
    assert refused["loc"] == ["query", "sort"]
    named = refused["msg"].removeprefix("must be ").replace(" or ", ", ").split(", ")
    assert named == [each_sorted.value for each_sorted in Sorted]


@pytest.mark.parametrize("cursor", ["x", "e30", "WzEsMl0", "bnVsbA", "WyIkZ3QiLCB7fV0", "ÿ"])
async def test_a_cursor_that_is_none_of_ours_is_refused(world: GatewayWorld, cursor: str) -> None:
    async with world.client("ann") as ann:
        answer = await ann.get("/api/jobs", params={"cursor": cursor})
    assert answer.status_code == 422
    assert "cursor" in answer.json()["detail"]


async def first_cursor(client: httpx.AsyncClient, path: str, **asked: str) -> str:
    answer = await client.get(path, params=asked | {"limit": "1"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["nextCursor"])


async def is_refused(client: httpx.AsyncClient, path: str, **asked: str) -> None:
    answer = await client.get(path, params=asked)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["loc"] == ["cursor"]


@pytest.mark.parametrize("sort", list(Sorted))
async def test_a_cursor_of_another_order_is_refused(world: GatewayWorld, sort: Sorted) -> None:
    """A cursor of another order would silently skip jobs."""
    for number in range(3):
        world.job(number)
    async with world.client("ann") as ann:
        cursor = await first_cursor(ann, "/api/jobs", sort=sort.value)
        for other in Sorted:
            if other is not sort:
                await is_refused(ann, "/api/jobs", sort=other.value, cursor=cursor)
        await is_refused(ann, "/api/jobs", sort=sort.value, order="asc", cursor=cursor)
        assert (await ann.get("/api/jobs", params={"sort": sort.value, "cursor": cursor})).status_code == 200


LISTS = ("/api/jobs", "/api/assets/loras", "/api/assets/search", "/api/lora/list", "/api/collections")


@pytest.mark.parametrize("path", LISTS)
async def test_a_cursor_of_another_list_is_refused(world: GatewayWorld, path: str) -> None:
    for number in range(3):
        world.job(number, versions=[{"version": 1}])
    async with world.client("ann") as ann:
        for name in "abc":
            await ann.post("/api/collections", json={"name": name, "namespace": "red", "userId": "red"})
        cursor = await first_cursor(ann, path)
        for other in {*LISTS, "/api/assets/images", "/api/assets/transcripts"} - {path}:
            await is_refused(ann, other, cursor=cursor)
        await is_refused(ann, "/api/search/transcripts", q="a", cursor=cursor)
        assert (await ann.get(path, params={"cursor": cursor})).status_code == 200


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
@pytest.mark.parametrize("path", ["/api/jobs", "/api/usage", "/api/assets/search", "/api/search/transcripts?q=a"])
async def test_a_moment_that_utc_does_not_have_is_refused(world: GatewayWorld, path: str, moment: str) -> None:
    async with world.client("ann") as ann:
        for field in ("from", "to"):
            answer = await ann.get(httpx.URL(path).copy_merge_params({field: moment}))
            assert answer.status_code == 422
            assert answer.json()["errors"][0]["loc"] == ["query", field]


@pytest.mark.parametrize("counted", [1000, 6, 7, 3])
async def test_the_total_is_that_of_all_pages(
    world: GatewayWorld, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Independent of the number counted by the first query."""
    monkeypatch.setattr("contentgen_gateway.services.jobs.COUNTED", counted)
    for number in range(7):
        world.job(number)
    seen, cursor = [], None
    async with world.client("ann") as ann:
        while not seen or cursor:
            asked = {"limit": "3"} | ({"cursor": cursor} if cursor else {})
            page = (await ann.get("/api/jobs", params=asked)).json()
            assert page["total"] == 7
            seen += [job["jobId"] for job in page["jobs"]]
            cursor = page["nextCursor"]
    assert len(seen) == len(set(seen)) == 7


@pytest.mark.parametrize("moment", ["-1.3e-263", "1700000000", "2026", "now", "2026-13-01", "2026-11-21T12:00:00"])
@pytest.mark.parametrize("path", ["/api/jobs", "/api/usage", "/api/assets/search"])
async def test_a_moment_is_a_day_or_a_time_with_its_zone(world: GatewayWorld, path: str, moment: str) -> None:
    async with world.client("ann") as ann:
        for good in ("2026-11-21", "2026-11-21T12:00:00Z", "2026-11-21T12:00:00.5+01:00"):
            assert (await ann.get(path, params={"from": good, "to": good})).status_code == 200
        assert (await ann.get(path, params={"from": moment})).status_code == 422


DAY = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize("query", [Listing, UsageOf, partial(TranscriptSearch, q="a")])
@pytest.mark.parametrize(("since", "until", "period"), [
    ("2026-11-21", "2026-11-21", (DAY, DAY + timedelta(days=1))),
    ("2026-11-21T00:00:00Z", "2026-11-21", (DAY, DAY + timedelta(days=1))),
    ("2026-11-21", "2026-11-20T23:59:59Z", None),
    ("2026-11-21", "2026-11-20", None),
    ("2026-11-21T00:00:00Z", "2026-11-20", None),
    ("2026-11-21T01:00:00+01:00", "2026-11-21T00:00:00Z", (DAY, DAY)),
    ("2026-11-21T12:00:00Z", "2026-11-21T11:59:59Z", None),
    ("2026-11-21T12:00:00Z", "2026-11-21", (DAY + timedelta(hours=12), DAY + timedelta(days=1))),
    ("2026-11-21", "9999-12-31", (DAY, None)),
    (None, "2026-11-20", (None, DAY)),
])  # fmt: skip
def test_the_last_day_of_a_period_is_included(
    query: Callable[..., Listing], since: str | None, until: str, period: tuple[datetime, datetime] | None
) -> None:
    given = {"to": until} | ({"from": since} if since else {})
    if period is None:
        with pytest.raises(ValidationError, match="must not be before `from`"):
            query(**given)
        return
    wanted = query(**given).job_filter()
    assert (wanted.since, wanted.until) == period


@pytest.mark.parametrize("path", ["/api/jobs", "/api/usage", "/api/assets/images", "/api/search/transcripts?q=a"])
async def test_a_period_that_ends_before_it_begins_is_refused(world: GatewayWorld, path: str) -> None:
    async with world.client("ann") as ann:
        address = httpx.URL(path).copy_merge_params({"from": "2026-11-22", "to": "2026-11-21"})
        answer = await ann.get(address)
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"loc": ["query", "to"], "msg": "must not be before `from`"}]


@pytest.mark.parametrize("path", [
    "/api/jobs", "/api/lora/list", "/api/assets/loras", "/api/assets/images", "/api/assets/transcripts",
    "/api/assets/search", "/api/assets/stats", "/api/usage", "/api/collections", "/api/search/transcripts",
])  # fmt: skip
async def test_a_parameter_that_nobody_knows_is_refused(path: str) -> None:
    """Ignoring `userid` would list everybody's jobs."""
    world = GatewayWorld(("ann", "*", "*", "red"))
    query = {"q": "x"} if "search" in path else {}
    async with world.client("ann") as ann:
        assert (await ann.get(path, params=query | {"userId": "ann"})).status_code == 200
        near = await ann.get(path, params=query | {"userid": "ann"})
        far = await ann.get(path, params=query | {"colour": "red"})
    assert near.status_code == far.status_code == 422
    assert near.json()["detail"] == "query: there is no parameter 'userid'; did you mean 'userId'?"
    assert "there is no parameter 'colour'; there are " in far.json()["detail"]
    assert "userId" in far.json()["detail"]


async def test_a_parameter_that_is_given_twice_is_refused() -> None:
    world = GatewayWorld(("ann", "*", "*", "red"))
    job = world.job(1)
    async with world.client("ann") as ann:
        answer = await ann.get("/api/jobs?userId=ann&userId=bob")
        assert (await ann.delete(f"/api/assets/{job}/share?users=bob&users=carol")).status_code == 200
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["query", "userId"])


async def test_queue_position_counts_the_own_namespace_only() -> None:
    world = GatewayWorld(("ann", "*", "*", "red"), ("bob", "*", "*", "blue"))
    queued = {"phase": "Submitting", "reason": "Queued", "message": "waiting for a place"}
    for number, (uid, namespace) in enumerate([("first", "red"), ("it", "red"), ("theirs", "blue")]):
        run = {"startedAt": f"2026-11-01T12:0{number}:00Z", "spec": {}, "facts": {"type": "audio"}}
        body = resource(Kind.TRANSCRIPTION, uid, namespace=namespace, **queued, run=run)
        world.dependencies.live.add(Kind.TRANSCRIPTION, body)
    world.dependencies.live.add(Kind.TRANSCRIPTION, resource(Kind.TRANSCRIPTION, "running"))
    async with world.client("ann") as ann, world.client("bob") as bob:
        shown, foreign = await ann.get("/api/jobs/it/queue"), await bob.get("/api/jobs/it/queue")
        running = await ann.get("/api/jobs/running/queue")
    assert shown.json() == {
        "queued": True,
        "position": 2,
        "waiting": 2,
        "provider": "assemblyai",
        "reason": "Queued",
        "message": "waiting for a place",
    }
    assert foreign.status_code == 404
    assert running.json()["queued"] is False
