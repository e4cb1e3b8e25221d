"""Deletion of a resource while the reply to its paid request is lost: one search, then the finalizer is removed."""

from typing import Any

import pytest

from contentgen_contract.names import Kind, Phase
from contentgen_operator.providers.base import Unavailable
from contentgen_operator.state.provider_requests import Found, RequestState, RequestView, Search
from contentgen_simulation.world import SPECS, UID, World, Writes


async def nothing_found(_: Search) -> Found:
    return Found(request_id=None, complete=True)


async def running(model: str, request_id: str) -> RequestView:
    return RequestView(state=RequestState.RUNNING, message="running")


async def away(_: Any) -> Any:
    raise Unavailable("503")


async def lost(monkeypatch: pytest.MonkeyPatch, kind: Kind, **spec: Any) -> World:
    world = World(monkeypatch, Writes())
    world.provider.lose_replies = {1}
    world.provider._looks = 3
    world.kube.apply(kind, SPECS[kind] | spec)
    for _ in range(20):
        await world.reconcile(kind)
        if world.provider.posts:
            return world
    raise AssertionError("nothing is sent")


def purchase(world: World) -> dict[str, Any]:
    (only,) = world.database["ledger"].find()
    return dict(only)


WARNING = ("Warning", "SubmissionUnknown")


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
@pytest.mark.parametrize("kind", Kind)
async def test_found_request_is_cancelled_before_the_deletion_ends(
    kind: Kind, policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await lost(monkeypatch, kind, deletionPolicy=policy)
    world.provider.poll = running  # type: ignore[method-assign]
    await world.until_gone(kind)
    assert world.provider.cancelled == ["request-1"]
    assert (purchase(world)["state"], purchase(world)["requestId"]) == ("cancelled", "request-1")
    assert WARNING not in world.kube.events


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_request_not_found_stays_in_the_ledger_with_a_message(
    policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await lost(monkeypatch, Kind.IMAGE_GENERATION, deletionPolicy=policy)
    find = world.provider.find
    monkeypatch.setattr(world.provider, "find", nothing_found)
    before = world.now
    await world.until_gone(Kind.IMAGE_GENERATION)
    assert (world.now - before).total_seconds() < 10, "one search"
    assert world.kube.events.count(WARNING) == 1
    assert (purchase(world)["state"], purchase(world)["sendState"]) == ("intent", "sending")
    monkeypatch.setattr(world.provider, "find", find)
    world.kube.apply(Kind.IMAGE_GENERATION, SPECS[Kind.IMAGE_GENERATION], uid="second")
    assert (await world.finish(Kind.IMAGE_GENERATION)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


async def test_unreadable_history_delays_a_deletion_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await lost(monkeypatch, Kind.TRANSCRIPTION)
    monkeypatch.setattr(world.provider, "find", away)
    before = world.now
    await world.until_gone(Kind.TRANSCRIPTION)
    waited = (world.now - before).total_seconds()
    assert world.decision_settings.deletion_seconds <= waited < 2 * world.decision_settings.deletion_seconds
    assert world.kube.events.count(WARNING) == 1


async def test_a_history_that_is_readable_again_in_time_is_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    world = await lost(monkeypatch, Kind.TRANSCRIPTION)
    world.provider.poll = running  # type: ignore[method-assign]
    find = world.provider.find
    monkeypatch.setattr(world.provider, "find", away)
    world.kube.delete(Kind.TRANSCRIPTION, world.now)
    for _ in range(2):
        await world.reconcile(Kind.TRANSCRIPTION)
    monkeypatch.setattr(world.provider, "find", find)
    for _ in range(5):
        await world.reconcile(Kind.TRANSCRIPTION)
    assert (world.there(Kind.TRANSCRIPTION), world.provider.cancelled) == (False, ["request-1"])


async def test_history_is_read_once_for_all_slices_of_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = await lost(monkeypatch, Kind.IMAGE_GENERATION, deletionPolicy="Delete")
    asked = list[Search]()

    async def noted(search: Search) -> Found:
        asked.append(search)
        return await nothing_found(search)

    monkeypatch.setattr(world.provider, "find", noted)
    world.storage.objects |= {f"runs/{UID}/{number}": 1 for number in range(5000)}
    await world.until_gone(Kind.IMAGE_GENERATION)
    assert len(asked) == 1
