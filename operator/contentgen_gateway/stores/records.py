"""Records of jobs and purchases in MongoDB.

pymongo is synchronous, so each call runs in a thread.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from pymongo.collection import Collection

from contentgen_contract.names import Kind
from contentgen_contract.records.deletion_tombstone import DeletionTombstone
from contentgen_contract.records.record import search_terms
from contentgen_gateway.stores.aggregations import Aggregation, Row
from contentgen_gateway.stores.queries import NOT_DISCARDED, Filter, Query
from contentgen_gateway.stores.record_types import readable
from contentgen_gateway.stores.verification import KeyOf, other_jobs, purchase_prefixes, verified
from contentgen_runtime.clock import utc_now
from contentgen_runtime.stores import in_thread

Record = dict[str, Any]
_ALL_FIELDS = {"_id": False, "terms": False}
_TRANSCRIPT_FIELDS = {
    "_id": False, "jobId": True, "userId": True, "namespace": True, "type": True, "createdAt": True,
    "metadata.isPublic": True, "versions.version": True, "versions.transcriptUrl": True, "name": True,
    "imported": True, "status": True, "tenant": True, "scopes": True,
}  # fmt: skip


def _by_job_id(job_id: str) -> dict[str, Any]:
    """Filter of one job. `$in` instead of `$eq`, because only then the embedded server uses its index too."""
    return {"jobId": {"$in": [job_id]}}


def discarded(record: Record) -> bool:
    """True if the job has a tombstone: its files are being deleted."""
    return "discard" in record


class Records:
    """The MongoDB collection `jobs`.

    Returned records have valid types (`record_types.py`) and name only files of their own job (`verification.py`).
    """

    def __init__(self, collection: Collection[Record], key_of: KeyOf) -> None:
        self._collection = collection
        self._key_of = key_of

    def _verified(self, found: Iterable[Record]) -> list[Record]:
        """Readable and verified records. One more query for all of them, if any names files of another job."""
        records = [each for record in found if (each := readable(record)) is not None]
        others = {id(each_record): jobs for each_record in records if (jobs := other_jobs(each_record, self._key_of))}
        bought = self._buyers(set().union(*others.values())) if others else {}
        return [
            verified(each_record, self._key_of, _jobs_bought_under_name(each_record, bought)) for each_record in records
        ]

    def _buyers(self, job_ids: set[str]) -> dict[str, set[str]]:
        """Ids of those of these jobs that have purchases, by the first three parts of the purchases' buying keys."""
        ledger, bought = self._collection.database["ledger"], dict[str, set[str]]()
        asked = {"$in": sorted(job_ids)}
        either = {"$or": [{"jobId": asked}, {"formerOwners": asked}]}
        for purchase in ledger.find(either, {"jobId": True, "formerOwners": True}):
            prefix = "/".join(str(purchase["_id"]).split("/")[:3])
            bought.setdefault(f"{prefix}/", set()).update(
                {purchase["jobId"], *purchase.get("formerOwners", ())} & job_ids
            )
        return bought

    @in_thread
    def ping(self) -> None:
        """Raises PyMongoError if the database is unavailable."""
        self._collection.database.command("ping")

    @property
    def collection(self) -> Collection[Record]:
        """The pymongo collection, for the legacy import."""
        return self._collection

    @in_thread
    def find(self, query: Query) -> list[Record]:
        """The records of a page, plus one if there is a next page."""
        found = self._collection.find(query.filter, _ALL_FIELDS).sort(list(query.sort)).limit(query.limit + 1)
        return self._verified(found)

    @in_thread
    def first_page(self, query: Query, most: int) -> tuple[list[Record], int]:
        """The records of a list's first page, and the length of the list, counted up to `most`."""
        # One query of ids gives both the page and the total: without indexes, each query is a full scan.
        found = self._collection.find(query.filter, {"_id": False, "jobId": True}).sort(list(query.sort)).limit(most)
        ids = [record["jobId"] for record in found if isinstance(record.get("jobId"), str)]
        page = ids[: query.limit]
        if not page:
            return [], 0
        known = {record["jobId"]: record for record in self._collection.find({"jobId": {"$in": page}}, _ALL_FIELDS)}
        return self._verified(known[job_id] for job_id in page if job_id in known), len(ids)

    @in_thread
    def count(self, matching: dict[str, Any]) -> int:
        """Number of matching documents."""
        return self._collection.count_documents(matching)

    async def get(self, job_id: str) -> Record | None:
        """The record of a job; None if it is missing or has a tombstone."""
        found = await self.get_with_discarded(job_id)
        return found if found is not None and not discarded(found) else None

    @in_thread
    def get_with_discarded(self, job_id: str) -> Record | None:
        """The record of a job, with or without a tombstone; None if it is missing."""
        found = self._collection.find_one(_by_job_id(job_id), _ALL_FIELDS)
        return next(iter(self._verified([found])), None) if found is not None else None

    @in_thread
    def transcripts(self, after: str, most: int) -> list[Record]:
        """Transcriptions whose jobId is greater than `after`, sorted, with the fields that the search index needs."""
        wanted = {"jobId": {"$gt": after}, "type": Kind.TRANSCRIPTION.record_type} | NOT_DISCARDED
        return self._verified(self._collection.find(wanted, _TRANSCRIPT_FIELDS).sort("jobId", 1).limit(most))

    @in_thread
    def namespaces(self, user_id: str | None) -> Sequence[str]:
        """Namespaces that have records, sorted; `user_id` limits them to one user."""
        matching = {"userId": user_id} if user_id else {}
        found = self._collection.distinct("namespace", matching)
        return sorted(record for record in found if isinstance(record, str))

    @in_thread
    def dependents(self, *job_ids: str) -> list[Record]:
        """Up to 100 records of jobs that used outputs of one of these jobs."""
        wanted = {"uses": {"$in": list(job_ids)}} | NOT_DISCARDED
        return self._verified(self._collection.find(wanted, _ALL_FIELDS).limit(100))

    @in_thread
    def visibility_fields(self, job_ids: Iterable[str]) -> dict[str, Record]:
        """Existing jobs by id, with only the fields that decide visibility."""
        wanted = {"jobId": {"$in": sorted(set(job_ids))}} | NOT_DISCARDED
        fields = {"_id": False, "jobId": True, "type": True, "namespace": True, "metadata.isPublic": True}
        fields |= {"tenant": True, "createdAt": True}
        return {record["jobId"]: record for record in self._collection.find(wanted, fields)}

    @in_thread
    def update_metadata(self, record: Record) -> None:
        """Store changed metadata, and the search terms that follow from it."""
        change = {"metadata": record["metadata"], "terms": search_terms(record), "updatedAt": utc_now()}
        same = _by_job_id(record["jobId"])
        self._collection.update_one(same, {"$set": change})

    @in_thread
    def mark_discarded(self, discard: DeletionTombstone) -> None:
        """Write the tombstone. It hides the job, and the operator's garbage collector deletes files and record."""
        change = {"discard": discard.model_dump(mode="json")}
        same = _by_job_id(discard.uid)
        self._collection.update_one(same, {"$set": change})

    @in_thread
    def restore_adopted(self, record: Record) -> None:
        """List adopted outputs under their earlier jobs again, because they outlive the job that adopted them."""
        earlier = {"jobId": {"$in": list(record.get("adoptedFrom") or ())}, "adoptedBy": {"$eq": record["jobId"]}}
        self._collection.update_many(earlier, {"$unset": {"adoptedBy": ""}})

    @in_thread
    def unfinished_with_lora(self, place: Filter, lora: str) -> list[Record]:
        """Up to 100 unfinished jobs in `place` that reference this LoraTraining; they have no version with it yet."""
        wanted = place | {
            "status": {"$in": ["queued", "processing"]},
            "config.loras.loraRef.name": {"$eq": lora},
        }
        return self._verified(self._collection.find(wanted | NOT_DISCARDED, _ALL_FIELDS).limit(100))

    @in_thread
    def note_download(self, job_id: str, now: datetime) -> None:
        """Count a download and set its time."""
        change = {"$inc": {"downloads": 1}, "$set": {"lastAccessed": now}}
        self._collection.update_one(_by_job_id(job_id), change)

    @in_thread
    def tally(self, aggregation: Aggregation) -> list[Row]:
        """One row for each group of records, with its sums."""
        return _rows(self._collection, aggregation)


def _jobs_bought_under_name(record: Record, bought: dict[str, set[str]]) -> set[str]:
    """Jobs with purchases under the record's namespace, kind and name, in any of its scopes."""
    return set[str]().union(*(bought.get(prefix, ()) for prefix in purchase_prefixes(record)))


class Purchases:
    """The operator's ledger, read-only. It includes purchases of deleted jobs."""

    def __init__(self, collection: Collection[Record]) -> None:
        self._collection = collection

    @in_thread
    def find(self, query: Query) -> list[Record]:
        """The purchases of a page, plus one if there is a next page."""
        return list(self._collection.find(query.filter).sort(list(query.sort)).limit(query.limit + 1))

    @in_thread
    def count(self, matching: dict[str, Any]) -> int:
        """Number of matching documents."""
        return self._collection.count_documents(matching)

    @in_thread
    def tally(self, aggregation: Aggregation) -> list[Row]:
        """One row for each group of purchases, with its sums."""
        return _rows(self._collection, aggregation)


def _rows(collection: Collection[Record], aggregation: Aggregation) -> list[Row]:
    return list(collection.aggregate(list(aggregation.pipeline)))
