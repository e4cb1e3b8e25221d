"""`/api/orphans`: purchases that may be paid, are not collected, and whose resource is gone."""

from typing import Annotated

from fastapi import APIRouter, Query

from contentgen_gateway.injection import CallerDep, OrphansDep
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.orphans import OrphanList, OrphanListing

router = APIRouter(prefix="/api", tags=["orphans"], responses=RESPONSES)


@router.get("/orphans")
async def list_orphans(caller: CallerDep, orphans: OrphansDep, query: Annotated[OrphanListing, Query()]) -> OrphanList:
    """What was paid, or may have been, and has no resource any more: of all that the caller may list."""
    return await orphans.list_orphans(caller, query)
