"""Import of the legacy service's documents as records of a namespace.

Each document is imported whole or refused with all of its errors. Idempotent; a repeated import updates jobs that the
legacy service has finished since.
"""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain, islice
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from contentgen_contract.records import keys
from contentgen_gateway.auth.visibility import KINDS
from contentgen_gateway.migration import legacy_record
from contentgen_gateway.migration.backup import newest_record
from contentgen_gateway.migration.legacy_record import ConvertedRecord, FieldProblem, ImportTarget
from contentgen_runtime.mongo import Document

Sizes = Callable[[Iterable[str]], Mapping[str, int]]
"""Returns sizes in bytes by key, for all objects under these prefixes."""

_PARALLEL = 8
_BATCH = 200  # documents
_PRESERVED_FIELDS = ("metadata", "downloads", "lastAccessed")  # may have been changed here since the first import


class Outcome(StrEnum):
    """Result of a document's import."""

    IMPORTED = "imported"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class ImportEntry:
    """Report entry of one document."""

    document: int  # index of the document, from 0
    job_id: str | None
    outcome: Outcome
    problems: tuple[FieldProblem, ...] = ()
    missing: tuple[str, ...] = ()
    """Keys that the record names and the bucket does not have."""
    note: str = ""


@dataclass(frozen=True, slots=True)
class LegacyImport:
    """An import into one namespace."""

    jobs: Collection[Document]
    ledger: Collection[Document]
    target: ImportTarget
    sizes: Sizes
    by: str
    may_name: Callable[[str], bool]
    """True for the users whose jobs may be imported."""
    fetch: Callable[[Iterable[str]], None] = field(default=lambda _: None)
    """Copies the files under some prefixes into our bucket, if they are in another one."""

    def run(self, documents: Iterable[Mapping[str, Any]]) -> list[ImportEntry]:
        """Import the documents. Returns one entry for each, in order.

        Several jobs in parallel, because most of the time is spent waiting for the bucket; documents of the same job
        one after the other.
        """
        numbered, found = enumerate(documents), list[ImportEntry]()
        with ThreadPoolExecutor(_PARALLEL) as pool:
            while batch := list(islice(numbered, _BATCH)):
                by_job: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
                for number, document in batch:
                    by_job.setdefault(str(document.get("jobId")), []).append((number, document))
                done = pool.map(lambda jobs: [self._import_one(*job) for job in jobs], by_job.values())
                found += sorted(chain.from_iterable(done), key=lambda entry: entry.document)
        return found

    def _import_one(self, number: int, document: Mapping[str, Any]) -> ImportEntry:
        given = document.get("jobId")
        job_id = given[:253] if isinstance(given, str) else None
        converted = legacy_record.convert(document, self.target)
        if not isinstance(converted, ConvertedRecord):
            return ImportEntry(number, job_id, Outcome.REFUSED, converted)
        user = converted.record["userId"]
        if not self.may_name(user):
            return ImportEntry(number, job_id, Outcome.REFUSED, (_user_not_allowed(user, self.target.namespace),))
        stored = self.jobs.find_one({"jobId": {"$eq": converted.record["jobId"]}})
        if self._belongs_to_other_job(converted.record, stored):
            return ImportEntry(number, job_id, Outcome.REFUSED, (_ID_IN_USE,))
        if stored is not None and stored.get("userId") != user:
            return ImportEntry(number, job_id, Outcome.REFUSED, (_OTHER_USER,))
        folders = _folders(converted.record)
        self.fetch(folders)
        sizes = self.sizes(folders)
        record = legacy_record.with_sizes(converted.record, sizes, self.target.key_of) | {"importedBy": self.by}
        try:
            outcome = self._store(record, stored)
        except DuplicateKeyError:
            return ImportEntry(number, job_id, Outcome.REFUSED, (_ID_IN_USE,))
        missing = tuple(key for key in converted.files if key not in sizes)
        cancelled = record["status"] != document.get("status")
        note = (
            f"it was {document.get('status')} in the legacy service, and is imported as cancelled" if cancelled else ""
        )
        return ImportEntry(number, job_id, outcome, missing=missing, note=note)

    def _belongs_to_other_job(self, record: Document, stored: Document | None) -> bool:
        if stored is not None:
            same = all(stored.get(name) == record.get(name) for name in ("namespace", "tenant"))
            return not stored.get("imported") or not same or "discard" in stored
        # A job without a record may still have purchases and files.
        asked = {"$eq": record["jobId"]}
        return self.ledger.find_one({"$or": [{"jobId": asked}, {"formerOwners": asked}]}) is not None

    def _store(self, record: Document, stored: Document | None) -> Outcome:
        if stored is None:
            self.jobs.insert_one(dict(record))
            return Outcome.IMPORTED
        if newest_record(stored, record) is None:
            return Outcome.UNCHANGED
        kept = {name: stored[name] for name in _PRESERVED_FIELDS if name in stored}
        same = {name: stored.get(name) for name in ("_id", "status", "progress")}
        self.jobs.update_one(same, {"$set": record | kept})
        return Outcome.UPDATED


_ID_IN_USE = FieldProblem("jobId", "another job has this id")
_OTHER_USER = FieldProblem("userId", "the job was imported for another user, which an import cannot change")


def _user_not_allowed(user_id: str, namespace: str) -> FieldProblem:
    return FieldProblem(
        "userId",
        f"{user_id!r} must be the namespace ({namespace!r}) or a user id for which you have the verb use on "
        "userids.contentgen.dev; a Role with that resource name grants it",
    )


def _folders(record: Document) -> tuple[str, ...]:
    return tuple(sorted(keys.job_prefixes(KINDS[record["type"]], record["userId"], record["jobId"])))
