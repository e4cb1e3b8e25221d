"""Inputs and services of a stage, and its result."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contentgen_contract.names import Reason
from contentgen_contract.worker.orders import Download, Facts, StoredFile, WorkOrder
from contentgen_worker.download.fetch import DownloadLimits, Fetched, Fetcher, Incoming, OnProgress, ignore_progress
from contentgen_worker.error_mapping import RESULT, SOURCE, stage_failures
from contentgen_worker.errors import FetchError, OwnFileMissing, Retryable, StageFailed
from contentgen_worker.files import Output
from contentgen_worker.media.decode.bounds import MediaLimits, pod_memory
from contentgen_worker.progress import Fraction, Steps
from contentgen_worker.upload import Uploader

_RESPONSE_BYTES = 256 << 20  # of a provider's JSON; 12 hours of speech are about 30 MB


@dataclass(frozen=True)
class StageResult:
    """Stored files and facts of a completed stage."""

    files: tuple[StoredFile, ...]
    facts: Facts


@dataclass(frozen=True)
class StageContext:
    """Work order and the services that a stage uses. `scratch`: private folder of this run."""

    order: WorkOrder
    scratch: Path
    fetcher: Fetcher
    uploader: Uploader
    steps: Steps
    vision_model: Path

    @property
    def media_bounds(self) -> MediaLimits:
        """Limits for decoding untrusted media."""
        limits = self.order.limits
        return MediaLimits(limits.pixels, limits.duration_seconds, limits.frames, limits.cpu_seconds, pod_memory())

    def start_source_download(self, on_progress: OnProgress) -> Incoming:
        """Start downloading the user's source; returns a context manager that can be read at once.

        Call `finish` before storing anything derived from it: only then is the file known to be complete. Raises
        StageFailed, or Retryable if the order has no source.
        """
        if self.order.source is None:
            raise Retryable("the work order names no source; operator and worker may differ in version")
        limits = self.order.limits
        bounds = DownloadLimits(limits.download_bytes, limits.download_seconds)
        with stage_failures(SOURCE, "spec.source.url"):
            return self.fetcher.start(self.order.source, self.scratch / "source", bounds, on_progress)

    def fetch_result(
        self, url: str, name: str, max_bytes: int | None = None, on_progress: OnProgress = ignore_progress
    ) -> Fetched:
        """Download a file named in the provider's response, which is untrusted like a user's URL.

        `max_bytes`: default is the order's limit for results. Raises StageFailed.
        """
        bounds = DownloadLimits(max_bytes or self.order.limits.result_bytes, self.order.limits.download_seconds)
        with stage_failures(RESULT, f"the provider's {name}"):
            return self.fetcher.fetch(Download(url=url), self.scratch / name, bounds, on_progress)

    def fetch_stored(self, download: Download, name: str) -> Fetched:
        """Download a file of an earlier stage from our own store. Raises OwnFileMissing."""
        bounds = DownloadLimits(self.order.limits.result_bytes, self.order.limits.download_seconds)
        try:
            return self.fetcher.fetch(download, self.scratch / name, bounds)
        except FetchError as error:
            raise OwnFileMissing(f"our own {name}: {error}; are the bucket and its files as they were?") from None

    def provider_response(self) -> dict[str, Any]:
        """The provider's JSON response as the operator stored it. Raises StageFailed, or Retryable if there is none."""
        if self.order.result is None:
            raise Retryable("the work order names no result; operator and worker may differ in version")
        file = self.fetch_stored(self.order.result, "answer.json")
        if file.size_bytes > _RESPONSE_BYTES:
            raise StageFailed(Reason.RESULT_INVALID, f"the provider's answer has more than {_RESPONSE_BYTES} bytes")
        try:
            response = json.loads(file.path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise StageFailed(Reason.RESULT_INVALID, f"the provider's answer is not JSON ({error})") from None
        if not isinstance(response, dict):
            raise StageFailed(Reason.RESULT_INVALID, "the provider's answer is not a JSON object")
        return response

    def store(
        self, outputs: Sequence[Output], fraction: Fraction, make_rest: Callable[[], Sequence[Output]] = tuple
    ) -> tuple[StoredFile, ...]:
        """Upload the outputs; `make_rest` produces further outputs meanwhile. Raises Retryable."""
        stored = self.uploader.store(outputs, fraction, make_rest)
        self.steps.note(files=len(stored), bytes=sum(file.size_bytes for file in stored))
        return stored
