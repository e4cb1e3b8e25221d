"""Frame renderer: background, presenter and title. Images are BGR, as in OpenCV."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from cv2.typing import MatLike
from PIL import Image, ImageDraw, ImageFont

from contentgen_demo.film.film import FilmScene, FilmShot
from contentgen_demo.film.paint import SCALE, bgr, box, disc, mix, polygon
from contentgen_demo.film.paint import SPACE_HEIGHT as HEIGHT
from contentgen_demo.film.paint import SPACE_WIDTH as WIDTH
from contentgen_demo.film.presenter import draw_presenter

_WHITE, _NIGHT = np.array([255.0, 255.0, 255.0]), np.array([60.0, 30.0, 30.0])  # of letters, BGR
FILM_WIDTH, FILM_HEIGHT = round(WIDTH * SCALE), round(HEIGHT * SCALE)  # pixels
_MARGIN = 60  # pixels of wall beyond the frame, for the camera to move over


@dataclass(frozen=True)
class Moment:
    """Drawing state of a scene: seconds into the shot, and random numbers that are constant within the shot."""

    seconds: float
    chance: MatLike
    """200 x 4 numbers in 0-1."""


class ShotPainter:
    """Frame painter of one shot; static parts are drawn once."""

    def __init__(self, shot: FilmShot, seed: int) -> None:
        self._shot = shot
        random = np.random.default_rng(seed)
        self._chance = random.random((200, 4))
        self._wall = _wall(shot, random)
        self._title = _title(shot)

    def paint(self, seconds: float, loudness: float) -> MatLike:
        """The frame at `seconds` into the shot; `loudness` (0-1) opens the presenter's mouth."""
        x = int(_MARGIN * (1 + math.sin(seconds * 0.5)))
        y = int(_MARGIN * (1 + math.cos(seconds * 0.4)))
        frame = self._wall[y : y + FILM_HEIGHT, x : x + FILM_WIDTH].copy()
        _SCENES[self._shot.scene](frame, self._shot, Moment(seconds, self._chance))
        draw_presenter(frame, self._shot, seconds, loudness)
        self._put_title(frame, seconds)
        return frame

    def _put_title(self, frame: MatLike, seconds: float) -> None:
        """Draw the title; it slides in within the first half second."""
        colour, alpha = self._title
        arrived = min(1.0, seconds / 0.5)
        x = int(48 - 45 * (1 - arrived) ** 2)
        height, width = alpha.shape[:2]
        place = frame[52 : 52 + height, x : x + width]
        weight = alpha * arrived
        place[:] = (place * (1 - weight) + colour * weight).astype(np.uint8)


def _wall(shot: FilmShot, random: np.random.Generator) -> MatLike:
    """Background gradient with coarse and fine noise."""
    height, width = FILM_HEIGHT + 2 * _MARGIN, FILM_WIDTH + 2 * _MARGIN
    down = np.linspace(0, 1, height)[:, None, None] * 0.8 + np.linspace(0, 0.2, width)[None, :, None]
    top, bottom = (np.array(bgr(colour), dtype=np.float64) for colour in (shot.palette.top, shot.palette.bottom))
    wall = top + (bottom - top) * down
    for cells, strength in ((6, 18), (24, 12), (120, 9)):
        spots = random.random((cells * 9 // 16 + 1, cells)) - 0.5
        wall += cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC)[:, :, None] * 2 * strength
    wall += (random.random((height, width, 1)) - 0.5) * 6
    return np.clip(wall, 0, 255).astype(np.uint8)


def _title(shot: FilmShot) -> tuple[MatLike, MatLike]:
    """Colour and opacity (0-1) of the title with its shadow, in Pillow's built-in font."""
    font = ImageFont.load_default(50)
    lines = _lines(shot.title)
    size = (420, 63 * len(lines) + 24)
    shadow, ink = Image.new("L", size), Image.new("L", size)
    for number, line in enumerate(lines):
        ImageDraw.Draw(shadow).text((6, 63 * number + 6), line, 150, font)
        ImageDraw.Draw(ink).text((4, 63 * number + 3), line, 255, font)
    ImageDraw.Draw(ink).rectangle((5, size[1] - 13, 90, size[1] - 9), 255)
    soft = cv2.GaussianBlur(np.asarray(shadow), (7, 7), 0)[:, :, None] / 255
    sharp = np.asarray(ink)[:, :, None] / 255
    alpha = sharp + soft * (1 - sharp)
    letters, behind = (_NIGHT, _WHITE) if _is_light(shot) else (_WHITE, _NIGHT)
    colour = (letters * sharp + behind * (alpha - sharp)) / np.maximum(alpha, 1e-6)
    return colour, alpha


def _is_light(shot: FilmShot) -> bool:
    """Whether white text is unreadable on this background, by ITU-R BT.601 luma."""
    red, green, blue = shot.palette.top
    return 0.299 * red + 0.587 * green + 0.114 * blue > 185


def _lines(title: str) -> list[str]:
    """Text wrapped to lines of at most 15 characters."""
    lines: list[str] = []
    for word in title.split():
        if lines and len(lines[-1]) + 1 + len(word) <= 15:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def _rays(frame: MatLike, shot: FilmShot, now: Moment) -> None:
    x, y, far = WIDTH * shot.x, HEIGHT * 0.55, 1500
    for index in range(14):
        turn = now.seconds * 0.25 + index * math.tau / 14
        edges = [(x + far * math.cos(turn + d), y + far * math.sin(turn + d)) for d in (0.0, math.pi / 14)]
        polygon(frame, [(x, y), *edges], mix(shot.palette.shape, shot.palette.bottom, 0.25 + 0.2 * (index % 2)))
    disc(frame, x, y, 300 + 12 * math.sin(now.seconds * 2), mix(shot.palette.accent, shot.palette.shape, 0.4))


def _bubbles(frame: MatLike, shot: FilmShot, now: Moment) -> None:
    for x, y, size, tone in now.chance[:60]:
        radius = 10 + 60 * size**3
        height = HEIGHT + 80 - (y * 900 + now.seconds * (60 + 90 * size)) % (HEIGHT + 160)
        across = x * WIDTH + 24 * math.sin(now.seconds + tone * 6)
        disc(frame, across, height, radius, mix(shot.palette.shape, shot.palette.bottom, 0.3 + 0.6 * tone))
        disc(frame, across, height, radius, mix(shot.palette.accent, shot.palette.bottom, 0.2), line=2)
        disc(frame, across - radius * 0.35, height - radius * 0.35, radius * 0.16, shot.palette.accent)


def _hills(frame: MatLike, shot: FilmShot, now: Moment) -> None:
    disc(frame, 330 + 14 * now.seconds, 330 - 12 * now.seconds, 96, shot.palette.accent)
    across = np.arange(0, WIDTH + 16, 16)
    for layer in range(4):
        moved = across + now.seconds * 30 * (layer + 1) + layer * 400
        tops = 380 + layer * 78 + 52 * np.sin(moved / (210 - 30 * layer)) + 18 * np.sin(moved / 53)
        line = [(float(x), float(y)) for x, y in zip(across, tops, strict=True)]
        colour = mix(shot.palette.bottom, shot.palette.shape, 0.3 + 0.22 * layer)
        polygon(frame, [(0, HEIGHT), *line, (WIDTH, HEIGHT)], colour)
        for number in range(layer * 7, layer * 7 + 7):  # trees
            x = (now.chance[number][0] * 1500 - now.seconds * 30 * (layer + 1)) % (WIDTH + 100) - 50
            y = float(np.interp(x, across, tops)) + 6
            tall = 26 + 18 * layer
            dark = mix(colour, (10, 20, 20), 0.35)
            polygon(frame, [(x - tall * 0.3, y), (x, y - tall), (x + tall * 0.3, y)], dark)


def _city(frame: MatLike, shot: FilmShot, now: Moment) -> None:
    disc(frame, 250, 210 - 6 * now.seconds, 74, mix(shot.palette.accent, (255, 255, 255), 0.3))
    for layer, width in ((0, 86), (1, 120)):
        colour = mix(shot.palette.bottom, shot.palette.shape, 0.55 + 0.4 * layer)
        lit = mix(shot.palette.accent, colour, 0.45 * (1 - layer))
        for number in range(20):
            chance = now.chance[number + 30 * layer]
            x = int(number * width - now.seconds * (18 + 26 * layer)) % (20 * width) - width
            top = int(250 + 140 * layer + 190 * chance[0])
            box(frame, (x, top), (width - 8, HEIGHT), colour)
            for row in range(top + 16, HEIGHT, 34):
                for column in range(4):
                    if now.chance[(row * 7 + column * 13 + number) % 200][1] > 0.45:
                        left = x + 9 + column * (width - 16) // 4
                        box(frame, (left, row), (9, 15), lit)


def _waves(frame: MatLike, shot: FilmShot, now: Moment) -> None:
    across = np.arange(0, WIDTH + 16, 16)
    for layer in range(9):
        moved = across / (110 + 9 * layer) + now.seconds * (0.8 + 0.15 * layer) + layer * 1.7
        tops = 90 + layer * 74 + 26 * np.sin(moved) + 9 * np.sin(moved * 2.7)
        line = [(float(x), float(y)) for x, y in zip(across, tops, strict=True)]
        polygon(
            frame, [(0, HEIGHT), *line, (WIDTH, HEIGHT)], mix(shot.palette.top, shot.palette.shape, 0.15 + layer / 11)
        )
    disc(frame, 250, 470 + 22 * math.sin(now.seconds * 1.6), 40, shot.palette.accent)


def _dots(frame: MatLike, shot: FilmShot, now: Moment) -> None:
    for row in range(13):
        for column in range(23):
            x, y = column * 58 + (row % 2) * 29, row * 58
            wave = math.sin(x / 190 + now.seconds * 2) + math.cos(y / 150 - now.seconds * 1.4)
            tone = (wave + 2) / 4
            disc(frame, x, y, 6 + 17 * tone, mix(shot.palette.shape, shot.palette.accent, tone))


def _stripes(frame: MatLike, shot: FilmShot, now: Moment) -> None:
    for number in range(-6, 14):
        x = number * 150 + (now.seconds * 60) % 300
        tone = 0.15 + 0.5 * (number % 2)
        corners = [(x, 0.0), (x + 70, 0.0), (x - 330, HEIGHT), (x - 400, HEIGHT)]
        polygon(frame, corners, mix(shot.palette.shape, shot.palette.top, tone))
    for number in range(5):
        x = 90 + number * 110
        y = 520 + 40 * math.sin(now.seconds * 2.2 + number)
        polygon(frame, [(x - 30, y), (x, y - 30), (x + 30, y), (x, y + 30)], shot.palette.accent)


def _rings(frame: MatLike, shot: FilmShot, now: Moment) -> None:
    x, y = WIDTH * shot.x, HEIGHT * 0.5
    for number in range(15, -1, -1):
        radius = number * 62 + (now.seconds * 70) % 62
        tone = 0.5 + 0.5 * math.sin(number * 0.9)
        disc(frame, x, y, radius, mix(shot.palette.shape, shot.palette.bottom, tone), line=16)
    for number in range(6):
        turn = now.seconds * 0.9 + number * math.tau / 6
        disc(frame, 300 + 170 * math.cos(turn), 470 + 120 * math.sin(turn), 22, shot.palette.accent)


def _stars(frame: MatLike, shot: FilmShot, now: Moment) -> None:
    for x, y, size, tone in now.chance:
        across = (x * WIDTH - now.seconds * 46 * size) % WIDTH
        bright = 0.5 + 0.5 * math.sin(now.seconds * 3 + tone * 9)
        disc(frame, across, y * HEIGHT, 1 + 4 * size**4, mix(shot.palette.bottom, shot.palette.shape, bright))
    disc(frame, 300, 470, 108, shot.palette.accent)
    for x, y, size in ((-40, -30, 22), (30, 24, 30), (-14, 52, 14), (48, -44, 12)):
        disc(frame, 300 + x, 470 + y, size, mix(shot.palette.accent, shot.palette.bottom, 0.22))
    x = (now.seconds * 420) % 1900
    polygon(frame, [(x, 200 + x / 8), (x - 190, 168 + x / 8), (x - 4, 206 + x / 8)], shot.palette.shape)


def _confetti(frame: MatLike, shot: FilmShot, now: Moment) -> None:
    colours = (shot.palette.shape, shot.palette.accent, shot.palette.suit, (250, 176, 5))
    for number, (x, y, size, tone) in enumerate(now.chance[:110]):
        side = 8 + 20 * size
        top = (y * 800 + now.seconds * (90 + 130 * size)) % 800 - 40
        across = x * WIDTH + 30 * math.sin(now.seconds * 2 + tone * 7)
        turn = now.seconds * (1 + 2 * tone) + tone * 6
        flat = abs(math.cos(turn * 1.3)) * 0.8 + 0.2
        corners = [(turn + math.tau * (q + 0.5) / 4) for q in range(4)]
        polygon(
            frame,
            [(across + side * math.cos(c), top + side * flat * math.sin(c)) for c in corners],
            colours[number % 4],
        )


_SCENES: dict[FilmScene, Callable[[MatLike, FilmShot, Moment], None]] = {
    FilmScene.RAYS: _rays,
    FilmScene.BUBBLES: _bubbles,
    FilmScene.HILLS: _hills,
    FilmScene.CITY: _city,
    FilmScene.WAVES: _waves,
    FilmScene.DOTS: _dots,
    FilmScene.STRIPES: _stripes,
    FilmScene.RINGS: _rings,
    FilmScene.STARS: _stars,
    FilmScene.CONFETTI: _confetti,
}
