"""Queue before the payment: limits, turns, deadline, what ends a wait, restarts, and the circuit of an endpoint."""

from datetime import timedelta
from typing import Any

import pytest
from pymongo.errors import PyMongoError

from contentgen_contract.names import ACCOUNT_LABEL, CANCEL_ANNOTATION, Kind, Phase, Reason
from contentgen_operator.providers.base import Busy, KeyRefused, MaybeAccepted, Refused
from contentgen_operator.queue.circuit_breaker import FAILURES
from contentgen_operator.queue.fair_turns import Account, Endpoint, Place, PlaceLimits
from contentgen_operator.state.observed import ResourceRef
from contentgen_simulation.queue_driver import QueueDriver, fairness_holds, limited_driver
from contentgen_simulation.world import World

IMAGES = Kind.IMAGE_GENERATION


def limited(monkeypatch: pytest.MonkeyPatch, **limits: Any) -> QueueDriver:
    return limited_driver(monkeypatch, PlaceLimits(**limits))


async def test_fairness_holds_for_three_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Issue 19, through reconciles, ledger and wake-ups, at a tenth of its size."""
    driver = limited(monkeypatch, overall=3)
    for namespace, count in {"large": 90, "medium": 35, "small": 10}.items():
        for number in range(count):
            driver.apply(namespace, f"{namespace}-{number}")
    await driver.run()
    assert len(driver.starts) == 135
    assert driver.most_under_way == 3
    assert fairness_holds(driver.starts)
    assert len({call.purchase_id for call in driver.world.provider.posts}) == 135


async def test_granted_runs_are_sent_before_a_burst_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = limited(monkeypatch, overall=4)
    for number in range(100):
        driver.apply("a", f"it-{number}")
    await driver.run(reconciles=30)
    posts, seen = driver.world.provider.posts, [driver.status(f"it-{number}").phase for number in range(100)]
    assert len(posts) >= 4
    assert seen.count(None) > 50, "most are not reconciled yet"


async def test_each_waiting_resource_says_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for limits, text in (
        ({"overall": 1}, "waiting for a place: all 1 places of the operator are in use (queues.maxConcurrent.overall)"),
        (
            {"per_namespace": 1},
            "waiting for a place: all 1 places of this namespace are in use (queues.maxConcurrent.perNamespace)",
        ),
        (
            {"providers": {"fal": 1}},
            "waiting for a place: all 1 places of fal are in use (queues.maxConcurrent.fal)",
        ),
    ):
        driver = limited(monkeypatch, **limits)
        for number in range(3):
            driver.apply("a", f"it-{number}")
        await driver.run(reconciles=6)
        waiting = [driver.status(f"it-{number}") for number in (1, 2)]
        assert [each.phase for each in waiting] == [Phase.PENDING] * 2
        assert [(each.reason, each.message) for each in waiting] == [(Reason.QUEUED, text)] * 2
        assert len(driver.world.provider.posts) <= 1


async def test_a_status_is_not_written_again_while_a_run_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = limited(monkeypatch, overall=1)
    held, waiting = driver.apply("a", "held"), driver.apply("a", "waiting")
    driver.world.provider.running = {1}
    for _ in range(4):
        for ref in (held, waiting):
            driver.world.watch(ref)
            await driver.world.process._reconcile_or_pause(ref)
    written = len(driver.world.kube.statuses)
    for _ in range(5):
        driver.world.now += timedelta(seconds=300)
        driver.world.watch(waiting)
        await driver.world.process._reconcile_or_pause(waiting)
    assert driver.status("waiting").reason == Reason.QUEUED
    assert len(driver.world.kube.statuses) == written


async def waiting_world(monkeypatch: pytest.MonkeyPatch, **spec: Any) -> World:
    """A resource `it` that waits, because another request has the only place."""
    driver = limited(monkeypatch, overall=1)
    world = driver.world
    held = driver.apply("ns", "held")
    world.provider.running = {1}
    for _ in range(4):
        world.watch(held)
        await world.process._reconcile_or_pause(held)
    assert driver.status("held").phase is Phase.PROCESSING
    world.kube.apply(IMAGES, {"prompt": "a cat"} | spec)
    await world.reconcile(IMAGES)
    assert world.status(IMAGES).reason == Reason.QUEUED
    return world


async def free_the_place(world: World) -> None:
    world.provider.running.clear()
    ref = ResourceRef(kind=IMAGES, namespace="ns", name="held", uid="uid-of-held")
    for _ in range(3):
        world.watch(ref)
        await world.process._reconcile_or_pause(ref)


async def test_a_waiting_run_is_paid_once_when_the_place_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await waiting_world(monkeypatch)
    await free_the_place(world)
    woken = list[str]()

    async def wake(ref: Any) -> None:
        woken.append(ref.name)

    await world.payment_queue.wake_started(wake)
    assert woken == ["it"]
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 2


@pytest.mark.parametrize("how", ["suspended", "cancelled", "deleted"])
async def test_a_run_that_no_longer_asks_leaves_the_queue(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    world = await waiting_world(monkeypatch)
    assert len(world.payment_queue._turns) == 1
    if how == "suspended":
        world.kube.apply(IMAGES, {"prompt": "a cat", "suspend": True})
    elif how == "cancelled":
        world.kube.apply(IMAGES, {"prompt": "a cat"}, **{CANCEL_ANNOTATION: "1"})
    else:
        world.kube.delete(IMAGES, world.now)
    await world.reconcile(IMAGES)
    assert len(world.payment_queue._turns) == 0
    assert len(world.provider.posts) == 1
    if how == "suspended":
        assert world.status(IMAGES).phase is Phase.SUSPENDED
        world.kube.apply(IMAGES, {"prompt": "a cat"})
        await world.reconcile(IMAGES)
        assert world.status(IMAGES).reason == Reason.QUEUED


async def test_edit_in_the_queue_replaces_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await waiting_world(monkeypatch)
    world.kube.apply(IMAGES, {"prompt": "a dog"})
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert world.status(IMAGES).reason == Reason.QUEUED
    await free_the_place(world)
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert [call.arguments["prompt"] for call in world.provider.posts] == ["held", "a dog"]


async def test_run_past_its_queue_deadline_fails_unpaid(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await waiting_world(monkeypatch, queueDeadlineSeconds=600)
    began, status = world.now, await world.finish(IMAGES)
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED)
    assert "spec.queueDeadlineSeconds (600); nothing was paid; it waited: waiting for a place" in (status.message or "")
    assert world.now - began <= timedelta(seconds=1200)
    assert len(world.provider.posts) == 1
    assert len(world.payment_queue._turns) == 0


async def test_the_queue_deadline_does_not_end_a_run_with_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await waiting_world(monkeypatch, queueDeadlineSeconds=3600)
    await free_the_place(world)
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED


async def test_a_restart_neither_loses_nor_leaks_places(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await waiting_world(monkeypatch)
    world.restart()
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert world.status(IMAGES).reason == Reason.QUEUED
    assert world.payment_queue.taken == {"fal": 1}
    await free_the_place(world)
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert world.payment_queue.taken == {}


async def test_a_lost_reply_keeps_its_place_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = limited(monkeypatch, overall=1)
    world = driver.world
    world.provider.lose_replies = {1}
    world.kube.apply(IMAGES, {"prompt": "a cat"})
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert world.payment_queue.taken == {"fal": 1}
    world.database["ledger"].update_many({}, {"$set": {"model": "unknown"}})  # it is never found
    world.now += timedelta(hours=2)
    await world.payment_queue._load()
    assert world.payment_queue.taken == {}


async def test_a_place_that_is_not_used_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose reconciles fail between its turn and its payment."""
    world = await waiting_world(monkeypatch)
    await free_the_place(world)

    async def wake(_: Any) -> None:
        """The reconcile never happens."""

    await world.payment_queue.wake_started(wake)
    assert world.payment_queue.taken == {"fal": 1}
    world.now += timedelta(seconds=121)
    await world.payment_queue.wake_started(wake)
    assert world.payment_queue.taken == {}
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED


async def test_a_run_whose_job_is_refused_holds_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A namespace without quota must not block the others."""
    driver = limited(monkeypatch, overall=1)
    driver.world.kube.refuses_jobs = (403, "exceeded quota: small")
    driver.apply("full", "refused")
    await driver.run(reconciles=1)
    assert driver.status("refused").reason == Reason.JOB_REFUSED
    assert driver.world.payment_queue.taken == {}


async def test_failed_run_keeps_its_slot_two_minutes_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = limited(monkeypatch, overall=1)
    world, ref = driver.world, driver.apply("a", "it")
    waiting = driver.apply("b", "waiting")

    async def fails(*_: Any) -> str:
        raise PyMongoError("the bucket's marker cannot be written")

    monkeypatch.setattr(world.storage, "put_marker", fails)
    woken = list[str]()

    async def wake(found: ResourceRef) -> None:
        woken.append(found.name)

    for _ in range(4):
        for each in (ref, waiting):
            world.watch(each)
            await world.process._reconcile_or_pause(each)
        await world.payment_queue.wake_started(wake)
        world.now += timedelta(seconds=50)
    assert woken == ["waiting"]


def fails(driver: QueueDriver, error: Exception) -> None:
    driver.world.provider.refuses = error


async def test_open_circuit_holds_other_namespaces_without_the_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = limited(monkeypatch)
    fails(driver, Busy("secret prompt of a tenant"))
    for number in range(FAILURES):
        driver.apply("a", f"it-{number}")
    await driver.run(reconciles=4 * FAILURES)
    assert dict(driver.world.payment_queue.circuits) == {Endpoint("fal", "fal-ai/flux-lora"): "open"}
    driver.apply("b", "other")
    await driver.run(reconciles=20)
    status = driver.status("other")
    assert status.reason == Reason.CIRCUIT_OPEN
    assert (status.message or "").startswith("no request is sent to fal-ai/flux-lora of fal for a while")
    assert "secret" not in (status.message or "")
    conditions = {condition.type: condition.reason for condition in status.conditions}
    assert conditions["Submitted"] == Reason.CIRCUIT_OPEN


async def test_half_open_circuit_tries_one_request_and_then_sends_all(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = limited(monkeypatch)
    fails(driver, Busy("429").after(120))
    driver.apply("a", "first")
    await driver.run(reconciles=4)
    for number in range(4):
        driver.apply("a", f"it-{number}")
    await driver.run(reconciles=20)
    assert [driver.status(f"it-{number}").reason for number in range(4)] == [Reason.CIRCUIT_OPEN] * 4
    driver.world.provider.refuses = None
    driver.world.now += timedelta(seconds=100)
    await driver.run(reconciles=20)
    assert driver.world.provider.posts == []
    driver.world.now += timedelta(seconds=21)
    await driver.run()
    assert len(driver.world.provider.posts) >= 4
    assert dict(driver.world.payment_queue.circuits) == {}


@pytest.mark.parametrize(
    ("error", "opens"),
    [
        (Refused("bad input"), False),
        (Busy("429"), True),
        (KeyRefused("fal", "403"), True),
        (MaybeAccepted("503"), True),
    ],
)
async def test_only_failures_of_the_endpoint_open_it(
    monkeypatch: pytest.MonkeyPatch, error: Exception, opens: bool
) -> None:
    """A tenant's invalid inputs must not stop the others."""
    driver = limited(monkeypatch)
    fails(driver, error)
    for number in range(FAILURES + 1):
        driver.apply("a", f"it-{number}")
    await driver.run(reconciles=5 * FAILURES)
    assert ("open" in driver.world.payment_queue.circuits.values()) is opens


async def test_an_open_circuit_does_not_delay_paid_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = limited(monkeypatch)
    world = driver.world
    world.kube.apply(IMAGES, {"prompt": "a cat"})
    await world.finish(IMAGES, Phase.PROCESSING)
    for _ in range(FAILURES):
        world.payment_queue.note_failure(Endpoint("fal", "fal-ai/flux-lora"), "busy", 3600)
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED


async def test_circuit_of_an_account_does_not_hold_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exhausted account stops the namespaces that pay with it, and no others."""
    driver = limited(monkeypatch)
    world = driver.world
    team = world.add_account("team-a")
    world.restart()
    world.kube.server.namespace_labels["a"] = {ACCOUNT_LABEL: "team-a"}
    team.refuses = KeyRefused("fal", "403")
    for number in range(FAILURES):
        driver.apply("a", f"it-{number}")
    await driver.run(reconciles=4 * FAILURES)
    assert dict(world.payment_queue.circuits) == {Endpoint("fal", "fal-ai/flux-lora", "team-a"): "open"}
    driver.apply("b", "other")
    driver.apply("a", "held")
    await driver.run(reconciles=20)
    assert len(world.provider.posts) == 1
    assert driver.status("other").phase is Phase.COLLECTING
    assert driver.status("held").reason == Reason.CIRCUIT_OPEN


async def test_wait_for_another_cause_does_not_count_as_queued(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await waiting_world(monkeypatch, queueDeadlineSeconds=600)
    began = world.status(IMAGES).run
    assert began is not None
    assert began.queued_at is not None
    world.provider.configured = False
    world.now += timedelta(seconds=300)
    await world.reconcile(IMAGES)
    status = world.status(IMAGES)
    assert status.reason == Reason.PROVIDER_NOT_CONFIGURED
    assert len(world.payment_queue._turns) == 0
    assert status.run is not None
    assert status.run.queued_at is None
    world.provider.configured = True
    world.now += timedelta(hours=1)
    await world.reconcile(IMAGES)
    assert world.status(IMAGES).reason == Reason.QUEUED
    await free_the_place(world)
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED


async def test_each_paid_attempt_has_the_whole_queue_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await waiting_world(monkeypatch, queueDeadlineSeconds=600, paidAttempts=2)
    await free_the_place(world)
    world.provider.fails = {2}
    await world.finish(IMAGES, Phase.PROCESSING)
    world.now += timedelta(hours=1)
    for _ in range(4):
        world.payment_queue._turns.occupy("another", Place("elsewhere", Account("fal")))
        await world.reconcile(IMAGES)
    assert (world.status(IMAGES).reason, len(world.provider.posts)) == (Reason.QUEUED, 2)
    world.payment_queue._turns.free("another")
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 3


async def test_unreadable_resource_leaves_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    """A status that its tenant has damaged must not get the next place."""
    world = await waiting_world(monkeypatch)
    world.kube.resources[IMAGES, "it"]["status"]["phase"] = "nonsense"
    await world.reconcile(IMAGES)
    assert len(world.payment_queue._turns) == 0


async def test_suspended_run_returns_its_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await waiting_world(monkeypatch)
    await free_the_place(world)

    async def wake(_: Any) -> None:
        """The reconcile comes after the edit."""

    await world.payment_queue.wake_started(wake)
    assert world.payment_queue.taken == {"fal": 1}
    world.kube.apply(IMAGES, {"prompt": "a cat", "suspend": True})
    await world.reconcile(IMAGES)
    assert world.payment_queue.taken == {}
    assert world.status(IMAGES).phase is Phase.SUSPENDED
    assert len(world.provider.posts) == 1


async def test_clock_set_back_neither_ends_nor_reorders_a_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await waiting_world(monkeypatch, queueDeadlineSeconds=600)
    world.now -= timedelta(days=2)
    await world.reconcile(IMAGES)
    status = world.status(IMAGES)
    assert status.reason == Reason.QUEUED
    assert len(world.payment_queue._turns) == 1


@pytest.mark.parametrize("after", [1e12, 86400.0, -5.0])
async def test_hostile_retry_after_holds_an_endpoint_an_hour_at_most(
    monkeypatch: pytest.MonkeyPatch, after: float
) -> None:
    driver = limited(monkeypatch)
    fails(driver, Busy("429").after(after))
    driver.apply("a", "first")
    await driver.run(reconciles=4)
    driver.world.provider.refuses = None
    driver.world.now += timedelta(seconds=3601)
    await driver.run()
    assert len(driver.world.provider.posts) == 1
    assert dict(driver.world.payment_queue.circuits) == {}
