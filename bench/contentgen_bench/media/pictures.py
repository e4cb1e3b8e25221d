"""Pictures of docs/media.md, generated: detector signals, selected and rejected frames, near-duplicates.

`make docs-pictures` writes them. The output is deterministic; review the pictures before a commit.
"""

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import simplejpeg  # type: ignore[import-untyped]
from PIL import Image, ImageDraw, ImageFont

from contentgen_bench.media import videos
from contentgen_bench.media.duplicates.pairs import Half, LabelledPair, generated, people, scenery
from contentgen_bench.media.duplicates.people import Picture
from contentgen_bench.media.scenes.scenery import CameraLook
from contentgen_contract.resources.spec import Duplicates, LoraTrainingSpec
from contentgen_contract.worker.orders import Limits
from contentgen_worker.media.decode.bounds import MediaLimits, pod_memory
from contentgen_worker.media.decode.decode import WHOLE, frames
from contentgen_worker.media.decode.planes import Shape
from contentgen_worker.media.decode.probe import open_media
from contentgen_worker.media.select.similarity import ComparablePicture, Thumbnail, difference
from contentgen_worker.media.shots.adaptive import distance
from contentgen_worker.media.shots.best import detail
from contentgen_worker.media.shots.boundaries import Boundary, BoundaryKind
from contentgen_worker.media.shots.boundary_detector import AutoDetector
from contentgen_worker.prepare.lora import training_set
from contentgen_worker.progress import Steps

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "docs/media"
_VIDEO, _SECONDS = "tune-small", 60.0
_FROM, _TO = 9.0, 19.5  # seconds; the part has a cut, a fade, a cut and a dissolve
_WIDTH, _MARGIN = 1200, 24
_INK, _FAINT, _PAPER, _SURFACE = "#f2f4f7", "#9aa3b2", "#14161a", "#20242b"
_CHANGE, _DETAIL, _KEPT, _LEFT_OUT = "#6cb6ff", "#b9a2f2", "#57c785", "#e0a458"
_WRONG = "#e5534b"
_SHADES = {BoundaryKind.CUT: "#e5534b", BoundaryKind.DISSOLVE: "#c07a3a", BoundaryKind.FADE: "#7d6ab8"}
_SMEARED, _EXAMPLES = 3, 4
_SAME = 1e-3  # seconds; dataset.json rounds them
_PERSON, _PLACE = 4, 17  # scenes of the labelled pairs
_REJECTED = ("zoom", "shift", "combined", "motion blur", "blink", "mouth, camera", "brightness", "another shot of it")
_BOTH_KEPT = (
    "head turned",
    "head tilted",
    "hand raised",
    "leaning in",
    "moved",
    "another person",
    "closer",
    "another place",
)


@dataclass(frozen=True)
class DetectorView:
    """Detector signals of each frame. `change`: RMS difference from the previous frame; `detail`: sharpness of luma."""

    seconds: list[float]
    change: list[float]
    detail: list[float]
    small: list[Image.Image]
    boundaries: list[Boundary]


def main() -> None:
    """Write the pictures."""
    video = videos.ensure(_VIDEO).path
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        files = _made(videos.beginning(_VIDEO, _SECONDS).path, Path(scratch) / "beginning")
        _save(_shrunk(Image.open(files["preview.jpg"])), "contact-sheet.jpg")
        index = json.loads(_made(video, Path(scratch) / "whole")["dataset.json"])
        seen = _seen(video)
        _save(_curves(seen, index), "difference.jpg")
        _save(_examples(video, index, seen), "chosen.jpg")
    _save(_duplicates(), "duplicates.jpg")


def _made(video: Path, scratch: Path) -> dict[str, Any]:
    """Contents of a training set's outputs, by file name, with index and contact sheet."""
    spec = LoraTrainingSpec.model_validate(
        {
            "loraName": "a-minute-of-film",
            "triggerWord": "jf",
            "source": {"url": "https://example.com/film.mp4"},
            "dataset": {"captions": {"facts": ["Framing", "Brightness", "Motion"]}},
        }
    )
    scratch.mkdir()
    limits = Limits()
    bounds = MediaLimits(limits.pixels, limits.duration_seconds, memory_bytes=pod_memory())
    made = training_set(spec, video, bounds, Steps(lambda _: None), scratch)
    return {output.name: output.content for output in (*made.outputs, *made.bundle())}


def _seen(video: Path) -> DetectorView:
    """Detector signals of all frames, with thumbnails of the plotted part."""
    limits, detector = Limits(), AutoDetector()
    seen = DetectorView([], [], [], [], [])
    last = None
    with open_media(video) as container:
        for frame in frames(container, WHOLE, MediaLimits(limits.pixels, limits.duration_seconds)):
            planes = Shape.for_frame(frame.image.width, frame.image.height).shrink(frame.image)
            thumbnail = detector.thumbnail(planes)
            seen.seconds.append(frame.seconds)
            seen.change.append(0.0 if last is None else distance(last, thumbnail))
            seen.detail.append(detail(planes.y))
            seen.boundaries.extend(detector.push(frame.seconds, thumbnail))
            if _FROM <= frame.seconds <= _TO:
                seen.small.append(_image(frame.image).resize((160, 90)))
            last = thumbnail
    return seen


def _curves(seen: DetectorView, index: dict[str, Any]) -> Image.Image:
    """Chart with a filmstrip, the frame difference with the boundaries, and detail with the selected frames."""
    sheet = Image.new("RGB", (_WIDTH, 540), _PAPER)
    draw = ImageDraw.Draw(sheet)
    shown = [at for at, second in enumerate(seen.seconds) if _FROM <= second <= _TO]
    count = 10
    width = (_WIDTH - 2 * _MARGIN) // count
    for column in range(count):
        picture = seen.small[min(int((column + 0.5) * len(seen.small) / count), len(seen.small) - 1)]
        sheet.paste(picture.resize((width - 2, round((width - 2) * 9 / 16))), (_MARGIN + column * width, 16))
    top, height = 96, 178
    _panel(draw, top, height)
    for boundary in seen.boundaries:
        if boundary.start > _FROM and boundary.end < _TO:
            left, right = _x(boundary.start), max(_x(boundary.end), _x(boundary.start) + 2)
            draw.rectangle((left, top, right, top + 2 * height + 24), fill=_dim(_SHADES[boundary.kind]))
            draw.text((right + 4, top + 4), boundary.kind.lower(), fill=_SHADES[boundary.kind], font=_font(14))
    times = [seen.seconds[at] for at in shown]
    _line(draw, times, [seen.change[at] for at in shown], (top, height), _CHANGE)
    _title(draw, top + height, "change from one frame to the next")
    top += height + 24
    _panel(draw, top, height)
    _title(draw, top + height, "detail (square root); dots: frames that were kept")
    details = [seen.detail[at] ** 0.5 for at in shown]
    _line(draw, times, details, (top, height), _DETAIL)
    for entries, colour in ((index["rejected"], _LEFT_OUT), (index["images"], _KEPT)):
        for entry in entries:
            if _FROM <= entry["seconds"] <= _TO:
                at = int(np.argmin(np.abs(np.array(times) - entry["seconds"])))
                x, y = _x(times[at]), _y(details[at], max(details), (top, height))
                fill = colour if colour is _KEPT else None
                draw.ellipse((x - 6, y - 6, x + 6, y + 6), outline=colour, fill=fill, width=3)
    for second in range(int(np.ceil(_FROM)), int(_TO) + 1):
        draw.text((_x(second) - 8, 540 - 26), f"{second} s", fill=_FAINT, font=_font(13))
    return sheet


def _examples(video: Path, index: dict[str, Any], seen: DetectorView) -> Image.Image:
    """Chart of frame pairs: above, a rejected frame and the reason; below, the kept frame that replaces it."""
    pairs = [*_smeared(index, seen)[:_SMEARED], *_left_out(index)][:_EXAMPLES]
    pictures = _frames(video, [each for _, second, kept in pairs for each in (second, kept["seconds"])])
    width = (_WIDTH - 2 * _MARGIN) // len(pairs)
    height = round((width - 12) * 9 / 16)
    sheet = Image.new("RGB", (_WIDTH, 2 * height + 124), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, (why, second, kept) in enumerate(pairs):
        left = _MARGIN + column * width
        below = f"kept: {kept['seconds']:.2f} s, sharpness {kept['sharpness']:.0f}"
        for row, (at, colour, text) in enumerate(((second, _LEFT_OUT, why), (kept["seconds"], _KEPT, below))):
            top = 16 + row * (height + 54)
            sheet.paste(pictures[at].resize((width - 12, height), Image.Resampling.LANCZOS), (left, top))
            draw.rectangle((left, top, left + width - 13, top + height - 1), outline=colour, width=3)
            draw.text((left, top + height + 6), text, fill=colour, font=_font(14))
    return sheet


Pair = tuple[str, float, dict[str, Any]]
"""Reason of the rejection, time of the rejected frame in seconds, index entry of the kept frame."""


def _smeared(index: dict[str, Any], seen: DetectorView) -> list[Pair]:
    """Least detailed frame and kept frame of each shot, by ratio of detail, largest contrast first."""
    found: list[tuple[float, Pair]] = []
    for kept in index["images"]:
        shot = next(each_shot for each_shot in index["shots"] if each_shot["number"] == kept["shot"])
        inside = [at for at, second in enumerate(seen.seconds) if shot["start"] + 0.3 < second < shot["end"] - 0.3]
        if inside and kept["seconds"] <= seen.seconds[-1]:
            worst = min(inside, key=lambda at: seen.detail[at])
            best = max(seen.detail[at] for at in inside)
            share = seen.detail[worst] / best
            why = f"passed over: {seen.seconds[worst]:.2f} s, {share:.0%} of the detail"
            found.append((share, (why, seen.seconds[worst], kept)))
    return [pair for _, pair in sorted(found, key=lambda each: each[0])]


def _left_out(index: dict[str, Any]) -> Iterator[Pair]:
    """One rejected frame per reason."""
    reasons: dict[str, dict[str, Any]] = {}
    for entry in index["rejected"]:
        reasons.setdefault(entry["reason"], entry)
    for entry in reasons.values():
        yield _why(entry), entry["seconds"], _kept_near(entry, index["images"])


def _why(entry: dict[str, Any]) -> str:
    figure = f" {entry['figure']:.3g}, limit {entry['limit']:.3g}" if "figure" in entry else ""
    return f"{entry['reason']}: {entry['seconds']:.2f} s,{figure}"


def _kept_near(entry: dict[str, Any], kept: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Kept frame to compare with a rejected one: the frame it duplicates, else one of its shot, else the nearest."""
    second = entry.get("likeSeconds", entry["seconds"])
    same_shot = [each for each in kept if each["shot"] == entry["shot"]]
    near = kept if "likeSeconds" in entry else same_shot or kept
    return min(near, key=lambda each: abs(each["seconds"] - second))


def _duplicates() -> Image.Image:
    """Chart of labelled pairs: near-duplicates, of which one is rejected; pairs that are both kept; wrong verdicts."""
    found = {pair.kind: pair for pair in (*people(_PERSON), *scenery(_PLACE, CameraLook.STREET))}
    chosen = [found[kind] for kind in (*_REJECTED, *_BOTH_KEPT)] + _misjudged()
    width = (_WIDTH - 2 * _MARGIN) // _EXAMPLES
    height = round((width - 12) / 2 * 9 / 16)
    rows = -(-len(chosen) // _EXAMPLES)
    sheet = Image.new("RGB", (_WIDTH, rows * (height + 34) + 16), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for number, pair in enumerate(chosen):
        row, column = divmod(number, _EXAMPLES)
        left, top = _MARGIN + column * width, 16 + row * (height + 34)
        figure = pair_difference(pair)
        rejected = figure <= Duplicates().threshold
        colour = _WRONG if rejected != pair.same else _LEFT_OUT if rejected else _KEPT
        for at, picture in enumerate((pair.first, pair.second)):
            place = left + at * ((width - 12) // 2)
            pixels = Image.fromarray(np.ascontiguousarray(picture[:, :, ::-1]))
            sheet.paste(pixels.resize(((width - 16) // 2, height), Image.Resampling.LANCZOS), (place, top))
        draw.rectangle((left, top, left + width - 13, top + height - 1), outline=colour, width=2)
        wrong = "wrong: " if colour is _WRONG else ""
        verdict = "one is rejected" if rejected else "both are kept"
        draw.text((left, top + height + 4), f"{pair.kind}: {figure}, {wrong}{verdict}", fill=colour, font=_font(13))
    return sheet


def pair_difference(pair: LabelledPair) -> int:
    """The engine's difference of the two pictures, at most its default threshold for duplicates."""
    first, second = (ComparablePicture(_thumbnail(picture)) for picture in (pair.first, pair.second))
    return difference(first, second, Duplicates().threshold)


def _thumbnail(picture: Picture) -> Thumbnail:
    y, u, v = cv2.split(cv2.cvtColor(picture, cv2.COLOR_BGR2YUV))
    return Thumbnail.from_planes(np.asarray(y, np.uint8), np.asarray(u, np.uint8), np.asarray(v, np.uint8))


def _misjudged() -> list[LabelledPair]:
    """Pairs of the half without tuning whose verdict is wrong, at most a row each and one of each kind.

    First near-duplicates that are both kept, then other pictures of which one is rejected.
    """
    kept: dict[str, LabelledPair] = {}
    rejected: dict[str, LabelledPair] = {}
    for pair in generated():
        if pair.half is Half.HELD_OUT and (pair_difference(pair) <= Duplicates().threshold) != pair.same:
            (kept if pair.same else rejected).setdefault(pair.kind, pair)
    return [*list(kept.values())[:_EXAMPLES], *list(rejected.values())[:_EXAMPLES]]


def _frames(video: Path, seconds: Sequence[float]) -> dict[float, Image.Image]:
    """Frames at the given times, by time in seconds."""
    found: dict[float, Image.Image] = {}
    with open_media(video) as container:
        for frame in frames(container, WHOLE, MediaLimits(10**9, 1e9)):
            for second in seconds:
                if abs(frame.seconds - second) < _SAME:
                    found[second] = _image(frame.image)
    return found


def _image(frame: av.VideoFrame) -> Image.Image:
    return Image.fromarray(frame.to_ndarray(format="rgb24", threads=1))


def _panel(draw: ImageDraw.ImageDraw, top: int, height: int) -> None:
    draw.rectangle((_MARGIN, top, _WIDTH - _MARGIN, top + height), fill=_SURFACE)


def _title(draw: ImageDraw.ImageDraw, bottom: int, title: str) -> None:
    draw.text((_WIDTH - _MARGIN - 8, bottom - 8), title, fill=_FAINT, font=_font(14), anchor="rs")


def _line(
    draw: ImageDraw.ImageDraw, times: Sequence[float], values: Sequence[float], place: tuple[int, int], colour: str
) -> None:
    points = [(_x(time), _y(value, max(values), place)) for time, value in zip(times, values, strict=True)]
    draw.line(points, fill=colour, width=2)


def _x(second: float) -> float:
    return _MARGIN + (second - _FROM) / (_TO - _FROM) * (_WIDTH - 2 * _MARGIN)


def _y(value: float, most: float, place: tuple[int, int]) -> float:
    top, height = place
    return top + height - 30 - (height - 54) * value / most


def _dim(colour: str) -> tuple[int, int, int]:
    """Colour blended with the panel's background, as RGB."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return (red + 3 * 0x20) // 4, (green + 3 * 0x24) // 4, (blue + 3 * 0x2B) // 4


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _shrunk(sheet: Image.Image) -> Image.Image:
    return sheet.resize((_WIDTH, round(sheet.height * _WIDTH / sheet.width)), Image.Resampling.LANCZOS)


def _save(picture: Image.Image, name: str) -> None:
    pixels = np.ascontiguousarray(np.asarray(picture.convert("RGB")))
    content = simplejpeg.encode_jpeg(pixels, quality=78, colorspace="RGB")
    (FOLDER / name).write_bytes(content)
    print(f"{(FOLDER / name).relative_to(ROOT)}  {picture.width}x{picture.height}  {len(content) // 1024} KB")


if __name__ == "__main__":
    main()
