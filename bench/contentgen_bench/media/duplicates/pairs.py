"""Pairs of pictures with a label: the same to a person, or different. Generated, and split by scene into two halves.

Same: one scene and framing, with a zoom of up to 8 %, a shift of up to 5 % of the width, other light, blur, noise or
compression, a blink or a moving mouth, and combinations. Different: another scene, a zoom of at least 1.35, a shift of
at least 20 % of the width, another pose, another person, other words. Pairs between these limits have no label and are
not generated. The threshold was chosen on `tune`; the figures in docs/media.md are those of `held-out`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

import cv2
import numpy as np

from contentgen_bench.media.duplicates.changes import MARGIN, Camera, Change, changed, framed
from contentgen_bench.media.duplicates.people import Person, Picture, Pose, card, phrases
from contentgen_bench.media.scenes.scenery import CameraLook, Canvas, Cast, Light, Motion, Setup, Take

WIDTH, HEIGHT = 480, 272
_LARGE = (round(WIDTH * MARGIN / 4) * 4, round(HEIGHT * MARGIN / 4) * 4)
_SCENERY, _PEOPLE, _CARDS = 8, 48, 12  # places of each look; people; cards
_CASTS = {
    CameraLook.LANDSCAPE: (Cast.NOBODY, Cast.TALKER),
    CameraLook.ROOM: (Cast.TALKER, Cast.NOBODY),
    CameraLook.STREET: (Cast.NOBODY, Cast.TALKER),
    CameraLook.CROWD: (Cast.NOBODY,),
    CameraLook.STUDIO: (Cast.TALKER,),
    CameraLook.NIGHT: (Cast.NOBODY, Cast.TALKER),
    CameraLook.CARTOON: (Cast.NOBODY, Cast.TOONS),
    CameraLook.CARD: (Cast.NOBODY,),
}
_INDOORS = (CameraLook.ROOM, CameraLook.STUDIO, CameraLook.STREET, CameraLook.NIGHT, CameraLook.LANDSCAPE)


class Half(StrEnum):
    """Half of the scenes."""

    TUNE = "tune"
    HELD_OUT = "held-out"

    @classmethod
    def of(cls, scene: int) -> "Half":
        """Half that a scene belongs to."""
        return cls.TUNE if scene % 2 == 0 else cls.HELD_OUT


@dataclass(frozen=True)
class LabelledPair:
    """Two pictures, and whether a person would call them the same. `kind`: what differs between them."""

    source: str
    kind: str
    same: bool
    half: Half
    first: Picture
    second: Picture


def generated() -> Iterator[LabelledPair]:
    """All generated pairs."""
    looks = list(_CASTS)
    for scene in range(_SCENERY * len(looks)):
        yield from scenery(scene, looks[scene // _SCENERY])
    for scene in range(_PEOPLE):
        yield from people(scene)
    for scene in range(_CARDS):
        yield from _cards(scene)


def near_camera(rng: np.random.Generator, base: Camera = Camera()) -> Camera:  # noqa: B008 - frozen
    """Framing that a person would call the same."""
    zoom = float(np.exp(rng.uniform(-1, 1) * np.log(1.08)))
    far = np.array([1.0, 0.5]) * rng.uniform(-0.05, 0.05, 2)
    return Camera(base.zoom * zoom, base.x + float(far[0]), base.y + float(far[1]), float(rng.uniform(-1.2, 1.2)))


def variants(large: Picture, base: Camera, rng: np.random.Generator) -> Iterator[tuple[str, Picture, Picture]]:
    """Near-duplicates of a picture: each change alone, each move of the camera, and combinations."""
    first = framed(large, base)
    for change in Change:
        yield change.value, first, changed(first, change, rng)
    sign = 1 if rng.random() < 0.5 else -1
    yield "zoom", first, framed(large, replace(base, zoom=base.zoom * float(rng.uniform(1.04, 1.08)) ** sign))
    shift = Camera(base.zoom, base.x + sign * float(rng.uniform(0.025, 0.05)), base.y + float(rng.uniform(-0.02, 0.02)))
    yield "shift", first, framed(large, shift)
    for _ in range(3):
        second = framed(large, near_camera(rng, base))
        for change in rng.choice(list(Change), 2, replace=False):
            second = changed(second, Change(change), rng)
        yield "combined", first, second


def reframed(large: Picture, rng: np.random.Generator) -> Iterator[tuple[str, Picture, Picture]]:
    """Other framings of a picture: closer, and moved to the side."""
    middle = framed(large, Camera())
    far = [float(each) for each in rng.uniform(-0.04, 0.04, 2)]
    yield "closer", middle, framed(large, Camera(float(rng.uniform(1.35, 1.8)), *far))
    sign = 1 if rng.random() < 0.5 else -1
    left, right = (Camera(1.3, side * sign * float(rng.uniform(0.1, 0.16)), 0.0) for side in (-1, 1))
    yield "moved aside", framed(large, left), framed(large, right)


# --- scenery ---------------------------------------------------------------------------------------------------------


def scenery(scene: int, look: CameraLook) -> Iterator[LabelledPair]:
    """Pairs of a place."""
    rng = np.random.default_rng([scene, 11])
    half = Half.of(scene)
    casts = _CASTS[look]
    setup = Setup(
        look,
        Motion.STILL,
        Light.STEADY,
        casts[scene // 2 % len(casts)],
        place=int(rng.integers(1 << 31)),
        seed=1,
        saturation=float(rng.uniform(0.15, 0.8)),
        detail=float(rng.uniform(0.3, 1.0)),
    )
    large = painted(setup, 0.5, *_LARGE)

    def pair(kind: str, same: bool, first: Picture, second: Picture) -> LabelledPair:
        return LabelledPair(f"scenery {look}", kind, same, half, first, second)

    for kind, first, second in variants(large, Camera(), rng):
        yield pair(kind, True, first, second)
    first = framed(large, Camera())
    again = replace(setup, seed=2, grain=4)
    if setup.cast is not Cast.TOONS:
        later = painted(setup, float(rng.uniform(1, 4)), *_LARGE)
        yield pair("later in the shot", True, first, framed(later, Camera()))
        yield pair("another shot of it", True, first, framed(painted(again, 2.0, *_LARGE), near_camera(rng)))
    if look is not CameraLook.CARD:  # most of a closer card is the same ground
        for kind, one, other in reframed(large, rng):
            yield pair(kind, False, one, other)
    for _ in range(2):
        elsewhere = replace(setup, place=int(rng.integers(1 << 31)))
        yield pair("another place", False, first, framed(painted(elsewhere, 0.5, *_LARGE), Camera()))


def painted(setup: Setup, seconds: float, width: int, height: int) -> Picture:
    """Frame of a shot, in BGR."""
    canvas = Canvas(width, height)
    Take(setup, width, height).paint(seconds, canvas)
    return np.asarray(cv2.cvtColor(canvas.whole, cv2.COLOR_YUV2BGR_I420), np.uint8)


# --- people ----------------------------------------------------------------------------------------------------------


def people(scene: int) -> Iterator[LabelledPair]:
    """Pairs of a person."""
    rng = np.random.default_rng([scene, 12])
    half = Half.of(scene)
    cartoon = scene % 4 == 3
    ground = backdrop(rng, cartoon=cartoon)
    person = Person(scene, cartoon=cartoon)
    pose = Pose(
        x=float(rng.uniform(-0.2, 0.2)),
        y=float(rng.uniform(-0.1, -0.04)),
        size=float(rng.uniform(0.13, 0.2)),
        turn=float(rng.uniform(-0.3, 0.3)),
        tilt=float(rng.uniform(-4, 4)),
    )
    large = with_person(ground, person, pose)
    source = "cartoon figures" if cartoon else "people"

    def pair(kind: str, same: bool, first: Picture, second: Picture) -> LabelledPair:
        return LabelledPair(source, kind, same, half, first, second)

    for kind, first, second in variants(large, Camera(), rng):
        yield pair(kind, True, first, second)
    first = framed(large, Camera())
    for kind, small in _small_changes(pose, rng):
        yield pair(kind, True, first, framed(with_person(ground, person, small), Camera()))
        second = framed(with_person(ground, person, small), near_camera(rng))
        yield pair(f"{kind}, camera", True, first, changed(second, Change(rng.choice(list(Change))), rng))
    for kind, other in other_poses(pose, rng):
        second = framed(with_person(ground, person, other), Camera())
        yield pair(kind, False, first, second)
    for kind, one, other_view in reframed(large, rng):
        yield pair(kind, False, one, other_view)
    other_person = Person(scene + 1000, cartoon=cartoon)
    yield pair("another person", False, first, framed(with_person(ground, other_person, pose), Camera()))
    reverse = with_person(backdrop(rng, cartoon=cartoon), other_person, replace(pose, x=-pose.x))
    yield pair("reverse shot", False, first, framed(reverse, Camera()))


def backdrop(rng: np.random.Generator, *, cartoon: bool) -> Picture:
    """Random place without people, larger than a picture by MARGIN."""
    look = CameraLook.CARTOON if cartoon else _INDOORS[int(rng.integers(len(_INDOORS)))]
    place, saturation = int(rng.integers(1 << 31)), float(rng.uniform(0.2, 0.7))
    setup = Setup(look, Motion.STILL, Light.STEADY, Cast.NOBODY, place, 1, saturation=saturation)
    return painted(setup, 0.0, *_LARGE)


def with_person(ground: Picture, person: Person, pose: Pose) -> Picture:
    """Copy of a place with a person before it."""
    picture = ground.copy()
    person.paint(picture, replace(pose, x=pose.x / MARGIN, y=pose.y / MARGIN, size=pose.size / MARGIN))
    return picture


def _small_changes(pose: Pose, rng: np.random.Generator) -> Iterator[tuple[str, Pose]]:
    yield "blink", replace(pose, eyes=0.0)
    yield "mouth", replace(pose, mouth=float(rng.uniform(0.25, 0.4)))
    yield (
        "slight motion",
        replace(
            pose,
            x=pose.x + pose.size * float(rng.uniform(-0.06, 0.06)),
            turn=pose.turn + float(rng.uniform(-0.08, 0.08)),
            tilt=pose.tilt + float(rng.uniform(-2, 2)),
            mouth=float(rng.uniform(0, 0.3)),
        ),
    )


def other_poses(pose: Pose, rng: np.random.Generator) -> Iterator[tuple[str, Pose]]:
    """Poses that a person would not call the same as this one, by kind."""
    sign = 1 if rng.random() < 0.5 else -1
    away = -1 if pose.turn > 0 else 1
    yield "head turned", replace(pose, turn=pose.turn + away * float(rng.uniform(0.6, 0.9)))
    yield "head tilted", replace(pose, tilt=pose.tilt + sign * float(rng.uniform(14, 25)))
    step = sign * pose.size * float(rng.uniform(0.6, 1.2))
    yield "moved", replace(pose, x=pose.x + step, lean=0.6 * step)
    closer = float(rng.uniform(1.28, 1.5))
    yield "leaning in", replace(pose, size=pose.size * closer, y=pose.y + 0.02)
    yield "leaning aside", replace(pose, x=pose.x + 0.7 * step, tilt=pose.tilt + sign * 10, turn=pose.turn + 0.3 * away)
    hand = (sign * float(rng.uniform(1.2, 1.7)), float(rng.uniform(0.0, 0.8)))
    yield "hand raised", replace(pose, right_hand=hand) if sign > 0 else replace(pose, left_hand=hand)
    yield "both hands", replace(pose, turn=pose.turn + 0.2 * away, left_hand=(-1.3, 0.9), right_hand=(1.35, 0.7))
    if pose.size > 0.16:
        yield "expression", replace(pose, mouth=1.0, brows=1.0, y=pose.y - 0.01, tilt=pose.tilt + 4 * sign)


# --- text cards ------------------------------------------------------------------------------------------------------


def _cards(scene: int) -> Iterator[LabelledPair]:
    rng = np.random.default_rng([scene, 13])
    ground = rng.uniform(0, 60, 3) if scene % 3 else rng.uniform(190, 245, 3)
    first, *others = [card(*_LARGE, ground.tolist(), words) for words in phrases(rng, 4)]
    for kind, one, other in variants(first, Camera(), rng):
        yield LabelledPair("cards", kind, True, Half.of(scene), one, other)
    for large in others:
        one, other = framed(first, Camera()), framed(large, Camera())
        yield LabelledPair("cards", "other words", False, Half.of(scene), one, other)
