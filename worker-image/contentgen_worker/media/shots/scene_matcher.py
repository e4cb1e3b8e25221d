"""Whether two frames show the same scene, although the camera moved, the light changed or something covers a part.

One frame is shifted, and enlarged if asked, to where it resembles the other one most. Then the share of the picture
whose details correlate is measured. It is near 1 between neighbouring frames of a shot, a third if an object covers
most of the picture or motion blurs it, and below 0.2 between frames of two shots.

- The shift is the peak of the phase correlation, so it needs no search and is independent of contrast.
- Details are compared: luma without its local mean, correlated within a window. Gain and offset of light cancel out.
- An overlay, such as a logo or subtitles, stays in place while the scene changes, and can be ignored.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

from contentgen_worker.media.decode.planes import Plane

Picture = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Shift = tuple[int, int]
"""Pixels to the right and down."""

UNSCALED = (1.0,)
ZOOMS = (1.0, 0.9, 1.12, 0.8, 1.25, 0.7, 1.42)
"""Factors by which a frame is enlarged. Details still correlate at a zoom between two of them."""

COARSE_ZOOMS = (1.0, 0.8, 1.25)
"""Likewise, at a third of the cost; fewer details correlate between them."""

_MEAN = (11, 11)  # pixels; larger structures are no detail, because unrelated pictures share them
_WINDOW = (9, 9)  # pixels within which details are correlated
_NOISE = 4.0  # variance of noise and of coding errors
_CORRELATED = 0.7  # minimum correlation of details that are the same
_OVERLAP = 0.25  # minimum share of the picture that two shifted frames have in common
_DETAILED = 0.06  # minimum share of the picture that has details; with less, nothing is known
_CLEAR = 0.6  # share that no other zoom needs to exceed
_OVERLAY = 0.15  # minimum share of the details that stay in place; fewer do by chance
_STILL = 4  # largest change of an overlay's luma; explosions and strobes light the scene that they leave visible
_CHANGED = 0.25  # minimum share of the picture with other details; with less, an object moves before the scene
_CHANGED_LINE = 0.2  # minimum share of a line of that rectangle
_WITHIN = 0.12  # maximum share of it that stays
_MARGIN = (3, 3)  # pixels around an overlay that are ignored too
_BLACK = 28  # maximum luma of a bar: 16, plus noise of the encoder
_DARK_SHARE = 0.6  # of a bar's line; the rest may be a subtitle or a logo
_EVEN, _EVEN_SHARE = 4, 0.95  # difference in luma within a bar of another colour, and share of its line
_BESIDE = 0.5  # largest share of the line beside it that is like the bar
_WIDEST = 0.4  # share of the side, as in borders.py; a vertical film in a 16:9 picture has 0.342
_KEPT = 64  # frames' details in memory, 40 kB each
_FINE = (5, 5)  # pixels; smaller structures are texture
_FLOOR = 2.0  # added to the length of a spectrum's values, since weak frequencies are noise


@dataclass(frozen=True, slots=True)
class SceneMatch:
    """`share`: of the details that both frames have, times the root of the frames' overlap, since a small part of a
    picture resembles another by chance.

    `detailed`: share of the picture that has details. `zoom`: factor by which the first frame is enlarged.
    """

    share: float
    detailed: float = 0.0
    zoom: float = 1.0


@dataclass(frozen=True, slots=True)
class _Details:
    """Details of a frame, their local power, and their spectrum with each value divided by the root of its length."""

    picture: Picture
    power: Picture
    spectrum: Picture
    visible: Picture  # 1, and 0 where an overlay hides the scene

    @classmethod
    def from_luma(cls, luma: Plane, visible: Picture, zoom: float) -> "_Details":
        picture = np.ascontiguousarray(without_bars(luma), np.float32)
        if zoom != 1:
            height, width = luma.shape
            centred = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), 0, zoom)
            picture = np.asarray(cv2.warpAffine(picture, centred, (width, height), borderMode=cv2.BORDER_REFLECT_101))
            visible = np.asarray(cv2.warpAffine(visible, centred, (width, height), flags=cv2.INTER_NEAREST), np.float32)
        picture = (picture - np.asarray(cv2.blur(picture, _MEAN), np.float32)) * visible
        spectrum = np.asarray(cv2.dft(picture, flags=cv2.DFT_COMPLEX_OUTPUT), np.float32)
        length = cv2.magnitude(spectrum[..., 0], spectrum[..., 1])
        spectrum /= np.sqrt(length + _FLOOR)[..., None]
        return cls(picture, np.asarray(cv2.blur(picture * picture, _WINDOW), np.float32), spectrum, visible)


@dataclass(slots=True)
class SceneMatcher:
    """Matches between the frames of a run; each is computed once. `luma`: frame x height x width.

    `visible`: 1, and 0 in the part of all frames that is ignored; height x width.
    """

    luma: Plane
    visible: Picture
    _details: dict[tuple[int, float], _Details] = field(default_factory=dict)
    _shifted: dict[tuple[int, int, float], SceneMatch] = field(default_factory=dict)
    _in_place: dict[tuple[int, int], SceneMatch] = field(default_factory=dict)
    _texture: dict[int, float] = field(default_factory=dict)

    @classmethod
    def from_luma(cls, luma: Plane) -> "SceneMatcher":
        """Matcher of whole frames."""
        return cls(luma, np.ones(luma.shape[1:], np.float32))

    def following(self, luma: Plane, dropped: int) -> "SceneMatcher":
        """Matcher for a run that begins this number of frames later. It keeps the known matches."""
        return SceneMatcher(
            luma,
            self.visible,
            {},
            {
                (one - dropped, other - dropped, zoom): match
                for (one, other, zoom), match in self._shifted.items()
                if min(one, other) >= dropped
            },
            {
                (one - dropped, other - dropped): match
                for (one, other), match in self._in_place.items()
                if min(one, other) >= dropped
            },
        )

    def without_overlay(self, one: int, other: int) -> "SceneMatcher":
        """Matcher that ignores what stays in place between two frames, if most of the scene changes: a logo, a ticker,
        subtitles, the windows around a player."""
        first, second = self._of(one, 1.0), self._of(other, 1.0)
        detailed, same = _same_details(first, second, (0, 0))
        still = same & (cv2.absdiff(self.luma[one], self.luma[other]) <= _STILL)
        if not _is_overlay(still, detailed & ~same):
            return self
        hidden = np.asarray(cv2.blur(still.astype(np.float32), _MARGIN)) > 0
        return SceneMatcher(self.luma, self.visible * ~hidden)

    def in_place(self, one: int, other: int) -> SceneMatch:
        """Match of two frames without a shift."""
        key = one, other
        if key not in self._in_place:
            self._in_place[key] = _compared(self._of(one, 1.0), self._of(other, 1.0), (0, 0), 1.0)
        return self._in_place[key]

    def texture(self, frame: int) -> float:
        """Variance of a frame's texture."""
        if frame not in self._texture:
            picture = self.luma[frame].astype(np.float32)
            self._texture[frame] = float(np.mean((picture - np.asarray(cv2.blur(picture, _FINE))) ** 2))
        return self._texture[frame]

    def match(self, one: int, other: int, zooms: Sequence[float] = UNSCALED) -> SceneMatch:
        """Best match of two frames for any shift and these zooms. A clear match ends the search."""
        best = SceneMatch(0.0)
        for zoom in zooms:
            best = max(best, self._zoomed(one, other, zoom), key=lambda each: each.share)
            if best.share >= _CLEAR:
                break
        return best

    def _zoomed(self, one: int, other: int, zoom: float) -> SceneMatch:
        """Best match for a zoom. Reducing a frame would leave a border, so the other one is enlarged instead."""
        key = one, other, zoom
        if key not in self._shifted:
            first, second = self._of(one, max(zoom, 1.0)), self._of(other, max(1 / zoom, 1.0))
            found = [_compared(first, second, shift, zoom) for shift in _shifts(first, second)]
            found.append(self.in_place(one, other) if zoom == 1 else _compared(first, second, (0, 0), zoom))
            self._shifted[key] = max(found, key=lambda each: each.share)
        return self._shifted[key]

    def _of(self, frame: int, zoom: float) -> _Details:
        key = frame, zoom
        if key not in self._details:
            if len(self._details) >= _KEPT:
                del self._details[next(iter(self._details))]
            self._details[key] = _Details.from_luma(self.luma[frame], self.visible, zoom)
        return self._details[key]


def _shifts(one: _Details, other: _Details) -> list[Shift]:
    """Likeliest shifts of the first frame against the other. The correlation yields them modulo the size."""
    correlation = cv2.idft(cv2.mulSpectrums(one.spectrum, other.spectrum, 0, conjB=True), flags=cv2.DFT_REAL_OUTPUT)
    height, width = correlation.shape
    y, x = divmod(int(np.argmax(correlation)), width)
    return [
        (across, down)
        for across in (x, x - width)
        for down in (y, y - height)
        if (across or down) and (1 - abs(across) / width) * (1 - abs(down) / height) >= _OVERLAP
    ]


def _compared(one: _Details, other: _Details, shift: Shift, zoom: float) -> SceneMatch:
    """Match within the overlap, after the first frame was shifted back."""
    detailed, same = _same_details(one, other, shift)
    count, area = int(np.count_nonzero(detailed)), int(np.count_nonzero(one.visible))
    if count < _DETAILED * one.visible.size:
        return SceneMatch(0.0, count / max(area, 1), zoom)
    overlap = detailed.size / one.visible.size
    return SceneMatch(int(np.count_nonzero(same)) / count * math.sqrt(overlap), count / area, zoom)


def _same_details(one: _Details, other: _Details, shift: Shift) -> tuple[Mask, Mask]:
    """Masks of the overlap of two frames: pixels with visible details, and those of them that are the same."""
    (height, width), (x, y) = one.picture.shape, shift
    here = slice(max(0, y), height + min(0, y)), slice(max(0, x), width + min(0, x))
    there = slice(max(0, -y), height + min(0, -y)), slice(max(0, -x), width + min(0, -x))
    power, other_power = one.power[here], other.power[there]
    larger = np.maximum(power, other_power)
    detailed = (larger > 2 * _NOISE) & (one.visible[here] * other.visible[there] > 0)
    common = cv2.blur(one.picture[here] * other.picture[there], _WINDOW)
    return detailed, detailed & (common > _CORRELATED * np.sqrt(power * other_power + _NOISE * larger))


def _is_overlay(still: Mask, changed: Mask) -> bool:
    """Whether the details that stay are beside the rectangle of those that change, most of the picture.

    An explosion, smoke or an object has a rounder outline, so details of the scene stay within its rectangle.
    """
    count, changes = int(np.count_nonzero(still)), int(np.count_nonzero(changed))
    if count < _OVERLAY * (count + changes) or changes < _CHANGED * changed.size:
        return False
    rows, columns = (np.flatnonzero(changed.mean(axis=axis) >= _CHANGED_LINE) for axis in (1, 0))
    if not (len(rows) and len(columns)):
        return False
    within = still[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return float(within.mean()) <= _WITHIN


def without_bars(luma: Plane) -> Plane:
    """Luma whose bars (letterbox, pillarbox) show the picture's nearest line.

    The edges of bars are in every frame, so they would match between scenes.
    """
    across = _bars_filled(luma).T
    filled = _bars_filled(across)
    if filled is across:
        return filled.T
    return _bars_filled(filled.T)  # wide pillars hide bars of the other direction


def _bars_filled(lines: Plane) -> Plane:
    """Likewise, for bars at the first and the last lines only. Bars of another colour than black are on both sides;
    one alone may be a wall or a sky.
    """
    first, after = _dark_lines(lines), _dark_lines(lines[::-1])
    if not first and not after and abs(int(lines[0, 0]) - int(lines[-1, 0])) <= 2 * _EVEN:
        first, after = _even_lines(lines), _even_lines(lines[::-1])
        first, after = (first, after) if first and after else (0, 0)
    return lines[np.clip(np.arange(len(lines)), first, len(lines) - 1 - after)] if first or after else lines


def _dark_lines(lines: Plane) -> int:
    """Number of lines before the first one that is all picture; 0 without a bar."""
    if np.count_nonzero(lines[0] <= _BLACK) < _DARK_SHARE * lines.shape[1]:  # most pictures have no bar
        return 0
    return _edge((lines <= _BLACK).mean(axis=1) >= _DARK_SHARE)


def _even_lines(lines: Plane) -> int:
    """Likewise, of lines of one luma before a straight edge."""
    if int(lines[0].max()) - int(lines[0].min()) > 2 * _EVEN:
        return 0
    near = (cv2.absdiff(lines, np.full_like(lines, lines[0, 0])) <= _EVEN).mean(axis=1)
    bar = _edge(near >= _EVEN_SHARE)
    return bar if bar and near[bar] <= _BESIDE else 0


def _edge(outside: npt.NDArray[np.bool_]) -> int:
    bar = int(np.argmin(outside)) if not outside.all() else len(outside)
    return bar + 1 if 0 < bar <= _WIDEST * len(outside) else 0
