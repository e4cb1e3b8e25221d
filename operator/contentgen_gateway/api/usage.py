"""`/api/usage`: money and storage, by user, kind, model or day. `/api/assets/stats`: totals."""

from typing import Annotated

from fastapi import APIRouter, Query

from contentgen_gateway.injection import CallerDep, UsageDep
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.usage import Stats, UsageOf, UsageReport, Whose

router = APIRouter(prefix="/api", tags=["usage"], responses=RESPONSES)
stats_router = APIRouter(prefix="/api/assets", tags=["assets"], responses=RESPONSES)


@router.get("/usage")
async def get_usage(caller: CallerDep, usage: UsageDep, query: Annotated[UsageOf, Query()]) -> UsageReport:
    """What was spent and what is stored, of all that the caller may list."""
    return await usage.report(caller, query)


@stats_router.get("/stats")
async def stats(caller: CallerDep, usage: UsageDep, query: Annotated[Whose, Query()]) -> Stats:
    """Jobs by type, what they take in the bucket, and what that costs a month."""
    return await usage.totals(caller, query)
