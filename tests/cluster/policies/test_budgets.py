"""Budgets on the real cluster, by the sandbox's bills and an observer of MongoDB: 40 pictures at once for 10, and three
budgets on each of 8. With CONTENTGEN_ACCEPTANCE=all (`make acceptance`): 200 for 50, and three budgets on each of 200.
"""

import os
from collections.abc import Iterator

import pytest

from contentgen_e2e.policies.budgets import (
    KIND,
    ONE,
    ClusterBudgets,
    apply_at_once,
    ended_or_held,
    room,
    wait_for_completed,
    watched_budgets,
)
from contentgen_e2e.world import ClusterWorld

ALL = os.environ.get("CONTENTGEN_ACCEPTANCE") == "all"
COUNT, PAID, MORE = (200, 50, 10) if ALL else (40, 10, 30)
THREE, PAID_OF_THREE = (200, 50) if ALL else (8, 3)
SECONDS = 1800 if ALL else 240


@pytest.fixture
def budgets(world: ClusterWorld) -> Iterator[ClusterBudgets]:
    with watched_budgets(world) as opened:
        yield opened


def test_a_budget_pays_as_many_as_it_has_room_for_and_more_once_it_is_raised(
    world: ClusterWorld, budgets: ClusterBudgets
) -> None:
    before = len(world.billed())
    budget = budgets.add("budget", PAID)
    names = apply_at_once(world, "budgeted", COUNT)
    seen = ended_or_held(world, names, SECONDS)
    waiting = [each for each in seen if each["reason"] == "BudgetExceeded"]
    assert len(waiting) == COUNT - PAID
    assert all(f"ContentBudget {budget} has $" in each["message"] for each in waiting)
    assert all(f"of ${room(PAID)} left in total" in each["message"] for each in waiting)
    assert len(world.billed()) - before == PAID
    (window,) = budgets.windows()
    assert window["held"] == PAID * ONE, "the charges are as large as the bounds"
    budgets.change(budget, PAID + MORE)
    wait_for_completed(world, names, PAID + MORE, SECONDS)
    assert len(world.billed()) - before == PAID + MORE
    # Those that still wait would take the room of the next test's budgets.
    world.kubectl("delete", KIND.lower(), *names, "--timeout=600s")


def test_three_budgets_on_each_run(world: ClusterWorld, budgets: ClusterBudgets) -> None:
    """The second one is the smallest; the others hold as much as it does, and nothing for runs that it refuses.

    A run may be refused by the first one while that still holds money for runs that the second one is about to refuse.
    """
    before = len(world.billed())
    first = budgets.add("first", PAID_OF_THREE + 2)
    smallest = budgets.add("second", PAID_OF_THREE)
    budgets.add("third", PAID_OF_THREE + 1)
    seen = ended_or_held(world, apply_at_once(world, "three", THREE), SECONDS)
    waiting = [each for each in seen if each["reason"] == "BudgetExceeded"]
    assert len(waiting) == THREE - PAID_OF_THREE
    full = [f"ContentBudget {name} has $0.00" for name in (first, smallest)]
    assert all(any(each in run["message"] for each in full) for run in waiting)
    assert any(full[1] in run["message"] for run in waiting)
    assert len(world.billed()) - before == PAID_OF_THREE
    assert [each["held"] for each in budgets.windows()] == [PAID_OF_THREE * ONE] * 3
