"""Record of a job in MongoDB, in the document shape of the legacy API: a projection of the resource.

The resource is authoritative while it exists; the record outlives it.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from contentgen_contract.base import Value
from contentgen_contract.names import Kind, Phase
from contentgen_contract.records import indexes
from contentgen_contract.records.deletion_tombstone import DeletionTombstone
from contentgen_contract.records.record import (
    config_fields,
    cost_micros,
    legacy_status,
    search_terms,
    source_fields,
    version_totals,
)
from contentgen_contract.resources.spec import LoraTrainingSpec, Metadata, Spec, parse_spec
from contentgen_contract.resources.status import ResourceStatus, VersionStatus
from contentgen_operator.leader.leadership import Check, unchecked
from contentgen_operator.state.kinds import table as kinds
from contentgen_operator.state.observed import Resource
from contentgen_operator.state.runs import asset_user, frozen_spec
from contentgen_operator.stores.s3 import Storage
from contentgen_runtime.caches import BoundedDict
from contentgen_runtime.clock import Clock, utc_now
from contentgen_runtime.kube import Conflict
from contentgen_runtime.mongo import Document, create_indexes
from contentgen_runtime.stores import in_thread

_REMEMBERED = 256  # records
_DISCARDED = {"discard.uid": {"$gt": ""}}  # this form uses the index
_DERIVED = ("terms", "costMicros")  # by this release: an upgrade updates no job
# Fields that a write is compared with. Each write of the operator increments `revision`; one of the gateway changes
# another field.
_COMPARED = (
    "revision", "status", "phase", "reason", "progress", "message", "startedAt", "completedAt", "adoptedBy",
    "discard.uid",
)  # fmt: skip


class DeletionMark(Value):
    """Record of a job whose files are to be deleted: its uid, and its namespace if the record has one."""

    namespace: str
    uid: str


class FailedJob(Value):
    """Job whose last run has ended without outputs, and the user of its files."""

    uid: str
    user: str
    kind: Kind


@dataclass(frozen=True)
class RecordStore:
    """Collection `jobs`. Each change is a compare-and-set with what was read before `check`, which raises Conflict if
    this process does not lead.
    """

    collection: Collection[Document]
    storage: Storage
    check: Check = unchecked
    now: Clock = utc_now
    # By job, as this process wrote it last: a write that is compared with it needs no read.
    _written: BoundedDict[str, Document] = field(default_factory=lambda: BoundedDict(_REMEMBERED), init=False)

    def create_indexes(self) -> None:
        """Create the indexes, each for a query of the gateway. Idempotent."""
        create_indexes(self.collection, indexes.JOBS, unique="job_id")

    async def write(self, resource: Resource, status: ResourceStatus) -> None:
        """Write the status to the record. Raises Conflict if another process changes the record, or leads."""
        document = record(resource, status)
        if document is not None:
            document["adoptedFrom"] = _adopted_from(resource, status)
            document["tenant"] = resource.scope or None
            if len(scopes := resource.tenant.bought_scopes) > 1:
                document["scopes"] = sorted(scopes)
            version, job = _newest_version(resource, status, self.storage.plain_url), resource.ref.uid
            known = self._written.pop(job, None)  # after a Conflict it is read again
            written = await asyncio.to_thread(self._write, document, version, known)
            if written is not None:
                self._written[job] = written

    def _write(self, document: Document, version: Document | None, known: Document | None) -> Document | None:
        """Write a record; returns what the next write is compared with, None for a new one."""
        more = ("versions", *version_totals(())) if version is not None else ()
        kept = [known] if known and version is None else self._read({"jobId": document["jobId"]}, *document, *more)
        earlier = self._superseded(document)
        self.check()
        versions = list(kept[0].get("versions") or ()) if kept else []
        # A version is written once: it records how it was made, and the spec may have changed since.
        if version is not None and version["version"] not in {each_version.get("version") for each_version in versions}:
            versions.append(version)
        counts = {} if version is None else {"versions": versions, **version_totals(versions)}
        if kept:
            gone = ("expiredAt", *(() if "scopes" in document else ("scopes",)))
            self._change(kept[0], document | counts, gone)
        else:
            self._insert({"versions": []} | document | counts | {"updatedAt": self.now()})
        for record in earlier:
            self._change(record, {"adoptedBy": document["jobId"]})
        if not kept:
            return None
        read = {name: value for name, value in kept[0].items() if name not in more}
        return read | document | {"revision": (read.get("revision") or 0) + 1}

    def _read(self, where: Document, *more: str) -> list[Document]:
        """Records with the fields that a change is compared with, and `more`."""
        return list(self.collection.find(where, dict.fromkeys((*_COMPARED, "jobId", *more), True)))

    def _change(self, read: Document, change: Document, unset: tuple[str, ...] = ()) -> None:
        """Compare-and-set; `updatedAt` follows if another value changes. Raises Conflict."""
        if any(read.get(name) != value for name, value in change.items() if name not in _DERIVED):
            change = change | {"updatedAt": self.now()}
        same: Document = {name: read.get(name) for name in _COMPARED if "." not in name}
        same |= {"_id": read["_id"], "discard.uid": (read.get("discard") or {}).get("uid")}
        update: Document = {"$inc": {"revision": 1}}
        if change:
            update["$set"] = change
        if unset:
            update["$unset"] = dict.fromkeys(unset, "")
        if self.collection.update_one(same, update).matched_count != 1:
            raise Conflict(f"the record of {read['jobId']} was changed")

    def _insert(self, document: Document) -> None:
        """Create a record. Raises Conflict if it exists. An insertion has nothing to compare with, so leadership is
        checked again afterwards, and the record of a former leader is deleted.
        """
        new = {"$setOnInsert": document | {"revision": 1}}
        try:
            made = self.collection.update_one({"jobId": document["jobId"]}, new, upsert=True).upserted_id
        except DuplicateKeyError:
            made = None
        if made is None:
            raise Conflict(f"the record of {document['jobId']} was created")
        try:
            self.check()
        except Conflict:
            self.collection.delete_one({"_id": made, "revision": 1})
            raise

    def _superseded(self, document: Document) -> list[Document]:
        """Records of earlier resources whose outputs this one has adopted: they are marked, so that lists of assets
        omit them.

        The ids come from a status, which a tenant may have written: only records of the same namespace and kind count.
        """
        if not document["adoptedFrom"]:
            return []
        mine: Document = {name: document[name] for name in ("namespace", "tenant", "type")}
        mine |= {"jobId": {"$ne": document["jobId"]}, "adoptedBy": {"$ne": document["jobId"]}}
        earlier = {"$in": document["adoptedFrom"]}
        return self._read({"$or": [mine | {"jobId": earlier | mine["jobId"]}, mine | {"adoptedFrom": earlier}]})

    @in_thread
    def user(self, job_id: str) -> str | None:
        """User of a job's record; None if there is no record."""
        found = self.collection.find_one({"jobId": job_id}, {"userId": True})
        return str(found["userId"]) if found and found.get("userId") else None

    @in_thread
    def started_at(self, job_id: str) -> datetime | None:
        """Start of the run in a job's record; None if there is no record."""
        found = self.collection.find_one({"jobId": job_id}, {"startedAt": True})
        at = found.get("startedAt") if found else None
        if not isinstance(at, datetime):
            return None
        return at if at.tzinfo else at.replace(tzinfo=UTC)

    @in_thread
    def ended(self, job_ids: Iterable[str], before: datetime) -> frozenset[str]:
        """Those of these jobs whose last run has ended before a time, or whose resource was deleted before its end."""
        over = {"jobId": {"$in": sorted(set(job_ids))}, "status": {"$in": ["completed", "failed", "cancelled"]}}
        found = self.collection.find(over, {"jobId": True, "completedAt": True})
        return frozenset(str(record["jobId"]) for record in found if _is_before(record.get("completedAt"), before))

    @in_thread
    def failed(self, since: datetime, before: datetime, most: int) -> list[FailedJob]:
        """Jobs whose last run has failed, or was cancelled, in a period; newest first."""
        period = {"completedAt": {"$gte": since, "$lt": before}}
        where = {"status": {"$in": ["failed", "cancelled"]}, "discard": {"$exists": False}} | period
        named = self.collection.find(where, {"jobId": True, "userId": True, "type": True})
        found = named.sort("completedAt", -1).limit(most)
        kinds = {kind.record_type: kind for kind in Kind}
        return [
            FailedJob(uid=str(record["jobId"]), user=str(record.get("userId")), kind=kinds[record["type"]])
            for record in found
            if record.get("type") in kinds
        ]

    @in_thread
    def end(self, job_id: str) -> None:
        """Mark the record of a deleted resource: unfinished becomes cancelled, finished stays.

        Raises Conflict if another process changes the record, or leads.
        """
        found = self._read({"jobId": job_id})
        self.check()
        for record in found:
            # The revision is incremented in any case, so that a former leader's write fails.
            self._change(record, {"status": "cancelled"} if record.get("status") in ("queued", "processing") else {})

    @in_thread
    def note_expiry(self, job_id: str, at: datetime) -> None:
        """Note in the record that the operator deletes the resource after its ttlSecondsAfterFinished: its LoRA stays
        usable. Raises Conflict if another process changes the record, or leads.
        """
        found = self._read({"jobId": job_id})
        self.check()
        for record in found:
            self._change(record, {"expiredAt": at})

    @in_thread
    def mark_discarded(self, discard: DeletionTombstone, *, new: bool = True) -> None:
        """Mark the record for the deletion of its files; `marks` finds it until `forget`.

        `new`: also if the resource has no record. Raises Conflict if another process changes a record, or leads.
        """
        # Records of jobs whose files it adopted would refer to deleted files.
        found = self._read({"jobId": {"$in": sorted({discard.uid, *discard.job_ids})}})
        self.check()
        change = {"status": "cancelled", "discard": discard.model_dump(mode="json")}
        for record in sorted(found, key=lambda each: each["jobId"] != discard.uid):
            if (record.get("discard") or {}).get("uid") != discard.uid or record.get("status") != "cancelled":
                self._change(record, change)
        if new and discard.uid not in {record["jobId"] for record in found}:
            self._insert({"jobId": discard.uid} | change)

    @in_thread
    def marks(self, most: int, known: Callable[[DeletionMark], bool] = lambda _: False) -> list[DeletionMark]:
        """Up to `most` marks that are not `known`, of each namespace in turn."""
        lines: dict[str, dict[DeletionMark, None]] = {}
        for document in self.collection.find(_DISCARDED, {"_id": False, "namespace": True, "discard.uid": True}):
            mark = DeletionMark(namespace=str(document.get("namespace") or ""), uid=str(document["discard"]["uid"]))
            line = lines.setdefault(mark.namespace, {})
            if len(line) < most and not known(mark):
                line[mark] = None
        turns = itertools.chain.from_iterable(itertools.zip_longest(*lines.values()))
        return [mark for mark in turns if mark is not None][:most]

    async def discard_of(self, mark: DeletionMark) -> DeletionTombstone | None:
        """Deletion tombstone of a mark; None if it is done. Raises ValidationError if it is malformed."""
        found = await asyncio.to_thread(self.collection.find_one, {"discard.uid": mark.uid, "jobId": mark.uid})
        found = found or await asyncio.to_thread(self.collection.find_one, {"discard.uid": mark.uid})
        if found is None:
            return None
        return DeletionTombstone.model_validate(found["discard"])

    @in_thread
    def forget(self, discard: DeletionTombstone) -> None:
        """Delete the records with this tombstone."""
        mine = {"jobId": {"$in": sorted({discard.uid, *discard.job_ids})}, "discard.uid": discard.uid}
        self.check()
        self.collection.delete_many(mine)


def _is_before(given: object, limit: datetime) -> bool:
    """True for a time before the limit, and for a run without an end."""
    if not isinstance(given, datetime):
        return True
    return (given if given.tzinfo else given.replace(tzinfo=UTC)) < limit


def _adopted_from(resource: Resource, status: ResourceStatus) -> list[str]:
    """jobIds of earlier resources whose outputs this one lists."""
    owners = {version.job_id for version in status.versions if version.job_id is not None}
    return sorted(owners - {resource.ref.uid})


def record(resource: Resource, status: ResourceStatus) -> Document | None:
    """Document without its versions; None before the first run."""
    if status.run is None:
        return None
    spec = frozen_spec(resource, status.run)
    document: Document = {
        "jobId": resource.ref.uid,
        "userId": asset_user(resource, spec),
        "type": resource.ref.kind.record_type,
        "namespace": resource.ref.namespace,
        "name": resource.ref.name,
        "config": config_fields(_named_as_now(resource, spec)),
        "metadata": _metadata(resource, spec).model_dump(mode="json", by_alias=True),
        "status": legacy_status(status.phase, status.reason),
        "phase": status.phase.value if status.phase else None,
        "progress": status.progress,
        "reason": status.reason,
        "error": status.message if status.phase is Phase.FAILED else None,
        "cost": status.cost.model_dump(by_alias=True) if status.cost else None,
        "costMicros": cost_micros(status.cost),
        "createdAt": resource.created_at,
        "startedAt": status.start_time,
        "completedAt": status.completion_time,
        "runVersion": status.run.version,
        "stage": status.stage.value if status.stage else None,
        "message": status.message,
        "estimatedCompletionTime": status.estimated_completion_time,
    } | source_fields(spec, (status.run.facts or {}))
    return document | {"terms": search_terms(document)}


def _metadata(resource: Resource, spec: Spec) -> Metadata:
    """Metadata of the current spec: tags are no input, so an edit takes effect without a run."""
    try:
        return Metadata.model_validate(resource.spec.get("metadata") or {})
    except ValidationError:
        return spec.metadata


def _named_as_now(resource: Resource, spec: Spec) -> Spec:
    """Spec of the run with the LoRA's current name: a rename takes effect without a run."""
    if not isinstance(spec, LoraTrainingSpec):
        return spec
    try:
        now = parse_spec(resource.ref.kind, resource.spec)
    except ValidationError:
        return spec
    return spec.model_copy(update={"lora_name": now.lora_name}) if isinstance(now, LoraTrainingSpec) else spec


def _newest_version(resource: Resource, status: ResourceStatus, url: Any) -> Document | None:
    """Version of the run that has just finished. `url` returns the plain address of a key: presigned ones are never
    stored.
    """
    run = status.run
    made = next((version for version in status.versions if run and version.version == run.version), None)
    if run is None or made is None or not made.files or status.phase is not Phase.COMPLETED:
        return None
    return _version(frozen_spec(resource, run), status, made, url)


def _version(spec: Spec, status: ResourceStatus, version: VersionStatus, url: Any) -> Document:
    common = _of_every_version(status, version) | {"warnings": list(kinds.shortfalls(spec, version.facts))}
    prepared = (status.run.facts if status.run else None) or {}
    return common | kinds.row_of(spec).record(spec, prepared, version, url)


def _of_every_version(status: ResourceStatus, version: VersionStatus) -> Document:
    """Fields common to all kinds. `bytes` is 0 for an adopted run, whose files belong to another job."""
    run = status.run
    own = version.job_id in (None, status.job_id)
    prepared = (run.facts or {}).get("storedBytes", 0) if run else 0
    return {
        "version": version.version,
        "createdAt": version.completed_at,
        "files": [{"name": PurePosixPath(file.key).name, "sizeBytes": file.size_bytes} for file in version.files],
        "bytes": prepared + sum(file.size_bytes for file in version.files) if own else 0,
        "loras": list(run.loras) if run else [],
        "cost": status.cost.model_dump(by_alias=True) if status.cost else None,
    }
