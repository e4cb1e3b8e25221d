"""Recently created jobs, shared between replicas through MongoDB.

Until a job has a record, a replica knows it only from its own watch, which may lag for seconds or be broken for a
minute. Without this, a client could get 202 from one replica and 404 from the next.
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta

from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from contentgen_contract.names import Kind
from contentgen_contract.records.indexes import Keys
from contentgen_gateway.live.job_snapshot import JobSnapshot
from contentgen_gateway.live.jobs import LiveJobs
from contentgen_gateway.live.resources import JobResources, Unreadable
from contentgen_runtime.clock import Clock, utc_now
from contentgen_runtime.kube import Body
from contentgen_runtime.mongo import Document, create_indexes

INDEXES: dict[str, Keys] = {"until": (("until", 1),)}
RETENTION = timedelta(minutes=10)
"""Longer than a watch may be broken without being noticed, including its pauses after errors."""
_WRITE_SECONDS = 2.0  # the resource exists already, so the client waits no longer for this write
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RecentCreations:
    """The MongoDB collection `recent-creations`: kind, namespace and name of resources by uid, for `RETENTION`.

    pymongo is synchronous, so each call runs in a thread.
    """

    documents: Collection[Document]
    live: LiveJobs
    resources: JobResources
    clock: Clock = utc_now

    def create_indexes(self) -> None:
        """Idempotent."""
        create_indexes(self.documents, INDEXES)

    async def announce(self, kind: Kind, body: Body) -> JobSnapshot:
        """Publish a resource that this replica has created; other replicas can find it when this returns.

        If MongoDB is unavailable, other replicas find it as soon as their watches report it.
        """
        snapshot = self.live.add(kind, body)
        try:
            await asyncio.wait_for(asyncio.to_thread(self._add, snapshot), _WRITE_SECONDS)
        except (PyMongoError, TimeoutError) as error:
            _log.warning("new job not shared with other replicas: %s", type(error).__name__)
        return snapshot

    def _add(self, snapshot: JobSnapshot) -> None:
        at = self.clock()
        place = {"kind": snapshot.kind.value, "namespace": snapshot.meta.namespace, "name": snapshot.meta.name}
        self.documents.update_one(
            {"_id": {"$eq": snapshot.job_id}}, {"$set": place | {"until": at + RETENTION}}, upsert=True
        )
        self.documents.delete_many({"until": {"$lt": at}})

    async def find(self, job_id: str) -> JobSnapshot | None:
        """The snapshot of an unfinished job, from memory or through its entry; None if there is neither.

        Raises PyMongoError, or one of API_ERRORS.
        """
        if (snapshot := self.live.get(job_id)) is not None:
            return snapshot
        place = await asyncio.to_thread(self.documents.find_one, {"_id": {"$eq": job_id}})
        if place is None:
            return None
        kind = Kind(place["kind"])
        try:
            body = await self.resources.get(kind, place["namespace"], place["name"])
        except Unreadable:  # another installation's namespace; the caller is not authorized yet, so no details
            return None
        if body is None or body["metadata"]["uid"] != job_id or not self.resources.serves(body):
            return None
        return self.live.add(kind, body)
