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
from contentgen_worker.download.ranges import ByteRange, next_run, part
from contentgen_worker.errors import BadMedia, ChecksumMismatch, FetchError, Retryable, Unreachable, WorkerError, shown
from contentgen_worker.media.decode.source import PIECE, Growth, MediaSource
from contentgen_worker.retry import RetryPolicy

RUN = 2  # pieces that are asked for at once: what a reader waits for begins when the first lane is through with its own
LANES = 4
_LOOK = 0.25  # seconds
_FIRST = 0.75  # seconds in which nothing is brought but what a reader waits for
_GLANCE = 0.01  # seconds
_PASSING_CODES = (408, 425, 429)
Watch = Callable[[float], None]


def no_watch(_: float) -> None:
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

    lane: Connection
    response: httpx.Response
    part: ByteRange

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
        self._over = threading.Event()
        if fetched:
            self._over.set()

    def __enter__(self) -> "Incoming":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, BadMedia) and self._download.sha256:
            self.finish()  # another file than the one asked for is the better reason
        failed = self._error
        self._fail(Unreachable("the download was given up"))
        if failed and (error is None or isinstance(error, WorkerError)):
            raise failed from None

    def finish(self, watch: Watch = no_watch) -> Fetched:
        """Wait for the last byte. Raises a FetchError, or Retryable; nothing may be made of the file before it."""
        while not self._over.wait(_LOOK):
            watch(self._share())
        if self._fetched is None:
            raise self._error or AssertionError("a download ends with a file or an error")
        return self._fetched

    def _share(self) -> float:
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
        meter: DownloadBudget,
        patience: RetryPolicy,
        more: Callable[[], Connection],
    ) -> None:
        self.growth = Growth(path, opened.part.identity.size)
        super().__init__(download, self.growth.source, opened.part.identity.size)
        self._identity = opened.part.identity
        self._ranged = opened.ranged
        self._meter = meter
        self._patience = patience
        self._changes = threading.Lock()
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._hashing = threading.Lock()
        self._hurry, self._ahead_from = threading.Event(), time.monotonic() + _FIRST
        self._free = bytearray(b"\1" * self.growth.pieces)
        first = self._taken(range(-(-opened.part.end // PIECE)))
        # The index of an MP4 may be at its end: the second lane begins there.
        last = self._taken(range(max(self.growth.pieces - 1, first.stop), self.growth.pieces))
        count = 1 + min(LANES - 1, -(-sum(self._free) // RUN) + len(last))
        self._lanes = [opened.lane, *(more() for _ in range(count - 1))]
        self._working = count
        for lane, run in zip_longest(self._lanes, (first, last)[:count]):
            answer = opened.response if lane is opened.lane else None
            threading.Thread(target=self._work, args=(lane, run or None, answer), name="download", daemon=True).start()

    def finish(self, watch: Watch = no_watch) -> Fetched:
        """As any file's; from now on its parts may come in any order."""
        self._hurry.set()
        return super().finish(watch)

    def _taken(self, run: range) -> range:
        self._free[run.start : run.stop] = bytes(len(run))
        return run

    def _work(self, lane: Connection, run: range | None, answer: httpx.Response | None) -> None:
        """A lane's life: run after run, until none is free."""
        try:
            while (run := run or self._next()) is not None and self._error is None:
                errand = _RangeTask(lane, run, answer, self)
                self._patience.run(errand, lambda error: self._error is None and is_passing(error))
                run, answer = None, None
        except OSError as error:
            self._fail(disk(error, self.growth.source.path))
        except Exception as error:  # noqa: BLE001 - whatever ends a lane must end those who wait for its bytes
            self._fail(error)
        finally:
            lane.close()
            self._leave()

    def _next(self) -> range | None:
        while True:
            with self._changes:  # what one reader waits for is one lane's
                if self._may_go_on():
                    run = next_run(self._free, self.growth.readers(), RUN)
                    return run and self._taken(run)
            self._hurry.wait(_GLANCE)

    def _may_go_on(self) -> bool:
        """At first nothing is read ahead: it would stand in the way of the index, and of where the segments begin."""
        ahead = self._hurry.is_set() or time.monotonic() >= self._ahead_from
        return ahead or not any(self._free) or self._awaited()

    def _awaited(self) -> bool:
        """Somebody reads what no lane brings."""
        return any(self._free[piece] for piece in self.growth.readers())

    def _leave(self) -> None:
        """The last lane leaves a file."""
        with self._changes:
            self._working -= 1
            if self._working:
                return
        try:
            if self._error is None:
                self.advance()
                fetched = Fetched(self.growth.source.path, self.size, self._digest.hexdigest())
                self._fetched = check(fetched, self._download)
                self.growth.complete()
                self._over.set()
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)
        finally:
            self.growth.close()

    def _fail(self, error: Exception) -> None:
        with self._changes:
            if self._over.is_set():
                return
            self._error = blamed(error, self._download)
            self.growth.fail()
            self._over.set()
        self._hurry.set()
        for lane in self._lanes:
            lane.end()

    def _share(self) -> float:
        return self._hashed / self.size

    def advance(self) -> None:
        """Hash what has come in order. Whoever finds another at it goes on: that one takes it along, or the next."""
        if self._hashing.acquire(blocking=False):
            try:
                while content := self.growth.read(self._hashed, PIECE):
                    self._digest.update(content)
                    self._hashed += len(content)
            finally:
                self._hashing.release()

    # What an errand needs

    def question(self, at: int, end: int) -> Mapping[str, str]:
        """Asks for bytes of the same file only."""
        last = str(end - 1) if self._ranged else ""
        return {"Range": f"bytes={at}-{last}", "If-Range": self._identity.validator}

    def answered(self, response: httpx.Response, at: int) -> ByteRange:
        """What came for bytes from `at` on. Raises where it is of another file, or of no use."""
        url = self._download.url
        accept(response, self._download, (200, 206))
        found = part(response.status_code, response.headers)
        if found is None:
            raise Unreachable(f"{shown(url)}: answered a range in a way that can't be understood; try again later")
        if not found.identity.is_of(self._identity):
            raise Unreachable(f"{shown(url)}: the file was changed while it came down; try again when it stays")
        if response.status_code == 200 and self._ranged:
            raise Unreachable(f"{shown(url)}: sent the whole file, asked for a part of it", passing=True)
        if not found.start <= at < found.end:
            raise Unreachable(f"{shown(url)}: sent bytes from {found.start}, asked for those from {at}")
        return found

    def arrived(self, size: int) -> None:
        """So many bytes have come. Raises where no more are wanted, or they come too slowly."""
        if self._error:
            raise Unreachable("the download was given up")
        self._meter.count(size)

    def keep(self, at: int, content: bytes) -> None:
        """Bytes of the file."""
        self.growth.write(at, content)

    def resume(self) -> None:
        """After a pause, which was nobody's slowness."""
        self._meter.restart()

    def missing_from(self, run: range) -> int | None:
        """The first byte of a run that is not here."""
        for piece in run:
            at = piece * PIECE
            at += self.growth.there(at)
            if at < min((piece + 1) * PIECE, self.size):
                return at
        return None


class _RangeTask:
    """Bringing one run. Called again, it continues where it broke off."""

    def __init__(self, lane: Connection, run: range, answer: httpx.Response | None, file: InProgressDownload) -> None:
        self._lane = lane
        self._run = run
        self._answer = answer
        self._file = file
        self._again = False

    def __call__(self) -> None:
        """Until the run is here. Raises where a try brought nothing."""
        if self._again:
            self._file.resume()
        self._again = True
        while (at := self._file.missing_from(self._run)) is not None:
            try:
                self._try(at)
            except Unreachable as error:
                if not error.passing or self._file.missing_from(self._run) == at:
                    raise
        self._file.advance()

    def _try(self, at: int) -> None:
        answer, self._answer = self._answer, None
        end = min(self._run.stop * PIECE, self._file.size)
        response = answer or self._lane.get(self._file.question(at, end))
        with closing(response):
            found = self._file.answered(response, at)
            self._read(response, found, at, min(end, found.end))

    def _read(self, response: httpx.Response, found: ByteRange, at: int, end: int) -> None:
        """Keep what lies from `at` to `end`: an answer may hold more on both sides."""
        here = found.start
        try:
            for chunk in response.iter_raw():
                self._file.arrived(len(chunk))
                if wanted := chunk[max(at - here, 0) : max(end - here, 0)]:
                    self._file.keep(max(at, here), wanted)
                here += len(chunk)
                if here >= end < found.end:
                    return
        except httpx.TransportError as error:
            raise broke_off(response.url, here, error) from None
        if here != found.end:
            raise broke_off(response.url, here, None)


def broke_off(url: object, at: int, error: Exception | None) -> Unreachable:
    """For a body that ends before its end."""
    return Unreachable(f"{shown(url)}: broke off after {at} bytes ({error or 'it ended'})", passing=True)


def is_passing(error: Exception) -> bool:
    """Whether another try may help."""
    return isinstance(error, FetchError) and error.passing


def blamed(error: Exception, download: Download) -> Exception:
    """What follows from it: that our own store is away is no verdict about anybody's file."""
    return Retryable(f"{error}; the store is away") if download.trusted and is_passing(error) else error


def accept(response: httpx.Response, download: Download, wanted: tuple[int, ...] = (200,)) -> None:
    """Raises Unreachable unless the answer is one that was asked for."""
    code, url = response.status_code, shown(download.url)
    if download.trusted and code == 403 and b"xpired" in _start(response):  # S3's "Request has expired"
        raise Retryable(f"{url}: the signed URL has expired; a new attempt gets a new one")
    if code not in wanted:
        text = f"{url}: HTTP {code}, expected {wanted[0]}; check the URL and who may read it"
        passing = code >= 500 or code in _PASSING_CODES
        raise Unreachable(text, passing=passing, final=code >= 400 and not passing)
    if response.headers.get("content-encoding", "identity") != "identity":
        raise Unreachable(f"{url}: sent compressed although not asked to; serve the file as it is")


def _start(response: httpx.Response) -> bytes:
    try:
        return next(response.iter_raw(4096), b"")
    except httpx.TransportError:
        return b""


def check(fetched: Fetched, download: Download) -> Fetched:
    """The same. Raises ChecksumMismatch."""
    if download.sha256 and fetched.sha256 != download.sha256:
        raise ChecksumMismatch(
            f"{shown(download.url)}: sha256 is {fetched.sha256}, expected {download.sha256}; the file was changed or "
            "the sha256 is another file's"
        )
    return fetched


def disk(error: OSError, path: Path) -> Exception:
    """For a file that can't be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Retryable(f"no space left for {path.name} in the scratch folder; give the worker a larger volume")
    return error
