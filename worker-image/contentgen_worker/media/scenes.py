"""Shots by PySceneDetect, decoded by its PyAV backend."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from scenedetect import SceneDetector, SceneManager, VideoOpenFailure  # type: ignore[import-untyped]
from scenedetect.backends.pyav import VideoStreamAv  # type: ignore[import-untyped]
from scenedetect.detectors import (  # type: ignore[import-untyped]
    AdaptiveDetector,
    ContentDetector,
    HashDetector,
    HistogramDetector,
    ThresholdDetector,
)

from contentgen_contract.spec import Detector
from contentgen_worker.errors import Unsupported
from contentgen_worker.media.bounds import Bounds
from contentgen_worker.media.moments import Shot

_DETECTORS: dict[Detector, Callable[[], SceneDetector]] = {
    Detector.AUTO: AdaptiveDetector,  # the best F1 of these that we measured
    Detector.ADAPTIVE: AdaptiveDetector,
    Detector.CONTENT: ContentDetector,
    Detector.HASH: HashDetector,
    Detector.HISTOGRAM: HistogramDetector,
    Detector.THRESHOLD: ThresholdDetector,
}


class _Watched(VideoStreamAv):  # type: ignore[misc]  # it is untyped
    """Says how far it is, and stops at the bounds: a header may lie about both."""

    def __init__(self, path: Path, bounds: Bounds, watch: Callable[[float], None]) -> None:
        super().__init__(str(path), suppress_output=True, threading_mode="AUTO")
        self._bounds = bounds
        self._watch = watch

    def read(self, decode: bool = True) -> Any:
        frame = super().read(decode)
        seconds = self.position_ms / 1000
        self._bounds.check_duration(seconds)
        if isinstance(frame, np.ndarray):
            self._bounds.check_pixels(frame.shape[1], frame.shape[0])
        self._watch(seconds)
        return frame


def detect(path: Path, detector: Detector, bounds: Bounds, watch: Callable[[float], None]) -> tuple[Shot, ...]:
    """The shots of a checked file; a video without a cut is one shot. `watch` gets the seconds decoded so far."""
    manager = SceneManager()
    manager.add_detector(_DETECTORS[detector]())
    try:
        manager.detect_scenes(_Watched(path, bounds, watch))
        scenes = manager.get_scene_list(start_in_scene=True)
    except (VideoOpenFailure, av.error.FFmpegError) as error:
        raise Unsupported(f"its pictures can't be decoded ({type(error).__name__}); it may be damaged") from None
    return tuple(Shot(number, start.seconds, end.seconds) for number, (start, end) in enumerate(scenes, 1))
