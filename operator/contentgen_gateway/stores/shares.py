"""Shares: read access to single jobs for users or namespaces that have no rights in the job's namespace."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest
from typing import Self

from pymongo.collection import Collection

from contentgen_contract.records.indexes import Keys
from contentgen_runtime.mongo import Document, create_indexes
from contentgen_runtime.stores import in_thread

INDEXES: dict[str, Keys] = {
    "job_id": (("jobId", 1),),
    "to_shared": (("to", 1), ("sharedAt", -1)),
    "to_owner": (("to", 1), ("namespace", 1), ("type", 1)),
    "owner_to": (("namespace", 1), ("to", 1)),
}
_TO_NAMESPACES = {"to": {"$gte": "namespace:", "$lt": "namespace;"}}
MOST = 500
"""Limit of shared jobs in a list, latest first, and of shares of one job."""
MOST_OF_A_NAMESPACE = 10_000
"""Limit of shares of all jobs of one namespace together."""
MOST_NAMESPACES = 20
"""Limit of distinct namespaces that one namespace shares its jobs with; of more stored ones, the first by name count.
Each list needs an access review for each of them, so without a limit one tenant slows down all lists.
"""
MOST_ASKED = 200
"""Limit of distinct grantee namespaces in the access reviews of one list; see `bounded` for which."""


@dataclass(frozen=True, slots=True, order=True)
class Grantee:
    """A user, or everybody with rights in a namespace."""

    kind: str  # user or namespace
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """From the stored form `kind:name`."""
        kind, _, name = text.partition(":")
        return cls(kind, name)


@dataclass(frozen=True, slots=True)
class Share:
    """A grant of one job to one grantee."""

    job_id: str
    namespace: str  # of the job
    type: str  # `Kind.record_type`
    to: Grantee
    shared_by: str
    shared_at: datetime

    @property
    def places(self) -> tuple[str, ...]:
        """The job's namespace, and that of the grantee if it is a namespace or a service account."""
        if self.to.kind == "namespace":
            return self.namespace, self.to.name
        parts = self.to.name.split(":")
        service_account = len(parts) == 4 and parts[:2] == ["system", "serviceaccount"]
        return (self.namespace, parts[2]) if service_account else (self.namespace,)


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """Jobs of one type in the namespace `owner` are shared with the namespace `to`."""

    owner: str
    to: str
    type: str


def bounded(grants: Iterable[Grant]) -> tuple[dict[str, frozenset[str]], bool]:
    """Shared types by grantee namespace, limited to `MOST_ASKED`, and whether some were left out. Pure.

    Round robin over the owners, so that one owner's shares cannot displace another's.
    """
    by_owner: dict[str, list[str]] = {}
    types: dict[str, set[str]] = {}
    for grant in sorted(grants):
        names = by_owner.setdefault(grant.owner, [])
        if grant.to not in names[-1:]:
            names.append(grant.to)
        types.setdefault(grant.to, set()).add(grant.type)
    turns = zip_longest(*(names[:MOST_NAMESPACES] for names in by_owner.values()))
    chosen = list(dict.fromkeys(name for turn in turns for name in turn if name is not None))[:MOST_ASKED]
    return {name: frozenset(types[name]) for name in chosen}, len(chosen) < len(types)


class Shares:
    """The MongoDB collection `shares`. pymongo is synchronous, so each call runs in a thread."""

    def __init__(self, collection: Collection[Document]) -> None:
        self._collection = collection

    def create_indexes(self) -> None:
        """Idempotent."""
        create_indexes(self._collection, INDEXES)

    @in_thread
    def of_job(self, job_id: str) -> list[Share]:
        """Shares of one job, latest first."""
        return self._find({"jobId": {"$eq": job_id}})

    @in_thread
    def of_jobs(self, job_ids: Iterable[str], grantees: Iterable[Grantee]) -> list[Share]:
        """Shares of these jobs with any of these grantees or with any namespace."""
        matching = {
            "jobId": {"$in": sorted(job_ids)},
            "$or": [{"to": {"$in": sorted(map(str, grantees))}}, _TO_NAMESPACES],
        }
        return [_parse(document) for document in self._collection.find(matching)]

    @in_thread
    def with_grantees(self, grantees: Iterable[Grantee], owner: str | None = None) -> list[Share]:
        """The latest `MOST` shares with any of these grantees; `owner` limits them to one namespace's jobs."""
        matching: Document = {"to": {"$in": sorted(map(str, grantees))}}
        return self._find(matching | ({"namespace": owner} if owner is not None else {}))

    @in_thread
    def grants(self, owner: str | None = None) -> list[Grant]:
        """Distinct grants to namespaces, sorted; `owner` limits them to one namespace's jobs."""
        matching = _TO_NAMESPACES | ({"namespace": {"$eq": owner}} if owner is not None else {})
        key = {"owner": "$namespace", "to": "$to", "type": "$type"}
        rows = [
            document["_id"] for document in self._collection.aggregate([{"$match": matching}, {"$group": {"_id": key}}])
        ]
        return sorted(Grant(row["owner"], Grantee.parse(row["to"]).name, row["type"]) for row in rows)

    @in_thread
    def count(self, owner: str) -> int:
        """Number of shares of all jobs of a namespace."""
        return self._collection.count_documents({"namespace": {"$eq": owner}})

    def _find(self, matching: Document) -> list[Share]:
        found = self._collection.find(matching).sort([("sharedAt", -1)]).limit(MOST)
        return [_parse(document) for document in found]

    @in_thread
    def add(self, shares: Sequence[Share]) -> None:
        """Insert shares. Existing ones keep their `shared_by` and `shared_at`."""
        for share in shares:
            document = {
                "jobId": share.job_id,
                "namespace": share.namespace,
                "type": share.type,
                "to": str(share.to),
                "sharedBy": share.shared_by,
                "sharedAt": share.shared_at,
            }
            self._collection.update_one({"_id": f"{share.job_id}/{share.to}"}, {"$setOnInsert": document}, upsert=True)

    @in_thread
    def revoke(self, job_id: str, grantees: Iterable[Grantee]) -> None:
        """Delete the shares of a job with these grantees. Idempotent."""
        ids = [f"{job_id}/{grantee}" for grantee in grantees]
        self._collection.delete_many({"_id": {"$in": ids}})

    @in_thread
    def delete_job(self, job_id: str) -> None:
        """Delete all shares of a job."""
        self._collection.delete_many({"jobId": {"$eq": job_id}})


def _parse(found: Document) -> Share:
    return Share(
        job_id=found["jobId"],
        namespace=found["namespace"],
        type=found["type"],
        to=Grantee.parse(found["to"]),
        shared_by=found["sharedBy"],
        shared_at=found["sharedAt"],
    )
