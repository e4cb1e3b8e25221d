"""Inputs and services of a stage, and its result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from contentgen_contract.base import Manifest
from contentgen_contract.worker.orders import Download, Facts, Outcome, StoredFile, WorkOrder
from contentgen_worker.download import data_url
from contentgen_worker.download.fetch import DownloadLimits, Fetched, Fetcher, Incoming, OnProgress, ignore_progress
from contentgen_worker.error_mapping import RESULT, SOURCE, stage_failures
from contentgen_worker.errors import FetchError, OwnFileMissing, Retryable, StageFailed
from contentgen_worker.files import Output
from contentgen_worker.log import event
from contentgen_worker.media.decode.bounds import MediaLimits, pod_memory
from contentgen_worker.progress import Fraction, Steps
from contentgen_worker.upload import Uploader

S = TypeVar("S", bound=Manifest)


@dataclass(frozen=True)
class StageResult:
    """Stored files and facts of a stage. `unfinished`: failure of the rest, which a later attempt may store."""

    files: tuple[StoredFile, ...]
    facts: Facts
    unfinished: StageFailed | None = None


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

    def spec(self, kind: type[S]) -> S:
        """The resource's spec. Raises Retryable if it can't be read."""
        try:
            return kind.model_validate(self.order.spec)
        except ValidationError as error:
            raise Retryable(f"the work order's spec can't be read ({error.title}); versions may differ") from None

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
        """Download a file named in the provider's response, which is untrusted like a user's URL, or contained in it.

        `max_bytes`: default is the order's limit for results. Raises StageFailed.
        """
        bounds = DownloadLimits(max_bytes or self.order.limits.result_bytes, self.order.limits.download_seconds)
        with stage_failures(RESULT, f"the provider's {name}"):
            if data_url.is_one(url):
                return data_url.save(url, self.scratch / name, bounds.max_bytes)
            return self.fetcher.fetch(Download(url=url), self.scratch / name, bounds, on_progress)

    def fetch_stored(self, download: Download, name: str) -> Fetched:
        """Download a file of an earlier stage from our own store. Raises OwnFileMissing."""
        bounds = DownloadLimits(self.order.limits.result_bytes, self.order.limits.download_seconds)
        try:
            return self.fetcher.fetch(download, self.scratch / name, bounds)
        except FetchError as error:
            raise OwnFileMissing(f"our own {name}: {error}; are the bucket and its files as they were?") from None

    def earlier_outcome(self) -> Outcome | None:
        """Outcome of an earlier attempt that stored a part of the outputs; None if there is none."""
        if self.order.earlier is None:
            return None
        try:  # untrusted: a pod of the user's namespace may have stored it; the operator checks the files it lists
            return Outcome.model_validate_json(self.fetch_stored(self.order.earlier, "earlier.json").path.read_bytes())
        except (OwnFileMissing, ValidationError) as error:
            event("left out", error=f"earlier outcome: {type(error).__name__}")
            return None

    def store(
        self, outputs: Sequence[Output], fraction: Fraction, make_rest: Callable[[], Sequence[Output]] = tuple
    ) -> tuple[StoredFile, ...]:
        """Upload the outputs; `make_rest` produces further outputs meanwhile. Raises Retryable."""
        stored = self.uploader.store(outputs, fraction, make_rest)
        self.steps.note(files=len(stored), bytes=sum(file.size_bytes for file in stored))
        return stored
