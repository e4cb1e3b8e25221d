"""Delivery of notifications: a task of the leader, beside the reconciles, which never wait for it.

An attempt is written before it is sent, so a crash repeats it later with the same id. Receivers that are slow hold
their own places only: the attempts that run at once are limited for each host, each namespace, and in total.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from contentgen_contract.records.notifications import DeliveryResult, NotificationState
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator import metrics
from contentgen_operator.clock import utc_now
from contentgen_operator.kube.api import Kube
from contentgen_operator.leader.leadership import Check, unchecked
from contentgen_operator.leader.loop import LeaderLoop
from contentgen_operator.notifications.events import holds_event
from contentgen_operator.notifications.granted_headers import GrantedHeaders, HeadersRefused
from contentgen_operator.notifications.guarded_post import AddressRefused, NotSent, PostResponse
from contentgen_operator.notifications.outbox import NotificationOutbox
from contentgen_operator.notifications.signing import SigningKey, signed_headers
from contentgen_operator.notifications.values import (
    Delivery,
    DeliveryAttempt,
    Notification,
    OutboxEntry,
    after_attempt,
    ended,
    host_of,
)
from contentgen_runtime.kube import API_ERRORS, Conflict, explain

_log = logging.getLogger(__name__)
_AT_ONCE, _AT_ONCE_OF_A_NAMESPACE, _AT_ONCE_OF_A_HOST = 16, 4, 2
_LISTED = 50  # due notifications of one namespace in one round
_RESERVED = timedelta(minutes=2)  # longer than an attempt: then the one that a crash interrupted is repeated
_LEFT = timedelta(minutes=1)  # a planned notification whose status was not written within this time
_ROUND_SECONDS, _PAUSE_SECONDS = 5.0, 30.0
_SWEEP = timedelta(minutes=1)
_GONE, _OK = 410, range(200, 300)
_ASKS_FOR_PAUSE = (429, 503)
_FIXED = {"Content-Type": "application/json", "User-Agent": "contentgen-webhooks"}

Post = Callable[[str, Mapping[str, str], bytes], Awaitable[PostResponse]]


class Keys(Protocol):
    """Source of the signing keys."""

    async def keys(self) -> tuple[SigningKey, ...]:
        """Active keys, newest first; empty while there is none."""
        ...


@dataclass
class _InProgress:
    """Attempts in progress: their tasks by notification, and their places."""

    tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    hosts: Counter[str] = field(default_factory=Counter)
    namespaces: Counter[str] = field(default_factory=Counter)
    begun: dict[str, int] = field(default_factory=dict)  # number of the last attempt of each namespace

    def turn_of(self, namespace: str) -> int:
        """Order of the namespaces: the one whose last attempt began longest ago is first."""
        return self.begun.get(namespace, 0)

    def note_turn(self, namespace: str) -> None:
        """Put a namespace at the end."""
        self.begun[namespace] = max(self.begun.values(), default=0) + 1

    @property
    def busy_hosts(self) -> list[str]:
        """Hosts that have no free place."""
        return [host for host, count in self.hosts.items() if count >= _AT_ONCE_OF_A_HOST]

    def has_place(self, notification: Notification) -> bool:
        """True if an attempt may begin now."""
        return (
            len(self.tasks) < _AT_ONCE
            and notification.id not in self.tasks
            and self.hosts[host_of(notification.url)] < _AT_ONCE_OF_A_HOST
            and self.namespaces[notification.ref.namespace] < _AT_ONCE_OF_A_NAMESPACE
        )


@dataclass(kw_only=True)
class Notifier:
    """Rounds over the outbox."""

    outbox: NotificationOutbox
    kube: Kube
    keys: Keys
    headers: GrantedHeaders
    post: Post
    check: Check = unchecked  # raises Conflict if this process does not lead
    clock: Callable[[], datetime] = utc_now
    jitter: Callable[[], float] = random.random
    _running: _InProgress = field(default_factory=_InProgress, init=False)
    _swept_at: datetime | None = field(default=None, init=False)

    async def run(self) -> None:
        """Deliver until cancelled."""
        changed, pause = self.outbox.changed, _PAUSE_SECONDS
        try:
            await LeaderLoop("notifications", _ROUND_SECONDS, self.round, changed=changed, after_error=pause).run()
        finally:
            for task in self._running.tasks.values():
                task.cancel()

    async def until_idle(self) -> None:
        """Wait for the attempts in progress."""
        while self._running.tasks:
            await asyncio.wait(list(self._running.tasks.values()))

    async def round(self) -> None:
        """Begin the attempts that are due, as far as there are places. Raises Conflict or PyMongoError."""
        now = self.clock()
        keys = await self.keys.keys()  # also if nothing is due: the gateway publishes them before the first message
        if self._swept_at is None or not self._swept_at <= now < self._swept_at + _SWEEP:
            await self.confirm_left(now)
            await self.outbox.expire(now)
            await self._measure(now)
            self._swept_at = now
        due = await self.outbox.due(now, _LISTED, self._running.turn_of, self._running.busy_hosts)
        if not due:
            self._running.begun.clear()
            return
        if not keys:  # an unsigned notification would be refused, or believed from anybody
            _log.info("%d notifications wait for a signing key", len(due))  # why is in the log of `KeySecret`
            return
        for entry in due:
            if self._running.has_place(entry.notification):
                self._begin(entry, keys)

    def _begin(self, entry: OutboxEntry, keys: tuple[SigningKey, ...]) -> None:
        notification, running = entry.notification, self._running
        host, namespace = host_of(notification.url), notification.ref.namespace
        running.hosts[host] += 1
        running.namespaces[namespace] += 1
        running.note_turn(namespace)

        def done(task: asyncio.Task[None]) -> None:
            del running.tasks[notification.id]
            running.hosts[host] -= 1
            running.namespaces[namespace] -= 1
            running.hosts, running.namespaces = +running.hosts, +running.namespaces
            self.outbox.changed.set()  # its place is free
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.warning("a notification is repeated later: %s", error, extra=notification.ref.about)

        task = asyncio.create_task(self._deliver(entry, keys))
        running.tasks[notification.id] = task
        task.add_done_callback(done)

    async def _deliver(self, entry: OutboxEntry, keys: tuple[SigningKey, ...]) -> None:
        """One attempt, of the process whose compare-and-set reserves it. Raises PyMongoError or Conflict."""
        now = self.clock()
        if await self.outbox.is_gone(entry):
            await self.outbox.put(ended(entry, NotificationState.GONE, now))
            return
        reserved = await self.outbox.put(
            entry.model_copy(
                update={
                    "tries": entry.tries + 1,
                    "round_started_at": entry.round_started_at or now,
                    "next_at": now + _RESERVED,
                }
            )
        )
        if reserved is None:
            return
        attempt = await self._attempt(reserved.notification, keys, now)
        metrics.notification_attempts.labels(attempt.delivery.result.value).inc()
        after = after_attempt(reserved, attempt, self.jitter())
        if after.state is NotificationState.FAILED:
            metrics.notifications_failed.inc()
            _log.warning(
                "a notification failed for a day: %s", attempt.delivery.detail, extra=entry.notification.ref.about
            )
        await self.outbox.put(after)

    async def _attempt(
        self, notification: Notification, keys: tuple[SigningKey, ...], now: datetime
    ) -> DeliveryAttempt:
        """Send once and judge the response. Raises Conflict if this process does not lead."""
        status, pause = None, None
        try:
            granted = await asyncio.to_thread(self.headers.of, notification)
            self.check()
            headers = granted | _FIXED | signed_headers(notification.id, notification.payload, now, keys)
            response = await self.post(notification.url, headers, notification.payload.encode())
        except (HeadersRefused, AddressRefused) as error:
            result, detail = DeliveryResult.REFUSED, f"not sent: {error}"
        except NotSent as error:
            result, detail = DeliveryResult.FAILED, str(error)
        except Conflict:
            raise
        except Exception as error:  # noqa: BLE001 - an attempt without a result would be repeated for ever
            _log.warning("an attempt failed: %s", type(error).__name__, extra=notification.ref.about)
            result, detail = DeliveryResult.FAILED, f"no response: {type(error).__name__}"
        else:
            status, pause = response.status, response.retry_after
            result, detail = judged(status)
        seconds = round(max((self.clock() - now).total_seconds(), 0.0), 3)
        delivery = Delivery(at=now, result=result, status=status, seconds=seconds, detail=detail)
        return DeliveryAttempt(delivery=delivery, retry_after=pause if status in _ASKS_FOR_PAUSE else None)

    async def confirm_left(self, now: datetime) -> None:
        """Notifications that a crash left planned: released if their status was written, else deleted.

        If the resource is gone, its status cannot be read any more: the notification is sent rather than lost.
        """
        for entry in await self.outbox.left(now - _LEFT, _LISTED):
            ref = entry.notification.ref
            try:
                body = await self.kube.get_resource(ref.kind, ref.namespace, ref.name)
            except API_ERRORS as error:
                _log.info("a planned notification waits: %s", explain(error), extra=ref.about)
                continue
            if body is None or body["metadata"]["uid"] != ref.uid or _was_written(entry.notification, body):
                await self.outbox.confirm([entry.notification.id], now)
            else:
                await self.outbox.drop(entry)

    async def _measure(self, now: datetime) -> None:
        count, oldest = await self.outbox.pending()
        due = await self.outbox.next_at()
        age, overdue = ((now - each).total_seconds() if each is not None else 0.0 for each in (oldest, due))
        metrics.gauges.notifications = (count, max(age, 0.0), max(overdue, 0.0))


def judged(status: int) -> tuple[DeliveryResult, str]:
    """Result of a response by its HTTP status."""
    if status in _OK:
        return DeliveryResult.DELIVERED, ""
    if status == _GONE:
        return DeliveryResult.GONE, "the receiver wants no more notifications of this job"
    if status in range(300, 400):
        return DeliveryResult.FAILED, "the receiver redirects; redirects are not followed"
    return DeliveryResult.FAILED, f"the receiver answered {status}"


def _was_written(notification: Notification, body: Mapping[str, object]) -> bool:
    try:
        status = ResourceStatus.model_validate(body.get("status") or {})
    except ValueError:
        return True  # it cannot be known, and nothing may be lost
    return holds_event(status, notification.run, notification.event)
