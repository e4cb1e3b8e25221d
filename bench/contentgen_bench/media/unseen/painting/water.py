"""Water: the sea with the sky's reflection, and a pool floor seen through waves, both as sums of sine waves."""

import math

import cv2
import numpy as np
import numpy.typing as npt

from contentgen_bench.media.unseen.painting import textures
from contentgen_bench.media.unseen.painting.camera import CameraPose, Path, path
from contentgen_bench.media.unseen.painting.plan import Draw, Image, PlannedShot
from contentgen_bench.media.unseen.painting.textures import Random, tint

_WAVES = 7
_COARSE = 2  # waves are computed on a grid of every second pixel
Grid = npt.NDArray[np.float32]


def draw(shot: PlannedShot, width: int, height: int) -> Draw:
    """Painter of a shot of water."""
    rng = np.random.default_rng([shot.place, 4])
    camera = path(shot, CameraPose(0, -2, 0, 0, rng.uniform(0.02, 0.22)))
    return _sea(rng, camera, width, height) if rng.random() < 0.6 else _pool(rng, camera, width, height)


class _Ripples:
    """Waves of random directions and lengths, which move as waves in deep water do."""

    def __init__(self, rng: Random, longest: float, steep: float) -> None:
        lengths = longest * rng.uniform(0.12, 1.0, _WAVES)
        angles = rng.normal(rng.uniform(0, 2 * math.pi), 0.7, _WAVES)
        number = 2 * math.pi / lengths
        self._x, self._y = number * np.cos(angles), number * np.sin(angles)
        self._rate = np.sqrt(9.81 * number)
        self._phase = rng.uniform(0, 2 * math.pi, _WAVES)
        self._slope = steep * rng.uniform(0.5, 1.0, _WAVES) / math.sqrt(_WAVES)
        self._angles = angles

    def slopes(self, x: Grid, y: Grid, seconds: float) -> tuple[Grid, Grid]:
        """Slope of the surface in both directions."""
        across, along = np.zeros_like(x), np.zeros_like(x)
        for index in range(_WAVES):
            turn = np.float32(self._phase[index] - (self._rate[index] * seconds) % (2 * math.pi))
            slope = np.cos(np.float32(self._x[index]) * x + np.float32(self._y[index]) * y + turn)
            slope *= np.float32(self._slope[index])
            across += np.float32(math.cos(self._angles[index])) * slope
            along += np.float32(math.sin(self._angles[index])) * slope
        return across, along


def _sea(rng: Random, camera: Path, width: int, height: int) -> Draw:
    hue, light, steep = rng.uniform(0.48, 0.65), rng.uniform(0.35, 0.95), rng.uniform(0.12, 0.4)
    ripples, sun = _Ripples(rng, rng.uniform(3, 12), steep), rng.uniform(-0.4, 0.4)
    deep = np.array(tint(hue, rng.uniform(0.5, 0.9), light * 0.35), np.float32)
    sky = np.array(tint(hue, rng.uniform(0.1, 0.45), light), np.float32)
    glow = np.array(tint(rng.uniform(0.03, 0.14), rng.uniform(0.1, 0.6), 1.0), np.float32)
    panorama = np.asarray(cv2.resize(textures.backdrop(rng, hue, light), (3 * width, height)), np.uint8)
    boat, boat_x = textures.boat(rng), rng.uniform(-0.3, 0.3)

    def at(seconds: float) -> Image:
        pose = camera(seconds)
        size = width // _COARSE, height // _COARSE
        across, down = np.meshgrid(
            (np.arange(size[0], dtype=np.float32) + 0.5 - size[0] / 2) / np.float32(size[1] * pose.focal),
            (np.arange(size[1], dtype=np.float32) + 0.5 - size[1] / 2) / np.float32(size[1] * pose.focal),
        )
        dip = np.float32(math.cos(pose.roll)) * down - np.float32(math.sin(pose.roll)) * across + np.float32(pose.pitch)
        far = np.float32(-pose.y) / np.maximum(dip, np.float32(0.012))
        left, right = ripples.slopes((across + np.float32(pose.yaw)) * far, far, seconds)
        fade = np.minimum(1, 12 / far)
        left, right = left * fade, right * fade
        mirror = np.clip(0.25 + 0.9 * right + np.minimum(0.6, far / 60), 0, 1)[:, :, None]
        glitter = np.exp(-(((across + np.float32(pose.yaw - sun)) * 3 + 3 * left) ** 2) - 18 * (right - 0.12) ** 2)
        sea = deep + mirror * (sky - deep) + (0.8 * light * glitter)[:, :, None] * (glow - sky)
        picture = np.asarray(cv2.resize(np.clip(sea, 0, 255).astype(np.uint8), (width, height)), np.uint8)
        return _horizon(picture, panorama, boat, pose, boat_x=boat_x, dip=dip)

    return at


def _horizon(picture: Image, panorama: Image, boat: Image, pose: CameraPose, *, boat_x: float, dip: Grid) -> Image:
    """Sky above the horizon, and a boat on it."""
    height, width = picture.shape[:2]
    line = height * (0.5 - pose.focal * pose.pitch)
    scale = pose.focal / 1.1
    matrix = np.array(cv2.getRotationMatrix2D((1.5 * width, 0.78 * height), math.degrees(pose.roll), scale))
    matrix[:, 2] += [width / 2 - 1.5 * width - pose.focal * height * pose.yaw, line - 0.78 * height]
    sky = cv2.warpAffine(panorama, matrix, (width, height), None, cv2.INTER_LINEAR, cv2.BORDER_REFLECT)
    above = np.asarray(cv2.resize((dip < 0.012).astype(np.uint8) * 255, (width, height)), np.uint8)
    cv2.copyTo(sky, above, picture)
    size = round(72 * scale), round(54 * scale)
    x = round(width / 2 + pose.focal * height * (boat_x - pose.yaw)) - size[0] // 2
    y = round(line) - size[1] + round(6 * scale)
    if 0 <= x < width - size[0] and 0 <= y < height - size[1]:
        sprite = cv2.resize(boat, size)
        cv2.copyTo(sprite[:, :, :3], sprite[:, :, 3], picture[y : y + size[1], x : x + size[0]])
    return picture


def _pool(rng: Random, camera: Path, width: int, height: int) -> Draw:
    ripples = _Ripples(rng, rng.uniform(0.6, 1.6), rng.uniform(0.3, 0.8))
    colour = tint(rng.uniform(0.42, 0.6), rng.uniform(0.2, 0.8), rng.uniform(0.4, 0.9))
    kind = rng.random()
    floor = (
        textures.plaster(rng, colour, 768, 512) if kind < 0.5 else cv2.resize(textures.ground(rng, colour), (768, 512))
    )
    for _ in range(int(rng.integers(3, 14))):
        spot = rng.integers(0, 768), rng.integers(0, 512)
        cv2.circle(
            floor, (int(spot[0]), int(spot[1])), int(rng.integers(8, 60)), tint(rng.random(), 0.5, rng.random()), -1
        )
    strength = rng.uniform(20, 45)

    def at(seconds: float) -> Image:
        pose = camera(seconds)
        scale = 1.1 / pose.focal
        x, y = np.meshgrid(
            np.arange(0, width, _COARSE, dtype=np.float32) * np.float32(scale),
            np.arange(0, height, _COARSE, dtype=np.float32) * np.float32(scale),
        )
        x += np.float32(64 + 250 * pose.yaw)
        y += np.float32(76 + 250 * pose.pitch)
        left, right = ripples.slopes(x / 220, y / 220, seconds)
        bright = 1 - 0.9 * (cv2.Sobel(left, -1, 1, 0, scale=2) + cv2.Sobel(right, -1, 0, 1, scale=2))
        full = (width, height)
        across = cv2.resize(x + strength * left, full)
        down = cv2.resize(y + strength * right, full)
        seen = cv2.remap(floor, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
        gain = np.asarray(cv2.resize(np.clip(bright, 0.6, 1.7), full), np.float32)
        return np.asarray(cv2.multiply(seen, cv2.merge([gain] * 3), dtype=cv2.CV_8U), np.uint8)

    return at
