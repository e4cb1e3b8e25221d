"""Budgets on the real cluster, by the sandbox's bills and an observer of MongoDB: 40 pictures at once for 10, the end
of a month, and three budgets on each of 8. With CONTENTGEN_ACCEPTANCE=all (`make acceptance`): 200 for 50, and three
budgets on each of 200.
"""

import os
from collections.abc import Iterator

import pytest

from contentgen_e2e.policies.budgets import (
    KIND,
    ONE,
    ClusterBudgets,
    apply_at_once,
    charged,
    ended_or_held,
    wait_for_completed,
    watched_budgets,
)
from contentgen_e2e.world import ClusterWorld

ALL = os.environ.get("CONTENTGEN_ACCEPTANCE") == "all"
COUNT, PAID, MORE = (200, 50, 10) if ALL else (40, 10, 20)
THREE, PAID_OF_THREE = (200, 50) if ALL else (8, 3)
SECONDS = 1800 if ALL else 240


@pytest.fixture
def budgets(world: ClusterWorld) -> Iterator[ClusterBudgets]:
    with watched_budgets(world) as opened:
        yield opened


def test_budget_pays_again_in_the_next_month_and_when_raised(world: ClusterWorld, budgets: ClusterBudgets) -> None:
    """The month ends in the documents of MongoDB alone; tests/unit/operator/policies moves the operator's clock."""
    before = len(world.billed())
    budget = budgets.add("budget", PAID)
    names = apply_at_once(world, "budgeted", COUNT)
    seen = ended_or_held(world, names, SECONDS)
    waiting = [each["message"] for each in seen if each["reason"] == "BudgetExceeded"]
    assert waiting == [budgets.message(budget, PAID)] * (COUNT - PAID)
    (window,) = budgets.summed()
    assert (window["spent"], window["held"], window["overrun"]) == (PAID * ONE, PAID * ONE, 0)
    assert len(world.billed()) - before == PAID
    assert charged(world.billed()[before:]) == PAID * ONE, "the charges are as large as the bounds"

    budgets.end_month(budget)
    wait_for_completed(world, names, 2 * PAID, SECONDS)
    assert [each["spent"] for each in budgets.summed()] == [PAID * ONE] * 2
    assert len(world.billed()) - before == 2 * PAID

    budgets.raise_to(budget, PAID + MORE)
    wait_for_completed(world, names, 2 * PAID + MORE, SECONDS)
    assert sorted(each["spent"] for each in budgets.summed()) == [PAID * ONE, (PAID + MORE) * ONE]
    assert charged(world.billed()[before:]) == (2 * PAID + MORE) * ONE
    # Those that still wait would take the room of the next test's budgets.
    world.kubectl("delete", KIND.lower(), *names, "--timeout=600s")


def test_three_budgets_on_each_run(world: ClusterWorld, budgets: ClusterBudgets) -> None:
    """The second one is the smallest; the others hold as much as it does, and nothing for runs that it refuses.

    A run may be refused by another one while that still holds money for runs that the smallest one is about to refuse.
    """
    before = len(world.billed())
    rooms = {"first": PAID_OF_THREE + 2, "second": PAID_OF_THREE, "third": PAID_OF_THREE + 1}
    texts = {letter: budgets.message(budgets.add(letter, runs), runs) for letter, runs in rooms.items()}
    names = apply_at_once(world, "three", THREE)
    seen = ended_or_held(world, names, SECONDS)
    waiting = [each["message"] for each in seen if each["reason"] == "BudgetExceeded"]
    assert len(waiting) == THREE - PAID_OF_THREE
    assert texts["second"] in waiting
    assert set(waiting) <= set(texts.values())
    windows = budgets.summed()
    assert [(window["spent"], window["held"]) for window in windows] == [(PAID_OF_THREE * ONE, PAID_OF_THREE * ONE)] * 3
    assert len(world.billed()) - before == PAID_OF_THREE
    assert charged(world.billed()[before:]) == PAID_OF_THREE * ONE
    # Those that still wait would be paid once the budgets are deleted.
    world.kubectl("delete", KIND.lower(), *names, "--timeout=600s")
