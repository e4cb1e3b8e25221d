"""`/api/jobs`: jobs of all kinds, by id and in lists, in the shape of the legacy API. `/api/given-up`: failed jobs that
a person can retry.
"""

from typing import Annotated

from fastapi import APIRouter, Query

from contentgen_gateway.injection import CallerDep, ServicesDep
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.bodies import Job, JobList, JobQueue, Listing, Name
from contentgen_gateway.schemas.changes import JobActionsBody
from contentgen_gateway.schemas.reports.given_up import GivenUpList, GivenUpListing

router = APIRouter(prefix="/api", tags=["jobs"], responses=RESPONSES)


@router.get("/jobs")
async def list_jobs(caller: CallerDep, services: ServicesDep, query: Annotated[Listing, Query()]) -> JobList:
    """Page of the jobs that the caller may see."""
    return await services.jobs.list_jobs(caller, query)


@router.get("/jobs/{job_id}")
async def get_job(caller: CallerDep, services: ServicesDep, job_id: Name) -> Job:
    """One job."""
    return services.jobs.body(await services.jobs.record(caller, job_id))


@router.get("/given-up")
async def list_given_up(
    caller: CallerDep, services: ServicesDep, query: Annotated[GivenUpListing, Query()]
) -> GivenUpList:
    """Page of failed jobs that a person can retry, or whose paid result is kept, as far as the caller may list them."""
    return await services.given_up.list_given_up(caller, query)


@router.get("/jobs/{job_id}/actions")
async def get_actions(caller: CallerDep, services: ServicesDep, job_id: Name) -> JobActionsBody:
    """State of a job, and the actions that you may take: what the state permits and your rights allow."""
    return await services.viewed_states.show(caller, job_id)


@router.get("/jobs/{job_id}/queue")
async def get_queue(caller: CallerDep, services: ServicesDep, job_id: Name) -> JobQueue:
    """Position of a job in the queue before its payment."""
    return await services.queue.show(caller, job_id)
