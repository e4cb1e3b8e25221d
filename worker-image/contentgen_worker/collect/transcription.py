"""Collect stage of a transcription: from the provider's transcript to text and subtitle files."""

import json
from typing import Any

from pydantic import ValidationError

from contentgen_contract.base import Value
from contentgen_contract.names import Reason, Step
from contentgen_contract.records.presigned_urls import strip_signatures
from contentgen_contract.resources.spec import TranscriptFormat, TranscriptionSpec
from contentgen_contract.worker.orders import TranscriptFacts
from contentgen_worker.collect.subtitles import TimedWord, make_cues, srt, vtt
from contentgen_worker.errors import StageFailed
from contentgen_worker.files import JSON, TEXT, Output
from contentgen_worker.stage_context import StageContext, StageResult


class _TranscriptWord(Value):
    text: str
    start: int
    end: int
    speaker: str | None = None

    @property
    def timed(self) -> TimedWord:
        return TimedWord(self.text, self.start, self.end, self.speaker or "")


class _Utterance(Value):
    speaker: str
    text: str


class _ProviderTranscript(Value):
    status: str
    text: str | None = None
    words: list[_TranscriptWord] | None = None
    utterances: list[_Utterance] | None = None
    audio_duration: float | None = None
    language_code: str | None = None


def collect(context: StageContext) -> StageResult:
    """Parse the transcript and store its files. Raises StageFailed or Retryable."""
    spec = TranscriptionSpec.model_validate(context.order.spec)
    with context.steps(Step.STORING) as fraction:
        response = context.provider_response()
        transcript = _parse(response)
        context.steps.note(words=len(transcript.words or []))
        files = context.store(_outputs(response, transcript, set(spec.options.formats)), fraction)
    return StageResult(files, _facts(transcript))


def _parse(response: dict[str, Any]) -> _ProviderTranscript:
    try:
        transcript = _ProviderTranscript.model_validate(response, by_name=True)
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, item["loc"])) for item in error.errors()[:5])
        raise StageFailed(
            Reason.RESULT_INVALID, f"the provider's answer is no transcript (missing or wrong: {fields})"
        ) from None
    if transcript.status != "completed" or transcript.text is None:
        raise StageFailed(
            Reason.RESULT_INVALID,
            f"the provider's transcript has status {transcript.status[:40]!r}, expected 'completed' and a text",
        )
    return transcript


def _outputs(response: dict[str, Any], transcript: _ProviderTranscript, formats: set[TranscriptFormat]) -> list[Output]:
    lines = make_cues(word.timed for word in transcript.words or [])
    texts = {
        TranscriptFormat.SRT: ("transcript.srt", "application/x-subrip", srt(lines)),
        TranscriptFormat.VTT: ("transcript.vtt", "text/vtt", vtt(lines)),
    }
    return [
        Output.from_bytes(
            "transcript.json", JSON, json.dumps(strip_signatures(response), ensure_ascii=False, indent=1).encode()
        ),
        Output.from_bytes("transcript.txt", TEXT, _plain_text(transcript).encode()),
        *(
            Output.from_bytes(name, content_type, text.encode())
            for each, (name, content_type, text) in texts.items()
            if each in formats
        ),
    ]


def _plain_text(transcript: _ProviderTranscript) -> str:
    """Text; one paragraph per utterance if there are several speakers."""
    utterances = transcript.utterances or []
    if len({each.speaker for each in utterances}) > 1:
        return "\n\n".join(f"Speaker {each.speaker}: {each.text}" for each in utterances) + "\n"
    return (transcript.text or "") + "\n"


def _facts(transcript: _ProviderTranscript) -> TranscriptFacts:
    words = transcript.words or []
    speakers = {each.speaker for each in transcript.utterances or []} | {word.speaker for word in words if word.speaker}
    return TranscriptFacts(
        word_count=len(words) or len((transcript.text or "").split()),
        duration_seconds=transcript.audio_duration or (words[-1].end / 1000 if words else 0.0),
        speakers=len(speakers),
        language=transcript.language_code or "",
    )
