"""What is around every request, whatever it asks for, from the outside in: its answer tells browsers what they may do
with it; it is counted and logged; it takes its caller's or its address's share of the rate; its body has an end, and it
ends in time.

Plain ASGI: Starlette's function middleware would cost more than most of the requests, and would buffer streams.
"""

import asyncio
import logging
import math
import time
from contextlib import ExitStack
from urllib.parse import quote

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contentgen_gateway import metrics, problems
from contentgen_gateway.auth.authentication import Authenticator
from contentgen_gateway.auth.tokens import token_of
from contentgen_gateway.dependencies import Dependencies
from contentgen_gateway.lifecycle import Lifecycle
from contentgen_gateway.middleware.leniency import Untyped
from contentgen_gateway.middleware.rate_limit import TokenBuckets, network_of
from contentgen_gateway.problems import Problem
from contentgen_runtime.http_server.body_limit import BodyLimit

CLIENTS_OF_A_PEER = 10
"""Before sign-in the clients of one peer, such as an ingress, together have the rate of so many."""
PROBES = frozenset({"/health", "/ready"})
"""What the kubelet asks for: neither counted among the requests nor limited."""

_log = logging.getLogger(__name__)
_STREAM = b"text/event-stream"
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HSTS = {"Strict-Transport-Security": "max-age=31536000"}


def install(app: FastAPI, parts: Dependencies) -> None:
    """Put the shell around an app. What is added last is outermost."""
    settings = parts.settings
    app.add_middleware(Untyped)
    app.add_middleware(BodyLimit, limit=settings.gateway_body_bytes, refuse=_too_large, chunked=True)
    app.add_middleware(RequestTimeout, seconds=settings.gateway_request_seconds, lifecycle=parts.lifecycle)
    buckets = TokenBuckets(settings.gateway_requests_per_second, settings.gateway_burst)
    known = None if settings.gateway_sign_in == "None" else parts.callers
    app.add_middleware(
        RateLimitByCaller,
        buckets=buckets,
        peers=TokenBuckets(
            settings.gateway_requests_per_second * CLIENTS_OF_A_PEER, settings.gateway_burst * CLIENTS_OF_A_PEER
        ),
        callers=known,
        hops=not settings.gateway_trusted_proxies,
    )
    app.add_middleware(AccessLog)
    tls = settings.gateway_external_tls or settings.gateway_url.startswith("https://")
    app.add_middleware(ResponseHeaders, lifecycle=parts.lifecycle, tls=tls)


class AccessLog:
    """Counts and logs each request, and answers where something broke. No query, no header and no body is logged."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, and note what became of it."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})  # where the dependency of the endpoints puts the caller
        answer = _Answer(send)
        started = time.monotonic()
        try:
            await self._app(scope, receive, answer.send)
        except Exception:  # noqa: BLE001 - whatever it is, the caller gets a problem and the log the rest
            _log.exception("%s %s broke", scope["method"], _shown(scope["path"]))
            if not answer.code:
                await _broken(scope)(scope, receive, answer.send)
        finally:
            took = time.monotonic() - started
            _note(scope, answer, took, str(getattr(state.get("caller"), "name", "")))


class _Answer:
    """What was answered so far."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.code = 0
        self.streams = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.code = message["status"]
            self.streams = is_stream(message)
        await self._send(message)


def is_stream(start: Message) -> bool:
    """Whether an answer that begins like this has no end of its own."""
    return any(name.lower() == b"content-type" and value.startswith(_STREAM) for name, value in start["headers"])


def _broken(scope: Scope) -> ASGIApp:
    problem = Problem(500, "this is an error of ours, and the log of the gateway has it; try again later")
    try:
        return problems.answer(scope, problem)
    except Exception:  # noqa: BLE001 - the page may be what broke, and the log has it
        return problem.response()


def _note(scope: Scope, answer: _Answer, took: float, caller: str) -> None:
    route = str(getattr(scope.get("route"), "path", metrics.OTHER))
    method = scope["method"] if scope["method"] in _METHODS else metrics.OTHER
    code = answer.code or 499
    metrics.requests.labels(route, method, str(code)).inc()
    if not answer.streams:
        metrics.seconds.labels(route, method).observe(took)
    extra = {"caller": caller} if caller else {}
    _log.info("%s %s %d in %.0f ms", method, _shown(scope["path"]), code, took * 1000, extra=extra)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _shown(path: str) -> str:
    """A path without what would make a second line of the log."""
    return quote(path, safe="/:@-._~")[:200]


class RateLimitByCaller:
    """Rate limit: by the caller (`Caller.counted_as`), and before sign-in by the client's address.

    Without trusted proxies the client of an ingress is the last hop of X-Forwarded-For, which the ingress appends. A
    peer that is no ingress can make hops up, so all clients of one peer together have the rate of `CLIENTS_OF_A_PEER`.
    `callers` is None where there is no sign-in.
    """

    def __init__(
        self, app: ASGIApp, buckets: TokenBuckets, peers: TokenBuckets, callers: Authenticator | None, *, hops: bool
    ) -> None:
        self._app = app
        self._buckets = buckets
        self._peers = peers
        self._callers = callers
        self._hops = hops

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on if there is a token in the bucket."""
        if scope["type"] == "http" and scope["path"] not in PROBES:
            by, wait = self._wait(HTTPConnection(scope))
            if wait:
                metrics.refused.labels(by).inc()
                await _too_many(scope, wait)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _wait(self, request: HTTPConnection) -> tuple[str, float]:
        """What a request is counted by, and the seconds until it may come; 0 where it may now."""
        token = token_of(request)
        if self._callers is not None and token and (caller := self._callers.last_known(token)):
            return "caller", self._buckets.take(f"caller {caller.counted_as}")
        peer = network_of(request.client.host if request.client else "")
        hop = self._hop(request)
        wait = self._buckets.take(f"address {peer} {hop}")
        return "address", wait or (self._peers.take(peer) if hop else 0.0)

    def _hop(self, request: HTTPConnection) -> str:
        """Whom an ingress says that it asks for; empty without one."""
        hops = request.headers.getlist("x-forwarded-for") if self._hops else []
        return network_of(hops[-1].rpartition(",")[2].strip()) if hops else ""


def _too_many(scope: Scope, wait: float) -> ASGIApp:
    seconds = math.ceil(wait)
    detail = f"too many requests; there is room for the next one in {seconds} s"
    return problems.answer(scope, Problem(429, detail, headers={"Retry-After": str(seconds)}))


def _too_large(scope: Scope, detail: str) -> ASGIApp:
    return problems.answer(scope, Problem(413, detail))


class RequestTimeout:
    """A request has so many seconds, its body's arrival among them. A stream has until its client leaves, or we do."""

    def __init__(self, app: ASGIApp, seconds: float, lifecycle: Lifecycle) -> None:
        self._app = app
        self._seconds = seconds
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, and give it up when its time is over."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        with ExitStack() as open_stream:
            try:
                async with asyncio.timeout(self._seconds) as limit:

                    async def noted(message: Message) -> None:
                        await answer.send(message)
                        if message["type"] == "http.response.start" and answer.streams:
                            limit.reschedule(None)
                            open_stream.enter_context(metrics.streams.track_inprogress())
                            open_stream.enter_context(self._lifecycle.endless(lambda: limit.reschedule(0)))

                    await self._app(scope, receive, noted)
            except TimeoutError:
                if not limit.expired():  # somebody else's
                    raise
                await self._give_up(answer, scope, receive)

    async def _give_up(self, answer: _Answer, scope: Scope, receive: Receive) -> None:
        if answer.streams:
            await answer.send({"type": "http.response.body", "body": b"", "more_body": False})
        elif not answer.code:
            detail = f"it took longer than {self._seconds:g} s; ask for less, or try again later"
            late = Problem(503, detail, headers={"Retry-After": "5"})
            await problems.answer(scope, late)(scope, receive, answer.send)


class ResponseHeaders:
    """Response headers: for security, and `connection: close` while the replica is about to stop.

    By default browsers may do nothing with an answer. No new connection leads to a replica that is about to stop, and a
    client that keeps one would send its next request at the moment when it is cut.
    """

    def __init__(self, app: ASGIApp, *, lifecycle: Lifecycle, tls: bool) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._tls = tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, and complete the answer's headers. Says in `state.by_tls` whether the browser came by TLS."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        by_tls = scope.setdefault("state", {})["by_tls"] = _by_tls(scope, told=self._tls)
        added = _HEADERS | (_HSTS if by_tls else {})

        async def headed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                for name, value in added.items():
                    headers.setdefault(name, value)
                if self._lifecycle.draining:
                    headers["Connection"] = "close"
            await send(message)

        await self._app(scope, receive, headed)


def _by_tls(scope: Scope, *, told: bool) -> bool:
    """By the scheme, which uvicorn takes from X-Forwarded-Proto of a trusted proxy alone, or as the settings say it.

    To this machine itself (kubectl port-forward) plain HTTP is plain HTTP, whatever the settings say.
    """
    if scope.get("scheme") == "https":
        return True
    host = Headers(scope=scope).get("host", "")
    return told and host not in _LOCAL and host.rpartition(":")[0] not in _LOCAL
