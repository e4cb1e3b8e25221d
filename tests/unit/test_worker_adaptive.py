"""`speed: Fast`: what is decoded of a recording, and that its shots stay the same."""

from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from contentgen_contract.spec import Dataset, Speed
from contentgen_worker.media import engine
from contentgen_worker.media.adaptive import Group, adaptive_frames, changing
from contentgen_worker.media.bounds import Bounds
from contentgen_worker.media.probe import opened
from contentgen_worker.media.segments import plan

BOUNDS = Bounds(10**7, 3600, memory_bytes=4 << 30)
FPS = 12


def scene(seed: int) -> npt.NDArray[np.uint8]:
    blocks = np.random.default_rng(seed).integers(20, 235, (12, 20, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(blocks, (320, 180), interpolation=cv2.INTER_NEAREST), np.uint8)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three still shots in 80 s, the second of them one second long: it begins and ends between two keyframes."""
    path = tmp_path_factory.mktemp("talk") / "talk.mp4"
    options = {"preset": "ultrafast", "x264-params": "keyint=48:min-keyint=48:scenecut=0:bframes=2"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for index in range(80 * FPS):
            shown = scene(1) if 492 <= index < 504 else scene(0) if index < 492 else scene(2)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode())
    return path


def group(value: float, burst: float = 0.1) -> Group:
    return Group(0, 0, np.full(12, value, np.float32), burst)


def test_what_looks_alike_at_both_ends_and_has_no_burst_does_not_change() -> None:
    assert changing([group(10), group(11), group(40), group(40, burst=0.6), group(40)]) == [
        False, True, False, True, True
    ]  # fmt: skip
    assert changing([]) == [True]


@pytest.mark.parametrize("workers", [1, 3])
def test_groups_without_a_change_are_not_decoded(talk: Path, workers: int) -> None:
    with opened(talk) as container:
        parts = list(plan(container, workers))
    seconds: list[float] = []
    for part in parts:
        with opened(talk) as container:
            seconds += [frame.seconds for frame in adaptive_frames(container, part, BOUNDS)]
    assert seconds == sorted(set(seconds))
    assert seconds[0] == 0
    changes = [second for second in seconds if 40 <= second < 44]
    assert len(changes) > FPS
    assert len(seconds) < len(changes) + 20 + 4 * FPS * len(parts)  # keyframes, and the last group of each part


def test_fast_finds_the_same_shots(talk: Path, tmp_path: Path) -> None:
    found = []
    for speed in Speed:
        asked = engine.task(talk, BOUNDS, Dataset(speed=speed), 80)
        found.append(engine.analyse_recording(asked, tmp_path / speed.value, 2, lambda _: None))
    exact, fast = found
    assert [each.start for each in exact.shots] == pytest.approx([0, 492 / FPS, 504 / FPS], abs=1.1 / FPS)
    assert [each.start for each in fast.shots] == pytest.approx([each.start for each in exact.shots], abs=3.1 / FPS)
    assert {each.shot for each in fast.candidates} == {1, 2, 3}
