"""Detector `auto`: finds cuts, dissolves and fades; ignores flashes, explosions, moving cameras and things that pass.

Its input is thumbnails 64 pixels wide. Within a run of frames, candidates are found by the distances between frames at
half of that size (cuts.py, gradual.py). Then the frames on both sides are matched (scene_matcher.py): a boundary
separates two scenes, whatever moved, shone or passed (events.py). A boundary depends on nothing more than `REACH`
seconds away, so a recording may be split anywhere with the same result.
"""

from collections import deque

import numpy as np

from contentgen_worker.media.decode.planes import Plane, Planes
from contentgen_worker.media.shots.boundaries import LAG, REACH, Boundary, BoundaryKind
from contentgen_worker.media.shots.cuts import find_breaks, find_cuts
from contentgen_worker.media.shots.frame_run import FrameRun, luma_of, make_thumbnail
from contentgen_worker.media.shots.gradual import find_dissolves, find_fades, overlaps
from contentgen_worker.media.shots.scene_matcher import SceneMatcher

_STEP = LAG - REACH  # seconds between two detections, which overlap by `REACH`
_SLACK = 1.0  # seconds by which a later detection may move the end of a boundary back


class AutoDetector:
    """Streaming detector: applies `find` to the new frames and `REACH` seconds on both sides."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque()
        self._thumbnails: deque[Plane] = deque()
        self._known: tuple[FrameRun, SceneMatcher] | None = None  # of the frames of the last detection
        self._dropped = 0  # frames of it that are no longer kept
        self._decided_until = -np.inf  # seconds
        self._last_end = -np.inf  # end of the last boundary

    def thumbnail(self, planes: Planes) -> Plane:
        """Thumbnail of a frame."""
        return make_thumbnail(planes)

    def push(self, seconds: float, thumbnail: Plane) -> list[Boundary]:
        """Add the next frame. Returns the boundaries that became certain."""
        self._seconds.append(seconds)
        self._thumbnails.append(thumbnail)
        if seconds - REACH < max(self._decided_until, self._seconds[0]) + _STEP:
            return []
        return self._detect(seconds - REACH)

    def finish(self) -> list[Boundary]:
        """End of the frames. Returns the remaining boundaries."""
        return self._detect(np.inf) if len(self._seconds) > 1 else []

    def _detect(self, until: float) -> list[Boundary]:
        run, scenes = self._known = self._extended()
        new = []
        for each in find(run, scenes):
            if self._decided_until - _SLACK < each.end <= until and each.start >= self._last_end:
                new.append(each)
                self._last_end = each.end
        self._decided_until = until
        self._dropped = 0
        while len(self._seconds) > 1 and self._seconds[1] < until - REACH:  # one frame before, however long it is shown
            self._seconds.popleft()
            self._thumbnails.popleft()
            self._dropped += 1
        return new

    def _extended(self) -> tuple[FrameRun, SceneMatcher]:
        """The kept frames; what was computed before is kept too."""
        thumbnails = np.array(self._thumbnails)
        if not self._known:
            return FrameRun.from_thumbnails(self._seconds, thumbnails), SceneMatcher.from_luma(luma_of(thumbnails))
        run, scenes = self._known
        return (
            run.following(self._seconds, thumbnails, self._dropped),
            scenes.following(luma_of(thumbnails), self._dropped),
        )


def find(run: FrameRun, scenes: SceneMatcher) -> list[Boundary]:
    """Boundaries within a run of frames, in order."""
    breaks = find_breaks(run, scenes)
    fades = find_fades(run, scenes, breaks)
    cuts = [at for at in find_cuts(run, scenes, breaks) if not any(start <= at < end for start, end in fades)]
    dissolves = [dissolve for dissolve in find_dissolves(run, scenes, cuts) if not overlaps(dissolve, fades)]
    spans = [
        *((BoundaryKind.CUT, (at, at + 1)) for at in cuts),
        *((BoundaryKind.FADE, span) for span in fades),
        *((BoundaryKind.DISSOLVE, span) for span in dissolves),
    ]
    seconds = run.seconds.tolist()
    found = [Boundary(seconds[start], seconds[end], kind) for kind, (start, end) in spans]
    return sorted(found, key=lambda each: each.start)
