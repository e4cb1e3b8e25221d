"""The ledger of paid requests: what makes a payment happen at most once.

One document for each attempt to buy one thing, `_id` = `PurchaseKey`. It is written durably before the POST; whoever
inserted it, and nobody else, may send that POST. Every change names the state that it comes from (compare and set).
"""

import asyncio
import secrets
import time
from datetime import UTC, datetime
from statistics import median
from typing import Any

from pymongo import DESCENDING, ReturnDocument
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, PyMongoError

from contentgen_contract import indexes
from contentgen_contract.names import Kind
from contentgen_contract.signatures import unsigned
from contentgen_operator.purchases import Move, Purchase, PurchaseKey, PurchaseState

Document = dict[str, Any]
_RATE_SECONDS = 60.0
_NOT_SENT = "MongoDB did not answer before the request was sent; nothing was paid"


class Ledger:
    """The `ledger` collection. pymongo is synchronous here, so each call runs in a thread."""

    def __init__(self, collection: Collection[Document]) -> None:
        self._collection = collection
        self._unsent: set[str] = set()  # intents whose writing failed: nothing follows them, should they be there
        self._rates: dict[str, tuple[float, float | None]] = {}

    def create_indexes(self) -> None:
        """Idempotent."""
        for name, keys in indexes.LEDGER.items():
            self._collection.create_index(list(keys), name=name)

    async def get(self, key: PurchaseKey) -> Purchase | None:
        """The purchase, if it was ever intended."""
        return await asyncio.to_thread(self._get, key)

    def _get(self, key: PurchaseKey) -> Purchase | None:
        found = self._collection.find_one({"_id": str(key)})
        if found and found["state"] == PurchaseState.INTENT and found.get("intentId") in self._unsent:
            self._withdraw(found)
            found = self._collection.find_one({"_id": str(key)})
        return _purchase(found) if found else None

    def _withdraw(self, intent: Document) -> None:
        """An intent of ours whose acknowledgement was lost: no POST was sent for it, and none will be."""
        where = {name: intent[name] for name in ("_id", "state", "intentId")}
        refused = {"state": PurchaseState.REFUSED.value, "permanent": False, "error": _NOT_SENT}
        self._collection.update_one(where, {"$set": refused})
        self._unsent.discard(intent["intentId"])

    async def intend(self, key: PurchaseKey, purchase: Purchase) -> bool:
        """Write the intent to pay. True for exactly one caller, who must now send the POST."""
        return await asyncio.to_thread(self._intend, key, purchase)

    def _intend(self, key: PurchaseKey, purchase: Purchase) -> bool:
        intent_id = secrets.token_hex(8)
        try:
            return self._written(key, purchase, intent_id)
        except PyMongoError:
            self._unsent.add(intent_id)
            raise

    def _written(self, key: PurchaseKey, purchase: Purchase, intent_id: str) -> bool:
        fresh = purchase.model_dump(mode="python", by_alias=True) | {"intentId": intent_id}
        try:
            self._collection.insert_one({"_id": str(key), **fresh})
        except DuplicateKeyError:
            again = self._collection.update_one(
                {
                    "_id": str(key),
                    "state": PurchaseState.REFUSED.value,
                    "$or": [{"permanent": False}, {"jobId": {"$ne": purchase.job_id}}],
                },
                # The whole of it anew: it may be another resource's by now, and a lost reply's window starts here.
                {"$set": {name: fresh[name] for name in fresh.keys() - {"tries"}}, "$inc": {"tries": 1}},
            )
            return again.modified_count == 1
        return True

    async def move(self, move: Move) -> Purchase | None:
        """Compare and set; the purchase as it is now, or None where it was not in `source` any more."""
        # A provider's words may repeat the URL that was signed for it.
        update = {"state": move.target.value} | {_camel(name): unsigned(value) for name, value in move.changes.items()}
        where = {"_id": str(move.key), "state": move.source.value}
        moved = await asyncio.to_thread(
            self._collection.find_one_and_update, where, {"$set": update}, return_document=ReturnDocument.AFTER
        )
        return _purchase(moved) if moved else None

    async def collected(self, namespace: str, kind: Kind, name: str) -> list[Purchase]:
        """The collected purchases of the resources that have had this name, in the order of their keys."""
        where = _of_name(namespace, kind, name) | {"state": PurchaseState.COLLECTED.value}
        return await asyncio.to_thread(
            lambda: [_purchase(each) for each in self._collection.find(where).sort("_id", 1)]
        )

    async def job_ids(self, namespace: str, kind: Kind, name: str) -> frozenset[str]:
        """The uids of the resources that have had this name and asked a provider for something."""
        where = _of_name(namespace, kind, name)
        return await asyncio.to_thread(
            lambda: frozenset(str(each["jobId"]) for each in self._collection.find(where, {"jobId": True}))
        )

    async def others(self, key: PurchaseKey, job_id: str) -> tuple[tuple[Purchase, ...], tuple[Purchase, ...]]:
        """The attempts of this run before `key`, and what the job has bought in its other runs."""
        return await asyncio.to_thread(self._others, key, job_id)

    def _others(self, key: PurchaseKey, job_id: str) -> tuple[tuple[Purchase, ...], tuple[Purchase, ...]]:
        attempts = {str(key.model_copy(update={"attempt": each})) for each in range(1, key.attempt + 1)}
        prefix = f"{key.namespace}/{key.kind}/{key.name}/"
        found = list(self._collection.find({"_id": {"$gte": prefix, "$lt": f"{prefix[:-1]}0"}}).sort("_id", 1))
        earlier = [each for each in found if each["_id"] in attempts - {str(key)}]
        runs = [each for each in found if each["_id"] not in attempts and each["jobId"] == job_id]
        return tuple(map(_purchase, earlier)), tuple(map(_purchase, runs))

    async def states(self) -> dict[str, int]:
        """How many purchases are in each state."""
        groups = [{"$group": {"_id": "$state", "count": {"$sum": 1}}}]
        found = await asyncio.to_thread(lambda: list(self._collection.aggregate(groups)))
        return {state.value: 0 for state in PurchaseState} | {each["_id"]: each["count"] for each in found}

    async def request_ids(self, marker: str) -> frozenset[str]:
        """The ids that purchases with this marker already have."""
        return await asyncio.to_thread(self._request_ids, marker)

    def _request_ids(self, marker: str) -> frozenset[str]:
        found = self._collection.find({"marker": marker, "requestId": {"$ne": None}}, {"requestId": 1})
        return frozenset(each["requestId"] for each in found)

    async def discard(self, job_ids: tuple[str, ...]) -> None:
        """The files of these jobs are gone: their purchases cannot be adopted any more."""
        gone = {"jobId": {"$in": list(job_ids)}, "state": {"$in": [PurchaseState.SUCCEEDED, PurchaseState.COLLECTED]}}
        await asyncio.to_thread(
            self._collection.update_many, gone, {"$set": {"state": PurchaseState.DISCARDED.value, "outputs": None}}
        )

    async def seconds_per_unit(self, model: str) -> float | None:
        """Median of the last 20 finished requests of a model, in seconds for each unit of work; remembered a minute."""
        known = self._rates.get(model)
        if known is None or time.monotonic() - known[0] > _RATE_SECONDS:
            known = (time.monotonic(), await asyncio.to_thread(self._seconds_per_unit, model))
            self._rates[model] = known
        return known[1]

    def _seconds_per_unit(self, model: str) -> float | None:
        finished = self._collection.find(
            {"model": model, "finishedAt": {"$ne": None}}, {"submittedAt": 1, "finishedAt": 1, "units": 1}
        )
        rates = [
            (each["finishedAt"] - each["submittedAt"]).total_seconds() / each["units"]
            for each in finished.sort("finishedAt", DESCENDING).limit(20)
            if each.get("submittedAt") and each.get("units")
        ]
        return median(rates) if rates else None


def _of_name(namespace: str, kind: Kind, name: str) -> Document:
    """A range of `_id`, which every server serves from its index; "0" follows "/"."""
    prefix = f"{namespace}/{kind}/{name}"
    return {"_id": {"$gte": f"{prefix}/", "$lt": f"{prefix}0"}}


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
