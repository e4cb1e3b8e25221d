"""Shot boundaries at the seams between segments. Pure."""

from collections.abc import Iterable, Sequence

from contentgen_worker.media.shots.analysis import SegmentResult, Task
from contentgen_worker.media.shots.boundaries import REACH, Boundary, BoundaryKind


def seam_boundaries(before: SegmentResult, after: SegmentResult, task: Task) -> list[Boundary]:
    """Boundaries beside a seam, detected on the thumbnails of both sides. A gap between segments is a cut."""
    if after.segment > before.segment + 1:
        gap = Boundary(before.end, after.start, BoundaryKind.CUT)
        beside = [*before.boundaries, gap, *after.boundaries]
    else:
        detector = task.detector()
        near = (thumbnail for strip in (before.tail, after.head) for thumbnail in strip.thumbnails())
        beside = [each for seconds, thumbnail in near for each in detector.push(seconds, thumbnail)] + detector.finish()
    return [each for each in beside if before.end - REACH <= each.end < after.start + REACH]


def merge_boundaries(parts: Sequence[SegmentResult], seams: Iterable[Sequence[Boundary]]) -> list[Boundary]:
    """Boundaries of all segments in order of time. `seams`: the boundaries beside each seam."""
    found = [each for beside in seams for each in beside]
    for index, part in enumerate(parts):
        low = part.start + REACH if index else part.start
        high = part.end - REACH if index < len(parts) - 1 else part.end
        found += [
            boundary for boundary in part.boundaries if low <= boundary.end < high or boundary.end == high == part.end
        ]
    return sorted(found, key=lambda each: each.start)
