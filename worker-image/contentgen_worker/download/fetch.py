"""Downloads to files: our own URLs directly, all others through the address guard.

If the server supports ranges and identifies the file, the file can be read while it is downloaded (`incoming.py`); else
it is complete before it is read. Content is not inspected here.
"""

import hashlib
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import httpx

from contentgen_contract.worker.orders import Download
from contentgen_worker.download.address_guard import AddressGuard
from contentgen_worker.download.budget import DownloadBudget, DownloadLimits
from contentgen_worker.download.connection import Connection
from contentgen_worker.download.content_encoding import Undecodable, decoder
from contentgen_worker.download.incoming import (
    CHUNKS_PER_RANGE,
    CompletedDownload,
    Fetched,
    FirstResponse,
    Incoming,
    InProgressDownload,
    OnProgress,
    check_response,
    check_sha256,
    disk_error,
    encodings,
    ignore_progress,
    interrupted,
    is_transient,
    retryable_if_own_store,
)
from contentgen_worker.download.ranges import ByteRange, parse_range
from contentgen_worker.errors import Empty, FetchError, Unreachable, redacted
from contentgen_worker.media.decode.source import CHUNK_BYTES
from contentgen_worker.network import WorkerNetwork
from contentgen_worker.retry import SOURCE, STORE, RetryPolicy

__all__ = ["DownloadLimits", "Fetched", "Fetcher", "Incoming", "OnProgress", "ignore_progress"]


class Fetcher:
    """Downloads files into the scratch folder."""

    def __init__(
        self,
        guard: AddressGuard,
        *,
        source: RetryPolicy = SOURCE,
        store: RetryPolicy = STORE,
        network: WorkerNetwork | None = None,
    ) -> None:
        self._guard = guard
        self._network = network or WorkerNetwork()
        self._source = source
        self._store = store

    def fetch(
        self, download: Download, to: Path, bounds: DownloadLimits, on_progress: OnProgress = ignore_progress
    ) -> Fetched:
        """Download the whole file. Raises a FetchError, or Retryable if our own store is unavailable."""
        with self.start(download, to, bounds, on_progress) as incoming:
            return incoming.finish(on_progress)

    def start(
        self, download: Download, to: Path, bounds: DownloadLimits, on_progress: OnProgress = ignore_progress
    ) -> Incoming:
        """Start a download and return it once it can be read.

        That is at the first response, or after the whole file if the server supports no ranges; `on_progress` gets the
        share done in that case. Raises as `fetch` does.
        """
        retry_policy = self._store if download.trusted else self._source
        guard = None if download.trusted else self._guard
        budget = DownloadBudget(download.url, bounds)
        start = _FirstRequest(download, to, budget, retry_policy, guard, on_progress, self._network)
        try:
            return retry_policy.run(start, is_transient)
        except FetchError as error:
            raise retryable_if_own_store(error, download) from None


@dataclass(frozen=True)
class _FirstRequest:
    """First request of a download; its response decides between parallel ranges and one plain GET."""

    download: Download
    to: Path
    budget: DownloadBudget
    retry_policy: RetryPolicy
    guard: AddressGuard | None
    on_progress: OnProgress
    network: WorkerNetwork

    def __call__(self) -> Incoming:
        self.budget.restart()
        with ExitStack() as stack:
            connection = self._connect()
            stack.callback(connection.close)
            response = connection.get({"Range": f"bytes=0-{CHUNKS_PER_RANGE * CHUNK_BYTES - 1}"})
            if first := self._usable_range(response):
                first_response = FirstResponse(connection, response, first)
                in_progress = InProgressDownload(
                    self.download,
                    self.to,
                    first_response,
                    budget=self.budget,
                    retry_policy=self.retry_policy,
                    connect=self._connect,
                )
                stack.pop_all()
                return in_progress
            return self._completed(self._plain_response(connection, response))

    def _connect(self) -> Connection:
        return Connection(self.download.url, self.guard, self.budget, self.network)

    def _usable_range(self, response: httpx.Response) -> ByteRange | None:
        """Range of the response if it begins the file and has a validator for further ranges; else None."""
        received = parse_range(response.status_code, response.headers)
        if received is None or received.start or not received.end or not received.identity.validator:
            return None
        if encodings(response):
            return None  # ranges are of the encoded bytes
        check_response(response, self.download, (200, 206))
        self.budget.check_size(received.identity.size)
        return received

    def _plain_response(self, connection: Connection, response: httpx.Response) -> httpx.Response:
        """Response to a plain GET, if the one to a range is unusable."""
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
        digest, received, total, body = hashlib.sha256(), 0, 0, decoder(encodings(response))
        try:
            with self.to.open("wb") as file:
                for data in response.iter_raw():
                    received += len(data)
                    self.budget.check_size(received, at_least=True)
                    self.budget.count(len(data))
                    for decoded in body.decode(data):
                        total += len(decoded)
                        self.budget.check_size(total, at_least=True)
                        digest.update(decoded)
                        file.write(decoded)
                    if expected:
                        self.on_progress(received / expected)
            body.finish()
        except httpx.TransportError as error:
            raise interrupted(self.download.url, received, error) from None
        except Undecodable as error:
            raise Unreachable(f"{redacted(self.download.url)}: {error}", transient=True) from None
        except OSError as error:
            raise disk_error(error, self.to) from None
        if not total:
            raise _empty_error(self.download)
        return Fetched(self.to, total, digest.hexdigest())


def _empty_error(download: Download) -> Empty:
    return Empty(f"{redacted(download.url)}: 0 bytes", advice="check that the upload of the file was finished")
