"""The training set of a video: its files, made from judged pictures.

Pictures wait on disk as the JPEG files that they will be stored as: a long video has more of them than memory.
"""

import json
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from contentgen_worker.files import JPEG, JSON, TEXT, Output
from contentgen_worker.media.quality import Rejection, Scores
from contentgen_worker.media.sheet import Cell, clock, contact_sheet

_EPOCH = (1980, 1, 1, 0, 0, 0)  # so that the same pictures make the same zip


@dataclass(frozen=True)
class Candidate:
    """A picture that was taken, on disk as JPEG, with its figures."""

    path: Path
    shot: int
    seconds: float
    width: int
    height: int
    scores: Scores


@dataclass(frozen=True)
class Judged:
    """All pictures that were taken and why each was left out (None: it is kept)."""

    candidates: tuple[Candidate, ...]
    verdicts: tuple[Rejection | None, ...]

    @property
    def kept(self) -> tuple[Candidate, ...]:
        """The pictures to train with, in order of time."""
        pairs = zip(self.candidates, self.verdicts, strict=True)
        return tuple(candidate for candidate, verdict in pairs if verdict is None)

    @property
    def rejected(self) -> dict[str, int]:
        """How many were left out, by reason."""
        return dict(Counter(str(verdict) for verdict in self.verdicts if verdict is not None))


def build(judged: Judged, caption: str, title: str, lines: Sequence[str], scratch: Path) -> tuple[Output, ...]:
    """All files of the training set."""
    text = caption.encode()
    numbered = tuple((f"{number:04}", candidate) for number, candidate in enumerate(judged.kept, 1))
    images = tuple(Output.of_path(f"images/{number}.jpg", JPEG, each.path) for number, each in numbered)
    captions = tuple(Output.of_bytes(f"captions/{number}.txt", TEXT, text) for number, _ in numbered)
    index = Output.of_bytes("dataset.json", JSON, _index(judged, caption).encode())
    archive = Output.of_path("dataset.zip", "application/zip", _zip(numbered, text, scratch / "dataset.zip"))
    preview = Output.of_path("preview.jpg", JPEG, _preview(judged.kept, title, lines, scratch / "preview.jpg"))
    return (*images, *captions, index, archive, preview)


def _index(judged: Judged, caption: str) -> str:
    kept = [
        {
            "file": f"images/{number:04}.jpg",
            "width": each.width,
            "height": each.height,
            "caption": caption,
            **_figures(each),
        }
        for number, each in enumerate(judged.kept, 1)
    ]
    pairs = zip(judged.candidates, judged.verdicts, strict=True)
    rejected = [{"reason": verdict, **_figures(each)} for each, verdict in pairs if verdict is not None]
    return json.dumps({"images": kept, "rejected": rejected}, indent=1, ensure_ascii=False)


def _figures(candidate: Candidate) -> dict[str, object]:
    scores = candidate.scores
    return {
        "seconds": round(candidate.seconds, 3),
        "shot": candidate.shot,
        "luma": round(scores.luma, 1),
        "contrast": round(scores.contrast, 1),
        "sharpness": round(scores.sharpness, 1),
        "fingerprint": f"{scores.fingerprint:016x}",
    }


def _zip(numbered: Sequence[tuple[str, Candidate]], caption: bytes, path: Path) -> Path:
    """Picture and caption side by side, as trainers want them; stored, since JPEG does not shrink."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number, candidate in numbered:
            archive.writestr(zipfile.ZipInfo(f"{number}.jpg", _EPOCH), candidate.path.read_bytes())
            archive.writestr(zipfile.ZipInfo(f"{number}.txt", _EPOCH), caption)
    return path


def _preview(kept: Sequence[Candidate], title: str, lines: Sequence[str], path: Path) -> Path:
    cells = [Cell(_small(each.path), f"{clock(each.seconds)}   shot {each.shot}") for each in kept]
    contact_sheet(title, lines, cells).save(path, "JPEG", quality=88)
    return path


def _small(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.draft("RGB", (480, 480))  # decodes at half or a quarter of the size
        image.thumbnail((480, 480))
        return image.copy()
