"""Text of contact sheets. Lines share most words, so each word is drawn once and pasted."""

from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

_ELLIPSIS = "..."
_CACHED_WORDS = 4096


def write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, colour: str) -> None:
    """Draw a line at this upper left corner; `size` in pixels."""
    left, top = place
    for word in text.split():
        draw.bitmap((left, top), _draw_word(word, size), fill=colour)
        left += width(word, size) + _space(size)


@lru_cache(_CACHED_WORDS)
def width(text: str, size: int) -> int:
    """Width of a line in pixels."""
    words = text.split()
    if len(words) == 1:
        return round(_font(size).getlength(text))
    return sum(width(word, size) for word in words) + _space(size) * (len(words) - 1) if words else 0


def shorten(text: str, size: int, room: int) -> str:
    """Text, shortened with an ellipsis to the available width in pixels."""
    if width(text, size) <= room:
        return text
    words = text.split()
    while len(words) > 1 and width(" ".join(words) + _ELLIPSIS, size) > room:
        words.pop()
    text = " ".join(words)
    while text and width(text + _ELLIPSIS, size) > room:
        text = text[:-1]
    return text + _ELLIPSIS


def wrap(text: str, size: int, room: int) -> list[str]:
    """Text in at most two lines."""
    words = text.split()
    first = next((n for n in range(len(words), 0, -1) if width(" ".join(words[:n]), size) <= room), 1)
    return [shorten(" ".join(part), size, room) for part in (words[:first], words[first:]) if part]


@lru_cache(_CACHED_WORDS)
def _draw_word(word: str, size: int) -> Image.Image:
    image = Image.new("L", (width(word, size) + size // 2, size * 3 // 2))
    ImageDraw.Draw(image).text((0, 0), word, 255, _font(size))
    return image


@lru_cache
def _space(size: int) -> int:
    return max(3, round(size * 0.27))


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
