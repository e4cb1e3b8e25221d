"""Events in front of a scene, which no cut ends: flashes, explosions, strobes, things that pass close to the camera.

The scene is seen again after them. So is a scene after a short shot of another one, but such a shot begins and ends
with a cut, and its frames match each other.
"""

from collections.abc import Sequence

from contentgen_worker.media.shots.frame_run import FrameRun, Span
from contentgen_worker.media.shots.scene_matcher import UNSCALED, SceneMatcher

SAME_SCENE = 0.3
"""Minimum share of a match between frames of one scene."""

SAME_PICTURE = 0.6
"""Likewise, if neither moves. Pages and slides of one layout have less in common."""

AT_REST = 3.0
"""Distance of frames between which nothing but a pointer moves."""

_SEEN_AGAIN = 0.35  # like `SAME_SCENE`; more, because several pairs are compared
_DETAILS = 0.4  # minimum of a shifted picture; a small figure resembles another one
_PAIRS = (  # seconds before and after a boundary
    (0.0, 0.25), (0.25, 0.0), (0.05, 0.4), (0.4, 0.05), (0.05, 0.7), (0.7, 0.05), (0.05, 1.1), (1.1, 0.05)
)  # fmt: skip
_MOVED = 4.0  # distance of frames between which the camera moved
_SHORTEST = 3  # frames of a shot


def is_event(
    run: FrameRun, scenes: SceneMatcher, span: Span, breaks: Sequence[int], zooms: Sequence[float] = UNSCALED
) -> bool:
    """Whether the scene before a possible boundary is seen again within a second, and no shot was inserted."""
    first, last = span
    for seconds_before, seconds_after in _PAIRS:
        outer = one, other = run.before(first, seconds_before), run.after(last, seconds_after)
        change = max(run.distance(one, first), run.distance(last, other))
        least = SAME_PICTURE if change < AT_REST else _SEEN_AGAIN
        if _is_seen_again(scenes, outer, zooms if change > _MOVED else (), least) and not _is_insert(
            scenes, outer, span, breaks
        ):
            return True
    return False


def _is_seen_again(scenes: SceneMatcher, frames: Span, zooms: Sequence[float], least: float) -> bool:
    """Whether two frames match with at least this share: in place, or shifted with these zooms."""
    if scenes.in_place(*frames).share >= least:
        return True
    moved = scenes.match(*frames, zooms)
    return moved.share >= least and moved.detailed >= _DETAILS


def _is_insert(scenes: SceneMatcher, outer: Span, span: Span, breaks: Sequence[int]) -> bool:
    """Whether a steady shot lies between a boundary and another one, within the outer frames."""
    (one, other), (first, last) = outer, span
    shots = [(at + 1, first) for at in breaks if one <= at < first]
    shots += [(last, at) for at in breaks if last <= at < other]
    return any(end - start >= _SHORTEST and scenes.match(start, end).share >= SAME_SCENE for start, end in shots)
