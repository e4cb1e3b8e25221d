"""Budgets as a feature: what is read before the gate, how claims are made, and the keeper's loop."""

from datetime import datetime
from functools import partial
from typing import Any

from pymongo.database import Database

from contentgen_operator.budgets.cluster import Budgets
from contentgen_operator.budgets.gate import hold
from contentgen_operator.budgets.keeper import BudgetKeeper
from contentgen_operator.budgets.metrics import gauges
from contentgen_operator.budgets.store import BudgetStore
from contentgen_operator.budgets.values import BudgetClaims, BudgetFacts, BudgetReleases, matching_budget, windows_of
from contentgen_operator.feature import BoundFeature, Feature
from contentgen_operator.kube.api import Kube
from contentgen_operator.leader.leadership import Check
from contentgen_operator.leader.loop import LeaderLoop
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.observed import NamespaceLabels
from contentgen_operator.state.runs import asset_user
from contentgen_runtime.kube import Conflict

FEATURE = Feature(gates=(hold,), gauges=gauges)


def bind(kube: Kube, database: Database[dict[str, Any]], operator_class: str, check: Check) -> BoundFeature:
    """The feature of an installation."""
    budgets, store = Budgets(kube, operator_class), BudgetStore(database["budgets"], database["ledger"], check)
    return bound(budgets, store, BudgetKeeper(budgets=budgets, store=store, kube=kube, check=check))


def bound(budgets: Budgets, store: BudgetStore, keeper: BudgetKeeper) -> BoundFeature:
    """The feature with these parts."""
    return BoundFeature(
        observe=partial(_observe, budgets, store),
        effects={BudgetClaims: partial(_claim, store), BudgetReleases: partial(_release, store)},
        loops=(LeaderLoop("budgets", 5, keeper.round),),
        create_indexes=store.create_indexes,
    )


async def _observe(
    budgets: Budgets, store: BudgetStore, case: DecisionInput, namespace: NamespaceLabels, at: datetime
) -> BudgetFacts:
    """Budgets that count the run, with the usage of their windows at that time and the run's claims."""
    user = asset_user(case.resource, case.spec)
    found = await budgets.matching(namespace.labels, case.provider, case.kind, user)
    windows = {each.uid: windows_of(each, at) for each in found}
    ids = [window.id for of_budget in windows.values() for window in of_budget]
    usage = await store.usage(ids, str(case.key)) if ids else {}
    return BudgetFacts(matching=tuple(matching_budget(each, windows[each.uid], usage) for each in found))


async def _claim(store: BudgetStore, claims: BudgetClaims, now: datetime) -> None:
    """Raises Conflict if a budget has no room any more; the next decision waits for it."""
    refused = await store.claim(claims, now)
    if refused is not None and not claims.paid:
        raise Conflict(f"the budget {refused.budget} has no room any more ({refused.id})")


async def _release(store: BudgetStore, releases: BudgetReleases, _: datetime) -> None:
    await store.release(releases.each)
