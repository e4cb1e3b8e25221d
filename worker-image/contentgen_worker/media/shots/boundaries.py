"""Where one shot ends and the next begins: what every detector answers."""

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
"""Seconds around a boundary on which it may depend: a recording may be taken apart anywhere, if its parts overlap by as
much."""

LAG = 7.0
"""Seconds from the end of a boundary until it is told; of a later one fewer frames are left to choose from."""


class BoundaryKind(StrEnum):
    """How one shot becomes the next."""

    CUT = "Cut"
    DISSOLVE = "Dissolve"
    FADE = "Fade"


@transferable
@dataclass(frozen=True, slots=True)
class Boundary:
    """`start`: the last second of the old shot; `end`: the first of the new one, one frame later for a cut."""

    start: float
    end: float
    kind: BoundaryKind

    def __post_init__(self) -> None:
        if self.end < self.start:
            raise ValueError(f"a boundary from {self.start} s to {self.end} s")


class BoundaryDetector(Protocol):
    """Finds boundaries in frames that come in order of time."""

    def thumbnail(self, planes: Planes) -> Plane:
        """All that it goes by of a frame: an array, of one shape for all frames of a recording."""

    def push(self, seconds: float, thumbnail: Plane) -> list[Boundary]:
        """The next frame. Returns the boundaries that have become certain; they may lag some frames."""

    def finish(self) -> list[Boundary]:
        """No frame follows. Returns what was still open."""


@transferable
@dataclass(frozen=True, slots=True)
class ThumbnailBuffer:
    """A detector's looks at some frames, in order of time, as plain bytes: what one process may tell another."""

    shape: tuple[int, ...] = (0,)
    seconds: tuple[float, ...] = ()
    content: bytes = b""

    def __post_init__(self) -> None:
        if min(self.shape, default=-1) < 0 or len(self.content) != math.prod(self.shape) * len(self.seconds):
            raise ValueError(f"{len(self.content)} bytes for {len(self.seconds)} looks of {self.shape}")
        if any(before > after for before, after in pairwise(self.seconds)):
            raise ValueError("looks that are not in order of time")

    @classmethod
    def of(cls, thumbnails: Sequence[tuple[float, Plane]]) -> "ThumbnailBuffer":
        """Of looks in order of time, with their seconds."""
        if not thumbnails:
            return cls()
        seconds, arrays = zip(*thumbnails, strict=True)
        return cls(arrays[0].shape, seconds, b"".join(each.tobytes() for each in arrays))

    def thumbnails(self) -> Iterator[tuple[float, Plane]]:
        """The looks, as they were."""
        arrays = np.frombuffer(self.content, np.uint8).reshape(len(self.seconds), *self.shape)
        return zip(self.seconds, arrays, strict=True)
