"""What a job has made: its versions, and where in the bucket a file of one lies. Pure."""

from collections.abc import Callable, Iterator
from typing import Any

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys
from contentgen_gateway.stores.records import Record

Version = dict[str, Any]
KeyOf = Callable[[str], str | None]
"""The key of an address of our bucket."""

FILES = {
    Kind.LORA_TRAINING: "model.safetensors, config.json, preview.png, or of its dataset: dataset.json, dataset.zip, "
    "preview.jpg, images/0001.jpg, captions/0001.txt",
    Kind.IMAGE_GENERATION: "image_1.png, image_1_thumb.png",
    Kind.TRANSCRIPTION: "transcript.json, transcript.txt, transcript.srt, transcript.vtt, audio.flac",
}
"""How a job's files are called."""

_ADDRESS_FIELDS = ("modelUrl", "transcriptUrl", "textUrl")


def versions_of(record: Record) -> list[Version]:
    """The versions, the newest first."""
    versions = [each for each in record.get("versions") or () if isinstance(each, dict)]
    return sorted(versions, key=lambda each: each.get("version") or 1, reverse=True)


def version_of(record: Record, number: int | None) -> Version | None:
    """One version; the newest where none is named."""
    versions = versions_of(record)
    return next((each for each in versions if number is None or (each.get("version") or 1) == number), None)


def main_file(kind: Kind, version: Version) -> str:
    """What somebody wants who names no file."""
    match kind:
        case Kind.LORA_TRAINING:
            return "model.safetensors"
        case Kind.IMAGE_GENERATION:
            return next((picture_name(each) for each in version.get("images") or ()), "image_1.png")
        case Kind.TRANSCRIPTION:
            return "transcript.txt"


def picture_name(image: dict[str, Any]) -> str:
    """The name of a picture's file."""
    return str(image.get("s3Key") or image.get("url") or "").partition("?")[0].rpartition("/")[2]


def stage_of(kind: Kind, file: str) -> Stage | None:
    """The stage that stores a file of this name; None for what no job of the kind has."""
    return next((stage for stage in reversed(Stage) if keys.is_output(kind, stage, file)), None)


def folder_of(kind: Kind, stage: Stage, version: Version, key_of: KeyOf) -> str | None:
    """Where a stage's files of a version lie. They may be another job's: a resource that is applied again takes over
    what was made for the one before.
    """
    for key in _file_keys(version, key_of):
        run = keys.run_of(key)
        if run is not None:
            return keys.prefix(kind, stage, *run)
    return None


def _file_keys(version: Version, key_of: KeyOf) -> Iterator[str]:
    for each in (version, *(version.get("images") or ())):
        if isinstance(key := each.get("s3Key"), str):
            yield key
        for name in ("url", *_ADDRESS_FIELDS):
            if isinstance(address := each.get(name), str) and (found := key_of(address)):
                yield found


def with_addresses(record: Record, replace: Callable[[object], str | None]) -> Record:
    """The record with each address of its versions as `shown` gives it."""
    versions = [
        _replace_addresses(each, replace) if isinstance(each, dict) else each for each in record.get("versions") or ()
    ]
    return record | {"versions": versions}


def _replace_addresses(part: dict[str, Any], replace: Callable[[object], str | None]) -> dict[str, Any]:
    changed: dict[str, Any] = {
        name: replace(value) for name, value in part.items() if name == "url" or name.endswith("Url")
    }
    if isinstance(images := part.get("images"), list):
        changed["images"] = [_replace_addresses(each, replace) if isinstance(each, dict) else each for each in images]
    return part | changed
