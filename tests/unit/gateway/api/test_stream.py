"""`/api/stream/job/{id}` over real HTTP: progress, end, resumption, loss of the right to see the job."""

import asyncio
import dataclasses
import itertools
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
import uvicorn

from contentgen_contract.names import Kind
from contentgen_gateway.auth.visibility import Visibility
from contentgen_gateway.dependencies import Services
from contentgen_gateway.live import jobs
from contentgen_gateway.live.job_snapshot import JobSnapshot
from contentgen_gateway.live.watching import ListComplete, ObjectChanged, ObjectDeleted
from contentgen_gateway.problems import NotFound
from contentgen_gateway.services import streams
from contentgen_runtime.http_server.servers import Server
from contentgen_simulation.gateway.server import GatewayWorld, resource

SOUND = Kind.TRANSCRIPTION
DONE = datetime(2026, 11, 1, 12, 30, tzinfo=UTC)


class Events:
    """Events of one client."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> dict[str, Any] | None:
        """Next event with its data as JSON; None at the end of the stream."""
        found: dict[str, Any] = {}
        async with asyncio.timeout(60):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if not line and "event" in found:
                    return found
                if name:
                    found[name] = json.loads(value) if name == "data" else value
        return None

    async def all(self) -> AsyncIterator[dict[str, Any]]:
        """Events until the end of the stream."""
        while (each := await self.next()) is not None:
            yield each


class Served(GatewayWorld):
    """World that is served at a port."""

    url: str

    def now(self, version: int, job: str = "a", **status: Any) -> None:
        """Deliver a state of a job by the watch."""
        self.dependencies.live.apply(SOUND, ObjectChanged(resource(SOUND, job, version=version, **status)))

    @asynccontextmanager
    async def events(self, job: str = "a", who: str = "ann", last: str | None = None) -> AsyncIterator[Events]:
        """Open stream of a job."""
        headers = {"Authorization": f"Bearer {who}"} | ({"Last-Event-ID": last} if last else {})
        client = httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60)
        async with client, client.stream("GET", f"/api/stream/job/{job}") as response:
            yield Events(response)


@pytest.fixture
async def world() -> AsyncIterator[Served]:
    made = Served(("ann", "*", "*", "red"))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        made.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = Server(uvicorn.Config(made.app, lifespan="off", log_config=None, timeout_graceful_shutdown=1))
        serving = asyncio.create_task(server.serve([listening]))
        yield made
        server.should_exit = True
        await serving


async def test_a_job_is_followed_to_its_end(world: Served) -> None:
    world.now(1, phase="Preparing", progress=10, stage="Downloading", estimatedCompletionTime="2026-11-01T12:40:00Z")
    async with world.events() as events:
        first = await events.next()
        world.now(2, phase="Processing", progress=60, stage="Transcribing", message="at the provider")
        second = await events.next()
        world.now(3, phase="Completed", progress=100, reason="Completed", completionTime="2026-11-01T12:30:00Z")
        last, after = await events.next(), await events.next()
    assert events.response.headers["content-type"].startswith("text/event-stream")
    assert first is not None
    assert (first["id"], first["event"], 1000 <= int(first["retry"]) <= 5000) == ("1", "progress", True)
    assert first["data"] == {
        "jobId": "a",
        "status": "processing",
        "state": "running",
        "badge": "Running",
        "sentence": "A Job downloads the source and prepares the provider's input. Free.",
        "phase": "Preparing",
        "progress": 10,
        "stage": "Downloading",
        "message": None,
        "eta": "2026-11-01T12:40:00Z",
    }
    assert second is not None
    assert (second["id"], second["data"]["progress"], second["data"]["message"]) == ("2", 60, "at the provider")
    words = {"state": "completed", "badge": "Completed", "sentence": "The outputs are stored."}
    end = {"jobId": "a", "status": "completed", "reason": "Completed", "message": None} | words
    assert last == {"id": "end 2026-11-01T12:30:00Z", "event": "end", "data": end}
    assert after is None
    assert world.dependencies.live._followers == {}


async def test_a_change_that_an_event_does_not_tell_makes_no_event(
    world: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write makes a new version, also of a condition or an annotation only."""
    ways = iter([(2, 10, "Preparing"), (3, 11, "Preparing"), (4, 11, "Preparing"), (5, 100, "Completed")])

    async def tell(_: jobs.JobFollower, __: float) -> JobSnapshot:
        version, progress, phase = next(ways)
        return JobSnapshot.parse(SOUND, resource(SOUND, "a", version=version, progress=progress, phase=phase))

    monkeypatch.setattr(jobs.JobFollower, "next", tell)
    world.now(1, phase="Preparing", progress=10)
    async with world.events() as events:
        told = [event async for event in events.all()]
    assert [(each["event"], each["id"]) for each in told] == [("progress", "1"), ("progress", "3"), ("end", "end")]


async def test_a_stream_that_was_cut_goes_on_where_it_was(world: Served) -> None:
    world.now(7, progress=10)
    async with world.events(last="7") as same, world.events(last="6") as behind:
        told = await behind.next()
        world.now(8, progress=20)
        after = await same.next()
    assert told is not None
    assert after is not None
    assert (told["id"], after["id"]) == ("7", "8")


async def test_a_finished_job_answers_with_its_end_at_once(world: Served) -> None:
    job = world.job(1, SOUND, status="failed", reason="NoAudio", message="no sound in it", completedAt=DONE)
    async with world.events(job) as events:
        end, after = await events.next(), await events.next()
    assert end is not None
    words = {"state": "failed", "badge": "Failed", "sentence": "No sound in it."}
    assert end["data"] == {"jobId": job, "status": "failed", "reason": "NoAudio", "message": "no sound in it"} | words
    assert after is None
    async with world.events(job, last=end["id"]) as events:
        assert events.response.status_code == 204
    assert end["id"] == "end 2026-11-01T12:30:00Z"


async def test_a_job_that_nobody_told_of_yet_is_read(world: Served) -> None:
    job = world.job(1, SOUND, status="queued", name="job-x")
    body = resource(SOUND, job, version=4, progress=35)
    body["metadata"]["name"] = "job-x"
    world.api.put(body)
    async with world.events(job) as events:
        told = await events.next()
        assert told is not None
        assert (told["id"], told["data"]["progress"]) == ("4", 35)


@pytest.mark.parametrize("known", [True, False])
async def test_a_job_that_was_deleted_is_cancelled(world: Served, *, known: bool) -> None:
    job = world.job(1, SOUND, status="processing", completedAt=None)
    if known:
        world.now(1, job)
    async with world.events(job) as events:
        if known:
            assert await events.next()
            world.dependencies.live.apply(SOUND, ObjectDeleted(resource(SOUND, job)))
        end = await events.next()
    assert end is not None
    assert (end["event"], end["data"]["status"], end["data"]["reason"]) == ("end", "cancelled", "Cancelled")


async def test_an_end_that_the_watch_missed_is_read(world: Served) -> None:
    world.now(1)
    async with world.events() as events:
        assert await events.next()
        world.api.put(resource(SOUND, "a", version=9, phase="Failed", reason="NoAudio"))
        world.dependencies.live.apply(SOUND, ListComplete(frozenset()))
        end = await events.next()
    assert end is not None
    assert (end["event"], end["data"]["reason"]) == ("end", "NoAudio")


async def test_a_job_that_vanished_and_is_still_there_is_followed_on(world: Served) -> None:
    world.now(1)
    async with world.events() as events:
        assert await events.next()
        world.api.put(resource(SOUND, "a", version=2, progress=50))
        world.dependencies.live.apply(SOUND, ListComplete(frozenset()))
        told = await events.next()
    assert told is not None
    assert told["data"]["progress"] == 50


async def test_foreign_and_missing_look_the_same(world: Served) -> None:
    world.now(1)
    answers = []
    for job, token in (("a", "bob"), ("b", "bob"), ("b", "ann")):
        async with world.events(job, token) as events:
            await events.response.aread()
            answers.append((events.response.status_code, events.response.text.replace(repr(job), "it")))
    assert len(set(answers)) == 1
    assert answers[0][0] == 404


async def test_a_right_that_is_taken_away_cuts_the_stream(world: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_ASK_AGAIN_SECONDS", 0.01)
    world.now(1)
    async with world.events() as events:
        assert await events.next()
        world.api.rights.clear()
        world.dependencies.authorizer._known.clear()
        assert await events.next() is None


async def test_revoked_right_ends_the_stream_of_a_busy_job(world: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events follow each other within a second, so that the stream never idles for a minute."""
    clock = itertools.count()
    monkeypatch.setattr(streams, "monotonic", lambda: float(next(clock)), raising=False)
    versions = itertools.count(2)

    async def tell(_: jobs.JobFollower, __: float) -> JobSnapshot:
        version = next(versions)
        phase = "Completed" if version > 1000 else "Processing"
        return JobSnapshot.parse(SOUND, resource(SOUND, "a", version=version, progress=version % 100, phase=phase))

    monkeypatch.setattr(jobs.JobFollower, "next", tell)
    seen, job = [], world.dependencies.visibility.job

    async def once(_: Visibility, *given: Any) -> Any:
        seen.append(given)
        if len(seen) > 1:
            raise NotFound("job", "a")
        return await job(*given)

    monkeypatch.setattr(Visibility, "job", once)
    world.now(1, progress=1)
    async with world.events() as events:
        told = [event["event"] async for event in events.all()]
    assert len(seen) == 2
    assert set(told) == {"progress"}


async def test_stream_survives_checks_and_learns_of_a_missed_end(
    world: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "_ASK_AGAIN_SECONDS", 0.01)
    checks, visible = [], world.dependencies.visibility.job

    async def counted(_: Visibility, *given: Any) -> Any:
        checks.append(given)
        return await visible(*given)

    monkeypatch.setattr(Visibility, "job", counted)
    job = world.job(1, SOUND, status="processing", name="job-x", completedAt=None)
    world.now(1, job)
    async with world.events(job) as events:
        assert await events.next()
        reads = len(world.api.requests)
        checks.clear()
        async with asyncio.timeout(60):
            while len(checks) < 3:  # noqa: ASYNC110 - a check has no event
                await asyncio.sleep(0.01)
        world.database["jobs"].update_one({"jobId": job}, {"$set": {"status": "completed", "completedAt": DONE}})
        end = await events.next()
    assert end is not None
    assert (end["event"], end["data"]["status"]) == ("end", "completed")
    assert len(world.api.requests) > reads


async def test_a_client_that_reads_nothing_keeps_nobody_waiting(world: Served) -> None:
    """Events are not buffered for it."""
    world.now(0)
    async with world.events() as slow, world.events() as quick:
        assert await quick.next()
        for version in range(1, 301):
            world.now(version, message=f"{version} " + "x" * 1000)
            if version % 100 == 0:
                told = await quick.next()
                while told is not None and told["id"] != str(version):
                    told = await quick.next()
        (one, two) = world.dependencies.live._followers["a"]
        assert one._latest is not None
        assert one._latest is two._latest
        assert slow.response.status_code == 200


async def test_a_caller_has_so_many_streams_open_and_no_more(world: Served) -> None:
    """The limit is per caller; a closed stream frees its slot."""
    world.dependencies = dataclasses.replace(
        world.dependencies, settings=world.settings.model_copy(update={"gateway_streams_per_caller": 2})
    )
    world.app.state.services = Services(world.dependencies)
    world.api.rights.add(("bob", "*", "*", "red"))
    world.now(1, progress=10)
    async with world.events() as first, world.events():
        async with world.events() as third:
            refused = third.response
            problem = json.loads(await refused.aread())
        async with world.events(who="bob") as others:
            assert others.response.status_code == 200
        world.now(2, phase="Completed", progress=100)
        await first.next()
    assert (refused.status_code, refused.headers["retry-after"], problem["status"]) == (429, "10", 429)
    async with asyncio.timeout(60):
        while len(world.dependencies.streams):  # noqa: ASYNC110 - nothing tells when the server learns that its clients left
            await asyncio.sleep(0)
    world.now(3, progress=10)
    async with world.events() as again:
        assert again.response.status_code == 200


async def test_the_service_accounts_of_a_namespace_share_their_streams(world: Served) -> None:
    """A tenant can create any number of service accounts."""
    world.dependencies = dataclasses.replace(
        world.dependencies, settings=world.settings.model_copy(update={"gateway_streams_per_caller": 2})
    )
    world.app.state.services = Services(world.dependencies)
    robots = [f"system~serviceaccount~blue~robot-{number}" for number in range(3)]
    world.api.rights |= {(robot.replace("~", ":"), "*", "*", "red") for robot in robots}
    world.now(1, progress=10)
    async with world.events(who=robots[0]), world.events(who=robots[1]), world.events(who=robots[2]) as third:
        assert third.response.status_code == 429
