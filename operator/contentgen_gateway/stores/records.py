"""The records of jobs and of purchases, as the gateway reads them.

pymongo is synchronous: every call runs in a thread.
"""

import asyncio
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

Record = dict[str, Any]
_HIDDEN = {"_id": False, "terms": False}
_INDEXED = {
    "_id": False, "jobId": True, "userId": True, "namespace": True, "type": True, "createdAt": True,
    "metadata.isPublic": True, "versions.version": True, "versions.transcriptUrl": True, "name": True,
    "imported": True, "status": True, "tenant": True, "scopes": True,
}  # fmt: skip


def _of(job_id: str) -> dict[str, Any]:
    """The filter of one job: `$eq` in words for which the embedded server takes its index too."""
    return {"jobId": {"$in": [job_id]}}


def discarded(record: Record) -> bool:
    """Whether its files are being deleted."""
    return "discard" in record


class Records:
    """The collection `jobs`. Each record that is given out can be read by the models and pages (`record_types.py`) and
    has been verified (`verification.py`).
    """

    def __init__(self, collection: Collection[Record], key_of: KeyOf) -> None:
        self._collection = collection
        self._key_of = key_of

    def _verified(self, found: Iterable[Record]) -> list[Record]:
        """One more query, only where a record names files of another job: for all of them together."""
        records = [each for record in found if (each := readable(record)) is not None]
        others = {id(each): jobs for each in records if (jobs := other_jobs(each, self._key_of))}
        bought = self._bought(set().union(*others.values())) if others else {}
        return [verified(each, self._key_of, _of_name(each, bought)) for each in records]

    def _bought(self, job_ids: set[str]) -> dict[str, set[str]]:
        """Of these jobs, those that bought something, by what the ids of their purchases begin with."""
        ledger, bought = self._collection.database["ledger"], dict[str, set[str]]()
        asked = {"$in": sorted(job_ids)}
        either = {"$or": [{"jobId": asked}, {"formerOwners": asked}]}
        for each in ledger.find(either, {"jobId": True, "formerOwners": True}):
            prefix = "/".join(str(each["_id"]).split("/")[:3])
            bought.setdefault(f"{prefix}/", set()).update({each["jobId"], *each.get("formerOwners", ())} & job_ids)
        return bought

    async def ping(self) -> None:
        """Nothing, where the database answers."""
        await asyncio.to_thread(self._collection.database.command, "ping")

    @property
    def collection(self) -> Collection[Record]:
        """For what takes records over."""
        return self._collection

    async def find(self, query: Query) -> list[Record]:
        """The records of a page, and one more where another page follows."""
        return await asyncio.to_thread(self._find, query)

    def _find(self, query: Query) -> list[Record]:
        found = self._collection.find(query.filter, _HIDDEN).sort(list(query.sort)).limit(query.limit + 1)
        return self._verified(found)

    async def first(self, query: Query, most: int) -> tuple[list[Record], int]:
        """The records of a list's first page, and how many the list has: `most` where it has as many or more."""
        return await asyncio.to_thread(self._first, query, most)

    def _first(self, query: Query, most: int) -> tuple[list[Record], int]:
        # The ids tell the page and the total in one pass: a server without indexes takes as long for each pass.
        found = self._collection.find(query.filter, {"_id": False, "jobId": True}).sort(list(query.sort)).limit(most)
        ids = [each["jobId"] for each in found if isinstance(each.get("jobId"), str)]
        page = ids[: query.limit]
        if not page:
            return [], 0
        known = {each["jobId"]: each for each in self._collection.find({"jobId": {"$in": page}}, _HIDDEN)}
        return self._verified(known[each] for each in page if each in known), len(ids)

    async def count(self, matching: dict[str, Any]) -> int:
        """How many there are."""
        return await asyncio.to_thread(self._collection.count_documents, matching)

    async def get(self, job_id: str) -> Record | None:
        """One record."""
        found = await self.known(job_id)
        return found if found is not None and not discarded(found) else None

    async def known(self, job_id: str) -> Record | None:
        """The same, also of a job whose files are being deleted."""
        return await asyncio.to_thread(self._known, job_id)

    def _known(self, job_id: str) -> Record | None:
        found = self._collection.find_one(_of(job_id), _HIDDEN)
        return next(iter(self._verified([found])), None) if found is not None else None

    async def transcripts(self, after: str, most: int) -> list[Record]:
        """What the index of transcripts needs of their records, by jobId."""
        return await asyncio.to_thread(self._transcripts, after, most)

    def _transcripts(self, after: str, most: int) -> list[Record]:
        wanted = {"jobId": {"$gt": after}, "type": Kind.TRANSCRIPTION.record_type} | NOT_DISCARDED
        return self._verified(self._collection.find(wanted, _INDEXED).sort("jobId", 1).limit(most))

    async def namespaces(self, user_id: str | None) -> Sequence[str]:
        """The namespaces that have records, of one user's or of all."""
        matching = {"userId": user_id} if user_id else {}
        found = await asyncio.to_thread(self._collection.distinct, "namespace", matching)
        return sorted(each for each in found if isinstance(each, str))

    async def using(self, *job_ids: str) -> list[Record]:
        """The records of what was made with the outputs of one of these jobs."""
        wanted = {"uses": {"$in": list(job_ids)}} | NOT_DISCARDED
        return await asyncio.to_thread(lambda: self._verified(self._collection.find(wanted, _HIDDEN).limit(100)))

    async def some(self, job_ids: Iterable[str]) -> dict[str, Record]:
        """Of these jobs, those that there are, by id: what tells who may see them, and no more."""
        wanted = {"jobId": {"$in": sorted(set(job_ids))}} | NOT_DISCARDED
        shown = {"_id": False, "jobId": True, "type": True, "namespace": True, "metadata.isPublic": True}
        shown |= {"tenant": True, "createdAt": True}
        found = await asyncio.to_thread(lambda: list(self._collection.find(wanted, shown)))
        return {each["jobId"]: each for each in found}

    async def describe(self, record: Record) -> None:
        """What people find it by has changed."""
        change = {"metadata": record["metadata"], "terms": search_terms(record)}
        mine = _of(record["jobId"])
        await asyncio.to_thread(self._collection.update_one, mine, {"$set": change})

    async def mark_discarded(self, discard: DeletionTombstone) -> None:
        """It is not to be seen any more; the operator's janitor deletes the files, and the record last."""
        change = {"discard": discard.model_dump(mode="json")}
        mine = _of(discard.uid)
        await asyncio.to_thread(self._collection.update_one, mine, {"$set": change})

    async def restore_adopted(self, record: Record) -> None:
        """List again, as the earlier jobs', the outputs that a job had adopted: they stay when its record goes."""
        earlier = {"jobId": {"$in": list(record.get("adoptedFrom") or ())}, "adoptedBy": {"$eq": record["jobId"]}}
        await asyncio.to_thread(self._collection.update_many, earlier, {"$unset": {"adoptedBy": ""}})

    async def drawing(self, place: Filter, lora: str) -> list[Record]:
        """The pictures under way at a place that name this LoraTraining: they have no version that says it yet."""
        wanted = place | {
            "status": {"$in": ["queued", "processing"]},
            "config.loras.loraRef.name": {"$eq": lora},
        }
        return await asyncio.to_thread(
            lambda: self._verified(self._collection.find(wanted | NOT_DISCARDED, _HIDDEN).limit(100))
        )

    async def note_download(self, job_id: str, now: datetime) -> None:
        """Somebody has got a URL of one of its files."""
        change = {"$inc": {"downloads": 1}, "$set": {"lastAccessed": now}}
        await asyncio.to_thread(self._collection.update_one, _of(job_id), change)

    async def tally(self, tally: Aggregation) -> list[Row]:
        """The groups of some records with their sums."""
        return await asyncio.to_thread(_rows, self._collection, tally)


def _of_name(record: Record, bought: dict[str, set[str]]) -> set[str]:
    """The jobs that bought something under a record's name and one of its scopes."""
    return set[str]().union(*(bought.get(each, ()) for each in purchase_prefixes(record)))


class Purchases:
    """The operator's ledger, which is only read here: what was paid, also for jobs that are deleted by now."""

    def __init__(self, collection: Collection[Record]) -> None:
        self._collection = collection

    async def find(self, query: Query) -> list[Record]:
        """The purchases of a page, and one more where another page follows."""
        return await asyncio.to_thread(
            lambda: list(self._collection.find(query.filter).sort(list(query.sort)).limit(query.limit + 1))
        )

    async def count(self, matching: dict[str, Any]) -> int:
        """How many there are."""
        return await asyncio.to_thread(self._collection.count_documents, matching)

    async def tally(self, tally: Aggregation) -> list[Row]:
        """The groups of some purchases with their sums."""
        return await asyncio.to_thread(_rows, self._collection, tally)


def _rows(collection: Collection[Record], tally: Aggregation) -> list[Row]:
    return list(collection.aggregate(list(tally.pipeline)))
