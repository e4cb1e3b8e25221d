"""Analysis of a recording: its shots, and the best frames of each, in one pass over the video on all cores.

Child processes decode segments (`worker_pool.py`). Then the shots are numbered, and the frames of shots that span a
seam between segments are chosen again, so the shots are the same for any split.
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
from contentgen_worker.media.shots.best import FramePlan, FrameQuota, part_index
from contentgen_worker.media.shots.boundaries import Boundary
from contentgen_worker.media.shots.seams import merge_boundaries
from contentgen_worker.media.shots.shots import Shot, drop_close_boundaries, shots
from contentgen_worker.media.worker_pool import OnProgress, StoredFrame, WorkerPool

USUAL_FPS = 25.0  # if the file states none
_FRAMES_PER_MAXIMUM = 4  # frames encoded per picture of spec.dataset.maxImages
_FRAMES_PER_MINIMUM = 2  # frames per picture of spec.dataset.minImages, if there are few shots


@dataclass(frozen=True, slots=True)
class Analysis:
    """Shots, boundaries and chosen frames of a recording, in order of time. `seconds`: end of its last frame;
    `damaged`: share of its frames that lack data, 0 to 1. `transparent`: whether a frame has transparent parts."""

    shots: tuple[Shot, ...]
    boundaries: tuple[Boundary, ...]
    candidates: tuple[PictureCandidate, ...]
    seconds: float
    damaged: float = 0.0
    transparent: bool = False


def make_task(source: Path | MediaSource, bounds: MediaLimits, dataset: Dataset, fps: float = USUAL_FPS) -> Task:
    """Task for a recording of this many frames a second. With few shots, more frames are taken of each."""
    return Task(
        source,
        bounds,
        dataset.scene_detection,
        FramePlan(
            dataset.frames_per_scene,
            least=_FRAMES_PER_MINIMUM * dataset.min_images,
            most=_FRAMES_PER_MAXIMUM * dataset.max_images,
        ),
        PictureSettings.from_dataset(dataset),
        fps,
        min_shot_seconds=float(dataset.scene_detection.min_scene_length or 0),
        speed=dataset.speed,
        ranges=tuple((float(time_range.start), float(time_range.end or "inf")) for time_range in dataset.time_ranges),
    )


def analyse_recording(task: Task, folder: Path, workers: int, on_progress: OnProgress) -> Analysis:
    """Analyse a recording with this number of child processes. Raises BadMedia.

    `on_progress` gets the seconds decoded so far; JPEG files are written to `folder`.
    """
    folder.mkdir(exist_ok=True)
    pool = WorkerPool(task, folder, on_progress)
    pool.run(workers)
    parts, seams = pool.results()
    if not parts:
        raise Unsupported("no packet of its video track can be decoded to a picture")
    start, end = parts[0].start, parts[-1].end
    boundaries = drop_close_boundaries(merge_boundaries(parts, seams), start, end, task.min_shot_seconds)
    selected = [
        each_shot for each_shot in shots(boundaries, start, end) if task.in_ranges(each_shot.start, each_shot.end)
    ]
    found = tuple(replace(shot, number=number) for number, shot in enumerate(selected, 1))
    shown = sum(part.shown for part in parts)
    quota = replace(task.plan, length=task.wanted_seconds(shown)).quota
    damaged = sum(part.damaged for part in parts) / sum(part.frames for part in parts)
    transparent = any(frame.chosen.picture.transparent for frame in pool.frames)
    return Analysis(found, boundaries, tuple(_candidates(pool.frames, found, quota)), end, damaged, transparent)


def _candidates(frames: Sequence[StoredFrame], found: Sequence[Shot], quota: FrameQuota) -> Iterator[PictureCandidate]:
    """Frames of each shot up to the quota, then those of the transition after it.

    A child sends frames of a transition if the shot has no others, or if it can't detect the transition next to a seam.
    """
    by_time = sorted(frames, key=lambda each: each.chosen.seconds)
    ends = [*(each.start for each in found), float("inf")][1:]
    for shot, end in zip(found, ends, strict=True):
        inside = [each for each in by_time if shot.start <= each.chosen.seconds <= shot.end]
        in_transition = [each for each in by_time if shot.end < each.chosen.seconds < end]
        for stored in (*_sharpest_per_part(inside, shot, quota.frames_for(shot.end - shot.start)), *in_transition):
            chosen, picture = stored.chosen, stored.chosen.picture
            known = (picture.width, picture.height, picture.scores, picture.thumbnail)
            in_gap = chosen.seconds > shot.end
            yield PictureCandidate(
                shot.number, chosen.seconds, stored.path, *known, chosen.motion, in_gap, chosen.damaged
            )


def _sharpest_per_part(frames: Sequence[StoredFrame], shot: Shot, max_frames: int) -> list[StoredFrame]:
    """Sharpest frame of each equal part of a shot that spans a seam, since both segments sent frames of it."""
    if len(frames) <= max_frames:
        return list(frames)
    parts: dict[int, StoredFrame] = {}
    for frame in frames:
        part = part_index(frame.chosen.seconds, shot.start, shot.end, max_frames)
        if part not in parts or _rank(frame) > _rank(parts[part]):
            parts[part] = frame
    return [parts[part] for part in sorted(parts)]


def _rank(frame: StoredFrame) -> tuple[bool, float]:
    return not frame.chosen.damaged, frame.sharpness
