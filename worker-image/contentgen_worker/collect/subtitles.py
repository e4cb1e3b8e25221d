"""Subtitles from timed words: at most two lines of 42 characters, the usual measure for reading along.

Plain values in, text out.
"""

import html
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import webvtt

LINE, LINES = 42, 2
_LONGEST_MS = 7000
_PAUSE_MS = 1200  # a new cue after a silence
_SENTENCE_END = (".", "!", "?", "…")
_SENTENCE_MIN = 28  # characters; shorter sentences share a cue


@dataclass(frozen=True)
class TimedWord:
    """One word; times in milliseconds from the start. `speaker` is empty where speakers are not told apart."""

    text: str
    start: int
    end: int
    speaker: str = ""


@dataclass(frozen=True)
class Cue:
    """What is shown from `start` to `end` (milliseconds). `turn`: the speaker differs from the cue before."""

    start: int
    end: int
    text: str
    speaker: str
    turn: bool


def cues(words: Iterable[TimedWord]) -> tuple[Cue, ...]:
    """Cut words into cues: at a new speaker, a silence, the end of a sentence, or where the lines are full."""
    made: list[Cue] = []
    for group in _groups(words):
        speaker = group[0].speaker
        turn = speaker != (made[-1].speaker if made else "")
        text = " ".join(word.text for word in group)
        start = max(group[0].start, made[-1].end if made else 0)  # cues that overlap flicker
        made.append(Cue(start, max(group[-1].end, start + 1), text, speaker, turn))
    return tuple(made)


def _groups(words: Iterable[TimedWord]) -> Iterator[list[TimedWord]]:
    group: list[TimedWord] = []
    before = ""
    for word in words:
        if not word.text.strip():
            continue
        if group and _break(group, word, before):
            before = group[0].speaker
            yield group
            group = []
        group.append(word)
    if group:
        yield group


def _break(group: list[TimedWord], word: TimedWord, before: str) -> bool:
    text = " ".join(each.text for each in group)
    label = _label(group[0].speaker) if group[0].speaker != before else ""
    return (
        word.speaker != group[0].speaker
        or word.start - group[-1].end > _PAUSE_MS
        or word.end - group[0].start > _LONGEST_MS
        or (text.endswith(_SENTENCE_END) and len(text) >= _SENTENCE_MIN)
        or len(textwrap.wrap(f"{label}{text} {word.text}", LINE)) > LINES
    )


def _label(speaker: str) -> str:
    return f"Speaker {speaker}: " if speaker else ""


def srt(all_cues: Sequence[Cue]) -> str:
    """SubRip."""
    return "\n".join(_srt_block(number, cue) for number, cue in enumerate(all_cues, 1)) or "\n"


def _srt_block(number: int, cue: Cue) -> str:
    label = _label(cue.speaker) if cue.turn else ""
    lines = "\n".join(textwrap.wrap(label + cue.text, LINE))
    return f"{number}\n{_time(cue.start, ',')} --> {_time(cue.end, ',')}\n{lines}\n"


def vtt(all_cues: Sequence[Cue]) -> str:
    """WebVTT, speakers as voice spans."""
    document = webvtt.WebVTT()
    for cue in all_cues:
        lines = "\n".join(html.escape(line, quote=False) for line in textwrap.wrap(cue.text, LINE))
        voice = f"<v Speaker {cue.speaker}>" if cue.speaker else ""
        document.captions.append(webvtt.Caption(_time(cue.start, "."), _time(cue.end, "."), voice + lines))
    return str(document.content).rstrip("\n") + "\n"


def _time(milliseconds: int, separator: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{separator}{rest:03}"
