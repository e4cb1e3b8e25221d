"""The detector `auto`: cuts, dissolves and fades, told from flashes, pans and lights.

It sees thumbnails, 32 pixels wide, and, of a run of frames, only how far each is from each other: a matrix of
distances, from which all that follows is arithmetic. A boundary depends on nothing that is more than `REACH` seconds
away, so a recording may be taken apart anywhere, and its parts give what the whole gives.

- Cut: the change from one frame to the next stands out against the changes around it, and none of the frames before is
  like one of those after. A flash comes back, a pan goes on changing, a cut does neither.
- Dissolve: each frame of a window is a mixture of the window's two ends, more of the second with every frame. Seen as
  points, they lie on the line between the ends; `_RESIDUE` is how far off they may be. In a pan or a zoom they lie far
  off it. And the ends are further apart than each shot gets by itself in as much time.
- Fade: a ramp to a picture without contrast, from it, or both.
- A lamp that is switched, or comes up, makes one picture from the other by gain and offset, and is none of these.
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

_STEP = LAG - REACH  # seconds between two looks; what lies `REACH` around is looked at in both
_SLACK = 1.0  # seconds by which a later look may see the end of a boundary earlier
_BLOCK = 8  # pixels that one of a thumbnail is the mean of, on each side

# Distances are root mean squares of differences of 0-255.
_CHANGE = 6.0  # a cut's
_STANDS_OUT = 2.2  # against the second largest change of the frames around
_AROUND = 6  # frames on each side
_LEAST = 3  # frames of a shot
_BEFORE, _AFTER = 5, 6  # frames that are compared across a cut; a flash is shorter
_RETURNS = 0.5  # of the change; what is nearer than that has come back

_LENGTHS = (7, 8, 10, 12, 14, 17, 20, 24, 29, 35, 42, 50)  # of windows, in frames at up to 30 a second
_SLOW = 18  # frames a second, below which windows may be shorter: half of the frames were left out
_SHORTER = (4, 5, 6)
_APART = 8.0  # the ends of a dissolve
_DRIFT, _SHORT_DRIFT = 1.35, 1.6  # by how much they are further apart than a shot drifts in as much time, and in half
_RESIDUE = 0.12  # mean square off the line, of the square of the line's length, where mixtures would be halves
_BACKWARDS, _AT_ONCE = -0.25, 0.4  # of the mixture: all steps back together, and the largest step
_RAMP, _SLOW_RAMP = 5, 3  # frames that are mixtures
_MIXED = 0.06  # less of the other picture is none
_CLEAR = 8.0  # the score of a dissolve

_FLAT = 3.0  # contrast of a picture that a fade has reached
_SOME = 4.0  # contrast of a picture whose light can be compared
_FADE_FRAMES, _LONGEST_FADE = 3, 60
_SLOWER = 0.2  # of a fade's steps so far; a slower step is no part of it
_OTHER = 0.2  # of the distance to black: what comes back after it is another picture


class Auto:
    """`find` on a stream: each look takes in what came since the last, and `REACH` on both sides of it."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque()
        self._thumbnails: deque[Plane] = deque()
        self._decided_until = -np.inf  # seconds
        self._last_end = -np.inf  # the end of the last boundary

    def thumbnail(self, planes: Planes) -> Plane:
        """Its thumbnail."""
        return make_thumbnail(planes)

    def push(self, seconds: float, thumbnail: Plane) -> list[Boundary]:
        """The next frame."""
        self._seconds.append(seconds)
        self._thumbnails.append(thumbnail)
        if seconds - REACH < max(self._decided_until, self._seconds[0]) + _STEP:
            return []
        return self._detect(seconds - REACH)

    def finish(self) -> list[Boundary]:
        """No frame follows."""
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
    """A thumbnail: luma, then both chromas at half the size, so that luma is two thirds of it."""
    height, width = planes.whole.shape
    small = cv2.resize(planes.whole, (width // _BLOCK, height // _BLOCK), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8).ravel()


def find(seconds: Sequence[float], thumbnails: Floats) -> list[Boundary]:
    """The boundaries within a run of frames (frame x value), in order."""
    if len(seconds) < 2:
        return []
    run = _FrameRun.of(seconds, thumbnails)
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
    """A run of frames: how far each is from each, the contrast of each, and how alike their structures are."""

    square: Floats  # frame x frame, squared distances
    distance: Floats  # frame x frame
    contrast: Floats  # standard deviation of luma
    product: Floats  # frame x frame, mean product of luma
    luma: Floats  # its mean
    stride: int  # frames that make one of at most 30 a second
    slow: bool

    @classmethod
    def of(cls, seconds: Sequence[float], thumbnails: Floats) -> "_FrameRun":
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

    def lit(self, one: Integers, other: Integers) -> npt.NDArray[np.bool_]:
        """Whether all but a little of the difference is gain and offset: light."""
        low, high = np.sort([self.contrast[one], self.contrast[other]], axis=0)
        covariance = self.product[one, other] - self.luma[one] * self.luma[other]
        alike = np.clip(covariance / np.maximum(low * high, 1e-3), 0, 1)
        rest = high * np.sqrt(1 - alike**2)
        return np.asarray((rest < 0.4 * self.distance[one, other]) & (rest < 0.45 * high) & (low > _SOME))


def _cuts(run: _FrameRun) -> list[int]:
    """Each frame that is the last of its shot."""
    change = np.diagonal(run.distance, 1)
    at = np.flatnonzero(change > _CHANGE)
    return [int(each) for each in at[~run.lit(at, at + 1)] if _is_cut(run, change, int(each))]


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
    """Runs of frames without contrast: the first and the last frame of each."""
    edges = np.diff(np.concatenate([[0], run.contrast < _FLAT, [0]]).astype(np.int8))
    return zip(
        (int(each) for each in np.flatnonzero(edges == 1)),
        (int(each) - 1 for each in np.flatnonzero(edges == -1)),
        strict=True,
    )


def _ramp(run: _FrameRun, flat: int, step: int, cuts: Sequence[int]) -> int:
    """From a flat frame to the one where the fade begins or ends: as far as the picture goes on coming back."""
    distances = run.distance[:, flat]
    at, steps = flat, deque[float](maxlen=8)
    while 0 <= at + step < len(run) and abs(at - flat) < _LONGEST_FADE * run.stride and min(at, at + step) not in cuts:
        steps.append(float(distances[at + step] - distances[at]))
        if steps[-1] < _SLOWER * max(sum(steps) / len(steps), 0.5):
            break
        at += step
    return at


def _dissolves(run: _FrameRun, cuts: Sequence[int]) -> list[Span]:
    """The clearest windows first, none of which overlap."""
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
    """Of the windows of this length that hold a dissolve: score, window, and the dissolve within it."""
    first = np.flatnonzero(np.diagonal(run.distance, length) > _APART)
    first, drift = _distinct_windows(run, first, length, cuts)
    if not len(first):
        return
    last = first + length
    between = first[:, None] + np.arange(run.stride, length, run.stride)
    line = run.square[first, last][:, None]
    to_first, to_last = run.square[between, first[:, None]], run.square[between, last[:, None]]
    share = (to_first + line - to_last) / (2 * line)  # of the last picture in each
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
    """The windows whose ends are other pictures, with the larger drift of the shots on both sides."""
    for share, factor in ((0.5, _SHORT_DRIFT), (1.0, _DRIFT)):
        last = first + length
        drift = _drift(run, first, last, int(share * length), cuts)
        keep = run.distance[first, last] > factor * drift
        first, drift = first[keep], drift[keep]
    last = first + length
    keep = (np.searchsorted(cuts, first) == np.searchsorted(cuts, last)) & ~run.lit(first, last)
    return first[keep], drift[keep]


def _drift(run: _FrameRun, first: Integers, last: Integers, length: int, cuts: Sequence[int]) -> Floats:
    """How far the shots get in as many frames before and after a window; estimated where a cut leaves fewer."""
    edges = np.array([-1, *cuts, len(run) - 1], dtype=np.intp)
    begin = edges[np.searchsorted(edges, first) - 1] + 1
    end = edges[np.searchsorted(edges, last)]
    found = []
    for edge, other in ((first, np.maximum(first - length, begin)), (last, np.minimum(last + length, end))):
        frames = np.maximum(np.abs(edge - other), 1)
        found.append(run.distance[edge, other] * np.minimum(length / frames, 3))
    return np.asarray(np.maximum(*found))
