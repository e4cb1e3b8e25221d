"""Generated image, recognizable as a placeholder: seeded gradient, the prompt and the word SANDBOX."""

import bisect
import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Floats = NDArray[np.float32]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Colour = tuple[int, int, int, int]

INK: Colour = (255, 255, 255, 255)
FAINT: Colour = (255, 255, 255, 190)
PANEL: Colour = (12, 12, 22, 130)
POINTS = 6
MAX_LINES = 7


@dataclass(frozen=True)
class DrawnScene:
    prompt: str
    width: int
    height: int
    seed: int
    model: str
    loras: tuple[str, ...] = ()


def draw(scene: DrawnScene) -> Image.Image:
    """Draw a scene; the same scene gives the same pixels."""
    canvas = _background(scene).convert("RGBA")
    overlay = Image.new("RGBA", canvas.size, (0, 0, 0, 0))
    _words(ImageDraw.Draw(overlay), scene)
    return Image.alpha_composite(canvas, overlay).convert("RGB")


def _background(scene: DrawnScene) -> Image.Image:
    """Background: mesh gradient with contour lines and noise."""
    random = np.random.default_rng(scene.seed)
    x, y = _grid(scene.width, scene.height, _coarse(scene))
    colour = _mesh(x, y, random)
    colour *= (1 - 0.10 * _contours(x, y, random))[..., None]
    small = Image.fromarray(np.clip(colour * 255, 0, 255).astype(np.uint8))
    picture = small.resize((scene.width, scene.height), Image.Resampling.BICUBIC)
    grain = random.normal(0, 3.0, (256, 256)).astype(np.float32)
    tiles = (-(-scene.height // 256), -(-scene.width // 256))
    noise = np.tile(grain, tiles)[: scene.height, : scene.width, None]
    return Image.fromarray(np.clip(np.asarray(picture, dtype=np.float32) + noise, 0, 255).astype(np.uint8))


def _coarse(scene: DrawnScene) -> int:
    """Image pixels per gradient pixel: 2 keeps lines smooth, more keeps large images cheap."""
    return 2 if scene.width * scene.height <= 2048 * 2048 else 4


def _grid(width: int, height: int, step: int) -> tuple[Floats, Floats]:
    """Coordinates with the longer side from 0 to 1."""
    longest = max(width, height)
    xs = np.arange(0, max(2, width // step), dtype=np.float32) * step / longest
    ys = np.arange(0, max(2, height // step), dtype=np.float32) * step / longest
    x, y = np.meshgrid(xs, ys)
    return x.astype(np.float32), y.astype(np.float32)


def _mesh(x: Floats, y: Floats, random: np.random.Generator) -> Floats:
    """Mesh gradient: colour weights fall with the fourth power of the distance."""
    warp = 0.06 * np.sin(7 * y + random.uniform(0, 6.3)) + 0.04 * np.sin(11 * x + random.uniform(0, 6.3))
    total = np.zeros((*x.shape, 3), dtype=np.float32)
    weights = np.zeros_like(x)
    for colour in _palette(random):
        px, py = random.uniform(0, x.max()), random.uniform(0, y.max())
        distance = (x - px + warp) ** 2 + (y - py - warp) ** 2
        weight = (1 / (distance + 0.02) ** 2).astype(np.float32)
        total += weight[..., None] * np.array(colour, dtype=np.float32)
        weights += weight
    mixed: Floats = (total / weights[..., None]).astype(np.float32)
    return mixed


def _palette(random: np.random.Generator) -> list[tuple[float, float, float]]:
    """Palette of neighbouring hues, one complementary accent, and dark tones for contrast with white text."""
    hue = random.uniform(0, 1)
    hues = [hue, hue + 0.07, hue - 0.08, hue + 0.14, hue + 0.5, hue - 0.16][:POINTS]
    values = [0.95, 0.75, 0.45, 0.85, 0.9, 0.3]
    saturations = [0.65, 0.75, 0.8, 0.55, 0.6, 0.75]
    return [colorsys.hsv_to_rgb(h % 1, s, v) for h, s, v in zip(hues, saturations, values, strict=True)]


def _contours(x: Floats, y: Floats, random: np.random.Generator) -> Floats:
    """Contour lines of a smooth wave field, 0 to 1."""
    a, b, c = (random.uniform(0, 6.3) for _ in range(3))
    field = np.sin(4 * x + a) + np.sin(5 * y + b) + np.sin(3 * (x + y) + c)
    wave = np.abs(np.sin(field * 9))
    lines: Floats = np.clip(1 - wave * 9, 0, 1).astype(np.float32)
    return lines


def _words(pen: ImageDraw.ImageDraw, scene: DrawnScene) -> None:
    unit = min(scene.width, scene.height)
    margin = max(4, unit // 18)
    _label(pen, margin, unit)
    small = _font(max(9, unit // 44))
    lines, font = _fit(pen, scene.prompt, scene.width - 4 * margin, unit)
    footer = _clip(pen, _footer(scene), small, scene.width - 4 * margin)
    line_height = round(font.size * 1.3) if isinstance(font, ImageFont.FreeTypeFont) else 14
    small_height = round(max(9, unit // 44) * 1.6)
    height = line_height * len(lines) + small_height + 2 * margin
    top = scene.height - height - margin
    pen.rounded_rectangle((margin, top, scene.width - margin, scene.height - margin), radius=margin // 2, fill=PANEL)
    for index, line in enumerate(lines):
        pen.text((2 * margin, top + margin * 0.8 + index * line_height), line, font=font, fill=INK)
    pen.text((2 * margin, scene.height - 1.7 * margin - small_height * 0.5), footer, font=small, fill=FAINT)


def _label(pen: ImageDraw.ImageDraw, margin: int, unit: int) -> None:
    font = _font(max(10, unit // 26))
    text = " ".join("SANDBOX")
    left, top, right, bottom = pen.textbbox((margin * 1.6, margin * 1.5), text, font=font)
    pad = margin // 2
    pen.rounded_rectangle((left - pad, top - pad, right + pad, bottom + pad), radius=margin // 2, fill=PANEL)
    pen.text((margin * 1.6, margin * 1.5), text, font=font, fill=INK)


def _footer(scene: DrawnScene) -> str:
    parts = [scene.model, f"seed {scene.seed}"]
    if scene.loras:
        parts.append("LoRA " + ", ".join(scene.loras))
    return "   ·   ".join(parts)


def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _fit(pen: ImageDraw.ImageDraw, text: str, width: int, unit: int) -> tuple[list[str], Font]:
    """Largest font size that fits the prompt; a very long prompt is truncated with an ellipsis."""
    lines: list[str] = []
    for divisor in (17, 21, 26, 32):
        font = _font(max(10, unit // divisor))
        lines = _wrap(pen, text, font, width)
        if len(lines) <= MAX_LINES:
            return lines, font
    return [*lines[: MAX_LINES - 1], _clip(pen, lines[MAX_LINES - 1] + " …", font, width)], font


def _wrap(pen: ImageDraw.ImageDraw, text: str, font: Font, width: int) -> list[str]:
    lines = [""]
    for word in text[:1500].split():
        longer = f"{lines[-1]} {word}".strip()
        if pen.textlength(longer, font=font) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return [_clip(pen, line, font, width) for line in lines]


def _clip(pen: ImageDraw.ImageDraw, text: str, font: Font, width: int) -> str:
    if pen.textlength(text, font=font) <= width:
        return text
    fitting = bisect.bisect(range(len(text)), width, key=lambda n: round(pen.textlength(text[:n] + "…", font=font)))
    return text[: max(0, fitting - 1)] + "…"


def encode(picture: Image.Image, path: str, image_format: str) -> None:
    """Save a picture as `png`, `webp` or `jpeg`."""
    if image_format == "png":
        picture.save(path, "PNG", compress_level=3)
    else:
        picture.save(path, image_format.upper(), quality=92)
