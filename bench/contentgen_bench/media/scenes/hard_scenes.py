"""Shots that detectors mistake for boundaries: whip pans, shakes, zoom punches, explosions, strobes, crossings, water.

They are for tuning only: the benchmark's sets do not contain them. Each shot repeats one kind of event every one to
two seconds, with new parameters each time.
"""

import math
from collections.abc import Callable
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
        if setup.event is HardEvent.SCROLLS:
            self._canvas = _page(rng, self._canvas[0].shape[1], self._canvas[0].shape[0])
        actors = self._cast

        def with_crossings(out: Canvas, seconds: float) -> None:
            actors(out, seconds)
            for each in self._occurrences:
                _cross(out, each, seconds, width, height)

        if setup.event is HardEvent.CROSSINGS:
            self._cast: Callable[[Canvas, float], None] = with_crossings

    def _camera(self, seconds: float) -> tuple[float, float, float, float]:
        x, y, zoom, angle = super()._camera(seconds)
        for each in self._occurrences:
            share, size, way = each.share(seconds), *each.values[:2]
            smooth = min(1.0, max(0.0, share)) ** 2 * (3 - 2 * min(1.0, max(0.0, share)))
            match self._event_kind:
                case HardEvent.WHIPS:
                    length, turn = 0.5 + 2.5 * size, 2 * math.pi * way
                    x, y = x + length * math.cos(turn) * smooth, y + 0.5 * length * math.sin(turn) * smooth
                case HardEvent.SHAKES if share > 0:
                    force = (0.04 + 0.16 * size) * math.exp(-4 * share)
                    fast = 2 * math.pi * (4 + 8 * way) * (seconds - each.start)
                    x, y = x + force * math.sin(fast), y + force * math.sin(1.3 * fast + 1)
                    angle += 25 * force * math.sin(0.8 * fast)
                case HardEvent.PUNCHES:
                    to = 1.15 + 0.6 * size
                    back = each.share(seconds - 0.3 - 0.6 * way)
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
        for each in self._occurrences:
            share, size, way = each.share(seconds), *each.values[:2]
            if not 0 <= share < 1:
                continue
            match self._event_kind:
                case HardEvent.EXPLOSIONS:
                    _explode(out, each, share)
                case HardEvent.STROBES:
                    lit = math.sin(2 * math.pi * (3 + 9 * size) * (seconds - each.start)) > 0
                    if lit:
                        out.scale(0.2 + 0.4 * each.values[2], 235 if way < 0.5 else 16)
                case HardEvent.GUNFIRE:
                    if (seconds - each.start) % (0.07 + 0.1 * size) < 0.04:
                        out.scale(0.3 + 0.4 * way, 220)
                case _:
                    pass


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
