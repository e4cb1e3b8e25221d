"""Generated test videos with known cuts and transitions, cached by a hash of their parameters.

The sets `tune` and `report` differ in seeds and content. Detection may be tuned on `tune`; the benchmark uses `report`.
The ground truth is stored beside the video as JSON.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer

from contentgen_bench.media.scenes.scenery import CameraLook, Canvas, Cast, Light, Motion, Plane, Setup, Take, mixed
from contentgen_contract.base import Value

T = TypeVar("T")
_EDITION = 1  # part of the cache key; to be increased when the same parameters give another video
_TICKS = 90_000
_BLACK, _WHITE = 16, 235
FRAME_RATES = (24, 25, 30, 60)


class Keyframes(StrEnum):
    """Keyframe placement: ADAPTIVE at the encoder's scene cuts, FIXED every two seconds."""

    ADAPTIVE = "adaptive"
    FIXED = "fixed"


class Join(StrEnum):
    """Type of transition from the previous shot."""

    CUT = "Cut"
    DISSOLVE = "Dissolve"
    FADE = "Fade"


@dataclass(frozen=True)
class Content:
    """Random distributions of a set's shots. The two sets differ in every field."""

    seed: int
    fps: int
    shot_seconds: tuple[float, float]  # log-normal: median in seconds and sigma
    gradual: float  # share of gradual transitions among all
    dissolve_frames: tuple[int, int]
    fade_frames: tuple[int, int]  # length of one half
    looks: dict[CameraLook, float]
    motions: dict[Motion, float]
    events: float  # share of shots with a change of light
    speed: tuple[float, float]
    grain: tuple[int, ...]
    saturation: tuple[float, float]
    detail: tuple[float, float]
    dialogue: float  # probability that a scene is a sequence of shot and reverse shot
    jumps: float  # probability that a scene is a sequence of jump cuts
    toon_rate: float


TUNE = Content(
    seed=11,
    fps=24,
    shot_seconds=(3.6, 0.50),
    gradual=0.26,
    dissolve_frames=(10, 30),
    fade_frames=(8, 18),
    looks={
        CameraLook.LANDSCAPE: 4,
        CameraLook.ROOM: 4,
        CameraLook.STREET: 3,
        CameraLook.CROWD: 1,
        CameraLook.STUDIO: 2,
        CameraLook.NIGHT: 2,
    }
    | {CameraLook.CARTOON: 3, CameraLook.CARD: 0.6},
    motions={Motion.STILL: 4, Motion.PAN: 3, Motion.ZOOM: 2, Motion.HAND_HELD: 3, Motion.WHIP: 1, Motion.FOCUS: 0.7},
    events=0.18,
    speed=(0.03, 0.35),
    grain=(0, 0, 0, 3, 6),
    saturation=(0.25, 0.7),
    detail=(0.3, 0.9),
    dialogue=0.06,
    jumps=0.05,
    toon_rate=12,
)
REPORT = Content(
    seed=1973,
    fps=25,
    shot_seconds=(3.3, 0.62),
    gradual=0.30,
    dissolve_frames=(8, 38),
    fade_frames=(6, 24),
    looks={
        CameraLook.LANDSCAPE: 3,
        CameraLook.ROOM: 3,
        CameraLook.STREET: 4,
        CameraLook.CROWD: 2,
        CameraLook.STUDIO: 2,
        CameraLook.NIGHT: 3,
    }
    | {CameraLook.CARTOON: 3, CameraLook.CARD: 0.8},
    motions={Motion.STILL: 3, Motion.PAN: 3, Motion.ZOOM: 2, Motion.HAND_HELD: 4, Motion.WHIP: 1.4, Motion.FOCUS: 1},
    events=0.24,
    speed=(0.05, 0.5),
    grain=(0, 0, 2, 4, 8),
    saturation=(0.1, 0.85),
    detail=(0.2, 1.1),
    dialogue=0.08,
    jumps=0.06,
    toon_rate=8,
)


@dataclass(frozen=True)
class VideoRecipe:
    """All parameters of a video. `bits` is the bit rate in bits per second."""

    content: Content
    width: int
    height: int
    fps: int
    seconds: float
    bits: int
    keyframes: Keyframes = Keyframes.ADAPTIVE
    variable: bool = False
    preset: str = "veryfast"

    @property
    def key(self) -> str:
        """Cache key: hash of all parameters and of the edition, 12 hexadecimal digits."""
        text = json.dumps([_EDITION, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


class Gap(Value):
    """Transition between two shots: last time of the old shot and first time of the new one, in seconds.

    The two are one frame apart at a cut.
    """

    start: float
    end: float
    kind: Join


class Filmed(Value):
    """Shot from its first to its last frame without the transitions, in seconds.

    The other fields name its background, camera motion, change of light and actors; a painter has its own names.
    """

    start: float
    end: float
    look: str
    motion: str
    light: str
    cast: str


class Truth(Value):
    """Ground truth of a video. `seconds` has the time of each frame."""

    gaps: tuple[Gap, ...]
    shots: tuple[Filmed, ...]
    seconds: tuple[float, ...]

    def repeated(self, times: int, length: float) -> "Truth":
        """Ground truth of the video repeated `times` times; one repetition has `length` seconds."""
        gaps: list[Gap] = []
        for turn in range(times):
            shift = turn * length
            if turn:
                last = self.seconds[-1] + shift - length
                gaps.append(Gap(start=last, end=shift, kind=Join.CUT))
            gaps += [gap.model_copy(update={"start": gap.start + shift, "end": gap.end + shift}) for gap in self.gaps]
        shots = tuple(
            shot.model_copy(update={"start": shot.start + turn * length, "end": shot.end + turn * length})
            for turn in range(times)
            for shot in self.shots
        )
        seconds = tuple(second + turn * length for turn in range(times) for second in self.seconds)
        return Truth(gaps=tuple(gaps), shots=shots, seconds=seconds)

    def until(self, end: float) -> "Truth":
        """Ground truth of the part before `end`, in seconds."""
        end -= 1e-4  # margin, because frame times are rounded
        return Truth(
            gaps=tuple(gap for gap in self.gaps if gap.end < end),
            shots=tuple(shot.model_copy(update={"end": min(shot.end, end)}) for shot in self.shots if shot.start < end),
            seconds=tuple(second for second in self.seconds if second < end),
        )


@dataclass(frozen=True)
class Video:
    """Cached video with its ground truth."""

    path: Path
    truth: Truth


_SIZES = {
    "tiny": (320, 180, 24, 300_000),
    "small": (640, 360, 120, 700_000),
    "main": (1280, 720, 600, 2_000_000),
    "hd": (1920, 1080, 120, 4_800_000),
}


def recipes() -> dict[str, VideoRecipe]:
    """Recipes of all videos, by name: SET-SIZE[-fixed|-vfr], and SET-small-fixed-RATE."""
    found: dict[str, VideoRecipe] = {}
    for name, content in (("tune", TUNE), ("report", REPORT)):
        second = replace(content, seed=content.seed + 1)
        # Short shots, so that two minutes contain each type of transition.
        dense = replace(second, gradual=0.4, shot_seconds=(2.4, 0.5))
        about = {"tiny": dense, "small": dense, "main": content, "hd": second}
        for size, (width, height, seconds, bits) in _SIZES.items():
            recipe = VideoRecipe(about[size], width, height, content.fps, seconds, bits)
            found[f"{name}-{size}"] = recipe
            found[f"{name}-{size}-fixed"] = replace(recipe, keyframes=Keyframes.FIXED, seconds=min(seconds, 180))
        for fps in FRAME_RATES:
            found[f"{name}-small-fixed-{fps}"] = replace(found[f"{name}-small-fixed"], fps=fps)
        varied = replace(dense, seed=content.seed + 2)
        for size in ("small", "main"):
            recipe = replace(found[f"{name}-{size}"], content=varied, seconds=120, fps=30, variable=True)
            found[f"{name}-{size}-vfr"] = recipe
    return found


def folder() -> Path:
    """Cache folder of the videos: below CONTENTGEN_CACHE, else below XDG_CACHE_HOME or ~/.cache."""
    if chosen := os.environ.get("CONTENTGEN_CACHE"):
        return Path(chosen) / "videos"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "contentgen/videos"


def ensure(name: str) -> Video:
    """Cached video and its ground truth; generates them if missing."""
    recipe = recipes()[name]
    return cached(f"{name}-{recipe.key}.mp4", partial(make, recipe))


def cached(file: str, create: Callable[[Path], Truth]) -> Video:
    """Video of the cache folder by its file name, and its ground truth; `create` writes a missing one.

    A file lock makes a second caller wait.
    """
    path = folder() / file
    path.parent.mkdir(parents=True, exist_ok=True)
    truth = path.with_suffix(".json")
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            unfinished = path.with_suffix(f".unfinished-{os.getpid()}{path.suffix}")
            try:
                truth.write_text(create(unfinished).model_dump_json())
                unfinished.replace(path)
            finally:
                unfinished.unlink(missing_ok=True)
    return Video(path, Truth.model_validate_json(truth.read_bytes()))


def repeated(name: str, times: int) -> Video:
    """Video repeated `times` times. The packets are copied without encoding."""
    video = ensure(name)
    path = video.path.with_name(f"{video.path.stem}-x{times}.mp4")
    length = _copy(video.path, path, times, float("inf"))
    return Video(path, video.truth.repeated(times, length))


def beginning(name: str, seconds: float) -> Video:
    """First part of a video, until the first keyframe at or after `seconds`."""
    video = ensure(name)
    path = video.path.with_name(f"{video.path.stem}-{seconds:g}s.mp4")
    return Video(path, video.truth.until(_copy(video.path, path, 1, seconds)))


def _copy(source: Path, target: Path, times: int, until: float) -> float:
    """Copy packets without encoding; return the length of one repetition in seconds. An existing target is kept."""
    length = _length(source, until)
    if target.exists():
        return length
    unfinished = target.with_suffix(f".unfinished-{os.getpid()}.mp4")
    with av.open(str(unfinished), "w") as output, av.open(str(source)) as first:
        stream = output.add_stream_from_template(first.streams.video[0])
        for turn in range(times):
            with av.open(str(source)) as container:
                for packet, seconds, base in _packets(container):
                    if seconds < length:
                        shift = round(turn * length / base)
                        packet.pts, packet.dts = (packet.pts or 0) + shift, (packet.dts or 0) + shift
                        packet.stream = stream
                        output.mux(packet)
    unfinished.replace(target)
    return length


def _length(path: Path, until: float) -> float:
    """Time of the first keyframe at or after `until`, else the end of the last frame, in seconds."""
    with av.open(str(path)) as container:
        end = 0.0
        for packet, seconds, base in _packets(container):
            if packet.is_keyframe and seconds >= until:
                return seconds
            end = max(end, seconds + float((packet.duration or 0) * base))
        return end


def _packets(container: InputContainer) -> Iterator[tuple[Any, float, Fraction]]:
    """Packets of the video stream, each with its presentation time in seconds and the stream's time base."""
    stream = container.streams.video[0]
    base = stream.time_base or Fraction(1, _TICKS)
    for packet in container.demux(stream):
        if packet.pts is not None and packet.dts is not None:
            yield packet, float(packet.pts * base), base


@dataclass(frozen=True)
class _FilmPart:
    """Shot of the script: the transition before it, its own number of frames, and its parameters."""

    join: Join
    join_frames: int
    frames: int
    setup: Setup
    tone: int = _BLACK


def _script(recipe: VideoRecipe) -> list[_FilmPart]:
    """Random sequence of shots that fills the video's length."""
    rng = np.random.default_rng(recipe.content.seed)
    parts: list[_FilmPart] = []
    left = round(recipe.seconds * recipe.fps)
    while left > 0:
        for part in _scene(rng, recipe, first=not parts):
            if left <= 0:
                break
            room = left - part.join_frames
            if room < recipe.fps // 2:  # too short for another shot: the previous one is extended
                parts[-1] = replace(parts[-1], frames=parts[-1].frames + left)
                return parts
            part = replace(part, frames=min(part.frames, room))  # noqa: PLW2901
            left -= part.frames + part.join_frames
            parts.append(part)
    return parts


def _scene(rng: np.random.Generator, recipe: VideoRecipe, *, first: bool) -> list[_FilmPart]:
    """Single shot, dialogue or sequence of jump cuts."""
    content = recipe.content
    kind = rng.random()
    join = _joined(rng, recipe, first=first)
    if kind < content.dialogue:
        pair = [_setup(rng, content, cast=Cast.TALKER, look=pick(rng, _INDOORS)) for _ in range(2)]
        pair = [replace(each, motion=Motion.STILL, light=Light.STEADY) for each in pair]
        setups = [replace(pair[n % 2], seed=int(rng.integers(1 << 31))) for n in range(int(rng.integers(3, 6)))]
    elif kind < content.dialogue + content.jumps:
        talk = replace(_setup(rng, content, cast=Cast.TALKER, look=pick(rng, _INDOORS)), motion=Motion.STILL)
        setups = [
            replace(
                talk, seed=int(rng.integers(1 << 31)), light=Light.STEADY, offset=(side * 0.13, 0.02 * side), scale=s
            )
            for side, s in ((0, 1.0), (1, 1.2), (-1, 1.05), (1, 1.35))[: int(rng.integers(2, 5))]
        ]
    else:
        setups = [_setup(rng, content)]
    parts = [_FilmPart(Join.CUT, 0, _frames(rng, recipe), setup) for setup in setups]
    return [replace(parts[0], join=join.join, join_frames=join.join_frames, tone=join.tone), *parts[1:]]


_INDOORS = {CameraLook.ROOM: 3.0, CameraLook.STUDIO: 2.0, CameraLook.NIGHT: 0.5}


def _joined(rng: np.random.Generator, recipe: VideoRecipe, *, first: bool) -> _FilmPart:
    content = recipe.content
    setup = Setup(CameraLook.CARD, Motion.STILL, Light.STEADY, Cast.NOBODY, 0, 0)
    kind, gradual, long, half = rng.random(), rng.random(), rng.random(), rng.random()
    if first or gradual >= content.gradual:
        return _FilmPart(Join.CUT, 0, 0, setup)
    if kind < 0.65:
        low, high = content.dissolve_frames
        return _FilmPart(Join.DISSOLVE, round(low + (high - low) * long), 0, setup)
    low, high = content.fade_frames
    frames = round(2 * (low + (high - low) * half)) + round(8 * long)
    return _FilmPart(Join.FADE, frames, 0, setup, _WHITE if kind > 0.92 else _BLACK)


def _frames(rng: np.random.Generator, recipe: VideoRecipe) -> int:
    median, sigma = recipe.content.shot_seconds
    return round(recipe.fps * min(14.0, max(0.8, median * float(np.exp(rng.normal(0, sigma))))))


def _setup(
    rng: np.random.Generator, content: Content, cast: Cast | None = None, look: CameraLook | None = None
) -> Setup:
    look = look or pick(rng, content.looks)
    motion = pick(rng, content.motions)
    cast = cast or _cast_for(rng, look)
    light = Light.STEADY
    if rng.random() < content.events:
        light = pick(rng, {Light.FLASH: 4, Light.LIGHTNING: 2, Light.SWITCH: 2, Light.FLICKER: 2})
    toon = look is CameraLook.CARTOON
    if look is CameraLook.CARD:
        motion, light = Motion.STILL, Light.STEADY
    return Setup(
        look=look,
        motion=motion,
        light=light,
        cast=cast,
        place=int(rng.integers(1 << 31)),
        seed=int(rng.integers(1 << 31)),
        speed=float(np.exp(rng.uniform(*np.log(content.speed)))),
        grain=0 if toon else int(rng.choice(content.grain)),
        saturation=float(rng.uniform(*content.saturation)),
        detail=float(rng.uniform(*content.detail)),
        rate=content.toon_rate if toon else 0.0,
    )


def _cast_for(rng: np.random.Generator, look: CameraLook) -> Cast:
    match look:
        case CameraLook.CARTOON:
            return Cast.TOONS
        case CameraLook.CARD | CameraLook.CROWD:
            return Cast.NOBODY
        case CameraLook.STUDIO:
            return Cast.TALKER
        case _:
            return pick(rng, {Cast.NOBODY: 3, Cast.TALKER: 3, Cast.WALKERS: 3, Cast.CROSSING: 1})


def pick(rng: np.random.Generator, weights: Mapping[T, float]) -> T:
    """Random key, by the keys' weights."""
    kinds = list(weights)
    share = np.array([weights[kind] for kind in kinds], float)
    return kinds[int(rng.choice(len(kinds), p=share / share.sum()))]


def _clock(recipe: VideoRecipe, frames: int) -> npt.NDArray[np.float64]:
    """Time of each frame in seconds.

    A variable frame rate consists of runs of frames with a rate each, and of jitter on every frame.
    """
    if not recipe.variable:
        return np.arange(frames) / recipe.fps
    rng = np.random.default_rng([recipe.content.seed, 5])
    steps: list[float] = []
    while len(steps) < frames:
        row = int(rng.integers(20, 200))
        rate = recipe.fps * float(rng.choice([1.0, 1.0, 0.8, 0.5, 2.0]))
        steps += list(np.maximum(0.25, 1 + 0.2 * rng.standard_normal(row)) / rate)
    return np.concatenate([[0.0], np.cumsum(steps)[: frames - 1]])


def _truth(parts: list[_FilmPart], seconds: npt.NDArray[np.float64]) -> Truth:
    looks = ({name: getattr(part.setup, name) for name in ("look", "motion", "light", "cast")} for part in parts)
    return edit_truth([(part.join, part.join_frames, part.frames) for part in parts], looks, seconds)


def edit_truth(
    parts: Sequence[tuple[Join, int, int]], looks: Iterable[Mapping[str, str]], seconds: npt.NDArray[np.float64]
) -> Truth:
    """Ground truth of an edit, by the times of its frames.

    `parts`: transition, its number of frames, and that of the shot after it; `looks`: the other fields of Filmed.
    """
    at = [round(float(second), 5) for second in seconds]
    gaps: list[Gap] = []
    shots: list[Filmed] = []
    first = 0
    for index, ((join, join_frames, frames), look) in enumerate(zip(parts, looks, strict=True)):
        begin = first + join_frames
        if index:
            gaps.append(Gap(start=at[first - 1], end=at[begin], kind=join))
        first = begin + frames
        shots.append(Filmed(start=at[begin], end=at[first - 1], **look))
    return Truth(gaps=tuple(gaps), shots=tuple(shots), seconds=tuple(at))


def _pictures(recipe: VideoRecipe, parts: list[_FilmPart], seconds: npt.NDArray[np.float64]) -> Iterator[Canvas]:
    """Frames of the video, in order. The buffer of a yielded frame is reused by the next one."""
    size = recipe.width, recipe.height
    here, there, out = Canvas(*size), Canvas(*size), Canvas(*size)
    old, old_from, first = None, 0.0, 0
    for part in parts:
        take, begins = Take(part.setup, *size), float(seconds[first])
        for frame in range(first, first + part.join_frames):
            share = (frame - first + 1) / (part.join_frames + 1)
            now = float(seconds[frame])
            if part.join is Join.DISSOLVE and old:
                old.paint(now - old_from, here)
                take.paint(now - begins, there)
                mixed(here, there, share, out)
                yield out
            elif old:
                # Fade out, hold, fade in. The hold lasts 16 % of the transition.
                (old.paint(now - old_from, here) if share < 0.5 else take.paint(now - begins, here))
                here.scale(max(0.0, (abs(share - 0.5) - 0.08) / 0.42), part.tone)
                yield here
        for frame in range(first + part.join_frames, first + part.join_frames + part.frames):
            take.paint(float(seconds[frame]) - begins, here)
            yield here
        first += part.join_frames + part.frames
        old, old_from = take, begins


def setups(recipe: VideoRecipe) -> list[tuple[Setup, int]]:
    """Parameters of each shot, and the number of its first frame, from which the shot's time counts."""
    found, first = [], 0
    for part in _script(recipe):
        found.append((part.setup, first))
        first += part.join_frames + part.frames
    return found


def make(recipe: VideoRecipe, path: Path) -> Truth:
    """Render and encode a video; return its ground truth."""
    parts = _script(recipe)
    frames = sum(part.join_frames + part.frames for part in parts)
    seconds = _clock(recipe, frames)
    encoding = Encoding(recipe.fps, recipe.bits, _options(recipe))
    encode(path, encoding, (picture.whole for picture in _pictures(recipe, parts, seconds)), seconds)
    return _truth(parts, seconds)


@dataclass(frozen=True)
class Encoding:
    """Parameters of the x264 encoder. `bits` is in bits per second; `ticks` is the number of time units in a second."""

    fps: int | Fraction
    bits: int
    options: Mapping[str, str]
    ticks: int = _TICKS


def encode(path: Path, encoding: Encoding, pictures: Iterable[Plane], seconds: npt.NDArray[np.float64]) -> None:
    """Encode frames in yuv420p (height*3/2 x width bytes each), at their times in seconds."""
    base, encoded = Fraction(1, encoding.ticks), None
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=encoding.fps, options=dict(encoding.options))
        stream.pix_fmt, stream.bit_rate, stream.codec_context.time_base = "yuv420p", encoding.bits, base
        for at, picture in zip(seconds, pictures, strict=True):
            if encoded is None:
                stream.width, stream.height = picture.shape[1], picture.shape[0] * 2 // 3
            encoded = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            encoded.pts, encoded.time_base = round(at * encoding.ticks), base
            container.mux(stream.encode(encoded))
        container.mux(stream.encode(None))


def _options(recipe: VideoRecipe) -> dict[str, str]:
    interval = 2 * recipe.fps
    parameters = {
        Keyframes.ADAPTIVE: f"keyint={10 * recipe.fps}",
        Keyframes.FIXED: f"keyint={interval}:min-keyint={interval}:scenecut=0",
    }[recipe.keyframes]
    return {"preset": recipe.preset, "x264-params": parameters}
