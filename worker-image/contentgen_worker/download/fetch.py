"""Downloads to a file: the operator's own URLs plainly, everybody else's through the guard.

Bytes, time and rate are bounded; what the file is, is for whoever opens it. Where the server says which file it is, the
file can be read while it comes (`incoming.py`); else it is here before anybody looks.
"""

import hashlib
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import httpx

from contentgen_contract.worker.orders import Download
from contentgen_worker.download.address_guard import AddressGuard
from contentgen_worker.download.budget import DownloadBudget, DownloadLimits
from contentgen_worker.download.connection import Connection, system_tls
from contentgen_worker.download.incoming import (
    RUN,
    CompletedDownload,
    Fetched,
    Incoming,
    InProgressDownload,
    Opened,
    Watch,
    accept,
    blamed,
    broke_off,
    check,
    disk,
    is_passing,
    no_watch,
)
from contentgen_worker.download.ranges import ByteRange, part
from contentgen_worker.errors import Empty, FetchError, shown
from contentgen_worker.media.decode.source import PIECE
from contentgen_worker.retry import SOURCE, STORE, RetryPolicy

__all__ = ["DownloadLimits", "Fetched", "Fetcher", "Incoming", "Watch", "no_watch", "system_tls"]


class Fetcher:
    """Fetches files into the scratch folder."""

    def __init__(self, guard: AddressGuard, *, source: RetryPolicy = SOURCE, store: RetryPolicy = STORE) -> None:
        self._guard = guard
        self._source = source
        self._store = store

    def fetch(self, download: Download, to: Path, bounds: DownloadLimits, watch: Watch = no_watch) -> Fetched:
        """The file at a URL. Raises a FetchError, or Retryable where our own store is away."""
        with self.begin(download, to, bounds, watch) as incoming:
            return incoming.finish(watch)

    def begin(self, download: Download, to: Path, bounds: DownloadLimits, watch: Watch = no_watch) -> Incoming:
        """The file, as soon as it can be read: at the first answer, or when all is here, which `watch` then sees.
        Raises as `fetch` does."""
        patience = self._store if download.trusted else self._source
        guard = None if download.trusted else self._guard
        start = _Start(download, to, DownloadBudget(download.url, bounds), patience, guard, watch)
        try:
            return patience.run(start, is_passing)
        except FetchError as error:
            raise blamed(error, download) from None


@dataclass(frozen=True)
class _Start:
    """The first request for a file, and what its answer makes possible."""

    download: Download
    to: Path
    meter: DownloadBudget
    patience: RetryPolicy
    guard: AddressGuard | None
    watch: Watch

    def __call__(self) -> Incoming:
        self.meter.restart()
        with ExitStack() as stack:
            lane = Connection(self.download.url, self.guard, self.meter)
            stack.callback(lane.close)
            response = lane.get({"Range": f"bytes=0-{RUN * PIECE - 1}"})
            if first := self._first(response):
                opened = Opened(lane, response, first)
                growing = InProgressDownload(
                    self.download, self.to, opened, meter=self.meter, patience=self.patience, more=self._another_lane
                )
                stack.pop_all()
                return growing
            return self._landed(self._all(lane, response))

    def _another_lane(self) -> Connection:
        return Connection(self.download.url, self.guard, self.meter)

    def _first(self, response: httpx.Response) -> ByteRange | None:
        """Where the file begins, and whose parts can be told from those of another."""
        found = part(response.status_code, response.headers)
        if found is None or found.start or not found.end or not found.identity.validator:
            return None
        accept(response, self.download, (200, 206))
        self.meter.fits(found.identity.size)
        return found

    def _all(self, lane: Connection, response: httpx.Response) -> httpx.Response:
        """The answer to a plain GET, where the one to a range is of no use."""
        if response.status_code not in (206, 416):
            return response
        response.close()
        if response.headers.get("content-range", "").endswith("*/0"):
            raise _empty(self.download)
        return lane.get({})

    def _landed(self, response: httpx.Response) -> Incoming:
        with closing(response):
            accept(response, self.download)
            return CompletedDownload(self.download, check(self._saved(response), self.download))

    def _saved(self, response: httpx.Response) -> Fetched:
        expected = int(response.headers.get("content-length") or 0)
        self.meter.fits(expected)
        digest, total = hashlib.sha256(), 0
        try:
            with self.to.open("wb") as file:
                for chunk in response.iter_raw():
                    total += len(chunk)
                    self.meter.fits(total, more=True)
                    self.meter.count(len(chunk))
                    digest.update(chunk)
                    file.write(chunk)
                    if expected:
                        self.watch(total / expected)
        except httpx.TransportError as error:
            raise broke_off(self.download.url, total, error) from None
        except OSError as error:
            raise disk(error, self.to) from None
        if not total:
            raise _empty(self.download)
        return Fetched(self.to, total, digest.hexdigest())


def _empty(download: Download) -> Empty:
    return Empty(f"{shown(download.url)}: 0 bytes; check that the upload of the file was finished")
