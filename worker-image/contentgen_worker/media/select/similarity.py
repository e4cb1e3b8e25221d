"""Similarity of two pictures: near-duplicates differ only in small camera motion, light, blur and noise.

The pictures are compared as thumbnails: the second is aligned to the first (ECC, Evangelidis and Psarakis 2008, in
OpenCV), then its tones and colours are fitted, and the rest is measured in the window where it is largest. So a head
that has turned counts, and a zoom of a few per cent does not. bench/contentgen_bench/media/duplicates compares other
measures.
"""

from collections.abc import Iterator, Sequence
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
_LEVELS = ((32, 8), (64, 2))  # side in pixels, iterations of the alignment
_STEP = 2e-3  # of the correlation, at which iterations end
_UNMOVED = 0.99  # correlation of coarse thumbnails from which they are first compared unaligned: a camera on a tripod
_HOPELESS = 4  # difference above the limit by which the next level hardly brings an aligned one down
_UNALIGNED = 30  # the same, in addition, per missing correlation: at 0.9 by 7
_FIT_ROUNDS, _OUTLIER = 3, 2.5
_FIT_STEP = 2  # pixels between those of the fit; the planes are blurred, so the others add little
_RIDGE = 1e-3
_UNIT = np.eye(2, 3, dtype=np.float32)
_WHOLE = {side: np.ones((side, side), np.uint8) for side, _ in _LEVELS}
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
    """Thumbnail with what all its comparisons need. 3 kB besides: blurred planes are computed for each comparison."""

    __slots__ = ("coarse", "contrast", "levels", "thumbnail")

    def __init__(self, thumbnail: Thumbnail) -> None:
        self.thumbnail = thumbnail
        y = _plane(thumbnail.y, _SIDE)
        self.levels = [y if side == _SIDE else _resized(y, side) for side, _ in _LEVELS]
        self.contrast = float(self.luma.std())
        coarse = _blurred(_resized(y, _COARSE), 1.0).ravel()
        coarse -= coarse.mean()
        self.coarse: Floats = np.asarray(coarse / (np.linalg.norm(coarse) + 1e-6), np.float32)

    @property
    def luma(self) -> Floats:
        """Blurred luma, 64 x 64."""
        return _blurred(_plane(self.thumbnail.y, _SIDE), _BLUR)

    @property
    def chroma(self) -> tuple[Floats, Floats, Floats]:
        """Blurred U and V, and luma of the same size, 32 x 32; 0 is gray."""
        u, v = (_blurred(_plane(each, _HALF), _BLUR / 2) - 128 for each in (self.thumbnail.u, self.thumbnail.v))
        luma = _resized(_plane(self.thumbnail.y, _SIDE), _HALF)
        return u, v, np.asarray(luma, np.float32) - 128


def _plane(content: bytes, side: int) -> Plane:
    return np.frombuffer(content, np.uint8).reshape(side, side)


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
    coarse = np.array([ComparablePicture(thumbnail).coarse for thumbnail in thumbnails], np.float32)
    return np.asarray(coarse @ coarse.T, np.float32)


def difference(one: ComparablePicture, other: ComparablePicture, limit: int) -> int:
    """Difference of two pictures, 0 for identical ones to MAX_DIFFERENCE. Symmetric; 0.3 to 1 ms.

    It is as exact as the verdict needs: alignment ends as soon as the difference is at most `limit`, or far above it.
    """
    if one.contrast < other.contrast:  # a flat picture is a combination of any other, but not the reverse
        one, other = other, one
    figure, first, second = MAX_DIFFERENCE, one.luma, other.luma
    for matrix, correlation in _alignments(one, other):
        luma = _luma_squares(first, second, one.contrast, matrix)
        figure = _largest_local(luma)
        if figure <= limit:
            figure = _largest_local(luma + _colour_squares(one, other, matrix))
        if figure < limit or figure > limit + _HOPELESS + _UNALIGNED * (1 - correlation):
            break
    return figure


def _largest_local(squares: Floats) -> int:
    window = (_WINDOW, _WINDOW)
    local = cv2.boxFilter(np.minimum(squares, _LARGEST**2), -1, window, borderType=cv2.BORDER_CONSTANT)
    return min(int(_SCALE * float(np.sqrt(local.max()))), MAX_DIFFERENCE)


def _blurred(plane: Plane, sigma: float) -> Floats:
    return np.asarray(cv2.GaussianBlur(plane.astype(np.float32), (0, 0), sigma), np.float32)


def alignment(one: ComparablePicture, other: ComparablePicture) -> Floats | None:
    """Affine map of the first's pixels to the second's. None for a motion beyond a near-duplicate's."""
    matrix = None
    for matrix, _ in _alignments(one, other):  # noqa: B007 - the last one
        pass
    return matrix


def _alignments(one: ComparablePicture, other: ComparablePicture) -> Iterator[tuple[Floats, float]]:
    """Better and better maps of the first's pixels to the second's, each with the correlation that it reaches.

    The correlation is 0 where it is unknown. No further maps for a motion beyond a near-duplicate's.
    """
    likeness = float(one.coarse @ other.coarse)
    if likeness < _RESEMBLING:
        return
    if likeness >= _UNMOVED:
        yield _UNIT, 0.0
    matrix = _UNIT
    for (side, rounds), first, second in zip(_LEVELS, one.levels, other.levels, strict=True):
        criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, rounds, _STEP)
        start = _scaled(matrix, side / _SIDE)
        try:
            found = cv2.findTransformECC(first, second, start, cv2.MOTION_AFFINE, criteria, _WHOLE[side], 5)
        except cv2.error:  # too little detail, as on a text card: compared unaligned
            yield _UNIT, 0.0
            return
        matrix = _scaled(np.asarray(found[1], np.float32), _SIDE / side)
        if not _is_reframed(matrix):
            yield matrix, float(found[0])


def _scaled(matrix: Floats, factor: float) -> Floats:
    """Map of pictures whose sides are multiplied by a factor."""
    scaled = matrix.copy()
    scaled[:, 2] *= factor
    return scaled


def _is_reframed(matrix: Floats) -> bool:
    """Whether a map moves more than a near-duplicate's."""
    (a, b, right), (c, d, down) = matrix.tolist()
    middle = (_SIDE - 1) / 2
    shift = max(abs((a - 1 + b) * middle + right), abs((c + d - 1) * middle + down))
    stretch = max(abs(a - 1), abs(b), abs(c), abs(d - 1))
    return bool(shift > _SHIFT * _SIDE or stretch > _ZOOM)


def squared_differences(one: ComparablePicture, other: ComparablePicture, matrix: Floats) -> Floats:
    """Square of what differs at each pixel, relative to the picture's contrast."""
    return _luma_squares(one.luma, other.luma, one.contrast, matrix) + _colour_squares(one, other, matrix)


def _luma_squares(first: Floats, other: Floats, contrast: float, matrix: Floats) -> Floats:
    second = _warped(other, matrix)
    rest = _rest(first, second, [np.minimum(np.square(second - 128) / 64, 256)], _known(_SIDE, matrix))
    return np.asarray(np.square(rest / (contrast + _FAINT)), np.float32)


def _colour_squares(one: ComparablePicture, other: ComparablePicture, matrix: Floats) -> Floats:
    half = _scaled(matrix, _HALF / _SIDE)
    inside = _known(_HALF, half)
    first_u, first_v, _ = one.chroma
    u, v, tones = (_warped(plane, half) for plane in other.chroma)
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

    Weighted least squares on a quarter of the pixels: the part that differs has little weight.
    """
    bases = [plane / 64 for plane in (like, *others)]
    fitted = inside[::_FIT_STEP, ::_FIT_STEP]
    target = (wanted - like)[::_FIT_STEP, ::_FIT_STEP][fitted]
    columns = np.stack([np.ones_like(target), *(plane[::_FIT_STEP, ::_FIT_STEP][fitted] for plane in bases)])
    weighted, middle, solution = columns, target.size // 2, np.zeros(len(columns), np.float32)
    ridge = np.eye(len(columns), dtype=np.float32) * (_RIDGE * target.size)
    for turn in range(_FIT_ROUNDS):
        if turn:
            far = np.abs(target - solution @ columns)
            scale = _OUTLIER * float(np.partition(far, middle)[middle]) + 1
            weighted = columns / (1 + np.square(far / scale))
        # einsum, because a product of matrices makes OpenBLAS touch 10 MB of buffers.
        squares = np.einsum("in,jn->ij", weighted, columns) + ridge
        solution = cv2.solve(squares, weighted @ target, flags=cv2.DECOMP_CHOLESKY)[1][:, 0]
    constant, *shares = (float(each) for each in solution)
    rest = wanted - like - np.float32(constant)
    for share, plane in zip(shares, bases, strict=True):
        rest -= np.float32(share) * plane
    return np.asarray(rest * inside, np.float32)
