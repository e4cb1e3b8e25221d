"""Two replicas of the gateway over one API server, one MongoDB and one bucket, without session affinity."""

import asyncio
import itertools
import json
import re
from typing import Any

import aiohttp
import httpx
import mongomock.collection
import pytest
from kubernetes.aio.client.exceptions import ApiException
from pymongo.errors import AutoReconnect, NetworkTimeout, NotPrimaryError

from contentgen_contract.names import Kind
from contentgen_contract.resources.status import ResourceStatus
from contentgen_gateway.auth.authentication import Authenticator
from contentgen_gateway.auth.sign_outs import SignOuts
from contentgen_gateway.live import recent_creations
from contentgen_gateway.live.job_snapshot import JobSnapshot
from contentgen_gateway.live.jobs import JobFollower
from contentgen_gateway.live.watching import ObjectChanged
from contentgen_gateway.problems import Problem
from contentgen_gateway.transcripts.index import TranscriptIndex
from contentgen_gateway.transcripts.passages import Passage
from contentgen_simulation.gateway.cluster import WritableWorld
from contentgen_simulation.gateway.server import resource
from contentgen_simulation.world import blocking

ANN, BOB = ("ann", "*", "*", "red"), ("bob", "*", "*", "blue")
ORDER: dict[str, Any] = {"audioUrl": "https://example.com/podcast.mp3", "namespace": "red"}


class Replicas:
    """Two replicas, and a client of each."""

    def __init__(self, **settings: Any) -> None:
        self.a = WritableWorld(ANN, BOB, **settings)
        self.b = WritableWorld(beside=self.a, **settings)
        self.api, self.database = self.a.api, self.a.database

    def clients(self, who: str | None = "ann") -> tuple[httpx.AsyncClient, httpx.AsyncClient]:
        return self.a.client(who), self.b.client(who)


@pytest.fixture
def both() -> Replicas:
    return Replicas()


async def made(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await client.post("/api/transcribe", json=ORDER, headers=headers)


# Created at one, asked for at the other


async def test_job_made_at_one_replica_is_found_at_once_at_the_other(both: Replicas) -> None:
    a, b = both.clients()
    foreign = both.b.client("bob")
    where = (await made(a)).headers["location"]
    assert both.database["jobs"].count_documents({}) == 0
    assert (await foreign.get(where)).status_code == 404
    found = await b.get(where)
    assert (found.status_code, found.json()["status"], found.json()["namespace"]) == (200, "queued", "red")
    assert (await b.post(f"{where}/cancel?wait=0")).status_code == 202
    assert (await foreign.get(where)).status_code == 404


async def test_deleted_job_is_missing_at_once_at_the_other_replica(both: Replicas) -> None:
    a, b = both.clients()
    where = (await made(a)).headers["location"]
    both.api.resources.clear()
    assert (await b.get(where)).status_code == 404


async def test_a_later_resource_of_the_name_is_another_job(both: Replicas) -> None:
    a, b = both.clients()
    where = (await made(a, **{"Idempotency-Key": "1"})).headers["location"]
    both.api.resources.clear()
    later = (await made(a, **{"Idempotency-Key": "1"})).headers["location"]
    assert later != where
    assert [(await b.get(each)).status_code for each in (where, later)] == [404, 200]


async def test_a_job_is_made_though_other_replicas_cannot_be_told(
    both: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise AutoReconnect("no primary")

    monkeypatch.setattr(recent_creations.RecentCreations, "_add", away)
    a, b = both.clients()
    answer = await made(a)
    assert answer.status_code == 202
    assert (await a.get(answer.headers["location"])).status_code == 200
    assert (await b.get(answer.headers["location"])).status_code == 404, "until its watch tells"


async def test_creations_are_forgotten_when_every_watch_has_told(both: Replicas) -> None:
    a, _ = both.clients()
    await made(a)
    told = both.database["recent-creations"]
    (first,) = told.find()
    told.update_one({}, {"$set": {"until": first["until"] - recent_creations.RETENTION}})
    await made(a)
    assert [document["_id"] for document in told.find()] != [first["_id"]]
    assert told.count_documents({}) == 1


# Followed at one, and on at the other


SOUND = Kind.TRANSCRIPTION
JOB = "a"


def at_version(replica: WritableWorld, version: int, **status: Any) -> dict[str, Any]:
    """Apply a job's state to one replica's live jobs, as its watch would."""
    body = resource(SOUND, JOB, version=version, **status)
    replica.dependencies.live.apply(SOUND, ObjectChanged(body))
    return body


def applied(both: Replicas, body: dict[str, Any]) -> None:
    """Set the resource at the API server."""
    meta = body["metadata"]
    both.api.resources[meta["namespace"], SOUND.plural, meta["name"]] = body


async def followed(client: httpx.AsyncClient, last: str | None = None) -> list[tuple[str, str, Any]]:
    """The events of a stream that ends: name, id, progress or status."""
    headers = {"Last-Event-ID": last} if last else {}
    text = (await client.get(f"/api/stream/job/{JOB}", headers=headers)).text
    found = []
    for part in text.replace("\r", "").split("\n\n"):
        event = dict(line.split(": ", 1) for line in part.split("\n") if ": " in line)
        if "data" in event:
            data = json.loads(event["data"])
            found.append((event["event"], event["id"], data["progress" if event["event"] == "progress" else "status"]))
    return found


@pytest.fixture
def late(both: Replicas, monkeypatch: pytest.MonkeyPatch) -> Replicas:
    """Replica b's watch is stale: it reports version 8, and the end only when a reader waits."""
    coming = iter([(8, 20, "Preparing"), (9, 40, "Preparing"), (10, 100, "Completed")])

    async def tell(_: JobFollower, __: float) -> JobSnapshot:
        version, progress, phase = next(coming)
        return JobSnapshot.parse(SOUND, resource(SOUND, JOB, version=version, progress=progress, phase=phase))

    monkeypatch.setattr(JobFollower, "next", tell)
    at_version(both.b, 7, progress=10)
    return both


async def test_stream_resumed_at_a_stale_replica_never_goes_back(late: Replicas) -> None:
    applied(late, resource(SOUND, JOB, version=9, progress=40))
    _, b = late.clients()
    assert await followed(b, last="9") == [("end", "end", "completed")]


async def test_stream_resumed_at_a_stale_replica_misses_nothing(late: Replicas) -> None:
    applied(late, resource(SOUND, JOB, version=9, progress=40))
    _, b = late.clients()
    assert await followed(b, last="8") == [("progress", "9", 40), ("end", "end", "completed")]


async def test_end_told_by_one_replica_is_final_at_the_other(late: Replicas) -> None:
    applied(late, resource(SOUND, JOB, version=10, progress=100, phase="Completed"))
    _, b = late.clients()
    assert await followed(b, last="end") == [("end", "end", "completed")]


@pytest.mark.parametrize("last", ["99999999", "end 2026-11-01T12:30:00Z", "nonsense"])
async def test_an_event_that_nobody_has_sent_hides_nothing(late: Replicas, last: str) -> None:
    """Also from a restored API server, whose resourceVersions start lower."""
    applied(late, resource(SOUND, JOB, version=7, progress=10))
    _, b = late.clients()
    told = await followed(b, last=last)
    assert told == [("progress", "7", 10), ("progress", "8", 20), ("progress", "9", 40), ("end", "end", "completed")]


async def test_api_server_overrides_a_stale_watch(both: Replicas) -> None:
    at_version(both.b, 7, progress=10)
    assert both.b.dependencies.live.add(SOUND, resource(SOUND, JOB, version=9, progress=40)).version == "9"
    known = both.b.dependencies.live.get(JOB)
    assert known is not None
    assert known.version == "9"
    assert both.b.dependencies.live.add(SOUND, resource(SOUND, JOB, version=8, progress=20)).version == "9"


# The index of transcripts, kept by both


def said(*texts: str) -> list[Passage]:
    return [Passage(text, float(second), second + 1.0, "A") for second, text in enumerate(texts)]


def brought_in(index: TranscriptIndex, version: int, *texts: str) -> None:
    mark = {"key": f"run-{version}", "version": version}
    blocking(index.replace)("job", {"version": version}, mark, said(*texts))


def searched(both: Replicas) -> list[tuple[int, str]]:
    return [
        (transcript["version"], transcript["text"]) for transcript in both.database["transcripts"].find().sort("number")
    ]


def test_replica_that_stops_removes_nothing_from_the_index(both: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = both.a.dependencies.transcripts, both.b.dependencies.transcripts
    brought_in(a, 1, "one", "two")

    def killed(*_: object, **__: object) -> None:
        raise AutoReconnect("the process is ended")

    monkeypatch.setattr(mongomock.collection.Collection, "insert_many", killed)
    with pytest.raises(AutoReconnect):
        brought_in(b, 1, "one", "two")
    assert searched(both) == [(1, "one"), (1, "two")]


def test_reindexed_transcript_leaves_no_old_passages(both: Replicas) -> None:
    """An interrupted attempt may have used another file of the same version."""
    brought_in(both.a.dependencies.transcripts, 1, "one", "two", "three")
    brought_in(both.b.dependencies.transcripts, 1, "other", "words")
    assert searched(both) == [(1, "other"), (1, "words")]
    brought_in(both.a.dependencies.transcripts, 2, "later")
    assert searched(both) == [(2, "later")]


def test_replica_at_an_older_version_reindexes_the_job(both: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = both.a.dependencies.transcripts, both.b.dependencies.transcripts
    store = b._store

    def then_the_other(documents: Any) -> None:
        store(documents)
        brought_in(a, 1, "older")

    monkeypatch.setattr(b, "_store", then_the_other)
    brought_in(b, 2, "newer")
    assert both.database["transcripts-indexed"].find_one({"_id": "job"}) is None  # else it hid the missing passage
    monkeypatch.undo()
    brought_in(b, 2, "newer")
    assert searched(both) == [(2, "newer")]


# One is told to stop


async def test_stopping_replica_sends_its_clients_to_the_other(both: Replicas) -> None:
    """Open connections stay with their replica after the Service has removed it."""
    paths = ("/health", "/api/jobs", "/api/jobs?x=1", "/jobs", "/nowhere")
    a, b = both.clients()
    assert not [each for each in [await a.get(path) for path in paths] if "connection" in each.headers]
    both.a.dependencies.lifecycle.draining = True
    answers = [await a.get(path) for path in paths]
    assert [answer.headers["connection"] for answer in answers] == ["close"] * len(paths)
    assert [answer.status_code for answer in answers] == [200, 200, 422, 200, 404], "it serves on until then"
    assert "connection" not in (await b.get("/api/jobs")).headers


async def test_a_stream_that_begins_as_the_others_end_ends_with_them(both: Replicas) -> None:
    """On an open connection, for which the process waits as long as for a request."""
    lifecycle, ended = both.a.dependencies.lifecycle, list[str]()
    with lifecycle.endless(lambda: ended.append("before")):
        assert not ended
        await lifecycle.drain(0, lambda: None)
    with lifecycle.endless(lambda: ended.append("after")):
        assert ended == ["before", "after"]


# The same request to both


async def test_a_key_sent_to_both_at_a_time_makes_one_job(both: Replicas) -> None:
    turns = itertools.cycle(both.clients())
    answers = await asyncio.gather(*(made(next(turns), **{"Idempotency-Key": "order-7"}) for _ in range(20)))
    assert [method for method, _ in both.api.written] == ["POST"]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.text for answer in answers}) == 1
    assert len({answer.headers["location"] for answer in answers}) == 1


async def test_another_run_asked_for_at_both_at_a_time_is_one(both: Replicas) -> None:
    job = both.a.job(1, SOUND)
    run = {"number": 1, "version": 1, "runHash": "x", "generation": 1, "spec": {}, "startedAt": "2026-11-21T00:00:00Z"}
    both.a.resource(SOUND, "job-1", job, ResourceStatus.model_validate({"phase": "Completed", "run": run}))
    turns = itertools.cycle(both.clients())
    answers = await asyncio.gather(*(next(turns).post(f"/api/jobs/{job}/retry") for _ in range(20)))
    assert {(answer.status_code, answer.json()["run"]) for answer in answers} == {(202, 2)}
    assert [method for method, _ in both.api.written] == ["PATCH"]


async def test_a_form_of_one_replica_is_taken_by_the_other(both: Replicas) -> None:
    a, b = both.clients(None)
    page = await a.get("/sign-in")
    b.cookies.update(page.cookies)
    found = re.search(r'name="csrf" value="(\w+)"', page.text)
    assert found is not None
    answer = await b.post("/sign-in", data={"csrf": found[1], "token": "ann"})
    assert answer.status_code == 303


async def test_a_page_goes_on_at_the_other_replica(both: Replicas) -> None:
    jobs = [both.a.job(number, SOUND) for number in range(5)]
    turns, cursor, found = itertools.cycle(both.clients()), None, []
    while True:
        page = (await next(turns).get("/api/jobs", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))).json()
        found += [job["jobId"] for job in page["jobs"]]
        if (cursor := page["nextCursor"]) is None:
            break
    assert found == jobs[::-1]


# Limits


async def test_a_rate_is_that_of_one_replica() -> None:
    """A caller gets at least the configured rate, and at most n times as much with n replicas."""
    both = Replicas(gateway_requests_per_second=0.0001, gateway_burst=3)
    a, b = both.clients()
    for each in (a, b):
        assert (await each.get("/api/jobs")).status_code == 200  # counted by its address, before the caller is known
        assert [(await each.get("/api/jobs")).status_code for _ in range(4)] == [200, 200, 200, 429]


async def test_token_signed_out_elsewhere_is_valid_a_minute_at_most(both: Replicas) -> None:
    now = [0.0]
    a, b = (Authenticator(both.api, SignOuts(both.database["signed-out"]), clock=lambda: now[0]) for _ in range(2))
    await b.authenticate("ann")
    now[0] = 30.0
    await b.authenticate("ann")
    await a.sign_out("ann")
    with pytest.raises(Problem, match="signed out"):
        await a.authenticate("ann")
    now[0] = 60.0
    with pytest.raises(Problem, match="signed out"):
        await b.authenticate("ann")


# While something is away


REQUESTS = [
    ("GET", "/api/jobs", None), ("GET", "/api/jobs/nobodys", None), ("GET", "/api/stream/job/nobodys", None),
    ("POST", "/api/transcribe", ORDER), ("POST", "/api/jobs/nobodys/retry", None), ("GET", "/jobs", None),
    ("GET", "/api/usage?by=user", None),
]  # fmt: skip
API_ERRORS = (
    aiohttp.ClientConnectionError("refused"), aiohttp.ServerDisconnectedError(), TimeoutError(),
    ApiException(status=500, reason="etcdserver: leader changed"), ApiException(status=503, reason="starting"),
    ApiException(status=429, reason="too many"), ApiException(status=401, reason="its own token"),
)  # fmt: skip


def assert_away(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert "try again later" in answer.json()["detail"]


@pytest.mark.parametrize("error", API_ERRORS, ids=lambda each: f"{type(each).__name__}{getattr(each, 'status', '')}")
@pytest.mark.parametrize("known", [True, False])
async def test_absent_api_server_tells_clients_to_retry(
    both: Replicas, monkeypatch: pytest.MonkeyPatch, *, known: bool, error: Exception
) -> None:
    """With and without a cached token review; the replica recovers by itself."""

    async def away(*_: object) -> Any:
        raise error

    for client in both.clients():
        if known:
            await client.get("/api/jobs?type=none")  # a token that is remembered, and no right
        with monkeypatch.context() as outage:
            outage.setattr(both.api, "call", away)
            outage.setattr(both.api, "review_token", away)
            for method, path, body in REQUESTS:
                assert_away(await client.request(method, path, json=body))
            assert [(await client.get(path)).status_code for path in ("/health", "/ready")] == [200, 200]
        assert (await client.get("/api/jobs")).status_code == 200
        assert (await made(client)).status_code == 202


@pytest.mark.parametrize("error", [NotPrimaryError("stepped down"), AutoReconnect("closed"), NetworkTimeout("late")])
async def test_mongodb_election_tells_clients_to_retry(
    both: Replicas, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def away(*_: object, **__: object) -> Any:
        raise error

    for client in both.clients():
        assert (await client.get("/ready")).status_code == 200
        with monkeypatch.context() as outage:
            for name in ("find", "find_one", "count_documents", "aggregate", "distinct", "update_one"):
                outage.setattr(mongomock.collection.Collection, name, away)
            for method, path, body in REQUESTS:
                if method == "GET":
                    assert_away(await client.request(method, path, json=body))
            assert [(await client.get(path)).status_code for path in ("/health", "/ready")] == [200, 200]
        assert (await client.get("/api/jobs")).status_code == 200


async def test_a_person_is_told_with_a_page_to_come_again(both: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> Any:
        raise aiohttp.ClientConnectionError("refused")

    monkeypatch.setattr(both.api, "review_token", away)
    answer = await both.a.client("ann").get("/jobs", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (503, "text/html; charset=utf-8")
    assert int(answer.headers["retry-after"]) > 0
