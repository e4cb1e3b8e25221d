"""The unseen sets: one video each, cached by a hash of its parameters as the other videos are."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from fractions import Fraction
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from contentgen_bench.media import videos
from contentgen_bench.media.unseen import film
from contentgen_bench.media.unseen.film import EditPart, Seconds, ShotStyle
from contentgen_bench.media.unseen.painting.plan import CameraMove, Happening, Image, SceneFamily
from contentgen_bench.media.videos import Encoding, Truth, Video

_EDITION = 1  # part of the cache key; to be increased when the same parameters give another video
_GRAINS = 8

_WORLDS = {SceneFamily.STREET: 3.0, SceneFamily.INTERIOR: 2.0, SceneFamily.FIELD: 2.0}
_MIX = _WORLDS | {SceneFamily.WATER: 1.0, SceneFamily.CROWD: 1.0}
_CALM = {CameraMove.FIXED: 2.0, CameraMove.TRACK: 2.0, CameraMove.PAN: 2.0, CameraMove.HANDHELD: 3.0}
_NOTHING = {Happening.NOTHING: 1.0}


class FrameForm(StrEnum):
    """How frames are timed and stored."""

    PROGRESSIVE = "progressive"
    INTERLACED = "interlaced"  # two fields of two times in each frame, the top field first
    VARIABLE = "variable"  # runs of different frame rates, jitter and dropped frames


@dataclass(frozen=True)
class UnseenRecipe:
    """All parameters of a video. `bits` is the bit rate in bits per second; `rate` is frames a second as a fraction."""

    style: ShotStyle
    seed: int
    rate: tuple[int, int] = (25, 1)
    seconds: float = 68.0
    bits: int = 1_000_000
    form: FrameForm = FrameForm.PROGRESSIVE
    width: int = 640
    height: int = 360

    @property
    def key(self) -> str:
        """Cache key: hash of all parameters and of the edition, 12 hexadecimal digits."""
        text = json.dumps([_EDITION, asdict(self)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def recipes() -> dict[str, UnseenRecipe]:
    """Recipes of all sets, by name."""
    calm = ShotStyle(_WORLDS, _CALM, _NOTHING)
    styles = {
        "whips": replace(calm, moves={CameraMove.WHIP: 12.0} | _CALM),
        "shakes": replace(calm, moves={CameraMove.SHAKE: 3.0, CameraMove.HANDHELD: 1.0}, grain=3),
        "zooms": replace(
            calm,
            moves={CameraMove.CRASH_ZOOM: 6.0, CameraMove.SLOW_ZOOM: 2.0, CameraMove.DOLLY_ZOOM: 2.0},
            families=_MIX,
        ),
        "crossings": replace(calm, happenings={Happening.CROSSING: 3.0, Happening.NOTHING: 1.0}),
        "explosions": replace(calm, happenings={Happening.EXPLOSION: 3.0, Happening.NOTHING: 1.0}, median=3.6),
        "strobes": replace(
            calm,
            families={SceneFamily.STAGE: 5.0, SceneFamily.INTERIOR: 1.0},
            happenings={Happening.STROBE: 4.0, Happening.FLASH: 1.0, Happening.NOTHING: 1.0},
            median=3.6,
            grain=4,
        ),
        "water": replace(calm, families={SceneFamily.WATER: 1.0}, gradual=0.3),
        "crowds": replace(calm, families={SceneFamily.CROWD: 1.0}),
        "screens": replace(
            calm, families={SceneFamily.SCREEN: 5.0, SceneFamily.INTERIOR: 1.0}, gradual=0.15, median=4.0
        ),
        "animation": replace(calm, families={SceneFamily.CEL: 1.0}, gradual=0.2),
        "hand-held-60": replace(
            calm,
            moves={CameraMove.HANDHELD: 3.0, CameraMove.SHAKE: 1.0, CameraMove.WHIP: 1.0},
            happenings={Happening.CROSSING: 1.0, Happening.NOTHING: 2.0},
            grain=2,
        ),
        "letterboxed": replace(
            calm, families=_MIX, happenings={Happening.EXPOSURE: 1.0, Happening.NOTHING: 2.0}, bars=2.39, gradual=0.35
        ),
        "variable-rate": replace(calm, families=_MIX | {SceneFamily.SCREEN: 2.0}),
        "film-23976": replace(
            calm,
            families=_MIX | {SceneFamily.STAGE: 1.0},
            happenings={Happening.FLASH: 1.0, Happening.EXPOSURE: 1.0, Happening.NOTHING: 4.0},
            gradual=0.35,
            grain=6,
        ),
        "interlaced": replace(calm, families=_MIX, moves=_CALM | {CameraMove.WHIP: 0.5}),
        "low-bitrate": replace(calm, families=_MIX | {SceneFamily.CEL: 1.0}, grain=2),
    }
    found = {name: UnseenRecipe(style, 7001 + 13 * number) for number, (name, style) in enumerate(styles.items())}
    forms = {
        "hand-held-60": {"rate": (60, 1), "seconds": 44.0, "bits": 1_800_000},
        "film-23976": {"rate": (24_000, 1001)},
        "variable-rate": {"rate": (30, 1), "form": FrameForm.VARIABLE},
        "interlaced": {"form": FrameForm.INTERLACED},
        "low-bitrate": {"bits": 80_000},
        "screens": {"rate": (30, 1), "bits": 500_000},
        "animation": {"rate": (24, 1), "bits": 600_000},
    }
    return found | {name: replace(found[name], **changes) for name, changes in forms.items()}  # type: ignore[arg-type]


def ensure(name: str) -> Video:
    """Cached video of a set and its ground truth; generates them if missing."""
    recipe = recipes()[name]
    return videos.cached(f"unseen-{name}-{recipe.key}.mp4", partial(make, recipe))


def make(recipe: UnseenRecipe, path: Path) -> Truth:
    """Render and encode a video; return its ground truth."""
    rate = Fraction(*recipe.rate)
    parts = film.script(recipe.style, recipe.seed, float(rate), round(recipe.seconds * rate))
    frames = sum(part.join_frames + part.frames for part in parts)
    seconds: Seconds = np.arange(frames) / float(rate)
    if recipe.form is FrameForm.VARIABLE:
        seconds = _varied(recipe.seed, float(rate), frames)
        parts = _sampled(parts, float(rate), seconds)
    options = {"preset": "veryfast"}
    if recipe.form is FrameForm.INTERLACED:
        options |= {"x264-params": "tff=1", "flags": "+ildct+ilme"}
    ticks = recipe.rate[0] if recipe.rate[1] > 1 else 90_000
    videos.encode(path, Encoding(rate, recipe.bits, options, ticks), _planes(recipe, parts, seconds), seconds)
    return film.truth(parts, seconds)


def _varied(seed: int, rate: float, frames: int) -> Seconds:
    """Times of frames in the same length as `frames` at an even rate."""
    rng = np.random.default_rng([seed, 3])
    steps: list[float] = []
    while sum(steps) < frames / rate:
        run = rate * float(rng.choice([1.0, 1.0, 0.8, 0.5, 2.0]))
        row = np.maximum(0.3, 1 + 0.08 * rng.standard_normal(int(rng.integers(20, 120)))) / run
        steps += list(row * np.where(rng.random(len(row)) < 0.04, 2, 1))  # a dropped frame doubles the step
    at = np.concatenate([[0.0], np.cumsum(steps)])
    return np.round(at[at < frames / rate] * 90_000) / 90_000


def _sampled(parts: list[EditPart], rate: float, seconds: Seconds) -> list[EditPart]:
    """Parts with the numbers of the frames whose times are within them."""
    ends = np.cumsum([each for part in parts for each in (part.join_frames, part.frames)]) / rate
    counts = np.diff(np.searchsorted(seconds, [0.0, *ends]))
    pairs = zip(counts[::2], counts[1::2], strict=True)
    return [
        replace(part, join_frames=int(join), frames=int(alone))
        for part, (join, alone) in zip(parts, pairs, strict=True)
    ]


def _planes(recipe: UnseenRecipe, parts: list[EditPart], seconds: Seconds) -> Iterator[Image]:
    """Frames in yuv420p, with bars and grain."""
    drawn = (
        _woven(recipe, parts, seconds) if recipe.form is FrameForm.INTERLACED else _progressive(recipe, parts, seconds)
    )
    bar = round((recipe.height - recipe.width / recipe.style.bars) / 4) * 2 if recipe.style.bars else 0
    grains = _grains(recipe.seed, recipe.style.grain, recipe.width, recipe.height)
    for number, planes in enumerate(drawn):
        luma = planes[: recipe.height]
        if grains:
            brighter, darker = grains[(number * 5 + number // _GRAINS) % _GRAINS]
            cv2.subtract(cv2.add(luma, brighter, luma), darker, luma)
        if bar:
            luma[:bar] = luma[-bar:] = 16
            for plane in _chroma(planes, recipe.width, recipe.height):
                plane[: bar // 2] = plane[-bar // 2 :] = 128
        yield planes


def _progressive(recipe: UnseenRecipe, parts: list[EditPart], seconds: Seconds) -> Iterator[Image]:
    for picture in film.pictures(parts, seconds, recipe.width, recipe.height):
        yield np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420), np.uint8)


def _woven(recipe: UnseenRecipe, parts: list[EditPart], seconds: Seconds) -> Iterator[Image]:
    """Frames whose even lines are from their own time and odd lines from half a frame later. Cuts are at frames."""
    width, height = recipe.width, recipe.height
    twice = [replace(part, join_frames=2 * part.join_frames, frames=2 * part.frames) for part in parts]
    half = float(seconds[1] - seconds[0]) / 2
    fields = film.pictures(twice, np.repeat(seconds, 2) + np.tile([0.0, half], len(seconds)), width, height)
    for top, bottom in zip(fields, fields, strict=True):
        out = np.empty((height * 3 // 2, width), np.uint8)
        for number, picture in enumerate((top, bottom)):
            lines = np.ascontiguousarray(picture[number::2])
            planes = np.asarray(cv2.cvtColor(lines, cv2.COLOR_BGR2YUV_I420), np.uint8)
            out[number:height:2] = planes[: height // 2]
            pairs = zip(_chroma(out, width, height), _chroma(planes, width, height // 2), strict=True)
            for whole, field in pairs:
                whole[number::2] = field
        yield out


def _chroma(planes: Image, width: int, height: int) -> tuple[Image, Image]:
    """Views of the U and V planes of a frame in yuv420p."""
    flat = planes.reshape(-1)[width * height :].reshape(2, height // 2, width // 2)
    return flat[0], flat[1]


def _grains(seed: int, strength: int, width: int, height: int) -> list[tuple[npt.NDArray[np.uint8], ...]]:
    """Noise of the sensor, as what is added and what is subtracted."""
    if not strength:
        return []
    rng = np.random.default_rng([seed, 4])
    noises = [rng.normal(0, strength, (height, width)) for _ in range(_GRAINS)]
    return [tuple(np.clip(sign * noise, 0, 255).astype(np.uint8) for sign in (1, -1)) for noise in noises]
