"""One POST to an address that a user gave: the name is resolved once, each address is checked by the rule of all user
URLs, and the connection goes to a checked address. Redirects are not followed, and no proxy is used.

The response's body is not read: it may be endless, and it is nothing that the user may see. Its head is read in small
parts up to a limit: h11 parses a part at once, and an endless sequence of interim responses (1xx) would hold the event
loop, which the reconciles need.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpcore
import httpx

from contentgen_contract.resources.addresses import IPAddress, host_and_port, literal_refusal, refusal

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
SECONDS = 15.0  # of one attempt: resolving, connecting, sending, and the response's head
_ADDRESSES = 4  # of a host that are tried in one attempt: a name server may return hundreds of others' addresses
# A name server that does not answer keeps a thread for up to 30 s, twice the time of an attempt: the 16 attempts that
# run at once never take all threads.
_RESOLVERS = 32
_HEAD_BYTES, _PART_BYTES = 32768, 2048
_PORTS = {"http": 80, "https": 443}


class AddressRefused(Exception):
    """The URL leads to an address that must not be reached; nothing was sent."""


class NotSent(Exception):
    """No response: the name has no address, the connection failed, or the time ran out."""


@dataclass(frozen=True)
class PostResponse:
    """Status of a response, and the pause that it asks for."""

    status: int
    retry_after: timedelta | None = None


class ThreadResolver:
    """Resolver with threads of its own: a user's name server that does not answer must not block the stores' calls."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_RESOLVERS, thread_name_prefix="resolver")

    async def __call__(self, host: str, port: int) -> list[str]:
        """Addresses of a name. Raises OSError or UnicodeError."""
        answers = await asyncio.get_running_loop().run_in_executor(self._threads, _resolved, host, port)
        return list(dict.fromkeys(answers))


def _resolved(host: str, port: int) -> list[str]:
    return [str(each[4][0]) for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class GuardedPost:
    """Sender of POSTs. `allowed_hosts`: exact host:port pairs that may have any address."""

    def __init__(
        self,
        tls: ssl.SSLContext,
        allowed_hosts: Sequence[str] = (),
        resolve: Resolve | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._tls = tls
        self._allowed = tuple(host.lower() for host in allowed_hosts)
        self._resolve = resolve or ThreadResolver()
        self._seconds = seconds

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> PostResponse:
        """Send once. Raises AddressRefused or NotSent; the messages contain no path and no query."""
        try:
            async with asyncio.timeout(self._seconds):
                target = self._parsed(url)
                addresses = await self._checked(target)
                return await self._sent(target, addresses, headers, body)
        except TimeoutError:
            raise NotSent(f"no response within {self._seconds:.0f} s") from None

    def _parsed(self, url: str) -> httpx.URL:
        if why := literal_refusal(url, self._allowed):
            raise AddressRefused(f"the address is refused: {why}")
        try:
            target = httpx.URL(url)
        except (httpx.InvalidURL, ValueError, TypeError):
            raise AddressRefused("not a usable URL") from None
        if target.scheme not in _PORTS or not target.host or "%" in target.host or target.userinfo:
            raise AddressRefused("not a usable http or https URL")
        return target

    async def _checked(self, target: httpx.URL) -> list[IPAddress]:
        host, port = target.raw_host.decode("ascii"), target.port or _PORTS[target.scheme]
        try:
            addresses = [ipaddress.ip_address(each) for each in await self._resolve(host, port)]
        except (OSError, UnicodeError, ValueError):
            raise NotSent("the name of the host has no address") from None
        if not addresses:
            raise NotSent("the name of the host has no address")
        if host_and_port(host, port) not in self._allowed:
            # A private address among public ones is DNS rebinding or split-horizon DNS; both are refused.
            for address in addresses:
                if why := refusal(address):
                    raise AddressRefused(f"the host's address is refused: {why}")
        return addresses

    async def _sent(
        self, target: httpx.URL, addresses: Sequence[IPAddress], headers: Mapping[str, str], body: bytes
    ) -> PostResponse:
        tried = addresses[:_ADDRESSES]
        # An address that does not respond must leave time for the next one.
        times = dict.fromkeys(("read", "write", "pool"), self._seconds) | {"connect": self._seconds / (len(tried) + 1)}
        error: Exception | None = None
        for address in tried:
            backend = _CheckedAddress(address)
            async with httpcore.AsyncConnectionPool(ssl_context=self._tls, network_backend=backend) as pool:
                try:
                    response = await pool.handle_async_request(_request(target, headers, body, times))
                except (httpcore.ConnectError, httpcore.ConnectTimeout) as caught:  # nothing was sent: the next address
                    error = caught
                    continue
                except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as caught:
                    raise NotSent(f"no response: {type(caught).__name__}") from None
                await response.aclose()
                asked = (value for name, value in response.headers if name.lower() == b"retry-after")
                return PostResponse(response.status, _retry_after(next(asked, b"").decode("latin-1")))
        raise NotSent(f"no connection: {type(error).__name__}") from None


def _request(
    target: httpx.URL, headers: Mapping[str, str], body: bytes, times: Mapping[str, float]
) -> httpcore.Request:
    fields = dict(headers) | {"Host": target.netloc.decode("ascii"), "Content-Length": str(len(body)), "Accept": "*/*"}
    url = httpcore.URL(scheme=target.raw_scheme, host=target.raw_host, port=target.port or None, target=target.raw_path)
    return httpcore.Request(
        "POST", url, headers=list(fields.items()), content=body, extensions={"timeout": dict(times)}
    )


class _CheckedAddress(httpcore.AsyncNetworkBackend):
    """Connects to one address, whatever the name in the URL; TLS checks the certificate for the name."""

    def __init__(self, address: IPAddress) -> None:
        self._address = str(address)
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - not resolved again
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - of the base class
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connection to the checked address."""
        stream = await self._backend.connect_tcp(self._address, port, timeout, local_address, socket_options)
        return _HeadOnly(stream)


class _HeadOnly(httpcore.AsyncNetworkStream):
    """Stream of which no more is read than the head of a response."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._left = _HEAD_BYTES

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - of the base class
        """A part. Raises ReadError after the limit."""
        part = await self._stream.read(min(max_bytes, _PART_BYTES), timeout)
        self._left -= len(part)
        if self._left < 0:
            raise httpcore.ReadError("the response's head is too large")
        return part

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - of the base class
        """Send all."""
        await self._stream.write(buffer, timeout)

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - of the base class
    ) -> httpcore.AsyncNetworkStream:
        """The stream with TLS."""
        return _HeadOnly(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    async def aclose(self) -> None:
        """Close the connection."""
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        """Detail of the connection."""
        return self._stream.get_extra_info(info)


def _retry_after(given: str) -> timedelta | None:
    """Pause of a Retry-After header in either form; None if there is none or it is invalid."""
    if re.fullmatch(r"[0-9]{1,6}", given):
        return timedelta(seconds=int(given))
    try:
        at = parsedate_to_datetime(given[:64])
    except (TypeError, ValueError, OverflowError):  # a date may have numbers of any size
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(at - datetime.now(UTC), timedelta())
