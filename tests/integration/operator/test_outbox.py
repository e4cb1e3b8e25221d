"""Outbox of notifications in a real MongoDB: inserted once, reserved once, fair between namespaces, resent, expired."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo.database import Database

from contentgen_contract.names import Kind
from contentgen_contract.records.notifications import DeliveryResult, NotificationState
from contentgen_contract.resources.spec import NotificationEvent
from contentgen_gateway.stores.notifications import Notifications
from contentgen_operator.notifications.outbox import NotificationOutbox
from contentgen_operator.notifications.values import Delivery, DeliveryAttempt, Notification, after_attempt
from contentgen_operator.state.observed import ResourceRef

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def notification(number: int, namespace: str = "ns") -> Notification:
    ref = ResourceRef(kind=Kind.TRANSCRIPTION, namespace=namespace, name="talk", uid=f"job-{namespace}")
    event = NotificationEvent.COMPLETED
    url = "https://hooks.example.com/a"
    return Notification(id=f"msg_{namespace}_{number}", ref=ref, run=1, event=event, url=url, payload="{}")


async def released(database: Database[dict[str, Any]], *made: Notification) -> NotificationOutbox:
    outbox = NotificationOutbox(database["notifications"])
    outbox.create_indexes()
    await outbox.plan(made, NOW)
    await outbox.confirm([each.id for each in made], NOW)
    return outbox


async def test_sixteen_processes_insert_one_and_one_reserves_it(database: Database[dict[str, Any]]) -> None:
    outbox = NotificationOutbox(database["notifications"])
    await asyncio.gather(*(outbox.plan([notification(1)], NOW) for _ in range(16)))
    await asyncio.gather(*(outbox.confirm(["msg_ns_1"], NOW) for _ in range(16)))
    (entry,) = await outbox.due(NOW, 10)
    stored = await asyncio.gather(*(outbox.put(entry) for _ in range(16)))
    assert sum(each is not None for each in stored) == 1


async def test_namespaces_take_turns(database: Database[dict[str, Any]]) -> None:
    noisy = [notification(number, "noisy") for number in range(20)]
    outbox = await released(database, *noisy, notification(1, "quiet"))
    due = await outbox.due(NOW, 5)
    assert [each.notification.ref.namespace for each in due[:3]] == ["noisy", "quiet", "noisy"]
    assert len(due) == 6
    assert await outbox.due(NOW - timedelta(seconds=1), 5) == []
    assert await outbox.next_at() == NOW
    assert await outbox.pending() == (21, NOW)


async def test_an_attempt_is_read_as_it_was_written(database: Database[dict[str, Any]]) -> None:
    outbox = await released(database, notification(1))
    (entry,) = await outbox.due(NOW, 5)
    delivery = Delivery(
        at=NOW, result=DeliveryResult.FAILED, status=500, seconds=0.25, detail="the receiver answered 500"
    )
    reserved = entry.model_copy(update={"tries": 1, "round_started_at": NOW})
    stored = await outbox.put(after_attempt(reserved, DeliveryAttempt(delivery=delivery), 0))
    assert stored is not None
    (again,) = await outbox.due(NOW + timedelta(seconds=5), 5)
    assert again == stored
    assert again.deliveries == (delivery,)


async def test_gone_resent_and_expired(database: Database[dict[str, Any]]) -> None:
    outbox = await released(database, notification(1), notification(2))
    first, second = await outbox.due(NOW, 5)
    gone = DeliveryAttempt(delivery=Delivery(at=NOW, result=DeliveryResult.GONE, status=410))
    assert await outbox.put(after_attempt(first, gone, 0)) is not None
    assert await outbox.is_gone(second)
    log = Notifications(database["notifications"])
    assert {each["state"] for each in await log.of_job("job-ns")} == {"gone", "pending"}
    assert await log.resend("job-other", first.notification.id, "ann", NOW) is None
    assert await log.resend("job-ns", first.notification.id, "ann", NOW) is not None
    assert not await outbox.is_gone(second)
    assert len(await outbox.due(NOW, 5)) == 2
    await outbox.discard(["job-ns"], NOW)
    assert await outbox.expire(NOW + timedelta(days=90)) == 0  # they are still to be delivered
    for entry in await outbox.due(NOW, 5):
        delivered = DeliveryAttempt(delivery=Delivery(at=NOW, result=DeliveryResult.DELIVERED, status=204))
        assert after_attempt(entry, delivered, 0).state is NotificationState.DELIVERED
        assert await outbox.put(after_attempt(entry, delivered, 0)) is not None
    assert await outbox.expire(NOW + timedelta(seconds=1)) == 2
