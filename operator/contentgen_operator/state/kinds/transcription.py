"""Transcription: the sound of a recording, sent to a transcriber. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys
from contentgen_contract.resources.models import TRANSCRIBER
from contentgen_contract.resources.spec import TranscriptFormat, TranscriptionSpec
from contentgen_contract.resources.status import VersionStatus
from contentgen_contract.worker.orders import AudioFacts, Facts, Limits, StoredFile, TranscriptFacts
from contentgen_operator.state.canonical_request import RequestContent, prepared_content
from contentgen_operator.state.kinds.row import CallInput, KindRow, Url, by_name
from contentgen_operator.state.observed import LoraView
from contentgen_operator.state.provider_requests import ANSWER_BYTES, Call, StoredObject
from contentgen_operator.state.upload_limits import MIB, FileLimit

_SOUND = "audio.flac"
_SOUND_BYTES = 16_000 * 2 * 1.05  # per second: samples of 16 bits at 16 kHz, uncompressed, with frame headers
_SILENCE_BYTES = 8  # per second at least; frames of silence take 40
_SOUND_HEADERS = MIB  # metadata of a file at most
_SOUND_SLACK = 60.0  # seconds
_SUBTITLES = (".srt", ".vtt")
_INDENTED = 8  # times the provider's answer: indented, or as cues with times


def _call(spec: TranscriptionSpec, given: CallInput) -> Call:
    job, language = given.job, spec.options.language
    sound = keys.prefix(Kind.TRANSCRIPTION, Stage.PREPARE, job.user_id, job.job_id, job.version) + _SOUND
    arguments: dict[str, Any] = {
        "audio_url": StoredObject(key=sound),
        "speaker_labels": spec.options.speaker_labels,
    } | ({"language_detection": True} if language == "auto" else {"language_code": language})
    if given.speech_models:
        arguments["speech_models"] = list(given.speech_models)
    return Call(provider=job.provider, model=TRANSCRIBER, arguments=arguments, correlation_key=sound)


def _content(spec: TranscriptionSpec, call: Call, facts: Mapping[str, Any], _: Iterable[LoraView]) -> RequestContent:
    track = spec.options.audio_track
    return prepared_content(call, facts, {} if track is None else {"audioTrack": track})


def _missing_formats(spec: TranscriptionSpec, names: Iterable[str], facts: Mapping[str, Any]) -> tuple[str, ...]:
    fit = facts.get("subtitles") == spec.options.subtitles.changed
    there = {name for name in names if fit or not name.endswith(_SUBTITLES)}
    asked = [
        f"transcript.{transcript_format.value}"
        for transcript_format in TranscriptFormat
        if transcript_format in spec.options.formats
    ]
    return tuple(name for name in asked if name not in there)


def _facts_problem(_: TranscriptionSpec, facts: Facts | None, files: Sequence[StoredFile]) -> str:
    """Problem with the length of an audio file by its size; empty: none. FLAC, mono, 16 bits at 16 kHz."""
    if not isinstance(facts, AudioFacts):
        return ""
    seconds, size = facts.duration_seconds, next((file.size_bytes for file in files if file.name == _SOUND), 0)
    least, most = (size - _SOUND_HEADERS) / _SOUND_BYTES, size / _SILENCE_BYTES + _SOUND_SLACK
    if least <= seconds <= most:
        return ""
    return f"{_SOUND} has {size} bytes, which are {max(least, 0):.0f} to {most:.0f} s of audio, and not {seconds:.0f} s"


def _file_limits(_: TranscriptionSpec, stage: Stage, limits: Limits) -> tuple[FileLimit, ...]:
    if stage is Stage.PREPARE:
        return (FileLimit(name=_SOUND, size_bytes=int(limits.duration_seconds * _SOUND_BYTES) + _SOUND_HEADERS),)
    names = (f"transcript.{suffix.value}" for suffix in TranscriptFormat)
    return tuple(FileLimit(name=name, size_bytes=_INDENTED * ANSWER_BYTES) for name in names)


def _record(_: TranscriptionSpec, prepared: Mapping[str, Any], version: VersionStatus, url: Url) -> dict[str, Any]:
    files = by_name(version)
    return {
        "transcriptUrl": url(files["transcript.json"].key),
        "textUrl": url(files["transcript.txt"].key),
        "srtUrl": url(files["transcript.srt"].key) if "transcript.srt" in files else None,
        "vttUrl": url(files["transcript.vtt"].key) if "transcript.vtt" in files else None,
        "wordCount": version.facts.get("wordCount"),
        "duration": version.facts.get("durationSeconds"),
        "speakers": version.facts.get("speakers"),
        "language": version.facts.get("language"),
        "audibleDuration": prepared.get("audibleSeconds"),
    }


ROW: KindRow[TranscriptionSpec] = KindRow(
    facts={Stage.PREPARE: AudioFacts, Stage.COLLECT: TranscriptFacts},
    call=_call,
    content=_content,
    units=lambda _, duration: max(duration, 1.0),
    seconds=lambda _, duration: 15 + duration / 10,
    file_limits=_file_limits,
    expected=lambda stage, _: {_SOUND} if stage is Stage.PREPARE else {"transcript.json", "transcript.txt"},
    sent=_SOUND,
    fetched=frozenset(),
    missing_formats=_missing_formats,
    facts_problem=_facts_problem,
    record=_record,
)
