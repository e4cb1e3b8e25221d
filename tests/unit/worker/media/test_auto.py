"""Detector `auto` on synthetic frames: boundaries, and what resembles them."""

import copy
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from contentgen_worker.media.decode.planes import Planes
from contentgen_worker.media.shots.boundaries import Boundary, BoundaryKind
from contentgen_worker.media.shots.boundary_detector import AutoDetector

Picture = npt.NDArray[np.float64]
FPS = 25


def scene(seed: int, *, shift: float = 0.0) -> Picture:
    """Soft blobs, 256x144; `shift` pixels to the left."""
    blocks = np.random.default_rng(seed).integers(20, 235, (9, 40)).astype(np.uint8)
    wide = cv2.resize(blocks, (640, 144), interpolation=cv2.INTER_CUBIC)
    return np.roll(wide, -round(shift), axis=1)[:, :256].astype(np.float64)


def still(seed: int, frames: int) -> list[Picture]:
    return [scene(seed)] * frames


def pan(seed: int, frames: int, speed: float) -> list[Picture]:
    return [scene(seed, shift=index * speed) for index in range(frames)]


def zoomed(seed: int, factor: float) -> Picture:
    turned = cv2.getRotationMatrix2D((128, 72), 0, factor)
    return np.asarray(cv2.warpAffine(scene(seed), turned, (256, 144)), np.float64)


def mixed(old: Picture, new: Picture, frames: int) -> list[Picture]:
    return [old + (new - old) * (index + 1) / (frames + 1) for index in range(frames)]


def ramp(old: Picture, frames: int, low: float, high: float) -> list[Picture]:
    return [old * (low + (high - low) * index / frames) for index in range(frames)]


def found(pictures: Sequence[Picture], noise: float = 2.0) -> list[Boundary]:
    detector, random = AutoDetector(), np.random.default_rng(0)
    half = np.full((72, 128), 128, np.uint8)
    boundaries = []
    for index, picture in enumerate(pictures):
        y = np.clip(picture + random.normal(0, noise, picture.shape), 0, 255).astype(np.uint8)
        boundaries += detector.push(index / FPS, detector.thumbnail(Planes.from_planes(y, half, half)))
    return boundaries + detector.finish()


def crossed(seed: int, frames: int, *, objects: int = 1) -> list[Picture]:
    """Objects that pass before a still scene; together they cover all of it for a moment."""
    pictures = []
    for index in range(frames):
        picture = scene(seed)
        for number in range(objects):
            edge = round(-200 + 460 * (index - 2 * number) / frames)
            left, right = np.clip((edge, edge + 200), 0, 256)
            picture[:, left:right] = 45 + 60 * number + 40 * ((np.arange(left, right) - edge) // 20 % 2)
        pictures.append(picture)
    return pictures


def punched(seed: int, frames: int, factor: float) -> list[Picture]:
    """Zoom within few frames."""
    return [zoomed(seed, factor ** ((index + 1) / frames)) for index in range(frames)]


def exploded(seed: int, frames: int) -> list[Picture]:
    """A bright picture that hides the scene at once and disappears slowly."""
    fire = np.full((144, 256), 230.0)
    cv2.circle(fire, (128, 72), 60, 120.0, -1)
    return mixed(fire, scene(seed), frames)


def strobed(seed: int, frames: int) -> list[Picture]:
    return [scene(seed) if index // 4 % 2 else 0.25 * scene(seed) + 175 for index in range(frames)]


def shaken(seed: int, frames: int) -> list[Picture]:
    return [scene(seed, shift=40 * np.sin(2.4 * index) * (1 - index / frames)) for index in range(frames)]


BLACK = np.full((144, 256), 16.0)
FADE = [*mixed(scene(1), BLACK, 12), *[BLACK] * 6, *mixed(BLACK, scene(2), 12)]


@pytest.mark.parametrize(
    ("between", "kind", "seconds"),
    [
        ([], "Cut", 1 / FPS),
        (mixed(scene(1), scene(2), 12), "Dissolve", 13 / FPS),
        (mixed(scene(1), scene(2), 30), "Dissolve", 31 / FPS),
        (FADE, "Fade", 31 / FPS),
    ],
)
def test_transitions_between_two_shots(between: list[Picture], kind: str, seconds: float) -> None:
    (boundary,) = found([*still(1, 100), *between, *still(2, 100)])
    assert boundary.kind == kind
    assert boundary.start == pytest.approx(99 / FPS, abs=3.1 / FPS)
    assert boundary.end - boundary.start == pytest.approx(seconds, abs=4.1 / FPS)


@pytest.mark.parametrize(
    "pictures",
    [
        [*still(1, 60), *[np.full((144, 256), 250.0)] * 2, *still(1, 60)],  # a flash
        pan(1, 120, 6),
        [*still(1, 50), *pan(1, 12, 30), *[scene(1, shift=360)] * 50],  # a whip
        [*still(1, 60), *[scene(1) * 0.4] * 60],  # a lamp is switched
        [*still(1, 50), *ramp(scene(1), 20, 1.0, 0.4), *[scene(1) * 0.4] * 50],  # a lamp is turned down
        [zoomed(1, 1 + index / 150) for index in range(100)],
        still(1, 100),
    ],
    ids=["flash", "pan", "whip", "switch", "dimmer", "zoom", "still"],
)
def test_differences_that_are_no_boundary(pictures: list[Picture]) -> None:
    assert found(pictures) == []


EVENTS: dict[str, list[Picture]] = {
    "object": crossed(1, 12),
    "objects": crossed(1, 14, objects=2),
    "whip": [*pan(1, 8, 70), *[scene(1, shift=490)] * 10],
    "zoom": [*punched(1, 3, 1.5), *[zoomed(1, 1.5)] * 10],
    "whip mostly in one frame": [scene(1, shift=shift) for shift in (70, 76, 78)],
    "zoom mostly in one frame": [zoomed(1, factor) for factor in (1.3, 1.38, 1.42)],
    "explosion": exploded(1, 24),
    "long explosion": [*[exploded(1, 24)[0]] * 14, *exploded(1, 8)],
    "flash": [np.full((144, 256), 250.0)] * 8,
    "strobe": strobed(1, 40),
    "shake": shaken(1, 24),
}


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_is_no_boundary_but_a_cut_after_it_is(event: str) -> None:
    pictures = [*still(1, 60), *EVENTS[event]]
    rest = [pictures[-1]] if event.startswith(("whip", "zoom")) else still(1, 1)
    assert found([*pictures, *rest * 60]) == []
    boundaries = found([*pictures, *rest * 15, *still(2, 60)])
    assert boundaries == [Boundary((len(pictures) + 14) / FPS, (len(pictures) + 15) / FPS, BoundaryKind.CUT)]


@pytest.mark.parametrize("seconds", [0.4, 0.7, 1.0])
def test_a_short_shot_between_two_of_the_same_scene(seconds: float) -> None:
    """The scene is seen again, but after two cuts."""
    frames = round(seconds * FPS)
    starts = [each.start for each in found([*still(1, 60), *still(2, frames), *still(1, 60)])]
    assert starts == pytest.approx([59 / FPS, (59 + frames) / FPS])


def test_a_jump_cut_changes_the_framing_at_once() -> None:
    (boundary,) = found([*still(1, 60), *[zoomed(1, 1.25)] * 60])
    assert boundary == Boundary(59 / FPS, 60 / FPS, BoundaryKind.CUT)
    scrolled = [*still(1, 60), *[scene(1, shift=90)] * 60]
    assert found(scrolled) == []


@pytest.mark.parametrize("speed", [24, 60])
def test_a_cut_at_the_end_of_strong_motion(speed: int) -> None:
    (boundary,) = found([*pan(1, 60, speed), *still(2, 60)])
    assert boundary == Boundary(59 / FPS, 60 / FPS, BoundaryKind.CUT)


def test_the_end_right_after_a_detection() -> None:
    """For any number of frames."""
    detector, shown = AutoDetector(), np.zeros((54, 64), np.uint8)
    for index in range(400):
        assert detector.push(index / FPS, shown) == []
        assert copy.deepcopy(detector).finish() == []


def test_a_jump_cut_and_back() -> None:
    """The framing is seen again, but not because of an event."""
    near = [zoomed(1, 1.25)]
    starts = [each.start for each in found([*still(1, 60), *near * 12, *still(1, 60)])]
    assert starts == pytest.approx([59 / FPS, 71 / FPS])


def test_an_object_passes_before_a_moving_camera() -> None:
    """The scene is seen again, shifted."""
    rows = np.random.default_rng(5).uniform(40, 120, (8, 9, 16))  # so near that its details change in each frame
    hidden = [cv2.resize(row, (256, 144), interpolation=cv2.INTER_CUBIC) for row in rows]
    passing = [*pan(1, 60, 2), *hidden, *[scene(1, shift=136 + 2 * index) for index in range(60)]]
    assert found(passing) == []


def test_a_flash_that_fades_before_a_moving_camera() -> None:
    """It ends as a fade, and the picture has changed by then."""
    white = np.full((144, 256), 250.0)
    moving = pan(1, 140, 3)
    fading = [white + (moving[66 + index] - white) * (index + 1) / 12 for index in range(12)]
    assert found([*moving[:60], *[white] * 6, *fading, *moving[78:]]) == []


def test_a_cut_right_after_a_flash() -> None:
    """The flash changes more than the cut."""
    flash = 0.3 * scene(1) + 170
    (boundary,) = found([*still(1, 60), flash, *still(1, 1), *still(2, 60)])
    assert boundary == Boundary(61 / FPS, 62 / FPS, BoundaryKind.CUT)


def test_similar_object_in_another_scene_is_another_scene() -> None:
    """A presenter before two backgrounds without details."""
    before, after = np.full((144, 256), 90.0), np.full((144, 256), 130.0)
    cv2.circle(before, (90, 70), 35, 200.0, -1)
    cv2.circle(after, (150, 70), 35, 240.0, -1)
    (boundary,) = found([*[before] * 60, *[after] * 60])
    assert boundary == Boundary(59 / FPS, 60 / FPS, BoundaryKind.CUT)


def test_a_dissolve_between_two_framings_of_a_scene_is_none() -> None:
    """It could as well be a zoom, and the pictures on both sides are nearly the same."""
    assert found([*still(1, 60), *mixed(scene(1), zoomed(1, 1.25), 14), *[zoomed(1, 1.25)] * 60]) == []


def test_a_cut_between_two_pans() -> None:
    (boundary,) = found([*pan(1, 60, 3), *pan(2, 60, 3)])
    assert boundary == Boundary(59 / FPS, 60 / FPS, boundary.kind)


def shaking(seed: int, frames: int) -> list[Picture]:
    return [scene(seed, shift=9 * np.sin(1.1 * index)) for index in range(frames)]


def test_a_cut_within_a_shake() -> None:
    """No change stands out, but no frame matches one of the other side."""
    (boundary,) = found([*shaking(1, 60), *shaking(2, 60)])
    assert boundary == Boundary(59 / FPS, 60 / FPS, BoundaryKind.CUT)
    assert found(shaking(1, 120)) == []


def wavy(seed: int, level: float, frames: int) -> list[Picture]:
    """Fine waves, which differ in each frame, on two grounds: a light one and a dark one."""
    random = np.random.default_rng(seed)
    ground = np.where(np.arange(144)[:, None] < 70, level, 200 - level)
    waves = random.normal(0, 45, (frames, 18, 32))
    return [np.clip(ground + cv2.resize(wave, (256, 144), interpolation=cv2.INTER_CUBIC), 0, 255) for wave in waves]


@pytest.mark.parametrize("frames", [12, 20, 30])
def test_a_dissolve_between_waves(frames: int) -> None:
    """Each frame is far off the line, but not its means."""
    old, new = wavy(1, 60, 60 + frames), wavy(2, 120, 60 + frames)
    between = [old[60 + index] + (new[index] - old[60 + index]) * (index + 1) / (frames + 1) for index in range(frames)]
    (boundary,) = found([*old[:60], *between, *new[frames:]])
    assert boundary.kind == BoundaryKind.DISSOLVE
    assert (boundary.start + boundary.end) / 2 == pytest.approx((59.5 + frames / 2) / FPS, abs=5 / FPS)


def test_waves_in_changing_light_are_no_dissolve() -> None:
    """Their means lie on a line, but no texture is lost."""
    brighter = [60 + 60 * min(1, max(0, (index - 60) / 20)) for index in range(140)]
    pictures = wavy(1, 0, 140)
    assert (
        found([np.clip(picture * 0.7 + level, 0, 255) for picture, level in zip(pictures, brighter, strict=True)]) == []
    )


def page(seed: int, *, scrolled: int = 0) -> Picture:
    """Page of a window: two fifths of it, a list, are the same on each page."""
    text = np.random.default_rng(seed).choice([40.0, 220.0], (60, 32), p=[0.4, 0.6])[scrolled : scrolled + 18]
    text[:, :13] = np.random.default_rng(0).choice([40.0, 220.0], (18, 13), p=[0.4, 0.6])
    return np.asarray(cv2.resize(text, (256, 144), interpolation=cv2.INTER_NEAREST), np.float64)


@pytest.mark.parametrize(("frames", "kind"), [(0, "Cut"), (12, "Dissolve")])
def test_pages_of_one_layout(frames: int, kind: str) -> None:
    (boundary,) = found([*[page(1)] * 60, *mixed(page(1), page(2), frames), *[page(2)] * 60])
    assert boundary.kind == kind
    assert boundary.end - boundary.start == pytest.approx((frames + 1) / FPS, abs=4.1 / FPS)


def test_a_part_of_a_page_is_scrolled() -> None:
    assert found([*[page(1)] * 60, *[page(1, scrolled=2)] * 60]) == []


@pytest.mark.parametrize("make", [still, lambda seed, frames: pan(seed, frames, 2)])
def test_every_cut_is_told_once(make: Callable[[int, int], list[Picture]]) -> None:
    """For any position of cuts relative to the times of detection."""
    lengths = [23, 31, 40, 51, 37, 29, 60, 45, 33, 26]
    pictures = [picture for seed, frames in enumerate(lengths) for picture in make(seed, frames)]
    expected = [(sum(lengths[:count]) - 1) / FPS for count in range(1, len(lengths))]
    assert [each.start for each in found(pictures)] == pytest.approx(expected)


@pytest.mark.parametrize("make", [still, lambda seed, frames: pan(seed, frames, 2)])
def test_a_cut_under_an_overlay(make: Callable[[int, int], list[Picture]]) -> None:
    """A panel with text, which stays in place, takes a third of the picture."""
    text = np.random.default_rng(5).choice([30.0, 230.0], (12, 64), p=[0.4, 0.6])
    pictures = [*make(1, 60), *make(2, 60)]
    for number, picture in enumerate(pictures):
        pictures[number] = picture.copy()
        pictures[number][-48:] = cv2.resize(text, (256, 48), interpolation=cv2.INTER_NEAREST)
    assert [each.start for each in found(pictures)] == pytest.approx([59 / FPS])
