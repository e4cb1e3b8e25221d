"""`speed: Fast`: keyframes first, then only the groups of pictures where something changes.

A group is a keyframe and what follows until the next. Where both look alike, and no packet between them is large enough
for another picture, nothing has changed, and the keyframe stands for the group. Of the others all frames that others
build on are decoded.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from av.container import InputContainer

from contentgen_worker.media.auto import thumb
from contentgen_worker.media.bounds import Bounds
from contentgen_worker.media.decode import Frame, Segment, Skip, frames, video_stream
from contentgen_worker.media.planes import Plane, Shape

_ALIKE = 4.0  # root mean square of differences of 0-255
_BURST = 0.25  # of the keyframe's size; a packet that brings another picture is about as large


@dataclass(frozen=True, slots=True)
class Group:
    """A group's keyframe: where to seek, when it is shown, how it looks; `burst`: the largest packet after it, as a
    share of the keyframe's."""

    seek: int
    stamp: int
    look: Plane
    burst: float


def changing(groups: Sequence[Group]) -> list[bool]:
    """Whether something changes in each group; of the last one that is not known, so it does."""
    found = [_distance(one, next_) > _ALIKE or one.burst > _BURST for one, next_ in pairwise(groups)]
    return [*found, True]


def _distance(one: Group, other: Group) -> float:
    return float(np.sqrt(np.mean(np.subtract(one.look, other.look, dtype=np.float32) ** 2)))


def adaptive_frames(container: InputContainer, segment: Segment, bounds: Bounds) -> Iterator[Frame]:
    """As `decode.frames`, without those in which nothing changes."""
    groups = _groups(container, segment, bounds)
    if not groups:
        container.seek(0)
        yield from frames(container, segment, bounds, skip=Skip.UNUSED, threads=None)
        return
    for part, whole in _parts(segment, groups):
        skip = Skip.UNUSED if whole else Skip.BUT_KEYS
        yield from frames(container, part, bounds, skip=skip, threads=None)


def _parts(segment: Segment, groups: Sequence[Group]) -> Iterator[tuple[Segment, bool]]:
    """Runs of groups that are alike in whether they change."""
    flags = changing(groups)
    starts = [index for index in range(len(groups)) if not index or flags[index] != flags[index - 1]]
    for first, after in pairwise([*starts, len(groups)]):
        end = groups[after].stamp if after < len(groups) else segment.end
        yield Segment(segment.number, groups[first].seek, groups[first].stamp, end), flags[first]


def _groups(container: InputContainer, segment: Segment, bounds: Bounds) -> list[Group]:
    """From the index and one look at each keyframe; none where the two do not fit together."""
    looks = []
    shape: Shape | None = None
    for frame in frames(container, segment, bounds, skip=Skip.BUT_KEYS):
        shape = shape or Shape.of(frame.image.width, frame.image.height)
        if frame.image.pts is None:
            return []
        looks.append((frame.image.pts, thumb(shape.shrink(frame.image))))
    index = _index(container, segment)[: len(looks)]
    if len(index) != len(looks):
        return []
    return [Group(seek, stamp, look, burst) for (seek, burst), (stamp, look) in zip(index, looks, strict=True)]


def _index(container: InputContainer, segment: Segment) -> list[tuple[int, float]]:
    """Of each keyframe from the segment's first: where to seek, and its group's burst."""
    found: list[tuple[int, float]] = []
    size = 1
    for entry in sorted(video_stream(container).index_entries, key=lambda entry: entry.timestamp):
        if segment.seek is not None and entry.timestamp < segment.seek:
            continue
        if entry.is_keyframe:
            size = max(entry.size, 1)
            found.append((entry.timestamp, 0.0))
        elif found:
            seek, burst = found[-1]
            found[-1] = (seek, max(burst, entry.size / size))
    return found
