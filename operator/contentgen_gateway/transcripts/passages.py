"""Split of a transcript into passages of about a sentence with start and end times, the units of search. Pure."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, FiniteFloat, ValidationError

MOST = 20_000  # passages of one transcript; ten hours of speech have a few thousand
_MIN_CHARACTERS, _MAX_CHARACTERS = (
    80,
    300,
)  # shorter sentences are joined; longer ones are split
_MAX_SPEAKER_CHARACTERS = 100  # characters of a speaker's name
_PAUSE_MS = 2000
# Up to `_MAX_CHARACTERS` that end at a word boundary; longer words are split. Linear time, unlike textwrap.
_PIECE = re.compile(rf"\S(?:.{{0,{_MAX_CHARACTERS - 2}}}\S)?(?!\S)|\S{{1,{_MAX_CHARACTERS}}}", re.DOTALL)
_SENTENCE_END = (".", "!", "?", "…", "\u3002", "\uff01", "\uff1f")  # the last three are Chinese and Japanese


class _Part(BaseModel):
    """A word, or an utterance of a transcript without words. Times in milliseconds."""

    text: str
    start: FiniteFloat | None = None
    end: FiniteFloat | None = None
    speaker: Annotated[str, AfterValidator(lambda name: name[:_MAX_SPEAKER_CHARACTERS])] | None = None


class _Transcript(BaseModel):
    """Parsed fields of the provider's response."""

    text: str | None = None
    # Pydantic keeps about 1.5 kB for each invalid element; the first one is enough.
    words: Annotated[list[_Part], Field(fail_fast=True)] | None = None
    utterances: Annotated[list[_Part], Field(fail_fast=True)] | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage. Times in seconds from the start of the recording; None if the transcript has none."""

    text: str
    start: float | None
    end: float | None
    speaker: str | None


def passages(content: bytes) -> list[Passage]:
    """The passages of a transcript.json, up to `MOST`. Raises ValueError if it is not a transcript."""
    try:
        transcript = _Transcript.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(f"not a transcript: {error.errors()[0]['msg']}") from None
    parts = transcript.words or transcript.utterances
    if parts is None:
        parts = [_Part(text=transcript.text or "")]
    pieces = (piece for part in parts for piece in _split_part(part))
    return [_passage(group) for group, _ in zip(_group_parts(pieces), range(MOST), strict=False)]


def _split_part(part: _Part) -> Iterator[_Part]:
    """The part as parts of at most `_MAX_CHARACTERS`, with its times, so that passages fit into MongoDB documents."""
    for found in _PIECE.finditer(part.text):
        # NFC: a letter and its accent become one character. This can make the text longer.
        text = unicodedata.normalize("NFC", found.group())
        for first in range(0, len(text), _MAX_CHARACTERS):
            yield part.model_copy(update={"text": text[first : first + _MAX_CHARACTERS]})


def _group_parts(parts: Iterable[_Part]) -> Iterator[list[_Part]]:
    group: list[_Part] = []
    length = 0
    for part in parts:
        if group and _is_boundary(group[-1], part, length):
            yield group
            group, length = [], 0
        group.append(part)
        length += len(part.text) + 1
    if group:
        yield group


def _is_boundary(last: _Part, following: _Part, length: int) -> bool:
    silence = (following.start or 0) - (last.end or 0)
    return (
        following.speaker != last.speaker
        or length + len(following.text) > _MAX_CHARACTERS
        or (length >= _MIN_CHARACTERS and last.text.rstrip().endswith(_SENTENCE_END))
        or (length >= _MIN_CHARACTERS / 2 and silence > _PAUSE_MS)
    )


def _passage(group: Sequence[_Part]) -> Passage:
    text = " ".join(part.text for part in group)
    return Passage(text, _seconds(group[0].start), _seconds(group[-1].end), group[0].speaker)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds / 1000, 3)
