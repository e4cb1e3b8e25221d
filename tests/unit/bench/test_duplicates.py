"""Labelled pairs of pictures, the engine's verdicts on them, and the quality figures of a dataset."""

from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from contentgen_bench.media import dataset_quality, posed
from contentgen_bench.media.duplicates import pairs
from contentgen_bench.media.duplicates.changes import Camera, Change, changed, framed
from contentgen_bench.media.duplicates.pairs import Half, LabelledPair
from contentgen_bench.media.duplicates.people import Person, Pose
from contentgen_bench.media.pictures import pair_difference
from contentgen_bench.media.scenes.scenery import (
    CameraLook,
    CameraPath,
    Canvas,
    Cast,
    Light,
    Motion,
    Setup,
    Take,
    eyes_closed,
    take_generator,
)
from contentgen_bench.media.videos import TUNE, Filmed, Truth, VideoRecipe, setups
from contentgen_bench.media.views import View, near_duplicates, views
from contentgen_worker.media.select import quality
from contentgen_worker.media.select.choose import PictureCandidate, Rules, choose
from contentgen_worker.media.select.similarity import Thumbnail

POSES = {"head turned", "head tilted", "moved", "leaning in", "leaning aside", "hand raised", "both hands"}
TALK = Setup(CameraLook.ROOM, Motion.STILL, Light.STEADY, Cast.TALKER, 5, 1)


def people(scenes: int) -> list[LabelledPair]:
    return [pair for scene in range(scenes) for pair in pairs.people(scene)]


def test_the_pairs_are_the_same_each_time() -> None:
    for one, other in zip(islice(pairs.people(3), 5), pairs.people(3), strict=False):
        assert (one.kind, one.same, one.half) == (other.kind, other.same, other.half)
        assert np.array_equal(one.second, other.second)


def test_each_scene_has_pairs_of_both_labels_in_one_half() -> None:
    found = people(2)
    assert {pair.half for pair in found[: len(found) // 2]} == {Half.TUNE}
    assert {pair.half for pair in found} == set(Half)
    assert min(Counter(pair.same for pair in found).values()) > 15
    assert {"zoom", "shift", "combined", "blink", "mouth", *Change} <= {pair.kind for pair in found if pair.same}
    assert {
        "closer",
        "another person",
        "reverse shot",
        *POSES,
    } <= {pair.kind for pair in found if not pair.same}


def test_a_change_and_a_camera_change_the_picture() -> None:
    rng = np.random.default_rng(1)
    picture = np.full((200, 300, 3), 128, np.uint8)
    Person(1).paint(picture, Pose())
    for change in Change:
        assert not np.array_equal(changed(picture, change, rng), picture)
    view = framed(picture, Camera())
    assert view.shape == (160, 240, 3)
    assert np.array_equal(view, picture[20:180, 30:270])
    assert not np.array_equal(framed(picture, Camera(x=0.05)), view)


def test_the_engine_tells_poses_apart_and_finds_duplicates() -> None:
    found = [pair for pair in people(4) if pair.half is Half.HELD_OUT]
    rejected = [pair_difference(pair) <= Rules().duplicate for pair in found]
    right = sum(is_rejected and pair.same for pair, is_rejected in zip(found, rejected, strict=True))
    assert right > 0.9 * sum(rejected), "precision"
    assert right > 0.9 * sum(pair.same for pair in found), "recall"
    poses = [is_rejected for pair, is_rejected in zip(found, rejected, strict=True) if pair.kind in POSES]
    assert sum(poses) < 0.2 * len(poses), "a pose that is rejected"


def view(shot: int = 0, *, setup: Setup = TALK, seconds: float = 1.0, x: float = 0.0, zoom: float = 1.0) -> View:
    return View(shot, setup, seconds, x, 0.0, zoom)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (view(seconds=3.0), True),
        (view(3), True),
        (view(x=0.045), True),
        (view(x=0.06), False),
        (view(zoom=1.07), True),
        (view(zoom=1.1), False),
        (view(zoom=1.07, x=0.049), False),
        (view(setup=replace(TALK, place=6)), False),
        (view(setup=replace(TALK, cast=Cast.NOBODY)), False),
        (view(setup=replace(TALK, look=CameraLook.STREET)), False),
    ],
)
def test_near_duplicates_by_the_labelled_definition(other: View, same: bool) -> None:
    assert view().is_near_duplicate(other) is same
    assert other.is_near_duplicate(view()) is same
    assert near_duplicates([view(), other]) == ([(0, 1)] if same else [])


def test_moving_actors_make_another_picture() -> None:
    toons = replace(TALK, cast=Cast.TOONS)
    one = view(setup=toons)
    assert one.is_near_duplicate(view(setup=toons, seconds=1.05))
    assert not one.is_near_duplicate(view(setup=toons, seconds=2.0))
    assert not one.is_near_duplicate(view(1, setup=toons))


def chosen_views(threshold: int) -> list[View]:
    """Views that the engine's filter keeps of two takes of one place and of one of another place."""
    found, candidates = [], []
    for shot, setup in enumerate((TALK, replace(TALK, seed=2, grain=4), replace(TALK, place=6))):
        take, canvas = Take(setup, 320, 180), Canvas(320, 180)
        for seconds in (1.0 + 0.35 * shot, 2.0 + 0.35 * shot):
            take.paint(seconds, canvas)
            scores, picture = quality.measure(canvas.y), Thumbnail.from_planes(*canvas.planes)
            candidates.append(PictureCandidate(shot, 10 * shot + seconds, Path("x"), 320, 180, scores, picture))
            found.append(view(shot, setup=setup, seconds=seconds))
    verdicts = choose(candidates, Rules(per_shot=2, least=1, duplicate=threshold))
    return [each for each, verdict in zip(found, verdicts, strict=True) if verdict.kept]


def test_broken_filter_leaves_near_duplicates() -> None:
    assert near_duplicates(chosen_views(Rules().duplicate)) == []
    assert len(chosen_views(Rules().duplicate)) == 2
    broken = chosen_views(0)
    pairs_found = [(broken[one].shot, broken[other].shot) for one, other in near_duplicates(broken)]
    assert {(0, 0), (0, 1), (2, 2)} <= set(pairs_found)


def test_the_moments_of_the_posed_video() -> None:
    """A person has each pose twice, and the face is largest while leaning in."""
    first = [posed.moment(turn * 1.3 + 0.5) for turn in range(2 * posed.POSES)]
    assert [each.pose for each in first[: posed.POSES]] == list(range(posed.POSES))
    assert set(Counter(each.pose for each in first).values()) == {2}
    assert {(each.person, each.held) for each in first} == {(0, True)}
    assert max(first, key=lambda each: each.face).pose == posed._KINDS.index("leaning in") + 1
    moving = [posed.moment(1.3 - 0.15 + side) for side in (-0.05, 0.05)]
    assert [(each.pose, each.held) for each in moving] == [(0, False), (1, False)]
    assert posed.moment(2 * posed.POSES * 1.3 + 0.5).person == 1
    assert {posed.moment(frame / posed.FPS).eyes_closed for frame in range(200)} == {False, True}


def test_the_frames_of_the_posed_video_show_the_pose() -> None:
    frames = list(islice(posed._frames(48), 48))
    assert frames[0].shape == (408, 480)
    held, moved = (float(cv2.absdiff(frames[0], frames[at]).mean()) for at in (10, 40))
    assert moved > 2 * held


def test_figures_of_poses() -> None:
    one, other = posed.moment(0.5), posed.moment(1.8)
    found = posed.quality([one, one, other])
    assert (found.pictures, found.repeated, found.balance) == (3, 1, 0)
    assert found.poses == pytest.approx(2 / 3)
    assert 0.5 < found.face < 1
    blinking = replace(one, eyes_closed=True)
    assert posed.quality([one, blinking]).eyes_closed == 0.5
    whole = [replace(one, person=person, pose=pose) for person in range(6) for pose in range(posed.POSES)]
    assert posed.quality(whole).poses == posed.quality(whole).balance == 1
    assert posed.quality(whole[:18]).poses == 1, "as many as there are pictures"


def test_rows_of_poses_have_goals_where_the_right_value_is_known() -> None:
    good = posed.quality([posed.moment(turn * 1.3 + 0.5) for turn in range(posed.POSES)])
    bad = posed.quality([posed.moment(0.5)] * 4)
    rows = {row.figure.removeprefix("people in poses: "): row for row in posed.rows(good, bad)}
    assert [row.goal for row in rows.values()] == [0, 0.95, 4, None, None]
    assert rows["pairs of pictures of one pose"].value == 6
    assert rows["distinct poses ÷ possible, with maxImages of half the poses"].value == 0.25


def test_the_views_of_a_video_are_those_of_its_recipe() -> None:
    recipe = VideoRecipe(TUNE, 320, 180, 24, 30, 100_000)
    shots = setups(recipe)
    frames = [first for _, first in shots] + [30 * 24]
    truth = Truth(
        gaps=(),
        shots=tuple(
            Filmed(start=a / 24, end=(b - 1) / 24, look=s.look, motion=s.motion, light=s.light, cast=s.cast)
            for (s, a), b in zip(shots, frames[1:], strict=True)
        ),
        seconds=tuple(frame / 24 for frame in range(30 * 24)),
    )
    found = views(recipe, truth, [first / 24 + 0.5 for _, first in shots])
    assert [each.setup for each in found] == [setup for setup, _ in shots]
    assert [each.seconds for each in found] == pytest.approx([0.5] * len(shots))
    zooming = replace(TALK, motion=Motion.ZOOM)
    assert CameraPath.of(zooming).at(2.0) == CameraPath(zooming, take_generator(zooming)).at(2.0)


def test_quality_figures() -> None:
    blinking, open_ = view(seconds=3.15), view(seconds=1.0)
    assert eyes_closed(3.15)
    assert (
        dataset_quality.closed_eyes([blinking, open_, view(setup=replace(TALK, cast=Cast.NOBODY), seconds=3.15)]) == 0.5
    )
    places = [view(number, setup=replace(TALK, place=number)) for number in range(4)]
    assert dataset_quality.coverage([places[0], places[0]], places) == 0.5
    assert dataset_quality.coverage(places[:2], places) == 1
    assert dataset_quality.balance([places[0], places[0], places[2]], 4) == (0.5, 2)
    assert dataset_quality.balance([], 4) == (1.0, 0)


def test_a_picture_is_exposed_like_most_frames_of_its_shot() -> None:
    steady = np.tile(np.float32([[100, 0.01]]), (100, 1))
    switched = np.vstack([steady, np.tile(np.float32([[55, 0.01]]), (60, 1))])
    for frame, shot, exposed in (
        ((103, 0.01), steady, True),
        ((150, 0.01), steady, False),  # a flash
        ((101, 0.10), steady, False),
        ((55, 0.01), switched, True),
        ((100, 0.01), switched, True),
    ):
        assert dataset_quality._is_exposed(np.float32(frame), shot) is exposed
