"""Quality figures of one picture. `choose.py` decides their meaning, relative to the whole video."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from contentgen_worker.media.codec import transferable
from contentgen_worker.media.decode.planes import Plane
from contentgen_worker.media.select.borders import black_share
from contentgen_worker.media.select.faces import FaceBox
from contentgen_worker.media.select.hashes import perceptual_hash

_SIDE = 512  # pixels, approximately, at which figures are measured
_CLIPPED_DARK, _CLIPPED_BRIGHT = 4, 251
_GROUND, _EVEN = 10, 0.6  # tolerance in luma of an even background, and its minimum share of the picture
_INK = 40  # difference in luma of letters to the background
_LETTER = (0.012, 0.25)  # share of the picture's sides
_MIN_LETTERS, _MAX_LETTERS = 6, 400
_BLOCK = 16  # pixels
_COMBED, _VISIBLE = 1.6, 6.0


@transferable
@dataclass(frozen=True, slots=True)
class Scores:
    """Figures of one picture as in its JPEG file: full range, 0-255."""

    luma: float  # mean
    contrast: float  # standard deviation
    sharpness: float  # variance of the Laplacian
    fingerprint: int  # 64 bits, see hashes.py
    chroma: tuple[float, float] = (128.0, 128.0)  # mean of U and of V
    dark: float = 0.0  # share of pixels that are black
    bright: float = 0.0  # share of pixels that are white
    border: float = 0.0  # share of the width or height that is black at the edges
    card: float = 0.0  # share of letters in the foreground on an even background
    interlaced: float = 0.0  # share of the frame with interlaced motion; then the picture is made from one field
    faces: tuple[FaceBox, ...] = ()  # the largest first

    def __post_init__(self) -> None:
        if not 0 <= self.fingerprint < 1 << 64:
            raise ValueError(f"a fingerprint of {self.fingerprint}")


def measure(
    y: Plane, chroma: tuple[float, float] = (128.0, 128.0), faces: tuple[FaceBox, ...] = (), interlaced: float = 0.0
) -> Scores:
    """Figures of a finished picture from its luma and its mean chroma. 0.6 ms at 1024 x 576."""
    small = _downscale(y)
    mean, deviation = cv2.meanStdDev(small)
    counts = np.bincount(small.ravel(), minlength=256) / small.size
    return Scores(
        luma=float(mean[0, 0]),
        contrast=float(deviation[0, 0]),
        sharpness=sharpness(small),
        fingerprint=perceptual_hash(small),
        chroma=chroma,
        dark=float(counts[: _CLIPPED_DARK + 1].sum()),
        bright=float(counts[_CLIPPED_BRIGHT:].sum()),
        border=black_share(small),
        card=_card_share(small, counts),
        interlaced=interlaced,
        faces=faces,
    )


def sharpness(y: Plane) -> float:
    """Variance of the Laplacian. In 16 bits: 0.5 ms at 720p, an eighth of the time in floats."""
    _, deviation = cv2.meanStdDev(cv2.Laplacian(y, cv2.CV_16S))
    return float(deviation[0, 0]) ** 2


def combed(y: Plane) -> float:
    """Share of a frame (luma as decoded, unscaled) in which its two fields differ, 0 to 1: interlaced motion.

    Measured in the middle half of the columns.
    """
    height, width = y.shape
    if min(height, width // 2) < 4 * _BLOCK:
        return 0.0
    return float(np.mean(_combed_blocks(y[:, width // 4 : width // 4 + width // 2])))


def combed_pixels(y: Plane) -> Plane:
    """Mask of a frame's pixels, 1 where the two fields differ, or beside: an object's edge may differ by little."""
    height, width = y.shape
    blocks = cv2.dilate(_combed_blocks(y).astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(cv2.resize(blocks, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8)


def _combed_blocks(y: Plane) -> npt.NDArray[np.bool_]:
    """Blocks of a frame in which its two fields differ.

    There, a line resembles the next but one more than the next; with film grain it differs from both alike.
    """
    across, down = y.shape[1] // _BLOCK, (y.shape[0] - 2) // _BLOCK
    lines, columns = down * _BLOCK, slice(across * _BLOCK)
    first, second, third = (y[start : start + lines, columns] for start in range(3))
    beside, beyond = (
        cv2.resize(cv2.absdiff(first, other), (across, down), interpolation=cv2.INTER_AREA).astype(np.float32)
        for other in (second, third)
    )
    return np.asarray((beside > _VISIBLE) & (beside > _COMBED * (beyond + 1)))


def _downscale(y: Plane) -> Plane:
    """Reduced by an integer factor: any other takes eight times as long."""
    factor = max(1, round(max(y.shape) / _SIDE))
    size = (max(1, y.shape[1] // factor), max(1, y.shape[0] // factor))
    whole = np.ascontiguousarray(y[: size[1] * factor, : size[0] * factor])
    return whole if factor == 1 else np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.uint8)


def _card_share(y: Plane, counts: npt.NDArray[np.float64]) -> float:
    """Share of the foreground on an even background that is letters: small components next to another on the same
    line."""
    ground = int(np.argmax(np.convolve(counts, np.ones(2 * _GROUND + 1), "same")))
    if counts[max(0, ground - _GROUND) : ground + _GROUND + 1].sum() < _EVEN:
        return 0.0
    _, ink = cv2.threshold(cv2.absdiff(y, np.full_like(y, ground)), _INK, 255, cv2.THRESH_BINARY)
    count, _, stats, _ = cv2.connectedComponentsWithStats(ink, connectivity=8)
    components = stats[1:count].astype(np.int64)  # left, top, width, height, area
    tall, wide = components[:, 3] / y.shape[0], components[:, 2] / y.shape[1]
    letters = components[(tall > _LETTER[0]) & (tall < _LETTER[1]) & (wide < _LETTER[1])][:_MAX_LETTERS]
    total = int(components[:, 4].sum())
    if len(letters) < _MIN_LETTERS or not total:
        return 0.0
    return float(letters[_in_lines(letters), 4].sum()) / total


def _in_lines(components: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether each component is beside another of similar height on the same line."""
    left, top, width, height = (components[:, index] for index in range(4))
    bottom, right = top + height, left + width
    taller = np.maximum(height[:, None], height[None, :])
    same_line = np.abs(bottom[:, None] - bottom[None, :]) <= 0.3 * taller
    same_height = np.minimum(height[:, None], height[None, :]) >= 0.5 * taller
    gap = np.maximum(left[:, None], left[None, :]) - np.minimum(right[:, None], right[None, :])
    adjacent = same_line & same_height & (gap <= 1.5 * taller)
    np.fill_diagonal(adjacent, False)
    return np.asarray(adjacent.sum(axis=1) >= 1)
