"""Files of a training set, from the chosen pictures.

Pictures stay on disk as JPEG files: those of a long video exceed the memory.
"""

import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from contentgen_worker.files import JPEG, JSON, TEXT, Output
from contentgen_worker.media.dataset import rejected_pictures
from contentgen_worker.media.dataset.contact_sheet import Cell, LeftOut, contact_sheet, format_time, picture_width
from contentgen_worker.media.decode.stills import decode_pictures
from contentgen_worker.media.select.choose import (
    PictureCandidate,
    PictureVerdict,
    Rejection,
    count_rejections,
    sample_evenly,
)
from contentgen_worker.media.shots.shots import Shot

_EPOCH = (1980, 1, 1, 0, 0, 0)  # constant, so that equal pictures give an equal zip
_REJECTED_ON_SHEET = 48  # rejected pictures on the sheet
_REJECTED_WIDTH = 128  # pixels
_FIGURE_NAMES = {
    Rejection.TOO_DARK: "luma",
    Rejection.TOO_BRIGHT: "luma",
    Rejection.LOW_CONTRAST: "contrast",
    Rejection.BLURRED: "detail",
    Rejection.BETTER_IN_SHOT: "detail",
}


@dataclass(frozen=True)
class Judged:
    """All candidates in order of time, each with its verdict."""

    candidates: tuple[PictureCandidate, ...]
    verdicts: tuple[PictureVerdict, ...]

    @property
    def kept(self) -> tuple[PictureCandidate, ...]:
        """Training pictures in order of time."""
        return tuple(candidate for candidate, verdict in self.pairs() if verdict.kept)

    @property
    def rejected(self) -> dict[str, int]:
        """Number of rejected pictures by reason."""
        return count_rejections(self.verdicts)

    @property
    def last_resort(self) -> int:
        """Number of pictures kept only because there were too few others."""
        return sum(verdict.last_resort for verdict in self.verdicts)

    def sampled_rejections(self) -> dict[int, rejected_pictures.PictureTile]:
        """Some rejected pictures, by their index among all, with their places in rejected.jpg."""
        rejected = [index for index, verdict in enumerate(self.verdicts) if not verdict.kept]
        some = sample_evenly(rejected, rejected_pictures.MOST)
        sizes = [(self.candidates[index].width, self.candidates[index].height) for index in some]
        return dict(zip(some, rejected_pictures.arrange(sizes), strict=True))

    def pairs(self) -> Iterator[tuple[PictureCandidate, PictureVerdict]]:
        """Each picture with its verdict."""
        return zip(self.candidates, self.verdicts, strict=True)


@dataclass(frozen=True)
class Heading:
    """Text above the pictures of preview.jpg."""

    title: str
    lines: Sequence[str]


def build(judged: Judged, shots: Sequence[Shot], captions: Sequence[str]) -> tuple[Output, ...]:
    """Pictures, captions and dataset.json. `captions`: one per kept picture, in order of time."""
    texts = [caption.encode() for caption in captions]
    images = [Output.from_path(f"images/{number}.jpg", JPEG, each.path) for number, each in _numbered(judged)]
    sidecars = [
        Output.from_bytes(f"captions/{number}.txt", TEXT, text)
        for (number, _), text in zip(_numbered(judged), texts, strict=True)
    ]
    return (*images, *sidecars, Output.from_bytes("dataset.json", JSON, make_index(judged, shots, captions).encode()))


def bundle(judged: Judged, captions: Sequence[str], heading: Heading, scratch: Path) -> tuple[Output, ...]:
    """Files with many pictures: dataset.zip, preview.jpg, and rejected.jpg if any were rejected."""
    texts = [caption.encode() for caption in captions]
    archive = Output.from_path(
        "dataset.zip", "application/zip", _zip(_numbered(judged), texts, scratch / "dataset.zip")
    )
    sheet = scratch / "preview.jpg"
    make_preview(judged, captions, heading.title, heading.lines).save(sheet, "JPEG", quality=88)
    return archive, Output.from_path("preview.jpg", JPEG, sheet), *_rejected(judged, scratch / "rejected.jpg")


def _rejected(judged: Judged, path: Path) -> Iterator[Output]:
    if tiles := judged.sampled_rejections():
        pictures = _thumbnails([judged.candidates[index].path for index in tiles], rejected_pictures.WIDTH)
        rejected_pictures.draw(pictures, tuple(tiles.values())).save(path, "JPEG", quality=85)
        yield Output.from_path(path.name, JPEG, path)


def _numbered(judged: Judged) -> list[tuple[str, PictureCandidate]]:
    return [(f"{number:04}", candidate) for number, candidate in enumerate(judged.kept, 1)]


def make_index(judged: Judged, shots: Sequence[Shot], captions: Sequence[str]) -> str:
    """dataset.json: shots; source, figures and caption of each picture; reason of each rejection, and the place of some
    in rejected.jpg.
    """
    caption, number = iter(captions), 0
    images: list[dict[str, object]] = []
    rejected: list[dict[str, object]] = []
    tiles = judged.sampled_rejections()
    for index, (candidate, verdict) in enumerate(judged.pairs()):
        if verdict.kept:
            number += 1
            entry: dict[str, object] = {"file": f"images/{number:04}.jpg", "caption": next(caption)}
            entry |= {"width": candidate.width, "height": candidate.height, **_figures(candidate)}
            images.append(entry | ({"lastResort": _rejection(verdict, judged)} if verdict.last_resort else {}))
        else:
            tile = {"tile": asdict(tiles[index])} if index in tiles else {}
            rejected.append(_rejection(verdict, judged) | _figures(candidate) | tile)
    shot_entries = [{"number": shot.number, "start": round(shot.start, 3), "end": round(shot.end, 3)} for shot in shots]
    found = {"images": images, "rejected": rejected, "shots": shot_entries}
    return json.dumps(found | _size_of_rejected(tiles), indent=1, ensure_ascii=False)


def _size_of_rejected(tiles: Mapping[int, rejected_pictures.PictureTile]) -> dict[str, object]:
    if not tiles:
        return {}
    width, height = rejected_pictures.bounds(tiles.values())
    return {"rejectedPictures": {"width": width, "height": height}}


def _rejection(verdict: PictureVerdict, judged: Judged) -> dict[str, object]:
    figures = {"figure": verdict.figure, "limit": verdict.limit}
    like = {"likeSeconds": round(judged.candidates[verdict.like].seconds, 3)} if verdict.like is not None else {}
    return {"reason": verdict.reason, **{k: round(v, 3) for k, v in figures.items() if v is not None}, **like}


def _figures(candidate: PictureCandidate) -> dict[str, object]:
    scores = candidate.scores
    return {
        "seconds": round(candidate.seconds, 3),
        "shot": candidate.shot,
        "hash": f"{scores.fingerprint:016x}",
        "luma": round(scores.luma, 1),
        "contrast": round(scores.contrast, 1),
        "chroma": [round(each, 1) for each in scores.chroma],
        "sharpness": round(scores.sharpness, 1),
        "motion": round(candidate.motion, 2),
        **({"border": round(scores.border, 3)} if scores.border else {}),
        **({"textCard": round(scores.card, 2)} if scores.card else {}),
        **({"deinterlaced": round(scores.interlaced, 3)} if scores.interlaced else {}),
        "faces": [
            {name: round(getattr(face, name), 3) for name in ("left", "top", "width", "height")}
            for face in scores.faces
        ],
    }


def _zip(numbered: Sequence[tuple[str, PictureCandidate]], captions: Sequence[bytes], path: Path) -> Path:
    """Pictures with captions beside them, as trainers expect; uncompressed, since JPEG does not shrink."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for (number, candidate), caption in zip(numbered, captions, strict=True):
            archive.writestr(zipfile.ZipInfo(f"{number}.jpg", _EPOCH), candidate.path.read_bytes())
            archive.writestr(zipfile.ZipInfo(f"{number}.txt", _EPOCH), caption)
    return path


def make_preview(judged: Judged, captions: Sequence[str], title: str, lines: Sequence[str]) -> Image.Image:
    """preview.jpg: all pictures, with captions unless all are equal, and a sample of the rejected ones in grey."""
    kept = [(candidate, verdict) for candidate, verdict in judged.pairs() if verdict.kept]
    width = picture_width(len(kept))
    captions_differ = len(set(captions)) > 1
    thumbnails = _thumbnails([candidate.path for candidate, _ in kept], width)
    cells = [
        Cell(
            picture,
            f"{format_time(candidate.seconds)} · shot {candidate.shot}",
            caption if captions_differ else "",
            verdict.reason.label if verdict.reason else "",
        )
        for (candidate, verdict), caption, picture in zip(kept, captions, thumbnails, strict=True)
    ]
    return contact_sheet(title, lines, cells, _left_out(judged))


def _left_out(judged: Judged) -> LeftOut | None:
    rejected = [(pair, verdict) for pair, verdict in judged.pairs() if not verdict.kept and verdict.reason is not None]
    if not rejected:
        return None
    some = sample_evenly(rejected, _REJECTED_ON_SHEET)
    counts = " · ".join(f"{Rejection(reason).label} {count}" for reason, count in _by_count(judged.rejected))
    shown_count = f", {len(some)} of them here" if len(some) < len(rejected) else ""
    cells = [
        Cell(picture, verdict.reason.label, _rejected_caption(judged, each, verdict))
        for (each, verdict), picture in zip(
            some, _thumbnails([each.path for each, _ in some], _REJECTED_WIDTH), strict=True
        )
        if verdict.reason is not None
    ]
    return LeftOut(f"{len(rejected)} left out{shown_count}: {counts}", cells)


def _by_count(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _rejected_caption(judged: Judged, candidate: PictureCandidate, verdict: PictureVerdict) -> str:
    if verdict.like is not None:
        return f"{format_time(candidate.seconds)} as {format_time(judged.candidates[verdict.like].seconds)}"
    unit = _FIGURE_NAMES.get(verdict.reason) if verdict.reason else None
    return f"{format_time(candidate.seconds)} · {unit} {verdict.figure:.3g}" if unit else format_time(candidate.seconds)


def _thumbnails(paths: Sequence[Path], width: int) -> list[Image.Image]:
    return [Image.fromarray(pixels) for pixels in decode_pictures(paths, width)]
