"""Picture of the engine's mistakes on the unseen sets: frames around each boundary that is missed or false."""

from collections.abc import Sequence
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont

from contentgen_bench.media.unseen.evaluation import Mistake

_AROUND = (-0.4, 0.0, 0.5, 1.0, 1.4)  # shares of the span; outside it, seconds before the start and after the end
_WIDTH, _HEIGHT, _LABEL, _GAP = 224, 126, 26, 16
_INK, _PAPER = "#f2f4f7", "#14161a"


def picture(mistakes: Sequence[Mistake]) -> Image.Image:
    """One row for each mistake: the frames before it, at its start, middle and end, and after it."""
    width = len(_AROUND) * (_WIDTH + 4) + 2 * _GAP
    sheet = Image.new("RGB", (width, len(mistakes) * (_HEIGHT + _LABEL) + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, mistake in enumerate(mistakes):
        top = _GAP + row * (_HEIGHT + _LABEL)
        for column, frame in enumerate(_frames(mistake.path, [_second(mistake, share) for share in _AROUND])):
            fitted = frame.resize((_WIDTH, _HEIGHT), Image.Resampling.LANCZOS)
            sheet.paste(fitted, (_GAP + column * (_WIDTH + 4), top))
        verdict = f"missed {mistake.kind}" if mistake.missed else "false boundary"
        text = f"{mistake.path.stem.rpartition('-')[0]}: {verdict}, {mistake.start:.2f} to {mistake.end:.2f} s"
        draw.text((_GAP, top + _HEIGHT + 4), text, fill=_INK, font=ImageFont.load_default(14))
    return sheet


def _second(mistake: Mistake, share: float) -> float:
    if share < 0:
        return mistake.start + share
    return mistake.start + share * (mistake.end - mistake.start) if share <= 1 else mistake.end + share - 1


def _frames(path: Path, seconds: Sequence[float]) -> list[Image.Image]:
    """Frames nearest to the given times."""
    found: dict[float, tuple[float, av.VideoFrame]] = {}
    with av.open(str(path), "r") as container:
        for frame in container.decode(video=0):
            at = frame.time or 0.0
            for second in seconds:
                if second not in found or abs(at - second) < found[second][0]:
                    found[second] = abs(at - second), frame
    return [Image.fromarray(found[second][1].to_ndarray(format="rgb24")) for second in seconds]
