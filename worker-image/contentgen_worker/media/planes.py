"""A frame made small: the three planes that shots are found on.

Every frame comes by here, so this is on the clock: of a frame's rows only as many are read as the small picture has,
those averaged along the row. On 720p that takes a fortieth of the decoder's own time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import av
import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]
WIDTH = 256  # about; the nearest whole division of the frame's
_PLANAR = frozenset({"yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "yuvj444p"})


@dataclass(frozen=True, slots=True)
class Planes:
    """Luma and chroma, about 256 pixels wide, both sides even; the pixels' aspect is not applied."""

    y: Plane  # height x width
    u: Plane  # height/2 x width/2
    v: Plane


@dataclass(frozen=True, slots=True)
class Shape:
    """How large the planes of a recording are, all of them alike: detectors compare them."""

    width: int
    height: int

    @classmethod
    def of(cls, width: int, height: int) -> "Shape":
        """The shape for frames of this size, in pixels."""
        factor = max(1, round(width / WIDTH))
        return cls(_even(width / factor), _even(height / factor))

    def shrink(self, image: av.VideoFrame) -> Planes:
        """The planes of a frame, of whatever size and pixel format."""
        if image.format.name not in _PLANAR:
            image = image.reformat(self.width, self.height, "yuv420p", interpolation="FAST_BILINEAR", threads=1)
        half = (self.width // 2, self.height // 2)
        y, u, v = (view(image, index) for index in range(3))
        return Planes(_small(y, (self.width, self.height)), _small(u, half), _small(v, half))


@dataclass(frozen=True, slots=True)
class Strip:
    """Planes of one shape as plain bytes, with their seconds: what one process may tell another."""

    shape: Shape
    seconds: tuple[float, ...]
    content: bytes

    @classmethod
    def of(cls, pictures: Sequence[tuple[float, Planes]], shape: Shape) -> "Strip":
        """Of pictures in order of time."""
        planes = (plane for _, each in pictures for plane in (each.y, each.u, each.v))
        return cls(shape, tuple(seconds for seconds, _ in pictures), b"".join(plane.tobytes() for plane in planes))

    def pictures(self) -> Iterator[tuple[float, Planes]]:
        """The pictures, as they were."""
        height, width = self.shape.height, self.shape.width
        rows = np.frombuffer(self.content, np.uint8).reshape(len(self.seconds), height * width * 3 // 2)
        for seconds, row in zip(self.seconds, rows, strict=True):
            y, u, v = np.split(row, (height * width, height * width * 5 // 4))
            half = (height // 2, width // 2)
            yield seconds, Planes(y.reshape(height, width), u.reshape(half), v.reshape(half))


def view(image: av.VideoFrame, index: int) -> Plane:
    """One 8-bit plane as the decoder left it, height x width; not copied."""
    plane = image.planes[index]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]


def luma(image: av.VideoFrame) -> Plane:
    """The full picture's luma in 8 bits, height x width."""
    if image.format.name not in _PLANAR:
        image = image.reformat(format="gray", threads=1)
    return view(image, 0)


def _small(plane: Plane, size: tuple[int, int]) -> Plane:
    step = max(1, plane.shape[0] // size[1])
    rows = plane[step // 2 :: step]
    return np.asarray(cv2.resize(rows, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _even(length: float) -> int:
    return max(2, round(length / 2) * 2)
