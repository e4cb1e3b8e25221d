"""Shots between boundaries."""

from collections.abc import Sequence
from dataclasses import dataclass

from contentgen_worker.media.shots.boundaries import Boundary


@dataclass(frozen=True, slots=True)
class Shot:
    """Uninterrupted take: its number from 1, and seconds from the recording's start. Transitions belong to no shot."""

    number: int
    start: float
    end: float


def drop_close_boundaries(
    boundaries: Sequence[Boundary], start: float, end: float, min_shot_seconds: float
) -> tuple[Boundary, ...]:
    """Boundaries, in order, without those that would make a shot shorter than `min_shot_seconds`; the later of two is
    dropped."""
    kept: list[Boundary] = []
    since = start
    for boundary in sorted(boundaries, key=lambda each: (each.start, each.end)):
        if boundary.start < start or boundary.end > end or boundary.start - since < min_shot_seconds:
            continue
        kept.append(boundary)
        since = boundary.end
    if kept and end - kept[-1].end < min_shot_seconds:
        kept.pop()
    return tuple(kept)


def shots(boundaries: Sequence[Boundary], start: float, end: float, first: int = 1) -> tuple[Shot, ...]:
    """Shots between ordered boundaries, numbered from `first`; one shot without boundaries."""
    starts = [start, *(boundary.end for boundary in boundaries)]
    ends = [*(boundary.start for boundary in boundaries), end]
    return tuple(Shot(first + index, *pair) for index, pair in enumerate(zip(starts, ends, strict=True)))
