"""uvicorn inside our event loop: the desk (HTTPS), the health endpoint and the gateway (HTTP)."""

import asyncio
import contextlib
import ipaddress
import ssl
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
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


class PerAddress(H11Protocol):
    """Connections counted by the client's address: one client cannot take all connections of a server."""

    most_per_address = 200
    exempt: ClassVar[tuple[Network, ...]] = ()
    """Proxies, each with the connections of many clients."""
    _open: ClassVar[Counter[str]]  # of this process, by address
    _address = ""

    def __init_subclass__(cls) -> None:
        """Each protocol counts by itself: who is at the limit of one port is not at that of another."""
        super().__init_subclass__()
        cls._open = Counter()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """One too many of an address is cut at once."""
        super().connection_made(transport)
        self._address = str((transport.get_extra_info("peername") or ("",))[0])
        self._open[self._address] += 1
        if self._open[self._address] > self.most_per_address and not _within(self._address, self.exempt):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Its place is free."""
        super().connection_lost(exc)
        self._open[self._address] -= 1
        if self._open[self._address] <= 0:
            del self._open[self._address]


def _within(address: str, networks: Sequence[Network]) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)


class FairProtocol(PerAddress, HurriedProtocol):
    """`HurriedProtocol` for clients of which each has an address of its own.

    The worker API has 1,000 connections; a node that hides its pods behind one address has 200 for all of them.
    """


class ProbeProtocol(PerAddress, HurriedProtocol):
    """`FairProtocol` for the ports of probes and metrics, which have no limit of all connections together."""


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


class PeopleProtocol(PerAddress, PatientProtocol):
    """`PatientProtocol` for the gateway: a quarter of its connections for one address that is no trusted proxy."""

    most_per_address = 2000


def plain_server(app: ASGIApp, port: int) -> Server:
    """An HTTP server for probes and metrics: it answers however many connections the other ports have."""
    return Server(uvicorn.Config(app, host="0.0.0.0", port=port, **_QUIET, http=ProbeProtocol, ws="none"))  # noqa: S104 - a pod's port


def tls_server(app: ASGIApp, port: int, context: ssl.SSLContext) -> Server:
    """An HTTPS server. What `context` serves may change while it runs."""
    config = uvicorn.Config(
        app,
        host="0.0.0.0",  # noqa: S104 - a pod's port
        port=port,
        **_QUIET,
        http=FairProtocol,
        ws="none",
        ssl_context_factory=lambda *_: context,
        timeout_keep_alive=30,
        limit_concurrency=1000,
    )
    config.load()
    return Server(config)


def gateway_server(app: ASGIApp, port: int, *, trusted: Sequence[str], request_seconds: float) -> Server:
    """An HTTP server for people. `trusted` proxies say who asks, and may have any number of its connections; at the end
    what was begun is finished.
    """

    class Protocol(PeopleProtocol):
        exempt = tuple(ipaddress.ip_network(each, strict=False) for each in trusted)

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
        limit_concurrency=8000,
    )
    return Server(config)
