"""Subtitles from timed words: at most two lines of 42 characters, the usual limit for readability. Pure."""

import html
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import webvtt

LINE_LENGTH, MAX_LINES = 42, 2
_MAX_CUE_MS = 7000
_PAUSE_MS = 1200  # a longer pause begins a new cue
_SENTENCE_END = (".", "!", "?", "…")
_SENTENCE_MIN = 28  # characters; shorter sentences share a cue


@dataclass(frozen=True)
class TimedWord:
    """Word with its start and end in milliseconds. `speaker` is empty without speaker labels."""

    text: str
    start: int
    end: int
    speaker: str = ""


@dataclass(frozen=True)
class Cue:
    """Subtitle with its start and end in milliseconds. `turn`: the speaker differs from that of the previous cue."""

    start: int
    end: int
    text: str
    speaker: str
    turn: bool


def make_cues(words: Iterable[TimedWord]) -> tuple[Cue, ...]:
    """Cues from words, split at a new speaker, a pause, the end of a sentence, or full lines."""
    found: list[Cue] = []
    for group in _group_words(words):
        speaker = group[0].speaker
        turn = speaker != (found[-1].speaker if found else "")
        text = " ".join(word.text for word in group)
        start = max(group[0].start, found[-1].end if found else 0)  # overlapping cues flicker
        found.append(Cue(start, max(group[-1].end, start + 1), text, speaker, turn))
    return tuple(found)


def _group_words(words: Iterable[TimedWord]) -> Iterator[list[TimedWord]]:
    group: list[TimedWord] = []
    last_speaker = ""
    for word in words:
        if not word.text.strip():
            continue
        if group and _starts_new_cue(group, word, last_speaker):
            last_speaker = group[0].speaker
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _starts_new_cue(group: list[TimedWord], word: TimedWord, last_speaker: str) -> bool:
    text = " ".join(each.text for each in group)
    label = _label(group[0].speaker) if group[0].speaker != last_speaker else ""
    return (
        word.speaker != group[0].speaker
        or word.start - group[-1].end > _PAUSE_MS
        or word.end - group[0].start > _MAX_CUE_MS
        or (text.endswith(_SENTENCE_END) and len(text) >= _SENTENCE_MIN)
        or len(textwrap.wrap(f"{label}{text} {word.text}", LINE_LENGTH)) > MAX_LINES
    )


def _label(speaker: str) -> str:
    return f"Speaker {speaker}: " if speaker else ""


def srt(cues: Sequence[Cue]) -> str:
    """SubRip text."""
    return "\n".join(_srt_block(number, cue) for number, cue in enumerate(cues, 1)) or "\n"


def _srt_block(number: int, cue: Cue) -> str:
    label = _label(cue.speaker) if cue.turn else ""
    lines = "\n".join(textwrap.wrap(label + cue.text, LINE_LENGTH))
    return f"{number}\n{_time(cue.start, ',')} --> {_time(cue.end, ',')}\n{lines}\n"


def vtt(cues: Sequence[Cue]) -> str:
    """WebVTT text; speakers are voice spans."""
    document = webvtt.WebVTT()
    for cue in cues:
        lines = "\n".join(html.escape(line, quote=False) for line in textwrap.wrap(cue.text, LINE_LENGTH))
        voice = f"<v Speaker {cue.speaker}>" if cue.speaker else ""
        document.captions.append(webvtt.Caption(_time(cue.start, "."), _time(cue.end, "."), voice + lines))
    return str(document.content).rstrip("\n") + "\n"


def _time(milliseconds: int, separator: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{separator}{rest:03}"
