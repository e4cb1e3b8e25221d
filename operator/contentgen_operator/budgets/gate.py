"""Budgets: a run waits, or ends, while it may cost more than a budget has left. Pure.

The decision is made on observed usage; the claim in MongoDB decides (`budgets/store.py`).
"""

from datetime import UTC, datetime
from typing import NamedTuple

from contentgen_contract.names import Reason
from contentgen_contract.resources.content_budget import LimitWindow, OnExceeded, UnknownPrice, dollars_of
from contentgen_operator.budgets.claims import releases
from contentgen_operator.budgets.values import BudgetFacts, BudgetWindow, MatchingBudget
from contentgen_operator.plans.planning import fail, recheck_seconds, replace_run, unpaid_text, waiting
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.plan import Plan

_MAX_WAIT_SECONDS = 300.0
_NEVER = datetime.max.replace(tzinfo=UTC)
_THIS = {LimitWindow.DAY: "today", LimitWindow.MONTH: "this month", LimitWindow.TOTAL: "in total"}


class _BudgetRefusal(NamedTuple):
    budget: MatchingBudget
    why: str
    until: datetime | None = None  # None: until the budget or the run is changed

    @property
    def rank(self) -> tuple[bool, bool, datetime]:
        """Of several refusals the last one counts: one that ends the run, else the one that lasts longest."""
        return self.budget.on_exceeded is OnExceeded.FAIL, self.until is None, self.until or _NEVER


def hold(case: DecisionInput) -> Plan | None:
    """The plan of a run that a budget refuses; None: all of them have room for it, or none counts it."""
    found = (_refusal(case, budget) for budget in case.observed.facts_of(BudgetFacts).matching)
    refusals = [each for each in found if each is not None]
    return _held(case, max(refusals, key=lambda each: each.rank)) if refusals else None


def _refusal(case: DecisionInput, budget: MatchingBudget) -> _BudgetRefusal | None:
    """Why a budget refuses the run; None: it does not."""
    name, bound = f"ContentBudget {budget.name}", case.bound_micros
    if not budget.readable:
        return _BudgetRefusal(
            budget, f"{name} has fields of a newer release, so its limits are unknown; upgrade the operator"
        )
    if bound is None and budget.unknown_price is not UnknownPrice.ALLOW:
        text = f"{name} counts this run, and no upper bound of its price is known; set its price in the values"
        return _BudgetRefusal(budget, text)
    if bound is not None and budget.max_per_run is not None and bound > budget.max_per_run:
        limit = dollars_of(budget.max_per_run)
        return _BudgetRefusal(budget, f"the run may cost ${dollars_of(bound)}, and {name} allows ${limit} per run")
    least = bound if bound is not None else 1  # a run of unknown cost starts while anything is left
    full = [
        _BudgetRefusal(budget, _text(case, budget, window), _until(window, least))
        for window in budget.windows
        if not window.has_room(least)
    ]
    return max(full, key=lambda each: each.rank) if full else None


def _text(case: DecisionInput, budget: MatchingBudget, full: BudgetWindow) -> str:
    bound, left = case.bound_micros, max(full.ref.limit - full.usage.held, 0)
    cost = f"the run may cost ${dollars_of(bound)}" if bound is not None else "no upper bound of the price is known"
    return (
        f"{cost}, and ContentBudget {budget.name} has ${dollars_of(left)} of ${dollars_of(full.ref.limit)} "
        f"left {_THIS[full.ref.window]}"
    )


def _until(full: BudgetWindow, least: int) -> datetime | None:
    """End of a window that is full; None where the next one has no room either."""
    return full.ref.resets_at if full.ref.limit >= least else None


def _held(case: DecisionInput, refusal: _BudgetRefusal) -> Plan:
    released = {"of_features": releases(case)}
    if refusal.budget.on_exceeded is OnExceeded.FAIL:
        return fail(case, Reason.BUDGET_EXCEEDED, f"{refusal.why}; {unpaid_text(case)}").model_copy(update=released)
    # An edit, such as fewer pictures, replaces this run at once, also a prepared one: it may never fit the budget.
    if (replaced := replace_run(case, Reason.BUDGET_EXCEEDED)) is not None:
        return replaced.model_copy(update=released)
    message = f"{refusal.why}; {_wait(refusal.until)}, and nothing is paid until then"
    plan = waiting(case, Reason.BUDGET_EXCEEDED, message, _seconds(case, refusal.until))
    return plan.model_copy(update=released)


def _wait(until: datetime | None) -> str:
    """When the run goes on, for people."""
    if until is None:
        return "it waits until the budget or the run is changed"
    return f"it waits until {until:%Y-%m-%d %H:%M} UTC, or until runs cost less than they have reserved"


def _seconds(case: DecisionInput, until: datetime | None) -> float:
    """Seconds until the next check: at the reset at the latest, as a budget may be raised before."""
    seconds = recheck_seconds(case, _MAX_WAIT_SECONDS)
    return seconds if until is None else min(seconds, max((until - case.now).total_seconds(), 1.0))
