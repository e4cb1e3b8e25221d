"""Usage: money and storage by namespace, user, kind, model or day; totals of assets; statistics of one asset.

Money comes from the ledger, so the cost of deleted jobs is included. Storage is that of existing jobs.
"""

import asyncio
import csv
import io
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from contentgen_contract.names import Kind
from contentgen_contract.resources.models import full_name
from contentgen_gateway.auth.authentication import Caller
from contentgen_gateway.auth.visibility import Visibility
from contentgen_gateway.schemas.downloads import AssetStats
from contentgen_gateway.schemas.reports.usage import Stats, Usage, UsageOf, UsageReport, Whose
from contentgen_gateway.services.uses import JobUses
from contentgen_gateway.stores import aggregations
from contentgen_gateway.stores.aggregations import By, Row
from contentgen_gateway.stores.queries import JobFilter
from contentgen_gateway.stores.records import Purchases, Record, Records

GB = 10**9
_MICROS = 1_000_000
Counts = defaultdict[str, int]
UNKNOWN = "unknown"
"""Key of rows without a value, such as the model of an imported transcript."""


@dataclass(frozen=True, slots=True)
class UsageReader:
    """Usage by the jobs that a caller may list."""

    visibility: Visibility
    records: Records
    purchases: Purchases
    uses: JobUses
    dollars_per_gb: float  # a month

    async def report(self, caller: Caller, query: UsageOf) -> UsageReport:
        """Spending and storage by key."""
        wanted = query.job_filter()
        scope = aggregations.without_shared(await self.visibility.scope(caller, query.namespace, query.user_id))
        jobs: list[Row] = []
        purchases: list[Row] = []
        if not scope.nothing:
            jobs, purchases = await asyncio.gather(
                self.records.tally(aggregations.job_totals(scope, wanted, query.by)),
                self.purchases.tally(aggregations.purchase_totals(scope, wanted, query.by)),
            )
        return report(query.by, jobs, purchases, self.dollars_per_gb)

    async def table(self, caller: Caller, query: UsageOf) -> str:
        """Spending as CSV (RFC 4180): one row for each day, namespace, user, kind and model."""
        scope = aggregations.without_shared(await self.visibility.scope(caller, query.namespace, query.user_id))
        rows: list[Row] = []
        if not scope.nothing:
            rows = await self.purchases.tally(aggregations.purchase_table(scope, query.job_filter()))
        return csv_table(rows)

    async def totals(self, caller: Caller, query: Whose) -> Stats:
        """Number of jobs by type, and the size and cost of their files."""
        scope = aggregations.without_shared(await self.visibility.scope(caller, query.namespace, query.user_id))
        tally = aggregations.job_totals(scope, JobFilter(user_id=query.user_id), aggregations.By.KIND)
        rows = [] if scope.nothing else await self.records.tally(tally)
        return totals(rows, self.dollars_per_gb)

    async def asset(self, caller: Caller, record: Record) -> AssetStats:
        """Downloads, storage cost and uses of one asset whose record the caller may see."""
        size = record.get("bytes") or 0
        users = await self.uses.visible(caller, await self.uses.users_of(record))
        return AssetStats(
            downloads=record.get("downloads") or 0,
            last_accessed=record.get("lastAccessed"),
            storage_cost=round(size / GB * self.dollars_per_gb, 6),
            used_in_jobs=[user["jobId"] for user in users],
        )


def report(by: By, jobs: Iterable[Row], purchases: Iterable[Row], dollars_per_gb: float) -> UsageReport:
    """Report from rows of both aggregations."""
    sums: dict[str, Counts] = defaultdict(lambda: defaultdict(int))
    for row in (*jobs, *purchases):
        key = _key(by, row["_id"])
        for name, value in row.items():
            if name != "_id":
                sums[key][name] += aggregations.finite_int(value)
    total: Counts = defaultdict(int)
    for each_total in sums.values():
        for name, value in each_total.items():
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


_COLUMNS = (By.DAY, By.NAMESPACE, By.USER, By.KIND, By.MODEL)
_SUMS = {"paid": "paid", "estimated": "estimated", "expected": "asked"}


def csv_table(rows: Iterable[Row]) -> str:
    """CSV of rows by all keys, in order of the keys. Amounts are in US dollars."""
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow([*_COLUMNS, "purchases", *_SUMS, "unknown"])
    keyed = [([_key(by, row["_id"].get(by.value)) for by in _COLUMNS], row) for row in rows]
    for keys, row in sorted(keyed, key=lambda each: each[0]):
        amounts = [f"{aggregations.finite_int(row[name]) / _MICROS:.6f}" for name in _SUMS.values()]
        counts = [aggregations.finite_int(row[name]) for name in ("purchases", "unknown")]
        table.writerow([*map(_cell, keys), counts[0], *amounts, counts[1]])
    return text.getvalue()


def _cell(text: str) -> str:
    """The text of a cell; a spreadsheet evaluates one that begins with these characters."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


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


def totals(rows: list[Row], dollars_per_gb: float) -> Stats:
    """Totals from rows of an aggregation by kind."""
    jobs = {row["_id"]: aggregations.finite_int(row["jobs"]) for row in rows if isinstance(row["_id"], str)}
    size = sum(aggregations.finite_int(row["bytes"]) for row in rows) / GB
    return Stats(
        total_jobs=sum(jobs.values()),
        by_type={kind.record_type: jobs.get(kind.record_type, 0) for kind in Kind},
        total_storage_gb=gigabytes(size),
        estimated_monthly_cost=f"{size * dollars_per_gb:.2f}",
    )


def gigabytes(size: float) -> str:
    """Size without trailing zeros, with six decimals at most: `2.5`, `0.000125`, `0`."""
    return f"{size:.6f}".rstrip("0").rstrip(".") if size < 1 else f"{size:.2f}".rstrip("0").rstrip(".")
