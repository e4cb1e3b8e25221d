"""Claims of a run's purchase in the windows that count it. Pure."""

from typing import Any

from contentgen_operator.budgets.values import BudgetClaim, BudgetClaims, BudgetFacts, BudgetRelease, BudgetReleases
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.effects import Effect
from contentgen_operator.state.plan import Plan


def purchase_fields(case: DecisionInput) -> dict[str, Any]:
    """Fields by which the purchase counts in budgets."""
    windows = case.observed.facts_of(BudgetFacts).windows
    return {"bound_micros": case.bound_micros, "budgets": tuple(window.ref.id for window in windows)}


def claims(case: DecisionInput, *, paid: bool = False) -> tuple[BudgetClaims, ...]:
    """Claims of the purchase in all windows that count it; empty: there are none."""
    # Unknown: its budgets allow that, else the run would be held. It starts while anything is left.
    micros, least = (case.bound_micros, 0) if case.bound_micros is not None else (0, 1)
    windows = case.observed.facts_of(BudgetFacts).windows
    each = tuple(BudgetClaim(ref=window.ref, micros=micros, least=least) for window in windows)
    return (BudgetClaims(purchase=str(case.key), each=each, paid=paid),) if each else ()


def releases(case: DecisionInput) -> tuple[BudgetReleases, ...]:
    """Releases of the run's claims, because a run that waits holds no money; empty: it has none."""
    made = [
        BudgetRelease(purchase=str(case.key), window=window.ref.id, token=window.usage.token)
        for window in case.observed.facts_of(BudgetFacts).windows
        if window.usage.claimed is not None
    ]
    return (BudgetReleases(each=tuple(made)),) if made else ()


def with_unused_released(case: DecisionInput, plan: Plan) -> tuple[Effect, ...]:
    """The plan's effects of features. The claims of a planned purchase that it does not send are released, whatever the
    run waits for.
    """
    purchase = case.observed.purchase
    decided = any(isinstance(feature, (BudgetClaims, BudgetReleases)) for feature in plan.of_features)
    unused = purchase is not None and purchase.planned and not decided
    return (*plan.of_features, *(releases(case) if unused else ()))
