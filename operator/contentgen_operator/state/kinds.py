"""Differences between the kinds: whether there is a prepare stage, and what is bought from which provider. Pure.

A new kind needs an entry here, and a prepare and a collect pipeline in the worker.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from contentgen_contract.base import Value
from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys
from contentgen_contract.resources.models import TAKES_LEARNING_RATE, TRANSCRIBER, model_of
from contentgen_contract.resources.spec import (
    ImageGenerationSpec,
    LoraTrainingSpec,
    Spec,
    Style,
    TranscriptFormat,
    TranscriptionSpec,
    run_hash,
)
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
from contentgen_operator.state.canonical_request import SENT_SHA256
from contentgen_operator.state.observed import LoraView
from contentgen_operator.state.provider_requests import Call, StoredObject, arguments_of, seed_correlation_key
from contentgen_operator.state.purchases import Purchase, PurchaseKey

_SOUND = "audio.flac"
_SOUND_BYTES = 16_000 * 2 * 1.05  # per second, uncompressed, with frame headers
_SILENCE_BYTES = 8  # per second at least; frames of silence take 40
_SOUND_HEADERS = 1 << 20  # bytes of a file's metadata at most
_SOUND_SLACK = 60.0  # seconds


class CallContext(Value):
    """Job and version for which a call is made, and its provider."""

    provider: str
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
_SUBTITLES = (".srt", ".vtt")
# Files that the next step or the record requires; a stage may store more.
_EXPECTED = {
    (Kind.LORA_TRAINING, Stage.PREPARE): {"dataset.zip", "dataset.json"},
    (Kind.LORA_TRAINING, Stage.COLLECT): {"model.safetensors"},
    (Kind.TRANSCRIPTION, Stage.PREPARE): {"audio.flac"},
    (Kind.TRANSCRIPTION, Stage.COLLECT): {"transcript.json", "transcript.txt"},
}


# Fields of a provider's answer with a URL that is fetched; a file may also be given as its URL alone.
_FETCHED = frozenset({"url", "images", "diffusers_lora_file", "lora_file", "config_file"})
# The prepared file that is sent.
_SENT = {Kind.LORA_TRAINING: "dataset.zip", Kind.TRANSCRIPTION: _SOUND}


def prepared_facts(kind: Kind, facts: Facts | None, files: Sequence[StoredFile]) -> dict[str, Any]:
    """Facts of a run after its prepare stage: the worker's, and the size and SHA-256 of what was stored."""
    sent = next((each.sha256 for each in files if each.name == _SENT.get(kind)), None)
    size = sum(each.size_bytes for each in files)
    return (facts.model_dump(mode="json", by_alias=True) if facts else {}) | {"storedBytes": size, SENT_SHA256: sent}


def missing_formats(spec: Spec, names: Iterable[str], facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of files of a transcript that the spec asks for and that are not among `names`, or, by the facts of the
    outputs, have other limits of subtitles.
    """
    if not isinstance(spec, TranscriptionSpec):
        return ()
    fit = facts.get("subtitles") == spec.options.subtitles.changed
    there = {each for each in names if fit or not each.endswith(_SUBTITLES)}
    asked = [f"transcript.{each.value}" for each in TranscriptFormat if each in spec.options.formats]
    return tuple(each for each in asked if each not in there)


def expected_files(kind: Kind, stage: Stage, facts: Facts | None) -> set[str]:
    """Names of files that a stage must have stored."""
    if isinstance(facts, ImageFacts):
        return {name for image in facts.images for name in (image.name, image.thumbnail) if name is not None}
    return _EXPECTED.get((kind, stage), set())


def fetched_url_names(kind: Kind) -> frozenset[str]:
    """Names of JSON fields with URLs that the collect stage fetches from the provider's answer."""
    return frozenset() if kind is Kind.TRANSCRIPTION else _FETCHED


def expected_seconds(spec: Spec, duration_seconds: float) -> float:
    """Default duration at the provider in seconds; measured with the legacy API: 1000 steps took 5 to 6 minutes."""
    match spec:
        case LoraTrainingSpec():
            return 30 + 0.33 * spec.training.steps
        case ImageGenerationSpec():
            return 10.0 * spec.image.count
        case TranscriptionSpec():
            return 15 + duration_seconds / 10


def work_units(spec: Spec, duration_seconds: float) -> float:
    """Size of a request in units proportional to its duration: steps, pictures, or seconds of audio."""
    match spec:
        case LoraTrainingSpec():
            return float(spec.training.steps)
        case ImageGenerationSpec():
            return float(spec.image.count)
        case TranscriptionSpec():
            return max(duration_seconds, 1.0)


def duration_seconds(run: RunStatus) -> float:
    """Length of the recording in seconds, from the facts of the prepare stage; 0: unknown."""
    return _seconds(run.facts or {})


def sound_seconds(run: RunStatus) -> float:
    """Length of the audio in seconds, which is the billed quantity; 0: unknown, or the source is a video."""
    facts = run.facts or {}
    return _seconds(facts) if facts.get("type") == "audio" else 0.0


def _seconds(facts: dict[str, Any]) -> float:
    """Length in seconds; 0 if it is not a valid number, because the status may be written by a person."""
    given = facts.get("durationSeconds")
    known = isinstance(given, int | float) and 0 <= given <= MAX_SECONDS  # NaN is not
    return float(given) if known and given is not None else 0.0


def facts_problem(spec: Spec, facts: Facts | None, files: Sequence[StoredFile], longest: float) -> str:
    """Problem with a stage's facts on which the price or the provider's time depends; empty: none.

    `files` are the stored ones, `longest` is the accepted length of audio or video in seconds.
    """
    match facts:
        case AudioFacts(duration_seconds=seconds) | DatasetFacts(duration_seconds=seconds) if seconds > longest:
            return f"the recording lasts {seconds:.0f} s according to the worker, at most {longest:g} s are taken"
        case AudioFacts(duration_seconds=seconds):
            return _sound_problem(seconds, next((each.size_bytes for each in files if each.name == _SOUND), 0))
        case DatasetFacts(images=images) if isinstance(spec, LoraTrainingSpec) and images < spec.dataset.min_images:
            return f"the training set has {images} pictures according to the worker, at least {spec.dataset.min_images}"
        case DatasetFacts(images=images) if isinstance(spec, LoraTrainingSpec) and images > spec.dataset.max_images:
            return f"the training set has {images} pictures according to the worker, at most {spec.dataset.max_images}"
        case _:
            return ""


def shortfalls(spec: Spec, facts: dict[str, Any]) -> tuple[str, ...]:
    """Warnings about finished outputs: fewer pictures than requested, of another size, unsafe, or black; and the
    worker's remarks."""
    notes = _texts(facts.get("notes"))
    if not isinstance(spec, ImageGenerationSpec):
        return notes
    images = [each for each in facts.get("images") or () if isinstance(each, dict)]
    size = spec.image.size
    other = [each for each in images if (each.get("width"), each.get("height")) != (size.width, size.height)]
    warnings = [
        _missing_images(spec.image.count, len(images), facts),
        _named(other, f"of another size than {size.width}x{size.height}"),
        _named([each for each in images if each.get("unsafe") is True], "unsafe by the provider's safety checker"),
        _named(
            [each for each in images if each.get("black") is True], "all black, as a safety checker leaves a picture"
        ),
    ]
    return (*(each for each in warnings if each), *notes)


def _missing_images(wanted: int, count: int, facts: dict[str, Any]) -> str:
    missing = [each for each in facts.get("missing") or () if isinstance(each, dict)]
    causes = "; ".join(f"picture {each.get('number')}: {each.get('cause')}" for each in missing)
    if count == wanted and not causes:
        return ""
    return f"{wanted} asked, {count} stored" + (f": {causes}" if causes else "")


def _texts(given: Any) -> tuple[str, ...]:
    return tuple(each for each in given if isinstance(each, str)) if isinstance(given, list | tuple) else ()


def _named(images: list[dict[str, Any]], words: str) -> str:
    names = [str(each.get("name"))[:64] for each in images]
    return f"{', '.join(names)}: {words}" if names else ""


def _sound_problem(seconds: float, size: int) -> str:
    """Problem with the length of an audio file by its size; empty: none. FLAC, mono, 16 bits at 16 kHz."""
    least, most = (size - _SOUND_HEADERS) / _SOUND_BYTES, size / _SILENCE_BYTES + _SOUND_SLACK
    if least <= seconds <= most:
        return ""
    return f"{_SOUND} has {size} bytes, which are {max(least, 0):.0f} to {most:.0f} s of audio, and not {seconds:.0f} s"


def call_of(
    spec: Spec, job: CallContext, key: PurchaseKey, loras: tuple[LoraView, ...], speech_models: Sequence[str] = ()
) -> Call:
    """The paid call. Inputs are `StoredObject`s; `act` signs their URLs when it sends.

    `speech_models`: those of a transcript. Without them the call is for a search, which does not compare them.
    """
    match spec:
        case LoraTrainingSpec():
            return _training(spec, job)
        case ImageGenerationSpec():
            return _generation(spec, job, key, loras)
        case TranscriptionSpec():
            return _transcription(spec, job, speech_models)


def sent_call(spec: Spec, key: PurchaseKey, purchase: Purchase) -> Call:
    """The call of a purchase as it was sent, perhaps for another resource: the ledger has its inputs."""
    if purchase.sent_input and key.run_hash.partition(".")[0] != run_hash(key.kind, spec):
        # An equal request, whose spec may have other signatures, or another seed or none.
        arguments = arguments_of(purchase.sent_input)
        return Call(
            provider=purchase.provider, model=purchase.model, arguments=arguments, correlation_key=purchase.marker
        )
    user = purchase.user_id or key.namespace
    job = CallContext(provider=purchase.provider, user_id=user, job_id=purchase.job_id, version=1)
    loras: tuple[LoraView, ...] = ()
    if isinstance(spec, ImageGenerationSpec):
        names = [lora.lora_ref.name for lora in spec.loras if lora.lora_ref]
        loras = tuple(LoraView(name=name, model_key=at) for name, at in zip(names, purchase.loras, strict=False))
        if len(loras) < len(names):  # rebuilt from a status, which may not list them
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
    if spec.training.learning_rate is not None and model in TAKES_LEARNING_RATE:
        arguments["learning_rate"] = float(spec.training.learning_rate)
    return Call(provider=job.provider, model=model, arguments=arguments, correlation_key=archive)


def _generation(spec: ImageGenerationSpec, job: CallContext, key: PurchaseKey, loras: tuple[LoraView, ...]) -> Call:
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
    marker = seed_correlation_key(arguments)
    return Call(provider=job.provider, model=model_of(spec), arguments=arguments, correlation_key=marker)


def _transcription(spec: TranscriptionSpec, job: CallContext, speech_models: Sequence[str]) -> Call:
    sound = _prepared(Kind.TRANSCRIPTION, job) + "audio.flac"
    language = spec.options.language
    arguments: dict[str, Any] = {
        "audio_url": StoredObject(key=sound),
        "speaker_labels": spec.options.speaker_labels,
    } | ({"language_detection": True} if language == "auto" else {"language_code": language})
    if speech_models:
        arguments["speech_models"] = list(speech_models)
    return Call(provider=job.provider, model=TRANSCRIBER, arguments=arguments, correlation_key=sound)


def _prepared(kind: Kind, job: CallContext) -> str:
    return keys.prefix(kind, Stage.PREPARE, job.user_id, job.job_id, job.version)


def _seed(key: PurchaseKey) -> int:
    """Seed unique to the attempt: part of the correlation key of a lost request, and recorded as the seed used."""
    return int.from_bytes(hashlib.sha256(str(key).encode()).digest()[:4]) & 0x7FFFFFFF
