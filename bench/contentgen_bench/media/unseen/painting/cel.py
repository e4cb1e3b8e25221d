"""Cel animation: painted layers that move against each other, and outlined figures whose drawings are held."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from contentgen_bench.media.unseen.painting.camera import CameraPose, Matrix, flat, path
from contentgen_bench.media.unseen.painting.plan import Draw, Image, PlannedShot
from contentgen_bench.media.unseen.painting.textures import Random, Tint, tint

_BASE = CameraPose(0, 0, 0)
_INK = (30, 22, 25)


@dataclass(frozen=True)
class _Figure:
    """Place in shares of the frame, size in frame heights, colours, drawings a second and their seed."""

    x: float
    y: float
    size: float
    body: Tint
    skin: Tint
    hair: Tint
    rate: float
    walk: float  # frame widths a second
    seed: int


def draw(shot: PlannedShot, width: int, height: int) -> Draw:
    """Painter of an animated shot. Layers move every frame, figures on twos, threes or fours."""
    rng = np.random.default_rng([shot.place, 8])
    camera = path(shot, _BASE)
    layers = _layers(rng, 2 * width, 2 * height)
    own = np.random.default_rng([shot.seed, 8])
    figures = [_figure(own) for _ in range(int(own.integers(1, 4)))]
    impact = shot.event if own.random() < 0.35 else math.inf

    def at(seconds: float) -> Image:
        matrix = flat(camera(seconds), _BASE, width, height)
        out = np.zeros((height, width, 3), np.uint8)
        for depth, layer in zip((0.4, 0.7, 1.0), layers, strict=True):
            moved = matrix.copy()
            moved[:, 2] = depth * matrix[:, 2]
            moved[:, 2] -= moved[:, :2] @ np.array([width / 2, height / 2])
            image = cv2.warpAffine(layer, moved, (width, height), None, cv2.INTER_LINEAR, cv2.BORDER_REFLECT)
            cv2.copyTo(image[:, :, :3], cv2.threshold(image[:, :, 3], 127, 255, cv2.THRESH_BINARY)[1], out)
        for figure in figures:
            _draw_figure(out, figure, matrix, seconds)
        since = seconds - impact
        if 0 <= since < 0.09:  # impact frames: the drawing in two inverted tones
            gray = cv2.cvtColor(out, cv2.COLOR_BGR2GRAY)
            tones = cv2.threshold(gray, 110, 255, cv2.THRESH_BINARY_INV)[1]
            out = np.asarray(cv2.cvtColor(tones, cv2.COLOR_GRAY2BGR), np.uint8)
        elif 0 <= since < 0.7:
            _speed_lines(out, math.floor(seconds * 12))
        return out

    return at


def _layers(rng: Random, width: int, height: int) -> list[Image]:
    """Sky, middle ground and foreground, with an alpha channel."""
    hue, light = rng.random(), rng.uniform(0.45, 1.0)
    far = np.zeros((height, width, 4), np.uint8)
    top, low = np.array(tint(hue, 0.6, light)), np.array(tint(hue + 0.1, 0.2, light))
    far[:, :, :3] = (top + np.linspace(0, 1, height)[:, None, None] * (low - top)).astype(np.uint8)
    far[:, :, 3] = 255
    for _ in range(int(rng.integers(2, 7))):
        x, y = rng.uniform(0, width), rng.uniform(0.2, 0.55) * height
        for _ in range(5):
            at = (int(x + rng.normal(0, 40)), int(y + rng.normal(0, 10)))
            cv2.circle(far, at, int(rng.uniform(15, 40)), (*tint(hue, 0.08, min(1, light + 0.2)), 255), -1)
    return [
        far,
        *(_cutout(rng, width, height, hue=hue + 0.3 * n, light=light * (0.8 - 0.25 * n), number=n) for n in (1, 2)),
    ]


def _cutout(rng: Random, width: int, height: int, *, hue: float, light: float, number: int) -> Image:
    """Row of houses, hills or trunks with flat colours and ink outlines."""
    layer = np.zeros((height, width, 4), np.uint8)
    base = (0.62 + 0.1 * number) * height
    kind = rng.integers(3)
    x = -50.0
    while x < width:
        wide, tall = rng.uniform(60, 260), rng.uniform(0.05, 0.35) * height * (2 - 0.5 * number)
        colour = (*tint(hue + rng.normal(0, 0.04), rng.uniform(0.3, 0.8), light * rng.uniform(0.8, 1.2)), 255)
        low, high = (int(x), int(base - tall)), (int(x + wide), int(base))
        if kind == 0:
            cv2.rectangle(layer, low, high, colour, -1)
            cv2.rectangle(layer, low, high, (*_INK, 255), 3)
        elif kind == 1:
            middle = ((low[0] + high[0]) // 2, high[1])
            cv2.ellipse(layer, middle, (int(wide * 0.8), int(tall)), 0, 180, 360, colour, -1)
            cv2.ellipse(layer, middle, (int(wide * 0.8), int(tall)), 0, 180, 360, (*_INK, 255), 3)
        else:
            cv2.rectangle(
                layer, (low[0], low[1]), (low[0] + int(wide * 0.15), high[1]), (*tint(0.07, 0.5, 0.3), 255), -1
            )
            cv2.circle(layer, (low[0], low[1]), int(wide * 0.35), colour, -1)
            cv2.circle(layer, (low[0], low[1]), int(wide * 0.35), (*_INK, 255), 3)
        x += wide * rng.uniform(0.7, 2.0)
    floor = (*tint(hue + 0.08, 0.5, light), 255)
    cv2.rectangle(layer, (0, int(base)), (width, height), floor, -1)
    cv2.line(layer, (0, int(base)), (width, int(base)), (*_INK, 255), 3)
    return layer


def _figure(rng: Random) -> _Figure:
    return _Figure(
        x=rng.uniform(0.2, 0.8),
        y=rng.uniform(0.6, 0.8),
        size=rng.uniform(0.25, 0.75),
        body=tint(rng.random(), rng.uniform(0.5, 1), rng.uniform(0.4, 1)),
        skin=tint(rng.uniform(0.04, 0.1), rng.uniform(0.2, 0.5), rng.uniform(0.6, 1)),
        hair=tint(rng.random(), rng.uniform(0.3, 1), rng.uniform(0.1, 0.9)),
        rate=float(rng.choice([12.0, 8.0, 6.0])),
        walk=float(rng.choice([0.0, 0.0, 0.12, -0.12])),
        seed=int(rng.integers(1 << 31)),
    )


def _draw_figure(out: Image, figure: _Figure, matrix: Matrix, at: float) -> None:
    height, width = out.shape[:2]
    drawing = math.floor(at * figure.rate)
    pose = np.random.default_rng([figure.seed, drawing // 2]).normal(0, 1, 4)  # key drawings; the others are between
    follow = np.random.default_rng([figure.seed, drawing // 2 + 1]).normal(0, 1, 4)
    lean = pose if drawing % 2 == 0 else (pose + follow) / 2
    held = drawing / figure.rate
    place = np.array([(figure.x + figure.walk * held) * width, figure.y * height, 1.0])
    x, y = matrix @ place
    size = figure.size * height * math.hypot(matrix[0, 0], matrix[0, 1])
    line = max(2, round(0.018 * size))

    def blob(dx: float, dy: float, axes: tuple[float, float], colour: Tint, angle: float = 0) -> None:
        centre = (round(x + dx * size), round(y + dy * size))
        radii = (max(1, round(axes[0] * size)), max(1, round(axes[1] * size)))
        cv2.ellipse(out, centre, radii, angle, 0, 360, colour, -1, cv2.LINE_AA)
        cv2.ellipse(out, centre, radii, angle, 0, 360, _INK, line, cv2.LINE_AA)

    for side in (-1, 1):
        blob(side * 0.12, 0.55, (0.07, 0.2), figure.body, 8 * side + 9 * lean[0])
        blob(side * 0.26, 0.1 + 0.05 * lean[1] * side, (0.06, 0.2), figure.skin, side * (-30 + 22 * lean[1]))
    blob(0, 0.2, (0.2, 0.3), figure.body, 3 * lean[2])
    nod = 0.02 * lean[3]
    blob(nod, -0.24, (0.2, 0.19), figure.hair)
    blob(nod, -0.2, (0.16, 0.17), figure.skin)
    shut = drawing % 17 == 0
    for side in (-1, 1):
        blob(nod + 0.065 * side, -0.22, (0.035, 0.006 if shut else 0.045), (250, 250, 250))
    mouth = 0.012 + 0.03 * (drawing % 3 != 0)
    blob(nod, -0.1, (0.05, mouth), (60, 50, 150))


def _speed_lines(out: Image, drawing: int) -> None:
    height, width = out.shape[:2]
    rng = np.random.default_rng([drawing, 9])
    for angle in rng.uniform(0, 2 * math.pi, 26):
        direction = np.array([math.cos(angle), math.sin(angle)])
        start = np.array([width / 2, height / 2]) + direction * height * rng.uniform(0.45, 0.6)
        end = start + direction * width
        cv2.line(
            out, tuple(map(int, start)), tuple(map(int, end)), (245, 245, 245), int(rng.integers(1, 5)), cv2.LINE_AA
        )
