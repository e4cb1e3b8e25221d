"""How a recording is split over cores: runs of groups of pictures, from keyframe to keyframe, in order of time.

A child takes one, then the next that nobody has taken. They are long at first and shorter towards the end, so that the
cores end together. At a joint nobody decodes twice: both sides hand over the small pictures beside it, and the
parent's own detector decides there, once.
"""

import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from pathlib import Path

from av.container import InputContainer

from contentgen_worker.media.decode.decode import Segment, video_stream

SHORTEST = 8.0  # seconds of a segment; both its edges must fit in
LONGEST = 120.0
_CGROUP = Path("/sys/fs/cgroup")


def cores(root: Path = _CGROUP) -> int:
    """Cores that this pod may use: its cgroup's quota, rounded up, and no more than it may run on."""
    allowed = len(os.sched_getaffinity(0))
    quota = _quota(root)
    return allowed if quota is None else max(1, min(allowed, round(quota + 0.49)))


def _quota(root: Path) -> float | None:
    """Cores by version 2's cpu.max or version 1's pair of files; None where nothing is set."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    return None if quota == "max" or int(quota) <= 0 else int(quota) / int(period)


def lengths(seconds: float, workers: int) -> list[float]:
    """How long the segments are, in seconds: half of what each worker's share of the rest is."""
    found = []
    while seconds > 0:
        length = min(max(seconds / (2 * workers), SHORTEST), LONGEST)
        found.append(length if seconds - length >= SHORTEST else seconds)
        seconds -= found[-1]
    return found


def plan(container: InputContainer, workers: int) -> Iterator[Segment]:
    """The segments of an opened recording. One, where the file has no index of its keyframes, or one core is there."""
    keys = _keyframes(container)
    if not keys or workers < 2:
        yield Segment(0)
        return
    stream = video_stream(container)
    unit = float(stream.time_base or 0)
    seams = _seams(keys, unit, lengths((container.duration or 0) / 1e6, workers))
    seek, start = None, None
    number = 0
    for seam in seams:
        pts = _seek_pts(container, seam)
        if pts is None or (start is not None and pts <= start):
            continue
        yield Segment(number, seek, start, pts)
        number, seek, start = number + 1, seam, pts
    yield Segment(number, seek, start)


def span(container: InputContainer, segment: Segment) -> tuple[float, float]:
    """When a segment begins and ends, in seconds from the recording's start."""
    stream = video_stream(container)
    first, unit = stream.start_time or 0, float(stream.time_base or 0)
    start, end = segment.start, segment.end
    return 0.0 if start is None else (start - first) * unit, float("inf") if end is None else (end - first) * unit


def _keyframes(container: InputContainer) -> list[int]:
    stream = video_stream(container)
    container.seek(0)  # Matroska reads its index when it is needed
    return sorted(entry.timestamp for entry in stream.index_entries if entry.is_keyframe)


def _seams(keys: Sequence[int], unit: float, lengths: Sequence[float]) -> Iterator[int]:
    at, last = keys[0] * unit, keys[0]
    for length in lengths[:-1]:
        at += length
        index = bisect_left(keys, at / unit)
        if index < len(keys) and (keys[index] - last) * unit >= SHORTEST / 2:
            last = keys[index]
            yield last


def _seek_pts(container: InputContainer, seek: int) -> int | None:
    """When the keyframe that a seek finds is shown: the index tells when it is decoded."""
    stream = video_stream(container)
    container.seek(seek, stream=stream)
    return next((packet.pts for packet in container.demux(stream) if packet.is_keyframe), None)
