"""Orphans, which are purchases of deleted resources: searched, stored, kept for a while, adopted when applied again."""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import CANCEL_ANNOTATION, RERUN_ANNOTATION, Kind, Phase, Reason
from contentgen_contract.resources.prices import PRICES
from contentgen_operator.kube.selection import Selection
from contentgen_operator.orphans.effects import OrphanEffect, Retention, next_effect, pause
from contentgen_operator.orphans.following import FollowState
from contentgen_operator.orphans.transitions import after_poll, discarded, noted
from contentgen_operator.providers.answers import AnswerFile
from contentgen_operator.providers.base import Unavailable
from contentgen_operator.state.decision_input import DecisionSettings
from contentgen_operator.state.provider_requests import (
    RequestState,
    RequestView,
    StoredObject,
    arguments_json,
    arguments_of,
)
from contentgen_operator.state.purchases import Purchase, PurchaseState, StoredKey
from contentgen_runtime.namespaces import Namespaces
from contentgen_simulation.world import SPECS, UID, Crash, World, Writes

IMAGES, LORA = Kind.IMAGE_GENERATION, Kind.LORA_TRAINING
LATER_UID = "5d0b4c1e-3f66-4b7a-8f0d-6f2a8a1b0c02"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
DAY = timedelta(days=1)
KEY = StoredKey.parse("ns/ImageGeneration/it/hash/-/1")


def purchase(state: PurchaseState = PurchaseState.SUBMITTED, **changes: Any) -> Purchase:
    given = {
        "purchase_id": "p1",
        "state": state,
        "job_id": UID,
        "provider": "fal",
        "model": "fal-ai/flux-lora",
        "correlation_key": "m",
        "created_at": NOW,
        "changed_at": NOW,
        "sent_at": NOW,
        "submitted_at": NOW,
        "request_id": "r1",
    }
    return Purchase.model_validate(given | changes)


# The decision


@pytest.mark.parametrize(
    ("given", "at", "effect"),
    [
        ({"state": "submitted"}, NOW, OrphanEffect.NOTE),
        ({"state": "submitted", "orphaned_at": NOW}, NOW, OrphanEffect.POLL),
        ({"state": "succeeded"}, NOW + 400 * DAY, OrphanEffect.NOTE),  # of a restored ledger: the time begins now
        ({"state": "succeeded", "discard_asked": True}, NOW, OrphanEffect.NOTE),
        (
            {"state": "succeeded", "orphaned_at": NOW, "orphan_seen_at": NOW + 29 * DAY},
            NOW + 29.9 * DAY,
            OrphanEffect.NOTHING,
        ),
        (
            {"state": "succeeded", "orphaned_at": NOW, "orphan_seen_at": NOW + 28 * DAY},
            NOW + 29.9 * DAY,
            OrphanEffect.SEEN,
        ),
        (
            {"state": "succeeded", "orphaned_at": NOW, "orphan_seen_at": NOW + 29 * DAY},
            NOW + 30 * DAY,
            OrphanEffect.DISCARD,
        ),
        # An old ledger was restored, or no operator ran: what became of the resource meanwhile is not known.
        (
            {"state": "succeeded", "orphaned_at": NOW, "orphan_seen_at": NOW + 26 * DAY},
            NOW + 30 * DAY,
            OrphanEffect.NOTE,
        ),
        ({"state": "succeeded", "orphaned_at": NOW}, NOW + 30 * DAY, OrphanEffect.NOTE),
        ({"state": "succeeded", "orphaned_at": NOW, "discard_asked": True}, NOW, OrphanEffect.DISCARD),
        (
            {"state": "submitted", "orphaned_at": NOW - 400 * DAY, "orphan_seen_at": NOW},
            NOW,
            OrphanEffect.POLL,
        ),  # never expires
        ({"state": "intent", "send_state": "planned"}, NOW + DAY, OrphanEffect.NOTHING),
        ({"state": "intent", "send_state": "abandoned"}, NOW + DAY, OrphanEffect.NOTHING),
        # A person has paid for another attempt: found, it is an orphan; it is not listed as one before.
        ({"state": "intent", "send_state": "abandoned", "sent_input": "{}"}, NOW, OrphanEffect.NOTHING),
        ({"state": "intent", "send_state": "abandoned", "sent_input": "{}"}, NOW + DAY, OrphanEffect.SEARCH),
        ({"state": "intent", "send_state": "abandoned", "sent_input": "{}"}, NOW + 3 * DAY, OrphanEffect.NOTHING),
        ({"state": "intent", "send_state": "sending"}, NOW, OrphanEffect.NOTE),
        ({"state": "intent", "send_state": None}, NOW, OrphanEffect.NOTE),
        (
            {"state": "intent", "send_state": "sending", "orphaned_at": NOW, "sent_input": "{}"},
            NOW,
            OrphanEffect.NOTHING,
        ),
        (
            {"state": "intent", "send_state": "sending", "orphaned_at": NOW, "sent_input": "{}"},
            NOW + DAY,
            OrphanEffect.SEARCH,
        ),
        ({"state": "intent", "send_state": "sending", "orphaned_at": NOW}, NOW + DAY, OrphanEffect.NOTHING),
        (
            {"state": "intent", "send_state": "sending", "orphaned_at": NOW, "sent_input": "{}"},
            NOW + 3 * DAY,
            OrphanEffect.NOTHING,
        ),
        ({"state": "collected"}, NOW + 400 * DAY, OrphanEffect.NOTHING),
        ({"state": "collected", "orphaned_at": NOW}, NOW + 400 * DAY, OrphanEffect.NOTHING),
        ({"state": "cancelled", "orphaned_at": NOW}, NOW, OrphanEffect.NOTHING),
        ({"state": "discarded"}, NOW, OrphanEffect.NOTHING),
    ],
)
def test_the_next_effect(given: dict[str, Any], at: datetime, effect: OrphanEffect) -> None:
    state = PurchaseState(given.pop("state"))
    assert next_effect(purchase(state, **given), FollowState.GONE, at, Retention()) is effect


@pytest.mark.parametrize(
    ("given", "standing", "effect"),
    [
        ({"state": "submitted"}, FollowState.FOLLOWED, OrphanEffect.NOTHING),
        ({"state": "submitted"}, FollowState.ENDED, OrphanEffect.POLL),
        ({"state": "succeeded", "discard_asked": True}, FollowState.ENDED, OrphanEffect.NOTHING),
        ({"state": "succeeded", "orphaned_at": NOW}, FollowState.ENDED, OrphanEffect.NOTE),
        ({"state": "succeeded", "orphaned_at": NOW}, FollowState.FOLLOWED, OrphanEffect.NOTE),
        ({"state": "intent", "send_state": "sending", "sent_input": "{}"}, FollowState.ENDED, OrphanEffect.SEARCH),
        ({"state": "intent", "send_state": "planned"}, FollowState.ENDED, OrphanEffect.NOTHING),
        (
            {"state": "intent", "send_state": "abandoned", "sent_input": "{}"},
            FollowState.FOLLOWED,
            OrphanEffect.NOTHING,
        ),
    ],
)
def test_the_next_effect_where_there_is_a_resource(
    given: dict[str, Any], standing: FollowState, effect: OrphanEffect
) -> None:
    state = PurchaseState(given.pop("state"))
    assert next_effect(purchase(state, **given), standing, NOW + DAY, Retention()) is effect


def test_looks_grow_apart_and_never_end() -> None:
    ages = [timedelta(), timedelta(minutes=30), 30 * DAY]
    seconds = [pause(purchase(), NOW + age).total_seconds() for age in ages]
    assert seconds == [60, 180, 3600]
    assert pause(purchase(), NOW - DAY).total_seconds() == 3600, "a clock that was set back"


def test_each_move_names_owner_states_and_since_when() -> None:
    seen = purchase(PurchaseState.SUCCEEDED, orphaned_at=NOW)
    same = {"send_state": None, "orphaned_at": NOW, "orphan_seen_at": None, "request_id": "r1", "cancel_asked_at": None}
    for move in (noted(KEY, seen, None), discarded(KEY, seen, NOW)):
        assert (move.source, move.owner) == (PurchaseState.SUCCEEDED, UID)
        assert move.expected == same


def test_a_failed_request_costs_what_the_provider_says() -> None:
    view = RequestView(state=RequestState.FAILED, message="no", cancelled=True)
    assert after_poll(KEY, purchase(), view, NOW, Retention())[1].target is PurchaseState.FAILED  # type: ignore[union-attr]
    asked = purchase(cancel_asked_at=NOW)
    assert after_poll(KEY, asked, view, NOW, Retention())[1].target is PurchaseState.CANCELLED  # type: ignore[union-attr]


def test_missing_result_is_reported_after_answers_over_a_day() -> None:
    gone = RequestView(state=RequestState.GONE, message="its result is no longer kept there")
    store, move = after_poll(KEY, purchase(), gone, NOW + 9 * DAY, Retention())
    assert store is None
    assert move is not None
    assert (move.target, move.changes["missed"]) == (PurchaseState.SUBMITTED, 1)
    missing = purchase(missing_since=NOW, missed=3, missed_at=NOW + timedelta(hours=16))
    store, move = after_poll(KEY, missing, gone, NOW + DAY, Retention())
    assert store is None
    assert move is not None
    assert (move.target, move.changes["error"]) == (PurchaseState.SUCCEEDED, gone.message)
    assert "result_key" not in move.changes


@pytest.mark.parametrize("labels", [0.0, PRICES["assemblyai/universal"].speaker_labels_micros])
def test_the_cost_is_at_the_rate_of_the_model_that_was_used(labels: float) -> None:
    planned = PRICES["assemblyai/universal"]
    used = planned.model_copy(update={"micros": 2 * planned.micros, "source": "other"})
    retention = Retention(prices=PRICES | {"assemblyai/nano": used})
    bought = purchase(provider="assemblyai", model="assemblyai/universal", unit_micros=planned.micros + labels,
                      unit=planned.unit, billing=True)  # fmt: skip
    view = RequestView(state=RequestState.SUCCEEDED, result=AnswerFile.of({}), model_used="nano", billable_units=3600)
    _, move = after_poll(KEY, bought, view, NOW, retention)
    assert move is not None
    assert move.changes["unit_micros"] == used.micros + labels
    unclear = bought.model_copy(update={"unit_micros": 1.5})
    _, move = after_poll(KEY, unclear, view, NOW, retention)
    assert move is not None
    assert (move.changes["unit_micros"], move.changes["actual_micros"]) == (None, None), "unknown, never a guess"


def test_stored_input_finds_the_request_without_a_signature() -> None:
    arguments: dict[str, Any] = {
        "prompt": "is it a path? http://x/y?z",
        "seed": 7,
        "loras": [
            {"path": StoredObject(key="loras/u/j/v1/model.safetensors"), "scale": 1.0},
            {"path": "https://files.example/a%20b/c.safetensors?token=secret", "scale": 0.5},
        ],
    }
    text = arguments_json(arguments)
    assert "secret" not in text
    read = arguments_of(text)
    assert read["prompt"] == arguments["prompt"]
    assert [lora["path"] for lora in read["loras"]] == [
        StoredObject(key="loras/u/j/v1/model.safetensors"), StoredObject(key="a b/c.safetensors"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match="not an object"):
        arguments_of("[]")


def test_a_key_is_read_from_the_ledger() -> None:
    assert (KEY.namespace, KEY.kind, KEY.name, str(KEY)) == ("ns", IMAGES, "it", "ns/ImageGeneration/it/hash/-/1")
    for wrong in ("", "ns/ImageGeneration/it", "ns/Secret/it/hash/-/1"):
        with pytest.raises(ValueError):  # noqa: PT011 - Kind says it in its own words
            StoredKey.parse(wrong)


# The operator


async def submitted(world: World, kind: Kind, **spec: Any) -> None:
    """The resource, up to the moment when the provider has the request."""
    world.kube.apply(kind, SPECS[kind] | spec)
    for _ in range(40):
        if states(world) == ["submitted"]:
            return
        await world.reconcile(kind)
    raise AssertionError(states(world))


def states(world: World) -> list[str]:
    return sorted(purchase["state"] for purchase in world.database["ledger"].find())


def the_purchase(world: World) -> dict[str, Any]:
    (found,) = world.database["ledger"].find()
    return dict(found)


def vanish(world: World, kind: Kind) -> None:
    """Delete the resource at once, as after a finalizer was removed by hand or with its namespace."""
    del world.kube.resources[kind, "it"]
    world.kube.jobs.clear()


async def orphaned(world: World, kind: Kind) -> None:
    await submitted(world, kind)
    vanish(world, kind)


async def rounds(world: World, count: int, every: timedelta = timedelta(minutes=10)) -> None:
    for _ in range(count):
        world.now += every
        await world.orphans[-1].round(world.now)


def responses(world: World) -> list[str]:
    return [key for key in world.storage.files if key.startswith("purchases/")]


@pytest.mark.parametrize("kind", Kind)
async def test_result_is_stored_and_adopted_when_applied_again(kind: Kind, world: World) -> None:
    await orphaned(world, kind)
    await rounds(world, 4)
    kept = the_purchase(world)
    assert (kept["state"], kept["orphanedAt"] is not None) == ("succeeded", True)
    assert responses(world) == [kept["resultKey"]] == [f"purchases/{kept['purchaseId']}/response.json"]
    assert kept["costSource"] is not None
    world.kube.apply(kind, SPECS[kind], uid=LATER_UID)
    status = await world.finish(kind)
    assert (status.phase, len(world.provider.posts)) == (Phase.COMPLETED, 1)
    kept = the_purchase(world)
    assert (kept["state"], kept["jobId"], kept["orphanedAt"]) == ("collected", LATER_UID, None)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("noted", [False, True], ids=["before it is noted", "while it is kept"])
async def test_a_lost_response_is_stored_again(kind: Kind, noted: bool, world: World) -> None:
    await submitted(world, kind)
    if noted:
        vanish(world, kind)
        await rounds(world, 4)
    else:
        while states(world) != ["succeeded"]:
            await world.reconcile(kind)
        vanish(world, kind)
    (response,) = responses(world)
    lost = world.storage.objects.pop(response)
    await rounds(world, 2, DAY)
    assert world.storage.objects.get(response) == lost
    assert len(world.provider.posts) == 1


@pytest.mark.parametrize("kind", Kind)
async def test_orphan_is_discarded_after_retention_and_not_rebought(kind: Kind, world: World) -> None:
    await orphaned(world, kind)
    await rounds(world, 4)
    await rounds(world, 29, DAY)
    assert (states(world), len(responses(world))) == (["succeeded"], 1)
    await rounds(world, 2, DAY)
    kept = the_purchase(world)
    assert (kept["state"], kept["orphanedAt"], kept["resultKey"]) == ("discarded", None, None)
    assert responses(world) == []
    world.kube.apply(kind, SPECS[kind], uid=LATER_UID)
    status = await world.finish(kind)
    assert (status.reason, len(world.provider.posts)) == (Reason.OUTPUTS_DELETED, 1)
    assert "kept until 2026-12-2" in (status.message or "")


@pytest.mark.parametrize("kind", Kind)
async def test_a_lost_reply_is_found_without_its_resource(kind: Kind, world: World) -> None:
    world.provider.lose_replies = {1}
    world.kube.apply(kind, SPECS[kind])
    for _ in range(40):
        await world.reconcile(kind)
        if world.provider.posts:
            break
    assert the_purchase(world)["sendState"] == "sending"
    vanish(world, kind)
    await rounds(world, 10)
    kept = the_purchase(world)
    assert (kept["state"], kept["requestId"], kept["sentInput"]) == ("succeeded", "request-1", None)
    assert world.database["request_bindings"].find_one({"_id": f"{kept['provider']}/request-1"}) is not None
    world.kube.apply(kind, SPECS[kind], uid=LATER_UID)
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


async def test_result_of_a_deletion_with_files_is_discarded(world: World) -> None:
    world.provider.cancels = False
    await submitted(world, IMAGES, deletionPolicy="Delete")
    await world.until_gone(IMAGES)
    assert the_purchase(world)["discardAsked"] is True
    await rounds(world, 6)
    assert (states(world), responses(world)) == (["discarded"], [])
    assert the_purchase(world)["costSource"] is not None, "it was paid"


async def test_deletion_with_files_cancels_once_the_provider_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for policy, asked in (("Delete", ["request-1"]), ("Retain", [])):
        world = World(monkeypatch, Writes())
        await submitted(world, IMAGES, deletionPolicy=policy)
        world.provider._polls = {"request-1": 0}
        cancel = world.provider.cancel
        monkeypatch.setattr(world.provider, "cancel", away)
        await world.until_gone(IMAGES, reconciles=60)
        monkeypatch.setattr(world.provider, "cancel", cancel)
        await rounds(world, 2)
        assert world.provider.cancelled == asked


async def away(*_: Any) -> Any:
    raise Unavailable("away")


async def test_existing_resource_is_no_orphan_despite_the_cache(world: World) -> None:
    await submitted(world, IMAGES)
    for cache in world.caches:
        cache._resources.clear()
    await rounds(world, 40, DAY)
    kept = the_purchase(world)
    assert (kept["state"], kept["orphanedAt"]) == ("submitted", None)


async def test_returning_resource_ends_the_orphan(world: World) -> None:
    """An API server that was restored from a backup: the time of the retention begins anew when it goes again."""
    await submitted(world, IMAGES)
    body = world.kube.resources[IMAGES, "it"]
    vanish(world, IMAGES)
    await rounds(world, 1)
    assert the_purchase(world)["orphanedAt"] is not None
    world.kube.resources[IMAGES, "it"] = body
    await rounds(world, 1, timedelta(hours=2))
    assert the_purchase(world)["orphanedAt"] is None


async def test_an_api_server_that_does_not_know_the_kind_tells_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await orphaned(world, IMAGES)

    async def unknown(*_: Any) -> Any:
        raise ApiException(status=404, reason="page not found")
        yield

    monkeypatch.setattr(world.kube, "every", unknown)
    for _ in range(4):
        with contextlib.suppress(ApiException):
            await rounds(world, 1)
    assert the_purchase(world)["orphanedAt"] is None


async def test_only_the_watched_namespace_is_looked_at(world: World) -> None:
    await orphaned(world, IMAGES)
    world.orphans[-1].selection = Selection(namespaces=Namespaces(("n",)))
    await rounds(world, 3)
    assert the_purchase(world)["orphanedAt"] is None
    world.orphans[-1].selection = Selection(namespaces=Namespaces(("other", "ns")))
    await rounds(world, 3)
    assert states(world) == ["succeeded"]


async def test_late_result_is_kept_for_the_next_application(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run is Failed, and the provider did not cancel. The status does not name the open request, so the reconciler
    does not ask for it any more.
    """
    world.provider.cancels = False
    await submitted(world, IMAGES, deadlineSeconds=60)
    poll = world.provider.poll
    monkeypatch.setattr(world.provider, "poll", still_running)
    assert (await world.finish(IMAGES)).reason == Reason.DEADLINE_EXCEEDED
    del world.kube.resources[IMAGES, "it"]["status"]["run"]["requestOpen"]
    monkeypatch.setattr(world.provider, "poll", poll)
    await rounds(world, 3)
    kept = the_purchase(world)
    assert (kept["state"], kept["orphanedAt"], len(responses(world))) == ("succeeded", None, 1)
    await rounds(world, 40, DAY)
    assert states(world) == ["succeeded"], "it has a resource"


async def test_of_an_earlier_run_no_request_of_the_next_one_is_taken(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both replies were lost, the first request never arrived, and the inputs are the same."""
    world.decision_settings = DecisionSettings(poll_seconds=10, adoption_seconds=60)
    world.restart()
    world.provider.lose_replies = {1, 2}
    arrived = world.provider._matches
    monkeypatch.setattr(world.provider, "_matches", lambda number, *given: number > 0 and arrived(number, *given))
    spec = SPECS[IMAGES] | {"image": {"seed": 7}}
    world.kube.apply(IMAGES, spec)
    while len(world.provider.posts) < 1:
        await world.reconcile(IMAGES)
    world.kube.apply(IMAGES, spec, **{CANCEL_ANNOTATION: "1"})
    assert (await world.finish(IMAGES)).reason == Reason.CANCELLED
    world.kube.apply(IMAGES, spec, **{CANCEL_ANNOTATION: "1", RERUN_ANNOTATION: "x"})
    while len(world.provider.posts) < 2:
        await world.reconcile(IMAGES)
    await rounds(world, 6)
    assert list(world.database["request_bindings"].find()) == []
    status = await world.finish(IMAGES)
    assert (status.phase, len(world.provider.posts)) == (Phase.COMPLETED, 2)


async def still_running(*_: Any) -> RequestView:
    return RequestView(state=RequestState.RUNNING, message="running")


Interference = Callable[[World], None]


def adopted(world: World) -> None:
    world.database["ledger"].update_many({}, {"$set": {"jobId": LATER_UID, "orphanedAt": None}})


def finished(world: World) -> None:
    world.database["ledger"].update_many({}, {"$set": {"state": "succeeded", "resultKey": "theirs"}})


@pytest.mark.parametrize("interference", [adopted, finished])
async def test_first_claimant_gets_the_orphan(
    interference: Interference, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A resource that is applied again adopts it, or finishes it, while the provider answers the orphans' question."""
    await orphaned(world, IMAGES)
    await rounds(world, 2)
    poll = world.provider.poll

    async def late(model: str, request_id: str) -> RequestView:
        interference(world)
        return await poll(model, request_id)

    monkeypatch.setattr(world.provider, "poll", late)
    before = the_purchase(world)
    await rounds(world, 1)
    kept = the_purchase(world)
    assert kept["resultKey"] == ("theirs" if interference is finished else None)
    assert (before["state"], kept["finishedAt"]) == ("submitted", None)


async def test_adoption_during_the_expiry_keeps_the_response(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await orphaned(world, IMAGES)
    await rounds(world, 4)
    await rounds(world, 28, DAY)
    get = world.kube.get_resource

    async def seen(*given: Any) -> Any:
        adopted(world)
        return await get(*given)

    monkeypatch.setattr(world.kube, "get_resource", seen)
    await rounds(world, 1, 3 * DAY)
    assert (states(world), len(responses(world))) == (["succeeded"], 1)


async def test_orphan_does_not_expire_while_an_equal_resource_waits(world: World) -> None:
    """Suspended, it takes the result only when it is let go on."""
    await orphaned(world, IMAGES)
    await rounds(world, 4)
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"suspend": True}, uid=LATER_UID)
    await rounds(world, 40, DAY)
    assert states(world) == ["succeeded"]
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"prompt": "a dog", "suspend": True}, uid=LATER_UID)
    await rounds(world, 32, DAY)
    assert states(world) == ["discarded"], "who asks for something else holds nothing up"


async def test_round_has_bounded_calls_and_the_next_one_continues(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await orphaned(world, IMAGES)
    one = the_purchase(world)
    for number in range(2, 60):
        name = one["_id"].replace("/it/", f"/it{number:02}/")
        other = {"_id": name, "requestId": f"request-{number}", "purchaseId": f"purchase-{number}"}
        world.database["ledger"].insert_one(one | other)
    polls: list[str] = []
    poll = world.provider.poll

    async def noted(model: str, request_id: str) -> RequestView:
        polls.append(request_id)
        return await poll(model, request_id)

    monkeypatch.setattr(world.provider, "poll", noted)
    counts = []
    await rounds(world, 1)
    for _ in range(3):
        before = len(polls)
        await rounds(world, 1, timedelta(seconds=1))
        counts.append(len(polls) - before)
    assert counts == [20, 20, 19]
    assert len(set(polls)) == 59


async def test_absent_provider_is_asked_once_for_lost_responses(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await orphaned(world, IMAGES)
    await rounds(world, 4)
    one = the_purchase(world)
    for number in range(2, 6):
        name = one["_id"].replace("/it/", f"/it{number}/")
        other = {"_id": name, "requestId": f"request-{number}", "purchaseId": f"purchase-{number}"}
        world.database["ledger"].insert_one(one | other)
    polls: list[str] = []

    async def away(model: str, request_id: str) -> RequestView:
        polls.append(request_id)
        raise Unavailable("away")

    monkeypatch.setattr(world.provider, "poll", away)
    await rounds(world, 1, DAY)
    assert len(polls) == 1
    seen = {purchase["orphanSeenAt"] for purchase in world.database["ledger"].find()}
    assert len(seen) == 1, "the retention of all goes on"


async def test_unreadable_purchase_and_failing_store_delay_no_other(world: World) -> None:
    await orphaned(world, IMAGES)
    one = the_purchase(world)
    world.database["ledger"].insert_one(one | {"_id": "a", "purchaseId": "a"})
    world.database["ledger"].insert_one(one | {"_id": "a/ImageGeneration/b/c/-/1", "provider": 7})
    world.database["ledger"].insert_one(one | {"_id": "a/ImageGeneration/it/c/-/1", "provider": "gone"})
    await rounds(world, 4)
    assert world.database["ledger"].find_one({"_id": one["_id"]})["state"] == "succeeded"


async def test_crashes_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash before or after any write of the rounds; the next process goes on, and the resource is Completed."""
    points = 0
    while True:
        world = World(monkeypatch, Writes())
        await submitted(world, IMAGES)
        vanish(world, IMAGES)
        before = 2 * len(world.writes.done)
        world.writes._points = (before + points,)
        with contextlib.suppress(Crash):
            await rounds(world, 4)
        world.writes._points = ()
        world.restart()
        await rounds(world, 4)
        assert (states(world), len(responses(world))) == (["succeeded"], 1)
        if not world.writes.fired:
            break
        points += 1
    assert points >= 6
