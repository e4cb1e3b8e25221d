"""Extraction and collection of a case, and its differences from the expected numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from contentgen_contract.names import Kind
from contentgen_contract.resources.spec import TranscriptionOptions
from contentgen_hostile.collecting import SPECS, encoded, run_fast
from contentgen_recordings.case import AnswerCase, RecordingCase
from contentgen_recordings.cues import cues, faults_of_cues
from contentgen_recordings.sounds import EXTRACTED_RATE, Sound, decoded, level, onsets
from contentgen_worker.errors import BadMedia
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.prepare import transcription

_FAINTEST = 0.002  # amplitude that is none
_SECONDS = 0.1


@dataclass(frozen=True)
class TakenSound:
    """Samples of a recording's sound at 16 kHz, number of its track, and notes; or the refusal."""

    samples: Sound
    track: int = 0
    notes: tuple[str, ...] = ()
    refused: str = ""


def extracted(case: RecordingCase, folder: Path) -> TakenSound:
    """Sound that the worker takes from a case's recording, in a confined child."""
    path = case.make(folder)
    target = folder / "scratch" / "audio.flac"
    target.parent.mkdir()
    options = TranscriptionOptions(**case.options)
    try:
        sound = transcription._extract(path, target, options, MediaLimits(10**7, case.limit), lambda _: None)
    except BadMedia as error:
        return TakenSound(np.zeros(0), refused=f"{error.reason}: {error}")
    samples = decoded(target.read_bytes())
    assert len(samples) == round(sound.seconds * EXTRACTED_RATE)
    return TakenSound(samples, sound.track.number, sound.notes)


def faults_of_sound(case: RecordingCase, found: TakenSound) -> list[str]:
    """Differences between a sound and the numbers of its case; empty if there are none."""
    if case.refused or found.refused:
        right = bool(case.refused) and case.refused in found.refused
        return [] if right else [f"refused as {found.refused!r}, expected {case.refused!r}"]
    wrong = []
    seconds = len(found.samples) / EXTRACTED_RATE
    if case.seconds is not None and abs(seconds - case.seconds) > _SECONDS:
        wrong.append(f"{seconds:.2f} s, expected {case.seconds}")
    for pitch, wanted in case.heard.items():
        if abs((heard := level(found.samples, pitch)) - wanted) > max(case.within * wanted, _FAINTEST):
            wrong.append(f"{pitch} Hz has an amplitude of {heard:.4f}, expected {wanted:.4f}")
    if case.begins is not None:
        begins = onsets(found.samples)
        near = [abs(one - other) <= case.apart + 1e-6 for one, other in zip(begins, case.begins, strict=False)]
        if len(begins) != len(case.begins) or not all(near):
            wrong.append(f"sounds begin at {begins}, expected {case.begins}")
    if found.notes != case.notes:
        wrong.append(f"notes {found.notes}, expected {case.notes}")
    if case.track and found.track != case.track:
        wrong.append(f"track {found.track}, expected {case.track}")
    return wrong


def faults_of_answer(case: AnswerCase) -> list[str]:
    """Collect an answer, and tell the differences from the numbers of its case; empty if there are none."""
    options = {"subtitles": case.limits.model_dump(by_alias=True)}
    left = run_fast(
        Kind.TRANSCRIPTION, encoded(case.answer), {}, spec={**SPECS[Kind.TRANSCRIPTION], "options": options}
    )
    if case.refused or not left.outcome.succeeded:
        message = f"{left.outcome.reason}: {left.outcome.message}"
        return [] if case.refused and case.refused in message else [f"{message}, expected {case.refused!r}"]
    return [
        *_differences(case, left.facts, left.stored["transcript.txt"].decode()),
        *_of_subtitles(case, left.stored["transcript.srt"], left.stored["transcript.vtt"]),
    ]


def _differences(case: AnswerCase, facts: Mapping[str, Any], text: str) -> list[str]:
    wrong = []
    if not case.facts.items() <= facts.items():
        wrong.append(f"facts {facts}, expected {case.facts}")
    if tuple(facts["notes"]) != case.notes:
        wrong.append(f"notes {facts['notes']}, expected {case.notes}")
    if case.text and text.strip() != case.text:
        wrong.append(f"text {text!r}, expected {case.text!r}")
    return wrong


def _of_subtitles(case: AnswerCase, srt: bytes, vtt: bytes) -> list[str]:
    shown = cues(srt, vtt)
    wrong = faults_of_cues(shown, case.limits)
    texts, begins = tuple(each.text for each in shown), tuple(each.start for each in shown)
    if texts[: len(case.cues)] != case.cues:
        wrong.append(f"cues {texts[: len(case.cues) + 1]}, expected {case.cues}")
    if case.count not in (None, len(shown)):
        wrong.append(f"{len(shown)} cues, expected {case.count}")
    if begins[: len(case.begins)] != case.begins:
        wrong.append(f"cues begin at {begins[: len(case.begins) + 1]}, expected {case.begins}")
    return wrong
