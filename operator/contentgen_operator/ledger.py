"""The ledger of paid requests: what makes a payment happen at most once.

One document for each attempt to buy one thing, `_id` = `PurchaseKey`. It is written durably before the POST; whoever
inserted it, and nobody else, may send that POST. Every change names the state that it comes from (compare and set).

    (nothing) ──intend──► intent ──POST──► submitted ──► succeeded ──► collected
                            │  ▲              └────────► failed
                            ▼  │ intend again (the provider had said: not accepted)
                          refused
"""

import asyncio
import hashlib
from datetime import UTC, datetime
from enum import StrEnum
from statistics import median
from typing import Any

from pydantic import Field
from pymongo import DESCENDING
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from contentgen_contract.base import Value
from contentgen_contract.names import Kind

Document = dict[str, Any]


class PurchaseKey(Value):
    """What is bought: the same key never pays twice, whichever resource asks for it."""

    namespace: str
    kind: Kind
    name: str
    run_hash: str
    rerun: str | None
    attempt: int

    def __str__(self) -> str:
        # The rerun token is a person's text: hashed, so that it cannot imitate another key.
        rerun = hashlib.sha256(self.rerun.encode()).hexdigest()[:16] if self.rerun is not None else "-"
        return f"{self.namespace}/{self.kind}/{self.name}/{self.run_hash}/{rerun}/{self.attempt}"


class PurchaseState(StrEnum):
    """How far a purchase is."""

    INTENT = "intent"
    REFUSED = "refused"
    SUBMITTED = "submitted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    COLLECTED = "collected"


class Purchase(Value):
    """One document of the ledger."""

    state: PurchaseState
    job_id: str  # of the resource that first asked; its outputs are the purchase's
    provider: str
    model: str
    marker: str
    created_at: datetime
    changed_at: datetime
    request_id: str | None = None
    submitted_at: datetime | None = None
    finished_at: datetime | None = None
    tries: int = 1  # POSTs that the provider answered with "not accepted", and the one after them
    permanent: bool = False  # refused for good
    error: str = ""
    estimated_micros: int | None = None
    actual_micros: int | None = None
    result_key: str | None = None  # the provider's answer in S3
    outputs: dict[str, Any] | None = None  # the finished VersionStatus, for a resource that is applied again


class Move(Value):
    """A step of a purchase from one state to another, with the fields (by their Python names) that change."""

    key: PurchaseKey
    source: PurchaseState
    target: PurchaseState
    changes: dict[str, Any] = Field(default_factory=dict)


class Ledger:
    """The `ledger` collection. pymongo is synchronous here, so each call runs in a thread."""

    def __init__(self, collection: Collection[Document]) -> None:
        self._collection = collection

    def create_indexes(self) -> None:
        """Idempotent; serves `typical_seconds`."""
        self._collection.create_index([("model", 1), ("finishedAt", DESCENDING)], name="model_finished")

    async def get(self, key: PurchaseKey) -> Purchase | None:
        """The purchase, if it was ever intended."""
        found = await asyncio.to_thread(self._collection.find_one, {"_id": str(key)})
        return _purchase(found) if found else None

    async def intend(self, key: PurchaseKey, purchase: Purchase) -> bool:
        """Write the intent to pay. True for exactly one caller, who must now send the POST."""
        return await asyncio.to_thread(self._intend, key, purchase)

    def _intend(self, key: PurchaseKey, purchase: Purchase) -> bool:
        fresh = purchase.model_dump(mode="python", by_alias=True)
        try:
            self._collection.insert_one({"_id": str(key), **fresh})
        except DuplicateKeyError:
            again = self._collection.update_one(
                {"_id": str(key), "state": PurchaseState.REFUSED.value, "permanent": False},
                {
                    "$set": {
                        "state": PurchaseState.INTENT.value,
                        "error": "",
                        "marker": purchase.marker,
                        "changedAt": purchase.changed_at,
                    },
                    "$inc": {"tries": 1},
                },
            )
            return again.modified_count == 1
        return True

    async def move(self, move: Move) -> bool:
        """Compare and set; False where the purchase was not in `source` any more."""
        update = {"state": move.target.value} | {_camel(name): value for name, value in move.changes.items()}
        where = {"_id": str(move.key), "state": move.source.value}
        done = await asyncio.to_thread(self._collection.update_one, where, {"$set": update})
        return bool(done.matched_count == 1)

    async def typical_seconds(self, model: str) -> float | None:
        """Median time of the last 20 finished requests of a model, in seconds."""
        return await asyncio.to_thread(self._typical_seconds, model)

    def _typical_seconds(self, model: str) -> float | None:
        finished = self._collection.find(
            {"model": model, "finishedAt": {"$ne": None}}, {"submittedAt": 1, "finishedAt": 1}
        )
        seconds = [
            (each["finishedAt"] - each["submittedAt"]).total_seconds()
            for each in finished.sort("finishedAt", DESCENDING).limit(20)
            if each.get("submittedAt")
        ]
        return median(seconds) if seconds else None


def _purchase(document: Document) -> Purchase:
    times = {
        name: value.replace(tzinfo=UTC)
        for name, value in document.items()
        if isinstance(value, datetime) and value.tzinfo is None
    }
    return Purchase.model_validate(document | times)


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)
