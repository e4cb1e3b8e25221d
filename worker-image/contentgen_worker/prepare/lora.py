"""From a video to a training set."""

from contentgen_contract.names import Step
from contentgen_contract.orders import DatasetFacts
from contentgen_contract.spec import LoraTrainingSpec
from contentgen_worker.blame import SOURCE, verdicts
from contentgen_worker.errors import TooFewFrames
from contentgen_worker.fetch import Fetched
from contentgen_worker.media import dataset, quality
from contentgen_worker.media.frames import pictures
from contentgen_worker.media.moments import Shot, evenly, moments
from contentgen_worker.media.probe import Recording, probe
from contentgen_worker.media.scenes import detect
from contentgen_worker.workshop import Result, Workshop

_TAKEN_PER_KEPT = 4  # pictures taken for each that may be kept; more only cost time


def prepare(shop: Workshop) -> Result:
    """Download, shots, pictures, choice, files."""
    spec = LoraTrainingSpec.model_validate(shop.order.spec)
    with shop.steps(Step.DOWNLOADING) as fraction:
        source = shop.fetch_source(fraction)
        shop.steps.note(bytes=source.size_bytes)
    with verdicts(SOURCE, "spec.source.url"):
        recording = probe(source.path, shop.media_bounds)
        recording.require_video()
        shots = _shots(shop, spec, source, recording)
        candidates = _candidates(shop, spec, source, shots)
        with shop.steps(Step.BUILDING_DATASET) as fraction:
            judged = _judged(shop, spec, candidates)
            outputs = dataset.build(judged, _caption(spec), spec.lora_name, _lines(spec, judged, shots), shop.scratch)
            fraction(1)
    with shop.steps(Step.UPLOADING_DATASET) as fraction:
        files = shop.store(outputs, fraction)
    return Result(files, _facts(judged, shots, source, recording))


def _shots(shop: Workshop, spec: LoraTrainingSpec, source: Fetched, recording: Recording) -> tuple[Shot, ...]:
    with shop.steps(Step.DETECTING_SCENES) as fraction:
        length = recording.seconds or float(shop.order.limits.duration_seconds)
        detector = spec.dataset.scene_detection.detector
        shots = detect(source.path, detector, shop.media_bounds, lambda seconds: fraction(seconds / length))
        shop.steps.note(shots=len(shots), video=_shape(recording), length=f"{recording.seconds or 0:.1f} s")
        return shots


def _candidates(
    shop: Workshop, spec: LoraTrainingSpec, source: Fetched, shots: tuple[Shot, ...]
) -> tuple[dataset.Candidate, ...]:
    with shop.steps(Step.EXTRACTING_FRAMES) as fraction:
        wanted = evenly(moments(shots, spec.dataset.frames_per_scene), _TAKEN_PER_KEPT * spec.dataset.max_images)
        folder = shop.scratch / "frames"
        folder.mkdir()
        taken: list[dataset.Candidate] = []
        for picture in pictures(source.path, wanted, spec.dataset.resolution, shop.media_bounds):
            path = folder / f"{len(taken) + 1:06}.jpg"
            taken.append(dataset.save(picture, quality.measure(picture.pixels), path))
            fraction(len(taken) / len(wanted))
            shop.steps.note(pictures=len(taken), of=len(wanted))
        return tuple(taken)


def _shape(recording: Recording) -> str:
    return f"{recording.width}x{recording.height} {recording.video_codec}"


def _judged(shop: Workshop, spec: LoraTrainingSpec, candidates: tuple[dataset.Candidate, ...]) -> dataset.Judged:
    verdicts_ = quality.judge([each.scores for each in candidates], spec.dataset.max_images)
    judged = dataset.Judged(candidates, verdicts_)
    shop.steps.note(kept=len(judged.kept), left_out=judged.rejected)
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
    return (
        f"{len(judged.kept)} pictures from {len(shots)} shots, {left_out} left out",
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
