"""uvicorn servers in our event loop: worker API (HTTPS), health endpoint and gateway (HTTP)."""

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from contentgen_runtime.http_server.connections import ConnectionSlots, SlottedTls

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - a pod's port
PER_ADDRESS = 200
PER_ADDRESS_OF_PEOPLE = 2000  # without a trusted proxy, all users behind an ingress share its address
# Without lifespan events: our apps don't handle them, and uvicorn logs their cancellation as an error.
_QUIET: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off"}


class Server(uvicorn.Server):
    """uvicorn server without signal handlers: `__main__` handles the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing."""
        yield


class TimedProtocol(H11Protocol):
    """HTTP with a time limit for each exchange, against slow clients: a connection that exceeds it is aborted.

    uvicorn limits the pauses between requests only.
    """

    exchange_seconds = 30.0  # first byte of the request to last byte of the response; a worker's own timeout is equal
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Start the time limit, for connections that never send a byte."""
        super().connection_made(transport)
        self._hurry()

    def data_received(self, data: bytes) -> None:
        """Start the time limit at the first byte of a request."""
        self._hurry()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Stop the time limit: uvicorn limits the pause between requests."""
        self._relax()
        super().on_response_complete()
        if not self.cycle.response_complete:  # pipelining: the next request has arrived
            self._hurry()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the time limit."""
        self._relax()
        super().connection_lost(exc)

    def _hurry(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.exchange_seconds, self.transport.abort)

    def _relax(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class SlottedProtocol(H11Protocol):
    """HTTP on connections that each take a slot of `places`."""

    places: ClassVar[ConnectionSlots]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a slot; without one the connection is aborted."""
        super().connection_made(transport)
        self.places.take(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the slot."""
        super().connection_lost(exc)
        self.places.leave(self.transport)


class StreamingProtocol(TimedProtocol):
    """HTTP for endless responses: the time limit covers the request's head only, the app limits the rest."""

    exchange_seconds = 10.0

    def data_received(self, data: bytes) -> None:
        """Stop the time limit once the head is complete."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._relax()

    def on_response_complete(self) -> None:
        """Stop the time limit, also if the next request's head has arrived."""
        super().on_response_complete()
        self._relax()


def plain_server(app: ASGIApp, port: int, host: str = ANY_ADDRESS) -> Server:
    """HTTP server for probes and metrics, with connection slots of its own."""

    class Protocol(SlottedProtocol, TimedProtocol):
        places = ConnectionSlots(total=1000, per_address=PER_ADDRESS)

    return Server(uvicorn.Config(app, host=host, port=port, **_QUIET, http=Protocol, ws="none"))


def tls_server(app: ASGIApp, port: int, context: ssl.SSLContext, host: str = ANY_ADDRESS) -> Server:
    """HTTPS server for clients with an address each. The certificate of `context` may change while it runs.

    A node that masquerades its pods' addresses has 200 connections for all of them.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        **_QUIET,
        http=TimedProtocol,
        ws="none",
        timeout_keep_alive=30,
    )
    config.load()
    places = ConnectionSlots(total=1000, per_address=PER_ADDRESS)

    def connected(**given: Any) -> asyncio.BaseProtocol:
        return SlottedTls(asyncio.get_running_loop(), TimedProtocol(**given), context, places)

    config.http_protocol_class = connected  # type: ignore[assignment]  # called like the class, once per connection
    return Server(config)


def gateway_server(
    app: ASGIApp, port: int, *, trusted: Sequence[str], request_seconds: float, host: str = ANY_ADDRESS
) -> Server:
    """HTTP server for users. `trusted` proxies set the client address, and have no limit of connections by address. At
    shutdown, requests in progress are completed within `request_seconds`.
    """
    proxies = tuple(ipaddress.ip_network(network, strict=False) for network in trusted)

    class Protocol(SlottedProtocol, StreamingProtocol):
        places = ConnectionSlots(total=8000, per_address=PER_ADDRESS_OF_PEOPLE, exempt=proxies)

    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        **_QUIET,
        http=Protocol,
        ws="none",
        server_header=False,
        forwarded_allow_ips=list(trusted),
        timeout_keep_alive=75,  # longer than an ingress: it would send a request on a closed connection
        timeout_graceful_shutdown=int(request_seconds) + 1,
    )
    return Server(config)
