"""Screen recordings: a desktop with windows, scrolled pages, typed text, menus and a mouse pointer."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from contentgen_bench.media.unseen.painting import textures
from contentgen_bench.media.unseen.painting.plan import Draw, Image, PlannedShot
from contentgen_bench.media.unseen.painting.textures import Random, Tint, tint

_BAR = 18  # height of title bars and of the task bar in pixels
Content = Callable[[Image, float], None]  # draws into a window at a time


@dataclass(frozen=True)
class _Theme:
    paper: Tint
    ink: Tint
    bar: Tint
    accent: Tint


def draw(shot: PlannedShot, width: int, height: int) -> Draw:
    """Painter of a shot of a screen. Windows stay where they are; what they show changes."""
    rng = np.random.default_rng([shot.place, 6])
    theme = _theme(rng)
    desktop = _wallpaper(rng, width, height)
    cv2.rectangle(desktop, (0, height - _BAR), (width, height), theme.bar, -1)
    for index in range(int(rng.integers(3, 9))):
        x, y = 8 + 24 * index, height - _BAR + 3
        cv2.rectangle(desktop, (x, y), (x + 12, y + 12), tint(rng.random(), 0.7, 0.9), -1)
    areas = [(14, 10, int(width * 0.62), height - _BAR - 22), (int(width * 0.66), 30, width - 10, int(height * 0.62))]
    if rng.random() < 0.3:
        areas = [(6, 6, width - 6, height - _BAR - 6)]
    contents: list[Content] = []
    for x, y, right, bottom in areas:
        cv2.rectangle(desktop, (x + 3, y + 3), (right + 3, bottom + 3), (20, 20, 20), -1)
        cv2.rectangle(desktop, (x, y), (right, bottom), theme.paper, -1)
        cv2.rectangle(desktop, (x, y), (right, y + _BAR), theme.bar, -1)
        cv2.putText(desktop, _sentence(rng, 3), (x + 8, y + 13), 0, 0.38, theme.ink, 1, cv2.LINE_AA)
        for button in range(3):
            cv2.circle(desktop, (right - 10 - 14 * button, y + 9), 4, tint(0.33 * button, 0.7, 0.9), -1)
        contents.append(_content(rng, theme, right - x - 2, bottom - y - _BAR - 2, pages=len(areas) > 1))
    pointer = _pointer(rng, width, height)
    menu = _menu(rng, theme, width, height, shot.event)

    def at(seconds: float) -> Image:
        out = desktop.copy()
        for (x, y, right, bottom), content in zip(areas, contents, strict=True):
            content(out[y + _BAR + 1 : bottom - 1, x + 1 : right - 1], seconds)
        menu(out, seconds)
        pointer(out, seconds)
        return out

    return at


def _theme(rng: Random) -> _Theme:
    dark = rng.random() < 0.4
    paper, ink = ((34, 30, 28), (215, 215, 215)) if dark else ((248, 248, 248), (40, 40, 40))
    return _Theme(paper, ink, tint(rng.random(), 0.25, 0.35 if dark else 0.8), tint(rng.random(), 0.8, 0.8))


def _wallpaper(rng: Random, width: int, height: int) -> Image:
    if rng.random() < 0.5:
        scene = textures.backdrop(rng, rng.uniform(0, 1), rng.uniform(0.4, 0.9))
    else:
        scene = textures.picture(rng)
    return np.asarray(cv2.resize(scene, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def _content(rng: Random, theme: _Theme, width: int, height: int, *, pages: bool) -> Content:
    kind = rng.random()
    if kind < 0.4:
        return _page(rng, theme, width, height, pages=pages)
    if kind < 0.7:
        return _editor(rng, theme, width, height)
    return _terminal(rng, width, height)


def _page(rng: Random, theme: _Theme, width: int, height: int, *, pages: bool) -> Content:
    """Web page that is scrolled with the wheel, and by pages if `pages`."""
    tall = 6 * height
    page = np.full((tall, width, 3), theme.paper, np.uint8)
    y = 24
    while y < tall - 120:
        kind = rng.random()
        if kind < 0.15:
            cv2.putText(page, _sentence(rng, 4), (14, y), 2, 0.7, theme.accent, 1, cv2.LINE_AA)
            y += 24
        elif kind < 0.3:
            high = int(rng.integers(50, 100))
            wide = max(1, min(width - 28, int(rng.integers(90, 260))))
            page[y : y + high, 14 : 14 + wide] = cv2.resize(textures.picture(rng), (wide, high))
            y += high + 18
        else:
            for _ in range(int(rng.integers(2, 7))):
                cv2.putText(page, _sentence(rng, max(3, width // 45)), (14, y), 0, 0.36, theme.ink, 1, cv2.LINE_AA)
                y += 14
            y += 8
    moves = np.cumsum(rng.exponential(0.9, 12) + 0.25)
    jumps = np.where((rng.random(12) < 0.2) & pages, 0.8 * height, rng.uniform(-0.4, 1.0, 12) * 160)

    def show(out: Image, seconds: float) -> None:
        offset = 0.0
        for at, jump in zip(moves, jumps, strict=True):
            if seconds > at:
                offset += jump * (1 - math.exp(-9 * (seconds - at)))
        top = int(np.clip(offset, 0, tall - height))
        out[:] = page[top : top + height]

    return show


def _editor(rng: Random, theme: _Theme, width: int, height: int) -> Content:
    """Source text with a line number column, typed at about 14 characters a second."""
    lines = [" " * int(rng.integers(0, 4)) * 2 + _sentence(rng, int(rng.integers(1, 6))) for _ in range(height // 13)]
    still = np.full((height, width, 3), theme.paper, np.uint8)
    cv2.rectangle(still, (0, 0), (26, height), theme.bar, -1)
    typed = int(rng.integers(3, max(4, len(lines))))
    for index, line in enumerate(lines):
        colour = theme.accent if index % 4 == 1 else theme.ink
        cv2.putText(still, str(index + 1), (4, 13 + 13 * index), 0, 0.3, theme.ink, 1, cv2.LINE_AA)
        if index != typed:
            cv2.putText(still, line, (34, 13 + 13 * index), 0, 0.36, colour, 1, cv2.LINE_AA)
    text = _sentence(rng, 14)

    def show(out: Image, seconds: float) -> None:
        out[:] = still
        part = text[: int(14 * seconds)]
        cursor = "|" if seconds % 1 < 0.5 else ""
        cv2.putText(out, part + cursor, (34, 13 + 13 * typed), 0, 0.36, theme.ink, 1, cv2.LINE_AA)

    return show


def _terminal(rng: Random, width: int, height: int) -> Content:
    """Terminal whose output comes in bursts."""
    rows, count = height // 12, 400
    roll = np.full((12 * (count + rows), width, 3), (18, 14, 12), np.uint8)
    for row in range(count + rows):
        colour = tint(0.33, 0.5 if row % 7 == 0 else 0.1, 0.85)
        cv2.putText(roll, _sentence(rng, int(rng.integers(1, 8))), (6, 10 + 12 * row), 0, 0.34, colour, 1, cv2.LINE_AA)
    starts = np.cumsum(rng.exponential(1.0, 8) + 0.3)
    speeds = rng.choice([4.0, 25.0, 60.0], 8)

    def show(out: Image, seconds: float) -> None:
        done = sum(min(0.7, max(0.0, seconds - at)) * speed for at, speed in zip(starts, speeds, strict=True))
        top = 12 * min(count, int(done))
        out[:] = roll[top : top + height]

    return show


def _menu(rng: Random, theme: _Theme, width: int, height: int, opens: float) -> Content:
    """Menu or dialog that is open for a second."""
    wide, high = int(width * rng.uniform(0.17, 0.4)), int(height * rng.uniform(0.2, 0.47))
    x, y = int(rng.uniform(0.03, 0.97) * (width - wide)), int(rng.uniform(0.05, 0.9) * (height - high))
    panel = np.full((high, wide, 3), theme.paper, np.uint8)
    cv2.rectangle(panel, (0, 0), (wide - 1, high - 1), theme.accent, 1)
    for row in range(high // 18):
        cv2.putText(panel, _sentence(rng, 2), (10, 16 + 18 * row), 0, 0.36, theme.ink, 1, cv2.LINE_AA)

    def show(out: Image, seconds: float) -> None:
        if opens <= seconds < opens + 1.0:
            out[y : y + high, x : x + wide] = panel

    return show


def _pointer(rng: Random, width: int, height: int) -> Content:
    stops = rng.uniform(0.1, 0.9, (14, 2)) * np.array([width, height])
    shape = np.array([(0, 0), (0, 15), (4, 11), (7, 17), (9, 16), (6, 10), (11, 10)])

    def show(out: Image, seconds: float) -> None:
        index = int(seconds) % (len(stops) - 1)
        share = min(1.0, 2 * (seconds % 1))
        share = share * share * (3 - 2 * share)
        at = stops[index] + share * (stops[index + 1] - stops[index])
        points = (shape + at).astype(np.int32)
        cv2.fillPoly(out, [points], (255, 255, 255))
        cv2.polylines(out, [points], True, (0, 0, 0), 1, cv2.LINE_AA)

    return show


def _sentence(rng: Random, words: int) -> str:
    letters = rng.integers(97, 123, 8 * words).astype(np.uint8).tobytes().decode()
    ends = np.cumsum(rng.integers(2, 9, words))
    return " ".join(letters[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True))
