"""Reference conversions by zimg, of each colour encoding that the engine accepts.

`python -m contentgen_footage.colour_reference` needs an ffmpeg with zscale, and writes `colour_reference.npz`, which
the test of colours reads.
"""

import ctypes
import json
import subprocess
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
FILE = Path(__file__).with_suffix(".npz")
BLOCK = 16  # pixels of a patch's side, so that a smaller chroma plane has some without its neighbours
_ACROSS = 23  # patches
GREYS = 25
"""Number of the last patches, from black to the brightest."""
_RGB = 0
# Number of H.273 -> zscale's name. Curves of cameras, and the gamma of old receivers (5), are declared to be sRGB's:
# docs/decisions/0044-colour.md.
MATRICES = {0: "gbr", 1: "bt709", 4: "fcc", 5: "bt470bg", 6: "smpte170m", 7: "smpte2400m", 9: "bt2020nc"}
TRANSFERS = dict.fromkeys((1, 5, 6, 7, 11, 12, 13, 14, 15), "iec61966-2-1") | {
    4: "bt470m",
    8: "linear",
    16: "smpte2084",
    18: "arib-std-b67",
}
PRIMARIES = {1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "film", 9: "bt2020"} | {
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
# Weights of red and blue in luma.
_WEIGHTS = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087)} | {
    9: (0.2627, 0.0593)
}
_DEEP = {"linear", "smpte2084", "arib-std-b67"}  # stored in 10 bits
_BRIGHTEST = {"smpte2084": 0.75}  # signal of 983 cd/m2


@dataclass(frozen=True)
class ColourEncoding:
    """Matrix by its number, and range, of a frame."""

    matrix: int
    full: bool


ENCODINGS = tuple(
    ColourEncoding(each_matrix, full)
    for each_matrix in MATRICES
    for full in ((True,) if each_matrix == _RGB else (True, False))
)


def patches(transfer: str) -> Floats:
    """R'G'B' of each patch, 0-1: a grid, then `GREYS`."""
    brightest = _BRIGHTEST.get(transfer, 1.0)
    grid = np.array(list(product(np.linspace(0, brightest, 7), repeat=3)))
    greys = np.linspace(0, brightest, GREYS)[:, None].repeat(3, axis=1)
    return np.concatenate([grid, greys])


def frame(transfer: str, encoding: ColourEncoding) -> av.VideoFrame:
    """Frame of the patches, from left to right and from top to bottom, by H.273's formulas; without tags."""
    depth = 10 if transfer in _DEEP else 8
    most, unit = 2**depth - 1, 2 ** (depth - 8)
    signal = patches(transfer)
    if encoding.matrix == _RGB:
        codes, name = signal[:, [1, 2, 0]] * most, "gbrp"
    else:
        red, blue = _WEIGHTS[encoding.matrix]
        luma = signal @ np.array([red, 1 - red - blue, blue])
        chroma = (signal[:, [2, 0]] - luma[:, None]) / (2 - 2 * np.array([blue, red]))
        black, span, reach = (0, most, most) if encoding.full else (16 * unit, 219 * unit, 224 * unit)
        codes, name = np.column_stack([black + span * luma, 128 * unit + reach * chroma]), "yuv444p"
    return _filled(np.clip(np.round(codes), 0, most), f"{name}{'10le' if depth == 10 else ''}")


def _filled(codes: Floats, pixels: str) -> av.VideoFrame:
    """Frame of this pixel format with a block for each row of three codes."""
    rows = -(-len(codes) // _ACROSS)
    cells = np.resize(codes, (rows, _ACROSS, 3))
    made = av.VideoFrame(_ACROSS * BLOCK, rows * BLOCK, pixels)
    kind = np.dtype(np.uint8 if made.format.components[0].bits == 8 else np.uint16)
    for index, plane in enumerate(made.planes):
        lines = np.zeros((plane.height, plane.line_size // kind.itemsize), kind)
        lines[:, : plane.width] = cells[..., index].repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)
        plane.update(lines.tobytes())
    return made


def centres(plane: npt.NDArray[np.generic], count: int) -> Floats:
    """Mean of the middle of each patch, of an array height x width; `count` patches."""
    side = plane.shape[1] // _ACROSS
    blocks = plane.astype(float).reshape(-1, side, _ACROSS, side)
    inner = slice(side // 2 - 1, side // 2 + 1)
    return np.asarray(blocks[:, inner, :, inner].mean(axis=(1, 3)).reshape(-1)[:count])


def _by_zimg(primaries: str, transfer: str, encoding: ColourEncoding) -> Floats:
    """255 times sRGB of each patch, patches x 3, not clipped at white, which is at 203 cd/m2 of HDR (BT.2408)."""
    made = frame(transfer, encoding)
    width = made.width * (made.format.components[0].bits + 7) // 8
    raw = b"".join(
        np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, -1)[:, :width].tobytes()
        for plane in made.planes
    )
    stated = (
        f"min={MATRICES[encoding.matrix]}:tin={transfer}:pin={primaries}:rin={'full' if encoding.full else 'limited'}"
    )
    wanted = "m=gbr:t=iec61966-2-1:p=bt709:r=full:npl=203:agamma=0,format=gbrpf32le"
    given = ["-f", "rawvideo", "-pix_fmt", made.format.name, "-video_size", f"{made.width}x{made.height}", "-i", "-"]
    command = ["ffmpeg", "-v", "error", *given, "-vf", f"zscale={stated}:{wanted}", "-f", "rawvideo", "-"]
    found = subprocess.run(command, input=raw, stdout=subprocess.PIPE, check=True).stdout
    green, blue, red = np.frombuffer(found, np.float32).reshape(3, made.height, made.width)
    return 255 * np.column_stack([centres(each, len(patches(transfer))) for each in (red, green, blue)])


@dataclass(frozen=True)
class ColourReference:
    """The file. `about`: versions, and zscale's name of each number. `results`: 255 times sRGB by the names of
    primaries and transfer, encodings x patches x 3."""

    about: dict[str, Any]
    results: dict[tuple[str, str], npt.NDArray[np.int16]]

    @classmethod
    def read(cls) -> "ColourReference":
        """The stored file."""
        with np.load(FILE) as stored:
            about = json.loads(str(stored["about"]))
            pairs = [name for name in stored.files if name != "about"]
            return cls(about, {tuple(pair.split()): np.cumsum(stored[pair], axis=0, dtype=np.int16) for pair in pairs})

    def write(self) -> None:
        """Store the file: of each encoding the difference to the one before, which is small."""
        arrays = {
            " ".join(pair): np.diff(result, axis=0, prepend=np.zeros_like(result[:1]))
            for pair, result in self.results.items()
        }
        np.savez_compressed(FILE, allow_pickle=False, about=np.array(json.dumps(self.about)), **arrays)


def _versions() -> str:
    ffmpeg = subprocess.run(["ffmpeg", "-version"], stdout=subprocess.PIPE, text=True, check=True).stdout.split()[2]
    numbers = [ctypes.c_uint() for _ in range(3)]
    ctypes.CDLL("libzimg.so.2").zimg_get_version_info(*map(ctypes.byref, numbers))
    return f"ffmpeg {ffmpeg}, zimg {'.'.join(str(number.value) for number in numbers)}"


def main() -> None:
    """Make the file: two minutes."""
    results = {
        (primaries, transfer): np.stack([np.round(_by_zimg(primaries, transfer, encoding)) for encoding in ENCODINGS])
        for primaries, transfer in product(PRIMARIES.values(), dict.fromkeys(TRANSFERS.values()))
    }
    tables = {"matrix": MATRICES, "transfer": TRANSFERS, "primaries": PRIMARIES}
    ColourReference(
        {"made by": _versions(), **tables}, {pair: result.astype(np.int16) for pair, result in results.items()}
    ).write()


if __name__ == "__main__":
    main()
