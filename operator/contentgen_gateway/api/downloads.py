"""`/api/assets/{jobId}/download`: signed URLs of files. `/api/assets/{jobId}/stats`: statistics of an asset."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import RedirectResponse

from contentgen_gateway.injection import CallerDep, ServicesDep
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.bodies import Name
from contentgen_gateway.schemas.downloads import AssetStats, Download, DownloadQuery

router = APIRouter(prefix="/api/assets", tags=["assets"], responses=RESPONSES)
_REDIRECTED: dict[int | str, dict[str, Any]] = {307: {"description": "The file, for 15 minutes."}}
_NO_STORE = {"Cache-Control": "no-store"}


@router.get("/{job_id}/download")
async def download(
    caller: CallerDep, services: ServicesDep, response: Response, job_id: Name, query: Annotated[DownloadQuery, Query()]
) -> Download:
    """Signed URL of one file; counts as a download."""
    found = await services.files.download(caller, job_id, query)
    response.headers.update(_NO_STORE)
    return found


@router.get("/{job_id}/download/{file:path}", status_code=307, response_class=RedirectResponse, responses=_REDIRECTED)
async def fetch(
    caller: CallerDep, services: ServicesDep, job_id: Name, file: Annotated[str, Path(max_length=64)]
) -> RedirectResponse:
    """Redirect to a signed URL of one file, for `curl -L` and links; counts as a download."""
    found = await services.files.download(caller, job_id, DownloadQuery(file=file))
    return RedirectResponse(found.url, headers=_NO_STORE)


@router.get("/{job_id}/stats")
async def asset_stats(caller: CallerDep, services: ServicesDep, job_id: Name) -> AssetStats:
    """Number of downloads, storage cost, and jobs that use the asset."""
    return await services.usage.asset(caller, await services.jobs.record(caller, job_id))
