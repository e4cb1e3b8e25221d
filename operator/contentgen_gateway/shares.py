"""Who besides those with rights in its namespace may see a job: users by name, and namespaces. Only to see it."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from pymongo.collection import Collection

from contentgen_contract.indexes import Keys

Document = dict[str, Any]
INDEXES: dict[str, Keys] = {
    "job_id": (("jobId", 1),),
    "to_shared": (("to", 1), ("sharedAt", -1)),
}
MOST = 500
"""Shared jobs that a list holds, the latest first, and shares of one job."""


@dataclass(frozen=True, slots=True, order=True)
class Grantee:
    """A user, or all of a namespace."""

    kind: str  # user or namespace
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """As it is stored."""
        kind, _, name = text.partition(":")
        return cls(kind, name)


@dataclass(frozen=True, slots=True)
class Share:
    """One job for one of them."""

    job_id: str
    namespace: str  # the job's
    type: str  # the records' word for the job's kind
    to: Grantee
    shared_by: str
    shared_at: datetime


class Shares:
    """The collection `shares`. pymongo is synchronous: every call runs in a thread."""

    def __init__(self, collection: Collection[Document]) -> None:
        self._collection = collection

    def create_indexes(self) -> None:
        """Idempotent."""
        for name, keys in INDEXES.items():
            self._collection.create_index(list(keys), name=name)

    async def of(self, job_id: str) -> list[Share]:
        """Whom a job is shared with."""
        return await asyncio.to_thread(self._find, {"jobId": {"$eq": job_id}})

    async def given(self, grantees: Iterable[Grantee]) -> list[Share]:
        """What is shared with any of these."""
        return await asyncio.to_thread(self._find, {"to": {"$in": sorted(map(str, grantees))}})

    async def namespaces(self) -> list[str]:
        """Those that anything is shared with."""
        found = await asyncio.to_thread(
            self._collection.distinct, "to", {"to": {"$gte": "namespace:", "$lt": "namespace;"}}
        )
        return sorted(Grantee.parse(each).name for each in found)

    def _find(self, matching: Document) -> list[Share]:
        found = self._collection.find(matching).sort([("sharedAt", -1)]).limit(MOST)
        return [_share(each) for each in found]

    async def add(self, shares: Sequence[Share]) -> None:
        """Once each; who shared it first stays named."""
        await asyncio.to_thread(self._add, shares)

    def _add(self, shares: Sequence[Share]) -> None:
        for each in shares:
            fresh = {
                "jobId": each.job_id,
                "namespace": each.namespace,
                "type": each.type,
                "to": str(each.to),
                "sharedBy": each.shared_by,
                "sharedAt": each.shared_at,
            }
            self._collection.update_one({"_id": f"{each.job_id}/{each.to}"}, {"$setOnInsert": fresh}, upsert=True)

    async def revoke(self, job_id: str, grantees: Iterable[Grantee]) -> None:
        """No longer shared with these."""
        ids = [f"{job_id}/{each}" for each in grantees]
        await asyncio.to_thread(self._collection.delete_many, {"_id": {"$in": ids}})

    async def forget(self, job_id: str) -> None:
        """The job is shared with nobody."""
        await asyncio.to_thread(self._collection.delete_many, {"jobId": {"$eq": job_id}})


def _share(found: Document) -> Share:
    return Share(
        job_id=found["jobId"],
        namespace=found["namespace"],
        type=found["type"],
        to=Grantee.parse(found["to"]),
        shared_by=found["sharedBy"],
        shared_at=found["sharedAt"],
    )
