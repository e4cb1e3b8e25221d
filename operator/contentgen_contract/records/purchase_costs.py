"""Costs of purchases as MongoDB expressions over the collection `ledger`, so that CSV and metrics give the same sums.

Amounts are micro-dollars. One purchase has an amount in one of PAID, ESTIMATED and EXPECTED at most.
"""

from enum import StrEnum
from typing import Any

from contentgen_contract.records.ledger import PurchaseState, SendState
from contentgen_contract.resources.prices import BILLED

Expression = dict[str, Any]


class UsageLabel(StrEnum):
    """Label of the usage metrics."""

    NAMESPACE = "namespace"
    USER = "user"
    KIND = "kind"
    PROVIDER = "provider"
    MODEL = "model"


_HAS_STATE: dict[str, Expression] = {
    purchase_state.value: {"$eq": ["$state", purchase_state.value]} for purchase_state in PurchaseState
}
_BILLED: Expression = {"$or": [{"$eq": [{"$ifNull": ["$costSource", ""]}, source.value]} for source in BILLED]}
_UNPRICED: Expression = {"$eq": [{"$ifNull": ["$estimatedMicros", -1]}, -1]}
_FINISHED: Expression = {"$or": [_HAS_STATE["succeeded"], _HAS_STATE["collected"], _HAS_STATE["discarded"]]}
# The cost of a request without a result is unknown unless the provider has billed it.
_ENDED: Expression = {"$or": [_HAS_STATE["failed"], _HAS_STATE["cancelled"]]}
_SENDING: Expression = {"$and": [_HAS_STATE["intent"], {"$eq": ["$sendState", SendState.SENDING.value]}]}
# A person allowed another paid attempt; the abandoned one may have been paid too.
_ABANDONED: Expression = {"$and": [_HAS_STATE["intent"], {"$eq": ["$sendState", SendState.ABANDONED.value]}]}
_PENDING: Expression = {"$or": [_SENDING, _HAS_STATE["submitted"]]}

PAID: Expression = {"$cond": [_BILLED, "$actualMicros", 0]}
"""Billed by the provider."""
ESTIMATED: Expression = {"$cond": [_BILLED, 0, {"$cond": [_FINISHED, "$estimatedMicros", 0]}]}
"""Finished, and not billed yet."""
EXPECTED: Expression = {"$cond": [_PENDING, "$estimatedMicros", 0]}
"""Estimates of requests in progress."""
UNKNOWN: Expression = {
    "$cond": [
        _BILLED,
        0,
        {"$cond": [{"$or": [{"$and": [_UNPRICED, {"$or": [_FINISHED, _PENDING]}]}, _ENDED, _ABANDONED]}, 1, 0]},
    ]
}
"""1 for a purchase without a known cost."""
DAY: Expression = {"$dateToString": {"format": "%Y-%m-%d", "date": "$createdAt"}}
"""Day of a purchase, in UTC."""
