"""`/api/orphans`: purchases that may be paid, are not collected, and whose resource is gone."""

from typing import Annotated

from fastapi import APIRouter, Query

from contentgen_gateway.injection import CallerDep, ServicesDep
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.orphans import OrphanList, OrphanListing

router = APIRouter(prefix="/api", tags=["orphans"], responses=RESPONSES)


@router.get("/orphans")
async def list_orphans(
    caller: CallerDep, services: ServicesDep, query: Annotated[OrphanListing, Query()]
) -> OrphanList:
    """Page of purchases that are or may be paid and whose resource is gone, as far as the caller may list them."""
    return await services.orphans.list_orphans(caller, query)
