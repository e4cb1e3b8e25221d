"""Analysis of one segment in a child process: decode, detect boundaries, choose frames, encode them, send the
results."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from av.container import InputContainer

from contentgen_contract.resources.spec import Detector, SceneDetection, Speed
from contentgen_worker.media.codec import transferable
from contentgen_worker.media.decode.aperture import clean_aperture
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.decode import Segment, frames, video_stream
from contentgen_worker.media.decode.planes import Aperture, Plane, Shape, luma, shown
from contentgen_worker.media.decode.probe import open_media
from contentgen_worker.media.decode.source import MediaSource
from contentgen_worker.media.select.borders import BorderFinder
from contentgen_worker.media.select.picture import EncodedPicture, PictureSettings, encode_picture
from contentgen_worker.media.shots.adaptive import Adaptive, SampledSecond
from contentgen_worker.media.shots.best import BestFrames, FrameCandidate, FramePlan
from contentgen_worker.media.shots.boundaries import REACH, Boundary, BoundaryDetector, SparseDetector, ThumbnailBuffer
from contentgen_worker.media.shots.boundary_detector import AutoDetector
from contentgen_worker.media.shots.segments import LONGEST_FRAME, cores, indexed_seconds, plan_segments, span

_REPORT_INTERVAL = 0.25  # seconds of wall-clock time
_FIRST_BORDER_INTERVAL, _LAST_BORDER_INTERVAL = 0.3, 2.0  # seconds between border checks; the interval grows


@dataclass(frozen=True, slots=True)
class Task:
    """Parameters of an analysis."""

    source: Path | MediaSource
    bounds: MediaLimits
    detection: SceneDetection
    plan: FramePlan
    picture: PictureSettings
    fps: float = 25.0
    min_shot_seconds: float = 0.0  # seconds
    speed: Speed = Speed.EXACT
    ranges: tuple[tuple[float, float], ...] = ()  # seconds from which frames are taken; empty: all

    def in_ranges(self, start: float, end: float) -> bool:
        """Whether the interval of seconds overlaps the requested time ranges."""
        return not self.ranges or any(first <= end and start <= last for first, last in self.ranges)

    def wanted_seconds(self, length: float) -> float:
        """Seconds within the requested time ranges, of a recording of this length."""
        return sum(max(min(end, length) - start, 0.0) for start, end in self.ranges) or length

    def detector(self) -> BoundaryDetector:
        """New detector in its initial state."""
        if self.detection.detector is Detector.AUTO:
            return SparseDetector(AutoDetector(), 1 / self.fps) if self.speed is Speed.FAST else AutoDetector()
        from contentgen_worker.media.shots.pyscenedetect import make_detector  # noqa: PLC0415 - loading takes a second, and it is rarely used

        return make_detector(self.detection, self.fps)


@transferable
@dataclass(frozen=True, slots=True)
class PictureLength:
    """Seconds of the recording's pictures by its index; sent before the segments, if there is an index of all of it."""

    seconds: float

    def __post_init__(self) -> None:
        if not 0 < self.seconds < inf:
            raise ValueError(f"pictures of {self.seconds} s")


@transferable
@dataclass(frozen=True, slots=True)
class SegmentProgress:
    """Seconds of a segment decoded so far."""

    segment: int
    seconds: float


@transferable
@dataclass(frozen=True, slots=True)
class ChosenFrame:
    """Chosen frame with its encoded picture. `motion`: mean change of luma to the frame before. `damaged`: it lacks
    data."""

    seconds: float
    picture: EncodedPicture
    motion: float
    damaged: bool = False


@transferable
@dataclass(frozen=True, slots=True)
class SegmentResult:
    """Result of a segment. `shown`: seconds without jumps of the timestamps. `head`, `tail`: thumbnails with which the
    parent decides the seams. `damaged`: number of the frames that lack data."""

    segment: int
    frames: int
    start: float
    end: float
    shown: float
    boundaries: tuple[Boundary, ...]
    head: ThumbnailBuffer
    tail: ThumbnailBuffer
    damaged: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.damaged <= self.frames:
            raise ValueError(f"{self.damaged} damaged frames of {self.frames}")
        if self.frames < 1 or not 0 <= self.shown <= self.end - self.start + 1e-6:
            raise ValueError(f"{self.frames} frames of {self.shown} s from {self.start} s to {self.end} s")


def send_plan(send: Callable[[object], None], task: Task, workers: int) -> None:
    """Child process: send the segments that overlap the requested ranges, in order."""
    with open_media(task.source) as container:
        if seconds := indexed_seconds(container):
            send(PictureLength(seconds))
        for segment in plan_segments(container, max(workers, 2) if task.ranges else workers, task.bounds):
            if task.in_ranges(*span(container, segment)):
                send(segment)


def analyse(send: Callable[[object], None], task: Task, segment: Segment) -> None:
    """Child process: send progress, chosen frames and the result of a segment."""
    _Analysis(send, task, segment).run()


@dataclass(slots=True)
class _Edges:
    """Thumbnails of the first and the last `2 * REACH` seconds, and of the frame before these, however long it is
    shown."""

    head: list[tuple[float, Plane]] = field(default_factory=list)
    tail: deque[tuple[float, Plane]] = field(default_factory=deque)

    def add(self, seconds: float, thumbnail: Plane) -> None:
        if not self.head or seconds <= self.head[0][0] + 2 * REACH:
            self.head.append((seconds, thumbnail))
        self.tail.append((seconds, thumbnail))
        while len(self.tail) > 1 and self.tail[1][0] < seconds - 2 * REACH:
            self.tail.popleft()


class _Analysis:
    def __init__(self, send: Callable[[object], None], task: Task, segment: Segment) -> None:
        self._send, self._task, self._segment = send, task, segment
        self._detector = task.detector()
        self._best = BestFrames(task.plan.quota)
        self._edges = _Edges()
        self._boundaries: list[Boundary] = []
        self._reported_at = 0.0
        self._sent, self._last_sent = 0, -1e9
        self._shown = 0.0  # seconds
        self._damaged = 0  # frames
        self._borders, self._next_border_check, self._border_interval = BorderFinder(), -1e9, _FIRST_BORDER_INTERVAL
        self._aperture: Aperture | None = None
        self._adaptive: Adaptive | None = None
        self._shot_start = 0.0  # start of the current shot in seconds

    def run(self) -> None:
        start, before, seconds, count = None, 0.0, 0.0, 0
        with open_media(self._task.source) as container:
            self._aperture = clean_aperture(self._task.source, container, video_stream(container))
            for count, sample in enumerate(self._sampled_seconds(container), 1):  # noqa: B007 - sent at the end
                seconds = sample.seconds
                if start is None:
                    start = self._shot_start = before = seconds
                self._shown += min(seconds - before, LONGEST_FRAME)
                before = seconds
                self._damaged += sample.damaged
                self._edges.add(seconds, sample.thumbnail)
                if sample.image and seconds >= self._next_border_check:
                    self._borders.push(seconds, shown(luma(sample.image), self._aperture))
                    self._next_border_check, self._border_interval = (
                        seconds + self._border_interval,
                        min(1.1 * self._border_interval, _LAST_BORDER_INTERVAL),
                    )
                self._add_boundaries(self._detector.push(seconds, sample.thumbnail))
                if sample.frame and sample.planes and self._task.in_ranges(seconds, seconds):
                    self._best.offer(sample.frame, sample.planes)
                self._report_progress(seconds - start)
            if start is None:
                return
            self._add_boundaries(self._detector.finish())
            self._send_frames(self._refine(self._best.finish(seconds), seconds))
        edges = ThumbnailBuffer.from_thumbnails(self._edges.head), ThumbnailBuffer.from_thumbnails(self._edges.tail)
        self._send(
            SegmentResult(
                self._segment.number, count, start, seconds, self._shown, tuple(self._boundaries), *edges, self._damaged
            )
        )

    def _sampled_seconds(self, container: InputContainer) -> Iterator[SampledSecond]:
        if self._task.speed is Speed.FAST and self._task.detection.detector is Detector.AUTO:
            self._adaptive = Adaptive(container, self._segment, self._task.bounds, self._aperture)
            yield from self._adaptive.samples()
            return
        threads = cores() if self._segment.whole else 1
        shape: Shape | None = None
        for frame in frames(container, self._segment, self._task.bounds, threads):
            shape = shape or Shape.for_frame(frame.image.width, frame.image.height, self._aperture)
            planes = shape.shrink(frame.image)
            yield SampledSecond(
                frame.seconds, self._detector.thumbnail(planes), planes, frame, frame.damaged, frame.image
            )

    def _add_boundaries(self, boundaries: list[Boundary]) -> None:
        for boundary in boundaries:
            self._boundaries.append(boundary)
            self._send_frames(self._refine(self._best.boundary(boundary), boundary.start))
            self._shot_start = boundary.end

    def _refine(self, candidates: list[FrameCandidate], end: float) -> list[FrameCandidate]:
        if self._adaptive is None:
            return candidates
        return self._adaptive.choose_frames(
            candidates, self._shot_start, end, lambda second: self._task.in_ranges(second, second)
        )

    def _send_frames(self, chosen: list[FrameCandidate]) -> None:
        for candidate in chosen:
            if self._task.plan.is_needed(candidate.frame.seconds, self._last_sent, self._sent):
                self._sent, self._last_sent = self._sent + 1, candidate.frame.seconds
                borders = self._borders.found(candidate.frame.seconds)
                frame = candidate.frame
                picture = encode_picture(
                    frame.image, borders, self._task.picture, aspect=frame.aspect, aperture=self._aperture
                )
                self._send(ChosenFrame(frame.seconds, picture, candidate.motion, frame.damaged))

    def _report_progress(self, seconds: float) -> None:
        if (now := time.monotonic()) >= self._reported_at + _REPORT_INTERVAL:
            self._reported_at = now
            self._send(SegmentProgress(self._segment.number, seconds))
