"""Contact sheets: what was taken from a video and what was left out, or what was trained with, at one glance."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont, ImageOps

from contentgen_worker.media.moments import evenly

_WIDTH, _MARGIN, _GAP, _RADIUS = 1680, 48, 16, 8
_INSIDE = _WIDTH - 2 * _MARGIN
# At most so many cells: so many columns. Up to the last of these numbers all pictures are on the sheet.
_GRIDS = ((8, 4), (18, 5), (36, 6), (72, 8), (180, 10), (1000, 16))
_MOST = _GRIDS[-1][0]
_LEFT_OUT, _LEFT_OUT_COLUMNS = 48, 12
_SHADE = 0.35  # of a picture that was left out
_BACKGROUND, _SURFACE, _INK, _FAINT, _MARK = "#14161a", "#20242b", "#f2f4f7", "#9aa3b2", "#e0a458"
_Place = tuple[int, int]


@dataclass(frozen=True)
class Cell:
    """One picture, the line under it and up to two lines more. `mark`: a word on the picture that warns."""

    picture: Image.Image
    caption: str
    detail: str = ""
    mark: str = ""


@dataclass(frozen=True)
class LeftOut:
    """What was not taken: a line that counts it, and cells whose caption is the reason."""

    summary: str
    cells: Sequence[Cell] = ()


def picture_width(count: int) -> int:
    """The pixels that a picture gets across on a sheet of so many."""
    return _cell_width(_columns(count))


def contact_sheet(
    title: str, lines: Sequence[str], cells: Sequence[Cell], left_out: LeftOut | None = None
) -> Image.Image:
    """A sheet of the pictures, and below them in grey some of those that were left out."""
    kept = _Grid.of(evenly(cells, _MOST), _columns(len(cells)))
    grey = _Grid.of(evenly(left_out.cells, _LEFT_OUT) if left_out else (), _LEFT_OUT_COLUMNS)
    first = _MARGIN + 74 + 26 * len(lines[:2])
    second = first + kept.height + (84 if left_out else 0)
    sheet = Image.new("RGB", (_WIDTH, second + grey.height + _MARGIN - _GAP), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (_MARGIN, _MARGIN - 6), title, 38, _INK, _INSIDE)
    for index, line in enumerate(lines[:2]):
        _write(draw, (_MARGIN, _MARGIN + 48 + 26 * index), line, 18, _FAINT, _INSIDE)
    kept.draw(sheet, first, _coloured)
    if left_out:
        draw.line((_MARGIN, second - 68, _WIDTH - _MARGIN, second - 68), _SURFACE, 2)
        _write(draw, (_MARGIN, second - 46), left_out.summary, 18, _FAINT, _INSIDE)
        grey.draw(sheet, second, _greyed)
    return sheet


def _columns(count: int) -> int:
    return next((columns for most, columns in _GRIDS if count <= most), _GRIDS[-1][1])


def _cell_width(columns: int) -> int:
    return (_INSIDE + _GAP) // columns - _GAP


@dataclass(frozen=True)
class _Grid:
    """Cells in rows, all as high as the usual picture asks for: wide cells for films, high ones for portraits."""

    cells: Sequence[Cell]
    columns: int
    width: int  # of a cell's picture, in pixels
    picture: int  # its height
    text: int  # height of the lines below it

    @classmethod
    def of(cls, cells: Sequence[Cell], columns: int) -> "_Grid":
        width = _cell_width(columns)
        shapes = sorted(cell.picture.height / cell.picture.width for cell in cells)
        usual = shapes[len(shapes) // 2] if shapes else 0.75
        size = _text_size(width)
        details = max((len(_wrapped(cell.detail, size - 1, width)) for cell in cells), default=0)
        return cls(cells, columns, width, round(width * min(max(usual, 0.4), 1.5)), (size + 6) * (1 + details) + 6)

    @property
    def height(self) -> int:
        return -(-len(self.cells) // self.columns) * self.row

    @property
    def row(self) -> int:
        return self.picture + self.text + _GAP

    def draw(self, sheet: Image.Image, top: int, tint: Callable[[Image.Image], Image.Image]) -> None:
        for index, cell in enumerate(self.cells):
            row, column = divmod(index, self.columns)
            self._draw_cell(sheet, cell, (_MARGIN + column * (self.width + _GAP), top + row * self.row), tint)

    def _draw_cell(
        self, sheet: Image.Image, cell: Cell, place: _Place, tint: Callable[[Image.Image], Image.Image]
    ) -> None:
        draw = ImageDraw.Draw(sheet)
        left, top = place
        box = (left, top, left + self.width - 1, top + self.picture - 1)
        draw.rounded_rectangle(box, _RADIUS, fill=_SURFACE)
        fitting = ImageOps.contain(tint(cell.picture.convert("RGB")), (self.width, self.picture))
        mask = Image.new("L", fitting.size, 0)
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, fitting.width - 1, fitting.height - 1), _RADIUS, fill=255)
        sheet.paste(
            fitting, (left + (self.width - fitting.width) // 2, top + (self.picture - fitting.height) // 2), mask
        )
        size = _text_size(self.width)
        if cell.mark:
            _badge(draw, (left + 8, top + 8), cell.mark, size, self.width - 16)
        line = top + self.picture + 5
        _write(draw, (left + 2, line), cell.caption, size, _INK if tint is _coloured else _FAINT, self.width - 4)
        for number, text in enumerate(_wrapped(cell.detail, size - 1, self.width), 1):
            _write(draw, (left + 2, line + number * (size + 5)), text, size - 1, _FAINT, self.width - 4)


def _coloured(picture: Image.Image) -> Image.Image:
    return picture


def _greyed(picture: Image.Image) -> Image.Image:
    grey = ImageOps.grayscale(picture).convert("RGB")
    return Image.blend(grey, Image.new("RGB", grey.size, _BACKGROUND), _SHADE)


def _text_size(width: int) -> int:
    return 15 if width >= 220 else 13 if width >= 110 else 11


def _badge(draw: ImageDraw.ImageDraw, place: _Place, text: str, size: int, width: int) -> None:
    text = _fitted(draw, text, size, width - 12)
    left, top, right, bottom = draw.textbbox((place[0] + 6, place[1] + 3), text, font=_font(size))
    draw.rounded_rectangle((left - 6, top - 4, right + 6, bottom + 5), 5, fill=_MARK)
    draw.text((place[0] + 6, place[1] + 3), text, font=_font(size), fill=_BACKGROUND)


def _write(draw: ImageDraw.ImageDraw, place: _Place, text: str, size: int, colour: str, width: int) -> None:  # noqa: PLR0917
    draw.text(place, _fitted(draw, text, size, width), font=_font(size), fill=colour)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _wrapped(text: str, size: int, width: int) -> list[str]:
    """The text in at most two lines; the second may be too long."""
    if not text:
        return []
    font, words = _font(size), text.split()
    first = next((n for n in range(len(words), 0, -1) if font.getlength(" ".join(words[:n])) <= width - 4), 1)
    return [" ".join(part) for part in (words[:first], words[first:]) if part]


def _fitted(draw: ImageDraw.ImageDraw, text: str, size: int, width: int) -> str:
    if draw.textlength(text, font=_font(size)) <= width:
        return text
    while text and draw.textlength(text + "...", font=_font(size)) > width:
        text = text[:-1]
    return text.rstrip() + "..."


def clock(seconds: float) -> str:
    """1:02:03.4"""
    tenths = int(seconds * 10)
    hours, rest = divmod(tenths, 36000)
    minutes, rest = divmod(rest, 600)
    start = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{start}:{rest // 10:02}.{rest % 10}"
