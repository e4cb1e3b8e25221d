"""Families: borders (bars, and pictures without), aperture (what a container crops), interlaced."""

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from contentgen_footage.case import FootageCase
from contentgen_footage.films import COLOURS, H264, X264, FilmEncoding, KnownFilm, Picture, encode, picture

Framed = Callable[[Picture, int], Picture]
"""Frame for a picture of a film, and the number of its shot: the picture with its surroundings."""

_FILM = KnownFilm(shots=8)
_TALL = replace(_FILM, width=180, height=320)
_FLAT = replace(_FILM, height=136)
_WHOLE = 320 / 180
_COLOURS = {"black": (0, 0, 0), "white": (255, 255, 255), "grey": (128, 128, 128), "blue": (40, 70, 170)}
_BLACK, _WHITE = _COLOURS["black"], _COLOURS["white"]
_GREY = "much of a small picture has the luma of its bars, so no edge is clear: chroma is not looked at"
_HEVC = {"preset": "ultrafast", "crf": "10", "x265-params": "log-level=none"}


def borders() -> list[FootageCase]:
    """Bars, which are cropped, and uniform parts of pictures, which are not."""
    return [*_bars(), *_special_bars(), *_no_bars()]


def _bars() -> list[FootageCase]:
    shapes: dict[str, tuple[KnownFilm, tuple[int, int, int, int]]] = {  # left, top, right, bottom
        "vertical": (_TALL, (198, 0, 198, 0)),
        "landscape": (_FILM, (0, 198, 0, 198)),
        "letterbox": (_FLAT, (0, 22, 0, 22)),
        "windowbox": (replace(_FILM, width=240, height=136), (40, 22, 40, 22)),
        "small": (replace(_FILM, width=120, height=108), (100, 36, 100, 36)),
        "aside": (replace(_FILM, width=240), (20, 0, 60, 0)),
    }
    return [
        _case(
            f"{name}-between-{colour}-bars",
            _barred(*bars, value=value),
            film,
            aspects=(film.width / film.height,),
            colour=8.0 if film.width < 180 else 4.0,  # encoders blur a patch that is small
            known=_GREY if (name, colour) == ("small", "grey") else "",
        )
        for name, (film, bars) in shapes.items()
        for colour, value in _COLOURS.items()
    ]


def _special_bars() -> list[FootageCase]:
    letterbox, flat = _barred(0, 22, 0, 22), 320 / 136
    nested = replace(_FILM, width=200, height=112)
    full = FilmEncoding(options=X264, full=True, tags={"color_range": 2})
    ten_bits = FilmEncoding("libx265", _HEVC, pixels="yuv420p10le")
    return [
        _case("bars-within-bars", _nested, nested, aspects=(200 / 112,)),
        _case("bars-with-a-logo", _with_logo, _FLAT, aspects=(flat,)),
        _case("bars-with-subtitles", _with_subtitles(_BLACK, 3), _FLAT, aspects=(flat,)),
        _case("white-bars-with-subtitles", _with_subtitles(_WHITE, 8), _FLAT, aspects=(flat,)),
        _case("bars-of-full-range", letterbox, _FLAT, aspects=(flat,), encoding=full),
        _case("bars-of-10-bits", letterbox, _FLAT, aspects=(flat,), encoding=ten_bits),
        _case("white-bars-of-10-bits", _barred(0, 22, 0, 22, value=_WHITE), _FLAT, aspects=(flat,), encoding=ten_bits),
        _case("bars-beside-a-dark-sky", _dark_sky, _FLAT, aspects=(flat,)),
        # Bars of a part of a film are known after some frames: a picture before that is left out as BlackBorders.
        _case("bars-at-first", _barred_shots(range(4)), _FILM, aspects=(flat, _WHOLE), pictures=7),
        _case("bars-at-last", _barred_shots(range(4, 8)), _FILM, aspects=(flat, _WHOLE), pictures=7),
        FootageCase("bars-of-two-sizes", _of_two_sizes, "borders", film=_FLAT, aspects=(flat, flat), pictures=7),
    ]


def _no_bars() -> list[FootageCase]:
    still = replace(_FILM, still=True)
    table: dict[str, tuple[Framed, KnownFilm]] = {
        "slides-with-margins": (_slide, replace(still, width=260, height=100)),
        "slides-with-pictures": (_slide_with_picture, replace(still, height=100)),
        "white-wall": (_before_a_wall, _FILM),
        "sky-over-a-plain": (_below_a_sky, replace(_FILM, height=116)),
        "window-on-a-desktop": (_in_a_window, replace(still, width=200, height=100)),
        "cartoon": (_cartoon, still),
    }
    return [
        _case(f"no-bars-{name}", framed, film, aspects=(_WHOLE,), counted=False, pictures=1, colour=255.0, seconds=None)
        for name, (framed, film) in table.items()
    ]


def _case(
    name: str,
    framed: Framed,
    film: KnownFilm,
    *,
    aspects: tuple[float, ...],
    encoding: FilmEncoding = H264,
    **numbers: Any,
) -> FootageCase:
    def make(path: Path) -> Path:
        return encode(path.with_suffix(".mp4"), _shown(film, framed), encoding, fps=film.fps)

    return FootageCase(name, make, "borders", film=film, aspects=aspects, **numbers)


def _shown(film: KnownFilm, framed: Framed) -> Iterator[Picture]:
    for number, pixels in enumerate(film.pictures()):
        yield framed(pixels, number // film.frames_per_shot)


def _on(ground: tuple[int, int, int], size: tuple[int, int], pixels: Picture, left: int, top: int) -> Picture:
    """A picture on a uniform ground of this width and height."""
    shown = np.full((size[1], size[0], 3), ground, np.uint8)
    shown[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return shown


def _barred(left: int, top: int, right: int, bottom: int, value: tuple[int, int, int] = _BLACK) -> Framed:
    def framed(pixels: Picture, _shot: int) -> Picture:
        height, width = pixels.shape[:2]
        return _on(value, (left + width + right, top + height + bottom), pixels, left, top)

    return framed


def _nested(pixels: Picture, _shot: int) -> Picture:
    return _on(_WHITE, (320, 180), _on(_BLACK, (200, 180), pixels, 0, 34), 60, 0)


def _with_logo(pixels: Picture, _shot: int) -> Picture:
    shown = _on(_BLACK, (320, 180), pixels, 0, 22)
    shown[5:15, 280:310] = 230
    return shown


def _with_subtitles(value: tuple[int, int, int], every: int) -> Framed:
    """Text in the lower bar, in one shot of that many."""

    def framed(pixels: Picture, shot: int) -> Picture:
        shown = _on(value, (320, 180), pixels, 0, 22)
        if shot % every == 1:
            cv2.putText(shown, f"Who is number {shot}?", (90, 174), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (120, 120, 120))
        return shown

    return framed


def _dark_sky(pixels: Picture, shot: int) -> Picture:
    shown = pixels.copy()
    if shot % 2:
        shown[:30] = pixels[:30] // 12
    return _on(_BLACK, (320, 180), shown, 0, 22)


def _barred_shots(barred: Iterable[int]) -> Framed:
    within = frozenset(barred)

    def framed(pixels: Picture, shot: int) -> Picture:
        return _on(_BLACK, (320, 180), pixels[22:-22], 0, 22) if shot in within else pixels

    return framed


def _of_two_sizes(path: Path) -> Path:
    """A broadcast whose second half has twice the width and height."""
    pictures = list(_shown(_FLAT, _barred(0, 22, 0, 22)))
    half = len(pictures) // 2
    large = (np.asarray(cv2.resize(each_picture, (640, 360)), np.uint8) for each_picture in pictures[half:])
    parts = [
        encode(path.with_suffix(".0.ts"), pictures[:half]),
        encode(path.with_suffix(".1.ts"), large, stamps=lambda index: half + index),
    ]
    whole = path.with_suffix(".ts")
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    return whole


def _slide(pixels: Picture, shot: int) -> Picture:
    """A white page with a title, a picture and a page number."""
    shown = _on(_WHITE, (320, 180), pixels, 30, 50)
    return _lettered(shown, f"Part {shot}: why it rains", (30, 30), f"page {shot}", (270, 172))


def _slide_with_picture(pixels: Picture, shot: int) -> Picture:
    """A white page with a title and a picture of its width."""
    return _lettered(_on(_WHITE, (320, 180), pixels, 0, 40), f"Part {shot}: why", (20, 25), f"page {shot}", (270, 172))


def _lettered(shown: Picture, title: str, above: tuple[int, int], text: str, below: tuple[int, int]) -> Picture:
    cv2.putText(shown, title, above, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (20, 20, 20), 2)
    cv2.putText(shown, text, below, cv2.FONT_HERSHEY_SIMPLEX, 0.35, (20, 20, 20))
    return shown


def _before_a_wall(pixels: Picture, shot: int) -> Picture:
    """Somebody before a white wall and a skirting board, in front of whom the camera moves."""
    shown = np.full_like(pixels, 235)
    shown[150:] = (110, 80, 60)
    mask = np.zeros(pixels.shape[:2], np.uint8)
    cv2.ellipse(mask, (160, 110), (70 + 5 * shot, 75), 0, 0, 360, 1, -1)
    shown[mask > 0] = pixels[mask > 0]
    return shown


def _below_a_sky(pixels: Picture, _shot: int) -> Picture:
    return _on((150, 190, 235), (320, 180), pixels, 0, 64)


def _in_a_window(pixels: Picture, shot: int) -> Picture:
    """A desktop with a window of text, and pictures in it."""
    shown = np.full((180, 320, 3), (90, 110, 120), np.uint8)
    shown[10:170, 40:280] = 250
    shown[10:22, 40:280] = 200
    shown[40:140, 60:260] = pixels
    cv2.putText(shown, f"Document {shot}", (60, 160), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (20, 20, 20))
    return shown


def _cartoon(pixels: Picture, shot: int) -> Picture:
    """Flat colours: another ground in each shot, and a figure of two colours."""
    ground = COLOURS[(shot + 3) % len(COLOURS)]
    shown = np.full_like(pixels, ground)
    shown[130:] = tuple(each // 2 for each in ground)
    cv2.ellipse(shown, (100 + 9 * shot, 110), (40, 60), 0, 0, 360, (230, 220, 60), -1)
    shown[67:112, 120:200] = pixels[67:112, 120:200]
    return shown


def apertures() -> list[FootageCase]:
    """Clean apertures of containers, in a frame with padding of noise."""
    narrow = replace(_FILM, width=160)
    squeezed = replace(H264, tags={"sample_aspect_ratio": Fraction(2)})

    def case(
        name: str, extension: str = ".mp4", framed: Framed = _padded, *, film: KnownFilm = _FILM,
        encoding: FilmEncoding = H264, turned: int = 0, aspect: float = _WHOLE,
        crop: tuple[int, int, int, int] = (40, 6, 20, 14),
    ) -> FootageCase:  # fmt: skip
        def make(path: Path) -> Path:
            def turn(track: Any) -> None:
                if turned:
                    track.set_display_rotation(turned)

            pictures = _shown(film, framed)
            written = encode(path.with_suffix(".0.mp4"), pictures, encoding, fps=film.fps, configure=turn)
            with_aperture(written, *crop)
            return written.rename(path.with_suffix(".mp4")) if extension == ".mp4" else _copied(written, extension)

        return FootageCase(name, make, "aperture", film=film, aspects=(aspect,))

    return [
        case("clean-aperture"),
        case("clean-aperture-quicktime", ".mov"),
        case("clean-aperture-matroska", ".mkv"),
        case("clean-aperture-turned", turned=90, aspect=1 / _WHOLE),
        case("clean-aperture-anamorphic", film=narrow, encoding=squeezed),
        case("clean-aperture-with-bars", framed=_padded_bars, film=_FLAT, aspect=320 / 136),
        case("clean-aperture-of-10-bits", encoding=FilmEncoding("libx265", _HEVC, pixels="yuv420p10le")),
        case("clean-aperture-too-large", framed=_barred(0, 0, 0, 0), crop=(-40, 0, -40, 0)),
    ]


def _padded(pixels: Picture, _shot: int) -> Picture:
    height, width = pixels.shape[:2]
    shown = np.random.default_rng(1).integers(0, 255, (height + 20, width + 60, 3), np.uint8)
    shown[6 : 6 + height, 40 : 40 + width] = pixels
    return shown


def _padded_bars(pixels: Picture, shot: int) -> Picture:
    return _padded(_barred(0, 22, 0, 22)(pixels, shot), shot)


_PARENTS = ((b"moov", 8), (b"trak", 8), (b"mdia", 8), (b"minf", 8), (b"stbl", 8), (b"stsd", 16))


def with_aperture(path: Path, left: int, top: int, right: int, bottom: int) -> None:
    """Add a clean aperture to an MP4 file whose index is at the end: that many pixels of each side are not shown."""
    content = bytearray(path.read_bytes())
    parents, start, end = [], 0, len(content)
    for name, header in _PARENTS:
        at, size = next((at, size) for at, size, each_box in _boxes(content, start, end) if each_box == name)
        parents.append(at)
        start, end = at + header, at + size
    entry, size, _ = next(_boxes(content, start, end))
    width, height = struct.unpack_from(">2H", content, entry + 32)
    numbers = (width - left - right, 1, height - top - bottom, 1, left - right, 2, top - bottom, 2)
    box = struct.pack(">I4s4IiIiI", 40, b"clap", *numbers)
    content[entry + size : entry + size] = box
    for at in (*parents, entry):
        struct.pack_into(">I", content, at, int.from_bytes(content[at : at + 4], "big") + len(box))
    path.write_bytes(content)


def _boxes(content: bytearray, start: int, end: int) -> Iterator[tuple[int, int, bytes]]:
    while start < end:
        size, name = struct.unpack_from(">I4s", content, start)
        yield start, size, name
        start += size


def _copied(path: Path, extension: str) -> Path:
    """The same packets in another container; FFmpeg writes its own form of a clean aperture."""
    copy = path.with_suffix("").with_suffix(extension)
    with av.open(str(path)) as source, av.open(str(copy), "w") as target:
        track = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = track
                target.mux(packet)
    return copy


def interlaced() -> list[FootageCase]:
    """Fields of two times in each frame."""
    flags = {"flags": "+ildct+ilme"}
    h264 = FilmEncoding(options=X264 | flags | {"x264-params": "tff=1"}, converted=_woven_frame)
    bottom = replace(h264, options={**h264.options, "x264-params": "bff=1"})
    mpeg2 = FilmEncoding("mpeg2video", flags | {"b": "8M", "g": "12"}, converted=_woven_frame)
    telecined = replace(_FILM, seconds=1.5, fps=Fraction(30))
    table: dict[str, tuple[str, FilmEncoding, KnownFilm, Callable[[int], Iterator[Picture]]]] = {
        "interlaced-top-first": (".mp4", h264, _FILM, lambda shot: _fields(_FILM, shot)),
        "interlaced-bottom-first": (".ts", bottom, _FILM, lambda shot: _fields(_FILM, shot, first=1)),
        "interlaced-mpeg2": (".ts", mpeg2, _FILM, lambda shot: _fields(_FILM, shot)),
        "telecined": (".ts", mpeg2, telecined, lambda shot: _pulled_down(telecined, shot)),
    }

    def make(extension: str, encoding: FilmEncoding, film: KnownFilm, shown: Any) -> Callable[[Path], Path]:
        def made(path: Path) -> Path:
            pictures = (each for shot in range(film.shots) for each in shown(shot))
            return encode(path.with_suffix(extension), pictures, encoding, fps=film.fps)

        return made

    return [FootageCase(name, make(*row), "interlaced", film=row[2], aspects=(_WHOLE,)) for name, row in table.items()]


def _moved(film: KnownFilm, shot: int, field: int) -> Picture:
    """The film's picture two pixels further in each field, to and fro."""
    return picture(shot, film.width, film.height, 62 - abs(2 * field % 124 - 62))


def _fields(film: KnownFilm, shot: int, first: int = 0) -> Iterator[Picture]:
    """Frames whose fields are half a frame apart. `first`: line that the earlier one begins at."""
    for index in range(film.frames_per_shot):
        moments = [_moved(film, shot, 2 * index + number) for number in (0, 1)]
        yield _woven(*(moments if not first else moments[::-1]))


def _pulled_down(film: KnownFilm, shot: int) -> Iterator[Picture]:
    """24 frames a second as 30: two and three fields of each in turn."""
    fields = (
        _moved(film, shot, 2 * number)
        for number in range(film.frames_per_shot * 4 // 5)
        for _ in range(3 if number % 2 else 2)
    )
    return (_woven(even, odd) for even, odd in zip(fields, fields, strict=False))


def _woven(even: Picture, odd: Picture) -> Picture:
    """One frame of the even lines of a picture and the odd ones of another."""
    shown = even.copy()
    shown[1::2] = odd[1::2]
    return shown


def _woven_frame(pixels: Picture) -> av.VideoFrame:
    """Frame whose fields are converted each for itself, so their chroma is not mixed."""
    height, width = pixels.shape[:2]
    whole = np.empty(height * width * 3 // 2, np.uint8)
    for number in (0, 1):
        field = H264.frame(pixels[number::2]).to_ndarray().reshape(-1)
        whole[: height * width].reshape(height, width)[number::2] = field[: field.size * 2 // 3].reshape(-1, width)
        chroma = field[field.size * 2 // 3 :].reshape(2, -1, width // 2)
        whole[height * width :].reshape(2, -1, width // 2)[:, number::2] = chroma
    return av.VideoFrame.from_ndarray(whole.reshape(-1, width), format="yuv420p")
