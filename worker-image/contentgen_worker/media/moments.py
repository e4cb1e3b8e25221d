"""Which moments of a video to take. Plain values; no decoder is needed to decide."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Shot:
    """One uninterrupted take: its number from 1, and seconds from the start."""

    number: int
    start: float
    end: float


@dataclass(frozen=True)
class Moment:
    """A time to take a picture at, in seconds, and the shot that it lies in."""

    shot: int
    seconds: float


def evenly(items: Sequence[T], count: int) -> tuple[T, ...]:
    """At most `count` of the items, spread over all of them."""
    if len(items) <= count:
        return tuple(items)
    return tuple(items[int((index + 0.5) * len(items) / count)] for index in range(count))


def moments(shots: Sequence[Shot], per_shot: int) -> tuple[Moment, ...]:
    """The middle of each shot, or several moments spread in it: never its edges, where dissolves are."""
    return tuple(
        Moment(shot.number, shot.start + (shot.end - shot.start) * (index + 1) / (per_shot + 1))
        for shot in shots
        for index in range(per_shot)
    )
