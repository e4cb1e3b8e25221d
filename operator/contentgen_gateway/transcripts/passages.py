"""Split of a transcript into passages of about a sentence with start and end times, the units of search. Pure."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, NamedTuple

from pydantic import AfterValidator, BaseModel, Field, FiniteFloat, ValidationError

from contentgen_contract.word_joining import has_space_between, joined

AROUND_END = 60  # characters before and after the end of a passage, in which a phrase across it is found
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
    speaker: (
        Annotated[str, Field(coerce_numbers_to_str=True), AfterValidator(lambda name: name[:_MAX_SPEAKER_CHARACTERS])]
        | None
    ) = None


class _Transcript(BaseModel):
    """Parsed fields of the provider's response."""

    text: str | None = None
    # Pydantic keeps about 1.5 kB for each invalid element; the first one is enough.
    words: Annotated[list[_Part], Field(fail_fast=True)] | None = None
    utterances: Annotated[list[_Part], Field(fail_fast=True)] | None = None


class Spoken(NamedTuple):
    """Text of at most `_MAX_CHARACTERS`, in NFC, with its times in milliseconds and its speaker; None if unknown."""

    text: str
    start: float | None
    end: float | None
    speaker: str | None


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage. Times in seconds from the start of the recording; None if the transcript has none.

    `following`: the beginning of the next passage, with the space before it, so that a phrase across both is found.
    """

    text: str
    start: float | None
    end: float | None
    speaker: str | None
    following: str = ""


def passages(content: bytes) -> list[Passage]:
    """The passages of a transcript.json, up to `MOST`. Raises ValueError if it is not a transcript."""
    groups = list(islice(spoken_groups(content), MOST))
    texts = [joined([word.text for word in group]) for group in groups]
    return [
        Passage(
            text,
            seconds(group[0].start),
            seconds(group[-1].end),
            group[0].speaker,
            _following(text, texts[number]) if number < len(texts) else "",
        )
        for number, (group, text) in enumerate(zip(groups, texts, strict=True), 1)
    ]


def spoken_groups(content: bytes) -> Iterator[list[Spoken]]:
    """The words of a transcript.json in groups, one for each passage; its utterances or its text if it has no words.

    Raises ValueError if it is not a transcript.
    """
    try:
        transcript = _Transcript.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(f"not a transcript: {error.errors()[0]['msg']}") from None
    parts = transcript.words or transcript.utterances
    if parts is None:
        parts = [_Part(text=transcript.text or "")]
    return _group(piece for part in parts for piece in _split_part(part))


def seconds(milliseconds: float | None) -> float | None:
    """A time in seconds, rounded to milliseconds."""
    return None if milliseconds is None else round(milliseconds / 1000, 3)


def _following(text: str, next_text: str) -> str:
    """Beginning of the next text, of whole words if possible. finding.js does the same."""
    beginning = next_text[:AROUND_END]
    if next_text[AROUND_END : AROUND_END + 1] not in ("", " ") and " " in beginning:
        beginning = beginning[: beginning.rindex(" ")]
    return " " * has_space_between(text, next_text) + beginning


def _split_part(part: _Part) -> Iterator[Spoken]:
    """The part as parts of at most `_MAX_CHARACTERS`, with its times, so that passages fit into MongoDB documents."""
    for found in _PIECE.finditer(part.text):
        # NFC: a letter and its accent become one character. This can make the text longer.
        text = unicodedata.normalize("NFC", " ".join(found.group().split()))
        for first in range(0, len(text), _MAX_CHARACTERS):
            yield Spoken(text[first : first + _MAX_CHARACTERS], part.start, part.end, part.speaker)


def _group(parts: Iterable[Spoken]) -> Iterator[list[Spoken]]:
    group: list[Spoken] = []
    length = 0
    for part in parts:
        if group and _is_boundary(group[-1], part, length):
            yield group
            group, length = [], 0
        group.append(part)
        length += len(part.text) + 1
    if group:
        yield group


def _is_boundary(last: Spoken, following: Spoken, length: int) -> bool:
    silence = (following.start or 0) - (last.end or 0)
    return (
        following.speaker != last.speaker
        or length + len(following.text) > _MAX_CHARACTERS
        or (length >= _MIN_CHARACTERS and last.text.rstrip().endswith(_SENTENCE_END))
        or (length >= _MIN_CHARACTERS / 2 and silence > _PAUSE_MS)
    )
