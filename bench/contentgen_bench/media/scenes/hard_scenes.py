"""Shots that detectors mistake for boundaries: whip pans, shakes, zoom punches, explosions, strobes, crossings, water.

They are for tuning only: the benchmark's sets do not contain them. Each shot repeats one kind of event every one to
two seconds, with new parameters each time. Some shots hide boundaries instead: they move without pause (tremor,
ripples, throng), or resemble each other (slides).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np

from contentgen_bench.media.scenes.scenery import Canvas, Colour, Plane, Setup, Take

_LONGEST_SHOT = 16.0  # seconds; events are drawn in advance


class HardEvent(StrEnum):
    """Kind of event that a shot repeats."""

    NONE = "none"
    WHIPS = "whips"
    SHAKES = "shakes"
    PUNCHES = "punches"
    EXPLOSIONS = "explosions"
    STROBES = "strobes"
    GUNFIRE = "gunfire"
    CROSSINGS = "crossings"
    WATER = "water"
    SCROLLS = "scrolls"
    TREMOR = "tremor"
    RIPPLES = "ripples"
    THRONG = "throng"
    SLIDES = "slides"


@dataclass(frozen=True)
class HardSetup(Setup):
    """Parameters of a shot with events."""

    event: HardEvent = HardEvent.NONE


@dataclass(frozen=True)
class _Occurrence:
    """One event. `values`: uniform random numbers that give it size, direction and colour."""

    start: float  # seconds
    lasts: float  # seconds
    values: tuple[float, ...]

    def share(self, seconds: float) -> float:
        """Progress at a time: 0 at the start, 1 at the end, not clipped."""
        return (seconds - self.start) / self.lasts


_LASTS = {  # seconds, shortest and longest
    HardEvent.WHIPS: (0.12, 0.5),
    HardEvent.SHAKES: (0.3, 0.9),
    HardEvent.PUNCHES: (0.12, 0.4),
    HardEvent.EXPLOSIONS: (0.3, 1.3),
    HardEvent.STROBES: (0.5, 1.5),
    HardEvent.GUNFIRE: (0.2, 0.8),
    HardEvent.CROSSINGS: (0.12, 1.2),
    HardEvent.SCROLLS: (0.01, 0.3),
}


class HardTake(Take):
    """Renderer of a shot with events."""

    def __init__(self, setup: HardSetup, width: int, height: int) -> None:
        super().__init__(setup, width, height)
        self._event_kind = setup.event
        rng = np.random.default_rng([setup.seed, 7])
        self._occurrences = _occurrences(rng, setup.event)
        self._waves = rng.uniform(0, 2 * math.pi, 8)
        size = self._canvas[0].shape[1], self._canvas[0].shape[0]
        if setup.event is HardEvent.SCROLLS:
            self._canvas = _page(rng, *size)
        if setup.event is HardEvent.SLIDES:
            self._canvas = _slide(rng, *size)
        actors = self._cast
        front = _front(setup.event, rng, self._occurrences, (width, height))

        def with_front(out: Canvas, seconds: float) -> None:
            actors(out, seconds)
            front(out, seconds)

        self._cast: Callable[[Canvas, float], None] = with_front

    def _camera(self, seconds: float) -> tuple[float, float, float, float]:
        x, y, zoom, angle = super()._camera(seconds)
        if self._event_kind is HardEvent.TREMOR:
            shake = [math.sin((9 + 5 * n) * seconds + self._waves[n]) for n in range(6)]
            force = 0.02 + 0.05 * self._waves[6] / math.tau
            x, y, angle = x + force * sum(shake[::2]), y + force * sum(shake[1::2]), angle + 40 * force * shake[5]
        for occurrence in self._occurrences:
            share, size, way = occurrence.share(seconds), *occurrence.values[:2]
            smooth = min(1.0, max(0.0, share)) ** 2 * (3 - 2 * min(1.0, max(0.0, share)))
            match self._event_kind:
                case HardEvent.WHIPS:
                    length, turn = 0.5 + 2.5 * size, 2 * math.pi * way
                    x, y = x + length * math.cos(turn) * smooth, y + 0.5 * length * math.sin(turn) * smooth
                case HardEvent.SHAKES if share > 0:
                    force = (0.04 + 0.16 * size) * math.exp(-4 * share)
                    fast = 2 * math.pi * (4 + 8 * way) * (seconds - occurrence.start)
                    x, y = x + force * math.sin(fast), y + force * math.sin(1.3 * fast + 1)
                    angle += 25 * force * math.sin(0.8 * fast)
                case HardEvent.PUNCHES:
                    to = 1.15 + 0.6 * size
                    back = occurrence.share(seconds - 0.3 - 0.6 * way)
                    back = min(1.0, max(0.0, back)) ** 2 * (3 - 2 * min(1.0, max(0.0, back)))
                    zoom *= to ** (smooth - back)
                case HardEvent.SCROLLS:
                    y += (0.1 + 0.7 * size) * (-1 if way < 0.4 else 1) * smooth
                case _:
                    pass
        if self._event_kind is HardEvent.WATER:
            x += 1e-6 * seconds  # the picture moves although the camera rests
        return x, y, zoom, angle

    def _warp(self, x: float, y: float, zoom: float, angle: float, out: Canvas) -> None:
        super()._warp(x, y, zoom, angle, out)
        if self._event_kind is not HardEvent.WATER:
            return
        seconds = x * 1e6 % 1000
        for plane in out.planes:
            rows, columns = (np.arange(size, dtype=np.float32) / plane.shape[0] for size in plane.shape)
            wave = np.float32(0.025 * plane.shape[0])
            across, down = np.meshgrid(columns, rows)
            one = wave * np.sin(21 * down + 9 * across + np.float32(5.0 * seconds + self._waves[0]))
            two = wave * np.sin(33 * across - 12 * down + np.float32(7.0 * seconds + self._waves[1]))
            maps = (across * plane.shape[0] + one, down * plane.shape[0] + two)
            plane[:] = cv2.remap(plane, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)

    def _illuminate(self, out: Canvas, seconds: float) -> None:
        super()._illuminate(out, seconds)
        for occurrence in self._occurrences:
            share, size, way = occurrence.share(seconds), *occurrence.values[:2]
            if not 0 <= share < 1:
                continue
            match self._event_kind:
                case HardEvent.EXPLOSIONS:
                    _explode(out, occurrence, share)
                case HardEvent.STROBES:
                    lit = math.sin(2 * math.pi * (3 + 9 * size) * (seconds - occurrence.start)) > 0
                    if lit:
                        out.scale(0.2 + 0.4 * occurrence.values[2], 235 if way < 0.5 else 16)
                case HardEvent.GUNFIRE:
                    if (seconds - occurrence.start) % (0.07 + 0.1 * size) < 0.04:
                        out.scale(0.3 + 0.4 * way, 220)
                case _:
                    pass


def _front(
    event: HardEvent, rng: np.random.Generator, occurrences: Sequence[_Occurrence], size: tuple[int, int]
) -> Callable[[Canvas, float], None]:
    """Painter of what moves in front of a shot."""
    match event:
        case HardEvent.CROSSINGS:

            def cross(out: Canvas, seconds: float) -> None:
                for occurrence in occurrences:
                    _cross(out, occurrence, seconds, *size)

            return cross
        case HardEvent.RIPPLES:
            return _ripples(rng, *size)
        case HardEvent.THRONG:
            return _throng(rng, *size)
        case HardEvent.SLIDES:
            return _pointer(rng, *size)
        case _:
            return lambda _out, _seconds: None


def _ripples(rng: np.random.Generator, width: int, height: int) -> Callable[[Canvas, float], None]:
    """Surface of water or leaves in the lower part of the picture: two textures that drift apart."""
    top = round(height * rng.uniform(0.0, 0.45) / 4) * 4
    rows = int(rng.integers(14, 40))
    layers = []
    for _ in range(2):
        grid = rng.normal(0, 1, (rows, round(rows * width / height / rng.uniform(1, 3)))).astype(np.float32)
        layers.append(cv2.resize(grid, (width, height - top), interpolation=cv2.INTER_CUBIC))
    speeds = rng.uniform(-0.5, 0.5, (2, 2)) * height
    depth, level = rng.uniform(14, 40), rng.uniform(50, 170)
    covered, colour = rng.uniform(0.5, 1.0), rng.uniform(112, 144, 2)

    def paint(out: Canvas, seconds: float) -> None:
        one, other = (
            np.roll(layer, (round(x * seconds), round(y * seconds)), (1, 0))
            for layer, (x, y) in zip(layers, speeds, strict=True)
        )
        surface = np.clip(level + depth * (one + other * np.abs(one)), 16, 235)
        out.y[top:] = (1 - covered) * out.y[top:] + covered * surface
        for plane, value in zip((out.u, out.v), colour, strict=True):
            plane[top // 2 :] = (1 - covered) * plane[top // 2 :] + covered * value

    return paint


def _throng(rng: np.random.Generator, width: int, height: int) -> Callable[[Canvas, float], None]:
    """Many people who walk at different speeds, the nearest ones in front."""
    people = sorted(tuple(rng.uniform(0, 1, 8)) for _ in range(int(rng.integers(35, 80))))

    def paint(out: Canvas, seconds: float) -> None:
        for near, place, pace, way, *tones in people:
            tall = height * (0.05 + 0.16 * near)
            speed = tall * (0.6 + 1.6 * pace) * (1 if way < 0.5 else -1)
            x = (place * 1.3 * width + speed * seconds) % (1.3 * width) - 0.15 * width
            y = height * (0.25 + 0.7 * near) + 0.05 * tall * math.sin(9 * seconds + 6 * place)
            coat: Colour = (25 + 190 * tones[0], 100 + 56 * tones[1], 100 + 56 * tones[2])
            out.ellipse((x, y), (0.3 * tall, tall), coat)
            out.ellipse((x, y - 1.1 * tall), (0.18 * tall, 0.22 * tall), (80 + 110 * tones[3], 118, 142))

    return paint


def _pointer(rng: np.random.Generator, width: int, height: int) -> Callable[[Canvas, float], None]:
    """Mouse pointer that moves and rests."""
    phases = rng.uniform(0, math.tau, 2)

    def paint(out: Canvas, seconds: float) -> None:
        x, y = (0.5 + 0.3 * math.sin(max(0.0, math.sin(seconds)) + phase) for phase in phases)
        out.ellipse((x * width, y * height), (4, 6), (30, 128, 128))

    return paint


def _slide(rng: np.random.Generator, width: int, height: int) -> tuple[Plane, Plane, Plane]:
    """Planes of a page within a window that all pages share: a title bar, and a list at the side."""
    planes = _page(rng, width, height)
    y, u, v = planes
    fixed = np.random.default_rng(5)
    bar, side = round(height * 0.24), round(width * 0.34)  # a seventh of the height is outside the frame
    y[:bar], u[: bar // 2], v[: bar // 2] = 60, 150, 118
    y[bar:, :side], u[bar // 2 :, : side // 2], v[bar // 2 :, : side // 2] = 215, 130, 126
    for row in range(bar + height // 30, height, height // 16):
        end = side - int(fixed.uniform(0.02, 0.12) * width)
        cv2.rectangle(y, (width * 9 // 50, row), (end, row + height // 60), 70, -1)
    return planes


def _occurrences(rng: np.random.Generator, event: HardEvent) -> list[_Occurrence]:
    if event not in _LASTS:
        return []
    shortest, longest = _LASTS[event]
    found, at = [], float(rng.uniform(0.5, 1.3))
    while at < _LONGEST_SHOT:
        lasts = float(np.exp(rng.uniform(math.log(shortest), math.log(longest))))
        again = int(rng.integers(1, 4)) if event is HardEvent.CROSSINGS else 1
        found += [  # several objects at nearly the same time
            _Occurrence(at + float(rng.uniform(0, 0.4)), lasts, tuple(rng.uniform(0, 1, 8))) for _ in range(again)
        ]
        at += lasts + float(rng.uniform(0.6, 2.0))
    return found


def _page(rng: np.random.Generator, width: int, height: int) -> tuple[Plane, Plane, Plane]:
    """Planes of a page of a document: lines of text, headings and pictures on a light ground."""
    page = Canvas(width, height)
    page.whole[:] = 128
    page.y[:] = int(rng.integers(200, 235))
    y, step = height // 20, max(6, height // 45)
    while y < height:
        if rng.random() < 0.08:
            tall = int(height * rng.uniform(0.1, 0.3))
            left, right = (int(width * rng.uniform(*span)) for span in ((0.1, 0.4), (0.5, 0.9)))
            cv2.rectangle(page.y, (left, y), (right, y + tall), float(rng.uniform(40, 180)), -1)
            cv2.rectangle(page.v, (left // 2, y // 2), (right // 2, (y + tall) // 2), float(rng.uniform(90, 170)), -1)
            y += tall + step
        x, end = width // 10, width * rng.uniform(0.4, 0.9)
        while x < end and rng.random() > 0.02:
            word = int(step * rng.uniform(1, 5))
            cv2.rectangle(page.y, (x, y), (x + word, y + step // 2), 40, -1)
            x += word + step // 2
        y += step * (2 if rng.random() < 0.15 else 1)
    return page.planes


def _cross(out: Canvas, each: _Occurrence, seconds: float, width: int, height: int) -> None:
    """Draw an object that passes close to the camera: striped, of any size, from any side."""
    share, (size, way, bright, hue, level, *_) = each.share(seconds), each.values
    if not -0.2 < share < 1.2:
        return
    half = (0.08 + 0.5 * size) * width
    x = -half + (width + 2 * half) * share
    x = x if way < 0.5 else width - x
    y = height * (0.2 + 0.6 * level)
    tall = height * (0.35 + 0.6 * size)
    colour: Colour = (30 + 170 * bright, 108 + 40 * hue, 148 - 40 * hue)
    out.ellipse((x, y), (half, tall), colour)
    for stripe in range(-2, 3):
        shade = (max(16.0, colour[0] - 60 + 25 * (stripe % 3)), colour[1], colour[2])
        out.ellipse((x + 0.35 * half * stripe, y), (0.1 * half, 0.6 * tall), shade)


def _explode(out: Canvas, each: _Occurrence, share: float) -> None:
    """Draw a fireball that fills a part of the frame or all of it, and its glare."""
    size, way, glare, where, *_ = each.values
    rise = 0.05 + 0.2 * way
    strength = share / rise if share < rise else (1 - share) / (1 - rise)
    out.scale(1 - (0.3 + 0.65 * glare) * strength, 235)
    height, width = out.y.shape
    before = out.whole.copy()
    radius = height * (0.15 + size) * (0.4 + 0.6 * min(1.0, share / rise))
    for part, colour in ((1.0, (170.0, 70.0, 190.0)), (0.6, (225.0, 90.0, 150.0))):
        out.ellipse((width * (0.2 + 0.6 * where), 0.6 * height), (part * radius, 0.8 * part * radius), colour)
    cv2.addWeighted(before, 1 - strength, out.whole, strength, 0, out.whole)
