"""Quality of a training set of a generated video: each picture against the best frame of its shot, coverage, balance.

All figures come from the video and its ground truth, none from the engine. The talkers of `scenery.py` keep their size
and pose within a shot, so the figures of face size and poses are those of `posed.py`.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from contentgen_bench.media import checks, videos
from contentgen_bench.media.scenes.scenery import Cast
from contentgen_bench.media.views import View, near_duplicates, views

_EXPOSURE = 4.0  # luma by which a picture may be outside the range of most frames of its shot
_MOST = (0.1, 0.9)  # quantiles of that range; a light that is switched keeps both of its levels
_CLIPPED = 0.05  # share of black and white pixels beyond that of most frames
_WIDTH = 160  # pixels, at which exposure is measured
_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class DatasetQuality:
    """Figures of a training set. Shares are from 0 to 1."""

    pictures: int
    near_duplicates: tuple[tuple[float, float], ...]  # seconds of both pictures of each pair
    sharpness: float  # median share of the sharpness of the shot's sharpest frame
    least_sharp: float  # the same, of the tenth of the pictures that is lowest
    badly_exposed: float  # share of pictures
    eyes_closed: float  # share of the pictures of talkers
    places: float  # share of the places that as many pictures could show
    empty_shots: float  # share of the shots without a picture
    most_per_shot: int


def measure(name: str, out: Path) -> DatasetQuality:
    """Figures of a dataset folder, made of the video with this name."""
    video, recipe = videos.ensure(name), videos.recipes()[name]
    images: Sequence[dict[str, Any]] = json.loads((out / "dataset.json").read_text())["images"]
    seconds = [float(image["seconds"]) for image in images]
    chosen = views(recipe, video.truth, seconds)
    clock = np.array(video.truth.seconds)
    at = [int(np.abs(clock - second).argmin()) for second in seconds]
    sharp, light = checks.sharpness(video), exposure(video)
    inside = [(clock >= shot.start - 1e-3) & (clock <= shot.end + 1e-3) for shot in video.truth.shots]
    shares = [
        float(sharp[frame] / max(sharp[inside[view.shot]].max(), 1e-6)) for frame, view in zip(at, chosen, strict=True)
    ]
    exposed = [_is_exposed(light[frame], light[inside[view.shot]]) for frame, view in zip(at, chosen, strict=True)]
    middles = [(shot.start + shot.end) / 2 for shot in video.truth.shots]
    return DatasetQuality(
        len(images),
        tuple((seconds[one], seconds[other]) for one, other in near_duplicates(chosen)),
        float(np.median(shares)),
        float(np.quantile(shares, 0.1)),
        1 - float(np.mean(exposed)),
        closed_eyes(chosen),
        coverage(chosen, views(recipe, video.truth, middles)),
        *balance(chosen, len(video.truth.shots)),
    )


def closed_eyes(chosen: Sequence[View]) -> float:
    """Share of the pictures of talkers with closed eyes."""
    talkers = [view for view in chosen if view.setup.cast is Cast.TALKER]
    return sum(view.eyes_closed for view in talkers) / max(1, len(talkers))


def coverage(chosen: Sequence[View], all_shots: Sequence[View]) -> float:
    """Number of distinct places, as a share of what as many pictures could show."""
    possible = min(len(chosen), len({view.place for view in all_shots}))
    return len({view.place for view in chosen}) / max(1, possible)


def balance(chosen: Sequence[View], shots: int) -> tuple[float, int]:
    """Share of the shots without a picture, and the largest number of pictures of a shot."""
    counts = Counter(view.shot for view in chosen)
    return 1 - len(counts) / max(1, shots), max(counts.values(), default=0)


def _is_exposed(frame: _Floats, shot: _Floats) -> bool:
    """Whether luma and clipping are those of most frames of the shot."""
    low, high = np.quantile(shot, _MOST, axis=0)
    return bool(low[0] - _EXPOSURE <= frame[0] <= high[0] + _EXPOSURE and frame[1] <= high[1] + _CLIPPED)


def exposure(video: videos.Video) -> _Floats:
    """Mean luma, and share of clipped pixels, of each frame. Cached beside the video."""
    path = video.path.with_suffix(".exposure.npy")
    if not path.exists():
        with av.open(str(video.path)) as container:
            container.streams.video[0].thread_type = "AUTO"
            np.save(path, np.array([_exposure(frame) for frame in container.decode(video=0)], np.float32))
    return np.asarray(np.load(path), np.float32)


def _exposure(frame: av.VideoFrame) -> tuple[float, float]:
    plane = frame.planes[0]
    luma = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
    small = cv2.resize(luma, (_WIDTH, round(_WIDTH * plane.height / plane.width)), interpolation=cv2.INTER_AREA)
    return float(small.mean()), float(((small <= 18) | (small >= 233)).mean())
