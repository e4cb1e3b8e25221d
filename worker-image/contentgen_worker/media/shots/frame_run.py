"""Run of frames, as distances between their thumbnails."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from contentgen_worker.media.decode.planes import Plane, Planes

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.intp]
Span = tuple[int, int]
"""The last frame of the old shot and the first of the new one."""

_ROUGH = 5  # columns of a picture without texture
_BLOCK = 4  # side in pixels of the block averaged into one thumbnail pixel
_SLOW = 18  # frames a second
_FASTEST = 30  # frames a second; more frames contain no more information on a transition
_SOME = 4.0  # minimum contrast to compare light


def make_thumbnail(planes: Planes) -> Plane:
    """Thumbnail: luma, and below it both chroma planes side by side at half the size. 64 pixels at the longest side."""
    height, width = planes.whole.shape
    small = cv2.resize(planes.whole, (width // _BLOCK, height // _BLOCK), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)


def coarse(thumbnails: Plane) -> Plane:
    """Thumbnails (frame x height x width) at half the size, as vectors. Luma is the first two thirds of each."""
    count, height, width = thumbnails.shape
    if not count:
        return np.empty((0, width // 2 * (height // 2)), np.uint8)
    size = (width // 2, count * height // 2)
    small = cv2.resize(thumbnails.reshape(count * height, width), size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8).reshape(count, -1)


def luma_of(thumbnails: Plane) -> Plane:
    """Luma of thumbnails (frame x height x width)."""
    return thumbnails[:, : thumbnails.shape[1] // 3 * 2]


@dataclass(frozen=True, slots=True)
class FrameRun:
    """Run of frames: distances between frames, contrast of each, and correlation of their luma.

    Distances are root mean squares of differences of 0-255.
    """

    seconds: npt.NDArray[np.float64]
    values: Floats  # frame x value, coarse thumbnails around zero
    square: Floats  # frame x frame, squared distances
    product: Floats  # frame x frame, mean product of luma
    luma: Floats  # mean
    contrast: Floats  # standard deviation of luma
    stride: int  # frames per step at no more than 30 a second
    slow: bool  # half of the frames are missing
    columns: int  # width of the coarse thumbnails

    @classmethod
    def from_thumbnails(cls, seconds: Sequence[float], thumbnails: Plane) -> "FrameRun":
        """Run of these frames. Thumbnails: frame x height x width."""
        values = _centred(thumbnails)
        return cls._from_distances(seconds, values, thumbnails.shape[2] // 2, *_distances(values, values))

    def following(self, seconds: Sequence[float], thumbnails: Plane, dropped: int) -> "FrameRun":
        """Run that begins this number of frames later and ends with new frames. Only their distances are computed."""
        kept = len(self) - dropped
        values = np.concatenate([self.values[dropped:], _centred(thumbnails[kept:])])
        square, product = _distances(values[kept:], values)
        return FrameRun._from_distances(
            seconds,
            values,
            self.columns,
            _extended(self.square[dropped:, dropped:], square),
            _extended(self.product[dropped:, dropped:], product),
        )

    def rough(self) -> "FrameRun":
        """The same frames without texture: some means of each. Waves, leaves and crowds leave them nearly constant."""
        luma, chroma = self.values[:, : _pixels(self.values)], self.values[:, _pixels(self.values) :]
        values = np.hstack([_means(luma, self.columns, _ROUGH), _means(chroma, self.columns, _ROUGH - 1)])
        return FrameRun._from_distances(self.seconds.tolist(), values, self.columns, *_distances(values, values))

    @classmethod
    def _from_distances(
        cls, seconds: Sequence[float], values: Floats, columns: int, square: Floats, product: Floats
    ) -> "FrameRun":
        times, luma = np.array(seconds), values[:, : _pixels(values)].mean(axis=1)
        contrast = np.sqrt(np.maximum(np.diag(product) - luma**2, 0))
        slow = len(times) > 1 and float(np.median(np.diff(times))) > 1 / _SLOW
        rate = (len(times) - 1) / max(float(times[-1] - times[0]), 1e-6)
        return cls(times, values, square, product, luma, contrast, max(1, round(rate / _FASTEST)), slow, columns)

    def __len__(self) -> int:
        return len(self.contrast)

    def distances(self, one: Integers, other: Integers) -> Floats:
        """Distances of pairs of frames."""
        return np.asarray(np.sqrt(self.square[one, other]))

    def distance(self, one: int, other: int) -> float:
        """Distance of two frames."""
        return math.sqrt(self.square[one, other])

    def changes(self, frames: int = 1) -> Floats:
        """Distance of each frame to the one that many frames later."""
        return np.asarray(np.sqrt(np.diagonal(self.square, frames)))

    def differs_by_light(self, one: Integers, other: Integers) -> npt.NDArray[np.bool_]:
        """Whether nearly all of the difference is gain and offset, that is, light."""
        low, high = np.sort([self.contrast[one], self.contrast[other]], axis=0)
        covariance = self.product[one, other] - self.luma[one] * self.luma[other]
        alike = np.clip(covariance / np.maximum(low * high, 1e-3), 0, 1)
        rest = high * np.sqrt(1 - alike**2)
        return np.asarray((rest < 0.4 * self.distances(one, other)) & (rest < 0.45 * high) & (low > _SOME))

    def before(self, frame: int, seconds: float) -> int:
        """Frame that many seconds earlier, or the first one."""
        return int(np.searchsorted(self.seconds, self.seconds[frame] - seconds - 1e-3))

    def after(self, frame: int, seconds: float) -> int:
        """Frame that many seconds later, or the last one."""
        return int(np.searchsorted(self.seconds, self.seconds[frame] + seconds + 1e-3, side="right")) - 1


def _centred(thumbnails: Plane) -> Floats:
    return coarse(thumbnails).astype(np.float32) - 128


def _means(pictures: Floats, columns: int, wanted: int) -> Floats:
    """Means of the blocks of pictures (frame x pixel): that many columns, and rows of about two thirds as many."""
    count, rows = len(pictures), max(1, round(wanted * pictures.shape[1] / columns**2))
    means = cv2.resize(pictures.reshape(-1, columns), (wanted, count * rows), interpolation=cv2.INTER_AREA)
    return np.asarray(means, np.float32).reshape(count, -1)


def _pixels(values: Floats) -> int:
    return int(values.shape[1] * 2 // 3)


def _distances(some: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Squared distances of frames to all frames, and mean products of their luma."""
    pixels, count = _pixels(values), values.shape[1]
    product = some[:, :pixels] @ values[:, :pixels].T
    square = product + some[:, pixels:] @ values[:, pixels:].T
    square *= np.float32(-2 / count)
    square += _power(some)[:, None]
    square += _power(values)
    product /= np.float32(pixels)
    return np.asarray(np.maximum(square, np.float32(1e-3), out=square)), product


def _power(values: Floats) -> Floats:
    return np.asarray(np.einsum("ij,ij->i", values, values) / np.float32(values.shape[1]))


def _extended(known: Floats, new: Floats) -> Floats:
    """Symmetric matrix of which the upper left part and the last rows are known."""
    kept = len(known)
    whole = np.empty((new.shape[1], new.shape[1]), np.float32)
    whole[:kept, :kept], whole[kept:], whole[:kept, kept:] = known, new, new[:, :kept].T
    return whole
