"""Collect stage of a LoRA training: weights, their configuration and a contact sheet of the training set."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from contentgen_contract.names import Reason, Step
from contentgen_contract.resources.spec import LoraTrainingSpec
from contentgen_contract.worker.orders import Download, LoraFacts
from contentgen_worker.collect import answers, safetensors
from contentgen_worker.collect.response import provider_response
from contentgen_worker.download.fetch import Fetched
from contentgen_worker.errors import BadMedia, OwnFileMissing, StageFailed, redacted
from contentgen_worker.files import JSON, PNG, Output
from contentgen_worker.log import event
from contentgen_worker.media.dataset.contact_sheet import Cell, contact_sheet
from contentgen_worker.media.decode.stills import decode_pictures
from contentgen_worker.media.sandbox.server_process import fork_server
from contentgen_worker.stage_context import StageContext, StageResult

_CONFIG_BYTES = 4 << 20
_PREVIEW_WIDTH = 480  # pixels, approximately


@dataclass(frozen=True)
class _WeightsAnswer:
    """URLs of the weights and of their configuration, which is None if the answer names none that can be read."""

    weights: str
    config: str | None
    notes: list[str] = field(default_factory=list)


def collect(context: StageContext) -> StageResult:
    """Download, check and store the weights with config.json and preview.png. Raises StageFailed or Retryable."""
    spec = context.spec(LoraTrainingSpec)
    fork_server()  # the decoders are imported while the weights are fetched
    with context.steps(Step.STORING) as fraction:
        answer = _read(provider_response(context))
        weights = context.fetch_result(answer.weights, "model.safetensors", on_progress=lambda done: fraction(done / 2))
        _check_weights(context, weights, answer.weights)
        outputs = (
            Output.from_path("model.safetensors", "application/octet-stream", weights.path),
            Output.from_bytes("config.json", JSON, _config(context, spec, answer).encode()),
            _preview(context, spec),
        )
        facts = LoraFacts(size_bytes=weights.size_bytes, notes=answers.bounded_notes(answer.notes))
        files = context.store(outputs, lambda done: fraction(0.5 + done / 2))
    return StageResult(files, facts)


def _read(response: dict[str, Any]) -> _WeightsAnswer:
    """Raises StageFailed if the answer names no weights."""
    given = response.get("diffusers_lora_file")
    weights = _url(given) or _url(response.get("lora_file"))
    if weights is None:
        raise StageFailed(
            Reason.RESULT_INVALID,
            f"the provider's answer names no LoRA file (diffusers_lora_file: {answers.shown(given)}, expected a file "
            "with its url)",
        )
    config = response.get("config_file")
    answer = _WeightsAnswer(weights, _url(config))
    if answer.config is None:
        answer.notes.append(f"the answer names no configuration of the LoRA (config_file: {answers.shown(config)})")
    return answer


def _url(given: object) -> str | None:
    url = given.get("url") if isinstance(given, dict) else given
    return url.strip() if isinstance(url, str) and url.strip() else None


def _check_weights(context: StageContext, weights: Fetched, url: str) -> None:
    try:
        tensors = safetensors.count_tensors(weights.path, context.media_bounds)
    except BadMedia as error:
        raise StageFailed(Reason.RESULT_INVALID, f"{redacted(url)}: not a safetensors file: {error.finding}") from None
    event("weights", tensors=tensors, bytes=weights.size_bytes)


def _config(context: StageContext, spec: LoraTrainingSpec, answer: _WeightsAnswer) -> str:
    order = context.order
    training = spec.training
    config = {
        "loraName": spec.lora_name,
        "trigger": spec.trigger_word,
        "steps": training.steps,
        "learningRate": training.learning_rate,
        "style": training.style,
        "model": training.model,
        "version": order.version,
        "jobId": order.job_id,
        "frame_count": _frame_count(context),
        "provider": _provider_config(context, answer),
    }
    return json.dumps(config, indent=2, ensure_ascii=False)


def _frame_count(context: StageContext) -> int | None:
    """Number of training pictures in dataset.json; None if it is missing or invalid."""
    if context.order.dataset is None:
        return None
    fetched = _fetch_optional(context, context.order.dataset, "dataset.json")
    if fetched is None:
        return None
    try:  # untrusted: a pod of the user's namespace may have stored it
        return len(json.loads(fetched.path.read_bytes())["images"])
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        event("left out", error=f"dataset.json: {type(error).__name__}")
        return None


def _fetch_optional(context: StageContext, download: Download, name: str) -> Fetched | None:
    """File of the training set; None if missing: the paid weights are stored all the same."""
    try:
        return context.fetch_stored(download, name)
    except OwnFileMissing as error:
        event("left out", error=str(error))
        return None


def _provider_config(context: StageContext, answer: _WeightsAnswer) -> object:
    """The provider's training configuration; None if missing or invalid: the paid weights are stored all the same."""
    if answer.config is None:
        return None
    try:
        fetched = context.fetch_result(answer.config, "provider-config.json", _CONFIG_BYTES)
        config: object = answers.read_json(fetched.path.read_bytes(), _CONFIG_BYTES)
    except (StageFailed, ValueError) as error:
        answer.notes.append(f"stored without the provider's configuration: {error}")
        event("provider config left out", error=str(error))
        return None
    return config


def _preview(context: StageContext, spec: LoraTrainingSpec) -> Output:
    cells = []
    for number, download in enumerate(context.order.dataset_previews, 1):
        fetched = _fetch_optional(context, download, f"preview-{number}.jpg")
        if fetched is None:
            continue
        try:
            (pixels,) = decode_pictures([fetched.path], _PREVIEW_WIDTH)
        except BadMedia as error:
            event("left out", error=str(error))
            continue
        cells.append(Cell(Image.fromarray(pixels), Path(urlsplit(download.url).path).stem))
    lines = (
        f"Trigger: {spec.trigger_word}    {spec.training.steps} steps    {spec.training.style}",
        f"Version {context.order.version}    {spec.training.model}",
    )
    path = context.scratch / "preview.png"
    contact_sheet(spec.lora_name, lines, cells).save(path, "PNG")
    return Output.from_path("preview.png", PNG, path)
