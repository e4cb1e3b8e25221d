"""A transcript cut into passages of about a sentence, each with its time: what a search finds. Pure."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, FiniteFloat, ValidationError

MOST = 20_000  # passages of one transcript; ten hours have some thousands
_MIN_CHARACTERS, _MAX_CHARACTERS = (
    80,
    300,
)  # characters: a sentence that is shorter goes on with the next one; what is longer is cut
_MAX_SPEAKER_CHARACTERS = 100  # characters of a speaker's name
_PAUSE_MS = 2000
# Up to `_MAX_CHARACTERS` characters that end with a word, or those of a longer word. Linear in the text, unlike textwrap.
_PIECE = re.compile(rf"\S(?:.{{0,{_MAX_CHARACTERS - 2}}}\S)?(?!\S)|\S{{1,{_MAX_CHARACTERS}}}", re.DOTALL)
_SENTENCE_END = (".", "!", "?", "…", "\u3002", "\uff01", "\uff1f")  # the last three are Chinese and Japanese


class _Part(BaseModel):
    """A word, or an utterance where there are no words. Times in milliseconds."""

    text: str
    start: FiniteFloat | None = None
    end: FiniteFloat | None = None
    speaker: Annotated[str, AfterValidator(lambda name: name[:_MAX_SPEAKER_CHARACTERS])] | None = None


class _Transcript(BaseModel):
    """What is read of the provider's answer."""

    text: str | None = None
    # Pydantic keeps some 1.5 kB for each element that is wrong: the first one is enough.
    words: Annotated[list[_Part], Field(fail_fast=True)] | None = None
    utterances: Annotated[list[_Part], Field(fail_fast=True)] | None = None


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
        parts = [_Part(text=transcript.text or "")]
    pieces = (piece for part in parts for piece in _split_part(part))
    return [_passage(group) for group, _ in zip(_group_parts(pieces), range(MOST), strict=False)]


def _split_part(part: _Part) -> Iterator[_Part]:
    """A part as parts of `_MAX_CHARACTERS` characters at most, with its times: a passage must fit into a document of MongoDB."""
    for found in _PIECE.finditer(part.text):
        # Composed, so that a letter and its accent are one place in the text; which can make it longer.
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
