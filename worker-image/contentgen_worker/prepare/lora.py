"""From a video to a training set."""

from contentgen_contract.names import Step
from contentgen_contract.orders import DatasetFacts
from contentgen_contract.spec import LoraTrainingSpec
from contentgen_worker.blame import SOURCE, verdicts
from contentgen_worker.errors import TooFewFrames
from contentgen_worker.fetch import Fetched
from contentgen_worker.media import dataset, engine
from contentgen_worker.media.choose import Candidate, Rules, choose
from contentgen_worker.media.engine import Analysis
from contentgen_worker.media.probe import Recording, probe
from contentgen_worker.media.segments import cores
from contentgen_worker.media.shots import Shot
from contentgen_worker.workshop import Result, Workshop


def prepare(shop: Workshop) -> Result:
    """Download, shots, pictures, choice, files."""
    spec = LoraTrainingSpec.model_validate(shop.order.spec)
    with shop.steps(Step.DOWNLOADING) as fraction:
        source = shop.fetch_source(fraction)
        shop.steps.note(bytes=source.size_bytes)
    with verdicts(SOURCE, "spec.source.url"):
        with shop.steps(Step.DETECTING_SCENES):
            recording = probe(source.path, shop.media_bounds)
            recording.require_video()
            shop.steps.note(video=_shape(recording), length=f"{recording.seconds:.1f} s")
        analysis = _analysis(shop, spec, source, recording)
        with shop.steps(Step.BUILDING_DATASET) as fraction:
            judged = _judged(shop, spec, analysis.candidates)
            captions = [_caption(spec)] * len(judged.kept)
            lines = _lines(spec, judged, analysis.shots)
            outputs = dataset.build(judged, captions, spec.lora_name, lines, shop.scratch)
            fraction(1)
    with shop.steps(Step.UPLOADING_DATASET) as fraction:
        files = shop.store(outputs, fraction)
    return Result(files, _facts(judged, analysis.shots, source, recording))


def _analysis(shop: Workshop, spec: LoraTrainingSpec, source: Fetched, recording: Recording) -> Analysis:
    """Shots and their best frames, in one pass over the pictures."""
    length = recording.seconds or float(shop.order.limits.duration_seconds)
    task = engine.task(source.path, shop.media_bounds, spec.dataset, length)
    with shop.steps(Step.EXTRACTING_FRAMES) as fraction:
        folder = shop.scratch / "frames"
        analysis = engine.analyse_recording(task, folder, cores(), lambda at: fraction(at / length))
        shop.steps.note(shots=len(analysis.shots), pictures=len(analysis.candidates))
        return analysis


def _shape(recording: Recording) -> str:
    return f"{recording.width}x{recording.height} {recording.video_codec}"


def _judged(shop: Workshop, spec: LoraTrainingSpec, candidates: tuple[Candidate, ...]) -> dataset.Judged:
    judged = dataset.Judged(candidates, choose(candidates, Rules.of(spec.dataset)))
    shop.steps.note(kept=len(judged.kept), left_out=judged.rejected, last_resort=judged.last_resort)
    if len(judged.kept) < spec.dataset.min_images:
        left_out = ", ".join(f"{reason} {count}" for reason, count in sorted(judged.rejected.items())) or "none"
        raise TooFewFrames(
            f"{len(judged.kept)} usable pictures of {len(candidates)} taken, spec.dataset.minImages is "
            f"{spec.dataset.min_images}; left out: {left_out}. Give a longer or more varied video, raise "
            f"spec.dataset.framesPerScene ({spec.dataset.frames_per_scene}) or lower spec.dataset.minImages"
        )
    return judged


def _caption(spec: LoraTrainingSpec) -> str:
    return spec.dataset.captions.template.replace("[trigger]", spec.trigger_word)


def _lines(spec: LoraTrainingSpec, judged: dataset.Judged, shots: tuple[Shot, ...]) -> tuple[str, str]:
    left_out = sum(judged.rejected.values())
    forced = f", {judged.last_resort} of the pictures as a last resort" if judged.last_resort else ""
    return (
        f"{len(judged.kept)} pictures from {len(shots)} shots, {left_out} left out{forced}",
        f"Trigger: {spec.trigger_word}    Caption: {_caption(spec)}",
    )


def _facts(judged: dataset.Judged, shots: tuple[Shot, ...], source: Fetched, recording: Recording) -> DatasetFacts:
    return DatasetFacts(
        images=len(judged.kept),
        scenes=len(shots),
        rejected=judged.rejected,
        duration_seconds=round(recording.seconds or shots[-1].end, 3),
        width=recording.width,
        height=recording.height,
        source_bytes=source.size_bytes,
    )
