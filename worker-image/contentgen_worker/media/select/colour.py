"""Colour: a decoded frame in any accepted encoding -> the planes of a JPEG file, full-range BT.601 of sRGB.

Numbers of primaries, transfers and matrices are those of ITU-T H.273, tables 2 to 4. docs/decisions/0044-colour.md has
the reasons of what is accepted and assumed; contentgen_footage/colour_reference.npz has what zimg makes of each.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from contentgen_worker.errors import Unsupported
from contentgen_worker.media.decode.planes import Plane, view

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Deep = npt.NDArray[np.uint16]
Point = tuple[float, float]
_FULL, _LIMITED = int(ColorRange.JPEG), int(ColorRange.MPEG)
_UNSTATED = frozenset({0, 2, 3})  # unspecified and reserved
_RGB, _BT709, _BT601, _BT2020 = 0, 1, 5, 9
_GAMMA_22, _LINEAR, _SRGB, _PQ, _HLG = 4, 8, 13, 16, 18
_HDR = frozenset({_PQ, _HLG})
_HD = 720  # rows; players assume BT.709 for unlabelled video of this height

MATRICES = {0: _RGB, 1: _BT709, 4: 4, 5: _BT601, 6: _BT601, 7: 7, 9: _BT2020}
"""Accepted matrices -> the equal one that stands for them."""
# H.273 gives the camera's curve of 1, 6, 7, 11, 12, 14 and 15, and the gamma of a historical receiver for 5. Video is
# graded on a display, and players and browsers show its signal unchanged on a display for sRGB.
TRANSFERS = dict.fromkeys((1, 5, 6, 7, 11, 12, 13, 14, 15), _SRGB) | {
    each: each for each in (_GAMMA_22, _LINEAR, _PQ, _HLG)
}
"""Accepted transfers -> the one whose curve is used."""
PRIMARIES = {1: _BT709, 4: 4, 5: 5, 6: 6, 7: 6, 8: 8, 9: _BT2020, 11: 11, 12: 12, 22: 22}
"""Accepted primaries -> the equal ones that stand for them."""
# Of what an accepted codec may state; others are called by their number.
_REFUSED = {
    "matrix": {8: "YCgCo", 10: "BT.2020 with constant luminance", 11: "Y'D'zD'x", 12: "chromaticity-derived"}
    | {13: "chromaticity-derived", 14: "ICtCp", 15: "IPT, as of Dolby Vision profile 5", 16: "YCgCo", 17: "YCgCo"},
    "transfer": {9: "logarithmic", 10: "logarithmic", 17: "that of digital cinema (ST 428)"},
    "primaries": {10: "CIE XYZ (ST 428)"},
}
_IPT = 15
# Of these, zscale makes BT.709 where the others are stated: tried with ffmpeg 5.1 of Debian 12.
_CONVERTIBLE = {"matrix": {8, 10, 12, 13, 14}, "transfer": {9, 10}, "primaries": {10}}
_CONVERT = "ffmpeg -i FILE -vf zscale=m=709:t=709:p=709:r=limited,format=yuv420p new.mp4"

# Weights of red and blue in luma.
_WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
_SWSCALE = {1: Colorspace.ITU709, 4: Colorspace.FCC, 7: Colorspace.SMPTE240M, 9: Colorspace.BT2020}
_D65, _C, _DCI = (0.3127, 0.3290), (0.310, 0.316), (0.314, 0.351)
# Chromaticities x, y of red, green, blue and white.
_CHROMATICITIES: dict[int, tuple[Point, Point, Point, Point]] = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060), _D65),
    4: ((0.670, 0.330), (0.210, 0.710), (0.140, 0.080), _C),
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060), _D65),
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), _D65),
    8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _C),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    11: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _DCI),
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), _D65),
}
# XYZ -> responses of the cones after Bradford, as in ICC profiles (ISO 15076-1, annex E).
_CONES = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_WHITE = 203.0  # cd/m2 of SDR white in HDR (BT.2408)
_HLG_PEAK, _HLG_GAMMA = 1000.0, 1.2  # BT.2100: nominal display, and the exponent of its luminance
KNEE = 0.6
"""Share of SDR white above which the highlights of HDR are compressed."""
_STEPS = 65536
_ZERO, _UNIT = 16384, 32768  # black, and white less black, of a signal in 16 bits, which may be out of gamut
_OPAQUE = 254  # of 255; alpha in 10 bits may round to it


@dataclass(frozen=True, slots=True)
class Colour:
    """Colour encoding of a frame, by the numbers that stand for equal ones. `matrix`: 0 for RGB."""

    matrix: int
    full: bool
    transfer: int
    primaries: int

    @classmethod
    def from_frame(cls, image: av.VideoFrame) -> "Colour":
        """Encoding as the frame states it, else as players guess. Raises Unsupported."""
        rgb = image.format.is_rgb or image.format.has_palette
        matrix = int(image.colorspace)
        if matrix in _UNSTATED and image.side_data.get("DOVI_METADATA") is not None:
            matrix = _IPT
        return cls.from_numbers(
            _RGB if rgb else None if matrix in _UNSTATED else matrix,
            int(image.color_trc),
            int(image.color_primaries),
            full=int(image.color_range) == _FULL or image.format.name.startswith("yuvj"),
            high=max(image.height, image.width * 9 // 16) >= _HD,
        )

    @classmethod
    def from_numbers(cls, matrix: int | None, transfer: int, primaries: int, *, full: bool, high: bool) -> "Colour":
        """Encoding by H.273's numbers. `matrix`: 0 for RGB, which is always full range; None if it is not stated.
        `high`: whether the video is HD. Raises Unsupported.
        """
        if transfer in _UNSTATED:
            transfer = _SRGB
        if primaries in _UNSTATED:
            primaries = _BT2020 if transfer in _HDR or matrix == _BT2020 else _BT709
        if matrix is None:
            matrix = _BT2020 if primaries == _BT2020 else _BT709 if high else _BT601
        return cls(
            _accepted("matrix", MATRICES, matrix),
            full or matrix == _RGB,
            _accepted("transfer", TRANSFERS, transfer),
            _accepted("primaries", PRIMARIES, primaries),
        )

    @property
    def is_srgb(self) -> bool:
        """Whether its R'G'B' is that of sRGB."""
        return self.transfer == _SRGB and self.primaries == _BT709

    @property
    def swscale(self) -> Colorspace:
        """libswscale's name of the matrix; that of BT.601 for RGB."""
        return _SWSCALE.get(self.matrix, Colorspace.ITU601)


def _accepted(what: str, accepted: Mapping[int, int], number: int) -> int:
    if number in accepted:
        return accepted[number]
    command = f", for example: {_CONVERT}" if number in _CONVERTIBLE[what] else ""
    raise Unsupported(
        f"its colour encoding ({what}) is {_REFUSED[what].get(number, f'number {number}')}, which is not supported; "
        f"convert it to BT.709 (SDR){command}"
    )


def scaled(
    image: av.VideoFrame, size: tuple[int, int], colour: Colour, reformatter: VideoReformatter
) -> tuple[Plane, Plane, Plane]:
    """Y, U and V (4:2:0) as in a JPEG file. `size`: width and height in pixels.

    libswscale scales and expands the range. It would convert the matrix through RGB at four times the cost, so
    `rematrixed` does that.
    """
    if not colour.is_srgb:
        return _converted(image, size, colour, reformatter)
    same = colour.swscale
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


def _to_ycc(weights: tuple[float, float]) -> Doubles:
    """3 x 3 matrix: R'G'B' -> Y'CbCr."""
    red, blue = weights
    luma = np.array([red, 1 - red - blue, blue])
    return np.array([luma, (np.array([0, 0, 1]) - luma) / (2 - 2 * blue), (np.array([1, 0, 0]) - luma) / (2 - 2 * red)])


@cache
def _matrix_to_601(matrix: int) -> tuple[tuple[float, ...], ...]:
    """3 x 3 matrix: Y'CbCr of a matrix -> that of BT.601."""
    both = _to_ycc(_WEIGHTS[_BT601]) @ np.linalg.inv(_to_ycc(_WEIGHTS[matrix]))
    return tuple(tuple(float(number) for number in row) for row in both)


def _converted(
    image: av.VideoFrame, size: tuple[int, int], colour: Colour, reformatter: VideoReformatter
) -> tuple[Plane, Plane, Plane]:
    """Y, U and V like `scaled`, through linear light."""
    rgb = _srgb(_signal(image, size, colour, reformatter), colour.transfer, colour.primaries)
    y, v, u = cv2.split(cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb))
    half = (-(-size[0] // 2), -(-size[1] // 2))
    u, v = (cv2.resize(each, half, interpolation=cv2.INTER_AREA) for each in (u, v))
    return np.asarray(y, np.uint8), np.asarray(u, np.uint8), np.asarray(v, np.uint8)


def _signal(image: av.VideoFrame, size: tuple[int, int], colour: Colour, reformatter: VideoReformatter) -> Deep:
    """R'G'B' in 16 bits, height x width x 3: `_ZERO` + `_UNIT` is white.

    libswscale only scales: it would round dark saturated colours, and clip what other primaries bring back into gamut.
    """
    deep = max(component.bits for component in image.format.components) > 8
    kept = _FULL if colour.full else _LIMITED
    pixels = ("rgb48le" if deep else "rgb24") if colour.matrix == _RGB else "yuv444p10le" if deep else "yuv444p"
    ready = reformatter.reformat(
        image, *size, pixels, src_colorspace=colour.swscale, dst_colorspace=colour.swscale, src_color_range=kept,
        dst_color_range=kept, interpolation=Interpolation.BICUBIC, threads=1,
    )  # fmt: skip
    if colour.matrix == _RGB:
        codes, depth = np.asarray(ready.to_ndarray(), np.uint16), 16 if deep else 8
    else:
        planes = [_view16(plane) if deep else view(ready, index) for index, plane in enumerate(ready.planes)]
        codes, depth = np.asarray(cv2.merge(planes), np.uint16), 10 if deep else 8
    return np.asarray(cv2.transform(codes, _to_signal(colour.matrix, colour.full, depth)), np.uint16)


def _view16(plane: VideoPlane) -> Deep:
    """Values of a plane of up to 16 bits, height x width, without copying."""
    lines = np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, plane.line_size // 2)
    return lines[:, : plane.width]


@cache
def _to_signal(matrix: int, full: bool, depth: int) -> Doubles:
    """3 x 4 matrix: codes and 1 -> R'G'B' like `_signal`'s (H.273, equations 20 to 37)."""
    most, unit = 2**depth - 1, 2 ** (depth - 8)
    if matrix == _RGB:
        return np.hstack([np.eye(3) * _UNIT / most, np.full((3, 1), _ZERO)])
    black, span, chroma = (0, most, most) if full else (16 * unit, 219 * unit, 224 * unit)
    turned = _UNIT * np.linalg.inv(_to_ycc(_WEIGHTS[matrix])) @ np.diag([1 / span, 1 / chroma, 1 / chroma])
    return np.hstack([turned, _ZERO - turned @ np.array([[black], [128 * unit], [128 * unit]])])


def _srgb(signal: Deep, transfer: int, primaries: int) -> Plane:
    """8-bit sRGB of `_signal`'s R'G'B', both height x width x 3. What is outside of sRGB's gamut is clipped."""
    light = np.take(_curve(transfer), signal)
    if transfer == _HLG:
        light = _times(light, cv2.pow(cv2.transform(light, _luminance(primaries)), _HLG_GAMMA - 1))
    light = np.asarray(cv2.transform(light, _to_709(primaries)), np.float32)
    if transfer in _HDR:
        light = _toned_down(light)
    steps = np.asarray(cv2.addWeighted(light, _STEPS - 1, light, 0, 0, dtype=cv2.CV_16U), np.uint16)  # clips
    return np.take(_srgb_table(), steps)


def _times(light: Floats, factor: cv2.typing.MatLike) -> Floats:
    """Light times a factor for all channels of a pixel."""
    return np.asarray(cv2.multiply(light, cv2.merge([factor] * 3)), np.float32)


def _toned_down(light: Floats) -> Floats:
    """Light without negative values and with compressed highlights; same factor for all channels, to keep the hue."""
    light = np.maximum(light, 0)
    red, green, blue = cv2.split(light)
    peak = np.maximum(cv2.max(cv2.max(red, green), blue), 1e-6)
    above = np.maximum(peak - KNEE, 0) / (1 - KNEE)
    return _times(light, (np.minimum(peak, KNEE) + (1 - KNEE) * above / (1 + above)) / peak)


@cache
def _curve(transfer: int) -> Floats:
    """Values of `_signal` -> linear light, 1.0 at SDR white. Of HLG that of the scene, so that the light of the display
    is this times a power of its luminance."""
    stated = (np.arange(_STEPS) - _ZERO) / _UNIT
    signal = np.maximum(stated, 0)
    if transfer == _PQ:  # ST 2084
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = np.minimum(signal, 1) ** (1 / m2)
        light = 10000 / _WHITE * (np.maximum(root - c1, 0) / (c2 - c3 * root)) ** (1 / m1)
    elif transfer == _HLG:  # BT.2100; the peak is a factor of the power's argument, too
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
        light = (_HLG_PEAK / _WHITE) ** (1 / _HLG_GAMMA) * scene
    elif transfer == _GAMMA_22:
        light = signal**2.2
    elif transfer == _LINEAR:
        light = stated
    else:
        light = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    return np.asarray(light, np.float32)


def _to_xyz(primaries: int) -> Doubles:
    """3 x 3 matrix: linear RGB -> CIE XYZ, with luminance 1 of white."""
    *colours, white = (np.array([x, y, 1 - x - y]) for x, y in _CHROMATICITIES[primaries])
    columns = np.array(colours).T
    return np.asarray(columns * np.linalg.solve(columns, white / white[1]))


@cache
def _to_709(primaries: int) -> Floats:
    """3 x 3 matrix: linear RGB -> that of BT.709, with its white for white."""
    ours, theirs = _to_xyz(_BT709), _to_xyz(primaries)
    cones = (_CONES @ ours.sum(axis=1)) / (_CONES @ theirs.sum(axis=1))
    adapted = np.linalg.inv(_CONES) @ np.diag(cones) @ _CONES
    return np.asarray(np.linalg.inv(ours) @ adapted @ theirs, np.float32)


@cache
def _luminance(primaries: int) -> Floats:
    """1 x 3 matrix: linear RGB -> luminance."""
    return np.asarray(_to_xyz(primaries)[1:2], np.float32)


@cache
def _srgb_table() -> Plane:
    """Linear light in `_STEPS` steps -> 8-bit sRGB (IEC 61966-2-1)."""
    light = np.linspace(0, 1, _STEPS)
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.round(255 * encoded), np.uint8)


def transparency(image: av.VideoFrame, size: tuple[int, int], reformatter: VideoReformatter) -> Plane | None:
    """Alpha plane of this width and height, 255 where the frame is opaque; None if it is so everywhere."""
    if not any(component.is_alpha for component in image.format.components):
        return None
    alpha = view(reformatter.reformat(image, *size, "yuva420p", interpolation=Interpolation.BILINEAR, threads=1), 3)
    return alpha if alpha.min() < _OPAQUE else None


def on_black(planes: tuple[Plane, Plane, Plane], alpha: Plane | None) -> tuple[Plane, Plane, Plane]:
    """Planes of a JPEG file (4:2:0) before black, as in video players; white would outline what was drawn for black."""
    if alpha is None:
        return planes
    y, u, v = planes
    half = np.asarray(cv2.resize(alpha, u.shape[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    return _blended(y, alpha, 0), _blended(u, half, 128), _blended(v, half, 128)


def _blended(plane: Plane, alpha: Plane, black: int) -> Plane:
    share = alpha / np.float32(255)
    return np.round(black + (plane - np.float32(black)) * share).astype(np.uint8)
