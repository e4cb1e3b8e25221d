"""The best frames of each shot, chosen while they are in memory.

Time is cut into slots of some tenths of a second; each keeps one frame: the least smeared of those that other frames
build on, since the encoder took more care of them. A sudden change ends a slot, so that none lies on both sides of a
cut. When a shot has ended its frames are ranked by the sharpness of the full picture, apart from each other and from
the transitions. Of a long shot's slots those that are nearest are joined, so memory does not grow with it.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import cv2

from contentgen_worker.media.decode.decode import DecodedFrame
from contentgen_worker.media.decode.planes import Plane, Planes, luma
from contentgen_worker.media.shots.boundaries import LAG, Boundary

SLOT = 0.4  # seconds
EDGE = 0.12  # seconds beside a boundary: encoders need some frames after a cut
_PENDING = LAG + 0.5  # seconds; a boundary may still be found that lies so far back
_UNSETTLED = int(_PENDING / SLOT) + 2  # slots
_SPARE = 6  # slots of an open shot beyond those that are wanted
_MEASURED_PER_FRAME = 3  # slots whose full picture is measured, for each frame that is wanted
_SUDDEN = 6.0  # mean difference of luma, beyond twice that of the frame before


@dataclass(frozen=True, slots=True)
class FrameCandidate:
    """A frame that may be taken. `sharpness`: detail of the small picture; `motion`: its change from the one before."""

    frame: DecodedFrame
    sharpness: float
    motion: float


@dataclass(frozen=True, slots=True)
class FrameQuota:
    """How many frames of a shot: `per_shot`, or one for each `every` seconds where that is more, but no more than
    `max_per_shot`."""

    per_shot: int
    every: float = float("inf")
    max_per_shot: int = 12

    def of(self, seconds: float) -> int:
        """The number for a shot of this length."""
        return min(max(self.per_shot, int(seconds / self.every)), max(self.per_shot, self.max_per_shot))


class BestFrames:
    """Takes frames in order of time and gives back the best of each shot that has ended."""

    def __init__(self, quota: FrameQuota) -> None:
        self._wanted = quota
        self._start: float | None = None  # of the open shot
        self._slots: list[FrameCandidate] = []
        self._length = SLOT
        self._opened = 0.0  # the open slot
        self._best: FrameCandidate | None = None
        self._luma: Plane | None = None
        self._change = 0.0

    def offer(self, frame: DecodedFrame, planes: Planes) -> None:
        """The next frame."""
        if self._start is None:
            self._start = self._opened = frame.seconds
        before, self._change = self._change, self._luma_change(planes.y)
        if frame.seconds >= self._opened + self._length or self._change > _SUDDEN + 2 * before:
            self._close_slot(frame.seconds)
        if self._best is None or frame.reference >= self._best.frame.reference:
            self._keep_better(FrameCandidate(frame, detail(planes.y), self._change))

    def boundary(self, boundary: Boundary) -> list[FrameCandidate]:
        """The shot before a boundary has ended: its best frames, in order of time. One that is so short that it has
        none gives what there is of the transition."""
        self._close_slot(self._opened)
        inside = [candidate for candidate in self._slots if candidate.frame.seconds <= boundary.start]
        in_transition = [
            candidate for candidate in self._slots if boundary.start < candidate.frame.seconds < boundary.end
        ]
        self._slots = [candidate for candidate in self._slots if candidate.frame.seconds >= boundary.end]
        start = boundary.start if self._start is None else self._start
        self._start, self._length = boundary.end, SLOT
        return best(inside or in_transition, start, boundary.start, self._wanted)

    def finish(self, end: float) -> list[FrameCandidate]:
        """The recording, or this part of it, has ended: the best frames of the last shot."""
        self._close_slot(end)
        return best(self._slots, self._start or 0.0, end, self._wanted)

    @property
    def frames_in_memory(self) -> int:
        """Frames in memory."""
        return len(self._slots) + (self._best is not None)

    def _luma_change(self, luma: Plane) -> float:
        before, self._luma = self._luma, luma
        return 0.0 if before is None else cv2.norm(luma, before, cv2.NORM_L1) / luma.size

    def _keep_better(self, candidate: FrameCandidate) -> None:
        best = self._best
        if best is None or (candidate.frame.reference, candidate.sharpness) > (best.frame.reference, best.sharpness):
            self._best = candidate

    def _close_slot(self, seconds: float) -> None:
        if self._best is not None:
            self._slots.append(self._best)
        self._best, self._opened = None, seconds
        room = self._wanted.of(seconds - (self._start or 0.0)) + _SPARE
        settled = [candidate for candidate in self._slots if candidate.frame.seconds < seconds - _PENDING]
        if len(settled) > room:
            self._slots = [*merge_nearest(settled), *self._slots[len(settled) :]]
            self._length = min(max(SLOT, (seconds - settled[0].frame.seconds) / room / 2), _PENDING)
        if len(self._slots) > room + _UNSETTLED:  # light that flickers ends a slot with each change
            self._slots = merge_nearest(self._slots)


def detail(luma: Plane) -> float:
    """Variance of the Laplacian: what smears lowers it."""
    return float(cv2.meanStdDev(cv2.Laplacian(luma, cv2.CV_16S))[1][0, 0]) ** 2


def merge_nearest(slots: Sequence[FrameCandidate]) -> list[FrameCandidate]:
    """The better of the two that are nearest in time, and all others."""
    at = min(range(len(slots) - 1), key=lambda index: slots[index + 1].frame.seconds - slots[index].frame.seconds)
    return [*slots[:at], max(slots[at : at + 2], key=lambda candidate: candidate.sharpness), *slots[at + 2 :]]


def best(slots: Sequence[FrameCandidate], start: float, end: float, quota: FrameQuota) -> list[FrameCandidate]:
    """The sharpest frame of each of as many equal parts of the shot as frames are wanted."""
    parts: dict[int, list[FrameCandidate]] = defaultdict(list)
    for candidate in [each for each in slots if start + EDGE <= each.frame.seconds <= end - EDGE] or slots:
        parts[part_of(candidate.frame.seconds, start, end, quota.of(end - start))].append(candidate)
    return [_sharpest(parts[part]) for part in sorted(parts)]


def part_of(second: float, start: float, end: float, parts: int) -> int:
    """In which of so many equal parts of a shot a second lies, from 0; its end belongs to the last."""
    share = (second - start) / max(end - start, 1e-9)
    return min(max(int(share * parts), 0), parts - 1)


def _sharpest(slots: Sequence[FrameCandidate]) -> FrameCandidate:
    clearest = sorted(slots, key=lambda candidate: -candidate.sharpness)[:_MEASURED_PER_FRAME]
    return max(clearest, key=lambda candidate: detail(luma(candidate.frame.image)))
