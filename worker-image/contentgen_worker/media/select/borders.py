"""Borders of a video: uniform bars around the picture, detected over several frames, and cropped per frame.

A frame is clear if each line outside is a bar's and most of the line beside it is not. A dark scene, or a white one
between white bars, has no visible edge and is ignored. A border is what nine of ten clear frames agree on.

Walls, skies, pages and flat drawings are uniform too. So bars that are not black count only on two opposite sides, with
one value in all clear frames, at least half of all, while the picture beside them changes. A part of a recording may
have black bars of its own, of equal width on two opposite sides.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import mode

import numpy as np

from contentgen_worker.media.decode.planes import Plane

_BLACK = 36  # luma as decoded: black is 16 (or 0), plus noise of the encoder
_NEAR = 8  # difference in luma of a bar's pixels
_LINE, _OTHER_LINE = 0.7, 0.95  # share of such pixels in a bar's line: subtitles and logos are in black ones
_OUTSIDE, _BESIDE = 0.9, 0.5  # share right before a visible edge, and largest share right after it
_OTHER_BESIDE = 0.25  # likewise beside other bars: a picture on a page is not as long as the page
_CROSSING = 0.8  # likewise, before the bars that cross the line are known
_PICTURE = 12.0  # minimum difference in luma across the edge; what fades has none
_MIN_SHARE, _MAX_SHARE = 0.008, 0.4  # share of the side
_MIN_VOTES = 3
_DISSENTING_SHARE = 0.1  # of the clear frames; some have subtitles or a logo in the border
_SAME_SHARE = 0.01  # difference of bars of one width
_CLEAR_SHARE = 0.5  # of all frames, for other bars
_CHANGES = 3  # of the picture beside other bars
_BAR_SHARE = 0.8  # of a border's pixels in one frame
_SAMPLES = 128  # pixels of a line, about
_PROFILE = 16  # values of the picture along an edge


@dataclass(frozen=True, slots=True)
class BorderBar:
    """Uniform lines at one side: their share of the width or height, and their luma as decoded."""

    share: float = 0.0
    level: int = 16

    @property
    def is_black(self) -> bool:
        """Whether it is as dark as a letterbox."""
        return self.level <= _BLACK


_NONE = BorderBar()


@dataclass(frozen=True, slots=True)
class Borders:
    """Bars of a decoded frame."""

    left: BorderBar = _NONE
    top: BorderBar = _NONE
    right: BorderBar = _NONE
    bottom: BorderBar = _NONE

    def area(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the picture in a frame of this size; right and bottom exclusive."""
        left, right = (_lines(bar, width) for bar in (self.left, self.right))
        top, bottom = (_lines(bar, height) for bar in (self.top, self.bottom))
        return left, top, width - right, height - bottom


def _lines(bar: BorderBar, length: int) -> int:
    """Lines to crop; encoders blur the edge."""
    return round(bar.share * length) + max(1, length // 720) if bar.share else 0


@dataclass(slots=True)
class _Side:
    """Bars of the clear frames at one side, and their seconds. `changes`: of the picture beside them."""

    bars: list[BorderBar] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    profile: Plane | None = None
    changes: int = 0

    def add(self, seconds: float, bar: BorderBar, profile: Plane) -> None:
        self.bars.append(bar)
        self.seconds.append(seconds)
        if self.profile is None or len(profile) != len(self.profile) or _difference(profile, self.profile) > _PICTURE:
            self.profile, self.changes = profile, self.changes + 1

    def black(self) -> BorderBar:
        """Black bar of all frames so far."""
        return _consensus([bar if bar.is_black else _NONE for bar in self.bars])

    def black_near(self, seconds: float) -> BorderBar:
        """Black bar of the frames around a second."""
        nearest = sorted(zip(self.seconds, self.bars, strict=True), key=lambda each: abs(each[0] - seconds))
        return _consensus([bar if bar.is_black else _NONE for _, bar in nearest[:_MIN_VOTES]])

    def other(self, frames: int) -> BorderBar:
        """Bar that is not black, of all of this number of frames."""
        if self.changes < _CHANGES or len(self.bars) < _CLEAR_SHARE * frames:
            return _NONE
        usual = BorderBar(0.0, int(np.median([bar.level for bar in self.bars])))
        return _NONE if usual.is_black else _consensus([bar if _alike(bar, usual) else usual for bar in self.bars])


class BorderFinder:
    """Collects bars from luma planes of one video, at full size; 0.1 ms per 360p plane, 0.4 ms with bars."""

    def __init__(self) -> None:
        self._left, self._top, self._right, self._bottom = (_Side() for _ in range(4))
        self._frames = 0

    def push(self, seconds: float, y: Plane) -> None:
        """Add a frame."""
        self._frames += 1
        for side, seen in zip((self._left, self._top, self._right, self._bottom), _seen_bars(y), strict=True):
            if seen is not None:
                side.add(seconds, *seen)

    def found(self, seconds: float) -> Borders | None:
        """Border of a frame at this second, by the frames so far; None without a border."""
        left, right = self._opposite(self._left, self._right, seconds)
        top, bottom = self._opposite(self._top, self._bottom, seconds)
        found = Borders(left, top, right, bottom)
        return found if found != Borders() else None

    def _opposite(self, one: _Side, other: _Side, seconds: float) -> tuple[BorderBar, BorderBar]:
        coloured = one.other(self._frames), other.other(self._frames)
        if all(bar.share for bar in coloured) and _alike(*coloured):
            return coloured
        black = one.black(), other.black()
        if any(bar.share for bar in black):
            return black
        near = one.black_near(seconds), other.black_near(seconds)
        is_part = all(bar.share for bar in near) and abs(near[0].share - near[1].share) <= _SAME_SHARE
        return near if is_part else (_NONE, _NONE)


def _alike(one: BorderBar, other: BorderBar) -> bool:
    return abs(one.level - other.level) <= _NEAR


def _consensus(bars: Sequence[BorderBar]) -> BorderBar:
    """The usual bar among those that are about as wide as nine of ten are at least."""
    if len(bars) < _MIN_VOTES:
        return _NONE
    least = sorted(bar.share for bar in bars)[int(_DISSENTING_SHARE * len(bars))]
    return mode(bar for bar in bars if abs(bar.share - least) <= _SAME_SHARE) if least >= _MIN_SHARE else _NONE


def picture_area(y: Plane, borders: Borders | None) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the picture in a full frame, in pixels (right and bottom exclusive).

    A side of the frame that has a picture in its border is kept.
    """
    height, width = y.shape
    if borders is None:
        return 0, 0, width, height
    left, top, right, bottom = borders.area(width, height)
    return (
        left if _is_bar(y[top:bottom, :left], borders.left) else 0,
        top if _is_bar(y[:top, left:right], borders.top) else 0,
        right if _is_bar(y[top:bottom, right:], borders.right) else width,
        bottom if _is_bar(y[bottom:, left:right], borders.bottom) else height,
    )


def _is_bar(outside: Plane, bar: BorderBar) -> bool:
    near = outside <= _BLACK if bar.is_black else _near(outside, bar.level)
    return bool(outside.size) and float(near.mean()) >= _BAR_SHARE


def black_share(y: Plane, black: int = 24) -> float:
    """Share of a finished picture's height or width that is black lines at its edges, 0 to 1. A gradual fade to black
    doesn't count."""
    left, top, right, bottom = (
        seen[0].share if seen is not None and seen[0].level <= black else 0.0 for seen in _seen_bars(y)
    )
    return max(left + right, top + bottom)


_SeenBar = tuple[BorderBar, Plane]
"""Bar of a frame, of share 0 without one, and values of the picture along it."""


def _seen_bars(y: Plane) -> list[_SeenBar | None]:
    """Bars at the left, top, right and bottom of a frame; None where no edge is visible.

    Lines also cross the bars of the other direction, so they are looked at again without those.
    """
    sides: list[_SeenBar | None] = [None] * 4
    for beside in ((_CROSSING, _CROSSING), (_BESIDE, _OTHER_BESIDE), (_BESIDE, _OTHER_BESIDE)):
        for first, lines in ((0, y.T), (1, y)):
            across = lines[:, _between(sides[1 - first], sides[3 - first], lines.shape[1])]
            sampled = across[:, :: max(1, across.shape[1] // _SAMPLES)]
            sides[first], sides[first + 2] = _seen_bar(sampled, beside), _seen_bar(sampled[::-1], beside)
        if not any(seen is not None and seen[0].share for seen in sides):
            break
    return sides


def _between(first: _SeenBar | None, last: _SeenBar | None, length: int) -> slice:
    before, after = (round(seen[0].share * length) if seen else 0 for seen in (first, last))
    return slice(before, length - after)


def _seen_bar(lines: Plane, largest: tuple[float, float]) -> _SeenBar | None:
    """Bar in the first lines, from the outside inwards. `largest`: share beside a black bar, and beside others."""
    level = int(np.median(lines[0]))
    uniform, most = (_LINE, largest[0]) if level <= _BLACK else (_OTHER_LINE, largest[1])
    if float(_near(lines[0], level).mean()) < uniform:  # most pictures have no bar: check one line first
        return BorderBar(0.0, level), _profile(lines[0])
    near = _near(lines[: int(len(lines) * _MAX_SHARE) + 3], level).mean(axis=1)
    end = int(np.argmax(near < uniform))
    if near[end] >= uniform or end + 1 >= len(near):
        return None
    outside, beside = lines[max(0, end - 2)], lines[end + 1]  # the line on the edge is partly bar
    is_edge = near[max(0, end - 2)] >= _OUTSIDE and near[end + 1] <= most
    is_edge = is_edge and _difference(beside, outside) >= _PICTURE
    return (BorderBar(end / len(lines), level), _profile(beside)) if is_edge else None


def _near(pixels: Plane, level: int) -> "np.ndarray[tuple[int, ...], np.dtype[np.bool_]]":
    return (pixels >= max(0, level - _NEAR)) & (pixels <= min(255, level + _NEAR))


def _profile(line: Plane) -> Plane:
    return line[:: max(1, len(line) // _PROFILE)][:_PROFILE].copy()


def _difference(one: Plane, other: Plane) -> float:
    return float(np.abs(np.subtract(one, other, dtype=np.int16)).mean())
