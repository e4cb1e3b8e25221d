"""Painter of posed people and of text cards, for labelled pairs of pictures. Not used in the test videos.

Unlike `scenery.py`'s talker, the head turns, tilts and moves, the hands rise, and the expression changes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
"""BGR, height x width x 3."""
_Colour = tuple[float, float, float]
_SHIFT = 4  # fractional bits of OpenCV's coordinates
_WORDS = (
    *("CHAPTER", "THE", "NEXT", "DAY", "MEANWHILE", "PART", "LATER", "NOBODY", "A", "FILM", "BY", "END", "WINTER"),
    *("HOUSE", "RIVER", "SILENCE", "NORTH", "MORNING", "LETTER", "STATION", "GARDEN", "BRIDGE", "SEVEN", "YEARS"),
)


@dataclass(frozen=True)
class Pose:
    """Pose of a person. Lengths in heights of the picture.

    `turn`: -1 (to the left) to 1; `tilt` in degrees; `mouth`, `eyes`, `brows`: 0 (closed, low) to 1.
    """

    x: float = 0.0  # of the head, from the middle of the picture
    y: float = -0.08
    size: float = 0.17  # half of the head's height
    turn: float = 0.0
    tilt: float = 0.0
    lean: float = 0.0  # of the shoulders, to the side
    mouth: float = 0.1
    eyes: float = 1.0
    brows: float = 0.3
    left_hand: tuple[float, float] | None = None  # from the head's middle, in head sizes
    right_hand: tuple[float, float] | None = None


class Person:
    """Person with its own skin, hair and clothes. `cartoon`: flat colours and black outlines."""

    def __init__(self, seed: int, *, cartoon: bool = False) -> None:
        rng = np.random.default_rng([seed, 77])
        self._line = cartoon
        dark = rng.uniform(0.35, 1.0)
        self._skin: _Colour = (
            (rng.uniform(40, 220), rng.uniform(90, 230), rng.uniform(90, 240))
            if cartoon
            else (150 * dark, 180 * dark, 225 * dark)
        )
        tone = rng.uniform(0.1, 1.0)
        self._hair: _Colour = (60 * tone, 90 * tone * rng.uniform(0.6, 1.2), 170 * tone * rng.uniform(0.6, 1.2))
        self._shirt: _Colour = tuple(float(each) for each in rng.uniform(20, 230, 3))  # type: ignore[assignment]
        self._stripes: _Colour | None = (
            tuple(float(each) for each in rng.uniform(20, 230, 3)) if rng.random() < 0.4 else None  # type: ignore[assignment]
        )
        self._long_hair, self._glasses, self._beard = (bool(rng.random() < share) for share in (0.4, 0.35, 0.25))
        self._wide = float(rng.uniform(0.7, 0.82))

    def paint(self, picture: Picture, pose: Pose) -> None:
        """Draw the person on the picture."""
        height, width = picture.shape[:2]
        brush = _Brush(picture, (width / 2 + pose.x * height, height * (0.5 + pose.y)), pose, height, self._line)
        self._body(brush, pose)
        if self._long_hair:
            brush.head((-0.08 * pose.turn, 0.35), (self._wide * 1.12, 1.25), self._hair)
        brush.head((-0.05 * pose.turn, -0.12), (self._wide * 1.08, 1.04), self._hair)
        for side in (-1, 1):
            if side * pose.turn < 0.55:
                brush.head((side * self._wide * (0.98 - 0.15 * abs(pose.turn)), 0.05), (0.12, 0.2), self._skin)
        brush.head((0.06 * pose.turn, 0.05), (self._wide, 0.92), self._skin)
        self._face(brush, pose)
        for side, hand in ((-1, pose.left_hand), (1, pose.right_hand)):
            if hand is not None:
                self._arm(brush, side, hand, pose)

    def _body(self, brush: "_Brush", pose: Pose) -> None:
        lean = pose.lean / pose.size
        brush.free((lean * 0.5, 1.15), (0.34, 0.5), self._skin)
        brush.free((lean, 2.75), (1.75 - 0.3 * abs(pose.turn), 1.45), self._shirt)
        if self._stripes is not None:
            for row in range(4):
                brush.free((lean, 2.0 + 0.45 * row), (1.2, 0.09), self._stripes)

    def _face(self, brush: "_Brush", pose: Pose) -> None:
        across = 0.5 * pose.turn
        narrow = 1 - 0.35 * abs(pose.turn)
        if self._beard:
            brush.head((across * 0.7, 0.62), (0.5 * narrow, 0.34), self._hair)
        for side in (-1, 1):
            at = (across + side * 0.31 * narrow, -0.12)
            brush.head(at, (0.15 * narrow, 0.02 + 0.08 * pose.eyes), (235, 238, 240))
            if pose.eyes > 0.3:
                brush.head((at[0] + 0.04 * pose.turn, at[1]), (0.06, 0.065), (40, 40, 40))
            brush.head((at[0], -0.3 - 0.12 * pose.brows), (0.17 * narrow, 0.03), self._hair)
            if self._glasses:
                brush.ring((at[0], at[1]), (0.2 * narrow, 0.17), (25, 25, 25))
        shade = tuple(0.75 * part for part in self._skin)
        brush.head((across * 1.35, 0.18), (0.08, 0.16), shade)  # type: ignore[arg-type]
        brush.head((across * 0.9, 0.55), (0.22 * narrow, 0.03 + 0.2 * pose.mouth), (50, 40, 130))
        if self._long_hair or not self._beard:
            brush.head((-0.06 * pose.turn, -0.78), (self._wide * 0.9, 0.26), self._hair)

    def _arm(self, brush: "_Brush", side: int, hand: tuple[float, float], pose: Pose) -> None:
        shoulder = (side * 1.35 + pose.lean / pose.size, 2.2)
        brush.limb(shoulder, hand, 0.3, self._shirt)
        brush.free(hand, (0.3, 0.36), self._skin)
        for finger in range(3):
            brush.free((hand[0] - 0.18 + 0.18 * finger, hand[1] - 0.36), (0.07, 0.22), self._skin)


class _Brush:
    """Ellipses in head sizes from the head's middle: `head` ones tilt with it, `free` ones do not."""

    def __init__(self, picture: Picture, middle: tuple[float, float], pose: Pose, height: int, outlined: bool) -> None:
        self._picture, self._middle, self._size = picture, middle, pose.size * height
        self._tilt, self._outlined = pose.tilt, outlined

    def head(self, at: tuple[float, float], axes: tuple[float, float], colour: _Colour) -> None:
        self._ellipse(self._tilted(at), axes, colour, self._tilt, -1)

    def free(self, at: tuple[float, float], axes: tuple[float, float], colour: _Colour) -> None:
        self._ellipse(at, axes, colour, 0.0, -1)

    def ring(self, at: tuple[float, float], axes: tuple[float, float], colour: _Colour) -> None:
        self._ellipse(self._tilted(at), axes, colour, self._tilt, max(1, round(0.04 * self._size)))

    def limb(self, start: tuple[float, float], end: tuple[float, float], thick: float, colour: _Colour) -> None:
        first, last = (self._point(each) for each in (start, end))
        width = max(1, round(2 * thick * self._size))
        if self._outlined:
            cv2.line(self._picture, first, last, (20, 20, 20), width + 6, cv2.LINE_AA, _SHIFT)
        cv2.line(self._picture, first, last, colour, width, cv2.LINE_AA, _SHIFT)

    def _tilted(self, at: tuple[float, float]) -> tuple[float, float]:
        """Rotated about the neck."""
        angle = math.radians(self._tilt)
        x, y = at[0], at[1] - 1.0
        return x * math.cos(angle) - y * math.sin(angle), 1.0 + x * math.sin(angle) + y * math.cos(angle)

    def _point(self, at: tuple[float, float]) -> tuple[int, int]:
        x, y = (middle + self._size * part for middle, part in zip(self._middle, at, strict=True))
        return round(x * (1 << _SHIFT)), round(y * (1 << _SHIFT))

    def _ellipse(
        self, at: tuple[float, float], axes: tuple[float, float], colour: _Colour, angle: float, thickness: int
    ) -> None:
        centre = self._point(at)
        size = tuple(max(1, round(axis * self._size * (1 << _SHIFT))) for axis in axes)
        if self._outlined and thickness < 0:
            wide = tuple(each + (3 << _SHIFT) for each in size)
            cv2.ellipse(self._picture, centre, wide, angle, 0, 360, (20, 20, 20), -1, cv2.LINE_AA, _SHIFT)
        cv2.ellipse(self._picture, centre, size, angle, 0, 360, colour, thickness, cv2.LINE_AA, _SHIFT)


def card(width: int, height: int, ground: Sequence[float], words: Sequence[str]) -> Picture:
    """Text card with one line per word, centred."""
    picture: Picture = np.full((height, width, 3), ground, np.uint8)
    ink = (235, 235, 235) if sum(ground) < 380 else (25, 25, 25)
    for row, text in enumerate(words):
        size = height / 330
        (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, size, 2)
        at = (round((width - wide) / 2), round(height * (0.54 + 0.16 * (row - (len(words) - 1) / 2))))
        cv2.putText(picture, text, at, cv2.FONT_HERSHEY_DUPLEX, size, ink, 2, cv2.LINE_AA)
    return picture


def phrases(rng: np.random.Generator, count: int) -> list[list[str]]:
    """Texts of `count` different cards, with the same number of lines."""
    lines = int(rng.integers(1, 4))
    order = rng.permutation(len(_WORDS))
    return [[_WORDS[order[(card * lines + row) % len(order)]] for row in range(lines)] for card in range(count)]
