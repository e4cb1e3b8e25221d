"""A file on its way: some lanes bring runs of its pieces into one growing file, each continuing where it broke off.

Bytes are hashed in their order, as soon as those before them are there; one pass, whichever lane brought them.
"""

import errno
import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import TracebackType

import httpx

from contentgen_contract.worker.orders import Download
from contentgen_worker.download.budget import DownloadBudget
from contentgen_worker.download.connection import Connection
from contentgen_worker.download.ranges import ByteRange, next_range, parse_range
from contentgen_worker.errors import (
    BadMedia,
    ChecksumMismatch,
    FetchError,
    Retryable,
    Unreachable,
    WorkerError,
    redacted,
)
from contentgen_worker.media.decode.source import CHUNK_BYTES, MediaSource, SparseFile
from contentgen_worker.retry import RetryPolicy

CHUNKS_PER_RANGE = (
    2  # pieces that are asked for at once: what a reader waits for begins when the first lane is through with its own
)
MAX_CONNECTIONS = 4
_POLL_SECONDS = 0.25  # seconds
_NO_READAHEAD_SECONDS = 0.75  # seconds in which nothing is brought but what a reader waits for
_IDLE_SECONDS = 0.01  # seconds
_TRANSIENT_CODES = (408, 425, 429)
OnProgress = Callable[[float], None]


def ignore_progress(_: float) -> None:
    """For downloads that nobody watches."""


@dataclass(frozen=True)
class Fetched:
    """A file that came down."""

    path: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Opened:
    """A lane with the first answer, whose body is still to be read: of all the file, or of its first run."""

    connection: Connection
    response: httpx.Response
    byte_range: ByteRange

    @property
    def ranged(self) -> bool:
        """Other parts may be asked for."""
        return self.response.status_code == 206


class Incoming:
    """A file that is coming. `source` can be read at once. As a context manager it ends the download with the block;
    where the download has failed, that is what is raised: a decoder's troubles follow from it."""

    def __init__(
        self, download: Download, source: Path | MediaSource, size: int, fetched: Fetched | None = None
    ) -> None:
        self.source = source
        self.size = size
        self._download = download
        self._fetched = fetched
        self._error: Exception | None = None
        self._ended = threading.Event()
        if fetched:
            self._ended.set()

    def __enter__(self) -> "Incoming":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, BadMedia) and self._download.sha256:
            self.finish()  # another file than the one asked for is the better reason
        failed = self._error
        self._fail(Unreachable("the download was given up"))
        if failed and (error is None or isinstance(error, WorkerError)):
            raise failed from None

    def finish(self, on_progress: OnProgress = ignore_progress) -> Fetched:
        """Wait for the last byte. Raises a FetchError, or Retryable; nothing may be made of the file before it."""
        while not self._ended.wait(_POLL_SECONDS):
            on_progress(self._fraction())
        if self._fetched is None:
            raise self._error or AssertionError("a download ends with a file or an error")
        return self._fetched

    def _fraction(self) -> float:
        return 0.0

    def _fail(self, error: Exception) -> None:
        """The first reason counts. Nothing, where the file is here."""


class CompletedDownload(Incoming):
    """A file that has come already."""

    def __init__(self, download: Download, fetched: Fetched) -> None:
        super().__init__(download, fetched.path, fetched.size_bytes, fetched)


class InProgressDownload(Incoming):
    """A file of which parts are here."""

    def __init__(
        self,
        download: Download,
        path: Path,
        opened: Opened,
        *,
        budget: DownloadBudget,
        retry_policy: RetryPolicy,
        connect: Callable[[], Connection],
    ) -> None:
        self.sparse_file = SparseFile(path, opened.byte_range.identity.size)
        super().__init__(download, self.sparse_file.source, opened.byte_range.identity.size)
        self._identity = opened.byte_range.identity
        self._ranged = opened.ranged
        self._budget = budget
        self._retry_policy = retry_policy
        self._lock = threading.Lock()
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._hash_lock = threading.Lock()
        self._read_all, self._readahead_from = threading.Event(), time.monotonic() + _NO_READAHEAD_SECONDS
        self._free = bytearray(b"\1" * self.sparse_file.chunk_count)
        first = self._claim(range(-(-opened.byte_range.end // CHUNK_BYTES)))
        # The index of an MP4 may be at its end: the second lane begins there.
        last = self._claim(range(max(self.sparse_file.chunk_count - 1, first.stop), self.sparse_file.chunk_count))
        count = 1 + min(MAX_CONNECTIONS - 1, -(-sum(self._free) // CHUNKS_PER_RANGE) + len(last))
        self._connections = [opened.connection, *(connect() for _ in range(count - 1))]
        self._active = count
        for connection, chunks in zip_longest(self._connections, (first, last)[:count]):
            response = opened.response if connection is opened.connection else None
            threading.Thread(
                target=self._run_connection, args=(connection, chunks or None, response), name="download", daemon=True
            ).start()

    def finish(self, on_progress: OnProgress = ignore_progress) -> Fetched:
        """As any file's; from now on its parts may come in any order."""
        self._read_all.set()
        return super().finish(on_progress)

    def _claim(self, chunks: range) -> range:
        self._free[chunks.start : chunks.stop] = bytes(len(chunks))
        return chunks

    def _run_connection(self, connection: Connection, chunks: range | None, response: httpx.Response | None) -> None:
        """A lane's life: run after run, until none is free."""
        try:
            while (chunks := chunks or self._next_chunks()) is not None and self._error is None:
                task = _RangeTask(connection, chunks, response, self)
                self._retry_policy.run(task, lambda error: self._error is None and is_transient(error))
                chunks, response = None, None
        except OSError as error:
            self._fail(disk_error(error, self.sparse_file.source.path))
        except Exception as error:  # noqa: BLE001 - whatever ends a lane must end those who wait for its bytes
            self._fail(error)
        finally:
            connection.close()
            self._finish_worker()

    def _next_chunks(self) -> range | None:
        while True:
            with self._lock:  # what one reader waits for is one lane's
                if self._may_claim():
                    chunks = next_range(self._free, self.sparse_file.reader_chunks(), CHUNKS_PER_RANGE)
                    return chunks and self._claim(chunks)
            self._read_all.wait(_IDLE_SECONDS)

    def _may_claim(self) -> bool:
        """At first nothing is read ahead: it would stand in the way of the index, and of where the segments begin."""
        ahead = self._read_all.is_set() or time.monotonic() >= self._readahead_from
        return ahead or not any(self._free) or self._reader_waits()

    def _reader_waits(self) -> bool:
        """Somebody reads what no lane brings."""
        return any(self._free[chunk] for chunk in self.sparse_file.reader_chunks())

    def _finish_worker(self) -> None:
        """The last lane leaves a file."""
        with self._lock:
            self._active -= 1
            if self._active:
                return
        try:
            if self._error is None:
                self.hash_available()
                fetched = Fetched(self.sparse_file.source.path, self.size, self._digest.hexdigest())
                self._fetched = check_sha256(fetched, self._download)
                self.sparse_file.complete()
                self._ended.set()
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)
        finally:
            self.sparse_file.close()

    def _fail(self, error: Exception) -> None:
        with self._lock:
            if self._ended.is_set():
                return
            self._error = retryable_if_own_store(error, self._download)
            self.sparse_file.fail()
            self._ended.set()
        self._read_all.set()
        for connection in self._connections:
            connection.cancel()

    def _fraction(self) -> float:
        return self._hashed / self.size

    def hash_available(self) -> None:
        """Hash what has come in order. Whoever finds another at it goes on: that one takes it along, or the next."""
        if self._hash_lock.acquire(blocking=False):
            try:
                while content := self.sparse_file.read(self._hashed, CHUNK_BYTES):
                    self._digest.update(content)
                    self._hashed += len(content)
            finally:
                self._hash_lock.release()

    # What an errand needs

    def range_headers(self, offset: int, end: int) -> Mapping[str, str]:
        """Asks for bytes of the same file only."""
        last = str(end - 1) if self._ranged else ""
        return {"Range": f"bytes={offset}-{last}", "If-Range": self._identity.validator}

    def received_range(self, response: httpx.Response, offset: int) -> ByteRange:
        """What came for bytes from `offset` on. Raises where it is of another file, or of no use."""
        url = self._download.url
        check_response(response, self._download, (200, 206))
        received = parse_range(response.status_code, response.headers)
        if received is None:
            raise Unreachable(f"{redacted(url)}: answered a range in a way that can't be understood; try again later")
        if not received.identity.is_of(self._identity):
            raise Unreachable(f"{redacted(url)}: the file was changed while it came down; try again when it stays")
        if response.status_code == 200 and self._ranged:
            raise Unreachable(f"{redacted(url)}: sent the whole file, asked for a part of it", transient=True)
        if not received.start <= offset < received.end:
            raise Unreachable(f"{redacted(url)}: sent bytes from {received.start}, asked for those from {offset}")
        return received

    def count_bytes(self, size: int) -> None:
        """So many bytes have come. Raises where no more are wanted, or they come too slowly."""
        if self._error:
            raise Unreachable("the download was given up")
        self._budget.count(size)

    def write(self, offset: int, content: bytes) -> None:
        """Bytes of the file."""
        self.sparse_file.write(offset, content)

    def restart_rate(self) -> None:
        """After a pause, which was nobody's slowness."""
        self._budget.restart()

    def first_missing_byte(self, chunks: range) -> int | None:
        """The first byte of a run that is not here."""
        for chunk in chunks:
            offset = chunk * CHUNK_BYTES
            offset += self.sparse_file.available(offset)
            if offset < min((chunk + 1) * CHUNK_BYTES, self.size):
                return offset
        return None


class _RangeTask:
    """Bringing one run. Called again, it continues where it broke off."""

    def __init__(
        self, connection: Connection, chunks: range, response: httpx.Response | None, file: InProgressDownload
    ) -> None:
        self._connection = connection
        self._chunks = chunks
        self._response = response
        self._file = file
        self._retrying = False

    def __call__(self) -> None:
        """Until the run is here. Raises where a try brought nothing."""
        if self._retrying:
            self._file.restart_rate()
        self._retrying = True
        while (offset := self._file.first_missing_byte(self._chunks)) is not None:
            try:
                self._fetch_from(offset)
            except Unreachable as error:
                if not error.transient or self._file.first_missing_byte(self._chunks) == offset:
                    raise
        self._file.hash_available()

    def _fetch_from(self, offset: int) -> None:
        response, self._response = self._response, None
        end = min(self._chunks.stop * CHUNK_BYTES, self._file.size)
        response = response or self._connection.get(self._file.range_headers(offset, end))
        with closing(response):
            received = self._file.received_range(response, offset)
            self._read(response, received, offset, min(end, received.end))

    def _read(self, response: httpx.Response, received: ByteRange, offset: int, end: int) -> None:
        """Keep what lies from `offset` to `end`: an answer may hold more on both sides."""
        position = received.start
        try:
            for data in response.iter_raw():
                self._file.count_bytes(len(data))
                if wanted := data[max(offset - position, 0) : max(end - position, 0)]:
                    self._file.write(max(offset, position), wanted)
                position += len(data)
                if position >= end < received.end:
                    return
        except httpx.TransportError as error:
            raise interrupted(response.url, position, error) from None
        if position != received.end:
            raise interrupted(response.url, position, None)


def interrupted(url: object, offset: int, error: Exception | None) -> Unreachable:
    """For a body that ends before its end."""
    return Unreachable(f"{redacted(url)}: broke off after {offset} bytes ({error or 'it ended'})", transient=True)


def is_transient(error: Exception) -> bool:
    """Whether another try may help."""
    return isinstance(error, FetchError) and error.transient


def retryable_if_own_store(error: Exception, download: Download) -> Exception:
    """What follows from it: that our own store is away is no verdict about anybody's file."""
    return Retryable(f"{error}; the store is away") if download.trusted and is_transient(error) else error


def check_response(response: httpx.Response, download: Download, wanted: tuple[int, ...] = (200,)) -> None:
    """Raises Unreachable unless the answer is one that was asked for."""
    code, url = response.status_code, redacted(download.url)
    if download.trusted and code == 403 and b"xpired" in _first_bytes(response):  # S3's "Request has expired"
        raise Retryable(f"{url}: the signed URL has expired; a new attempt gets a new one")
    if code not in wanted:
        text = f"{url}: HTTP {code}, expected {wanted[0]}; check the URL and who may read it"
        transient = code >= 500 or code in _TRANSIENT_CODES
        raise Unreachable(text, transient=transient, permanent=code >= 400 and not transient)
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Unreachable(f"{url}: sent compressed although not asked to; serve the file as it is")


def _first_bytes(response: httpx.Response) -> bytes:
    try:
        return next(response.iter_raw(4096), b"")
    except httpx.TransportError:
        return b""


def check_sha256(fetched: Fetched, download: Download) -> Fetched:
    """The same. Raises ChecksumMismatch."""
    if download.sha256 and fetched.sha256 != download.sha256:
        raise ChecksumMismatch(
            f"{redacted(download.url)}: sha256 is {fetched.sha256}, expected {download.sha256}; the file was changed "
            "or the sha256 is another file's"
        )
    return fetched


def disk_error(error: OSError, path: Path) -> Exception:
    """For a file that can't be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Retryable(f"no space left for {path.name} in the scratch folder; give the worker a larger volume")
    return error
