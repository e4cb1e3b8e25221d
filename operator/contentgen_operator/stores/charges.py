"""Charges in the ledger: finished purchases without a charge, and the compare-and-set that writes one."""

from collections.abc import Collection as AnyOf
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError
from pymongo import DESCENDING
from pymongo.collection import Collection

from contentgen_contract.records.purchase_costs import ESTIMATED, EXPECTED, PAID, UsageLabel
from contentgen_contract.resources.prices import CostSource
from contentgen_operator.state.purchases import PurchaseState, Unsettled
from contentgen_runtime.mongo import Document
from contentgen_runtime.stores import in_thread

_OLDEST = timedelta(days=32)  # age: 30 days since its end, and its duration
_LONGEST_PAUSE = timedelta(days=1)
_MOST = 5000
_STATES = (
    PurchaseState.SUCCEEDED,
    PurchaseState.COLLECTED,
    PurchaseState.DISCARDED,
    PurchaseState.FAILED,
    PurchaseState.CANCELLED,
)
_ENDED = {"$in": [state.value for state in _STATES]}
AMOUNTS: dict[str, Any] = {"paid": PAID, "estimated": ESTIMATED, "expected": EXPECTED}
"""Amounts of the usage: billed by the provider, finished and not billed yet, in progress."""
_KEYS = {
    UsageLabel.NAMESPACE: "$namespace",
    UsageLabel.USER: "$userId",
    UsageLabel.KIND: "$type",
    UsageLabel.PROVIDER: "$provider",
    UsageLabel.MODEL: "$model",
}
_NAMES = ("namespace", "type", "jobId")
_TIMES = ("createdAt", "changedAt", "finishedAt", "billingDueAt")
_FIELDS = (*_NAMES, "purchaseId", "requestId", "provider", "account", "model", *_TIMES)


class Charges:
    """Charges in the collection `ledger`. pymongo is synchronous, so each call runs in a thread."""

    def __init__(self, collection: Collection[Document]) -> None:
        self._collection = collection
        self._bindings: Collection[Document] = collection.database["request_bindings"]

    @in_thread
    def unsettled(self, now: datetime, providers: AnyOf[str]) -> tuple[Unsettled, ...]:
        """Finished purchases of these providers whose charge is due, the newest 5,000; unreadable documents are
        skipped.
        """
        due: list[Document] = [
            {"billingDueAt": None},
            {"billingDueAt": {"$lte": now}},
            {"billingDueAt": {"$gt": now + _LONGEST_PAUSE}},  # the clock was set back
        ]
        where = {
            "createdAt": {"$gte": now - _OLDEST},
            "provider": {"$in": [*providers]},
            "state": _ENDED,
            "requestId": {"$ne": None},
            "billedMicros": None,
            "$or": due,
        }
        found = self._collection.find(where, dict.fromkeys(_FIELDS, True)).sort("createdAt", DESCENDING).limit(_MOST)
        return tuple(purchase for purchase in map(_read, found) if purchase is not None)

    @in_thread
    def usage(self, now: datetime, labels: AnyOf[UsageLabel], operator_class: str) -> list[Document]:
        """Sums of the purchases that were planned in the UTC month and day of `now`, by these labels: `month_paid`,
        `day_paid` and so on, and `month_purchases`. Purchases of other classes are left out.
        """
        today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        wanted = {"createdAt": {"$gte": today.replace(day=1)}, "operatorClass": operator_class}
        is_of_today = {"$gte": ["$createdAt", today]}
        group: Document = {"_id": {label.value: _KEYS[label] for label in labels} or None}
        for name, micros in (AMOUNTS | {"purchases": 1}).items():
            group[f"month_{name}"] = {"$sum": micros}
            group[f"day_{name}"] = {"$sum": {"$cond": [is_of_today, micros, 0]}}
        return list(self._collection.aggregate([{"$match": wanted}, {"$group": group}]))

    @in_thread
    def settle(self, asked: Unsettled, micros: int) -> bool:
        """Write a charge. False if the document has changed, or the request is bound to another purchase."""
        binding = self._bindings.find_one({"_id": f"{asked.provider}/{asked.request_id}"})
        if binding is not None and binding.get("purchaseId") != asked.purchase_id:
            return False
        change = {
            "billedMicros": micros,
            "actualMicros": micros,
            "costSource": CostSource.BILLING_EVENTS.value,
            "billingDueAt": None,
        }
        return self._collection.update_one(_same(asked), {"$set": change}).modified_count == 1

    @in_thread
    def put_off(self, asked: Unsettled, due_at: datetime) -> None:
        """Write the time of the next query, unless the document has changed since it was read."""
        change = {"$set": {"billingDueAt": due_at}}
        same = _same(asked) | {"billingDueAt": asked.due_at}
        self._collection.update_one(same, change)


def _same(asked: Unsettled) -> Document:
    return {"_id": asked.key, "requestId": asked.request_id, "state": _ENDED, "billedMicros": None}


def _read(document: Document) -> Unsettled | None:
    times = {name: _aware(document.get(name)) for name in _TIMES}
    given = {
        **{name: document.get(name) or "" for name in _NAMES},
        "key": str(document["_id"]),
        "purchase_id": document.get("purchaseId"),
        "request_id": document["requestId"],
        "provider": document.get("provider"),
        "account": document.get("account"),
        "model": document.get("model"),
        "created_at": times["createdAt"],
        "ended_at": times["finishedAt"] or times["changedAt"],
        "due_at": times["billingDueAt"],
    }
    try:
        return Unsettled.model_validate(given)
    except ValidationError:
        return None


def _aware(value: Any) -> Any:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value
