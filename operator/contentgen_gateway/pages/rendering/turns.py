"""Speaker turns of a transcript, with the time of each word, and its passages as the search has them. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby, islice, pairwise

from contentgen_contract.word_joining import has_space_between
from contentgen_gateway.transcripts.passages import seconds, spoken_groups

_SENTENCES = 60  # words of a turn without a known speaker
MOST = 200_000  # words of a page: about twenty hours


@dataclass(frozen=True, slots=True)
class SpokenWord:
    """Word with its start, in seconds; None if unknown. `first`: of a passage. `spaced`: a space follows it."""

    text: str
    start: float | None
    first: bool
    spaced: bool


@dataclass(frozen=True, slots=True)
class SpeakerTurn:
    """Words of one speaker until another speaks."""

    speaker: str
    words: tuple[SpokenWord, ...]

    @property
    def start(self) -> float | None:
        """Start, in seconds; None if unknown."""
        return self.words[0].start


def turns(document: bytes) -> tuple[SpeakerTurn, ...] | None:
    """Turns of a transcript.json; None if it is invalid or says nothing."""
    try:
        return tuple(_turns(islice(_words(document), MOST))) or None
    except ValueError:
        return None


def _words(document: bytes) -> Iterator[tuple[str, SpokenWord]]:
    """Words with their speakers. Raises ValueError."""
    said = ((word, word is group[0]) for group in spoken_groups(document) for word in group)
    for now, following in pairwise(chain(said, [None])):
        if now is None:
            return
        spoken, first = now
        *texts, last = spoken.text.split(" ")
        start = seconds(spoken.start)
        for text in texts:
            yield spoken.speaker or "", SpokenWord(text, start, first, spaced=True)
            start, first = None, False  # only the first word of an utterance has a time
        spaced = following is not None and has_space_between(last, following[0].text)
        yield spoken.speaker or "", SpokenWord(last, start, first, spaced)


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
