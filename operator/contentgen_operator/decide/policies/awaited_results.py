"""Marks of the ledger's results whose collection is tried: since when, and until when. Pure.

`buying/stops.py` counts them. A mark has an end, so that a result which nobody follows any more stops no payments: its
resource moved to another operator class, or the ledger was restored from a backup.
"""

from datetime import timedelta

from contentgen_contract.names import Phase
from contentgen_operator.decide import collect_retries
from contentgen_operator.plans.planning import purchase_transition
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.plan import Plan
from contentgen_operator.state.purchases import LedgerTransition, Purchase, PurchaseState

_TIMES = ("finished_at", "changed_at")


def with_mark(case: DecisionInput, plan: Plan) -> tuple[LedgerTransition, ...]:
    """The plan's transitions, which also set or remove the mark of the run's result. The ledger removes it from a
    purchase in any other state.
    """
    purchase = case.observed.purchase
    if purchase is None or case.resource.tenant.block_reason:
        return plan.moves
    if not any(move.key == case.key for move in plan.moves):
        return (*plan.moves, *_corrected(case, plan, purchase))
    return tuple(_marked(case, plan, purchase, move) for move in plan.moves)


def _marked(case: DecisionInput, plan: Plan, purchase: Purchase, move: LedgerTransition) -> LedgerTransition:
    if move.target is not PurchaseState.SUCCEEDED or move.key != case.key:
        return move
    finished = purchase.model_copy(update={time: move.changes[time] for time in _TIMES if time in move.changes})
    return move.model_copy(update={"changes": {**move.changes, **_mark(case, plan, finished)}})


def _corrected(case: DecisionInput, plan: Plan, purchase: Purchase) -> tuple[LedgerTransition, ...]:
    """Transition to the right mark; empty: the ledger has it, or another resource owns the purchase."""
    mine = purchase.job_id == case.resource.ref.uid
    if purchase.state is not PurchaseState.SUCCEEDED or not mine or case.observed.superseded:
        return ()
    mark = _mark(case, plan, purchase)
    if mark == {name: getattr(purchase, name) for name in mark}:
        return ()
    changes = {"changed_at": purchase.changed_at, **mark}
    return (purchase_transition(case, purchase, PurchaseState.SUCCEEDED, **changes),)


def _mark(case: DecisionInput, plan: Plan, purchase: Purchase) -> dict[str, object]:
    if plan.status.phase is not Phase.COLLECTING or plan.status.run is None:
        return {"awaited_since": None, "awaited_until": None}
    observed = case.observed.model_copy(update={"purchase": purchase})
    collecting = case.model_copy(update={"observed": observed, "run": plan.status.run})
    since = collect_retries.started_at(collecting).replace(microsecond=0)
    return {
        "awaited_since": since,
        "awaited_until": since + timedelta(seconds=case.resource.collect_deadline_seconds),
    }
