"""MongoDB aggregations over records and purchases: filter, group key and sums. Pure.

Both collections have `namespace`, `type`, `userId`, `jobId` and `createdAt`, so they share scopes and filters.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from contentgen_contract.records.purchase_costs import DAY, ESTIMATED, EXPECTED, PAID, UNKNOWN
from contentgen_gateway.stores.queries import Filter, JobFilter, Scope, count_filter

Row = dict[str, Any]


class By(StrEnum):
    """Group key of a usage report."""

    USER = "user"
    KIND = "kind"
    MODEL = "model"
    DAY = "day"
    NAMESPACE = "namespace"


@dataclass(frozen=True, slots=True)
class Aggregation:
    """One aggregation: `$match`, then one `$group`. `index` is the name of the index that serves the match."""

    match: Filter
    key: Any
    sums: Mapping[str, Any]
    index: str

    @property
    def pipeline(self) -> tuple[Row, ...]:
        """The stages in MongoDB's syntax."""
        sums = {name: {"$sum": value} for name, value in self.sums.items()}
        return {"$match": self.match}, {"$group": {"_id": self.key, **sums}}


_JOB_KEYS: dict[By, Any] = {By.USER: "$userId", By.KIND: "$type", By.MODEL: "$config.model", By.DAY: DAY}
_JOB_KEYS |= {By.NAMESPACE: "$namespace"}
_PURCHASE_KEYS: dict[By, Any] = _JOB_KEYS | {By.MODEL: "$model"}


def job_totals(scope: Scope, wanted: JobFilter, by: By | None) -> Aggregation:
    """Number of jobs, their bytes and their pictures; one group in total if `by` is None."""
    sums = {"jobs": 1, "bytes": "$bytes", "pictures": "$pictures"}
    return Aggregation(count_filter(scope, wanted), _JOB_KEYS[by] if by else None, sums, _index(scope, wanted))


def purchase_table(scope: Scope, wanted: JobFilter) -> Aggregation:
    """As `purchase_totals`, by all keys at once; the group key is an object with a field for each."""
    totals = purchase_totals(scope, wanted, By.DAY)
    return replace(totals, key={by.value: key for by, key in _PURCHASE_KEYS.items()})


def purchase_totals(scope: Scope, wanted: JobFilter, by: By) -> Aggregation:
    """Purchase costs in micro-dollars: `paid` (billed by the provider), `estimated` (finished, not billed yet) and
    `asked` (estimates of requests in progress). `unknown` is the number of purchases without a known cost.
    """
    sums = {"purchases": 1, "paid": PAID, "estimated": ESTIMATED, "asked": EXPECTED, "unknown": UNKNOWN}
    return Aggregation(count_filter(scope, wanted), _PURCHASE_KEYS[by], sums, _index(scope, wanted))


def without_shared(scope: Scope) -> Scope:
    """The scope without shared and public jobs, which belong to other users' totals."""
    return replace(scope, jobs=(), public=False)


def finite_int(value: object) -> int:
    """A sum as an int; 0 for NaN, infinity and other types, which stored values of a wrong type cause."""
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0


def _index(scope: Scope, wanted: JobFilter) -> str:
    """Name of the index to use; both collections have these four."""
    if not scope.filter():
        return "user_created" if wanted.user_id else "created"
    return "namespace_user_created" if wanted.user_id else "namespace_created"
