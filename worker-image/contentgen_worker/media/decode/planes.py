"""Frames reduced to small YUV planes, for shot detection.

This runs for each frame, so pixels are sampled (nearest), not averaged: 0.06 ms per 720p frame, against 2.4 ms for its
decoding; averaging would take as long as decoding. Users average noise when they reduce further.
"""

from dataclasses import dataclass

import av
import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]
_LONGEST_SIDE = 256
_MULTIPLE = 16  # of both sides, so that all planes divide into 8x8 blocks
_PLANAR = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"})


@dataclass(frozen=True, slots=True)
class Planes:
    """Luma and chroma, 256 pixels at the longest side, without correction of the pixel aspect ratio.

    One array: luma, height x width, and below it both chroma planes side by side, each height/2 x width/2.
    """

    whole: Plane

    @classmethod
    def from_planes(cls, y: Plane, u: Plane, v: Plane) -> "Planes":
        """Planes from three arrays."""
        return cls(np.vstack([y, np.hstack([u, v])]))

    @property
    def y(self) -> Plane:
        """Luma, height x width."""
        return self.whole[: len(self.whole) // 3 * 2]

    @property
    def u(self) -> Plane:
        """U, height/2 x width/2."""
        return self.whole[len(self.whole) // 3 * 2 :, : self.whole.shape[1] // 2]

    @property
    def v(self) -> Plane:
        """V, height/2 x width/2."""
        return self.whole[len(self.whole) // 3 * 2 :, self.whole.shape[1] // 2 :]


@dataclass(frozen=True, slots=True)
class Aperture:
    """Part of decoded frames of this size that is shown, in pixels; `right` and `bottom` exclusive.

    Frames of another size are shown whole.
    """

    size: tuple[int, int]  # width and height
    left: int
    top: int
    right: int
    bottom: int

    def area(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of what is shown of a frame."""
        return (self.left, self.top, self.right, self.bottom) if (width, height) == self.size else (0, 0, width, height)


@dataclass(frozen=True, slots=True)
class Shape:
    """Size of a recording's planes; constant, since detectors compare them."""

    width: int
    height: int
    aperture: Aperture | None = None

    @classmethod
    def for_frame(cls, width: int, height: int, aperture: Aperture | None = None) -> "Shape":
        """Shape for frames of this size in pixels."""
        left, top, right, bottom = aperture.area(width, height) if aperture else (0, 0, width, height)
        width, height = right - left, bottom - top
        factor = _LONGEST_SIDE / max(width, height)
        width, height = (max(1, round(side * factor / _MULTIPLE)) * _MULTIPLE for side in (width, height))
        return cls(width, height, aperture)

    def shrink(self, image: av.VideoFrame) -> Planes:
        """Planes of a frame of any size and pixel format. Of an interlaced one, lines of one field are sampled: both
        would be two moments.
        """
        size = image.width, image.height
        left, top, right, bottom = self.aperture.area(*size) if self.aperture else (0, 0, *size)
        step = 2 if image.interlaced_frame else 1
        if image.format.name not in _PLANAR:
            height = image.height if step > 1 else self.height  # scaling would mix the fields
            image = image.reformat(self.width, height, "yuv420p", interpolation="FAST_BILINEAR", threads=1)
        planes = Planes(np.empty((self.height * 3 // 2, self.width), np.uint8))
        for index, small in enumerate((planes.y, planes.u, planes.v)):
            plane = view(image, index)
            height, width = plane.shape
            rows = slice(top * height // size[1], bottom * height // size[1], step)
            columns = slice(left * width // size[0], right * width // size[0])
            cv2.resize(plane[rows, columns], small.shape[::-1], small, interpolation=cv2.INTER_NEAREST)
        return planes


def view(image: av.VideoFrame, index: int) -> Plane:
    """One 8-bit plane of a frame, height x width, without copying."""
    plane = image.planes[index]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


def luma(image: av.VideoFrame) -> Plane:
    """Luma of the full frame in 8 bits, height x width."""
    if image.format.name not in _PLANAR:
        image = image.reformat(format="gray", threads=1)
    return view(image, 0)


def shown(y: Plane, aperture: Aperture | None) -> Plane:
    """Part of a full-size plane that an aperture shows, or all of it; a view."""
    height, width = y.shape
    left, top, right, bottom = aperture.area(width, height) if aperture else (0, 0, width, height)
    return y[top:bottom, left:right]
