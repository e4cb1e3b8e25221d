"""Limits of open TCP connections, by client address and in total, taken before a TLS handshake."""

import ipaddress
import ssl
from asyncio import AbstractEventLoop, BaseTransport, Protocol, Transport, sslproto
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_HANDSHAKE_SECONDS = 5


class Places:
    """The connections of one server. Once all places are taken, a new connection takes that of the oldest one of the
    address that holds most, if that is more than the newcomer's address holds.

    `exempt` are proxies, which carry the connections of many clients: no limit by address, and never cut for others.
    """

    def __init__(self, total: int, per_address: int, exempt: Sequence[Network] = ()) -> None:
        self._total, self._per_address, self._exempt = total, per_address, exempt
        self._held: dict[str, dict[BaseTransport, None]] = {}  # by address, oldest first
        self._count = 0

    def __len__(self) -> int:
        """Places taken."""
        return self._count

    def take(self, transport: Transport) -> bool:
        """Take a place; False if there is none: the transport is aborted then."""
        address = _address(transport)
        mine = len(self._held.get(address, ()))
        full = mine >= self._per_address and not self._is_exempt(address)
        if full or (self._count >= self._total and not self._make_room(mine)):
            transport.abort()
            return False
        self._held.setdefault(address, {})[transport] = None
        self._count += 1
        return True

    def leave(self, transport: BaseTransport) -> None:
        """Give a place back. Idempotent."""
        address = _address(transport)
        held = self._held.get(address, {})
        if transport in held:
            del held[transport]
            self._count -= 1
        if not held:
            self._held.pop(address, None)

    def _make_room(self, mine: int) -> bool:
        most = max((each for each in self._held if not self._is_exempt(each)), key=self._number, default=None)
        if most is None or self._number(most) <= mine:
            return False
        oldest = next(iter(self._held[most]))
        self.leave(oldest)
        if isinstance(oldest, Transport):
            oldest.abort()
        return True

    def _number(self, address: str) -> int:
        return len(self._held[address])

    def _is_exempt(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(parsed in network for network in self._exempt)


def _address(transport: BaseTransport) -> str:
    return str((transport.get_extra_info("peername") or ("",))[0])


class PlacedTls(sslproto.SSLProtocol):
    """TLS of an accepted connection, which takes its place before the handshake.

    asyncio's own server gives each silent connection 60 s and 256 KiB before any protocol of ours hears of it: 1,500 of
    them took 450 MiB.
    """

    max_size = 64 * 1024  # bytes of the read buffer

    def __init__(self, loop: AbstractEventLoop, inner: Protocol, context: ssl.SSLContext, places: Places) -> None:
        handshake = loop.create_future()
        handshake.cancel()  # nobody waits for it: an error in it would be logged as never retrieved
        super().__init__(loop, inner, context, handshake, True, ssl_handshake_timeout=_HANDSHAKE_SECONDS)
        self._places = places
        self._placed: BaseTransport | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """Take a place, then begin the handshake."""
        assert isinstance(transport, Transport)  # noqa: S101 - of a TCP server
        if self._places.take(transport):
            self._placed = transport
            super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the place back."""
        if self._placed is not None:
            self._places.leave(self._placed)
        super().connection_lost(exc)
