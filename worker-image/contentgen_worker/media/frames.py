"""A frame as people see it: turned, unsqueezed, no larger than asked for."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]  # height x width x RGB
cv2.setNumThreads(1)  # its own threads fight with the decoder's


def upright(frame: Any, longest_side: int) -> Pixels:
    """A frame as people see it."""
    pixels = np.asarray(frame.to_ndarray(format="rgb24", threads=1), dtype=np.uint8)
    aspect = frame.sample_aspect_ratio if hasattr(frame, "sample_aspect_ratio") else None
    pixels = scaled(pixels, longest_side, float(aspect) if aspect else 1.0)
    return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90) % 4))


def scaled(pixels: Pixels, longest_side: int, aspect: float = 1.0) -> Pixels:
    """No side longer than this, never enlarged. `aspect` is the width of one pixel over its height."""
    height, width = pixels.shape[:2]
    shape = (width * min(aspect, 1.0), height / max(aspect, 1.0))  # squeeze, never stretch
    factor = min(1.0, longest_side / max(shape))
    size = (max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor)))
    if size == (width, height):
        return pixels
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
