"""Parallel ranged download into a sparse file, resumable.

Several connections fetch ranges of chunks; after an error each continues where it stopped. Bytes are hashed once, in
file order, as soon as all before them have arrived.
"""

import errno
import hashlib
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from time import monotonic
from types import TracebackType

import httpx

from contentgen_contract.worker.orders import Download
from contentgen_worker.download.budget import DownloadBudget
from contentgen_worker.download.connection import Connection
from contentgen_worker.download.content_encoding import Undecodable, codings, decoder
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

# Few, since a chunk that a reader waits for is requested only when a connection has finished its range.
CHUNKS_PER_RANGE = 2
MAX_CONNECTIONS = 4
_POLL_SECONDS = 0.25
_NO_READAHEAD_SECONDS = 0.75  # at first, only chunks that a reader waits for are fetched
_IDLE_SECONDS = 0.01
_TRANSIENT_CODES = (408, 425, 429)
OnProgress = Callable[[float], None]


def ignore_progress(_: float) -> None:
    """Progress callback that does nothing."""


@dataclass(frozen=True)
class Fetched:
    """Downloaded file."""

    path: Path
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class FirstResponse:
    """Connection with its first response, whose body is unread: the whole file or its first range."""

    connection: Connection
    response: httpx.Response
    byte_range: ByteRange

    @property
    def ranged(self) -> bool:
        """Whether the server supports ranges."""
        return self.response.status_code == 206


class Incoming:
    """Download that may be in progress. `source` can be read at once.

    The context manager cancels the download at its end. If the download has failed, that error is raised: errors of the
    decoder are its consequence.
    """

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
            self.finish()  # a wrong checksum is the better reason
        failed = self._error
        self._fail(Unreachable("the download was cancelled"))
        if failed and (error is None or isinstance(error, WorkerError)):
            raise failed from None

    def finish(self, on_progress: OnProgress = ignore_progress) -> Fetched:
        """Wait for the last byte. Raises a FetchError, or Retryable.

        `on_progress` gets the share downloaded (0-1). Nothing may be stored that was derived from the file before this
        returns.
        """
        while not self._ended.wait(_POLL_SECONDS):
            on_progress(self._fraction())
        if self._fetched is None:
            raise self._error or AssertionError("a download ends with a file or an error")
        return self._fetched

    def _fraction(self) -> float:
        return 0.0

    def _fail(self, error: Exception) -> None:
        """Record the first error; no effect once the download is complete."""


class CompletedDownload(Incoming):
    """Download that is complete from the start."""

    def __init__(self, download: Download, fetched: Fetched) -> None:
        super().__init__(download, fetched.path, fetched.size_bytes, fetched)


class InProgressDownload(Incoming):
    """Download over several connections, one thread each."""

    def __init__(
        self,
        download: Download,
        path: Path,
        first_response: FirstResponse,
        *,
        budget: DownloadBudget,
        retry_policy: RetryPolicy,
        connect: Callable[[], Connection],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.sparse_file = SparseFile(path, first_response.byte_range.identity.size)
        super().__init__(download, self.sparse_file.source, first_response.byte_range.identity.size)
        self._identity = first_response.byte_range.identity
        self._ranged = first_response.ranged
        self._budget = budget
        self._retry_policy = retry_policy
        self._clock = clock
        self._lock = threading.Lock()
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._hash_lock = threading.Lock()
        self._read_all, self._readahead_from = threading.Event(), self._clock() + _NO_READAHEAD_SECONDS
        self._free = bytearray(b"\1" * self.sparse_file.chunk_count)
        first = self._reserve(range(-(-first_response.byte_range.end // CHUNK_BYTES)))
        # The index of an MP4 may be at its end: the second connection begins there.
        last = self._reserve(range(max(self.sparse_file.chunk_count - 1, first.stop), self.sparse_file.chunk_count))
        count = 1 + min(MAX_CONNECTIONS - 1, -(-sum(self._free) // CHUNKS_PER_RANGE) + len(last))
        self._connections = [first_response.connection, *(connect() for _ in range(count - 1))]
        self._active = count
        for connection, chunks in zip_longest(self._connections, (first, last)[:count]):
            response = first_response.response if connection is first_response.connection else None
            threading.Thread(
                target=self._run_connection, args=(connection, chunks or None, response), name="download", daemon=True
            ).start()

    def finish(self, on_progress: OnProgress = ignore_progress) -> Fetched:
        """Wait for the last byte; from now on chunks are fetched without regard to readers."""
        self._read_all.set()
        return super().finish(on_progress)

    def _reserve(self, chunks: range) -> range:
        self._free[chunks.start : chunks.stop] = bytes(len(chunks))
        return chunks

    def _run_connection(self, connection: Connection, chunks: range | None, response: httpx.Response | None) -> None:
        """Thread of one connection: fetch range after range until none is free."""
        try:
            while (chunks := chunks or self._next_chunks()) is not None and self._error is None:
                task = _RangeTask(connection, chunks, response, self)
                self._retry_policy.run(task, lambda error: self._error is None and is_transient(error))
                chunks, response = None, None
        except OSError as error:
            self._fail(disk_error(error, self.sparse_file.source.path))
        except Exception as error:  # noqa: BLE001 - any error must reach the readers that wait for bytes
            self._fail(error)
        finally:
            connection.close()
            self._finish_worker()

    def _next_chunks(self) -> range | None:
        while True:
            with self._lock:  # one connection reserves what a reader waits for
                if self._may_reserve():
                    chunks = next_range(self._free, self.sparse_file.reader_chunks(), CHUNKS_PER_RANGE)
                    return chunks and self._reserve(chunks)
            self._read_all.wait(_IDLE_SECONDS)

    def _may_reserve(self) -> bool:
        """Whether to fetch another range: read-ahead would delay the index and the starts of the segments, so it begins
        later."""
        ahead = self._read_all.is_set() or self._clock() >= self._readahead_from
        return ahead or not any(self._free) or self._reader_waits()

    def _reader_waits(self) -> bool:
        """Whether a reader waits for a chunk that no connection fetches."""
        return any(self._free[chunk] for chunk in self.sparse_file.reader_chunks())

    def _finish_worker(self) -> None:
        """Last connection: check and publish the file."""
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
        """Hash the bytes that have arrived since the last call. Returns at once while another thread hashes; it
        includes them."""
        if self._hash_lock.acquire(blocking=False):
            try:
                while content := self.sparse_file.read(self._hashed, CHUNK_BYTES):
                    self._digest.update(content)
                    self._hashed += len(content)
            finally:
                self._hash_lock.release()

    # Interface of _RangeTask

    def range_headers(self, offset: int, end: int) -> Mapping[str, str]:
        """Headers that request a range of the same version of the file."""
        last = str(end - 1) if self._ranged else ""
        return {"Range": f"bytes={offset}-{last}", "If-Range": self._identity.validator}

    def received_range(self, response: httpx.Response, offset: int) -> ByteRange:
        """Range in a response to a request for bytes from `offset`. Raises Unreachable if it is unusable or of another
        file."""
        url = self._download.url
        check_response(response, self._download, (200, 206))
        received = parse_range(response.status_code, response.headers)
        if received is None:
            raise Unreachable(f"{redacted(url)}: invalid response to a range request", advice="try again later")
        if not received.identity.is_of(self._identity):
            raise Unreachable(
                f"{redacted(url)}: the file was changed during the download",
                advice="try again when it no longer changes",
            )
        if encodings(response):
            raise Unreachable(f"{redacted(url)}: sent compressed for a range request")
        if response.status_code == 200 and self._ranged:
            raise Unreachable(f"{redacted(url)}: sent the whole file for a range request", transient=True)
        if not received.start <= offset < received.end:
            raise Unreachable(f"{redacted(url)}: sent bytes from {received.start}, requested from {offset}")
        return received

    def count_bytes(self, size: int) -> None:
        """Count received bytes. Raises Unreachable if the download has failed or is too slow."""
        if self._error:
            raise Unreachable("the download was cancelled")
        self._budget.count(size)

    def write(self, offset: int, content: bytes) -> None:
        """Write bytes at this offset."""
        self.sparse_file.write(offset, content)

    def restart_rate(self) -> None:
        """Restart the rate window after a pause between tries."""
        self._budget.restart()

    def first_missing_byte(self, chunks: range) -> int | None:
        """Offset of the first missing byte of these chunks; None if they are complete."""
        for chunk in chunks:
            offset = chunk * CHUNK_BYTES
            offset += self.sparse_file.available(offset)
            if offset < min((chunk + 1) * CHUNK_BYTES, self.size):
                return offset
        return None


class _RangeTask:
    """Fetches one range of chunks. Called again, it resumes."""

    def __init__(
        self, connection: Connection, chunks: range, response: httpx.Response | None, file: InProgressDownload
    ) -> None:
        self._connection = connection
        self._chunks = chunks
        self._response = response
        self._file = file
        self._retrying = False

    def __call__(self) -> None:
        """Fetch until the range is complete. Raises if a try brought no byte."""
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
        """Write the bytes from `offset` to `end`; the response may contain more on both sides."""
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
    """Error of a body that ended early."""
    return Unreachable(f"{redacted(url)}: broke off after {offset} bytes ({error or 'end of stream'})", transient=True)


def is_transient(error: Exception) -> bool:
    """Whether an immediate retry may succeed."""
    return isinstance(error, FetchError) and error.transient


def retryable_if_own_store(error: Exception, download: Download) -> Exception:
    """Retryable if our own store is unavailable: that says nothing about the file. Else the same error."""
    return Retryable(f"{error}; the store is unavailable") if download.trusted and is_transient(error) else error


def check_response(response: httpx.Response, download: Download, wanted: tuple[int, ...] = (200,)) -> None:
    """Raises Unreachable unless the response has a wanted status and can be decoded; Retryable if our signed URL
    expired."""
    code, url = response.status_code, redacted(download.url)
    if download.trusted and code == 403 and b"xpired" in _first_bytes(response):  # S3's "Request has expired"
        raise Retryable(f"{url}: the signed URL has expired; a new attempt gets a new one")
    if code not in wanted:
        transient = code >= 500 or code in _TRANSIENT_CODES
        raise Unreachable(
            f"{url}: HTTP {code}, expected {wanted[0]}",
            transient=transient,
            permanent=code >= 400 and not transient,
            advice="check the URL and its permissions",
        )
    try:
        decoder(encodings(response))
    except Undecodable as error:
        advice = "serve the file uncompressed"
        raise Unreachable(f"{url}: {error}, and none was requested", transient=True, advice=advice) from None


def encodings(response: httpx.Response) -> tuple[str, ...]:
    """Codings of the body, in the order in which they were applied; empty if it is the file itself."""
    return codings(response.headers.get("content-encoding", ""))


def _first_bytes(response: httpx.Response) -> bytes:
    try:
        return next(response.iter_raw(4096), b"")
    except httpx.TransportError:
        return b""


def check_sha256(fetched: Fetched, download: Download) -> Fetched:
    """The same file. Raises ChecksumMismatch."""
    if download.sha256 and fetched.sha256 != download.sha256:
        raise ChecksumMismatch(
            f"{redacted(download.url)}: sha256 is {fetched.sha256}, expected {download.sha256}; the file was changed "
            "or the sha256 is another file's"
        )
    return fetched


def disk_error(error: OSError, path: Path) -> Exception:
    """Error of a failed write: Retryable if the disk is full."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Retryable(f"no space left for {path.name} in the scratch folder; give the worker a larger volume")
    return error
