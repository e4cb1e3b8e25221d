"""Video file of the demo: H.264 and AAC, cached by a hash of the sources that generate it."""

import hashlib
import itertools
import os
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from cv2.typing import MatLike

from contentgen_demo.errors import DemoError
from contentgen_demo.film import drawing, film, paint, presenter, speech
from contentgen_demo.film.film import SHOTS, FilmJoin, FilmShot

FPS = 16
DISSOLVE_SECONDS = 0.7
SHORTEST_SECONDS = 66.0  # of the film
_KEPT_FILMS = 3
_LEAD, _TAIL = 0.35, 0.4  # seconds of silence around a sentence
_SOURCES = (__file__, drawing.__file__, film.__file__, paint.__file__, presenter.__file__, speech.__file__)


@dataclass(frozen=True)
class Film:
    """Video file in the cache."""

    path: Path
    seconds: float
    was_cached: bool


def cache_folder() -> Path:
    """Cache folder of the demo; CONTENTGEN_CACHE overrides it."""
    if chosen := os.environ.get("CONTENTGEN_CACHE"):
        return Path(chosen) / "demo"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "contentgen/demo"


def ensure_film() -> Film:
    """Cached video, generated if the sources changed. Raises DemoError."""
    digest = hashlib.sha256(b"".join(Path(source).read_bytes() for source in _SOURCES)).hexdigest()
    path = cache_folder() / f"talk-{digest[:12]}.mp4"
    was_cached = path.exists()
    if not was_cached:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".unfinished-{os.getpid()}.mp4")
        try:
            _make(unfinished)
            unfinished.replace(path)
            _forget_old(path.parent)
        except (OSError, subprocess.CalledProcessError, av.FFmpegError) as error:
            raise DemoError(
                f"the demo's film can't be made: {error}; give a video of your own: make demo VIDEO=path-or-url"
            ) from error
        finally:
            unfinished.unlink(missing_ok=True)
    return Film(path, _seconds(path), was_cached)


def _forget_old(folder: Path) -> None:
    """Delete all but the newest few videos; clones at other commits have their own."""
    films = sorted(folder.glob("talk-????????????.mp4"), key=lambda each: each.stat().st_mtime, reverse=True)
    for film_file in films[_KEPT_FILMS:]:
        film_file.unlink(missing_ok=True)


def shot_lengths(spoken: Sequence[float]) -> tuple[float, ...]:
    """Seconds of each shot: sentence, pauses and an equal share of the padding, in whole frames."""
    needed = [_LEAD + each + _TAIL for each in spoken]
    extra = max(0.0, SHORTEST_SECONDS - sum(needed)) / max(1, len(needed))
    return tuple(-(-round((each + extra) * FPS * 1000) // 1000) / FPS for each in needed)


def _make(path: Path) -> None:
    sentences = [speech.speak(shot.speech) for shot in SHOTS]
    lengths = shot_lengths([len(sound) / speech.RATE for sound in sentences])
    starts = [0.0, *itertools.accumulate(lengths)]
    spoken = [(start + _LEAD, sound) for start, sound in zip(starts, sentences, strict=False)]
    loud = speech.loudness(spoken, starts[-1], FPS)
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        pictures = container.add_stream("libx264", rate=FPS, options={"preset": "superfast", "crf": "25", "g": "40"})
        pictures.width, pictures.height, pictures.pix_fmt = drawing.FILM_WIDTH, drawing.FILM_HEIGHT, "yuv420p"
        sound = container.add_stream("aac", rate=speech.RATE, layout="mono")
        sound.bit_rate = 96_000
        for number, picture in enumerate(_pictures(lengths, loud)):
            frame = av.VideoFrame.from_ndarray(picture.astype(np.uint8, copy=False), format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        for chunk in _sound_frames(speech.mix(spoken, starts[-1])):
            container.mux(sound.encode(chunk))
        container.mux(sound.encode(None))


def _pictures(lengths: Sequence[float], loud: Sequence[float]) -> Iterator[MatLike]:
    """All frames as YUV planes; the frames of a shot are painted in parallel threads."""
    painters = [drawing.ShotPainter(shot, seed) for seed, shot in enumerate(SHOTS)]
    first = 0
    with ThreadPoolExecutor() as pool:
        for index, length in enumerate(lengths):
            count = round(length * FPS)

            def picture(number: int, index: int = index, first: int = first) -> MatLike:
                seconds = number / FPS
                frame = painters[index].paint(seconds, loud[min(first + number, len(loud) - 1)])
                share = _old_share(SHOTS[index], seconds) if index else 0.0
                if share > 0:
                    old = painters[index - 1].paint(lengths[index - 1] + seconds, 0.0)
                    frame = cv2.addWeighted(old, share, frame, 1 - share, 0)
                return cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420)

            yield from pool.map(picture, range(count))
            first += count


def _old_share(shot: FilmShot, seconds: float) -> float:
    """Opacity (0-1) of the previous shot during a transition."""
    return max(0.0, 1 - seconds / DISSOLVE_SECONDS) if shot.join is FilmJoin.DISSOLVE else 0.0


def _sound_frames(track: speech.Sound) -> Iterator[av.AudioFrame]:
    """Audio frames of 1024 samples, as AAC requires."""
    for first in range(0, len(track), 1024):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(track[None, first : first + 1024]), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = speech.RATE, first, Fraction(1, speech.RATE)
        yield frame


def _seconds(path: Path) -> float:
    with av.open(str(path)) as container:
        return (container.duration or 0) / 1_000_000
