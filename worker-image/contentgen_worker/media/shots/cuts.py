"""Cuts: the change between two frames stands out against the changes around it, and they show different scenes.

- Motion: frames of a whip pan, a shake or a zoom match, shifted or zoomed, so they are no cut. A change of framing
  within one frame, with rest before and after, is a jump cut.
- Beside strong motion, no change stands out. There, the frames of the motion have to match each other, and those of the
  cut must not.
- Within a shake, each change is strong. There, the frames of both sides have to match their neighbours, and none may
  match a frame of the other side.
- Light that is switched or dimmed changes gain and offset of the picture only.
- A frame that is shown long (slides, time lapses, screen recorders) has no surroundings. It is a shot of its own unless
  the next one matches it.
"""

from collections.abc import Sequence

import numpy as np

from contentgen_worker.media.shots.events import AT_REST, SAME_PICTURE, SAME_SCENE, is_event
from contentgen_worker.media.shots.frame_run import Floats, FrameRun
from contentgen_worker.media.shots.scene_matcher import ZOOMS, SceneMatcher

# Distances are root mean squares of differences of 0-255.
_CHANGE = 6.0  # minimum of a cut
_STANDS_OUT = 2.2  # times the second largest change around
_ISOLATED = 5.0  # times the largest change around
_CLEARLY_LARGEST = 1.25  # likewise
_LARGEST = 1.3  # times the second largest change around, within a shake
_AROUND = 6  # frames on each side
_LEAST = 3  # frames of a shot
_BEFORE, _AFTER = 5, 6  # frames compared across a cut; a flash is shorter
_RETURNS = 0.5  # share of the change; a nearer frame after it means that the picture returned
_SHOWN_LONG = 0.39  # seconds
_CONTRAST = 4.0  # minimum beside strong motion; frames without contrast match nothing, and end a fade

# Shares of a match, see SceneMatch.
_SCROLLED, _SCROLLED_DETAILS = 0.7, 0.6  # minimum of a shift within one frame, and of the picture with details
_PANE, _PANE_AND_REST = 0.45, 0.7  # minimum of a shifted part of a page, and of it with the part in place
_CONTINUES = 0.22  # minimum between frames of strong motion beside a cut
_CONTINUES_CLEARLY = 0.6  # likewise
_SHAKEN = 0.35  # minimum between neighbouring frames of a shake, which blurs and turns them
_OTHER_SCENE = 1 / 3  # maximum across the cut, as a share of that between frames of the motion


def find_breaks(run: FrameRun, scenes: SceneMatcher) -> list[int]:
    """Indices of the last frames before changes of scene. Some may be events, see `find_cuts`."""
    change = run.changes()
    at = np.flatnonzero(change > _CHANGE)
    breaks: list[int] = []
    for each in at[~run.differs_by_light(at, at + 1)]:
        if _is_shown_long(run, int(each)):
            if scenes.match(int(each), int(each) + 1, ZOOMS).share < SAME_SCENE:
                breaks.append(int(each))
        elif _is_break(run, scenes, change, int(each)):
            if breaks and each - breaks[-1] < _LEAST:
                breaks[-1] = max(breaks[-1], int(each), key=change.__getitem__)
            else:
                breaks.append(int(each))
    return breaks


def find_cuts(run: FrameRun, scenes: SceneMatcher, breaks: Sequence[int]) -> list[int]:
    """Breaks that no event explains."""
    return [
        at
        for at in breaks
        if _is_shown_long(run, at) or not is_event(run, scenes.without_overlay(at, at + 1), (at, at + 1), breaks)
    ]


def _is_shown_long(run: FrameRun, at: int) -> bool:
    return float(run.seconds[at + 1] - run.seconds[at]) >= _SHOWN_LONG


def _is_break(run: FrameRun, scenes: SceneMatcher, change: Floats, at: int) -> bool:
    if not _LEAST <= at < len(change) - _LEAST:
        return False
    before, after = _around(run, change, at)
    second, stands_out = _second(before, after), _stands_out(change[at], before, after)
    if not (stands_out or change[at] >= _LARGEST * second) or _picture_returns(run, change[at], at):
        return False
    scenes = scenes.without_overlay(at, at + 1)
    if change[at] < _STANDS_OUT * second:
        if min(run.contrast[at], run.contrast[at + 1]) <= _CONTRAST:
            return False
        return (stands_out and _ends_motion(scenes, change, at, before, after)) or _separates(run, scenes, at)
    if _is_isolated(change[at], before, after):
        same = SAME_PICTURE if max(before.max(), after.max()) < AT_REST else SAME_SCENE
        return not _is_scrolled(scenes, at, same) or _is_zoomed(scenes, at)
    return scenes.match(at, at + 1, ZOOMS).share < SAME_SCENE


def _around(run: FrameRun, change: Floats, at: int) -> tuple[Floats, Floats]:
    """Changes before and after a change."""
    reach = _AROUND * run.stride
    return change[max(0, at - reach) : at], change[at + 1 : at + 1 + reach]


def _second(before: Floats, after: Floats) -> float:
    """Second largest change around: a cut may be beside another one."""
    return max(float(np.partition(np.concatenate([before, after]), -2)[-2]), 1.0)


def _stands_out(change: float, before: Floats, after: Floats) -> bool:
    """Whether a change is large for its surroundings, or for the quieter side of them."""
    return change >= _STANDS_OUT * min(
        _second(before, after), max(float(before.max()), 1.0), max(float(after.max()), 1.0)
    )


def _is_isolated(change: float, before: Floats, after: Floats) -> bool:
    return change >= _ISOLATED * max(float(before.max()), float(after.max()), 1.0)


def _picture_returns(run: FrameRun, change: float, at: int) -> bool:
    before, after = at + 1 - _BEFORE * run.stride, at + 1 + _AFTER * run.stride
    return bool(run.square[max(0, before) : at + 1, at + 1 : after].min() < (_RETURNS * change) ** 2)


def _ends_motion(scenes: SceneMatcher, change: Floats, at: int, before: Floats, after: Floats) -> bool:
    """Whether strong motion ends or begins with a cut. Its own frames match each other, at least in part."""
    beside = (at - 2, at - 1) if before.max() > after.max() else (at + 1, at + 2)
    continues = min(scenes.match(each, each + 1, ZOOMS).share for each in beside)
    largest = change[at] >= _CLEARLY_LARGEST * max(float(before.max()), float(after.max()))
    enough = continues >= _CONTINUES_CLEARLY or (largest and continues >= _CONTINUES)
    return enough and scenes.match(at, at + 1, ZOOMS).share < _OTHER_SCENE * continues


def _separates(run: FrameRun, scenes: SceneMatcher, at: int) -> bool:
    """Whether frames match their neighbours on both sides of a change, and none matches a frame of the other side.

    The neighbours are as far away as the frames of the change, between which some may be missing.
    """
    if scenes.match(at, at + 1).share >= _OTHER_SCENE:
        return False
    far = float(run.seconds[at + 1] - run.seconds[at])
    before = max(min(at - 1, run.before(at, far)), 1)
    after = min(max(at + 2, run.after(at + 1, far)), len(run) - 2)
    first, last = min(before - 1, run.before(before, far)), max(after + 1, run.after(after, far))
    beside = (first, before), (before, at), (at + 1, after), (after, last)
    continues = min(scenes.match(*pair, ZOOMS).share for pair in beside)
    return continues >= _SHAKEN and all(
        scenes.match(one, other, ZOOMS).share < _OTHER_SCENE * continues
        for one in (at, before)
        for other in (at + 1, after)
    )


def _is_scrolled(scenes: SceneMatcher, at: int, same: float) -> bool:
    """Whether a change between two pictures at rest keeps this share of the scene in place, or nearly all of it
    shifted, or most of it shifted and the rest in place.

    Motion takes several frames, so a shift is likelier that of something similar in another scene.
    """
    shifted = scenes.match(at, at + 1)
    in_place = scenes.in_place(at, at + 1).share
    all_of_it = shifted.share >= _SCROLLED
    pane = shifted.share > max(_PANE, in_place) and shifted.share + in_place >= _PANE_AND_REST
    return (shifted.detailed >= _SCROLLED_DETAILS and (all_of_it or pane)) or in_place >= same


def _is_zoomed(scenes: SceneMatcher, at: int) -> bool:
    """Whether the framing changes within one frame (jump cut). A zoom takes several frames."""
    match = scenes.match(at, at + 1, ZOOMS)
    return match.zoom != 1 and match.share >= SAME_SCENE
