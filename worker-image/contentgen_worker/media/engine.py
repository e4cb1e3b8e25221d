"""From a recording to its shots and the best frames of each, in one pass over its pictures on all cores.

Children decode segments; what they find comes here as it is found. Frames go to disk as the JPEG files that they came
as, and each joint is decided as soon as both of its sides are there, so memory does not grow with the recording. At
the end shots are numbered, and the frames of those that lie on both sides of a joint chosen once more: whatever the
split, the shots are the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from contentgen_contract.resources.spec import Dataset
from contentgen_worker.errors import Unsupported
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.source import MediaSource
from contentgen_worker.media.select.choose import PictureCandidate
from contentgen_worker.media.select.picture import PictureSettings
from contentgen_worker.media.shots.analysis import Task
from contentgen_worker.media.shots.best import SLOT, FrameQuota, part_of
from contentgen_worker.media.shots.boundaries import Boundary
from contentgen_worker.media.shots.seams import merge_boundaries
from contentgen_worker.media.shots.shots import Shot, apart, shots
from contentgen_worker.media.worker_pool import StoredFrame, Watch, WorkerPool

_TAKEN_PER_KEPT = 4  # frames finished for each that may be kept; more only cost time
_SPARE = 2  # frames for each that must be there, where shots are few


@dataclass(frozen=True, slots=True)
class Analysis:
    """The shots of a recording, and the frames that were chosen, in order of time."""

    shots: tuple[Shot, ...]
    boundaries: tuple[Boundary, ...]
    candidates: tuple[PictureCandidate, ...]
    seconds: float


def task(source: Path | MediaSource, bounds: MediaLimits, dataset: Dataset, seconds: float) -> Task:
    """What a spec asks of a recording that lasts so long. A recording of few shots gives more frames of each."""
    ranges = tuple((float(each.start), float(each.end or "inf")) for each in dataset.time_ranges)
    seconds = sum(max(min(end, seconds) - start, 0.0) for start, end in ranges) or seconds
    return Task(
        source,
        bounds,
        dataset.scene_detection,
        FrameQuota(dataset.frames_per_scene, every=max(seconds / (_SPARE * dataset.min_images), SLOT)),
        PictureSettings.of(dataset),
        shortest=float(dataset.scene_detection.min_scene_length or 0),
        speed=dataset.speed,
        ranges=ranges,
        apart=seconds / (_TAKEN_PER_KEPT * dataset.max_images),
    )


def analyse_recording(asked: Task, folder: Path, workers: int, watch: Watch) -> Analysis:
    """Decode on so many cores. `watch` gets the seconds decoded so far; the JPEG files go into `folder`."""
    folder.mkdir(exist_ok=True)
    pool = WorkerPool(asked, folder, watch)
    pool.run(workers)
    parts, seams = pool.joined()
    if not parts:
        raise Unsupported("none of its pictures can be decoded; it may be damaged")
    start, end = parts[0].start, parts[-1].end
    boundaries = apart(merge_boundaries(parts, seams), start, end, asked.shortest)
    wanted = [each for each in shots(boundaries, start, end) if asked.takes(each.start, each.end)]
    found = tuple(replace(shot, number=number) for number, shot in enumerate(wanted, 1))
    return Analysis(found, boundaries, tuple(_candidates(pool.samples, found, asked.wanted)), end)


def _candidates(frames: Sequence[StoredFrame], found: Sequence[Shot], wanted: FrameQuota) -> Iterator[PictureCandidate]:
    """Of each shot no more than wanted, and those of the transition after it, which a child gives where it can't see
    that it is one: beside a joint; or where the shot has no others."""
    ordered = sorted(frames, key=lambda each: each.sample.seconds)
    ends = [*(each.start for each in found), float("inf")][1:]
    for shot, end in zip(found, ends, strict=True):
        inside = [each for each in ordered if shot.start <= each.sample.seconds <= shot.end]
        beyond = [each for each in ordered if shot.end < each.sample.seconds < end]
        for stored in (*_thinned(inside, shot, wanted.of(shot.end - shot.start)), *beyond):
            sample, picture = stored.sample, stored.sample.picture
            known = (picture.width, picture.height, picture.scores, sample.motion, sample.seconds > shot.end)
            yield PictureCandidate(shot.number, sample.seconds, stored.path, *known)


def _thinned(samples: Sequence[StoredFrame], shot: Shot, most: int) -> list[StoredFrame]:
    """A shot on both sides of a joint has frames of both: the sharpest of each of its equal parts."""
    if len(samples) <= most:
        return list(samples)
    parts: dict[int, StoredFrame] = {}
    for each in samples:
        part = part_of(each.sample.seconds, shot.start, shot.end, most)
        if part not in parts or each.sharpness > parts[part].sharpness:
            parts[part] = each
    return [parts[part] for part in sorted(parts)]
