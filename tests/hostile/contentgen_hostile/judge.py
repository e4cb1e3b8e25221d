"""Both prepare stages on a file as a worker runs them: outcome, time and memory."""

import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from contentgen_contract.names import Kind, Reason, Stage
from contentgen_contract.worker.orders import Download, Limits, StoredFile, WorkOrder
from contentgen_worker.download.fetch import DownloadLimits, Fetched, Fetcher, OnProgress
from contentgen_worker.errors import StageFailed
from contentgen_worker.files import Output
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.source import SparseFile
from contentgen_worker.media.sandbox import isolation
from contentgen_worker.prepare import lora, transcription
from contentgen_worker.progress import Fraction, Steps
from contentgen_worker.stage_context import StageContext, StageResult
from contentgen_worker.upload import Uploader

LIMITS = Limits(pixels=1920 * 1088, duration_seconds=600, frames=5000, cpu_seconds=8)
MEMORY = 1 << 30  # memory limit of the pod, in bytes
MOST_SECONDS = 600.0  # wall-clock time, for what hangs without CPU time, which has its own limit
MOST_CPU = 3 * LIMITS.cpu_seconds + 3  # probing, planning and decoding, in one process each; two cores
_SPEC = {
    Kind.LORA_TRAINING: {
        "loraName": "hostile",
        "triggerWord": "tok",
        "source": {"url": "https://example.com/file"},
        "dataset": {"minImages": 4, "maxImages": 20, "framesPerScene": 3, "resolution": 256},
    },
    Kind.TRANSCRIPTION: {"source": {"url": "https://example.com/file"}},
}
_PREPARE: dict[Kind, Callable[[StageContext], StageResult]] = {
    Kind.LORA_TRAINING: lora.prepare,
    Kind.TRANSCRIPTION: transcription.prepare,
}


@dataclass(frozen=True)
class Judgement:
    """Outcome of a file. `reason` None: an unexpected exception."""

    reason: Reason | None
    message: str
    seconds: float
    cpu_seconds: float
    peak_bytes: int
    outputs: tuple[bytes, ...]


class _LimitedContext(StageContext):
    """StageContext with a fixed memory of the pod."""

    @property
    def media_bounds(self) -> MediaLimits:
        limits = self.order.limits
        return MediaLimits(limits.pixels, limits.duration_seconds, limits.frames, limits.cpu_seconds, MEMORY)


class _Fetcher:
    """Fetcher that has the file. `coming`: it is marked complete only at `finish`, as during a download."""

    def __init__(self, content: bytes, *, coming: bool) -> None:
        self._content = content
        self._coming = coming

    def start(self, _download: Download, path: Path, _bounds: DownloadLimits, _on_progress: OnProgress) -> "_Incoming":
        return _Incoming(path, self._content, coming=self._coming)


class _Incoming:
    """Download whose bytes are all there."""

    def __init__(self, path: Path, content: bytes, *, coming: bool) -> None:
        self.size = len(content)
        self._sparse_file = SparseFile(path, self.size)
        self._sparse_file.write(0, content)
        if not coming:
            self._sparse_file.complete()
        self.source = self._sparse_file.source

    def __enter__(self) -> "_Incoming":
        return self

    def __exit__(self, *_: object) -> None:
        self._sparse_file.close()

    def finish(self) -> Fetched:
        self._sparse_file.complete()
        return Fetched(self.source.path, self.size, "0" * 64)


class _Uploader:
    """Uploader that keeps the contents in memory."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []

    def store(
        self, outputs: Sequence[Output], _fraction: Fraction, more: Callable[[], Sequence[Output]] = tuple
    ) -> tuple[StoredFile, ...]:
        everything = (*outputs, *more())
        self.contents += [_content(output) for output in everything]
        return tuple(output.stored for output in everything)


def _content(output: Output) -> bytes:
    body = output.body()
    return body if isinstance(body, bytes) else b"".join(cast("Any", body))


def judge(content: bytes, kind: Kind, *, coming: bool = False) -> Judgement:
    """Prepare a file as this kind. `coming`: as one whose download ends only after it was read."""
    folder = Path(tempfile.mkdtemp(prefix="hostile-"))
    isolation._total_usage = isolation.ChildUsage()
    start = time.monotonic()
    uploader = _Uploader()
    reason: Reason | None = None
    try:
        order = WorkOrder(
            job_id="hostile",
            kind=kind,
            stage=Stage.PREPARE,
            version=1,
            attempt=1,
            user_id="hostile",
            spec=_SPEC[kind],
            source=Download(url="https://example.com/file"),
            limits=LIMITS,
            outcome_url="https://example.com/outcome",
        )
        steps = Steps(lambda _: None)
        context = _LimitedContext(
            order,
            folder,
            cast("Fetcher", _Fetcher(content, coming=coming)),
            cast("Uploader", uploader),
            steps,
            folder / "no-model",
        )
        _PREPARE[kind](context)
        reason, message = Reason.COMPLETED, ""
    except StageFailed as error:
        reason, message = error.reason, str(error)
    except Exception as error:  # noqa: BLE001 - the defect that this test looks for
        message = f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(folder)
    used = isolation.usage()
    return Judgement(
        reason,
        message,
        round(time.monotonic() - start, 2),
        round(used.cpu_seconds, 2),
        used.peak_bytes,
        tuple(uploader.contents),
    )
