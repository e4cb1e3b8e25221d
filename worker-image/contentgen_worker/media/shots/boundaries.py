"""Boundaries between shots, and the interface of detectors."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Protocol

import numpy as np

from contentgen_worker.media.codec import transferable
from contentgen_worker.media.decode.planes import Plane, Planes

REACH = 3.0
"""Seconds around a boundary on which it may depend: the overlap needed to split a recording anywhere."""

LAG = 7.0
"""Maximum seconds from the end of a boundary to its report; frames are kept in memory for as long."""


MAX_SKIPPED = 4
"""Frames between two sampled ones, at most, beside a cut: its middle is then no more than two frames off."""


class BoundaryKind(StrEnum):
    """Transition between two shots."""

    CUT = "Cut"
    DISSOLVE = "Dissolve"
    FADE = "Fade"


@transferable
@dataclass(frozen=True, slots=True)
class Boundary:
    """`start`: last second of the old shot; `end`: first second of the new one, one frame later for a cut."""

    start: float
    end: float
    kind: BoundaryKind

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError(f"a boundary from {self.start} s to {self.end} s")


class BoundaryDetector(Protocol):
    """Finds boundaries in frames that come in order of time."""

    def thumbnail(self, planes: Planes) -> Plane:
        """Detector's input for a frame: an array of constant shape per recording."""

    def push(self, seconds: float, thumbnail: Plane) -> list[Boundary]:
        """Add the next frame. Returns the boundaries that became certain, which may lag some frames."""

    def finish(self) -> list[Boundary]:
        """End of the frames. Returns the remaining boundaries."""


class SparseDetector:
    """Detector of samples without all frames: a cut is placed in the middle of the frames that were skipped there."""

    def __init__(self, detector: BoundaryDetector, frame_seconds: float) -> None:
        self._detector, self._frame_seconds = detector, frame_seconds

    def thumbnail(self, planes: Planes) -> Plane:
        """Thumbnail of the detector."""
        return self._detector.thumbnail(planes)

    def push(self, seconds: float, thumbnail: Plane) -> list[Boundary]:
        """Add the next sample. Returns the boundaries that became certain."""
        return [self._centred(each) for each in self._detector.push(seconds, thumbnail)]

    def finish(self) -> list[Boundary]:
        """End of the samples. Returns the remaining boundaries."""
        return [self._centred(each) for each in self._detector.finish()]

    def _centred(self, boundary: Boundary) -> Boundary:
        skipped = round((boundary.end - boundary.start) / self._frame_seconds) - 1
        if (
            boundary.kind is not BoundaryKind.CUT or not 1 <= skipped <= MAX_SKIPPED
        ):  # more: a frame that was shown long
            return boundary
        start = boundary.start + skipped // 2 * self._frame_seconds
        return Boundary(start, start + self._frame_seconds, BoundaryKind.CUT)


@transferable
@dataclass(frozen=True, slots=True)
class ThumbnailBuffer:
    """Thumbnails of some frames in order of time, as bytes that a child may send."""

    shape: tuple[int, ...] = (0,)
    seconds: tuple[float, ...] = ()
    content: bytes = b""

    def __post_init__(self) -> None:
        if min(self.shape, default=-1) < 0 or len(self.content) != math.prod(self.shape) * len(self.seconds):
            raise ValueError(f"{len(self.content)} bytes for {len(self.seconds)} thumbnails of {self.shape}")
        if any(before > after for before, after in pairwise(self.seconds)):
            raise ValueError("thumbnails are not in order of time")

    @classmethod
    def from_thumbnails(cls, thumbnails: Sequence[tuple[float, Plane]]) -> "ThumbnailBuffer":
        """Buffer of thumbnails with their seconds, in order of time."""
        if not thumbnails:
            return cls()
        seconds, arrays = zip(*thumbnails, strict=True)
        return cls(arrays[0].shape, seconds, b"".join(array.tobytes() for array in arrays))

    def thumbnails(self) -> Iterator[tuple[float, Plane]]:
        """Seconds and thumbnails, in order."""
        arrays = np.frombuffer(self.content, np.uint8).reshape(len(self.seconds), *self.shape)
        return zip(self.seconds, arrays, strict=True)
