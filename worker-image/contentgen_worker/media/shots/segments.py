"""Split of a recording into segments for parallel decoding: consecutive groups of pictures, from keyframe to keyframe.

Segments are assigned in order to free workers. They get shorter towards the end, so that all workers finish together.
Nothing is decoded twice: both sides of a seam send their thumbnails, and the parent detects the boundaries there.
"""

import os
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from av.container import InputContainer

from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.decode import Segment, video_stream
from contentgen_worker.media.decode.probe import expected_duration
from contentgen_worker.media.shots.groups import Decoder

if TYPE_CHECKING:
    from contentgen_worker.media.shots.groups import Packet

SHORTEST = 8.0  # seconds; must contain both edges of a segment
LONGEST = 120.0
LONGEST_FRAME = 20.0  # seconds; a longer distance of frames or keyframes is taken for a jump of the timestamps
_COMPLETE = 0.9  # share of the stated length up to which an index goes if it has all keyframes
_CGROUP = Path("/sys/fs/cgroup")


def cores(root: Path = _CGROUP) -> int:
    """Cores that this pod may use: its cgroup's quota, rounded up, at most its CPU affinity."""
    allowed = len(os.sched_getaffinity(0))
    quota = _quota(root)
    return allowed if quota is None else max(1, min(allowed, round(quota + 0.49)))


def _quota(root: Path) -> float | None:
    """Cores by cpu.max (version 2) or cpu.cfs_* (version 1); None without a quota."""
    try:
        quota, period = (root / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        except OSError:
            return None
    return None if quota == "max" or int(quota) <= 0 else int(quota) / int(period)


def lengths(seconds: float, workers: int) -> list[float]:
    """Lengths of the segments in seconds: half of each worker's share of the rest."""
    found = []
    while seconds > 0:
        length = min(max(seconds / (2 * workers), SHORTEST), LONGEST)
        found.append(length if seconds - length >= SHORTEST else seconds)
        seconds -= found[-1]
    return found


def plan_segments(container: InputContainer, workers: int, bounds: MediaLimits) -> Iterator[Segment]:
    """Segments of an opened recording; one if there is no index of keyframes or only one worker. Raises BeyondLimits,
    Unsupported."""
    keys = _keyframes(container)
    if not keys or workers < 2:
        yield Segment(0)
        return
    stream = video_stream(container)
    unit = float(stream.time_base or 0)
    seams = _seams(keys, unit, lengths((container.duration or 0) / 1e6, workers))
    decoder = Decoder.for_pictures(stream, bounds)
    seek, start = None, None
    number = 0
    for seam in seams:
        key = _seek_key(container, seam)
        if key is None or key.pts is None or (start is not None and key.pts <= start) or not decoder.whole(key):
            continue
        yield Segment(number, seek, start, key.pts)
        number, seek, start = number + 1, seam, key.pts
    yield Segment(number, seek, start)


def indexed_seconds(container: InputContainer) -> float | None:
    """Seconds of the pictures by the index of keyframes, without jumps; None if the index may not have all of them."""
    keys, unit = _keyframes(container), float(video_stream(container).time_base or 0)
    if not keys:
        return None
    times = [(key - keys[0]) * unit for key in keys]
    stated = expected_duration(container)
    if times[-1] < _COMPLETE * stated - LONGEST_FRAME:
        return None
    return (
        sum(min(after - before, LONGEST_FRAME) for before, after in pairwise([*times, max(stated, times[-1])])) or None
    )


def span(container: InputContainer, segment: Segment) -> tuple[float, float]:
    """Begin and end of a segment, in seconds from the recording's start."""
    stream = video_stream(container)
    first, unit = stream.start_time or 0, float(stream.time_base or 0)
    start, end = segment.start, segment.end
    return 0.0 if start is None else (start - first) * unit, float("inf") if end is None else (end - first) * unit


def _keyframes(container: InputContainer) -> list[int]:
    stream = video_stream(container)
    container.seek(0)  # makes FFmpeg read Matroska's index
    return sorted(entry.timestamp for entry in stream.index_entries if entry.is_keyframe)


def _seams(keys: Sequence[int], unit: float, lengths: Sequence[float]) -> Iterator[int]:
    at, last = keys[0] * unit, keys[0]
    for length in lengths[:-1]:
        at += length
        index = bisect_left(keys, at / unit)
        if index < len(keys) and (keys[index] - last) * unit >= SHORTEST / 2:
            last = keys[index]
            yield last


def _seek_key(container: InputContainer, seek: int) -> "Packet | None":
    """Keyframe that a seek finds; the index holds decoding times. None if there is none."""
    stream = video_stream(container)
    container.seek(seek, stream=stream)
    return next((packet for packet in container.demux(stream) if packet.is_keyframe), None)
