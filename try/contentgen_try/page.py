"""Local page of the results, `FOLDER/index.html`: contact sheet, kept pictures with captions, generated pictures, and
transcripts with their recordings.

All texts and names of files come from manifests, models and providers: the template escapes each, links are
percent-encoded relative paths, and the page's policy permits nothing but local files and the page's own script.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from contentgen_contract.names import Kind
from contentgen_try.progress import duration, view

Body = dict[str, Any]
NAME = "index.html"
_VERSION = re.compile(r"v([1-9]\d*)")
_TIMES = re.compile(r"(?:(\d+):)?(\d\d):(\d\d)[.,](\d{3}) --> ")
_TAG = re.compile(r"<[^>]*>")
_PICTURES = (".png", ".jpg")
_DOCUMENTS = (".txt", ".srt", ".vtt", ".json", ".zip", ".safetensors")
_HEADINGS = {
    Kind.LORA_TRAINING: "LoRA",
    Kind.IMAGE_GENERATION: "Generated pictures",
    Kind.TRANSCRIPTION: "Transcript",
}


@dataclass(frozen=True)
class Result:
    """A resource, and the folder with copies of its files."""

    resource: Body
    folder: Path
    earlier: bool = False
    """Whether it was Completed before this run."""


@dataclass(frozen=True)
class Picture:
    """A picture with its text."""

    link: str
    caption: str


@dataclass(frozen=True)
class Segment:
    """Text of a recording. `start`: seconds."""

    start: float
    text: str

    @property
    def clock(self) -> str:
        """Time such as `1:02`."""
        minutes, seconds = divmod(int(self.start), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


@dataclass(frozen=True)
class Section:
    """One resource on the page."""

    heading: str
    name: str
    phase: str
    note: str
    message: str
    prompt: str = ""
    sheet: str = ""
    pictures: Sequence[Picture] = ()
    audio: str = ""
    segments: Sequence[Segment] = ()
    text: str = ""
    files: Sequence[tuple[str, str]] = ()
    """Names and links."""


def write(folder: Path, results: Sequence[Result], *, simulated: bool) -> Path:
    """Write the page; returns its path. `simulated`: the sandbox replaced the providers."""
    sections = [_section(folder, result) for result in results]
    script, style = _source("page.js"), _source("page.css")
    policy = f"default-src 'none'; img-src 'self' file:; media-src 'self' file:; style-src {_hash(style)}; "
    policy += f"script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    made = _ENVIRONMENT.get_template("page.html").render(
        sections=sections,
        simulated=simulated,
        policy=policy,
        script=Markup(script),  # noqa: S704 - a file of this package
        style=Markup(style),  # noqa: S704 - likewise
    )
    path = folder / NAME
    path.write_text(made, encoding="utf-8", errors="replace")
    return path


_LOADER = PackageLoader("contentgen_try", "templates")
_ENVIRONMENT = Environment(
    loader=_LOADER, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)


def _source(name: str) -> str:
    return _LOADER.get_source(_ENVIRONMENT, name)[0]


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _section(folder: Path, result: Result) -> Section:
    resource, seen = result.resource, view(result.resource)
    kind = Kind(resource["kind"])
    files = _newest(result.folder)
    took = "finished earlier" if result.earlier else duration(seen.took)
    content: Body = {}
    if kind is Kind.LORA_TRAINING:
        content = _training(folder, files)
    elif kind is Kind.IMAGE_GENERATION:
        content = {"prompt": str(resource["spec"].get("prompt") or ""), "pictures": list(_generated(folder, files))}
    else:
        content = _transcript(folder, files)
    return Section(
        heading=_HEADINGS[kind],
        name=seen.name,
        phase=seen.phase or "no status",
        note=" · ".join(each for each in (took, seen.cost) if each),
        message="" if seen.completed else seen.message,
        files=[(file.name, _link(folder, file)) for file in files if file.suffix in _DOCUMENTS and _is_result(file)],
        **content,
    )


def _newest(folder: Path) -> list[Path]:
    """Files of the newest version of each stage, sorted. Version 1 may lie directly in the folder of its stage."""
    newest: dict[str, int] = {}
    found = []
    for path in sorted(each_path for each_path in folder.rglob("*") if each_path.is_file()):
        stage, *inner = path.relative_to(folder).parts
        matched = _VERSION.fullmatch(inner[0]) if len(inner) > 1 else None
        version = int(matched[1]) if matched else 1
        newest[stage] = max(version, newest.get(stage, 1))
        found.append((stage, version, path))
    return [path for stage, version, path in found if version == newest[stage]]


def _is_result(path: Path) -> bool:
    return path.parent.name != "captions" and path.name not in ("dataset.json", "config.json")


def _training(folder: Path, files: Sequence[Path]) -> Body:
    sheet = next((file for file in files if file.name == "preview.jpg"), None)
    pictures = [file for file in files if file.parent.name == "images" and file.suffix in _PICTURES]
    return {
        "sheet": _link(folder, sheet) if sheet else "",
        "pictures": [Picture(_link(folder, picture), _caption(picture)) for picture in pictures],
    }


def _caption(picture: Path) -> str:
    return _text(picture.parent.parent / "captions" / f"{picture.stem}.txt").strip()


def _generated(folder: Path, files: Sequence[Path]) -> Iterator[Picture]:
    for path in files:
        if path.suffix in _PICTURES and not path.stem.endswith("_thumb"):
            yield Picture(_link(folder, path), path.name)


def _transcript(folder: Path, files: Sequence[Path]) -> Body:
    by_suffix = {file.suffix: file for file in files}
    audio = by_suffix.get(".flac")
    segments: Sequence[Segment] = ()
    for suffix in (".srt", ".vtt"):
        if suffix in by_suffix and not segments:
            segments = list(_segments(_text(by_suffix[suffix]), tags=suffix == ".vtt"))
    text = ""
    if not segments:
        text = _text(by_suffix[".txt"]) if ".txt" in by_suffix else _said(by_suffix.get(".json"))
    return {"audio": _link(folder, audio) if audio else "", "segments": segments, "text": text}


def _said(path: Path | None) -> str:
    """Text of a transcript in JSON; empty if there is none."""
    try:
        return str(json.loads(_text(path))["text"]) if path is not None else ""
    except (ValueError, KeyError, TypeError):
        return ""


def _segments(subtitles: str, *, tags: bool) -> Iterator[Segment]:
    """Cues of SRT or WebVTT. `tags`: markup and entities of WebVTT."""
    for block in re.split(r"\n\s*\n", subtitles.replace("\r\n", "\n")):
        lines = block.strip().splitlines()
        for at, line in enumerate(lines):
            if (times := _TIMES.match(line)) is not None:
                hours, minutes, seconds, thousandths = (int(group or 0) for group in times.groups())
                text = " ".join(lines[at + 1 :])
                yield Segment(
                    hours * 3600 + minutes * 60 + seconds + thousandths / 1000,
                    html.unescape(_TAG.sub("", text)) if tags else text,
                )
                break


def _link(folder: Path, path: Path) -> str:
    """Relative URL. `./` keeps a name with a colon from being a scheme."""
    return "./" + quote(path.relative_to(folder).as_posix())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
