"""Words of a provider's answer with times that subtitles can be made of: in order, within the recording. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

from contentgen_contract.word_joining import is_closing, is_opening
from contentgen_worker.collect.typesetting import can_part, columns, ends_sentence, pieces

_PACE_MS = 80  # per column, of words without times
_SLOWEST_MS = 300  # per column of a word; what lasts longer has a wrong end
_SLOWEST_BASE_MS = 1500
_WRONG_RUN = 3  # words out of order; more of them in a row are another passage
_ROUNDING_MS = 1000  # of the length, which AssemblyAI gives in whole seconds


@dataclass(frozen=True)
class HeardWord:
    """Word of an answer with its start and end in milliseconds, None if they are not known.

    `speaker` is None if the answer does not tell, and empty without speaker labels. `spaced`: a space stands before it.
    """

    text: str
    start: int | None
    end: int | None
    speaker: str | None = None
    spaced: bool = True


@dataclass(frozen=True)
class TimedWord:
    """Part of a text that stays on one line, with its start and end in milliseconds."""

    text: str
    start: int
    end: int
    speaker: str = ""
    spaced: bool = True

    @property
    def shown(self) -> str:
        """The text with the space before it."""
        return f" {self.text}" if self.spaced else self.text


def timed(heard: Iterable[HeardWord], length: int | None = None) -> tuple[TimedWord, ...]:
    """Words with text, sorted by start, each with a time and a speaker; `length` of the recording in milliseconds.

    Times that are beyond the recording, or that a few words have out of order, are replaced by their neighbours'.
    """
    named = _named([replace(each, text=each.text.strip()) for each in heard if each.text.strip()])
    by_speaker: dict[str, list[int]] = {}
    for number, word in enumerate(named):
        by_speaker.setdefault(word.speaker or "", []).append(number)
    limit = _limit(named, length)
    found: dict[int, TimedWord] = {}
    for speaker, numbers in by_speaker.items():
        words = _plausible([named[number] for number in numbers], limit)
        spans = _clipped(_filled(words))
        for number, word, (start, end) in zip(numbers, words, spans, strict=True):
            found[number] = TimedWord(word.text, start, end, speaker, word.spaced)
    return tuple(sorted((found[number] for number in range(len(named))), key=lambda word: word.start))


def _named(words: Sequence[HeardWord]) -> list[HeardWord]:
    """A word without a speaker takes that of the word before; of the word after at the beginning of a sentence."""
    found: list[HeardWord] = []
    following: str | None = None
    after: list[str | None] = []
    for word in reversed(words):
        after.append(following)
        following = following if word.speaker is None else word.speaker
    for word, upcoming in zip(words, reversed(after), strict=True):
        speaker, last = word.speaker, found[-1] if found else None
        if speaker is None:
            begins = last is None or ends_sentence(last.text, word.text)
            before = last.speaker if last else None
            speaker = upcoming if upcoming is not None and (begins or before is None) else before
        found.append(replace(word, speaker=speaker or ""))
    return found


def _limit(words: Sequence[HeardWord], length: int | None) -> int | None:
    """The length of the recording, unless most words are beyond it: then the length is wrong."""
    if length is None:
        return None
    starts = [word.start for word in words if word.start is not None]
    beyond = sum(start > length + _ROUNDING_MS for start in starts)
    return None if 2 * beyond > len(starts) else length + _ROUNDING_MS


def _plausible(words: Sequence[HeardWord], limit: int | None) -> list[HeardWord]:
    """One speaker's words; those whose time can't be right have none."""
    kept = [_within(word, limit) for word in words]
    last: int | None = None
    for number, word in enumerate(kept):
        if word.start is not None and word.start == last:  # two words can't begin at once
            kept[number] = replace(word, start=None, end=None)
        last = last if word.start is None else word.start
    timed_ones = [number for number, word in enumerate(kept) if word.start is not None]
    in_order = _longest_rise([kept[number].start or 0 for number in timed_ones])
    for is_in_order, run in groupby(range(len(timed_ones)), key=in_order.__contains__):
        numbers = [timed_ones[each] for each in run]
        if not is_in_order and len(numbers) <= _WRONG_RUN:
            for number in numbers:
                kept[number] = replace(kept[number], start=None, end=None)
    return kept


def _within(word: HeardWord, limit: int | None) -> HeardWord:
    """The word with an end within the limit; without times if one is missing, or its start is beyond the limit."""
    start, end = word.start, word.end
    if start is None or end is None or (limit is not None and start > limit):
        return replace(word, start=None, end=None)
    return word if limit is None or end <= limit else replace(word, end=limit)


def _longest_rise(starts: Sequence[int]) -> set[int]:
    """Places of a longest sequence of rising starts."""
    tails: list[int] = []  # starts
    places: list[int] = []
    before: list[int] = []
    for place, start in enumerate(starts):
        at = bisect_left(tails, start)
        tails[at : at + 1], places[at : at + 1] = [start], [place]
        before.append(places[at - 1] if at else -1)
    found: set[int] = set()
    place = places[-1] if places else -1
    while place >= 0:
        found.add(place)
        place = before[place]
    return found


def _filled(words: Sequence[HeardWord]) -> list[tuple[int, int]]:
    """Start and end of each word; those without share the time between their neighbours by their width."""
    spans: list[tuple[int, int]] = []
    for known, run in groupby(words, key=lambda word: word.start is not None):
        group = list(run)
        if known:
            spans += [(word.start or 0, max(word.start or 0, word.end or 0)) for word in group]
            continue
        upcoming = words[len(spans) + len(group)].start if len(spans) + len(group) < len(words) else None
        shared = [*group]
        need = _PACE_MS * sum(columns(word.text) for word in group)
        begin = spans[-1][1] if spans else max(0, (upcoming or 0) - need) if upcoming is not None else 0
        if spans and upcoming is not None and upcoming - begin < need // 2:  # the word before gives of its time
            begin = spans.pop()[0]
            shared.insert(0, words[len(spans)])
            need += _PACE_MS * columns(shared[0].text)
        end = begin + need if upcoming is None else max(begin, min(upcoming, begin + need))
        spans += list(_shares([word.text for word in shared], begin, end))
    return spans


def _shares(texts: Sequence[str], start: int, end: int) -> Iterator[tuple[int, int]]:
    """The time divided by the width of the texts."""
    widths = [max(1, columns(text)) for text in texts]
    total, done = sum(widths), 0
    for width in widths:
        yield start + (end - start) * done // total, start + (end - start) * (done + width) // total
        done += width


def _clipped(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """No word lasts into the next in time, or much longer than it can be spoken."""
    order = sorted(range(len(spans)), key=lambda number: spans[number][0])
    found = list(spans)
    for number, following in pairwise(order):
        start, end = spans[number]
        found[number] = (start, max(start, min(end, spans[following][0])))
    return found


def parted(words: Iterable[TimedWord], width: int, milliseconds: int) -> tuple[TimedWord, ...]:
    """Words as parts between which a line can end: of at most `width` columns, and of at most this time.

    Closing punctuation and marks are joined to the word before, words without a space between to one; a long one is
    divided at grapheme clusters, its time by their width.
    """
    found: list[TimedWord] = []
    for word in (text for given in words for text in _divided(given, given.text.split())):
        last = found[-1] if found else None
        if last is not None and last.speaker == word.speaker and _belongs(last.text, word):
            found[-1] = replace(last, text=last.text + word.shown, end=max(last.end, word.end))
        else:
            found.append(word)
    return tuple(part for word in found for part in _pieces(word, width, milliseconds))


def _belongs(before: str, word: TimedWord) -> bool:
    if not word.spaced:
        return not can_part(before, word.text)
    lone_opening = not any(map(str.isalnum, before)) and is_opening(before[-1])
    return lone_opening or (is_closing(word.text[0]) and not any(map(str.isalnum, word.text)))


def _pieces(word: TimedWord, width: int, milliseconds: int) -> Iterator[TimedWord]:
    end = min(word.end, word.start + _SLOWEST_BASE_MS + _SLOWEST_MS * columns(word.text))
    most = -(-(end - word.start) // milliseconds)
    divided = _divided(replace(word, end=end), pieces(word.text, width, most))
    return (replace(part, spaced=word.spaced and number == 0) for number, part in enumerate(divided))


def _divided(word: TimedWord, texts: Sequence[str]) -> Iterator[TimedWord]:
    """The texts of a word, which share its time; spaces between them."""
    for number, (text, (start, end)) in enumerate(zip(texts, _shares(texts, word.start, word.end), strict=True)):
        yield TimedWord(text, start, end, word.speaker, word.spaced or number > 0)
