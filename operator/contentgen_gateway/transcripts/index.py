"""What is said in transcripts, passage by passage, with an array of terms and a plain index: every server finds it.

A copy of what lies in the bucket, made by the `Indexer` and never the only place of anything: it may be dropped.
"""

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from contentgen_contract.records.indexes import NEWEST_FIRST, Keys
from contentgen_contract.records.record import distinct_words
from contentgen_gateway.stores.queries import Query
from contentgen_gateway.transcripts.passages import Passage
from contentgen_runtime.mongo import create_indexes

Document = dict[str, Any]
IN_ORDER: Keys = (*NEWEST_FIRST, ("number", 1))
INDEXES: dict[str, Keys] = {"terms_created": (("terms", 1), *IN_ORDER), "job_id": (("jobId", 1),)}
_BATCH = 500
_DUPLICATE = 11000
_SHOWN = {"_id": False, "terms": False}


class TranscriptIndex:
    """The collections `transcripts` (passages) and `transcripts-indexed` (what each job's passages are of).

    pymongo is synchronous: every call runs in a thread.
    """

    def __init__(self, database: Database[Document]) -> None:
        self._passages: Collection[Document] = database["transcripts"]
        self._marks: Collection[Document] = database["transcripts-indexed"]

    def create_indexes(self) -> None:
        """Idempotent."""
        create_indexes(self._passages, INDEXES)

    async def find(self, query: Query, most: int) -> list[Document]:
        """Passages, the newest job's first and each job's in order."""
        return await asyncio.to_thread(self._find, query, most)

    def _find(self, query: Query, most: int) -> list[Document]:
        return list(self._passages.find(query.filter, _SHOWN).sort(list(IN_ORDER)).limit(most))

    async def mark(self, job_id: str) -> Document | None:
        """What the passages of a job were made of."""
        return await asyncio.to_thread(self._marks.find_one, {"_id": {"$eq": job_id}}, {"_id": False})

    async def marks(self, after: str, until: str | None) -> dict[str, Document]:
        """The same of the jobs whose ids come after one, up to another."""
        return await asyncio.to_thread(self._marks_between, after, until)

    def _marks_between(self, after: str, until: str | None) -> dict[str, Document]:
        found = self._marks.find({"_id": {"$gt": after} | ({"$lte": until} if until is not None else {})})
        return {each.pop("_id"): each for each in found}

    async def replace(
        self, job_id: str, about: Mapping[str, Any], mark: Mapping[str, Any], said: Sequence[Passage]
    ) -> None:
        """These are the passages of a job now, each with what is known `about` the job. Idempotent.

        Several replicas may do so at the same time, and each may be ended in between: each stores all passages before
        it deletes any other, and sets the mark last.
        """
        await asyncio.to_thread(self._replace, job_id, about, mark, said)

    def _replace(self, job_id: str, about: Mapping[str, Any], mark: Mapping[str, Any], said: Sequence[Passage]) -> None:
        version = about["version"]
        for first in range(0, len(said), _BATCH):
            numbered = enumerate(said[first : first + _BATCH], first)
            self._store([_document(job_id, number, each, about) for number, each in numbered])
        others = [{"version": {"$ne": version}}, {"number": {"$gte": len(said)}}]
        self._passages.delete_many({"jobId": job_id, "$or": others})
        # Last: what was interrupted has the mark of before, or none, and is done again.
        self._marks.replace_one({"_id": job_id}, {"_id": job_id, **mark}, upsert=True)
        if self._passages.count_documents({"jobId": job_id, "version": version}) < len(said):
            # Another replica had read an older record, and has deleted what it did not know.
            self._marks.delete_one({"_id": job_id})

    def _store(self, documents: list[Document]) -> None:
        try:
            self._passages.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            failed = error.details["writeErrors"]
            if any(each["code"] != _DUPLICATE for each in failed):
                raise
            # Stored at this moment by another replica, or by a try that was interrupted, perhaps of another file.
            for each in (documents[each["index"]] for each in failed):
                self._passages.replace_one({"_id": each["_id"]}, each, upsert=True)

    async def amend(self, job_id: str, about: Mapping[str, Any], mark: Mapping[str, Any]) -> None:
        """What is known about the job has changed, and not what is said in it."""
        await asyncio.to_thread(self._amend, job_id, about, mark)

    def _amend(self, job_id: str, about: Mapping[str, Any], mark: Mapping[str, Any]) -> None:
        self._passages.update_many({"jobId": job_id}, {"$set": dict(about)})
        self._marks.replace_one({"_id": job_id}, {"_id": job_id, **mark}, upsert=True)

    async def forget(self, job_id: str) -> None:
        """The job is gone."""
        await asyncio.to_thread(self._forget, job_id)

    def _forget(self, job_id: str) -> None:
        self._passages.delete_many({"jobId": job_id})
        self._marks.delete_one({"_id": job_id})


def _document(job_id: str, number: int, passage: Passage, about: Mapping[str, Any]) -> Document:
    return {
        "_id": f"{job_id}/{about['version']}/{number:05}",
        "jobId": job_id,
        "number": number,
        "terms": distinct_words([passage.text]),
        **dataclasses.asdict(passage),
        **about,
    }
