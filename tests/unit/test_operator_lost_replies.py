"""Requests whose reply was lost: how long and how often they are looked for, and what becomes of them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from contentgen_contract.names import Kind, Phase, Reason
from contentgen_operator.observed import ResourceRef
from contentgen_operator.providers.base import Found, Search
from contentgen_runtime.kube import Conflict
from contentgen_simulation.world import SPECS, UID, World, Writes

LORA, IMAGES, TRANSCRIPT = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION


async def nothing_found(_: Search) -> Found:
    return Found(request_id=None, complete=True)


def purchases(world: World) -> list[dict[str, Any]]:
    return list(world.database["ledger"].find().sort("_id", 1))


def searched(world: World) -> list[datetime]:
    """The times at which the provider's history is asked from now on."""
    asked, find = list[datetime](), world.provider.find

    async def noted(search: Search) -> Found:
        asked.append(world.now)
        return await find(search)

    world.provider.find = noted  # type: ignore[method-assign]
    return asked


async def follow(world: World, kind: Kind, over: Callable[[], bool], name: str = "it") -> bool:
    """Reconcile whenever the operator asks for it; whether `over` came true before nothing asked any more."""
    ref = ResourceRef(kind=kind, namespace="ns", name=name, uid=UID)
    for _ in range(5000):
        if over():
            return True
        again: float | None = 0.0
        try:
            if world.watch(ref):
                again = await world.process._once(ref)
        except Conflict:
            world.process._cache.drop(ref)
        if again is None and not any("status" not in job for job in world.kube.jobs.values()):
            return over()
        world.now += timedelta(seconds=max(again or 0, 1))
        world.work()
    raise AssertionError(f"looked at 5000 times: {world.status(kind, name)}")


async def lost(world: World, kind: Kind, **spec: Any) -> datetime:
    """A POST whose reply is lost; when it was sent."""
    world.provider.lose_replies = {1}
    world.kube.apply(kind, SPECS[kind] | spec)
    assert await follow(world, kind, lambda: bool(world.provider.posts))
    return world.provider.sent_at[0]


def shown_after(world: World, at: datetime) -> None:
    """The history shows requests from this time on."""
    find = world.provider.find

    async def late(search: Search) -> Found:
        return await (find(search) if world.now >= at else nothing_found(search))

    world.provider.find = late  # type: ignore[method-assign]


# How long, how often


@pytest.mark.parametrize("hours", [1, 3, 30, 24 * 20])
@pytest.mark.parametrize("kind", Kind)
async def test_a_request_that_its_history_shows_after_hours_or_days_is_found(
    kind: Kind, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(monkeypatch, Writes())
    sent = await lost(world, kind)
    shown_after(world, sent + timedelta(hours=hours))
    assert await follow(world, kind, lambda: world.status(kind).phase is Phase.COMPLETED)
    assert len(world.provider.posts) == 1


async def test_the_history_is_asked_ever_less_often_and_never_given_up_silently(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, Writes())
    world.policy = world.policy.model_copy(update={"poll_seconds": 5})
    world.restart()
    sent = await lost(world, IMAGES)
    monkeypatch.setattr(world.provider, "find", nothing_found)
    asked = searched(world)
    assert not await follow(world, IMAGES, lambda: False), "it ends where the provider keeps nothing older"
    pauses = [later - at for at, later in zip(asked, asked[1:], strict=False)]
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
    await world.step(IMAGES)
    assert len(asked) == looks + 1, "once more at each start"


async def test_the_message_says_until_when_it_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Writes())
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
async def test_a_deadline_does_not_end_a_run_that_may_be_paid(seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Money 12: it was asked every second from then on."""
    world = World(monkeypatch, Writes())
    world.policy = world.policy.model_copy(update={"poll_seconds": 5})
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
