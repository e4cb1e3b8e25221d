"""Adopt annotation, which names the request of a lost reply: it is verified and bound, and nothing is paid."""

from datetime import timedelta
from typing import Any

import pytest

from contentgen_contract.names import ADOPT_ANNOTATION, Kind, Phase
from contentgen_operator.state.provider_requests import Found, Search
from contentgen_simulation.world import SPECS, World, Writes, resubmit_token

IMAGES = Kind.IMAGE_GENERATION


async def nothing_found(_: Search) -> Found:
    return Found(request_id=None, complete=True)


def purchases(world: World) -> list[dict[str, Any]]:
    return list(world.database["ledger"].find().sort("_id", 1))


async def unknown(monkeypatch: pytest.MonkeyPatch, kind: Kind) -> World:
    world = World(monkeypatch, Writes())
    world.provider.lose_replies = {1}
    monkeypatch.setattr(world.provider, "find", nothing_found)
    world.kube.apply(kind, SPECS[kind])
    await world.finish(kind, Phase.SUBMISSION_UNKNOWN)
    return world


def name(world: World, kind: Kind, request_id: str) -> None:
    world.kube.apply(kind, world.kube.resources[kind, "it"]["spec"], **{ADOPT_ANNOTATION: request_id})


@pytest.mark.parametrize("kind", Kind)
async def test_a_request_that_a_person_names_is_adopted(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    world = await unknown(monkeypatch, kind)
    name(world, kind, "request-1")
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert (len(world.provider.posts), purchases(world)[0]["requestId"]) == (1, "request-1")
    assert [binding["_id"].partition("/")[2] for binding in world.database["request_bindings"].find()] == ["request-1"]
    await world.recover(kind)


async def test_request_may_be_named_during_its_search(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.provider.lose_replies = {1}
    monkeypatch.setattr(world.provider, "find", nothing_found)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    while world.status(IMAGES).reason != "LookingForRequest":
        await world.reconcile(IMAGES)
    name(world, IMAGES, "request-1")
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED


@pytest.mark.parametrize("hours", [-24, 24])
async def test_request_is_adopted_despite_a_clock_off_by_a_day(hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search does not find it then, as the time of the POST in the ledger is wrong."""
    world = await unknown(monkeypatch, IMAGES)
    world.provider.sent_at[0] += timedelta(hours=hours)
    name(world, IMAGES, "request-1")
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


@pytest.mark.parametrize("lost", ["all of it", "back to planned"])
@pytest.mark.parametrize("kind", Kind)
async def test_a_purchase_that_the_ledger_has_lost_is_restored(
    kind: Kind, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await unknown(monkeypatch, kind)
    if lost == "all of it":
        world.database["ledger"].delete_many({})
    else:
        back = {"sendState": "planned", "sentBy": None, "sentAt": None}
        world.database["ledger"].update_one({}, {"$set": back})
    for _ in range(3):
        await world.reconcile(kind)
    message = world.status(kind).message or ""
    assert "the ledger in MongoDB has lost it" in message
    assert f"{ADOPT_ANNOTATION}=<request id>" in message
    name(world, kind, "request-7")
    for _ in range(3):
        await world.reconcile(kind)
    assert "is not adopted: it is not in the history" in (world.status(kind).message or "")
    name(world, kind, "request-1")
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert (len(world.provider.posts), purchases(world)[0]["requestId"]) == (1, "request-1")
    await world.recover(kind)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("request-2", "another input, or another time"),
        ("../../v1/models", "it is not a request id"),
        ("request-1?x=1", "it is not a request id"),
        ("r" * 129, "it is not a request id"),
        ("", "it is not a request id"),
        ("x contentgen.dev/resubmit=0badcafe", "it is not a request id"),
        ("request-9", "it is not in the history"),
    ],
)
async def test_mismatch_is_reported_and_nothing_is_adopted(
    given: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await unknown(monkeypatch, IMAGES)
    other = SPECS[IMAGES] | {"prompt": "a dog"}
    world.kube.apply(IMAGES, other, uid="other-uid", name="other")
    for _ in range(3):
        await world.reconcile(IMAGES, "other")
    world.database["request_bindings"].delete_many({})
    asked = list[str]()
    verify = world.provider.verify

    async def noted(search: Search, request_id: str) -> Any:
        asked.append(request_id)
        return await verify(search, request_id)

    monkeypatch.setattr(world.provider, "verify", noted)
    token = resubmit_token(world.status(IMAGES))
    name(world, IMAGES, given)
    for _ in range(3):
        await world.reconcile(IMAGES)
    status = world.status(IMAGES)
    assert status.phase is Phase.SUBMISSION_UNKNOWN
    assert f"is not adopted: {told}" in (status.message or "")
    assert resubmit_token(status) == token
    assert (status.message or "").count("contentgen.dev/resubmit=") == 1
    assert purchases(world)[0].get("requestId") is None
    assert len(world.provider.posts) == 2
    assert asked == [] or "no id" not in told, "what is no id gets into no path"


async def test_the_request_of_another_purchase_is_not_adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await unknown(monkeypatch, IMAGES)
    world.database["request_bindings"].insert_one(
        {"_id": "fal/request-1", "purchaseId": "another", "correlationKey": "x"}
    )
    name(world, IMAGES, "request-1")
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert "is not adopted: it belongs to another purchase" in (world.status(IMAGES).message or "")
    assert purchases(world)[0].get("requestId") is None


async def test_a_name_that_stays_does_not_stop_the_search(world: World) -> None:
    world.provider.lose_replies = {1}
    world.kube.apply(IMAGES, SPECS[IMAGES], **{ADOPT_ANNOTATION: "request-9"})
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED


async def test_a_name_that_stays_skips_no_check_before_a_payment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES], **{ADOPT_ANNOTATION: "request-9"})
    while not purchases(world):
        await world.reconcile(IMAGES)
    monkeypatch.setattr(world.provider, "configured", False)
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert (world.provider.posts, world.status(IMAGES).reason) == ([], "ProviderNotConfigured")
