"""`/api/assets/stats`: how much of everything there is."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from contentgen_contract.names import Kind
from contentgen_gateway.api.downloads import GB
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.bodies import Body, JobType, Name, Parameters, UserId
from contentgen_gateway.services.dependencies import Calling, Using
from contentgen_gateway.stores import aggregations
from contentgen_gateway.stores.queries import JobFilter

router = APIRouter(prefix="/api/assets", tags=["assets"], responses=RESPONSES)


class Whose(Parameters):
    """Of which jobs."""

    namespace: Name | None = Field(None, description="Of this namespace alone.")
    user_id: UserId | None = Field(None, description="Of this user alone.")


class Stats(Body):
    """Counts and costs; amounts are decimals in strings, as the first service had them."""

    total_jobs: int
    by_type: dict[JobType, int]
    total_storage_gb: str = Field(alias="totalStorageGB", description="Of 10⁹ bytes.", examples=["2.5"])
    estimated_monthly_cost: str = Field(description="Dollars for the storage.", examples=["0.06"])


@router.get("/stats")
async def stats(caller: Calling, parts: Using, whose: Annotated[Whose, Query()]) -> Stats:
    """Jobs by type, what they take in the bucket, and what that costs a month."""
    scope = aggregations.own(await parts.sight.scope(caller, whose.namespace, whose.user_id))
    tally = aggregations.of_jobs(scope, JobFilter(user_id=whose.user_id), aggregations.By.KIND)
    rows = [] if scope.nothing else await parts.records.tally(tally)
    return told(rows, parts.settings.gateway_storage_dollars_per_gb)


def told(rows: list[aggregations.Row], dollars_per_gb: float) -> Stats:
    """The rows of a tally by kind, as the seeds have it."""
    jobs = {row["_id"]: aggregations.whole(row["jobs"]) for row in rows if isinstance(row["_id"], str)}
    size = sum(aggregations.whole(row["bytes"]) for row in rows) / GB
    return Stats(
        total_jobs=sum(jobs.values()),
        by_type={kind.record_type: jobs.get(kind.record_type, 0) for kind in Kind},
        total_storage_gb=gigabytes(size),
        estimated_monthly_cost=f"{size * dollars_per_gb:.2f}",
    )


def gigabytes(size: float) -> str:
    """As many decimals as tell something, six at most: `2.5`, `0.000125`, `0`."""
    return f"{size:.6f}".rstrip("0").rstrip(".") if size < 1 else f"{size:.2f}".rstrip("0").rstrip(".")
