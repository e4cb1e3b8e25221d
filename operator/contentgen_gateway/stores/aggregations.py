"""Counts and sums over records and purchases, as values: what is matched, grouped by and added up. Pure.

Both collections have `namespace`, `type`, `userId`, `jobId` and `createdAt`, so one scope and one filter serve both.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from contentgen_contract.records.ledger import PurchaseState, PurchaseStep
from contentgen_contract.resources.prices import BILLED
from contentgen_gateway.stores.queries import Filter, JobFilter, Scope, counting

Row = dict[str, Any]


class By(StrEnum):
    """What usage is told by."""

    USER = "user"
    KIND = "kind"
    MODEL = "model"
    DAY = "day"


@dataclass(frozen=True, slots=True)
class Aggregation:
    """One aggregation: `$match`, then one `$group`. `index` serves the match."""

    match: Filter
    key: Any
    sums: Mapping[str, Any]
    index: str

    @property
    def pipeline(self) -> tuple[Row, ...]:
        """As MongoDB takes it."""
        sums = {name: {"$sum": value} for name, value in self.sums.items()}
        return {"$match": self.match}, {"$group": {"_id": self.key, **sums}}


_DAY = {"$dateToString": {"format": "%Y-%m-%d", "date": "$createdAt"}}
_JOB_KEYS: dict[By, Any] = {By.USER: "$userId", By.KIND: "$type", By.MODEL: "$config.model", By.DAY: _DAY}
_PURCHASE_KEYS: dict[By, Any] = _JOB_KEYS | {By.MODEL: "$model"}
_HAS_STATE: dict[str, Any] = {each.value: {"$eq": ["$state", each.value]} for each in PurchaseState}
_BILLED = {"$or": [{"$eq": [{"$ifNull": ["$costSource", ""]}, each.value]} for each in BILLED]}
_UNPRICED = {"$eq": [{"$ifNull": ["$actualMicros", {"$ifNull": ["$estimatedMicros", -1]}]}, -1]}
_FINISHED = {"$or": [_HAS_STATE["succeeded"], _HAS_STATE["collected"], _HAS_STATE["discarded"]]}
# Of a request without a result nobody knows what it cost, unless the provider has said so.
_ENDED = {"$or": [_HAS_STATE["failed"], _HAS_STATE["cancelled"]]}
_STEP = {"$ifNull": ["$step", PurchaseStep.SENDING.value]}  # of older releases: it may have been sent
_SENDING = {"$and": [_HAS_STATE["intent"], {"$eq": [_STEP, PurchaseStep.SENDING.value]}]}
# A person allowed another attempt in its place: it may have been paid.
_ABANDONED = {"$and": [_HAS_STATE["intent"], {"$eq": [_STEP, PurchaseStep.ABANDONED.value]}]}
_PENDING = {"$or": [_SENDING, _HAS_STATE["submitted"]]}


def of_jobs(scope: Scope, wanted: JobFilter, by: By | None) -> Aggregation:
    """Jobs, their bytes and pictures."""
    sums = {"jobs": 1, "bytes": "$bytes", "pictures": "$pictures"}
    return Aggregation(counting(scope, wanted), _JOB_KEYS[by] if by else None, sums, _index(scope, wanted))


def of_purchases(scope: Scope, wanted: JobFilter, by: By) -> Aggregation:
    """In micro-dollars: what was paid by the providers' figures, estimates of what else was finished, and estimates of
    requests that have not ended. Besides, how many there are whose cost nobody knows.
    """
    unknown = {"$or": [{"$and": [_UNPRICED, {"$or": [_FINISHED, _PENDING]}]}, _ENDED, _ABANDONED]}
    sums = {
        "purchases": 1,
        "paid": {"$cond": [_BILLED, "$actualMicros", 0]},
        # Before there was a costSource, the estimate was stored as actualMicros.
        "estimated": {
            "$cond": [_BILLED, 0, {"$cond": [_FINISHED, {"$ifNull": ["$actualMicros", "$estimatedMicros"]}, 0]}]
        },
        "asked": {"$cond": [_PENDING, "$estimatedMicros", 0]},
        "unknown": {"$cond": [_BILLED, 0, {"$cond": [unknown, 1, 0]}]},
    }
    return Aggregation(counting(scope, wanted), _PURCHASE_KEYS[by], sums, _index(scope, wanted))


def own(scope: Scope) -> Scope:
    """Without what others share: theirs is not to be added up with one's own."""
    return replace(scope, jobs=(), public=False)


def whole(value: object) -> int:
    """A sum as a number; 0 for what a stored value of another type has made of it, such as NaN."""
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0


def _index(scope: Scope, wanted: JobFilter) -> str:
    """Both collections have these."""
    if not scope.filter():
        return "user_created" if wanted.user_id else "created"
    return "namespace_user_created" if wanted.user_id else "namespace_created"
