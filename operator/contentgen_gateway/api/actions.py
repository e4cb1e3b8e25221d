"""Actions on an existing job: cancel, run again, collect again, approve, reject, resume, delete."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from contentgen_contract.names import Verdict
from contentgen_gateway.injection import CallerDep, ServicesDep
from contentgen_gateway.problems import CONFLICT, MEDIA_TYPE, RESPONSES
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.schemas.changes import Asked, Cancelled, Decided, Deleted, InUse, Resumed

router = APIRouter(
    prefix="/api/jobs",
    tags=["jobs"],
    responses=RESPONSES | CONFLICT,
)
deletion_router = APIRouter(
    prefix="/api/jobs",
    tags=["jobs"],
    responses=RESPONSES
    | {409: {"model": InUse, "description": "Other jobs use its outputs.", "content": {MEDIA_TYPE: {}}}},
)


@router.post(
    "/{job_id}/cancel", responses={202: {"model": Cancelled, "description": "The provider has not answered yet."}}
)
async def cancel(
    caller: CallerDep,
    services: ServicesDep,
    response: Response,
    job_id: Name,
    wait: Annotated[float, Query(ge=0, le=25, description="Seconds to wait for the outcome.")] = 10,
) -> Cancelled:
    """End the run; the job and its record stay. After the payment the provider is asked to cancel the request."""
    outcome = await services.actions.cancel(caller, job_id, wait)
    if outcome.status == "processing":
        response.status_code = 202
    return outcome


@router.post("/{job_id}/retry", status_code=202)
async def retry(
    *,
    caller: CallerDep,
    services: ServicesDep,
    job_id: Name,
    resubmit: Annotated[
        str | None,
        Query(max_length=64, description="Allow another payment for a request whose reply was lost: its token."),
    ] = None,
    run: Annotated[
        int | None, Query(ge=1, description="Number of the run to start; 409 if another one begins.")
    ] = None,
    paid: Annotated[
        bool, Query(description="Of a dry run that has ended with an estimate: start the paid run, and remove dryRun.")
    ] = False,
) -> Asked:
    """Start another run with the same inputs, which makes a new version. Repeated requests start one run. It is paid,
    except of a dry run (dryRun), which ends with another estimate.

    Needs the verb `spend` on the resource.
    """
    return await services.actions.run_again(caller, job_id, resubmit, run, paid=paid)


@router.post("/{job_id}/collect", status_code=202)
async def collect(caller: CallerDep, services: ServicesDep, job_id: Name) -> Asked:
    """Fetch the paid result of a failed run again, without another payment. 409 if the run has not failed, or was not
    paid.
    """
    return await services.actions.collect(caller, job_id)


@router.post("/{job_id}/approve", status_code=202)
async def approve(
    caller: CallerDep,
    services: ServicesDep,
    job_id: Name,
    run: Annotated[int | None, Query(ge=1, description="Number of the run; 409 if another one waits.")] = None,
    amount: Annotated[
        str | None,
        Query(
            max_length=32,
            description="Upper bound of the price that you were shown, in US dollars, or `unknown`: the job's message "
            "has it. 422 without it, 409 if the price is another one.",
        ),
    ] = None,
) -> Decided:
    """Approve the payment of the run that waits for it, up to an amount. 409 if none does.

    Needs the verb `approve` on the resource.
    """
    return await services.actions.decide(caller, job_id, Verdict.APPROVED, run, amount)


@router.post("/{job_id}/reject", status_code=202)
async def reject(
    caller: CallerDep,
    services: ServicesDep,
    job_id: Name,
    run: Annotated[int | None, Query(ge=1, description="Number of the run; 409 if another one waits.")] = None,
) -> Decided:
    """Reject the run that waits for an approval: it ends, and nothing is paid. 409 if none does.

    Needs the verb `approve` on the resource.
    """
    return await services.actions.decide(caller, job_id, Verdict.REJECTED, run)


@router.post("/{job_id}/resume")
async def resume(caller: CallerDep, services: ServicesDep, job_id: Name) -> Resumed:
    """Resume a suspended job. No change if it is not suspended."""
    return await services.actions.resume(caller, job_id)


@deletion_router.delete("/{job_id}", status_code=202)
async def delete_job(
    caller: CallerDep,
    services: ServicesDep,
    job_id: Name,
    force: Annotated[bool, Query(description="Delete it even if other jobs use its outputs.")] = False,
) -> Deleted:
    """Delete the job: its record, its resource, and all versions of its files. A running run is cancelled."""
    return await services.deletion.delete(caller, job_id, force=force)
