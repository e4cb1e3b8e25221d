"""Faces in a picture: OpenCV's Haar cascade at first, and a seam for another detector."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from contentgen_worker.media.codec import transferable
from contentgen_worker.media.decode.planes import Plane

_WIDTH = 320  # pixels: at 640 a frame takes five times as long
_WIDEST = 640
_CASCADE = "haarcascade_frontalface_alt2.xml"
_WINDOW = 20  # pixels: the cascade's smallest face
_STEP = 1.15
_NEIGHBOURS = 4  # hits that overlap, for one face


@transferable
@dataclass(frozen=True, slots=True)
class FaceBox:
    """Where a face is, in shares of the picture's width and height, from its top left corner."""

    left: float
    top: float
    width: float
    height: float

    @property
    def centre(self) -> tuple[float, float]:
        """Across and down."""
        return self.left + self.width / 2, self.top + self.height / 2


@dataclass(frozen=True, slots=True)
class FaceSettings:
    """Whether to look for faces; `smallest`: share of the picture's height."""

    find: bool = False
    smallest: float = 0.15


class FaceDetector(Protocol):
    """Finds faces."""

    def find(self, y: Plane, smallest: float) -> tuple[FaceBox, ...]:
        """Those of at least this share of the height, the largest first. `y`: luma of the upright picture."""


class HaarFaces:
    """OpenCV's frontal faces, upright and from the front. About 10 ms a picture; not for two threads at once."""

    def __init__(self) -> None:
        path = Path(cv2.__file__).parent / "data" / _CASCADE
        self._cascade = cv2.CascadeClassifier(str(path))
        if self._cascade.empty():
            raise RuntimeError(f"OpenCV {cv2.__version__} brings no {_CASCADE}; opencv-python-headless<5 does")

    def find(self, y: Plane, smallest: float) -> tuple[FaceBox, ...]:
        """See FaceDetector."""
        height, width = y.shape
        wanted = _WINDOW / max(smallest, 0.05) * width / height  # wide enough for the smallest face to be found
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


def haar() -> HaarFaces:
    """This thread's detector."""
    if not hasattr(_thread_local, "haar"):
        _thread_local.haar = HaarFaces()
    return _thread_local.haar  # type: ignore[no-any-return]
