"""LoraTraining: a training set of a video's pictures, sent to a trainer. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from contentgen_contract.catalogue.entries import ENTRIES, InputField
from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys
from contentgen_contract.resources.models import model_of
from contentgen_contract.resources.spec import Dataset, LoraTrainingSpec, Style
from contentgen_contract.resources.status import VersionStatus
from contentgen_contract.worker.orders import DatasetFacts, Facts, Limits, LoraFacts, StoredFile
from contentgen_operator.state.canonical_request import RequestContent, decimals, prepared_content
from contentgen_operator.state.kinds.model_inputs import arguments_for
from contentgen_operator.state.kinds.row import CallInput, KindRow, Url, by_name
from contentgen_operator.state.observed import LoraView
from contentgen_operator.state.provider_requests import Call, StoredObject
from contentgen_operator.state.upload_limits import MIB, FileLimit

_ARCHIVE = "dataset.zip"
_JPEG_BYTES = 4  # per pixel: noise in full colour
_HEADERS = 64 << 10  # metadata of a picture, or entries of a zip
_CAPTION = 16 << 10  # a template of 512 characters, facts, and a vision model's text
_INDEX = 256 * MIB  # dataset.json: 1 kB per candidate picture, of some 100,000 in a long video
_SHEET = 64 * MIB  # a contact sheet of 1,000 pictures
_REJECTED = 60 * 256 * 384 * _JPEG_BYTES + _HEADERS  # rejected.jpg: 60 pictures of 256 by 384 pixels
_CONFIG = 64 * MIB  # a provider's config of 4 MiB, indented


def _call(spec: LoraTrainingSpec, given: CallInput) -> Call:
    model, job = model_of(spec), given.job
    archive = keys.prefix(Kind.LORA_TRAINING, Stage.PREPARE, job.user_id, job.job_id, job.version) + _ARCHIVE
    subject = spec.training.style is Style.SUBJECT
    values = {
        InputField.DATASET: StoredObject(key=archive),
        InputField.TRIGGER: spec.trigger_word,
        InputField.STEPS: spec.training.steps,
        InputField.STYLE: not subject,
        InputField.MASKS: subject,
        InputField.LEARNING_RATE: spec.training.rate,
    }
    arguments = arguments_for(Kind.LORA_TRAINING, model, values)
    return Call(provider=job.provider, model=model, arguments=arguments, correlation_key=archive)


def _content(spec: LoraTrainingSpec, call: Call, facts: Mapping[str, Any], _: Iterable[LoraView]) -> RequestContent:
    settings, default = (
        decimals(dataset.model_dump(mode="json", by_alias=True)) for dataset in (spec.dataset, Dataset())
    )
    changed = {name: value for name, value in settings.items() if value != default[name]}
    entry = ENTRIES.get(call.model)
    if entry is not None and not entry.takes(InputField.TRIGGER):  # then only the captions in the archive have it
        changed["triggerWord"] = spec.trigger_word
    return prepared_content(call, facts, changed)


def _facts_problem(spec: LoraTrainingSpec, facts: Facts | None, _: Sequence[StoredFile]) -> str:
    match facts:
        case DatasetFacts(images=images) if images < spec.dataset.min_images:
            return f"the training set has {images} pictures according to the worker, at least {spec.dataset.min_images}"
        case DatasetFacts(images=images) if images > spec.dataset.max_images:
            return f"the training set has {images} pictures according to the worker, at most {spec.dataset.max_images}"
        case _:
            return ""


def _file_limits(spec: LoraTrainingSpec, stage: Stage, limits: Limits) -> tuple[FileLimit, ...]:
    if stage is Stage.COLLECT:
        return (
            FileLimit(name="model.safetensors", size_bytes=limits.result_bytes),
            FileLimit(name="config.json", size_bytes=_CONFIG),
            FileLimit(name="preview.png", size_bytes=_SHEET),
        )
    count, side = spec.dataset.max_images, spec.dataset.resolution
    picture = _JPEG_BYTES * side * side + _HEADERS
    return (
        FileLimit(name="images/*.jpg", size_bytes=picture, count=count),
        FileLimit(name="captions/*.txt", size_bytes=_CAPTION, count=count),
        FileLimit(name="dataset.json", size_bytes=_INDEX),
        FileLimit(name=_ARCHIVE, size_bytes=count * (picture + _CAPTION) + _HEADERS),
        FileLimit(name="preview.jpg", size_bytes=_SHEET),
        FileLimit(name="rejected.jpg", size_bytes=_REJECTED),
    )


def _record(spec: LoraTrainingSpec, prepared: Mapping[str, Any], version: VersionStatus, url: Url) -> dict[str, Any]:
    files = by_name(version)
    model = files["model.safetensors"]
    return {
        "modelUrl": url(model.key),
        "s3Key": model.key,
        "sizeBytes": model.size_bytes,
        "previewUrl": url(files["preview.png"].key) if "preview.png" in files else None,
        "config": {
            "trigger": spec.trigger_word,
            "steps": spec.training.steps,
            "learning_rate": spec.training.rate,
            "frame_count": prepared.get("images"),
        },
    }


ROW: KindRow[LoraTrainingSpec] = KindRow(
    facts={Stage.PREPARE: DatasetFacts, Stage.COLLECT: LoraFacts},
    call=_call,
    content=_content,
    units=lambda spec, _: float(spec.training.steps),
    seconds=lambda spec, _: 30 + 0.33 * spec.training.steps,  # with the legacy API 1000 steps took 5 to 6 minutes
    file_limits=_file_limits,
    expected=lambda stage, _: {_ARCHIVE, "dataset.json"} if stage is Stage.PREPARE else {"model.safetensors"},
    sent=_ARCHIVE,
    facts_problem=_facts_problem,
    record=_record,
)
