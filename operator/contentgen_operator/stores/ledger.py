"""Ledger of paid requests: ensures that a payment happens at most once.

One document per attempt to buy one thing, `_id` = `PurchaseKey`. It is written durably before the POST; only the caller
that moves it from `planned` to `sending` may send the POST. Every change names the state it starts from
(compare-and-set).
"""

import asyncio
import logging
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from statistics import median

from pymongo import DESCENDING, ReturnDocument
from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError, PyMongoError

from contentgen_contract.names import Kind
from contentgen_contract.records import indexes
from contentgen_contract.records.deletion_tombstone import purchase_id_prefix
from contentgen_contract.records.presigned_urls import strip_signatures
from contentgen_contract.records.tenancy import UNSCOPED, Tenant, unscoped
from contentgen_contract.resources.operator_class import DEFAULT_CLASS
from contentgen_operator.buying.values import AwaitedResults, scope_of
from contentgen_operator.leader.leadership import Check, unchecked
from contentgen_operator.state.purchases import (
    LedgerTransition,
    Purchase,
    PurchaseKey,
    PurchaseState,
    SamePurchase,
    SendState,
    StoredKey,
    Variant,
)
from contentgen_runtime.kube import Conflict
from contentgen_runtime.mongo import Document, create_indexes
from contentgen_runtime.stores import in_thread

_log = logging.getLogger(__name__)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OPEN = [PurchaseState.INTENT.value, PurchaseState.SUBMITTED.value, PurchaseState.SUCCEEDED.value]
_RATE_SECONDS = 60.0
_WITH_RESULT = {"state": PurchaseState.SUCCEEDED.value}
_NOT_AWAITED = {"awaitedSince": None, "awaitedUntil": None}
_INTENT, _PLANNED = PurchaseState.INTENT.value, SendState.PLANNED.value
_PROCESS = f"{socket.gethostname()}/{secrets.token_hex(4)}"
# Fields of an unpaid purchase that a new owner replaces; those of an earlier owner's attempt stay, and its id.
_KEPT = {"tries", "purchaseId", "formerOwners", "sendNumber", "endedBy"}
# Fields by which a request is searched for, as of its sending.
_SENT_AS = (
    "user_id", "provider", "account", "model", "correlation_key", "loras", "units", "sent_input", "send_number",
    "content",
)  # fmt: skip
# Cost, as prices may have changed since it was planned.
_PRICED_AS = ("bound_micros", "budgets", "estimated_micros", "unit_micros", "unit", "billing", "price_source")


class Ledger:
    """Collections `ledger`, `request_bindings` and `buying_stops`. Calls run in threads: pymongo is synchronous."""

    def __init__(
        self, collection: Collection[Document], check: Check = unchecked, operator_class: str = DEFAULT_CLASS
    ) -> None:
        """`check` raises Conflict if this process does not lead. `operator_class` is this installation's."""
        self.operator_class = operator_class
        self._class: Document = {"operatorClass": operator_class}
        self._collection = collection
        self._check = check
        self._bindings: Collection[Document] = collection.database["request_bindings"]
        self._stops: Collection[Document] = collection.database["buying_stops"]
        self._unsent: set[str] = set()  # attempts whose compare-and-set was not acknowledged: no POST follows
        self._rates: dict[str, tuple[float, float | None]] = {}
        self.on_change: Callable[[Purchase], None] = _ignore  # called with each purchase that was sent or moved

    def create_indexes(self) -> None:
        """Create the indexes. Idempotent."""
        create_indexes(self._collection, indexes.LEDGER)
        create_indexes(self._bindings, indexes.REQUEST_BINDINGS)

    @in_thread
    def get(self, key: PurchaseKey | StoredKey) -> Purchase | None:
        """Purchase of a key; None if there is none."""
        found = self._collection.find_one({"_id": str(key)})
        if found and found["state"] == _INTENT and found.get("sentBy") in self._unsent:
            self._unsend(key, found["sentBy"])  # the acknowledgement of our own compare-and-set was lost
            found = self._collection.find_one({"_id": str(key)})
        return _purchase(found) if found else None

    @in_thread
    def intend(self, key: PurchaseKey, purchase: Purchase) -> bool:
        """Plan a purchase. True if the ledger has it as given, except for the id of an earlier unpaid one."""
        fresh = purchase.model_dump(mode="python", by_alias=True) | self._class
        try:
            self._collection.insert_one({"_id": str(key), **fresh})
        except DuplicateKeyError:
            return self._planned_again(key, purchase, fresh)
        try:
            self._check()  # there was nothing to compare with
        except Conflict:
            mine = ("purchaseId", "jobId", "changedAt")
            planned = {"_id": str(key), "state": _INTENT, "sendState": _PLANNED, "sentAt": None}
            self._collection.delete_one(planned | {name: fresh[name] for name in mine})
            raise
        return True

    def _planned_again(self, key: PurchaseKey, purchase: Purchase, fresh: Document) -> bool:
        """Replan a purchase that was refused or planned: nothing was paid.

        Also one that is planned as given: a former leader may have inserted it, and deletes what nobody has changed.
        """
        job_id = purchase.job_id
        refused = {"state": PurchaseState.REFUSED.value, "$or": [{"permanent": False}, {"jobId": {"$ne": job_id}}]}
        planned = {"state": _INTENT, "sendState": _PLANNED} | ({} if purchase.planned else {"jobId": {"$ne": job_id}})
        before = self._collection.find_one({"_id": str(key), "$or": [refused, planned]})
        if before is None:
            return False
        same = {name: before.get(name) for name in ("_id", "state", "sendState", "jobId", "changedAt")}
        # Replaced as a whole: it may belong to another resource now.
        change: Document = {"$set": {name: fresh[name] for name in fresh.keys() - _KEPT}}
        if before["state"] == PurchaseState.REFUSED:
            change["$inc"] = {"tries": 1}
        if before["jobId"] != job_id:
            change["$addToSet"] = {"formerOwners": before["jobId"]}
        self._check()
        return self._collection.update_one(same, change).modified_count == 1

    @in_thread
    def drop_planned(self, key: PurchaseKey, purchase_id: str) -> None:
        """Delete a planned purchase: there is evidence that the same was bought before under another id."""
        where = {"_id": str(key), "state": _INTENT, "sendState": _PLANNED, "purchaseId": purchase_id}
        self._collection.delete_one(where)

    async def send(
        self, key: PurchaseKey, purchase: Purchase, now: datetime, planned_at: datetime | None = None
    ) -> str | None:
        """Compare-and-set from `planned` to `sending`; returns the name of the attempt if the caller must now send the
        POST.

        `planned_at`: `changed_at` of the purchase as read; None is any.
        """
        sent_by = await asyncio.to_thread(self._send, key, purchase, now, planned_at)
        if sent_by is not None:
            self.on_change(purchase.model_copy(update={"send_state": SendState.SENDING, "sent_at": now}))
        return sent_by

    def _send(self, key: PurchaseKey, purchase: Purchase, now: datetime, planned_at: datetime | None) -> str | None:
        sent_by = new_sent_by()
        where: Document = {"_id": str(key), "state": _INTENT, "sendState": _PLANNED, "jobId": purchase.job_id}
        where |= {"changedAt": planned_at} if planned_at is not None else {}
        change = self._sending(purchase, sent_by, now, now)
        try:
            sent = self._collection.update_one(where, {"$set": change}).modified_count == 1
        except PyMongoError:
            self._unsent.add(sent_by)
            raise
        return sent_by if sent else None

    def _sending(self, purchase: Purchase, sent_by: str, sent_at: datetime, now: datetime) -> Document:
        """Fields of a purchase that is being sent."""
        change = {"sendState": SendState.SENDING.value, "sentBy": sent_by, "sentAt": sent_at, "changedAt": now}
        given = purchase.model_dump(mode="python", by_alias=True, include={*_SENT_AS, *_PRICED_AS})
        return change | given | self._class

    async def note_sent(self, key: PurchaseKey, purchase: Purchase, sent_by: str, at: datetime, now: datetime) -> bool:
        """Compare-and-set from `planned` to `sending` for a try that was made already; True if the ledger has it.

        Unlike after `send`, a reply that was lost does not make it planned again.
        """
        noted = await asyncio.to_thread(self._note_sent, key, purchase, self._sending(purchase, sent_by, at, now))
        if noted:
            self.on_change(purchase.model_copy(update={"send_state": SendState.SENDING, "sent_at": at}))
        return noted

    def _note_sent(self, key: PurchaseKey, purchase: Purchase, change: Document) -> bool:
        where: Document = {"_id": str(key), "state": _INTENT, "jobId": purchase.job_id}
        repeated = {"sendState": SendState.SENDING.value, "sentBy": change["sentBy"]}
        where |= {"$or": [{"sendState": _PLANNED}, repeated]}
        return self._collection.update_one(where, {"$set": change}).matched_count == 1

    async def withdraw(self, key: PurchaseKey, sent_by: str) -> None:
        """Compare-and-set from `sending` back to `planned`, if no byte of the attempt was sent.

        `sentAt` stays: another process may have copied it into the status. Raises PyMongoError; then `get` retries it.
        """
        self._unsent.add(sent_by)
        await asyncio.to_thread(self._unsend, key, sent_by)

    def _unsend(self, key: PurchaseKey | StoredKey, sent_by: str) -> None:
        where = {"_id": str(key), "state": _INTENT, "sendState": SendState.SENDING.value, "sentBy": sent_by}
        self._collection.update_one(where, {"$set": {"sendState": _PLANNED, "sentBy": None, "endedBy": sent_by}})
        self._unsent.discard(sent_by)

    async def move(self, move: LedgerTransition) -> Purchase | None:
        """Compare-and-set; returns the changed purchase, or None if it was not in the expected state."""
        # A provider's message may repeat the presigned URL.
        update = {"state": move.target.value} | {
            _camel(name): strip_signatures(value) for name, value in move.changes.items()
        }
        if move.target is not PurchaseState.INTENT:
            update["sentInput"] = None  # user content, needed only to find a lost request
        if move.target is not PurchaseState.SUCCEEDED:
            update |= _NOT_AWAITED
        where = {"_id": str(move.key), "state": move.source.value} | ({"jobId": move.owner} if move.owner else {})
        where |= {_camel(name): value for name, value in move.expected.items()}
        moved = await asyncio.to_thread(
            self._collection.find_one_and_update, where, {"$set": update}, return_document=ReturnDocument.AFTER
        )
        if moved is None:
            return None
        changed = _purchase(moved)
        self.on_change(changed)
        return changed

    @in_thread
    def lost(self, known: frozenset[str], paid: frozenset[str]) -> frozenset[str]:
        """The ids among `known` that the ledger lacks, and those among `paid` that it has as unpaid."""
        found = [_purchase(document) for document in self._collection.find({"purchaseId": {"$in": sorted(known)}})]
        return known - {
            purchase.purchase_id for purchase in found if not (purchase.unpaid and purchase.purchase_id in paid)
        }

    @in_thread
    def is_stored_or_discarded(self, purchase_id: str) -> bool:
        """True if the outputs of a purchase are stored, or were given up: no Job is needed for it any more."""
        over = [PurchaseState.COLLECTED.value, PurchaseState.DISCARDED.value]
        where = {"purchaseId": purchase_id, "state": {"$in": over}}
        return self._collection.find_one(where, {"_id": 1}) is not None

    @in_thread
    def collected(self, tenant: Tenant, namespace: str, kind: Kind, name: str) -> list[Purchase]:
        """Collected purchases of the resources of this name, ordered by key."""
        where = _of_tenant(tenant, namespace, kind, name) | {"state": PurchaseState.COLLECTED.value}
        return [_purchase(document) for document in self._collection.find(where).sort("_id", 1)]

    @in_thread
    def job_ids(self, tenant: Tenant, namespace: str, kind: Kind, name: str) -> frozenset[str]:
        """Uids of the resources of this name that sent a request to a provider."""
        where = _of_tenant(tenant, namespace, kind, name)
        found = self._collection.find(where, {"jobId": True, "formerOwners": True})
        return frozenset(
            str(job) for document in found for job in (document["jobId"], *(document.get("formerOwners") or ()))
        )

    @in_thread
    def owners(self, tenant: Tenant, namespace: str, kind: Kind, name: str) -> frozenset[str]:
        """Uids of the resources that own the purchases of this name."""
        where = _of_tenant(tenant, namespace, kind, name)
        return frozenset(map(str, self._collection.distinct("jobId", where)))

    @in_thread
    def highest_version(self, tenant: Tenant, namespace: str, kind: Kind, name: str, uid: str) -> int:
        """Highest finished version of a resource, by the purchases under its name; 0 if none."""
        where = _of_tenant(tenant, namespace, kind, name) | {"outputs.jobId": uid}
        found = self._collection.find(where, {"outputs.version": True})
        return max((int(document["outputs"].get("version") or 0) for document in found), default=0)

    @in_thread
    def others(self, key: PurchaseKey, job_id: str) -> tuple[tuple[Purchase, ...], tuple[Purchase, ...]]:
        """Attempts of this run before `key`, of any owner, and the purchases of the job's other runs."""
        attempts = {str(key.model_copy(update={"attempt": attempt})) for attempt in range(1, key.attempt + 1)}
        either = [{"_id": {"$in": sorted(attempts)}}, {"jobId": job_id}]
        found = list(self._collection.find({"$or": either}).sort("_id", 1))
        earlier = [document for document in found if document["_id"] in attempts - {str(key)}]
        runs = [document for document in found if document["_id"] not in attempts and _is_paid_by(document, job_id)]
        return tuple(map(_purchase, earlier)), tuple(map(_purchase, runs))

    @in_thread
    def attempts(self, key: PurchaseKey) -> tuple[tuple[PurchaseKey, Purchase], ...]:
        """Attempts of this run before `key` in the ledger, of any owner, in order."""
        earlier = [key.model_copy(update={"attempt": attempt}) for attempt in range(1, key.attempt)]
        names = {"_id": {"$in": [str(earlier_key) for earlier_key in earlier]}}
        kept = {document["_id"]: _purchase(document) for document in self._collection.find(names)}
        return tuple((earlier_key, kept[str(earlier_key)]) for earlier_key in earlier if str(earlier_key) in kept)

    @in_thread
    def same_requests(self, tenant: Tenant, key: PurchaseKey, content: Sequence[str]) -> list[SamePurchase]:
        """Purchases of the tenant and class that may be paid, with one of these hashes and the key's name and rerun;
        none of the key itself, which another process may have bought since it was read.
        """
        where = _of_tenant(tenant, key.namespace, key.kind, key.name) | self._class
        found = self._collection.find(where | {"content": {"$in": list(content)}})
        own = str(key).rpartition("/")[0]  # of each attempt
        rerun = str(key).split("/")[4]
        others = (document for document in found if str(document["_id"]).rpartition("/")[0] != own)
        return _same(document for document in others if str(document["_id"]).split("/")[4] == rerun)

    @in_thread
    def elsewhere(self, tenant: Tenant, key: PurchaseKey, purchase_id: str) -> list[SamePurchase]:
        """The purchase of this id under other keys of the tenant, class and name, if it may be paid."""
        where = _of_tenant(tenant, key.namespace, key.kind, key.name) | self._class | {"purchaseId": purchase_id}
        found = self._collection.find(where)
        return _same(document for document in found if document["_id"] != str(key))

    @in_thread
    def pointed(self, key: PurchaseKey) -> list[SamePurchase]:
        """Purchases that an equal request of this key has used."""
        return _same(self._collection.find({"alsoUnder": str(key)}))

    @in_thread
    def point(self, key: PurchaseKey, purchase_id: str, also: PurchaseKey) -> None:
        """Note a further key of a purchase, so that it is found under that key."""
        where = {"_id": str(key), "purchaseId": purchase_id}
        self._collection.update_one(where, {"$addToSet": {"alsoUnder": str(also)}})

    @in_thread
    def variants(self, key: PurchaseKey) -> tuple[Variant, ...]:
        """Purchases, of any attempt, of the same image with any LoRAs."""
        plain = key.model_copy(update={"run_hash": key.run_hash.partition(".")[0]})
        place, rerun, _ = str(plain).rsplit("/", 2)
        # "." and "/" follow the hash, and precede "0". Other reruns, of which there may be many, are not read.
        mine = {"$gte": place, "$lt": f"{place}0", "$regex": f"/{re.escape(rerun)}/[0-9]+$"}
        found = self._collection.find({"_id": mine}).sort("_id", 1)
        with_loras = (
            (str(document["_id"]).rsplit("/", 2)[0][len(place) + 1 :], _purchase(document)) for document in found
        )
        return tuple(Variant(scope=key.scope, identity=of, purchase=lora) for of, lora in with_loras)

    @in_thread
    def adopt(self, key: PurchaseKey, purchase: Purchase, job_id: str, tenant: Tenant | None = None) -> bool:
        """Compare-and-set of the owner; False if the purchase or its owner has changed."""
        where: Document = {"_id": str(key), "state": purchase.state.value, "jobId": purchase.job_id}
        where |= {"orphanedAt": purchase.orphaned_at, "discardAsked": True if purchase.discard_asked else {"$ne": True}}
        owned: Document = {"jobId": job_id, "orphanedAt": None, "discardAsked": False} | self._class
        if tenant is not None and tenant.cluster:  # of a purchase that another cluster has made
            owned |= {"clusterUid": tenant.cluster, "namespaceUid": tenant.uid}
        change = {"$set": owned, "$addToSet": {"formerOwners": purchase.job_id}}
        adopted = self._collection.update_one(where, change)
        return adopted.modified_count == 1

    @in_thread
    def bind_request(self, purchase: Purchase, request_id: str, now: datetime) -> bool:
        """True if the request is this purchase's: a request id is bound to one purchase, the first."""
        binding_id = f"{purchase.provider}/{request_id}"
        binding = {
            "_id": binding_id,
            "purchaseId": purchase.purchase_id,
            "correlationKey": purchase.correlation_key,
            "boundAt": now,
        }
        try:
            self._bindings.insert_one(binding)
        except DuplicateKeyError:
            kept = self._bindings.find_one({"_id": binding_id})
            return kept is not None and kept.get("purchaseId") == purchase.purchase_id
        return True

    async def states(self) -> dict[str, int]:
        """Number of purchases by state."""
        return dict.fromkeys(map(str, PurchaseState), 0) | await self._counts({})

    async def orphans(self) -> dict[str, int]:
        """Number of orphans that are still located or kept, by state."""
        orphaned = {"orphanedAt": {"$gt": _EPOCH}, "state": {"$in": _OPEN}}
        return dict.fromkeys(_OPEN, 0) | await self._counts(orphaned)

    @in_thread
    def _counts(self, where: Document) -> dict[str, int]:
        stages = [{"$match": where}, {"$group": {"_id": "$state", "count": {"$sum": 1}}}]
        found = self._collection.aggregate(stages)
        return {document["_id"]: document["count"] for document in found}

    @in_thread
    def is_anothers(self, purchase: Purchase, request_id: str) -> bool:
        """True if the request is bound to another purchase."""
        kept = self._bindings.find_one({"_id": f"{purchase.provider}/{request_id}"})
        return kept is not None and kept.get("purchaseId") != purchase.purchase_id

    @in_thread
    def request_ids(self, purchase: Purchase) -> frozenset[str]:
        """Request ids of other purchases with the same correlation key."""
        bought = self._collection.find(
            {"correlationKey": purchase.correlation_key, "requestId": {"$ne": None}}, {"requestId": 1}
        )
        where = {"correlationKey": purchase.correlation_key, "purchaseId": {"$ne": purchase.purchase_id}}
        bindings = self._bindings.find(where, {"_id": 1})
        others = {str(binding["_id"]).partition("/")[2] for binding in bindings}
        return frozenset(others | {document["requestId"] for document in bought})

    @in_thread
    def newest_requests(self, purchase: Purchase, most: int) -> list[Purchase]:
        """The newest other purchases with a request of the same account, sent with or seen by the same key."""
        same = {"provider": purchase.provider, "account": purchase.account, "keyId": purchase.key_id}
        where = same | {"requestId": {"$gt": "", "$ne": purchase.request_id}, "createdAt": {"$gt": _EPOCH}}
        found = self._collection.find(where).sort("createdAt", DESCENDING).limit(most)
        return [_purchase(document) for document in found]

    @in_thread
    def next_sent_at(self, purchase: Purchase) -> datetime | None:
        """Time of the owner's next request with the same correlation key; None without one, or if this was not sent."""
        where = {
            "jobId": purchase.job_id,
            "correlationKey": purchase.correlation_key,
            "sentAt": {"$gt": purchase.sent_at},
        }
        found = list(self._collection.find(where).sort("sentAt", 1).limit(1))
        return _purchase(found[0]).sent_at if found and purchase.sent_at is not None else None

    @in_thread
    def take_over(self, bought_under: str, job_ids: Iterable[str], job_id: str) -> None:
        """Make a resource the owner of finished purchases of its name whose owner or outputs are of these jobs.

        A restored ledger may be older than their adoption. Only while no other resource can have the name.
        """
        former = list(job_ids)
        states = [PurchaseState.SUCCEEDED.value, PurchaseState.COLLECTED.value]
        used = [{"jobId": {"$in": former}}, {"outputs.jobId": {"$in": former}}]
        others = _under(bought_under) | {"state": {"$in": states}, "jobId": {"$ne": job_id}, "$or": used}
        seen = list(self._collection.find(others, {"jobId": 1, "state": 1}))
        self._check()
        for document in seen:
            change = {"$set": {"jobId": job_id} | self._class, "$addToSet": {"formerOwners": document["jobId"]}}
            self._collection.update_one(document, change)

    @in_thread
    def open_purchases(self, after: str, most: int) -> list[tuple[StoredKey, Purchase]]:
        """Purchases of this installation's class that may be paid and are not collected, by key after `after`."""
        unfinished = self._class | {"state": {"$in": _OPEN}, "_id": {"$gt": after}}
        return _readable(self._collection.find(unfinished).sort("_id", 1).limit(most))

    @in_thread
    def under_way(self) -> list[Purchase]:
        """Purchases of this installation's class that are being sent or are submitted."""
        where = self._class | {"state": {"$in": [_INTENT, PurchaseState.SUBMITTED.value]}}
        return [purchase for _, purchase in _readable(self._collection.find(where))]

    @in_thread
    def awaited(self, since: datetime, now: datetime) -> list[AwaitedResults]:
        """Results of this installation's class whose collection began at `since` or before and is still tried, by
        namespace.
        """
        marked = {"awaitedSince": {"$gt": _EPOCH, "$lte": since}, "awaitedUntil": {"$gt": now}}
        where = self._class | _WITH_RESULT | marked | {"orphanedAt": None}
        each = {"uid": "$namespaceUid", "namespace": "$namespace"}
        group = {"_id": each, "count": {"$sum": 1}, "oldest": {"$min": "$awaitedSince"}}
        return [_awaited(found) for found in self._collection.aggregate([{"$match": where}, {"$group": group}])]

    @in_thread
    def await_no_more(self, job_id: str) -> None:
        """Remove the marks of a deleted resource's results, whose collection nobody tries."""
        self._check()
        where = {"jobId": job_id, "awaitedSince": {"$gt": _EPOCH}}
        self._collection.update_many(where, {"$set": _NOT_AWAITED})

    @in_thread
    def sent_since(self, since: datetime) -> list[Purchase]:
        """Purchases of this installation's class that were sent at `since` or later, and are under way or awaited."""
        open_ones = [{"state": {"$in": [_INTENT, PurchaseState.SUBMITTED.value]}}]
        awaited = [_WITH_RESULT | {"awaitedSince": {"$gt": _EPOCH}}]
        where = self._class | {"$or": [*open_ones, *awaited], "sentAt": {"$gte": since}}
        return [purchase for _, purchase in _readable(self._collection.find(where))]

    @in_thread
    def stops(self) -> dict[str, datetime]:
        """Begin of the stops of buying of this installation's class, by scope."""
        found = self._stops.find(self._class)
        return {str(document["scope"]): _utc(document["since"]) for document in found}

    @in_thread
    def begin_stop(self, scope: str, since: datetime) -> None:
        """Note a stop. An earlier one of the scope is replaced."""
        self._check()
        stop = self._class | {"scope": scope, "since": since}
        self._stops.update_one({"_id": self._stop_id(scope)}, {"$set": stop}, upsert=True)

    @in_thread
    def end_stop(self, scope: str) -> None:
        """Delete a stop."""
        self._check()
        self._stops.delete_one({"_id": self._stop_id(scope)})

    def _stop_id(self, scope: str) -> str:
        return f"{self.operator_class}/{scope}"

    @in_thread
    def undeleted(self, most: int) -> list[tuple[StoredKey, Purchase]]:
        """Discarded orphans of this installation's class whose response is not deleted yet."""
        where = self._class | {"orphanedAt": {"$gt": _EPOCH}, "state": PurchaseState.DISCARDED.value}
        return _readable(self._collection.find(where).limit(most))

    @in_thread
    def discard(self, job_id: str) -> tuple[str, ...]:
        """Discard purchases of a deleted resource, so that none can be adopted; returns the ids of those without a use.

        Unfinished purchases are marked: their result is discarded when it arrives.
        """
        self._check()
        finished = [PurchaseState.SUCCEEDED.value, PurchaseState.COLLECTED.value]
        unfinished = {"jobId": job_id, "state": {"$in": [_INTENT, PurchaseState.SUBMITTED.value]}}
        self._collection.update_many(unfinished, {"$set": {"discardAsked": True}})
        gone = {"state": PurchaseState.DISCARDED.value, "outputs": None}
        self._collection.update_many({"jobId": job_id, "state": {"$in": finished}}, {"$set": gone})
        ended = [PurchaseState.DISCARDED.value, PurchaseState.CANCELLED.value, PurchaseState.FAILED.value]
        found = self._collection.find({"jobId": job_id, "state": {"$in": ended}}, {"purchaseId": 1})
        return tuple(sorted(str(document["purchaseId"]) for document in found))

    @in_thread
    def kept_files(self, bought_under: str, job_id: str) -> frozenset[str]:
        """Keys of outputs, responses and inputs that purchases of the name with another owner list."""
        if not bought_under:
            return frozenset()
        ended = [PurchaseState.DISCARDED.value, PurchaseState.CANCELLED.value, PurchaseState.FAILED.value]
        others = self._collection.find(
            _under_any_scope(bought_under) | {"jobId": {"$ne": job_id}, "state": {"$nin": ended}}
        )
        return frozenset(key for document in others for key in _listed(document))

    async def seconds_per_unit(self, model: str) -> float | None:
        """Median seconds per unit of work of the last 20 finished requests of a model, cached for a minute; None if
        there are none.
        """
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


def new_sent_by() -> str:
    """Name of a try to send a purchase: this process, and a random number."""
    return f"{_PROCESS}/{secrets.token_hex(8)}"


def _ignore(_: Purchase) -> None:
    """No-op."""


def _readable(found: Iterable[Document]) -> list[tuple[StoredKey, Purchase]]:
    """Keys and purchases; malformed documents are skipped."""
    read: list[tuple[StoredKey, Purchase]] = []
    for document in found:
        try:
            read.append((StoredKey.parse(str(document["_id"])), _purchase(document)))
        except ValueError as error:
            _log.warning("purchase %r cannot be read: %s", document["_id"], str(error)[:200])
    return read


def _awaited(found: Document) -> AwaitedResults:
    namespace = str(found["_id"].get("namespace") or "")
    scope = scope_of(found["_id"].get("uid"), namespace)
    return AwaitedResults(namespace=namespace, scope=scope, count=found["count"], oldest=_utc(found["oldest"]))


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time


def _same(found: Iterable[Document]) -> list[SamePurchase]:
    """The purchases that may be paid; malformed documents are skipped."""
    read = [(str(key), purchase) for key, purchase in _readable(found) if not purchase.unpaid]
    return [SamePurchase.parse(key, each) for key, each in read if key.count("/") == 5]


def _of_tenant(tenant: Tenant, namespace: str, kind: Kind, name: str) -> Document:
    """All purchases of a resource name that belong to the tenant."""
    mine = [_under(purchase_id_prefix(namespace, kind, name, scope)) for scope in tenant.scopes]
    if tenant.since is not None and UNSCOPED not in tenant.scopes:
        mine.append(_under(purchase_id_prefix(namespace, kind, name)) | {"createdAt": {"$gte": tenant.since}})
    return mine[0] if len(mine) == 1 else {"$or": mine}


def _purchase(document: Document) -> Purchase:
    times = {
        name: _utc(value) for name, value in document.items() if isinstance(value, datetime) and value.tzinfo is None
    }
    return Purchase.model_validate({"purchaseId": None} | document | times)  # None: a stored purchase has an id


def _under(prefix: str) -> Document:
    """Range of `_id`, which every server can serve from its index; "0" follows "/"."""
    return {"_id": {"$gte": prefix, "$lt": f"{prefix[:-1]}0"}}


def _under_any_scope(prefix: str) -> Document:
    """Range of `_id` under all scopes of the namespace: a job may have bought under several."""
    place, _, rest = prefix.partition("/")
    namespace, _ = unscoped(place)
    named = {"$regex": f"^{re.escape(namespace)}@[^/]+/{re.escape(rest)}"}
    scoped_keys = {"_id": {"$gte": f"{namespace}@", "$lt": f"{namespace}A"} | named}  # "A" follows "@"
    return {"$or": [_under(f"{namespace}/{rest}"), scoped_keys]}


def _is_paid_by(document: Document, job_id: str) -> bool:
    """True if the resource that owns the purchase paid for it, or adopted it before there were outputs. Finished
    outputs that it adopted were paid by the resource that made them.
    """
    made_by = (document.get("outputs") or {}).get("jobId")
    return bool(document["jobId"] == job_id and made_by in (None, job_id))


def _listed(document: Document) -> set[str]:
    files = (document.get("outputs") or {}).get("files") or ()
    named = (document.get("resultKey"), document.get("correlationKey"))
    return {str(key) for key in (*named, *(file.get("key") for file in files))}


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)
