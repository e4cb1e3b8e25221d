"""Jobs that a replica has created a short while ago, found by every other replica.

A job without a record is known from a replica's own watch, which may be seconds behind, or be broken for a minute. A
client that was answered 202 by one replica would be answered 404 by the next one.
"""

import asyncio
import logging
from datetime import timedelta
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import PyMongoError

from contentgen_contract.names import Kind
from contentgen_contract.records.indexes import Keys
from contentgen_gateway.live.job_snapshot import JobSnapshot
from contentgen_gateway.live.jobs import LiveJobs
from contentgen_gateway.live.resources import JobResources, Unreadable
from contentgen_runtime.clock import Clock, utc_now
from contentgen_runtime.kube import Body
from contentgen_runtime.mongo import create_indexes

Document = dict[str, Any]
INDEXES: dict[str, Keys] = {"until": (("until", 1),)}
KEPT = timedelta(minutes=10)
"""Longer than a watch may be broken without being noticed, its pauses after errors included."""
_WRITE_SECONDS = 2.0  # the resource is there already: its client waits no longer for this write
_log = logging.getLogger(__name__)


class RecentCreations:
    """The collection `recent-creations`: kind, namespace and name of resources by uid, for `KEPT`. Synchronous calls
    run in a thread.
    """

    def __init__(
        self, collection: Collection[Document], live: LiveJobs, resources: JobResources, clock: Clock = utc_now
    ) -> None:
        self._clock = clock
        self._collection = collection
        self._live = live
        self._resources = resources

    def create_indexes(self) -> None:
        """Idempotent."""
        create_indexes(self._collection, INDEXES)

    async def announce(self, kind: Kind, body: Body) -> JobSnapshot:
        """A resource that this replica has created: known here at once, and to the others when this returns.

        Where MongoDB does not answer, the others know it as soon as their watches tell of it.
        """
        now = self._live.note(kind, body)
        try:
            await asyncio.wait_for(asyncio.to_thread(self._add, now), _WRITE_SECONDS)
        except (PyMongoError, TimeoutError) as error:
            _log.warning("other replicas are not told of a new job: %s", type(error).__name__)
        return now

    def _add(self, now: JobSnapshot) -> None:
        at = self._clock()
        place = {"kind": now.kind.value, "namespace": now.meta.namespace, "name": now.meta.name}
        self._collection.update_one({"_id": {"$eq": now.job_id}}, {"$set": place | {"until": at + KEPT}}, upsert=True)
        self._collection.delete_many({"until": {"$lt": at}})

    async def find(self, job_id: str) -> JobSnapshot | None:
        """A job under way, or one that was created a short while ago and whose resource is there.

        Raises PyMongoError, or one of API_ERRORS.
        """
        if (now := self._live.get(job_id)) is not None:
            return now
        place = await asyncio.to_thread(self._collection.find_one, {"_id": {"$eq": job_id}})
        if place is None:
            return None
        kind = Kind(place["kind"])
        try:
            body = await self._resources.get(kind, place["namespace"], place["name"])
        except Unreadable:  # of another installation; whether the caller may know its namespace is not asked yet
            return None
        if body is None or body["metadata"]["uid"] != job_id or not self._resources.serves(body):
            return None
        return self._live.note(kind, body)
