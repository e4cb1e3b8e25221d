"""Detector `auto`: finds cuts, dissolves and fades, and ignores flashes, pans and changes of light.

Its input is thumbnails 32 pixels wide; within a run of frames it uses only the matrix of distances between frames. A
boundary depends on nothing more than `REACH` seconds away, so a recording may be split anywhere with the same result.

- Cut: the change between two frames stands out against the changes around it, and no frame before resembles one after.
  A flash returns to the old picture, and a pan keeps changing.
- Dissolve: each frame of a window is a mixture of the window's two ends, with a growing share of the second. As points,
  the frames lie on the line between the ends, within `_RESIDUE`; those of a pan or zoom lie far off it. And the ends
  differ more than either shot drifts in the same time.
- Fade: a ramp to a picture without contrast, from it, or both.
- A light that is switched or dimmed changes gain and offset of the picture only, and is no boundary.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from contentgen_worker.media.decode.planes import Plane, Planes
from contentgen_worker.media.shots.boundaries import LAG, REACH, Boundary, BoundaryKind

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.intp]
Span = tuple[int, int]
"""The last frame of the old shot and the first of the new one."""

_STEP = LAG - REACH  # seconds between two detections, which overlap by `REACH`
_SLACK = 1.0  # seconds by which a later detection may move the end of a boundary back
_BLOCK = 8  # side in pixels of the block averaged into one thumbnail pixel

# Distances are root mean squares of differences of 0-255.
_CHANGE = 6.0  # minimum of a cut
_STANDS_OUT = 2.2  # times the second largest change around
_AROUND = 6  # frames on each side
_LEAST = 3  # frames of a shot
_BEFORE, _AFTER = 5, 6  # frames compared across a cut; a flash is shorter
_RETURNS = 0.5  # share of the change; a nearer frame after it means that the picture returned

_LENGTHS = (7, 8, 10, 12, 14, 17, 20, 24, 29, 35, 42, 50)  # of windows, in frames at up to 30 a second
_SLOW = 18  # frames a second; below it, windows may be shorter, since half of the frames are missing
_SHORTER = (4, 5, 6)
_APART = 8.0  # the ends of a dissolve
_DRIFT, _SHORT_DRIFT = 1.35, 1.6  # factor over the drift of a shot in the same time, and in half of it
_RESIDUE = 0.12  # mean square distance off the line over the line's squared length, for half mixtures
_BACKWARDS, _AT_ONCE = -0.25, 0.4  # of the mixture: sum of steps back, and the largest step
_RAMP, _SLOW_RAMP = 5, 3  # minimum number of mixed frames
_MIXED = 0.06  # smaller shares count as unmixed
_CLEAR = 8.0  # minimum score of a dissolve

_FLAT = 3.0  # contrast at the end of a fade
_SOME = 4.0  # minimum contrast to compare light
_FADE_FRAMES, _LONGEST_FADE = 3, 60
_SLOWER = 0.2  # share of a fade's mean step; a slower step ends it
_OTHER = 0.2  # share of the distance to black; a larger change across the fade is another shot


class AutoDetector:
    """Streaming detector: applies `find` to the new frames and `REACH` seconds on both sides."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque()
        self._thumbnails: deque[Plane] = deque()
        self._decided_until = -np.inf  # seconds
        self._last_end = -np.inf  # end of the last boundary

    def thumbnail(self, planes: Planes) -> Plane:
        """Thumbnail of a frame."""
        return make_thumbnail(planes)

    def push(self, seconds: float, thumbnail: Plane) -> list[Boundary]:
        """Add the next frame. Returns the boundaries that became certain."""
        self._seconds.append(seconds)
        self._thumbnails.append(thumbnail)
        if seconds - REACH < max(self._decided_until, self._seconds[0]) + _STEP:
            return []
        return self._detect(seconds - REACH)

    def finish(self) -> list[Boundary]:
        """End of the frames. Returns the remaining boundaries."""
        return self._detect(np.inf)

    def _detect(self, until: float) -> list[Boundary]:
        found = find(tuple(self._seconds), np.array(self._thumbnails, np.float32))
        new = []
        for each in found:
            if self._decided_until - _SLACK < each.end <= until and each.start >= self._last_end:
                new.append(each)
                self._last_end = each.end
        self._decided_until = until
        while self._seconds and self._seconds[0] < until - REACH:
            self._seconds.popleft()
            self._thumbnails.popleft()
        return new


def make_thumbnail(planes: Planes) -> Plane:
    """Thumbnail as a vector: luma, then both chroma planes at half the size, so that luma is two thirds of it."""
    height, width = planes.whole.shape
    small = cv2.resize(planes.whole, (width // _BLOCK, height // _BLOCK), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8).ravel()


def find(seconds: Sequence[float], thumbnails: Floats) -> list[Boundary]:
    """Boundaries within a run of frames (frame x value), in order."""
    if len(seconds) < 2:
        return []
    run = _FrameRun.from_thumbnails(seconds, thumbnails)
    cuts = _cuts(run)
    fades = _fades(run, cuts)
    cuts = [at for at in cuts if not any(start <= at < end for start, end in fades)]
    dissolves = [each for each in _dissolves(run, cuts) if not _overlaps(each, fades)]
    spans = [
        *((BoundaryKind.CUT, (at, at + 1)) for at in cuts),
        *((BoundaryKind.FADE, span) for span in fades),
        *((BoundaryKind.DISSOLVE, span) for span in dissolves),
    ]
    found = [Boundary(seconds[start], seconds[end], kind) for kind, (start, end) in spans]
    return sorted(found, key=lambda each: each.start)


@dataclass(frozen=True, slots=True)
class _FrameRun:
    """Run of frames: distances between frames, contrast of each, and correlation of their luma."""

    square: Floats  # frame x frame, squared distances
    distance: Floats  # frame x frame
    contrast: Floats  # standard deviation of luma
    product: Floats  # frame x frame, mean product of luma
    luma: Floats  # its mean
    stride: int  # frames per step at no more than 30 a second
    slow: bool

    @classmethod
    def from_thumbnails(cls, seconds: Sequence[float], thumbnails: Floats) -> "_FrameRun":
        centred = thumbnails - 128
        pixels = thumbnails.shape[1] * 2 // 3
        luma, chroma = centred[:, :pixels], centred[:, pixels:]
        product = luma @ luma.T
        gram = (product + chroma @ chroma.T) / thumbnails.shape[1]
        product /= pixels
        length, mean = np.diag(gram), luma.mean(axis=1)
        square = np.maximum(length[:, None] + length - 2 * gram, 1e-3)
        contrast = np.sqrt(np.maximum(np.diag(product) - mean**2, 0))
        slow = float(np.median(np.diff(seconds))) > 1 / _SLOW
        rate = (len(seconds) - 1) / max(seconds[-1] - seconds[0], 1e-6)
        return cls(square, np.sqrt(square), contrast, product, mean, max(1, round(rate / 30)), slow)

    def __len__(self) -> int:
        return len(self.contrast)

    def differs_by_light(self, one: Integers, other: Integers) -> npt.NDArray[np.bool_]:
        """Whether nearly all of the difference is gain and offset, that is, light."""
        low, high = np.sort([self.contrast[one], self.contrast[other]], axis=0)
        covariance = self.product[one, other] - self.luma[one] * self.luma[other]
        alike = np.clip(covariance / np.maximum(low * high, 1e-3), 0, 1)
        rest = high * np.sqrt(1 - alike**2)
        return np.asarray((rest < 0.4 * self.distance[one, other]) & (rest < 0.45 * high) & (low > _SOME))


def _cuts(run: _FrameRun) -> list[int]:
    """Indices of the last frames before cuts."""
    change = np.diagonal(run.distance, 1)
    at = np.flatnonzero(change > _CHANGE)
    return [int(each) for each in at[~run.differs_by_light(at, at + 1)] if _is_cut(run, change, int(each))]


def _is_cut(run: _FrameRun, change: Floats, at: int) -> bool:
    if not _LEAST <= at < len(change) - _LEAST:
        return False
    around = np.concatenate([change[max(0, at - _AROUND) : at], change[at + 1 : at + 1 + _AROUND]])
    level = max(float(np.partition(around, -2)[-2]), 1.0)
    across = run.distance[max(0, at + 1 - _BEFORE) : at + 1, at + 1 : at + 1 + _AFTER]
    return bool(change[at] >= _STANDS_OUT * level and across.min() >= _RETURNS * change[at])


def _fades(run: _FrameRun, cuts: Sequence[int]) -> list[Span]:
    found = []
    for first, last in _flat(run):
        start, end = _ramp(run, first, -1, cuts), _ramp(run, last, 1, cuts)
        out, into = first - start >= _FADE_FRAMES, end - last >= _FADE_FRAMES
        start, end = start if out else first - 1, end if into else last + 1
        if (out or into) and start >= 0 and end < len(run):
            black = max(run.distance[start, first], run.distance[end, last])
            if run.distance[start, end] >= max(_APART, _OTHER * black):
                found.append((start, end))
    return found


def _flat(run: _FrameRun) -> Iterator[Span]:
    """Runs of frames without contrast: first and last frame of each."""
    edges = np.diff(np.concatenate([[0], run.contrast < _FLAT, [0]]).astype(np.int8))
    return zip(
        (int(each) for each in np.flatnonzero(edges == 1)),
        (int(each) - 1 for each in np.flatnonzero(edges == -1)),
        strict=True,
    )


def _ramp(run: _FrameRun, flat: int, step: int, cuts: Sequence[int]) -> int:
    """Frame where the fade from or to a flat frame begins or ends: the last one with a growing distance."""
    distances = run.distance[:, flat]
    at, steps = flat, deque[float](maxlen=8)
    while 0 <= at + step < len(run) and abs(at - flat) < _LONGEST_FADE * run.stride and min(at, at + step) not in cuts:
        steps.append(float(distances[at + step] - distances[at]))
        if steps[-1] < _SLOWER * max(sum(steps) / len(steps), 0.5):
            break
        at += step
    return at


def _dissolves(run: _FrameRun, cuts: Sequence[int]) -> list[Span]:
    """Non-overlapping windows with a dissolve, best score first."""
    lengths = (*_SHORTER, *_LENGTHS) if run.slow else _LENGTHS
    windows = [each for length in lengths for each in _windows(run, length * run.stride, cuts)]
    found: list[tuple[Span, Span]] = []
    for _, window, span in sorted(windows, reverse=True):
        if not _overlaps(window, [each for each, _ in found]):
            found.append((window, span))
    return [span for _, span in found]


def _overlaps(span: Span, others: Sequence[Span]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in others)


def _windows(run: _FrameRun, length: int, cuts: Sequence[int]) -> Iterator[tuple[float, Span, Span]]:
    """Windows of this length that hold a dissolve: score, window, and the dissolve within it."""
    first = np.flatnonzero(np.diagonal(run.distance, length) > _APART)
    first, drift = _distinct_windows(run, first, length, cuts)
    if not len(first):
        return
    last = first + length
    between = first[:, None] + np.arange(run.stride, length, run.stride)
    line = run.square[first, last][:, None]
    to_first, to_last = run.square[between, first[:, None]], run.square[between, last[:, None]]
    share = (to_first + line - to_last) / (2 * line)  # of the last picture in each frame
    off = np.maximum(to_first - share**2 * line, 0)
    residue = off.sum(axis=1) / line[:, 0] / np.maximum(np.clip(4 * share * (1 - share), 0, 1).sum(axis=1), 1)
    nothing, everything = np.zeros((len(first), 1)), np.ones((len(first), 1))
    steps = np.diff(np.hstack([nothing, share, everything]), axis=1)
    mixed = ((share > _MIXED) & (share < 1 - _MIXED)).sum(axis=1)
    length_of_line = np.sqrt(line[:, 0])
    score = length_of_line * (1 - 4 * residue) - 0.7 * drift
    good = (residue < _RESIDUE) & (np.minimum(steps, 0).sum(axis=1) > _BACKWARDS) & (steps.max(axis=1) < _AT_ONCE)
    for index in np.flatnonzero(good & (mixed >= (_SLOW_RAMP if run.slow else _RAMP)) & (score >= _CLEAR)):
        start = int(first[index])
        inside = np.flatnonzero((share[index] > _MIXED) & (share[index] < 1 - _MIXED))
        span = (start + int(inside[0]) * run.stride, start + (int(inside[-1]) + 2) * run.stride)
        yield float(score[index]), (start, start + length), span


def _distinct_windows(run: _FrameRun, first: Integers, length: int, cuts: Sequence[int]) -> tuple[Integers, Floats]:
    """Windows whose ends differ by more than drift, with the larger drift of the shots on both sides."""
    for share, factor in ((0.5, _SHORT_DRIFT), (1.0, _DRIFT)):
        last = first + length
        drift = _drift(run, first, last, int(share * length), cuts)
        keep = run.distance[first, last] > factor * drift
        first, drift = first[keep], drift[keep]
    last = first + length
    keep = (np.searchsorted(cuts, first) == np.searchsorted(cuts, last)) & ~run.differs_by_light(first, last)
    return first[keep], drift[keep]


def _drift(run: _FrameRun, first: Integers, last: Integers, length: int, cuts: Sequence[int]) -> Floats:
    """Change of the shots in as many frames before and after a window; extrapolated if a cut leaves fewer frames."""
    edges = np.array([-1, *cuts, len(run) - 1], dtype=np.intp)
    begin = edges[np.searchsorted(edges, first) - 1] + 1
    end = edges[np.searchsorted(edges, last)]
    found = []
    for edge, other in ((first, np.maximum(first - length, begin)), (last, np.minimum(last + length, end))):
        frames = np.maximum(np.abs(edge - other), 1)
        found.append(run.distance[edge, other] * np.minimum(length / frames, 3))
    return np.asarray(np.maximum(*found))
