"""Films of known shots: a moving texture with a patch of a known colour in the middle, and their encoding."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.reformatter import ColorRange, Colorspace

Picture = npt.NDArray[np.uint8]
COLOURS = (
    (200, 60, 60), (60, 160, 60), (60, 80, 190), (190, 180, 60), (170, 70, 170), (60, 170, 170), (220, 150, 100),
    (120, 120, 120), (90, 60, 140), (140, 190, 90), (200, 110, 150), (80, 110, 90), (150, 100, 60), (100, 150, 200),
)  # fmt: skip
"""R, G and B of the patch of each shot, 0-255."""

_MARGIN = 64  # pixels that the texture may move


@dataclass(frozen=True)
class KnownFilm:
    """Shots of equal length. `still`: nothing moves within a shot."""

    shots: int = 14
    seconds: float = 1.4
    fps: Fraction = Fraction(25)
    width: int = 320
    height: int = 180
    still: bool = False

    @property
    def frames_per_shot(self) -> int:
        """Number of frames of each shot; at least one."""
        return max(round(self.seconds * self.fps), 1)

    def pictures(self) -> Iterator[Picture]:
        """All frames in order, height x width x RGB."""
        for shot in range(self.shots):
            for index in range(self.frames_per_shot):
                yield picture(shot, self.width, self.height, 0 if self.still else index)

    @property
    def cuts(self) -> tuple[float, ...]:
        """Seconds of the first frame of each shot but the first."""
        return tuple(float(shot * self.frames_per_shot / self.fps) for shot in range(1, self.shots))


def picture(shot: int, width: int, height: int, moved: int = 0) -> Picture:
    """Frame of a shot whose texture has moved that many pixels to the left."""
    start = moved % _MARGIN
    shown = _texture(shot, width, height)[:, start : start + width].copy()
    shown[height * 3 // 8 : height * 5 // 8, width * 3 // 8 : width * 5 // 8] = COLOURS[shot % len(COLOURS)]
    return shown


@cache
def _texture(seed: int, width: int, height: int) -> Picture:
    generator = np.random.default_rng(seed)
    wide = width + _MARGIN
    total = np.zeros((height, wide, 3), np.float32)
    for cells, strength in ((4, 70), (12, 45), (40, 30)):
        small = generator.normal(0, 1, (max(2, cells * height // width), cells, 3)).astype(np.float32)
        total += strength * np.asarray(cv2.resize(small, (wide, height), interpolation=cv2.INTER_CUBIC))
    return np.clip(total + generator.uniform(90, 160, 3), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class FilmEncoding:
    """How pictures become a video track. `matrix`, `full`: of the conversion from RGB. `tags`: what the track states.

    `converted`: makes the encoder's frame from an RGB picture, instead of the conversion.
    """

    codec: str = "libx264"
    options: Mapping[str, str] = field(default_factory=dict)
    pixels: str = "yuv420p"
    matrix: Colorspace = Colorspace.ITU601
    full: bool = False
    tags: Mapping[str, Any] = field(default_factory=dict)
    converted: Callable[[Picture], av.VideoFrame] | None = None
    thread_count: int = 1

    def frame(self, pixels: Picture) -> av.VideoFrame:
        """Frame for the encoder."""
        if self.converted:
            return self.converted(pixels)
        shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
        target = ColorRange.JPEG if self.full else ColorRange.MPEG
        return shown.reformat(
            format=self.pixels, dst_colorspace=self.matrix, src_color_range=ColorRange.JPEG, dst_color_range=target
        )

    def add_track(self, output: Any, frame: av.VideoFrame, fps: Fraction) -> Any:
        """New track of an output, for frames like this one."""
        track = output.add_stream(self.codec, rate=fps, options=dict(self.options))
        track.width, track.height, track.pix_fmt = frame.width, frame.height, frame.format.name
        track.codec_context.time_base = 1 / fps
        track.codec_context.thread_count = self.thread_count
        for name, value in self.tags.items():
            setattr(track.codec_context, name, value)
        return track


X264 = {"preset": "ultrafast", "crf": "10", "g": "50"}
H264 = FilmEncoding(options=X264)


def encode(
    path: Path,
    pictures: Iterable[Picture],
    encoding: FilmEncoding = H264,
    *,
    fps: Fraction = Fraction(25),
    stamps: Callable[[int], int] = lambda index: index,
    container: str | None = None,
    muxing: Mapping[str, str] | None = None,
    sound_seconds: float = 0.0,
    first: Callable[["FilmOutput"], None] = lambda _output: None,
    configure: Callable[[Any], None] = lambda _track: None,
) -> Path:
    """Write a file with one video track, and a sound of that many seconds. `stamps`: presentation time of a frame in
    units of 1/fps.

    `first`: adds tracks before the video's; `configure`: sets properties of the video's.
    """
    with av.open(str(path), "w", format=container, options=dict(muxing or {})) as opened:
        output: Any = FilmOutput(opened)
        first(output)
        track: Any = None
        for index, pixels in enumerate(pictures):
            frame = encoding.frame(pixels)
            if track is None:
                track = encoding.add_track(output, frame, fps)
                configure(track)
                sound = _sound_track(output) if sound_seconds else None
                output.write_before()
            frame.pts, frame.time_base = stamps(index), 1 / fps
            for name, value in encoding.tags.items():
                if name != "sample_aspect_ratio":
                    setattr(frame, name, value)
            output.mux(track.encode(frame))
        output.mux(track.encode())
        if sound is not None:
            _write_silence(output, sound, sound_seconds)
    return path


class FilmOutput:
    """An output container, and the pictures of the tracks that are before the film's."""

    def __init__(self, container: Any) -> None:
        self._container = container
        self.before: list[tuple[Any, list[Picture]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def write_before(self) -> None:
        """Encode the tracks before the film's; all tracks are known now."""
        for track, pictures in self.before:
            for index, pixels in enumerate(pictures):
                shown = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                shown.pts, shown.time_base = index, Fraction(1, 25)
                for packet in track.encode(shown):
                    self._container.mux(packet)
            for packet in track.encode():
                self._container.mux(packet)


def _sound_track(output: Any) -> Any:
    name = "libopus" if output.format.name in ("webm", "matroska") else "aac"
    return output.add_stream(name, rate=48000, layout="mono")


def _write_silence(output: Any, track: Any, seconds: float) -> None:
    rate, size = 48000, 48000
    for second in range(int(seconds)):
        noise = (np.random.default_rng(second).normal(0, 300, (1, size))).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(noise, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, second * size, Fraction(1, rate)
        output.mux(track.encode(frame))
    output.mux(track.encode())
