"""Unseen sets: ground truth, timestamps, determinism, labels of the real clips, PySceneDetect's grid."""

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from contentgen_bench.media import usual_way, videos
from contentgen_bench.media.scoring import Score
from contentgen_bench.media.unseen import clips, evaluation, film, mistakes, rival, sets
from contentgen_bench.media.unseen.clips import ClipUnavailable, LabelledClip
from contentgen_bench.media.unseen.evaluation import Mistake, SetScore
from contentgen_bench.media.unseen.film import EditPart, ShotStyle
from contentgen_bench.media.unseen.painting import events
from contentgen_bench.media.unseen.painting.camera import CameraPose, path
from contentgen_bench.media.unseen.painting.plan import CameraMove, Happening, PlannedShot, SceneFamily
from contentgen_bench.media.unseen.sets import FrameForm, UnseenRecipe
from contentgen_bench.media.videos import Join, Truth, Video
from contentgen_contract.resources.spec import Speed

ROOT = Path(__file__).parents[3]
WIDTH, HEIGHT = 160, 96
STILL = PlannedShot(SceneFamily.STREET, CameraMove.FIXED, Happening.NOTHING, 3, 4, 1.0, 0.5)


def paint(shot: PlannedShot, seconds: float) -> np.ndarray:
    return film.painter(shot, WIDTH, HEIGHT)(seconds)


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(int) - second).mean())


def decoded(path_: Path) -> list[av.VideoFrame]:
    with av.open(str(path_)) as container:
        return list(container.decode(video=0))


# --- painters ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", SceneFamily)
def test_a_painter_depends_on_its_shot_and_time_alone(family: SceneFamily) -> None:
    shot = replace(STILL, family=family, move=CameraMove.HANDHELD)
    draw = film.painter(shot, WIDTH, HEIGHT)
    later, frame = draw(2.0), draw(1.2)
    assert frame.shape == (HEIGHT, WIDTH, 3)
    assert np.array_equal(frame, paint(shot, 1.2))
    assert not np.array_equal(frame, later)
    assert difference(frame, paint(replace(shot, place=shot.place + 1), 1.2)) > 12


@pytest.mark.parametrize(
    "happening", [each_happening for each_happening in Happening if each_happening is not Happening.NOTHING]
)
def test_event_changes_the_picture_and_not_the_scene(happening: Happening) -> None:
    shot = replace(STILL, family=SceneFamily.INTERIOR, happening=happening)
    effect = events.effect(shot, WIDTH, HEIGHT)
    scene = paint(replace(shot, happening=Happening.NOTHING), 1.0)
    assert np.array_equal(effect(scene, 0.98), scene)
    most = max(difference(effect(scene, 1.0 + step / 50), scene) for step in range(25))
    assert most > 12
    after = effect(scene, 6.0)
    assert difference(after, scene) < 3


def test_a_whip_pan_is_fast_and_ends_where_it_stays() -> None:
    shot = replace(STILL, move=CameraMove.WHIP)
    yaw = [path(shot, CameraPose(0, 0, 0))(1.0 + step / 50).yaw for step in range(-25, 75)]
    turned = np.abs(np.diff(yaw))
    assert abs(yaw[-1] - yaw[0]) > 0.8
    assert turned[25:50].max() > 20 * np.median(turned)


# --- edits -------------------------------------------------------------------------------------------------------


def test_the_sets_have_300_shots_of_3_to_5_seconds_and_all_kinds() -> None:
    shots, kinds, families, happenings, moves = 0, set(), set(), set(), set()
    for name, recipe in sets.recipes().items():
        rate = recipe.rate[0] / recipe.rate[1]
        parts = film.script(recipe.style, recipe.seed, rate, round(recipe.seconds * rate))
        assert sum(part.join_frames + part.frames for part in parts) == round(recipe.seconds * rate), name
        assert 2.5 <= recipe.seconds / len(parts) <= 5, name
        shots += len(parts)
        kinds |= {part.join for part in parts}
        families |= {part.shot.family for part in parts}
        happenings |= {part.shot.happening for part in parts}
        moves |= {part.shot.move for part in parts}
    assert shots >= 300
    assert (kinds, families, happenings, moves) == (set(Join), set(SceneFamily), set(Happening), set(CameraMove))


def test_events_are_frequent_and_none_is_near_a_boundary() -> None:
    sudden = {CameraMove.WHIP, CameraMove.CRASH_ZOOM}
    seen: Counter[str] = Counter()
    for name, recipe in sets.recipes().items():
        rate = recipe.rate[0] / recipe.rate[1]
        for part in film.script(recipe.style, recipe.seed, rate, round(recipe.seconds * rate)):
            shot = part.shot
            if shot.happening is not Happening.NOTHING or shot.move in sudden:
                seen[name] += 1
                begin, end = part.join_frames / rate, (part.join_frames + part.frames) / rate
                assert begin + 0.5 <= shot.event <= shot.event + shot.event_seconds <= end - 0.5
    assert min(seen[name] for name in ("whips", "zooms", "crossings", "explosions", "strobes", "letterboxed")) >= 8


def small(form: FrameForm, rate: tuple[int, int], bars: float = 0.0) -> UnseenRecipe:
    style = ShotStyle(
        families={SceneFamily.SCREEN: 1, SceneFamily.INTERIOR: 1},
        moves={CameraMove.FIXED: 1, CameraMove.SHAKE: 1},
        happenings={Happening.NOTHING: 1},
        median=1.4,
        gradual=0.3,
        bars=bars,
    )
    return UnseenRecipe(style, 5, rate, 6.0, 300_000, form, WIDTH, HEIGHT)


@pytest.mark.parametrize(
    ("form", "rate"),
    [
        (FrameForm.PROGRESSIVE, (25, 1)),
        (FrameForm.PROGRESSIVE, (24_000, 1001)),
        (FrameForm.PROGRESSIVE, (60, 1)),
        (FrameForm.VARIABLE, (30, 1)),
        (FrameForm.INTERLACED, (25, 1)),
    ],
)
def test_a_video_has_the_frames_and_cuts_of_its_truth(form: FrameForm, rate: tuple[int, int], tmp_path: Path) -> None:
    target = tmp_path / "video.mp4"
    truth = sets.make(small(form, rate), target)
    frames = decoded(target)
    assert [frame.time for frame in frames] == pytest.approx(truth.seconds, abs=2e-5)
    assert {frame.interlaced_frame for frame in frames} == {form is FrameForm.INTERLACED}
    steps = np.diff(truth.seconds)
    assert (steps.max() > 1.8 * steps.min()) == (form is FrameForm.VARIABLE)
    if form is not FrameForm.VARIABLE:
        assert truth.seconds[100] == pytest.approx(100 * rate[1] / rate[0], abs=1e-5)
    gray = [frame.to_ndarray(format="gray").astype(int) for frame in frames]
    change = [0.0, *(float(np.abs(b - a).mean()) for a, b in pairwise(gray))]
    cuts = [truth.seconds.index(gap.end) for gap in truth.gaps if gap.kind is Join.CUT]
    assert cuts
    for cut in cuts:
        assert change[cut] > 5 * np.median(change)
        assert change[cut] == max(change[cut - 2 : cut + 3])


def test_an_interlaced_frame_has_lines_of_two_times() -> None:
    recipe = small(FrameForm.INTERLACED, (25, 1))
    shot = replace(STILL, family=SceneFamily.INTERIOR, move=CameraMove.SHAKE)
    seconds = np.arange(10) / 25
    [frame] = list(sets._woven(recipe, [EditPart(Join.CUT, 0, 10, shot)], seconds))[5:6]
    draw = film.painter(shot, WIDTH, HEIGHT)
    for line, at in ((0, 0.2), (1, 0.22)):
        own = cv2.cvtColor(np.ascontiguousarray(draw(at)[line::2]), cv2.COLOR_BGR2YUV_I420)
        assert np.array_equal(frame[line:HEIGHT:2], own[: HEIGHT // 2])
    assert not np.array_equal(draw(0.2), draw(0.22))


def test_letterbox_bars_are_black_and_of_the_right_height() -> None:
    recipe = small(FrameForm.PROGRESSIVE, (25, 1), bars=2.39)
    frame = next(sets._planes(recipe, [EditPart(Join.CUT, 0, 1, STILL)], np.array([0.0])))
    luma = frame[:HEIGHT]
    dark = [row for row in range(HEIGHT) if (luma[row] == 16).all()]
    bar = len(dark) // 2
    assert dark == [*range(bar), *range(HEIGHT - bar, HEIGHT)]
    assert WIDTH / (HEIGHT - 2 * bar) == pytest.approx(2.39, rel=0.06)


def test_a_recipe_makes_the_same_video_twice(tmp_path: Path) -> None:
    recipe = replace(small(FrameForm.VARIABLE, (30, 1)), seconds=2.0)
    first, second = sets.make(recipe, tmp_path / "a.mp4"), sets.make(recipe, tmp_path / "b.mp4")
    assert first == second
    pairs = zip(decoded(tmp_path / "a.mp4"), decoded(tmp_path / "b.mp4"), strict=True)
    assert all(np.array_equal(a.to_ndarray(), b.to_ndarray()) for a, b in pairs)
    assert replace(recipe, seed=6).key != recipe.key


# --- real clips --------------------------------------------------------------------------------------------------


def test_clip_packages_are_locked_and_labels_are_frames() -> None:
    locked = (ROOT / "requirements/dev.txt").read_text()
    labelled = clips.labels()
    assert len({clip.name for clip in labelled}) == len(labelled) > 0
    for clip in labelled:
        pinned = locked[locked.index(f"\n{clip.package}=={clip.version} ") :].split("\n\n")[0]
        assert f"sha256:{clip.sdist}" in pinned.split("==", 2)[1], clip.name
        assert list(clip.boundaries) == sorted(set(clip.boundaries))
        assert all(clip.first < at < clip.frames for at in clip.boundaries)
        assert clip.licence


def test_clip_truth_has_its_labels_and_checks_the_frame_count() -> None:
    clip = clips.labels()[0].model_copy(update={"frames": 10, "boundaries": (4,), "first": 1})
    found = clips.truth(clip, [frame / 10 for frame in range(10)])
    assert [(gap.start, gap.end, gap.kind) for gap in found.gaps] == [(0.3, 0.4, Join.CUT)]
    assert [(shot.start, shot.end) for shot in found.shots] == [(0.1, 0.3), (0.4, 0.9)]
    with pytest.raises(ClipUnavailable, match="9 frames are decoded, 10 are labelled"):
        clips.truth(clip, [frame / 10 for frame in range(9)])


def test_a_clip_that_pip_cannot_download_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTENTGEN_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    clips._sdist.cache_clear()
    with pytest.raises(ClipUnavailable, match=r"megamind: pip cannot download opencv-python-headless=="):
        clips.ensure(clips.labels()[0])


# --- scores ------------------------------------------------------------------------------------------------------


def test_the_grid_finds_what_each_detector_finds_alone(tmp_path: Path) -> None:
    target = tmp_path / "video.mp4"
    sets.make(small(FrameForm.PROGRESSIVE, (25, 1)), target)
    grid = rival.detectors()
    found = dict(zip(grid, usual_way.cuts(target, list(grid.values())), strict=True))
    defaults = {
        "content": "content, threshold 27, min_scene_len 15",
        "adaptive": "adaptive, threshold 3, min_content_val 15, min_scene_len 15",
        "histogram": "histogram, threshold 0.05, min_scene_len 15",
        "hash": "hash, threshold 0.395, min_scene_len 15",
    }
    alone = usual_way.cuts(target, [usual_way.DETECTORS[name]() for name in defaults])
    assert [found[name] for name in defaults.values()] == alone
    assert any(alone)


def test_rows_sum_over_the_sets() -> None:
    none = Score(0, 0, 0, 0, 0)
    first = SetScore("first", 11, Score(10, 10, 0, 0, 0), none, "", Score(5, 10, 0, 0, 5))
    second = SetScore("second", 11, Score(8, 10, 0, 0, 1), none, "", Score(10, 10, 0, 0, 0))
    f1, lead, false, *each = evaluation.rows([first, second])
    assert [(row.figure, row.value) for row in each] == [
        ("F1, unseen set first", 1.0),
        ("F1, unseen set second", 0.842),
    ]
    assert f1.value == pytest.approx(36 / 39, abs=1e-3)
    assert lead.value == pytest.approx(36 / 39 - 30 / 40, abs=2e-3)
    assert false.value == pytest.approx(100 / 22, abs=0.01)
    assert (f1.holds, lead.holds, false.holds) == (False, True, False)
    assert "lowest: second" in f1.note


def test_a_boundary_before_a_clips_first_frame_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = Truth(gaps=(), shots=(), seconds=tuple(frame / 10 for frame in range(20)))
    video = LabelledClip(Video(tmp_path / "clip.avi", truth), 0.1)
    monkeypatch.setattr(evaluation, "_boundaries", lambda *_: [(0.0, 0.1), (0.9, 1.0)])
    found = evaluation._engine([video], Speed.EXACT, tmp_path)
    assert found.score.wrong == 1
    assert [(mistake.missed, mistake.start) for mistake in found.mistakes] == [(False, 0.9)]


def test_the_picture_of_mistakes_shows_the_frames_around_each(tmp_path: Path) -> None:
    path_ = tmp_path / "unseen-some-0123.mp4"
    grays = [np.full((24, 16), 128, np.uint8) for _ in range(50)]
    for frame, gray in enumerate(grays):
        gray[:16] = 16 + 4 * frame
    videos.encode(path_, videos.Encoding(Fraction(25), 400_000, {"crf": "1"}, 90_000), grays, np.arange(50) / 25)
    missed = Mistake(path_, missed=True, kind="Dissolve", start=0.6, end=1.2)
    sheet = np.asarray(mistakes.picture([missed, missed]).convert("L"), int)
    row = [int(sheet[70, 60 + column * 228]) for column in range(5)]
    assert row == sorted(row)
    assert row[-1] - row[0] > 100
    assert np.array_equal(sheet[16:150], sheet[16 + 152 : 150 + 152])
