"""What a child does with its segment: decode, find boundaries, choose, finish, and tell."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from av.container import InputContainer

from contentgen_contract.resources.spec import Detector, SceneDetection, Speed
from contentgen_worker.media.codec import crosses
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.decode import Segment, frames
from contentgen_worker.media.decode.planes import Plane, Shape
from contentgen_worker.media.decode.probe import opened
from contentgen_worker.media.decode.source import MediaSource
from contentgen_worker.media.select.borders import BorderFinder
from contentgen_worker.media.select.picture import Finished, PictureSettings, finish, pixel_aspect
from contentgen_worker.media.shots.adaptive import Adaptive, SampledSecond
from contentgen_worker.media.shots.auto import Auto
from contentgen_worker.media.shots.best import BestFrames, FrameCandidate, FrameQuota
from contentgen_worker.media.shots.boundaries import REACH, Boundary, BoundaryDetector, ThumbnailBuffer
from contentgen_worker.media.shots.segments import cores, plan, span

_TOLD_EVERY = 0.25  # seconds on the clock
_BORDERS_FIRST, _BORDERS_LAST = 0.3, 2.0  # seconds between two looks at the borders; ever rarer


@dataclass(frozen=True, slots=True)
class Task:
    """What is asked of a recording."""

    source: Path | MediaSource
    bounds: MediaLimits
    detection: SceneDetection
    wanted: FrameQuota
    picture: PictureSettings
    fps: float = 25.0
    shortest: float = 0.0  # seconds of a shot
    speed: Speed = Speed.EXACT
    ranges: tuple[tuple[float, float], ...] = ()  # seconds to take frames from; all where there are none
    apart: float = 0.0  # seconds; of frames that are nearer only the first is finished

    def takes(self, start: float, end: float) -> bool:
        """Whether frames may be taken anywhere from one second to another."""
        return not self.ranges or any(first <= end and start <= last for first, last in self.ranges)

    def detector(self) -> BoundaryDetector:
        """A detector, as fresh as it is for a new recording."""
        if self.detection.detector is Detector.AUTO:
            return Auto()
        from contentgen_worker.media.shots.pyscenedetect import make  # noqa: PLC0415 - takes a second, and few name one

        return make(self.detection, self.fps)


@crosses
@dataclass(frozen=True, slots=True)
class Reached:
    """How many seconds of a segment have been decoded."""

    segment: int
    seconds: float


@crosses
@dataclass(frozen=True, slots=True)
class ChosenFrame:
    """A frame that was chosen and finished."""

    seconds: float
    picture: Finished
    motion: float


@crosses
@dataclass(frozen=True, slots=True)
class Ended:
    """What was found in a segment, and what the parent needs to decide its joints."""

    segment: int
    frames: int
    start: float
    end: float
    boundaries: tuple[Boundary, ...]
    head: ThumbnailBuffer
    tail: ThumbnailBuffer

    def __post_init__(self) -> None:
        if self.frames < 1 or self.end < self.start:
            raise ValueError(f"{self.frames} frames from {self.start} s to {self.end} s")


def tell_plan(send: Callable[[object], None], task: Task, workers: int) -> None:
    """Child: the segments of a recording of which something is wanted, one after another."""
    with opened(task.source) as container:
        for segment in plan(container, max(workers, 2) if task.ranges else workers):
            if task.takes(*span(container, segment)):
                send(segment)


def analyse(send: Callable[[object], None], task: Task, segment: Segment) -> None:
    """Child: samples and boundaries of a segment."""
    _Analysis(send, task, segment).run()


@dataclass(slots=True)
class _Edges:
    """The looks of the first and the last `2 * REACH` seconds."""

    head: list[tuple[float, Plane]] = field(default_factory=list)
    tail: deque[tuple[float, Plane]] = field(default_factory=deque)

    def add(self, seconds: float, look: Plane) -> None:
        if not self.head or seconds <= self.head[0][0] + 2 * REACH:
            self.head.append((seconds, look))
        self.tail.append((seconds, look))
        while self.tail[0][0] < seconds - 2 * REACH:
            self.tail.popleft()


class _Analysis:
    def __init__(self, send: Callable[[object], None], task: Task, segment: Segment) -> None:
        self._send, self._task, self._segment = send, task, segment
        self._detector = task.detector()
        self._best = BestFrames(task.wanted)
        self._edges = _Edges()
        self._boundaries: list[Boundary] = []
        self._told = 0.0
        self._sampled = -1e9
        self._borders, self._next_borders, self._pause = BorderFinder(), -1e9, _BORDERS_FIRST
        self._aspect = 1.0
        self._adaptive: Adaptive | None = None
        self._shot = 0.0  # the open one's first second

    def run(self) -> None:
        start, seconds, count = None, 0.0, 0
        with opened(self._task.source) as container:
            self._aspect = pixel_aspect(container.streams.video[0])
            for count, seen in enumerate(self._watch(container), 1):  # noqa: B007 - told at the end
                seconds = seen.seconds
                if start is None:
                    start = self._shot = seconds
                self._edges.add(seconds, seen.look)
                if seen.planes and seconds >= self._next_borders:
                    self._borders.push(seen.planes.y)
                    self._next_borders, self._pause = seconds + self._pause, min(1.1 * self._pause, _BORDERS_LAST)
                self._found(self._detector.push(seconds, seen.look))
                if seen.frame and seen.planes and self._task.takes(seconds, seconds):
                    self._best.offer(seen.frame, seen.planes)
                self._tell(seconds - start)
            if start is None:
                return
            self._found(self._detector.finish())
            self._samples(self._taken(self._best.finish(seconds), seconds))
        edges = ThumbnailBuffer.of(self._edges.head), ThumbnailBuffer.of(self._edges.tail)
        self._send(Ended(self._segment.number, count, start, seconds, tuple(self._boundaries), *edges))

    def _watch(self, container: InputContainer) -> Iterator[SampledSecond]:
        if self._task.speed is Speed.FAST and self._task.detection.detector is Detector.AUTO:
            self._adaptive = Adaptive(container, self._segment, self._task.bounds)
            yield from self._adaptive.watch()
            return
        threads = cores() if self._segment.whole else 1
        shape: Shape | None = None
        for frame in frames(container, self._segment, self._task.bounds, threads):
            shape = shape or Shape.of(frame.image.width, frame.image.height)
            planes = shape.shrink(frame.image)
            yield SampledSecond(frame.seconds, self._detector.look(planes), planes, frame)

    def _found(self, boundaries: list[Boundary]) -> None:
        for boundary in boundaries:
            self._boundaries.append(boundary)
            self._samples(self._taken(self._best.boundary(boundary), boundary.start))
            self._shot = boundary.end

    def _taken(self, held: list[FrameCandidate], end: float) -> list[FrameCandidate]:
        if self._adaptive is None:
            return held
        return self._adaptive.pictures(held, self._shot, end, lambda second: self._task.takes(second, second))

    def _samples(self, chosen: list[FrameCandidate]) -> None:
        for held in chosen:
            if held.frame.seconds >= self._sampled + self._task.apart:
                self._sampled = held.frame.seconds
                borders = self._borders.found()
                picture = finish(held.frame.image, borders, self._task.picture, aspect=self._aspect)
                self._send(ChosenFrame(held.frame.seconds, picture, held.motion))

    def _tell(self, seconds: float) -> None:
        if (now := time.monotonic()) >= self._told + _TOLD_EVERY:
            self._told = now
            self._send(Reached(self._segment.number, seconds))
