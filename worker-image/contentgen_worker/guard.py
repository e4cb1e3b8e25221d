"""Where a user's, or a provider's, URL may lead: the public internet, and what the operator allowed by name.

The name is resolved once; `fetch.py` connects to the very addresses that were checked here, so that a second
answer of the name server changes nothing. Nothing here opens a connection.
"""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from contentgen_worker.errors import NotAllowed, Unreachable, shown

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolver = Callable[[str, int], Sequence[str]]

_PORTS = {"http": 80, "https": 443}
# RFC 6890 and its registry, and what clouds put beside it.
_REFUSED_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier NAT, where pods and Alibaba's metadata live
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's wire server has a public address
        "169.254.0.0/16",  # link-local, metadata
        "172.16.0.0/12",
        "192.0.0.0/24",  # IETF, Oracle's metadata
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")  # all else is local, mapped, multicast or unassigned
_REFUSED_V6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # IETF: Teredo, benchmarking, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4 hides an IPv4 address; nobody serves files from it any more
        "3fff::/20",
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # a DNS64 makes these for every IPv4 host
_ISATAP = (0x00005EFE, 0x02005EFE)


@dataclass(frozen=True)
class Target:
    """A checked URL and the addresses that it may be fetched from, in the order to try them."""

    url: httpx.URL
    addresses: tuple[IPAddress, ...]


def refusal(address: IPAddress) -> str:
    """Why an address is off limits, or nothing."""
    if isinstance(address, ipaddress.IPv4Address):
        return next((f"in {network}" for network in _REFUSED_V4 if address in network), "")
    inner = _embedded(address)
    if inner is not None:
        return refusal(inner)
    if address not in _GLOBAL_V6:
        return "not a global address"
    return next((f"in {network}" for network in _REFUSED_V6 if address in network), "")


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64 or (int(address) >> 32) & 0xFFFFFFFF in _ISATAP:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def system_resolver(host: str, port: int) -> list[str]:
    """The addresses of a name, as the pod's resolver knows them; it also reads 0x7f.1 as what it is."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(answer[4][0]) for answer in answers))


class Guard:
    """Checks URLs. `allowed_hosts` are exact host:port pairs that may be anywhere."""

    def __init__(self, allowed_hosts: Sequence[str] = (), resolve: Resolver = system_resolver) -> None:
        self._allowed = frozenset(host.lower() for host in allowed_hosts)
        self._resolve = resolve

    def check(self, address: str | httpx.URL) -> Target:
        """The target of a URL. Raises NotAllowed, or Unreachable where the name has no address."""
        url = _parse(address)
        host = url.raw_host.decode("ascii")
        port = url.port or _PORTS[url.scheme]
        addresses = self._addresses(host, port, url)
        if _pair(host, port) not in self._allowed:
            _refuse_any(addresses, url)
        return Target(url, addresses)

    def _addresses(self, host: str, port: int, url: httpx.URL) -> tuple[IPAddress, ...]:
        try:
            found = self._resolve(host, port)
            addresses = tuple(ipaddress.ip_address(text) for text in found)
        except (OSError, UnicodeError, ValueError) as error:
            raise Unreachable(
                f"{shown(url)}: no address found for {host} ({error}); check the name", passing=True
            ) from None
        if not addresses:
            raise Unreachable(f"{shown(url)}: no address found for {host}; check the name", passing=True)
        return addresses


def _parse(address: str | httpx.URL) -> httpx.URL:
    try:
        url = httpx.URL(address)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        raise NotAllowed(f"{shown(address)}: not a usable URL ({error})") from None
    if url.scheme not in _PORTS:
        raise NotAllowed(f"{shown(url)}: scheme {url.scheme or '(none)'!r}; only http and https are fetched")
    if url.userinfo or "@" in url.netloc.decode("ascii", "replace"):
        raise NotAllowed(f"{shown(url)}: holds a user or password; use a URL without")
    if not url.host or "%" in url.host or (url.port is not None and not 0 < url.port < 65536):
        raise NotAllowed(f"{shown(url)}: names no usable host and port")
    return url


def _named(url: httpx.URL, address: IPAddress) -> str:
    return str(address) if url.host == str(address) else f"{url.host} is {address}"


def _pair(host: str, port: int) -> str:
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").lower()


def _refuse_any(addresses: Sequence[IPAddress], url: httpx.URL) -> None:
    # One bad address among good ones is a rebinding attempt or a split horizon; both are refused.
    for address in addresses:
        if why := refusal(address):
            raise NotAllowed(
                f"{shown(url)}: {_named(url, address)}, {why}; only public addresses are fetched, or a host:port "
                "that the operator's administrator allows"
            )
