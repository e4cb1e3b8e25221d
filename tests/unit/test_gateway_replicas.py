"""Two replicas of the gateway over one API server, one MongoDB and one bucket, without session affinity."""

import json
from typing import Any

import httpx
import mongomock.collection
import pytest
from pymongo.errors import AutoReconnect

from contentgen_contract.names import Kind
from contentgen_gateway import recent_creations
from contentgen_gateway.live import Reader
from contentgen_gateway.now import Now
from contentgen_gateway.passages import Passage
from contentgen_gateway.transcript_index import TranscriptIndex
from contentgen_runtime.watching import Changed
from contentgen_simulation.cluster import ClusterWorld
from contentgen_simulation.gateway import resource

ANN, BOB = ("ann", "*", "*", "red"), ("bob", "*", "*", "blue")
ORDER: dict[str, Any] = {"audioUrl": "https://example.com/podcast.mp3", "namespace": "red"}


class Replicas:
    """The two, and a client of each."""

    def __init__(self, **settings: Any) -> None:
        self.a = ClusterWorld(ANN, BOB, **settings)
        self.b = ClusterWorld(beside=self.a, **settings)
        self.api, self.database = self.a.api, self.a.database

    def clients(self, who: str | None = "ann") -> tuple[httpx.AsyncClient, httpx.AsyncClient]:
        return self.a.client(who), self.b.client(who)


@pytest.fixture
def both() -> Replicas:
    return Replicas()


async def made(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await client.post("/api/transcribe", json=ORDER, headers=headers)


# Created at one, asked for at the other


async def test_a_job_made_at_one_replica_is_found_at_the_other_before_its_watch_tells(both: Replicas) -> None:
    a, b = both.clients()
    foreign = both.b.client("bob")
    where = (await made(a)).headers["location"]
    assert both.database["jobs"].count_documents({}) == 0
    assert (await foreign.get(where)).status_code == 404
    found = await b.get(where)
    assert (found.status_code, found.json()["status"], found.json()["namespace"]) == (200, "queued", "red")
    assert (await b.post(f"{where}/cancel?wait=0")).status_code == 202
    assert (await foreign.get(where)).status_code == 404


async def test_a_job_made_at_one_replica_is_missing_at_the_other_once_its_resource_is_gone(both: Replicas) -> None:
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
    told.update_one({}, {"$set": {"until": first["until"] - recent_creations.KEPT}})
    await made(a)
    assert [each["_id"] for each in told.find()] != [first["_id"]]
    assert told.count_documents({}) == 1


# Followed at one, and on at the other


SOUND = Kind.TRANSCRIPTION
JOB = "a"


def at_version(replica: ClusterWorld, version: int, **status: Any) -> dict[str, Any]:
    """A job's state, as the watch of one replica tells it."""
    body = resource(SOUND, JOB, version=version, **status)
    replica.parts.live.see(SOUND, Changed(body))
    return body


def applied(both: Replicas, body: dict[str, Any]) -> None:
    """What the API server has."""
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
    """The watch of replica b is behind: it tells of version 8, and then of the end, when a reader waits for it."""
    coming = iter([(8, 20, "Preparing"), (9, 40, "Preparing"), (10, 100, "Completed")])

    async def tell(_: Reader, __: float) -> Now:
        version, progress, phase = next(coming)
        return Now.of(SOUND, resource(SOUND, JOB, version=version, progress=progress, phase=phase))

    monkeypatch.setattr(Reader, "next", tell)
    at_version(both.b, 7, progress=10)
    return both


async def test_a_stream_that_goes_on_at_a_replica_that_is_behind_never_goes_back(late: Replicas) -> None:
    applied(late, resource(SOUND, JOB, version=9, progress=40))
    _, b = late.clients()
    assert await followed(b, last="9") == [("end", "end", "completed")]


async def test_a_stream_that_goes_on_at_a_replica_that_is_behind_misses_nothing(late: Replicas) -> None:
    applied(late, resource(SOUND, JOB, version=9, progress=40))
    _, b = late.clients()
    assert await followed(b, last="8") == [("progress", "9", 40), ("end", "end", "completed")]


async def test_an_end_that_the_other_replica_has_told_is_not_followed_by_progress(late: Replicas) -> None:
    applied(late, resource(SOUND, JOB, version=10, progress=100, phase="Completed"))
    _, b = late.clients()
    assert await followed(b, last="end") == [("end", "end", "completed")]


@pytest.mark.parametrize("last", ["99999999", "end 2026-11-01T12:30:00Z", "nonsense"])
async def test_an_event_that_nobody_has_sent_hides_nothing(late: Replicas, last: str) -> None:
    """Also of an API server that was restored, and counts from a lower version."""
    applied(late, resource(SOUND, JOB, version=7, progress=10))
    _, b = late.clients()
    told = await followed(b, last=last)
    assert told == [("progress", "7", 10), ("progress", "8", 20), ("progress", "9", 40), ("end", "end", "completed")]


async def test_what_the_api_server_has_hides_what_an_old_watch_knows(both: Replicas) -> None:
    at_version(both.b, 7, progress=10)
    assert both.b.parts.live.note(SOUND, resource(SOUND, JOB, version=9, progress=40)).version == "9"
    known = both.b.parts.live.get(JOB)
    assert known is not None
    assert known.version == "9"
    assert both.b.parts.live.note(SOUND, resource(SOUND, JOB, version=8, progress=20)).version == "9"


# The index of transcripts, kept by both


def said(*texts: str) -> list[Passage]:
    return [Passage(text, float(second), second + 1.0, "A") for second, text in enumerate(texts)]


def brought_in(index: TranscriptIndex, version: int, *texts: str) -> None:
    index._replace("job", {"version": version}, {"key": f"run-{version}", "version": version}, said(*texts))


def searched(both: Replicas) -> list[tuple[int, str]]:
    return [(each["version"], each["text"]) for each in both.database["transcripts"].find().sort("number")]


def test_a_replica_that_ends_in_between_takes_nothing_from_the_others_index(
    both: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = both.a.parts.transcripts, both.b.parts.transcripts
    brought_in(a, 1, "one", "two")

    def killed(*_: object, **__: object) -> None:
        raise AutoReconnect("the process is ended")

    monkeypatch.setattr(mongomock.collection.Collection, "insert_many", killed)
    with pytest.raises(AutoReconnect):
        brought_in(b, 1, "one", "two")
    assert searched(both) == [(1, "one"), (1, "two")]


def test_what_is_indexed_anew_leaves_nothing_of_before(both: Replicas) -> None:
    """A try that was interrupted may have been of another file of the same version."""
    brought_in(both.a.parts.transcripts, 1, "one", "two", "three")
    brought_in(both.b.parts.transcripts, 1, "other", "words")
    assert searched(both) == [(1, "other"), (1, "words")]
    brought_in(both.a.parts.transcripts, 2, "later")
    assert searched(both) == [(2, "later")]


def test_a_replica_that_is_at_an_older_version_has_the_job_indexed_again(
    both: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = both.a.parts.transcripts, both.b.parts.transcripts
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
