"""Prepare stage of a LoRA training: from a video to a training set."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from contentgen_contract.names import Step
from contentgen_contract.resources.spec import Detector, LoraTrainingSpec, Speed
from contentgen_contract.worker.orders import DatasetFacts
from contentgen_worker.error_mapping import SOURCE, stage_failures
from contentgen_worker.errors import NoDetector, TooFewFrames
from contentgen_worker.files import Output
from contentgen_worker.media import engine
from contentgen_worker.media.dataset import dataset
from contentgen_worker.media.dataset.captions import Describer, make_captions
from contentgen_worker.media.dataset.vision import describer_for
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.probe import Recording, probe
from contentgen_worker.media.decode.source import MediaSource, source_files
from contentgen_worker.media.engine import Analysis
from contentgen_worker.media.select.choose import PictureCandidate, Rules, choose, count_restored
from contentgen_worker.media.shots.segments import cores
from contentgen_worker.media.shots.shots import Shot
from contentgen_worker.progress import Steps
from contentgen_worker.stage_context import StageContext, StageResult

_LATE_SECONDS, _LATE_SHARE = 2.0, 0.05  # of the stated length, after the last picture, that a note tells


@dataclass(frozen=True)
class TrainingSet:
    """Outputs and facts of a training set, not yet stored.

    `bundle` makes the zip and the contact sheet, while the other files are already uploaded.
    """

    outputs: tuple[Output, ...]
    bundle: Callable[[], tuple[Output, ...]]
    facts: DatasetFacts


def check_detector(detector: Detector) -> None:
    """Raises NoDetector if PySceneDetect is needed and missing, as in an installation of the extra `try`."""
    if detector is not Detector.AUTO and find_spec("scenedetect") is None:
        raise NoDetector(detector)


def prepare(context: StageContext) -> StageResult:
    """Download the video, choose pictures and store the training set. Raises StageFailed or Retryable."""
    spec = context.spec(LoraTrainingSpec)
    check_detector(spec.dataset.scene_detection.detector)
    describer = describer_for(
        spec.dataset.captions.engine, context.vision_model
    )  # fails before the download if no model is installed
    with context.steps(Step.DOWNLOADING) as fraction:
        incoming = context.start_source_download(fraction)
        context.steps.note(bytes=incoming.size)
    with stage_failures(SOURCE, "spec.source.url"), incoming:
        training = training_set(
            spec, incoming.source, context.media_bounds, context.steps, context.scratch, describer=describer
        )
        source = incoming.finish()
    with context.steps(Step.UPLOADING_DATASET) as fraction:
        files = context.store(training.outputs, fraction, partial(_make_bundle, training))
    return StageResult(files, training.facts.model_copy(update={"source_sha256": source.sha256}))


def _make_bundle(training: TrainingSet) -> tuple[Output, ...]:
    with stage_failures(SOURCE, "spec.source.url"):  # it decodes the JPEG files of an untrusted child
        return training.bundle()


def training_set(
    spec: LoraTrainingSpec,
    video: Path | MediaSource,
    bounds: MediaLimits,
    steps: Steps,
    scratch: Path,
    *,
    describer: Describer | None = None,
) -> TrainingSet:
    """Training set of a local video, without download and upload. Raises BadMedia."""
    with steps(Step.DETECTING_SCENES):
        recording = probe(video, bounds)
        recording.require_video()
        steps.note(video=_describe_video(recording), length=f"{recording.seconds:.1f} s")
    with steps(Step.EXTRACTING_FRAMES) as fraction:
        length = recording.seconds or bounds.seconds
        task = engine.make_task(video, bounds, spec.dataset, recording.fps or engine.USUAL_FPS)
        analysis = engine.analyse_recording(task, scratch / "frames", cores(), lambda at: fraction(at / length))
        steps.note(shots=len(analysis.shots), pictures=len(analysis.candidates))
    with steps(Step.BUILDING_DATASET) as fraction:
        length = recording.seconds or analysis.seconds
        if not analysis.candidates:
            raise TooFewFrames(f"spec.dataset.timeRanges contain no frame; the video lasts {length:.1f} s")
        judged = _choose_pictures(steps, spec, analysis.candidates)
        captions = make_captions(judged.kept, spec.dataset.captions, spec.trigger_word, length, describer)
        heading = dataset.Heading(spec.lora_name, _sheet_lines(spec, judged, analysis.shots, captions))
        outputs = dataset.build(judged, analysis.shots, captions)
        fraction(1)
    bundle = partial(dataset.bundle, judged, captions, heading, scratch)
    return TrainingSet(outputs, bundle, _facts(judged, analysis, recording, source_files(video)[0].stat().st_size))


def _describe_video(recording: Recording) -> str:
    return f"{recording.width}x{recording.height} {recording.video_codec}"


def _choose_pictures(steps: Steps, spec: LoraTrainingSpec, candidates: tuple[PictureCandidate, ...]) -> dataset.Judged:
    judged = dataset.Judged(candidates, choose(candidates, Rules.from_dataset(spec.dataset)))
    steps.note(kept=len(judged.kept), left_out=judged.rejected, last_resort=judged.last_resort)
    if len(judged.kept) < spec.dataset.min_images:
        restored = f" ({judged.last_resort} as a last resort: {_listed(count_restored(judged.verdicts))})"
        exact = "set spec.dataset.speed to Exact, " if spec.dataset.speed is Speed.FAST else ""
        raise TooFewFrames(
            f"{len(judged.kept)} usable pictures{restored if judged.last_resort else ''} of {len(candidates)} taken, "
            f"spec.dataset.minImages is {spec.dataset.min_images}; left out: {_listed(judged.rejected)}. Give a longer "
            f"or more varied video, {exact}raise spec.dataset.framesPerScene ({spec.dataset.frames_per_scene}) or "
            "lower spec.dataset.minImages"
        )
    return judged


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items())) or "none"


def _sheet_lines(
    spec: LoraTrainingSpec, judged: dataset.Judged, shots: tuple[Shot, ...], captions: tuple[str, ...]
) -> tuple[str, str]:
    left_out = sum(judged.rejected.values())
    last_resort = f", {judged.last_resort} of the pictures as a last resort" if judged.last_resort else ""
    caption_line = f"Caption: {captions[0]}" if len(set(captions)) == 1 else "Captions below the pictures"
    return (
        f"{len(judged.kept)} pictures from {len(shots)} shots, {left_out} left out{last_resort}",
        f"Trigger: {spec.trigger_word} · {caption_line}",
    )


def _facts(judged: dataset.Judged, analysis: Analysis, recording: Recording, size: int) -> DatasetFacts:
    return DatasetFacts(
        images=len(judged.kept),
        scenes=len(analysis.shots),
        rejected=judged.rejected,
        duration_seconds=round(recording.seconds or analysis.seconds, 3),
        width=recording.width,
        height=recording.height,
        source_bytes=size,
        notes=tuple(_notes(analysis, recording)),
    )


def _notes(analysis: Analysis, recording: Recording) -> Iterator[str]:
    """What was left out of the recording, and why."""
    if recording.tracks > 1:
        size = f"{recording.width}x{recording.height}"
        yield f"the pictures are of video track {recording.track} of {recording.tracks} ({size})"
    if analysis.damaged:
        share = max(analysis.damaged, 0.01)
        yield f"data is missing for {share:.0%} of the frames, which are used as a last resort only"
    if analysis.transparent:
        yield "transparent parts of the video are black in the pictures"
    if recording.unread_alpha:
        yield "the video states transparent parts, which are not read: the pictures show what is stored behind them"
    late = recording.seconds - analysis.seconds - 1 / (recording.fps or engine.USUAL_FPS)
    if late > max(_LATE_SECONDS, _LATE_SHARE * recording.seconds) and not recording.estimated:
        yield f"the last frame is at {analysis.seconds:.0f} s of {recording.seconds:.0f} s that the file states"
