"""Prepare stage of a transcription: from a recording to a FLAC file."""

from dataclasses import replace
from pathlib import Path

from contentgen_contract.names import Step
from contentgen_contract.resources.spec import TranscriptionOptions, TranscriptionSpec
from contentgen_contract.worker.orders import AudioFacts
from contentgen_worker.download.fetch import Fetched
from contentgen_worker.error_mapping import SOURCE, stage_failures
from contentgen_worker.errors import DecoderCrashed
from contentgen_worker.files import Output
from contentgen_worker.media.audio.extract import ExtractedAudio, send_sound
from contentgen_worker.media.audio.mono import RATE
from contentgen_worker.media.audio.tracks import CONVERT
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.source import MediaSource
from contentgen_worker.media.sandbox.isolation import spawn
from contentgen_worker.progress import Fraction
from contentgen_worker.stage_context import StageContext, StageResult

_NAME = "audio.flac"
_MAX_HEADER_BYTES = 1 << 20  # bytes of a FLAC file besides audio, at most


def prepare(context: StageContext) -> StageResult:
    """Download the recording, extract its audio and store it. Raises StageFailed or Retryable."""
    options = context.spec(TranscriptionSpec).options
    with context.steps(Step.DOWNLOADING) as fraction:
        incoming = context.start_source_download(fraction)
        context.steps.note(bytes=incoming.size)
    target = context.scratch / "sound" / _NAME
    target.parent.mkdir()
    with stage_failures(SOURCE, "spec.source.url"), incoming, context.steps(Step.EXTRACTING_AUDIO) as fraction:
        sound = _extract(incoming.source, target, options, context.media_bounds, fraction)
        context.steps.note(track=str(sound.track), of=sound.tracks, codec=sound.track.codec)
        context.steps.note(length=f"{sound.seconds:.1f} s", bytes=target.stat().st_size, notes=list(sound.notes))
        source = incoming.finish()
    with context.steps(Step.UPLOADING_AUDIO) as fraction:
        files = context.store([Output.from_path(_NAME, "audio/flac", target)], fraction)
    return StageResult(files, _facts(sound, source))


def _extract(
    source: Path | MediaSource, target: Path, options: TranscriptionOptions, bounds: MediaLimits, fraction: Fraction
) -> ExtractedAudio:
    max_bytes = int(bounds.seconds) * RATE * 2 + _MAX_HEADER_BYTES
    limits = replace(bounds.child_limits(source), folder=target.parent, file_bytes=max_bytes)
    try:
        with spawn(send_sound, source, target, options, bounds, limits=limits) as child:
            for message in child.messages():
                if isinstance(message, ExtractedAudio):
                    bounds.check_duration(message.seconds)  # checked again: the child is untrusted
                    return message
                if isinstance(message, float):
                    fraction(message)
    except DecoderCrashed as error:
        raise DecoderCrashed(f"its sound: {error.finding}", advice=CONVERT) from None
    raise DecoderCrashed("the decoder ended without a result")


def _facts(sound: ExtractedAudio, source: Fetched) -> AudioFacts:
    return AudioFacts(
        duration_seconds=round(sound.seconds, 3),
        source_bytes=source.size_bytes,
        source_sha256=source.sha256,
        audible_seconds=round(sound.loudness.audible, 1),
        level=sound.loudness.level,
        track=sound.track.number,
        tracks=sound.tracks,
        notes=sound.notes,
    )
