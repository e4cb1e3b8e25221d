"""Collect stage of a transcription: from the provider's transcript to text and subtitle files."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from contentgen_contract import patterns
from contentgen_contract.names import Reason, Step
from contentgen_contract.records.presigned_urls import strip_signatures
from contentgen_contract.resources.spec import TranscriptFormat, TranscriptionOptions, TranscriptionSpec
from contentgen_contract.word_joining import is_unspaced, joined, separators
from contentgen_contract.worker.orders import TranscriptFacts
from contentgen_worker.collect import answers
from contentgen_worker.collect.response import provider_response
from contentgen_worker.collect.spoken_words import HeardWord, TimedWord, timed
from contentgen_worker.collect.subtitles import make_cues, srt, vtt
from contentgen_worker.errors import StageFailed
from contentgen_worker.files import JSON, TEXT, Output
from contentgen_worker.stage_context import StageContext, StageResult


@dataclass(frozen=True)
class _Utterance:
    speaker: str
    text: str


@dataclass(frozen=True)
class _ParsedTranscript:
    """Text, and what of its details can be read. `words` is empty if none has a time; `count` is of all.

    `spoken`: the utterances if they hold the whole text.
    """

    text: str
    words: tuple[TimedWord, ...]
    count: int
    spoken: tuple[_Utterance, ...]
    speakers: int
    seconds: float | None
    language: str | None
    notes: tuple[str, ...]


def collect(context: StageContext) -> StageResult:
    """Parse the transcript and store its files. Raises StageFailed or Retryable."""
    spec = context.spec(TranscriptionSpec)
    with context.steps(Step.STORING) as fraction:
        response = provider_response(context)
        transcript = _read(response)
        facts = _facts(transcript, spec.options.subtitles.changed)
        context.steps.note(words=transcript.count)
        files = context.store(_outputs(response, transcript, spec.options), fraction)
    return StageResult(files, facts)


def _read(response: dict[str, Any]) -> _ParsedTranscript:
    """Raises StageFailed without the status `completed` and a text."""
    status, text = response.get("status"), response.get("text")
    side = answers.SideFacts()
    items, said = _items(response, "words", side), _items(response, "utterances", side)
    if not isinstance(text, str) and (parts := items or said):
        made_of = "words" if items else "utterances"
        side.notes.append(f"the text of the answer is {answers.shown(text)}; it is made of the {made_of}")
        text = joined([part["text"] for part in parts])
    if status == "error" and re.search(patterns.NO_SPEECH, str(response.get("error"))):
        status, text = "completed", ""
        side.notes.append("the provider found no speech")
    if status != "completed" or not isinstance(text, str):
        raise StageFailed(
            Reason.RESULT_INVALID,
            f"the provider's answer is no transcript: status {answers.shown(status)}, expected 'completed', and text "
            f"{answers.shown(text)}",
        )
    seconds = side.read("audio_duration", response.get("audio_duration"), answers.seconds)
    words = _words(items or said, text, seconds, side)
    if text.strip() and not words:
        side.notes.append("the answer has no times, so its subtitles are empty")
    utterances = _utterances(said, side)
    given = response.get("utterances")
    whole = isinstance(given, list) and len(given) == len(utterances)
    return _ParsedTranscript(
        text=text,
        words=words,
        count=len(items) or len(text.split()),
        spoken=utterances if whole else (),
        speakers=len({*(utterance.speaker for utterance in utterances), *(word.speaker for word in words)} - {""}),
        seconds=seconds,
        language=side.read("language_code", response.get("language_code"), answers.language),
        notes=answers.bounded_notes(side.notes),
    )


def _items(response: dict[str, Any], name: str, side: answers.SideFacts) -> list[dict[str, Any]]:
    """Objects of a list of the answer; the others are left out with a note."""
    given = response.get(name)
    if given is None:
        return []
    if not isinstance(given, list):
        side.notes.append(f"{name} of the provider is {answers.shown(given)}, which is left out")
        return []
    items = [each for each in given if isinstance(each, dict) and isinstance(each.get("text"), str)]
    _note_left_out(len(given) - len(items), f"of {len(given)} {name} can't be read", side)
    return items


def _words(
    items: Sequence[dict[str, Any]], text: str, seconds: float | None, side: answers.SideFacts
) -> tuple[TimedWord, ...]:
    """Words, or utterances in their place, with times and speakers; the separators are those of the text."""
    heard: list[HeardWord] = []
    untimed = unnamed = 0
    for item, separator in zip(items, separators([item["text"] for item in items], text), strict=True):
        start, end = _or_none(answers.milliseconds, item.get("start")), _or_none(answers.milliseconds, item.get("end"))
        untimed += start is None
        speaker = _or_none(answers.label, item.get("speaker"))
        unnamed += speaker is None and item.get("speaker") is not None
        end = None if start is None else max(start, end or start)
        # The first word may not be the first in time.
        spaced = bool(separator) or (not heard and not is_unspaced(item["text"].strip()[:1]))
        heard.append(HeardWord(item["text"], start, end, speaker or None, spaced))
    _note_left_out(untimed, f"{_have(untimed, 'word')} no times", side)
    _note_left_out(unnamed, f"{_have(unnamed, 'word')} no speaker that can be read", side)
    return timed(heard, None if seconds is None else round(seconds * 1000)) if untimed < len(heard) else ()


def _utterances(items: Iterable[dict[str, Any]], side: answers.SideFacts) -> tuple[_Utterance, ...]:
    found = [_Utterance(_or_none(answers.label, each.get("speaker")) or "", each["text"]) for each in items]
    unnamed = sum(not each.speaker for each in found)
    _note_left_out(unnamed, f"{_have(unnamed, 'utterance')} no speaker that can be read", side)
    return tuple(found)


def _have(count: int, what: str) -> str:
    return f"{what} has" if count == 1 else f"{what}s have"


def _or_none(parse: Any, value: object) -> Any:
    try:
        return parse(value)
    except ValueError:
        return None


def _note_left_out(count: int, words: str, side: answers.SideFacts) -> None:
    if count:
        side.notes.append(f"{count} {words}")


def _outputs(response: dict[str, Any], transcript: _ParsedTranscript, options: TranscriptionOptions) -> list[Output]:
    limits = options.subtitles
    cues = make_cues(transcript.words, limits)
    texts = {
        TranscriptFormat.SRT: ("transcript.srt", "application/x-subrip", srt(cues, limits)),
        TranscriptFormat.VTT: ("transcript.vtt", "text/vtt", vtt(cues, limits)),
    }
    return [
        Output.from_bytes(
            "transcript.json", JSON, json.dumps(strip_signatures(response), ensure_ascii=False, indent=1).encode()
        ),
        Output.from_bytes("transcript.txt", TEXT, _plain_text(transcript).encode()),
        *(
            Output.from_bytes(name, content_type, text.encode())
            for text_format, (name, content_type, text) in texts.items()
            if text_format in options.formats
        ),
    ]


def _plain_text(transcript: _ParsedTranscript) -> str:
    """Text; one paragraph per utterance if there are several speakers."""
    if len({each.speaker for each in transcript.spoken}) > 1:
        return "\n\n".join(_paragraph(each) for each in transcript.spoken) + "\n"
    return transcript.text + "\n"


def _paragraph(utterance: _Utterance) -> str:
    return f"Speaker {utterance.speaker}: {utterance.text}" if utterance.speaker else utterance.text


def _facts(transcript: _ParsedTranscript, subtitles: dict[str, int] | None) -> TranscriptFacts:
    last = max((word.end for word in transcript.words), default=0) / 1000
    return TranscriptFacts(
        word_count=transcript.count,
        duration_seconds=transcript.seconds or last or transcript.seconds,
        speakers=transcript.speakers,
        language=transcript.language,
        subtitles=subtitles,
        notes=transcript.notes,
    )
