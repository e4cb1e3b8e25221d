"""Deletion of a job: its record, its resource and all files, unless another job uses them.

With a resource the operator deletes them, as for `deletionPolicy: Delete`: it stops the Job, cancels the request and
deletes the files. Without one, the deletion tombstone on the record has the operator's garbage collector do it.
"""

from dataclasses import dataclass

from contentgen_contract.names import CHANGED_BY_ANNOTATION, FINALIZER
from contentgen_contract.records.deletion_tombstone import tombstone_of
from contentgen_contract.resources.spec import DeletionPolicy
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Verb
from contentgen_gateway.auth.tenants import Tenants
from contentgen_gateway.live.resources import JobResources
from contentgen_gateway.problems import Problem
from contentgen_gateway.schemas.changes import Deleted
from contentgen_gateway.services.changes.editable_job import EditableJob, EditableJobs, annotated
from contentgen_gateway.services.uses import JobUses
from contentgen_gateway.stores.collections import Collections
from contentgen_gateway.stores.records import Records
from contentgen_gateway.stores.shares import Shares
from contentgen_runtime.kube import Body


@dataclass(frozen=True, slots=True)
class JobDeletion:
    """Deletion of jobs by callers."""

    jobs: EditableJobs
    resources: JobResources
    records: Records
    shares: Shares
    collections: Collections
    tenants: Tenants
    uses: JobUses

    async def delete(self, caller: Caller, job_id: str, *, force: bool) -> Deleted:
        """Delete a job; a run under way is cancelled. `force` deletes it though other jobs use its outputs.

        The files go through a change of the spec, so the caller needs the verb `patch` too. Raises Problem.
        """
        job = await self.jobs.load(caller, job_id, Verb.DELETE, Verb.PATCH)
        tenant = await self.tenants.of(str(job.record.get("namespace") or "default"))
        if tenant.block_reason:  # another cluster has adopted the purchases, or may yet
            raise Problem(409, tenant.block_reason, usedInJobs=[])
        if not force:
            await self._refuse_if_used(caller, job)
        if await self.jobs.patch(job, lambda body: _deletion_patch(body, caller)) is not None:
            await self.resources.delete(*job.place, job.job_id)
        # The tombstone covers files of runs that the operator has no resource for.
        await self.records.mark_discarded(tombstone_of(job.kind, job.record))
        await self.records.restore_adopted(job.record)
        await self.shares.delete_job(job_id)
        await self.collections.remove_job(job_id)
        return Deleted(job_id=job_id)

    async def _refuse_if_used(self, caller: Caller, job: EditableJob) -> None:
        users = await self.uses.users_of(job.record)
        later = await self.jobs.namesake(job)
        adopter = _adopter(later, job.job_id) if later is not None else None
        adopters = {adopter} if adopter is not None else set[str]()
        if not users and not adopters:
            return
        seen = {str(record["jobId"]) for record in await self.uses.visible(caller, users)} | adopters
        count = len({str(user["jobId"]) for user in users} | adopters)
        detail = f"{count} other jobs use its outputs; delete them first, or set force=true"
        raise Problem(409, detail, usedInJobs=sorted(seen))


def _deletion_patch(body: Body, caller: Caller) -> Body | None:
    """Sets the finalizer in the same write: without it the resource would be gone before its files are deleted."""
    meta = body["metadata"]
    if "deletionTimestamp" in meta:  # a finalizer can no longer be added; the tombstone remains
        return None
    finalizers = sorted({*(meta.get("finalizers") or ()), FINALIZER})
    patch = annotated(body, {CHANGED_BY_ANNOTATION: caller.name}, finalizers=finalizers)
    return patch | {"spec": {"deletionPolicy": DeletionPolicy.DELETE.value}}


def _adopter(later: Body, job_id: str) -> str | None:
    """Id of a later job of the same name that has adopted these outputs; None if it has not."""
    uid = str(later["metadata"]["uid"])
    versions = (later.get("status") or {}).get("versions") or ()
    return uid if uid != job_id and any(version.get("jobId") == job_id for version in versions) else None
