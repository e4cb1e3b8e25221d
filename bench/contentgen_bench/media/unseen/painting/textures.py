"""Textures and sprites of the scenes, from fractal noise and shapes. Sprites have an alpha channel of 0 or 255."""

import colorsys
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from contentgen_bench.media.unseen.painting.plan import Image

Random = np.random.Generator
_SIDE = 512  # pixels of a noise texture
Tint = tuple[int, int, int]


@cache
def _noises() -> tuple[npt.NDArray[np.float32], ...]:
    """Six textures of fractal noise with a standard deviation of 1, each with its own roughness."""
    rng = np.random.default_rng(20_011)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_SIDE), np.fft.rfftfreq(_SIDE), indexing="ij"))
    frequency[0, 0] = 1.0
    found = []
    for roughness in (0.7, 0.9, 1.1, 1.3, 1.5, 1.8):
        waves = np.fft.rfft2(rng.normal(size=(_SIDE, _SIDE))) / frequency**roughness
        waves[0, 0] = 0
        field = np.fft.irfft2(waves, s=(_SIDE, _SIDE))
        found.append((field / field.std()).astype(np.float32))
    return tuple(found)


def noise(rng: Random, width: int, height: int, roughness: int) -> npt.NDArray[np.float32]:
    """Part of a noise texture, enlarged if needed. `roughness` is 0 (fine) to 5 (smooth)."""
    field = np.roll(_noises()[roughness], rng.integers(0, _SIDE, 2), (0, 1))
    field = field[:: int(rng.choice([-1, 1])), :: int(rng.choice([-1, 1]))]
    high, wide = min(_SIDE, height), min(_SIDE, width)
    return np.asarray(cv2.resize(np.ascontiguousarray(field[:high, :wide]), (width, height)), np.float32)


def tint(hue: float, saturation: float, value: float) -> Tint:
    """BGR colour; all parameters are 0 to 1, and the hue repeats."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, min(1.0, max(0.0, saturation)), min(1.0, max(0.0, value)))
    return int(blue * 255), int(green * 255), int(red * 255)


def shaded(colour: Tint, gain: npt.NDArray[np.float32]) -> Image:
    """Colour times the gain of each pixel."""
    return np.clip(gain[:, :, None] * np.array(colour, np.float32), 0, 255).astype(np.uint8)


def ground(rng: Random, colour: Tint) -> Image:
    """Asphalt, grass, sand or carpet."""
    gain = 1 + 0.16 * noise(rng, 512, 512, 0) + 0.12 * noise(rng, 512, 512, 4)
    return shaded(colour, gain)


def plaster(rng: Random, colour: Tint, width: int = 384, height: int = 256) -> Image:
    """Wall: stains, and perhaps stripes or bricks."""
    image = shaded(colour, 1 + 0.05 * noise(rng, width, height, 1) + 0.07 * noise(rng, width, height, 5))
    kind = rng.random()
    dark = tuple(int(part * rng.uniform(0.6, 0.85)) for part in colour)
    if kind < 0.35:
        step = int(rng.integers(12, 40))
        for x in range(0, width, step):
            cv2.rectangle(image, (x, 0), (x + step // 2, height), dark, -1)
    elif kind < 0.65:
        step = int(rng.integers(10, 20))
        for row, y in enumerate(range(0, height, step)):
            cv2.line(image, (0, y), (width, y), dark, 1)
            for x in range((row % 2) * step, width, 2 * step):
                cv2.line(image, (x, y), (x, y + step), dark, 1)
    return image


def facade(rng: Random) -> Image:
    """Front of a building, with rows of windows, doors and signs."""
    wide, high = 320, 384
    hue, value = rng.random(), rng.uniform(0.3, 0.9)
    image = plaster(rng, tint(hue, rng.uniform(0.05, 0.5), value), wide, high)
    columns, rows = int(rng.integers(3, 9)), int(rng.integers(4, 10))
    pane, frame = tint(rng.random(), 0.3, rng.uniform(0.1, 0.35)), tint(hue, 0.1, value * rng.uniform(0.5, 1.3))
    for row in range(rows):
        for column in range(columns):
            x, y = (column + 0.22) * wide / columns, (row + 0.2) * high * 0.85 / rows
            x2, y2 = x + 0.56 * wide / columns, y + 0.6 * high * 0.85 / rows
            cv2.rectangle(image, (int(x), int(y)), (int(x2), int(y2)), frame, -1)
            lit = tint(0.13, 0.5, rng.uniform(0.5, 1)) if rng.random() < 0.2 else pane
            cv2.rectangle(image, (int(x) + 3, int(y) + 3), (int(x2) - 3, int(y2) - 3), lit, -1)
    cv2.rectangle(image, (0, int(high * 0.87)), (wide, high), tint(rng.random(), 0.6, rng.uniform(0.2, 0.7)), -1)
    cv2.putText(image, _word(rng), (20, int(high * 0.95)), 2, 1.3, tint(rng.random(), 0.3, 0.95), 3)
    return image


def backdrop(rng: Random, hue: float, light: float) -> Image:
    """Sky with clouds above hills, 768 x 256."""
    wide, high = 768, 256
    share = np.linspace(0, 1, high, dtype=np.float32)[:, None, None]
    top, low = np.array(tint(hue, 0.55, light), np.float32), np.array(tint(hue + 0.05, 0.15, light), np.float32)
    image = np.broadcast_to(top * (1 - share) + low * share, (high, wide, 3)).copy()
    clouds = np.clip(noise(rng, wide, high, 4) * 0.5, 0, 1)[:, :, None]
    image += clouds * (255 * min(1.0, light + 0.15) - image)
    for ridge in range(3):
        outline = noise(rng, wide, 2, 5)[0] * (12 - 3 * ridge) + high * (0.72 + 0.07 * ridge)
        colour = tint(hue - 0.2 - 0.08 * ridge, 0.3 + 0.1 * ridge, light * (0.6 - 0.12 * ridge))
        hills = np.arange(high)[:, None] > outline[None, :]
        image[hills] = shaded(colour, 1 + 0.2 * noise(rng, wide, high, 1))[hills]
    return np.asarray(np.clip(image, 0, 255), np.uint8)


def picture(rng: Random) -> Image:
    """Poster, painting or screen: noise in colours with a few shapes."""
    first, second = tint(rng.random(), 0.7, rng.uniform(0.4, 1)), tint(rng.random(), 0.7, rng.uniform(0.1, 0.6))
    share = 1 / (1 + np.exp(-2 * noise(rng, 128, 128, 5)))[:, :, None]
    image = np.asarray(share * np.array(first) + (1 - share) * np.array(second), np.uint8)
    for _ in range(int(rng.integers(1, 6))):
        at, size = rng.integers(10, 118, 2), int(rng.integers(5, 40))
        cv2.circle(image, (int(at[0]), int(at[1])), size, tint(rng.random(), 0.8, rng.random()), -1)
    cv2.rectangle(image, (0, 0), (127, 127), tint(0.1, 0.4, rng.uniform(0.1, 0.9)), 5)
    return image


def tree(rng: Random) -> Image:
    """Tree sprite, 192 x 256."""
    colour = tint(rng.uniform(0.17, 0.38), rng.uniform(0.3, 0.8), rng.uniform(0.2, 0.6))
    sprite = np.dstack([shaded(colour, 1 + 0.5 * noise(rng, 192, 256, 1)), np.zeros((256, 192), np.uint8)])
    alpha = np.zeros((256, 192), np.uint8)
    for _ in range(14):
        at = rng.normal([96, 95], [30, 38])
        cv2.circle(alpha, (int(at[0]), int(at[1])), int(rng.uniform(18, 38)), 255, -1)
    alpha[noise(rng, 192, 256, 0) < -0.6] = 0
    sprite[:, :, 3] = alpha
    cv2.rectangle(sprite, (90, 110), (102, 255), (*tint(0.08, 0.5, 0.25), 255), -1)
    return np.asarray(sprite, np.uint8)


def person(rng: Random) -> Image:
    """Standing person, 96 x 256."""
    sprite = np.zeros((256, 96, 4), np.uint8)
    skin = (*tint(0.07, rng.uniform(0.3, 0.6), rng.uniform(0.35, 0.95)), 255)
    shirt = (*tint(rng.random(), rng.uniform(0.2, 0.9), rng.uniform(0.15, 0.95)), 255)
    legs = (*tint(rng.random(), rng.uniform(0.1, 0.6), rng.uniform(0.1, 0.5)), 255)
    for x in (36, 60):
        cv2.line(sprite, (48, 150), (x, 250), legs, 18)
    cv2.ellipse(sprite, (48, 105), (25, 52), 0, 0, 360, shirt, -1)
    for x in (14, 82):
        cv2.line(sprite, (48, 75), (x, 145), shirt, 11)
        cv2.circle(sprite, (x, 147), 7, skin, -1)
    cv2.ellipse(sprite, (48, 32), (17, 23), 0, 0, 360, skin, -1)
    cv2.ellipse(sprite, (48, 20), (19, 16), 0, 180, 360, (*tint(0.08, 0.5, rng.uniform(0.05, 0.6)), 255), -1)
    for x in (41, 55):
        cv2.circle(sprite, (x, 30), 2, (20, 20, 20, 255), -1)
    cv2.line(sprite, (43, 43), (53, 43), (60, 60, 120, 255), 2)
    return sprite


def car(rng: Random) -> Image:
    """Car from the side, 256 x 112."""
    sprite = np.zeros((112, 256, 4), np.uint8)
    body = (*tint(rng.random(), rng.uniform(0.2, 0.9), rng.uniform(0.2, 0.95)), 255)
    cabin = np.array([(60, 48), (90, 10), (175, 10), (210, 48)], np.int32)
    cv2.fillPoly(sprite, [cabin], body)
    cv2.rectangle(sprite, (8, 45), (248, 88), body, -1)
    cv2.fillPoly(sprite, [np.array([(74, 46), (96, 17), (170, 17), (196, 46)], np.int32)], (70, 60, 50, 255))
    for x in (58, 196):
        cv2.circle(sprite, (x, 88), 23, (25, 25, 25, 255), -1)
        cv2.circle(sprite, (x, 88), 10, (150, 150, 150, 255), -1)
    return sprite


def boat(rng: Random) -> Image:
    """Sailing boat from the side, 128 x 96."""
    sprite = np.zeros((96, 128, 4), np.uint8)
    hull, sail = (*tint(rng.random(), 0.6, rng.uniform(0.2, 0.9)), 255), (*tint(0.1, 0.1, rng.uniform(0.7, 1)), 255)
    cv2.fillPoly(sprite, [np.array([(8, 72), (120, 72), (100, 95), (28, 95)], np.int32)], hull)
    cv2.fillPoly(sprite, [np.array([(66, 4), (66, 66), (22, 66)], np.int32)], sail)
    cv2.line(sprite, (68, 2), (68, 74), (*tint(0.08, 0.4, 0.3), 255), 3)
    return sprite


def _word(rng: Random) -> str:
    return "".join(rng.choice(list("AEIOU" if index % 2 else "BCDKLMNRST")) for index in range(int(rng.integers(3, 8))))
