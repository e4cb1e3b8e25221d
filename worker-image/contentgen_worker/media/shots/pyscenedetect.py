"""PySceneDetect's detectors with their own names and defaults, fed by our decoder.

Their thresholds are calibrated for PySceneDetect's downscale, which is as wide as our planes. They get timestamps
instead of frame numbers, so minimum lengths hold at a variable frame rate.
"""

from bisect import bisect_left
from collections import deque
from fractions import Fraction
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from scenedetect import FrameTimecode, SceneDetector  # type: ignore[import-untyped]
from scenedetect.common import Timecode  # type: ignore[import-untyped]
from scenedetect.detectors import (  # type: ignore[import-untyped]
    AdaptiveDetector,
    ContentDetector,
    HashDetector,
    HistogramDetector,
    ThresholdDetector,
)

from contentgen_contract.resources.spec import Detector, SceneDetection
from contentgen_worker.media.decode.planes import Plane, Planes
from contentgen_worker.media.shots.boundaries import Boundary, BoundaryKind

_DETECTORS: dict[Detector, type[SceneDetector]] = {
    Detector.ADAPTIVE: AdaptiveDetector,
    Detector.CONTENT: ContentDetector,
    Detector.HASH: HashDetector,
    Detector.HISTOGRAM: HistogramDetector,
    Detector.THRESHOLD: ThresholdDetector,
}
_TICKS = 90_000  # per second; finer than any frame rate
_REMEMBERED = 4096  # frames; PySceneDetect lags by its minimum length or its window


def make_detector(settings: SceneDetection, fps: float) -> "PySceneDetect":
    """Detector of these settings; omitted ones have PySceneDetect's defaults. `fps`: average frames a second."""
    return PySceneDetect(_DETECTORS[settings.detector](**_parameters(settings)), fps)


def _parameters(settings: SceneDetection) -> dict[str, Any]:
    """Settings under PySceneDetect's names."""
    parameters = {
        "adaptive_threshold" if settings.detector is Detector.ADAPTIVE else "threshold": _number(settings.threshold),
        "min_scene_len": _number(settings.min_scene_length),  # a float is seconds; an int would be frames
    }
    return {name: value for name, value in parameters.items() if value is not None}


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)


class PySceneDetect:
    """PySceneDetect detector as a BoundaryDetector."""

    def __init__(self, detector: SceneDetector, fps: float) -> None:
        self._detector = detector
        self._rate = Fraction(min(max(fps, 1.0), 1000.0)).limit_denominator(1001)
        self._seconds: deque[float] = deque(maxlen=_REMEMBERED)

    def thumbnail(self, planes: Planes) -> Plane:
        """The whole planes."""
        return planes.whole

    def push(self, seconds: float, thumbnail: Plane) -> list[Boundary]:
        """Add the next frame. Returns the boundaries that became certain."""
        self._seconds.append(seconds)
        timecode = FrameTimecode(Timecode(round(seconds * _TICKS), Fraction(1, _TICKS)), self._rate)
        return [self._at(cut.seconds) for cut in sorted(self._detector.process_frame(timecode, bgr(Planes(thumbnail))))]

    def finish(self) -> list[Boundary]:
        """Returns nothing: a fade-out without a fade-in is the end of the video."""
        return []

    def _at(self, cut: float) -> Boundary:
        frame = 1 / float(self._rate)
        at = bisect_left(self._seconds, cut - frame / 2)
        return Boundary(self._seconds[at - 1] if at else cut - frame, cut, self._kind)

    @property
    def _kind(self) -> BoundaryKind:
        return BoundaryKind.FADE if isinstance(self._detector, ThresholdDetector) else BoundaryKind.CUT


def bgr(planes: Planes) -> npt.NDArray[np.uint8]:
    """Frame in the detectors' format: height x width x BGR."""
    stacked = np.concatenate([planes.y.ravel(), planes.u.ravel(), planes.v.ravel()])
    height, width = planes.y.shape
    picture = cv2.cvtColor(stacked.reshape(height * 3 // 2, width), cv2.COLOR_YUV2BGR_I420)
    return np.asarray(picture, dtype=np.uint8)
