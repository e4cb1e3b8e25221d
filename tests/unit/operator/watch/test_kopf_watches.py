"""kopf's watches over real HTTP: refusals, lost history, dead connections, labels of namespaces, and the end."""

import asyncio
import contextlib
import json
import signal
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import kopf
import pytest
from aiohttp import web
from kubernetes.aio import client

from contentgen_contract.names import Kind
from contentgen_contract.resources.namespaces import LabelSelector
from contentgen_operator.fairness.work_queue import WorkQueue
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.cache import Cache
from contentgen_operator.kube.selection import Selection
from contentgen_operator.telemetry.health import OperatorHealth
from contentgen_operator.watch import kopf_handlers, liveness
from contentgen_operator.watch.event_handlers import EventHandlers
from contentgen_operator.watch.kopf_handlers import build_registry, watch
from contentgen_operator.watch.lists import ResourceLists
from contentgen_operator.watch.liveness import WatchLiveness
from contentgen_operator.worker_api.reports import Reports
from contentgen_runtime.namespaces import Namespaces

LABELS = LabelSelector(match_labels={"contentgen.dev/enabled": "true"})
GONE = {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old resource version"}}
IMAGES = Kind.IMAGE_GENERATION.plural
KINDS = {
    "/api/v1": [("namespaces", "Namespace", False), ("events", "Event", True)],
    "/apis/apiextensions.k8s.io/v1": [("customresourcedefinitions", "CustomResourceDefinition", False)],
    "/apis/batch/v1": [("jobs", "Job", True)],
    "/apis/contentgen.dev/v1alpha1": [(kind.plural, kind.value, True) for kind in Kind],
}


def thing(name: str, namespace: str = "ns", version: int = 2) -> dict[str, Any]:
    meta = {"namespace": namespace, "name": name, "uid": f"uid-of-{name}", "resourceVersion": str(version)}
    return {"metadata": meta, "spec": {}}


def labelled(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": f"uid-of-{name}", "resourceVersion": "2"}}


class ApiServer:
    """Lists and watches over real HTTP; `silent` keeps connections open and sends nothing."""

    def __init__(self) -> None:
        self.watches: list[str] = []
        self.refused: list[str] = []
        self.status = 200  # of watches
        self.forbidden = ""  # part of a path
        self.silent = False
        self.objects: dict[str, list[dict[str, Any]]] = {}  # lists, by plural
        self.asked: list[tuple[str, str]] = []  # plurals and label selectors
        self.events: dict[str, asyncio.Queue[dict[str, Any]]] = {}

    def queue(self, plural: str) -> asyncio.Queue[dict[str, Any]]:
        return self.events.setdefault(plural, asyncio.Queue())

    async def answer(self, request: web.Request) -> web.StreamResponse:
        name = request.path.rstrip("/").rpartition("/")[2]
        if self.forbidden and self.forbidden in request.path:
            self.refused.append(name)
            return web.json_response({"code": 403, "kind": "Status"}, status=403)
        if (found := discovery(request.path)) is not None:
            return web.json_response(found)
        self.asked.append((name, request.query.get("labelSelector", "")))
        if "watch" not in request.query:
            listed = {"metadata": {"resourceVersion": "1"}, "items": self.objects.get(name, [])}
            return web.json_response(listed)
        if self.status != 200:
            self.refused.append(name)
            return web.json_response({"code": self.status, "kind": "Status"}, status=self.status)
        self.watches.append(name)
        response = web.StreamResponse()
        await response.prepare(request)
        end = 60 if self.silent else float(request.query["timeoutSeconds"])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(end):
                while not self.silent:
                    await response.write(json.dumps(await self.queue(name).get()).encode() + b"\n")
                await asyncio.sleep(end)
        return response


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
    common = {"verbs": ["get", "list", "watch", "patch"]}
    return {
        "resources": [
            {"name": n, "kind": k, "singularName": k.lower(), "namespaced": s} | common for n, k, s in KINDS[path]
        ]
    }


@dataclass
class Watching:
    """kopf with our handlers against an API server, and what it has delivered."""

    lists: ResourceLists
    running: asyncio.Task[None]
    cache: Cache
    woken: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    @property
    def watches(self) -> WatchLiveness:
        return self.lists.watches

    def unready(self) -> list[str]:
        health = OperatorHealth(
            self.watches, WorkQueue(nothing), watch_seconds=150, stuck_seconds=0.2, namespaces=self.lists.namespaces
        )
        health.stores_ready = True
        return health.unready()


async def nothing(key: str) -> None:
    """Work that ends immediately."""


@contextlib.asynccontextmanager
async def operator(
    server: ApiServer,
    monkeypatch: pytest.MonkeyPatch,
    namespaces: Namespaces | None = None,
    backoffs: Sequence[float] = (0.01,),
) -> AsyncIterator[Watching]:
    """kopf with our handlers against that server, ended after the context. kopf gives up after its back-offs."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host = f"http://127.0.0.1:{runner.addresses[0][1]}"
    info = kopf.ConnectionInfo(server=host)
    monkeypatch.setattr(kopf, "login_with_service_account", lambda **_: info)
    monkeypatch.setattr(kopf.ConnectionInfo, "as_ssl_context", lambda _: ssl.create_default_context())
    woken, deleted, cache, selected = list[str](), list[str](), Cache(), namespaces or Namespaces()

    async def wake(ref: Any) -> None:
        woken.append(ref.name)

    async def delete(ref: Any) -> None:
        deleted.append(ref.name)

    handlers = EventHandlers(cache, wake, Reports(), selection=Selection(namespaces=selected), on_deleted=delete)
    settings = kopf.OperatorSettings()
    settings.networking.error_backoffs = backoffs
    async with client.ApiClient(client.Configuration(host=host)) as connection:
        kube = Kube()
        kube._api = connection
        lists = ResourceLists(kube, selected, WatchLiveness(refused_seconds=0.05), handlers)
        await lists.begin()
        running = asyncio.create_task(watch(build_registry(lists), selected.names, settings))
        try:
            yield Watching(lists, running, cache, woken, deleted)
        finally:
            running.cancel()
            await asyncio.wait({running, *tasks_of_kopf()}, timeout=10)
            await runner.cleanup()


def tasks_of_kopf() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if "/kopf/" in str(task)}


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not reached():  # noqa: ASYNC110 - kopf is not to know of the test
            await asyncio.sleep(0.02)


def each_of_four(names: Sequence[str], times: int) -> bool:
    counts = Counter(names)
    return len(counts) == 4 and min(counts.values()) >= times


async def test_silently_dead_watch_is_reopened_and_ages_until_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kopf_handlers, "SERVER_SECONDS", 0.2)
    monkeypatch.setattr(kopf_handlers, "CLIENT_SECONDS", 1.0)
    assert liveness.SERVER_SECONDS < liveness.CLIENT_SECONDS < 90, "the promise of 90 s"
    server = ApiServer()
    async with operator(server, monkeypatch) as operated:
        watches = operated.watches
        await server.queue(IMAGES).put({"type": "ADDED", "object": thing("it")})
        await until(lambda: each_of_four(server.watches, 4))
        assert operated.woken == ["it"]
        assert len(watches.ages()) == 4
        assert max(watches.ages().values()) < 2.5, "each is opened anew"
        server.silent, opened = True, len(server.watches)
        await until(lambda: each_of_four(server.watches[opened:], 1))
        await until(lambda: max(watches.ages().values()) > 0.6)  # detected as old
        server.silent, opened = False, len(server.watches)
        await server.queue(IMAGES).put({"type": "ADDED", "object": thing("next")})
        await until(lambda: operated.woken == ["it", "next"])
        assert len(server.watches) > opened


async def test_errors_of_the_api_server_end_no_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """kopf ends after its retries, and with it the process."""
    monkeypatch.setattr(kopf_handlers, "SERVER_SECONDS", 0.2)
    server = ApiServer()
    async with operator(server, monkeypatch) as operated:
        await until(lambda: each_of_four(server.watches, 1))
        server.status = 503
        await until(lambda: each_of_four(server.refused, 6))  # more often than kopf retries
        assert min(operated.watches.ages().values()) > 0.01, "a watch that cannot be opened is not young"
        server.status = 200
        await server.queue(IMAGES).put({"type": "ADDED", "object": thing("it")})
        await until(lambda: operated.woken == ["it"])


async def test_namespace_without_a_role_ends_no_other_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """kopf ends at a lasting 403, and with it the process and the work in all other namespaces."""
    monkeypatch.setattr(kopf_handlers, "SERVER_SECONDS", 0.2)
    server = ApiServer()
    server.forbidden = "/namespaces/red/"
    async with operator(server, monkeypatch, Namespaces(("red", "blue"))) as operated:
        watches = operated.watches
        assert operated.unready() == ["the watches"]
        await until(lambda: each_of_four(server.refused, 4))  # more often than kopf retries
        await until(lambda: len(watches.ages()) == 4)
        assert {name.split("/")[1] for name in watches.refused} == {"red"}
        assert (operated.unready(), len(watches.refused)) == ([], 4)
        server.forbidden = ""
        await until(lambda: len(watches.ages()) == 8)
        assert watches.refused == set()
        await server.queue(IMAGES).put({"type": "ADDED", "object": thing("it", "red")})
        await until(lambda: operated.woken == ["it"])
        opened = len(server.watches)
        server.forbidden = "/namespaces/red/"  # its Role is deleted again: no watch is old, and no restart is needed
        await until(lambda: len(watches.refused) == 4)
        await until(lambda: len(server.watches) > opened + 8)
        assert len(watches.ages()) == 4


async def test_missing_right_in_all_namespaces_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ApiServer()
    server.forbidden = "/jobs"
    async with operator(server, monkeypatch) as operated:
        await until(lambda: len(server.refused) >= 4 and len(operated.watches.ages()) == 3)
        assert operated.unready() == ["the right to watch jobs (403)"]
        server.forbidden = ""
        await until(lambda: operated.unready() == [])


async def test_objects_deleted_while_the_history_was_lost_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """kopf lists again after a 410, and reports only the objects of the list."""
    server = ApiServer()
    server.objects[IMAGES] = [thing("gone"), thing("kept")]
    async with operator(server, monkeypatch) as operated:
        await until(lambda: sorted(operated.woken) == ["gone", "kept"])
        await until(lambda: each_of_four(server.watches, 1))
        assert not operated.watches.has_missed.is_set()
        server.objects[IMAGES] = [thing("kept", version=5), thing("new", version=6)]
        await server.queue(IMAGES).put(GONE)
        async with asyncio.timeout(60):
            await operated.watches.has_missed.wait()
        server.forbidden = IMAGES
        await operated.lists.notice_deletions()
        assert (operated.deleted, list(operated.watches.missed)) == ([], [IMAGES]), "it is listed in a later round"
        server.forbidden = ""
        await operated.lists.notice_deletions()
        assert (operated.deleted, operated.watches.missed) == (["gone"], {})
        await until(lambda: sorted(operated.woken) == ["gone", "kept", "kept", "new"])
        assert {ref.name for ref in operated.cache.refs()} == {"kept", "new"}


async def test_labels_select_namespaces_and_their_loss_deselects(monkeypatch: pytest.MonkeyPatch) -> None:
    selected, server = Namespaces(selector=LABELS), ApiServer()
    assert not selected.known.is_set(), "nothing is selected, and nothing left, before the first list"
    server.objects = {"namespaces": [labelled("a"), labelled("b")], IMAGES: [thing("one", "a"), thing("two", "c")]}
    async with operator(server, monkeypatch, selected) as operated:
        assert (selected.known.is_set(), operated.woken) == (True, ["one"])
        await until(lambda: operated.unready() == [])
        await server.queue("namespaces").put({"type": "ADDED", "object": labelled("c")})
        await until(lambda: operated.woken == ["one", "two"])
        await server.queue("namespaces").put({"type": "DELETED", "object": labelled("a")})
        await until(lambda: [ref.name for ref in operated.cache.refs()] == ["two"])
        server.objects["namespaces"] = [labelled("c"), labelled("d")]
        await server.queue("namespaces").put(GONE)
        async with asyncio.timeout(60):
            await operated.watches.has_missed.wait()
        await operated.lists.notice_deletions()
        assert sorted(selected.labelled) == ["c", "d"], "b has lost the labels meanwhile"
        assert {labels for plural, labels in server.asked if plural == "namespaces"} == {str(LABELS)}


async def test_the_end_of_kopf_cancels_no_task_that_began_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """`kopf.operator` cancels all, 5 s after a signal, and a payment in progress loses its reply."""
    server, paid = ApiServer(), asyncio.Event()
    async with operator(server, monkeypatch) as operated:
        await until(lambda: each_of_four(server.watches, 1))
        payment = asyncio.create_task(paid.wait())
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait({operated.running, *tasks_of_kopf()}, timeout=60)
        assert not payment.done()
        paid.set()
        assert await payment
