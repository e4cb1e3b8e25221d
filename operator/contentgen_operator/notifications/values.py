"""Notifications as frozen values: their identity, their payload, and the times of their attempts. Pure.

Format, headers and signatures are those of Standard Webhooks (github.com/standard-webhooks/standard-webhooks).
"""

import hashlib
import json
import re
from datetime import datetime, timedelta
from typing import Any

from contentgen_contract.base import Value
from contentgen_contract.records.notifications import DELIVERIES, KEPT, DeliveryResult, NotificationState
from contentgen_contract.resources.addresses import split_url
from contentgen_contract.resources.spec import NotificationEvent
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.state.observed import ResourceRef

PERIOD = timedelta(days=1)
"""Time after the first attempt in which a failing delivery is repeated."""
TYPES = {
    NotificationEvent.COMPLETED: "job.completed",
    NotificationEvent.FAILED: "job.failed",
    NotificationEvent.AWAITING_APPROVAL: "job.awaiting_approval",
    NotificationEvent.BUDGET_EXCEEDED: "job.budget_exceeded",
}
_PAUSES = tuple(
    timedelta(seconds=each) for each in (5, 30, 120, 300, 900, 1800, 3600, 7200, 10800)
)  # the last one repeats
_LONGEST_ASKED = timedelta(hours=4)  # of a Retry-After
_QUERY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^\s?#]*)[?#]\S*")


class Notification(Value):
    """One message for one URL. `id` is stable: the same event of a run has the same id after a crash or a restore."""

    id: str
    ref: ResourceRef
    run: int  # number; 0: before the first run
    event: NotificationEvent
    url: str
    headers_secret: str | None = None
    payload: str  # JSON; exactly these bytes are signed and sent


class Delivery(Value):
    """One attempt, for the log."""

    at: datetime
    result: DeliveryResult
    status: int | None = None  # HTTP status; None: no response
    seconds: float = 0.0
    detail: str = ""  # without the URL's path and query, and without the response's text


class DeliveryAttempt(Value):
    """Result of an attempt, and the pause that the receiver asked for."""

    delivery: Delivery
    retry_after: timedelta | None = None


class OutboxEntry(Value):
    """A stored notification with its progress."""

    notification: Notification
    state: NotificationState
    revision: int
    tries: int = 0  # since the start of the round
    round_started_at: datetime | None = None  # first attempt, or the first one after a person asked for another
    next_at: datetime | None = None
    expires_at: datetime | None = None
    deliveries: tuple[Delivery, ...] = ()


def url_hash(url: str) -> str:
    """Hash of a URL, which names it without its secrets."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]


def host_of(url: str) -> str:
    """Host and port of a URL; the URL itself if it has none."""
    parts = split_url(url)
    return parts.netloc.lower() if parts is not None and parts.netloc else url


def notification_id(uid: str, run: int, event: NotificationEvent, occurrence: str, url: str) -> str:
    """Id of an event of a run for a URL. `occurrence` separates repetitions of one event in a run."""
    text = json.dumps([uid, run, event.value, occurrence, url_hash(url)])
    return f"msg_{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def payload_of(ref: ResourceRef, event: NotificationEvent, status: ResourceStatus, now: datetime) -> str:
    """JSON of the message. It contains no file, no cost and no signed URL: the receiver asks the API for them."""
    data: dict[str, Any] = {
        "kind": ref.kind.value,
        "namespace": ref.namespace,
        "name": ref.name,
        "uid": ref.uid,
        "run": status.run.number if status.run else 0,
        "phase": status.phase,
        "reason": status.reason,
        "message": without_queries(status.message or ""),
    }
    stamp = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps({"type": TYPES[event], "timestamp": stamp, "data": data}, separators=(",", ":"))


def without_queries(text: str) -> str:
    """The text with its URLs cut before the query, which may contain a signature."""
    return _QUERY.sub(r"\1", text)


def after_attempt(entry: OutboxEntry, attempt: DeliveryAttempt, jitter: float) -> OutboxEntry:
    """The entry after an attempt. `jitter`, 0 to 1, spreads the attempts of receivers that failed together."""
    at = attempt.delivery.at
    entry = entry.model_copy(update={"deliveries": (*entry.deliveries, attempt.delivery)[-DELIVERIES:]})
    ends = {
        DeliveryResult.DELIVERED: NotificationState.DELIVERED,
        DeliveryResult.GONE: NotificationState.GONE,
    }
    if (end := ends.get(attempt.delivery.result)) is not None:
        return ended(entry, end, at)
    if at - (entry.round_started_at or at) >= PERIOD:
        return ended(entry, NotificationState.FAILED, at)
    return entry.model_copy(update={"next_at": at + pause(entry.tries, attempt.retry_after, jitter)})


def ended(entry: OutboxEntry, state: NotificationState, now: datetime) -> OutboxEntry:
    """The entry without further attempts. One that was discarded with its job's files expires at once."""
    expires = min(entry.expires_at, now) if entry.expires_at is not None else now + KEPT
    return entry.model_copy(update={"state": state, "next_at": None, "expires_at": expires})


def pause(tries: int, asked: timedelta | None, jitter: float) -> timedelta:
    """Pause after attempt number `tries` (from 1), up to a tenth longer; at least the receiver's Retry-After."""
    planned = _PAUSES[min(max(tries, 1), len(_PAUSES)) - 1] * (1 + 0.1 * jitter)
    return max(planned, min(asked, _LONGEST_ASKED)) if asked is not None else planned
