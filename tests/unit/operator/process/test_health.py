"""Liveness and readiness: a dead watch, a stuck queue, and failures that are not the operator's."""

import asyncio
import contextlib
import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import httpx
import kopf
import pytest
from aiohttp import web

from contentgen_contract.names import Kind
from contentgen_operator.kube.cache import Cache
from contentgen_operator.queues.work_queue import WorkQueue
from contentgen_operator.telemetry.health import OperatorHealth, health_app
from contentgen_operator.watch import liveness as module
from contentgen_operator.watch.event_handlers import EventHandlers
from contentgen_operator.watch.kopf_handlers import build_registry
from contentgen_operator.watch.liveness import WatchLiveness
from contentgen_operator.worker_api.reports import Reports


class Clock:
    """Clock in seconds, set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def nothing(key: str) -> None:
    """Work that ends immediately."""


def health(clock: Clock, queue: WorkQueue[str] | None = None) -> tuple[OperatorHealth, WatchLiveness]:
    watches = WatchLiveness(clock)
    queue = WorkQueue(nothing) if queue is None else queue
    return OperatorHealth(watches, queue, watch_seconds=150, stuck_seconds=0.2, clock=clock), watches


def open_all(watches: WatchLiveness) -> None:
    for name in ("jobs", *(kind.plural for kind in Kind)):
        watches.opened(name)


def test_a_watch_that_is_not_opened_anew_is_dead() -> None:
    clock = Clock()
    subject, watches = health(clock)
    open_all(watches)
    clock.now += 149
    for name in ("jobs", "imagegenerations", "transcriptions"):
        watches.opened(name)
    assert subject.dead() == []
    clock.now += 2
    assert subject.dead() == ["the watch of loratrainings was opened 151 s ago"]
    watches.opened("loratrainings")
    assert subject.dead() == []


def test_watches_that_never_open_are_dead_too() -> None:
    clock = Clock()
    subject, watches = health(clock)
    assert subject.dead() == []
    clock.now += 151
    assert subject.dead() == ["the watches are not open 151 s after the start"]
    open_all(watches)
    assert subject.dead() == []


async def test_a_queue_that_stands_still_is_dead_and_a_long_one_that_moves_is_not() -> None:
    gate = asyncio.Event()

    async def work(key: str) -> None:
        await gate.wait()

    queue: WorkQueue[str] = WorkQueue(work, workers=1)
    subject, _ = health(Clock(), queue)
    subject.stores_ready = True
    running = asyncio.create_task(queue.run())
    try:
        await queue.wake("one")
        await asyncio.sleep(0.3)
        assert subject.dead() == [], "one is being worked on, and nothing waits"
        for key in map(str, range(50)):
            await queue.wake(key)
        await asyncio.sleep(0.3)
        (reason,) = subject.dead()
        assert "work is due" in reason
        gate.set()
        async with asyncio.timeout(60):
            while len(queue):  # noqa: ASYNC110 - the queue is not to know of the test
                await asyncio.sleep(0.01)
        assert subject.dead() == []
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_work_that_waits_for_a_store_at_the_start_is_not_stuck() -> None:
    queue: WorkQueue[str] = WorkQueue(nothing)
    subject, _ = health(Clock(), queue)
    await queue.wake("one")
    await asyncio.sleep(0.3)
    assert (subject.dead(), "the stores" in subject.unready()) == ([], True)
    subject.stores_ready = True
    assert subject.dead() != []


async def test_what_the_kubelet_is_told() -> None:
    clock = Clock()
    subject, watches = health(clock)

    async def metrics() -> tuple[bytes, str]:
        return b"a_metric 1\n", "text/plain; version=1.0.0"

    transport = httpx.ASGITransport(app=health_app(subject, metrics))
    async with httpx.AsyncClient(transport=transport, base_url="http://it") as client:
        assert (await client.get("/healthz")).status_code == 200
        unready = await client.get("/readyz")
        assert (unready.status_code, unready.text) == (503, "the stores; the watches")
        subject.stores_ready = True
        open_all(watches)
        assert (await client.get("/readyz")).text == "ok; leader: true"
        clock.now += 200
        for name in (kind.plural for kind in Kind):
            watches.opened(name)
        dead = await client.get("/healthz")
        assert (dead.status_code, dead.text) == (503, "the watch of jobs was opened 200 s ago")
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/metrics")).text == "a_metric 1\n"


class ApiServer:
    """Lists and watches over real HTTP; `silent` keeps connections open and sends nothing."""

    def __init__(self) -> None:
        self.watches: list[str] = []
        self.refused: list[str] = []
        self.refuses = False
        self.forbidden = ""  # a namespace without a Role
        self.silent = False
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        name = request.path.rstrip("/").rpartition("/")[2]
        if self.forbidden and f"/namespaces/{self.forbidden}/" in request.path:
            self.refused.append(name)
            return web.json_response({"code": 403, "kind": "Status"}, status=403)
        if "watch" not in request.query:
            listed = {"metadata": {"resourceVersion": "1"}, "items": []}
            return web.json_response(discovery(request.path) or listed)
        if self.refuses:
            self.refused.append(name)
            return web.json_response({"code": 503, "kind": "Status"}, status=503)
        self.watches.append(name)
        response = web.StreamResponse()
        await response.prepare(request)
        end = 60 if self.silent else float(request.query["timeoutSeconds"])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(end):
                while name == "imagegenerations" and not self.silent:
                    await response.write(json.dumps(await self.events.get()).encode() + b"\n")
                await asyncio.sleep(end)
        return response


KINDS = {
    "/api/v1": [("namespaces", "Namespace"), ("events", "Event")],
    "/apis/apiextensions.k8s.io/v1": [("customresourcedefinitions", "CustomResourceDefinition")],
    "/apis/batch/v1": [("jobs", "Job")],
    "/apis/contentgen.dev/v1alpha1": [(kind.plural, kind.value) for kind in Kind],
}


def discovery(path: str) -> dict[str, Any] | None:
    """Discovery document of the API server; None for a list of objects."""
    if path == "/api":
        return {"versions": ["v1"]}
    if path == "/apis":
        served = [path.split("/")[2:] for path in KINDS if path.startswith("/apis/")]
        versions = {group: {"version": version} for group, version in served}
        return {"groups": [{"name": n, "preferredVersion": v, "versions": [v]} for n, v in versions.items()]}
    if path not in KINDS:
        return None
    common = {"namespaced": True, "verbs": ["get", "list", "watch", "patch"]}
    return {"resources": [{"name": n, "kind": k, "singularName": k.lower()} | common for n, k in KINDS[path]]}


@contextlib.asynccontextmanager
async def operator(
    server: ApiServer,
    monkeypatch: pytest.MonkeyPatch,
    *namespaces: str,
    backoffs: Sequence[float] = (0.05,) * 1000,
) -> AsyncIterator[tuple[WatchLiveness, list[str]]]:
    """kopf with our handlers against that server; the watches, and the names of the woken resources."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    info = kopf.ConnectionInfo(server=f"http://127.0.0.1:{port}")
    monkeypatch.setattr(kopf, "login_with_service_account", lambda **_: info)
    monkeypatch.setattr(kopf.ConnectionInfo, "as_ssl_context", lambda _: ssl.create_default_context())
    watches, woken = WatchLiveness(refused_seconds=0.05), list[str]()

    async def wake(ref: Any) -> None:
        woken.append(ref.name)

    ready = asyncio.Event()
    registry = build_registry(EventHandlers(Cache(), wake, Reports()), watches)
    settings = kopf.OperatorSettings()
    settings.networking.error_backoffs = backoffs
    where: dict[str, Any] = {"namespaces": namespaces} if namespaces else {"clusterwide": True}
    running = asyncio.create_task(
        kopf.operator(registry=registry, settings=settings, standalone=True, ready_flag=ready, **where)
    )
    try:
        async with asyncio.timeout(60):
            await ready.wait()
        yield watches, woken
    finally:
        running.cancel()  # a stop flag makes kopf wait for all tasks that began after its own, the server's too
        await asyncio.wait({running}, timeout=10)
        await runner.cleanup()


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not reached():  # noqa: ASYNC110 - kopf is not to know of the test
            await asyncio.sleep(0.02)


def each_of_four(names: Sequence[str], times: int) -> bool:
    counts = Counter(names)
    return len(counts) == 4 and min(counts.values()) >= times


async def test_a_watch_that_died_in_silence_is_opened_anew_and_until_then_grows_old(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wiring = "contentgen_operator.watch.kopf_handlers"
    monkeypatch.setattr(f"{wiring}.SERVER_SECONDS", 0.2)
    monkeypatch.setattr(f"{wiring}.CLIENT_SECONDS", 1.0)
    assert module.SERVER_SECONDS < module.CLIENT_SECONDS < 90, "the promise of 90 s"
    server = ApiServer()
    async with operator(server, monkeypatch) as (watches, woken):
        meta = {"namespace": "ns", "name": "it", "uid": "u1", "resourceVersion": "2"}
        await server.events.put({"type": "ADDED", "object": {"metadata": meta, "spec": {}}})
        await until(lambda: each_of_four(server.watches, 4))
        assert woken == ["it"]
        assert len(watches.ages()) == 4
        assert max(watches.ages().values()) < 2.5, "each is opened anew"
        server.silent, opened = True, len(server.watches)
        await until(lambda: each_of_four(server.watches[opened:], 1))
        await until(lambda: max(watches.ages().values()) > 0.6)  # detected as old
        server.silent, opened = False, len(server.watches)
        await server.events.put(
            {"type": "ADDED", "object": {"metadata": meta | {"name": "next", "uid": "u2"}, "spec": {}}}
        )
        await until(lambda: woken == ["it", "next"])
        assert len(server.watches) > opened
        server.refuses = True
        await until(lambda: each_of_four(server.refused, 6))
        assert min(watches.ages().values()) > 0.25, "what cannot be opened is not young"


async def test_a_namespace_without_a_role_ends_no_other_watch_and_is_watched_once_it_has_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """kopf ends at a lasting 403, and with it the process and the work in all other namespaces."""
    monkeypatch.setattr("contentgen_operator.watch.kopf_handlers.SERVER_SECONDS", 0.2)
    server = ApiServer()
    server.forbidden = "red"
    async with operator(server, monkeypatch, "red", "blue", backoffs=(0.01,)) as (watches, woken):
        subject = OperatorHealth(watches, WorkQueue(nothing), watch_seconds=150, stuck_seconds=0.2, scopes=2)
        subject.stores_ready = True
        assert subject.unready() == ["the watches"]
        await until(lambda: each_of_four(server.refused, 4))  # more often than kopf retries
        await until(lambda: len(watches.ages()) == 4)
        assert {name.split("/")[1] for name in watches.refused} == {"red"}
        assert (subject.unready(), len(watches.refused)) == ([], 4)
        server.forbidden = ""
        await until(lambda: len(watches.ages()) == 8)
        assert watches.refused == set()
        meta = {"namespace": "red", "name": "it", "uid": "u1", "resourceVersion": "2"}
        await server.events.put({"type": "ADDED", "object": {"metadata": meta, "spec": {}}})
        await until(lambda: woken == ["it"])
        opened = len(server.watches)
        server.forbidden = "red"  # its Role is deleted again: no watch is old, and no restart is needed
        await until(lambda: len(watches.refused) == 4)
        await until(lambda: len(server.watches) > opened + 8)
        assert len(watches.ages()) == 4


def test_without_any_rights_it_is_not_ready() -> None:
    subject, watches = health(Clock())
    subject.stores_ready = True
    for kind in ("jobs", *(kind.plural for kind in Kind)):
        watches.refused.add(f"namespaces/red/{kind}")
    assert subject.unready() == ["the right to watch any of its namespaces (403)"]
    watches.opened("namespaces/red/jobs")
    assert subject.unready() == []
