"""PySceneDetect's detectors, under their own names and parameters, fed by our decode.

Its thresholds are meant for its own downscale, which is as wide as our planes. Times go in as timestamps, not as
frame numbers, so a variable frame rate leaves minimum lengths right.
"""

from bisect import bisect_left
from collections import deque
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
from scenedetect import FrameTimecode, SceneDetector  # type: ignore[import-untyped]
from scenedetect.common import Timecode  # type: ignore[import-untyped]
from scenedetect.detectors import (  # type: ignore[import-untyped]
    AdaptiveDetector,
    ContentDetector,
    HashDetector,
    HistogramDetector,
    ThresholdDetector,
)

from contentgen_contract.spec import Detector, SceneDetection, ThresholdMethod
from contentgen_worker.media.boundaries import Boundary, BoundaryKind
from contentgen_worker.media.planes import Planes

_DETECTORS: dict[Detector, type[SceneDetector]] = {
    Detector.ADAPTIVE: AdaptiveDetector,
    Detector.CONTENT: ContentDetector,
    Detector.HASH: HashDetector,
    Detector.HISTOGRAM: HistogramDetector,
    Detector.THRESHOLD: ThresholdDetector,
}
_METHODS = {ThresholdMethod.FLOOR: ThresholdDetector.Method.FLOOR, ThresholdMethod.CEILING: ThresholdDetector.Method.CEILING}
_TICKS = 90_000  # a second; finer than any frame rate
_REMEMBERED = 4096  # frames: PySceneDetect lags by its minimum length or its window


def make(settings: SceneDetection, fps: float) -> "PySceneDetect":
    """The detector that the settings name; what they leave out is PySceneDetect's default.

    `fps`: frames a second, an average where it varies.
    """
    return PySceneDetect(_DETECTORS[settings.detector](**_parameters(settings)), fps)


def _parameters(settings: SceneDetection) -> dict[str, Any]:
    """What was set, under PySceneDetect's names."""
    given = settings.model_dump(exclude={"detector"}, exclude_none=True)
    numbers = {name: float(given[name]) for name in ("threshold", "min_content_val", "fade_bias") if name in given}
    parameters = given | numbers
    if settings.detector is Detector.ADAPTIVE and "threshold" in parameters:
        parameters["adaptive_threshold"] = parameters.pop("threshold")
    if settings.method is not None:
        parameters["method"] = _METHODS[settings.method]
    if settings.min_scene_length is not None:
        parameters["min_scene_len"] = float(parameters.pop("min_scene_length"))  # a float is seconds, an int frames
    return parameters


class PySceneDetect:
    """One of its detectors as a BoundaryDetector."""

    def __init__(self, detector: SceneDetector, fps: float) -> None:
        self._detector = detector
        self._rate = Fraction(fps).limit_denominator(1001)
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)

    def push(self, seconds: float, planes: Planes) -> list[Boundary]:
        """The next frame."""
        self._seconds.append(seconds)
        timecode = FrameTimecode(Timecode(round(seconds * _TICKS), Fraction(1, _TICKS)), self._rate)
        return [self._at(cut.seconds) for cut in sorted(self._detector.process_frame(timecode, bgr(planes)))]

    def finish(self) -> list[Boundary]:
        """No frame follows. A fade-out without a fade-in is the end of the video, and no boundary."""
        return []

    def _at(self, cut: float) -> Boundary:
        frame = 1 / float(self._rate)
        at = bisect_left(self._seconds, cut - frame / 2)
        return Boundary(self._seconds[at - 1] if at else cut - frame, cut, self._kind)

    @property
    def _kind(self) -> BoundaryKind:
        return BoundaryKind.FADE if isinstance(self._detector, ThresholdDetector) else BoundaryKind.CUT


def bgr(planes: Planes) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """The picture in the form that its detectors take: height x width x BGR."""
    stacked = np.concatenate([planes.y.ravel(), planes.u.ravel(), planes.v.ravel()])
    height, width = planes.y.shape
    return cv2.cvtColor(stacked.reshape(height * 3 // 2, width), cv2.COLOR_YUV2BGR_I420)
