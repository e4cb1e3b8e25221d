"""Derived fields of a job's record: configuration, totals of its versions, search terms. Pure.

The operator and the gateway write records; the gateway also derives one for a job that has no record yet.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from contentgen_contract import patterns
from contentgen_contract.names import Phase, Reason
from contentgen_contract.records import keys
from contentgen_contract.records.searching import terms
from contentgen_contract.resources.addresses import strip_credentials
from contentgen_contract.resources.content_budget import micros_of
from contentgen_contract.resources.models import full_name, given_model
from contentgen_contract.resources.spec import ImageGenerationSpec, Lora, LoraTrainingSpec, Spec, TranscriptionSpec
from contentgen_contract.resources.status import Cost

Document = dict[str, Any]
MAX_TERMS = 256  # of one record
_SEARCHED_CONFIG = ("loraName", "trigger", "prompt")


def legacy_status(phase: str | None, reason: str | None = None) -> str:
    """Status in the legacy API: one of its four values, or `cancelled`."""
    match phase:
        case None | Phase.PENDING:
            return "queued"
        case Phase.COMPLETED:
            return "cancelled" if reason == Reason.ESTIMATED else "completed"  # without outputs
        case Phase.FAILED:
            return "cancelled" if reason == Reason.CANCELLED else "failed"
        case _:
            return "processing"


def source_fields(spec: Spec, facts: Mapping[str, Any]) -> Document:
    """`sourceVideo`: scheme, host and path of the URL, file name and size in bytes; empty for an ImageGeneration."""
    if isinstance(spec, ImageGenerationSpec):
        return {}
    address = strip_credentials(spec.source.url)
    name = PurePosixPath(unquote(address.partition("://")[2].partition("/")[2])).name
    return {"sourceVideo": {"url": address, "filename": name, "sizeBytes": facts.get("sourceBytes")}}


def config_fields(spec: Spec) -> Document:
    """`config`: the requested model, by the name that the user wrote, and the parameters."""
    match spec:
        case LoraTrainingSpec():
            return {
                "loraName": spec.lora_name,
                "trigger": spec.trigger_word,
                "model": given_model(spec),
                "steps": spec.training.steps,
                "learning_rate": spec.training.rate,
                "dataset": spec.dataset.model_dump(mode="json", by_alias=True),
            }
        case ImageGenerationSpec():
            return {
                "model": given_model(spec),
                "prompt": spec.prompt,
                "loras": [_lora_fields(lora) for lora in spec.loras],
            } | spec.image.model_dump(mode="json", by_alias=True)
        case TranscriptionSpec():
            return {"model": given_model(spec)} | spec.options.model_dump(mode="json", by_alias=True)


def _lora_fields(lora: Lora) -> Document:
    """A LoRA with scheme, host and path of its address: the rest may be a user's key."""
    fields = lora.model_dump(mode="json", by_alias=True)
    return fields | ({"path": strip_credentials(lora.path)} if lora.path is not None else {})


def search_terms(document: Mapping[str, Any]) -> list[str]:
    """Search terms of a record."""
    return distinct_words(text for text in _texts(document) if isinstance(text, str))


def _texts(document: Mapping[str, Any]) -> Iterator[object]:
    config, metadata = document.get("config") or {}, document.get("metadata") or {}
    yield document.get("name")
    yield from (config.get(name) for name in _SEARCHED_CONFIG)
    if isinstance(model := config.get("model"), str):
        yield full_name(model)  # has the words of all its short names
    yield from metadata.get("tags") or ()
    yield metadata.get("description")
    yield (document.get("sourceVideo") or {}).get("filename")


def cost_micros(cost: Cost | None) -> int | None:
    """Cost of the run in micro-dollars, or its estimate, for the order of lists; None: unknown."""
    dollars = (cost.actual or cost.estimated) if cost is not None else ""
    return micros_of(dollars) if re.fullmatch(patterns.DOLLARS, dollars) else None


def version_totals(versions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Totals of all versions of a job: `bytes` in the bucket, number of `pictures`, and `uses`, the jobIds of the LoRAs
    that were applied.
    """
    used = (key for version in versions for key in version.get("loras") or ())
    return {
        "bytes": sum(version.get("bytes") or 0 for version in versions),
        "pictures": sum(len(version.get("images") or ()) for version in versions),
        "uses": sorted({run.job_id for key in used if (run := keys.run_of(key)) is not None}),
    }


def distinct_words(texts: Iterable[str]) -> list[str]:
    """Distinct search terms of some texts, in order of first occurrence; at most `MAX_TERMS`."""
    found = dict.fromkeys(term.text for text in texts for term in terms(text))
    return list(found)[:MAX_TERMS]
