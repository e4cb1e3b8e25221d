"""`/api/jobs`: any job, by id and in lists, in the seeds' shapes."""

from typing import Annotated

from fastapi import APIRouter, Query

from contentgen_gateway.injection import CallerDep, JobsDep
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.bodies import Job, JobList, Listing, Name

router = APIRouter(prefix="/api", tags=["jobs"], responses=RESPONSES)


@router.get("/jobs")
async def list_jobs(caller: CallerDep, jobs: JobsDep, query: Annotated[Listing, Query()]) -> JobList:
    """Jobs that the caller may see, a page at a time."""
    return await jobs.list_jobs(caller, query)


@router.get("/jobs/{job_id}")
async def get_job(caller: CallerDep, jobs: JobsDep, job_id: Name) -> Job:
    """One job, whole."""
    return jobs.body(await jobs.record(caller, job_id))
