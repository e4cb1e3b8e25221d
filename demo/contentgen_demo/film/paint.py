"""Anti-aliased filled shapes on BGR images, as in OpenCV.

Coordinates are in a space of 1280 x 720. The video has a lower resolution, because users wait while it is rendered.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from cv2.typing import MatLike

from contentgen_demo.film.film import Colour

SPACE_WIDTH, SPACE_HEIGHT = 1280, 720
SCALE = 0.75  # pixels of the film for each unit of that space
_SHIFT = 4  # OpenCV's fixed point: sixteenths of a pixel, so that slow things do not jerk
Points = Sequence[tuple[float, float]]


def bgr(colour: Colour) -> Colour:
    """RGB colour in OpenCV's channel order."""
    return (colour[2], colour[1], colour[0])


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Linear mix of two colours; `share` (0-1) is that of `other`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return (red, green, blue)


def polygon(frame: MatLike, points: Points, colour: Colour) -> None:
    """Fill a polygon with anti-aliased edges."""
    fixed = np.asarray(points, dtype=np.float64) * (SCALE * 2**_SHIFT)
    cv2.fillPoly(frame, [np.rint(fixed).astype(np.int32)], bgr(colour), cv2.LINE_AA, _SHIFT)


def disc(frame: MatLike, x: float, y: float, radius: float, colour: Colour, *, line: int = -1) -> None:
    """Draw a disc, or a ring of `line` pixels, with anti-aliased edges."""
    unit = SCALE * 2**_SHIFT
    centre = (round(x * unit), round(y * unit))
    cv2.circle(frame, centre, max(1, round(radius * unit)), bgr(colour), line, cv2.LINE_AA, _SHIFT)


def box(frame: MatLike, corner: tuple[float, float], size: tuple[float, float], colour: Colour) -> None:
    """Fill a rectangle; `corner` is its upper left."""
    (x, y), (wide, high) = corner, size
    first, last = (round(x * SCALE), round(y * SCALE)), (round((x + wide) * SCALE), round((y + high) * SCALE))
    cv2.rectangle(frame, first, last, bgr(colour), -1)
