"""`PATCH /api/assets/{jobId}`: tags, description, whether others may see it. `/api/assets/{jobId}/share`: let others
see a job and fetch its files, and take that back.
"""

from typing import Annotated

from fastapi import APIRouter, Query

from contentgen_gateway.injection import CallerDep, EditingDep, SharingDep
from contentgen_gateway.problems import CONFLICT, RESPONSES
from contentgen_gateway.schemas.bodies import Job, Name
from contentgen_gateway.schemas.changes import Edit
from contentgen_gateway.schemas.sharing import Grantees, ShareList, Wish

router = APIRouter(prefix="/api/assets", tags=["sharing"], responses=RESPONSES)
edit_router = APIRouter(prefix="/api/assets", tags=["assets"], responses=RESPONSES | CONFLICT)


@edit_router.patch("/{job_id}")
async def edit(caller: CallerDep, editing: EditingDep, job_id: Name, body: Edit) -> Job:
    """Change what people find an asset by, and whether others may see it."""
    return await editing.edit(caller, job_id, body)


@router.get("/{job_id}/share")
async def list_shares(caller: CallerDep, sharing: SharingDep, job_id: Name) -> ShareList:
    """Whom it is shared with; for those who may change it."""
    return await sharing.list_shares(caller, job_id)


@router.post("/{job_id}/share")
async def share(caller: CallerDep, sharing: SharingDep, job_id: Name, body: Wish) -> ShareList:
    """Share it with these as well."""
    return await sharing.share(caller, job_id, body)


@router.delete("/{job_id}/share")
async def unshare(
    caller: CallerDep, sharing: SharingDep, job_id: Name, grantees: Annotated[Grantees, Query()]
) -> ShareList:
    """Share it no longer with these; with nobody where none is named."""
    return await sharing.unshare(caller, job_id, grantees)
