"""Who besides those with rights in its namespace may see a job: users by name, and namespaces. Only to see it."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Any, Self

from pymongo.collection import Collection

from contentgen_contract.records.indexes import Keys
from contentgen_runtime.mongo import create_indexes

Document = dict[str, Any]
INDEXES: dict[str, Keys] = {
    "job_id": (("jobId", 1),),
    "to_shared": (("to", 1), ("sharedAt", -1)),
    "to_owner": (("to", 1), ("namespace", 1), ("type", 1)),
    "owner_to": (("namespace", 1), ("to", 1)),
}
_TO_NAMESPACES = {"to": {"$gte": "namespace:", "$lt": "namespace;"}}
MOST = 500
"""Shared jobs that a list holds, the latest first, and shares of one job."""
MOST_OF_A_NAMESPACE = 10_000
"""Shares of all jobs of one namespace together."""
MOST_NAMESPACES = 20
"""Distinct namespaces that the jobs of one namespace are shared with; of more that are stored, the first by name
count. Kubernetes is asked about each when anybody lists: without a limit, one tenant slows down everybody's lists.
"""
MOST_ASKED = 200
"""Distinct namespaces with shares that one list asks about; of more, each owner's first come first."""


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

    @property
    def places(self) -> tuple[str, ...]:
        """The namespaces between which it is: the job's, and the grantee's where that one is of a namespace."""
        if self.to.kind == "namespace":
            return self.namespace, self.to.name
        parts = self.to.name.split(":")
        service_account = len(parts) == 4 and parts[:2] == ["system", "serviceaccount"]
        return (self.namespace, parts[2]) if service_account else (self.namespace,)


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """Some jobs of a namespace, all of one type, are shared with another namespace."""

    owner: str
    to: str
    type: str


def bounded(grants: Iterable[Grant]) -> tuple[dict[str, frozenset[str]], bool]:
    """The types that are shared with each namespace, of as many namespaces as a list asks about, and whether some
    were left out. Pure.

    Owners take turns, one namespace each: nobody's shares are crowded out by another's.
    """
    by_owner: dict[str, list[str]] = {}
    types: dict[str, set[str]] = {}
    for each in sorted(grants):
        names = by_owner.setdefault(each.owner, [])
        if each.to not in names[-1:]:
            names.append(each.to)
        types.setdefault(each.to, set()).add(each.type)
    turns = zip_longest(*(names[:MOST_NAMESPACES] for names in by_owner.values()))
    chosen = list(dict.fromkeys(name for turn in turns for name in turn if name is not None))[:MOST_ASKED]
    return {name: frozenset(types[name]) for name in chosen}, len(chosen) < len(types)


class Shares:
    """The collection `shares`. pymongo is synchronous: every call runs in a thread."""

    def __init__(self, collection: Collection[Document]) -> None:
        self._collection = collection

    def create_indexes(self) -> None:
        """Idempotent."""
        create_indexes(self._collection, INDEXES)

    async def of(self, job_id: str) -> list[Share]:
        """Whom a job is shared with."""
        return await asyncio.to_thread(self._find, {"jobId": {"$eq": job_id}})

    async def of_all(self, job_ids: Iterable[str], grantees: Iterable[Grantee]) -> dict[str, list[Share]]:
        """Shares by job id, of these jobs: those with any of these grantees, and those with namespaces."""
        matching = {
            "jobId": {"$in": sorted(job_ids)},
            "$or": [{"to": {"$in": sorted(map(str, grantees))}}, _TO_NAMESPACES],
        }
        found: dict[str, list[Share]] = {}
        for each in map(_share, await asyncio.to_thread(lambda: list(self._collection.find(matching)))):
            found.setdefault(each.job_id, []).append(each)
        return found

    async def given(self, grantees: Iterable[Grantee], owner: str | None = None) -> list[Share]:
        """Shares with any of these grantees, the latest `MOST`; `owner` limits them to one namespace's jobs."""
        matching: Document = {"to": {"$in": sorted(map(str, grantees))}}
        return await asyncio.to_thread(self._find, matching | ({"namespace": owner} if owner is not None else {}))

    async def grants(self, owner: str | None = None) -> list[Grant]:
        """Distinct grants to namespaces, sorted; `owner` limits them to one namespace's jobs."""
        matching = _TO_NAMESPACES | ({"namespace": {"$eq": owner}} if owner is not None else {})
        return await asyncio.to_thread(self._grants, matching)

    def _grants(self, matching: Document) -> list[Grant]:
        key = {"owner": "$namespace", "to": "$to", "type": "$type"}
        rows = [each["_id"] for each in self._collection.aggregate([{"$match": matching}, {"$group": {"_id": key}}])]
        return sorted(Grant(row["owner"], Grantee.parse(row["to"]).name, row["type"]) for row in rows)

    async def count(self, owner: str) -> int:
        """Shares of all jobs of a namespace."""
        return await asyncio.to_thread(self._collection.count_documents, {"namespace": {"$eq": owner}})

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
