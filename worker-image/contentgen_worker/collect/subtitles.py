"""Subtitles from timed words, within the usual limits for readability. Pure."""

import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, zip_longest

import webvtt

from contentgen_contract.resources.spec import Subtitles
from contentgen_worker.collect.spoken_words import TimedWord, parted
from contentgen_worker.collect.typesetting import columns, ends_clause, ends_sentence, lines, pieces

_PAUSE_MS = 1200  # a longer pause begins a new subtitle
_SHORTEST_MS = 833  # 20 frames of 24/s
_FLASH_MS = 600  # too short to be read; such a one delays the next, or shares a subtitle with another speaker's
_LATEST_MS = 500  # after the speech
_OVERLAP_MS = 200  # two speakers at once; less is a quick answer
_SENTENCE_MIN = 28  # columns; shorter sentences share a subtitle
_LABEL_REST = 20  # columns of the first line beside a speaker's name

# Costs of a division into subtitles; only their proportions matter.
_EACH = 4.0
_FULL = 4.0  # by the square of how full it is, which makes them of about equal length
_TOO_SHORT, _TOO_FAST, _CUT_OFF = 8.0, 4.0, 6.0
_INSIDE_SENTENCE, _INSIDE_CLAUSE, _PAUSE_BONUS = 4.0, 2.0, 2.0
_LONE_WORD, _SENTENCE_WITHIN, _NEXT_BEGUN, _CHANGE_WITHIN = 8.0, 4.0, 2.0, 3.0


@dataclass(frozen=True)
class Voice:
    """What one speaker says in a subtitle: parts, each with the space before it."""

    speaker: str
    parts: tuple[str, ...]


@dataclass(frozen=True)
class Cue:
    """Subtitle with its start and end in milliseconds. Several speakers talk at the same time, or very quickly in turn.

    `turn`: the speakers differ from those of the previous cue.
    """

    start: int
    end: int
    said: tuple[Voice, ...]
    turn: bool


def make_cues(words: Iterable[TimedWord], limits: Subtitles | None = None) -> tuple[Cue, ...]:
    """Cues from words sorted by start; a cue stays for its reading time if the next one leaves room."""
    chosen = limits or Subtitles()
    layout = _Layout(_within_a_line(words, chosen), chosen)
    groups = [words for passage in layout.passages() for words in layout.best_division(passage)]
    found: list[Cue] = []
    speakers: set[str] = {""}
    starts = _starts([group[0].start for group in groups], chosen)
    for group, begin, following in zip_longest(groups, starts, starts[1:]):
        said = _said(group)
        turn, speakers = {text.speaker for text in said} != speakers, {text.speaker for text in said}
        start = max(begin, found[-1].end if found else 0)  # overlapping cues flicker
        cue = Cue(start, max(word.end for word in group), said, turn)
        found.append(Cue(start, _end(cue, following, chosen), said, turn))
    return tuple(found)


def _starts(spoken: Sequence[int], limits: Subtitles) -> list[int]:
    """Starts of cues: later than spoken if the cue before would be a flash, and this one has time to spare."""
    least, starts = _FLASH_MS + limits.gap_milliseconds, list(spoken)
    for number in range(1, len(starts)):
        missing = least - (starts[number] - starts[number - 1])
        spare = spoken[number + 1] - starts[number] - least if number + 1 < len(starts) else missing
        starts[number] += max(0, min(missing, spare, _LATEST_MS))
    return starts


def _within_a_line(words: Iterable[TimedWord], limits: Subtitles) -> tuple[TimedWord, ...]:
    given = tuple(words)
    label = max((columns(_label(word.speaker, limits)) for word in given), default=0) if limits.lines == 1 else 0
    parts = parted(given, limits.line_length - label, limits.max_seconds * 1000)
    return tuple(sorted(parts, key=lambda part: part.start))


def _end(cue: Cue, following: int | None, limits: Subtitles) -> int:
    """Until it is spoken and read, at most until the gap before the next; at least 1 ms."""
    reading = cue.start + _reading_ms(_srt_text(cue, limits), limits)
    wanted = min(max(cue.end, cue.start + _SHORTEST_MS, reading), cue.start + limits.max_seconds * 1000)
    if following is not None:
        gap = min(limits.gap_milliseconds, max(0, following - cue.start) // 4)
        wanted = min(wanted, following - gap)
    return max(wanted, cue.start + 1)


def _reading_ms(text: str, limits: Subtitles) -> int:
    """Time to read a text. A wide character counts as two; of combining marks some readers count each."""
    return -(-max(len(text), columns(text)) * 1000 // limits.characters_per_second)


def _said(group: Sequence[TimedWord]) -> tuple[Voice, ...]:
    by_speaker: dict[str, list[str]] = {}
    for word in group:
        by_speaker.setdefault(word.speaker, []).append(word.shown)
    return tuple(Voice(speaker, tuple(parts)) for speaker, parts in by_speaker.items())


class _Layout:
    """Division of words into cues by the least cost."""

    def __init__(self, words: Sequence[TimedWord], limits: Subtitles) -> None:
        self._words = words
        self._limits = limits
        self._width = [columns(word.shown) for word in words]
        pairs = zip_longest(words, words[1:])
        self._sentence = [ends_sentence(word.text, _text_after(word, after)) for word, after in pairs]
        self._clause = [ends_clause(word.text) for word in words]

    def passages(self) -> Iterator[range]:
        """Words between long pauses, of one speaker or of several who talk at once or quickly in turn."""
        runs, begin, ended, was_short = self._runs(), 0, 0, False
        for run, following in zip_longest(runs, runs[1:]):
            short = self._available(run, following) < _FLASH_MS
            at_once = short or was_short or self._words[run.start].start < ended - _OVERLAP_MS
            for place in run:
                word = self._words[place]
                changed = place == run.start and not at_once
                if place > begin and (changed or word.start - ended > _PAUSE_MS):
                    yield range(begin, place)
                    begin, ended = place, 0
                ended = max(ended, word.end)
            was_short = short
        if self._words:
            yield range(begin, len(self._words))

    def _runs(self) -> list[range]:
        """Words of one speaker in a row."""
        found: list[range] = []
        for _, run in groupby(range(len(self._words)), key=lambda place: self._words[place].speaker):
            places = list(run)
            found.append(range(places[0], places[-1] + 1))
        return found

    def _available(self, run: range, following: range | None) -> int:
        if following is None:
            return _FLASH_MS
        return self._words[following.start].start - self._words[run.start].start - self._limits.gap_milliseconds

    def best_division(self, passage: range) -> list[Sequence[TimedWord]]:
        """The passage's words as cues."""
        end = passage.stop
        best: list[tuple[float, int]] = [(0.0, passage.start)] + [(float("inf"), passage.start)] * len(passage)
        mixed = len({self._words[place].speaker for place in passage}) > 1
        for begin in passage:
            so_far = best[begin - passage.start][0]
            for stop, cost in self._costs(begin, passage, labelled=mixed or begin == passage.start):
                if so_far + cost < best[stop - passage.start][0]:
                    best[stop - passage.start] = (so_far + cost, begin)
        found: list[Sequence[TimedWord]] = []
        while end > passage.start:
            begin = best[end - passage.start][1]
            found.append(self._words[begin:end])
            end = begin
        return found[::-1]

    def _costs(self, begin: int, passage: range, *, labelled: bool) -> Iterator[tuple[int, float]]:
        """Ends (exclusive) of the cues that begin with this word and are within the limits, with their costs."""
        limits, words = self._limits, self._words
        filled: dict[str, tuple[int, int]] = {}  # of each speaker: lines, and columns of the last
        since: dict[str, int] = {}  # columns of the sentence
        total, last_end, within, ended = 0, 0, 0.0, False
        for place in range(begin, passage.stop):
            word, width = words[place], self._width[place]
            speaker = word.speaker
            if speaker not in filled:
                label = columns(_label(speaker, limits)) if labelled else 0
                filled[speaker], since[speaker] = (1, label), 0
                total += label
                width -= word.spaced
            full, used = filled[speaker]
            fits = used + width <= limits.line_length
            filled[speaker] = (full, used + width) if fits else (full + 1, self._width[place] - word.spaced)
            total += width
            since[speaker] += width
            last_end = max(last_end, word.end)
            if place > begin:
                within += _CHANGE_WITHIN * (speaker != words[place - 1].speaker)
                too_long = last_end - words[begin].start > limits.max_seconds * 1000
                if too_long or sum(count for count, _ in filled.values()) > limits.lines:
                    return
            begun = _NEXT_BEGUN * (ended and not self._sentence[place])
            yield place + 1, self._cost(begin, place + 1, passage, total, last_end) + within + begun
            if self._sentence[place]:
                ended = True
                within += _SENTENCE_WITHIN * (since[speaker] >= _SENTENCE_MIN)
                since[speaker] = 0

    def _cost(self, begin: int, stop: int, passage: range, width: int, last_end: int) -> float:
        limits, words = self._limits, self._words
        cost = _EACH + _FULL * (width / (limits.line_length * limits.lines)) ** 2
        following = words[stop].start if stop < len(words) else None
        if following is not None:
            available = max(0, following - limits.gap_milliseconds - words[begin].start)
            reading = width * 1000 / limits.characters_per_second
            cost += _TOO_SHORT * max(0.0, 1 - available / _SHORTEST_MS)
            cost += _TOO_FAST * max(0.0, 1 - available / max(1.0, reading))
            cost += _CUT_OFF * min(1.0, max(0, last_end - following) / 500)
        same_before = begin > 0 and words[begin - 1].speaker == words[begin].speaker
        same_after = stop < len(words) and words[stop].speaker == words[stop - 1].speaker
        inside_before = same_before and not self._sentence[begin - 1]
        inside_after = same_after and not self._sentence[stop - 1]
        if stop - begin == 1 and (inside_before or inside_after):
            cost += _LONE_WORD
        if inside_after and stop < passage.stop:
            pause = min(600, max(0, words[stop].start - last_end)) / 600
            cost += (_INSIDE_CLAUSE if self._clause[stop - 1] else _INSIDE_SENTENCE) - _PAUSE_BONUS * pause
        return cost


def _text_after(word: TimedWord, after: TimedWord | None) -> str:
    return after.text if after is not None and after.speaker == word.speaker else ""


def _label(speaker: str, limits: Subtitles) -> str:
    if not speaker:
        return ""
    longest = max(4, limits.line_length - _LABEL_REST)
    name = speaker if columns(speaker) <= longest else f"{pieces(speaker, longest - 1)[0]}…"
    return f"Speaker {name}: "


def srt(cues: Sequence[Cue], limits: Subtitles | None = None) -> str:
    """SubRip text; without cues one that shows nothing, for FFmpeg refuses an empty file."""
    chosen = limits or Subtitles()
    blocks = (_srt_block(number, cue, chosen) for number, cue in enumerate(cues, 1))
    return "\n".join(blocks) or "1\n00:00:00,000 --> 00:00:00,001\n\n"


def _srt_block(number: int, cue: Cue, limits: Subtitles) -> str:
    return f"{number}\n{_time(cue.start, ',')} --> {_time(cue.end, ',')}\n{_srt_text(cue, limits)}\n"


# SubRip has no escapes: players take <b> and other tags, {\an8} and {y:i} for markup, and \N for the end of a line.
_LOOK_ALIKES = str.maketrans({"<": "‹", ">": "›", "{": "(", "}": ")", "\\": "∖"})


def _srt_text(cue: Cue, limits: Subtitles) -> str:
    labelled = cue.turn or len(cue.said) > 1
    texts = (_after_label(_label(each.speaker, limits) if labelled else "", each.parts) for each in cue.said)
    shown = (line for parts in texts for line in lines(parts, limits.line_length))
    return "\n".join(shown).translate(_LOOK_ALIKES)


def _after_label(label: str, parts: Sequence[str]) -> list[str]:
    named = [f" {word}" for word in label.split()]
    return [*named, f" {parts[0].lstrip()}", *parts[1:]]


def vtt(cues: Sequence[Cue], limits: Subtitles | None = None) -> str:
    """WebVTT text; speakers are voice spans."""
    length = (limits or Subtitles()).line_length
    document = webvtt.WebVTT()
    for cue in cues:
        end = "</v>" if len(cue.said) > 1 else ""  # one that spans the cue needs none
        texts = (_voice_span(each, length, end) for each in cue.said)
        document.captions.append(webvtt.Caption(_time(cue.start, "."), _time(cue.end, "."), "\n".join(texts)))
    return str(document.content).rstrip("\n") + "\n"


def _voice_span(said: Voice, length: int, end: str) -> str:
    text = "\n".join(html.escape(line, quote=False) for line in lines(said.parts, length))
    return f"<v Speaker {said.speaker}>{text}{end}" if said.speaker else text


def _time(milliseconds: int, separator: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{separator}{rest:03}"
