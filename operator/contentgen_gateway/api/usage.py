"""`/api/usage`: spending and storage by namespace, user, kind, model or day. `/api/assets/stats`: totals."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from contentgen_gateway.injection import CallerDep, ServicesDep
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.reports.usage import Stats, UsageOf, UsageReport, Whose

router = APIRouter(prefix="/api", tags=["usage"], responses=RESPONSES)
stats_router = APIRouter(prefix="/api/assets", tags=["assets"], responses=RESPONSES)


@router.get("/usage")
async def get_usage(caller: CallerDep, services: ServicesDep, query: Annotated[UsageOf, Query()]) -> UsageReport:
    """Spending and storage of the jobs that the caller may list."""
    return await services.usage.report(caller, query)


@router.get("/usage.csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
async def get_usage_table(caller: CallerDep, services: ServicesDep, query: Annotated[UsageOf, Query()]) -> Response:
    """Spending as CSV: a row for each day, namespace, user, kind and model; `by` has no effect."""
    headers = {"Content-Disposition": 'attachment; filename="usage.csv"', "Cache-Control": "no-store"}
    return Response(await services.usage.table(caller, query), media_type="text/csv", headers=headers)


@stats_router.get("/stats")
async def stats(caller: CallerDep, services: ServicesDep, query: Annotated[Whose, Query()]) -> Stats:
    """Number of jobs by type, size of their files, and monthly cost of the storage."""
    return await services.usage.totals(caller, query)
