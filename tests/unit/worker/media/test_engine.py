"""Analysis of recordings: timestamps, segments and their seams, best frames of shots, and the local command."""

import json
import os
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import accumulate
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from contentgen_contract.resources.spec import Dataset, Speed
from contentgen_worker import dataset_command
from contentgen_worker.errors import BeyondLimits
from contentgen_worker.media import engine
from contentgen_worker.media.decode import decode
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.decode import WHOLE, Segment, frames
from contentgen_worker.media.decode.planes import Shape
from contentgen_worker.media.decode.probe import open_media
from contentgen_worker.media.select.choose import (
    KEPT,
    PictureCandidate,
    PictureVerdict,
    Rules,
    choose,
    count_rejections,
)
from contentgen_worker.media.shots import segments
from contentgen_worker.media.shots.analysis import SegmentResult, analyse, send_plan
from contentgen_worker.media.shots.best import BestFrames, FrameQuota
from contentgen_worker.media.shots.boundaries import REACH, Boundary, BoundaryKind, ThumbnailBuffer
from contentgen_worker.media.shots.seams import merge_boundaries, seam_boundaries
from contentgen_worker.media.shots.shots import drop_close_boundaries, shots
from contentgen_worker.media.worker_pool import WorkerPool

Picture = npt.NDArray[np.uint8]
BOUNDS = MediaLimits(10**7, 3600, memory_bytes=4 << 30)
FPS = 12
SMALL = (32, 18)  # where only the keyframes' times matter


@cache
def scene(seed: int, size: tuple[int, int] = (320, 180)) -> Picture:
    blocks = np.random.default_rng(seed).integers(20, 235, (12, 20, 3)).astype(np.uint8)
    picture = np.asarray(cv2.resize(blocks, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    picture.setflags(write=False)
    return picture


def soft(seed: int) -> Picture:
    return np.asarray(cv2.GaussianBlur(scene(seed), (0, 0), 4), np.uint8)


def mixed(old: Picture, new: Picture, frames: int) -> list[Picture]:
    return [np.asarray(cv2.addWeighted(old, 1 - share, new, share, 0)) for share in np.linspace(0, 1, frames)]


def planar(pixels: Picture) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")


def film(path: Path, pictures: list[Picture], stamps: Callable[[int], int] | None = None, keyint: int = 24) -> Path:
    """Timestamps in 1/12 s; some encoders begin below zero."""
    height, width = pictures[0].shape[:2]
    shown = {key: planar(pixels) for key, pixels in {id(picture): picture for picture in pictures}.items()}
    with av.open(str(path), "w") as container:
        options = {"preset": "ultrafast", "x264-params": f"keyint={keyint}:min-keyint={keyint}:scenecut=0:bframes=2"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = Fraction(1, FPS)
        for index, pixels in enumerate(pictures):
            frame = shown[id(pixels)]
            frame.pts, frame.time_base = stamps(index) if stamps else index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def times(path: Path, segment: Segment = WHOLE) -> list[float]:
    with open_media(path) as container:
        return [frame.seconds for frame in frames(container, segment, BOUNDS)]


@pytest.fixture(scope="module")
def reel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 s: 17 scenes of uneven lengths, keyframes every 2 s independent of cuts."""
    lengths = [41, 53, 29, 66, 37, 45, 31, 58, 40, 33, 61, 27, 48, 36, 55, 30, 30]
    pictures = [scene(seed) for seed, length in enumerate(lengths) for _ in range(length)]
    return film(tmp_path_factory.mktemp("reel") / "reel.mp4", pictures)


@pytest.fixture(scope="module")
def whole(reel: Path, tmp_path_factory: pytest.TempPathFactory) -> engine.Analysis:
    """Analysis of the reel by one worker."""
    task = engine.make_task(reel, BOUNDS, Dataset())
    return engine.analyse_recording(task, tmp_path_factory.mktemp("whole"), 1, lambda _: None)


# --- decode --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_bytes", [0, 3 * 320 * 180 * 3 // 2])  # of one frame, and of three
def test_batches_are_bounded_in_bytes_and_keep_all_frames(
    reel: Path, monkeypatch: pytest.MonkeyPatch, batch_bytes: int
) -> None:
    expected = times(reel)
    monkeypatch.setattr(decode, "_BATCH_BYTES", batch_bytes)
    assert times(reel) == expected

    pulled = 0

    def images() -> Iterator[tuple[av.VideoFrame, float, bool]]:
        nonlocal pulled
        for _ in range(20):
            pulled += 1
            yield planar(scene(0)), 1.0, False

    ahead = [pulled - read for read, _ in enumerate(decode._in_batches(images()), 1)]
    assert max(ahead) + 1 == max(batch_bytes // (320 * 180 * 3 // 2), 1)


def test_seconds_begin_at_the_first_frame(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mkv", [scene(0)] * 24, lambda index: 100 + index)
    assert times(path) == pytest.approx([index / FPS for index in range(24)], abs=0.002)


def test_a_variable_rate_keeps_its_times(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", [scene(0)] * 12, lambda index: index * index)
    assert times(path) == pytest.approx([index * index / FPS for index in range(12)], abs=0.002)


def test_seconds_never_go_back(tmp_path: Path) -> None:
    """Two concatenated transport streams: timestamps restart in the middle."""
    one = film(tmp_path / "a.ts", [scene(0)] * 24)
    two = film(tmp_path / "b.ts", [scene(1)] * 24)
    joined = tmp_path / "c.ts"
    joined.write_bytes(one.read_bytes() + two.read_bytes())
    seconds = times(joined)
    assert len(seconds) > 40
    assert seconds == sorted(seconds)
    assert seconds[0] == 0
    assert seconds[-1] == pytest.approx(4, abs=0.5)


# --- segments ------------------------------------------------------------------------------------------------------


def test_segments_hold_each_frame_once(reel: Path) -> None:
    with open_media(reel) as container:
        parts = list(segments.plan_segments(container, 3, BOUNDS))
    assert len(parts) > 3
    seconds = [second for part in parts for second in times(reel, part)]
    assert seconds == pytest.approx(times(reel))


@pytest.mark.parametrize("seconds", [5.0, 25.0, 600.0, 7200.0])
@pytest.mark.parametrize("workers", [2, 16])
def test_segments_get_shorter_and_none_is_tiny(seconds: float, workers: int) -> None:
    found = segments.lengths(seconds, workers)
    assert sum(found) == pytest.approx(seconds)
    assert found == sorted(found, reverse=True) or found[-1] < 2 * segments.SHORTEST
    assert min(found) >= min(seconds, segments.SHORTEST)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_cores_are_those_of_the_pod(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    everything = len(os.sched_getaffinity(0))
    assert segments.cores(tmp_path) == min(everything, expected or everything)


# --- shots ---------------------------------------------------------------------------------------------------------


def cut(second: float) -> Boundary:
    return Boundary(second, second + 0.04, BoundaryKind.CUT)


def test_shots_lie_between_the_boundaries() -> None:
    dissolve = Boundary(4, 5, BoundaryKind.DISSOLVE)
    found = [(shot.number, shot.start, shot.end) for shot in shots([cut(2), dissolve], 0, 9)]
    assert found == [(1, 0, 2), (2, 2.04, 4), (3, 5, 9)]
    assert [(shot.start, shot.end) for shot in shots([], 0, 9)] == [(0, 9)]


def test_a_shot_that_is_too_short_is_joined() -> None:
    assert drop_close_boundaries([cut(0.3), cut(2), cut(2.5), cut(5), cut(8.9)], 0, 9, 1) == (cut(2), cut(5))


# --- the best frames -----------------------------------------------------------------------------------------------


def test_the_best_frames_are_sharp_and_away_from_transitions(tmp_path: Path) -> None:
    """In a shot with few sharp frames and a dissolve at its end."""
    sharp, other = scene(1), scene(2)
    blurred = cv2.GaussianBlur(sharp, (0, 0), 4)
    pictures = [sharp if 30 <= index < 36 else blurred for index in range(60)]
    pictures += [np.asarray(cv2.addWeighted(sharp, 1 - share, other, share, 0)) for share in np.linspace(0, 1, 12)]
    path = film(tmp_path / "a.mp4", pictures, keyint=6)
    best = BestFrames(FrameQuota(1))
    with open_media(path) as container:
        for frame in frames(container, WHOLE, BOUNDS):
            best.offer(frame, Shape(256, 144).shrink(frame.image))
    (held,) = best.boundary(Boundary(5.0, 6.0, BoundaryKind.DISSOLVE))
    assert 30 / FPS <= held.frame.seconds < 36 / FPS


@pytest.mark.parametrize("flickers", [False, True])
def test_a_long_shot_does_not_hold_more_frames(tmp_path: Path, flickers: bool) -> None:
    lit = [scene(1), scene(1) // 2 if flickers else scene(1)]
    path = film(tmp_path / "a.mp4", [lit[index // 3 % 2] for index in range(1200)])
    best = BestFrames(FrameQuota(2, every=4.0, max_per_shot=6))
    most = 0
    with open_media(path) as container:
        for frame in frames(container, WHOLE, BOUNDS):
            best.offer(frame, Shape(256, 144).shrink(frame.image))
            most = max(most, best.frames_in_memory)
    assert most <= 34
    chosen = [held.frame.seconds for held in best.finish(100.0)]
    assert len(chosen) == 6
    assert min(np.diff(chosen)) > 5


def test_slot_beyond_its_shot_gives_frames_of_the_transition(tmp_path: Path) -> None:
    path = film(tmp_path / "a.mp4", mixed(soft(1), scene(1), 4))
    best = BestFrames(FrameQuota(1))
    with open_media(path) as container:
        for frame in frames(container, WHOLE, BOUNDS):
            best.offer(frame, Shape(256, 144).shrink(frame.image))
    (held,) = best.boundary(Boundary(0.0, 1.0, BoundaryKind.DISSOLVE))
    assert held.frame.seconds > 0


# --- a last resort -------------------------------------------------------------------------------------------------


def drawn(seed: int, frame: int) -> Picture:
    """A cartoon: a ball rolls over flat ground."""
    ground = np.full((180, 320, 3), (200, 220, 40 + 30 * seed), np.uint8)
    return np.asarray(cv2.circle(ground, (40 + 2 * frame, 60 + 15 * seed), 30, (250, 60, 60), -1), np.uint8)


def judged(
    pictures: list[Picture], folder: Path, **dataset: object
) -> tuple[tuple[PictureCandidate, ...], list[PictureVerdict]]:
    path = film(folder / "a.mp4", pictures)
    spec = Dataset.model_validate({"minImages": 4, **dataset})
    task = engine.make_task(path, BOUNDS, spec)
    found = engine.analyse_recording(task, folder / "frames", 2, lambda _: None).candidates
    return found, list(choose(found, Rules.from_dataset(spec)))


@pytest.mark.parametrize("speed", Speed)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_of_very_few_frames_the_best_is_taken(tmp_path: Path, count: int, speed: Speed) -> None:
    """Here the last shot, which no frame follows."""
    (candidate,), (verdict,) = judged([*[soft(0)] * (count - 1), scene(0)], tmp_path, speed=speed)
    assert candidate.seconds == pytest.approx((count - 1) / FPS, abs=0.001)
    assert verdict == KEPT


def test_still_picture_gives_one_frame_and_duplicates(tmp_path: Path) -> None:
    _, verdicts = judged([scene(0)] * 120, tmp_path)
    assert sum(verdict.kept for verdict in verdicts) == 1
    assert count_rejections(verdicts) == {"Duplicate": len(verdicts) - 1}
    assert len(verdicts) > 4


@pytest.mark.parametrize("speed", Speed)
@pytest.mark.parametrize(("old", "new"), [(soft(0), scene(1)), (scene(0), soft(1)), (scene(0), scene(1))])
def test_a_video_that_is_all_one_dissolve_gives_pictures(
    tmp_path: Path, old: Picture, new: Picture, speed: Speed
) -> None:
    candidates, verdicts = judged(mixed(old, new, 24), tmp_path, speed=speed)
    assert [candidate.seconds for candidate in candidates if not candidate.in_transition]
    assert any(verdict.kept for verdict in verdicts)


@pytest.mark.parametrize("shots", [1, 5])
def test_a_cartoon_in_flat_colours_gives_enough_pictures(tmp_path: Path, shots: int) -> None:
    pictures = [drawn(seed, frame) for seed in range(shots) for frame in range(120 // shots)]
    _, verdicts = judged(pictures, tmp_path)
    assert sum(verdict.kept for verdict in verdicts) >= 4
    assert any(verdict.last_resort for verdict in verdicts) == (shots == 1)


@pytest.mark.parametrize(("level", "reason"), [(0, "TooDark"), (128, "LowContrast")])
def test_blank_frames_are_reported(tmp_path: Path, level: int, reason: str) -> None:
    _, verdicts = judged([np.full((180, 320, 3), level, np.uint8)] * 48, tmp_path)
    assert count_rejections(verdicts) == {reason: len(verdicts)}
    assert verdicts


def test_short_video_gives_all_frames_of_a_last_resort(tmp_path: Path) -> None:
    """Three seconds of one shot, which pans."""
    wide = cv2.resize(scene(3), (640, 180), interpolation=cv2.INTER_CUBIC)
    pan = [np.ascontiguousarray(wide[:, 8 * index : 8 * index + 320]) for index in range(36)]
    _, verdicts = judged(pan, tmp_path)
    assert sum(verdict.kept for verdict in verdicts) >= 4
    assert any(verdict.last_resort for verdict in verdicts)


def test_frame_in_a_dissolve_seen_only_at_the_joint_is_dropped(tmp_path: Path) -> None:
    """Each side decodes half of the shot, in which sharpness only grows."""
    still = film(tmp_path / "still.mp4", [scene(0, SMALL)] * 600)
    with open_media(still) as container:
        parts = list(segments.plan_segments(container, 2, BOUNDS))
    joint = len(times(still, parts[0]))
    pictures = [*[soft(0)] * (joint - 9), *mixed(soft(0), scene(1), 19)]
    pictures += [scene(1)] * (600 - len(pictures))
    candidates, verdicts = judged(pictures, tmp_path, framesPerScene=10)
    between = [index for index, candidate in enumerate(candidates) if candidate.in_transition]
    assert [verdicts[index].reason for index in between] == ["InTransition"] * len(between)
    assert between
    assert all(abs(candidates[index].seconds - joint / FPS) < 1 for index in between)


# --- all of it -----------------------------------------------------------------------------------------------------


def test_the_shots_are_the_same_whatever_the_split(reel: Path, whole: engine.Analysis, tmp_path: Path) -> None:
    split = engine.analyse_recording(engine.make_task(reel, BOUNDS, Dataset()), tmp_path / "out", 3, lambda _: None)
    assert len(whole.shots) == 17
    assert whole.shots == split.shots
    assert [candidate.shot for candidate in split.candidates] == list(range(1, 18))


def test_progress_includes_parts_that_decode_in_no_time(reel: Path, tmp_path: Path) -> None:
    told: list[float] = []
    engine.analyse_recording(engine.make_task(reel, BOUNDS, Dataset()), tmp_path, 3, told.append)
    with open_media(reel) as container:
        parts = len(list(segments.plan_segments(container, 3, BOUNDS)))
    assert parts > 3
    assert told == sorted(told)
    assert told[-1] == pytest.approx(len(times(reel)) / FPS, abs=2 * parts / FPS)
    assert len(set(told)) >= parts


@pytest.mark.parametrize("workers", [1, 3])
def test_frames_are_limited_in_all_segments_together(tmp_path: Path, workers: int) -> None:
    path = film(tmp_path / "a.mp4", [scene(0)] * (25 * FPS))
    with open_media(path) as container:
        assert len(list(segments.plan_segments(container, workers, BOUNDS))) == workers
    count = len(times(path))
    for most, expected in ((count, nullcontext()), (count - 1, pytest.raises(BeyondLimits, match="more than"))):
        task = engine.make_task(path, replace(BOUNDS, frames=most), Dataset())
        with expected:
            engine.analyse_recording(task, tmp_path / str(most), workers, lambda _: None)


def test_joint_is_seen_as_if_there_were_none(tmp_path: Path) -> None:
    """Flashes of which one side of a seam, or its thumbnails, contain only the end; a dissolve; a cut."""
    still = film(tmp_path / "still.mp4", [scene(0, SMALL)] * 840)
    with open_media(still) as container:
        joints = list(
            accumulate(len(times(still, part)) for part in list(segments.plan_segments(container, 3, BOUNDS))[:-1])
        )
    before, after, head, tail, dissolve, cut, *_ = joints
    handed_over = round(REACH * FPS)
    white = {
        at + index for at in (before - 4, after, head + handed_over - 3, tail - handed_over - 1) for index in range(4)
    }
    pictures = [scene(0) if index < dissolve else scene(1) if index < cut else scene(2) for index in range(840)]
    pictures[dissolve - 8 : dissolve + 4] = mixed(scene(0), scene(1), 12)
    for index in white:
        pictures[index] = np.full_like(pictures[index], 250)
    path = film(tmp_path / "a.mp4", pictures)
    task = engine.make_task(path, BOUNDS, Dataset())
    whole, split = (engine.analyse_recording(task, tmp_path / str(n), n, lambda _: None) for n in (1, 3))
    assert whole.boundaries == split.boundaries
    assert [boundary.kind for boundary in split.boundaries] == ["Dissolve", "Cut"]
    assert split.shots[2].start == pytest.approx(cut / FPS)


def test_undecoded_frames_divide_shots(reel: Path) -> None:
    task = engine.make_task(reel, BOUNDS, Dataset())
    one = SegmentResult(0, 100, 0.0, 10.0, 10.0, (cut(1), cut(9)), ThumbnailBuffer(), ThumbnailBuffer())
    other = SegmentResult(3, 100, 30.0, 40.0, 10.0, (cut(31), cut(39)), ThumbnailBuffer(), ThumbnailBuffer())
    gap = Boundary(10.0, 30.0, BoundaryKind.CUT)
    assert merge_boundaries([one, other], [seam_boundaries(one, other, task)]) == [
        cut(1),
        cut(9),
        gap,
        cut(31),
        cut(39),
    ]


def test_memory_does_not_grow_with_a_segment(tmp_path: Path) -> None:
    """Planes, thumbnails and frames kept by a child; without memory of the decoder itself."""
    peaks = []
    for seconds in (5, 15, 60):  # the first time, what is made once is made
        path = film(tmp_path / f"{seconds}.mp4", [scene(1)] * (seconds * FPS))
        tracemalloc.start()
        analyse(lambda _: None, engine.make_task(path, BOUNDS, Dataset()), WHOLE)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[2] < 1.1 * peaks[1]


def test_pictures_are_kept_on_disk_and_not_in_memory(reel: Path, tmp_path: Path) -> None:
    pool = WorkerPool(engine.make_task(reel, BOUNDS, Dataset()), tmp_path / "frames", lambda _: None)
    (tmp_path / "frames").mkdir()
    pool.run(2)
    assert len(pool.frames) >= 17
    assert all(frame.path.read_bytes()[:2] == b"\xff\xd8" for frame in pool.frames)
    assert {frame.chosen.picture.jpeg for frame in pool.frames} == {b""}
    parts, _ = pool.results()
    assert len(parts) > 2
    assert all(len(part.head.seconds) == len(part.tail.seconds) == 0 for part in parts[1:-1])


def test_frames_are_taken_from_the_time_ranges_alone(reel: Path, tmp_path: Path) -> None:
    ranges = {"timeRanges": [{"start": "5", "end": "9.5"}, {"start": "50"}]}
    task = engine.make_task(reel, BOUNDS, Dataset.model_validate(ranges))
    seconds = [
        candidate.seconds for candidate in engine.analyse_recording(task, tmp_path / "a", 2, lambda _: None).candidates
    ]
    assert len(seconds) > 3
    assert all(5 <= second <= 9.5 or second >= 50 for second in seconds)
    assert min(seconds) < 9.5


@pytest.mark.parametrize("workers", [1, 3])
def test_frames_outside_the_time_ranges_are_not_decoded(
    reel: Path, whole: engine.Analysis, tmp_path: Path, workers: int
) -> None:
    """Except up to the next keyframes; the shots of the ranges are those of the whole, renumbered."""
    ranges = {"timeRanges": [{"start": "1", "end": "5"}, {"start": "45", "end": "49"}]}
    task = engine.make_task(reel, BOUNDS, Dataset.model_validate(ranges))
    sent: list[object] = []
    send_plan(sent.append, task, workers)
    parts = [each for each in sent if isinstance(each, Segment)]
    decoded = [second for part in parts for second in times(reel, part)]
    assert {second for second in times(reel) if task.in_ranges(second, second)} <= set(decoded)
    assert len(decoded) < 0.6 * len(times(reel)) or workers == 1
    assert len(decoded) < len(times(reel))
    found = engine.analyse_recording(task, tmp_path / "a", workers, lambda _: None)
    among = [shot for shot in whole.shots if task.in_ranges(shot.start, shot.end)]
    assert [shot.number for shot in found.shots] == list(range(1, len(among) + 1))
    assert [shot.end for shot in found.shots[:2]] == [each.end for each in among[:2]]
    assert {candidate.shot for candidate in found.candidates} == {shot.number for shot in found.shots}


def test_a_strip_is_what_was_put_in() -> None:
    thumbnails = [(1.5, np.arange(6, dtype=np.uint8).reshape(2, 3)), (2.0, np.full((2, 3), 9, np.uint8))]
    again = list(ThumbnailBuffer.from_thumbnails(thumbnails).thumbnails())
    assert [(seconds, thumbnail.tolist()) for seconds, thumbnail in again] == [
        (1.5, [[0, 1, 2], [3, 4, 5]]),
        (2.0, [[9] * 3] * 2),
    ]
    assert list(ThumbnailBuffer.from_thumbnails([]).thumbnails()) == []


def test_a_dataset_from_a_local_file(reel: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    (out / "images").mkdir(parents=True)
    for earlier in ("dataset.json", "rejected.jpg", "images/0999.jpg", "images/mine.jpg"):
        (out / earlier).touch()
    assert dataset_command.make_dataset(reel, out, "jf", Speed.EXACT, '{"minImages": 4}', vision_model=tmp_path) == 0
    index = json.loads((out / "dataset.json").read_text())
    assert len(index["shots"]) == 17
    assert {path.name for path in out.iterdir()} == {
        "dataset.json", "dataset.zip", "preview.jpg", "images", "captions"
    }  # fmt: skip
    images = {f"images/{path.name}" for path in out.glob("images/*")}
    assert images == {"images/mine.jpg", *(image["file"] for image in index["images"])}
    assert (out / index["images"][0]["file"]).read_bytes()[:2] == b"\xff\xd8"
    assert (out / "captions/0001.txt").read_text() == "a photo of jf"
    assert "pictures from 17 shots" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "code", "text"),
    [
        ("{", 2, "--settings"),
        ('{"minImages": 1}', 2, "greater than or equal to 4"),
        ("{}", 1, "it is text"),
    ],
)
def test_refusals_of_a_local_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: str, code: int, text: str
) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("not a video")
    assert (
        dataset_command.make_dataset(path, tmp_path / "out", "jf", Speed.EXACT, settings, vision_model=tmp_path) == code
    )
    assert text in capsys.readouterr().err
