"""Choice of the best frames of each shot while they are in memory.

Time is divided into slots of 0.4 s. Each keeps its least blurred frame, preferably a reference frame, on which encoders
spend more bits. A sudden change ends a slot, so no slot spans a cut. At the end of a shot its frames are ranked by the
sharpness of the full picture, spread over the shot and away from transitions. Close slots of a long shot are merged, so
memory does not grow with its length.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2

from contentgen_worker.media.decode.decode import DecodedFrame
from contentgen_worker.media.decode.planes import Plane, Planes, luma
from contentgen_worker.media.shots.boundaries import LAG, Boundary

SLOT = 0.4  # seconds
EDGE = 0.12  # seconds kept away from boundaries: quality recovers some frames after a cut
_PENDING = LAG + 0.5  # seconds; a boundary may be found that late
_PENDING_SLOTS = int(_PENDING / SLOT) + 2  # slots
_SPARE = 6  # slots of the current shot beyond its quota
_MEASURED_PER_FRAME = 3  # slots per wanted frame whose full picture is measured
_SUDDEN = 6.0  # mean difference of luma, beyond twice that of the frame before


@dataclass(frozen=True, slots=True)
class FrameCandidate:
    """Frame that may be chosen. `sharpness`: of the small planes; `motion`: mean change of luma to the frame before."""

    frame: DecodedFrame
    sharpness: float
    motion: float


@dataclass(frozen=True, slots=True)
class FrameQuota:
    """Number of frames per shot: `per_shot`, or one per `every` seconds if that is more, up to `max_per_shot`."""

    per_shot: int
    every: float = float("inf")
    max_per_shot: int = 12

    def frames_for(self, seconds: float) -> int:
        """Number for a shot of this length in seconds."""
        return min(max(self.per_shot, int(seconds / self.every)), max(self.per_shot, self.max_per_shot))


@dataclass(frozen=True, slots=True)
class FramePlan:
    """Numbers of frames: `per_shot`, and `least` and `most` of a whole recording.

    `length`: seconds of the recording's pictures; None as long as they are not known. What a file states is no such
    length: the sound may be longer, and timestamps may jump.
    """

    per_shot: int
    least: int
    most: int
    length: float | None = None

    @property
    def quota(self) -> FrameQuota:
        """Number per shot. Of an unknown length more than enough, of which `engine.py` takes the number needed."""
        every = SLOT if self.length is None else max(self.length / self.least, SLOT)
        return FrameQuota(self.per_shot, every)

    def is_needed(self, seconds: float, last: float, sent: int) -> bool:
        """Whether the frame at `seconds` is encoded, after the one at `last` and `sent` others. Close ones are left out
        where there are more than enough."""
        reached = self.length if self.length is not None else seconds if sent >= self.most else 0.0
        return seconds >= last + reached / self.most


class BestFrames:
    """Takes frames in order of time and returns the best of each ended shot."""

    def __init__(self, quota: FrameQuota) -> None:
        self._quota = quota
        self._start: float | None = None  # of the current shot
        self._slots: list[FrameCandidate] = []
        self._length = SLOT
        self._opened = 0.0  # of the current slot
        self._best: FrameCandidate | None = None
        self._luma: Plane | None = None
        self._change = 0.0

    def offer(self, frame: DecodedFrame, planes: Planes) -> None:
        """Add the next frame."""
        if self._start is None:
            self._start = self._opened = frame.seconds
        before, self._change = self._change, self._luma_change(planes.y)
        if frame.seconds >= self._opened + self._length or self._change > _SUDDEN + 2 * before:
            self._close_slot(frame.seconds)
        if self._best is None or _rank(frame) >= _rank(self._best.frame):
            self._keep_better(FrameCandidate(frame, detail(planes.y), self._change))

    def boundary(self, boundary: Boundary) -> list[FrameCandidate]:
        """End the shot before a boundary. Returns its best frames in order of time; of the transition if the shot has
        none."""
        self._close_slot(self._opened)
        inside = [candidate for candidate in self._slots if candidate.frame.seconds <= boundary.start]
        in_transition = [
            candidate for candidate in self._slots if boundary.start < candidate.frame.seconds < boundary.end
        ]
        self._slots = [candidate for candidate in self._slots if candidate.frame.seconds >= boundary.end]
        start = boundary.start if self._start is None else self._start
        self._start, self._length = boundary.end, SLOT
        return best_frames(inside or in_transition, start, boundary.start, self._quota)

    def finish(self, end: float) -> list[FrameCandidate]:
        """End of the segment. Returns the best frames of the last shot."""
        self._close_slot(end)
        return best_frames(self._slots, self._start or 0.0, end, self._quota)

    @property
    def frames_in_memory(self) -> int:
        """Number of frames in memory."""
        return len(self._slots) + (self._best is not None)

    def _luma_change(self, luma: Plane) -> float:
        before, self._luma = self._luma, luma
        return 0.0 if before is None else cv2.norm(luma, before, cv2.NORM_L1) / luma.size

    def _keep_better(self, candidate: FrameCandidate) -> None:
        best = self._best
        if best is None or (*_rank(candidate.frame), candidate.sharpness) > (*_rank(best.frame), best.sharpness):
            self._best = candidate

    def _close_slot(self, seconds: float) -> None:
        if self._best is not None:
            self._slots.append(self._best)
        self._best, self._opened = None, seconds
        room = self._quota.frames_for(seconds - (self._start or 0.0)) + _SPARE
        closed = [candidate for candidate in self._slots if candidate.frame.seconds < seconds - _PENDING]
        if len(closed) > room:
            self._slots = [*merge_nearest(closed), *self._slots[len(closed) :]]
            self._length = min(max(SLOT, (seconds - closed[0].frame.seconds) / room / 2), _PENDING)
        if len(self._slots) > room + _PENDING_SLOTS:  # flickering light ends a slot at each change
            self._slots = merge_nearest(self._slots)


def _rank(frame: DecodedFrame) -> tuple[bool, bool]:
    """Data that is missing is concealed by smear, whose edges are sharp."""
    return not frame.damaged, frame.reference


def detail(luma: Plane) -> float:
    """Variance of the Laplacian; blur lowers it."""
    return float(cv2.meanStdDev(cv2.Laplacian(luma, cv2.CV_16S))[1][0, 0]) ** 2


def merge_nearest(slots: Sequence[FrameCandidate]) -> list[FrameCandidate]:
    """Slots with the two nearest in time replaced by the sharper of them."""
    at = min(range(len(slots) - 1), key=lambda index: slots[index + 1].frame.seconds - slots[index].frame.seconds)
    return [
        *slots[:at],
        max(slots[at : at + 2], key=lambda each: (not each.frame.damaged, each.sharpness)),
        *slots[at + 2 :],
    ]


def best_frames(slots: Sequence[FrameCandidate], start: float, end: float, quota: FrameQuota) -> list[FrameCandidate]:
    """Sharpest frame of each equal part of the shot; as many parts as frames are wanted."""
    parts: dict[int, list[FrameCandidate]] = defaultdict(list)
    for candidate in [slot for slot in slots if start + EDGE <= slot.frame.seconds <= end - EDGE] or slots:
        parts[part_index(candidate.frame.seconds, start, end, quota.frames_for(end - start))].append(candidate)
    return [_sharpest(parts[part]) for part in sorted(parts)]


def part_index(second: float, start: float, end: float, parts: int) -> int:
    """Index of the equal part of a shot that a second lies in; the end belongs to the last."""
    share = (second - start) / max(end - start, 1e-9)
    return min(max(int(share * parts), 0), parts - 1)


def _sharpest(slots: Sequence[FrameCandidate]) -> FrameCandidate:
    clean = [slot for slot in slots if not slot.frame.damaged] or slots
    clearest = sorted(clean, key=lambda candidate: -candidate.sharpness)[:_MEASURED_PER_FRAME]
    return max(clearest, key=lambda candidate: detail(luma(candidate.frame.image)))
