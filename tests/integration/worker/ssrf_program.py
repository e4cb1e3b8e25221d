"""Run inside a network namespace of its own by test_ssrf.py: canaries on forbidden addresses, and a Fetcher.

Nothing in here reaches another network: the namespace has a loopback device and no other. Prints one line of JSON.
"""

import fcntl
import json
import os
import socket
import struct
import sys
import threading
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from contentgen_contract.worker.orders import Download
from contentgen_worker.download import address_guard as guard_module
from contentgen_worker.download.address_guard import AddressGuard, Resolver
from contentgen_worker.download.fetch import DownloadLimits, Fetcher
from contentgen_worker.errors import FetchError, NotAllowed
from contentgen_worker.retry import SOURCE, STORE

CODES = (301, 302, 303, 307, 308)
PORTS = (80, 8080)
BOUNDS = DownloadLimits(max_bytes=1000, seconds=600)
NAME = "http://files.example/"
DOOR = "93.184.216.34"  # a public address, where an honest host redirects to forbidden ones
_SET_FLAGS, _UP = 0x8914, 0x1
_NEW_ADDRESS, _REQUEST, _ACK, _CREATE = 20, 0x1, 0x4, 0x400
_ADDRESS, _LOCAL, _NO_DETECTION = 1, 2, 0x2  # of duplicates
V4 = (
    "0.1.2.3", "10.0.0.1", "10.96.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.1.2.3", "127.255.255.254",
    "168.63.129.16", "169.254.0.1", "169.254.169.123", "169.254.169.253", "169.254.169.254", "169.254.170.2",
    "169.254.170.23", "172.16.0.1", "172.31.255.254", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1",
    "192.168.0.1", "192.168.255.254", "198.18.0.1", "198.19.255.254", "198.51.100.1", "203.0.113.1", "240.0.0.1",
)  # fmt: skip
V6 = (
    "::1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1", "2001::1",
    "2001:0:7f00:1::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1", "2002:7f00:1::1", "2002:a9fe:a9fe::1",
    "2002:a00:1::1", "3fff::1", "5f00::1", "fc00::1", "fd00::1", "fd00:ec2::23", "fd00:ec2::253", "fd00:ec2::254",
    "fd20:ce::254", "fec0::1", "4000::1", "2a00:1450::5efe:10.0.0.1", "2a00:1450::200:5efe:7f00:1",
)  # fmt: skip


class Canaries:
    """Listener on each port of all addresses of the namespace, which counts connections by address."""

    def __init__(self) -> None:
        self.rang: list[str] = []
        for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # noqa: S104 - in a namespace
            for port in PORTS:
                listener = socket.socket(family)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                listener.bind((host, port))
                listener.listen(50)
                threading.Thread(target=self._serve, args=(listener,), daemon=True).start()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                address = connection.getsockname()[0]
                if address != DOOR:
                    self.rang.append(address)
                asked = connection.recv(4096).split(b" ")
                connection.sendall(_answer(asked[1].decode() if len(asked) > 1 else "/"))


def _answer(path: str) -> bytes:
    """HTTP response: a redirect for `/301/http://…`, else a small file."""
    code, _, to = path.lstrip("/").partition("/")
    if code.isdigit() and int(code) in CODES:
        head = f"HTTP/1.1 {code} Moved\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        return head.encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"


def spellings(address: str) -> list[str]:
    """Notations of an IPv4 address that resolvers accept."""
    a, b, c, d = map(int, address.split("."))
    number = int.from_bytes(bytes((a, b, c, d)))
    return [
        address, str(number), hex(number), f"0{number:o}", f"{a}.{number & 0xFFFFFF}", f"{a}.{b}.{number & 0xFFFF}",
        f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}", f"0{a:o}.0{b:o}.0{c:o}.0{d:o}", f"0x{a:x}.{b}.0{c:o}.{d}",
        f"[::ffff:{address}]", f"[::ffff:{number >> 16:x}:{number & 0xFFFF:x}]", f"[0:0:0:0:0:ffff:{address}]",
    ]  # fmt: skip


def urls() -> list[str]:
    """URLs that must not be downloaded."""
    plain = [f"http://{host}:{port}/" for host in (*V4, *(f"[{each}]" for each in V6)) for port in PORTS]
    key = ("127.0.0.1", "169.254.169.254", "10.96.0.1", "100.100.100.200", "192.168.0.1")
    written = [f"http://{host}/latest/meta-data/" for address in key for host in spellings(address)]
    mapped = [f"http://[::ffff:{address}]/" for address in V4]
    userinfo = [
        f"http://{who}@{host}/" for who in ("a", "a:b", "example.com", "93.184.216.34") for host in (*key, "[::1]")
    ]
    names = ["http://localhost/", "http://LOCALHOST:8080/"]
    moved = [
        f"http://{DOOR}/{code}/http://{host}/"
        for code in CODES
        for host in (*key, "[::1]", "[fd00:ec2::254]", "0x7f.1")
    ]
    odd = ["http://0/", "http://0x7f.1/", "http://[::]/", "http://[fe80::1%25lo]/"]
    return [*plain, *written, *mapped, *userinfo, *names, *moved, *odd]


def named(address: str) -> Resolver:
    """Name server that answers with a forbidden address."""
    return lambda *_: [address]


REBINDING = ("169.254.169.254", "127.0.0.1", "10.96.0.1", "::1", "fd00:ec2::254")


class Rebinding:
    """Name server whose second answer is a forbidden address (DNS rebinding)."""

    def __init__(self, second: str) -> None:
        self.answers = [[DOOR]]
        self._second = second

    def __call__(self, *_: object) -> list[str]:
        return self.answers.pop() if self.answers else [self._second]


def tried(guard: AddressGuard, url: str, folder: Path) -> str:
    """Result of a download."""
    fetcher = Fetcher(guard, source=SOURCE.scaled(0.0001), store=STORE.scaled(0.0001))
    try:
        fetcher.fetch(Download(url=url), folder / "file", BOUNDS)
    except NotAllowed:
        return "refused"
    except FetchError as error:
        return f"unreachable: {error}"
    return "fetched"


def main() -> None:
    """Add the addresses, then try every URL with and without the guard."""
    _raise_addresses()
    folder, canaries = Path(sys.argv[1]), Canaries()
    said: dict[str, object] = {"door": tried(AddressGuard(), f"http://{DOOR}/", folder), "addresses": [*V4, *V6]}
    said["guarded"] = all_tried(folder)
    said["rebound"] = [tried(AddressGuard(resolve=Rebinding(each)), NAME, folder) for each in REBINDING]
    said["rang"] = list(canaries.rang)
    # The control: without the guard's verdict on addresses, the canaries ring.
    guard_module.refusal = lambda _: ""  # type: ignore[assignment]
    said["unguarded"] = all_tried(folder)
    said["rang then"] = sorted(set(canaries.rang))
    sys.stdout.write(json.dumps(said) + "\n")


def all_tried(folder: Path) -> dict[str, str]:
    """Every URL, and every forbidden address behind a name, alone and beside a public one."""
    found = {url: tried(AddressGuard(), url, folder) for url in urls()}
    for address in (*V4, *V6):
        found[f"{NAME} is {address}"] = tried(AddressGuard(resolve=named(address)), NAME, folder)
    for address in REBINDING:
        both = tried(AddressGuard(resolve=lambda *_, at=address: [at, DOOR]), NAME, folder)
        found[f"{NAME} is {address} and public"] = both
    return found


def _raise_addresses() -> None:
    """Bring the loopback device up and add all addresses to it, by ioctl and rtnetlink(7): `ip` may be missing."""
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH22x", b"lo", _UP))
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        for each in (ip_address(written) for written in (DOOR, *V4, *V6)):
            if not each.is_loopback:
                kernel.send(_new_address(each))
                error = struct.unpack_from("i", kernel.recv(1 << 16), 16)[0]
                if error:
                    raise OSError(-error, os.strerror(-error), str(each))


def _new_address(address: IPv4Address | IPv6Address) -> bytes:
    """RTM_NEWADDR, to be acknowledged."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    size = 4 + len(address.packed)
    attributes = b"".join(struct.pack("HH", size, kind) + address.packed for kind in (_ADDRESS, _LOCAL))
    loopback = socket.if_nametoindex("lo")
    body = struct.pack("BBBBI", family, address.max_prefixlen, _NO_DETECTION, 0, loopback) + attributes
    return struct.pack("IHHII", 16 + len(body), _NEW_ADDRESS, _REQUEST | _ACK | _CREATE, 0, 0) + body


if __name__ == "__main__":
    main()
