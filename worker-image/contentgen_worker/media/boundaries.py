"""Where one shot ends and the next begins: what every detector answers, and `auto`, our own.

`auto` looks at thumbnails of 64 pixels' width and only at what is near: a boundary depends on no frame more than
`REACH` seconds away. So a recording may be cut anywhere, and its parts looked at apart give what the whole gives.

- Cut: the change from one frame to the next stands out against the changes around it, and the frames before differ
  from all of the frames after. A flash comes back, a pan or a whip goes on changing, a cut does neither.
- Dissolve: over a window, every frame is a mixture of the window's two ends, more of the second with each frame; the
  mixture explains what is seen, and the ends are different pictures. In a pan or a zoom what lies between is neither.
- Fade: the picture has no contrast left, at the level that a fade goes to.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from contentgen_worker.media.planes import Planes

REACH = 4.0  # seconds


class BoundaryKind(StrEnum):
    """How one shot becomes the next."""

    CUT = "Cut"
    DISSOLVE = "Dissolve"
    FADE = "Fade"


@dataclass(frozen=True, slots=True)
class Boundary:
    """`start`: the last second of the old shot; `end`: the first of the new one, one frame later for a cut."""

    start: float
    end: float
    kind: BoundaryKind


class BoundaryDetector(Protocol):
    """Finds boundaries in frames that come in order of time."""

    def push(self, seconds: float, planes: Planes) -> list[Boundary]:
        """The next frame. Returns the boundaries that have become certain; they may lag some frames."""

    def finish(self) -> list[Boundary]:
        """No frame follows. Returns what was still open."""


Thumbs = npt.NDArray[np.float32]
"""frame x value: a thumbnail's luma, then its chroma; the mean absolute difference of two is their distance."""

_SIZE = (64, 36)
_CHROMA = 1.0
_STEP = 1.0  # seconds between two looks


class Auto:
    """`find` on a stream: each look takes in what came since the last, and `REACH` on both sides of it."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque()
        self._thumbs: deque[npt.NDArray[np.float32]] = deque()
        self._certain = -np.inf  # boundaries up to this second have been told

    def push(self, seconds: float, planes: Planes) -> list[Boundary]:
        """The next frame."""
        self._seconds.append(seconds)
        self._thumbs.append(thumb(planes))
        if seconds - REACH < max(self._certain, self._seconds[0]) + _STEP:
            return []
        return self._look(seconds - REACH)

    def finish(self) -> list[Boundary]:
        """No frame follows."""
        return self._look(np.inf)

    def _look(self, until: float) -> list[Boundary]:
        if not self._seconds:
            return []
        found = find(np.array(self._seconds), np.stack(self._thumbs))
        told = [each for each in found if self._certain < each.end <= until]
        self._certain = until
        while self._seconds and self._seconds[0] < until - REACH:
            self._seconds.popleft()
            self._thumbs.popleft()
        return told


def thumb(planes: Planes) -> npt.NDArray[np.float32]:
    """What `auto` sees of a frame: one row of `Thumbs`."""
    half = (_SIZE[0] // 2, _SIZE[1] // 2)
    y = cv2.resize(planes.y, _SIZE, interpolation=cv2.INTER_AREA)
    u, v = (cv2.resize(plane, half, interpolation=cv2.INTER_AREA) for plane in (planes.u, planes.v))
    return np.concatenate([y.ravel(), u.ravel(), v.ravel()]).astype(np.float32)


def find(seconds: npt.NDArray[np.float64], thumbs: Thumbs) -> list[Boundary]:
    """The boundaries within a run of frames, in order."""
    if len(seconds) < 2:
        return []
    change = np.abs(np.diff(thumbs, axis=0)).mean(axis=1)
    return [Boundary(float(seconds[at]), float(seconds[at + 1]), BoundaryKind.CUT) for at in _cuts(thumbs, change)]


def _cuts(thumbs: Thumbs, change: npt.NDArray[np.float32]) -> Iterator[int]:
    """Each frame that is the last of its shot."""
    for at in np.flatnonzero(change > 8):
        around = np.concatenate([change[max(0, at - 5) : at], change[at + 1 : at + 6]])
        if change[at] < 2.5 * max(np.partition(around, -2)[-2] if len(around) > 1 else 0, 1):
            continue
        before, after = thumbs[max(0, at - 3) : at + 1], thumbs[at + 1 : at + 6]
        if np.abs(before[:, None] - after[None]).mean(axis=2).min() > 0.5 * change[at]:
            yield int(at)
