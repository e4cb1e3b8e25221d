"""PySceneDetect's detectors on our planes find the same cuts as its own SceneManager."""

from collections.abc import Iterator
from copy import deepcopy
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from scenedetect import SceneDetector, SceneManager
from scenedetect.backends.pyav import VideoStreamAv
from scenedetect.detectors import (
    AdaptiveDetector,
    ContentDetector,
    HashDetector,
    HistogramDetector,
    ThresholdDetector,
)

from contentgen_contract.resources.spec import Detector, SceneDetection
from contentgen_worker.media.decode.planes import Planes
from contentgen_worker.media.shots.boundaries import Boundary, BoundaryKind
from contentgen_worker.media.shots.pyscenedetect import bgr, make_detector

RATE = 24
Pair = tuple[dict[str, Any], SceneDetector]
DEFAULTS: dict[str, Pair] = {
    "content": ({}, ContentDetector()),
    "adaptive": ({}, AdaptiveDetector()),
    "hash": ({}, HashDetector()),
    "histogram": ({}, HistogramDetector()),
    "threshold": ({}, ThresholdDetector()),
    "content, long": ({"minSceneLength": "1.2"}, ContentDetector(min_scene_len=1.2)),
}
SET: dict[str, Pair] = {
    "content": ({"threshold": "35", "minSceneLength": "0.1"}, ContentDetector(35, 0.1)),
    "adaptive": ({"threshold": "4", "minSceneLength": "0.1"}, AdaptiveDetector(4, 0.1)),
    "hash": ({"threshold": "0.4"}, HashDetector(0.4)),
    "histogram": ({"threshold": "0.5"}, HistogramDetector(0.5)),
    "threshold": ({"threshold": "40"}, ThresholdDetector(40)),
}
SHOTS = (30, 20, 5, 40, 25, 33)  # frames; the third is shorter than the default minimum


@cache
def texture(seed: int) -> np.ndarray:
    """Brightness differs from the shots before and after."""
    cells = np.random.default_rng(seed).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    large = cv2.resize(cells, (450, 250), interpolation=cv2.INTER_CUBIC)
    return (large * (0.45 if seed % 2 else 1.0)).astype(np.uint8)


def picture(seed: int, at: int) -> np.ndarray:
    """A frame of a slow pan."""
    return np.ascontiguousarray(texture(seed)[at : at + 180, at : at + 320])


def frames() -> Iterator[np.ndarray]:
    for seed, length in enumerate(SHOTS):
        for at in range(length):
            yield picture(seed, at)
    for level in (*range(20, -1, -2), *[0] * 7, *range(0, 21, 2)):  # a fade through black
        yield (picture(5 if level else 6, 33) * (level / 20)).astype(np.uint8)
    for at in range(30):
        yield picture(6, at)


def clip(path: Path, ticks: Iterator[int]) -> Path:
    """`ticks`: each frame's time in thousandths."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for pixels, pts in zip(frames(), ticks, strict=False):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = pts, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def constant() -> Iterator[int]:
    yield from (round(index * 1000 / RATE) for index in range(1000))


def varying() -> Iterator[int]:
    """Variable frame rate: every other second at a third of it, as of screen recorders."""
    at = 0.0
    for _ in range(1000):
        yield round(at * 1000)
        at += 1 / RATE if int(at) % 2 else 3 / RATE


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("videos")
    return {each.__name__: clip(folder / f"{each.__name__}.mkv", each()) for each in (constant, varying)}


@cache
def decoded(path: Path) -> tuple[float, list[tuple[float, Planes]]]:
    """Frame rate, and the planes of the frames with their seconds."""
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            small = frame.reformat(width=256, height=144, format="yuv420p", interpolation="FAST_BILINEAR")
            y, u, v = (np.asarray(plane, np.uint8).reshape(-1, plane.line_size) for plane in small.planes)
            found.append((float(frame.time or 0), Planes.from_planes(y[:, :256], u[:, :128], v[:, :128])))
        return float(stream.guessed_rate or RATE), found


def ours(path: Path, settings: SceneDetection) -> list[Boundary]:
    rate, pictures = decoded(path)
    finder = make_detector(settings, rate)
    found = [each for seconds, planes in pictures for each in finder.push(seconds, finder.thumbnail(planes))]
    return found + finder.finish()


def theirs(path: Path, detector: SceneDetector) -> list[float]:
    manager = SceneManager()
    manager.add_detector(detector)
    manager.detect_scenes(VideoStreamAv(str(path), suppress_output=True))
    return [start.seconds for start, _ in manager.get_scene_list()[1:]]


@pytest.mark.parametrize("video", ["constant", "varying"])
@pytest.mark.parametrize("name", DEFAULTS)
def test_the_same_cuts_as_its_own_manager(videos: dict[str, Path], video: str, name: str) -> None:
    agree(videos[video], name, DEFAULTS[name])


@pytest.mark.parametrize("name", SET)
def test_detector_parameters(videos: dict[str, Path], name: str) -> None:
    agree(videos["constant"], name, SET[name])


def agree(video: Path, name: str, pair: Pair) -> None:
    settings, detector = pair
    expected = theirs(video, deepcopy(detector))
    assert expected
    found = ours(video, SceneDetection.model_validate({"detector": name.split(",", maxsplit=1)[0]} | settings))
    assert len(found) == len(expected)
    for boundary, cut in zip(found, expected, strict=True):
        assert boundary.start - 0.05 <= cut <= boundary.end + 0.05


def test_a_cut_lies_between_two_frames_and_a_fade_in_its_black(videos: dict[str, Path]) -> None:
    video = videos["varying"]
    with av.open(str(video)) as container:
        times = [float(frame.time or 0) for frame in container.decode(video=0)]
    cut = ours(video, SceneDetection(detector=Detector.CONTENT))[0]
    assert (cut.kind, cut.start, cut.end) == (
        BoundaryKind.CUT,
        pytest.approx(times[29], abs=0.001),
        pytest.approx(times[30], abs=0.001),
    )
    (fade,) = ours(video, SceneDetection(detector=Detector.THRESHOLD))
    assert fade.kind is BoundaryKind.FADE
    assert times[sum(SHOTS) + 11] <= fade.start < fade.end <= times[sum(SHOTS) + 18]


def test_planes_become_the_picture_in_full_range() -> None:
    colours = {(235, 128, 128): (255, 255, 255), (16, 128, 128): (0, 0, 0), (81, 90, 240): (0, 0, 255)}
    for (y, u, v), expected in colours.items():
        half = np.full((2, 4), u, np.uint8), np.full((2, 4), v, np.uint8)
        assert bgr(Planes.from_planes(np.full((4, 8), y, np.uint8), *half))[2, 3] == pytest.approx(expected, abs=3)


def test_no_frames_give_no_cuts() -> None:
    assert make_detector(SceneDetection(detector=Detector.CONTENT), 24).finish() == []
