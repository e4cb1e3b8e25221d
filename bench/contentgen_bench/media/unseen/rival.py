"""PySceneDetect's detectors with a grid of settings. One decode, and one computation of each metric, serve all."""

import json
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from itertools import product
from typing import Any

from scenedetect import SceneDetector  # type: ignore[import-untyped]
from scenedetect.detectors import (  # type: ignore[import-untyped]
    AdaptiveDetector,
    ContentDetector,
    HashDetector,
    HistogramDetector,
)

from contentgen_bench.media import scoring, usual_way
from contentgen_bench.media.scoring import Score
from contentgen_bench.media.videos import Video

_CONTENT = (12, 15, 18, 21, 24, 27, 30, 35, 40, 50)
_ADAPTIVE, _LEAST_CONTENT = (1.5, 2, 2.5, 3, 3.5, 4, 5, 7), (5, 10, 15, 20, 30)
_HISTOGRAM = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
_HASH = (0.2, 0.25, 0.3, 0.35, 0.395, 0.45, 0.5)
_SHORTEST = (15, 6)  # frames of a scene; the first is the default


class _Shared:
    """Metric of the newest frame, computed by the first detector that asks for it."""

    def __init__(self, compute: Callable[..., Any]) -> None:
        self._compute = compute
        self._frame: Any = None
        self._value: Any = None

    def __call__(self, frame: Any, *arguments: Any) -> Any:
        if frame is not self._frame:
            self._value, self._frame = self._compute(*arguments), frame
        return self._value


def detectors() -> dict[str, SceneDetector]:
    """Detectors of the grid by name and settings; they share metrics, so all must see the same frames."""
    return dict((*_by_content(), *_by_histogram(), *_by_hash()))


def _by_content() -> Iterator[tuple[str, SceneDetector]]:
    source = ContentDetector()
    score = _Shared(source._calculate_frame_score)
    for threshold, shortest in product(_CONTENT, _SHORTEST):
        name = f"content, threshold {threshold}, min_scene_len {shortest}"
        yield name, _sharing(ContentDetector(threshold=threshold, min_scene_len=shortest), score)
    for ratio, least, shortest in product(_ADAPTIVE, _LEAST_CONTENT, _SHORTEST):
        name = f"adaptive, threshold {ratio:g}, min_content_val {least}, min_scene_len {shortest}"
        made = AdaptiveDetector(adaptive_threshold=ratio, min_content_val=least, min_scene_len=shortest)
        yield name, _sharing(made, score)


def _sharing(detector: SceneDetector, score: _Shared) -> SceneDetector:
    detector._calculate_frame_score = lambda timecode, frame: score(frame, timecode, frame)
    return detector


def _by_histogram() -> Iterator[tuple[str, SceneDetector]]:
    histogram = _Shared(HistogramDetector.calculate_histogram)
    for threshold, shortest in product(_HISTOGRAM, _SHORTEST):
        made = HistogramDetector(threshold=threshold, min_scene_len=shortest)
        made.calculate_histogram = lambda frame, bins: histogram(frame, frame, bins)
        yield f"histogram, threshold {threshold}, min_scene_len {shortest}", made


def _by_hash() -> Iterator[tuple[str, SceneDetector]]:
    fingerprint = _Shared(HashDetector.hash_frame)
    for threshold, shortest in product(_HASH, _SHORTEST):
        made = HashDetector(threshold=threshold, min_scene_len=shortest)
        made.hash_frame = lambda frame_img, hash_size, factor: fingerprint(frame_img, frame_img, hash_size, factor)
        yield f"hash, threshold {threshold}, min_scene_len {shortest}", made


def best(videos: Sequence[Video]) -> tuple[str, Score]:
    """Detector and settings with the highest F1 over these videos, and their score."""
    found = [scores(video) for video in videos]
    sums = {name: sum((each[name] for each in found[1:]), found[0][name]) for name in found[0]}
    name = max(sums, key=lambda each: sums[each].f1)
    return name, sums[name]


def scores(video: Video) -> dict[str, Score]:
    """Score of each detector of the grid. Their cuts are cached beside the video, by PySceneDetect's version."""
    path = video.path.with_suffix(f".pyscenedetect-grid-{version('scenedetect')}.json")
    if not path.exists():
        grid = detectors()
        found = usual_way.cuts(video.path, list(grid.values()))
        path.write_text(json.dumps(dict(zip(grid, found, strict=True))))
    kept: dict[str, list[float]] = json.loads(path.read_text())
    return {name: scoring.score(video.truth, [(cut, cut) for cut in cuts]) for name, cuts in kept.items()}
