"""Worker API over real HTTPS: a flood of reports, slow clients, unavailable stores."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pymongo.errors import ServerSelectionTimeoutError

from contentgen_contract.names import Kind
from contentgen_contract.worker.orders import Progress
from contentgen_operator.kube.cache import Cache
from contentgen_operator.state.assignment import Assignment
from contentgen_operator.state.observed import Resource, ResourceRef
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.records import RecordStore
from contentgen_operator.stores.run_documents import RunDocuments
from contentgen_operator.stores.s3 import Storage
from contentgen_operator.stores.status_verification import StatusVerifier
from contentgen_operator.stores.worker_jobs import WorkerJobs
from contentgen_operator.worker_api.authentication import WorkerAuthenticator
from contentgen_operator.worker_api.reports import Reports
from contentgen_operator.worker_api.server import WorkerApi, create_app
from contentgen_operator.worker_api.tls import CertificateTerm, KeptSecret, WorkerApiTls
from contentgen_operator.worker_api.work_orders import OrderSettings
from contentgen_runtime.http_server import connections, servers
from contentgen_runtime.http_server.servers import TimedProtocol, tls_server
from contentgen_runtime.http_server.token_buckets import RateLimit
from contentgen_runtime.stores import in_thread
from contentgen_runtime.tenancy import Tenancy
from contentgen_simulation.object_storage import unreached_storage
from contentgen_simulation.world import SPECS, UID, World, Writes


class Place:
    """Listening worker API with what a client needs."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.port = port
        self.context = context

    def client(self) -> httpx.AsyncClient:
        limits = httpx.Limits(max_connections=16)
        return httpx.AsyncClient(
            base_url=f"https://localhost:{self.port}",
            verify=self.context,
            limits=limits,
            timeout=60,
            headers={"Authorization": "Bearer token"},
        )

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("localhost", self.port, ssl=self.context)


class EmptySecret:
    """Secret for a certificate that lasts as long as the test."""

    async def get_secret_data(self, *_: str) -> tuple[str, dict[str, bytes]]:
        return "1", {}

    async def patch_secret_data(self, *_: Any) -> None:
        return


@contextlib.asynccontextmanager
async def listening(app: FastAPI) -> AsyncIterator[Place]:
    kube: Any = EmptySecret()
    tls = WorkerApiTls(KeptSecret(kube, "ns", "tls", "https://localhost", CertificateTerm()))
    await tls.refresh()
    server = tls_server(app, 0, tls.context)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(60):
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
    try:
        yield Place(server.servers[0].sockets[0].getsockname()[1], ssl.create_default_context(cadata=tls.ca))
    finally:
        server.should_exit = True
        await asyncio.wait({task}, timeout=3)
        server.force_exit = True
        await task


class Door:
    """Authenticates every caller as the worker of one resource of a world in memory."""

    def __init__(self, world: World, kind: Kind) -> None:
        self._world = world
        self._kind = kind

    async def assignment(self, _token: str) -> Assignment:
        resource = Resource.parse(self._kind, self._world.kube.resources[self._kind, "it"])
        assert resource.status.run is not None
        assert resource.status.run.job is not None
        return Assignment(resource=resource, run=resource.status.run, job=resource.status.run.job)


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setattr(Storage, "exists", in_thread(lambda *_: False))  # no outcome yet
    return unreached_storage()


def worker_api_of(world: World, reports: Reports, storage: Storage, wake: Any) -> WorkerApi:
    door: Any = Door(world, Kind.TRANSCRIPTION)
    ledger = Ledger(world.database["ledger"])
    return WorkerApi(
        authenticator=door,
        storage=storage,
        ledger=ledger,
        reports=reports,
        settings=OrderSettings(stage_deadline=timedelta(hours=1)),
        wake=wake,
        verifier=StatusVerifier(
            ledger=ledger,
            records=RecordStore(world.database["jobs"], storage),
            runs=RunDocuments(world.database["runs"]),
            tenancy=Tenancy(world.kube, world.database),
        ),
    )


async def preparing(world: World) -> None:
    """Transcription with a running Job."""
    world.kube.apply(Kind.TRANSCRIPTION, SPECS[Kind.TRANSCRIPTION])
    ref = ResourceRef(kind=Kind.TRANSCRIPTION, namespace="ns", name="it", uid=UID)
    await world.process._read_and_reconcile(ref)
    assert world.status(Kind.TRANSCRIPTION).run is not None


def post(path: str, body: bytes) -> bytes:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer token\r\nContent-Type: application/json\r\n"
    )
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize("path", ["/v1/progress", "/v1/outcome"])
async def test_a_flood_of_reports_is_one_status_write_a_second(
    world: World, monkeypatch: pytest.MonkeyPatch, storage: Storage, path: str
) -> None:
    """By one worker, as fast as the server responds, each with different progress. Another worker's order is served."""
    await preparing(world)
    reports = Reports()
    world.process.observer.reports = reports
    looks = Looks(world)
    for limit in ("REQUESTS", "JOB_REQUESTS", "NAMESPACE_REQUESTS"):
        monkeypatch.setattr(f"contentgen_operator.worker_api.server.{limit}", RateLimit(burst=1e9, per_second=1e9))
    worker_api = worker_api_of(world, reports, storage, world.process.wake)
    queue = asyncio.create_task(world.process.queue.run())
    answers, orders, seconds, batch = 0, 0, 2.0, 25

    async def pour(place: Place, until: float) -> None:
        nonlocal answers
        reader, writer = await place.connect()
        while True:
            # Tenths, so that the status changes with the first batch, should a busy machine send no more.
            fractions = [(answers + n) % 10 / 10 for n in range(batch)]
            said = [
                Progress(step="Downloading", fraction=fraction).model_dump_json(by_alias=True) for fraction in fractions
            ]
            writer.write(b"".join(post(path, text.encode()) for text in said))
            for _ in range(batch):
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 204"), head
            answers += batch
            if time.monotonic() >= until:
                break
        writer.close()

    async def look(client: httpx.AsyncClient, until: float) -> None:
        nonlocal orders
        while True:
            signed = (await client.get("/v1/order")).status_code == 200
            assert signed or path == "/v1/outcome", "nothing is signed after the outcome"
            orders += 1
            if time.monotonic() >= until:
                break
            await asyncio.sleep(0.1)

    async with listening(create_app(worker_api)) as place, place.client() as other:
        await other.get("/v1/order")
        begun, seen, started = len(world.kube.statuses), looks.made, time.monotonic()
        until = started + seconds
        await asyncio.gather(*(pour(place, until) for _ in range(4)), look(other, until))
        async with asyncio.timeout(60):
            while path == "/v1/progress" and len(world.kube.statuses) == begun:  # noqa: ASYNC110 - a write has no event
                await asyncio.sleep(0.05)
        took = time.monotonic() - started
    queue.cancel()
    written, looked = len(world.kube.statuses) - begun, looks.made - seen
    figures = f"{answers} posts in {took:.1f} s: {written} status writes, {looked} looks, {orders} orders of another"
    assert answers > 20, figures
    assert orders > 0, figures
    assert looked <= took + 2, figures
    assert written <= took + 1, figures
    assert len(reports) == 1


class Looks:
    """Counts the reconciles of a resource, each of which costs requests."""

    def __init__(self, world: World) -> None:
        self.made = 0
        self._observe = world.process.observer.observe
        world.process.observer.observe = self  # type: ignore[assignment, method-assign]

    async def __call__(self, *args: Any) -> Any:
        self.made += 1
        return await self._observe(*args)


def test_worker_reports_take_bounded_memory() -> None:
    reports = Reports(jobs=100)
    for n in range(1000):
        reports.note_progress(f"job-{n}", Progress(step="Downloading", fraction=0.5))
        reports.note_finished("the one that goes on")
    assert len(reports) == 100
    assert reports.progress("job-0") is None
    assert reports.progress("job-999") is not None
    assert reports.finished("the one that goes on")


# Slow clients


HEAD = b"POST /v1/progress HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\nContent-Length: 1000\r\n"
SLOW_CLIENTS = 20
SLOW = {
    "says nothing": [],
    "a line a moment": [b"GET /v1/order HTTP/1.1\r\n", *[b"X-Header: x\r\n"] * 1000],
    "a body by the byte": [HEAD + b"\r\n", *[b"x"] * 1000],
    "stops in the middle of a second request": [b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n" + HEAD + b"\r\nxx"],
}


@pytest.mark.parametrize("name", SLOW)
async def test_a_slow_client_is_cut_and_others_are_served(
    monkeypatch: pytest.MonkeyPatch, storage: Storage, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    connections: list[TimedProtocol] = []
    made = TimedProtocol.connection_made

    def connection_made(self: TimedProtocol, transport: asyncio.Transport) -> None:
        connections.append(self)
        self.exchange_seconds = 0.5 if len(connections) <= SLOW_CLIENTS else 60.0
        made(self, transport)

    monkeypatch.setattr(TimedProtocol, "connection_made", connection_made)
    world = World(monkeypatch, Writes())
    await preparing(world)
    app = create_app(worker_api_of(world, Reports(), storage, world.process.wake))

    async def be_slow() -> float:
        started = time.monotonic()
        reader, writer = await place.connect()

        async def drip() -> None:
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                for piece in SLOW[name]:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.1)

        dripping = asyncio.create_task(drip())
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            async with asyncio.timeout(60):
                while await reader.read(1000):
                    pass
        dripping.cancel()
        writer.close()
        return time.monotonic() - started

    async with listening(app) as place, place.client() as client:
        slow = [asyncio.create_task(be_slow()) for _ in range(SLOW_CLIENTS)]
        async with asyncio.timeout(60):
            while len(connections) < SLOW_CLIENTS:  # noqa: ASYNC110 - bounded above
                await asyncio.sleep(0.01)
        assert (await client.get("/v1/order")).status_code == 200
        took = await asyncio.gather(*slow)
        assert min(took) >= 0.5, "none is cut before its time"
    assert "Exception" not in caplog.text


async def test_a_client_that_pauses_between_requests_is_not_slow(
    monkeypatch: pytest.MonkeyPatch, storage: Storage
) -> None:
    monkeypatch.setattr(TimedProtocol, "exchange_seconds", 1.5)
    world = World(monkeypatch, Writes())
    app = create_app(worker_api_of(world, Reports(), storage, world.process.wake))
    async with listening(app) as place:
        reader, writer = await place.connect()
        for _ in range(2):
            writer.write(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 404")
            await asyncio.sleep(1.6)
        writer.close()


async def test_no_other_protocol_is_spoken(world: World, storage: Storage) -> None:
    await preparing(world)
    app = create_app(worker_api_of(world, Reports(), storage, world.process.wake))
    async with listening(app) as place, place.client() as client:
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Key": "x",
            "Sec-WebSocket-Version": "13",
        }
        assert (await client.get("/v1/order", headers=upgrade)).status_code == 200
        for path in ("/", "/docs", "/openapi.json", "/v1", "/v1/order/"):
            assert (await client.get(path)).status_code in (404, 307)
        assert (await client.put("/v1/order")).status_code == 405


# Unavailable dependencies


async def test_a_store_that_is_away_is_said_in_one_line(
    world: World, monkeypatch: pytest.MonkeyPatch, storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    await preparing(world)
    worker_api = worker_api_of(world, Reports(), storage, world.process.wake)

    async def away(_key: Any) -> None:
        raise ServerSelectionTimeoutError("mongo:27017: connection refused")

    monkeypatch.setattr(worker_api.ledger, "get", away)
    async with listening(create_app(worker_api)) as place, place.client() as client:
        reply = await client.get("/v1/order")
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "5")
    assert "connection refused" in caplog.text
    assert "Traceback" not in caplog.text
    assert "refused" not in reply.text


async def test_an_api_server_that_is_away_is_no_reason_to_refuse(
    monkeypatch: pytest.MonkeyPatch, storage: Storage
) -> None:
    """A refused worker gives up after half a minute; one that gets a 503 waits."""

    class Away:
        async def review_token(self, _token: str, _audience: str) -> None:
            raise TimeoutError

    world = World(monkeypatch, Writes())
    worker_api = worker_api_of(world, Reports(), storage, world.process.wake)
    kube: Any = Away()
    worker_api.authenticator = WorkerAuthenticator(kube, Cache(), WorkerJobs(world.database["worker_jobs"]))
    async with listening(create_app(worker_api)) as place, place.client() as client:
        assert (await client.get("/v1/order")).status_code == 503


async def is_cut(reader: asyncio.StreamReader) -> bool:
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        async with asyncio.timeout(60):
            return await reader.read(1) == b""
    return True


async def answered(place: Place, address: str) -> int:
    there = httpx.AsyncHTTPTransport(verify=place.context, local_address=address)
    async with httpx.AsyncClient(transport=there, base_url=f"https://localhost:{place.port}") as other:
        return (await other.get("/v1/order", headers={"Authorization": "Bearer token"})).status_code


@pytest.fixture
async def few(monkeypatch: pytest.MonkeyPatch, storage: Storage) -> AsyncIterator[Place]:
    """Server with 15 connections, 5 per address."""

    def places(total: int, per_address: int) -> connections.ConnectionSlots:
        assert (total, per_address) == (1000, 200)
        return connections.ConnectionSlots(15, 5)

    monkeypatch.setattr(servers, "ConnectionSlots", places)
    world = World(monkeypatch, Writes())
    await preparing(world)
    async with listening(create_app(worker_api_of(world, Reports(), storage, world.process.wake))) as place:
        yield place


async def test_single_address_cannot_take_all_connections(few: Place) -> None:
    """A pod opens connections without end; workers in other pods have other addresses."""
    held = [await few.connect() for _ in range(5)]
    reader, writer = await asyncio.open_connection("localhost", few.port)
    assert await is_cut(reader), "the sixth, before its handshake"
    writer.close()
    assert await answered(few, "127.0.0.2") == 200
    for _, resource in held:
        resource.close()
        await resource.wait_closed()
    async with asyncio.timeout(60):
        while not await has_room(few, "127.0.0.1"):  # noqa: ASYNC110 - the server's end of a connection has no event
            await asyncio.sleep(0.01)


async def has_room(place: Place, address: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return await answered(place, address) == 200
    return False


async def test_unfinished_handshakes_leave_room_for_others(few: Place) -> None:
    """From as many addresses as it takes to use all connections."""
    held = [
        await asyncio.open_connection("127.0.0.1", few.port, local_addr=(f"127.0.0.{address}", 0))
        for address in (2, 3, 4)
        for _ in range(5)
    ]
    assert await answered(few, "127.0.0.5") == 200
    assert await is_cut(held[0][0]), "the oldest of an address that holds most"
    for _, resource in held:
        resource.close()


async def test_a_handshake_that_does_not_end_is_cut(few: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "_HANDSHAKE_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("localhost", few.port)
    assert await is_cut(reader)
    writer.close()
