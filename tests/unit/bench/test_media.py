"""Scores of the media benchmark, and the ground truth of its videos."""

import sys
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from contentgen_bench.cpu_quota import CpuQuota
from contentgen_bench.media import checks, scoring, usual_way, videos
from contentgen_bench.media.scaling import ScalingLaw
from contentgen_bench.media.scenes.scenery import CameraLook, Canvas, Cast, Light, Motion, Setup, Take
from contentgen_bench.media.scoring import Chosen
from contentgen_bench.media.videos import REPORT, TUNE, Filmed, Gap, Join, Keyframes, Truth, VideoRecipe
from contentgen_bench.processes import MeasuredProcess, ProcessFailed, measured

FPS = 25


def truth(*gaps: tuple[int, int]) -> Truth:
    """Ground truth by frames; a gap of one frame is a cut."""
    made = tuple(
        Gap(start=first / FPS, end=last / FPS, kind=Join.CUT if last - first == 1 else Join.DISSOLVE)
        for first, last in gaps
    )
    ends = [0.0, *(each for gap in made for each in (gap.start, gap.end)), 399 / FPS]
    shots = tuple(
        Filmed(start=a, end=b, look=CameraLook.ROOM, motion=Motion.STILL, light=Light.STEADY, cast=Cast.NOBODY)
        for a, b in zip(ends[::2], ends[1::2], strict=True)
    )
    return Truth(gaps=made, shots=shots, seconds=tuple(frame / FPS for frame in range(400)))


def spans(*frames: int) -> list[tuple[float, float]]:
    return [((frame - 1) / FPS, frame / FPS) for frame in frames]


@pytest.mark.parametrize(
    ("found", "f1", "wrong"),
    [
        (spans(100, 210), 1.0, 0),
        (spans(102, 197), 1.0, 0),
        (spans(103, 210), 0.5, 1),
        (spans(100, 196), 0.5, 1),
        (spans(100, 99, 210), 0.8, 1),  # what is found twice is wrong once
        (spans(100), 2 / 3, 0),
        ([], 0.0, 0),
        ([*spans(100), (190 / FPS, 230 / FPS)], 1.0, 0),  # a long one counts by its middle
        ([(80 / FPS, 120 / FPS), *spans(210)], 1.0, 0),
        ([(90 / FPS, 120 / FPS), *spans(210)], 0.5, 1),
    ],
)
def test_boundaries_are_matched_one_to_one(found: list[tuple[float, float]], f1: float, wrong: int) -> None:
    score = scoring.score(truth((99, 100), (200, 220)), found)
    assert score.f1 == pytest.approx(f1)
    assert score.wrong == wrong


def test_the_error_of_a_cut_is_that_of_its_worse_end() -> None:
    true = truth((99, 100), (149, 150), (200, 220), (299, 300))
    found = [(97 / FPS, 100 / FPS), (150 / FPS, 151 / FPS), (200 / FPS, 230 / FPS)]
    assert scoring.cut_errors(true, found) == [2, 1]


def test_mistakes_are_boundaries_that_match_none() -> None:
    true = truth((99, 100), (200, 220), (299, 300))
    missed, false = scoring.mistakes(true, spans(100, 150, 301))
    assert [each.start for each in missed] == [200 / FPS]
    assert [each for each, _ in false] == pytest.approx([spans(150)[0][0]])
    assert scoring.score(true, spans(100, 150, 301)).wrong == len(false)


def test_a_transition_leaves_the_cut_after_it_its_own() -> None:
    assert scoring.score(truth((100, 127), (128, 129)), spans(126, 130)).f1 == 1.0


def test_frame_is_faulty_if_in_transition_blurred_or_duplicate() -> None:
    at = truth((99, 100), (200, 220))
    chosen = [Chosen(50 / FPS, 10, 0), Chosen(150 / FPS, 4, 0xFFFF), Chosen(210 / FPS, 10, 0xFFFF0000FFFF)]
    found = scoring.faults(at, [*chosen, Chosen(300 / FPS, 6, 0b111)], [10, 10, 10])
    assert (found.chosen, found.in_transition, found.blurred, found.duplicates) == (4, 1, 1, 1)


def test_a_repeated_truth_has_a_cut_at_each_turn() -> None:
    twice = truth((99, 100)).repeated(2, 16.0)
    assert [(round(gap.start * FPS), round(gap.end * FPS)) for gap in twice.gaps] == [(99, 100), (399, 400), (499, 500)]
    assert len(twice.seconds) == 800


def test_the_sets_differ_in_seed_and_in_every_content() -> None:
    same = {name for name in TUNE.__dataclass_fields__ if getattr(TUNE, name) == getattr(REPORT, name)}
    assert not same


def test_the_big_video_has_shots_and_joints_of_all_kinds() -> None:
    parts = videos._script(videos.recipes()["report-main"])
    assert len(parts) >= 120
    assert {part.join for part in parts} == set(Join)
    assert {part.setup.look for part in parts} == set(CameraLook)
    assert {part.setup.motion for part in parts} == set(Motion)
    assert {part.setup.light for part in parts} == set(Light)
    assert sum(part.join_frames + part.frames for part in parts) == 600 * REPORT.fps


@pytest.mark.parametrize("variable", [False, True])
def test_a_video_is_what_its_truth_says(variable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = VideoRecipe(REPORT, 160, 96, FPS, 14, 200_000, variable=variable, keyframes=Keyframes.FIXED)
    monkeypatch.setattr(videos, "recipes", lambda: {"tiny": recipe})
    monkeypatch.setenv("CONTENTGEN_CACHE", str(tmp_path))
    video = videos.ensure("tiny")
    with av.open(str(video.path)) as container:
        frames = [(frame.time or 0.0, frame.to_ndarray(format="gray")) for frame in container.decode(video=0)]
    assert [seconds for seconds, _ in frames] == pytest.approx(video.truth.seconds, abs=1e-4)
    assert video.truth.shots[-1].end == video.truth.seconds[-1]
    change = {seconds: np.abs(b - a.astype(int)).mean() for (_, a), (seconds, b) in pairwise(frames)}
    cuts = [gap.end for gap in video.truth.gaps if gap.kind is Join.CUT]
    assert cuts
    for cut in cuts:
        assert change[min(change, key=lambda seconds: abs(seconds - cut))] > 3 * np.median(list(change.values()))
    assert videos.ensure("tiny") == video


def test_the_same_setup_paints_the_same_frame() -> None:
    setup = Setup(CameraLook.STREET, Motion.HAND_HELD, Light.FLASH, Cast.WALKERS, 3, 4, grain=5)
    first, second = Canvas(160, 96), Canvas(160, 96)
    for picture in (first, second):
        Take(setup, 160, 96).paint(1.5, picture)
    assert np.array_equal(first.whole, second.whole)


def test_baseline_takes_the_sharpest_and_drops_duplicates(tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    frames = [cv2.blur(picture, (9, 9)), picture, picture[::-1], np.zeros_like(picture)]
    taken = [usual_way._measured(np.ascontiguousarray(frame)) for frame in frames]
    assert taken[1].sharpness > taken[0].sharpness
    assert usual_way.chosen([taken[1], taken[1], taken[2], taken[3]]) == [taken[1], taken[2]]


def test_a_fingerprint_knows_the_picture_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    big = cv2.resize(rng.integers(0, 255, (6, 8), dtype=np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)
    other = cv2.resize(rng.integers(0, 255, (6, 8), dtype=np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)
    for name, image in (("a", big), ("b", cv2.resize(big, (160, 120))), ("c", other)):
        cv2.imwrite(str(tmp_path / f"{name}.png"), image)
    a, b, c = (checks.fingerprint(tmp_path / f"{name}.png") for name in "abc")
    assert (a ^ b).bit_count() <= 2
    assert (a ^ c).bit_count() > 12


HOLDS_60_MB = """
import pathlib, sys, time
held = bytearray(60 << 20)
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.05)
"""


def test_a_measured_program_counts_what_it_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sample, seen = MeasuredProcess.tree_mb, tmp_path / "seen"

    def sampled(process: MeasuredProcess) -> float:
        size = sample(process)
        if size > 110:  # both programs have begun; they end when they were seen
            seen.touch()
        return size

    monkeypatch.setattr(MeasuredProcess, "tree_mb", sampled)
    holds = f"{sys.executable} -c '{HOLDS_60_MB}' {seen}"
    ran = measured(["sh", "-c", f"{holds} & {holds}; wait; echo done"])
    assert ran.output == "done\n"
    assert ran.seconds > 0
    assert 110 < ran.peak_mb < 250
    with pytest.raises(ProcessFailed, match="ended with 3: why"):
        measured(["sh", "-c", "echo why; exit 3"])


def test_the_scaling_law_is_a_serial_and_a_parallel_part() -> None:
    law = ScalingLaw.fitted((1, 2, 4, 8), [2 + 40 / workers for workers in (1, 2, 4, 8)])
    assert (law.serial, law.parallel) == (pytest.approx(2), pytest.approx(40))
    assert law.seconds(16) == pytest.approx(4.5)


@pytest.mark.parametrize("second_version", [False, True])
def test_a_process_is_limited_once_in_a_group_of_its_own(tmp_path: Path, *, second_version: bool) -> None:
    if second_version:
        (tmp_path / "cgroup.controllers").write_text("cpu")
    else:
        (tmp_path / "cpu").mkdir()
    quota = CpuQuota(0.25, tmp_path)
    quota.__enter__()
    for _ in range(2):
        quota.limit([7])
    (group,) = [path.parent for path in tmp_path.rglob("cgroup.procs")]
    values = {path.name: path.read_text() for path in group.iterdir()}
    limits = {"cpu.max": "5000 20000"} if second_version else {"cpu.cfs_period_us": "20000", "cpu.cfs_quota_us": "5000"}
    assert values == {"cgroup.procs": "7", **limits}
