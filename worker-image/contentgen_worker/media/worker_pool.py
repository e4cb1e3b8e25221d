"""Pool of confined children that analyse the segments of a recording.

JPEG files go to disk as they come and each seam is decided once both of its sides are there, so memory does not grow
with the recording.
"""

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, cast

import cv2

from contentgen_worker.media.decode.decode import Segment
from contentgen_worker.media.sandbox.isolation import ConfinedChild, nonsense, spawn
from contentgen_worker.media.shots.analysis import ChosenFrame, Ended, Reached, Task, analyse, tell_plan
from contentgen_worker.media.shots.boundaries import Boundary, ThumbnailBuffer
from contentgen_worker.media.shots.seams import seam_boundaries

_MAX_SEGMENTS = 65_536
Watch = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """A chosen frame whose JPEG is on disk."""

    sample: ChosenFrame
    path: Path

    @property
    def sharpness(self) -> float:
        """Variance of the Laplacian of the full picture."""
        return self.sample.picture.scores.sharpness


def _ready(children: Iterable[ConfinedChild]) -> list[ConfinedChild]:
    """Those with a message, or at their end; waits for the first."""
    return cast("list[ConfinedChild]", wait(cast("Any", children)))


class WorkerPool:
    """The children at work, and what they have told."""

    def __init__(self, task: Task, folder: Path, watch: Watch) -> None:
        self._task, self._folder, self._watch = task, folder, watch
        self._reached: dict[int, float] = {}
        self._frames = 0
        self._segments: set[int] = set()
        self._ended: dict[int, Ended] = {}
        self._seams: dict[tuple[int, int], list[Boundary]] = {}
        self.samples: list[StoredFrame] = []

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
        """The parts, in order, and what is beside the seams between them."""
        numbers = sorted(self._ended)
        for pair in pairwise(numbers):
            if pair not in self._seams:  # of what lay between them nothing was wanted, or could be decoded
                self._join(*pair)
        return [self._ended[number] for number in numbers], [self._seams[pair] for pair in pairwise(numbers)]

    def _join(self, one: int, other: int) -> None:
        before, after = self._ended[one], self._ended[other]
        try:
            self._seams[one, other] = seam_boundaries(before, after, self._task)
        except (ArithmeticError, LookupError, TypeError, ValueError, cv2.error) as error:
            raise nonsense(f"looks that no detector takes: {error}") from None
        # These are what memory would grow by.
        self._ended[one], self._ended[other] = (
            replace(before, tail=ThumbnailBuffer()),
            replace(after, head=ThumbnailBuffer()),
        )

    def _stored(self, sample: ChosenFrame) -> StoredFrame:
        path = self._folder / f"{len(self.samples) + 1:06}.jpg"
        path.write_bytes(sample.picture.jpeg)
        return StoredFrame(replace(sample, picture=replace(sample.picture, jpeg=b"")), path)
