"""Worlds of the shots: streets, rooms, fields and stages, with the camera's first pose in them."""

from dataclasses import dataclass

import cv2
import numpy as np

from contentgen_bench.media.unseen.painting import textures
from contentgen_bench.media.unseen.painting.camera import CameraPose, exposed, path
from contentgen_bench.media.unseen.painting.plan import Draw, Image, PlannedShot, SceneFamily
from contentgen_bench.media.unseen.painting.textures import Random, Tint, tint
from contentgen_bench.media.unseen.painting.world import Quad, SceneRenderer, billboard, box, quad

_FAR = 90.0  # metres to the backdrops
_EYES = -1.6  # height of the camera; y points down


@dataclass(frozen=True, eq=False)
class FilmSet:
    """Rectangles of a place, and a pose from which they are seen."""

    quads: tuple[Quad, ...]
    pose: CameraPose


def draw(shot: PlannedShot, width: int, height: int) -> Draw:
    """Painter of a shot in a world of rectangles, with motion blur."""
    world = _place(shot)
    camera = path(shot, world.pose)
    actors = _actors(np.random.default_rng([shot.seed, 3]), shot.family, world.pose)
    stage = SceneRenderer([*world.quads, *actors])
    blank = 8 if shot.family is SceneFamily.STAGE else 40

    def still(seconds: float) -> Image:
        return stage.render(camera(seconds), seconds, width, height, blank)

    return lambda seconds: np.asarray(cv2.GaussianBlur(exposed(still, camera, height, seconds), (3, 3), 0), np.uint8)


def _place(shot: PlannedShot) -> FilmSet:
    rng = np.random.default_rng([shot.place, 2])
    match shot.family:
        case SceneFamily.STREET:
            return _street(rng)
        case SceneFamily.FIELD:
            return _field(rng)
        case SceneFamily.STAGE:
            return _room(rng, rng.uniform(0.16, 0.3))
        case _:
            return _room(rng, rng.uniform(0.45, 0.95))


def _surroundings(rng: Random, colour: Tint) -> list[Quad]:
    """Ground and four backdrops."""
    hue, light = rng.uniform(0.5, 0.68), rng.uniform(0.35, 0.98)
    tall, base = 130.0, 10.0
    found = [
        quad((-_FAR, base - tall, _FAR), (2 * _FAR, 0, 0), (0, tall, 0), textures.backdrop(rng, hue, light), 0),
        quad((_FAR, base - tall, _FAR), (0, 0, -2 * _FAR), (0, tall, 0), textures.backdrop(rng, hue, light), 0),
        quad((-_FAR, base - tall, -_FAR), (0, 0, 2 * _FAR), (0, tall, 0), textures.backdrop(rng, hue, light), 0),
        quad((_FAR, base - tall, -_FAR), (-2 * _FAR, 0, 0), (0, tall, 0), textures.backdrop(rng, hue, light), 0),
    ]
    floor = textures.ground(rng, colour)
    smooth = np.asarray(
        np.clip(0.15 * (floor.astype(float) - floor.mean()) + floor.mean(axis=(0, 1)), 0, 255), np.uint8
    )
    found.append(quad((-_FAR, 0, _FAR), (2 * _FAR, 0, 0), (0, 0, -2 * _FAR), smooth, 0))
    # Tiles around the camera, because one texture for the whole ground would be coarse there.
    return found + [
        quad((x, 0, z + 12), (12, 0, 0), (0, 0, -12), floor, 1) for x in (-24, -12, 0, 12) for z in (-4, 8, 20)
    ]


def _street(rng: Random) -> FilmSet:
    quads = _surroundings(rng, tint(rng.random(), rng.uniform(0.02, 0.2), rng.uniform(0.25, 0.6)))
    half = rng.uniform(5, 10)
    for side in (-1, 1):
        z = rng.uniform(-6, 0)
        while z < 55:
            length, tall = rng.uniform(7, 15), rng.uniform(6, 22)
            front = textures.facade(rng)
            near, far = (z, z + length) if side > 0 else (z + length, z)
            # Faces the road; the left row is seen from its far end to its near end.
            start = (side * half, -tall, far) if side > 0 else (side * half, -tall, near - length)
            edge = (0, 0, near - far) if side > 0 else (0, 0, length)
            quads.append(quad(start, edge, (0, tall, 0), front))
            if rng.random() < 0.5:  # end wall toward the camera
                x = half if side > 0 else -half - 8
                quads.append(quad((x, -tall, z), (8, 0, 0), (0, tall, 0), textures.facade(rng)))
            z += length + rng.choice([0.0, 0.0, 5.0])
    for _ in range(int(rng.integers(1, 5))):
        foot = (rng.choice([-1, 1]) * (half - 1.5), 0, rng.uniform(6, 30))
        quads.append(billboard(foot, (4.2, 1.75), textures.car(rng)))
    for _ in range(int(rng.integers(0, 4))):
        foot = (rng.choice([-1, 1]) * (half - 0.8), 0, rng.uniform(7, 30))
        quads.append(billboard(foot, (3.5, rng.uniform(4, 7)), textures.tree(rng)))
    return FilmSet(
        tuple(quads), CameraPose(rng.uniform(-2.5, 2.5), _EYES, 0, rng.uniform(-0.5, 0.5), rng.uniform(-0.12, 0.05))
    )


def _field(rng: Random) -> FilmSet:
    quads = _surroundings(rng, tint(rng.uniform(0.08, 0.33), rng.uniform(0.2, 0.7), rng.uniform(0.25, 0.8)))
    for _ in range(int(rng.integers(6, 22))):
        around, away = rng.uniform(-1.6, 1.6), rng.uniform(6, 40)
        tall = rng.uniform(3, 9)
        foot = (away * np.sin(around), 0, away * np.cos(around))
        quads.append(billboard(foot, (tall * rng.uniform(0.5, 0.8), tall), textures.tree(rng)))
    if rng.random() < 0.5:
        wall = textures.plaster(rng, tint(rng.random(), 0.4, rng.uniform(0.4, 0.95)))
        roof = textures.plaster(rng, tint(0.02, rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.6)))
        quads += box((rng.uniform(-8, 3), -3.5, rng.uniform(9, 16)), (6, 3.5, 5), (wall, roof, wall))
    return FilmSet(tuple(quads), CameraPose(0, _EYES, -1, rng.uniform(-0.4, 0.4), rng.uniform(-0.1, 0.08)))


def _room(rng: Random, light: float) -> FilmSet:
    wide, deep, tall = rng.uniform(5, 9), rng.uniform(5, 9), rng.uniform(2.5, 3.6)
    hue, left, back = rng.random(), -rng.uniform(2, 4), -2.0
    right = left + wide
    walls = [textures.plaster(rng, tint(hue + rng.normal(0, 0.05), 0.4, light * rng.uniform(0.7, 1))) for _ in range(4)]
    floor = textures.plaster(rng, tint(rng.uniform(0.02, 0.12), 0.5, light * 0.6))
    quads = [
        quad((left, -tall, deep), (wide, 0, 0), (0, tall, 0), walls[0], 0),
        quad((right, -tall, deep), (0, 0, back - deep), (0, tall, 0), walls[1], 0),
        quad((left, -tall, back), (0, 0, deep - back), (0, tall, 0), walls[2], 0),
        quad((right, -tall, back), (-wide, 0, 0), (0, tall, 0), walls[3], 0),
        quad((left, 0, deep), (wide, 0, 0), (0, 0, back - deep), floor, 0),
        quad((left, -tall, back), (wide, 0, 0), (0, 0, deep - back), textures.plaster(rng, tint(hue, 0.1, light)), 0),
    ]
    for wall in range(3):
        for _ in range(int(rng.integers(1, 4))):
            side, at, up = rng.uniform(0.5, 1.6), rng.uniform(0.3, 0.7), -rng.uniform(1.9, 2.3)
            start, edge = {
                0: ((left + at * wide - side / 2, up, deep - 0.02), (side, 0, 0)),
                1: ((right - 0.02, up, at * deep + side / 2), (0, 0, -side)),
                2: ((left + 0.02, up, at * deep - side / 2), (0, 0, side)),
            }[wall]
            quads.append(quad(start, edge, (0, side * rng.uniform(0.5, 1), 0), _lit(textures.picture(rng), light), 1))
    for _ in range(int(rng.integers(1, 5))):
        faces = [textures.plaster(rng, tint(rng.random(), 0.5, light * rng.uniform(0.3, 1)), 96, 96) for _ in range(3)]
        size = (rng.uniform(0.6, 2), rng.uniform(0.4, 1.3), rng.uniform(0.5, 1))
        quads += box((rng.uniform(left, right - 2), -size[1], rng.uniform(2, deep - 1)), size, faces)
    centre = (left + right) / 2
    pose = CameraPose(centre + rng.uniform(-1, 1), _EYES, -0.6, rng.uniform(-0.45, 0.45), rng.uniform(-0.05, 0.15))
    return FilmSet(tuple(quads), pose)


def _lit(texture: Image, light: float) -> Image:
    return np.asarray(texture * min(1.0, light + 0.1), np.uint8)


def _actors(rng: Random, family: SceneFamily, pose: CameraPose) -> list[Quad]:
    """People who talk, dance or walk through the picture."""
    found = []
    count = {SceneFamily.STREET: 5, SceneFamily.STAGE: 7, SceneFamily.FIELD: 3}.get(family, 2)
    for _ in range(int(rng.integers(0 if family is SceneFamily.FIELD else 1, count + 1))):
        away = rng.uniform(2.2, 4.5) if family in {SceneFamily.INTERIOR, SceneFamily.STAGE} else rng.uniform(4, 16)
        around = pose.yaw + rng.uniform(-0.6, 0.6)
        foot = (pose.x + away * np.sin(around), 0.0, pose.z + away * np.cos(around))
        sprite = textures.person(rng)
        if family is SceneFamily.STAGE:
            sprite = np.dstack([_lit(sprite[:, :, :3], 0.25), sprite[:, :, 3]])
            found.append(billboard(foot, (0.68, 1.8), sprite, bob=0.12, rate=rng.uniform(1.5, 3)))
        elif family is SceneFamily.INTERIOR:
            found.append(billboard(foot, (0.68, 1.75), sprite, bob=0.02, rate=rng.uniform(0.4, 1.2)))
        else:
            walk = rng.choice([-1, 1]) * rng.uniform(0.5, 1.5)
            found.append(
                billboard(foot, (0.68, 1.75), sprite, velocity=(walk, 0, rng.uniform(-0.4, 0.3)), bob=0.05, rate=1.8)
            )
    return found
