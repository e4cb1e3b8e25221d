"""What a stage works with, and what it hands back."""

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

_RESPONSE_BYTES = 256 << 20  # of a provider's JSON; 12 hours of words are about 30 MB


@dataclass(frozen=True)
class StageResult:
    """What a stage stored and found out."""

    files: tuple[StoredFile, ...]
    facts: Facts


@dataclass(frozen=True)
class StageContext:
    """The order, and the tools to carry it out. `scratch` is this run's own folder."""

    order: WorkOrder
    scratch: Path
    fetcher: Fetcher
    uploader: Uploader
    steps: Steps
    vision_model: Path

    @property
    def media_bounds(self) -> MediaLimits:
        """What a decoder is let near."""
        limits = self.order.limits
        return MediaLimits(limits.pixels, limits.duration_seconds, limits.frames, limits.cpu_seconds, pod_memory())

    def start_source_download(self, on_progress: OnProgress) -> Incoming:
        """The user's recording, which may still be coming; a context manager. Nothing may be stored before it is all
        here, as its `finish` says."""
        if self.order.source is None:
            raise Retryable("the work order names no source; operator and worker may differ in version")
        limits = self.order.limits
        bounds = DownloadLimits(limits.download_bytes, limits.download_seconds)
        with stage_failures(SOURCE, "spec.source.url"):
            return self.fetcher.start(self.order.source, self.scratch / "source", bounds, on_progress)

    def fetch_result(
        self, url: str, name: str, max_bytes: int | None = None, on_progress: OnProgress = ignore_progress
    ) -> Fetched:
        """A file that the provider's answer names: as untrusted as a user's."""
        bounds = DownloadLimits(max_bytes or self.order.limits.result_bytes, self.order.limits.download_seconds)
        with stage_failures(RESULT, f"the provider's {name}"):
            return self.fetcher.fetch(Download(url=url), self.scratch / name, bounds, on_progress)

    def fetch_stored(self, download: Download, name: str) -> Fetched:
        """A file of an earlier stage, from our own store. Raises OwnFileMissing: it is nobody else's fault."""
        bounds = DownloadLimits(self.order.limits.result_bytes, self.order.limits.download_seconds)
        try:
            return self.fetcher.fetch(download, self.scratch / name, bounds)
        except FetchError as error:
            raise OwnFileMissing(f"our own {name}: {error}; are the bucket and its files as they were?") from None

    def provider_response(self) -> dict[str, Any]:
        """The provider's JSON as the operator stored it."""
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
        """Store the stage's files; `make_rest` makes the last of them meanwhile."""
        stored = self.uploader.store(outputs, fraction, make_rest)
        self.steps.note(files=len(stored), bytes=sum(file.size_bytes for file in stored))
        return stored
