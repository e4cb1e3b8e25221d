"""Collection `worker_jobs`: the Kubernetes Job that the operator created for a resource, by uid.

A user who may create Jobs in a namespace can forge labels, names and owner references; one who may write a status can
forge `status.run.job`. Only the operator writes this collection, so only pods of a Job in it are workers.

One document per resource, `_id` = the resource's uid, for its newest Job: an older Job loses its access when the next
one is recorded. The document names the last ones before it, so that one that is left behind can be deleted.
"""

import asyncio
from datetime import UTC, datetime

from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from contentgen_contract.records import indexes
from contentgen_contract.resources.status import JobRef
from contentgen_operator.leader.leadership import Check, unchecked
from contentgen_operator.state.observed import JobRecord, ResourceRef
from contentgen_runtime.caches import BoundedDict
from contentgen_runtime.kube import Conflict
from contentgen_runtime.mongo import Document, create_indexes
from contentgen_runtime.stores import in_thread

_REMEMBERED = 4096  # documents kept in memory
_EARLIER = 4  # Jobs of a resource before its newest


class RecordedJob(JobRecord):
    """Job that the operator created, its resource's newest."""

    owner: ResourceRef
    created_at: datetime
    template_hash: str | None = None  # of its pod template as rendered; None: recorded by an earlier release
    earlier: tuple[JobRecord, ...] = ()  # before it, the newest first

    @property
    def ref(self) -> JobRef:
        """Job as the status names it."""
        return JobRef(name=self.name, uid=self.uid, stage=self.stage, attempt=self.attempt, started_at=self.created_at)


class WorkerJobs:
    """Reads and writes the collection. pymongo is synchronous, so each call runs in a thread. Raises PyMongoError.

    Documents are cached in memory. Another operator process, started by mistake or paused and resumed, may have
    replaced them, so a caller names the Job that it expects.
    """

    def __init__(self, collection: Collection[Document], check: Check = unchecked) -> None:
        """`check` raises Conflict if this process does not lead."""
        self._collection = collection
        self._check = check
        self._known: BoundedDict[str, RecordedJob] = BoundedDict(_REMEMBERED)

    def create_indexes(self) -> None:
        """Create the indexes. Idempotent."""
        create_indexes(self._collection, indexes.WORKER_JOBS)

    @in_thread
    def record(self, job: RecordedJob) -> None:
        """Record a Job as its resource's newest. Raises Conflict if another process has done so, or leads."""
        before = self._collection.find_one({"_id": job.owner.uid})
        if before is not None:
            job = job.model_copy(update={"earlier": _with_earlier(before)})
        document = {"_id": job.owner.uid, **job.model_dump(mode="python", by_alias=True)}
        self._check()
        if before is None:
            self._insert(document)
        elif self._collection.replace_one({"_id": before["_id"], "uid": before["uid"]}, document).matched_count != 1:
            raise Conflict(f"another Job of {job.owner.name} was recorded")
        self._known[job.owner.uid] = job

    def _insert(self, document: Document) -> None:
        try:
            self._collection.insert_one(document)
        except DuplicateKeyError as error:
            raise Conflict(f"another Job of {document['_id']} was recorded") from error
        try:
            self._check()  # an insertion has nothing to compare with
        except Conflict:
            self._collection.delete_one({"_id": document["_id"], "uid": document["uid"]})
            raise

    async def newest(self, resource_uid: str, job_uid: str | None = None) -> RecordedJob | None:
        """Newest Job of a resource; None if there is none. Read again if the cached one's uid is not `job_uid`."""
        known = self._known.get(resource_uid)
        if known is not None and job_uid in (None, known.uid):
            return known
        return await self._find({"_id": resource_uid}, known)

    async def by_uid(self, job_uid: str) -> RecordedJob | None:
        """Record of a Job; None if it is not a resource's newest Job or not one of the operator's."""
        return await self._find({"uid": job_uid})

    async def forget(self, resource_uid: str) -> None:
        """Delete the record of a deleted resource."""
        self._known.pop(resource_uid, None)
        await asyncio.to_thread(self._collection.delete_one, {"_id": resource_uid})

    @in_thread
    def expire(self, before: datetime) -> None:
        """Delete the records of Jobs created before a time: of resources deleted while no operator ran."""
        self._collection.delete_many({"createdAt": {"$lt": before}})

    async def _find(self, where: Document, known: RecordedJob | None = None) -> RecordedJob | None:
        """Document as a Job, which replaces `known` in the cache."""
        found = await asyncio.to_thread(self._collection.find_one, where)
        if found is None:
            return None
        created_at: datetime = found["createdAt"]
        times = {} if created_at.tzinfo else {"createdAt": created_at.replace(tzinfo=UTC)}
        job = RecordedJob.model_validate(found | times)
        # A newer Job may have been recorded while this document was read.
        if self._known.get(job.owner.uid) is known:
            self._known[job.owner.uid] = job
        return job


def _with_earlier(document: Document) -> tuple[JobRecord, ...]:
    """The Job of a document, and those before it."""
    found = (document, *(document.get("earlier") or ()))
    return tuple(JobRecord.model_validate(each_document) for each_document in found[:_EARLIER])
