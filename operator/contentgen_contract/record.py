"""Parts of a job's record that follow from its resource alone: the seeds' words and fields. Pure.

The operator writes the record; the gateway shows one that the operator has not written yet.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from contentgen_contract.models import model_of
from contentgen_contract.names import Phase, Reason
from contentgen_contract.signatures import unsigned
from contentgen_contract.spec import ImageGenerationSpec, LoraTrainingSpec, Spec, TranscriptionSpec

Document = dict[str, Any]


def status_word(phase: str | None, reason: str | None = None) -> str:
    """The seeds' four words, and `cancelled`."""
    match phase:
        case None | Phase.PENDING:
            return "queued"
        case Phase.COMPLETED:
            return "completed"
        case Phase.FAILED:
            return "cancelled" if reason == Reason.CANCELLED else "failed"
        case _:
            return "processing"


def source(spec: Spec, facts: Mapping[str, Any]) -> Document:
    """`sourceVideo`, where there is a source."""
    if isinstance(spec, ImageGenerationSpec):
        return {}
    path = unquote(urlsplit(spec.source.url).path)
    # A source's query may hold a signature: it is left out.
    address = spec.source.url.split("?", 1)[0]
    name = PurePosixPath(path).name
    return {"sourceVideo": {"url": address, "filename": name, "sizeBytes": facts.get("sourceBytes")}}


def config(spec: Spec) -> Document:
    """What was asked for."""
    match spec:
        case LoraTrainingSpec():
            return {
                "loraName": spec.lora_name,
                "trigger": spec.trigger_word,
                "model": model_of(spec),
                "steps": spec.training.steps,
                "learning_rate": spec.training.learning_rate,
                "dataset": spec.dataset.model_dump(mode="json", by_alias=True),
            }
        case ImageGenerationSpec():
            return {
                "model": model_of(spec),
                "prompt": spec.prompt,
                "loras": [unsigned(each.model_dump(mode="json", by_alias=True)) for each in spec.loras],
            } | spec.image.model_dump(mode="json", by_alias=True)
        case TranscriptionSpec():
            return {"model": model_of(spec)} | spec.options.model_dump(mode="json", by_alias=True)
