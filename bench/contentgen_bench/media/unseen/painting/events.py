"""Events in front of the camera or in the light: flashes, explosions, strobes, objects across the lens, exposure."""

import math
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from contentgen_bench.media.unseen.painting import textures
from contentgen_bench.media.unseen.painting.plan import Happening, Image, PlannedShot
from contentgen_bench.media.unseen.painting.textures import Random, tint

Effect = Callable[[Image, float], Image]  # a picture and its time in seconds
_PART = 4  # fire and smoke are computed at a quarter of the size


def effect(shot: PlannedShot, width: int, height: int) -> Effect:
    """Effect of a shot's happening."""
    rng = np.random.default_rng([shot.seed, 21])
    match shot.happening:
        case Happening.FLASH:
            return _flash(rng, shot)
        case Happening.EXPLOSION:
            return _explosion(rng, shot, width, height)
        case Happening.STROBE:
            return _strobe(rng, shot, width, height)
        case Happening.CROSSING:
            return _crossing(rng, shot, width, height)
        case Happening.EXPOSURE:
            return _exposure(rng, shot)
        case _:
            return lambda picture, _: picture


def toned(picture: Image, weight: float, level: float) -> Image:
    """Blend with the gray `level`; `weight` is that of the picture."""
    return np.asarray(cv2.convertScaleAbs(picture, alpha=weight, beta=(1 - weight) * level), np.uint8)


def _flash(rng: Random, shot: PlannedShot) -> Effect:
    starts = shot.event + np.array([0.0, *rng.uniform(0.2, 0.9, int(rng.integers(0, 3)))])
    decay, strength = rng.uniform(0.03, 0.12), rng.uniform(0.6, 1.0)

    def apply(picture: Image, seconds: float) -> Image:
        since = [seconds - at for at in starts if seconds >= at]
        white = strength * max((math.exp(-each / decay) for each in since), default=0.0)
        return toned(picture, 1 - white, 255) if white > 0.02 else picture

    return apply


def _exposure(rng: Random, shot: PlannedShot) -> Effect:
    """Exposure that goes to a wrong value and returns, as when a camera adapts."""
    wrong = rng.choice([rng.uniform(0.12, 0.35), rng.uniform(1.9, 3.2)])

    def apply(picture: Image, seconds: float) -> Image:
        share = (seconds - shot.event) / shot.event_seconds
        if not 0 < share < 1:
            return picture
        away = math.sin(math.pi * share) ** 2
        return np.asarray(cv2.convertScaleAbs(picture, alpha=wrong**away), np.uint8)

    return apply


def _strobe(rng: Random, shot: PlannedShot, width: int, height: int) -> Effect:
    rate, lit = rng.uniform(4, 12), rng.uniform(0.25, 0.5)
    colours = [tint(rng.random(), rng.choice([0.0, 0.7]), 1.0) for _ in range(4)]
    beams = [_beam(rng, width, height) for _ in range(3)]

    def apply(picture: Image, seconds: float) -> Image:
        since = seconds - shot.event
        if not 0 <= since < shot.event_seconds:
            return picture
        turn = since * rate
        if turn % 1 >= lit:
            return np.asarray(cv2.convertScaleAbs(picture, alpha=0.45), np.uint8)
        colour = colours[int(turn) % len(colours)]
        bright = cv2.convertScaleAbs(picture, alpha=2.6)
        beam = beams[int(turn) % len(beams)]
        light = cv2.merge([cv2.convertScaleAbs(beam, alpha=part / 255) for part in colour])
        return np.asarray(cv2.add(bright, light), np.uint8)

    return apply


def _beam(rng: Random, width: int, height: int) -> Image:
    small = np.zeros((height // _PART, width // _PART), np.uint8)
    x, foot, spread = rng.uniform(0.1, 0.9), rng.uniform(-0.2, 1.2), rng.uniform(0.05, 0.25)
    corners = [(x, 0), (x + 0.02, 0), (foot + spread, 1), (foot - spread, 1)]
    cv2.fillPoly(small, [(np.array(corners) * np.array([small.shape[1], small.shape[0]])).astype(np.int32)], 150)
    return np.asarray(cv2.resize(cv2.blur(small, (9, 9)), (width, height)), np.uint8)


def _crossing(rng: Random, shot: PlannedShot, width: int, height: int) -> Effect:
    """Vehicle, person or pole near the lens, out of focus, that crosses the whole picture."""
    side = rng.choice([-1, 1])
    wide = round(width * rng.choice([0.35, 0.8, 1.6]))
    pad = 40
    body = textures.plaster(rng, tint(rng.random(), rng.uniform(0.1, 0.8), rng.uniform(0.05, 0.7)), wide, height)
    for _ in range(int(rng.integers(0, 5))):
        x = int(rng.uniform(0, wide))
        pane = (x, int(0.15 * height)), (x + wide // 6, int(0.5 * height))
        cv2.rectangle(body, *pane, tint(rng.random(), 0.3, rng.uniform(0, 0.9)), -1)
    top = int(rng.choice([0, 0, 0.12 * height]))
    alpha = np.zeros((height, wide + 2 * pad), np.float32)
    alpha[top:, pad : pad + wide] = 1
    speed = (width + wide + 2 * pad) / shot.event_seconds
    blur = (max(9, round(speed / 50)), 9)
    colour = cv2.blur(cv2.copyMakeBorder(body, 0, 0, pad, pad, cv2.BORDER_REPLICATE), blur)
    alpha = np.asarray(cv2.blur(alpha, blur), np.float32)

    def apply(picture: Image, seconds: float) -> Image:
        since = seconds - shot.event
        if not 0 <= since < shot.event_seconds:
            return picture
        left = round(since * speed) - wide - 2 * pad
        if side < 0:
            left = width - left - wide - 2 * pad
        low, high = max(0, left), min(width, left + wide + 2 * pad)
        if low >= high:
            return picture
        seen, share = picture[:, low:high], alpha[:, low - left : high - left, None]
        out = picture.copy()
        out[:, low:high] = (seen + share * (colour[:, low - left : high - left].astype(np.float32) - seen)).astype(
            np.uint8
        )
        return out

    return apply


def _explosion(rng: Random, shot: PlannedShot, width: int, height: int) -> Effect:
    """White flash, fire that cools to smoke, flying debris, and a shock that shakes the camera."""
    small = width // _PART, height // _PART
    centre = np.array([rng.uniform(0.3, 0.7), rng.uniform(0.4, 0.65)]) * small
    count, scale = 36, rng.uniform(0.7, 1.5)
    directions, speeds = rng.uniform(0, 2 * math.pi, count), rng.gamma(2, 9, count) * scale
    sizes, delays = rng.uniform(5, 13, count) * scale, rng.exponential(0.12, count)
    debris = [(rng.uniform(0, 2 * math.pi), rng.uniform(150, 620), rng.uniform(2, 7)) for _ in range(40)]
    rough = textures.noise(rng, small[0], small[1], 3)
    shake = rng.uniform(8, 26)

    def apply(picture: Image, seconds: float) -> Image:
        since = seconds - shot.event
        if since < 0:
            return picture
        if since < 1.5:
            jolt = shake * math.exp(-3.5 * since)
            shift = np.array([[1, 0, jolt * math.sin(47 * since)], [0, 1, jolt * math.sin(61 * since + 1)]])
            picture = np.asarray(cv2.warpAffine(picture, shift, (width, height), None, 1, cv2.BORDER_REFLECT), np.uint8)
        fire = np.zeros((small[1], small[0]), np.float32)
        smoke = np.zeros_like(fire)
        for angle, speed, size, delay in zip(directions, speeds, sizes, delays, strict=True):
            age = since - delay
            if 0 < age < 4:
                spread = speed * (1 - math.exp(-2.2 * age))
                at = centre + spread * np.array([math.cos(angle), 0.8 * math.sin(angle) - 0.25]) - [0, 5 * age]
                radius = size * (0.5 + 1.3 * (1 - math.exp(-3 * age)))
                _soft(fire, at, radius, 1.4 * math.exp(-2.6 * age))
                _soft(smoke, at, 1.25 * radius, 0.9 * min(1.0, 2.5 * age) * math.exp(-1.1 * age))
        out = _burning(picture, fire, smoke, np.roll(rough, -int(14 * since), 0))
        for piece in debris:
            _debris(out, centre * _PART, piece, since)
        white = 1.6 * math.exp(-since / 0.07)
        return toned(out, 1 - min(1.0, white), 255) if white > 0.02 else out

    return apply


def _soft(field: npt.NDArray[np.float32], at: npt.NDArray[np.float64], radius: float, strength: float) -> None:
    """Add a soft disc."""
    high, wide = field.shape
    left, right = int(max(0, at[0] - radius)), int(min(wide, at[0] + radius + 1))
    top, low = int(max(0, at[1] - radius)), int(min(high, at[1] + radius + 1))
    if left < right and top < low and strength > 0.01:
        x = (np.arange(left, right, dtype=np.float32) - np.float32(at[0])) / np.float32(radius)
        y = (np.arange(top, low, dtype=np.float32) - np.float32(at[1])) / np.float32(radius)
        disc = np.maximum(0, 1 - x[None, :] ** 2 - y[:, None] ** 2)
        field[top:low, left:right] += np.float32(strength) * disc


def _burning(
    picture: Image,
    fire: npt.NDArray[np.float32],
    smoke: npt.NDArray[np.float32],
    rough: npt.NDArray[np.float32],
) -> Image:
    heat = np.clip(fire * (1 + 0.45 * rough), 0, 3)
    cover = np.clip(smoke * (1 + 0.35 * rough), 0, 0.92)
    height, width = picture.shape[:2]
    grey = 34 + 16 * np.clip(rough, -1.5, 1.5)
    glow = np.dstack([heat * 60, heat * 140, heat * 260]) + (grey * cover)[:, :, None]
    added = cv2.resize(np.clip(glow, 0, 255).astype(np.uint8), (width, height))
    left = np.asarray(cv2.resize((1 - cover).astype(np.float32), (width, height)), np.float32)
    return np.asarray(cv2.add(cv2.multiply(picture, cv2.merge([left] * 3), dtype=cv2.CV_8U), added), np.uint8)


def _debris(out: Image, centre: npt.NDArray[np.float64], piece: tuple[float, float, float], since: float) -> None:
    """Draw a piece by its angle in radians, its speed in pixels a second and its size in pixels."""
    angle, speed, size = piece

    def at(seconds: float) -> tuple[int, int]:
        fall = 260 * seconds * seconds
        x, y = centre + speed * seconds * np.array([math.cos(angle), math.sin(angle) - 0.5]) + [0, fall]
        return int(np.clip(x, -2000, 3000)), int(np.clip(y, -2000, 3000))

    cv2.line(out, at(max(0.0, since - 0.02)), at(since), (22, 26, 32), max(1, round(size)))
