"""`/api/usage`: money and storage, by user, kind, model or day.

Money is the ledger's: what was paid stays paid when a job is deleted. Storage is that of the jobs that are there.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field

from contentgen_contract.resources.models import full_name
from contentgen_gateway.api.downloads import GB
from contentgen_gateway.api.stats import Whose, gigabytes
from contentgen_gateway.problems import RESPONSES
from contentgen_gateway.schemas.bodies import Body, JobType, Moment, instant
from contentgen_gateway.services.dependencies import Calling, Using
from contentgen_gateway.stores import aggregations
from contentgen_gateway.stores.aggregations import By, Row
from contentgen_gateway.stores.queries import JobFilter

router = APIRouter(prefix="/api", tags=["usage"], responses=RESPONSES)
_MICROS = 1_000_000
Counts = defaultdict[str, int]
UNKNOWN = "unknown"
"""The key of what has none, such as the model of an imported transcript."""


class UsageOf(Whose):
    """Of what, and by what."""

    by: By = By.USER
    type: JobType | None = None
    since: Moment | None = Field(None, alias="from", description="Made at this time or later.")
    until: Moment | None = Field(None, alias="to", description="Made before this time.")

    def wanted(self) -> JobFilter:
        """As a value."""
        return JobFilter(user_id=self.user_id, type=self.type, since=instant(self.since), until=instant(self.until))


class Usage(Body):
    """Of one user, kind, model or day, or of all together. Amounts are decimals in dollars."""

    key: str
    jobs: int = Field(description="Jobs that there are.")
    purchases: int = Field(description="Requests to a provider, those that failed too.")
    paid: str = Field(description="By the providers' figures, for what they have finished.", examples=["12.5000"])
    estimated: str = Field(description="Estimates for what they have finished without telling.", examples=["0.0350"])
    unknown: int = Field(description="Purchases whose cost nobody knows; in none of the amounts.")
    expected: str = Field(description="For what they have not finished.", examples=["0.0350"])
    storage_gb: str = Field(alias="storageGB", description="Of 10⁹ bytes.")
    storage_cost: str = Field(description="A month.")


class UsageReport(Body):
    """Usage by key: days in order, of others the most expensive first."""

    by: By
    currency: str = "USD"
    usage: list[Usage]
    total: Usage


@router.get("/usage")
async def get_usage(caller: Calling, parts: Using, asked: Annotated[UsageOf, Query()]) -> UsageReport:
    """What was spent and what is stored, of all that the caller may list."""
    wanted = asked.wanted()
    scope = aggregations.own(await parts.sight.scope(caller, asked.namespace, asked.user_id))
    jobs: list[Row] = []
    purchases: list[Row] = []
    if not scope.nothing:
        jobs, purchases = await asyncio.gather(
            parts.records.tally(aggregations.of_jobs(scope, wanted, asked.by)),
            parts.purchases.tally(aggregations.of_purchases(scope, wanted, asked.by)),
        )
    return report(asked.by, jobs, purchases, parts.settings.gateway_storage_dollars_per_gb)


def report(by: By, jobs: Iterable[Row], purchases: Iterable[Row], dollars_per_gb: float) -> UsageReport:
    """Both tallies in one table."""
    sums: dict[str, Counts] = defaultdict(lambda: defaultdict(int))
    for row in (*jobs, *purchases):
        key = _key(by, row["_id"])
        for name, value in row.items():
            if name != "_id":
                sums[key][name] += aggregations.whole(value)
    total: Counts = defaultdict(int)
    for each in sums.values():
        for name, value in each.items():
            total[name] += value
    order = (
        sorted(sums)
        if by is By.DAY
        else sorted(sums, key=lambda key: (-sums[key]["paid"] - sums[key]["estimated"], key))
    )
    return UsageReport(
        by=by,
        usage=[_usage(key, sums[key], dollars_per_gb) for key in order],
        total=_usage("total", total, dollars_per_gb),
    )


def _key(by: By, given: object) -> str:
    if not isinstance(given, str) or not given:
        return UNKNOWN
    return full_name(given) if by is By.MODEL else given


def _usage(key: str, sums: Counts, dollars_per_gb: float) -> Usage:
    size = sums["bytes"] / GB
    return Usage(
        key=key,
        jobs=sums["jobs"],
        purchases=sums["purchases"],
        paid=f"{sums['paid'] / _MICROS:.4f}",
        estimated=f"{sums['estimated'] / _MICROS:.4f}",
        unknown=sums["unknown"],
        expected=f"{sums['asked'] / _MICROS:.4f}",
        storage_gb=gigabytes(size),
        storage_cost=f"{size * dollars_per_gb:.4f}",
    )
