"""Similarity of two pictures: near-duplicates differ only in small camera motion, light, blur and noise.

The pictures are compared as thumbnails: the second is aligned to the first (ECC, Evangelidis and Psarakis 2008, in
OpenCV), then its tones and colours are fitted, and the rest is measured in the window where it is largest. So a head
that has turned counts, and a zoom of a few per cent does not. bench/contentgen_bench/media/duplicates compares other
measures.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from contentgen_worker.media.codec import transferable
from contentgen_worker.media.decode.planes import Plane

MAX_DIFFERENCE = 64  # of different pictures
SAME_SETUP = 0.9  # of nine in ten pairs of different places it is below 0.84
_SIDE, _HALF = 64, 32  # pixels of the thumbnails of luma and of chroma
_COARSE = 16
_WINDOW = 12  # pixels
_BLUR = 1.2  # pixels; evens out focus and motion blur
_SCALE = 34.0  # so that 8, the default threshold of the spec, separates near-duplicates best
_LARGEST = 0.6  # contrasts; a larger difference of a pixel counts as this: a mouth is small, whatever its colour
_FAINT = 6.0  # luma; contrast below which a difference is noise
_CHROMA_TOLERANCE = 2.0
_COMPARED = 8  # pictures, in order of the correlation of coarse thumbnails
_RESEMBLING = 0.75  # that correlation; below it, pictures are different
_ZOOM, _SHIFT = 0.2, 0.15  # largest framing difference that is aligned; a share of the side
_LEVELS = ((32, 12), (64, 4))  # side in pixels, iterations of the alignment
_STEP = 1e-3  # of the correlation, at which iterations end
_FIT_ROUNDS, _OUTLIER = 4, 2.5
_RIDGE = 1e-3
Floats = npt.NDArray[np.float32]


@transferable
@dataclass(frozen=True, slots=True)
class Thumbnail:
    """Small planes of a picture, 64 x 64 and 32 x 32 bytes, whatever its shape."""

    y: bytes
    u: bytes
    v: bytes

    def __post_init__(self) -> None:
        sizes = len(self.y), len(self.u), len(self.v)
        if sizes != (_SIDE**2, _HALF**2, _HALF**2):
            raise ValueError(f"a thumbnail of {sizes} bytes")

    @classmethod
    def from_planes(cls, y: Plane, u: Plane, v: Plane) -> "Thumbnail":
        """Thumbnail of a picture's planes, of any size."""
        sides = (_SIDE, _HALF, _HALF)
        return cls(*(_resized(plane, side).tobytes() for plane, side in zip((y, u, v), sides, strict=True)))


def _resized(plane: Plane, side: int) -> Plane:
    return np.asarray(cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


class ComparablePicture:
    """Arrays of a thumbnail, computed once for all comparisons."""

    def __init__(self, thumbnail: Thumbnail) -> None:
        y, u, v = (
            np.frombuffer(content, np.uint8).reshape(side, side)
            for content, side in ((thumbnail.y, _SIDE), (thumbnail.u, _HALF), (thumbnail.v, _HALF))
        )
        self.levels = [y if side == _SIDE else _resized(y, side) for side, _ in _LEVELS]
        self.luma = _blurred(y, _BLUR)
        self.contrast = float(self.luma.std())
        self.chroma = [_blurred(plane, _BLUR / 2) - 128 for plane in (u, v)]
        self.small_luma: Floats = np.asarray(_resized(y, _HALF), np.float32) - 128
        coarse = _blurred(_resized(y, _COARSE), 1.0).ravel()
        coarse -= coarse.mean()
        self.coarse: Floats = np.asarray(coarse / (np.linalg.norm(coarse) + 1e-6), np.float32)


class PictureIndex:
    """Pictures among which near-duplicates are searched. Keys are the caller's."""

    def __init__(self) -> None:
        self._keys: list[int] = []
        self._pictures: list[ComparablePicture] = []
        self._coarse: Floats = np.zeros((64, _COARSE**2), np.float32)

    def add(self, key: int, thumbnail: Thumbnail) -> None:
        """Add a picture."""
        picture, at = ComparablePicture(thumbnail), len(self._keys)
        if at == len(self._coarse):
            self._coarse = np.concatenate([self._coarse, np.zeros_like(self._coarse)])
        self._coarse[at] = picture.coarse
        self._keys.append(key)
        self._pictures.append(picture)

    def duplicate(self, thumbnail: Thumbnail, limit: int) -> tuple[int, int] | None:
        """Key of a picture that differs by at most `limit`, and the difference. None if there is none.

        Only the pictures that resemble it most are compared, so the time does not grow with the square of their number.
        """
        picture = ComparablePicture(thumbnail)
        likeness = self._coarse[: len(self._keys)] @ picture.coarse
        for at in np.argsort(-likeness, kind="stable")[:_COMPARED]:
            if likeness[at] < _RESEMBLING:
                break
            figure = difference(self._pictures[at], picture, limit)
            if figure <= limit:
                return self._keys[at], figure
        return None


def likeness(thumbnails: Sequence[Thumbnail]) -> Floats:
    """Correlation of each pair of coarse thumbnails, at most 1; from SAME_SETUP on it is one set-up, in any pose."""
    coarse = np.array([ComparablePicture(each).coarse for each in thumbnails], np.float32)
    return np.asarray(coarse @ coarse.T, np.float32)


def difference(one: ComparablePicture, other: ComparablePicture, limit: int = MAX_DIFFERENCE) -> int:
    """Difference of two pictures, 0 for identical ones to MAX_DIFFERENCE. Symmetric; 2 ms.

    Colours are not compared if luma alone differs by more than `limit`.
    """
    if one.contrast < other.contrast:  # a flat picture is a combination of any other, but not the reverse
        one, other = other, one
    if float(one.coarse @ other.coarse) < _RESEMBLING or (matrix := alignment(one, other)) is None:
        return MAX_DIFFERENCE
    luma = _luma_squares(one, other, matrix)
    figure = _largest_local(luma)
    return figure if figure > limit else _largest_local(luma + _colour_squares(one, other, matrix))


def _largest_local(squares: Floats) -> int:
    window = (_WINDOW, _WINDOW)
    local = cv2.boxFilter(np.minimum(squares, _LARGEST**2), -1, window, borderType=cv2.BORDER_CONSTANT)
    return min(int(_SCALE * float(np.sqrt(local.max()))), MAX_DIFFERENCE)


def _blurred(plane: Plane, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(plane.astype(np.float32), (0, 0), sigma), np.float32)


def alignment(one: ComparablePicture, other: ComparablePicture) -> Floats | None:
    """Affine map of the first's pixels to the second's. None for a motion beyond a near-duplicate's."""
    matrix, before = np.eye(2, 3, dtype=np.float32), _LEVELS[0][0]
    for (side, rounds), first, second in zip(_LEVELS, one.levels, other.levels, strict=True):
        matrix[:, 2] *= side / before
        before = side
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, rounds, _STEP)
        try:
            whole = np.ones_like(second)
            _, found = cv2.findTransformECC(first, second, matrix, cv2.MOTION_AFFINE, criteria, whole, 5)
        except cv2.error:  # too little detail, as on a text card: compared unaligned
            return np.eye(2, 3, dtype=np.float32)
        matrix = np.asarray(found, np.float32)
    middle = np.full(2, (_SIDE - 1) / 2, np.float32)
    shift = matrix[:, :2] @ middle + matrix[:, 2] - middle
    stretch = matrix[:, :2] - np.eye(2, dtype=np.float32)
    return matrix if np.abs(shift).max() <= _SHIFT * _SIDE and np.abs(stretch).max() <= _ZOOM else None


def squared_differences(one: ComparablePicture, other: ComparablePicture, matrix: Floats) -> Floats:
    """Square of what differs at each pixel, relative to the picture's contrast."""
    return _luma_squares(one, other, matrix) + _colour_squares(one, other, matrix)


def _luma_squares(one: ComparablePicture, other: ComparablePicture, matrix: Floats) -> Floats:
    second = _warped(other.luma, matrix)
    rest = _rest(one.luma, second, [np.minimum(np.square(second - 128) / 64, 256)], _known(_SIDE, matrix))
    return np.asarray(np.square(rest / (one.contrast + _FAINT)), np.float32)


def _colour_squares(one: ComparablePicture, other: ComparablePicture, matrix: Floats) -> Floats:
    half = matrix.copy()
    half[:, 2] = matrix[:, 2] / 2
    inside, tones = _known(_HALF, half), _warped(other.small_luma, half)
    first_u, first_v = one.chroma
    u, v = (_warped(plane, half) for plane in other.chroma)
    rest_u, rest_v = _rest(first_u, u, [v, tones], inside), _rest(first_v, v, [u, tones], inside)
    beyond = np.maximum(np.hypot(rest_u, rest_v) - _CHROMA_TOLERANCE, 0) / (one.contrast + _FAINT)
    squares = np.square(beyond).astype(np.float32)
    return np.asarray(cv2.resize(squares, (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR), np.float32)


def _warped(plane: Floats, matrix: Floats) -> Floats:
    """Plane at the first picture's pixels; repeated outside."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpAffine(plane, matrix, plane.shape, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def _known(side: int, matrix: Floats) -> npt.NDArray[np.bool_]:
    """Pixels of the first picture that the second has, too, without those at its edge."""
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    inner = np.zeros((side, side), np.uint8)
    inner[1:-1, 1:-1] = 1
    return np.asarray(cv2.warpAffine(inner, matrix, inner.shape, flags=flags)) > 0


def _rest(wanted: Floats, like: Floats, others: list[Floats], inside: npt.NDArray[np.bool_]) -> Floats:
    """What remains of `wanted - like` after the best combination of both bases and a constant; 0 outside.

    Weighted least squares: the part that differs has little weight.
    """
    target = (wanted - like)[inside]
    columns = np.stack([np.ones_like(target), *(plane[inside] / 64 for plane in (like, *others))])
    weighted, rest = columns, target
    ridge = np.eye(len(columns), dtype=np.float32) * (_RIDGE * len(target))
    for _ in range(_FIT_ROUNDS):
        solution = np.linalg.solve(weighted @ columns.T + ridge, weighted @ target)
        rest = target - solution @ columns
        scale = _OUTLIER * float(np.median(np.abs(rest))) + 1
        weighted = columns / (1 + np.square(rest / scale))
    whole = np.zeros_like(wanted)
    whole[inside] = rest
    return whole
