"""Ranged downloads: misbehaving servers, and files that are read during the download."""

import gzip
import hashlib
import http.server
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from contentgen_contract.worker.orders import Download
from contentgen_hostile import readers, works
from contentgen_worker.download.address_guard import AddressGuard
from contentgen_worker.download.fetch import DownloadLimits, Fetcher
from contentgen_worker.download.incoming import MAX_CONNECTIONS, InProgressDownload
from contentgen_worker.download.ranges import FileIdentity, next_range, parse_range
from contentgen_worker.errors import (
    BadMedia,
    ChecksumMismatch,
    Empty,
    NotAllowed,
    Retryable,
    TooLarge,
    Unreachable,
    Unsupported,
)
from contentgen_worker.media.decode.source import CHUNK_BYTES, MediaSource, SparseFile
from contentgen_worker.media.sandbox.confinement import ChildLimits
from contentgen_worker.media.sandbox.isolation import ConfinedChild, spawn
from contentgen_worker.retry import SOURCE, STORE

pytestmark = pytest.mark.usefixtures("bounded")

CONTENT = b"".join(hashlib.sha256(number.to_bytes(4)).digest() for number in range((5 * CHUNK_BYTES + 12345) // 32 + 1))
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PATIENT = replace(SOURCE.scaled(0.001), seconds=20)  # its seven tries, on however busy a machine
BOUNDS = DownloadLimits(max_bytes=10 * CHUNK_BYTES, seconds=20)
Handler = http.server.BaseHTTPRequestHandler
Behave = Callable[["Server", Handler, int, int], None]


@dataclass
class Server:
    """Server that follows RFC 9110 for `content`, unless `behave` handles a request. `ranges`: those requested."""

    content: bytes = CONTENT
    etag: str = '"one"'
    ranged: bool = True
    behave: Behave | None = None
    ranges: list[tuple[int, int]] = field(default_factory=list)
    if_range: set[str | None] = field(default_factory=set)
    host: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://{self.host}/video?X-Amz-Signature=1"

    def answer(self, handler: Handler) -> None:
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", handler.headers.get("Range", ""))
        start = int(found[1]) if found else 0
        end = min(int(found[2]) + 1, len(self.content)) if found and found[2] else len(self.content)
        with self.lock:
            if found:
                self.ranges.append((start, end))
                self.if_range.add(handler.headers.get("If-Range"))
            behave = self.behave
        if behave:
            behave(self, handler, start, end)
        else:
            self.right(handler, start, end)

    def right(self, handler: Handler, start: int, end: int, **changed: str) -> None:
        """Response by the standard."""
        headers = {"ETag": self.etag, "Accept-Ranges": "bytes"}
        if self.ranged and "Range" in handler.headers:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(self.content)}"
            self.send(handler, 206, self.content[start:end], **{**headers, **changed})
        else:
            self.send(handler, 200, self.content, **{**headers, **changed})

    def send(self, handler: Handler, code: int, body: bytes, cut: int | None = None, **headers: str) -> None:
        handler.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            if value:
                handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body[:cut])
        if cut is not None:
            handler.close_connection = True


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield from running(made)


@pytest.fixture
def other() -> Iterator[Server]:
    yield from running(Server())


def running(made: Server) -> Iterator[Server]:
    class Handles(Handler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are sent one after the other

        def log_message(self, *_: object) -> None:
            """Quiet."""

        def do_GET(self) -> None:  # noqa: N802 - http.server's name
            try:
                made.answer(self)
            except OSError:
                self.close_connection = True

    class Quiet(http.server.ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that goes away."""

    http_server = Quiet(("127.0.0.1", 0), Handles)
    http_server.daemon_threads = True
    made.host = f"127.0.0.1:{http_server.server_address[1]}"
    thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield made
    http_server.shutdown()
    http_server.server_close()
    thread.join()


def fetcher(*servers: Server) -> Fetcher:
    guard = AddressGuard([server.host for server in servers])
    return Fetcher(guard, source=PATIENT, store=STORE.scaled(0.001))


def fetched(server: Server, folder: Path, *, bounds: DownloadLimits = BOUNDS, sha256: str | None = None) -> bytes:
    """Downloaded file, after a check of the reported checksum."""
    got = fetcher(server).fetch(Download(url=server.url, sha256=sha256), folder / "file", bounds)
    content = got.path.read_bytes()
    assert (got.size_bytes, got.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    return content


# --- what comes down is right, whatever the server does ------------------------------------------------------------


def test_parts_are_fetched_side_by_side_each_once(server: Server, tmp_path: Path) -> None:
    assert fetched(server, tmp_path) == CONTENT
    assert sum(end - start for start, end in server.ranges) == len(CONTENT)
    assert len(server.ranges) > 2
    assert server.if_range == {None, '"one"'}


@pytest.mark.parametrize(
    "size", [1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 1, 3 * CHUNK_BYTES]
)
def test_any_size(server: Server, tmp_path: Path, size: int) -> None:
    server.content = CONTENT[:size]
    assert fetched(server, tmp_path) == CONTENT[:size]
    assert sum(end - start for start, end in server.ranges) == size


def encoded(header: str, body: bytes, *, whole: bool) -> Behave:
    """Server that declares an encoding; `whole`: it sends its file for each request, else ranges of the body."""

    def behave(server: Server, handler: Handler, start: int, end: int) -> None:
        headers = {"ETag": server.etag, "Content-Encoding": header}
        if whole or not handler.headers.get("Range"):
            return server.send(handler, 200, body, **headers)
        end = min(end, len(body))
        return server.send(
            handler, 206, body[start:end], **headers, **{"Content-Range": f"bytes {start}-{end - 1}/{len(body)}"}
        )

    return behave


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("", CONTENT),
        ("aws-chunked", CONTENT),
        ("utf-8, aws-chunked", CONTENT),
        ("gzip", gzip.compress(CONTENT, 1)),
        ("aws-chunked,x-gzip", gzip.compress(CONTENT, 1)),
        ("deflate", zlib.compress(CONTENT, 1)),
    ],
)
def test_a_declared_encoding(server: Server, tmp_path: Path, header: str, body: bytes, whole: bool) -> None:
    """P7: `aws-chunked` refused films put by an AWS client. The checksum of a source is of the decoded file."""
    server.behave = encoded(header, body, whole=whole)
    assert fetched(server, tmp_path, sha256=hashlib.sha256(CONTENT).hexdigest()) == CONTENT


def test_an_encoding_that_is_not_supported_is_named(server: Server, tmp_path: Path) -> None:
    server.behave = encoded("br", b"x", whole=True)
    with pytest.raises(Unreachable, match="content encoding br is not supported") as caught:
        fetched(server, tmp_path)
    assert (caught.value.transient, caught.value.permanent) == (True, False)


def test_a_validator_that_no_header_can_hold(server: Server, tmp_path: Path) -> None:
    server.etag = '"caf\xe9"'
    assert fetched(server, tmp_path) == CONTENT


def breaks_off(server: Server, handler: Handler, start: int, end: int) -> None:
    if end - start > 300_000:
        headers = {"ETag": server.etag, "Content-Range": f"bytes {start}-{end - 1}/{len(server.content)}"}
        server.send(handler, 206, server.content[start:end], cut=200_000, **headers)
    else:
        server.right(handler, start, end)


def test_a_part_that_breaks_off_continues_where_it_was(server: Server, tmp_path: Path) -> None:
    server.behave = breaks_off
    assert fetched(server, tmp_path) == CONTENT
    asked = sum(end - start for start, end in server.ranges)
    sent = sum(min(end - start, 200_000) if end - start > 300_000 else end - start for start, end in server.ranges)
    assert sent == len(CONTENT) < asked


def breaks_off_whole(server: Server, handler: Handler, start: int, end: int) -> None:
    if "If-Range" not in handler.headers:
        server.send(handler, 200, server.content, cut=2_000_000, ETag=server.etag)
    else:
        server.ranged = True
        server.right(handler, start, end)


def test_a_whole_file_that_breaks_off_continues_with_a_part(server: Server, tmp_path: Path) -> None:
    server.behave = breaks_off_whole
    assert fetched(server, tmp_path) == CONTENT
    assert server.ranges[1:] == [(2_000_000, len(CONTENT))]


def without_parts(server: Server, handler: Handler, start: int, end: int) -> None:
    cut = 2_000_000 if len(server.ranges) == 1 else None
    server.send(handler, 200, server.content, cut=cut, ETag=server.etag)


def test_server_without_ranges_restarts_and_repeats_no_byte(server: Server, tmp_path: Path) -> None:
    server.behave = without_parts
    assert fetched(server, tmp_path) == CONTENT
    assert len(server.ranges) == 2


def smaller_parts(server: Server, handler: Handler, start: int, end: int) -> None:
    server.right(handler, start, min(end, start + 700_000))


def larger_parts(server: Server, handler: Handler, start: int, end: int) -> None:
    server.right(handler, max(start - 1000, 0), min(end + 200_000, len(CONTENT)))


@pytest.mark.parametrize("behave", [smaller_parts, larger_parts])
def test_other_parts_than_asked_for_are_taken_as_what_they_say(server: Server, tmp_path: Path, behave: Behave) -> None:
    server.behave = behave
    assert fetched(server, tmp_path) == CONTENT


def busy_once(server: Server, handler: Handler, start: int, end: int) -> None:
    if len(server.ranges) == 3:
        server.send(handler, 503, b"")
    else:
        server.right(handler, start, end)


def test_a_server_that_is_busy_for_a_part_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.behave = busy_once
    assert fetched(server, tmp_path) == CONTENT


def multipart(server: Server, handler: Handler, start: int, end: int) -> None:
    if "Range" in handler.headers:
        body = b"--x\r\nContent-Range: bytes 0-9/100\r\n\r\n0123456789\r\n--x--\r\n"
        server.send(handler, 206, body, Content_Type="multipart/byteranges; boundary=x", ETag=server.etag)
    else:
        server.right(handler, start, end)


def refuses_ranges(server: Server, handler: Handler, start: int, end: int) -> None:
    if "Range" in handler.headers:
        server.send(handler, 416, b"", Content_Range=f"bytes */{len(CONTENT)}")
    else:
        server.right(handler, start, end)


def of_no_size(server: Server, handler: Handler, start: int, end: int) -> None:
    if "Range" in handler.headers:
        server.right(handler, start, end, **{"Content-Range": f"bytes {start}-{end - 1}/*"})
    else:
        server.right(handler, start, end)


def of_no_name(server: Server, handler: Handler, start: int, end: int) -> None:
    server.right(handler, start, end, ETag='W/"weak"')


@pytest.mark.parametrize("behave", [multipart, refuses_ranges, of_no_size, of_no_name])
def test_useless_parts_lead_to_a_whole_download(server: Server, tmp_path: Path, behave: Behave) -> None:
    server.behave = behave
    assert fetched(server, tmp_path) == CONTENT
    assert len(server.ranges) == 1


# --- and what is wrong is said -------------------------------------------------------------------------------------


def changes(server: Server, handler: Handler, start: int, end: int) -> None:
    server.etag = '"one"' if start == 0 else '"two"'
    server.right(handler, start, end)


def changes_whole(server: Server, handler: Handler, start: int, end: int) -> None:
    if start:  # If-Range does not hold: the new file
        server.send(handler, 200, CONTENT, ETag='"two"')
    else:
        server.right(handler, start, end)


def grows(server: Server, handler: Handler, start: int, end: int) -> None:
    size = len(CONTENT) + (start > 0)
    server.right(handler, start, end, **{"Content-Range": f"bytes {start}-{end - 1}/{size}"})


def elsewhere(server: Server, handler: Handler, start: int, end: int) -> None:
    size = end - start
    begins = 0 if start else start
    server.right(handler, start, end, **{"Content-Range": f"bytes {begins}-{begins + size - 1}/{len(CONTENT)}"})


def long_lies(server: Server, handler: Handler, start: int, end: int) -> None:
    last = end if start else end - 1
    server.right(handler, start, end, **{"Content-Range": f"bytes {start}-{last}/{len(CONTENT) + (start > 0)}"})


def packed(server: Server, handler: Handler, start: int, end: int) -> None:
    server.right(handler, start, end, **({"Content-Encoding": "gzip"} if start else {}))


def multipart_later(server: Server, handler: Handler, start: int, end: int) -> None:
    (multipart if start else server.right.__func__)(server, handler, start, end)  # type: ignore[attr-defined]


def gone(server: Server, handler: Handler, start: int, end: int) -> None:
    if start:
        server.send(handler, 404, b"")
    else:
        server.right(handler, start, end)


def no_such_range(server: Server, handler: Handler, start: int, end: int) -> None:
    if start:
        server.send(handler, 416, b"", Content_Range=f"bytes */{len(CONTENT)}")
    else:
        server.right(handler, start, end)


def whole_after_parts(server: Server, handler: Handler, start: int, end: int) -> None:
    if start:
        server.send(handler, 200, CONTENT, ETag=server.etag)
    else:
        server.right(handler, start, end)


@pytest.mark.parametrize(
    ("behave", "text"),
    [
        (changes, "was changed during the download"),
        (changes_whole, "was changed during the download"),
        (grows, "was changed during the download"),
        (elsewhere, "requested from"),
        (long_lies, "invalid response to a range request"),
        (packed, "compressed for a range request"),
        (multipart_later, "invalid response to a range request"),
        (gone, "HTTP 404"),
        (no_such_range, "HTTP 416"),
        (whole_after_parts, "sent the whole file"),
    ],
)
def test_a_server_that_lies_is_told_so(server: Server, tmp_path: Path, behave: Behave, text: str) -> None:
    server.behave = behave
    with pytest.raises(Unreachable, match=text) as caught:
        fetched(server, tmp_path)
    assert "X-Amz" not in str(caught.value)


def stays_broken(server: Server, handler: Handler, start: int, end: int) -> None:
    if start:
        headers = {"ETag": server.etag, "Content-Range": f"bytes {start}-{end - 1}/{len(CONTENT)}"}
        server.send(handler, 206, CONTENT[start:end], cut=0, **headers)
    else:
        server.right(handler, start, end)


def test_a_server_that_stays_broken_is_given_up(server: Server, tmp_path: Path) -> None:
    server.behave = stays_broken
    with pytest.raises(Unreachable, match="broke off"):
        fetched(server, tmp_path)
    assert len(server.ranges) < 60


def test_our_own_store_breaking_off_is_no_verdict(server: Server, tmp_path: Path) -> None:
    server.behave = stays_broken
    with pytest.raises(Retryable, match="store is unavailable"):
        fetcher().fetch(Download(url=server.url, trusted=True), tmp_path / "file", BOUNDS)


def test_a_file_too_large_is_refused_before_it_comes(server: Server, tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match=f"{len(CONTENT)} bytes, at most {3 * CHUNK_BYTES}"):
        fetched(server, tmp_path, bounds=DownloadLimits(3 * CHUNK_BYTES, 20))
    assert len(server.ranges) == 1


@pytest.mark.parametrize("code", [200, 416])
def test_no_byte_at_all(server: Server, tmp_path: Path, code: int) -> None:
    server.behave = lambda server, handler, *_: server.send(handler, code, b"", Content_Range="bytes */0", ETag='"e"')
    with pytest.raises(Empty):
        fetched(server, tmp_path)


def trickles(server: Server, handler: Handler, start: int, end: int) -> None:
    if not start:
        return server.right(handler, start, end)
    handler.send_response(206)
    handler.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(CONTENT)}")
    handler.send_header("Content-Length", str(end - start))
    handler.end_headers()
    for at in range(start, start + 1000):
        handler.wfile.write(CONTENT[at : at + 1])
        time.sleep(0.02)
    return None


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        (DownloadLimits(10 * CHUNK_BYTES, 60, bytes_per_second=1000, rate_window=0.3), "bytes/s"),
        (DownloadLimits(10 * CHUNK_BYTES, 0.5), "within 0.5 s"),
    ],
)
def test_parts_that_are_slow_together_are_given_up(
    server: Server, tmp_path: Path, bounds: DownloadLimits, text: str
) -> None:
    server.behave = trickles
    with pytest.raises(Unreachable, match=text):
        fetched(server, tmp_path, bounds=bounds)


def test_the_checksum_is_of_all_parts(server: Server, tmp_path: Path) -> None:
    assert fetched(server, tmp_path, sha256=SHA256) == CONTENT
    with pytest.raises(ChecksumMismatch, match=SHA256):
        fetched(server, tmp_path, sha256="0" * 64)


# --- the guard, for each part --------------------------------------------------------------------------------------


def test_each_part_passes_the_guard(server: Server, other: Server, tmp_path: Path) -> None:
    def leads_away(server: Server, handler: Handler, start: int, end: int) -> None:
        if start:
            server.send(handler, 302, b"", Location=f"http://{other.host}/private")
        else:
            server.right(handler, start, end)

    server.behave = leads_away
    with pytest.raises(NotAllowed, match=r"127\.0\.0\.0/8"):
        fetched(server, tmp_path)
    assert other.ranges == []
    got = fetcher(server, other).fetch(Download(url=server.url), tmp_path / "file", BOUNDS)  # the control: it is asked
    assert got.sha256 == SHA256
    assert other.ranges


def test_a_name_that_is_rebound_between_parts_is_refused(server: Server, tmp_path: Path) -> None:
    """Each new connection resolves the name again, and checks the addresses."""
    port = int(server.host.rpartition(":")[2])
    asked: list[str] = []

    def resolve(host: str, _: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["169.254.169.254"]

    class Rebinding(AddressGuard):
        """Resolver and guard that accept loopback as public."""

        def check(self, address: object) -> object:  # type: ignore[override]
            first = not asked
            return AddressGuard([f"files.example:{port}"] if first else [], resolve=resolve).check(str(address))

    made = Fetcher(Rebinding(), source=PATIENT)
    with pytest.raises(NotAllowed, match=r"169\.254\.169\.254"):
        made.fetch(Download(url=f"http://files.example:{port}/video"), tmp_path / "file", BOUNDS)
    assert len(asked) > 1


def test_a_redirect_is_followed_by_each_lane_and_its_target_kept(server: Server, other: Server, tmp_path: Path) -> None:
    server.behave = lambda server, handler, *_: server.send(handler, 302, b"", Location=f"http://{other.host}/signed")
    got = fetcher(server, other).fetch(Download(url=server.url), tmp_path / "file", BOUNDS)
    assert got.sha256 == SHA256
    assert len(server.ranges) < len(other.ranges) or len(server.ranges) <= 4


# --- pure parts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("free", "readers", "expected"),
    [
        ("1111", [], range(2)),
        ("0011", [], range(2, 4)),
        ("0101", [], range(1, 2)),
        ("0000", [1], None),
        ("1111", [2], range(2, 4)),
        ("1101", [0, 2], range(2)),
        ("0111", [0, 3], range(3, 4)),
        ("1100", [2], range(2)),  # nothing ahead of it: what is missing at all
    ],
)
def test_next_read_part_is_fetched_next(free: str, readers: list[int], expected: range | None) -> None:
    assert next_range(bytearray(map(int, free)), readers, 2) == expected


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (206, {}),
        (206, {"content-range": "bytes 5-4/10"}),
        (206, {"content-range": "bytes 0-9/9"}),
        (206, {"content-range": "bytes 0-9/*"}),
        (206, {"content-range": "bytes -5/10"}),
        (206, {"content-range": "items 0-4/10"}),
        (206, {"content-range": "bytes 0-4/10", "content-length": "6"}),
        (206, {"content-range": "bytes 0-4/" + "9" * 40}),
        (200, {}),
        (200, {"content-length": "-1"}),
        (416, {"content-range": "bytes */10"}),
    ],
)
def test_answers_that_are_of_no_use(status: int, headers: dict[str, str]) -> None:
    assert parse_range(status, headers) is None


def test_identity_of_a_file() -> None:
    one = FileIdentity(10, '"a"', "Mon")
    assert one.is_of(FileIdentity(10, '"a"', ""))
    assert not one.is_of(FileIdentity(10, '"b"', "Mon"))
    assert not one.is_of(FileIdentity(10, '"a"', "Tue"))
    assert not one.is_of(FileIdentity(11, '"a"', "Mon"))
    assert (one.validator, FileIdentity(10, 'W/"a"', "Mon").validator, FileIdentity(10, "", "").validator) == (
        '"a"',
        "Mon",
        "",
    )


# --- a file that is read while it comes ----------------------------------------------------------------------------


def reader(source: MediaSource, start: int = 0, end: int = len(CONTENT)) -> ConfinedChild:
    """Confined child that reads a byte range."""
    return spawn(readers.digest, source, start, end, limits=ChildLimits(256 << 20, 20, files=source.files))


def said(child: ConfinedChild) -> object:
    with child:
        return next(child.messages())


def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_readers_in_confined_processes_wait_for_what_they_read(tmp_path: Path) -> None:
    with SparseFile(tmp_path / "file", len(CONTENT)) as sparse_file, ExitStack() as stack:
        spans = [(3 * CHUNK_BYTES + 5, len(CONTENT)), (5 * CHUNK_BYTES + 1, len(CONTENT)), (0, len(CONTENT))]
        children = []
        for waiting, span in zip(([3], [3, 5], [0, 3, 5]), spans, strict=True):  # the kernel tells the oldest first
            children.append(stack.enter_context(reader(sparse_file.source, *span)))
            until(lambda waiting=waiting: sparse_file.reader_chunks() == waiting)  # type: ignore[misc]
        for piece in (5, 3, 4, 0, 2, 1):
            for at in range(piece * CHUNK_BYTES, min((piece + 1) * CHUNK_BYTES, len(CONTENT)), 300_000):
                sparse_file.write(at, CONTENT[at : min(at + 300_000, (piece + 1) * CHUNK_BYTES)])
        sparse_file.complete()
        for (start, end), child in zip(spans, children, strict=True):
            assert said(child) == hashlib.sha256(CONTENT[start:end]).hexdigest()
        until(lambda: sparse_file.reader_chunks() == [])
        assert sparse_file.source.complete


def test_a_download_that_fails_ends_every_reader(tmp_path: Path) -> None:
    with SparseFile(tmp_path / "file", len(CONTENT)) as sparse_file, ExitStack() as stack:
        sparse_file.write(0, CONTENT[: CHUNK_BYTES + 10])
        children = [stack.enter_context(reader(sparse_file.source)) for _ in range(3)]
        until(lambda: sparse_file.reader_chunks() == [1])
        sparse_file.fail()
        for child in children:
            with pytest.raises(Unreachable, match="download of the recording has failed"):
                said(child)
        sparse_file.complete()  # too late
        assert not sparse_file.source.complete


def test_a_reader_can_write_nothing(tmp_path: Path) -> None:
    """A child can write neither the file nor its map."""
    with SparseFile(tmp_path / "file", 10) as sparse_file:
        limits = ChildLimits(256 << 20, 20, files=sparse_file.source.files)
        for path in sparse_file.source.files:
            with spawn(works.write, path, 5, limits=limits) as child:
                assert next(child.messages()) == ("refused", "PermissionError")


def test_a_reader_is_a_file(tmp_path: Path) -> None:
    with SparseFile(tmp_path / "file", 10) as sparse_file, sparse_file.source.open() as file:
        sparse_file.write(0, b"0123456789")
        assert (file.read(4), file.tell(), file.seek(-3, 2), file.read(9), file.read(1)) == (b"0123", 4, 7, b"789", b"")
        assert (file.seek(2), file.seek(1, 1), file.read()) == (2, 3, b"3456789")
        with pytest.raises(ValueError, match="is a negative position"):
            file.seek(-1)


def test_awaited_part_precedes_the_rest(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT * 6
    answers = threading.Semaphore(0)  # that the server may begin, but for the first

    def slow(server: Server, handler: Handler, start: int, end: int) -> None:
        if start:
            answers.acquire(timeout=60)
        server.right(handler, start, end)

    server.behave = slow
    wanted = 24  # in order it would not come for a long time
    with fetcher(server).start(Download(url=server.url), tmp_path / "file", DownloadLimits(10**9, 60)) as incoming:
        assert isinstance(incoming, InProgressDownload)
        until(lambda: len(server.ranges) == 1 + MAX_CONNECTIONS)  # the first has finished, and each connection waits
        with reader(incoming.source, wanted * CHUNK_BYTES + 77, wanted * CHUNK_BYTES + 99) as child:
            until(lambda: incoming.sparse_file.reader_chunks() == [wanted])
            answers.release()
            until(lambda: len(server.ranges) == 2 + MAX_CONNECTIONS)
            assert [start // CHUNK_BYTES == wanted for start, _ in server.ranges] == [False] * (1 + MAX_CONNECTIONS) + [
                True
            ]
            answers.release(1000)
            assert (
                said(child)
                == hashlib.sha256(server.content[wanted * CHUNK_BYTES + 77 : wanted * CHUNK_BYTES + 99]).hexdigest()
            )
        incoming.finish()


def test_at_first_nothing_is_read_ahead(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Except chunks that a reader waits for, and until `finish` waits for all."""
    monkeypatch.setattr("contentgen_worker.download.incoming._NO_READAHEAD_SECONDS", 60)
    server.content = CONTENT * 6
    with fetcher(server).start(Download(url=server.url), tmp_path / "file", DownloadLimits(10**9, 60)) as incoming:
        assert isinstance(incoming.source, MediaSource)
        with incoming.source.open() as file:
            for wanted in (24, 7):
                file.seek(wanted * CHUNK_BYTES + 77)
                assert file.read(22) == server.content[wanted * CHUNK_BYTES + 77 : wanted * CHUNK_BYTES + 99]
        last = len(server.content) // CHUNK_BYTES
        assert sorted(start // CHUNK_BYTES for start, _ in server.ranges) == [0, 7, 24, last]
        assert incoming.finish().size_bytes == len(server.content)


def test_a_download_ends_with_its_block(server: Server, tmp_path: Path) -> None:
    stuck = threading.Event()

    def hangs(server: Server, handler: Handler, start: int, end: int) -> None:
        if start:
            stuck.wait(60)
        server.right(handler, start, end)

    server.behave = hangs
    incoming = fetcher(server).start(Download(url=server.url), tmp_path / "file", BOUNDS)
    with pytest.raises(Unsupported, match="no video"), incoming:  # noqa: PT012 - as a stage does it
        until(lambda: len(server.ranges) == 4)  # one per connection
        raise Unsupported("no video")
    until(lambda: "download" not in {thread.name for thread in threading.enumerate()})
    stuck.set()


def begun(server: Server, folder: Path, error: BadMedia, sha256: str | None = None) -> None:
    with fetcher(server).start(Download(url=server.url, sha256=sha256), folder / "file", BOUNDS):
        raise error


def test_first_cause_of_a_failed_download_is_reported(server: Server, tmp_path: Path) -> None:
    server.behave = gone
    incoming = fetcher(server).start(Download(url=server.url), tmp_path / "file", BOUNDS)
    with pytest.raises(Unreachable, match="HTTP 404"), incoming:  # noqa: PT012 - as a stage does it
        assert isinstance(incoming.source, MediaSource)
        with pytest.raises(Unreachable, match="has failed"):
            said(reader(incoming.source))
        raise Unsupported("nothing that can be read")


def test_another_file_is_the_cause_of_an_unreadable_video(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ChecksumMismatch):
        begun(server, tmp_path, Unsupported("no video"), sha256="0" * 64)
    with pytest.raises(Unsupported):
        begun(server, tmp_path, Unsupported("no video"), sha256=SHA256)
