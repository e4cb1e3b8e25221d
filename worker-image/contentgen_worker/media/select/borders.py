"""Black borders of a video (letterbox, pillarbox): detected over several frames, and cropped per frame.

A dark scene has no visible border and is ignored. A clear frame is black outside with a picture right beside it; the
border is what nine of ten clear frames agree on. Before cropping a frame, its own border is checked: a picture in it is
kept.
"""

from dataclasses import dataclass

import numpy as np

from contentgen_worker.media.decode.planes import Plane

_BLACK = 36  # luma as decoded: black is 16 (or 0), plus noise of the encoder
_FLAT = 3.0  # standard deviation of luma along a black line
_PICTURE = 12.0  # minimum difference in luma between border and picture
_MIN_SHARE, _MAX_SHARE = 0.008, 0.4  # share of the side
_MIN_VOTES = 3
_DISSENTING_SHARE = 0.1  # of the clear frames; some have subtitles or a logo in the border
_BLACK_SHARE = 0.8  # of a border's pixels in one frame, for the same reason


@dataclass(frozen=True, slots=True)
class Borders:
    """Black borders of a decoded frame, as shares of its width and height."""

    left: float = 0.0
    top: float = 0.0
    right: float = 0.0
    bottom: float = 0.0


class BorderFinder:
    """Collects borders from luma planes of one video, about 256 pixels wide; 0.1 ms per plane."""

    def __init__(self) -> None:
        self._votes: tuple[list[float], ...] = ([], [], [], [])

    def push(self, y: Plane) -> None:
        """Add a frame."""
        for votes, lines in zip(self._votes, _sides(y), strict=True):
            vote = _edge(lines)
            if vote is not None:
                votes.append(vote)

    def found(self) -> Borders | None:
        """Border that the frames so far agree on; None without a border."""
        sides = [_consensus(votes) for votes in self._votes]
        return Borders(*sides) if any(sides) else None


def picture_area(y: Plane, borders: Borders | None) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the picture in a full frame, in pixels (right and bottom exclusive)."""
    height, width = y.shape
    if borders is None:
        return 0, 0, width, height
    expected = (borders.left, borders.top, borders.right, borders.bottom)
    left, top, right, bottom = (_black_lines(lines, share) for lines, share in zip(_sides(y), expected, strict=True))
    return left, top, width - right, height - bottom


def black_share(y: Plane, black: int = 24) -> float:
    """Share of a finished picture's height or width that is black lines at its edges, 0 to 1. A gradual fade to black
    doesn't count."""
    left, top, right, bottom = (_edge(lines, black) or 0.0 for lines in _sides(y))
    return max(left + right, top + bottom)


def _sides(y: Plane) -> tuple[Plane, Plane, Plane, Plane]:
    """Lines from the left, top, right and bottom inwards."""
    return y.T, y, y.T[::-1], y[::-1]


def _black_run(lines: Plane, level: int) -> int:
    """Number of black lines before the first other one; -1 above the maximum share of a border."""
    for part in (
        lines[:1],
        lines[: int(len(lines) * _MAX_SHARE) + 1],
    ):  # most pictures have no border: check one line first
        black = (part.mean(axis=1) <= level) & (part.std(axis=1) <= _FLAT)
        if not black.all():
            return int(np.argmin(black))
    return -1


def _edge(lines: Plane, level: int = _BLACK) -> float | None:
    """Start of the picture as a share of the lines; None if not visible."""
    black_lines = _black_run(lines, level)
    if black_lines < 0:
        return None
    outside = (
        float(lines[max(0, black_lines - 2) : black_lines].mean()) if black_lines else 16.0
    )  # a gradual fade has no edge
    beside = lines[black_lines : black_lines + 3].mean(axis=1)  # the line on the edge is partly black
    return black_lines / len(lines) if float(beside.max()) - outside >= _PICTURE else None


def _consensus(votes: list[float]) -> float:
    if len(votes) < _MIN_VOTES:
        return 0.0
    share = sorted(votes)[int(_DISSENTING_SHARE * len(votes))]
    return share if share >= _MIN_SHARE else 0.0


def _black_lines(lines: Plane, share: float) -> int:
    """Exact number of lines to crop from this frame; 0 if it has a picture there."""
    if not share:
        return 0
    expected = round(share * len(lines))
    slack = max(2, len(lines) // 70)  # one and a half lines of the small planes
    border = lines[: max(1, expected - slack)]
    if float((border <= _BLACK).mean()) < _BLACK_SHARE:
        return 0
    near = lines[expected - slack : expected + slack] if expected > slack else lines[: expected + slack]
    dark = np.flatnonzero(near.mean(axis=1) <= _BLACK)
    exact = max(0, expected - slack) + (int(dark[-1]) + 1 if len(dark) else 0)
    return exact + max(1, len(lines) // 360)  # encoders blur the edge
