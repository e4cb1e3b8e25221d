"""In-memory snapshots of unfinished jobs from API-server watches, earlier than the operator's records and updated at
each change; and the ids of jobs whose resource is being deleted.

They may be stale, and finished jobs are removed, because their record is complete. Authorization is the caller's task
(`Visibility`).
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing, contextmanager

from contentgen_contract.api_paths import UNFINISHED, resource_of
from contentgen_contract.names import Kind
from contentgen_contract.resources.queue_position import QueueEntry
from contentgen_gateway.live.job_snapshot import JobSnapshot
from contentgen_gateway.live.watching import ListComplete, ObjectChanged, ObjectDeleted, Seen, follow
from contentgen_runtime.caches import BoundedDict
from contentgen_runtime.kube import Body, KubeApi

_MOST_DELETING = 1_000  # of one namespace: their ids are in queries by state
MAX_JOBS = 20_000
"""Limit of snapshots, of a few kilobytes each; beyond it, the one updated longest ago is removed."""

_log = logging.getLogger(__name__)


class JobFollower:
    """Subscription to one job. A slow reader gets only the latest snapshot, and never blocks the publisher."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()
        self._latest: JobSnapshot | None = None

    def publish(self, snapshot: JobSnapshot | None) -> None:
        """Set the latest snapshot; None if the job was deleted or left the watch, so that its end is unknown here."""
        self._latest = snapshot
        self._changed.set()

    async def next(self, seconds: float) -> JobSnapshot | None:
        """Wait for a new snapshot, and return the latest. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            await self._changed.wait()
        self._changed.clear()
        return self._latest


class LiveJobs:
    """Snapshots of unfinished jobs by job id, and their followers."""

    def __init__(
        self,
        max_jobs: int = MAX_JOBS,
        on_end: Callable[[Kind, str], None] = lambda *_: None,
        serves: Callable[[Body], bool] = lambda _: True,
    ) -> None:
        """`on_end` is called for each run that has ended and each deleted resource. `serves` is True for resources of
        the gateway's operator class; others are ignored.
        """
        self._max_jobs = max_jobs
        self._serves = serves
        self._on_end = on_end
        self._snapshots: dict[str, JobSnapshot] = {}
        self._deleting: dict[str, BoundedDict[str, Kind]] = {}  # by namespace and id, also of jobs that have ended
        self._followers: dict[str, set[JobFollower]] = {}

    def get(self, job_id: str) -> JobSnapshot | None:
        """The snapshot of an unfinished job, or None."""
        return self._snapshots.get(job_id)

    def is_deleting(self, namespace: str, job_id: str) -> bool:
        """True if a job's resource is being deleted. After a restart or a new list of the watch, those that have ended
        are unknown until their next change; so are all but the last 1,000 of a namespace.
        """
        return job_id in self._deleting.get(namespace, ())

    def deleting(self, namespaces: Iterable[str] | None = None) -> frozenset[str]:
        """Ids of these jobs in some namespaces, so that a tenant's make no other's query longer; None: in all."""
        chosen = self._deleting if namespaces is None else namespaces
        return frozenset(job_id for each in chosen for job_id in self._deleting.get(each, ()))

    def queue(self, namespace: str) -> list[QueueEntry]:
        """Runs of a namespace that wait in the operator's queue."""
        found = (snapshot.queue for snapshot in self._snapshots.values() if snapshot.meta.namespace == namespace)
        return [snapshot for snapshot in found if snapshot is not None]

    def add(self, kind: Kind, body: Body) -> JobSnapshot:
        """Store a resource that was just created or read, without waiting for the watch.

        Returns the later of it and the present snapshot, because the watch may lag behind or be ahead.
        """
        snapshot = JobSnapshot.parse(kind, body)
        self._note_deletion(snapshot)
        known = self._snapshots.get(snapshot.job_id)
        if known is not None and not snapshot.later_than(known.version):
            return known
        if not snapshot.ended:
            self._snapshots[snapshot.job_id] = snapshot
        return snapshot

    @contextmanager
    def follow(self, job_id: str) -> Iterator[JobFollower]:
        """Subscribe to a job for the duration of the context."""
        follower = JobFollower()
        self._followers.setdefault(job_id, set()).add(follower)
        try:
            yield follower
        finally:
            left = self._followers[job_id]
            left.discard(follower)
            if not left:
                del self._followers[job_id]

    async def run(self, kube: KubeApi, namespaces: Iterable[str]) -> None:
        """Watch all kinds in these namespaces (the empty name: all namespaces) until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for namespace in namespaces:
                for kind in Kind:
                    tasks.create_task(self._watch(kube, kind, namespace))

    async def _watch(self, kube: KubeApi, kind: Kind, namespace: str) -> None:
        # Only the list is filtered: a filtered watch would report the end of a run as a deletion.
        async with aclosing(follow(kube, resource_of(kind), namespace or None, selector=UNFINISHED)) as seen:
            async for event in seen:
                try:
                    self.apply(kind, event, namespace)
                except (ValueError, KeyError, TypeError) as error:  # one invalid resource must not hide the others
                    _log.warning("unreadable %s: %s", kind.value, error)

    def apply(self, kind: Kind, seen: Seen, namespace: str = "") -> None:
        """Apply a watch event of this kind; `namespace` is the watch's (empty: all)."""
        match seen:
            case ObjectChanged(body) if not self._serves(body):
                self._drop(body["metadata"]["namespace"], body["metadata"]["uid"])
            case ObjectChanged(body):
                self._update(JobSnapshot.parse(kind, body))
            case ObjectDeleted(body):
                self._delete(kind, body["metadata"]["namespace"], body["metadata"]["uid"])
            case ListComplete(uids):
                listed = {
                    (snapshot.meta.namespace, snapshot.job_id, snapshot.kind) for snapshot in self._snapshots.values()
                }
                noted = {(place, *identifier) for place, ids in self._deleting.items() for identifier in ids.items()}
                for place, job_id, its_kind in listed | noted:
                    if job_id not in uids and its_kind is kind and namespace in ("", place):
                        self._delete(kind, place, job_id)

    def _note_deletion(self, snapshot: JobSnapshot) -> None:
        if snapshot.facts.deleting:
            noted = self._deleting.setdefault(snapshot.meta.namespace, BoundedDict(_MOST_DELETING))
            noted[snapshot.job_id] = snapshot.kind

    def _forget_deletion(self, namespace: str, job_id: str) -> None:
        if (noted := self._deleting.get(namespace)) is not None:
            noted.pop(job_id, None)
            if not noted:
                del self._deleting[namespace]

    def _update(self, snapshot: JobSnapshot) -> None:
        self._note_deletion(snapshot)
        self._snapshots.pop(snapshot.job_id, None)
        if not snapshot.ended:
            self._snapshots[snapshot.job_id] = snapshot  # insertion order: the latest update is last
            if len(self._snapshots) > self._max_jobs:
                self._snapshots.pop(next(iter(self._snapshots)))
        else:
            self._on_end(snapshot.kind, snapshot.job_id)
        self._publish(snapshot.job_id, snapshot)

    def _delete(self, kind: Kind, namespace: str, job_id: str) -> None:
        self._snapshots.pop(job_id, None)
        self._forget_deletion(namespace, job_id)
        self._on_end(kind, job_id)
        self._publish(job_id, None)

    def _drop(self, namespace: str, job_id: str) -> None:
        """Remove a job that has moved to another operator class, without `on_end`: another gateway handles its end."""
        self._forget_deletion(namespace, job_id)
        if self._snapshots.pop(job_id, None) is not None:
            self._publish(job_id, None)

    def _publish(self, job_id: str, snapshot: JobSnapshot | None) -> None:
        for follower in self._followers.get(job_id, ()):
            follower.publish(snapshot)
