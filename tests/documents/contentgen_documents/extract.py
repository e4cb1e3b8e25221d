"""Extraction of commands and manifests from Markdown, sample comments and the chart's NOTES.

Every code block is returned: one without command or manifest is a Figure, which reviewed.py must list.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import yaml

PROGRAMS = ("make", "helm", "kubectl", "curl", "contentgen", "contentgen-worker", "python", "docker", "uv", "export")
"""Programs that a block of commands may begin with."""
_SPOKEN = re.compile(r"(?:make|helm|kubectl|curl|contentgen|contentgen-worker|python3? -m|eval) \S")
_FENCE = re.compile(r"^(?P<indent> *)(?P<marks>`{3,}|~{3,})(?P<language>[\w-]*)")
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_COMMENTED_FIELD = re.compile(r"^(\s*)# ([a-z]\w*:\s.*)$", re.MULTILINE)
# Made of the advice table, whose every remedy tests/unit/contract/test_advice.py follows where it applies.
_ADVICE = re.compile(r"^<!-- (reasons|advice): .*?^<!-- end of \1 -->$", re.DOTALL | re.MULTILINE)
_HEREDOC = re.compile(r"<<-?\s*(['\"]?)(\w+)\1")


@dataclass(frozen=True)
class Command:
    """Command line without prompt and comment; lines joined by a backslash are one."""

    file: str
    line: int
    text: str


@dataclass(frozen=True)
class DocumentedManifest:
    """YAML or JSON document that a reader writes."""

    file: str
    line: int
    document: Any

    @property
    def kind(self) -> str:
        """Kubernetes kind; empty if none."""
        return str(self.document.get("kind", "")) if isinstance(self.document, dict) else ""


@dataclass(frozen=True)
class Figure:
    """Other code block: a diagram, a listing, or a program's output."""

    file: str
    line: int
    text: str


Part = Command | DocumentedManifest | Figure


@dataclass(frozen=True)
class _Block:
    line: int
    language: str
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(self.lines).rstrip("\n")


def markdown(file: str, text: str) -> list[Part]:
    """All parts of a page in order."""
    text = _ADVICE.sub(lambda advice: "\n" * advice[0].count("\n"), text)
    blocks, prose = _split(text.splitlines())
    parts: list[Part] = [part for block in blocks for part in _block(file, block)]
    parts += spoken(file, prose)
    return sorted(parts, key=lambda part: part.line)


def sample(file: str, text: str) -> list[Part]:
    """Commands in the comments of a manifest, the manifest, and the manifest with its commented-out fields."""
    comments = [match[1] if (match := re.match(r"\s*# ?(.*)", line)) else "" for line in text.splitlines()]
    parts: list[Part] = [*indented(file, "\n".join(comments)), *spoken(file, comments)]
    fuller = _COMMENTED_FIELD.sub(r"\1\2", text)
    for version in (text, fuller) if fuller != text else (text,):
        parts += [DocumentedManifest(file, 1, document) for document in yaml.safe_load_all(version)]
    return parts


def indented(file: str, text: str) -> list[Command]:
    """Commands of a text that indents them by two spaces."""
    lines = text.splitlines()
    numbered = [(number, line[2:]) for number, line in enumerate(lines, 1) if re.match(r" {2,3}\S", line)]
    return [
        Command(file, number, uncommented(line)) for number, line in numbered if line.split()[0].lstrip("#") in PROGRAMS
    ]


def spoken(file: str, lines: Sequence[str]) -> list[Command]:
    """Commands in `backquotes` within sentences, which may span several lines."""
    found = []
    text = "\n".join(lines)
    for match in _INLINE.finditer(text):
        if "\n\n" not in match[1] and _SPOKEN.match(match[1]):
            number = text.count("\n", 0, match.start()) + 1
            found.append(Command(file, number, uncommented(" ".join(match[1].split()))))
    return found


def uncommented(line: str) -> str:
    """Shell line without its comment."""
    quote = ""
    for (before, character), position in zip(pairwise(" " + line), range(len(line)), strict=True):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character == "#" and before.isspace():
            return line[:position].rstrip()
    return line.rstrip()


def _split(lines: Sequence[str]) -> tuple[list[_Block], list[str]]:
    """Code blocks, and the lines outside them."""
    blocks: list[_Block] = []
    prose = list(lines)
    number = 0
    while number < len(lines):
        end = number + 1
        if fence := _FENCE.match(lines[number]):
            while end < len(lines) and not lines[end].strip().startswith(fence["marks"]):
                end += 1
            inside = tuple(line.removeprefix(fence["indent"]) for line in lines[number + 1 : end])
            blocks.append(_Block(number + 2, fence["language"], inside))
            end += 1
        elif lines[number].startswith("    ") and not lines[number - 1 : number or None][0].strip():
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            blocks.append(_Block(number + 1, "", tuple(line[4:] for line in lines[number:end])))
        else:
            number = end
            continue
        prose[number:end] = [""] * len(lines[number:end])
        number = end
    return blocks, prose


def _block(file: str, block: _Block) -> list[Part]:
    language = block.language or _guessed(block)
    if language in ("console", "bash", "sh"):
        return [Command(file, line, text) for line, text in _logical(block, typed_only=language == "console")]
    if language == "json":
        return [DocumentedManifest(file, block.line, json.loads(block.text))]
    if language == "yaml":
        return [DocumentedManifest(file, block.line, document) for document in yaml.safe_load_all(block.text)]
    return [Figure(file, block.line, block.text)]


def _guessed(block: _Block) -> str:
    """Guessed language of a block without one."""
    firsts = {line.split(maxsplit=1)[0] for line in block.lines if line.strip()}
    if firsts & {*PROGRAMS, "$"} or any(first.startswith(".venv/bin/") for first in firsts):
        return "sh"
    return "yaml" if re.search(r"^kind: ", block.text, re.MULTILINE) else "text"


def _logical(block: _Block, *, typed_only: bool) -> Iterator[tuple[int, str]]:
    """Logical shell lines: joined at backslashes, within quotes, and with their here-document."""
    lines = list(enumerate(block.lines, block.line))
    while lines:
        number, text = lines.pop(0)
        if typed_only and not text.startswith("$ "):
            continue
        text = text.removeprefix("$ ")
        while lines and (text.endswith("\\") or _is_open(text)):
            following = lines.pop(0)[1]
            text = f"{text[:-1].rstrip()} {following.strip()}" if text.endswith("\\") else f"{text}\n{following}"
        heredoc = _HEREDOC.search(text)
        while lines and heredoc and not text.endswith(f"\n{heredoc[2]}"):
            text = f"{text}\n{lines.pop(0)[1]}"
        text = text if heredoc else uncommented(text).strip()
        if text:
            yield number, text


def _is_open(text: str) -> bool:
    """Whether a quote is unterminated."""
    quote = ""
    for character in uncommented(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
    return bool(quote)
