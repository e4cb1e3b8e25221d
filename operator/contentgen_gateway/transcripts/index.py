"""Search index of transcripts in MongoDB: one document for each passage, with an indexed array of terms.

It works without text indexes, which the embedded server lacks. The `Indexer` builds it from the transcripts in the
bucket, so it may be dropped.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import Any

from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from contentgen_contract.records.indexes import NEWEST_FIRST, Keys
from contentgen_contract.records.searching import Condition, Sought, terms
from contentgen_gateway.stores.queries import Query
from contentgen_gateway.transcripts.passages import AROUND_END, Passage
from contentgen_runtime.mongo import Document, create_indexes
from contentgen_runtime.stores import in_thread

IN_ORDER: Keys = (*NEWEST_FIRST, ("number", 1))
INDEXES: dict[str, Keys] = {"terms_created": (("terms", 1), *IN_ORDER), "job_id": (("jobId", 1),)}
MAX_TERMS = 1000  # of a passage
_BEFORE, _AFTER = "<", ">"  # of terms near the end of a passage; terms have only letters, digits and marks
_BATCH = 500
_DUPLICATE = 11000
_FIELDS = {"_id": False, "terms": False}


class TranscriptIndex:
    """The MongoDB collections `transcripts` (passages) and `transcripts-indexed` (marks: sources of jobs' passages).

    pymongo is synchronous, so each call runs in a thread.
    """

    def __init__(self, database: Database[Document]) -> None:
        self._passages: Collection[Document] = database["transcripts"]
        self._marks: Collection[Document] = database["transcripts-indexed"]

    def create_indexes(self) -> None:
        """Idempotent."""
        create_indexes(self._passages, INDEXES)

    @in_thread
    def find(self, query: Query, most: int) -> list[Document]:
        """Up to `most` passages, newest job first, each job's in order."""
        return list(self._passages.find(query.filter, _FIELDS).sort(list(IN_ORDER)).limit(most))

    @in_thread
    def mark(self, job_id: str) -> Document | None:
        """The source of a job's indexed passages; None if it has none."""
        return self._marks.find_one({"_id": {"$eq": job_id}}, {"_id": False})

    @in_thread
    def marks(self, after: str, until: str | None) -> dict[str, Document]:
        """Marks by job id, for ids greater than `after`, up to and including `until` (None: no upper bound)."""
        found = self._marks.find({"_id": {"$gt": after} | ({"$lte": until} if until is not None else {})})
        return {document.pop("_id"): document for document in found}

    @in_thread
    def replace(
        self, job_id: str, about: Mapping[str, Any], mark: Mapping[str, Any], passages: Sequence[Passage]
    ) -> None:
        """Replace the passages of a job, each with the job's fields `about`. Idempotent.

        Safe for several replicas at the same time and for crashes: all passages are stored before others are deleted,
        and the mark is set last.
        """
        version = about["version"]
        for first in range(0, len(passages), _BATCH):
            numbered = enumerate(passages[first : first + _BATCH], first)
            self._store([_document(job_id, number, passage, about) for number, passage in numbered])
        others = [{"version": {"$ne": version}}, {"number": {"$gte": len(passages)}}]
        self._passages.delete_many({"jobId": job_id, "$or": others})
        # The mark is last: after an interruption it is the earlier one or missing, so the job is indexed again.
        self._marks.replace_one({"_id": job_id}, {"_id": job_id, **mark}, upsert=True)
        if self._passages.count_documents({"jobId": job_id, "version": version}) < len(passages):
            # Another replica with an older record has deleted newer passages: index again.
            self._marks.delete_one({"_id": job_id})

    def _store(self, documents: list[Document]) -> None:
        try:
            self._passages.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            failed = error.details["writeErrors"]
            if any(each_error["code"] != _DUPLICATE for each_error in failed):
                raise
            # Stored by another replica or an interrupted attempt, possibly from another file: overwrite.
            for document in (documents[each_error["index"]] for each_error in failed):
                self._passages.replace_one({"_id": document["_id"]}, document, upsert=True)

    @in_thread
    def amend(self, job_id: str, about: Mapping[str, Any], mark: Mapping[str, Any]) -> None:
        """Update the job's fields of its passages; the transcript has not changed."""
        self._passages.update_many({"jobId": job_id}, {"$set": dict(about)})
        self._marks.replace_one({"_id": job_id}, {"_id": job_id, **mark}, upsert=True)

    @in_thread
    def delete(self, job_id: str) -> None:
        """Remove a job from the index."""
        self._passages.delete_many({"jobId": job_id})
        self._marks.delete_one({"_id": job_id})


def _document(job_id: str, number: int, passage: Passage, about: Mapping[str, Any]) -> Document:
    return {
        "_id": f"{job_id}/{about['version']}/{number:05}",
        "jobId": job_id,
        "number": number,
        "terms": _terms(passage),
        **dataclasses.asdict(passage),
        **about,
    }


def _terms(passage: Passage) -> list[str]:
    """Terms of a passage, and marked ones on both sides of its end."""
    end = len(passage.text)
    found = dict.fromkeys(
        mark + term.text for term in terms(passage.text + passage.following) for mark in _marks(term.start, end)
    )
    return list(islice(found, MAX_TERMS))


def _marks(start: int, end: int) -> tuple[str, ...]:
    if start >= end:
        return (_AFTER,)
    return ("", _BEFORE) if start >= end - AROUND_END else ("",)


def across_end(given: tuple[Condition, ...]) -> tuple[Condition, ...]:
    """Conditions of a phrase across the end of a passage: each is met near that end, one of them before it.

    Empty for a single condition, which either passage meets by itself.
    """
    if len(given) < 2:
        return ()
    before, after = ([_marked(passage, mark) for passage in given] for mark in (_BEFORE, _AFTER))
    met = (one + other for one, other in zip(before, after, strict=True))
    return (*met, tuple(dict.fromkeys(chain.from_iterable(before))))


def _marked(alternatives: Condition, mark: str) -> Condition:
    return tuple(Sought(mark + alternative.text, alternative.prefix) for alternative in alternatives)
