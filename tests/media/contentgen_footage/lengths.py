"""Families: containers and lengths, timestamps, rates."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from contentgen_footage.case import FootageCase
from contentgen_footage.films import H264, X264, FilmEncoding, KnownFilm, encode

_VP8 = FilmEncoding("libvpx", {"deadline": "realtime", "cpu-used": "8", "b": "4M", "g": "50"})
_MPEG2 = FilmEncoding("mpeg2video", {"qscale": "2", "g": "12"})
_FILM = KnownFilm()


def _written(extension: str, encoding: FilmEncoding = H264, film: KnownFilm = _FILM, **options: object) -> "Maker":
    def make(path: Path) -> Path:
        return encode(path.with_suffix(extension), film.pictures(), encoding, fps=film.fps, **options)  # type: ignore[arg-type]

    return make


Maker = Callable[[Path], Path]


def lengths() -> list[FootageCase]:
    """Lengths that a file does not state, or states of something else than its pictures."""
    live = {"live": "1"}
    fragments = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    return [
        FootageCase("mp4", _written(".mp4"), "lengths"),
        FootageCase("mov", _written(".mov"), "lengths"),
        FootageCase("matroska", _written(".mkv"), "lengths"),
        FootageCase("transport-stream", _written(".ts"), "lengths"),
        FootageCase("browser-recording", _written(".webm", _VP8, muxing=live), "lengths"),
        FootageCase("unfinished-matroska", _written(".mkv", muxing=live), "lengths"),
        FootageCase("fragmented-mp4", _written(".mp4", muxing=fragments), "lengths"),
        FootageCase("sound-of-20-minutes-mp4", _written(".mp4", sound_seconds=1200), "lengths"),
        FootageCase("sound-of-20-minutes-matroska", _written(".mkv", sound_seconds=1200), "lengths"),
        FootageCase("sound-of-20-minutes-transport-stream", _written(".ts", sound_seconds=1200), "lengths"),
    ]


def timestamps() -> list[FootageCase]:
    """Timestamps that jump, begin late or restart."""

    def jump(seconds: int) -> "Stamps":
        return lambda index: index + (seconds * 25 if index >= 245 else 0)

    return [
        *(
            FootageCase(
                f"jump-of-{minutes}-minutes{extension}",
                _written(extension, stamps=jump(60 * minutes)),
                "timestamps",
                seconds=None,
            )
            for minutes in (1, 20, 60)
            for extension in (".mp4", ".mkv", ".ts")
        ),
        FootageCase("late-start", _written(".mkv", stamps=lambda index: index + 2500), "timestamps"),
        FootageCase("restart.ts", _written(".ts", stamps=lambda index: index + 5000), "timestamps"),
    ]


Stamps = Callable[[int], int]


def rates() -> list[FootageCase]:
    """0.2 to 240 frames a second, constant and variable."""
    found = []
    for fps, seconds in (
        (1, 4),
        (2, 4),
        (5, 3),
        (10, 2),
        (12, 2),
        (15, 2),
        (24, 1.4),
        (30, 1.4),
        (50, 1.4),
        (60, 1.4),
        (120, 1),
        (240, 0.7),
    ):
        film = replace(_FILM, fps=Fraction(fps), seconds=seconds, shots=12)
        encoding = replace(H264, options=X264 | {"g": str(max(2 * fps, 10))})
        found.append(
            FootageCase(
                f"{fps}-fps",
                _written(".mp4", encoding, film),
                "rates",
                film=film,
                seconds=max(0.04, 0.6 / fps),
            )
        )
    for rate in (Fraction(1, 5), Fraction(1, 2), Fraction(1), Fraction(2)):
        film = KnownFilm(fps=rate, seconds=float(1 / rate), still=True)
        found.append(
            FootageCase(f"slides-{float(rate):g}-fps", _written(".mp4", H264, film), "rates", film=film, seconds=None)
        )
    slides = KnownFilm(fps=Fraction(1, 2), seconds=2, still=True)
    variable = _written(".mkv", H264, replace(slides, fps=Fraction(25)), stamps=lambda index: index * 50)
    found.append(FootageCase("slides-variable", variable, "rates", film=slides, seconds=None))
    return found
