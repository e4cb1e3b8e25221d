"""Video of people in poses, with the pose, the face's height and the eyes at each moment, and its dataset's figures.

No face detector recognises drawn faces, so the truth is the painter's. Each person takes poses of the labelled pairs
one after the other and then again in another order, with a hand-held camera, a moving mouth and blinks.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, pairwise
from pathlib import Path

import cv2
import numpy as np

from contentgen_bench.media import videos
from contentgen_bench.media.duplicates.changes import Camera, framed
from contentgen_bench.media.duplicates.pairs import backdrop, other_poses, with_person
from contentgen_bench.media.duplicates.people import Person, Pose
from contentgen_bench.media.scenes.scenery import Plane, eyes_closed
from contentgen_bench.media.videos import Encoding, Filmed, Gap, Join, Truth, Video
from contentgen_bench.report import Row

_EDITION = 1  # part of the file name; to be increased when the video changes
_SEED = 41
_PEOPLE, FPS = 6, 24
_KINDS = ("head turned", "head tilted", "moved", "leaning in", "hand raised")
POSES = 1 + len(_KINDS)  # of each person
_HELD, _MOVES = 1.3, 0.3  # seconds of a pose, of which the last ones lead to the next
_SHOT = 2 * POSES * _HELD
WHOLE = {"minImages": 4, "framesPerScene": POSES}
LIMITED = {**WHOLE, "maxImages": _PEOPLE * POSES // 2}


@dataclass(frozen=True)
class PosedMoment:
    """Person and pose in a frame. `held`: False between two poses; `face`: height in heights of the picture."""

    person: int
    pose: int
    held: bool
    face: float
    eyes_closed: bool


@dataclass(frozen=True)
class PoseQuality:
    """Figures of a training set. Shares are from 0 to 1."""

    pictures: int
    poses: float  # share of the distinct poses that as many pictures could show
    repeated: int  # pairs of pictures of one pose, both while it is held
    face: float  # mean share of the height of the shot's largest face
    eyes_closed: float  # share of pictures
    balance: float  # pictures of the shot with the fewest, as a share of those of the shot with the most


def video() -> Video:
    """The video, generated if it is missing."""
    return videos.cached(f"posed-{_EDITION}.mp4", _make)


def measure(out: Path) -> PoseQuality:
    """Figures of a dataset folder, made of the video."""
    images = json.loads((out / "dataset.json").read_text())["images"]
    return quality([moment(float(image["seconds"])) for image in images])


def quality(chosen: Sequence[PosedMoment]) -> PoseQuality:
    """Figures of the chosen moments."""
    shown = {(each.person, each.pose) for each in chosen}
    held = [(each.person, each.pose) for each in chosen if each.held]
    counts = Counter(each.person for each in chosen)
    of_shot = [counts[person] for person in range(_PEOPLE)]
    largest = [max(pose.size for pose in _poses(person)) * 2 for person in range(_PEOPLE)]
    return PoseQuality(
        len(chosen),
        len(shown) / max(1, min(len(chosen), _PEOPLE * POSES)),
        sum(one == other for one, other in combinations(held, 2)),
        sum(each.face / largest[each.person] for each in chosen) / max(1, len(chosen)),
        sum(each.eyes_closed for each in chosen) / max(1, len(chosen)),
        min(of_shot) / max(1, *of_shot),
    )


def rows(whole: PoseQuality, limited: PoseQuality) -> list[Row]:
    """Rows of both datasets; `limited` has fewer pictures than the video has poses."""
    return [
        Row(
            figure="people in poses: pairs of pictures of one pose",
            value=whole.repeated + limited.repeated,
            unit="pairs",
            goal=0,
            note=f"of {whole.pictures} pictures, and of {limited.pictures} with maxImages",
        ),
        Row(
            figure="people in poses: distinct poses ÷ possible, with maxImages of half the poses",
            value=round(limited.poses, 3),
            unit="",
            goal=0.95,
            bound="at least",
            note=f"without maxImages {whole.poses:.3f}",
        ),
        Row(
            figure="people in poses: chosen frames with closed eyes",
            value=round(100 * whole.eyes_closed, 3),
            unit="%",
            goal=4,
        ),
        Row(
            figure="people in poses: height of the face ÷ the shot's largest, mean",
            value=round(whole.face, 3),
            unit="",
            note="no goal: no detector recognises drawn faces, and other poses have smaller ones",
        ),
        Row(
            figure="people in poses: pictures of the shot with the fewest ÷ with the most",
            value=round(whole.balance, 3),
            unit="",
            note=f"{limited.balance:.3f} with maxImages",
        ),
    ]


def moment(seconds: float) -> PosedMoment:
    """Person and pose in the frame at a time in seconds."""
    person, since = _shot(seconds)
    (near, *others), share = _turn(person, since)
    pose = _pose(person, since)
    return PosedMoment(person, near if share < 0.5 else others[0], share == 0, 2 * pose.size, pose.eyes == 0)


def _shot(seconds: float) -> tuple[int, float]:
    """Number of the shot's person, and the time since its start."""
    person = min(int(seconds / _SHOT + 1e-6), _PEOPLE - 1)
    return person, max(0.0, seconds - person * _SHOT)


def _turn(person: int, since: float) -> tuple[tuple[int, int], float]:
    """Numbers of a pose and of the next one, and the share of the way between them."""
    again = np.random.default_rng([_SEED, person, 2]).permutation(POSES).tolist()
    order = [*range(POSES), *again, again[-1]]
    turn = min(int(since / _HELD), 2 * POSES - 1)
    return (order[turn], order[turn + 1]), max(0.0, (since - turn * _HELD - (_HELD - _MOVES)) / _MOVES)


@cache
def _poses(person: int) -> tuple[Pose, ...]:
    rng = np.random.default_rng([_SEED, person])
    first = Pose(
        x=float(rng.uniform(-0.12, 0.12)), size=float(rng.uniform(0.14, 0.17)), turn=float(rng.uniform(-0.2, 0.2))
    )
    found = dict(other_poses(first, rng))
    return first, *(found[kind] for kind in _KINDS)


def _pose(person: int, since: float) -> Pose:
    """Pose at a time since the start of the shot, on the way from one to the next."""
    numbers, share = _turn(person, since)
    one, other = (_poses(person)[number] for number in numbers)
    near = one if share < 0.5 else other  # a hand is raised or not
    between = {
        name: (1 - share) * getattr(one, name) + share * getattr(other, name)
        for name in ("x", "y", "size", "turn", "tilt", "lean")
    }
    return replace(
        near, **between, mouth=0.12 + 0.12 * math.sin(since * 9.1), eyes=0.0 if eyes_closed(since + person) else 1.0
    )


def _make(path: Path) -> Truth:
    count = round(_SHOT * FPS)
    seconds = np.arange(_PEOPLE * count) / FPS
    encoding = Encoding(FPS, 1_200_000, {"preset": "veryfast"})
    videos.encode(path, encoding, _frames(count), seconds)
    at = [round(float(second), 5) for second in seconds]
    shots = [
        Filmed(
            start=at[first], end=at[first + count - 1], look="room", motion="hand-held", light="steady", cast="posed"
        )
        for first in range(0, len(at), count)
    ]
    gaps = (Gap(start=one.end, end=other.start, kind=Join.CUT) for one, other in pairwise(shots))
    return Truth(gaps=tuple(gaps), shots=tuple(shots), seconds=tuple(at))


def _frames(count: int) -> Iterator[Plane]:
    for number in range(_PEOPLE):
        ground = backdrop(np.random.default_rng([_SEED, number, 1]), cartoon=False)
        person = Person(_SEED + number)
        for frame in range(count):
            since = frame / FPS
            camera = Camera(1.0, 0.006 * math.sin(1.3 * since), 0.004 * math.sin(1.9 * since + 1))
            picture = framed(with_person(ground, person, _pose(number, since)), camera)
            yield np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV_I420), np.uint8)
