"""Budgets under many runs at once, observed from outside the operator at each write.

200 runs for 50; a frozen leader and three budgets on one run with 16 for 4, or with 200 for 50 too if
CONTENTGEN_ACCEPTANCE=all (`make acceptance`).
"""

import asyncio
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from contentgen_contract.resources.content_budget import dollars_of
from contentgen_operator.budgets.store import BudgetStore
from contentgen_operator.budgets.values import WindowUsage
from contentgen_operator.leader.leadership import Leadership
from contentgen_simulation.budget_world import ONE, BudgetWorld, budget_of

pytestmark = pytest.mark.usefixtures("no_waiting")

ALL = os.environ.get("CONTENTGEN_ACCEPTANCE") == "all"
COUNT, PAID = (200, 50) if ALL else (16, 4)
TOMORROW = datetime(2026, 11, 22, tzinfo=UTC)
UNTIL = "it waits until 2026-11-22 00:00 UTC"


def limit_for(runs: int) -> str:
    return dollars_of(runs * ONE)


async def test_of_200_images_at_once_a_budget_for_50_pays_50(monkeypatch: pytest.MonkeyPatch) -> None:
    world = BudgetWorld(monkeypatch, budget_of(limits={"day": "3.50"}), count=200)
    await world.rounds(3)
    await world.summed()
    assert len(world.provider.posts) == 50
    assert world.charged == 50 * ONE == 3_500_000
    assert [UNTIL in message for message in world.waiting()] == [True] * 150
    assert all("has $0.00 of $3.50 left today" in message for message in world.waiting())
    world.now = TOMORROW  # the window resets
    await world.rounds(3)
    await world.summed()
    assert len(world.provider.posts) == 100
    assert len(world.waiting()) == 100
    assert world.observed > 400, "it was observed at each write"


def planned(world: BudgetWorld) -> list[str]:
    return [purchase["_id"] for purchase in world.database["ledger"].find({"state": "intent", "sendState": "planned"})]


# After the write with this number the leader is frozen: in the middle of the reservations, or of the payments.
FREEZES = {
    "reserved, not planned": ("claim of budgets", PAID // 2),
    "planned, not named in the status": ("intend", PAID // 2),
    "renewed, not sent": ("claim of budgets", PAID + PAID // 2),
    "about to send": ("sending", PAID // 2),
    "sent, no reply": ("POST", PAID // 2),
    "sent, not ended": ("move to submitted", PAID // 2),
}


@pytest.mark.parametrize("point", FREEZES)
async def test_leader_frozen_during_a_claim_exceeds_no_budget(monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """The next leader runs everything to its end and sums up; then the former one goes on."""
    world = BudgetWorld(monkeypatch, budget_of(limits={"day": limit_for(PAID)}), count=COUNT)
    posts: list[int] = []

    async def takeover() -> None:
        posts.append(len(world.provider.posts))
        world.leadership.revoke("the Lease is over")
        world.leadership = Leadership.always()
        world.restart()
        await world.rounds(6)
        await world.summed()
        assert len(world.provider.posts) <= PAID

    world.observed_writes.freeze = (*FREEZES[point], takeover)
    await world.rounds(1)  # in it the leader is frozen, or in the next
    await world.rounds(6)
    await world.summed()
    assert len(posts) == 1, "it was frozen once"
    assert len(world.provider.posts) == PAID
    assert world.charged == PAID * ONE
    assert len(world.waiting()) == COUNT - PAID
    assert [UNTIL in message for message in world.waiting()] == [True] * (COUNT - PAID)
    assert planned(world) == []
    world.now = TOMORROW
    await world.rounds(3)
    assert len(world.provider.posts) == 2 * PAID


def stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run's first observation of the usage shows empty windows: the claims alone have to refuse."""
    usage: Callable[..., Any] = BudgetStore.usage
    seen = set[str]()

    async def first_empty(self: BudgetStore, ids: Any, purchase: str) -> dict[str, WindowUsage]:
        if purchase in seen:
            return dict(await usage(self, ids, purchase))
        seen.add(purchase)
        return {}

    monkeypatch.setattr(BudgetStore, "usage", first_empty)


@pytest.mark.parametrize("smallest", [0, 1, 2])
async def test_refusal_of_one_budget_releases_the_others(monkeypatch: pytest.MonkeyPatch, smallest: int) -> None:
    room = [PAID + 5 * number for number in (1, 2, 3)]
    room[smallest] = PAID
    budgets = [budget_of(name, limits={"day": limit_for(each)}) for name, each in zip("abc", room, strict=True)]
    world = BudgetWorld(monkeypatch, *budgets, count=COUNT)
    released: list[str] = []
    release: Callable[..., bool] = BudgetStore._release

    def noted(self: BudgetStore, one: Any) -> bool:
        released.append(one.window[:8])
        return release(self, one)

    monkeypatch.setattr(BudgetStore, "_release", noted)
    stale(monkeypatch)
    await world.rounds(4)
    await world.summed()
    assert len(world.provider.posts) == PAID
    assert world.charged == PAID * ONE
    assert {window["held"] for window in world.windows().values()} == {PAID * ONE}
    earlier = [f"uid-of-{name}" for name in "abc"[:smallest]]
    assert sorted(set(released)) == earlier, "those that had been claimed, and only those"
    assert len(released) == len(earlier) * (COUNT - PAID)
    assert all(f"ContentBudget {'abc'[smallest]} has" in message for message in world.waiting())
    assert [UNTIL in message for message in world.waiting()] == [True] * (COUNT - PAID)
    world.now = TOMORROW
    await world.rounds(3)
    assert len(world.provider.posts) == 2 * PAID


async def test_leader_frozen_between_claims_of_three_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The former leader has claimed in the first budget; the second one refuses it after the takeover."""
    budgets = [budget_of(name, limits={"day": limit_for(PAID + (name != "b"))}) for name in "abc"]
    world = BudgetWorld(monkeypatch, *budgets, count=COUNT)
    claim: Callable[..., Any] = BudgetStore._claim
    calls: list[str] = []
    before: list[int] = []

    def frozen(self: BudgetStore, purchase: str, each: Any, token: str, now: datetime) -> bool | None:
        calls.append(each.ref.budget)
        if calls.count("a") == PAID // 2 and calls[-1] == "b":
            monkeypatch.setattr(BudgetStore, "_claim", claim)
            before.append(len(world.provider.posts))
            next_leader()
            assert len(world.provider.posts) == PAID
            world.check_books()
        return bool(found) if (found := claim(self, purchase, each, token, now)) is not None else None

    def next_leader() -> None:
        world.leadership.revoke("the Lease is over")
        world.leadership = Leadership.always()
        world.restart()
        run_to_end(world)

    monkeypatch.setattr(BudgetStore, "_claim", frozen)
    await world.rounds(6)
    await world.summed()
    assert len(before) == 1, "the next leader ran once"
    assert before[0] < PAID, "it had something to pay"
    assert len(world.provider.posts) == PAID
    assert world.charged == PAID * ONE
    assert {window["held"] for window in world.windows().values()} == {PAID * ONE}
    assert all(f"ContentBudget b has $0.00 of ${limit_for(PAID)} left today" in each for each in world.waiting())
    assert [UNTIL in message for message in world.waiting()] == [True] * (COUNT - PAID)
    world.now = TOMORROW
    await world.rounds(3)
    await world.summed()
    assert len(world.provider.posts) == 2 * PAID


def run_to_end(world: BudgetWorld) -> None:
    """Rounds of another process, from within a call of this one: on an event loop of its own thread."""

    async def work() -> None:
        await world.rounds(6)
        await world.summed()

    thread = threading.Thread(target=lambda: asyncio.run(work()))
    thread.start()
    thread.join()
