"""From a recording to its shots and the best frames of each, in one pass over its pictures on all cores.

Children decode segments; what they find comes here as it is found. Frames go to disk as the JPEG files that they came
as, and each joint is decided as soon as both of its sides are there, so memory does not grow with the recording. At
the end shots are numbered, and the frames of those that lie on both sides of a joint chosen once more: whatever the
split, the shots are the same.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, cast

import cv2

from contentgen_contract.resources.spec import Dataset
from contentgen_worker.errors import Unsupported
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.decode import Segment
from contentgen_worker.media.decode.source import MediaSource
from contentgen_worker.media.sandbox.isolation import ConfinedChild, nonsense, spawn
from contentgen_worker.media.select.choose import PictureCandidate
from contentgen_worker.media.select.picture import PictureSettings
from contentgen_worker.media.shots.analysis import ChosenFrame, Ended, Reached, Task, analyse, tell_plan
from contentgen_worker.media.shots.best import SLOT, FrameQuota, part_of
from contentgen_worker.media.shots.boundaries import REACH, Boundary, BoundaryKind, ThumbnailBuffer
from contentgen_worker.media.shots.shots import Shot, apart, shots

_TAKEN_PER_KEPT = 4  # frames finished for each that may be kept; more only cost time
_SPARE = 2  # frames for each that must be there, where shots are few
_MAX_SEGMENTS = 65_536
Watch = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Analysis:
    """The shots of a recording, and the frames that were chosen, in order of time."""

    shots: tuple[Shot, ...]
    boundaries: tuple[Boundary, ...]
    candidates: tuple[PictureCandidate, ...]
    seconds: float


def task(source: Path | MediaSource, bounds: MediaLimits, dataset: Dataset, seconds: float) -> Task:
    """What a spec asks of a recording that lasts so long. A recording of few shots gives more frames of each."""
    ranges = tuple((float(each.start), float(each.end or "inf")) for each in dataset.time_ranges)
    seconds = sum(max(min(end, seconds) - start, 0.0) for start, end in ranges) or seconds
    return Task(
        source,
        bounds,
        dataset.scene_detection,
        FrameQuota(dataset.frames_per_scene, every=max(seconds / (_SPARE * dataset.min_images), SLOT)),
        PictureSettings.of(dataset),
        shortest=float(dataset.scene_detection.min_scene_length or 0),
        speed=dataset.speed,
        ranges=ranges,
        apart=seconds / (_TAKEN_PER_KEPT * dataset.max_images),
    )


def analyse_recording(asked: Task, folder: Path, workers: int, watch: Watch) -> Analysis:
    """Decode on so many cores. `watch` gets the seconds decoded so far; the JPEG files go into `folder`."""
    folder.mkdir(exist_ok=True)
    crew = _WorkerPool(asked, folder, watch)
    crew.run(workers)
    parts, joints = crew.joined()
    if not parts:
        raise Unsupported("none of its pictures can be decoded; it may be damaged")
    start, end = parts[0].start, parts[-1].end
    boundaries = apart(merged(parts, joints), start, end, asked.shortest)
    wanted = [each for each in shots(boundaries, start, end) if asked.takes(each.start, each.end)]
    found = tuple(replace(shot, number=number) for number, shot in enumerate(wanted, 1))
    return Analysis(found, boundaries, tuple(_candidates(crew.samples, found, asked.wanted)), end)


def joint(before: Ended, after: Ended, task: Task) -> list[Boundary]:
    """The boundaries beside a joint, from the detector's looks on both sides. What was not decoded divides shots."""
    if after.segment > before.segment + 1:
        gap = Boundary(before.end, after.start, BoundaryKind.CUT)
        beside = [*before.boundaries, gap, *after.boundaries]
    else:
        detector = task.detector()
        near = (each for strip in (before.tail, after.head) for each in strip.looks())
        beside = [each for seconds, look in near for each in detector.push(seconds, look)] + detector.finish()
    return [each for each in beside if before.end - REACH <= each.end < after.start + REACH]


def merged(parts: Sequence[Ended], joints: Iterable[Sequence[Boundary]]) -> list[Boundary]:
    """The boundaries of all parts, in order; `joints`: those beside each of their joints."""
    found = [each for beside in joints for each in beside]
    for index, part in enumerate(parts):
        low = part.start + REACH if index else part.start
        high = part.end - REACH if index < len(parts) - 1 else part.end
        found += [each for each in part.boundaries if low <= each.end < high or each.end == high == part.end]
    return sorted(found, key=lambda each: each.start)


@dataclass(frozen=True, slots=True)
class _Stored:
    """A sample whose bytes are on disk."""

    sample: ChosenFrame
    path: Path

    @property
    def sharpness(self) -> float:
        """Of its full picture."""
        return self.sample.picture.scores.sharpness


def _candidates(samples: Sequence[_Stored], found: Sequence[Shot], wanted: FrameQuota) -> Iterator[PictureCandidate]:
    """Of each shot no more than wanted, and those of the transition after it, which a child gives where it can't see
    that it is one: beside a joint; or where the shot has no others."""
    ordered = sorted(samples, key=lambda each: each.sample.seconds)
    ends = [*(each.start for each in found), float("inf")][1:]
    for shot, end in zip(found, ends, strict=True):
        inside = [each for each in ordered if shot.start <= each.sample.seconds <= shot.end]
        beyond = [each for each in ordered if shot.end < each.sample.seconds < end]
        for stored in (*_thinned(inside, shot, wanted.of(shot.end - shot.start)), *beyond):
            sample, picture = stored.sample, stored.sample.picture
            known = (picture.width, picture.height, picture.scores, sample.motion, sample.seconds > shot.end)
            yield PictureCandidate(shot.number, sample.seconds, stored.path, *known)


def _thinned(samples: Sequence[_Stored], shot: Shot, most: int) -> list[_Stored]:
    """A shot on both sides of a joint has frames of both: the sharpest of each of its equal parts."""
    if len(samples) <= most:
        return list(samples)
    parts: dict[int, _Stored] = {}
    for each in samples:
        part = part_of(each.sample.seconds, shot.start, shot.end, most)
        if part not in parts or each.sharpness > parts[part].sharpness:
            parts[part] = each
    return [parts[part] for part in sorted(parts)]


def _ready(children: Iterable[ConfinedChild]) -> list[ConfinedChild]:
    """Those with a message, or at their end; waits for the first."""
    return cast("list[ConfinedChild]", wait(cast("Any", children)))


class _WorkerPool:
    """The children at work, and what they have told."""

    def __init__(self, task: Task, folder: Path, watch: Watch) -> None:
        self._task, self._folder, self._watch = task, folder, watch
        self._reached: dict[int, float] = {}
        self._frames = 0
        self._segments: set[int] = set()
        self._ended: dict[int, Ended] = {}
        self._joints: dict[tuple[int, int], list[Boundary]] = {}
        self.samples: list[_Stored] = []

    def run(self, workers: int) -> None:
        """Until every segment has ended. Raises what a child raised."""
        segments: deque[Segment] = deque()
        limits = self._task.bounds.child_limits(self._task.source, beside=workers)
        with ExitStack() as stack:
            planner = stack.enter_context(spawn(tell_plan, self._task, workers, limits=limits))
            talking = {planner: planner.messages()}
            while talking:
                for child in _ready(talking):
                    message = next(talking[child], None)
                    if isinstance(message, Segment):
                        segments.append(self._planned(message))
                    elif message is None:
                        del talking[child]
                    else:
                        self._hear(message)
                while segments and len(talking) - (planner in talking) < workers:
                    child = stack.enter_context(spawn(analyse, self._task, segments.popleft(), limits=limits))
                    talking[child] = child.messages()

    def _planned(self, segment: Segment) -> Segment:
        """The same, unless the planner sends one twice, or too many."""
        if segment.number in self._segments or len(self._segments) >= _MAX_SEGMENTS:
            raise nonsense(f"segment {segment.number} after {len(self._segments)} others")
        self._segments.add(segment.number)
        return segment

    def _hear(self, message: object) -> None:
        if isinstance(message, Reached):
            self._advance(message.segment, message.seconds)
        elif isinstance(message, ChosenFrame):
            self.samples.append(self._stored(message))
        elif isinstance(message, Ended):
            number = message.segment
            if number not in self._segments or number in self._ended:
                raise nonsense(f"the end of segment {number}")
            self._frames += message.frames
            self._task.bounds.check_frames(self._frames)
            self._ended[number] = message
            self._advance(number, message.end - message.start)
            for pair in ((number - 1, number), (number, number + 1)):
                if self._ended.keys() >= set(pair):
                    self._join(*pair)
        else:
            raise nonsense(f"a {type(message).__name__}")

    def _advance(self, segment: int, seconds: float) -> None:
        self._reached[segment] = seconds
        self._watch(sum(self._reached.values()))

    def joined(self) -> tuple[list[Ended], list[list[Boundary]]]:
        """The parts, in order, and what is beside the joints between them."""
        numbers = sorted(self._ended)
        for pair in pairwise(numbers):
            if pair not in self._joints:  # of what lay between them nothing was wanted, or could be decoded
                self._join(*pair)
        return [self._ended[number] for number in numbers], [self._joints[pair] for pair in pairwise(numbers)]

    def _join(self, one: int, other: int) -> None:
        before, after = self._ended[one], self._ended[other]
        try:
            self._joints[one, other] = joint(before, after, self._task)
        except (ArithmeticError, LookupError, TypeError, ValueError, cv2.error) as error:
            raise nonsense(f"looks that no detector takes: {error}") from None
        # These are what memory would grow by.
        self._ended[one], self._ended[other] = (
            replace(before, tail=ThumbnailBuffer()),
            replace(after, head=ThumbnailBuffer()),
        )

    def _stored(self, sample: ChosenFrame) -> _Stored:
        path = self._folder / f"{len(self.samples) + 1:06}.jpg"
        path.write_bytes(sample.picture.jpeg)
        return _Stored(replace(sample, picture=replace(sample.picture, jpeg=b"")), path)
