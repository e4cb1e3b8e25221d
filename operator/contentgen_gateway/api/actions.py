"""Actions on a job that exists: cancel it, run it again, fetch its result again, resume it, delete it.

Approving and rejecting belong here too.
"""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from contentgen_gateway.injection import ActionsDep, CallerDep, DeletionDep
from contentgen_gateway.problems import CONFLICT, MEDIA_TYPE, RESPONSES
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.schemas.changes import Asked, Cancelled, Deleted, InUse, Resumed

router = APIRouter(
    prefix="/api/jobs",
    tags=["jobs"],
    responses=RESPONSES | CONFLICT,
)
deletion_router = APIRouter(
    prefix="/api/jobs",
    tags=["jobs"],
    responses=RESPONSES | {409: {"model": InUse, "description": "It is used.", "content": {MEDIA_TYPE: {}}}},
)


@router.post("/{job_id}/cancel", responses={202: {"model": Cancelled, "description": "The provider is being asked."}})
async def cancel(
    caller: CallerDep,
    actions: ActionsDep,
    response: Response,
    job_id: Name,
    wait: Annotated[float, Query(ge=0, le=25, description="Seconds to wait for the answer.")] = 10,
) -> Cancelled:
    """End the run; the job and its record stay. Before it is paid that is free; after it the provider is asked."""
    outcome = await actions.cancel(caller, job_id, wait)
    if outcome.status == "processing":
        response.status_code = 202
    return outcome


@router.post("/{job_id}/retry", status_code=202)
async def retry(
    caller: CallerDep,
    actions: ActionsDep,
    job_id: Name,
    resubmit: Annotated[
        str | None, Query(max_length=64, description="Pay once more for a request that nobody can find.")
    ] = None,
) -> Asked:
    """Run it once more, as it is: a new version, which is paid for. Asked for again before it begins, it is one run.

    It needs the verb `spend` on the resource.
    """
    return await actions.run_again(caller, job_id, resubmit)


@router.post("/{job_id}/collect", status_code=202)
async def collect(caller: CallerDep, actions: ActionsDep, job_id: Name) -> Asked:
    """Fetch the paid result of a failed run once more; it costs nothing. 409 where the run has not failed, or was not
    paid for.
    """
    return await actions.collect(caller, job_id)


@router.post("/{job_id}/resume")
async def resume(caller: CallerDep, actions: ActionsDep, job_id: Name) -> Resumed:
    """Let a suspended job go on. One that is not suspended stays as it is."""
    return await actions.resume(caller, job_id)


@deletion_router.delete("/{job_id}", status_code=202)
async def delete_job(
    caller: CallerDep,
    deletion: DeletionDep,
    job_id: Name,
    force: Annotated[bool, Query(description="Also where something was made with it.")] = False,
) -> Deleted:
    """Delete the job: its record, its resource and all files with their versions. A run under way is cancelled."""
    return await deletion.delete(caller, job_id, force=force)
