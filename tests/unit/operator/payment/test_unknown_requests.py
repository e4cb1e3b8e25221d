"""Paid requests that the provider does not know for a while, or of which it has no result: none is given up early."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from contentgen_contract.names import COLLECT_ANNOTATION, Kind, Phase, Reason
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.decide.request_endings import is_given_up, observed_fields, request_ending
from contentgen_operator.polling import poll_or_stored
from contentgen_operator.providers.base import AccessRefused, Unavailable, key_id
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.queue.open_places import takes_place
from contentgen_operator.state.costs import cost_of
from contentgen_operator.state.provider_requests import GONE, UNKNOWN, RequestState, RequestView
from contentgen_operator.state.purchases import Purchase, PurchaseState
from contentgen_simulation.world import SPECS, World

IMAGES = Kind.IMAGE_GENERATION
NOW = datetime(2026, 11, 21, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SURE = UNKNOWN.model_copy(update={"conclusive": True})
RUNNING = RequestView(state=RequestState.RUNNING, message="running")


def purchase(**changes: Any) -> Purchase:
    given = {
        "purchase_id": "p1", "state": PurchaseState.SUBMITTED, "job_id": "uid", "provider": "fal", "model": "m",
        "correlation_key": "m", "created_at": NOW, "changed_at": NOW, "sent_at": NOW, "submitted_at": NOW,
        "request_id": "r1",
        "key_id": "ours", "estimated_micros": 2_000_000,
    }  # fmt: skip
    return Purchase.model_validate(given | changes)


def given_up_after(*answers: tuple[RequestView, timedelta, timedelta], each: timedelta = HOUR) -> timedelta | None:
    """Time after which a request is given up whose polls have these answers between two times; None: it is not."""
    bought = purchase()
    for view, first, last in answers:
        at = first
        while at <= last:
            if is_given_up(bought, view, NOW + at):
                return at
            bought = bought.model_copy(update=observed_fields(bought, view, NOW + at))
            at += each
    return None


NEVER = None
ANSWERS = {
    "one answer": ([(GONE, 40 * DAY, 40 * DAY)], NEVER),
    "finished, without a result for a day": ([(GONE, HOUR, 5 * DAY)], HOUR + DAY),
    "two answers, and an operator that is away between them": ([(GONE, HOUR, HOUR), (GONE, 9 * DAY, 9 * DAY)], NEVER),
    "seen in between": ([(GONE, HOUR, DAY), (RUNNING, DAY + HOUR, DAY + HOUR), (GONE, DAY + 2 * HOUR, 2 * DAY)], NEVER),
    "unknown for less than the provider keeps a result": ([(SURE, HOUR, 29 * DAY)], NEVER),
    "unknown for longer": ([(SURE, HOUR, 40 * DAY)], 30 * DAY),
    "unknown to a key that proves nothing": ([(UNKNOWN, HOUR, 90 * DAY)], NEVER),
}


@pytest.mark.parametrize(("answers", "after"), ANSWERS.values(), ids=ANSWERS)
def test_end_of_the_search_for_a_paid_request(answers: Any, after: timedelta | None) -> None:
    assert given_up_after(*answers) == after


def test_a_request_that_was_never_seen_again_may_have_been_paid() -> None:
    missing = {"missing_since": NOW, "missed": 3, "missed_at": NOW + DAY}
    for view, billed in ((SURE, None), (GONE, True)):
        bought = purchase(**missing)
        end = request_ending(IMAGES, bought, view, NOW + 40 * DAY, {})
        assert end is not None
        after = bought.model_copy(update=end.changes | {"state": end.target})
        assert (after.state, after.result_key, cost_of(after).billed) == (PurchaseState.SUCCEEDED, None, billed)


@pytest.mark.parametrize(
    ("changes", "after", "taken"),
    [
        ({}, 5 * HOUR, True),
        ({"missing_since": NOW}, timedelta(minutes=59), True),
        ({"missing_since": NOW}, HOUR, False),
        ({"missing_since": NOW, "state": "intent", "send_state": "sending"}, timedelta(minutes=59), True),
    ],
)
def test_a_request_that_is_unknown_for_an_hour_takes_no_place(
    changes: dict[str, Any], after: timedelta, *, taken: bool
) -> None:
    assert takes_place(purchase(**changes), NOW + after, 86400) is taken


def test_a_fingerprint_tells_keys_apart_and_contains_none(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("id-1:secret-1")
    one = key_id(KeyFile(str(tmp_path / "key")), "fal")
    (tmp_path / "key").write_text("id-1:secret-2")
    other = key_id(KeyFile(str(tmp_path / "key")), "fal")
    assert one is not None
    assert other not in (None, one)
    assert len(one) == 16
    assert "secret" not in one
    assert key_id(KeyFile(str(tmp_path / "none")), "fal") is None


# In the simulated world


class Says:
    """Provider that gives one answer to all polls (None: its own), and counts them."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.view: RequestView | Exception | None = None
        self.polls: list[tuple[datetime, str]] = []
        self._world = world
        self._poll = world.provider.poll
        monkeypatch.setattr(world.provider, "poll", self.poll)
        world.provider.cancels = False  # an unknown request cannot be cancelled

    async def poll(self, model: str, request_id: str) -> RequestView:
        self.polls.append((self._world.now, request_id))
        if isinstance(self.view, Exception):
            raise self.view
        return self.view or await self._poll(model, request_id)


@pytest.fixture
def says(world: World, monkeypatch: pytest.MonkeyPatch) -> Says:
    return Says(world, monkeypatch)


def the_purchase(world: World) -> dict[str, Any]:
    (found,) = world.database["ledger"].find({"requestId": "request-1"})
    return dict(found)


async def running(world: World, says: Says, hours: float = 2, **spec: Any) -> None:
    """A paid request that has run for some hours."""
    says.view = RUNNING
    world.kube.apply(IMAGES, SPECS[IMAGES] | spec)
    until = world.now + hours * HOUR
    while world.now < until:
        await world.reconcile(IMAGES)
    assert world.status(IMAGES).phase is Phase.PROCESSING
    world.provider._polls["request-1"] = 1  # so that its own next answer is the result


async def goes_on(world: World, span: timedelta) -> ResourceStatus:
    until = world.now + span
    while world.now < until:
        await world.reconcile(IMAGES)
    return world.status(IMAGES)


def collect(world: World, value: str) -> None:
    body = world.kube.resources[IMAGES, "it"]
    world.kube.apply(IMAGES, body["spec"], **{COLLECT_ANNOTATION: value})


@pytest.mark.parametrize("unknown", [UNKNOWN, GONE], ids=["unknown", "gone"])
@pytest.mark.parametrize("hours", [0.01, 7], ids=["one answer", "hours"])
async def test_a_running_request_that_is_unknown_for_a_while_completes(
    world: World, says: Says, unknown: RequestView, hours: float
) -> None:
    await running(world, says)
    says.view = unknown
    status = await goes_on(world, hours * HOUR)
    assert (status.phase, status.reason) == (Phase.PROCESSING, Reason.PROVIDER_UNAVAILABLE)
    assert "since 2026-11-21" in (status.message or "")
    says.view = RUNNING
    status = await goes_on(world, HOUR)
    assert (status.phase, status.reason) == (Phase.PROCESSING, Reason.PROCESSING)
    kept = the_purchase(world)
    assert (kept["missingSince"], kept["missed"]) == (None, 0)
    says.view = None
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert (len(world.provider.posts), world.provider.cancelled) == (1, [])


async def test_a_request_that_runs_is_noted_once_an_hour(world: World, says: Says) -> None:
    await running(world, says, 6)
    assert world.writes.done.count("move to submitted") <= 7, world.writes.done
    assert timedelta() <= world.now - the_purchase(world)["lastSeenAt"] <= 1.2 * HOUR


async def test_the_key_of_another_account_ends_nothing(world: World, says: Says) -> None:
    """The limit ends the run; the request is asked for until the key is back."""
    await running(world, says)
    world.provider.key_id, says.view = "another", UNKNOWN
    status = await goes_on(world, HOUR)
    assert (status.phase, status.reason) == (Phase.PROCESSING, Reason.PROVIDER_NOT_CONFIGURED)
    assert "that key is not the one that it was sent with" in (status.message or "")
    status = await world.finish(IMAGES)
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED)
    assert "it may still finish" in (status.message or "")
    await goes_on(world, 2 * DAY)
    kept = the_purchase(world)
    assert (kept["state"], kept["missed"], world.status(IMAGES).run.request_open) == ("submitted", 0, True)  # type: ignore[union-attr]
    world.provider.key_id, says.view = "key of ", None
    await goes_on(world, 3 * HOUR)
    kept = the_purchase(world)
    assert (kept["state"], kept["resultKey"] in world.storage.files) == ("succeeded", True)
    collect(world, "1")
    await world.reconcile(IMAGES)
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


async def test_other_key_of_the_account_is_used_once_it_sees_a_request(world: World, says: Says) -> None:
    await running(world, says)
    first = the_purchase(world)["keyId"]
    world.provider.key_id = "rotated"
    await goes_on(world, HOUR)
    assert (first, the_purchase(world)["keyId"]) == ("key of ", "rotated")


async def test_unknown_request_returns_its_slot_and_keeps_its_claim(world: World, says: Says) -> None:
    await running(world, says)
    assert [takes_place(each, world.now, 86400) for each in await world.process.observer.ledger.under_way()] == [True]
    says.view = UNKNOWN
    await goes_on(world, 2 * HOUR)
    (bought,) = await world.process.observer.ledger.under_way()
    assert (takes_place(bought, world.now, 86400), bought.state) == (False, PurchaseState.SUBMITTED)
    says.view = RUNNING
    await goes_on(world, HOUR)
    (bought,) = await world.process.observer.ledger.under_way()
    assert takes_place(bought, world.now, 86400)


@pytest.mark.parametrize("view", [UNKNOWN, GONE], ids=["unknown", "gone"])
async def test_a_collect_annotation_asks_the_provider_again(world: World, says: Says, view: RequestView) -> None:
    """Also after the result was given up, for free; a value that found nothing is followed by another one."""
    await running(world, says)
    says.view = view
    status = await world.finish(IMAGES)
    expected = Reason.RESULT_INVALID if view is GONE else Reason.DEADLINE_EXCEEDED
    assert (status.phase, status.reason) == (Phase.FAILED, expected)
    assert f"{COLLECT_ANNOTATION}=1 fetches" in (status.message or "")
    asked = len(says.polls)
    collect(world, "1")
    await world.reconcile(IMAGES)
    status = world.status(IMAGES)
    assert (status.phase, len(says.polls) > asked) == (Phase.FAILED, True)
    assert f"{COLLECT_ANNOTATION}=1 did nothing and paid nothing" in (status.message or "")
    says.view = None
    collect(world, "1-2")
    await world.reconcile(IMAGES)
    assert world.status(IMAGES).phase is Phase.COLLECTING
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    kept = the_purchase(world)
    assert (kept["state"], kept["error"], kept["missingSince"]) == ("collected", "", None)
    assert len(world.provider.posts) == 1


@pytest.mark.parametrize("attempts", [1, 3])
async def test_collect_never_pays_for_a_failed_request(world: World, says: Says, attempts: int) -> None:
    await running(world, says, paidAttempts=attempts)
    says.view = UNKNOWN
    assert (await world.finish(IMAGES)).phase is Phase.FAILED
    says.view = RequestView(state=RequestState.FAILED, message="out of memory")
    collect(world, "1")
    status = await goes_on(world, 2 * HOUR)
    assert (status.phase, len(world.provider.posts)) == (Phase.FAILED, 1)
    assert the_purchase(world)["state"] == "failed"


async def test_an_unknown_request_is_polled_for_thirty_days(world: World, says: Says) -> None:
    await running(world, says)
    says.view = UNKNOWN
    await goes_on(world, 3 * DAY)
    asked = [at for at, _ in says.polls]
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert max(gaps) <= 1.1 * HOUR
    world.now += 26 * DAY
    await goes_on(world, 3 * HOUR)
    assert asked[-1] + 26 * DAY < says.polls[-1][0]
    world.now += DAY
    await world.reconcile(IMAGES)
    await world.reconcile(IMAGES)
    assert world.status(IMAGES).run.request_open is None  # type: ignore[union-attr]
    assert the_purchase(world)["state"] == "submitted", "nothing proves that it was lost"


KNOWN = {
    "the same key, which knows another request": ("key of ", SURE, RUNNING, True),
    "the same key, which knows none": ("key of ", SURE, UNKNOWN, False),
    "the same key, and another request that cannot be read": ("key of ", SURE, Unavailable("503"), False),
    "another key": ("another", UNKNOWN, RUNNING, False),
}


@pytest.mark.parametrize(("key", "_", "other", "conclusive"), KNOWN.values(), ids=KNOWN)
async def test_evidence_of_a_request(
    world: World, says: Says, key: str, _: RequestView, other: RequestView | Exception, *, conclusive: bool
) -> None:
    await running(world, says)
    ledger = world.process.observer.ledger
    first = the_purchase(world)
    second = {"_id": first["_id"].replace("/it/", "/b/"), "requestId": "request-2", "purchaseId": "p2"}
    world.database["ledger"].insert_one(first | second)
    bought = Purchase.model_validate(first)

    async def poll(_model: str, request_id: str) -> RequestView:
        if request_id == "request-1":
            return UNKNOWN
        if isinstance(other, Exception):
            raise other
        return other

    world.provider.poll, world.provider.key_id = poll, key  # type: ignore[method-assign]
    view = await poll_or_stored(world.storage, ledger, world.provider, bought, world.now)  # type: ignore[arg-type]
    assert (view.state, view.same_key, view.conclusive) == (RequestState.UNKNOWN, key == "key of ", conclusive)


# A response that is lost in the bucket


def lose(world: World, *, response: bool = True) -> None:
    for name in list(world.storage.objects):
        if name.endswith((".png", ".json") if response else ".png") and "/by-key/" not in name:
            del world.storage.objects[name]


async def completed(world: World) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES])
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED


async def test_a_lost_response_is_read_again_from_the_provider(world: World, says: Says) -> None:
    await completed(world)
    await world.until_gone(IMAGES)
    lose(world)
    says.polls.clear()
    world.kube.apply(IMAGES, SPECS[IMAGES], uid="second")
    status = await world.finish(IMAGES)
    assert (status.phase, status.reason) == (Phase.COMPLETED, Reason.COMPLETED)
    assert [file.key for file in status.versions[-1].files if file.key not in world.storage.objects] == []
    assert {request for _, request in says.polls} == {"request-1"}
    assert len(world.provider.posts) == 1
    assert the_purchase(world)["resultKey"] in world.storage.files


async def test_response_lost_before_it_is_collected_is_read_again(world: World, says: Says) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES])
    while world.database["ledger"].find_one({"state": "succeeded"}) is None:
        await world.reconcile(IMAGES)
    lose(world)
    world.kube.jobs.clear()
    for cache in world.caches:
        cache._jobs.clear()
    world.restart()
    status = await world.finish(IMAGES)
    assert (status.phase, len(world.provider.posts)) == (Phase.COMPLETED, 1)
    assert the_purchase(world)["resultKey"] in world.storage.files


@pytest.mark.parametrize("view", [UNKNOWN, GONE], ids=["unknown", "gone"])
async def test_outputs_are_deleted_if_the_provider_has_none_either(world: World, says: Says, view: RequestView) -> None:
    await completed(world)
    await world.until_gone(IMAGES)
    lose(world)
    says.view = view
    world.kube.apply(IMAGES, SPECS[IMAGES], uid="second")
    status = await world.finish(IMAGES)
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.OUTPUTS_DELETED)
    assert "fal " in (status.message or "")
    says.view = None
    collect(world, "1")
    await world.reconcile(IMAGES)
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


@pytest.mark.parametrize("error", [Unavailable("503"), AccessRefused("fal", "401")], ids=["503", "401"])
async def test_lost_response_waits_for_an_unreadable_provider(world: World, says: Says, error: Exception) -> None:
    await completed(world)
    await world.until_gone(IMAGES)
    lose(world)
    says.view = error
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"collectDeadlineSeconds": 3600}, uid="second")
    status = await goes_on(world, HOUR / 2)
    assert status.phase is Phase.COLLECTING
    says.view = None
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    lose(world)
    await world.until_gone(IMAGES)
    says.view = error
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"collectDeadlineSeconds": 3600}, uid="third")
    assert (await world.finish(IMAGES)).reason == Reason.OUTPUTS_DELETED
    assert len(world.provider.posts) == 1


async def test_a_result_that_is_to_be_deleted_is_not_read_again(world: World, says: Says) -> None:
    await completed(world)
    await world.until_gone(IMAGES)
    lose(world)
    world.database["ledger"].update_many({}, {"$set": {"discardAsked": True}})
    says.polls.clear()
    world.kube.apply(IMAGES, SPECS[IMAGES], uid="second")
    status = await world.finish(IMAGES)
    assert (status.reason, says.polls, len(world.provider.posts)) == (Reason.OUTPUTS_DELETED, [], 1)


async def test_a_result_that_was_deleted_on_purpose_is_not_read_again(world: World, says: Says) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"deletionPolicy": "Delete"})
    await world.finish(IMAGES)
    await world.until_gone(IMAGES)
    says.polls.clear()
    world.kube.apply(IMAGES, SPECS[IMAGES], uid="second")
    status = await world.finish(IMAGES)
    assert (status.reason, says.polls, len(world.provider.posts)) == (Reason.OUTPUTS_DELETED, [], 1)
