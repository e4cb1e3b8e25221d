"""The record of a job in MongoDB, in the document shape that the seeds promise: a projection of the resource.

The resource is the truth while it exists; the record outlives it.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError
from pymongo.collection import Collection

from contentgen_contract import derived, indexes
from contentgen_contract.base import Value
from contentgen_contract.discard import Discard, bought_under
from contentgen_contract.models import model_of
from contentgen_contract.names import Kind, Phase
from contentgen_contract.record import config, source, status_word
from contentgen_contract.spec import ImageGenerationSpec, LoraTrainingSpec, Metadata, Spec, parse_spec
from contentgen_contract.status import ResourceStatus, VersionStatus
from contentgen_operator.observed import Resource
from contentgen_operator.runs import frozen_spec, owner
from contentgen_operator.storage import Storage

_log = logging.getLogger(__name__)
Document = dict[str, Any]
_DISCARDED = {"discard.uid": {"$gt": ""}}  # in this form an index serves it


class Mark(Value):
    """The record of a job whose files are to be deleted: its uid, and its namespace where the record has one."""

    namespace: str
    uid: str


class Records:
    """The `jobs` collection."""

    def __init__(self, collection: Collection[Document], storage: Storage) -> None:
        self._collection = collection
        self._storage = storage

    def create_indexes(self) -> None:
        """Idempotent; each serves a query of the gateway."""
        for name, keys in indexes.JOBS.items():
            self._collection.create_index(list(keys), name=name, unique=name == "job_id")

    async def write(self, resource: Resource, status: ResourceStatus) -> None:
        """Make the record say what the status says."""
        document = record(resource, status)
        if document is not None:
            document["adoptedFrom"] = _adopted_from(resource, status)
            document["tenant"] = resource.scope or None
            if len(scopes := resource.tenant.bought_scopes) > 1:
                document["scopes"] = sorted(scopes)
            await asyncio.to_thread(self._write, document, _newest_version(resource, status, self._storage.plain_url))

    def _write(self, document: Document, version: Document | None) -> None:
        mine = {"jobId": document["jobId"]}
        update: Document = {"$set": document, "$setOnInsert": {"versions": []}}
        if "scopes" not in document:
            update["$unset"] = {"scopes": ""}
        self._collection.update_one(mine, update, upsert=True)
        if version is not None:
            # Once written, a version says for ever how it was made: the spec may be another by now.
            missing = mine | {"versions.version": {"$ne": version["version"]}}
            self._collection.update_one(missing, {"$push": {"versions": version}})
            # Each time, and not only after a push: a crash between the two is made good.
            whole = self._collection.find_one(mine, {"versions": True}) or {}
            self._collection.update_one(mine, {"$set": derived.counted(whole.get("versions") or ())})
        if document["adoptedFrom"]:
            self._supersede(document)

    def _supersede(self, document: Document) -> None:
        """Mark the records of earlier resources whose outputs this one has adopted: lists of assets leave them out.

        The ids come from a status, which a tenant may have written: only records of the same namespace and kind count.
        """
        mine: Document = {name: document[name] for name in ("namespace", "tenant", "type")}
        mine["jobId"] = {"$ne": document["jobId"]}
        earlier = {"$in": document["adoptedFrom"]}
        for same in ({"jobId": earlier | mine["jobId"]}, {"adoptedFrom": earlier}):
            self._collection.update_many(mine | same, {"$set": {"adoptedBy": document["jobId"]}})

    async def user(self, job_id: str) -> str | None:
        """The user that a job's record names; None where there is no record."""
        found = await asyncio.to_thread(self._collection.find_one, {"jobId": job_id}, {"userId": True})
        return str(found["userId"]) if found and found.get("userId") else None

    async def started_at(self, job_id: str) -> datetime | None:
        """When the run began that a job's record tells of; None where there is no record."""
        found = await asyncio.to_thread(self._collection.find_one, {"jobId": job_id}, {"startedAt": True})
        at = found.get("startedAt") if found else None
        if not isinstance(at, datetime):
            return None
        return at if at.tzinfo else at.replace(tzinfo=UTC)

    async def end(self, job_id: str) -> None:
        """The resource is gone: what was under way is cancelled, what was finished stays as it is."""
        unfinished = {"jobId": job_id, "status": {"$in": ["queued", "processing"]}}
        await asyncio.to_thread(self._collection.update_one, unfinished, {"$set": {"status": "cancelled"}})

    async def mark_discarded(self, discard: Discard) -> None:
        """Its files are to be deleted: what `marks` finds until `forget`, should it take more than one try."""
        await asyncio.to_thread(self._mark_discarded, discard)

    def _mark_discarded(self, discard: Discard) -> None:
        change = {"$set": {"status": "cancelled", "discard": discard.model_dump(mode="json")}}
        self._collection.update_one({"jobId": discard.uid}, change, upsert=True)
        # The records of jobs whose files it took over would lead to nothing.
        earlier = [each for each in discard.job_ids if each != discard.uid]
        if earlier:
            self._collection.update_many({"jobId": {"$in": earlier}}, change)

    async def marks(self, most: int, known: Callable[[Mark], bool] = lambda _: False) -> list[Mark]:
        """Up to `most` marks that are not known yet, of each namespace in turn."""
        return await asyncio.to_thread(self._marks, most, known)

    def _marks(self, most: int, known: Callable[[Mark], bool]) -> list[Mark]:
        lines: dict[str, dict[Mark, None]] = {}
        for each in self._collection.find(_DISCARDED, {"_id": False, "namespace": True, "discard.uid": True}):
            mark = Mark(namespace=str(each.get("namespace") or ""), uid=str(each["discard"]["uid"]))
            line = lines.setdefault(mark.namespace, {})
            if len(line) < most and not known(mark):
                line[mark] = None
        turns = itertools.chain.from_iterable(itertools.zip_longest(*lines.values()))
        return [mark for mark in turns if mark is not None][:most]

    async def discard_of(self, mark: Mark) -> Discard | None:
        """What is to be deleted for a mark; None where it is done. Raises ValidationError for an unreadable one."""
        found = await asyncio.to_thread(self._collection.find_one, {"discard.uid": mark.uid, "jobId": mark.uid})
        found = found or await asyncio.to_thread(self._collection.find_one, {"discard.uid": mark.uid})
        if found is None:
            return None
        discard = Discard.model_validate(found["discard"])
        return discard if discard.bought_under else discard.model_copy(update={"bought_under": _bought_under(found)})

    async def forget(self, discard: Discard) -> None:
        """Delete the records."""
        mine = {"jobId": {"$in": sorted({discard.uid, *discard.job_ids})}}
        await asyncio.to_thread(self._collection.delete_many, mine)


def _bought_under(document: Document) -> str:
    """What a mark of an older release lacks; empty where its record does not name the resource."""
    kind = next((kind for kind in Kind if kind.record_type == document.get("type")), None)
    if kind is None or not document.get("name"):
        return ""
    return bought_under(document["namespace"], kind, document["name"], document.get("tenant"))


def _adopted_from(resource: Resource, status: ResourceStatus) -> list[str]:
    """The jobIds of earlier resources under which outputs of this one lie."""
    owners = {each.job_id for each in status.versions if each.job_id is not None}
    return sorted(owners - {resource.ref.uid})


def record(resource: Resource, status: ResourceStatus) -> Document | None:
    """The document without its versions; None before the first run."""
    if status.run is None:
        return None
    spec = frozen_spec(resource, status.run)
    document: Document = {
        "jobId": resource.ref.uid,
        "userId": owner(resource, spec),
        "type": resource.ref.kind.record_type,
        "namespace": resource.ref.namespace,
        "name": resource.ref.name,
        "config": config(_named_as_now(resource, spec)),
        "metadata": _metadata(resource, spec).model_dump(mode="json", by_alias=True),
        "status": status_word(status.phase, status.reason),
        "phase": status.phase.value if status.phase else None,
        "progress": status.progress,
        "reason": status.reason,
        "error": status.message if status.phase is Phase.FAILED else None,
        "cost": status.cost.model_dump(by_alias=True) if status.cost else None,
        "createdAt": resource.created_at,
        "startedAt": status.start_time,
        "completedAt": status.completion_time,
        "stage": status.stage.value if status.stage else None,
        "message": status.message,
        "estimatedCompletionTime": status.estimated_completion_time,
    } | source(spec, (status.run.facts or {}))
    return document | {"terms": derived.terms_of(document)}


def _metadata(resource: Resource, spec: Spec) -> Metadata:
    """As it is now: tags are no input, so an edit of them starts no run and is true at once."""
    try:
        return Metadata.model_validate(resource.spec.get("metadata") or {})
    except ValidationError:
        return spec.metadata


def _named_as_now(resource: Resource, spec: Spec) -> Spec:
    """The run's spec with the LoRA's name as it is now: a rename trains nothing, and is true at once."""
    if not isinstance(spec, LoraTrainingSpec):
        return spec
    try:
        now = parse_spec(resource.ref.kind, resource.spec)
    except ValidationError:
        return spec
    return spec.model_copy(update={"lora_name": now.lora_name}) if isinstance(now, LoraTrainingSpec) else spec


def _newest_version(resource: Resource, status: ResourceStatus, url: Any) -> Document | None:
    """What the run just finished has made; `url` makes a plain address of a key: signed ones are never stored."""
    run = status.run
    made = next((each for each in status.versions if run and each.version == run.version), None)
    if run is None or made is None or not made.files or status.phase is not Phase.COMPLETED:
        return None
    return _version(resource.ref.kind, frozen_spec(resource, run), status, made, url)


def _version(kind: Kind, spec: Spec, status: ResourceStatus, version: VersionStatus, url: Any) -> Document:
    by_name = {PurePosixPath(file.key).name: file for file in version.files}
    common = _of_every_version(status, version)
    match kind:
        case Kind.LORA_TRAINING:
            model = by_name["model.safetensors"]
            return common | {
                "modelUrl": url(model.key),
                "s3Key": model.key,
                "sizeBytes": model.size_bytes,
                "previewUrl": url(by_name["preview.png"].key) if "preview.png" in by_name else None,
                "config": _training(spec, status),
            }
        case Kind.IMAGE_GENERATION:
            images = [_image(each, by_name, url) for each in version.facts.get("images", ())]
            return common | {"images": images, "seed": version.facts.get("seed"), **_drawn(spec)}
        case Kind.TRANSCRIPTION:
            facts = (status.run.facts if status.run else None) or {}
            return common | _transcript(version, by_name, url) | {"audibleDuration": facts.get("audibleSeconds")}


def _of_every_version(status: ResourceStatus, version: VersionStatus) -> Document:
    """What an adopted run has made takes no room of its own."""
    run = status.run
    own = version.job_id in (None, status.job_id)
    prepared = (run.facts or {}).get("storedBytes", 0) if run else 0
    return {
        "version": version.version,
        "createdAt": version.completed_at,
        "files": [{"name": PurePosixPath(each.key).name, "sizeBytes": each.size_bytes} for each in version.files],
        "bytes": prepared + sum(each.size_bytes for each in version.files) if own else 0,
        "loras": list(run.loras) if run else [],
        "cost": status.cost.model_dump(by_alias=True) if status.cost else None,
    }


def _training(spec: Spec, status: ResourceStatus) -> Document:
    facts = (status.run.facts if status.run else None) or {}
    if not isinstance(spec, LoraTrainingSpec):
        return {}
    return {
        "trigger": spec.trigger_word,
        "steps": spec.training.steps,
        "learning_rate": spec.training.learning_rate,
        "frame_count": facts.get("images"),
    }


def _drawn(spec: Spec) -> Document:
    return {"model": model_of(spec), "prompt": spec.prompt} if isinstance(spec, ImageGenerationSpec) else {}


def _image(fact: Document, by_name: Document, url: Any) -> Document:
    file, thumbnail = by_name[fact["name"]], by_name[fact["thumbnail"]]
    return {
        "url": url(file.key),
        "s3Key": file.key,
        "thumbnailUrl": url(thumbnail.key),
        "width": fact["width"],
        "height": fact["height"],
        "sizeBytes": file.size_bytes,
    }


def _transcript(version: VersionStatus, by_name: Document, url: Any) -> Document:
    return {
        "transcriptUrl": url(by_name["transcript.json"].key),
        "textUrl": url(by_name["transcript.txt"].key),
        "srtUrl": url(by_name["transcript.srt"].key) if "transcript.srt" in by_name else None,
        "vttUrl": url(by_name["transcript.vtt"].key) if "transcript.vtt" in by_name else None,
        "wordCount": version.facts.get("wordCount"),
        "duration": version.facts.get("durationSeconds"),
        "speakers": version.facts.get("speakers"),
        "language": version.facts.get("language"),
    }
