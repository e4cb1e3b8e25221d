"""What differs between the kinds: whether there is something to prepare, and what is bought from whom.

A new kind is an entry here, a prepare pipeline and a collect pipeline in the worker, and nothing else.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from contentgen_contract.base import Value
from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys
from contentgen_contract.resources.models import TRANSCRIBER, model_of
from contentgen_contract.resources.spec import ImageGenerationSpec, LoraTrainingSpec, Spec, Style, TranscriptionSpec
from contentgen_contract.resources.status import RunStatus
from contentgen_contract.worker.orders import (
    MAX_SECONDS,
    AudioFacts,
    DatasetFacts,
    Facts,
    ImageFacts,
    LoraFacts,
    StoredFile,
    TranscriptFacts,
)
from contentgen_operator.state.observed import LoraView
from contentgen_operator.state.provider_requests import Call, StoredObject, seed_correlation_key
from contentgen_operator.state.purchases import Purchase, PurchaseKey

# Trainers that take a learning rate; flux-lora-fast-training has no such input.
_TAKES_LEARNING_RATE = {"fal-ai/flux-lora-portrait-trainer", "fal-ai/flux-krea-trainer"}


_SOUND = "audio.flac"
_SOUND_BYTES = 16_000 * 2 * 1.05  # a second of it, uncompressed and in frames
_SILENCE_BYTES = 8  # a second of it; frames of silence take 40
_SOUND_HEADERS = 1 << 20  # bytes of a file that are no sound
_SOUND_SLACK = 60.0  # seconds


class CallContext(Value):
    """What a call is made for: whose, which, which version."""

    user_id: str
    job_id: str
    version: int


FACTS: dict[tuple[Kind, Stage], type[Value]] = {
    (Kind.LORA_TRAINING, Stage.PREPARE): DatasetFacts,
    (Kind.LORA_TRAINING, Stage.COLLECT): LoraFacts,
    (Kind.IMAGE_GENERATION, Stage.COLLECT): ImageFacts,
    (Kind.TRANSCRIPTION, Stage.PREPARE): AudioFacts,
    (Kind.TRANSCRIPTION, Stage.COLLECT): TranscriptFacts,
}
# What the next step, or the record, cannot do without; a stage may store more.
_EXPECTED = {
    (Kind.LORA_TRAINING, Stage.PREPARE): {"dataset.zip", "dataset.json"},
    (Kind.LORA_TRAINING, Stage.COLLECT): {"model.safetensors"},
    (Kind.TRANSCRIPTION, Stage.PREPARE): {"audio.flac"},
    (Kind.TRANSCRIPTION, Stage.COLLECT): {"transcript.json", "transcript.txt"},
}


def expected_files(kind: Kind, stage: Stage, facts: Facts | None) -> set[str]:
    """Names that a stage must have stored."""
    if isinstance(facts, ImageFacts):
        return {name for image in facts.images for name in (image.name, image.thumbnail)}
    return _EXPECTED.get((kind, stage), set())


def has_prepare(kind: Kind) -> bool:
    """Whether there is free work before the paid call."""
    return kind is not Kind.IMAGE_GENERATION


def fetched_url_names(kind: Kind) -> frozenset[str]:
    """The names under which the provider's answer has URLs that the collect stage fetches, whoever signed them."""
    return frozenset() if kind is Kind.TRANSCRIPTION else frozenset({"url"})


def provider_of(kind: Kind) -> str:
    """The provider that a kind pays."""
    return "assemblyai" if kind is Kind.TRANSCRIPTION else "fal"


def expected_seconds(spec: Spec, duration_seconds: float) -> float:
    """How long the provider takes, where there is no history yet; from the seeds: 1000 steps took 5 to 6 minutes."""
    match spec:
        case LoraTrainingSpec():
            return 30 + 0.33 * spec.training.steps
        case ImageGenerationSpec():
            return 10.0 * spec.image.count
        case TranscriptionSpec():
            return 15 + duration_seconds / 10


def work_units(spec: Spec, duration_seconds: float) -> float:
    """How much a request asks for, in what its time is proportional to: steps, pictures, seconds of sound."""
    match spec:
        case LoraTrainingSpec():
            return float(spec.training.steps)
        case ImageGenerationSpec():
            return float(spec.image.count)
        case TranscriptionSpec():
            return max(duration_seconds, 1.0)


def duration_seconds(run: RunStatus) -> float:
    """The recording's length as prepare found it."""
    return _seconds(run.facts or {})


def sound_seconds(run: RunStatus) -> float:
    """The length that is paid by the minute."""
    facts = run.facts or {}
    return _seconds(facts) if facts.get("type") == "audio" else 0.0


def _seconds(facts: dict[str, Any]) -> float:
    """The length, 0 where it is none: the status may have been written by a person."""
    given = facts.get("durationSeconds")
    known = isinstance(given, int | float) and 0 <= given <= MAX_SECONDS  # NaN is not
    return float(given) if known and given is not None else 0.0


def facts_problem(spec: Spec, facts: Facts | None, files: Sequence[StoredFile], longest: float) -> str:
    """What is wrong with the figures of a stage that the price or the provider's time goes by; empty: nothing.

    `files` are as they are stored, `longest` are the seconds of sound or video that are taken.
    """
    match facts:
        case AudioFacts(duration_seconds=seconds) | DatasetFacts(duration_seconds=seconds) if seconds > longest:
            return f"the recording lasts {seconds:.0f} s by the worker's word, at most {longest:g} s are taken"
        case AudioFacts(duration_seconds=seconds):
            return _sound_problem(seconds, next((each.size_bytes for each in files if each.name == _SOUND), 0))
        case DatasetFacts(images=images) if isinstance(spec, LoraTrainingSpec) and images < spec.dataset.min_images:
            return f"the training set has {images} pictures by the worker's word, at least {spec.dataset.min_images}"
        case DatasetFacts(images=images) if isinstance(spec, LoraTrainingSpec) and images > spec.dataset.max_images:
            return f"the training set has {images} pictures by the worker's word, at most {spec.dataset.max_images}"
        case _:
            return ""


def shortfalls(spec: Spec, facts: dict[str, Any]) -> tuple[str, ...]:
    """What people should know of finished pictures: fewer than were asked for, unsafe or black ones."""
    if not isinstance(spec, ImageGenerationSpec):
        return ()
    images = [each for each in facts.get("images") or () if isinstance(each, dict)]
    count, wanted = len(images), spec.image.count
    said = [
        (f"{wanted} asked, {count} stored" if count != wanted else ""),
        _marked_images(images, "unsafe", "unsafe by the provider's safety checker"),
        _marked_images(images, "black", "all black, as a safety checker leaves a picture"),
    ]
    return tuple(each for each in said if each)


def _marked_images(images: list[dict[str, Any]], mark: str, words: str) -> str:
    names = [str(each.get("name"))[:64] for each in images if each.get(mark) is True]
    return f"{', '.join(names)}: {words}" if names else ""


def _sound_problem(seconds: float, size: int) -> str:
    """FLAC of 16 kHz in 16 bits on one channel: as large as that uncompressed at most, and never without frames."""
    least, most = (size - _SOUND_HEADERS) / _SOUND_BYTES, size / _SILENCE_BYTES + _SOUND_SLACK
    if least <= seconds <= most:
        return ""
    return f"{_SOUND} has {size} bytes, which are {max(least, 0):.0f} to {most:.0f} s of sound, and not {seconds:.0f} s"


def call_of(spec: Spec, job: CallContext, key: PurchaseKey, loras: tuple[LoraView, ...]) -> Call:
    """The paid call. Inputs are `StoredObject`s; `act` signs their URLs when it sends."""
    match spec:
        case LoraTrainingSpec():
            return _training(spec, job)
        case ImageGenerationSpec():
            return _generation(spec, key, loras)
        case TranscriptionSpec():
            return _transcription(spec, job)


def sent_call(spec: Spec, key: PurchaseKey, purchase: Purchase) -> Call:
    """The call of a purchase as it was sent, perhaps for another resource: the ledger has its inputs."""
    job = CallContext(user_id=purchase.user_id or key.namespace, job_id=purchase.job_id, version=1)
    loras: tuple[LoraView, ...] = ()
    if isinstance(spec, ImageGenerationSpec):
        names = [lora.lora_ref.name for lora in spec.loras if lora.lora_ref]
        loras = tuple(LoraView(name=name, model_key=at) for name, at in zip(names, purchase.loras, strict=False))
        if len(loras) < len(names):  # of an older release
            loras += tuple(LoraView(name=name) for name in names[len(loras) :])
    call = call_of(spec, job, key, loras).model_copy(update={"model": purchase.model})
    if isinstance(spec, ImageGenerationSpec):
        return call
    archive = {n: StoredObject(key=purchase.marker) for n, v in call.arguments.items() if isinstance(v, StoredObject)}
    return call.model_copy(update={"arguments": call.arguments | archive, "correlation_key": purchase.marker})


def _training(spec: LoraTrainingSpec, job: CallContext) -> Call:
    model = model_of(spec)
    archive = _prepared(Kind.LORA_TRAINING, job) + "dataset.zip"
    arguments: dict[str, Any] = {
        "images_data_url": StoredObject(key=archive),
        "data_archive_format": "zip",
        "trigger_word": spec.trigger_word,
        "steps": spec.training.steps,
        "is_style": spec.training.style is Style.STYLE,
        "create_masks": spec.training.style is Style.SUBJECT,
    }
    if spec.training.learning_rate is not None and model in _TAKES_LEARNING_RATE:
        arguments["learning_rate"] = float(spec.training.learning_rate)
    return Call(provider="fal", model=model, arguments=arguments, correlation_key=archive)


def _generation(spec: ImageGenerationSpec, key: PurchaseKey, loras: tuple[LoraView, ...]) -> Call:
    arguments: dict[str, Any] = {
        "prompt": spec.prompt,
        "image_size": spec.image.size.model_dump(),
        "num_images": spec.image.count,
        "output_format": spec.image.format.value,
        "seed": spec.image.seed if spec.image.seed is not None else _seed(key),
    }
    if spec.loras:
        trained = {lora.name: lora.model_key for lora in loras}
        arguments["loras"] = [
            {
                "path": lora.path or StoredObject(key=trained[lora.lora_ref.name] or "")
                if lora.lora_ref
                else lora.path,
                "scale": float(lora.scale),
            }
            for lora in spec.loras
        ]
    return Call(
        provider="fal", model=model_of(spec), arguments=arguments, correlation_key=seed_correlation_key(arguments)
    )


def _transcription(spec: TranscriptionSpec, job: CallContext) -> Call:
    sound = _prepared(Kind.TRANSCRIPTION, job) + "audio.flac"
    language = spec.options.language
    arguments: dict[str, Any] = {
        "audio_url": StoredObject(key=sound),
        "speaker_labels": spec.options.speaker_labels,
    } | ({"language_detection": True} if language == "auto" else {"language_code": language})
    return Call(provider="assemblyai", model=TRANSCRIBER, arguments=arguments, correlation_key=sound)


def _prepared(kind: Kind, job: CallContext) -> str:
    return keys.prefix(kind, Stage.PREPARE, job.user_id, job.job_id, job.version)


def _seed(key: PurchaseKey) -> int:
    """A seed unique to the attempt: the marker by which a lost request is found, and recorded as the seed used."""
    return int.from_bytes(hashlib.sha256(str(key).encode()).digest()[:4]) & 0x7FFFFFFF
