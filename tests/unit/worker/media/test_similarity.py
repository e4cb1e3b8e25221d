"""Similarity of pictures: what near-duplicates may differ in, what they may not, and any bytes of a hostile child."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from contentgen_worker.media.select import similarity
from contentgen_worker.media.select.choose import Rules
from contentgen_worker.media.select.similarity import (
    MAX_DIFFERENCE,
    ComparablePicture,
    PictureIndex,
    Thumbnail,
    difference,
)

LIMIT = Rules().duplicate
WIDTH, HEIGHT = 480, 270
Picture = npt.NDArray[np.uint8]


def person(
    *, shift: float = 0.0, turn: float = 0.0, mouth: float = 4.0, shirt: tuple[int, int, int] = (180, 90, 40)
) -> Picture:
    """Person before a wall with pictures, in BGR."""
    rng = np.random.default_rng(5)
    wall = cv2.resize(rng.uniform(80, 200, (7, 12, 3)).astype(np.float32), (WIDTH, HEIGHT)).astype(np.uint8)
    for _ in range(12):
        x, y = int(rng.integers(0, WIDTH)), int(rng.integers(0, HEIGHT))
        cv2.rectangle(wall, (x, y), (x + 40, y + 30), rng.uniform(30, 230, 3).tolist(), -1)
    x = 240 + shift
    cv2.ellipse(wall, (round(x), 270), (95, 95), 0, 0, 360, shirt, -1)
    cv2.ellipse(wall, (round(x), 120), (42, 56), 0, 0, 360, (120, 150, 210), -1)
    for side in (-1, 1):
        cv2.circle(wall, (round(x + 17 * side + turn), 108), 7, (30, 30, 30), -1)
    cv2.ellipse(wall, (round(x + turn), 148), (12, round(mouth)), 0, 0, 360, (40, 30, 120), -1)
    return wall


def seen(picture: Picture, zoom: float = 1.0, x: float = 0.0, angle: float = 0.0) -> Picture:
    matrix = cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), angle, zoom)
    matrix[0, 2] += x * WIDTH
    return np.asarray(cv2.warpAffine(picture, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT), np.uint8)


def thumbnail(picture: Picture) -> Thumbnail:
    y, u, v = cv2.split(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV))
    return Thumbnail.from_planes(*(np.asarray(plane, np.uint8) for plane in (y, u, v)))


def figure(one: Picture, other: Picture) -> int:
    return difference(ComparablePicture(thumbnail(one)), ComparablePicture(thumbnail(other)), LIMIT)


def scaled(picture: Picture, gain: float, offset: float) -> Picture:
    return np.clip(picture * gain + offset, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    "other",
    [
        person(),
        seen(person(), zoom=1.07),
        seen(person(), zoom=0.95),
        seen(person(), x=0.05),
        seen(person(), zoom=1.05, x=-0.03, angle=1.0),
        scaled(person(), 1.0, 28),
        scaled(person(), 0.75, 0),
        cv2.LUT(person(), (255 * (np.arange(256) / 255) ** 1.3).astype(np.uint8)),
        cv2.blur(person(), (11, 1)),
        cv2.GaussianBlur(person(), (0, 0), 2.5),
        scaled(seen(person(), zoom=1.06, x=0.02), 0.85, 10),
        person(mouth=6),
    ],
    ids=[
        "same",
        "closer",
        "farther",
        "shift",
        "camera",
        "bright",
        "dark",
        "gamma",
        "motion-blur",
        "defocus",
        "combined",
        "mouth",
    ],
)
def test_near_duplicates(other: Picture) -> None:
    assert figure(person(), other) <= LIMIT


@pytest.mark.parametrize(
    "other",
    [
        person(shift=40),
        person(turn=24),
        person(mouth=30),
        person(shirt=(40, 90, 180)),
        seen(person(), zoom=1.35),
        seen(person(), x=0.2),
        person()[:, ::-1],
        np.full((HEIGHT, WIDTH, 3), 128, np.uint8),
    ],
    ids=["moved", "turned", "shouting", "clothes", "closer", "aside", "mirrored", "empty"],
)
def test_different_pictures(other: Picture) -> None:
    assert figure(person(), np.ascontiguousarray(other)) > LIMIT


def test_clothes_of_the_same_luma_differ() -> None:
    """B, G and R weigh 0.114, 0.587 and 0.299 in luma."""
    assert figure(person(shirt=(40, 100, 100)), person(shirt=(40, 60, 178))) > LIMIT


def test_a_moving_mouth_before_an_even_wall() -> None:
    """The mouth is the only detail."""
    first = np.full((HEIGHT, WIDTH, 3), (140, 120, 100), np.uint8)
    first[:, :200] += 25
    second = first.copy()
    cv2.ellipse(second, (240, 148), (8, 4), 0, 0, 360, (30, 20, 120), -1)
    assert figure(first, second) <= LIMIT


@pytest.mark.parametrize("rule", ["_LEVELS", "_rest", "_CHROMA_TOLERANCE", "_LARGEST"])
def test_each_part_of_the_measure_is_needed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    without = {
        "_LEVELS": (),
        "_rest": lambda wanted, like, _others, inside: np.where(inside, wanted - like, 0),
        "_CHROMA_TOLERANCE": 1e3,
        "_LARGEST": 1e3,
    }
    monkeypatch.setattr(similarity, rule, without[rule])
    with pytest.raises(AssertionError):
        check_all_rules()


def check_all_rules() -> None:
    test_near_duplicates(seen(person(), zoom=1.07))
    test_near_duplicates(scaled(person(), 0.75, 0))
    test_clothes_of_the_same_luma_differ()
    test_a_moving_mouth_before_an_even_wall()


def test_an_identical_picture_has_no_difference() -> None:
    assert figure(person(), person()) == 0
    assert figure(person(), person()[::-1].copy()) == MAX_DIFFERENCE


def test_the_order_of_two_pictures_does_not_matter() -> None:
    for other in (seen(person(), zoom=1.05), person(shift=20), np.full((HEIGHT, WIDTH, 3), 128, np.uint8)):
        assert figure(person(), other) == figure(other, person())


def test_an_index_finds_the_picture_that_is_like_another() -> None:
    index = PictureIndex()
    assert index.duplicate(thumbnail(person()), LIMIT) is None
    for number in range(100):
        rng = np.random.default_rng(number)
        other = cv2.resize(rng.uniform(0, 255, (5, 8, 3)).astype(np.uint8), (WIDTH, HEIGHT))
        index.add(number, thumbnail(np.asarray(other, np.uint8)))
    index.add(500, thumbnail(person()))
    found = index.duplicate(thumbnail(seen(person(), zoom=1.05)), LIMIT)
    assert found is not None
    assert found[0] == 500
    assert index.duplicate(thumbnail(person(shift=60)), LIMIT) is None


def test_alignment_ends_when_the_verdict_is_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    align = cv2.findTransformECC
    monkeypatch.setattr(cv2, "findTransformECC", lambda first, *rest: calls.append(len(first)) or align(first, *rest))
    figure(person(), person(mouth=6))
    assert calls == [], "a camera on a tripod"
    one, other = (ComparablePicture(thumbnail(each)) for each in (person(), person(turn=24)))
    assert difference(one, other, 6) == 12
    assert calls == [32], "another pose"


def test_a_picture_of_an_index_is_small() -> None:
    """Besides its thumbnail: hundreds are kept."""
    picture = ComparablePicture(thumbnail(person()))
    held = [picture.coarse, *picture.levels, picture.contrast, picture.thumbnail]
    assert len(held) == len(ComparablePicture.__slots__) + 1, "nothing else"
    assert (
        sum(resource.nbytes for resource in held if isinstance(resource, np.ndarray) and resource.base is None) < 3_000
    )


def test_any_bytes_of_a_child_can_be_compared() -> None:
    rng = np.random.default_rng(3)
    hostile = [bytes(6144), b"\xff" * 6144, bytes(range(256)) * 24, bytes([0, 255] * 3072)]
    hostile += [rng.integers(0, 256, 6144, np.uint8).tobytes() for _ in range(4)]
    pictures = [ComparablePicture(Thumbnail(each[:4096], each[4096:5120], each[5120:])) for each in hostile]
    figures = {difference(one, other, LIMIT) for one in pictures for other in pictures}
    assert figures <= set(range(MAX_DIFFERENCE + 1))
