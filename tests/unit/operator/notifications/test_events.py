"""Notifications of a run: which change causes them, and that a crash at any write neither loses nor invents one."""

import asyncio
import itertools
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymongo.errors import AutoReconnect

from contentgen_contract.names import Kind, Phase
from contentgen_contract.records.notifications import DeliveryResult, NotificationState
from contentgen_contract.resources.spec import NotificationEvent, NotifyTarget, parse_spec, run_hash
from contentgen_contract.resources.status import CollectStatus, ResourceStatus, RunStatus
from contentgen_operator.notifications.events import events_of_change, holds_event, notifications_of
from contentgen_operator.notifications.granted_headers import GrantedHeaders
from contentgen_operator.notifications.guarded_post import PostResponse
from contentgen_operator.notifications.notifier import Notifier
from contentgen_operator.notifications.outbox import NotificationOutbox
from contentgen_operator.notifications.signing import SigningKey, new_key
from contentgen_operator.notifications.values import (
    Delivery,
    DeliveryAttempt,
    Notification,
    OutboxEntry,
    after_attempt,
    notification_id,
    pause,
    payload_of,
    without_queries,
)
from contentgen_operator.state.observed import Resource, ResourceRef
from contentgen_runtime.kube import Conflict
from contentgen_simulation.world import SPECS, UID, World, Writes

ROOT = Path(__file__).parents[4]
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
URL = "https://hooks.example.com/a?token=s3cret"
ALL = [notification_event.value for notification_event in NotificationEvent]
NOTIFY = [{"url": URL, "on": ALL}]
REF = ResourceRef(kind=Kind.IMAGE_GENERATION, namespace="ns", name="it", uid=UID)
COMPLETED, FAILED = NotificationEvent.COMPLETED, NotificationEvent.FAILED


def status_of(phase: str | None, reason: str = "", run: int = 1, asked: str | None = None) -> ResourceStatus:
    """A status; `phase` may be one that this release does not know yet."""
    collect = CollectStatus(asked=asked) if asked else None
    of_run = RunStatus(number=run, version=run, run_hash="h", generation=1, spec={}, started_at=NOW, collect=collect)
    plain = ResourceStatus(observed_generation=1, reason=reason, run=of_run if run else None)
    return plain.model_copy(update={"phase": phase})


@pytest.mark.parametrize(
    ("before", "after", "events"),
    [
        (status_of(None, run=0), status_of("Pending"), set()),
        (status_of("Collecting"), status_of("Completed"), {"Completed"}),
        (status_of("Completed"), status_of("Completed", "again"), set()),
        (status_of("Preparing"), status_of("Failed", "NoVideo"), {"Failed"}),
        (status_of("Failed"), status_of("Failed", "OutputMissing"), set()),
        (status_of("Failed"), status_of("Collecting"), set()),
        (status_of("Failed"), status_of("Completed", asked="1-b"), {"Completed"}),
        (status_of("Failed"), status_of("Failed", asked="1-b"), {"Failed"}),
        (status_of("Failed", asked="1-b"), status_of("Failed", asked="1-b"), set()),
        (status_of("Completed"), status_of("Completed", run=2), {"Completed"}),
        (status_of("Completed"), status_of("Pending", run=2), set()),
        (status_of(None, run=0), status_of("Completed", "AdoptedFinishedRun"), {"Completed"}),
        (status_of(None, run=0), status_of("Failed", "InvalidSpec", run=0), {"Failed"}),
        (status_of("Preparing"), status_of("AwaitingApproval", "AwaitingApproval"), {"AwaitingApproval"}),
        (status_of("AwaitingApproval"), status_of("AwaitingApproval"), set()),
        (status_of("AwaitingApproval"), status_of("Submitting"), set()),
        (status_of("Pending"), status_of("Pending", "BudgetExceeded"), {"BudgetExceeded"}),
        (status_of("Pending", "BudgetExceeded"), status_of("Pending", "BudgetExceeded"), set()),
        (status_of("Preparing"), status_of("Failed", "BudgetExceeded"), {"BudgetExceeded", "Failed"}),
    ],
)
def test_events_of_a_change(before: ResourceStatus, after: ResourceStatus, events: set[str]) -> None:
    assert events_of_change(before, after) == events


@pytest.mark.parametrize(
    ("phase", "run", "holds"),
    [
        ("Completed", 1, True),
        ("Completed", 2, True),
        ("Failed", 1, False),
        ("Pending", 2, True),
        ("Completed", 0, False),
    ],
)
def test_a_written_status_holds_the_event_that_it_caused(phase: str, run: int, holds: bool) -> None:
    assert holds_event(status_of(phase, run=run), 1, COMPLETED) is holds


def resource_of(notify: Any, status: ResourceStatus | None = None) -> Resource:
    return Resource(
        ref=REF,
        generation=1,
        resource_version="1",
        rerun=None,
        resubmit=None,
        created_at=NOW,
        spec=SPECS[Kind.IMAGE_GENERATION] | {"notify": notify},
        status=status or status_of("Collecting"),
    )


@pytest.mark.parametrize(
    ("notify", "count"),
    [
        (None, 0),
        ([], 0),
        (NOTIFY, 1),
        ([{"url": URL}], 1),
        ([{"url": URL, "on": ["Failed"]}], 0),
        ([{"url": URL, "true": ["Completed"]}], 1),  # as kubectl sends an unquoted `on`
        ([{"url": URL, "true": ["Failed"]}], 0),
        ([{"url": URL, "on": []}], 0),
        ([*NOTIFY, *NOTIFY], 1),
        ([*NOTIFY, {"url": "https://other.example/", "on": ALL}], 2),
        ([{"url": "ftp://h/"}], 0),
        ("nonsense", 0),
        ([{"url": URL, "unknown": 1}], 0),
    ],
)
def test_each_event_and_url_is_one_notification(notify: Any, count: int) -> None:
    assert len(notifications_of(resource_of(notify), status_of("Completed"), NOW)) == count


def test_the_id_is_stable_and_separates_what_differs() -> None:
    same = {notification_id(UID, 1, COMPLETED, "", URL) for _ in range(2)}
    others = {
        notification_id("another", 1, COMPLETED, "", URL),
        notification_id(UID, 2, COMPLETED, "", URL),
        notification_id(UID, 1, FAILED, "", URL),
        notification_id(UID, 1, COMPLETED, "1-b", URL),
        notification_id(UID, 1, COMPLETED, "", URL + "2"),
    }
    assert len(same) == 1
    assert len(same | others) == 6


def test_the_payload_has_no_signed_url() -> None:
    message = "see https://bucket.example/key?X-Amz-Signature=abc and s3://b/k#x, then go on"
    given = status_of("Failed", "NoVideo").model_copy(update={"message": message})
    payload = json.loads(payload_of(REF, FAILED, given, NOW))
    assert payload == {
        "type": "job.failed",
        "timestamp": "2026-11-23T12:00:00Z",
        "data": {
            "kind": "ImageGeneration",
            "namespace": "ns",
            "name": "it",
            "uid": UID,
            "run": 1,
            "phase": "Failed",
            "reason": "NoVideo",
            "message": "see https://bucket.example/key and s3://b/k then go on",
        },
    }
    assert without_queries("what? yes: no#1") == "what? yes: no#1"


def test_notify_is_no_input_of_a_run() -> None:
    for kind, spec in SPECS.items():
        assert run_hash(kind, parse_spec(kind, spec)) == run_hash(kind, parse_spec(kind, spec | {"notify": NOTIFY}))
    assert NotifyTarget.model_validate({"url": "HTTPS://h/a"}).url == "https://h/a"


# Times of the attempts


def entry_of(tries: int, round_started_at: datetime | None) -> OutboxEntry:
    notification = Notification(id="msg_1", ref=REF, run=1, event=COMPLETED, url=URL, payload="{}")
    return OutboxEntry(
        notification=notification,
        state=NotificationState.PENDING,
        revision=1,
        tries=tries,
        round_started_at=round_started_at,
        next_at=NOW,
    )


def attempt_of(result: DeliveryResult, at: datetime = NOW, retry_after: timedelta | None = None) -> DeliveryAttempt:
    return DeliveryAttempt(delivery=Delivery(at=at, result=result), retry_after=retry_after)


def test_attempts_are_repeated_for_a_day_with_growing_pauses() -> None:
    now, entry, times = NOW, entry_of(0, NOW), list[timedelta]()
    while entry.state is NotificationState.PENDING:
        entry = entry.model_copy(update={"tries": entry.tries + 1})
        entry = after_attempt(entry, attempt_of(DeliveryResult.FAILED, now), 0.5)
        times.append(now - NOW)
        now = entry.next_at or now
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses == sorted(pauses)
    assert len([time for time in times if time < timedelta(hours=1)]) >= 6
    assert timedelta(hours=24) <= times[-1] < timedelta(hours=28)
    assert entry.state is NotificationState.FAILED
    assert entry.expires_at == NOW + times[-1] + timedelta(days=30)
    assert len(entry.deliveries) == len(times)


@pytest.mark.parametrize(
    ("result", "state"),
    [
        (DeliveryResult.DELIVERED, NotificationState.DELIVERED),
        (DeliveryResult.GONE, NotificationState.GONE),
        (DeliveryResult.FAILED, NotificationState.PENDING),
        (DeliveryResult.REFUSED, NotificationState.PENDING),
    ],
)
def test_state_after_an_attempt(result: DeliveryResult, state: NotificationState) -> None:
    assert after_attempt(entry_of(1, NOW), attempt_of(result), 0).state is state


def test_last_attempt_follows_an_outage_of_days() -> None:
    """The state after it is `failed`; before it, nothing is given up."""
    late = NOW + timedelta(days=3)
    assert after_attempt(entry_of(2, NOW), attempt_of(DeliveryResult.DELIVERED, late), 0).state == "delivered"
    assert after_attempt(entry_of(2, NOW), attempt_of(DeliveryResult.FAILED, late), 0).state == "failed"


@pytest.mark.parametrize(
    ("tries", "asked", "expected"),
    [
        (1, None, timedelta(seconds=5)),
        (1, timedelta(minutes=10), timedelta(minutes=10)),
        (1, timedelta(days=300), timedelta(hours=4)),
        (99, timedelta(seconds=1), timedelta(hours=3)),
        (0, None, timedelta(seconds=5)),
    ],
)
def test_a_receiver_may_ask_for_a_longer_pause(tries: int, asked: timedelta | None, expected: timedelta) -> None:
    assert pause(tries, asked, 0) == expected


def test_a_discarded_entry_expires_at_its_end() -> None:
    discarded = entry_of(1, NOW).model_copy(update={"expires_at": NOW - timedelta(hours=1)})
    assert after_attempt(discarded, attempt_of(DeliveryResult.DELIVERED), 0).expires_at == NOW - timedelta(hours=1)


# The outbox around a status


def world_of(monkeypatch: pytest.MonkeyPatch, *points: int) -> World:
    made = World(monkeypatch, Writes(points))
    made.kube.apply(Kind.IMAGE_GENERATION, SPECS[Kind.IMAGE_GENERATION] | {"notify": NOTIFY})
    return made


def stored(world: World) -> list[dict[str, Any]]:
    return list(world.database["notifications"].find())


async def test_a_finished_run_leaves_one_released_notification(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch)
    await world.finish(Kind.IMAGE_GENERATION)
    (found,) = stored(world)
    assert (found["event"], found["state"], found["url"]) == ("Completed", "pending", URL)
    await world.recover(Kind.IMAGE_GENERATION)
    assert stored(world) == [found]


class Receiver:
    """A webhook that records what it gets."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.ids: list[str] = []

    async def __call__(self, url: str, headers: Mapping[str, str], body: bytes) -> PostResponse:
        assert url == URL
        self.ids.append(headers["webhook-id"])
        self.bodies.append(json.loads(body))
        return PostResponse(204)


class Hanging(Receiver):
    """A webhook that answers when it is told to."""

    def __init__(self, free: asyncio.Event) -> None:
        super().__init__()
        self.begun = 0
        self._free = free

    async def __call__(self, *_: object) -> PostResponse:
        self.begun += 1
        await self._free.wait()
        return PostResponse(204)


class FixedKeys:
    """One key."""

    def __init__(self) -> None:
        self._key = new_key(NOW)

    async def keys(self) -> tuple[SigningKey, ...]:
        return (self._key,)


def notifier_of(world: World, receiver: Receiver) -> Notifier:
    kube: Any = world.kube
    return Notifier(
        outbox=NotificationOutbox(world.database["notifications"]),
        kube=kube,
        keys=FixedKeys(),
        headers=GrantedHeaders(Path("/nonexistent"), ()),
        post=receiver,
        clock=lambda: world.now,
    )


async def delivered(world: World) -> Receiver:
    """What a receiver gets once everything is done: after a restart, and after the time for left ones."""
    receiver = Receiver()
    notifier = notifier_of(world, receiver)
    for _ in range(3):
        world.now += timedelta(minutes=2)
        await notifier.round()
        await notifier.until_idle()
    return receiver


async def count_writes(monkeypatch: pytest.MonkeyPatch) -> int:
    world = world_of(monkeypatch)
    await world.finish(Kind.IMAGE_GENERATION)
    return len(world.writes.done)


@pytest.mark.usefixtures("no_waiting")
async def test_crash_at_any_write_keeps_notifications_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    writes = await count_writes(monkeypatch)
    fired = []
    for point in range(2 * writes):
        world = world_of(monkeypatch, point)
        status = await world.finish(Kind.IMAGE_GENERATION, Phase.SUBMISSION_UNKNOWN)
        world.restart()
        for _ in range(4):
            await world.reconcile(Kind.IMAGE_GENERATION)
        receiver = await delivered(world)
        phases = [body["data"]["phase"] for body in receiver.bodies]
        expected = ["Completed"] if status.phase is Phase.COMPLETED else []
        assert phases == expected, (world.writes.fired, phases)
        assert {document["state"] for document in stored(world)} <= {"delivered"}
        fired += world.writes.fired
    assert {"before notification", "after notification", "before status", "after status"} <= set(fired)
    assert "before release of a notification" in fired


async def test_a_crash_after_the_status_is_made_up_for_by_the_notifier(monkeypatch: pytest.MonkeyPatch) -> None:
    """The resource is finished then, so no reconcile follows."""
    world = world_of(monkeypatch)
    await world.finish(Kind.IMAGE_GENERATION)
    world.database["notifications"].update_one({}, {"$set": {"state": "planned"}})
    assert (await delivered(world)).ids == [document["_id"] for document in stored(world)]


async def test_notification_of_an_unwritten_status_is_dropped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = world_of(monkeypatch)
    await world.finish(Kind.IMAGE_GENERATION, Phase.PROCESSING)
    (planned,) = notifications_of(resource_of(NOTIFY), status_of("Failed"), world.now)
    await NotificationOutbox(world.database["notifications"]).plan([planned], world.now)
    assert (await delivered(world)).ids == []
    assert stored(world) == []


async def test_slow_status_write_loses_no_notification(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API server holds the write; meanwhile the notifier finds the old status, and drops the planned one."""
    world = world_of(monkeypatch)
    notifier, put = notifier_of(world, Receiver()), world.kube.put_status
    dropped = []

    async def late(kind: Kind, namespace: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        if body["status"]["phase"] == "Completed":
            await notifier.confirm_left(world.now + timedelta(minutes=2))
            dropped.append(stored(world) == [])
        return await put(kind, namespace, name, body)

    monkeypatch.setattr(world.kube, "put_status", late)
    await world.finish(Kind.IMAGE_GENERATION)
    assert dropped == [True]
    assert len((await delivered(world)).ids) == 1


async def test_a_planned_notification_of_a_deleted_resource_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch)
    await world.finish(Kind.IMAGE_GENERATION)
    world.database["notifications"].update_one({}, {"$set": {"state": "planned"}})
    await world.until_gone(Kind.IMAGE_GENERATION)
    assert len((await delivered(world)).ids) == 1


async def test_changed_decision_replaces_the_text_and_keeps_the_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first status was refused by a conflict; the second one has another message."""
    world = world_of(monkeypatch)
    outbox = NotificationOutbox(world.database["notifications"])
    first, second = (
        notifications_of(resource_of(NOTIFY), status_of("Failed", "NoVideo").model_copy(update={"message": word}), NOW)
        for word in ("one", "two")
    )
    await outbox.plan(first, NOW)
    await outbox.plan(second, NOW)
    await outbox.confirm([second[0].id], NOW)
    (found,) = stored(world)
    assert json.loads(found["payload"])["data"]["message"] == "two"
    await outbox.plan(first, NOW)  # released: it stays
    assert stored(world) == [found]


async def test_a_former_leader_plans_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch)
    planned = notifications_of(resource_of(NOTIFY), status_of("Failed"), NOW)
    for leads in (0, 1):  # checks that pass before the Lease is lost
        left = [None] * leads

        def check(left: list[None] = left) -> None:
            if not left:
                raise Conflict("the Lease is lost")
            left.pop()

        with pytest.raises(Conflict):
            await NotificationOutbox(world.database["notifications"], check).plan(planned, NOW)
        assert stored(world) == []


async def test_deleted_files_take_the_log_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """With deletionPolicy Delete; what is still to be delivered is delivered first."""
    world = world_of(monkeypatch)
    spec = SPECS[Kind.IMAGE_GENERATION] | {"notify": NOTIFY, "deletionPolicy": "Delete"}
    world.kube.apply(Kind.IMAGE_GENERATION, spec)
    await world.finish(Kind.IMAGE_GENERATION)
    await world.until_gone(Kind.IMAGE_GENERATION)
    assert len(stored(world)) == 1
    assert len((await delivered(world)).ids) == 1
    assert stored(world) == []


async def test_a_receiver_that_never_answers_delays_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run with the webhook ends at the same simulated time, with the same writes but for the notification's, while
    attempts of earlier ones hang.
    """
    worlds, free = [], asyncio.Event()
    hanging: Any = Hanging(free)
    for notify in ([], NOTIFY):
        world = world_of(monkeypatch)
        world.kube.apply(Kind.IMAGE_GENERATION, SPECS[Kind.IMAGE_GENERATION] | {"notify": notify})
        notifier, outbox = notifier_of(world, hanging), NotificationOutbox(world.database["notifications"])
        earlier = notifications_of(resource_of(NOTIFY), status_of("Failed"), world.now)
        await outbox.plan(earlier, world.now)
        await outbox.confirm([each.id for each in earlier], world.now)
        begun = hanging.begun
        await notifier.round()
        async with asyncio.timeout(60):
            while hanging.begun == begun:  # noqa: ASYNC110 - bounded
                await asyncio.sleep(0.005)
        async with asyncio.timeout(60):
            await world.finish(Kind.IMAGE_GENERATION)
        assert notifier._running.tasks
        worlds.append(world)
        free.set()
        await notifier.until_idle()
        free.clear()
    without, with_webhook = worlds
    assert with_webhook.now == without.now
    assert [each for each in with_webhook.writes.done if "notification" not in each] == without.writes.done


async def test_a_release_that_fails_does_not_fail_the_reconcile(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch)

    def away(*_: object) -> None:
        raise AutoReconnect("away")

    monkeypatch.setattr(NotificationOutbox, "_confirm", away)
    assert (await world.finish(Kind.IMAGE_GENERATION)).phase is Phase.COMPLETED
    assert [document["state"] for document in stored(world)] == ["planned"]


async def test_a_release_follows_the_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused status, as after an edit meanwhile, must not be told."""
    world = world_of(monkeypatch)
    await world.finish(Kind.IMAGE_GENERATION)
    last = [each for each in world.writes.done if each in ("status", "notification", "release of a notification")][-3:]
    assert last == ["notification", "status", "release of a notification"]


def test_the_sample_is_valid() -> None:
    (body,) = yaml.safe_load_all((ROOT / "examples/policies/notifications.yaml").read_text())
    spec = parse_spec(Kind(body["kind"]), body["spec"])
    assert spec.notify is not None
    assert spec.notify[0].events == set(NotificationEvent)
