"""Generated transcripts cover the recording, with valid captions."""

import itertools

import pytest

from contentgen_sandbox.assemblyai.transcript import captions, groups, passage, speak


@pytest.mark.parametrize("milliseconds", [160, 400, 1_000, 7_777, 600_000])
def test_words_are_in_order_and_reach_the_end(milliseconds: int) -> None:
    words = speak(milliseconds, "/a.mp3")
    assert words[-1].end == milliseconds
    assert all(word.start < word.end for word in words)
    assert all(before.end <= after.start for before, after in itertools.pairwise(words))


def test_two_speakers_take_turns() -> None:
    turns = groups(speak(120_000, "/a.mp3"), "speaker")
    speakers = [turn[0].speaker for turn in turns]
    assert set(speakers) == {"A", "B"}
    assert all(one != other for one, other in itertools.pairwise(speakers))


def test_a_passage_holds_its_words() -> None:
    words = groups(speak(60_000, "/a.mp3"), "sentence")[0]
    shape = passage(words, speakers=True)
    assert shape["text"].split() == [word["text"] for word in shape["words"]]
    assert (shape["start"], shape["end"], shape["speaker"]) == (words[0].start, words[-1].end, "A")


def test_captions() -> None:
    words = [
        {"text": "Hello", "start": 0, "end": 500},
        {"text": "there.", "start": 600, "end": 1_000},
        {"text": "Bye.", "start": 3_600_001, "end": 3_601_000},
    ]
    assert captions(words, "srt", 12) == (
        "1\n00:00:00,000 --> 00:00:01,000\nHello there.\n\n2\n01:00:00,001 --> 01:00:01,000\nBye.\n"
    )
    assert captions(words, "vtt", 12).startswith("WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nHello there.\n")
