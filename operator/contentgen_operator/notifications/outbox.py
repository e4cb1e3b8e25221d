"""Collection `notifications`: the outbox of webhooks, which is also their delivery log.

A notification is inserted as `planned` before its status is written, and becomes `pending` after it. A crash between
the two leaves it `planned`; `Notifier.confirm_left` compares it with the status then. So none is lost, and none is
sent of a status that was never written.

Installations may share the database. Each sends what it has planned: another one signs with other keys, and has other
granted headers and other allowed hosts.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime

from pymongo.collection import Collection
from pymongo.errors import DuplicateKeyError

from contentgen_contract.names import Kind
from contentgen_contract.records import indexes
from contentgen_contract.records.notifications import ENDED, MOST_OF_A_NAMESPACE, NotificationState
from contentgen_contract.resources.operator_class import DEFAULT_CLASS
from contentgen_operator import metrics
from contentgen_operator.leader.leadership import Check, unchecked
from contentgen_operator.notifications.values import Delivery, Notification, OutboxEntry, host_of, url_hash
from contentgen_operator.state.observed import ResourceRef
from contentgen_runtime.mongo import Document, create_indexes
from contentgen_runtime.stores import in_thread

_ENDED = [state.value for state in ENDED]
_OPEN = [notification_state.value for notification_state in NotificationState if notification_state not in ENDED]
_log = logging.getLogger(__name__)


class NotificationOutbox:
    """Reads and writes the collection. pymongo is synchronous, so each call runs in a thread. Raises PyMongoError."""

    def __init__(
        self, collection: Collection[Document], check: Check = unchecked, operator_class: str = DEFAULT_CLASS
    ) -> None:
        """`check` raises Conflict if this process does not lead. `operator_class` is this installation's."""
        self._collection = collection
        self._check = check
        self._class: Document = {"operatorClass": operator_class}
        self.changed = asyncio.Event()  # set when a notification is to be delivered

    def create_indexes(self) -> None:
        """Create the indexes. Idempotent."""
        create_indexes(self._collection, indexes.NOTIFICATIONS)

    @in_thread
    def plan(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Insert notifications of a status that is about to be written. Those that exist stay.

        Beyond `MOST_OF_A_NAMESPACE` they displace the namespace's oldest ones.
        """
        ids = [notification.id for notification in notifications]
        found = {document["_id"]: document for document in self._collection.find({"_id": {"$in": ids}})}
        self._check()
        for notification in notifications:
            kept, document = found.get(notification.id), _planned(notification, now) | self._class
            if kept is None:
                self._insert(document)
            elif kept["state"] == NotificationState.PLANNED:  # of a status that was not written; its text may differ
                changed = document | {"revision": kept["revision"] + 1}
                self._collection.replace_one({"_id": notification.id, "revision": kept["revision"]}, changed)
        for namespace in {notification.ref.namespace for notification in notifications}:
            self._displace(namespace)

    def _displace(self, namespace: str) -> None:
        """Delete the oldest notifications of a namespace beyond the limit: ended ones first, then those to deliver."""
        where = self._class | {"namespace": namespace}
        excess = self._collection.count_documents(where) - MOST_OF_A_NAMESPACE
        for states in (_ENDED, _OPEN):
            if excess <= 0:
                return
            these: Document = {"state": {"$in": states}}
            oldest = self._collection.find(where | these, {"_id": True}).sort([("createdAt", 1)]).limit(excess)
            chosen = these | {"_id": {"$in": [document["_id"] for document in oldest]}}
            self._check()
            deleted = self._collection.delete_many(chosen).deleted_count
            excess -= deleted
            if deleted and states is _OPEN:
                metrics.notifications_failed.inc(deleted)
                _log.warning("%d notifications were displaced by newer ones", deleted, extra={"namespace": namespace})

    def _insert(self, document: Document) -> None:
        try:
            self._collection.insert_one(document)
        except DuplicateKeyError:
            return
        try:
            self._check()  # an insertion has nothing to compare with
        except Exception:
            self._collection.delete_one({"_id": document["_id"], "revision": document["revision"]})
            raise

    async def release(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Release the notifications of a status that was written just now. One that the notifier has dropped, because
        the write took long, is inserted again.
        """
        ids = [notification.id for notification in notifications]
        found = await asyncio.to_thread(self._collection.distinct, "_id", {"_id": {"$in": ids}})
        if missing := [notification for notification in notifications if notification.id not in found]:
            await self.plan(missing, now)
        await self.confirm(ids, now)

    async def confirm(self, ids: Iterable[str], now: datetime) -> None:
        """Release notifications whose status is written."""
        for identifier in ids:
            self._check()
            await asyncio.to_thread(self._confirm, identifier, now)
        self.changed.set()

    def _confirm(self, identity: str, now: datetime) -> None:
        change = {"$set": {"state": NotificationState.PENDING.value, "nextAt": now}, "$inc": {"revision": 1}}
        self._collection.update_one({"_id": identity, "state": NotificationState.PLANNED.value}, change)

    @in_thread
    def left(self, before: datetime, most: int) -> list[OutboxEntry]:
        """Notifications that were planned before a time, and never confirmed; oldest first."""
        where = self._class | {"state": NotificationState.PLANNED.value, "nextAt": {"$lt": before}}
        return self._list(where, most)

    @in_thread
    def drop(self, entry: OutboxEntry) -> None:
        """Delete a planned notification whose status was never written."""
        self._check()
        where = {"_id": entry.notification.id, "revision": entry.revision, "state": NotificationState.PLANNED.value}
        self._collection.delete_one(where)

    @in_thread
    def due(
        self,
        now: datetime,
        most_of_one: int,
        turn_of: Callable[[str], int] = lambda _: 0,
        busy: Iterable[str] = (),
    ) -> list[OutboxEntry]:
        """Notifications to deliver now, up to `most_of_one` of each namespace; the namespaces take turns, in the order
        of `turn_of`. `busy`: hosts without a free place, whose notifications would hide those for others.
        """
        where: Document = self._class | {"state": NotificationState.PENDING.value, "nextAt": {"$lte": now}}
        if hosts := sorted(busy):
            where["host"] = {"$nin": hosts}
        lines = [
            self._list(where | {"namespace": namespace}, most_of_one)
            for namespace in sorted(sorted(self._collection.distinct("namespace", where)), key=turn_of)
        ]
        longest = max(map(len, lines), default=0)
        return [line[turn] for turn in range(longest) for line in lines if turn < len(line)]

    def _list(self, where: Document, most: int) -> list[OutboxEntry]:
        return [_read(document) for document in self._collection.find(where).sort([("nextAt", 1)]).limit(most)]

    @in_thread
    def next_at(self) -> datetime | None:
        """Time of the next delivery; None if nothing is to be delivered."""
        where = self._class | {"state": NotificationState.PENDING.value}
        found = self._collection.find(where).sort([("nextAt", 1)]).limit(1)
        return next((_time(document["nextAt"]) for document in found), None)

    @in_thread
    def put(self, entry: OutboxEntry) -> OutboxEntry | None:
        """Compare-and-set of an entry's progress; the stored entry, or None if it has changed since it was read."""
        self._check()
        change = {
            "state": entry.state.value,
            "tries": entry.tries,
            "roundStartedAt": entry.round_started_at,
            "nextAt": entry.next_at,
            "expiresAt": entry.expires_at,
            "deliveries": [
                delivery.model_dump(by_alias=True) | {"result": delivery.result.value} for delivery in entry.deliveries
            ],
        }
        where = {"_id": entry.notification.id, "revision": entry.revision}
        done = self._collection.update_one(where, {"$set": change, "$inc": {"revision": 1}}).matched_count == 1
        return entry.model_copy(update={"revision": entry.revision + 1}) if done else None

    @in_thread
    def is_gone(self, entry: OutboxEntry) -> bool:
        """True if the receiver has answered 410 to a notification of the same resource."""
        where = {
            "jobId": entry.notification.ref.uid,
            "urlHash": url_hash(entry.notification.url),
            "state": NotificationState.GONE.value,
        }
        return self._collection.find_one(where, {"_id": True}) is not None

    @in_thread
    def discard(self, uids: Iterable[str], now: datetime) -> None:
        """Let the notifications of deleted jobs expire: the ended ones now, the others at their end."""
        where = {"jobId": {"$in": sorted(set(uids))}}
        # With the revision: an attempt that is in progress would write the time of before.
        change = {"$set": {"expiresAt": now}, "$inc": {"revision": 1}}
        self._check()
        self._collection.update_many(where, change)

    @in_thread
    def expire(self, now: datetime) -> int:
        """Delete ended notifications whose time in the log is over; their number."""
        self._check()
        where = {"state": {"$in": _ENDED}, "expiresAt": {"$lt": now}}
        return self._collection.delete_many(where).deleted_count

    @in_thread
    def pending(self) -> tuple[int, datetime | None]:
        """Number of notifications to deliver, and the time when the oldest of them was created."""
        where = self._class | {"state": NotificationState.PENDING.value}
        oldest = self._collection.find(where, {"createdAt": True}).sort([("createdAt", 1)]).limit(1)
        return self._collection.count_documents(where), next(
            (_time(document["createdAt"]) for document in oldest), None
        )


def _planned(notification: Notification, now: datetime) -> Document:
    ref = notification.ref
    return {
        "_id": notification.id,
        "jobId": ref.uid,
        "namespace": ref.namespace,
        "kind": ref.kind.value,
        "name": ref.name,
        "run": notification.run,
        "event": notification.event.value,
        "url": notification.url,
        "urlHash": url_hash(notification.url),
        "host": host_of(notification.url),
        "headersSecret": notification.headers_secret,
        "payload": notification.payload,
        "createdAt": now,
        "state": NotificationState.PLANNED.value,
        "revision": 1,
        "tries": 0,
        "roundStartedAt": None,
        "nextAt": now,
        "expiresAt": None,
        "deliveries": [],
    }


def _read(found: Document) -> OutboxEntry:
    ref = ResourceRef(kind=Kind(found["kind"]), namespace=found["namespace"], name=found["name"], uid=found["jobId"])
    notification = Notification(
        id=found["_id"],
        ref=ref,
        run=found["run"],
        event=found["event"],
        url=found["url"],
        headers_secret=found.get("headersSecret"),
        payload=found["payload"],
    )
    return OutboxEntry(
        notification=notification,
        state=NotificationState(found["state"]),
        revision=found["revision"],
        tries=found["tries"],
        round_started_at=_time(found.get("roundStartedAt")),
        next_at=_time(found.get("nextAt")),
        expires_at=_time(found.get("expiresAt")),
        deliveries=tuple(Delivery.model_validate(delivery) for delivery in found.get("deliveries") or ()),
    )


def _time(found: datetime | None) -> datetime | None:
    return found.replace(tzinfo=UTC) if found is not None and found.tzinfo is None else found
