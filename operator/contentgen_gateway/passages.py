"""A transcript cut into passages of about a sentence, each with its time: what a search finds. Pure."""

import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ValidationError

MOST = 20_000  # passages of one transcript; ten hours have some thousands
_SHORT, _LONG = 80, 300  # characters: a sentence that is shorter goes on with the next one; what is longer is cut
_PAUSE_MS = 2000
_SENTENCE_END = (".", "!", "?", "…", "\u3002", "\uff01", "\uff1f")  # the last three are Chinese and Japanese


class _Part(BaseModel):
    """A word, or an utterance where there are no words. Times in milliseconds."""

    text: str
    start: float | None = None
    end: float | None = None
    speaker: str | None = None


class _Transcript(BaseModel):
    """What is read of the provider's answer."""

    text: str | None = None
    words: list[_Part] | None = None
    utterances: list[_Part] | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """Times in seconds from the start of the recording; None where the transcript has none."""

    text: str
    start: float | None
    end: float | None
    speaker: str | None


def passages(content: bytes) -> list[Passage]:
    """Of a transcript.json. Raises ValueError where it is none."""
    try:
        transcript = _Transcript.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(f"no transcript: {error.errors()[0]['msg']}") from None
    parts = transcript.words or transcript.utterances
    if parts is None:
        parts = [_Part(text=line) for line in textwrap.wrap(transcript.text or "", _LONG)]
    return [_passage(group) for group, _ in zip(_groups(parts), range(MOST), strict=False)]


def _groups(parts: Iterable[_Part]) -> Iterator[list[_Part]]:
    group: list[_Part] = []
    length = 0
    for part in parts:
        if not part.text.strip():
            continue
        if group and _ends(group[-1], part, length):
            yield group
            group, length = [], 0
        group.append(part)
        length += len(part.text) + 1
    if group:
        yield group


def _ends(last: _Part, following: _Part, length: int) -> bool:
    silence = (following.start or 0) - (last.end or 0)
    return (
        following.speaker != last.speaker
        or length + len(following.text) > _LONG
        or (length >= _SHORT and last.text.rstrip().endswith(_SENTENCE_END))
        or (length >= _SHORT / 2 and silence > _PAUSE_MS)
    )


def _passage(group: Sequence[_Part]) -> Passage:
    # Composed, so that a letter and its accent are one place in the text.
    text = unicodedata.normalize("NFC", " ".join(part.text.strip() for part in group))
    return Passage(text, _seconds(group[0].start), _seconds(group[-1].end), group[0].speaker)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds / 1000, 3)
