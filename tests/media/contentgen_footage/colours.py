"""Family: colour encodings. The light of each patch is known, whatever the encoding."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

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
    scene = shown * luminance ** (-1 / 6)
    return np.where(
        scene <= 1 / 12, np.sqrt(3 * scene), 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    )


def _srgb(light: Floats) -> Floats:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def _converted(
    transfer: Callable[[Floats], Floats], primaries: str, *, full: bool = False
) -> Callable[[Picture], av.VideoFrame]:
    def frame(pixels: Picture) -> av.VideoFrame:
        signal = np.round(65535 * np.clip(transfer(_light(pixels, primaries)), 0, 1)).astype(np.uint16)
        shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(signal), format="rgb48le")
        return shown.reformat(
            format="yuv420p10le", dst_colorspace=Colorspace.BT2020, src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        )  # fmt: skip

    return frame


def colours() -> list[FootageCase]:
    """SDR by matrix and range, tagged and not; HDR; wide gamut."""
    return [*_standard(), *_wide(), _dolby_vision()]


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
                    shots=6,
                    pictures=5,
                )
            )
    found.append(FootageCase("untagged-small", _written(".mp4", H264), "colour", film=_FILM, shots=6, pictures=5))
    tall = replace(H264, matrix=Colorspace.ITU709)
    found.append(
        FootageCase(
            "untagged-720", _written(".mp4", tall, _TALL), "colour", film=_TALL, shots=6, pictures=5, seconds=None
        )
    )
    rgb = FilmEncoding("libx264rgb", {"preset": "ultrafast", "crf": "8"}, pixels="rgb24")
    found.append(FootageCase("rgb", _written(".mp4", rgb), "colour", film=_FILM, shots=6, pictures=5))
    return found


def _wide() -> list[FootageCase]:
    hlg, pq, unstated = int(ColorTrc.ARIB_STD_B67), int(ColorTrc.SMPTE2084), 2
    wide, p3 = int(ColorPrimaries.BT2020), int(ColorPrimaries.SMPTE432)
    table = {
        "hlg": (_hlg, "bt2020", {"color_trc": hlg, "color_primaries": wide, "colorspace": 9}),
        "pq": (_pq, "bt2020", {"color_trc": pq, "color_primaries": wide, "colorspace": 9}),
        "hlg-without-primaries": (_hlg, "bt2020", {"color_trc": hlg, "color_primaries": unstated, "colorspace": 9}),
        "pq-without-primaries": (_pq, "bt2020", {"color_trc": pq, "color_primaries": unstated, "colorspace": 9}),
        "bt2020-sdr": (_srgb, "bt2020", {"color_trc": 14, "color_primaries": wide, "colorspace": 9}),
        "bt2020-matrix-alone": (_srgb, "bt2020", {"color_trc": unstated, "color_primaries": unstated, "colorspace": 9}),
        "display-p3": (_srgb, "p3", {"color_trc": 13, "color_primaries": p3, "colorspace": 9}),
    }
    options = {"preset": "ultrafast", "crf": "6", "x265-params": "log-level=none"}
    found = []
    for name, (transfer, primaries, tags) in table.items():
        encoding = FilmEncoding(
            "libx265", options, tags=tags | {"color_range": 1}, converted=_converted(transfer, primaries)
        )
        found.append(FootageCase(name, _written(".mp4", encoding), "colour", film=_FILM, shots=6, pictures=5))
    return found


def _dolby_vision() -> FootageCase:
    """HEVC with a record of profile 5 in its sample entry, in place of an unused box of the same size."""

    def make(path: Path) -> Path:
        written = encode(
            path.with_suffix(".mp4"),
            _FILM.pictures(),
            FilmEncoding("libx265", {"preset": "ultrafast", "x265-params": "log-level=none"}),
        )
        content = written.read_bytes()
        at = content.rindex(b"moov") - 4
        size = int.from_bytes(content[at : at + 4], "big")
        record = (32).to_bytes(4, "big") + b"dvcC" + bytes([1, 0, 5 << 1, 0x35, 0]) + bytes(19)
        box = (size + len(record)).to_bytes(4, "big") + content[at + 4 : at + size] + record
        written.write_bytes(content[:at] + box + content[at + size :])
        return written

    return FootageCase("dolby-vision-5", make, "colour", film=_FILM, refused="Dolby Vision")


def _written(extension: str, encoding: FilmEncoding, film: KnownFilm = _FILM) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        return encode(path.with_suffix(extension), film.pictures(), encoding, fps=film.fps)

    return make
