"""ImageGeneration: pictures of a prompt, without a prepare stage. Pure."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from contentgen_contract.catalogue.entries import InputField
from contentgen_contract.names import Kind, Stage
from contentgen_contract.resources.models import given_model, model_of
from contentgen_contract.resources.spec import ImageGenerationSpec
from contentgen_contract.resources.status import OutputFile, VersionStatus
from contentgen_contract.worker.orders import MAX_PICTURES, Facts, ImageFacts, Limits
from contentgen_operator.state.canonical_request import RequestContent, seeded_content
from contentgen_operator.state.kinds.model_inputs import arguments_for
from contentgen_operator.state.kinds.row import CallInput, KindRow, Url, by_name
from contentgen_operator.state.observed import LoraView
from contentgen_operator.state.provider_requests import Call, StoredObject, seed_correlation_key
from contentgen_operator.state.purchases import PurchaseKey
from contentgen_operator.state.upload_limits import MIB, FileLimit

_THUMBNAIL = 2 * MIB  # at most 256 by 768 pixels


def _call(spec: ImageGenerationSpec, given: CallInput) -> Call:
    model, seed = model_of(spec), spec.image.seed if spec.image.seed is not None else _seed(given.key)
    values = {
        InputField.PROMPT: spec.prompt,
        InputField.SIZE: spec.image.size.model_dump(),
        InputField.COUNT: spec.image.count,
        InputField.FORMAT: spec.image.format.value,
        InputField.SEED: seed,
        InputField.LORAS: _loras(spec, given) or None,
    }
    arguments = arguments_for(Kind.IMAGE_GENERATION, model, values)
    correlation_key = seed_correlation_key(arguments)
    return Call(provider=given.job.provider, model=model, arguments=arguments, correlation_key=correlation_key)


def _loras(spec: ImageGenerationSpec, given: CallInput) -> list[dict[str, Any]]:
    trained = {lora.name: lora.model_key for lora in given.loras}
    return [
        {
            "path": lora.path or StoredObject(key=trained[lora.lora_ref.name] or "") if lora.lora_ref else lora.path,
            "scale": float(lora.scale),
        }
        for lora in spec.loras
    ]


def _seed(key: PurchaseKey) -> int:
    """Seed unique to the attempt: part of the correlation key of a lost request, and recorded as the seed used."""
    return int.from_bytes(hashlib.sha256(str(key).encode()).digest()[:4]) & 0x7FFFFFFF


def _content(spec: ImageGenerationSpec, call: Call, _: Mapping[str, Any], loras: Iterable[LoraView]) -> RequestContent:
    return seeded_content(call, loras, any_seed=spec.image.seed is None)


def _file_limits(_: ImageGenerationSpec, stage: Stage, limits: Limits) -> tuple[FileLimit, ...]:
    if stage is not Stage.COLLECT:
        return ()
    return (
        FileLimit(name="image_*_thumb.*", size_bytes=_THUMBNAIL, count=MAX_PICTURES),
        FileLimit(name="image_*", size_bytes=limits.picture_bytes, count=MAX_PICTURES),
    )


def _expected(_: Stage, facts: Facts | None) -> set[str]:
    images = facts.images if isinstance(facts, ImageFacts) else ()
    return {name for image in images for name in (image.name, image.thumbnail) if name is not None}


def _shortfalls(spec: ImageGenerationSpec, facts: Mapping[str, Any]) -> Iterable[str]:
    """Warnings about pictures: fewer than requested, of another size, unsafe, or black."""
    images = [image for image in facts.get("images") or () if isinstance(image, dict)]
    size = spec.image.size
    other = [image for image in images if (image.get("width"), image.get("height")) != (size.width, size.height)]
    warnings = [
        _missing_images(spec.image.count, len(images), facts),
        _named(other, f"of another size than {size.width}x{size.height}"),
        _named([image for image in images if image.get("unsafe") is True], "unsafe by the provider's safety checker"),
        _named(
            [image for image in images if image.get("black") is True], "all black, as a safety checker leaves a picture"
        ),
    ]
    return (warning for warning in warnings if warning)


def _missing_images(wanted: int, count: int, facts: Mapping[str, Any]) -> str:
    missing = [image for image in facts.get("missing") or () if isinstance(image, dict)]
    causes = "; ".join(f"picture {image.get('number')}: {image.get('cause')}" for image in missing)
    if count == wanted and not causes:
        return ""
    return f"{wanted} asked, {count} stored" + (f": {causes}" if causes else "")


def _named(images: list[dict[str, Any]], words: str) -> str:
    names = [str(image.get("name"))[:64] for image in images]
    return f"{', '.join(names)}: {words}" if names else ""


def _record(spec: ImageGenerationSpec, _: Mapping[str, Any], version: VersionStatus, url: Url) -> dict[str, Any]:
    files = by_name(version)
    images = [_image(image, files, url) for image in version.facts.get("images", ())]
    return {"images": images, "seed": version.facts.get("seed"), "model": given_model(spec), "prompt": spec.prompt}


def _image(fact: Mapping[str, Any], files: Mapping[str, OutputFile], url: Url) -> dict[str, Any]:
    file, thumbnail = files[fact["name"]], files.get(fact.get("thumbnail") or "")
    return {
        "url": url(file.key),
        "s3Key": file.key,
        "thumbnailUrl": url(thumbnail.key) if thumbnail else None,
        "width": fact["width"],
        "height": fact["height"],
        "sizeBytes": file.size_bytes,
    }


ROW: KindRow[ImageGenerationSpec] = KindRow(
    facts={Stage.COLLECT: ImageFacts},
    call=_call,
    content=_content,
    units=lambda spec, _: float(spec.image.count),
    seconds=lambda spec, _: 10.0 * spec.image.count,
    file_limits=_file_limits,
    expected=_expected,
    shortfalls=_shortfalls,
    record=_record,
)
