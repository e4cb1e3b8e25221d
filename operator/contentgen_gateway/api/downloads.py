"""`/api/assets/{jobId}/download` and `/stats`: a file of a job for a while, and what became of the asset."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import RedirectResponse

from contentgen_gateway.injection import CallerDep, FilesDep, JobsDep, UsageDep
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.schemas.downloads import AssetStats, Download, DownloadQuery

router = APIRouter(prefix="/api/assets", tags=["assets"], responses=RESPONSES)
_REDIRECTED: dict[int | str, dict[str, Any]] = {307: {"description": "The file, for 15 minutes."}}
_NO_STORE = {"Cache-Control": "no-store"}


@router.get("/{job_id}/download")
async def download(
    caller: CallerDep, files: FilesDep, response: Response, job_id: Name, query: Annotated[DownloadQuery, Query()]
) -> Download:
    """A signed URL of one file. It is counted as a download."""
    found = await files.download(caller, job_id, query)
    response.headers.update(_NO_STORE)
    return found


@router.get("/{job_id}/download/{file:path}", status_code=307, response_class=RedirectResponse, responses=_REDIRECTED)
async def fetch(
    caller: CallerDep, files: FilesDep, job_id: Name, file: Annotated[str, Path(max_length=64)]
) -> RedirectResponse:
    """On to a signed URL of one file, for `curl -L` and links. It is counted as a download."""
    found = await files.download(caller, job_id, DownloadQuery(file=file))
    return RedirectResponse(found.url, headers=_NO_STORE)


@router.get("/{job_id}/stats")
async def asset_stats(caller: CallerDep, jobs: JobsDep, usage: UsageDep, job_id: Name) -> AssetStats:
    """How often it was fetched, what its files cost, and what was made with it."""
    return await usage.asset(caller, await jobs.record(caller, job_id))
