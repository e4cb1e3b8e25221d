"""Painter of test video frames: backgrounds, camera motion, light and actors, in YUV 4:2:0 planes.

Drawing in planes, an affine warp and some ellipses, costs two to four milliseconds a frame.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]
Colour = tuple[float, float, float]  # Y, U, V
_AROUND = 1.4  # size of a background relative to the frame; outside it the background is mirrored
_GRAINS = 6


class CameraLook(StrEnum):
    """Type of background."""

    LANDSCAPE = "landscape"
    ROOM = "room"
    STREET = "street"
    CROWD = "crowd"
    STUDIO = "studio"
    NIGHT = "night"
    CARTOON = "cartoon"
    CARD = "card"


class Motion(StrEnum):
    """Camera motion within a shot."""

    STILL = "still"
    PAN = "pan"
    ZOOM = "zoom"
    HAND_HELD = "hand-held"
    WHIP = "whip"
    FOCUS = "focus"


class Light(StrEnum):
    """Change of light within a shot; none of them is a cut."""

    STEADY = "steady"
    FLASH = "flash"
    LIGHTNING = "lightning"
    SWITCH = "switch"
    FLICKER = "flicker"


class Cast(StrEnum):
    """Actors in front of the background."""

    NOBODY = "nobody"
    TALKER = "talker"
    WALKERS = "walkers"
    CROSSING = "crossing"
    TOONS = "toons"


@dataclass(frozen=True)
class Setup:
    """Parameters of a shot.

    `place` is the seed of the background, which several shots may share; `offset` and `scale` are the framing.
    """

    look: CameraLook
    motion: Motion
    light: Light
    cast: Cast
    place: int
    seed: int
    offset: tuple[float, float] = (0.0, 0.0)  # x and y in frame heights
    scale: float = 1.0
    speed: float = 0.1  # frame heights per second
    grain: int = 0
    saturation: float = 0.5
    detail: float = 0.5
    rate: float = 0.0  # drawings per second of a cartoon animated "on twos"; 0 means every frame


class Canvas:
    """Frame buffer in yuv420p: `whole` has height*3/2 x width bytes; the planes are views. Height: a multiple of 4."""

    def __init__(self, width: int, height: int) -> None:
        self.whole: Plane = np.empty((height * 3 // 2, width), np.uint8)
        quarter = height // 4
        self.y: Plane = self.whole[:height]
        self.u: Plane = self.whole[height : height + quarter].reshape(height // 2, width // 2)
        self.v: Plane = self.whole[height + quarter :].reshape(height // 2, width // 2)

    @property
    def planes(self) -> tuple[Plane, Plane, Plane]:
        """Y, U and V planes."""
        return self.y, self.u, self.v

    def scale(self, gain: float, toward: float) -> None:
        """Blend every pixel with the gray of luma `toward`, whose weight is 1 - gain."""
        cv2.convertScaleAbs(self.y, self.y, gain, toward * (1 - gain))
        for plane in (self.u, self.v):
            cv2.convertScaleAbs(plane, plane, gain, 128 * (1 - gain))

    def ellipse(self, centre: tuple[float, float], axes: tuple[float, float], colour: Colour, angle: float = 0) -> None:
        """Draw a filled ellipse. Units: pixels of the luma plane, degrees."""
        for plane, value, part in zip(self.planes, colour, (1.0, 0.5, 0.5), strict=True):
            at = (round(centre[0] * part), round(centre[1] * part))
            size = (max(1, round(axes[0] * part)), max(1, round(axes[1] * part)))
            cv2.ellipse(plane, at, size, angle, 0, 360, value, -1)

    def outlined(self, centre: tuple[float, float], axes: tuple[float, float], colour: Colour, line: float) -> None:
        """Draw a filled ellipse with a black outline, the style of cartoons."""
        self.ellipse(centre, (axes[0] + line, axes[1] + line), (18, 128, 128))
        self.ellipse(centre, axes, colour)


def mixed(old: Canvas, new: Canvas, share: float, out: Canvas) -> None:
    """Write the blend of two frames to `out`; `share` is the weight of the new one."""
    cv2.addWeighted(old.whole, 1 - share, new.whole, share, 0, out.whole)


class CameraPath:
    """Framing of a shot at any time. `rng`: the shot's generator, of which it takes the first numbers."""

    def __init__(self, setup: Setup, rng: np.random.Generator) -> None:
        self._setup = setup
        self.phases = rng.uniform(0, 2 * math.pi, 12)
        self._direction = rng.uniform(0, 2 * math.pi) if setup.motion is not Motion.WHIP else rng.choice([0, math.pi])
        self.event = float(rng.uniform(0.9, 2.2))  # time of a flash, a light switch or a whip pan, in seconds

    @classmethod
    def of(cls, setup: Setup) -> "CameraPath":
        """Path of a shot."""
        return cls(setup, take_generator(setup))

    def at(self, seconds: float) -> tuple[float, float, float, float]:
        """Camera position at a time: x and y in frame heights, zoom, angle in degrees."""
        setup, phases = self._setup, self.phases
        x, y = setup.offset
        zoom, angle = setup.scale, 0.0
        match setup.motion:
            case Motion.PAN:
                x += math.cos(self._direction) * setup.speed * seconds
                y += 0.3 * math.sin(self._direction) * setup.speed * seconds
            case Motion.ZOOM:
                zoom *= math.exp((1 if self._direction < math.pi else -0.5) * setup.speed * seconds)
            case Motion.HAND_HELD:
                waves = [math.sin(seconds * (1.7 + 1.1 * n) + phase) / (1 + 0.6 * n) for n, phase in enumerate(phases)]
                x += 0.12 * setup.speed * sum(waves[:6])
                y += 0.12 * setup.speed * sum(waves[6:])
                angle = 2.0 * setup.speed * waves[3]
            case Motion.WHIP:
                # Smoothstep over 1.6 frame widths (2.8 heights) in a fifth to a third of a second.
                share = min(1.0, max(0.0, (seconds - self.event) / (0.2 + 0.12 * (phases[0] / 6.3))))
                x += math.cos(self._direction) * 2.8 * (share * share * (3 - 2 * share))
            case _:
                pass
        return x, y, zoom, angle


def take_generator(setup: Setup) -> np.random.Generator:
    """Generator of a shot's motion and actors."""
    return np.random.default_rng([setup.seed, 1])


def drawn(setup: Setup, seconds: float) -> float:
    """Time of the drawing that is shown at a time: a cartoon holds each for some frames."""
    return math.floor(seconds * setup.rate) / setup.rate if setup.rate else seconds


def eyes_closed(seconds: float) -> bool:
    """Whether a talker blinks at a time since the start of the shot."""
    return seconds % 3.1 < 0.12


class Take:
    """Renderer of one shot, for any time within it."""

    def __init__(self, setup: Setup, width: int, height: int) -> None:
        self._setup = setup
        self._size = (width, height)
        self._canvas = _planes(canvas(setup, round(width * _AROUND / 4) * 4, round(height * _AROUND / 4) * 4))
        rng = take_generator(setup)
        self._path = CameraPath(setup, rng)
        self._cast: Callable[[Canvas, float], None] = _cast(setup, rng, width, height)
        self._grain = _grain(setup.grain, width, height)
        self._rng = rng
        self._still: tuple[tuple[float, float, float, float], Plane] | None = None

    def paint(self, seconds: float, out: Canvas) -> None:
        """Render the frame at a time in seconds since the start of the shot."""
        setup = self._setup
        shown = drawn(setup, seconds)
        x, y, zoom, angle = view = self._path.at(shown)
        before = self._path.at(shown - 1 / 50)  # shutter time: half a frame at 25 frames per second
        if self._still and self._still[0] == view:
            out.whole[:] = self._still[1]
        else:
            self._warp(x, y, zoom, angle, out)
            self._still = (view, out.whole.copy()) if view == before else None
        self._cast(out, shown)
        height = self._size[1]
        self._blur(out, abs(x - before[0]) * height, abs(y - before[1]) * height, self._defocus(shown) * height)
        self._illuminate(out, seconds)
        if self._grain:
            brighter, darker = self._grain[int(self._rng.integers(len(self._grain)))]
            cv2.subtract(cv2.add(out.y, brighter, out.y), darker, out.y)

    def _warp(self, x: float, y: float, zoom: float, angle: float, out: Canvas) -> None:
        width, height = self._size
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, zoom)
        margin = ((_AROUND - 1) / 2) * np.array([width, height])
        for plane, target, part in zip(self._canvas, out.planes, (1.0, 0.5, 0.5), strict=True):
            matrix = turn.copy()
            shift = turn[:, :2] @ (margin + np.array([x, y]) * height)
            matrix[:, 2] = (turn[:, 2] - shift) * part
            cv2.warpAffine(
                plane,
                matrix,
                (target.shape[1], target.shape[0]),
                target,
                cv2.INTER_LINEAR,
                cv2.BORDER_REFLECT_101,
            )

    def _blur(self, out: Canvas, across: float, down: float, defocus: float) -> None:
        """Apply motion blur and defocus, in pixels of the luma plane."""
        kernel = (max(1, round(across + defocus)), max(1, round(down + defocus)))
        if kernel == (1, 1):
            return
        cv2.blur(out.y, kernel, out.y)
        half = (max(1, kernel[0] // 2), max(1, kernel[1] // 2))
        for plane in (out.u, out.v):
            cv2.blur(plane, half, plane)

    def _defocus(self, seconds: float) -> float:
        if self._setup.motion is not Motion.FOCUS:
            return 0.0
        return 0.02 * max(0.0, math.cos(seconds * 1.3 + self._path.phases[0]))

    def _illuminate(self, out: Canvas, seconds: float) -> None:
        since = seconds - self._path.event
        match self._setup.light:
            case Light.FLASH if 0 <= since < 0.16:
                out.scale(max(0.12, since / 0.16), 235)
            case Light.LIGHTNING:
                if any(0 <= since - again < 0.07 for again in (0.0, 0.13, 0.46)):
                    out.scale(0.35, 225)
            case Light.SWITCH:
                dark = min(1.0, max(0.0, since / 0.12))
                out.scale(1 - 0.45 * dark, 16)
            case Light.FLICKER:
                out.scale(0.97 + 0.03 * math.sin(seconds * 41 + self._path.phases[1]), 16)
            case _:
                pass


def canvas(setup: Setup, width: int, height: int) -> npt.NDArray[np.uint8]:
    """Background of a shot in BGR, height x width x 3."""
    rng = np.random.default_rng([setup.place, 0])
    hue = float(rng.uniform(0, 180))
    painters: dict[CameraLook, Callable[..., npt.NDArray[np.uint8]]] = {
        CameraLook.LANDSCAPE: _landscape,
        CameraLook.ROOM: _room,
        CameraLook.STREET: _street,
        CameraLook.CROWD: _crowd,
        CameraLook.STUDIO: _studio,
        CameraLook.NIGHT: _street,
        CameraLook.CARTOON: _cartoon,
        CameraLook.CARD: _card,
    }
    image = painters[setup.look](rng, hue, setup.saturation, width, height)
    if setup.look not in {CameraLook.CARTOON, CameraLook.CARD}:
        image = _textured(rng, image, setup.detail * (0.3 if setup.look is CameraLook.STUDIO else 1.0))
    if setup.look is CameraLook.NIGHT:
        image = np.asarray(cv2.convertScaleAbs(image, alpha=0.28, beta=4), np.uint8)
    return image


def _hsv(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    """BGR colour of a hue (0 to 180), saturation and value (0 to 1)."""
    pixel = np.array([[[hue % 180, np.clip(saturation, 0, 1) * 255, np.clip(value, 0, 1) * 255]]]).astype(np.uint8)
    blue, green, red = (int(part) for part in cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0])
    return blue, green, red


def _yuv(colour: tuple[int, int, int]) -> Colour:
    blue, green, red = colour
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return 16 + luma * 219 / 255, 128 + 0.5 * (blue - luma) * 224 / 226, 128 + 0.6 * (red - luma) * 224 / 214


def _planes(image: npt.NDArray[np.uint8]) -> tuple[Plane, Plane, Plane]:
    height, width = image.shape[:2]
    picture = Canvas(width, height)
    picture.whole[:] = cv2.cvtColor(image, cv2.COLOR_BGR2YUV_I420)
    return picture.planes


def _textured(rng: np.random.Generator, image: npt.NDArray[np.uint8], detail: float) -> npt.NDArray[np.uint8]:
    """Image multiplied by noise of seven octaves, because real surfaces are never flat."""
    height, width = image.shape[:2]
    noise = np.zeros((height, width), np.float32)
    for octave in range(2, 9):
        rows = 2**octave
        grid = rng.normal(0, 1, (rows, round(rows * width / height))).astype(np.float32)
        noise += cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR) * np.float32(0.75 ** (octave - 2))
    gain = 1 + np.float32(0.16 * detail) * noise
    return np.clip(image * gain[:, :, None], 0, 255).astype(np.uint8)


def _gradient(top: Sequence[int], bottom: Sequence[int], width: int, height: int) -> npt.NDArray[np.uint8]:
    share = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    column = np.array(top, np.float32) * (1 - share) + np.array(bottom, np.float32) * share
    return np.repeat(column[:, None, :], width, axis=1).astype(np.uint8)


def _landscape(
    rng: np.random.Generator, hue: float, saturation: float, width: int, height: int
) -> npt.NDArray[np.uint8]:
    value = float(rng.uniform(0.5, 0.95))
    image = _gradient(
        _hsv(hue, saturation * 0.7, value), _hsv(hue + 15, saturation * 0.3, min(1, value + 0.2)), width, height
    )
    ridges = int(rng.integers(3, 6))
    for ridge in range(ridges):
        points = int(rng.integers(8, 40))
        level = height * (0.35 + 0.55 * ridge / ridges)
        line = level + np.cumsum(rng.normal(0, height * 0.035, points))
        outline = [(0, height), *zip(np.linspace(0, width, points), line, strict=True), (width, height)]
        shade = value * (0.85 - 0.6 * ridge / ridges)
        cv2.fillPoly(
            image, [np.array(outline, np.int32)], _hsv(hue + 60 + 12 * ridge, saturation * rng.uniform(0.6, 1.2), shade)
        )
    for _ in range(int(rng.integers(10, 80))):
        x, y = int(rng.uniform(0, width)), int(rng.uniform(height * 0.55, height))
        tall = int(height * rng.uniform(0.02, 0.12) * y / height)
        cv2.ellipse(
            image,
            (x, y - tall),
            (tall // 2 + 1, tall),
            0,
            0,
            360,
            _hsv(hue + 40 + rng.uniform(0, 40), saturation, 0.3),
            -1,
        )
    return image


def _room(rng: np.random.Generator, hue: float, saturation: float, width: int, height: int) -> npt.NDArray[np.uint8]:
    value = float(rng.uniform(0.45, 0.9))
    image = _gradient(_hsv(hue, saturation * 0.5, value), _hsv(hue, saturation * 0.6, value * 0.75), width, height)
    floor = int(height * rng.uniform(0.65, 0.8))
    image[floor:] = _hsv(hue + 90, saturation * 0.8, value * 0.5)
    for _ in range(int(rng.integers(2, 5))):
        x, y = int(rng.uniform(0, width)), int(rng.uniform(0.05, 0.4) * height)
        w, h = int(height * rng.uniform(0.15, 0.5)), int(height * rng.uniform(0.15, 0.35))
        cv2.rectangle(image, (x, y), (x + w, y + h), _hsv(hue + 20, 0.2, 0.35), -1)
        cv2.rectangle(
            image,
            (x + 8, y + 8),
            (x + w - 8, y + h - 8),
            _hsv(rng.uniform(0, 180), saturation, rng.uniform(0.5, 1)),
            -1,
        )
    for _ in range(int(rng.integers(1, 4))):  # bookshelves
        left, base = int(rng.uniform(0, width * 0.8)), int(rng.uniform(0.5, 0.9) * height)
        x = left
        while x < left + height * 0.6:
            thick, tall = int(height * rng.uniform(0.01, 0.03)) + 2, int(height * rng.uniform(0.1, 0.17))
            colour = _hsv(rng.uniform(0, 180), saturation, rng.uniform(0.25, 0.9))
            cv2.rectangle(image, (x, base - tall), (x + thick - 1, base), colour, -1)
            x += thick
    return image


def _street(rng: np.random.Generator, hue: float, saturation: float, width: int, height: int) -> npt.NDArray[np.uint8]:
    image = _gradient(_hsv(hue, saturation * 0.6, 0.9), _hsv(hue + 10, saturation * 0.2, 0.95), width, height)
    x = 0
    while x < width:
        wide, top = int(height * rng.uniform(0.15, 0.5)), int(height * rng.uniform(0.05, 0.5))
        wall, glass = rng.uniform(0.3, 0.85), rng.uniform(0.1, 1.0)
        cv2.rectangle(
            image,
            (x, top),
            (x + wide, height),
            _hsv(hue + rng.uniform(-40, 80), saturation * rng.uniform(0.2, 1), wall),
            -1,
        )
        step = int(height * rng.uniform(0.04, 0.08)) + 4
        for row in range(top + step // 2, round(height * 0.85), step):
            for column in range(x + step // 3, x + wide - step // 2, step):
                pane = _hsv(hue + 20, 0.3, glass * rng.uniform(0.6, 1))
                cv2.rectangle(image, (column, row), (column + step // 2, row + step // 2), pane, -1)
        x += wide
    image[round(height * 0.86) :] = _hsv(hue, 0.1, 0.35)
    return image


def _crowd(rng: np.random.Generator, hue: float, saturation: float, width: int, height: int) -> npt.NDArray[np.uint8]:
    image = _gradient(_hsv(hue, saturation, 0.35), _hsv(hue + 30, saturation, 0.2), width, height)
    for row in range(14):
        y = height * (row + 1) / 14
        size = height * (0.02 + 0.004 * row)
        for x in np.arange(0, width, size * 2.2):
            at = (int(x + rng.normal(0, size * 0.4)), int(y + rng.normal(0, size * 0.3)))
            shirt = _hsv(hue + rng.normal(0, 45), saturation * rng.uniform(0.3, 1.3), rng.uniform(0.2, 0.95))
            cv2.ellipse(
                image, (at[0], round(at[1] + size * 1.6)), (round(size), round(size * 1.3)), 0, 0, 360, shirt, -1
            )
            skin = _hsv(rng.uniform(8, 16), 0.45, rng.uniform(0.35, 0.9))
            cv2.circle(image, at, round(size * 0.6), skin, -1)
    return image


def _studio(rng: np.random.Generator, hue: float, saturation: float, width: int, height: int) -> npt.NDArray[np.uint8]:
    value = float(rng.uniform(0.25, 0.8))
    image = _gradient(_hsv(hue, saturation * 0.7, value), _hsv(hue, saturation, value * 0.5), width, height)
    for _ in range(3):
        at = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        cv2.circle(image, at, int(height * rng.uniform(0.1, 0.3)), _hsv(hue + 8, saturation * 0.6, value * 0.9), -1)
    return np.asarray(cv2.blur(image, (height // 8, height // 8)), np.uint8)


def _cartoon(rng: np.random.Generator, hue: float, saturation: float, width: int, height: int) -> npt.NDArray[np.uint8]:
    strong = min(1.0, saturation + 0.3)
    image = np.full((height, width, 3), _hsv(hue, strong * 0.6, 0.95), np.uint8)
    line = max(2, height // 240)
    for hill in range(3):
        at = (int(rng.uniform(0, width)), int(height * (1.0 + 0.1 * hill)))
        axes = (int(width * rng.uniform(0.3, 0.6)), int(height * rng.uniform(0.25, 0.5)))
        cv2.ellipse(image, at, axes, 0, 0, 360, _hsv(hue + 50 + 25 * hill, strong, 0.85 - 0.15 * hill), -1)
        cv2.ellipse(image, at, axes, 0, 0, 360, (20, 20, 20), line)
    for _ in range(int(rng.integers(2, 7))):
        x, y, w = int(rng.uniform(0, width)), int(height * rng.uniform(0.3, 0.7)), int(height * rng.uniform(0.08, 0.3))
        colour = _hsv(rng.uniform(0, 180), strong, rng.uniform(0.6, 1))
        cv2.rectangle(image, (x, y), (x + w, y + w), colour, -1)
        cv2.rectangle(image, (x, y), (x + w, y + w), (20, 20, 20), line)
        roof = np.array([(x - w // 5, y), (x + w // 2, y - w // 2), (x + w + w // 5, y)], np.int32)
        cv2.fillPoly(image, [roof], _hsv(rng.uniform(0, 180), strong, 0.8))
        cv2.polylines(image, [roof], isClosed=True, color=(20, 20, 20), thickness=line)
    return image


def _card(rng: np.random.Generator, hue: float, saturation: float, width: int, height: int) -> npt.NDArray[np.uint8]:
    dark = rng.random() < 0.6
    image = np.full((height, width, 3), _hsv(hue, saturation, 0.08 if dark else 0.92), np.uint8)
    ink = (235, 235, 235) if dark else (25, 25, 25)
    words = ("PART", "THE", "NEXT DAY", "A FILM BY", "MEANWHILE", "1987", "CHAPTER", "LATER", "NOBODY", "THE END")
    for line in range(int(rng.integers(1, 4))):
        text = " ".join(str(word) for word in rng.choice(words, 2))
        size = height / 500
        (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, size, 2)
        at = ((width - wide) // 2, round(height * (0.42 + 0.12 * line)))
        cv2.putText(image, text, at, cv2.FONT_HERSHEY_DUPLEX, size, ink, 2, cv2.LINE_AA)
    return image


def _grain(amount: int, width: int, height: int) -> list[tuple[Plane, Plane]]:
    """Film grain as pairs of planes: one to add, one to subtract.

    Two saturating 8-bit operations take a tenth of the time of one 16-bit addition.
    """
    if not amount:
        return []
    rng = np.random.default_rng(amount)
    noises = [rng.normal(0, amount, (height, width)).astype(np.int8) for _ in range(_GRAINS)]
    return [(np.maximum(noise, 0).astype(np.uint8), np.maximum(-noise, 0).astype(np.uint8)) for noise in noises]


def _cast(setup: Setup, rng: np.random.Generator, width: int, height: int) -> Callable[[Canvas, float], None]:
    match setup.cast:
        case Cast.TALKER:
            # The seed is the place's, so that a jump cut keeps the person.
            return _talker(np.random.default_rng([setup.place, 2]), setup, width, height)
        case Cast.WALKERS:
            return _walkers(rng, setup, width, height)
        case Cast.CROSSING:
            return _crossing(rng, width, height)
        case Cast.TOONS:
            return _toons(np.random.default_rng([setup.place, 3]), setup, width, height)
        case Cast.NOBODY:
            return lambda _picture, _seconds: None


def _talker(rng: np.random.Generator, setup: Setup, width: int, height: int) -> Callable[[Canvas, float], None]:
    skin = _yuv(_hsv(rng.uniform(6, 16), rng.uniform(0.3, 0.55), rng.uniform(0.5, 0.95)))
    hair, shirt = (_yuv(_hsv(rng.uniform(0, 180), rng.uniform(0.2, 0.8), rng.uniform(0.1, 0.8))) for _ in range(2))
    left, large, slow = rng.uniform(0.35, 0.65), rng.uniform(0.14, 0.24), rng.uniform(0.5, 1.0)
    shift, scale = setup.offset, setup.scale

    def draw(picture: Canvas, seconds: float) -> None:
        size = large * height * scale
        sway = math.sin(seconds * 0.9 * slow)
        x = (left * width - width / 2) * scale + width / 2 - shift[0] * height + 0.04 * size * sway
        y = height * 0.45 - shift[1] * height + 0.03 * size * math.sin(seconds * 2.3 * slow)
        picture.ellipse((x, y + 2.3 * size), (1.7 * size, 1.4 * size), shirt)
        picture.ellipse((x, y + 0.9 * size), (0.35 * size, 0.5 * size), skin)
        picture.ellipse((x, y - 0.15 * size), (0.82 * size, 1.02 * size), hair)
        picture.ellipse((x, y), (0.72 * size, 0.95 * size), skin, 3 * sway)
        blink = 0.02 if eyes_closed(seconds) else 0.09
        for side in (-1, 1):
            picture.ellipse((x + side * 0.28 * size, y - 0.15 * size), (0.13 * size, blink * size), (225, 128, 128))
            picture.ellipse(
                (x + side * 0.28 * size, y - 0.15 * size), (0.06 * size, 0.6 * blink * size), (30, 128, 128)
            )
        mouth = 0.03 + 0.09 * abs(math.sin(seconds * 9.1)) * (math.sin(seconds * 1.3) > -0.6)
        picture.ellipse((x, y + 0.45 * size), (0.24 * size, mouth * size), (60, 118, 165))

    return draw


def _walkers(rng: np.random.Generator, setup: Setup, width: int, height: int) -> Callable[[Canvas, float], None]:
    people = [
        (
            rng.uniform(0, width),
            rng.uniform(0.5, 0.75) * height,
            rng.uniform(0.05, 0.16) * height,
            rng.choice([-1, 1]) * rng.uniform(0.1, 0.5) * height * (1 + setup.speed),
            _yuv(_hsv(rng.uniform(0, 180), setup.saturation, rng.uniform(0.2, 0.9))),
        )
        for _ in range(int(rng.integers(2, 7)))
    ]

    def draw(picture: Canvas, seconds: float) -> None:
        for x, y, size, speed, shirt in people:
            at = (x + speed * seconds) % (width + 4 * size) - 2 * size
            step = math.sin(seconds * 7 + x)
            for side in (-1, 1):
                leg = (at + side * step * 0.5 * size, y + 2.6 * size)
                picture.ellipse(leg, (0.22 * size, 1.0 * size), (40, 128, 128), side * step * -20)
            picture.ellipse((at, y + 0.9 * size), (0.6 * size, 1.1 * size), shirt)
            picture.ellipse((at, y - 0.4 * size), (0.38 * size, 0.5 * size), (150, 112, 150))

    return draw


def _crossing(rng: np.random.Generator, width: int, height: int) -> Callable[[Canvas, float], None]:
    """Large object that passes close to the camera: nearly the whole frame changes without a cut."""
    begins, lasts = rng.uniform(0.8, 1.8), rng.uniform(0.35, 0.8)
    colour = _yuv(_hsv(rng.uniform(0, 180), 0.4, rng.uniform(0.1, 0.6)))

    def draw(picture: Canvas, seconds: float) -> None:
        share = (seconds - begins) / lasts
        if -0.2 < share < 1.2:
            x = width * (-0.6 + 2.2 * share)
            picture.ellipse((x, height * 0.55), (0.5 * width, 0.85 * height), colour)
            picture.ellipse((x + 0.1 * width, height * 0.4), (0.12 * width, 0.3 * height), (120, 128, 128))

    return draw


def _toons(rng: np.random.Generator, setup: Setup, width: int, height: int) -> Callable[[Canvas, float], None]:
    line = max(2, height // 240)
    figures = [
        (
            rng.uniform(0.15, 0.85) * width,
            rng.uniform(0.5, 0.7) * height,
            rng.uniform(0.08, 0.2) * height,
            rng.uniform(2, 6),
            [_yuv(_hsv(rng.uniform(0, 180), 0.8, rng.uniform(0.6, 1))) for _ in range(2)],
        )
        for _ in range(int(rng.integers(1, 4)))
    ]
    shift, scale = setup.offset, setup.scale

    def draw(picture: Canvas, seconds: float) -> None:
        for left, base, wide, tempo, (body, head) in figures:
            hop = abs(math.sin(seconds * tempo))
            x = (left - width / 2) * scale + width / 2 - shift[0] * height + math.sin(seconds * tempo / 3) * wide
            y, size = base - shift[1] * height - 0.6 * wide * hop, wide * scale
            for side in (-1, 1):
                picture.outlined((x + side * 0.9 * size, y + 0.6 * size * hop), (0.2 * size, 0.5 * size), body, line)
            picture.outlined((x, y + 0.7 * size), (0.7 * size, 0.8 * size), body, line)
            picture.outlined((x, y - 0.5 * size), (0.75 * size, 0.7 * size), head, line)
            for side in (-1, 1):
                picture.outlined(
                    (x + side * 0.28 * size, y - 0.6 * size), (0.18 * size, 0.22 * size), (230, 128, 128), 1
                )
                picture.ellipse((x + side * 0.28 * size, y - 0.56 * size), (0.07 * size, 0.09 * size), (20, 128, 128))
            picture.ellipse((x, y - 0.15 * size), (0.3 * size, (0.04 + 0.16 * hop) * size), (50, 110, 180))

    return draw
