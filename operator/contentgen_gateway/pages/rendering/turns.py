"""What is said in a transcript, as turns of words with their times. Pure; a transcript is a provider's document."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

_SENTENCES = 60  # words of a turn where nobody knows who speaks
MOST = 200_000  # words of a page: twenty hours


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """In seconds from the start."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class SpeakerTurn:
    """What one speaker says until another does."""

    speaker: str
    words: tuple[SpokenWord, ...]

    @property
    def start(self) -> float:
        """In seconds."""
        return self.words[0].start


def turns(document: bytes) -> tuple[SpeakerTurn, ...] | None:
    """Of a transcript.json; None where it can't be read as one with times."""
    try:
        words = json.loads(document)["words"]
        said = [(str(each.get("speaker") or ""), _word(each)) for each in words[:MOST]]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return tuple(_turns(said)) or None


def _word(given: dict[str, Any]) -> SpokenWord:
    start, end = float(given["start"]), float(given["end"])
    if not (math.isfinite(start) and math.isfinite(end)):  # JSON has neither, Python's reader takes both
        raise ValueError("a time that is no number")
    return SpokenWord(str(given["text"]), start / 1000, end / 1000)


def _turns(said: Iterable[tuple[str, SpokenWord]]) -> Iterator[SpeakerTurn]:
    for speaker, group in groupby(said, lambda each: each[0]):
        words = [word for _, word in group]
        for part in [words] if speaker else _paragraphs(words):
            yield SpeakerTurn(speaker, tuple(part))


def _paragraphs(words: list[SpokenWord]) -> Iterator[list[SpokenWord]]:
    """Each ends with a sentence."""
    part: list[SpokenWord] = []
    for word in words:
        part.append(word)
        if len(part) >= _SENTENCES and word.text.endswith((".", "?", "!")):
            yield part
            part = []
    if part:
        yield part
