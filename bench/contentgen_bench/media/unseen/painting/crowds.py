"""Crowds: rows of spectators who jump, wave and take pictures, and walkers in several depths."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from contentgen_bench.media.unseen.painting import textures
from contentgen_bench.media.unseen.painting.camera import CameraPose, Path, exposed, flat, path
from contentgen_bench.media.unseen.painting.plan import Draw, Image, PlannedShot
from contentgen_bench.media.unseen.painting.textures import Random, Tint, tint

_BASE = CameraPose(0, 0, 0)


@dataclass(frozen=True)
class _Person:
    """Position and size in pixels, colours, walking speed in pixels a second, phase in radians."""

    x: float
    y: float
    size: float
    shirt: Tint
    skin: Tint
    speed: float
    phase: float


@dataclass(frozen=True)
class _Crowd:
    """People, speed of the wave of raised arms (0 means none), and flashes a second of their cameras."""

    people: list[_Person]
    wave: float
    flashes: float


def draw(shot: PlannedShot, width: int, height: int) -> Draw:
    """Painter of a shot of a crowd."""
    rng = np.random.default_rng([shot.place, 5])
    camera = path(shot, _BASE)
    ground = textures.ground(rng, tint(rng.random(), rng.uniform(0.05, 0.5), rng.uniform(0.2, 0.7)))
    behind = np.asarray(cv2.resize(ground, (2 * width, 2 * height)), np.uint8)
    if rng.random() < 0.5:
        crowd = _Crowd(_spectators(rng, width, height), rng.uniform(1.5, 3.5), rng.uniform(0, 14))
    else:
        crowd = _Crowd(_walkers(rng, width, height), 0.0, 0.0)
        far = cv2.resize(textures.backdrop(rng, rng.uniform(0.5, 0.65), rng.uniform(0.4, 0.95)), (2 * width, height))
        behind[: int(0.85 * height)] = far[: int(0.85 * height)]

    def still(seconds: float) -> Image:
        return _paint(crowd, behind, camera, seconds, (width, height))

    return lambda seconds: exposed(still, camera, height, seconds)


def _spectators(rng: Random, width: int, height: int) -> list[_Person]:
    size, found = rng.uniform(22, 52), []
    team = rng.random()
    for row in range(math.ceil(2 * height / size)):
        y = -0.5 * height + row * size
        for column in range(math.ceil(2 * width / (0.8 * size))):
            x = -0.5 * width + (column + 0.5 * (row % 2) + rng.normal(0, 0.08)) * 0.8 * size
            shirt = tint(team + rng.normal(0, 0.05) if rng.random() < 0.55 else rng.random(), 0.6, rng.uniform(0.2, 1))
            skin = tint(0.07, 0.45, rng.uniform(0.3, 0.95))
            found.append(_Person(x, y, size, shirt, skin, 0.0, rng.uniform(0, 6.3)))
    return found


def _walkers(rng: Random, width: int, height: int) -> list[_Person]:
    found = []
    for y in np.sort(rng.uniform(0.4, 1.0, int(rng.integers(25, 60)))):
        size = height * 0.5 * (y - 0.3)
        shirt, skin = tint(rng.random(), 0.6, rng.uniform(0.1, 1)), tint(0.07, 0.45, rng.uniform(0.3, 0.95))
        speed = rng.choice([-1, 1]) * rng.uniform(0.6, 1.6) * size
        found.append(_Person(rng.uniform(-1, 2) * width, y * height, size, shirt, skin, speed, rng.uniform(0, 6.3)))
    return found


def _paint(crowd: _Crowd, behind: Image, camera: Path, seconds: float, frame: tuple[int, int]) -> Image:
    width, height = frame
    matrix = flat(camera(seconds), _BASE, width, height)
    moved = matrix.copy()
    moved[:, 2] -= matrix[:, :2] @ np.array([width / 2, height / 2])
    out = np.asarray(cv2.warpAffine(behind, moved, frame, None, cv2.INTER_LINEAR, cv2.BORDER_REFLECT), np.uint8)
    scale = math.hypot(matrix[0, 0], matrix[0, 1])
    for person in crowd.people:
        walked = person.x + person.speed * seconds
        if person.speed:
            walked = (walked + width) % (3 * width) - width
        rise = 0.12 * abs(math.sin(5 * seconds + person.phase))
        if crowd.wave:
            rise += 0.5 * max(0.0, math.sin(crowd.wave * seconds - walked / 160)) ** 6
        x, y = matrix @ np.array([walked, person.y - rise * person.size, 1.0])
        size = person.size * scale
        if -size < x < width + size and -size < y < height + size:
            _person(out, x, y, size, person, raised=rise > 0.3)
    bucket = math.floor(seconds * 12)
    sparks = np.random.default_rng([bucket, 7])
    for _ in range(sparks.poisson(crowd.flashes / 12)):
        at = sparks.integers(0, width), sparks.integers(0, height)
        cv2.circle(out, (int(at[0]), int(at[1])), int(sparks.integers(3, 9)), (255, 255, 255), -1)
    return out


def _person(out: Image, x: float, y: float, size: float, each: _Person, *, raised: bool) -> None:
    body = (round(x), round(y + 0.45 * size))
    if each.speed:
        swing = 0.2 * size * math.sin(x / (0.2 * size) + each.phase)
        for leg in (-swing, swing):
            cv2.line(out, body, (round(x + leg), round(y + 1.35 * size)), (50, 40, 35), max(1, round(0.14 * size)))
    cv2.ellipse(out, body, (max(1, round(0.3 * size)), max(1, round(0.52 * size))), 0, 0, 360, each.shirt, -1)
    if raised:
        for side in (-0.3, 0.3):
            hand = (round(x + side * size), round(y - 0.5 * size))
            cv2.line(out, body, hand, each.skin, max(1, round(0.1 * size)))
    cv2.circle(out, (round(x), round(y - 0.22 * size)), max(1, round(0.22 * size)), each.skin, -1)
