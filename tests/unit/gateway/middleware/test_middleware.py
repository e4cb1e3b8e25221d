"""Middleware of the gateway: rate limits, body limit, timeout, headers, access log, metrics, shutdown."""

import asyncio
import contextlib
import json
import logging
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pymongo.errors import ServerSelectionTimeoutError
from starlette.responses import StreamingResponse

from contentgen_gateway import metrics
from contentgen_gateway.app import document
from contentgen_gateway.auth.authentication import Authenticator, Caller
from contentgen_gateway.auth.sign_outs import SignOuts
from contentgen_gateway.health import probes_app
from contentgen_gateway.middleware.rate_limit import network_of
from contentgen_gateway.middleware.stack import CLIENTS_OF_A_PEER
from contentgen_runtime.http_server import servers
from contentgen_runtime.http_server.connections import ConnectionSlots
from contentgen_runtime.http_server.token_buckets import RateLimit, TokenBuckets
from contentgen_runtime.metrics import CONTENT_TYPE
from contentgen_simulation.gateway.server import GatewayWorld

ANN = ("ann", "*", "*", "red")
BOB = ("bob", "*", "*", "blue")


def value(name: str, **labels: str) -> float:
    families = text_string_to_metric_families(metrics.exposition().decode())
    samples = (sample for family in families for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items())


# Rate limits


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate() -> None:
    clock = Clock()
    buckets = TokenBuckets(RateLimit(per_second=2, burst=5), clock)
    assert [buckets.take("ann") for _ in range(5)] == [0] * 5
    assert buckets.take("ann") == pytest.approx(0.5)
    assert buckets.take("bob") == 0, "another's is another"
    clock.now += 0.5
    assert [buckets.take("ann") > 0 for _ in range(2)] == [False, True]
    clock.now += 60
    assert [buckets.take("ann") > 0 for _ in range(6)] == [False] * 5 + [True], "no more than the burst is saved up"


def test_buckets_stay_few_and_who_is_refused_stays_so() -> None:
    clock = Clock()
    buckets = TokenBuckets(RateLimit(per_second=1, burst=1), clock, most=100)
    for number in range(1000):
        buckets.take(f"caller {number}")
    assert len(buckets) == 100
    assert buckets.take("caller 999") > 0
    clock.now += 10
    buckets.take("one")
    buckets.take("two")
    assert len(buckets) < 100, "full ones go"


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.7", "10.0.0.7"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", "unknown"),
        ("testclient", "unknown"),
    ],
)
def test_an_address_belongs_to_somebody(address: str, network: str) -> None:
    assert network_of(address) == network


async def test_a_caller_who_asks_too_often_is_told_when_to_come_again() -> None:
    world = GatewayWorld(ANN, BOB, gateway_requests_per_second=0.0001, gateway_burst=3)
    before = value("contentgen_gateway_rate_limited_total", counted_by="caller")
    async with world.client("ann") as ann, world.client("bob") as bob:
        answers = [await ann.get("/api/jobs") for _ in range(5)]
        other = await bob.get("/api/jobs")
    # The first request counts against the client address, because its token was not verified yet.
    assert [answer.status_code for answer in answers] == [200] * 4 + [429]
    refused = answers[-1]
    assert 1 <= int(refused.headers["retry-after"]) <= 10_000
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["x-content-type-options"] == "nosniff"
    assert other.status_code == 200
    assert value("contentgen_gateway_rate_limited_total", counted_by="caller") == before + 1


async def test_tokens_are_not_tried_out_endlessly() -> None:
    """Each token review is a request to the API server."""
    world = GatewayWorld(ANN, gateway_requests_per_second=0.0001, gateway_burst=3)
    before = value("contentgen_gateway_sign_ins_refused_total")
    codes = []
    for number in range(5):
        async with world.client(f"unknown-{number}") as nobody:
            codes.append((await nobody.get("/api/jobs")).status_code)
    assert codes == [401] * 3 + [429] * 2
    assert value("contentgen_gateway_sign_ins_refused_total") == before + 3


async def tried(world: GatewayWorld, token: str, headers: dict[str, str]) -> int:
    async with world.client(token) as client:
        return (await client.get("/api/jobs", headers=headers)).status_code


async def test_client_behind_an_ingress_does_not_lock_out_others() -> None:
    """An ingress appends its client as the last hop; earlier hops are not trusted."""
    world = GatewayWorld(ANN, BOB, gateway_requests_per_second=0.0001, gateway_burst=3)
    bad = [await tried(world, f"unknown-{n}", {"X-Forwarded-For": f"192.0.2.{n}, 198.51.100.1"}) for n in range(20)]
    assert bad == [401] * 3 + [429] * 17
    assert await tried(world, "ann", {"X-Forwarded-For": "198.51.100.2"}) == 200
    assert await tried(world, "bob", {"X-Forwarded-For": "198.51.100.1, 198.51.100.3"}) == 200


async def test_forged_forwarded_hops_are_bounded() -> None:
    """A peer can invent clients, so all clients of one peer share the rate of a few."""
    world = GatewayWorld(ANN, gateway_requests_per_second=0.0001, gateway_burst=3)
    codes = [await tried(world, f"unknown-{n}", {"X-Forwarded-For": f"198.51.100.{n}"}) for n in range(100)]
    assert codes.count(401) == 3 * CLIENTS_OF_A_PEER
    assert set(codes) == {401, 429}


async def test_with_trusted_proxies_nobody_else_is_believed() -> None:
    world = GatewayWorld(
        ANN, gateway_requests_per_second=0.0001, gateway_burst=3, gateway_trusted_proxies=("203.0.113.1",)
    )
    codes = [await tried(world, f"unknown-{n}", {"X-Forwarded-For": f"198.51.100.{n}"}) for n in range(5)]
    assert codes == [401] * 3 + [429] * 2


async def test_signed_in_user_stays_so_without_the_kubernetes_api() -> None:
    """The limit is by name, not by address, when the cached review expires and the API server does not respond."""
    world = GatewayWorld(ANN, gateway_requests_per_second=0.0001, gateway_burst=30)
    clock = Clock()
    callers = Authenticator(world.api, SignOuts(world.database["signed-out"]), clock=clock)
    await callers.authenticate("ann")
    clock.now += 61
    world.api.review_token = away  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        await callers.authenticate("ann")
    assert callers.last_known("ann") == Caller("ann")


async def away(*_: object) -> Any:
    raise ConnectionError("the API server is away")


async def test_of_too_many_tokens_those_used_longest_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the oldest tokens are evicted: many tokens of one caller do not evict all others."""
    monkeypatch.setattr("contentgen_gateway.auth.authentication._REMEMBERED", 10)
    world = GatewayWorld(ANN)
    callers = Authenticator(world.api, SignOuts(world.database["signed-out"]))
    await callers.authenticate("ann")
    for number in range(50):
        await callers.authenticate(f"token-{number}")
        await callers.authenticate("ann")
    assert callers.last_known("ann") == Caller("ann")
    assert callers.last_known("token-0") is None
    assert len(callers) == 10


async def test_all_service_accounts_of_a_namespace_are_one_caller() -> None:
    """A tenant can create any number of service accounts."""
    robots = [f"system:serviceaccount:blue:robot-{number}" for number in range(40)]
    world = GatewayWorld(BOB, gateway_requests_per_second=0.0001, gateway_burst=30)
    for robot in robots:
        await world.dependencies.authenticator.authenticate(robot.replace(":", "~"))
        await world.dependencies.authenticator.authenticate(robot.replace(":", "~").replace("blue", "red"))
    await world.dependencies.authenticator.authenticate("bob")
    assert [await tried(world, robot, {}) for robot in robots] == [200] * 30 + [429] * 10
    assert await tried(world, robots[0].replace("blue", "red"), {}) == 200, "another namespace's"
    assert await tried(world, "bob", {}) == 200


async def test_without_sign_in_addresses_have_the_rate() -> None:
    world = GatewayWorld(gateway_sign_in="None", gateway_requests_per_second=0.0001, gateway_burst=2)
    async with world.client(None) as anybody:
        codes = [(await anybody.get("/openapi.json")).status_code for _ in range(3)]
    assert codes == [200, 200, 429]


async def test_the_kubelet_is_never_told_to_wait() -> None:
    world = GatewayWorld(gateway_requests_per_second=0.0001, gateway_burst=1)
    async with world.client(None) as kubelet:
        codes = {(await kubelet.get(path)).status_code for path in ("/health", "/ready") for _ in range(5)}
    assert codes == {200}


async def test_metrics_are_served_on_a_port_of_their_own(world: GatewayWorld) -> None:
    """Clients of one port cannot reach the endpoints of the other."""
    async with world.client("ann") as ann:
        assert (await ann.get("/metrics")).status_code == 404
    transport = httpx.ASGITransport(probes_app(world.dependencies))
    async with httpx.AsyncClient(transport=transport, base_url="http://metrics") as prometheus:
        answer = await prometheus.get("/metrics")
        assert answer.headers["content-type"] == CONTENT_TYPE
        assert "contentgen_gateway_requests" in answer.text
        for path in ("/", "/api/jobs", "/openapi.json"):
            assert (await prometheus.get(path)).status_code == 404
        assert (await prometheus.post("/metrics")).status_code == 405


async def test_the_kubelet_is_answered_on_the_port_of_the_metrics(world: GatewayWorld) -> None:
    transport = httpx.ASGITransport(probes_app(world.dependencies))
    async with httpx.AsyncClient(transport=transport, base_url="http://probes") as kubelet:
        answers = [await kubelet.get(path) for path in ("/health", "/ready")]
        assert [(answer.status_code, answer.json()) for answer in answers] == [(200, {"status": "ok"})] * 2
        await world.dependencies.lifecycle.drain(0, lambda: None)
        assert (await kubelet.get("/ready")).status_code == 503
        assert (await kubelet.get("/health")).status_code == 200


# Body limit and timeout


def with_endpoints(world: GatewayWorld) -> GatewayWorld:
    app = world.app

    @app.post("/test/echo")
    async def echo(body: dict[str, Any]) -> int:
        return len(json.dumps(body))

    @app.get("/test/slow")
    async def slow() -> None:
        await asyncio.sleep(60)

    @app.get("/test/broken/{secret}")
    async def broken(secret: str) -> None:
        raise RuntimeError("a bug of ours")

    @app.get("/test/away")
    async def away() -> None:
        raise ServerSelectionTimeoutError("no server\nis there")

    @app.get("/test/stream")
    async def stream() -> StreamingResponse:
        async def events() -> AsyncIterator[str]:
            for number in range(1000):
                app.state.sent = number
                yield f"data: {number}\n\n"
                await asyncio.sleep(0.02)

        return StreamingResponse(events(), media_type="text/event-stream")

    return world


@pytest.fixture
def world() -> GatewayWorld:
    return with_endpoints(GatewayWorld(ANN, gateway_body_bytes=2048))


@pytest.fixture
def hasty() -> GatewayWorld:
    return with_endpoints(GatewayWorld(ANN, gateway_request_seconds=0.05))


async def parts_of(size: int) -> AsyncIterator[bytes]:
    """Body without a length."""
    yield b'{"a": "'
    for _ in range(size // 100):
        yield b"a" * 100
    yield b'"}'


async def test_a_body_has_an_end(world: GatewayWorld) -> None:
    async with world.client("ann") as ann:
        json_type = {"Content-Type": "application/json"}
        small = await ann.post("/test/echo", json={"a": "a" * 1000})
        large = await ann.post("/test/echo", json={"a": "a" * 3000})
        chunked = await ann.post("/test/echo", content=parts_of(3000), headers=json_type)
        fits = await ann.post("/test/echo", content=parts_of(1000), headers=json_type)
    assert (small.status_code, fits.status_code) == (200, 200)
    assert (large.status_code, chunked.status_code) == (413, 413)
    for refused in (large, chunked):
        assert refused.headers["content-type"] == "application/problem+json"


async def test_a_body_that_says_it_is_too_long_is_not_read(world: GatewayWorld) -> None:
    read: list[bool] = []

    async def huge() -> AsyncIterator[bytes]:
        read.append(True)
        yield b"a" * 100

    headers = {"Content-Length": "999999999", "Content-Type": "application/json"}
    async with world.client("ann") as ann:
        answer = await ann.post("/test/echo", content=huge(), headers=headers)
    assert answer.status_code == 413
    assert not read


async def test_a_request_that_takes_too_long_is_given_up(hasty: GatewayWorld) -> None:
    async with hasty.client("ann") as ann:
        answer = await ann.get("/test/slow")
    assert answer.status_code == 503
    assert "0.05 s" in answer.json()["detail"]
    assert answer.headers["retry-after"]


async def test_a_body_that_never_comes_is_given_up(hasty: GatewayWorld) -> None:
    async def dripping() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" "
            await asyncio.sleep(0.01)

    async with hasty.client("ann") as ann:
        answer = await ann.post("/test/echo", content=dripping(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 503


async def test_a_person_is_told_with_a_page(world: GatewayWorld, hasty: GatewayWorld) -> None:
    """Requests that reach no endpoint get a page too."""
    strict = GatewayWorld(ANN, gateway_requests_per_second=0.0001, gateway_burst=1)
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    async with strict.client("ann") as ann:
        often = [await ann.get("/nothing", headers=browser) for _ in range(3)][-1]
        program = await ann.get("/api/jobs", headers=browser)
    async with world.client("ann") as ann:
        large = await ann.post("/test/echo", json={"a": "a" * 3000}, headers=browser)
        broken = await ann.get("/test/broken/it", headers=browser)
    async with hasty.client("ann") as ann:
        late = await ann.get("/test/slow", headers=browser)
    assert [each.status_code for each in (often, large, broken, late)] == [429, 413, 500, 503]
    for each in (often, large, broken, late):
        assert each.headers["content-type"].startswith("text/html")
        assert "What to do" in each.text
        assert "style-src 'self'" in each.headers["content-security-policy"], "it may have its own looks"
    assert int(often.headers["retry-after"]) >= 1
    assert late.headers["retry-after"]
    assert (program.status_code, program.headers["content-type"]) == (429, "application/problem+json")


async def test_a_page_that_breaks_breaks_nothing_else(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("a template of ours")

    monkeypatch.setattr(world.app.state, "page", breaks)
    async with world.client("ann") as ann:
        answer = await ann.get("/test/broken/it", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")


# Logs, response headers and the OpenAPI document


async def test_a_store_that_is_away_is_named_in_the_log(world: GatewayWorld, caplog: pytest.LogCaptureFixture) -> None:
    async with world.client("ann") as ann:
        answer = await ann.get("/test/away")
    assert answer.status_code == 503
    assert "no server" not in answer.text
    assert "ServerSelectionTimeoutError: no server is there" in caplog.text


async def test_browsers_are_told_what_they_may_do(world: GatewayWorld) -> None:
    async with world.client("ann") as ann:
        for path in ("/api/jobs", "/nothing", "/health"):
            headers = (await ann.get(path)).headers
            assert headers["content-security-policy"].startswith("default-src 'none'")
            assert headers["x-frame-options"] == "DENY"
            assert headers["cache-control"] == "no-store"
            assert "strict-transport-security" not in headers


TLS = (
    ({"gateway_url": "https://content.example.com"}, "http://content.example.com", True),
    ({"gateway_external_tls": True}, "http://content.example.com", True),
    ({"gateway_external_tls": True, "gateway_url": "http://content.example.com"}, "http://content.example.com", True),
    ({}, "https://content.example.com", True),  # as uvicorn has it from X-Forwarded-Proto of a trusted proxy
    ({"gateway_url": "http://content.example.com"}, "https://content.example.com", True),
    ({}, "http://content.example.com", False),
    ({"gateway_url": "https://content.example.com"}, "http://localhost:5000", False),  # kubectl port-forward
    ({"gateway_external_tls": True}, "http://127.0.0.1:5000", False),
    ({"gateway_external_tls": True}, "http://[::1]:5000", False),
    ({"gateway_external_tls": True}, "http://[::1]", False),
    ({"gateway_external_tls": True}, "http://localhost.example.com", True),
)


@pytest.mark.parametrize(("settings", "address", "secure"), TLS, ids=str)
async def test_by_tls_cookies_are_this_hosts_alone(settings: dict[str, Any], address: str, secure: bool) -> None:
    world = GatewayWorld(ANN, **settings)
    transport = httpx.ASGITransport(world.app)
    async with httpx.AsyncClient(transport=transport, base_url=address) as browser:
        form = await browser.get("/sign-in")
        assert ("strict-transport-security" in form.headers) == secure
        csrf_token = re.search(r'name="csrf" value="(\w+)"', form.text)
        assert csrf_token
        browser.cookies.clear()
        visitor = form.headers["set-cookie"].partition(";")[0]
        data = {"token": "ann", "csrf": csrf_token[1]}
        signed = await browser.post("/sign-in", data=data, headers={"Cookie": visitor})
        session = signed.headers.get_list("set-cookie")[0]
        browser.cookies.clear()
        for cookie in (form.headers["set-cookie"], session):
            assert cookie.startswith("__Host-contentgen-") == secure
            assert ("; Secure" in cookie) == secure
            assert "; Path=/" in cookie
            assert "HttpOnly" in cookie
            assert "SameSite=strict" in cookie
            assert "domain" not in cookie.lower()
        mine = session.partition(";")[0]
        assert (await browser.get("/api/jobs", headers={"Cookie": mine})).status_code == 200
        other = mine.removeprefix("__Host-") if secure else f"__Host-{mine}"
        assert (await browser.get("/api/jobs", headers={"Cookie": other})).status_code == 401


async def test_unexpected_error_is_a_problem_document_and_logged(
    world: GatewayWorld, caplog: pytest.LogCaptureFixture
) -> None:
    async with world.client("ann") as ann:
        answer = await ann.get("/test/broken/it%0Aforged")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "a bug" not in answer.text
    assert "a bug of ours" in caplog.text
    assert value("contentgen_gateway_requests_total", route="/test/broken/{secret}", code="500") >= 1
    assert "\nforged" not in caplog.text


async def test_the_log_names_the_caller_and_no_secret(world: GatewayWorld, caplog: pytest.LogCaptureFixture) -> None:
    job = world.job(1)
    with caplog.at_level(logging.INFO, "contentgen_gateway"):
        async with world.client("ann") as ann:
            ann.cookies.set("contentgen-session", "cookie-canary")
            await ann.get(f"/api/jobs/{job}", params={"token": "query-canary"})
        async with world.client("unknown-canary") as nobody:
            await nobody.get("/api/jobs")
        async with world.client(None) as kubelet:
            await kubelet.get("/health")
    (seen, refused) = [
        log_record for log_record in caplog.records if log_record.name == "contentgen_gateway.middleware.stack"
    ]
    assert seen.getMessage().startswith(f"GET /api/jobs/{job} 200 in ")
    assert getattr(seen, "caller", "") == "ann"
    assert "401" in refused.getMessage()
    assert "canary" not in caplog.text


async def test_requests_are_counted_by_their_route(world: GatewayWorld) -> None:
    job = world.job(1)
    of: dict[str, str] = {"route": "/api/jobs/{job_id}", "method": "GET", "code": "200"}
    other: dict[str, str] = {"route": "other", "code": "404"}
    before, strange = (
        value("contentgen_gateway_requests_total", **of),
        value("contentgen_gateway_requests_total", **other),
    )
    async with world.client("ann") as ann:
        await ann.get(f"/api/jobs/{job}")
        for path in ("/a", "/b", "/wp-admin"):
            await ann.request("BREW", path)
    text = metrics.exposition().decode()
    assert value("contentgen_gateway_requests_total", **of) == before + 1
    assert value("contentgen_gateway_requests_total", **other) == strange + 3
    assert value("contentgen_gateway_request_seconds_count", route="/api/jobs/{job_id}") >= 1
    for private in (job, "ann", "wp-admin", "BREW"):
        assert private not in text


@pytest.fixture(scope="module")
def written() -> dict[str, Any]:
    return document()


def test_the_document_says_what_there_is(written: dict[str, Any]) -> None:
    assert {"/health", "/ready", "/api/jobs/{job_id}"} <= set(written["paths"])


async def test_the_api_can_be_read_and_tried_out(world: GatewayWorld) -> None:
    async with world.client(None) as anybody:
        page = await anybody.get("/api-docs")
        assert "script-src 'self';" in page.headers["content-security-policy"]
        assert not re.findall(r"<script[^>]*>[^<]+<|https?://", page.text), "nothing inline, nothing from elsewhere"
        for file in re.findall(r'(?:src|href)="(/[^"]+)"', page.text):
            assert (await anybody.get(file)).status_code == 200, file
        assert (await anybody.get("/api-docs/README.md")).status_code == 404
        assert (await anybody.get("/api-docs/..%2Fapp.py")).status_code == 404


def test_the_document_says_where_a_token_is_needed(written: dict[str, Any]) -> None:
    paths = written["paths"]
    open_to_all = {path for path, methods in paths.items() for method in methods.values() if "security" not in method}
    assert open_to_all == {"/health", "/ready", "/.well-known/contentgen-webhooks.json"}
    assert written["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"


# Shutdown


async def test_ready_is_what_has_reached_the_database_once(world: GatewayWorld) -> None:
    working = world.dependencies.records.ping

    async def away() -> None:
        raise ServerSelectionTimeoutError("no server at secret-host")

    async with world.client(None) as kubelet:
        world.dependencies.records.ping = away  # type: ignore[method-assign]
        assert (await kubelet.get("/ready")).status_code == 503
        assert (await kubelet.get("/health")).status_code == 200
        world.dependencies.records.ping = working  # type: ignore[method-assign]
        assert (await kubelet.get("/ready")).status_code == 200
        world.dependencies.records.ping = away  # type: ignore[method-assign]
        assert (await kubelet.get("/ready")).status_code == 200, "a restart would not bring it back"
        await world.dependencies.lifecycle.drain(0, lambda: None)
        assert (await kubelet.get("/ready")).status_code == 503


class Running:
    """The app on a real port, in its own thread."""

    def __init__(self, world: GatewayWorld) -> None:
        self.world = world
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.server = servers.gateway_server(world.app, 0, trusted=("127.0.0.1",), request_seconds=60)
        self.places: ConnectionSlots = cast("Any", self.server.config.http).places
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve)
        self.begun, self.may_end = threading.Event(), threading.Event()  # of /test/work

    def _serve(self) -> None:
        with contextlib.closing(self.loop):
            self.loop.run_until_complete(self.server.serve([self._listening]))

    def __enter__(self) -> "Running":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()

    def drain(self) -> None:
        stop = lambda: setattr(self.server, "should_exit", True)  # noqa: E731
        asyncio.run_coroutine_threadsafe(self.world.dependencies.lifecycle.drain(0, stop), self.loop)


@pytest.fixture
def running() -> Iterator[Running]:
    world = GatewayWorld(ANN, gateway_requests_per_second=0.0001, gateway_burst=3)

    @world.app.get("/test/stream")
    async def stream() -> StreamingResponse:
        async def events() -> AsyncIterator[str]:
            yield "data: first\n\n"
            await asyncio.sleep(600)

        return StreamingResponse(events(), media_type="text/event-stream")

    running = Running(world)

    @world.app.get("/test/work")
    async def work() -> str:
        running.begun.set()
        while not running.may_end.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0.01)
        return "done"

    with running:
        yield running


async def test_shutdown_ends_streams_and_finishes_begun_requests(running: Running) -> None:
    before = value("contentgen_gateway_streams_open")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", trust_env=False, timeout=60) as client:
        async with client.stream("GET", "/test/stream") as stream:
            lines = stream.aiter_lines()
            assert await anext(lines) == "data: first"
            assert value("contentgen_gateway_streams_open") == before + 1
            work = asyncio.create_task(client.get("/test/work"))
            assert await asyncio.to_thread(running.begun.wait, 60)
            running.drain()
            rest = [line async for line in lines]  # raises where the stream is torn off
        assert not [line for line in rest if line]
        assert not work.done()
        running.may_end.set()
        assert (await work).json() == "done"
    assert value("contentgen_gateway_streams_open") == before


def test_draining_replica_closes_connections_after_the_answer(running: Running) -> None:
    request = b"GET /health HTTP/1.1\r\nHost: gateway\r\n\r\n"
    with socket.create_connection(("127.0.0.1", running.port), timeout=60) as connection:
        connection.sendall(request)
        first = b""
        while not first.endswith(b'{"status":"ok"}'):  # the body may arrive in a separate segment
            first += connection.recv(4096)
        assert first.startswith(b"HTTP/1.1 200")
        running.world.dependencies.lifecycle.draining = True
        connection.sendall(request)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))  # times out if the server keeps it open
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer.lower()


async def test_a_stream_outlasts_the_time_of_a_request(world: GatewayWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    clock = loop.time
    async with world.client("ann") as ann:
        send = asyncio.create_task(ann.get("/test/stream"))
        while not send.done() and getattr(world.app.state, "sent", 0) < 1:  # noqa: ASYNC110 - the client gets the events at the end
            await asyncio.sleep(0)
        monkeypatch.setattr(loop, "time", lambda: clock() + 4 * world.settings.gateway_request_seconds)
        sent = world.app.state.sent
        while not send.done() and world.app.state.sent < sent + 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert not send.done()
        await world.dependencies.lifecycle.drain(0, lambda: None)
        answer = await send
    assert answer.status_code == 200
    assert answer.text.startswith("data: 0")


async def test_a_trusted_proxy_says_whose_request_it_is(running: Running) -> None:
    async def codes(client: httpx.AsyncClient, address: str) -> list[int]:
        headers = {"X-Forwarded-For": address}
        return [(await client.get("/nothing", headers=headers)).status_code for _ in range(4)]

    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", trust_env=False, timeout=60) as client:
        assert await codes(client, "198.51.100.1") == [404, 404, 404, 429]
        assert await codes(client, "198.51.100.2") == [404, 404, 404, 429]


def test_a_head_that_never_ends_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers.StreamingProtocol, "exchange_seconds", 0.2)
    with Running(GatewayWorld(ANN)) as running, socket.create_connection(("127.0.0.1", running.port), 60) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n")
        assert slow.recv(100) == b"", "the connection is closed"


class Crowd:
    """Idle connections from one address."""

    def __init__(self, port: int, address: str) -> None:
        self._port, self._address = port, address
        self.writers: list[asyncio.StreamWriter] = []

    async def add(self) -> asyncio.StreamReader:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, local_addr=(self._address, 0))
        self.writers.append(writer)
        return reader

    def go(self) -> None:
        for writer in self.writers:
            writer.close()


async def asked_from(address: str, port: int, path: str = "/health") -> int:
    transport = httpx.AsyncHTTPTransport(local_address=address)
    async with httpx.AsyncClient(transport=transport, base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        return (await client.get(path)).status_code


async def test_single_address_cannot_take_all_connections(running: Running) -> None:
    running.places._per_address = 5
    crowd, proxy = Crowd(running.port, "127.0.0.2"), Crowd(running.port, "127.0.0.1")
    for _ in range(5):
        await crowd.add()
    sixth = await crowd.add()
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionError):
            assert await sixth.read(1) == b"", "the sixth is cut"
    assert await asked_from("127.0.0.3", running.port) == 200
    for _ in range(10):
        await proxy.add()
    assert await asked_from("127.0.0.1", running.port) == 200, "a trusted proxy carries many clients"
    for each in (crowd, proxy):
        each.go()


async def test_addresses_with_many_connections_leave_room_for_others(running: Running) -> None:
    running.places._per_address, running.places._total = 5, 10
    crowds = [Crowd(running.port, "127.0.0.2"), Crowd(running.port, "127.0.0.3")]
    readers = [await crowd.add() for crowd in crowds for _ in range(5)]
    assert await asked_from("127.0.0.4", running.port) == 200
    async with asyncio.timeout(60):
        with contextlib.suppress(ConnectionError):
            assert await readers[0].read(1) == b"", "the oldest of an address that holds most"
    for each_crowd in crowds:
        each_crowd.go()


async def test_probe_port_answers_while_the_other_port_is_full(running: Running) -> None:
    running.places._total = 5
    crowd = Crowd(running.port, "127.0.0.1")
    for _ in range(5):
        await crowd.add()
    async with asyncio.timeout(60):
        while len(running.places) < 5:  # noqa: ASYNC110 - an accepted connection has no event for it
            await asyncio.sleep(0.01)
    with pytest.raises(httpx.HTTPError):
        await asked_from("127.0.0.3", running.port)  # the proxy's connections are not cut
    beside = servers.plain_server(probes_app(running.world.dependencies), 0)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(beside.serve([listening]))
        assert await asked_from("127.0.0.3", listening.getsockname()[1]) == 200
        beside.should_exit = True
        await serving
    crowd.go()
