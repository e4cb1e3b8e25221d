"""Collection `budgets`: one document for each window of a budget, so that a claim is one atomic update.

`held` = `spent` + the amounts in `open`, the claims of purchases that are not in it. A claim is refused if
`held` would exceed the limit. `open` is by `claim_key`; `keys` lists its names for the index. Ended purchases leave
`open` for `spent`, so the document is as large as the number of purchases under way.

The ledger is the source of truth. A purchase names its windows (`budgets`) from its planning on, and `spent` is the
sum over all purchases in the ledger that may be paid and have no claim, written by compare-and-set of `revision`: the
next `sum_up` repairs the effects of a crash, a repetition or a restored backup. So an abandoned purchase whose request
is found again stays in the sum.

A purchase that is paid already, such as an adopted one, is claimed whatever the limit, before the ledger has it as
submitted. `excess` is what such purchases have added above the limit; it is a part of `overrun`.

A new document takes no claim before the ledger was summed (`summed`): the collection is not part of a backup.

A claim has a token that each renewal replaces. A release names the token, so a process that was frozen releases nothing
that another process has renewed. A purchase is sent only after a renewal: a planned one that has not renewed its claim
for a while, such as one of a resource whose finalizer was removed by hand, loses it.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pymongo import ReturnDocument
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from contentgen_contract.base import Value
from contentgen_contract.records import indexes
from contentgen_operator.budgets.values import (
    BudgetClaim,
    BudgetClaims,
    BudgetRelease,
    WindowRef,
    WindowUsage,
    claim_key,
)
from contentgen_operator.leader.leadership import Check, unchecked
from contentgen_operator.state.purchases import PurchaseState, SendState
from contentgen_runtime.kube import Conflict
from contentgen_runtime.mongo import Document, create_indexes

_TRIES = 5
_PLANNING = timedelta(minutes=1)  # longest time between a claim and the plan of its purchase
# Longest time between a renewal and the payment: a process that is frozen for longer has lost the Lease.
_PAYING = timedelta(minutes=15)
_BATCH = 200  # claims that leave `open` with one update
_INTENT = PurchaseState.INTENT.value
_ABANDONED = {"state": _INTENT, "sendState": SendState.ABANDONED.value}
_PLANNED = SendState.PLANNED.value
_REFUSED = PurchaseState.REFUSED.value
_ENDED = [
    each.value
    for each in (
        PurchaseState.SUCCEEDED,
        PurchaseState.COLLECTED,
        PurchaseState.FAILED,
        PurchaseState.CANCELLED,
        PurchaseState.DISCARDED,
    )
]
_MAY_BE_PAID: Document = {
    "$or": [
        {"state": {"$in": [*_ENDED, PurchaseState.SUBMITTED.value]}},
        {"state": _INTENT, "sendState": {"$ne": _PLANNED}},
    ]
}
# The best figure that there is; the bound where the charge is unknown.
_BOUND: Document = {"$ifNull": ["$boundMicros", 0]}
_COST: Document = {"$ifNull": ["$billedMicros", {"$ifNull": ["$actualMicros", _BOUND]}]}
_OVERRUN: Document = {"$cond": [{"$gt": [_COST, _BOUND]}, {"$subtract": [_COST, _BOUND]}, 0]}


class WindowTotals(Value):
    """Totals of a window, as last written."""

    held: int = 0
    spent: int = 0
    overrun: int = 0

    @property
    def reserved(self) -> int:
        """Amounts of open claims."""
        return self.held - self.spent

    def warns(self, window: WindowRef) -> bool:
        """True from spec.warnAtPercent of the limit on."""
        return self.held * 100 >= window.limit * window.warn_percent


@dataclass(frozen=True)
class BudgetStore:
    """Claims and totals. pymongo is synchronous, so each call runs in a thread. Raises PyMongoError.

    `check` raises Conflict if this process does not lead.
    """

    collection: Collection[Document]
    ledger: Collection[Document]
    check: Check = unchecked

    def create_indexes(self) -> None:
        """Create the indexes. Idempotent."""
        create_indexes(self.collection, indexes.BUDGETS)

    async def usage(self, ids: Sequence[str], purchase: str) -> dict[str, WindowUsage]:
        """Usage of windows by id, with the claims of a purchase; windows without any claim are missing."""
        return await asyncio.to_thread(self._usage, list(ids), claim_key(purchase))

    def _usage(self, ids: list[str], key: str) -> dict[str, WindowUsage]:
        found = self.collection.find({"_id": {"$in": ids}}, {"held": True, f"open.{key}": True})
        return {str(document["_id"]): _usage_of(document, key) for document in found}

    async def claim(self, claims: BudgetClaims, now: datetime) -> WindowRef | None:
        """Claim all amounts, one window after another, or renew the claims; the window that refused, or None.

        After a refusal, the claims that this call has made are released.
        """
        return await asyncio.to_thread(self._claim_all, claims, now)

    def _claim_all(self, claims: BudgetClaims, now: datetime) -> WindowRef | None:
        made: list[BudgetRelease] = []
        token = secrets.token_hex(8)
        try:
            for each in claims.each:
                self.check()
                if (fresh := self._claim(claims, each, token, now)) is None:
                    self._undo(made)
                    return each.ref
                if fresh:
                    made.append(BudgetRelease(purchase=claims.purchase, window=each.ref.id, token=token))
            self.check()  # a new claim has nothing to compare with
        except Conflict:
            self._undo(made)
            raise
        return None

    def _undo(self, made: Iterable[BudgetRelease]) -> None:
        for each in made:
            self._release(each)

    def _claim(self, claims: BudgetClaims, claim: BudgetClaim, token: str, now: datetime) -> bool | None:
        """True: claimed; False: renewed; None: refused, which paid purchases are not."""
        ref, key = claim.ref, claim_key(claims.purchase)
        entry = {"purchase": claims.purchase, "micros": claim.micros, "token": token, "at": now, "paid": claims.paid}
        fields = dict.fromkeys((f"open.{key}", "summed", "held", "overrun", "revision"), True)
        for _ in range(_TRIES):
            found = self.collection.find_one({"_id": ref.id}, fields)
            if found is None or not found.get("summed"):
                self._insert(ref)
                self._sum_up(ref.id, now, thorough=True)
                continue
            before = (found.get("open") or {}).get(key)
            had = int(before["micros"]) if before else 0
            more, room = claim.micros - had, max(claim.micros, claim.least) - had
            where: Document = {"_id": ref.id, f"open.{key}": {"$exists": False}}
            if before:
                where = {"_id": ref.id, f"open.{key}.token": before["token"], f"open.{key}.micros": had}
            change: Document = {
                "$set": {f"open.{key}": entry, "limit": ref.limit},
                "$inc": {"held": more},
                "$addToSet": {"keys": key},
            }
            if claims.paid:
                where |= {"held": found["held"], "revision": found["revision"]}
                excess = min(max(found["held"] + more - ref.limit - found["overrun"], 0), max(more, 0))
                change["$inc"] |= {"overrun": excess, "excess": excess}
            elif room > 0 or not before:  # a renewal of the same amount is always granted
                where["held"] = {"$lte": ref.limit - room}
            if self.collection.update_one(where, change).modified_count == 1:
                return not before
            if not claims.paid and self._is_full(ref, room):
                return None
        raise Conflict(f"the window {ref.id} changes all the time")

    def _is_full(self, ref: WindowRef, room: int) -> bool:
        found = self.collection.find_one({"_id": ref.id}, {"held": True}) or {}
        return int(found.get("held") or 0) + room > ref.limit

    def _insert(self, ref: WindowRef) -> None:
        fresh = {"budget": ref.budget, "uid": ref.uid, "window": ref.window.value, "limit": ref.limit}
        zero: Document = dict.fromkeys(("held", "spent", "overrun", "excess", "revision"), 0)
        zero |= {"open": {}, "keys": [], "summed": False}
        with contextlib.suppress(DuplicateKeyError):
            self.collection.insert_one({"_id": ref.id, **fresh, **zero, "resetsAt": ref.resets_at})

    async def release(self, releases: Sequence[BudgetRelease]) -> None:
        """Release claims that nobody has renewed since their token was read."""
        self.check()
        await asyncio.to_thread(self._undo, releases)

    def _release(self, release: BudgetRelease) -> bool:
        key = claim_key(release.purchase)
        at = f"open.{key}"
        found = self.collection.find_one({"_id": release.window, f"{at}.token": release.token}, {at: True})
        if found is None:
            return False
        micros = int(found["open"][key]["micros"])
        where = {"_id": release.window, f"{at}.token": release.token, f"{at}.micros": micros}
        change = {"$unset": {at: ""}, "$pull": {"keys": key}, "$inc": {"held": -micros, "revision": 1}}
        return self.collection.update_one(where, change).modified_count == 1

    async def open_windows(self) -> list[str]:
        """Ids of windows with open claims."""
        return await asyncio.to_thread(
            lambda: [str(document["_id"]) for document in self.collection.find({"keys": {"$gt": ""}}, {"_id": True})]
        )

    async def recent_windows(self, since: datetime) -> list[str]:
        """Ids of windows that reset after `since`, or never."""
        where = {"$or": [{"resetsAt": None}, {"resetsAt": {"$gte": since}}]}
        return await asyncio.to_thread(
            lambda: [str(document["_id"]) for document in self.collection.find(where, {"_id": True})]
        )

    async def sum_up(self, window: str, now: datetime, *, thorough: bool = False) -> bool:
        """Release claims of unpaid purchases, and sum ended ones up; True if the totals have changed.

        `thorough`: also where no purchase has ended, for charges that became known and for restored backups.
        """
        return await asyncio.to_thread(lambda: self._sum_up(window, now, thorough=thorough))

    def _sum_up(self, window: str, now: datetime, *, thorough: bool) -> bool:
        changed, due = False, thorough
        for _ in range(_TRIES):
            self.check()
            found = self.collection.find_one({"_id": window})
            if found is None:
                return changed
            kept = self._purchases(found["open"])
            gone = [
                each for each in found["open"].values() if _is_unneeded(each, kept.get(each["purchase"]), window, now)
            ]
            if gone:
                changed |= self._release_all(window, gone)
                continue
            ended = {key: each for key, each in found["open"].items() if _is_ended(kept.get(each["purchase"]))}
            if not ended and not due:
                return changed
            ended = dict(list(ended.items())[:_BATCH])
            after = self._write_totals(window, found, ended)
            if after is None:
                continue
            changed, due = True, after["excess"] > found["excess"] or self._is_counted_twice(found, after)
            if not due:
                return True
        return changed

    def _release_all(self, window: str, claims: Iterable[Document]) -> bool:
        """True if one was released."""
        self.check()
        named = (BudgetRelease(purchase=claim["purchase"], window=window, token=claim["token"]) for claim in claims)
        return sum(map(self._release, named)) > 0

    def _purchases(self, claims: Document) -> dict[str, Document]:
        """State of purchases with claims, by their key in the ledger."""
        names = sorted(claim["purchase"] for claim in claims.values())
        fields = {"state": True, "sendState": True, "budgets": True}
        return {str(purchase["_id"]): purchase for purchase in self.ledger.find({"_id": {"$in": names}}, fields)}

    def _write_totals(self, window: str, found: Document, ended: Document) -> Document | None:
        """Compare-and-set of the totals, without the claims that have ended; the document, None if it was changed.

        A sum that grows above the limit is an overrun: a purchase without a claim, or a charge that was known as less.
        All of the growth counts as excess at first, because a claim may be granted meanwhile; the next call reduces it.
        """
        stay = [each["purchase"] for key, each in found["open"].items() if key not in ended]
        spent, above = self._sum(window, stay)
        out = sum(int(each["micros"]) for each in ended.values())
        held, excess = spent - int(found["spent"]) - out, int(found["excess"])
        more_above = above - (int(found["overrun"]) - excess)
        grown = max(held - more_above, 0)
        needed = max(int(found["held"]) + held - int(found["limit"]) - above, 0)
        claimable = grown and found.get("summed")
        more_excess = grown if claimable else min(needed, excess + grown) - excess
        where: Document = {"_id": window, "revision": found["revision"]}
        for key, each in ended.items():
            where |= {f"open.{key}.token": each["token"], f"open.{key}.micros": each["micros"]}
        overrun = more_above + more_excess
        change: Document = {
            "$set": {"spent": spent, "summed": True},
            "$inc": {"held": held, "overrun": overrun, "excess": more_excess, "revision": 1},
        }
        if ended:
            change["$unset"] = {f"open.{key}": "" for key in ended}
            change["$pullAll"] = {"keys": sorted(ended)}
        elif found.get("summed") and (held, overrun, more_excess) == (0, 0, 0):
            return found
        self.check()
        after: Document | None = self.collection.find_one_and_update(
            where, change, return_document=ReturnDocument.AFTER
        )
        return after

    def _is_counted_twice(self, before: Document, after: Document) -> bool:
        """True if a purchase was claimed after `before` was read, and sent before the sum."""
        fresh = {key: each for key, each in after["open"].items() if key not in before["open"]}
        return bool(fresh) and any(_may_be_paid(purchase) for purchase in self._purchases(fresh).values())

    def _sum(self, window: str, without: list[str]) -> tuple[int, int]:
        """Charges of purchases of a window that may be paid, and the part of them above the bounds."""
        match = {"budgets": window, "_id": {"$nin": without}} | _MAY_BE_PAID
        group = {"_id": None, "cost": {"$sum": _COST}, "overrun": {"$sum": _OVERRUN}}
        found = list(self.ledger.aggregate([{"$match": match}, {"$group": group}]))
        return (int(found[0]["cost"]), int(found[0]["overrun"])) if found else (0, 0)

    async def totals(self, ids: Sequence[str]) -> dict[str, WindowTotals]:
        """Totals of windows by id."""
        return await asyncio.to_thread(self._totals, list(ids))

    def _totals(self, ids: list[str]) -> dict[str, WindowTotals]:
        found = self.collection.find({"_id": {"$in": ids}})
        fields = WindowTotals.model_fields
        stored = {document["_id"]: WindowTotals(**{name: document[name] for name in fields}) for document in found}
        return {identifier: stored.get(identifier, WindowTotals()) for identifier in ids}


def _is_unneeded(claim: Document, purchase: Document | None, window: str, now: datetime) -> bool:
    """True if nothing is paid with the claim before it is renewed.

    Its purchase is missing, unpaid, planned for long, or was sent under other windows.
    """
    if purchase is not None and _may_be_paid(purchase):
        return window not in (purchase.get("budgets") or ())
    if claim.get("paid"):  # the ledger is about to have it as sent
        return not _is_newer(claim, now, _PAYING)
    if purchase is None:
        return not _is_newer(claim, now, _PLANNING)
    return purchase["state"] == _REFUSED or not _is_newer(claim, now, _PAYING)


def _may_be_paid(purchase: Document) -> bool:
    planned = purchase["state"] == _INTENT and purchase.get("sendState") == _PLANNED
    return not planned and purchase["state"] != _REFUSED


def _is_newer(claim: Document, now: datetime, limit: timedelta) -> bool:
    """True if the claim was renewed within `limit`, by a clock that may have been set back."""
    at = claim.get("at")
    return isinstance(at, datetime) and abs(now - (at if at.tzinfo else at.replace(tzinfo=UTC))) < limit


def _is_ended(purchase: Document | None) -> bool:
    if purchase is None:
        return False
    return purchase["state"] in _ENDED or {name: purchase.get(name) for name in _ABANDONED} == _ABANDONED


def _usage_of(document: Document, key: str) -> WindowUsage:
    mine = (document.get("open") or {}).get(key)
    if mine is None:
        return WindowUsage(held=document["held"])
    return WindowUsage(held=document["held"], claimed=mine["micros"], token=mine["token"])
