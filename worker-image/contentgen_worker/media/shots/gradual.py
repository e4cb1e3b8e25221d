"""Dissolves and fades.

- Dissolve: each frame of a window is a mixture of the window's two ends, with a growing share of the second. As points,
  the frames lie on the line between the ends, within `_RESIDUE`; those of a pan or zoom lie far off it. And the ends
  differ more than either shot drifts in the same time.
- Textured dissolve: waves, leaves, crowds and shakes move each frame far off the line, but hardly its means over large
  blocks. The latter move along a line in a pan, too. But a mixture of two textures has less variance than they have.
- Fade: a ramp to a picture without contrast, from it, or both.

In both cases the ends show different scenes, and no event explains the change.
"""

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from contentgen_worker.media.shots.events import AT_REST, SAME_PICTURE, SAME_SCENE, is_event
from contentgen_worker.media.shots.frame_run import Floats, FrameRun, Integers, Span
from contentgen_worker.media.shots.scene_matcher import COARSE_ZOOMS, ZOOMS, SceneMatcher

# Distances are root mean squares of differences of 0-255.
_LENGTHS = (7, 8, 10, 12, 14, 17, 20, 24, 29, 35, 42, 50)  # of windows, in frames at up to 30 a second
_SHORTER = (4, 5, 6)  # likewise, if half of the frames are missing
_APART = 8.0  # the ends of a dissolve
_DRIFT, _SHORT_DRIFT = 1.35, 1.6  # factor over the drift of a shot in the same time, and in half of it
_RESIDUE = 0.12  # mean square distance off the line over the line's squared length, for half mixtures
_BACKWARDS, _AT_ONCE = -0.25, 0.4  # of the mixture: sum of steps back, and the largest step
_RAMP, _SLOW_RAMP = 5, 3  # minimum number of mixed frames
_MIXED = 0.06  # smaller shares count as unmixed
_CLEAR = 8.0  # minimum score of a dissolve
_ROUGH_RESIDUE = 0.09  # like `_RESIDUE`, of the means
_LOST = (0.55, 1.6)  # of a mixture's texture: variance lost, as a share of that of two independent textures
_OTHER_TEXTURE = 0.2  # maximum share of a match between the ends of a textured dissolve
_MOVED = 0.45  # likewise between frames half of it apart; those of a whip pan match, shifted
_RESTING = 0.25  # seconds before and after a dissolve
_UNSTEADY = 2.2  # factor over the larger drift of the shots in half of the time, at most
_SAMPLES = 8  # mixtures whose texture is measured

_FLAT = 3.0  # contrast at the end of a fade
_FADE_FRAMES, _LONGEST_FADE = 3, 60
_SLOWER = 0.2  # share of a fade's mean step; a slower step ends it
_OTHER = 0.2  # share of the distance to black; a larger change across the fade is another shot


def find_fades(run: FrameRun, scenes: SceneMatcher, breaks: Sequence[int]) -> list[Span]:
    """Fades, in order. None of them contains a break."""
    found = []
    for first, last in _flat(run):
        start, end = _ramp(run, first, -1, breaks), _ramp(run, last, 1, breaks)
        out, into = first - start >= _FADE_FRAMES, end - last >= _FADE_FRAMES
        start, end = start if out else first - 1, end if into else last + 1
        if (out or into) and start >= 0 and end < len(run):
            black = max(run.distance(start, first), run.distance(end, last))
            differs = run.distance(start, end) >= max(_APART, _OTHER * black)
            if differs and not is_event(run, scenes.without_overlay(start, end), (start, end), breaks):
                found.append((start, end))
    return found


def _flat(run: FrameRun) -> Iterator[Span]:
    """Runs of frames without contrast: first and last frame of each."""
    edges = np.diff(np.concatenate([[0], run.contrast < _FLAT, [0]]).astype(np.int8))
    return zip(
        (int(each) for each in np.flatnonzero(edges == 1)),
        (int(each) - 1 for each in np.flatnonzero(edges == -1)),
        strict=True,
    )


def _ramp(run: FrameRun, flat: int, step: int, breaks: Sequence[int]) -> int:
    """Frame where the fade from or to a flat frame begins or ends: the last one with a growing distance."""
    distances = np.sqrt(run.square[:, flat])
    at, steps = flat, deque[float](maxlen=8)
    while (
        0 <= at + step < len(run) and abs(at - flat) < _LONGEST_FADE * run.stride and min(at, at + step) not in breaks
    ):
        steps.append(float(distances[at + step] - distances[at]))
        if steps[-1] < _SLOWER * max(sum(steps) / len(steps), 0.5):
            break
        at += step
    return at


def find_dissolves(run: FrameRun, scenes: SceneMatcher, cuts: Sequence[int]) -> list[Span]:
    """Dissolves of non-overlapping windows, those with the best score first. Both ends show different scenes."""
    lengths = (*_SHORTER, *_LENGTHS) if run.slow else _LENGTHS
    rough = run.rough()
    windows = [each_window for length in lengths for each_window in _windows(run, length * run.stride, cuts, _RESIDUE)]
    textured = [
        each_window
        for length in _LENGTHS[::2]
        for each_window in _windows(rough, length * run.stride, cuts, _ROUGH_RESIDUE)
    ]
    tried: list[Span] = []
    found: list[Span] = []
    for _, window, span in sorted(windows, reverse=True):
        if not overlaps(window, tried):
            tried.append(window)
            if _joins_scenes(run, scenes, window, cuts, SAME_SCENE):
                found.append(span)
    for _, window, span in sorted(textured, reverse=True):
        if (
            not overlaps(window, found)
            and _drifts(run, window, cuts)
            and _mixes_textures(rough, scenes, window)
            and not _moves(scenes, window)
            and _joins_scenes(run, scenes, window, cuts, _OTHER_TEXTURE)
        ):
            found.append(span)
    return found


def _joins_scenes(run: FrameRun, scenes: SceneMatcher, window: Span, cuts: Sequence[int], most: float) -> bool:
    """Whether the ends of a window match less than `most`, or differ at rest, and no event explains that."""
    (first, last), resting = window, _RESTING
    change = max(run.distance(run.before(first, resting), first), run.distance(last, run.after(last, resting)))
    scenes = scenes.without_overlay(*window)
    share = scenes.match(*window, ZOOMS).share
    if change < AT_REST and share <= scenes.in_place(*window).share:
        most = SAME_PICTURE
    return share < most and not is_event(run, scenes, window, cuts, COARSE_ZOOMS)


def _moves(scenes: SceneMatcher, window: Span) -> bool:
    """Whether the frames of a window show one scene in motion."""
    first, last = window
    quarter = (last - first) // 4
    return scenes.match(first + quarter, last - quarter, ZOOMS).share >= _MOVED


def _drifts(run: FrameRun, window: Span, cuts: Sequence[int]) -> bool:
    """Whether a shot beside a window changes much. Else, texture is no excuse for frames off the line."""
    first, last = (np.array([each]) for each in window)
    return bool(run.distance(*window) < _UNSTEADY * _drift(run, first, last, (window[1] - window[0]) // 2, cuts)[0])


def _mixes_textures(rough: FrameRun, scenes: SceneMatcher, window: Span) -> bool:
    """Whether frames lose as much texture as mixtures do. Motion blur takes more, a pan nothing."""
    first, last = window
    between = np.unique(np.linspace(first, last, _SAMPLES + 2).astype(np.intp)[1:-1])
    line = rough.square[first, last]
    share = np.clip((rough.square[between, first] + line - rough.square[between, last]) / (2 * line), 0, 1)
    old, new = scenes.texture(first), scenes.texture(last)
    unmixed = (1 - share) * old + share * new
    lost = (unmixed - [scenes.texture(int(each)) for each in between]).sum()
    expected = (unmixed - (1 - share) ** 2 * old - share**2 * new).sum()
    least, most = _LOST
    return bool(least * expected < lost < most * expected)


def overlaps(span: Span, others: Sequence[Span]) -> bool:
    """Whether a span has frames in common with one of the others."""
    return any(span[0] < end and start < span[1] for start, end in others)


def _windows(run: FrameRun, length: int, cuts: Sequence[int], most: float) -> Iterator[tuple[float, Span, Span]]:
    """Windows of this length that hold a dissolve with at most this residue: score, window, and the dissolve in it."""
    first = np.flatnonzero(run.changes(length) > _APART)
    first, drift = _distinct_windows(run, first, length, cuts)
    if not len(first):
        return
    last = first + length
    between = first[:, None] + np.arange(run.stride, length, run.stride)
    line = run.square[first, last][:, None]
    to_first, to_last = run.square[between, first[:, None]], run.square[between, last[:, None]]
    share = (to_first + line - to_last) / (2 * line)  # of the last picture in each frame
    off = np.maximum(to_first - share**2 * line, 0)
    residue = off.sum(axis=1) / line[:, 0] / np.maximum(np.clip(4 * share * (1 - share), 0, 1).sum(axis=1), 1)
    nothing, everything = np.zeros((len(first), 1)), np.ones((len(first), 1))
    steps = np.diff(np.hstack([nothing, share, everything]), axis=1)
    mixed = ((share > _MIXED) & (share < 1 - _MIXED)).sum(axis=1)
    length_of_line = np.sqrt(line[:, 0])
    score = length_of_line * (1 - 4 * residue) - 0.7 * drift
    good = (residue < most) & (np.minimum(steps, 0).sum(axis=1) > _BACKWARDS) & (steps.max(axis=1) < _AT_ONCE)
    for index in np.flatnonzero(good & (mixed >= (_SLOW_RAMP if run.slow else _RAMP)) & (score >= _CLEAR)):
        start = int(first[index])
        inside = np.flatnonzero((share[index] > _MIXED) & (share[index] < 1 - _MIXED))
        span = (start + int(inside[0]) * run.stride, start + (int(inside[-1]) + 2) * run.stride)
        yield float(score[index]), (start, start + length), span


def _distinct_windows(run: FrameRun, first: Integers, length: int, cuts: Sequence[int]) -> tuple[Integers, Floats]:
    """Windows whose ends differ by more than drift, with the larger drift of the shots on both sides."""
    for share, factor in ((0.5, _SHORT_DRIFT), (1.0, _DRIFT)):
        last = first + length
        drift = _drift(run, first, last, int(share * length), cuts)
        keep = run.distances(first, last) > factor * drift
        first, drift = first[keep], drift[keep]
    last = first + length
    keep = (np.searchsorted(cuts, first) == np.searchsorted(cuts, last)) & ~run.differs_by_light(first, last)
    return first[keep], drift[keep]


def _drift(run: FrameRun, first: Integers, last: Integers, length: int, cuts: Sequence[int]) -> Floats:
    """Change of the shots in as many frames before and after a window; extrapolated if a cut leaves fewer frames."""
    edges = np.array([-1, *cuts, len(run) - 1], dtype=np.intp)
    begin = edges[np.searchsorted(edges, first) - 1] + 1
    end = edges[np.searchsorted(edges, last)]
    found = []
    for edge, other in ((first, np.maximum(first - length, begin)), (last, np.minimum(last + length, end))):
        frames = np.maximum(np.abs(edge - other), 1)
        found.append(run.distances(edge, other) * np.minimum(length / frames, 3))
    return np.asarray(np.maximum(*found))
