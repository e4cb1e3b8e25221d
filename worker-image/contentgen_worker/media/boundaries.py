"""Where one shot ends and the next begins: what every detector answers."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from contentgen_worker.media.planes import Planes


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
