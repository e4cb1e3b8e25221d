"""Upload limits of one attempt of a stage: maximum size by file name, and number of files. Pure.

The sizes are upper bounds of the worker's output, from the spec and the limits of the settings. A refused file fails
the attempt, also after a payment, so each limit is well above the real sizes.
"""

import re
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from contentgen_contract.base import Value
from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys
from contentgen_contract.resources.spec import ImageGenerationSpec, LoraTrainingSpec, Spec, TranscriptionSpec
from contentgen_contract.worker.orders import MAX_PICTURES, Limits, StoredFile
from contentgen_operator.state.provider_requests import ANSWER_BYTES

_PUT_BYTES = 5 * 2**30  # maximum of a single PUT in S3
_MIB = 1 << 20
_JPEG_BYTES = 4  # per pixel: noise in full colour
_HEADERS = 64 << 10  # metadata of a picture, or entries of a zip
_CAPTION = 16 << 10  # a template of 512 characters, facts, and a vision model's text
_INDEX = 256 * _MIB  # dataset.json: 1 kB per candidate picture, of some 100,000 in a long video
_SHEET = 64 * _MIB  # a contact sheet of 1,000 pictures
_REJECTED = 60 * 256 * 384 * _JPEG_BYTES + _HEADERS  # rejected.jpg: 60 pictures of 256 by 384 pixels
_CONFIG = 64 * _MIB  # a provider's config of 4 MiB, indented
_THUMBNAIL = 2 * _MIB  # at most 256 by 768 pixels
_SOUND_SECOND = 16_000 * 2 * 1.05  # bytes: samples of 16 bits at 16 kHz, uncompressed in frames
_INDENTED = 8  # times the provider's answer: indented, or as cues with times


class FileLimit(Value):
    """Limit of files of one name; `*` in the name is a number from 1 to `count`."""

    name: str
    size_bytes: int
    count: int = 1


def limit_of(name: str, limits: Sequence[FileLimit]) -> FileLimit | None:
    """Limit of a file name; None: the stage has no file of that name or number."""
    found = next((each for each in limits if fnmatchcase(name, each.name)), None)
    number = re.search(r"\d+", name)
    if found is None or (number and not 1 <= int(number[0]) <= found.count):
        return None
    return found


def files_problem(kind: Kind, stage: Stage, files: Collection[StoredFile], limits: Sequence[FileLimit]) -> str:
    """Problem with the files that an outcome lists, found without reading the bucket; empty: none."""
    most = sum(each.count for each in limits)
    if len(files) > most:
        return f"the {stage} stage lists {len(files)} files; expected at most {most}"
    for file in files:
        limit = limit_of(file.name, limits) if keys.is_output(kind, stage, file.name) else None
        if limit is None:
            return f"the {stage} stage may not write {file.name!r}"
        if file.size_bytes > limit.size_bytes:
            return f"{file.name} has {file.size_bytes} bytes; expected at most {limit.size_bytes}"
    return ""


def file_limits(spec: Spec, stage: Stage, limits: Limits) -> tuple[FileLimit, ...]:
    """Files that one attempt of a stage may store; the first match of a name applies."""
    match spec, stage:
        case LoraTrainingSpec(), Stage.PREPARE:
            found = _dataset(spec)
        case LoraTrainingSpec(), Stage.COLLECT:
            found = (
                FileLimit(name="model.safetensors", size_bytes=limits.result_bytes),
                FileLimit(name="config.json", size_bytes=_CONFIG),
                FileLimit(name="preview.png", size_bytes=_SHEET),
            )
        case ImageGenerationSpec(), Stage.COLLECT:
            found = (
                FileLimit(name="image_*_thumb.*", size_bytes=_THUMBNAIL, count=MAX_PICTURES),
                FileLimit(name="image_*", size_bytes=limits.picture_bytes, count=MAX_PICTURES),
            )
        case TranscriptionSpec(), Stage.PREPARE:
            found = (FileLimit(name="audio.flac", size_bytes=int(limits.duration_seconds * _SOUND_SECOND) + _MIB),)
        case TranscriptionSpec(), Stage.COLLECT:
            names = (f"transcript.{suffix}" for suffix in ("json", "txt", "srt", "vtt"))
            found = tuple(FileLimit(name=each, size_bytes=_INDENTED * ANSWER_BYTES) for each in names)
        case _:
            found = ()
    return tuple(each.model_copy(update={"size_bytes": min(each.size_bytes, _PUT_BYTES)}) for each in found)


def _dataset(spec: LoraTrainingSpec) -> tuple[FileLimit, ...]:
    count, side = spec.dataset.max_images, spec.dataset.resolution
    picture = _JPEG_BYTES * side * side + _HEADERS
    return (
        FileLimit(name="images/*.jpg", size_bytes=picture, count=count),
        FileLimit(name="captions/*.txt", size_bytes=_CAPTION, count=count),
        FileLimit(name="dataset.json", size_bytes=_INDEX),
        FileLimit(name="dataset.zip", size_bytes=count * (picture + _CAPTION) + _HEADERS),
        FileLimit(name="preview.jpg", size_bytes=_SHEET),
        FileLimit(name="rejected.jpg", size_bytes=_REJECTED),
    )
