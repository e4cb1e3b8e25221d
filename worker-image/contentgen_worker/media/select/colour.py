"""Colour conversion from a frame to a JPEG file: full-range BT.601, sRGB.

Matrices: H.273 table 4. PQ: SMPTE ST 2084. HLG: BT.2100. Reference white of HDR: BT.2408, 203 cd/m2.
"""

from dataclasses import dataclass
from functools import cache

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation, VideoReformatter

from contentgen_worker.errors import Unsupported
from contentgen_worker.media.decode.planes import Plane, view

Floats = npt.NDArray[np.float32]
_FULL, _LIMITED = int(ColorRange.JPEG), int(ColorRange.MPEG)
_UNSPECIFIED, _RGB = 2, 0
_HD = 720  # rows; players assume BT.709 for unlabelled video of this height
# Weights of red and blue in luma, by H.273's number.
_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
_SWSCALE = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,
}
_NAMES = {3: "reserved", 8: "YCgCo", 11: "Y'D'zD'x", 12: "primaries-derived", 13: "primaries-derived", 14: "ICtCp"}
_DOLBY = 15
_PQ, _HLG = int(ColorTrc.SMPTE2084), int(ColorTrc.ARIB_STD_B67)
_HDR = {_PQ, _HLG}
_WIDE_MATRICES = {9, 10}  # of BT.2020; players assume its primaries for them, and for HDR, where none are stated
_UNSTATED = {0, 2}  # H.273: reserved, unspecified
# Linear RGB of these primaries -> linear RGB of BT.709.
_TO_709 = {
    int(ColorPrimaries.BT2020): ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)),
    int(ColorPrimaries.SMPTE431): ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979)),
    int(ColorPrimaries.SMPTE432): ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979)),
}
_WHITE = 203.0  # cd/m2
_HLG_PEAK, _HLG_GAMMA = 1000.0, 1.2  # BT.2100: nominal display, and the exponent of its luminance
_KNEE = 0.6  # share of SDR white above which highlights are compressed
_STEPS = 4096


@dataclass(frozen=True, slots=True)
class Colour:
    """Colour encoding of a frame. `matrix`: H.273's number, 0 for RGB."""

    matrix: int
    full: bool
    transfer: int
    primaries: int

    @classmethod
    def from_frame(cls, image: av.VideoFrame) -> "Colour":
        """Encoding as the frame states it, else as players guess. Raises Unsupported."""
        rgb = image.format.is_rgb or image.format.has_palette
        matrix = _RGB if rgb else int(image.colorspace)
        if not rgb and matrix in (_UNSPECIFIED, _RGB):
            matrix = 1 if max(image.height, image.width * 9 // 16) >= _HD else 5
        if int(image.colorspace) == _UNSPECIFIED and image.side_data.get("DOVI_METADATA") is not None:
            matrix = _DOLBY
        if matrix and matrix not in _WEIGHTS:
            name = "Dolby Vision profile 5" if matrix == _DOLBY else _NAMES.get(matrix, f"matrix {matrix}")
            raise Unsupported(f"its colour encoding is {name}, which is not supported; convert it to BT.709 (SDR)")
        full = rgb or int(image.color_range) == _FULL or image.format.name.startswith("yuvj")
        transfer, primaries = int(image.color_trc), int(image.color_primaries)
        if primaries in _UNSTATED and (transfer in _HDR or matrix in _WIDE_MATRICES):
            primaries = int(ColorPrimaries.BT2020)
        return cls(matrix, full, transfer, primaries)

    @property
    def wide(self) -> bool:
        """Whether tone mapping is needed: HDR, or primaries wider than sRGB."""
        return self.transfer in _HDR or self.primaries in _TO_709

    @property
    def swscale(self) -> Colorspace:
        """libswscale's name of the matrix."""
        return _SWSCALE.get(self.matrix, Colorspace.ITU601)


def scaled(
    image: av.VideoFrame, size: tuple[int, int], colour: Colour, reformatter: VideoReformatter
) -> tuple[Plane, Plane, Plane]:
    """Y, U and V (4:2:0) as in a JPEG file. `size`: width and height in pixels.

    libswscale scales and expands the range. It would convert the matrix through RGB at four times the cost, so
    `rematrixed` does that.
    """
    if colour.wide:
        image, colour = _tone_mapped(image, size, colour, reformatter), Colour(_RGB, True, 0, 0)
    same = colour.swscale if colour.matrix else Colorspace.ITU601
    smaller = size[0] <= image.width and size[1] <= image.height
    flags = Interpolation.BICUBIC if smaller else Interpolation.BILINEAR
    ready = reformatter.reformat(
        image, *size, "yuv420p", src_colorspace=same, dst_colorspace=same, interpolation=flags,
        src_color_range=_FULL if colour.full else _LIMITED, dst_color_range=_FULL, threads=1,
    )  # fmt: skip
    y, u, v = (view(ready, index) for index in range(3))
    return (y, u, v) if same is Colorspace.ITU601 else rematrixed(y, u, v, colour.matrix)


def rematrixed(y: Plane, u: Plane, v: Plane, matrix: int) -> tuple[Plane, Plane, Plane]:
    """Full-range planes of this matrix converted to BT.601. Greys don't change, so luma changes by chroma alone."""
    rows = _matrix_to_601(matrix)
    (y_u, y_v), (u_u, u_v), (v_u, v_v) = ((row[1], row[2]) for row in rows)
    size = (y.shape[1], y.shape[0])
    shift = cv2.resize(cv2.addWeighted(u, y_u, v, y_v, 128 * (1 - y_u - y_v)), size)  # 128: no shift; at most 60 off
    none = np.full_like(shift, 128)
    return (
        np.asarray(cv2.subtract(cv2.add(y, cv2.subtract(shift, none)), cv2.subtract(none, shift)), np.uint8),
        np.asarray(cv2.addWeighted(u, u_u, v, u_v, 128 * (1 - u_u - u_v)), np.uint8),
        np.asarray(cv2.addWeighted(u, v_u, v, v_v, 128 * (1 - v_u - v_v)), np.uint8),
    )


def _to_ycc(weights: tuple[float, float]) -> npt.NDArray[np.float64]:
    """3 x 3 matrix: R'G'B' -> Y'CbCr."""
    red, blue = weights
    luma = np.array([red, 1 - red - blue, blue])
    return np.array([luma, (np.array([0, 0, 1]) - luma) / (2 - 2 * blue), (np.array([1, 0, 0]) - luma) / (2 - 2 * red)])


@cache
def _matrix_to_601(matrix: int) -> tuple[tuple[float, ...], ...]:
    """3 x 3 matrix: Y'CbCr of a matrix -> that of BT.601."""
    both = _to_ycc(_WEIGHTS[5]) @ np.linalg.inv(_to_ycc(_WEIGHTS[matrix]))
    return tuple(tuple(float(number) for number in row) for row in both)


def _tone_mapped(
    image: av.VideoFrame, size: tuple[int, int], colour: Colour, reformatter: VideoReformatter
) -> av.VideoFrame:
    """HDR or wide-gamut frame as 8-bit sRGB (rgb24) of this size."""
    rgb = reformatter.reformat(
        image, *size, "rgb48le", src_colorspace=colour.swscale, interpolation=Interpolation.BICUBIC,
        src_color_range=_FULL if colour.full else _LIMITED, dst_color_range=_FULL, threads=1,
    ).to_ndarray()  # fmt: skip
    light = np.take(_linear_light(colour.transfer), np.asarray(rgb, np.uint16))
    if colour.transfer == _HLG:
        light *= (_HLG_PEAK / _WHITE) * (light @ _luminance(colour.primaries))[..., None] ** (_HLG_GAMMA - 1)
    matrix = _TO_709.get(colour.primaries)
    if matrix is not None:
        light = np.maximum(np.asarray(cv2.transform(light, np.array(matrix, np.float32)), np.float32), 0)
    peak = np.maximum(light.max(axis=2, keepdims=True), 1e-6)
    light *= _roll_off(peak) / peak  # same factor for all channels, to keep the hue
    encoded = np.take(_srgb_table(), np.minimum(light * (_STEPS - 1), _STEPS - 1).astype(np.uint16))
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(encoded), format="rgb24")


@cache
def _linear_light(transfer: int) -> Floats:
    """65,536 values: channel value -> linear light, 1.0 at SDR white; of HLG that of the scene, 1.0 at its peak."""
    signal = np.linspace(0, 1, 65536)
    if transfer == _PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = signal ** (1 / m2)
        nits = 10000 * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    elif transfer == _HLG:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        nits = _WHITE * np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    else:
        nits = _WHITE * np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    return np.asarray(nits / _WHITE, np.float32)


def _luminance(primaries: int) -> Floats:
    """Weights of linear R, G and B in luminance."""
    red, blue = _WEIGHTS[1] if primaries not in _TO_709 else _WEIGHTS[9]
    return np.array([red, 1 - red - blue, blue], np.float32)


def _roll_off(light: Floats) -> Floats:
    above = np.maximum(light - _KNEE, 0) / (1 - _KNEE)
    return np.asarray(np.minimum(light, _KNEE) + (1 - _KNEE) * above / (1 + above), np.float32)


@cache
def _srgb_table() -> Plane:
    """Linear light in `_STEPS` steps -> 8-bit sRGB."""
    light = np.linspace(0, 1, _STEPS)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(255 * encoded), np.uint8)
