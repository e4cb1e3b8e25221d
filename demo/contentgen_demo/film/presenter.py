"""Presenter of the video: a drawn figure, so that a LoRA trained on it resembles no real person."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from cv2.typing import MatLike

from contentgen_demo.film.film import Colour, FilmShot
from contentgen_demo.film.paint import SPACE_HEIGHT, SPACE_WIDTH, Points, mix, polygon

_SKIN: Colour = (232, 178, 140)
_HAIR: Colour = (62, 36, 26)
_WHITE: Colour = (250, 250, 248)
_DARK: Colour = (38, 30, 40)
_LIPS: Colour = (176, 84, 84)
_UNIT = 128.0  # half a face's height at size 1


@dataclass(frozen=True)
class _Pen:
    """Drawing in the figure's units: (0, 0) is between the eyes, 1 is half the face's height, y points down."""

    frame: MatLike
    x: float
    y: float
    unit: float
    turn: float

    def fill(self, points: Iterable[tuple[float, float]], colour: Colour) -> None:
        cos, sin = math.cos(self.turn) * self.unit, math.sin(self.turn) * self.unit
        polygon(self.frame, [(self.x + x * cos - y * sin, self.y + x * sin + y * cos) for x, y in points], colour)

    def oval(self, x: float, y: float, wide: float, high: float, colour: Colour) -> None:
        self.fill(_arc(x, y, wide, high, (0, 360)), colour)


def _arc(x: float, y: float, wide: float, high: float, angles: tuple[float, float]) -> Points:
    """Points of an elliptic arc between two angles in degrees; 0 is right, 90 is down."""
    turns = np.radians(np.linspace(*angles, 40))
    return [(x + wide * math.cos(turn), y + high * math.sin(turn)) for turn in turns]


def draw_presenter(frame: MatLike, shot: FilmShot, seconds: float, loudness: float) -> None:
    """Draw the presenter, who sways and blinks; `loudness` (0-1) opens the mouth."""
    sway = math.sin(seconds * 1.1)
    unit = _UNIT * shot.size
    x, y = SPACE_WIDTH * shot.x + 16 * sway, SPACE_HEIGHT * 0.66 - unit * 0.72 + 5 * math.sin(seconds * 2.3)
    body = _Pen(frame, SPACE_WIDTH * shot.x + 5 * sway, y, unit, 0.0)
    head = _Pen(frame, x, y - 5 * loudness, unit, math.radians(shot.tilt + 2.2 * sway))
    _back_hair(head)
    _suit(body, shot)
    _face(head)
    _eyes(head, shut=seconds % 2.9 > 2.76)
    _mouth(head, loudness)
    _front_hair(head)
    _glasses(head, shot.palette.accent)


def _back_hair(pen: _Pen) -> None:
    pen.oval(0, -0.28, 0.98, 1.02, mix(_HAIR, (0, 0, 0), 0.3))


def _suit(pen: _Pen, shot: FilmShot) -> None:
    suit, light = shot.palette.suit, mix(shot.palette.suit, _WHITE, 0.16)
    pen.fill(
        [*_arc(-1.05, 2.55, 0.95, 0.85, (180, 270)), *_arc(1.05, 2.55, 0.95, 0.85, (270, 360)), (2.1, 6), (-2.1, 6)],
        suit,
    )
    for number in range(-9, 10):  # pinstripes
        x = number * 0.2
        top = 1.75 + 0.55 * max(0.0, abs(x) - 0.9) ** 2
        pen.fill([(x, top), (x + 0.022, top), (x * 1.1 + 0.022, 6), (x * 1.1, 6)], light)
    pen.fill([(-0.34, 0.7), (0.34, 0.7), (0.4, 1.72), (0, 2.0), (-0.4, 1.72)], mix(_SKIN, (120, 60, 40), 0.28))
    pen.fill([(-0.46, 1.42), (0, 2.02), (0.46, 1.42), (0.66, 1.72), (0.08, 4.0), (-0.08, 4.0), (-0.66, 1.72)], _WHITE)
    pen.fill(
        [(-0.12, 1.98), (0.12, 1.98), (0.09, 2.24), (0.2, 3.5), (0, 3.8), (-0.2, 3.5), (-0.09, 2.24)],
        shot.palette.accent,
    )
    for side in (-1, 1):  # lapels
        dark = mix(suit, (0, 0, 0), 0.25)
        pen.fill([(side * 0.52, 1.5), (side * 0.98, 1.78), (side * 0.82, 2.5), (side * 0.04, 4.1)], dark)


def _face(pen: _Pen) -> None:
    shade = mix(_SKIN, (120, 60, 40), 0.22)
    for side in (-1, 1):
        pen.oval(side * 0.86, 0.14, 0.15, 0.22, shade)
    pen.fill([*_arc(0, 0.05, 0.84, 1.05, (180, 360)), *_arc(0, 0.28, 0.84, 0.98, (0, 180))], _SKIN)
    pen.fill([*_arc(0, 0.28, 0.84, 0.98, (-10, 96)), *_arc(0.06, 0.28, 0.6, 0.9, (96, -10))], shade)
    for side in (-1, 1):
        pen.oval(side * 0.5, 0.5, 0.17, 0.11, mix(_SKIN, (230, 100, 90), 0.35))
    pen.fill([(-0.03, 0.1), (0.05, 0.1), (0.13, 0.43), (0.0, 0.49), (-0.1, 0.44)], shade)


def _eyes(pen: _Pen, shut: bool) -> None:
    for side in (-1, 1):
        x = side * 0.36
        pen.fill(
            [(x - 0.21, -0.21), (x, -0.27), (x + 0.21, -0.21), (x + 0.2, -0.15), (x, -0.2), (x - 0.2, -0.15)], _HAIR
        )
        if shut:
            pen.oval(x, 0.06, 0.15, 0.022, _DARK)
        else:
            pen.oval(x, 0.04, 0.16, 0.115, _WHITE)
            pen.oval(x + 0.01, 0.045, 0.085, 0.095, (66, 104, 128))
            pen.oval(x + 0.01, 0.045, 0.045, 0.05, _DARK)
            pen.oval(x + 0.035, 0.015, 0.02, 0.02, _WHITE)
            pen.fill([*_arc(x, 0.04, 0.175, 0.13, (180, 360)), *_arc(x, 0.0, 0.17, 0.05, (360, 180))], _SKIN)  # the lid


def _mouth(pen: _Pen, loudness: float) -> None:
    """Draw the mouth."""
    low = 0.13 + 0.26 * loudness
    pen.fill([*_arc(0, 0.72, 0.33, low + 0.05, (0, 180)), *_arc(0, 0.72, 0.33, 0.07, (180, 0))], _LIPS)
    pen.fill([*_arc(0, 0.74, 0.27, low, (0, 180)), *_arc(0, 0.74, 0.27, 0.05, (180, 0))], (92, 30, 40))
    pen.fill([*_arc(0, 0.74, 0.25, min(low, 0.13), (0, 180)), *_arc(0, 0.74, 0.25, 0.04, (180, 0))], _WHITE)


def _front_hair(pen: _Pen) -> None:
    pen.fill(
        [*_arc(0, -0.2, 0.95, 1.0, (172, 368)), (0.78, -0.3), (0.5, -0.62), (0.0, -0.5), (-0.45, -0.66), (-0.8, -0.28)],
        _HAIR,
    )
    light = mix(_HAIR, (255, 200, 150), 0.22)
    for number in range(6):
        x = -0.5 + number * 0.18
        pen.fill([(x, -0.72), (x + 0.2, -1.08), (x + 0.235, -1.07), (x + 0.06, -0.7)], light)


def _glasses(pen: _Pen, accent: Colour) -> None:
    frame = mix(_DARK, accent, 0.18)
    for side in (-1, 1):
        x = side * 0.36
        rim = [*_arc(x, 0.05, 0.27, 0.24, (0, 360)), *_arc(x, 0.05, 0.235, 0.205, (360, 0))]
        pen.fill(rim, frame)
        pen.fill([(side * 0.62, 0.0), (side * 0.86, -0.04), (side * 0.86, 0.02), (side * 0.62, 0.06)], frame)
    pen.fill([(-0.1, 0.0), (0.1, 0.0), (0.1, 0.045), (-0.1, 0.045)], frame)
