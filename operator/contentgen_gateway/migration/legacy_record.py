"""Conversion of a legacy document to a record, with validation of each field. Pure.

A document is converted whole or refused whole. Each key and address in it must be a file of the same job in the legacy
layout; otherwise a document could give access to another job's files.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from pydantic import ValidationError

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys
from contentgen_contract.records.record import search_terms, version_totals
from contentgen_contract.resources.addresses import split_url, strip_credentials
from contentgen_gateway.migration.legacy_documents import LegacyDocument, LegacyPicture, LegacyVersion
from contentgen_gateway.stores.record_types import wrong_values

Document = dict[str, Any]
_KINDS = {kind.record_type: kind for kind in Kind}
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S*")


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """An error in a document, which is refused for it."""

    field: str
    why: str


@dataclass(frozen=True, slots=True)
class ConvertedRecord:
    """A record, and the sorted keys of the files that it names."""

    record: Document
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImportTarget:
    """Namespace of the imported records, and bucket of their files."""

    namespace: str
    bucket: str
    key_of: Callable[[str], str | None]  # key of an address in `bucket`, else None
    address: Callable[[str], str]  # address of a key, as stored in records
    tenant: str | None = None  # the namespace's scope; None: unscoped


def convert(document: Mapping[str, Any], target: ImportTarget) -> ConvertedRecord | tuple[FieldProblem, ...]:
    """The record, or all errors of the document."""
    try:
        old = LegacyDocument.model_validate(dict(document))
    except ValidationError as error:
        return tuple(
            FieldProblem(".".join(map(str, each_error["loc"])) or "document", each_error["msg"])
            for each_error in error.errors()
        )
    files = _Files(old, target)
    versions = [_version(old, version, f"versions.{index}", files) for index, version in enumerate(old.versions)]
    if len({version["version"] for version in versions}) != len(versions):
        files.problems.append(FieldProblem("versions", "duplicate version number"))
    record = _record(old, versions, target)
    problems = (*files.problems, *(FieldProblem(wrong.path, str(wrong)) for wrong in wrong_values(record)))
    return problems or ConvertedRecord(record, tuple(sorted(files.found)))


class _Files:
    """Validation of one document's addresses; collects errors and keys."""

    def __init__(self, old: LegacyDocument, target: ImportTarget) -> None:
        self._old, self._target = old, target
        self.problems: list[FieldProblem] = []
        self.found: set[str] = set()

    def key(self, field: str, given: str | None, version: int) -> str | None:
        """The key of an address or a key, without its signature; None and an error if it is not a file of this job."""
        if given is None:
            return None
        bare = given.partition("?")[0]
        key = (self._target.key_of(bare) or _key_of(bare, self._target.bucket)) if "://" in bare else bare
        kind = _KINDS[self._old.type]
        folder = keys.prefix(kind, Stage.COLLECT, self._old.user_id, self._old.job_id, version)
        folders = {folder} if kind is Kind.LORA_TRAINING else {folder, folder.removesuffix(f"v{version}/")}
        name = (key or "").rpartition("/")[2]
        if key is None or key.removesuffix(name) not in folders or not keys.is_output(kind, Stage.COLLECT, name):
            self.problems.append(
                FieldProblem(
                    field,
                    f"{strip_credentials(given)[:200]!r} is not a file of this job; expected one under {folder!r}",
                )
            )
            return None
        self.found.add(key)
        return key

    def address(self, field: str, given: str | None, version: int) -> str | None:
        """The stored address of the same file."""
        return self.plain(self.key(field, given, version))

    def plain(self, key: str | None) -> str | None:
        """The address of a key, as stored in records."""
        return self._target.address(key) if key else None


def _key_of(address: str, bucket: str) -> str | None:
    """The key of an s3:// URL or an AWS URL (virtual-hosted or path style) of this bucket; else None."""
    parts = split_url(address)
    if parts is None:
        return None
    path = unquote(parts.path).lstrip("/")
    if parts.scheme == "s3":
        return path if parts.netloc == bucket else None
    if parts.scheme != "https" or not re.fullmatch(r"[a-z0-9.-]+\.amazonaws\.com", parts.netloc):
        return None
    if re.fullmatch(rf"{re.escape(bucket)}\.s3([.-][a-z0-9-]+)?\.amazonaws\.com", parts.netloc):
        return path
    if re.fullmatch(r"s3([.-][a-z0-9-]+)?\.amazonaws\.com", parts.netloc) and path.startswith(f"{bucket}/"):
        return path.removeprefix(f"{bucket}/")
    return None


def _version(old: LegacyDocument, version: LegacyVersion, at: str, files: _Files) -> Document:
    common: Document = {
        "version": version.version,
        "createdAt": version.created_at or old.completed_at,
        "loras": [],
        "cost": None,
    }
    match _KINDS[old.type]:
        case Kind.LORA_TRAINING:
            return common | _model(version, at, files)
        case Kind.IMAGE_GENERATION:
            return common | _pictures(old, version, at, files)
        case Kind.TRANSCRIPTION:
            return common | _transcript(version, at, files)


def _model(version: LegacyVersion, at: str, files: _Files) -> Document:
    named = files.key(f"{at}.s3Key", version.s3_key, version.version)
    key = files.key(f"{at}.modelUrl", version.model_url, version.version) or named
    return {
        "modelUrl": files.plain(key),
        "s3Key": key,
        "sizeBytes": version.size_bytes,
        "previewUrl": files.address(f"{at}.previewUrl", version.preview_url, version.version),
        "config": _without_queries(version.config or {}),
        "bytes": version.size_bytes or 0,
    }


def _without_queries(value: Any) -> Any:
    """The JSON value with scheme, host and path of each URL in it, such as `loras[].path`: a query may hold a token."""
    match value:
        case str() if _URL.fullmatch(value):
            return strip_credentials(value)
        case list():
            return [_without_queries(element) for element in value]
        case dict():
            return {name: _without_queries(member) for name, member in value.items()}
        case _:
            return value


def _pictures(old: LegacyDocument, version: LegacyVersion, at: str, files: _Files) -> Document:
    images = [
        _picture(image, f"{at}.images.{place}", version.version, files) for place, image in enumerate(version.images)
    ]
    size = sum(image["sizeBytes"] or 0 for image in images)
    named = {name: old.config.get(name) for name in ("model", "prompt")}
    return {"images": images, "seed": version.seed, "bytes": size} | named


def _transcript(version: LegacyVersion, at: str, files: _Files) -> Document:
    return {
        "transcriptUrl": files.address(f"{at}.transcriptUrl", version.transcript_url, version.version),
        "textUrl": files.address(f"{at}.textUrl", version.text_url, version.version),
        "srtUrl": None,
        "vttUrl": None,
        "wordCount": version.word_count,
        "duration": version.duration,
        "speakers": version.speakers,
        "language": version.language,
        "bytes": 0,
    }


def _picture(picture: LegacyPicture, at: str, number: int, files: _Files) -> Document:
    key = files.key(f"{at}.url", picture.url, number)
    if picture.s3_key is not None and files.key(f"{at}.s3Key", picture.s3_key, number) not in (key, None):
        files.problems.append(FieldProblem(f"{at}.s3Key", "it names another file than url"))
    return {
        "url": files.plain(key),
        "s3Key": key,
        "thumbnailUrl": files.address(f"{at}.thumbnailUrl", picture.thumbnail_url, number),
        "width": picture.width,
        "height": picture.height,
        "sizeBytes": picture.size_bytes,
    }


def _record(old: LegacyDocument, versions: list[Document], target: ImportTarget) -> Document:
    """The record. Unfinished jobs of the legacy service become cancelled, because nothing will finish them."""
    over = old.status in ("completed", "failed", "cancelled")
    source = {"sourceVideo": old.source_video.model_dump(by_alias=True)} if old.source_video else {}
    if source:
        source["sourceVideo"]["url"] = strip_credentials(source["sourceVideo"]["url"])
    status = old.status if over else "cancelled"
    document: Document = {
        "jobId": old.job_id,
        "userId": old.user_id,
        "type": old.type,
        "namespace": target.namespace,
        "tenant": target.tenant,
        "name": None,
        "config": _without_queries(old.config),
        "metadata": old.metadata.model_dump(mode="json", by_alias=True),
        "versions": versions,
        "status": status,
        "phase": {"completed": "Completed", "failed": "Failed"}.get(status),
        "progress": old.progress,
        "reason": "Imported",
        "error": old.error,
        "cost": None,
        "createdAt": old.created_at,
        "startedAt": old.started_at,
        "completedAt": old.completed_at,
        "updatedAt": old.completed_at or old.started_at or old.created_at,
        "imported": True,
    } | source
    return document | version_totals(versions) | {"terms": search_terms(document)}


def with_sizes(record: Document, sizes: Mapping[str, int], key_of: Callable[[str], str | None]) -> Document:
    """The record with the bytes of its stored files; `sizes` has those of the job's folders by key."""
    versions = [
        version | {"bytes": _bytes(version, sizes, key_of) or version["bytes"]} for version in record["versions"]
    ]
    return record | {"versions": versions} | version_totals(versions)


def _bytes(version: Document, sizes: Mapping[str, int], key_of: Callable[[str], str | None]) -> int:
    named = (version.get(name) for name in ("modelUrl", "previewUrl", "transcriptUrl", "textUrl"))
    pictures = (image.get(name) for image in version.get("images") or () for name in ("url", "thumbnailUrl"))
    found = {key for url in (*named, *pictures) if isinstance(url, str) and (key := key_of(url))}
    return sum(sizes.get(key, 0) for key in found)
