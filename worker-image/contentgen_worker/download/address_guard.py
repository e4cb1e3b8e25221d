"""Address check of untrusted URLs: only public addresses, and hosts that the administrator allows.

The name is resolved once, and `connection.py` connects to exactly the checked addresses; a later DNS answer changes
nothing (DNS rebinding). This module opens no connection.
"""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from contentgen_contract.resources.addresses import IPAddress, host_and_port, literal_refusal, refusal
from contentgen_worker.errors import NotAllowed, Unreachable, redacted

Resolver = Callable[[str, int], Sequence[str]]

_PORTS = {"http": 80, "https": 443}
_ALLOWED = "only public addresses are fetched, or a host:port that the operator's administrator allows"


@dataclass(frozen=True)
class CheckedUrl:
    """Checked URL with its permitted addresses, in the order to try them."""

    url: httpx.URL
    addresses: tuple[IPAddress, ...]


def system_resolver(host: str, port: int) -> list[str]:
    """Addresses of a name from the pod's resolver, which also normalizes forms such as 0x7f.1."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


class AddressGuard:
    """Checks URLs. `allowed_hosts`: exact host:port pairs that may have any address. `resolved_by_proxy`: hosts whose
    names only the proxy resolves; of these, literal addresses and names of private networks are refused.
    """

    def __init__(
        self,
        allowed_hosts: Sequence[str] = (),
        resolve: Resolver = system_resolver,
        resolved_by_proxy: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._allowed = frozenset(host.lower() for host in allowed_hosts)
        self._resolve = resolve
        self._resolved_by_proxy = resolved_by_proxy

    def check(self, address: str | httpx.URL) -> CheckedUrl:
        """Checked URL. Raises NotAllowed, or Unreachable if the name has no address."""
        url = _parse(address)
        host = url.raw_host.decode("ascii")
        port = url.port or _PORTS[url.scheme]
        if self._resolved_by_proxy(host):
            if reason := literal_refusal(str(url), tuple(self._allowed)):
                raise NotAllowed(f"{redacted(url)}: {reason}; {_ALLOWED}")
            return CheckedUrl(url, ())
        addresses = self._addresses(host, port, url)
        if host_and_port(host, port) not in self._allowed:
            _check_public(addresses, url)
        return CheckedUrl(url, addresses)

    def _addresses(self, host: str, port: int, url: httpx.URL) -> tuple[IPAddress, ...]:
        try:
            answers = self._resolve(host, port)
            addresses = tuple(ipaddress.ip_address(text) for text in answers)
        except (OSError, UnicodeError, ValueError) as error:
            raise Unreachable(
                f"{redacted(url)}: no address found for {host} ({error})", transient=True, advice="check the name"
            ) from None
        if not addresses:
            raise Unreachable(f"{redacted(url)}: no address found for {host}", transient=True, advice="check the name")
        return addresses


def _parse(address: str | httpx.URL) -> httpx.URL:
    try:
        url = httpx.URL(address)
    except (httpx.InvalidURL, ValueError, TypeError):
        # Without httpx's message: it repeats the wrong part, which may be a password.
        raise NotAllowed(f"{redacted(address)}: not a usable URL") from None
    if url.scheme not in _PORTS:
        raise NotAllowed(f"{redacted(url)}: scheme {url.scheme or '(none)'!r}; only http and https are supported")
    if url.userinfo or "@" in url.netloc.decode("ascii", "replace"):
        raise NotAllowed(f"{redacted(url)}: contains a user or password", advice="use a URL without them")
    if not url.host or "%" in url.host or (url.port is not None and not 0 < url.port < 65536):
        raise NotAllowed(f"{redacted(url)}: has no valid host and port")
    return url


def _describe(url: httpx.URL, address: IPAddress) -> str:
    return str(address) if url.host == str(address) else f"{url.host} is {address}"


def _check_public(addresses: Sequence[IPAddress], url: httpx.URL) -> None:
    # A private address among public ones is DNS rebinding or split-horizon DNS; both are refused.
    for address in addresses:
        if reason := refusal(address):
            raise NotAllowed(f"{redacted(url)}: {_describe(url, address)}, {reason}; {_ALLOWED}")
