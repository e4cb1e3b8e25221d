"""Contact sheets: the pictures of a training set, and those rejected."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageOps

from contentgen_worker.media.dataset.lettering import shorten, width, wrap, write
from contentgen_worker.media.select.choose import sample_evenly

_WIDTH, _MARGIN, _GAP, _RADIUS = 1680, 48, 16, 8
_CONTENT_WIDTH = _WIDTH - 2 * _MARGIN
# Maximum number of cells: number of columns. Above the last maximum, a sample is shown.
_GRIDS = ((8, 4), (18, 5), (36, 6), (72, 8), (180, 10), (1000, 16))
_MAX_CELLS = _GRIDS[-1][0]
_MAX_REJECTED, _REJECTED_COLUMNS = 48, 12
_SHADE = 0.25  # opacity of a rejected picture
_BACKGROUND, _SURFACE, _INK, _FAINT, _MARK = "#14161a", "#20242b", "#f2f4f7", "#9aa3b2", "#e0a458"
_Place = tuple[int, int]


@dataclass(frozen=True)
class Cell:
    """Picture with the line under it and up to two lines more. `mark`: warning on the picture."""

    picture: Image.Image
    caption: str
    detail: str = ""
    mark: str = ""


@dataclass(frozen=True)
class LeftOut:
    """Rejected pictures: a summary line, and cells with the reason as caption."""

    summary: str
    cells: Sequence[Cell] = ()


def picture_width(count: int) -> int:
    """Width in pixels of each picture on a sheet of `count` pictures."""
    return _cell_width(_columns(count))


def contact_sheet(
    title: str, lines: Sequence[str], cells: Sequence[Cell], left_out: LeftOut | None = None
) -> Image.Image:
    """Sheet of the pictures, and below them, in grey, a sample of the rejected ones."""
    kept = _Grid.from_cells(sample_evenly(cells, _MAX_CELLS), _columns(len(cells)))
    rejected = _Grid.from_cells(sample_evenly(left_out.cells, _MAX_REJECTED) if left_out else (), _REJECTED_COLUMNS)
    kept_top = _MARGIN + 74 + 26 * len(lines[:2])
    rejected_top = kept_top + kept.height + (84 if left_out else 0)
    sheet = Image.new("RGB", (_WIDTH, rejected_top + rejected.height + _MARGIN - _GAP), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    write(draw, (_MARGIN, _MARGIN - 6), shorten(title, 38, _CONTENT_WIDTH), 38, _INK)
    for index, line in enumerate(lines[:2]):
        write(draw, (_MARGIN, _MARGIN + 48 + 26 * index), shorten(line, 18, _CONTENT_WIDTH), 18, _FAINT)
    kept.draw(sheet, kept_top, _unchanged)
    if left_out:
        draw.line((_MARGIN, rejected_top - 68, _WIDTH - _MARGIN, rejected_top - 68), _SURFACE, 2)
        write(draw, (_MARGIN, rejected_top - 46), shorten(left_out.summary, 18, _CONTENT_WIDTH), 18, _FAINT)
        rejected.draw(sheet, rejected_top, _faded)
    return sheet


def _columns(count: int) -> int:
    return next((columns for max_cells, columns in _GRIDS if count <= max_cells), _GRIDS[-1][1])


def _cell_width(columns: int) -> int:
    return (_CONTENT_WIDTH + _GAP) // columns - _GAP


@dataclass(frozen=True)
class _Grid:
    """Rows of cells of one height, by the median aspect ratio."""

    cells: Sequence[Cell]
    columns: int
    width: int  # of a cell's picture, in pixels
    picture: int  # its height
    text: int  # height of the text below it

    @classmethod
    def from_cells(cls, cells: Sequence[Cell], columns: int) -> "_Grid":
        across = _cell_width(columns)
        shapes = sorted(cell.picture.height / cell.picture.width for cell in cells)
        usual = shapes[len(shapes) // 2] if shapes else 0.75
        size = _text_size(across)
        details = max((len(wrap(cell.detail, size - 1, across - 4)) for cell in cells), default=0)
        return cls(cells, columns, across, round(across * min(max(usual, 0.4), 1.8)), (size + 6) * (1 + details) + 6)

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
        image = ImageOps.contain(tint(cell.picture.convert("RGB")), (self.width, self.picture))
        mask = Image.new("L", image.size, 0)
        ImageDraw.Draw(mask).rounded_rectangle((0, 0, image.width - 1, image.height - 1), _RADIUS, fill=255)
        sheet.paste(image, (left + (self.width - image.width) // 2, top + (self.picture - image.height) // 2), mask)
        size = _text_size(self.width)
        if cell.mark:
            _badge(draw, (left + 8, top + 8), cell.mark, size, self.width - 16)
        line = top + self.picture + 5
        caption = shorten(cell.caption, size, self.width - 4)
        write(draw, (left + 2, line), caption, size, _INK if tint is _unchanged else _FAINT)
        for number, text in enumerate(wrap(cell.detail, size - 1, self.width - 4), 1):
            write(draw, (left + 2, line + number * (size + 5)), text, size - 1, _FAINT)


def _unchanged(picture: Image.Image) -> Image.Image:
    return picture


def _faded(picture: Image.Image) -> Image.Image:
    grey = ImageOps.grayscale(picture).convert("RGB")
    return Image.blend(grey, Image.new("RGB", grey.size, _BACKGROUND), _SHADE)


def _text_size(width: int) -> int:
    return 15 if width >= 220 else 13 if width >= 110 else 11


def _badge(draw: ImageDraw.ImageDraw, place: _Place, text: str, size: int, room: int) -> None:
    text = shorten(text, size, room - 12)
    left, top = place
    draw.rounded_rectangle((left, top, left + width(text, size) + 12, top + size + 7), 5, fill=_MARK)
    write(draw, (left + 6, top + 2), text, size, _BACKGROUND)


def format_time(seconds: float) -> str:
    """Time as 1:02:03.4."""
    tenths = int(seconds * 10)
    hours, rest = divmod(tenths, 36000)
    minutes, rest = divmod(rest, 600)
    start = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{start}:{rest // 10:02}.{rest % 10}"
