"""Address guard: refused and accepted URLs, and that no connection reaches a forbidden address."""

import http.server
import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from contentgen_contract.resources.addresses import refusal
from contentgen_contract.worker.orders import Download
from contentgen_worker.download import connection
from contentgen_worker.download.address_guard import AddressGuard
from contentgen_worker.download.fetch import DownloadLimits, Fetcher
from contentgen_worker.errors import FetchError, NotAllowed, Unreachable, redacted
from contentgen_worker.retry import SOURCE, STORE

pytestmark = pytest.mark.usefixtures("bounded")

BOUNDS = DownloadLimits(max_bytes=1000, seconds=60)

REFUSED = [
    "0.0.0.0",  # noqa: S104 - an address to refuse
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.100.100.200",
    "100.127.255.255",
    "127.0.0.1",
    "127.1.2.3",
    "168.63.129.16",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::10.0.0.1",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::",
    "2002:808:808::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "4000::1",
    "2a00:1450::5efe:10.0.0.1",
    "2a00:1450::200:5efe:7f00:1",
    "2a00:1450::5efe:808:808",
    "2a00:1450::200:5efe:808:808",
    "2a00:1450::100:5efe:808:808",
    "fd00::5efe:808:808",
    "fe80::200:5efe:808:808",
    "ff02::5efe:808:808",
    "::5efe:808:808",
]
ALLOWED = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "168.63.129.17",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "2606:4700:4700::1111",
    "2a00:1450:4001:800::200e",
    "2001:4860:4860::8888",
    "64:ff9b::8.8.8.8",
    "::ffff:8.8.8.8",
]
BAD_URLS = [
    "file:///etc/passwd", "ftp://example.com/a", "gopher://127.0.0.1:70/", "s3://bucket/key", "data:text/plain,hi",
    "//example.com/a", "/etc/passwd", "", "http://", "http:///a", "https://", "javascript:alert(1)", "concat:a|b",
    "http://user@example.com/", "http://user:secret@example.com/", "http://:secret@example.com/",
    "http://example.com:99999/", "http://example.com:0/", "http://example.com:x/", "http://[::1/", "http://a b/",
    "http://exa\x00mple.com/", "http://example.com\r\nHost: x/",
]  # fmt: skip
# Ways to write 127.0.0.1, link-local and metadata addresses that resolvers understand.
LOOPBACK_URLS = [
    "http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://0/",
    "http://0x7f.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[0:0:0:0:0:ffff:7f00:1]/",
    "http://localhost/", "http://LOCALHOST/", "http://[::]/", "http://169.254.169.254/latest", "http://2852039166/",
    "http://[64:ff9b::7f00:1]/", "http://[fe80::1]/", "http://[fd00:ec2::254]/",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSED)
def test_addresses_off_limits(text: str) -> None:
    assert refusal(ipaddress.ip_address(text))
    with pytest.raises(NotAllowed, match="only public addresses"):
        AddressGuard(resolve=lambda *_: [text]).check("https://files.example/video.mp4")


@pytest.mark.parametrize("text", ALLOWED)
def test_public_addresses(text: str) -> None:
    assert refusal(ipaddress.ip_address(text)) == ""
    target = AddressGuard(resolve=lambda *_: [text]).check("https://files.example/video.mp4")
    assert target.addresses == (ipaddress.ip_address(text),)


@pytest.mark.parametrize("url", BAD_URLS)
def test_urls_that_are_never_resolved(url: str) -> None:
    def resolve(host: str, port: int) -> list[str]:
        raise AssertionError(f"resolved {host}:{port}")

    with pytest.raises(NotAllowed):
        AddressGuard(resolve=resolve).check(url)


@pytest.mark.parametrize("url", LOOPBACK_URLS)
def test_other_ways_to_write_a_local_address(url: str) -> None:
    with pytest.raises((NotAllowed, Unreachable)):  # Unreachable: this machine's resolver can't read it
        AddressGuard().check(url)


def test_bad_address_among_good_ones_is_refused() -> None:
    with pytest.raises(NotAllowed, match=r"10\.0\.0\.1"):
        AddressGuard(resolve=lambda *_: ["8.8.8.8", "10.0.0.1"]).check("http://files.example/")


def test_permission_is_for_exactly_one_host_and_port() -> None:
    guard = AddressGuard(["files.example:8080", "[::1]:9"], resolve=lambda *_: ["10.0.0.1"])
    assert guard.check("http://FILES.example:8080/a").addresses
    for url in ("http://files.example/", "http://files.example:8081/", "http://a.files.example:8080/"):
        with pytest.raises(NotAllowed):
            guard.check(url)
    assert guard.check("http://[::1]:9/a").addresses


def test_a_name_without_address_may_have_one_later() -> None:
    with pytest.raises(Unreachable) as caught:
        AddressGuard(resolve=lambda *_: []).check("http://files.example/")
    assert caught.value.transient


def test_messages_show_no_signature() -> None:
    assert redacted("https://user:pw@a.example:1/b/c?X-Amz-Signature=1#f") == "https://a.example:1/b/c"
    assert redacted("http://[") == "(not a URL)"


@pytest.mark.parametrize(
    "url",
    [
        "https://u:hunter2@example.com/a",
        "https://u:hunter2@example.com:port/a",
        "https://u:hun/ter2@example.com/a",
        "https://u:hunter2/x@example.com/a",
        "https://u:hunter2 @example.com/a",
        "u:hunter2@example.com/a",
        "//u:hunter2@example.com/a",
        "ftp://u:hunter2@example.com/a",
        "https://example.com/a?token=hunter2",
        "https://example.com/a#hunter2",
        "https://[u:hunter2@example.com/a",
        "https://u:hunter2@[/a",
    ],
)
def test_no_refusal_repeats_a_password_or_a_query(url: str) -> None:
    assert "hunter" not in redacted(url)
    assert "ter2" not in redacted(url)
    with pytest.raises(FetchError) as refused:
        AddressGuard(resolve=lambda *_: ["127.0.0.1"]).check(url)
    assert "hunter" not in str(refused.value)
    assert "ter2" not in str(refused.value)


def test_a_redirect_to_no_url_does_not_repeat_it() -> None:
    answer = httpx.Response(302, headers={"location": "https://u:hunter2@example.com:hunter2/a"})
    with pytest.raises(NotAllowed) as refused:
        connection._redirect_target(httpx.URL("https://example.com/a"), answer)
    assert "hunter2" not in str(refused.value)


# --- on real sockets -----------------------------------------------------------------------------------------------


class Canary:
    """Loopback listener that counts connections and answers like a web server."""

    def __init__(self, answer: bytes) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.calls = 0
        self.heard = b""
        self._answer = answer
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                if self._answer == b"":
                    return
                self.calls += 1
                self.heard += connection.recv(4096)
                if self.heard == b"":
                    return
                connection.sendall(self._answer)

    def close(self) -> None:
        self._answer = b""
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._socket.close()


@pytest.fixture
def canary() -> Iterator[Canary]:
    made = Canary(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
    yield made
    made.close()


def fetcher(guard: AddressGuard) -> Fetcher:
    return Fetcher(guard, source=SOURCE.scaled(0.001), store=STORE.scaled(0.001))


def test_the_canary_hears_nothing_until_it_is_allowed(canary: Canary, tmp_path: Path) -> None:
    hosts = ["127.0.0.1", "localhost", "127.1", "2130706433", "[::ffff:127.0.0.1]", "0x7f.0.0.1", "0"]
    for host in hosts:
        with pytest.raises(FetchError):
            fetcher(AddressGuard()).fetch(Download(url=f"http://{host}:{canary.port}/"), tmp_path / "f", BOUNDS)
    assert canary.calls == 0
    allowed = AddressGuard([f"127.0.0.1:{canary.port}"])  # the control: it does ring
    fetcher(allowed).fetch(Download(url=f"http://127.0.0.1:{canary.port}/"), tmp_path / "f", BOUNDS)
    assert canary.calls == 1


def test_a_name_server_that_changes_its_mind_changes_nothing(canary: Canary, tmp_path: Path) -> None:
    answers = [["127.0.0.1"], ["10.9.9.9"], ["10.9.9.9"]]
    asked = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return answers.pop(0)

    guard = AddressGuard([f"files.example:{canary.port}"], resolve=resolve)
    url = f"http://files.example:{canary.port}/video?a=1"
    assert fetcher(guard).fetch(Download(url=url), tmp_path / "f", BOUNDS).size_bytes == 2
    assert asked == [("files.example", canary.port)]
    assert b"GET /video?a=1 HTTP/1.1\r\n" in canary.heard
    assert f"Host: files.example:{canary.port}\r\n".encode() in canary.heard


def test_a_redirect_is_checked_like_the_first_url(canary: Canary, tmp_path: Path) -> None:
    location = f"http://127.0.0.1:{canary.port}/".encode()
    rest = b"Location: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % location
    for code in (301, 302, 303, 307, 308):
        other = Canary(b"HTTP/1.1 %d X\r\n%s" % (code, rest))
        try:
            first = Download(url=f"http://127.0.0.1:{other.port}/")
            with pytest.raises(NotAllowed):
                fetcher(AddressGuard([f"127.0.0.1:{other.port}"])).fetch(first, tmp_path / "f", BOUNDS)
            assert other.calls == 1
        finally:
            other.close()
    assert canary.calls == 0


def test_no_proxy_of_the_environment(canary: Canary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    guard = AddressGuard(["files.example:9"], resolve=lambda *_: ["127.0.0.1"])
    with pytest.raises(Unreachable):
        fetcher(guard).fetch(Download(url="http://files.example:9/"), tmp_path / "f", BOUNDS)
    assert canary.calls == 0


class _Trickle(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(200):
                self.wfile.write(b"x")
                time.sleep(0.02)
        except OSError:
            return


@pytest.fixture
def trickle(request: pytest.FixtureRequest) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), getattr(request, "param", _Trickle))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        (DownloadLimits(1000, 60, bytes_per_second=1000, rate_window=0.3), "bytes/s"),
        (DownloadLimits(1000, 0.3), "within 0.3 s"),
    ],
)
def test_a_slow_sender_is_given_up(trickle: str, tmp_path: Path, bounds: DownloadLimits, text: str) -> None:
    with pytest.raises(Unreachable, match=text):
        fetcher(AddressGuard([trickle])).fetch(Download(url=f"http://{trickle}/"), tmp_path / "f", bounds)


class _SlowHead(_Trickle):
    def do_GET(self) -> None:
        try:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            for _ in range(200):
                self.wfile.write(b"X-Wait: yes\r\n")
                time.sleep(0.02)
        except OSError:
            return


@pytest.mark.parametrize("trickle", [_SlowHead], indirect=True)
def test_an_answer_that_never_begins_is_given_up(trickle: str, tmp_path: Path) -> None:
    bounds = DownloadLimits(1000, 60, answer_seconds=0.3)
    with pytest.raises(Unreachable, match="no response began") as caught:
        fetcher(AddressGuard([trickle])).fetch(Download(url=f"http://{trickle}/"), tmp_path / "f", bounds)
    assert not caught.value.transient
