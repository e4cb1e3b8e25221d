"""Face detection: OpenCV's Haar cascade, behind an interface for other detectors."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from contentgen_worker.media.codec import transferable
from contentgen_worker.media.decode.planes import Plane

_WIDTH = 320  # pixels; at 640 a frame takes five times as long
_WIDEST = 640
_CASCADE = "haarcascade_frontalface_alt2.xml"
_WINDOW = 20  # pixels; the cascade's smallest face
_STEP = 1.15
_NEIGHBOURS = 4  # overlapping hits required per face


@transferable
@dataclass(frozen=True, slots=True)
class FaceBox:
    """Position of a face, in shares of the picture's width and height from its top left corner."""

    left: float
    top: float
    width: float
    height: float

    @property
    def centre(self) -> tuple[float, float]:
        """Horizontal and vertical share."""
        return self.left + self.width / 2, self.top + self.height / 2


@dataclass(frozen=True, slots=True)
class FaceSettings:
    """Whether to detect faces; `smallest`: share of the picture's height."""

    find: bool = False
    smallest: float = 0.15


class FaceDetector(Protocol):
    """Interface of face detectors."""

    def find(self, y: Plane, smallest: float) -> tuple[FaceBox, ...]:
        """Faces of at least this share of the height, largest first. `y`: luma of the upright picture."""


class HaarFaces:
    """OpenCV's cascade for upright frontal faces. About 10 ms a picture; not thread-safe."""

    def __init__(self) -> None:
        path = Path(cv2.__file__).parent / "data" / _CASCADE
        self._cascade = cv2.CascadeClassifier(str(path))
        if self._cascade.empty():
            raise RuntimeError(f"OpenCV {cv2.__version__} has no {_CASCADE}; opencv-python-headless<5 does")

    def find(self, y: Plane, smallest: float) -> tuple[FaceBox, ...]:
        """Faces, see FaceDetector."""
        height, width = y.shape
        wanted = _WINDOW / max(smallest, 0.05) * width / height  # wide enough to detect the smallest face
        scale = min(1.0, max(_WIDTH, min(wanted, _WIDEST)) / width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.equalizeHist(cv2.resize(y, size, interpolation=cv2.INTER_AREA))
        least = max(_WINDOW, int(smallest * size[1]))
        found = self._cascade.detectMultiScale(small, _STEP, _NEIGHBOURS, minSize=(least, least))
        boxes = (
            FaceBox(x / size[0], top / size[1], w / size[0], h / size[1])
            for x, top, w, h in np.reshape(found, (-1, 4)).tolist()
        )
        return tuple(sorted(boxes, key=lambda box: (-box.height, box.left, box.top)))


_thread_local = threading.local()


def thread_detector() -> HaarFaces:
    """Detector of the current thread."""
    if not hasattr(_thread_local, "haar"):
        _thread_local.haar = HaarFaces()
    return _thread_local.haar  # type: ignore[no-any-return]
