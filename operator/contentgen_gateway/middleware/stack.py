"""What is around every request, whatever it asks for, from the outside in: its response tells browsers what they may do
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
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contentgen_gateway import metrics, problems
from contentgen_gateway.auth.authentication import Authenticator
from contentgen_gateway.lifecycle import Lifecycle
from contentgen_gateway.middleware.leniency import JsonWithoutContentType
from contentgen_gateway.middleware.rate_limit import TokenBuckets, network_of
from contentgen_gateway.problems import Problem
from contentgen_gateway.services.dependencies import Dependencies, token_of

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
    app.add_middleware(JsonWithoutContentType)
    app.add_middleware(MaxBody, limit=settings.gateway_body_bytes)
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
        response = _ResponseState(send)
        started = time.monotonic()
        try:
            await self._app(scope, receive, response.send)
        except Exception:  # noqa: BLE001 - whatever it is, the caller gets a problem and the log the rest
            _log.exception("%s %s broke", scope["method"], _escaped_path(scope["path"]))
            if not response.code:
                await _internal_error(scope)(scope, receive, response.send)
        finally:
            seconds = time.monotonic() - started
            _count_and_log(scope, response, seconds, str(getattr(state.get("caller"), "name", "")))


class _ResponseState:
    """What was answered so far."""

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
    """Whether a response that begins like this has no end of its own."""
    return any(name.lower() == b"content-type" and value.startswith(_STREAM) for name, value in start["headers"])


def _internal_error(scope: Scope) -> ASGIApp:
    problem = Problem(500, "this is an error of ours, and the log of the gateway has it; try again later")
    try:
        return problems.answer(scope, problem)
    except Exception:  # noqa: BLE001 - the page may be what broke, and the log has it
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
                await _too_many_requests(scope, wait)(scope, receive, send)
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


def _too_many_requests(scope: Scope, wait: float) -> ASGIApp:
    seconds = math.ceil(wait)
    detail = f"too many requests; there is room for the next one in {seconds} s"
    return problems.answer(scope, Problem(429, detail, headers={"Retry-After": str(seconds)}))


class MaxBody:
    """A body has so many bytes at most. Starlette's own limit answers in plain text."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on; a body that says nothing of its length is counted as it comes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        detail = f"a body has at most {self._limit} bytes"
        length = Headers(scope=scope).get("content-length", "0")
        if not length.isdecimal() or int(length) > self._limit:
            await problems.answer(scope, Problem(413, detail))(scope, receive, send)
            return
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > self._limit:
                raise HTTPException(413, detail)  # FastAPI would make a 400 of any other
            return message

        await self._app(scope, counted, send)


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
                if not limit.expired():  # somebody else's
                    raise
                await self._abort(response, scope, receive)

    async def _abort(self, response: _ResponseState, scope: Scope, receive: Receive) -> None:
        if response.streams:
            await response.send({"type": "http.response.body", "body": b"", "more_body": False})
        elif not response.code:
            detail = f"it took longer than {self._seconds:g} s; ask for less, or try again later"
            late = Problem(503, detail, headers={"Retry-After": "5"})
            await problems.answer(scope, late)(scope, receive, response.send)


class ResponseHeaders:
    """Response headers: for security, and `connection: close` while the replica is about to stop.

    By default browsers may do nothing with a response. No new connection leads to a replica that is about to stop, and a
    client that keeps one would send its next request at the moment when it is cut.
    """

    def __init__(self, app: ASGIApp, *, lifecycle: Lifecycle, tls: bool) -> None:
        self._app = app
        self._lifecycle = lifecycle
        self._tls = tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, and complete the response's headers. Says in `state.by_tls` whether the browser came by TLS."""
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
    """By the scheme, which uvicorn takes from X-Forwarded-Proto of a trusted proxy alone, or as the settings say it.

    To this machine itself (kubectl port-forward) plain HTTP is plain HTTP, whatever the settings say.
    """
    if scope.get("scheme") == "https":
        return True
    host = Headers(scope=scope).get("host", "")
    return configured and host not in _LOCAL and host.rpartition(":")[0] not in _LOCAL
