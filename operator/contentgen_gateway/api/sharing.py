"""`PATCH /api/assets/{jobId}`: metadata and public visibility. `/api/assets/{jobId}/share`: users and namespaces that
may see a job and download its files.
"""

from typing import Annotated

from fastapi import APIRouter, Query

from contentgen_gateway.injection import CallerDep, ServicesDep
from contentgen_gateway.problems import CONFLICT, RESPONSES
from contentgen_gateway.schemas.bodies import Job, Name
from contentgen_gateway.schemas.changes import Edit
from contentgen_gateway.schemas.sharing import Grantees, ShareList, Wish

router = APIRouter(prefix="/api/assets", tags=["sharing"], responses=RESPONSES)
edit_router = APIRouter(prefix="/api/assets", tags=["assets"], responses=RESPONSES | CONFLICT)


@edit_router.patch("/{job_id}")
async def edit(caller: CallerDep, services: ServicesDep, job_id: Name, body: Edit) -> Job:
    """Change tags, description or public visibility of an asset."""
    return await services.editing.edit(caller, job_id, body)


@router.get("/{job_id}/share")
async def list_shares(caller: CallerDep, services: ServicesDep, job_id: Name) -> ShareList:
    """Shares of a job, for callers who may change it."""
    return await services.sharing.list_shares(caller, job_id)


@router.post("/{job_id}/share")
async def share(caller: CallerDep, services: ServicesDep, job_id: Name, body: Wish) -> ShareList:
    """Share a job with more users and namespaces."""
    return await services.sharing.share(caller, job_id, body)


@router.delete("/{job_id}/share")
async def unshare(
    caller: CallerDep, services: ServicesDep, job_id: Name, grantees: Annotated[Grantees, Query()]
) -> ShareList:
    """Remove these shares of a job; all of them if none is named."""
    return await services.sharing.unshare(caller, job_id, grantees)
