"""`/api/jobs`: any job, by id and in lists, in the seeds' shapes."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query

from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.bodies import Job, JobList, Listing, Name
from contentgen_gateway.services.dependencies import Calling, Dependencies, Using
from contentgen_gateway.stores.outputs import with_addresses
from contentgen_gateway.stores.queries import JobFilter, Scope, counting, cursor_after, listing
from contentgen_gateway.stores.records import Record

router = APIRouter(prefix="/api", tags=["jobs"], responses=RESPONSES)
COUNTED = 1000
"""Records of a list that are counted as they are found."""


@router.get("/jobs")
async def list_jobs(caller: Calling, parts: Using, listed: Annotated[Listing, Query()]) -> JobList:
    """Jobs that the caller may see, a page at a time."""
    scope = await parts.sight.scope(caller, listed.namespace, listed.user_id, public=listed.public)
    records, total, following = await page(parts, scope, listed.wanted())
    return JobList(jobs=await shown(parts, records), total=total, next_cursor=following, incomplete=scope.incomplete)


@router.get("/jobs/{job_id}")
async def get_job(caller: Calling, parts: Using, job_id: Name) -> Job:
    """One job, whole."""
    return one(parts, await parts.sight.job(caller, job_id))


async def page(parts: Dependencies, scope: Scope, wanted: JobFilter) -> tuple[list[Record], int, str | None]:
    """A page of records, how many there are in all, and the cursor of the next page."""
    if scope.nothing:
        return [], 0, None
    query = listing(scope, wanted)
    if wanted.after is None:
        found, total = await parts.records.first(query, COUNTED + 1)
        more = total > query.limit
    else:
        found, total = await parts.records.find(query), COUNTED + 1
        more = len(found) > query.limit
    if total > COUNTED:
        total = await parts.records.count(counting(scope, wanted))
    listed = found[: query.limit]
    return listed, total, cursor_after(listed[-1], wanted) if more and listed else None


def one(parts: Dependencies, record: Record) -> Job:
    """A record as the API shows it: what it has made can be fetched from the addresses."""
    return Job.model_validate(with_addresses(record, parts.files.shown))


async def shown(parts: Dependencies, records: Sequence[Record]) -> list[Job]:
    """The same of a page of records, which may have hundreds of addresses to be signed: not in the loop."""
    return await asyncio.to_thread(lambda: [one(parts, each) for each in records])
