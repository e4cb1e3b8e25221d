"""Budgets: a run waits, or ends, while it may cost more than a budget has left. Pure.

The decision is made on observed usage; the claim in MongoDB decides (`stores/budgets.py`).
"""

from contentgen_contract.names import Reason
from contentgen_contract.resources.content_budget import LimitWindow, OnExceeded, UnknownPrice, dollars_of
from contentgen_operator.decide.planning import SOON, fail, new_plan, recheck_seconds, withdraw_planned
from contentgen_operator.decide.purchasable import before_submission
from contentgen_operator.state.decision_input import DecisionInput, RunState
from contentgen_operator.state.plan import Plan
from contentgen_operator.state.policies.budgets import BudgetRelease, BudgetWindow, MatchingBudget
from contentgen_operator.state.runs import replacing_run

_MAX_WAIT_SECONDS = 300.0
_THIS = {LimitWindow.DAY: "today", LimitWindow.MONTH: "this month", LimitWindow.TOTAL: "in total"}


def hold(case: DecisionInput) -> Plan | None:
    """The plan of a run that a budget refuses; None: all of them have room for it, or none counts it."""
    for budget in case.observed.budgets:
        if (why := _refusal(case, budget)) is not None:
            return _held(case, budget, *why)
    return None


def _refusal(case: DecisionInput, budget: MatchingBudget) -> tuple[str, BudgetWindow | None] | None:
    """Why a budget refuses the run, with the full window; None: it does not."""
    name, bound = f"ContentBudget {budget.name}", case.bound_micros
    if not budget.readable:
        return f"{name} has fields of a newer release, so its limits are unknown; upgrade the operator", None
    if bound is None:
        if budget.unknown_price is UnknownPrice.ALLOW:
            return None
        return f"{name} counts this run, and no upper bound of its price is known; set its price in the values", None
    if budget.max_per_run is not None and bound > budget.max_per_run:
        limit = dollars_of(budget.max_per_run)
        return f"the run may cost ${dollars_of(bound)}, and {name} allows ${limit} per run", None
    full = next((each for each in budget.windows if not each.has_room(bound)), None)
    if full is None:
        return None
    left = max(full.ref.limit - full.usage.held, 0)
    text = (
        f"the run may cost ${dollars_of(bound)}, and {name} has ${dollars_of(left)} of ${dollars_of(full.ref.limit)} "
        f"left {_THIS[full.ref.window]}"
    )
    return text, full


def _held(case: DecisionInput, budget: MatchingBudget, why: str, full: BudgetWindow | None) -> Plan:
    released = {"releases": _releases(case)}
    if budget.on_exceeded is OnExceeded.FAIL:
        return fail(case, Reason.BUDGET_EXCEEDED, f"{why}; nothing was paid").model_copy(update=released)
    # Nothing was paid, so an edit, such as fewer pictures, replaces this run at once.
    run = replacing_run(case.resource, case.run, case.now) if case.run.facts is None else None
    if run is not None:
        text = "the changed spec is read"
        run_state = RunState(phase=before_submission(case), reason=Reason.BUDGET_EXCEEDED, message=text)
        return new_plan(case, run_state, run=run, moves=withdraw_planned(case), again=SOON).model_copy(update=released)
    message = f"{why}; {_until(full)}, and nothing is paid until then"
    run_state = RunState(phase=before_submission(case), reason=Reason.BUDGET_EXCEEDED, message=message)
    return new_plan(case, run_state, again=_seconds(case, full)).model_copy(update=released)


def _until(full: BudgetWindow | None) -> str:
    """When the run goes on, for people."""
    if full is None or full.ref.resets_at is None or full.ref.limit <= 0:
        return "it waits until the budget or the run is changed"
    return f"it waits until {full.ref.resets_at:%Y-%m-%d %H:%M} UTC, or until runs cost less than they have reserved"


def _seconds(case: DecisionInput, full: BudgetWindow | None) -> float:
    """Seconds until the next check: at the reset at the latest, as a budget may be raised before."""
    seconds = recheck_seconds(case, _MAX_WAIT_SECONDS)
    if full is None or full.ref.resets_at is None:
        return seconds
    return min(seconds, max((full.ref.resets_at - case.now).total_seconds(), 1.0))


def _releases(case: DecisionInput) -> tuple[BudgetRelease, ...]:
    """Claims of the run in other windows: a run that waits holds no money."""
    return tuple(
        BudgetRelease(purchase=str(case.key), window=each.ref.id, token=each.usage.token)
        for budget in case.observed.budgets
        for each in budget.windows
        if each.usage.claimed is not None
    )
