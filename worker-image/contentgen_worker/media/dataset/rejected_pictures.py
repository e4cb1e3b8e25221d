"""rejected.jpg: a sample of the rejected pictures in one file, and the place of each in it. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from PIL import Image

MOST = 60  # pictures
WIDTH, HEIGHT = 256, 384  # most pixels of each
_COLUMNS = 6


@dataclass(frozen=True, slots=True)
class PictureTile:
    """Place of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int


def arrange(sizes: Sequence[tuple[int, int]]) -> tuple[PictureTile, ...]:
    """Places of pictures with these widths and heights, in rows, each as high as its highest picture."""
    placed: list[PictureTile] = []
    top = 0
    for first in range(0, len(sizes), _COLUMNS):
        row = [_fitted(*size) for size in sizes[first : first + _COLUMNS]]
        placed += [PictureTile(column * WIDTH, top, *size) for column, size in enumerate(row)]
        top += max(height for _, height in row)
    return tuple(placed)


def _fitted(width: int, height: int) -> tuple[int, int]:
    scale = min(WIDTH / width, HEIGHT / height, 1)
    return max(round(width * scale), 1), max(round(height * scale), 1)


def bounds(tiles: Iterable[PictureTile]) -> tuple[int, int]:
    """Width and height of the file."""
    placed = tuple(tiles)
    return max(each.left + each.width for each in placed), max(each.top + each.height for each in placed)


def draw(pictures: Iterable[Image.Image], tiles: Sequence[PictureTile]) -> Image.Image:
    """The pictures at their places."""
    sheet = Image.new("RGB", bounds(tiles))
    for picture, tile in zip(pictures, tiles, strict=True):
        sheet.paste(picture.convert("RGB").resize((tile.width, tile.height)), (tile.left, tile.top))
    return sheet
