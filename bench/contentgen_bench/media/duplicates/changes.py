"""Changes of a picture that leave it the same to a person: light, blur, noise, compression. Deterministic."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import cv2
import numpy as np

from contentgen_bench.media.duplicates.people import Picture

MARGIN = 1.25


@dataclass(frozen=True)
class Camera:
    """Framing of a picture: `x` and `y` in widths, `angle` in degrees."""

    zoom: float = 1.0
    x: float = 0.0
    y: float = 0.0
    angle: float = 0.0


class Change(StrEnum):
    """Change that a near-duplicate may have."""

    BRIGHTNESS = "brightness"
    CONTRAST = "contrast"
    GAMMA = "gamma"
    MOTION_BLUR = "motion blur"
    DEFOCUS = "defocus"
    COMPRESSION = "compression"
    NOISE = "noise"


def changed(picture: Picture, change: Change, rng: np.random.Generator) -> Picture:
    """Picture with a change of random strength."""
    return _CHANGES[change](picture, rng)


def framed(large: Picture, camera: Camera) -> Picture:
    """What a camera shows of a larger picture, whose sides are MARGIN times those of the result."""
    height, width = (round(side / MARGIN / 2) * 2 for side in large.shape[:2])
    matrix: Any = cv2.getRotationMatrix2D((large.shape[1] / 2, large.shape[0] / 2), camera.angle, camera.zoom)
    matrix[0, 2] += (width - large.shape[1]) / 2 - camera.x * width
    matrix[1, 2] += (height - large.shape[0]) / 2 - camera.y * width
    return np.asarray(
        cv2.warpAffine(large, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101),
        np.uint8,
    )


def _scaled(picture: Picture, gain: float, offset: float) -> Picture:
    return np.asarray(np.clip(picture.astype(np.float32) * gain + offset, 0, 255).astype(np.uint8), np.uint8)


def _brightness(picture: Picture, rng: np.random.Generator) -> Picture:
    sign = 1 if rng.random() < 0.5 else -1
    return _scaled(picture, 1.0, sign * rng.uniform(10, 28))


def _contrast(picture: Picture, rng: np.random.Generator) -> Picture:
    gain = rng.uniform(0.7, 0.9) if rng.random() < 0.5 else rng.uniform(1.1, 1.3)
    return _scaled(picture, gain, float(picture.mean()) * (1 - gain))


def _gamma(picture: Picture, rng: np.random.Generator) -> Picture:
    power = rng.uniform(0.7, 0.88) if rng.random() < 0.5 else rng.uniform(1.15, 1.4)
    table = (255 * (np.arange(256) / 255) ** power).round().astype(np.uint8)
    return np.asarray(cv2.LUT(picture, table), np.uint8)


def _motion_blur(picture: Picture, rng: np.random.Generator) -> Picture:
    length = max(3, round(picture.shape[1] * rng.uniform(0.008, 0.025)))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D((length / 2 - 0.5, length / 2 - 0.5), float(rng.uniform(0, 180)), 1)
    kernel = np.asarray(cv2.warpAffine(kernel, turn, (length, length)), np.float32)
    return np.asarray(cv2.filter2D(picture, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT_101), np.uint8)


def _defocus(picture: Picture, rng: np.random.Generator) -> Picture:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), picture.shape[1] * rng.uniform(0.002, 0.006)), np.uint8)


def _compression(picture: Picture, rng: np.random.Generator) -> Picture:
    _, content = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(12, 45))])
    return np.asarray(cv2.imdecode(content, cv2.IMREAD_COLOR), np.uint8)


def _noise(picture: Picture, rng: np.random.Generator) -> Picture:
    grain = rng.normal(0, rng.uniform(4, 12), picture.shape[:2])
    return np.clip(picture + grain[:, :, None], 0, 255).astype(np.uint8)


_CHANGES: dict[Change, Callable[[Picture, np.random.Generator], Picture]] = {
    Change.BRIGHTNESS: _brightness,
    Change.CONTRAST: _contrast,
    Change.GAMMA: _gamma,
    Change.MOTION_BLUR: _motion_blur,
    Change.DEFOCUS: _defocus,
    Change.COMPRESSION: _compression,
    Change.NOISE: _noise,
}
