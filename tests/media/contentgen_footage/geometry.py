"""Families: geometry (rotation, pixel aspect), tracks, damage."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from av.stream import Disposition

from contentgen_footage.case import FootageCase
from contentgen_footage.films import H264, X264, FilmEncoding, KnownFilm, Picture, encode, picture

_FILM = KnownFilm(shots=8)


def geometry() -> list[FootageCase]:
    """Cases of rotation and pixel aspect ratio."""
    narrow = replace(_FILM, width=160)
    squeezed = replace(H264, tags={"sample_aspect_ratio": Fraction(2)})
    turned = [
        FootageCase(
            f"turned-by-{angle}",
            _turned(angle),
            "geometry",
            film=_FILM,
            aspects=(180 / 320 if angle % 180 else 320 / 180,),
        )
        for angle in (90, 180, 270)
    ]
    return [
        *turned,
        FootageCase(
            "anamorphic",
            _written(".mp4", squeezed, narrow),
            "geometry",
            film=narrow,
            aspects=(320 / 180,),
        ),
    ]


def tracks() -> list[FootageCase]:
    """Files with several video tracks."""
    return [
        FootageCase("preview-first", _with_first(_preview), "tracks", film=_FILM, note="video track 2 of 2"),
        FootageCase("cover-first", _with_first(_cover), "tracks", film=_FILM),
        FootageCase("motion-photo", _with_first(_still), "tracks", film=_FILM, note="video track 2 of 2"),
    ]


def damage() -> list[FootageCase]:
    """Lost packets and cut files: whole pictures only, and a note."""
    film = KnownFilm(seconds=2.4)
    return [
        FootageCase(
            "lost-packets-of-a-stream",
            _lossy(film, 300),
            "damage",
            film=film,
            counted=False,  # smear ends at the next keyframe, by a cut
            seconds=None,
            clean=14.0,
            note="data is missing",
        ),
        FootageCase("half-a-matroska", _cut(".mkv", None), "damage", shots=7, pictures=6, note="that the file states"),
        FootageCase(
            "half-an-mp4",
            _cut(".mp4", {"movflags": "faststart"}),
            "damage",
            shots=7,
            pictures=6,
            note="that the file states",
        ),
        FootageCase(
            "zeros-from-the-middle",
            _zeros,
            "damage",
            shots=7,
            pictures=6,
            seconds=None,
            note="that the file states",
        ),
    ]


def _written(extension: str, encoding: FilmEncoding, film: KnownFilm) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        return encode(path.with_suffix(extension), film.pictures(), encoding, fps=film.fps)

    return make


def _turned(angle: int) -> Callable[[Path], Path]:
    """A recording that is stored as filmed and turned by its display matrix."""

    def make(path: Path) -> Path:
        def turn(output: Any) -> None:
            output.set_display_rotation(angle)

        return encode(path.with_suffix(".mp4"), _FILM.pictures(), fps=_FILM.fps, configure=turn)

    return make


def _with_first(add: Callable[[Any], None]) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        return encode(path.with_suffix(".mkv"), _FILM.pictures(), fps=_FILM.fps, first=add, configure=_default)

    return make


def _default(track: Any) -> None:
    track.disposition = Disposition.default


def _add(output: Any, codec: str, pictures: list[Picture], disposition: Disposition) -> None:
    height, width = pictures[0].shape[:2]
    track = output.add_stream(codec, rate=25, options={})
    track.width, track.height, track.pix_fmt = width, height, "yuvj420p" if codec == "mjpeg" else "yuv420p"
    track.codec_context.thread_count = 1
    track.disposition = disposition
    output.before.append((track, pictures))


def _preview(output: Any) -> None:
    small = [
        np.asarray(cv2.resize(each_picture, (160, 90)), np.uint8) for each_picture in replace(_FILM, shots=2).pictures()
    ]
    _add(output, "libx264", small, Disposition(0))


def _cover(output: Any) -> None:
    _add(output, "mjpeg", [picture(9, 640, 640)], Disposition.attached_pic)


def _still(output: Any) -> None:
    _add(output, "libx264", [picture(9, 1280, 720)], Disposition(0))


def _lossy(film: KnownFilm, every: int) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        encoding = replace(H264, options=X264 | {"preset": "veryfast", "g": "15", "crf": "16"})
        written = encode(path.with_suffix(".ts"), film.pictures(), encoding, fps=film.fps)
        content = written.read_bytes()
        packets = [content[at : at + 188] for at in range(0, len(content), 188)]
        written.write_bytes(b"".join(packet for index, packet in enumerate(packets) if index < 200 or index % every))
        return written

    return make


def _cut(extension: str, muxing: dict[str, str] | None) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        written = encode(path.with_suffix(extension), KnownFilm().pictures(), muxing=muxing)
        content = written.read_bytes()
        written.write_bytes(content[: len(content) // 2])
        return written

    return make


def _zeros(path: Path) -> Path:
    written = encode(path.with_suffix(".mp4"), KnownFilm().pictures(), muxing={"movflags": "faststart"})
    content = written.read_bytes()
    written.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    return written
