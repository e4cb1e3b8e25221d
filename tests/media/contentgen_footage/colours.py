"""Family: colour encodings. The light of each patch is known, whatever the encoding."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace

from contentgen_footage.case import FootageCase
from contentgen_footage.films import H264, FilmEncoding, KnownFilm, Picture, encode

_FILM = KnownFilm(shots=6, seconds=1.0)  # patches below the knee of the tone curve
_TALL = replace(_FILM, width=1280, height=720, seconds=0.5)
_WHITE, _PEAK = 203.0, 1000.0  # cd/m2: SDR white in HDR (BT.2408), display of HLG (BT.2100)
# Chromaticities of R, G, B and white (H.273, table 2).
_XY = {
    "bt709": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    "bt2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    "p3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    "smpte-c": ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    "ebu": ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),
}
# Weights of red and blue in luma (H.273, table 4).
_WEIGHTS = {
    Colorspace.ITU601: (0.299, 0.114),
    Colorspace.ITU709: (0.2126, 0.0722),
    Colorspace.BT2020: (0.2627, 0.0593),
}
_D65 = (0.3127, 0.3290)
Floats = npt.NDArray[np.float64]


def _to_xyz(primaries: str) -> Floats:
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in _XY[primaries]]).T
    x, y = _D65
    return columns * np.linalg.solve(columns, np.array([x / y, 1.0, (1 - x - y) / y]))


def _light(pixels: Picture, primaries: str) -> Floats:
    """Linear light with these primaries, 1.0 at SDR white, of sRGB pixels."""
    signal = pixels / 255
    linear = np.where(signal <= 0.04045, signal / 12.92, ((signal + 0.055) / 1.055) ** 2.4)
    return np.maximum(linear @ (np.linalg.inv(_to_xyz(primaries)) @ _to_xyz("bt709")).T, 0)


def _pq(light: Floats) -> Floats:
    powered = (light * _WHITE / 10000) ** (2610 / 16384)
    return ((3424 / 4096 + 2413 / 128 * powered) / (1 + 2392 / 128 * powered)) ** (2523 / 32)


def _hlg(light: Floats) -> Floats:
    shown = light * _WHITE / _PEAK
    luminance = np.maximum(shown @ np.array([0.2627, 0.6780, 0.0593]), 1e-9)[..., None]
    scene: Floats = shown * luminance ** (-1 / 6)
    return np.where(
        scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    )


def _srgb(light: Floats) -> Floats:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _gamma_22(light: Floats) -> Floats:
    return light ** (1 / 2.2)


def _converted(
    transfer: Callable[[Floats], Floats], primaries: str, matrix: Colorspace, *, full: bool = False
) -> Callable[[Picture], av.VideoFrame]:
    """Frames in 10 bits (4:2:0) by H.273's formulas; libswscale is up to 2.3 codes off, 5 of 255 after PQ."""
    red, blue = _WEIGHTS[matrix]
    black, span, reach = (0, 1023, 1023) if full else (64, 876, 896)

    def frame(pixels: Picture) -> av.VideoFrame:
        signal = np.clip(transfer(_light(pixels, primaries)), 0, 1)
        luma = signal @ np.array([red, 1 - red - blue, blue])
        chroma = (signal[..., [2, 0]] - luma[..., None]) / (2 - 2 * np.array([blue, red]))
        half = chroma.reshape(luma.shape[0] // 2, 2, luma.shape[1] // 2, 2, 2).mean(axis=(1, 3))
        made = av.VideoFrame(pixels.shape[1], pixels.shape[0], "yuv420p10le")
        codes = black + span * luma, *np.moveaxis(512 + reach * half, -1, 0)
        for plane, values in zip(made.planes, codes, strict=True):
            lines = np.zeros((plane.height, plane.line_size // 2), np.uint16)
            lines[:, : plane.width] = np.clip(np.round(values), 0, 1023)
            plane.update(lines.tobytes())
        return made

    return frame


def colours() -> list[FootageCase]:
    """SDR by matrix and range, tagged and not; HDR; other primaries and curves; Dolby Vision; transparency."""
    return [*_standard(), *_wide(), *_dolby_vision(), *_transparent()]


def _standard() -> list[FootageCase]:
    found = []
    for name, matrix, number in (
        ("601", Colorspace.ITU601, 5),
        ("709", Colorspace.ITU709, 1),
        ("240m", Colorspace.SMPTE240M, 7),
        ("fcc", Colorspace.FCC, 4),
        ("2020", Colorspace.BT2020, 9),
    ):
        for full in (False, True):
            tags = {"colorspace": number, "color_range": 2 if full else 1, "color_primaries": 1, "color_trc": 1}
            encoding = replace(H264, matrix=matrix, full=full, tags=tags)
            found.append(
                FootageCase(
                    f"bt{name}-{'full' if full else 'limited'}",
                    _written(".mp4", encoding),
                    "colour",
                    film=_FILM,
                )
            )
    found.append(FootageCase("untagged-small", _written(".mp4", H264), "colour", film=_FILM))
    tall = replace(H264, matrix=Colorspace.ITU709)
    found.append(FootageCase("untagged-720", _written(".mp4", tall, _TALL), "colour", film=_TALL, seconds=None))
    rgb = FilmEncoding("libx264rgb", {"preset": "ultrafast", "crf": "8"}, pixels="rgb24")
    found.append(FootageCase("rgb", _written(".mp4", rgb), "colour", film=_FILM))
    return found


_SD, _HD, _UHD = Colorspace.ITU601, Colorspace.ITU709, Colorspace.BT2020
_X265 = {"preset": "ultrafast", "crf": "6", "x265-params": "log-level=none"}
# Curve, primaries, matrix, whether the range is full; and the numbers that are stated: primaries, transfer, matrix.
_WIDE = {
    "hlg": (_hlg, "bt2020", _UHD, False, (9, 18, 9)),
    "pq": (_pq, "bt2020", _UHD, False, (9, 16, 9)),
    "hlg-full": (_hlg, "bt2020", _UHD, True, (9, 18, 9)),
    "pq-full": (_pq, "bt2020", _UHD, True, (9, 16, 9)),
    "hlg-without-primaries": (_hlg, "bt2020", _UHD, False, (2, 18, 9)),
    "pq-without-primaries": (_pq, "bt2020", _UHD, False, (2, 16, 9)),
    "pq-without-matrix": (_pq, "bt2020", _UHD, False, (9, 16, 2)),
    "bt2020-sdr": (_srgb, "bt2020", _UHD, False, (9, 14, 9)),
    "bt2020-matrix-alone": (_srgb, "bt2020", _UHD, False, (2, 2, 9)),
    "display-p3": (_srgb, "p3", _HD, False, (12, 13, 1)),
    "display-p3-full": (_srgb, "p3", _SD, True, (12, 1, 6)),
    "smpte-c": (_srgb, "smpte-c", _SD, False, (6, 6, 6)),
    "smpte-c-full": (_srgb, "smpte-c", _SD, True, (7, 7, 6)),
    "ebu": (_srgb, "ebu", _SD, False, (5, 6, 5)),
    "ebu-disc": (_srgb, "ebu", _SD, False, (5, 5, 5)),  # its gamma of 2.8 is that of no display
    "gamma-2.2": (_gamma_22, "bt709", _HD, False, (1, 4, 1)),
    "gamma-2.2-of-p3": (_gamma_22, "p3", _HD, True, (12, 4, 1)),
}  # fmt: skip


def _wide() -> list[FootageCase]:
    return [FootageCase(name, _written(".mp4", _wide_encoding(name)), "colour", film=_FILM) for name in _WIDE]


def _wide_encoding(name: str) -> FilmEncoding:
    transfer, primaries, matrix, full, stated = _WIDE[name]
    tags = dict(zip(("color_primaries", "color_trc", "colorspace"), stated, strict=True))
    converted = _converted(transfer, primaries, matrix, full=full)
    return FilmEncoding("libx265", _X265, tags=tags | {"color_range": 2 if full else 1}, converted=converted)


def _dolby_vision() -> list[FootageCase]:
    """Profiles without a base layer that others can show, and with one of HLG or PQ."""
    table = {
        "dolby-vision-5": (replace(_wide_encoding("pq"), tags={}), 5, 0, "Dolby Vision"),
        "dolby-vision-8.1": (_wide_encoding("pq"), 8, 1, ""),
        "dolby-vision-8.4": (_wide_encoding("hlg"), 8, 4, ""),
    }
    return [
        FootageCase(
            name,
            _with_record(encoding, profile, compatible),
            "colour",
            film=_FILM,
            refused=refused,
        )
        for name, (encoding, profile, compatible, refused) in table.items()
    ]


def _with_record(encoding: FilmEncoding, profile: int, compatible: int) -> Callable[[Path], Path]:
    """HEVC with a record of Dolby Vision in its header, after an enlarged moov box."""

    def make(path: Path) -> Path:
        written = _written(".mp4", encoding)(path)
        content = written.read_bytes()
        at = content.rindex(b"moov") - 4
        size = int.from_bytes(content[at : at + 4], "big")
        record = (32).to_bytes(4, "big") + b"dvcC" + bytes([1, 0, profile << 1, 0x35, compatible << 4]) + bytes(19)
        box = (size + len(record)).to_bytes(4, "big") + content[at + 4 : at + size] + record
        written.write_bytes(content[:at] + box + content[at + size :])
        return written

    return make


_ALPHA = 222  # of 255


def _transparent() -> list[FootageCase]:
    """ProRes 4444, whose transparency is read, and VP9, whose is not. What is stored is brighter than what is shown."""
    prores = FilmEncoding("prores_ks", {"profile": "4"}, converted=_on_glass("yuva444p10le", _ALPHA))
    vp9 = {"deadline": "realtime", "cpu-used": "8", "b": "4M", "auto-alt-ref": "0"}
    unread = FilmEncoding("libvpx-vp9", vp9, converted=_on_glass("yuva420p", 255))
    return [
        FootageCase(name, _written(extension, encoding), "colour", film=_FILM, note=note)
        for name, extension, encoding, note in (
            ("prores-4444", ".mov", prores, "transparent parts of the video are black"),
            ("vp9-alpha", ".webm", unread, "transparent parts, which are not read"),
        )
    ]


def _on_glass(pixels: str, alpha: int) -> Callable[[Picture], av.VideoFrame]:
    """Frame of this pixel format that shows the picture on black, and white behind a transparent edge."""

    def frame(picture: Picture) -> av.VideoFrame:
        stored = np.clip(np.round(picture * (255 / alpha)), 0, 255)
        made = np.concatenate([stored, np.full_like(stored[..., :1], alpha)], axis=-1)
        made[:, :16] = (255, 255, 255, 0)
        shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(made, np.uint8), format="rgba")
        return shown.reformat(format=pixels, dst_colorspace=_SD, dst_color_range=ColorRange.MPEG)

    return frame


def _written(extension: str, encoding: FilmEncoding, film: KnownFilm = _FILM) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        return encode(path.with_suffix(extension), film.pictures(), encoding, fps=film.fps)

    return make
