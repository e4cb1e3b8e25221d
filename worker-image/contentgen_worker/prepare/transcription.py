"""From a recording to its sound."""

from contentgen_contract.names import Step
from contentgen_contract.orders import AudioFacts
from contentgen_worker.blame import SOURCE, verdicts
from contentgen_worker.files import Output
from contentgen_worker.media.audio import extract
from contentgen_worker.media.probe import probe
from contentgen_worker.workshop import Result, Workshop


def prepare(shop: Workshop) -> Result:
    """Download, check, sound only."""
    with shop.steps(Step.DOWNLOADING) as fraction:
        source = shop.fetch_source(fraction)
        shop.steps.note(bytes=source.size_bytes)
    with verdicts(SOURCE, "spec.source.url"):
        recording = probe(source.path, shop.media_bounds)
        recording.require_audio()
        with shop.steps(Step.EXTRACTING_AUDIO) as fraction:
            length = recording.seconds or float(shop.order.limits.duration_seconds)
            target = shop.scratch / "audio.flac"
            seconds = extract(source.path, target, shop.media_bounds, lambda at: fraction(at / length))
            shop.steps.note(codec=recording.audio_codec, length=f"{seconds:.1f} s", bytes=target.stat().st_size)
    with shop.steps(Step.UPLOADING_AUDIO) as fraction:
        files = shop.store([Output.of_path("audio.flac", "audio/flac", target)], fraction)
    return Result(files, AudioFacts(duration_seconds=round(seconds, 3), source_bytes=source.size_bytes))
