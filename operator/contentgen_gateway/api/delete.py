"""`DELETE /api/jobs/{jobId}`: the record, the resource and all files go, unless something was made with them.

While there is a resource the operator does it, as for `deletionPolicy: Delete`: the Job stopped, the request cancelled,
the files deleted. Where it is gone, the record is marked, and the operator's janitor does the rest.
"""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from contentgen_contract.names import CHANGED_BY_ANNOTATION, FINALIZER
from contentgen_contract.records.deletion_tombstone import tombstone_of
from contentgen_contract.resources.spec import DeletionPolicy
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.authorization import Verb
from contentgen_gateway.problems import MEDIA_TYPE, RESPONSES, Problem, ProblemDetails
from contentgen_gateway.schemas.bodies import Body as Shape
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.services.dependencies import Calling, Dependencies, Using
from contentgen_gateway.services.editable_job import EditableJob, changed, held, namesake
from contentgen_gateway.services.run_state import annotated
from contentgen_gateway.services.uses import users_of, visible
from contentgen_runtime.kube import Body


class InUse(ProblemDetails):
    """Something was made with it."""

    used_in_jobs: list[str] = Field(alias="usedInJobs", description="Of those, the jobIds that you may see.")


class Deleted(Shape):
    """It can't be seen any more, and its files go."""

    job_id: str
    status: str = "deleting"


router = APIRouter(
    prefix="/api/jobs",
    tags=["jobs"],
    responses=RESPONSES | {409: {"model": InUse, "description": "It is used.", "content": {MEDIA_TYPE: {}}}},
)


@router.delete("/{job_id}", status_code=202)
async def delete_job(
    caller: Calling,
    parts: Using,
    job_id: Name,
    force: Annotated[bool, Query(description="Also where something was made with it.")] = False,
) -> Deleted:
    """Delete the job: its record, its resource and all files with their versions. A run under way is cancelled."""
    job = await held(caller, parts, job_id, Verb.DELETE)
    tenant = await parts.tenants.of(str(job.record.get("namespace") or "default"))
    if tenant.block_reason:  # another cluster has, or may yet adopt, what was bought
        raise Problem(409, tenant.block_reason, usedInJobs=[])
    if not force:
        await _refuse_if_used(caller, parts, job)
    if await changed(parts, job, lambda body: _to_go(body, caller)) is not None:
        await parts.resources.delete(*job.place, job.job_id)
    # The operator's own way is the better one; what it has no run of, or can't see any more, the mark makes good.
    await parts.records.mark_discarded(tombstone_of(job.kind, job.record))
    await parts.records.restore_adopted(job.record)
    await parts.shares.forget(job_id)
    await parts.collections.forget(job_id)
    return Deleted(job_id=job_id)


def _to_go(body: Body, caller: Caller) -> Body | None:
    """The operator's finalizer comes in the same write: without it the resource would be gone before its files are."""
    meta = body["metadata"]
    if "deletionTimestamp" in meta:  # it takes no finalizer any more; the mark on the record remains
        return None
    finalizers = sorted({*(meta.get("finalizers") or ()), FINALIZER})
    patch = annotated(body, {CHANGED_BY_ANNOTATION: caller.name}, finalizers=finalizers)
    return patch | {"spec": {"deletionPolicy": DeletionPolicy.DELETE.value}}


async def _refuse_if_used(caller: Caller, parts: Dependencies, job: EditableJob) -> None:
    users = await users_of(parts, job.record)
    later = await namesake(parts, job)
    heir = _heir(later, job.job_id) if later is not None else None
    if not users and heir is None:
        return
    seen = {str(each["jobId"]) for each in await visible(caller, parts, users)} | ({heir} if heir else set())
    count = len({str(each["jobId"]) for each in users} | ({heir} if heir else set()))
    detail = f"{count} other jobs were or are made with it; delete them first, or delete it with force=true"
    raise Problem(409, detail, usedInJobs=sorted(seen))


def _heir(later: Body, job_id: str) -> str | None:
    """The job that was applied again under this name and has taken these outputs over."""
    uid = str(later["metadata"]["uid"])
    versions = (later.get("status") or {}).get("versions") or ()
    return uid if uid != job_id and any(each.get("jobId") == job_id for each in versions) else None
