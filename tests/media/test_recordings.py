"""The corpus of recordings and answers through the worker: `make test-media` runs all of it, `make test` a sample."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from contentgen_recordings.case import AnswerCase, RecordingCase
from contentgen_recordings.corpus import ANSWERS, RECORDINGS, SAMPLE
from contentgen_recordings.judge import TakenSound, extracted, faults_of_answer, faults_of_sound

_RUN = RECORDINGS if os.environ.get("CONTENTGEN_MEDIA") == "all" else SAMPLE


def _id(case: RecordingCase | AnswerCase) -> str:
    return case.name.replace(" ", "-")


def _agrees(found: list[str], known: str) -> None:
    """A case that is known to be wrong fails once it is right: then the table has to say so."""
    assert bool(found) is bool(known), "; ".join(found) or "no longer wrong"


@pytest.mark.parametrize("case", _RUN, ids=_id)
def test_the_sound_of_a_recording(case: RecordingCase, tmp_path: Path) -> None:
    _agrees(faults_of_sound(case, extracted(case, tmp_path)), case.known)


@pytest.mark.parametrize("case", ANSWERS, ids=_id)
def test_the_files_of_an_answer(case: AnswerCase) -> None:
    _agrees(faults_of_answer(case), case.known)


def test_the_corpus_is_large_and_its_names_are_unique() -> None:
    assert len(RECORDINGS) >= 240
    assert len(ANSWERS) >= 100
    assert len({case.name for case in (*RECORDINGS, *ANSWERS)}) == len(RECORDINGS) + len(ANSWERS)


def test_other_words_of_a_refusal_are_a_fault(tmp_path: Path) -> None:
    case = next(case for case in RECORDINGS if case.name == "silent")
    refused = extracted(case, tmp_path)
    assert not faults_of_sound(case, refused)
    for other in (replace(refused, refused="NoAudio: it is quiet"), replace(refused, refused="")):
        assert faults_of_sound(case, other)
    answer = next(case for case in ANSWERS if case.name == "still processing")
    assert faults_of_answer(replace(answer, refused="status 'queued'"))


def test_another_sound_is_a_fault(tmp_path: Path) -> None:
    case = next(case for case in RECORDINGS if case.name == "stereo: a speaker on each")
    found = extracted(case, tmp_path)
    one = TakenSound(found.samples[: len(found.samples) // 2], found.track, found.notes)
    for other in (one, replace(found, samples=found.samples / 2), replace(found, notes=("a note",))):
        assert faults_of_sound(case, other)
