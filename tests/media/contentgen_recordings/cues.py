"""Subtitles as FFmpeg and webvtt-py read them, and their differences from the limits. The product uses neither to read."""

import html
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import av
import webvtt

from contentgen_contract.resources.spec import Subtitles

SHORTEST = 833  # ms
_MARKUP = frozenset("<>{}\\")
_NOT_FIRST, _NOT_LAST = frozenset("。、，！？」》।؟.,!?ゃゅょっー"), frozenset("「《")
_SPEAKER = re.compile(r"^Speaker [^:\n]+:\s", re.MULTILINE)


class ShownCue(NamedTuple):
    """Subtitle with its start and end in milliseconds."""

    start: int
    end: int
    text: str


def read(content: bytes, form: str) -> list[ShownCue]:
    """Cues that FFmpeg finds in a file of this format."""
    with av.open(io.BytesIO(content), "r", format=form) as file:
        packets = [packet for packet in file.demux() if packet.size]
        assert all(packet.time_base == packets[0].time_base for packet in packets)
        return [
            ShownCue(packet.pts or 0, (packet.pts or 0) + (packet.duration or 0), bytes(packet).decode())
            for packet in packets
        ]


def cues(srt: bytes, vtt: bytes) -> list[ShownCue]:
    """Cues of transcript.srt. Fails unless both parsers find the same in both files, but for the speakers' names."""
    shown = [each for each in read(srt, "srt") if each.text.strip()]
    spoken = [bare(_SPEAKER.sub("", each.text)) for each in shown]
    voices = read(vtt, "webvtt") if shown else []
    assert [(voice.start, voice.end) for voice in voices] == [(each.start, each.end) for each in shown]
    assert [bare(html.unescape(re.sub(r"</?v[^>]*>", "", voice.text))) for voice in voices] == spoken
    for content, form in ((srt, "srt"), (vtt, "vtt")):
        parsed = webvtt.from_buffer(io.StringIO(content.decode()), format=form)
        assert isinstance(parsed, webvtt.WebVTT)
        times = [(_milliseconds(caption.start), _milliseconds(caption.end)) for caption in parsed.captions]
        assert times == [(each.start, each.end) for each in shown]
    return shown


def _milliseconds(time: str) -> int:
    hours, minutes, seconds = time.split(":")
    return round(((int(hours) * 60 + int(minutes)) * 60 + float(seconds)) * 1000)


def bare(text: str) -> str:
    """The text without what SubRip can't show and without spaces."""
    return "".join(text.translate(str.maketrans("<>{}\\", "‹›()∖")).split())


def width(text: str) -> int:
    """Columns, without a library; a picture of several characters is one."""
    whole = re.sub("👨\u200d👩\u200d👧|🇩🇪|👋🏽|❤\ufe0f", "漢", text)
    return sum(map(_columns, whole))


def _columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def faults_of_cues(shown: Sequence[ShownCue], limits: Subtitles, *, in_order: bool = True) -> list[str]:
    """Violations of the limits; empty if there are none. `in_order`: whether the words are, so that punctuation is checked
    too."""
    return [*_of_texts(shown, limits, in_order=in_order), *_of_times(shown, limits)]


def _of_texts(shown: Sequence[ShownCue], limits: Subtitles, *, in_order: bool) -> Iterator[str]:
    for cue in shown:
        if set(cue.text) & _MARKUP:
            yield f"players take {cue.text!r} for markup"
        lines = cue.text.split("\n")
        if len(lines) > limits.lines:
            yield f"{len(lines)} lines in {cue.text!r}"
        for line in lines:
            if width(line) > limits.line_length:
                yield f"{width(line)} columns in {line!r}"
            if unicodedata.category(line[0])[0] == "M":
                yield f"a mark begins {line!r}"
            if in_order and any(map(str.isalnum, line)) and (line[0] in _NOT_FIRST or line[-1] in _NOT_LAST):
                yield f"punctuation at the wrong end of {line!r}"


def _of_times(shown: Sequence[ShownCue], limits: Subtitles) -> Iterator[str]:
    for cue in shown:
        if not 0 < cue.end - cue.start <= limits.max_seconds * 1000:
            yield f"{cue} lasts {cue.end - cue.start} ms"
    for cue, following in pairwise(shown):
        room = following.start - cue.start
        if following.start - cue.end < min(limits.gap_milliseconds, room // 4):
            yield f"{following.start - cue.end} ms between {cue} and the next"
        reading = len(cue.text.replace("\n", "")) * 1000 / limits.characters_per_second
        wanted = min(max(SHORTEST, reading), limits.max_seconds * 1000)
        if cue.end - cue.start < min(wanted, room - limits.gap_milliseconds) - 1:
            yield f"{cue} lasts {cue.end - cue.start} ms, {wanted:.0f} are to be read"
