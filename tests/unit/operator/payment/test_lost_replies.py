"""Requests whose reply was lost: duration and frequency of the search, and the purchase's end."""

import itertools
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from contentgen_contract.annotations import collect_again
from contentgen_contract.names import COLLECT_ANNOTATION, RESUBMIT_ANNOTATION, Kind, Phase, Reason
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.providers.base import Unavailable
from contentgen_operator.state.observed import ResourceRef, is_finished
from contentgen_operator.state.provider_requests import Found, RequestState, RequestView, Search
from contentgen_runtime.kube import Conflict
from contentgen_simulation.world import SPECS, UID, World, Writes, resubmit_token

LATER_UID = "5d0b4c1e-3f66-4b7a-8f0d-6f2a8a1b0c02"
LORA, IMAGES, TRANSCRIPT = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION


async def nothing_found(_: Search) -> Found:
    return Found(request_id=None, complete=True)


def purchases(world: World) -> list[dict[str, Any]]:
    return list(world.database["ledger"].find().sort("_id", 1))


def searched(world: World) -> list[datetime]:
    """Times of the requests to the provider's history from now on."""
    asked, find = list[datetime](), world.provider.find

    async def noted(search: Search) -> Found:
        asked.append(world.now)
        return await find(search)

    world.provider.find = noted  # type: ignore[method-assign]
    return asked


async def follow(world: World, kind: Kind, over: Callable[[], bool], name: str = "it") -> bool:
    """Reconcile at each scheduled time. Returns whether `over` became true before the schedule ended."""
    ref = ResourceRef(kind=kind, namespace="ns", name=name, uid=UID)
    for _ in range(5000):
        if over():
            return True
        again: float | None = 0.0
        try:
            if world.watch(ref):
                again = await world.process._read_and_reconcile(ref)
        except Conflict:
            world.process.cache.drop(ref)
        if again is None and not any("status" not in job for job in world.kube.jobs.values()):
            return over()
        world.now += timedelta(seconds=max(again or 0, 1))
        world.work()
    raise AssertionError(f"looked at 5000 times: {world.status(kind, name)}")


async def lost(world: World, kind: Kind, **spec: Any) -> datetime:
    """Send a POST whose reply is lost. Returns the time of the POST."""
    world.provider.lose_replies = {1}
    world.kube.apply(kind, SPECS[kind] | spec)
    assert await follow(world, kind, lambda: bool(world.provider.posts))
    return world.provider.sent_at[0]


def shown_after(world: World, at: datetime) -> None:
    """Hide requests from the provider's history until this time."""
    find = world.provider.find

    async def late(search: Search) -> Found:
        return await (find(search) if world.now >= at else nothing_found(search))

    world.provider.find = late  # type: ignore[method-assign]


# Duration and frequency of the search


@pytest.mark.parametrize("hours", [1, 3, 30, 24 * 20])
@pytest.mark.parametrize("kind", Kind)
async def test_request_shown_after_hours_or_days_is_found(kind: Kind, hours: int, world: World) -> None:
    world.provider.cancels = False  # as for a request that has ended
    sent = await lost(world, kind)
    shown_after(world, sent + timedelta(hours=hours))
    assert await follow(world, kind, lambda: world.status(kind).phase is Phase.COMPLETED)
    assert len(world.provider.posts) == 1


async def test_history_is_read_less_and_less_often_and_never_dropped(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world.decision_settings = world.decision_settings.model_copy(update={"poll_seconds": 5})
    world.restart()
    sent = await lost(world, IMAGES)
    monkeypatch.setattr(world.provider, "find", nothing_found)
    asked = searched(world)
    assert not await follow(world, IMAGES, lambda: False), "it ends where the provider keeps nothing older"
    pauses = [later - at for at, later in itertools.pairwise(asked)]
    day = [pause for at, pause in zip(asked, pauses, strict=False) if at - sent < timedelta(days=1) - pauses[-1]]
    assert min(pauses) >= timedelta(seconds=5)
    assert max(day) == timedelta(minutes=10)
    assert len(day) < 300
    assert max(pauses) == timedelta(hours=1)
    assert asked[-1] - sent >= timedelta(days=30)
    status = world.status(IMAGES)
    assert status.phase is Phase.SUBMISSION_UNKNOWN
    assert "2026-12-21" in (status.message or "")
    world.restart()
    looks = len(asked)
    await world.reconcile(IMAGES)
    assert len(asked) == looks + 1, "once more at each start"


async def test_the_message_says_until_when_it_is_looked_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await lost(world, IMAGES)
    monkeypatch.setattr(world.provider, "find", nothing_found)
    said = set[str]()

    def day_over() -> bool:
        status = world.status(IMAGES)
        if status.reason == Reason.SUBMISSION_UNKNOWN:
            said.add(status.message or "")
        return world.now - world.provider.sent_at[0] > timedelta(hours=23)

    assert await follow(world, IMAGES, day_over)
    (only,) = said
    assert "2026-11-22 00:00 UTC" in only
    assert only.rpartition(" ")[2].startswith("contentgen.dev/resubmit=")


@pytest.mark.parametrize("seconds", [60, 3 * 3600])
async def test_a_deadline_does_not_end_a_run_that_may_be_paid(
    seconds: int, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Regression (money 12): the history was requested every second after the deadline."""
    world.decision_settings = world.decision_settings.model_copy(update={"poll_seconds": 5})
    world.restart()
    sent = await lost(world, IMAGES, deadlineSeconds=seconds)
    find = world.provider.find
    monkeypatch.setattr(world.provider, "find", nothing_found)
    asked = searched(world)
    assert await follow(world, IMAGES, lambda: world.now - sent > timedelta(hours=12))
    status = world.status(IMAGES)
    assert status.phase is Phase.SUBMISSION_UNKNOWN
    assert f"spec.deadlineSeconds ({seconds}) is over" in (status.message or "")
    assert len(asked) < 250
    world.provider.find = find  # type: ignore[method-assign]
    assert await follow(world, IMAGES, lambda: purchases(world)[0]["state"] != "intent")
    assert purchases(world)[0]["requestId"] == "request-1"


# Deadlines of requests in progress at the provider


async def late(world: World, kind: Kind, *, cancels: bool) -> None:
    """Apply a resource whose request runs for longer than spec.deadlineSeconds."""
    world.provider.cancels = cancels
    world.kube.apply(kind, SPECS[kind] | {"deadlineSeconds": 900})
    assert await follow(world, kind, lambda: world.status(kind).phase is Phase.PROCESSING)


def runs_until(world: World, at: datetime) -> None:
    """Let the provider report requests as running until this time."""
    poll = world.provider.poll

    async def slow(model: str, request_id: str) -> RequestView:
        if world.now < at:
            return RequestView(state=RequestState.RUNNING, message="running")
        await poll(model, request_id)
        return await poll(model, request_id)

    world.provider.poll = slow  # type: ignore[method-assign]


async def test_early_collect_does_not_stop_the_search(world: World) -> None:
    runs_until(world, world.now + timedelta(hours=5))
    await late(world, IMAGES, cancels=False)
    assert await follow(world, IMAGES, lambda: world.status(IMAGES).phase is Phase.FAILED)
    world.kube.apply(IMAGES, world.kube.resources[IMAGES, "it"]["spec"], **{COLLECT_ANNOTATION: "1"})
    assert await follow(world, IMAGES, lambda: purchases(world)[0]["state"] == "succeeded")
    assert "did nothing" in (world.status(IMAGES).message or "")


@pytest.mark.parametrize("kind", Kind)
async def test_a_result_that_comes_after_the_deadline_is_stored(kind: Kind, world: World) -> None:
    runs_until(world, world.now + timedelta(hours=5))
    await late(world, kind, cancels=False)
    assert await follow(world, kind, lambda: world.status(kind).phase is Phase.FAILED)
    status = world.status(kind)
    assert (status.reason, status.run and status.run.billed) == ("DeadlineExceeded", None)
    assert "was cancelled" not in (status.message or "")
    assert "may still finish and be billed" in (status.message or "")
    completed = status.completion_time
    assert await follow(world, kind, lambda: purchases(world)[0]["state"] == "succeeded")
    assert not await follow(world, kind, lambda: False), "it is left alone then"
    assert purchases(world)[0]["resultKey"] in world.storage.objects
    status = world.status(kind)
    assert (status.phase, status.completion_time) == (Phase.FAILED, completed)
    assert (status.run and status.run.billed, status.run and status.run.request_open) == (True, None)
    assert world.provider.cancelled == ["request-1"]
    await world.recover(kind)
    world.kube.apply(kind, SPECS[kind], uid="second")
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


def advised(status: ResourceStatus) -> dict[str, str]:
    """Annotation that a message recommends as free of charge."""
    found = re.search(r"the annotation (contentgen\.dev/collect)=(\S+) fetches", status.message or "")
    assert found, status.message
    return {found[1]: found[2]}


@pytest.mark.parametrize("end", ["DeadlineExceeded", "Cancelled"])
@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_advice_after_an_end_with_an_open_request_pays_once(policy: str, end: str, world: World) -> None:
    """The annotation is set too early, and then again as `kubectl contentgen collect` would set it."""
    world.provider.cancels = False
    runs_until(world, world.now + timedelta(hours=5))
    spec = SPECS[IMAGES] | {"deletionPolicy": policy}
    if end == "DeadlineExceeded":
        spec |= {"deadlineSeconds": 600}
    world.kube.apply(IMAGES, spec)
    if end == "Cancelled":
        await world.finish(IMAGES, Phase.PROCESSING)
        world.kube.apply(IMAGES, spec, **{"contentgen.dev/cancel": "1"})
    assert await follow(world, IMAGES, lambda: world.status(IMAGES).phase is Phase.FAILED)
    assert world.status(IMAGES).reason == end
    world.kube.apply(IMAGES, spec, **advised(world.status(IMAGES)))
    await follow(world, IMAGES, lambda: "did nothing" in (world.status(IMAGES).message or ""))
    assert await follow(world, IMAGES, lambda: purchases(world)[0]["state"] == "succeeded")
    asked = world.status(IMAGES).run
    assert asked is not None
    assert asked.collect is not None
    again = collect_again.next_value(1, asked.collect.asked)
    world.kube.apply(IMAGES, spec, **{"contentgen.dev/collect": again})
    assert (await world.finish(IMAGES, Phase.COLLECTING)).phase is Phase.COLLECTING
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


async def test_a_run_that_ends_with_an_open_request_is_looked_at_again(world: World) -> None:
    """Only the schedule triggers the reconcile; no event of the cluster does."""
    runs_until(world, world.now + timedelta(hours=5))
    await late(world, IMAGES, cancels=False)
    assert await follow(world, IMAGES, lambda: purchases(world)[0]["state"] == "succeeded")
    assert world.status(IMAGES).phase is Phase.FAILED


async def test_an_operator_that_starts_follows_what_was_open(world: World) -> None:
    runs_until(world, world.now + timedelta(hours=5))
    await late(world, IMAGES, cancels=False)
    assert await follow(world, IMAGES, lambda: world.status(IMAGES).phase is Phase.FAILED)
    world.restart()
    assert not is_finished(world.kube.resources[IMAGES, "it"])
    assert await follow(world, IMAGES, lambda: purchases(world)[0]["state"] == "succeeded")


@pytest.mark.parametrize("kind", Kind)
async def test_cancelled_is_said_of_what_the_provider_says_it_of(kind: Kind, world: World) -> None:
    runs_until(world, world.now + timedelta(days=9))
    await late(world, kind, cancels=True)
    assert await follow(world, kind, lambda: world.status(kind).phase is Phase.FAILED)
    status = world.status(kind)
    assert status.reason == "DeadlineExceeded"
    assert "it was cancelled" in (status.message or "")
    assert (purchases(world)[0]["state"], status.run and status.run.request_open) == ("cancelled", None)
    await world.recover(kind)


async def test_result_present_at_the_cancellation_is_delivered(world: World) -> None:
    runs_until(world, world.now + timedelta(seconds=905))
    await late(world, IMAGES, cancels=False)
    assert await follow(world, IMAGES, lambda: world.status(IMAGES).phase in (Phase.FAILED, Phase.COMPLETED))
    assert world.status(IMAGES).phase is Phase.COMPLETED


async def test_absent_provider_at_the_deadline_is_awaited_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def away(*_: Any) -> Any:
        raise Unavailable("503")

    world = World(monkeypatch, Writes())
    started = world.now
    poll, cancel = world.provider.poll, world.provider.cancel
    await late(world, IMAGES, cancels=True)
    world.provider.poll = away  # type: ignore[method-assign]
    world.provider.cancel = away  # type: ignore[method-assign]
    assert await follow(world, IMAGES, lambda: world.status(IMAGES).phase is Phase.FAILED)
    assert world.now - started < timedelta(hours=1)
    assert "the cancellation could not be requested" in (world.status(IMAGES).message or "")
    world.provider.poll, world.provider.cancel = poll, cancel  # type: ignore[method-assign]
    assert await follow(world, IMAGES, lambda: purchases(world)[0]["state"] in ("succeeded", "cancelled"))


# Requests that a person has replaced


async def test_token_forged_in_the_status_permits_nothing(world: World) -> None:
    """The operator compares the annotation with the purchase, and replaces the field."""
    world.provider.find = nothing_found  # type: ignore[method-assign]
    await lost(world, IMAGES)
    assert await follow(world, IMAGES, lambda: world.status(IMAGES).phase is Phase.SUBMISSION_UNKNOWN)
    token = resubmit_token(world.status(IMAGES))
    world.kube.resources[IMAGES, "it"]["status"]["run"]["resubmitToken"] = "0badcafe"
    world.kube.apply(IMAGES, SPECS[IMAGES], **{RESUBMIT_ANNOTATION: "0badcafe"})
    assert await follow(world, IMAGES, lambda: resubmit_token(world.status(IMAGES)) == token)
    assert (purchases(world)[0].get("sendState"), len(world.provider.posts)) == ("sending", 1)


async def test_a_waiting_status_of_an_earlier_build_gets_its_fields(world: World) -> None:
    world.provider.find = nothing_found  # type: ignore[method-assign]
    await lost(world, IMAGES)
    assert await follow(world, IMAGES, lambda: world.status(IMAGES).phase is Phase.SUBMISSION_UNKNOWN)
    written = world.status(IMAGES)
    status = world.kube.resources[IMAGES, "it"]["status"]
    del status["run"]["resubmitToken"], status["actions"]
    assert not is_finished(world.kube.resources[IMAGES, "it"]), "the operator reconciles it at its start"
    world.restart()
    await world.reconcile(IMAGES)
    assert resubmit_token(world.status(IMAGES)) == resubmit_token(written)
    assert world.status(IMAGES).actions == written.actions


async def test_status_has_a_token_while_a_person_must_decide(world: World) -> None:
    await resubmitted(world, IMAGES)
    assert await follow(world, IMAGES, lambda: world.status(IMAGES).phase is Phase.COMPLETED)
    waits = [(status.reason == Reason.SUBMISSION_UNKNOWN, status.run) for status in world.kube.statuses]
    assert {waits for waits, run in waits if run is not None and run.resubmit_token} == {True}
    assert all(run is not None and run.resubmit_token for waits, run in waits if waits)


async def resubmitted(world: World, kind: Kind, **spec: Any) -> None:
    """Send a POST whose reply is lost and which is not found, and permit another payment."""
    find = world.provider.find
    world.provider.find = nothing_found  # type: ignore[method-assign]
    await lost(world, kind, **spec)
    assert await follow(world, kind, lambda: world.status(kind).phase is Phase.SUBMISSION_UNKNOWN)
    token = resubmit_token(world.status(kind))
    world.kube.apply(kind, SPECS[kind] | spec, **{RESUBMIT_ANNOTATION: token})
    assert await follow(world, kind, lambda: purchases(world)[0].get("sendState") == "abandoned")
    world.provider.find = find  # type: ignore[method-assign]
    world.provider._looks = 3  # the history has caught up


@pytest.mark.parametrize("kind", Kind)
async def test_request_found_before_the_next_send_replaces_it(kind: Kind, world: World) -> None:
    await resubmitted(world, kind)
    assert await follow(world, kind, lambda: world.status(kind).phase is Phase.COMPLETED)
    assert len(world.provider.posts) == 1
    assert purchases(world)[0]["state"] == "collected"
    await world.recover(kind)


@pytest.mark.parametrize("also_lost", [False, True])
@pytest.mark.parametrize("kind", Kind)
async def test_replaced_request_is_found_without_its_resource(kind: Kind, also_lost: bool, world: World) -> None:
    """The next attempt's request, whose reply is lost too, is not mistaken for the replaced one."""
    world.decision_settings = world.decision_settings.model_copy(update={"poll_seconds": 5, "adoption_seconds": 60})
    world.restart()
    await resubmitted(world, kind)
    find, asked = world.provider.find, list[Search]()
    world.provider.find = nothing_found  # type: ignore[method-assign]
    world.provider.lose_replies = {2} if also_lost else set()
    assert await follow(world, kind, lambda: len(world.provider.posts) == 2)
    del world.kube.resources[kind, "it"]
    world.kube.jobs.clear()

    async def noted(search: Search) -> Found:
        asked.append(search)
        return await find(search)

    world.provider.find = noted  # type: ignore[method-assign]
    for _ in range(20):
        world.now += timedelta(minutes=10)
        await world.orphans[-1].round(world.now)
    assert [(purchase["state"], purchase["requestId"]) for purchase in purchases(world)] == [
        ("succeeded", "request-1"),
        ("succeeded", "request-2"),
    ]
    sent = world.provider.sent_at
    before = [each.sent_before for each in asked if each.sent_after == sent[0]]
    assert before
    assert all(each <= sent[1] for each in before)
    world.kube.apply(kind, SPECS[kind], uid=LATER_UID)
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 2, "nothing more is paid"


@pytest.mark.parametrize("hours", [1, 100])
@pytest.mark.parametrize("kind", Kind)
async def test_replaced_request_is_found_and_its_result_stored(kind: Kind, hours: int, world: World) -> None:
    """The request is also located after the next attempt has completed, and its cost is counted."""
    world.provider.cancels = False
    await resubmitted(world, kind)
    shown_after(world, world.now + timedelta(hours=hours))
    assert await follow(world, kind, lambda: world.status(kind).phase is Phase.COMPLETED)
    assert len(world.provider.posts) == 2
    status = world.status(kind)
    assert status.run is not None
    assert (status.run.paid_attempt, status.run.request_id) == (2, "request-2")
    assert await follow(world, kind, lambda: purchases(world)[0]["state"] == "succeeded")
    first, second = purchases(world)
    assert (first["requestId"], second["requestId"]) == ("request-1", "request-2")
    assert world.storage.objects[first["resultKey"]]["request"] == "request-1"
    assert not await follow(world, kind, lambda: False)
    after = world.status(kind)
    assert (after.phase, after.versions, after.completion_time) == (
        status.phase, status.versions, status.completion_time,
    )  # fmt: skip
    assert after.run is not None
    assert (after.run.request_id, after.run.request_open) == ("request-2", None)
    assert after.cost is not None
    assert status.cost is not None
    assert after.cost.display != status.cost.display, "both are paid"
    await world.recover(kind)


async def test_applied_again_the_files_of_the_later_attempt_are_used(world: World) -> None:
    """The provider may have deleted the files of the replaced request, which was located in the meantime."""
    world.provider.cancels = False
    await resubmitted(world, IMAGES)
    shown_after(world, world.now + timedelta(hours=1))
    assert await follow(world, IMAGES, lambda: world.status(IMAGES).phase is Phase.COMPLETED)
    assert await follow(world, IMAGES, lambda: purchases(world)[0]["state"] == "succeeded")
    del world.kube.resources[IMAGES, "it"]
    world.kube.apply(IMAGES, SPECS[IMAGES], uid=LATER_UID)
    status = await world.finish(IMAGES)
    assert (status.phase, status.reason) == (Phase.COMPLETED, Reason.ADOPTED_FINISHED_RUN)
    assert status.run is not None
    assert (status.run.paid_attempt, len(world.provider.posts)) == (2, 2)
    assert [(purchase["state"], purchase["jobId"]) for purchase in purchases(world)] == [
        ("succeeded", UID),
        ("collected", LATER_UID),
    ]


async def test_a_replaced_request_is_never_the_next_ones(world: World) -> None:
    """Both replies are lost, and both trainings have the same input."""
    await resubmitted(world, LORA)
    world.provider.lose_replies = {1, 2}
    shown_after(world, world.now + timedelta(hours=1))
    assert await follow(world, LORA, lambda: world.status(LORA).phase is Phase.COMPLETED)
    assert await follow(world, LORA, lambda: purchases(world)[0]["state"] == "succeeded")
    assert [purchase["requestId"] for purchase in purchases(world)] == ["request-1", "request-2"]


async def test_replaced_request_still_running_at_the_end_is_cancelled(world: World) -> None:
    await resubmitted(world, TRANSCRIPT)
    shown_after(world, world.now + timedelta(hours=1))
    assert await follow(world, TRANSCRIPT, lambda: world.status(TRANSCRIPT).phase is Phase.COMPLETED)
    runs_until(world, world.now + timedelta(days=9))
    assert await follow(world, TRANSCRIPT, lambda: purchases(world)[0]["state"] == "cancelled")
    assert world.provider.cancelled == ["request-1"]


async def test_replaced_request_never_found_ends_with_the_history(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await resubmitted(world, IMAGES)
    monkeypatch.setattr(world.provider, "find", nothing_found)
    assert await follow(world, IMAGES, lambda: world.status(IMAGES).phase is Phase.COMPLETED)
    asked = searched(world)
    assert not await follow(world, IMAGES, lambda: False)
    assert asked[-1] - world.provider.sent_at[0] > timedelta(days=29)
    assert len(asked) < 1000
    assert is_finished(world.kube.resources[IMAGES, "it"])


async def test_requests_that_differ_in_a_query_keep_apart(world: World) -> None:
    """The ledger keeps no query of a LoRA's URL, which may be a secret, and here it decides which file is meant."""
    file = "https://civitai.com/api/download/models/7?fileId="
    world.provider.lose_replies = {1, 2}
    names = {"first": UID, "second": LATER_UID}
    for number, (name, uid) in enumerate(names.items(), 1):
        spec = {"prompt": "a cat", "image": {"seed": 7}, "loras": [{"path": f"{file}{number}", "scale": "0.8"}]}
        world.kube.apply(IMAGES, spec, uid, name)
    for name, sent in (("first", 1), ("second", 2)):
        while len(world.provider.posts) < sent:
            await world.reconcile(IMAGES, name)
    for name in (*["second"] * 10, *["first"] * 10):  # the history lists the second request last
        await world.reconcile(IMAGES, name)
    found = {str(row["_id"]).split("/")[2]: row["requestId"] for row in purchases(world)}
    assert found == {"first": "request-1", "second": "request-2"}
