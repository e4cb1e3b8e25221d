"""ASGI middleware of all requests, outermost first: security headers, access log, rate limit, timeout, body limit.

Plain ASGI: Starlette's function middleware takes longer than most of the requests, and buffers streams.
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
from contentgen_gateway.middleware.leniency import JsonWithoutContentType
from contentgen_gateway.middleware.rate_limit import network_of
from contentgen_gateway.problems import Problem
from contentgen_runtime.http_server.body_limit import BodyLimit
from contentgen_runtime.http_server.token_buckets import RateLimit, TokenBuckets

CLIENTS_OF_A_PEER = 10
"""Before sign-in, all clients of one peer, such as an ingress, share the rate limit of this many clients."""
PROBES = frozenset({"/health", "/ready"})
"""Paths of the kubelet's probes: neither counted as requests nor rate limited."""

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
_CLIENTS = 65536  # whose requests are counted
_LOCAL = frozenset({"localhost", "127.0.0.1", "[::1]"})
_HSTS = {"Strict-Transport-Security": "max-age=31536000"}


def install(app: FastAPI, dependencies: Dependencies) -> None:
    """Add the middleware to an app. The one that is added last is outermost."""
    settings = dependencies.settings
    app.add_middleware(JsonWithoutContentType)
    app.add_middleware(BodyLimit, limit=settings.gateway_body_bytes, refuse=_too_large, chunked=True)
    app.add_middleware(RequestTimeout, seconds=settings.gateway_request_seconds, lifecycle=dependencies.lifecycle)
    rate, burst = settings.gateway_requests_per_second, settings.gateway_burst
    of_peer = RateLimit(per_second=rate * CLIENTS_OF_A_PEER, burst=burst * CLIENTS_OF_A_PEER)
    known = None if settings.gateway_sign_in == "None" else dependencies.authenticator
    app.add_middleware(
        RateLimitByCaller,
        buckets=TokenBuckets(RateLimit(per_second=rate, burst=burst), most=_CLIENTS),
        peers=TokenBuckets(of_peer, most=_CLIENTS),
        callers=known,
        hops=not settings.gateway_trusted_proxies,
    )
    app.add_middleware(AccessLog)
    tls = settings.gateway_external_tls or settings.gateway_url.startswith("https://")
    app.add_middleware(ResponseHeaders, lifecycle=dependencies.lifecycle, tls=tls)


class AccessLog:
    """Counts and logs requests, and turns exceptions into Problem 500. Never logs queries, headers or bodies."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the app, then count and log the response."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})  # the endpoints' dependency stores the caller here
        response = _ResponseState(send)
        started = time.monotonic()
        try:
            await self._app(scope, receive, response.send)
        except Exception:  # noqa: BLE001 - any exception becomes a problem, with its traceback in the log
            _log.exception("%s %s failed", scope["method"], _escaped_path(scope["path"]))
            if not response.code:
                await _internal_error(scope)(scope, receive, response.send)
        finally:
            seconds = time.monotonic() - started
            _count_and_log(scope, response, seconds, str(getattr(state.get("caller"), "name", "")))


class _ResponseState:
    """Status and kind of the response, recorded while it is sent."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.code = 0
        self.streams = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.code = message["status"]
            self.streams = is_event_stream(message)
        await self._send(message)


def is_event_stream(start: Message) -> bool:
    """True if the response is a stream of Server-Sent Events, which has no end of its own."""
    return any(name.lower() == b"content-type" and value.startswith(_STREAM) for name, value in start["headers"])


def _internal_error(scope: Scope) -> ASGIApp:
    problem = Problem(500, "internal error; details are in the gateway's log; try again later")
    try:
        return problems.answer(scope, problem)
    except Exception:  # noqa: BLE001 - rendering the error page may fail as well; logged before
        return problem.response()


def _count_and_log(scope: Scope, response: _ResponseState, seconds: float, caller: str) -> None:
    route = str(getattr(scope.get("route"), "path", metrics.OTHER))
    method = scope["method"] if scope["method"] in _METHODS else metrics.OTHER
    code = response.code or 499
    metrics.requests.labels(route, method, str(code)).inc()
    if not response.streams:
        metrics.seconds.labels(route, method).observe(seconds)
    extra = {"caller": caller} if caller else {}
    _log.info("%s %s %d in %.0f ms", method, _escaped_path(scope["path"]), code, seconds * 1000, extra=extra)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _escaped_path(path: str) -> str:
    """The path percent-encoded, so that it cannot add a line to the log; up to 200 characters."""
    return quote(path, safe="/:@-._~")[:200]


class RateLimitByCaller:
    """Rate limit by caller (`Caller.counted_as`), and before sign-in by the client's address.

    Without trusted proxies, an ingress's client is the last hop of X-Forwarded-For, which the ingress appends. Other
    peers can forge hops, so all clients of one peer together are limited to `CLIENTS_OF_A_PEER` times the rate.
    `callers` is None if sign-in is disabled.
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
        """Call the app, or respond with Problem 429 if the bucket is empty."""
        if scope["type"] == "http" and scope["path"] not in PROBES:
            by, wait = self._wait(HTTPConnection(scope))
            if wait:
                metrics.refused.labels(by).inc()
                await _too_many_requests(scope, wait)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _wait(self, request: HTTPConnection) -> tuple[str, float]:
        """Counter of the request (`caller` or `address`), and seconds until the request is allowed; 0: now."""
        token = token_of(request)
        if self._callers is not None and token and (caller := self._callers.last_known(token)):
            return "caller", self._buckets.take(f"caller {caller.counted_as}")
        peer = network_of(request.client.host if request.client else "")
        hop = self._hop(request)
        wait = self._buckets.take(f"address {peer} {hop}")
        return "address", wait or (self._peers.take(peer) if hop else 0.0)

    def _hop(self, request: HTTPConnection) -> str:
        """The client's network according to the ingress; empty without an ingress."""
        hops = request.headers.getlist("x-forwarded-for") if self._hops else []
        return network_of(hops[-1].rpartition(",")[2].strip()) if hops else ""


def _too_many_requests(scope: Scope, wait: float) -> ASGIApp:
    seconds = math.ceil(wait)
    detail = f"too many requests; the next one is allowed in {seconds} s"
    return problems.answer(scope, Problem(429, detail, headers={"Retry-After": str(seconds)}))


def _too_large(scope: Scope, detail: str) -> ASGIApp:
    return problems.answer(scope, Problem(413, detail))


class RequestTimeout:
    """Timeout of requests, including the arrival of the body. Streams last until the client or the server ends them."""

    def __init__(self, app: ASGIApp, seconds: float, lifecycle: Lifecycle) -> None:
        self._app = app
        self._seconds = seconds
        self._lifecycle = lifecycle

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the app; after the timeout cancel it, and respond with Problem 503 unless the response has started."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        response = _ResponseState(send)
        with ExitStack() as open_stream:
            try:
                async with asyncio.timeout(self._seconds) as limit:

                    async def observed_send(message: Message) -> None:
                        await response.send(message)
                        if message["type"] == "http.response.start" and response.streams:
                            limit.reschedule(None)
                            open_stream.enter_context(metrics.streams.track_inprogress())
                            open_stream.enter_context(self._lifecycle.endless(lambda: limit.reschedule(0)))

                    await self._app(scope, receive, observed_send)
            except TimeoutError:
                if not limit.expired():  # a timeout inside the app
                    raise
                await self._abort(response, scope, receive)

    async def _abort(self, response: _ResponseState, scope: Scope, receive: Receive) -> None:
        if response.streams:
            await response.send({"type": "http.response.body", "body": b"", "more_body": False})
        elif not response.code:
            detail = f"the request took longer than {self._seconds:g} s; request less, or try again later"
            late = Problem(503, detail, headers={"Retry-After": "5"})
            await problems.answer(scope, late)(scope, receive, response.send)


class ResponseHeaders:
    """Response headers: security headers, and `Connection: close` while the replica is draining.

    The default policy allows browsers nothing. A draining replica gets no new connections, and a client on a kept
    connection would send its next request when the replica closes it.
    """

    def __init__(self, app: ASGIApp, *, lifecycle: Lifecycle, tls: bool) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._tls = tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the app and add headers to its response. Sets `state.by_tls`: True if the browser used TLS."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        by_tls = scope.setdefault("state", {})["by_tls"] = _is_tls(scope, configured=self._tls)
        added = _HEADERS | (_HSTS if by_tls else {})

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                for name, value in added.items():
                    headers.setdefault(name, value)
                if self._lifecycle.draining:
                    headers["Connection"] = "close"
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _is_tls(scope: Scope, *, configured: bool) -> bool:
    """True for the scheme https, which uvicorn reads from X-Forwarded-Proto of trusted proxies only, or if configured.

    Requests to localhost (kubectl port-forward) over plain HTTP count as plain HTTP, whatever is configured.
    """
    if scope.get("scheme") == "https":
        return True
    host = Headers(scope=scope).get("host", "")
    return configured and host not in _LOCAL and host.rpartition(":")[0] not in _LOCAL
