"""Black borders of a video (letterbox, pillarbox): found over several of its frames, and cropped from each.

A dark scene has no visible border, so it has no say; a clear one has: black outside, picture right beside it. What
nine of ten clear ones agree on is the border. Before it is cropped from a frame, that frame is asked again: where
it has a picture there, it keeps it.
"""

from dataclasses import dataclass

import numpy as np

from contentgen_worker.media.decode.planes import Plane

_BLACK = 36  # luma as decoded: black is 16 (or 0), and encoders make some noise of it
_FLAT = 3.0  # standard deviation of luma along a black line
_PICTURE = 12.0  # by how much the line beside a border is brighter
_MIN_SHARE, _MAX_SHARE = 0.008, 0.4  # of the side
_MIN_VOTES = 3
_DISSENTING_SHARE = 0.1  # of the clear frames: those with subtitles or a logo in the border
_BLACK_SHARE = 0.8  # of a border's pixels in a single frame, for the same reason


@dataclass(frozen=True, slots=True)
class Borders:
    """What is black at each side of a frame as decoded, as shares of its width and height."""

    left: float = 0.0
    top: float = 0.0
    right: float = 0.0
    bottom: float = 0.0


class BorderFinder:
    """Looks at luma planes of one video, about 256 wide, as decoded; 0.1 ms each, so some of them will do."""

    def __init__(self) -> None:
        self._votes: tuple[list[float], ...] = ([], [], [], [])

    def push(self, y: Plane) -> None:
        """One more frame."""
        for votes, lines in zip(self._votes, _sides(y), strict=True):
            vote = _edge(lines)
            if vote is not None:
                votes.append(vote)

    def found(self) -> Borders | None:
        """What the frames so far agree on; None: no border."""
        sides = [_consensus(votes) for votes in self._votes]
        return Borders(*sides) if any(sides) else None


def picture_area(y: Plane, borders: Borders | None) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the picture in a full frame (right and bottom outside), in pixels."""
    height, width = y.shape
    if borders is None:
        return 0, 0, width, height
    expected = (borders.left, borders.top, borders.right, borders.bottom)
    left, top, right, bottom = (_black_lines(lines, share) for lines, share in zip(_sides(y), expected, strict=True))
    return left, top, width - right, height - bottom


def black_share(y: Plane, black: int = 24) -> float:
    """How much of a finished picture's height or width is black lines at its edges, 0 to 1: borders that are left.

    What fades into black is dark there, and has no border.
    """
    left, top, right, bottom = (_edge(lines, black) or 0.0 for lines in _sides(y))
    return max(left + right, top + bottom)


def _sides(y: Plane) -> tuple[Plane, Plane, Plane, Plane]:
    """Lines from the left, top, right and bottom inwards."""
    return y.T, y, y.T[::-1], y[::-1]


def _black_run(lines: Plane, level: int) -> int:
    """Lines before the first that is not black; -1 where that is beyond what a border may be."""
    for part in (lines[:1], lines[: int(len(lines) * _MAX_SHARE) + 1]):  # most pictures have no border at all
        black = (part.mean(axis=1) <= level) & (part.std(axis=1) <= _FLAT)
        if not black.all():
            return int(np.argmin(black))
    return -1


def _edge(lines: Plane, level: int = _BLACK) -> float | None:
    """Where the picture begins, as a share of the lines; None where that can't be seen."""
    black_lines = _black_run(lines, level)
    if black_lines < 0:
        return None
    outside = (
        float(lines[max(0, black_lines - 2) : black_lines].mean()) if black_lines else 16.0
    )  # what fades into black has no edge
    beside = lines[black_lines : black_lines + 3].mean(axis=1)  # a line on the border itself is partly black
    return black_lines / len(lines) if float(beside.max()) - outside >= _PICTURE else None


def _consensus(votes: list[float]) -> float:
    if len(votes) < _MIN_VOTES:
        return 0.0
    share = sorted(votes)[int(_DISSENTING_SHARE * len(votes))]
    return share if share >= _MIN_SHARE else 0.0


def _black_lines(lines: Plane, share: float) -> int:
    """How many lines to crop from this frame, to the line; 0 where it has a picture there."""
    if not share:
        return 0
    expected = round(share * len(lines))
    slack = max(2, len(lines) // 70)  # a line and a half of the small planes
    border = lines[: max(1, expected - slack)]
    if float((border <= _BLACK).mean()) < _BLACK_SHARE:
        return 0
    near = lines[expected - slack : expected + slack] if expected > slack else lines[: expected + slack]
    dark = np.flatnonzero(near.mean(axis=1) <= _BLACK)
    exact = max(0, expected - slack) + (int(dark[-1]) + 1 if len(dark) else 0)
    return exact + max(1, len(lines) // 360)  # encoders smear the edge
