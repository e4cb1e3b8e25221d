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
    CHUNKS_PER_RANGE,
    CompletedDownload,
    Fetched,
    Incoming,
    InProgressDownload,
    OnProgress,
    Opened,
    check_response,
    check_sha256,
    disk_error,
    ignore_progress,
    interrupted,
    is_transient,
    retryable_if_own_store,
)
from contentgen_worker.download.ranges import ByteRange, parse_range
from contentgen_worker.errors import Empty, FetchError, redacted
from contentgen_worker.media.decode.source import CHUNK_BYTES
from contentgen_worker.retry import SOURCE, STORE, RetryPolicy

__all__ = ["DownloadLimits", "Fetched", "Fetcher", "Incoming", "OnProgress", "ignore_progress", "system_tls"]


class Fetcher:
    """Fetches files into the scratch folder."""

    def __init__(self, guard: AddressGuard, *, source: RetryPolicy = SOURCE, store: RetryPolicy = STORE) -> None:
        self._guard = guard
        self._source = source
        self._store = store

    def fetch(
        self, download: Download, to: Path, bounds: DownloadLimits, on_progress: OnProgress = ignore_progress
    ) -> Fetched:
        """The file at a URL. Raises a FetchError, or Retryable where our own store is away."""
        with self.start(download, to, bounds, on_progress) as incoming:
            return incoming.finish(on_progress)

    def start(
        self, download: Download, to: Path, bounds: DownloadLimits, on_progress: OnProgress = ignore_progress
    ) -> Incoming:
        """The file, as soon as it can be read: at the first answer, or when all is here, which `on_progress` then sees.
        Raises as `fetch` does."""
        retry_policy = self._store if download.trusted else self._source
        guard = None if download.trusted else self._guard
        start = _FirstRequest(download, to, DownloadBudget(download.url, bounds), retry_policy, guard, on_progress)
        try:
            return retry_policy.run(start, is_transient)
        except FetchError as error:
            raise retryable_if_own_store(error, download) from None


@dataclass(frozen=True)
class _FirstRequest:
    """The first request for a file, and what its answer makes possible."""

    download: Download
    to: Path
    budget: DownloadBudget
    retry_policy: RetryPolicy
    guard: AddressGuard | None
    on_progress: OnProgress

    def __call__(self) -> Incoming:
        self.budget.restart()
        with ExitStack() as stack:
            connection = Connection(self.download.url, self.guard, self.budget)
            stack.callback(connection.close)
            response = connection.get({"Range": f"bytes=0-{CHUNKS_PER_RANGE * CHUNK_BYTES - 1}"})
            if first := self._usable_range(response):
                opened = Opened(connection, response, first)
                in_progress = InProgressDownload(
                    self.download,
                    self.to,
                    opened,
                    budget=self.budget,
                    retry_policy=self.retry_policy,
                    connect=self._connect,
                )
                stack.pop_all()
                return in_progress
            return self._completed(self._plain_response(connection, response))

    def _connect(self) -> Connection:
        return Connection(self.download.url, self.guard, self.budget)

    def _usable_range(self, response: httpx.Response) -> ByteRange | None:
        """Where the file begins, and whose parts can be told from those of another."""
        received = parse_range(response.status_code, response.headers)
        if received is None or received.start or not received.end or not received.identity.validator:
            return None
        check_response(response, self.download, (200, 206))
        self.budget.check_size(received.identity.size)
        return received

    def _plain_response(self, connection: Connection, response: httpx.Response) -> httpx.Response:
        """The answer to a plain GET, where the one to a range is of no use."""
        if response.status_code not in (206, 416):
            return response
        response.close()
        if response.headers.get("content-range", "").endswith("*/0"):
            raise _empty_error(self.download)
        return connection.get({})

    def _completed(self, response: httpx.Response) -> Incoming:
        with closing(response):
            check_response(response, self.download)
            return CompletedDownload(self.download, check_sha256(self._save(response), self.download))

    def _save(self, response: httpx.Response) -> Fetched:
        expected = int(response.headers.get("content-length") or 0)
        self.budget.check_size(expected)
        digest, total = hashlib.sha256(), 0
        try:
            with self.to.open("wb") as file:
                for data in response.iter_raw():
                    total += len(data)
                    self.budget.check_size(total, at_least=True)
                    self.budget.count(len(data))
                    digest.update(data)
                    file.write(data)
                    if expected:
                        self.on_progress(total / expected)
        except httpx.TransportError as error:
            raise interrupted(self.download.url, total, error) from None
        except OSError as error:
            raise disk_error(error, self.to) from None
        if not total:
            raise _empty_error(self.download)
        return Fetched(self.to, total, digest.hexdigest())


def _empty_error(download: Download) -> Empty:
    return Empty(f"{redacted(download.url)}: 0 bytes; check that the upload of the file was finished")
