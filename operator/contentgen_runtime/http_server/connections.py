"""Limits of open TCP connections, by client address and in total, enforced before the TLS handshake."""

import ipaddress
import ssl
from asyncio import AbstractEventLoop, BaseTransport, Protocol, Transport, sslproto
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_HANDSHAKE_SECONDS = 5


class ConnectionSlots:
    """Connection slots of one server. If all are in use, a new connection evicts the oldest connection of the address
    with the most connections, provided that this address has more than the new one's.

    `exempt` are proxies, which carry connections of many clients: they have no limit by address and are never evicted.
    """

    def __init__(self, total: int, per_address: int, exempt: Sequence[Network] = ()) -> None:
        self._total, self._per_address, self._exempt = total, per_address, exempt
        self._held: dict[str, dict[BaseTransport, None]] = {}  # by address, oldest first
        self._count = 0

    def __len__(self) -> int:
        """Slots in use."""
        return self._count

    def take(self, transport: Transport) -> bool:
        """Take a slot; False if there is none, and then the transport is aborted."""
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
        """Free a slot. Idempotent."""
        address = _address(transport)
        held = self._held.get(address, {})
        if transport in held:
            del held[transport]
            self._count -= 1
        if not held:
            self._held.pop(address, None)

    def _make_room(self, mine: int) -> bool:
        most = max(
            (connection for connection in self._held if not self._is_exempt(connection)), key=self._number, default=None
        )
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


class SlottedTls(sslproto.SSLProtocol):
    """TLS of an accepted connection, which takes its slot before the handshake.

    asyncio's own server allows each silent connection 60 s and 256 KiB before our protocol is called: 1,500 of them
    took 450 MiB.
    """

    max_size = 64 * 1024  # bytes of the read buffer

    def __init__(
        self, loop: AbstractEventLoop, inner: Protocol, context: ssl.SSLContext, places: ConnectionSlots
    ) -> None:
        handshake = loop.create_future()
        handshake.cancel()  # not awaited: an error in it would be logged as never retrieved
        super().__init__(loop, inner, context, handshake, True, ssl_handshake_timeout=_HANDSHAKE_SECONDS)
        self._places = places
        self._placed: BaseTransport | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """Take a slot, then start the handshake."""
        assert isinstance(transport, Transport)  # noqa: S101 - of a TCP server
        if self._places.take(transport):
            self._placed = transport
            super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Free the slot."""
        if self._placed is not None:
            self._places.leave(self._placed)
        super().connection_lost(exc)
