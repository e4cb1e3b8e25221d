"""uvicorn inside our event loop: the desk (HTTPS), the health endpoint and the gateway (HTTP)."""

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from contentgen_runtime.http_server.connections import PlacedTls, Places

PER_ADDRESS = 200
PER_ADDRESS_OF_PEOPLE = 2000  # where no ingress in front is a trusted proxy, many people have its address
# Our apps have nothing to do at start and end; waiting for it is logged as an error when the operator stops.
_QUIET: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off"}


class Server(uvicorn.Server):
    """A server that leaves the process's signals to `__main__`."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do not."""
        yield


class HurriedProtocol(H11Protocol):
    """HTTP for clients that may be slow on purpose: a connection that has not seen a request through in time is cut.

    uvicorn has a limit for pauses between requests only.
    """

    exchange_seconds = 30.0  # from the first byte to the response's last; a worker waits no longer either
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """One that never says anything is late too."""
        super().connection_made(transport)
        self._hurry()

    def data_received(self, data: bytes) -> None:
        """The time runs from the first byte, however many follow."""
        self._hurry()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """Between requests uvicorn's own limit holds."""
        self._relax()
        super().on_response_complete()
        if not self.cycle.response_complete:  # the next request was there already
            self._hurry()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is waited for."""
        self._relax()
        super().connection_lost(exc)

    def _hurry(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(self.exchange_seconds, self.transport.abort)

    def _relax(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class Placed(H11Protocol):
    """HTTP on connections that each take one of `places`."""

    places: ClassVar[Places]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """One without a place is cut at once."""
        super().connection_made(transport)
        self.places.take(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Its place is free."""
        super().connection_lost(exc)
        self.places.leave(self.transport)


class PatientProtocol(HurriedProtocol):
    """HTTP for answers that may go on for ever: only a request's head has to come in time; the app sees to the rest."""

    exchange_seconds = 10.0

    def data_received(self, data: bytes) -> None:
        """A head that is whole is in time."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._relax()

    def on_response_complete(self) -> None:
        """Also where the next request's head was there already."""
        super().on_response_complete()
        self._relax()


def plain_server(app: ASGIApp, port: int) -> Server:
    """An HTTP server for probes and metrics: it answers however many connections the other ports have."""

    class Protocol(Placed, HurriedProtocol):
        places = Places(total=1000, per_address=PER_ADDRESS)

    return Server(uvicorn.Config(app, host="0.0.0.0", port=port, **_QUIET, http=Protocol, ws="none"))  # noqa: S104 - a pod's port


def tls_server(app: ASGIApp, port: int, context: ssl.SSLContext) -> Server:
    """An HTTPS server for clients that have an address each. What `context` serves may change while it runs.

    A node that hides its pods behind one address has 200 connections for all of them.
    """
    config = uvicorn.Config(
        app,
        host="0.0.0.0",  # noqa: S104 - a pod's port
        port=port,
        **_QUIET,
        http=HurriedProtocol,
        ws="none",
        timeout_keep_alive=30,
    )
    config.load()
    places = Places(total=1000, per_address=PER_ADDRESS)

    def connected(**given: Any) -> asyncio.BaseProtocol:
        return PlacedTls(asyncio.get_running_loop(), HurriedProtocol(**given), context, places)

    config.http_protocol_class = connected  # type: ignore[assignment]  # called like the class, once for each connection
    return Server(config)


def gateway_server(app: ASGIApp, port: int, *, trusted: Sequence[str], request_seconds: float) -> Server:
    """An HTTP server for people. `trusted` proxies say who asks, and may have any number of its connections; at the end
    what was begun is finished.
    """
    proxies = tuple(ipaddress.ip_network(each, strict=False) for each in trusted)

    class Protocol(Placed, PatientProtocol):
        places = Places(total=8000, per_address=PER_ADDRESS_OF_PEOPLE, exempt=proxies)

    config = uvicorn.Config(
        app,
        host="0.0.0.0",  # noqa: S104 - a pod's port
        port=port,
        **_QUIET,
        http=Protocol,
        ws="none",
        server_header=False,
        forwarded_allow_ips=list(trusted),
        timeout_keep_alive=75,  # longer than an ingress keeps its connections, which would meet one just closed
        timeout_graceful_shutdown=int(request_seconds) + 1,
    )
    return Server(config)
