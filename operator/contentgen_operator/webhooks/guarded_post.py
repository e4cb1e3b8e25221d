"""One POST to an address that a user gave: the name is resolved once, each address is checked by the rule of all user
URLs, and the connection goes to a checked address. Redirects are not followed, and no proxy is used.

The response's body is not read: it may be endless, and it is nothing that the user may see.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

from contentgen_contract.resources.addresses import IPAddress, host_and_port, literal_refusal, refusal

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
SECONDS = 15.0  # of one attempt: resolving, connecting, sending, and the response's head
_RESOLVERS = 8
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
        self._allowed = tuple(each.lower() for each in allowed_hosts)
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
            for each in addresses:
                if why := refusal(each):
                    raise AddressRefused(f"the host's address is refused: {why}")
        return addresses

    async def _sent(
        self, target: httpx.URL, addresses: Sequence[IPAddress], headers: Mapping[str, str], body: bytes
    ) -> PostResponse:
        named = dict(headers) | {"Host": target.netloc.decode("ascii")}
        async with httpx.AsyncClient(verify=self._tls, trust_env=False, timeout=self._seconds) as client:
            error: Exception | None = None
            for address in addresses:
                request = client.build_request(
                    "POST",
                    target.copy_with(host=str(address)),
                    headers=named,
                    content=body,
                    extensions={"sni_hostname": target.raw_host.decode("ascii")},
                )
                try:
                    response = await client.send(request, stream=True, follow_redirects=False)
                except (httpx.ConnectError, httpx.ConnectTimeout) as caught:  # nothing was sent: the next address
                    error = caught
                    continue
                except httpx.HTTPError as caught:
                    raise NotSent(f"no response: {type(caught).__name__}") from None
                await response.aclose()
                return PostResponse(response.status_code, _retry_after(response.headers.get("retry-after", "")))
        raise NotSent(f"no connection: {type(error).__name__}") from None


def _retry_after(given: str) -> timedelta | None:
    """Pause of a Retry-After header in either form; None if there is none or it is invalid."""
    if re.fullmatch(r"[0-9]{1,6}", given):
        return timedelta(seconds=int(given))
    try:
        at = parsedate_to_datetime(given)
    except (TypeError, ValueError):
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(at - datetime.now(UTC), timedelta())
