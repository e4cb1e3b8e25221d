"""Choice of pictures: limits relative to the video, no near-duplicates, spread over time, and the last resort."""

from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from contentgen_contract.resources.spec import Dataset, FacesMode
from contentgen_contract.worker.orders import REJECTIONS
from contentgen_worker.media.select.choose import (
    PictureCandidate,
    PictureVerdict,
    Rejection,
    Rules,
    choose,
    count_rejections,
)
from contentgen_worker.media.select.faces import FaceBox
from contentgen_worker.media.select.quality import Scores
from contentgen_worker.media.select.similarity import ComparablePicture, Thumbnail, difference

RULES = Rules(least=1, duplicate=6)
FACE = FaceBox(0.4, 0.2, 0.2, 0.4)
SMALL_FACE = FaceBox(0.1, 0.1, 0.05, 0.05)


@cache
def scene(number: int, dots: int = 0, extra: int = 0) -> Thumbnail:
    """Picture of a scene of its own, with bright dots; `extra`: added to its luma."""
    rng = np.random.default_rng([number, 7])
    planes = [cv2.resize(rng.uniform(60, 190, (6, 6)).astype(np.float32), (64, 64)) for _ in range(3)]
    for dot in range(dots):
        planes[0][6 * dot + 2 : 6 * dot + 6, 30:34] += 55
    return Thumbnail.from_planes(*((plane + extra).astype(np.uint8) for plane in planes))


def unlike(one: Thumbnail, other: Thumbnail) -> int:
    return difference(ComparablePicture(one), ComparablePicture(other), RULES.duplicate)


def scores(number: int, **figures: object) -> Scores:
    usual = Scores(luma=110.0, contrast=50.0, sharpness=100.0, fingerprint=number)
    return replace(usual, **figures)  # type: ignore[arg-type]


def candidate(
    number: int,
    *,
    shot: int | None = None,
    seconds: float | None = None,
    thumbnail: Thumbnail | None = None,
    **figures: object,
) -> PictureCandidate:
    at = float(number) if seconds is None else seconds
    home = number if shot is None else shot
    look = thumbnail or scene(number)
    return PictureCandidate(home, at, Path(f"{number}.jpg"), 320, 180, scores(number, **figures), look)


def video(*last: PictureCandidate, count: int = 10) -> list[PictureCandidate]:
    """Ordinary pictures of this many shots, followed by the given ones."""
    return [candidate(number) for number in range(count)] + list(last)


def reasons(verdicts: tuple[PictureVerdict, ...]) -> list[Rejection | None]:
    return [verdict.reason for verdict in verdicts]


@pytest.mark.parametrize(
    ("figures", "reason", "figure"),
    [
        ({"luma": 10.0}, "TooDark", 10.0),
        ({"luma": 245.0}, "TooBright", 245.0),
        ({"contrast": 5.0}, "LowContrast", 5.0),
        ({"sharpness": 5.0}, "Blurred", 5.0),
        ({"border": 0.2}, "BlackBorders", 0.2),
        ({"card": 0.9}, "TextCard", 0.9),
    ],
)
def test_a_bad_picture_among_good_ones(figures: dict[str, float], reason: str, figure: float) -> None:
    verdict = choose(video(candidate(10, **figures)), RULES)[-1]
    assert (verdict.kept, verdict.reason, verdict.figure) == (False, reason, figure)
    assert verdict.limit is not None
    assert verdict.limit != figure


def test_good_pictures_are_kept() -> None:
    assert choose(video(), RULES) == (PictureVerdict(kept=True),) * 10
    assert choose([], RULES) == ()


def test_a_frame_in_a_transition() -> None:
    blended = replace(candidate(10), in_transition=True)
    assert choose(video(blended), RULES)[-1].reason is Rejection.IN_TRANSITION


@pytest.mark.parametrize(
    "figures",
    [
        {"sharpness": 4.0},  # a cartoon
        {"luma": 12.0},  # a night
        {"luma": 244.0},  # a whiteboard
        {"contrast": 4.5},  # fog
        {"border": 0.3},  # a film within a film
        {"card": 0.9},  # slides
    ],
    ids=str,
)
def test_property_of_a_whole_video_is_no_fault(figures: dict[str, float]) -> None:
    pictures = [candidate(number, **figures) for number in range(12)]
    assert [verdict.kept for verdict in choose(pictures, RULES)] == [True] * 12


def test_a_scene_with_little_contrast_is_not_blurred() -> None:
    """Low contrast reduces the sharpness of the scene, not blur."""
    even, blurred = candidate(10, sharpness=4.0, contrast=10.0), candidate(11, sharpness=4.0)
    assert reasons(choose(video(even, blurred), RULES))[-2:] == [None, Rejection.BLURRED]


def test_a_soft_video_has_a_lower_limit() -> None:
    soft = [candidate(number, sharpness=10.0) for number in range(10)]
    assert choose([*soft, candidate(10, sharpness=8.0, contrast=100.0)], RULES)[-1].kept


def test_black_frames_do_not_move_the_limits() -> None:
    black = [candidate(number, luma=0.5, contrast=0.5, sharpness=0.0) for number in range(10, 40)]
    verdicts = choose(video(candidate(40, sharpness=5.0), *black), RULES)
    assert count_rejections(verdicts) == {"TooDark": 30, "Blurred": 1}


def test_near_duplicates_over_the_whole_video() -> None:
    again = candidate(900, thumbnail=scene(3, extra=20), sharpness=300.0, seconds=900.0)
    other = candidate(901, thumbnail=scene(4, dots=1), seconds=901.0)
    figure = unlike(scene(4, dots=1), scene(4))
    assert 6 < figure < 32
    verdicts = choose(video(again, other), RULES)
    assert verdicts[-2].kept, "the sharper one"
    assert verdicts[3] == PictureVerdict(False, Rejection.DUPLICATE, unlike(scene(3, extra=20), scene(3)), 6, like=10)
    assert verdicts[-1].kept
    assert choose(video(again, other), replace(RULES, duplicate=figure - 1))[-1].kept
    assert choose(video(again, other), replace(RULES, duplicate=figure))[-1].like == 4


def test_a_picture_without_a_thumbnail_is_no_duplicate() -> None:
    pictures = [replace(candidate(number), thumbnail=None) for number in (1, 1)]
    assert all(verdict.kept for verdict in choose(pictures, replace(RULES, per_shot=2)))


def test_no_two_that_are_kept_are_alike() -> None:
    random = np.random.default_rng(1)
    many = [
        candidate(
            number,
            thumbnail=scene(number % 10, int(random.integers(0, 3)), int(random.integers(0, 30))),
            sharpness=50.0 + number % 7,
        )
        for number in range(100)
    ]
    kept = [each.thumbnail for each, verdict in zip(many, choose(many, RULES), strict=True) if verdict.kept]
    assert len(kept) >= 10
    for one, other in combinations(kept, 2):
        assert one is not None
        assert other is not None
        assert unlike(one, other) > RULES.duplicate


def test_the_best_of_each_shot() -> None:
    pictures = [candidate(number, shot=number // 3, sharpness=100.0 + number % 3) for number in range(9)]
    verdicts = choose(pictures, RULES)
    assert [verdict.kept for verdict in verdicts] == [False, False, True] * 3
    assert (verdicts[0].reason, verdicts[0].figure, verdicts[0].limit) == ("BetterInShot", 100.0, 102.0)
    assert sum(verdict.kept for verdict in choose(pictures, replace(RULES, per_shot=2))) == 6


def test_the_next_best_of_a_shot_where_the_best_is_a_duplicate() -> None:
    copy = candidate(20, shot=99, thumbnail=scene(0), sharpness=90.0)
    verdicts = choose(video(copy, candidate(21, shot=99, sharpness=80.0)), RULES)
    assert reasons(verdicts)[-2:] == [Rejection.DUPLICATE, None]


def test_the_maximum_is_spread_over_time_not_over_shots() -> None:
    """The video has one minute of quick cuts and nine minutes of slow ones."""
    quick = [candidate(number, seconds=number * 0.6) for number in range(100)]
    slow = [candidate(100 + number, seconds=60 + number * 9.0) for number in range(60)]
    pictures = quick + slow
    verdicts = choose(pictures, replace(RULES, most=60))
    times = [picture.seconds for picture, verdict in zip(pictures, verdicts, strict=True) if verdict.kept]
    assert len(times) == 60
    assert max(np.diff(times)) <= 18.1
    assert sum(time < 60 for time in times) < 15
    assert count_rejections(verdicts) == {"OverMaximum": 100}


def test_of_two_that_are_near_the_worse_goes() -> None:
    pictures = [
        candidate(0),
        candidate(1, sharpness=90.0, seconds=9.5),
        candidate(2, seconds=10.0),
        candidate(3, seconds=20.0),
    ]
    assert [verdict.kept for verdict in choose(pictures, replace(RULES, most=3))] == [True, False, True, True]


def test_above_the_maximum_a_repeated_set_up_goes_before_a_scene() -> None:
    """Five poses of a talk, then five scenes within a second."""
    talk = [candidate(number, thumbnail=scene(0, dots=2 * number), seconds=10.0 * number) for number in range(5)]
    quick = [candidate(number, seconds=50 + 0.2 * number) for number in range(5, 10)]
    rules = replace(RULES, most=7)
    assert [verdict.kept for verdict in choose([*talk, *quick], RULES)] == [True] * 10, "poses are no duplicates"
    kept = [verdict.kept for verdict in choose([*talk, *quick], rules)]
    assert kept[5:] == [True] * 5
    assert sum(kept[:5]) == 2
    assert [verdict.kept for verdict in choose([*talk, *quick], replace(RULES, most=5))][5:] != [True] * 5, (
        "then by time"
    )
    without = [replace(each, thumbnail=None) for each in (*talk, *quick)]
    assert not all(verdict.kept for verdict in choose(without, rules)[5:])


def test_a_single_picture_may_be_the_maximum() -> None:
    assert sum(verdict.kept for verdict in choose(video(), Rules(least=0, most=1))) == 1


@pytest.mark.parametrize("most", [4, 7, 150])
def test_never_more_than_the_maximum(most: int) -> None:
    mixed = [candidate(number, faces=(FACE,) if number % 3 else ()) for number in range(60)]
    for mode in FacesMode:
        assert sum(verdict.kept for verdict in choose(mixed, replace(RULES, most=most, faces=mode))) <= most


def test_faces_required() -> None:
    pictures = [
        candidate(0, faces=(FACE,)),
        candidate(1),
        candidate(2, faces=(SMALL_FACE,)),
        candidate(3, faces=(FACE, FACE)),
        candidate(4, faces=(FACE, SMALL_FACE)),
    ]
    rules = replace(RULES, faces=FacesMode.REQUIRE)
    verdicts = choose(pictures, rules)
    assert reasons(verdicts) == [None, Rejection.NO_FACE, Rejection.NO_FACE, None, None]
    assert (verdicts[2].figure, verdicts[2].limit) == (0.05, 0.15)
    alone = choose(pictures, replace(rules, single=True))
    assert reasons(alone)[3:] == [Rejection.SEVERAL_FACES, None]
    assert choose(pictures, replace(rules, smallest_face=0.04))[2].kept


def test_faces_required_are_never_waived() -> None:
    verdicts = choose(video(), replace(RULES, faces=FacesMode.REQUIRE, least=8))
    assert count_rejections(verdicts) == {"NoFace": 10}


def test_faces_preferred() -> None:
    """Faces count within a shot and above the maximum; otherwise pictures without a face are equal."""
    rules = replace(RULES, faces=FacesMode.PREFER)
    shot = [candidate(0, shot=1, sharpness=200.0), candidate(1, shot=1, faces=(FACE,))]
    assert [verdict.kept for verdict in choose(shot, rules)] == [False, True]
    mixed = [candidate(number, faces=(FACE,) if number in {3, 5, 8} else ()) for number in range(20)]
    assert sum(verdict.kept for verdict in choose(mixed, rules)) == 20
    few = choose(mixed, replace(rules, most=5))
    assert all(few[number].kept for number in (3, 5, 8))
    assert sum(verdict.kept for verdict in few) == 5


def test_faces_ignored() -> None:
    pictures = [candidate(0, shot=1, sharpness=200.0), candidate(1, shot=1, faces=(FACE,))]
    assert [verdict.kept for verdict in choose(pictures, RULES)] == [True, False]


def test_a_last_resort_takes_the_best_there_is_and_says_so() -> None:
    """The legacy API's only real job failed with "insufficient frames from cartoon video"."""
    spare = [candidate(10 + number, shot=1, sharpness=90.0 - number) for number in range(3)]
    blurred = [candidate(20 + number, sharpness=2.0 + number) for number in range(4)]
    card, black = candidate(30, card=1.0), candidate(31, luma=1.0, contrast=1.0)
    pictures = video(*spare, *blurred, card, black, count=6)
    verdicts = choose(pictures, replace(RULES, least=11))
    taken = [pictures[at].path.stem for at, verdict in enumerate(verdicts) if verdict.last_resort]
    assert taken == ["10", "11", "12", "22", "23"], "others of a shot first, then the sharpest of the blurred"
    assert [verdict.reason for verdict in verdicts if verdict.last_resort][-1] is Rejection.BLURRED
    assert sum(verdict.kept for verdict in verdicts) == 11
    everything = choose(pictures, replace(RULES, least=99))
    assert reasons(tuple(verdict for verdict in everything if not verdict.kept)) == [Rejection.TOO_DARK], "black"


def test_a_last_resort_takes_no_picture_twice() -> None:
    still = [candidate(number, thumbnail=scene(0), shot=1) for number in range(20)]
    verdicts = choose(still, replace(RULES, least=10))
    assert sum(verdict.kept for verdict in verdicts) == 1
    brighter = candidate(30, thumbnail=scene(0, extra=15), shot=1)
    assert sum(verdict.kept for verdict in choose([still[0], brighter], replace(RULES, least=10))) == 1
    talk = [candidate(number, thumbnail=scene(0, dots=number), shot=1) for number in range(10)]
    assert count_rejections(choose(talk, replace(RULES, duplicate=32))) == {"Duplicate": 9}
    verdicts = choose(talk, replace(RULES, duplicate=32, least=10))
    assert sum(verdict.kept for verdict in verdicts) == 10, "a talk before a wall: alike, but not the same"


def test_no_last_resort_where_there_are_enough() -> None:
    verdicts = choose(video(candidate(10, sharpness=2.0)), replace(RULES, least=10))
    assert not any(verdict.last_resort for verdict in verdicts)


def test_the_same_candidates_the_same_choice() -> None:
    mixed = [candidate(number, shot=number // 4, sharpness=float(number * 37 % 11)) for number in range(400)]
    rules = replace(RULES, most=50, per_shot=2)
    assert choose(mixed, rules) == choose(list(mixed), rules)


def test_the_rules_of_a_spec() -> None:
    spec = {
        "framesPerScene": 3, "minImages": 5, "maxImages": 40, "duplicates": {"threshold": 9},
        "faces": {"mode": "Require", "minSize": "0.25", "single": True},
    }  # fmt: skip
    expected = Rules(3, 5, 40, 9, FacesMode.REQUIRE, 0.25, single=True)
    assert Rules.from_dataset(Dataset.model_validate(spec)) == expected
    assert Rules.from_dataset(Dataset()) == Rules()


def test_the_operator_takes_each_reason() -> None:
    assert tuple(each.value for each in Rejection) == REJECTIONS
