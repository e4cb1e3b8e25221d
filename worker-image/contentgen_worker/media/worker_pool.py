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
from contentgen_worker.media.sandbox.isolation import ConfinedChild, malformed_answer, spawn
from contentgen_worker.media.shots.analysis import (
    ChosenFrame,
    PictureLength,
    SegmentProgress,
    SegmentResult,
    Task,
    analyse,
    send_plan,
)
from contentgen_worker.media.shots.boundaries import Boundary, ThumbnailBuffer
from contentgen_worker.media.shots.seams import seam_boundaries

_MAX_SEGMENTS = 65_536
OnProgress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """A chosen frame whose JPEG is on disk."""

    chosen: ChosenFrame
    path: Path

    @property
    def sharpness(self) -> float:
        """Variance of the Laplacian of the full picture."""
        return self.chosen.picture.scores.sharpness


def _wait_for_any(children: Iterable[ConfinedChild]) -> list[ConfinedChild]:
    """Children with a message, or at their end; waits for the first."""
    return cast("list[ConfinedChild]", wait(cast("Any", children)))


class WorkerPool:
    """Child processes of one recording, and their results."""

    def __init__(self, task: Task, folder: Path, on_progress: OnProgress) -> None:
        self._task, self._folder, self._on_progress = task, folder, on_progress
        self._progress: dict[int, float] = {}
        self._frame_count = 0
        self._segments: set[int] = set()
        self._results: dict[int, SegmentResult] = {}
        self._seams: dict[tuple[int, int], list[Boundary]] = {}
        self.frames: list[StoredFrame] = []

    def run(self, workers: int) -> None:
        """Process all segments with this number of children. Raises the WorkerError of a child."""
        segments: deque[Segment] = deque()
        limits = self._task.bounds.child_limits(self._task.source, children=workers)
        with ExitStack() as stack:
            planner = stack.enter_context(spawn(send_plan, self._task, workers, limits=limits))
            running = {planner: planner.messages()}
            while running:
                for child in _wait_for_any(running):
                    message = next(running[child], None)
                    if isinstance(message, Segment):
                        segments.append(self._register(message))
                    elif message is None:
                        del running[child]
                    else:
                        self._handle(message)
                while segments and len(running) - (planner in running) < workers:
                    child = stack.enter_context(spawn(analyse, self._task, segments.popleft(), limits=limits))
                    running[child] = child.messages()

    def _register(self, segment: Segment) -> Segment:
        """The same segment. Raises DecoderCrashed for a duplicate, or too many."""
        if segment.number in self._segments or len(self._segments) >= _MAX_SEGMENTS:
            raise malformed_answer(f"segment {segment.number} after {len(self._segments)} others")
        self._segments.add(segment.number)
        return segment

    def _handle(self, message: object) -> None:
        if isinstance(message, SegmentProgress):
            self._advance(message.segment, message.seconds)
        elif isinstance(message, PictureLength):
            self._task = replace(
                self._task, plan=replace(self._task.plan, length=self._task.wanted_seconds(message.seconds))
            )
        elif isinstance(message, ChosenFrame):
            self.frames.append(self._store(message))
        elif isinstance(message, SegmentResult):
            number = message.segment
            if number not in self._segments or number in self._results:
                raise malformed_answer(f"the end of segment {number}")
            self._frame_count += message.frames
            self._task.bounds.check_frames(self._frame_count)
            self._results[number] = message
            self._advance(number, message.end - message.start)
            for pair in ((number - 1, number), (number, number + 1)):
                if self._results.keys() >= set(pair):
                    self._decide_seam(*pair)
        else:
            raise malformed_answer(f"a {type(message).__name__}")

    def _advance(self, segment: int, seconds: float) -> None:
        self._progress[segment] = seconds
        self._on_progress(sum(self._progress.values()))

    def results(self) -> tuple[list[SegmentResult], list[list[Boundary]]]:
        """Results of the segments in order, and the boundaries beside each seam between them."""
        numbers = sorted(self._results)
        for pair in pairwise(numbers):
            if pair not in self._seams:  # the segments between were not wanted, or could not be decoded
                self._decide_seam(*pair)
        return [self._results[number] for number in numbers], [self._seams[pair] for pair in pairwise(numbers)]

    def _decide_seam(self, left: int, right: int) -> None:
        before, after = self._results[left], self._results[right]
        try:
            self._seams[left, right] = seam_boundaries(before, after, self._task)
        except (ArithmeticError, LookupError, TypeError, ValueError, cv2.error) as error:
            raise malformed_answer(f"thumbnails that no detector accepts: {error}") from None
        # Drop the thumbnails: they would grow with the recording.
        self._results[left], self._results[right] = (
            replace(before, tail=ThumbnailBuffer()),
            replace(after, head=ThumbnailBuffer()),
        )

    def _store(self, chosen: ChosenFrame) -> StoredFrame:
        path = self._folder / f"{len(self.frames) + 1:06}.jpg"
        path.write_bytes(chosen.picture.jpeg)
        return StoredFrame(replace(chosen, picture=replace(chosen.picture, jpeg=b"")), path)
