"""Matches between frames of one scene and of two."""

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from contentgen_worker.media.shots.events import SAME_SCENE
from contentgen_worker.media.shots.scene_matcher import UNSCALED, ZOOMS, SceneMatcher, without_bars

Picture = npt.NDArray[np.float32]
SIZE = (64, 36)


def wide(seed: int) -> Picture:
    """Blobs of several sizes, 192x108: three times the size of a thumbnail."""
    random = np.random.default_rng(seed)
    layers = [
        cv2.resize(random.normal(0, force, (9 * cells, 16 * cells)), (192, 108), interpolation=cv2.INTER_CUBIC)
        for cells, force in ((1, 40.0), (2, 25.0), (3, 10.0))
    ]
    return np.asarray(128 + sum(layers), np.float32)


def view(seed: int, *, shift: tuple[float, float] = (0.0, 0.0), zoom: float = 1.0) -> Picture:
    """Middle part of the blobs, 64x36."""
    matrix = cv2.getRotationMatrix2D((96, 54), 0, zoom)
    matrix[:, 2] -= np.array([64 + shift[0], 36 + shift[1]])
    return np.asarray(cv2.warpAffine(wide(seed), matrix, SIZE), np.float32)


def share(one: Picture, other: Picture, zooms: tuple[float, ...] = UNSCALED) -> float:
    noise = np.random.default_rng(0).normal(0, 1.5, (2, 36, 64))
    luma = np.clip(np.stack([one, other]) + noise, 0, 255).astype(np.uint8)
    return SceneMatcher.from_luma(luma).match(0, 1, zooms).share


def covered(picture: Picture, until: int) -> Picture:
    hidden = picture.copy()
    hidden[:, :until] = np.tile([[40.0], [90.0]], (18, 1))
    return hidden


@pytest.mark.parametrize(
    "change",
    [
        lambda: view(1),
        lambda: view(1, shift=(7, 3)),
        lambda: view(1, shift=(-24, 0)),  # a third of the picture in one frame
        lambda: 0.3 * view(1) + 150,  # a flash
        lambda: 0.4 * view(1),
        lambda: covered(view(1), 36),  # an object before the larger part
        lambda: covered(view(1, shift=(4, 1)), 26),
        lambda: cv2.blur(view(1, shift=(6, 0)), (7, 1)),  # motion blur
    ],
    ids=["same", "shift", "whip", "flash", "dark", "object", "object and pan", "blur"],
)
def test_frames_of_one_scene_match(change: Callable[[], Picture]) -> None:
    assert share(view(1), change()) >= SAME_SCENE + 0.05


@pytest.mark.parametrize("zoom", [0.75, 0.85, 1.18, 1.35])
def test_frames_of_a_zoom_match_at_a_zoom_alone(zoom: float) -> None:
    assert share(view(1), view(1, zoom=zoom), ZOOMS) >= SAME_SCENE + 0.05
    assert share(view(1), view(1, zoom=zoom), ZOOMS) > 1.5 * share(view(1), view(1, zoom=zoom))


def test_frames_of_two_scenes_do_not_match() -> None:
    assert max(share(view(seed), view(seed + 50)) for seed in range(30)) < SAME_SCENE - 0.05
    assert max(share(view(seed), view(seed + 50), ZOOMS) for seed in range(30)) < SAME_SCENE


def test_picture_without_details_is_undecided() -> None:
    flat = np.full((36, 64), 90, np.float32)
    assert share(flat, flat) == 0.0
    assert share(flat, np.tile(np.linspace(60, 190, 64, dtype=np.float32), (36, 1))) == 0.0


def test_known_matches_are_kept_for_the_following_run() -> None:
    frames = np.stack([view(seed) for seed in (1, 2, 1)]).astype(np.uint8)
    matcher = SceneMatcher.from_luma(frames)
    expected = matcher.match(1, 2), matcher.in_place(1, 2)
    following = matcher.following(np.zeros_like(frames[1:]), 1)
    assert (following.match(0, 1), following.in_place(0, 1)) == expected


def letterboxed(picture: Picture, lines: int = 5, *, subtitle: bool = False) -> Picture:
    boxed = picture.copy()
    boxed[:lines] = boxed[-lines:] = 17
    if subtitle:
        boxed[-3, 24:40] = 200
    return boxed


@pytest.mark.parametrize("turned", [False, True], ids=["letterbox", "pillarbox"])
def test_bars_are_no_details_that_two_scenes_share(turned: bool) -> None:
    scenes = [letterboxed(view(1)), letterboxed(view(2), subtitle=True), letterboxed(view(1, shift=(7, 0)))]
    if turned:
        scenes = [np.ascontiguousarray(scene.T) for scene in scenes]
    matcher = SceneMatcher.from_luma(np.clip(np.stack(scenes), 0, 255).astype(np.uint8))
    assert matcher.match(0, 1).share < SAME_SCENE
    assert matcher.match(0, 2).share > SAME_SCENE


def test_a_dark_border_of_a_picture_is_not_taken_for_a_bar() -> None:
    night = np.full((36, 64), 20, np.uint8)
    night[15:21] = 120  # a lit window, with more darkness than bars have
    plain = np.full((36, 64), 90, np.uint8)
    assert (without_bars(night) == night).all()
    assert (without_bars(np.zeros((36, 64), np.uint8)) == 0).all()
    assert (without_bars(plain) == plain).all()


def overlaid(picture: Picture) -> Picture:
    """The picture beside a panel with text, which takes two fifths of it."""
    panel = np.random.default_rng(7).integers(30, 220, (36, 26)).astype(np.float32)
    shown = picture.copy()
    shown[:, 38:] = cv2.blur(panel, (2, 2))
    return shown


def matcher_of(*pictures: Picture) -> SceneMatcher:
    return SceneMatcher.from_luma(np.clip(np.stack(pictures), 0, 255).astype(np.uint8))


def test_an_overlay_that_stays_in_place_is_ignored() -> None:
    frames = matcher_of(overlaid(view(1)), overlaid(view(2)), overlaid(view(1, shift=(7, 3))))
    assert frames.in_place(0, 1).share > SAME_SCENE
    scene = frames.without_overlay(0, 1)
    assert scene.match(0, 1, ZOOMS).share < SAME_SCENE
    assert scene.match(0, 2).share > SAME_SCENE


FIRE = cv2.blur(np.random.default_rng(3).normal(200, 90, (36, 64)).astype(np.float32), (3, 3))
ROUND = (
    np.hypot(*(np.indices((36, 64)) - np.array([18, 32]).reshape(2, 1, 1)) / np.array([15, 22]).reshape(2, 1, 1)) < 1
)
WIDE = np.indices((36, 64))[1] < 34


@pytest.mark.parametrize(
    "frame",
    [np.where(ROUND, FIRE, view(1)), np.where(WIDE, FIRE, 0.9 * view(1) + 30)],
    ids=["its outline is round", "it lights the scene"],
)
def test_remains_of_an_explosion_are_no_overlay(frame: Picture) -> None:
    frames = matcher_of(view(1), frame)
    assert frames.in_place(0, 1).share > SAME_SCENE
    assert frames.without_overlay(0, 1) is frames


def test_a_still_picture_has_no_overlay() -> None:
    still = matcher_of(overlaid(view(1)), overlaid(view(1)))
    assert still.without_overlay(0, 1) is still
