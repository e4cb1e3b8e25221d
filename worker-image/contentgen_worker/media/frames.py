"""Taking pictures out of a video."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from contentgen_worker.media.bounds import Bounds
from contentgen_worker.media.moments import Moment
from contentgen_worker.media.probe import opened

Pixels = npt.NDArray[np.uint8]  # height x width x RGB
cv2.setNumThreads(1)  # its own threads fight with the decoder's
_BROKEN_PACKETS = 1000  # a stream with more is given up


@dataclass(frozen=True)
class Picture:
    """A frame as people see it (turned and unsqueezed), no larger than asked for."""

    moment: Moment
    seconds: float  # its own time
    pixels: Pixels


def pictures(path: Path, wanted: Sequence[Moment], longest_side: int, bounds: Bounds) -> Iterator[Picture]:
    """The first frame at or after each moment (in order of time), in one pass over the file."""
    waiting = iter(sorted(wanted, key=lambda moment: moment.seconds))
    moment = next(waiting, None)
    with opened(path) as container:
        for frame in _decoded(container):
            seconds = frame.time
            if moment is None:
                return
            if seconds is None or seconds < moment.seconds:
                continue
            bounds.check_pixels(frame.width, frame.height)
            yield Picture(moment, seconds, _upright(frame, longest_side))
            while moment is not None and moment.seconds <= seconds:
                moment = next(waiting, None)


def _decoded(container: av.container.InputContainer) -> Iterator[Any]:
    """The frames of the video track; broken packets are left out, as a player does."""
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    broken = 0
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            broken += 1
            if broken > _BROKEN_PACKETS:
                raise


def _upright(frame: Any, longest_side: int) -> Pixels:
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
