"""Duration of a recording, and a generated transcript with words over the whole duration."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError

# Containers that hold bytes themselves: a playlist could point the decoder at other files and hosts.
FORMATS = "mov,mp4,m4a,3gp,matroska,webm,mp3,wav,w64,flac,ogg,aac,avi,mpegts,mpeg,asf,caf,aiff,amr,flv"
MAX_SECONDS = 10 * 3600  # AssemblyAI's own limit
MIN_MS = 160  # and its shortest
SENTENCES = (
    "Thanks for coming in today, it is good to see you again.",
    "Let us start with what you have been working on lately.",
    "We spent most of the spring in the studio, and it shows.",
    "The first cut was far too long, so we took half of it out.",
    "What surprised me was how little light we really needed.",
    "That is exactly the kind of detail that people remember.",
    "Could you say a little more about how the team is organised?",
    "Everybody edits, everybody shoots, and nobody owns a chair.",
    "I would rather publish something small every week.",
    "The audience tells you very quickly what it thinks.",
    "And the music came last, which I would not do again.",
    "So what would you tell someone who is just beginning?",
    "Record the sound well, and the pictures will forgive you.",
    "That is a good place to stop, thank you very much.",
)
MS_PER_CHARACTER = 62
GAP_MS = 90
PAUSE_MS = 420


class NoSpeechError(Exception):
    """The file can't be transcribed; the message is the provider's error text."""


@dataclass(frozen=True)
class ScriptWord:
    text: str
    start: int
    end: int
    confidence: float
    speaker: str
    sentence: int

    def json(self, speakers: bool) -> dict[str, Any]:
        return {
            "text": self.text,
            "start": self.start,
            "end": self.end,
            "confidence": self.confidence,
            "speaker": self.speaker if speakers else None,
        }


def duration_ms(path: Path) -> int:
    """Duration of the first audio track in milliseconds. Raises NoSpeechError."""
    try:
        # Opened as a Python file: the decoder itself never gets a URL or a path to follow.
        with path.open("rb") as file, av.open(file, "r", options={"format_whitelist": FORMATS}) as container:
            if not container.streams.audio:
                raise NoSpeechError(f"File does not appear to contain audio. File type is {container.format.name}.")
            milliseconds = _length(container)
    except (FFmpegError, OSError, ValueError) as error:
        raise NoSpeechError(f"Transcoding failed. File does not appear to contain audio: {error}") from error
    if milliseconds < MIN_MS:
        raise NoSpeechError("Audio duration is too short.")
    if milliseconds > MAX_SECONDS * 1000:
        raise NoSpeechError(f"Audio is longer than {MAX_SECONDS // 3600} hours.")
    return milliseconds


def _length(container: av.container.InputContainer) -> int:
    stream = container.streams.audio[0]
    if stream.duration and stream.time_base:
        return round(stream.duration * stream.time_base * 1000)
    if container.duration:
        return container.duration // 1000
    end = 0
    for packet in container.demux(stream):  # stream without a duration in its header
        if packet.pts is not None and packet.time_base:
            end = max(end, round((packet.pts + (packet.duration or 0)) * packet.time_base * 1000))
    return end


def speak(milliseconds: int, seed: str) -> tuple[ScriptWord, ...]:
    """Generated words that cover the whole duration; deterministic per seed."""
    chance = random.Random(seed)  # noqa: S311 - made-up speech, not a secret
    words = list(_stream(milliseconds, chance))
    last = words[-1]
    text = last.text.rstrip(".,?") + "."
    words[-1] = ScriptWord(text, last.start, milliseconds, last.confidence, last.speaker, last.sentence)
    return tuple(words)


def _stream(milliseconds: int, chance: random.Random) -> Iterator[ScriptWord]:
    clock = min(PAUSE_MS, milliseconds // 8)
    sentence, speaker, turn = 0, "A", chance.randint(1, 3)
    while True:
        for text in chance.choice(SENTENCES).split():
            end = clock + max(150, MS_PER_CHARACTER * len(text))
            yield ScriptWord(
                text, clock, min(end, milliseconds), round(chance.uniform(0.86, 0.995), 3), speaker, sentence
            )
            clock = end + GAP_MS
            if clock + 150 >= milliseconds:
                return
        clock += PAUSE_MS
        sentence, turn = sentence + 1, turn - 1
        if clock + 150 >= milliseconds:
            return
        if turn == 0:
            speaker, turn = ("B" if speaker == "A" else "A"), chance.randint(1, 3)


def groups(words: tuple[ScriptWord, ...], by: str) -> list[tuple[ScriptWord, ...]]:
    """Words grouped by sentence, speaker turn, or paragraph of up to four sentences."""
    found: list[list[ScriptWord]] = []
    for word in words:
        if found and _belongs(found[-1], word, by):
            found[-1].append(word)
        else:
            found.append([word])
    return [tuple(group) for group in found]


def _belongs(group: list[ScriptWord], word: ScriptWord, by: str) -> bool:
    if by == "sentence":
        return group[0].sentence == word.sentence
    if by == "speaker":
        return group[0].speaker == word.speaker
    return word.sentence - group[0].sentence < 4


def passage(words: tuple[ScriptWord, ...], speakers: bool) -> dict[str, Any]:
    """Utterance, sentence or paragraph in AssemblyAI's format."""
    return {
        "text": " ".join(word.text for word in words),
        "start": words[0].start,
        "end": words[-1].end,
        "confidence": confidence(words),
        "speaker": words[0].speaker if speakers else None,
        "words": [word.json(speakers) for word in words],
    }


def confidence(words: tuple[ScriptWord, ...]) -> float:
    return round(sum(word.confidence for word in words) / len(words), 4)


def captions(words: list[dict[str, Any]], form: str, longest: int) -> str:
    """Captions as SubRip or WebVTT, at most `longest` characters each."""
    cues: list[list[dict[str, Any]]] = []
    for word in words:
        if cues and sum(len(w["text"]) + 1 for w in cues[-1]) + len(word["text"]) <= longest:
            cues[-1].append(word)
        else:
            cues.append([word])
    mark = "," if form == "srt" else "."
    blocks = []
    for number, cue in enumerate(cues, 1):
        times = f"{_clock(cue[0]['start'], mark)} --> {_clock(cue[-1]['end'], mark)}"
        text = " ".join(word["text"] for word in cue)
        blocks.append(f"{number}\n{times}\n{text}" if form == "srt" else f"{times}\n{text}")
    return "\n\n".join(blocks if form == "srt" else ["WEBVTT", *blocks]) + "\n"


def _clock(milliseconds: int, mark: str) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{mark}{rest:03}"
