"""Private and internal addresses, which URLs of users and providers must not reach. Pure: resolves and opens nothing.

The worker checks each address before it connects (`refusal`). The operator checks the text of URLs that it passes to a
provider (`literal_refusal`), without resolving them.
"""

import ipaddress
import re
import socket
from urllib.parse import SplitResult, urlsplit

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

# RFC 6890 with its registry, and addresses of cloud metadata services.
_REFUSED_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT: pods, Alibaba's metadata
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's wire server, a public address
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
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")  # all others are local, mapped, multicast or unassigned
_REFUSED_V6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # IETF: Teredo, benchmarking, ORCHID
        "2001:db8::/32",
        "2002::/16",  # 6to4 embeds an IPv4 address, and is obsolete
        "3fff::/20",
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # a DNS64 returns these for IPv4 hosts
_ISATAP = 0x00005EFE  # RFC 5214: upper half of an interface id that embeds an IPv4 address; obsolete as 6to4 is
_ISATAP_BITS = 0xFCFFFFFF  # without the universal and the group bit
# Suffixes of names that resolve only inside of a cluster, a machine or a private network.
_PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".svc", ".cluster.local", ".home.arpa", ".lan", ".corp")


def refusal(address: IPAddress) -> str:
    """Reason to refuse an address; empty if it is allowed."""
    if isinstance(address, ipaddress.IPv4Address):
        return next((f"in {network}" for network in _REFUSED_V4 if address in network), "")
    inner = _embedded_ipv4(address)
    if inner is not None:
        return refusal(inner)
    if address not in _GLOBAL_V6 or (int(address) >> 32) & _ISATAP_BITS == _ISATAP:
        return "not a global address"
    return next((f"in {network}" for network in _REFUSED_V6 if address in network), "")


def _embedded_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def split_url(url: str) -> SplitResult | None:
    """Parts of a URL; None for an invalid one, such as `https://[x`, or a host that normalizes to one with a slash."""
    try:
        return urlsplit(url)
    except ValueError:
        return None


NOT_A_URL = "(not a URL)"
_HOST = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s\[\]:@]+)(:[0-9]*)?")


def strip_credentials(url: str) -> str:
    """A URL without user, password, query and fragment, for messages and records.

    `NOT_A_URL` if they cannot be separated from host and path, as in `https://user:pass/word@host`.
    """
    bare = re.split(r"[?#]", url, maxsplit=1)[0]
    parts = split_url(bare)
    if parts is None or (not parts.netloc and "@" in bare):
        return NOT_A_URL
    if not parts.netloc:
        return bare
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if _HOST.fullmatch(host) else NOT_A_URL


def host_and_port(host: str, port: int) -> str:
    """`host:port` in lower case, the form of allow-lists."""
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").lower()


def literal_refusal(url: str, allowed: tuple[str, ...] = ()) -> str:
    """Reason to refuse a URL by its text; empty if it is allowed.

    `allowed`: exact host:port pairs. Names are not resolved: the resolver must check their addresses.
    """
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return "not a usable URL"
    if parts.username is not None or parts.password is not None:
        return "holds a user or password"
    if host_and_port(host, port) in {network.lower() for network in allowed}:
        return ""
    address = _literal_address(host)
    if address is not None:
        return refusal(address)
    if "." not in host or host.endswith(_PRIVATE_SUFFIXES):
        return "a name of a private network"
    return ""


def _literal_address(host: str) -> IPAddress | None:
    """The address in a literal host, also in the forms 127.1, 2130706433, 0x7f.1 and 0177.0.0.1; None for a name."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    if not re.fullmatch(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+)){0,3}", host):
        return None
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None
