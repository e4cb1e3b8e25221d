"""Subtitles of generated words in many scripts and with odd times: within the limits, and without a loss."""

import html
import io
import random
from collections import Counter
from typing import Any

import av
import pytest
import webvtt

from contentgen_contract.resources.spec import Subtitles, TranscriptionOptions
from contentgen_recordings.cues import ShownCue, bare, cues, faults_of_cues, width
from contentgen_recordings.scripts import SCRIPTS, UNSPACED, answer, talk, word
from contentgen_worker.collect import transcription

TIMES = ["talk", "zero", "seconds", "missing", "late", "early", "ends", "shuffled"]
ANSWER = "no wait let me say something first please"


def files(words: Any, text: str | None = None, seconds: Any = None, **limits: int) -> dict[str, bytes]:
    options = TranscriptionOptions(subtitles=Subtitles(**limits))
    given = answer(words, text, seconds)
    made = transcription._outputs(given, transcription._read(given), options)
    return {each.name: each.body() for each in made}  # type: ignore[misc]


def shown_of(made: dict[str, bytes]) -> list[ShownCue]:
    return cues(made["transcript.srt"], made["transcript.vtt"])


def odd(times: str, words: list[dict[str, Any]], chance: random.Random) -> list[dict[str, Any]]:
    """The words with times of a kind."""
    for number, each_word in enumerate(words):
        rare = chance.random() < 0.1
        match times:
            case "zero":
                each_word |= {"start": 0, "end": 0}
            case "seconds":
                each_word |= {"start": each_word["start"] // 1000 * 1000, "end": each_word["end"] // 1000 * 1000 + 1000}
            case "missing" if rare:
                each_word |= {"start": None, "end": None}
            case "late" if rare:
                each_word |= {"start": each_word["start"] + 10_000_000, "end": each_word["end"] + 10_000_000}
            case "early" if rare and number:
                each_word |= {"start": 1, "end": 2}
            case "ends" if rare:
                each_word |= {"end": each_word["end"] + chance.choice([10_000, 10_000_000])}
    if times == "shuffled":
        chance.shuffle(words)
    return words


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("script", SCRIPTS)
def test_generated_words(script: str, times: str) -> None:
    chance = random.Random(f"{script} {times}")  # noqa: S311 - generated inputs
    texts, words, at = SCRIPTS[script].split(), list[dict[str, Any]](), 500
    for text in texts * 4:
        lasts = max(90, width(text) * chance.randint(40, 90))
        words.append(word(text, at, at + lasts))
        at += lasts + chance.choice([0, 0, 20, 60, 60, 400, 3000])
    given = "".join(texts * 4) if script in UNSPACED else " ".join(texts * 4)
    limits = chance.choice([{}, {"line_length": 32}, {"lines": 1}, {"lines": 3, "max_seconds": 4}])
    said = [each_word["text"] for each_word in words]
    shown = shown_of(files(odd(times, words, chance), given, at / 1000, **limits))
    if times != "shuffled":
        assert "".join(bare(cue.text) for cue in shown) == bare("".join(said))
    assert Counter(bare("".join(cue.text for cue in shown))) == Counter(bare("".join(said)))
    assert not faults_of_cues(shown, Subtitles(**limits), in_order=times != "shuffled")
    if script in UNSPACED and times != "shuffled":
        assert not any(" " in cue.text for cue in shown)
    if times != "shuffled":
        assert shown[-1].end <= at + 7000


@pytest.mark.parametrize("overlap", ["in turn", "at once", "an answer"])
@pytest.mark.parametrize("limits", [{}, {"lines": 1}, {"lines": 4, "line_length": 60}])
def test_crosstalk(overlap: str, limits: dict[str, int]) -> None:
    first = talk(SCRIPTS["German"].split() * 3, 0, 250, 50, "A")
    second = {
        "in turn": talk(ANSWER.split() * 3, 150, 90, 210, "B"),
        "at once": talk(ANSWER.split(), 400, 250, 50, "B"),
        "an answer": talk(["Yeah."], 2000, 200, 0, "B"),
    }[overlap]
    for words in (first + second, sorted(first + second, key=lambda each: int(each["start"]))):
        made = files(words, "", **limits)
        shown = shown_of(made)
        starts = {each_word["start"] for each_word in words}
        assert limits.get("lines") == 1 or not faults_of_cues(shown, Subtitles(**limits))
        assert all(any(0 <= cue.start - start <= 500 for start in starts) for cue in shown)
        if limits.get("lines") != 1:  # two speakers need two lines
            assert all(cue.end - cue.start >= 500 for cue in shown)
            spoken = {
                name: "".join(bare(each_word["text"]) for each_word in words if each_word["speaker"] == name)
                for name in "AB"
            }
            for name, text in spoken.items():
                voices = [
                    each_text.split("</v>")[0]
                    for each_text in made["transcript.vtt"].decode().split(f"<v Speaker {name}>")
                ]
                assert bare("".join(voice.split("\n\n")[0] for voice in voices[1:])) == text


def test_no_speech() -> None:
    """FFmpeg refuses a file without a cue; this one shows nothing."""
    made = files([], "")
    with av.open(io.BytesIO(made["transcript.srt"])) as file:
        assert file.format.name == "srt"
        assert not any(packet.size and bytes(packet).strip() for packet in file.demux())
    assert made["transcript.vtt"] == b"WEBVTT\n"


def test_a_text_is_made_of_words_by_their_script() -> None:
    made = files(talk(SCRIPTS["Japanese"].split()), None)["transcript.txt"].decode()
    assert made.startswith("今日は、AI の話をします。「東京」の天気は")


def test_webvtt_is_what_a_player_reads() -> None:
    made = files(talk(["a", "<", "b", "&", "c", "-->"], at=0, speaker="A"))["transcript.vtt"].decode()
    (cue,) = webvtt.from_buffer(io.StringIO(made))
    assert (cue.start, cue.voice, html.unescape(cue.text)) == ("00:00:00.000", "Speaker A", "a < b & c -->")
