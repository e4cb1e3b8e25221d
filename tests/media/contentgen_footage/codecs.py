"""Family: codecs, profiles and structures of groups."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from contentgen_footage.case import FootageCase
from contentgen_footage.films import H264, X264, FilmEncoding, KnownFilm, encode

_FILM = KnownFilm()


def codecs() -> list[FootageCase]:
    """Each codec that is taken, in the structures that encoders write."""
    x265 = {"preset": "ultrafast", "crf": "12"}

    def hevc(structure: str) -> FilmEncoding:
        return FilmEncoding(
            "libx265", {"preset": "superfast", "crf": "12", "x265-params": f"log-level=none:{structure}"}
        )

    def h264(structure: str, **options: str) -> FilmEncoding:
        return FilmEncoding("libx264", X264 | {"preset": "veryfast", "x264-params": structure} | options)

    table: dict[str, tuple[str, FilmEncoding]] = {
        "h264-all-intra": (".mp4", replace(H264, options=X264 | {"g": "1"})),
        "h264-b-pyramid": (".mp4", h264("bframes=3:b-pyramid=normal:keyint=250")),
        "h264-open-gop": (".mp4", h264("bframes=3:open-gop=1:keyint=50")),
        "h264-intra-refresh": (".mp4", h264("intra-refresh=1:keyint=25:bframes=0")),
        "h264-long-group": (".mp4", h264("keyint=infinite:scenecut=0")),
        "h264-10-bit": (".mp4", replace(h264("keyint=50"), pixels="yuv420p10le")),
        "h264-444": (".mp4", replace(h264("keyint=50"), pixels="yuv444p")),
        "h264-422": (".mp4", replace(h264("keyint=50"), pixels="yuv422p")),
        "hevc": (".mp4", FilmEncoding("libx265", x265 | {"x265-params": "log-level=none"})),
        "hevc-b-pyramid": (".mp4", hevc("bframes=4:b-pyramid=1:keyint=250:min-keyint=25")),
        "hevc-b-pyramid-matroska": (".mkv", hevc("bframes=8:b-pyramid=1:keyint=120:b-adapt=2")),
        "hevc-b-pyramid-stream": (".ts", hevc("bframes=4:b-pyramid=1:keyint=100")),
        "hevc-open-gop": (".mp4", hevc("bframes=4:open-gop=1:keyint=50")),
        "hevc-10-bit": (".mp4", replace(hevc("keyint=100"), pixels="yuv420p10le")),
        "vp8": (".webm", FilmEncoding("libvpx", {"deadline": "realtime", "cpu-used": "8", "b": "4M"})),
        "vp9": (".webm", FilmEncoding("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "b": "4M"})),
        "av1": (".mp4", FilmEncoding("libsvtav1", {"preset": "12", "crf": "20"})),
        "mpeg4": (".mp4", FilmEncoding("mpeg4", {"qscale": "2", "g": "50"})),
        "mpeg2": (".ts", FilmEncoding("mpeg2video", {"b": "8M", "g": "12", "bf": "2"})),
        "motion-jpeg": (".mov", FilmEncoding("mjpeg", {"qscale": "2"}, pixels="yuvj420p", full=True)),
        "prores": (".mov", FilmEncoding("prores_ks", {"profile": "1"}, pixels="yuv422p10le")),
    }
    return [
        FootageCase(name, _written(extension, encoding), "codecs", **_NUMBERS.get(name, {}))
        for name, (extension, encoding) in table.items()
    ]


_NUMBERS: dict[str, dict[str, Any]] = {
    "mpeg4": {"colour": 9.0},  # of its encoder at this quality
}


def _written(extension: str, encoding: FilmEncoding) -> "Maker":
    def make(path: Path) -> Path:
        return encode(path.with_suffix(extension), _FILM.pictures(), encoding, fps=_FILM.fps)

    return make


Maker = Callable[[Path], Path]
