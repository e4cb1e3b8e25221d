"""From a decoded frame to a picture to train with: JPEG bytes straight from the frame's YUV planes.

Turned and unsqueezed as people see it, without the video's borders, cropped, no larger than asked for and never
enlarged. 2 ms for a frame of 720p, where the way by RGB takes 8.
"""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import av
import cv2
import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from av.video.reformatter import VideoReformatter

from contentgen_contract.resources.spec import CaptionFact, Crop, Dataset, FacesMode
from contentgen_worker.errors import Unsupported
from contentgen_worker.media.codec import transferable
from contentgen_worker.media.decode.planes import Plane, luma, view
from contentgen_worker.media.select import quality
from contentgen_worker.media.select.borders import Borders, picture_area
from contentgen_worker.media.select.colour import Colour, scaled
from contentgen_worker.media.select.faces import FaceBox, FaceDetector, FaceSettings, haar
from contentgen_worker.media.select.quality import Scores

cv2.setNumThreads(1)  # its own threads fight with the decoder's
_LARGEST_SIDE = 65_500  # pixels; of a JPEG
_COMBED = 0.01  # share of a frame; what only film grain or fine stripes reach is far less


@dataclass(frozen=True, slots=True)
class PictureSettings:
    """How pictures are to be. `longest_side` in pixels; `quality`: JPEG's, 1 to 100."""

    longest_side: int = 1024
    multiple_of: int = 1
    crop: Crop = Crop.NONE
    faces: FaceSettings = field(default_factory=FaceSettings)
    quality: int = 92

    @classmethod
    def of(cls, dataset: Dataset) -> "PictureSettings":
        """What a spec asks for. Faces are looked for where anything needs them."""
        find = (
            dataset.faces.mode is not FacesMode.IGNORE
            or dataset.crop is Crop.FACE
            or CaptionFact.FRAMING in dataset.captions.facts
        )
        faces = FaceSettings(find, float(dataset.faces.min_size))
        return cls(dataset.resolution, dataset.multiple_of, dataset.crop, faces)


@transferable
@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """A picture as it will be stored, with its figures."""

    jpeg: bytes
    width: int
    height: int
    scores: Scores

    def __post_init__(self) -> None:
        if not (0 < self.width <= _LARGEST_SIDE and 0 < self.height <= _LARGEST_SIDE):
            raise ValueError(f"a picture of {self.width}x{self.height}")


@dataclass(frozen=True, slots=True)
class Orientation:
    """How a frame as decoded is to be shown: first transposed, then mirrored across and down."""

    transposed: bool = False
    across: bool = False
    down: bool = False

    @classmethod
    def of(cls, image: av.VideoFrame) -> "Orientation":
        """From its display matrix (ISO 14496-12: nine numbers, of which the upper left four turn)."""
        data: Any = image.side_data.get("DISPLAYMATRIX")
        if data is None:
            return cls()
        a, b, _, c, d, *_ = np.frombuffer(bytes(data), np.int32).tolist()
        if abs(a) + abs(d) >= abs(b) + abs(c):
            return cls(False, a < 0, d < 0)
        return cls(True, c < 0, b < 0)

    def oriented(self, plane: Plane) -> Plane:
        """A plane as it is to be seen; not copied."""
        turned = plane.T if self.transposed else plane
        return turned[:: -1 if self.down else 1, :: -1 if self.across else 1]

    def size(self, width: float, height: float) -> tuple[float, float]:
        """Width and height as seen."""
        return (height, width) if self.transposed else (width, height)


def pixel_aspect(stream: Any) -> float:
    """Width of a stream's pixels over their height; 1 where the file says nothing, or nonsense."""
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return float(aspect) if aspect and 0.1 < aspect < 10 else 1.0


def finish(
    image: av.VideoFrame,
    borders: Borders | None,
    settings: PictureSettings,
    *,
    aspect: float = 1.0,
    detector: FaceDetector | None = None,
) -> EncodedPicture:
    """Make a picture of a frame. Raises Unsupported for colours that can't be shown and for frames that are too small.

    `aspect`: see `pixel_aspect`. `detector`: OpenCV's Haar cascade when left out.
    """
    colour = Colour.of(image)
    raw = luma(image)
    combed = quality.combed(raw)
    content = _Content.of(image, picture_area(raw, borders), aspect)
    plan = _Plan.of(content, settings)
    frame = _first_field(image) if combed > _COMBED else image
    planes = _orient(scaled(frame, plan.scaled, colour, _reformatter()), content.turn)
    content_luma = plan.content(planes[0])
    faces_found = (detector or haar()).find(content_luma, settings.faces.smallest) if settings.faces.find else ()
    left, top = plan.corner(faces_found if settings.crop is Crop.FACE else ())
    y, u, v = plan.cropped(planes, left, top)
    faces = plan.faces_in_picture(faces_found, left, top)
    jpeg = simplejpeg.encode_jpeg_yuv_planes(y, u, v, quality=settings.quality)
    chroma = (float(cv2.mean(u)[0]), float(cv2.mean(v)[0]))
    scores = quality.measure(y, chroma, faces, combed if frame is not image else 0.0)
    return EncodedPicture(jpeg, plan.width, plan.height, scores)


_thread_local = threading.local()


def _reformatter() -> VideoReformatter:
    """This thread's; it keeps its tables from frame to frame."""
    if not hasattr(_thread_local, "reformatter"):
        _thread_local.reformatter = VideoReformatter()
    return _thread_local.reformatter  # type: ignore[no-any-return]


def _first_field(image: av.VideoFrame) -> av.VideoFrame:
    """The first field alone, half as high."""
    whole = image if image.format.name == "yuv420p" else image.reformat(format="yuv420p", threads=1)
    half = av.VideoFrame(whole.width, whole.height // 4 * 2, "yuv420p")
    for index, plane in enumerate(half.planes):
        lines = np.zeros((plane.height, plane.line_size), np.uint8)
        lines[:, : plane.width] = view(whole, index)[::2][: plane.height]
        plane.update(lines.tobytes())
    return half


def _orient(planes: Sequence[Plane], turn: Orientation) -> tuple[Plane, ...]:
    return tuple(turn.oriented(plane) for plane in planes)


@dataclass(frozen=True, slots=True)
class _Content:
    """A frame as people see it, in its own pixels: its size, and where the picture in it is."""

    turn: Orientation
    width: float
    height: float
    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def of(cls, image: av.VideoFrame, picture: tuple[int, int, int, int], aspect: float) -> "_Content":
        """`picture`: left, top, right, bottom in pixels as decoded. Squeezed pixels are narrowed, never stretched."""
        turn = Orientation.of(image)
        across, down = min(aspect, 1.0), 1 / max(aspect, 1.0)
        left, top, right, bottom = (
            each * factor for each, factor in zip(picture, (across, down, across, down), strict=True)
        )
        width, height = turn.size(image.width * across, image.height * down)
        if turn.transposed:
            left, top, right, bottom = top, left, bottom, right
        if turn.across:
            left, right = width - right, width - left
        if turn.down:
            top, bottom = height - bottom, height - top
        return cls(turn, width, height, left, top, right, bottom)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to scale a frame to and what to cut from it, in pixels. `box`: left, top, right, bottom of the content."""

    scaled: tuple[int, int]  # width and height before it is turned
    box: tuple[int, int, int, int]
    width: int
    height: int

    @classmethod
    def of(cls, content: _Content, settings: PictureSettings) -> "_Plan":
        sides = content.right - content.left, content.bottom - content.top
        crop = sides if settings.crop is Crop.NONE else (min(sides), min(sides))
        factor = min(1.0, settings.longest_side / max(crop))
        multiple = math.lcm(2, settings.multiple_of)  # chroma has half the sides
        width, height = (int(side * factor + 0.01) // multiple * multiple for side in crop)
        if not width or not height:
            raise Unsupported(
                f"its pictures are {crop[0]:.0f}x{crop[1]:.0f} without borders, too small for sides that are multiples "
                f"of spec.dataset.multipleOf ({settings.multiple_of}); lower it, or give a larger video"
            )
        whole = _scaled_side(content.width, factor, width), _scaled_side(content.height, factor, height)
        left, right = (min(round(each * factor), whole[0]) for each in (content.left, content.right))
        top, bottom = (min(round(each * factor), whole[1]) for each in (content.top, content.bottom))
        before = whole[::-1] if content.turn.transposed else whole
        return cls(before, (left, top, right, bottom), width, height)

    def content(self, plane: Plane) -> Plane:
        """A full-size plane without the borders."""
        left, top, right, bottom = self.box
        return plane[top:bottom, left:right]

    def corner(self, faces: Sequence[FaceBox]) -> tuple[int, int]:
        """Where the picture's left upper corner is: the largest face is in its middle, else the content's."""
        left, top, right, bottom = self.box
        across, down = faces[0].centre if faces else (0.5, 0.5)
        return (
            _corner(left + across * (right - left), self.width, left, right),
            _corner(top + down * (bottom - top), self.height, top, bottom),
        )

    def cropped(self, planes: Sequence[Plane], left: int, top: int) -> tuple[Plane, Plane, Plane]:
        """Y, U and V of the picture."""
        y, u, v = planes
        rows, columns = slice(top, top + self.height), slice(left, left + self.width)
        half_rows = slice(top // 2, (top + self.height) // 2)
        half_columns = slice(left // 2, (left + self.width) // 2)
        cut = y[rows, columns], u[half_rows, half_columns], v[half_rows, half_columns]
        y, u, v = (np.ascontiguousarray(plane) for plane in cut)
        return y, u, v

    def faces_in_picture(self, faces: Sequence[FaceBox], left: int, top: int) -> tuple[FaceBox, ...]:
        """Faces of the content as faces of the picture; those whose middle is outside it are not in it."""
        wide, high = self.box[2] - self.box[0], self.box[3] - self.box[1]
        faces_in_picture = (
            FaceBox(
                (self.box[0] + face.left * wide - left) / self.width,
                (self.box[1] + face.top * high - top) / self.height,
                face.width * wide / self.width,
                face.height * high / self.height,
            )
            for face in faces
        )
        return tuple(face for face in faces_in_picture if all(0 <= each <= 1 for each in face.centre))


def _scaled_side(length_shown: float, factor: float, cut: int) -> int:
    """The length of a scaled frame's side: what is cut from it, where that is all of it."""
    length = round(length_shown * factor)
    return cut if factor < 1 and length - cut in (0, 1) else length


def _corner(middle: float, length: int, low: int, high: int) -> int:
    corner = min(max(round(middle - length / 2), low), max(low, high - length))
    return corner // 2 * 2
