"""Downloads and uploads through a company's proxy, with private CAs: a TLS server and a CONNECT proxy on loopback.

The proxy may be hostile: it can answer anything, and connect to another host than it was asked for.
"""

import http.server
import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from contentgen_contract.worker.orders import Download, EgressProxy
from contentgen_operator.worker_api.certificate_authority import CertificateAuthority, issue, new_authority
from contentgen_worker.download.address_guard import AddressGuard
from contentgen_worker.download.fetch import DownloadLimits, Fetcher
from contentgen_worker.errors import NotAllowed, Unreachable
from contentgen_worker.network import WorkerNetwork
from contentgen_worker.retry import RetryPolicy

NAME = "files.example"
CONTENT = b"a film"
RETRIED = RetryPolicy(seconds=600, tries=3, first_pause=0.001, longest_pause=0.001)  # however slow the machine is
Answer = Callable[[socket.socket, str], None]


def established(client: socket.socket, target: str) -> None:
    """A tunnel to the asked address; names lead to loopback."""
    host, _, port = target.rpartition(":")
    with socket.create_connection(("127.0.0.1" if host == NAME else host, int(port))) as server:
        client.sendall(b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n")
        there = threading.Thread(target=copied, args=(client, server), daemon=True)
        there.start()
        copied(server, client)


def copied(source: socket.socket, to: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            to.sendall(data)
        to.shutdown(socket.SHUT_WR)


def answering(content: bytes) -> Answer:
    return lambda client, _: client.sendall(content)


@dataclass
class Company:
    """A server with a certificate of a private CA, and a proxy."""

    ca: str
    port: int
    proxy_port: int = 0
    redirect: str = ""
    requests: list[str] = field(default_factory=list)  # paths, each with its Host header
    connects: list[str] = field(default_factory=list)  # targets of the proxy
    answer: Answer = established

    def url(self, host: str = NAME, scheme: str = "https") -> str:
        return f"{scheme}://{host}:{self.port}/film.mp4"

    def network(self, **options: object) -> WorkerNetwork:
        proxy = {"url": f"http://127.0.0.1:{self.proxy_port}"} | options
        return WorkerNetwork(self.ca, EgressProxy.model_validate(proxy))

    def fetcher(self, network: WorkerNetwork, allowed: Sequence[str] = (NAME,)) -> Fetcher:
        hosts = [f"{host}:{self.port}" for host in allowed]
        guard = AddressGuard(hosts, lambda *_: ["127.0.0.1"], network.resolved_by_proxy)
        return Fetcher(guard, source=RETRIED, network=network)


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return new_authority(datetime.now(UTC))


@pytest.fixture
def company(authority: CertificateAuthority, tmp_path: Path) -> Iterator[Company]:
    tls = server_tls(authority, NAME, tmp_path)
    made = Company(authority.certificate.decode(), 0)

    class Files(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.requests.append(f"{self.path} {self.headers['Host']}")
            self.send_response(302 if made.redirect else 200)
            if made.redirect:
                self.send_header("Location", made.redirect)
            self.send_header("Content-Length", "0" if made.redirect else str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(b"" if made.redirect else CONTENT)

        def log_message(self, *_: object) -> None:
            pass

    with ExitStack() as stack:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made.port = server.server_port
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        made.proxy_port = listener.getsockname()[1]
        threading.Thread(target=serve_proxy, args=(listener, made), daemon=True).start()
        yield made


def server_tls(authority: CertificateAuthority, name: str, folder: Path) -> ssl.SSLContext:
    issued = issue(authority, name, datetime.now(UTC), timedelta(days=1))
    (folder / f"{name}.pem").write_bytes(issued.chain + issued.key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / f"{name}.pem")
    return tls


def serve_proxy(listener: socket.socket, company: Company) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=serve_one, args=(client, company), daemon=True).start()


def serve_one(client: socket.socket, company: Company) -> None:
    with suppress(OSError), client:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (part := client.recv(4096)):
                return
            head += part
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        company.connects.append(target if method == "CONNECT" else f"{method} {target}")
        company.answer(client, target)


def fetch(company: Company, network: WorkerNetwork, url: str, to: Path, allowed: Sequence[str] = (NAME,)) -> bytes:
    fetcher = company.fetcher(network, allowed)
    return fetcher.fetch(Download(url=url), to / "film", DownloadLimits(100, 10)).path.read_bytes()


def test_the_proxy_is_asked_for_the_checked_address(company: Company, tmp_path: Path) -> None:
    assert fetch(company, company.network(), company.url(), tmp_path) == CONTENT
    assert company.connects == [f"127.0.0.1:{company.port}"]
    assert company.requests == [f"/film.mp4 {NAME}:{company.port}"]


def test_a_private_address_is_never_asked_for(company: Company, tmp_path: Path) -> None:
    with pytest.raises(NotAllowed, match=r"files\.example is 127\.0\.0\.1"):
        fetch(company, company.network(), company.url(), tmp_path, allowed=())
    company.redirect = "https://169.254.169.254/latest/meta-data/"
    with pytest.raises(NotAllowed):
        fetch(company, company.network(), company.url(), tmp_path)
    assert company.connects == [f"127.0.0.1:{company.port}"]


def test_another_host_behind_the_proxy_has_the_wrong_certificate(company: Company, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(company, company.network(), company.url("other.example"), tmp_path, allowed=("other.example",))
    assert company.requests == []


def test_plain_http_is_refused(company: Company, tmp_path: Path) -> None:
    with pytest.raises(NotAllowed, match="plain http is not fetched through the proxy"):
        fetch(company, company.network(), company.url(scheme="http"), tmp_path)
    company.redirect = company.url(scheme="http")
    with pytest.raises(NotAllowed, match="plain http"):
        fetch(company, company.network(), company.url(), tmp_path)
    assert len(company.connects) == 1


@pytest.mark.parametrize(
    ("exceptions", "direct"),
    [
        (["files.example"], True),
        ([".example"], True),
        (["Example."], True),
        (["*"], True),
        (["s.example", "les.example", "", "."], False),
    ],
)
def test_exceptions_are_reached_directly(company: Company, tmp_path: Path, exceptions: list[str], direct: bool) -> None:
    assert fetch(company, company.network(exceptions=exceptions), company.url(), tmp_path) == CONTENT
    assert bool(company.connects) is not direct


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy answered 407 to CONNECT 127"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno!", "the proxy answered 403"),
        (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "the proxy answered 502"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "closed the connection|is not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000, "is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "sent data after its answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 50_000, "closed the connection|not HTTP|Connection reset|Broken pipe"),
        (b"", "closed the connection"),
    ],
    ids=["407", "403", "502", "ssh", "long-head", "speaks-first", "interim", "closes"],
)
def test_answers_of_a_proxy(company: Company, tmp_path: Path, answer: bytes, message: str) -> None:
    company.answer = answering(answer)
    with pytest.raises(Unreachable, match=message) as caught:
        fetch(company, company.network(), company.url(), tmp_path)
    assert caught.value.transient
    assert company.requests == []


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "localhost", "metadata.google.internal"])
def test_a_proxy_that_resolves_names_gets_no_private_one(company: Company, tmp_path: Path, host: str) -> None:
    network = company.network(resolvesNames=True)
    assert fetch(company, network, company.url(), tmp_path, allowed=()) == CONTENT
    assert company.connects == [f"{NAME}:{company.port}"]
    with pytest.raises(NotAllowed):
        fetch(company, network, company.url(host), tmp_path, allowed=())
    assert len(company.connects) == 1


@pytest.mark.parametrize(
    ("options", "connects"),
    [
        ({}, 0),
        ({"stores": True}, 1),
        ({"stores": True, "exceptions": ["localhost"]}, 0),
        # Exceptions of other programs, of which httpx's mounts refuse the first three, match nothing.
        ({"stores": True, "exceptions": ["localhost:443", "fd00::/8", "bücher.example", "%", ""]}, 1),
    ],
    ids=["direct", "through-the-proxy", "exempt", "no-hosts"],
)
def test_stores(
    authority: CertificateAuthority, tmp_path: Path, company: Company, options: dict[str, object], connects: int
) -> None:
    # The certificate is of another name: the connection is made, and refused.
    client = company.network(**options).store_client(httpx.Timeout(10))
    with client, pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        client.put(company.url("localhost"), content=b"x")
    assert len(company.connects) == connects


def test_a_name_is_resolved_once_for_each_connection(company: Company, tmp_path: Path) -> None:
    """DNS rebinding: the next answer is private. The proxy is asked for the address that was checked."""
    answers = iter([["203.0.114.7"], ["127.0.0.1"]])
    company.answer = answering(b"HTTP/1.1 403 Forbidden\r\n\r\n")
    network = company.network()
    guard = AddressGuard((), lambda *_: next(answers))
    with pytest.raises(NotAllowed, match=r"files\.example is 127\.0\.0\.1"):
        Fetcher(guard, source=RETRIED, network=network).fetch(
            Download(url=company.url()), tmp_path / "film", DownloadLimits(100, 10)
        )
    assert company.connects == [f"203.0.114.7:{company.port}"]


def test_odd_spelling_of_an_exception_opens_no_connection(company: Company, tmp_path: Path) -> None:
    """The guard leaves a name to the proxy, so it must not be reached directly, where nobody has checked it."""
    network = company.network(resolvesNames=True, exceptions=["bücher.example"])
    company.answer = answering(b"HTTP/1.1 403 Forbidden\r\n\r\n")
    with pytest.raises(Unreachable, match="the proxy answered 403"):
        fetch(company, network, company.url("bücher.example"), tmp_path, allowed=())
    assert set(company.connects) == {f"xn--bcher-kva.example:{company.port}"}


def test_a_redirect_to_a_private_name_is_not_given_to_the_proxy(company: Company, tmp_path: Path) -> None:
    company.redirect = "https://metadata.google.internal/computeMetadata/v1/"
    with pytest.raises(NotAllowed, match="a name of a private network"):
        fetch(company, company.network(resolvesNames=True), company.url(), tmp_path, allowed=())
    assert company.connects == [f"{NAME}:{company.port}"]


def test_a_proxy_that_sends_a_byte_at_a_time(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(client: socket.socket, _: str) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while True:
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    company.answer = drip
    ticks = itertools.count(0.0, 0.5)
    monkeypatch.setattr("contentgen_worker.network.monotonic", lambda: next(ticks))
    client = company.network().source_client(httpx.URL(company.url("127.0.0.1")), httpx.Timeout(10))
    with client, pytest.raises(httpx.ConnectTimeout, match="the proxy has not answered in time"):
        client.get(company.url("127.0.0.1"))
    assert next(ticks) >= 10


@pytest.mark.parametrize(
    "url", ["http://p:99999", "http://p:0", "http://p:1:2", "http://u:x@p:1", "https://p", "http://p/x"]
)
def test_the_url_of_a_proxy_is_checked_before_a_worker_has_it(url: str) -> None:
    with pytest.raises(ValidationError):
        EgressProxy(url=url)
