"""Edit of a video: random sequence of shots and transitions, its frames, and its ground truth."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from contentgen_bench.media.unseen.painting import cel, crowds, events, places, screens, water
from contentgen_bench.media.unseen.painting.plan import CameraMove, Draw, Happening, Image, PlannedShot, SceneFamily
from contentgen_bench.media.videos import Join, Truth, edit_truth, pick

T = TypeVar("T")
Seconds = npt.NDArray[np.float64]
_QUIET = 0.55  # seconds at both ends of a shot without an event, because one there would hide the boundary
_PLACES = {SceneFamily.STREET, SceneFamily.INTERIOR, SceneFamily.FIELD, SceneFamily.STAGE}
_SUDDEN = {CameraMove.WHIP: (0.22, 0.4), CameraMove.CRASH_ZOOM: (0.25, 0.7)}  # seconds from start to end
_LASTING = {
    Happening.FLASH: (1.0, 1.2),
    Happening.EXPLOSION: (1.2, 1.2),
    Happening.STROBE: (1.2, 4.0),
    Happening.CROSSING: (0.25, 0.9),
    Happening.EXPOSURE: (0.8, 1.8),
}


@dataclass(frozen=True)
class ShotStyle:
    """Random distributions of a set's shots. Times are in seconds."""

    families: dict[SceneFamily, float]
    moves: dict[CameraMove, float]
    happenings: dict[Happening, float]
    median: float = 2.8  # of the shots' lengths, which are log-normal
    sigma: float = 0.4
    gradual: float = 0.25  # share of gradual transitions among all
    again: float = 0.15  # probability that a shot has the place of the one before it, closer or wider
    grain: int = 0  # greatest noise of a pixel's luma
    bars: float = 0.0  # aspect ratio between black bars; 0 means none


@dataclass(frozen=True)
class EditPart:
    """Transition, and the shot after it; `frames` are those of the shot alone."""

    join: Join
    join_frames: int
    frames: int
    shot: PlannedShot
    tone: int = 0  # gray level of a fade


def script(style: ShotStyle, seed: int, rate: float, frames: int) -> list[EditPart]:
    """Sequence of shots that has exactly this number of frames."""
    rng = np.random.default_rng([seed, 1])
    parts: list[EditPart] = []
    left = frames
    while left > 0:
        part = _part(rng, style, rate, parts[-1] if parts else None)
        room = left - part.join_frames
        if parts and room < 2 * part.frames // 3:  # too little room for it: the previous shot is extended
            parts[-1] = replace(parts[-1], frames=parts[-1].frames + left)
            break
        part = replace(part, frames=min(part.frames, room))
        left -= part.join_frames + part.frames
        parts.append(part)
    return parts


def _part(rng: np.random.Generator, style: ShotStyle, rate: float, before: EditPart | None) -> EditPart:
    length = min(9.0, max(1.2, style.median * float(np.exp(rng.normal(0, style.sigma)))))
    join, join_seconds, tone = Join.CUT, 0.0, 0
    if before and rng.random() < style.gradual:
        if rng.random() < 0.62:
            join, join_seconds = Join.DISSOLVE, rng.uniform(0.35, 1.5)
        else:
            join, join_seconds, tone = Join.FADE, rng.uniform(0.7, 2.0), 255 if rng.random() < 0.15 else 0
    family, place, closer = pick(rng, style.families), int(rng.integers(1 << 31)), float(rng.uniform(0.85, 1.25))
    if before and before.shot.family in _PLACES and join is Join.CUT and rng.random() < style.again:
        family, place = before.shot.family, before.shot.place
        closer = 2.3 if before.shot.closer < 1.5 else 0.9
    move, happening = pick(rng, style.moves), pick(rng, style.happenings)
    if family is SceneFamily.SCREEN:
        move, happening = CameraMove.FIXED, Happening.NOTHING
    if family not in _PLACES and move is CameraMove.WHIP:
        move = CameraMove.PAN
    shot = PlannedShot(family, move, happening, place, int(rng.integers(1 << 31)), 0.0, 1.0, closer)
    joined = round(join_seconds * rate)
    return EditPart(join, joined, round(length * rate), _timed(rng, shot, joined / rate, length), tone)


def _timed(rng: np.random.Generator, shot: PlannedShot, join: float, length: float) -> PlannedShot:
    """Shot with the time of its event; an event that does not fit is left out."""
    sudden = shot.move in _SUDDEN
    lasts = float(rng.uniform(*_SUDDEN[shot.move])) if sudden else 1.0
    if not sudden and shot.happening in _LASTING:
        lasts = float(rng.uniform(*_LASTING[shot.happening]))
        lasts = min(lasts, length - 2 * _QUIET) if shot.happening is Happening.STROBE else lasts
    elif shot.happening is not Happening.NOTHING:  # one event a shot
        shot = replace(shot, happening=Happening.NOTHING)
    free = length - 2 * _QUIET - lasts
    if free < 0 and (sudden or shot.happening is not Happening.NOTHING):
        return replace(shot, move=CameraMove.HANDHELD, happening=Happening.NOTHING)
    return replace(shot, event=join + _QUIET + float(rng.uniform(0, max(free, 0.0))), event_seconds=lasts)


def truth(parts: list[EditPart], seconds: Seconds) -> Truth:
    """Ground truth of an edit, by the times of its frames."""
    looks = (
        {"look": part.shot.family, "motion": part.shot.move, "light": part.shot.happening, "cast": ""} for part in parts
    )
    return edit_truth([(part.join, part.join_frames, part.frames) for part in parts], looks, seconds)


def painter(shot: PlannedShot, width: int, height: int) -> Draw:
    """Painter of a shot with its event."""
    paint = {
        SceneFamily.WATER: water.draw,
        SceneFamily.CROWD: crowds.draw,
        SceneFamily.SCREEN: screens.draw,
        SceneFamily.CEL: cel.draw,
    }.get(shot.family, places.draw)
    still, happening = paint(shot, width, height), events.effect(shot, width, height)
    return lambda seconds: happening(still(seconds), seconds)


def pictures(parts: list[EditPart], seconds: Seconds, width: int, height: int) -> Iterator[Image]:
    """Frames of an edit at the given times, in order, without black bars."""
    old: Draw | None = None
    old_from, first = 0.0, 0
    for part in parts:
        new, new_from = painter(part.shot, width, height), float(seconds[first])
        for frame in range(first, first + part.join_frames + part.frames):
            now = float(seconds[frame])
            share = (frame - first + 1) / (part.join_frames + 1)
            if share >= 1 or old is None:
                yield new(now - new_from)
            elif part.join is Join.DISSOLVE:
                yield np.asarray(cv2.addWeighted(old(now - old_from), 1 - share, new(now - new_from), share, 0))
            else:
                picture = old(now - old_from) if share < 0.5 else new(now - new_from)
                yield events.toned(picture, max(0.0, (abs(share - 0.5) - 0.06) / 0.44), part.tone)
        first += part.join_frames + part.frames
        old, old_from = new, new_from
