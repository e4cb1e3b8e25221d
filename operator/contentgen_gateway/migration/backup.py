"""Backup and restore of MongoDB collections. A restore works with empty and running databases, and may be repeated.

Newer data is never overwritten: records are compared by progress, purchases by state, and revoked shares stay revoked.
The ledger is read last and written first, so that it has every purchase that another document refers to.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError, DuplicateKeyError

from contentgen_contract.records.ledger import merge_restored
from contentgen_gateway.migration.archive import ArchiveReader, ArchiveWriter
from contentgen_runtime.mongo import Document
from contentgen_runtime.tenancy import COMMAND, FIRST

Merge = Callable[[Document | None, Document], Mapping[str, Any] | None]
"""Takes the stored document (None: missing) and the backup's. Returns what to write; None keeps the stored one."""

_BATCH = 200  # documents
_UNFINISHED = ("queued", "processing")
_EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
ASSETS = "assets"


def newest_record(stored: Document | None, given: Document) -> Document | None:
    """The record with more progress, which is the newer one. A tombstone is kept."""
    if stored is None:
        # The resource may be gone. If it still exists, the operator writes its status again.
        return given | {"status": "cancelled"} if given.get("status") in _UNFINISHED else given
    return given if "discard" not in stored and _progress_of(given) > _progress_of(stored) else None


def _progress_of(record: Document) -> tuple[object, ...]:
    times = (_instant(record.get(name)) for name in ("startedAt", "completedAt"))
    return (len(record.get("versions") or ()), *times, record.get("progress") or 0)


def _instant(value: object) -> datetime:
    if not isinstance(value, datetime):
        return _EARLIEST
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def missing_only(stored: Document | None, given: Document) -> Document | None:
    """Insert only: existing documents may have been changed by their owners since."""
    return given if stored is None else None


def newest_runs(stored: Document | None, given: Document) -> Document | None:
    """The run document with the higher numbers, since they only grow.

    A stored one with `unrecorded` blocks payments, because its resource has a run that the database lacked; a
    backup that has this run replaces it.
    """
    if stored is None:
        return given
    unrecorded = stored.get("unrecorded")
    newer = given["number"] >= unrecorded["number"] if unrecorded else _numbers(given) > _numbers(stored)
    if not newer:
        return None
    highest = {name: max(stored[name], given[name]) for name in ("number", "version")}
    return given | highest | {"revision": max(stored["revision"], given["revision"]) + 1}


def _numbers(runs: Document) -> tuple[int, int, int]:
    return runs["number"], runs["version"], runs["revision"]


def _purchase(stored: Document | None, given: Document) -> Mapping[str, Any] | None:
    return merge_restored(stored, given)


def _cluster(stored: Document | None, given: Document) -> Document | None:
    """The ledger's cluster is restored with it, so a cluster that started with the empty database must be confirmed."""
    if given["_id"] == COMMAND:  # the lock of a command that ran during the backup
        return None
    return given if stored is None or given["_id"] == FIRST else None


@dataclass(frozen=True, slots=True)
class BackedUpCollection:
    """A collection of the backup, and how its documents are merged."""

    name: str
    merge: Merge
    key: str = "_id"
    of_job: bool = False
    """Restored only for jobs without a record: if the record exists, the document was removed on purpose."""


BACKED_UP = (
    BackedUpCollection("ledger", _purchase),
    BackedUpCollection("request_bindings", missing_only),
    BackedUpCollection("runs", newest_runs),
    BackedUpCollection("clusters", _cluster),
    BackedUpCollection("namespaces", missing_only),
    BackedUpCollection("signed-out", missing_only),
    BackedUpCollection("shares", missing_only, of_job=True),
    BackedUpCollection("collections", missing_only),
    BackedUpCollection("notifications", missing_only),
    BackedUpCollection("jobs", newest_record, key="jobId"),
)
"""In order of restoring; a backup reads them in reverse order."""

NOT_BACKED_UP = frozenset(
    {"audits", "budgets", "buying_stops", "recent-creations", "transcripts", "transcripts-indexed", "worker_jobs"}
)
"""Collections that are derived from others, or that each run replaces. The audit after a restore reports all again."""

COLLECTION = re.compile(r"""(?:database|database\(settings\))\[["']([\w-]+)["']\]""")
"""Pattern of a collection's name in our sources; tests/unit/gateway/migration/test_backup.py compares the lists."""


def backup(database: Database[Document], writer: ArchiveWriter, assets: Iterable[Document]) -> dict[str, int]:
    """Write all parts. Returns the number of documents by part."""
    counts = {ASSETS: writer.write(ASSETS, assets)}
    for kept in reversed(BACKED_UP):
        drop = {"_id": False} if kept.key != "_id" else None
        counts[kept.name] = writer.write(kept.name, database[kept.name].find({}, drop).sort(kept.key, 1))
    return counts


@dataclass(slots=True)
class Restored:
    """Number of documents of one part by result; `left` ones are unchanged."""

    added: int = 0
    replaced: int = 0
    left: int = 0


def restore(database: Database[Document], reader: ArchiveReader) -> dict[str, Restored]:
    """Restore missing and older documents. Idempotent, and consistent after an interruption."""
    return {kept.name: _restore(database, kept, reader.read(kept.name)) for kept in BACKED_UP}


def _restore(database: Database[Document], kept: BackedUpCollection, documents: Iterator[Document]) -> Restored:
    done, collection = Restored(), database[kept.name]
    while batch := list(islice(documents, _BATCH)):
        wanted = _without_records(database, batch) if kept.of_job else batch
        done.left += len(batch) - len(wanted)
        keys = [document[kept.key] for document in wanted]
        present = {document[kept.key]: document for document in collection.find({kept.key: {"$in": keys}})}
        new = [
            dict(merged)
            for document in wanted
            if document[kept.key] not in present and (merged := kept.merge(None, document))
        ]
        added = _insert(collection, new)
        done.added += added
        done.left += len(new) - added
        for document in wanted:
            if (stored := present.get(document[kept.key])) is not None:
                replaced = _replace(collection, stored, kept.merge(stored, document))
                done.replaced += replaced
                done.left += not replaced
    return done


def _without_records(database: Database[Document], batch: list[Document]) -> list[Document]:
    asked = {"jobId": {"$in": [document.get("jobId") for document in batch]}}
    present = {job["jobId"] for job in database["jobs"].find(asked, {"jobId": True})}
    return [document for document in batch if document.get("jobId") not in present]


def _insert(collection: Collection[Document], documents: list[Document]) -> int:
    """Number of inserted documents; those inserted concurrently by others are kept."""
    if not documents:
        return 0
    try:
        return len(collection.insert_many(documents, ordered=False).inserted_ids)
    except BulkWriteError as error:
        if any(each_error.get("code") != _DUPLICATE for each_error in error.details["writeErrors"]):
            raise
        return int(error.details["nInserted"])


_DUPLICATE = 11000


_COMPARED_FIELDS = (
    "_id", "state", "sendState", "changedAt", "sentBy", "sendNumber", "jobId", "requestId", "orphanedAt",
    "discardAsked", "others", "status", "progress", "completedAt", "revision",
)  # fmt: skip


def _replace(collection: Collection[Document], stored: Document, merged: Mapping[str, Any] | None) -> bool:
    """Compare and set. False if there is nothing to write, or the document has changed since it was read."""
    if merged is None:
        return False
    same = {name: stored.get(name) for name in _COMPARED_FIELDS}
    same = {name: value for name, value in same.items() if name in stored}
    content = {name: value for name, value in merged.items() if name != "_id"}
    try:
        return collection.replace_one(same, content).modified_count == 1
    except DuplicateKeyError:
        return False
