"""Versions of a job's outputs, and the location of their files in the bucket. Pure."""

from collections.abc import Callable, Iterator
from typing import Any

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys
from contentgen_gateway.stores.records import Record

Version = dict[str, Any]
KeyOf = Callable[[str], str | None]
"""The key of an address in our bucket; None for other addresses."""

FILES = {
    Kind.LORA_TRAINING: "model.safetensors, config.json, preview.png, or of its dataset: dataset.json, dataset.zip, "
    "preview.jpg, rejected.jpg, images/0001.jpg, captions/0001.txt",
    Kind.IMAGE_GENERATION: "image_1.png, image_1_thumb.png",
    Kind.TRANSCRIPTION: "transcript.json, transcript.txt, transcript.srt, transcript.vtt, audio.flac",
}
"""File names by kind, as shown in error messages."""

_ADDRESS_FIELDS = ("modelUrl", "transcriptUrl", "textUrl")


def versions_of(record: Record) -> list[Version]:
    """Versions of a record, newest first."""
    versions = [version for version in record.get("versions") or () if isinstance(version, dict)]
    return sorted(versions, key=lambda each: each.get("version") or 1, reverse=True)


def version_of(record: Record, number: int | None) -> Version | None:
    """The version with this number, or the newest if `number` is None; None if there is no such version."""
    versions = versions_of(record)
    return next((version for version in versions if number is None or (version.get("version") or 1) == number), None)


def main_file(kind: Kind, version: Version) -> str:
    """The file to download if the caller names none."""
    match kind:
        case Kind.LORA_TRAINING:
            return "model.safetensors"
        case Kind.IMAGE_GENERATION:
            return next((picture_name(image) for image in version.get("images") or ()), "image_1.png")
        case Kind.TRANSCRIPTION:
            return "transcript.txt"


def picture_name(image: dict[str, Any]) -> str:
    """File name of a picture, without its folder."""
    return str(image.get("s3Key") or image.get("url") or "").partition("?")[0].rpartition("/")[2]


def stage_of(kind: Kind, file: str) -> Stage | None:
    """The stage that stores a file of this name; None if the kind has no such file."""
    return next((stage for stage in reversed(Stage) if keys.is_output(kind, stage, file)), None)


def folder_of(kind: Kind, stage: Stage, version: Version, key_of: KeyOf) -> str | None:
    """Prefix of a stage's files of a version, or None.

    It may belong to an earlier job, because a resource that is applied again adopts existing outputs.
    """
    for key in _file_keys(version, key_of):
        run = keys.run_of(key)
        if run is not None:
            return keys.prefix(kind, stage, *run)
    return None


def _file_keys(version: Version, key_of: KeyOf) -> Iterator[str]:
    for holder in (version, *(version.get("images") or ())):
        if isinstance(key := holder.get("s3Key"), str):
            yield key
        for name in ("url", *_ADDRESS_FIELDS):
            if isinstance(address := holder.get(name), str) and (found := key_of(address)):
                yield found


def with_addresses(record: Record, replace: Callable[[object], str | None]) -> Record:
    """The record with `replace` applied to each address in its versions."""
    versions = [
        _replace_addresses(version, replace) if isinstance(version, dict) else version
        for version in record.get("versions") or ()
    ]
    return record | {"versions": versions}


def _replace_addresses(part: dict[str, Any], replace: Callable[[object], str | None]) -> dict[str, Any]:
    changed: dict[str, Any] = {
        name: replace(value) for name, value in part.items() if name == "url" or name.endswith("Url")
    }
    if isinstance(images := part.get("images"), list):
        changed["images"] = [
            _replace_addresses(image, replace) if isinstance(image, dict) else image for image in images
        ]
    return part | changed
