"""Speaker turns of a transcript, with the time of each word. Pure; validates the provider's document."""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

_SENTENCES = 60  # words of a turn without a known speaker
MOST = 200_000  # words of a page: about twenty hours


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """Word with its times, in seconds from the start."""

    text: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class SpeakerTurn:
    """Words of one speaker until another speaks."""

    speaker: str
    words: tuple[SpokenWord, ...]

    @property
    def start(self) -> float:
        """Start, in seconds."""
        return self.words[0].start


def turns(document: bytes) -> tuple[SpeakerTurn, ...] | None:
    """Turns of a transcript.json; None if it is invalid or has no times."""
    try:
        words = json.loads(document)["words"]
        words_by_speaker = [(str(each.get("speaker") or ""), _word(each)) for each in words[:MOST]]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    return tuple(_turns(words_by_speaker)) or None


def _word(given: dict[str, Any]) -> SpokenWord:
    start, end = float(given["start"]), float(given["end"])
    if not (math.isfinite(start) and math.isfinite(end)):  # not valid JSON, but Python's parser accepts both
        raise ValueError("not a finite time")
    return SpokenWord(str(given["text"]), start / 1000, end / 1000)


def _turns(words_by_speaker: Iterable[tuple[str, SpokenWord]]) -> Iterator[SpeakerTurn]:
    for speaker, group in groupby(words_by_speaker, lambda each: each[0]):
        words = [word for _, word in group]
        for part in [words] if speaker else _paragraphs(words):
            yield SpeakerTurn(speaker, tuple(part))


def _paragraphs(words: list[SpokenWord]) -> Iterator[list[SpokenWord]]:
    """Paragraphs that end with a sentence."""
    part: list[SpokenWord] = []
    for word in words:
        part.append(word)
        if len(part) >= _SENTENCES and word.text.endswith((".", "?", "!")):
            yield part
            part = []
    if part:
        yield part
