"""Contact sheets: what was taken from a video, or trained with, at one glance."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont, ImageOps

from contentgen_worker.media.moments import evenly

MOST = 60
_CELL, _GAP, _MARGIN, _CAPTION, _HEADER, _RADIUS = 240, 16, 40, 30, 120, 8
_BACKGROUND, _SURFACE, _INK, _FAINT = "#14161a", "#20242b", "#f2f4f7", "#9aa3b2"


@dataclass(frozen=True)
class Cell:
    """One picture and the line under it."""

    picture: Image.Image
    caption: str


def contact_sheet(title: str, lines: Sequence[str], cells: Sequence[Cell]) -> Image.Image:
    """A sheet of at most `MOST` of the pictures, spread over all of them."""
    shown = evenly(cells, MOST)
    columns = _columns(len(shown))
    rows = max(1, -(-len(shown) // columns))
    cell_height = _cell_height(shown)
    width = 2 * _MARGIN + columns * (_CELL + _GAP) - _GAP
    height = _MARGIN + _HEADER + rows * (cell_height + _CAPTION + _GAP) - _GAP + _MARGIN
    sheet = Image.new("RGB", (width, height), _BACKGROUND)
    _draw_header(ImageDraw.Draw(sheet), title, lines, width - 2 * _MARGIN)
    for index, cell in enumerate(shown):
        row, column = divmod(index, columns)
        place = (_MARGIN + column * (_CELL + _GAP), _MARGIN + _HEADER + row * (cell_height + _CAPTION + _GAP))
        _draw_cell(sheet, cell, place, cell_height)
    return sheet


def _columns(count: int) -> int:
    return next((columns for columns, most in ((4, 12), (5, 25)) if count <= most), 6)


def _cell_height(cells: Sequence[Cell]) -> int:
    """As high as the usual picture asks for, so that videos get wide cells and portraits high ones."""
    shapes = sorted(cell.picture.height / cell.picture.width for cell in cells)
    usual = shapes[len(shapes) // 2] if shapes else 0.75
    return round(_CELL * min(max(usual, 0.5), 1.5))


def _draw_header(draw: ImageDraw.ImageDraw, title: str, lines: Sequence[str], width: int) -> None:
    draw.text((_MARGIN, _MARGIN - 6), _fitted(draw, title, _font(34), width), font=_font(34), fill=_INK)
    for index, line in enumerate(lines[:2]):
        place = (_MARGIN, _MARGIN + 42 + 24 * index)
        draw.text(place, _fitted(draw, line, _font(17), width), font=_font(17), fill=_FAINT)


def _draw_cell(sheet: Image.Image, cell: Cell, place: tuple[int, int], height: int) -> None:
    draw = ImageDraw.Draw(sheet)
    left, top = place
    draw.rounded_rectangle((left, top, left + _CELL - 1, top + height - 1), _RADIUS, fill=_SURFACE)
    picture = ImageOps.contain(cell.picture.convert("RGB"), (_CELL, height), Image.Resampling.LANCZOS)
    mask = Image.new("L", picture.size, 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, picture.width - 1, picture.height - 1), _RADIUS, fill=255)
    sheet.paste(picture, (left + (_CELL - picture.width) // 2, top + (height - picture.height) // 2), mask)
    caption = _fitted(draw, cell.caption, _font(14), _CELL - 8)
    draw.text((left + 4, top + height + 6), caption, font=_font(14), fill=_FAINT)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _fitted(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> str:
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "...", font=font) > width:
        text = text[:-1]
    return text.rstrip() + "..."


def clock(seconds: float) -> str:
    """1:02:03.4"""
    tenths = int(seconds * 10)
    hours, rest = divmod(tenths, 36000)
    minutes, rest = divmod(rest, 600)
    start = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{start}:{rest // 10:02}.{rest % 10}"
