"""How a plan is put together: the status that tells it, the events of a transition, the finalizer, the next look."""

from datetime import datetime, timedelta

from contentgen_contract.names import PROVIDER_STEP, Phase, Reason, Step
from contentgen_contract.resources.status import RunStatus
from contentgen_operator.decide.status import build_status, transition_events
from contentgen_operator.state.decision_input import DecisionInput, RunState
from contentgen_operator.state.plan import Plan
from contentgen_operator.state.purchases import LedgerTransition, Purchase, PurchaseKey, PurchaseState, PurchaseStep

SOON = 0.0


def new_plan(
    case: DecisionInput,
    run_state: RunState,
    *,
    run: RunStatus | None = None,
    moves: tuple[LedgerTransition, ...] = (),
    again: float | None = None,
) -> Plan:
    """A plan that only tells, moves the ledger and looks again; `model_copy` adds what else is to be done."""
    status = build_status(case, run_state, run or case.run)
    return Plan(
        status=status,
        moves=moves,
        notices=transition_events(case.resource, status),
        again_seconds=_until_deadline(case, again) if not run_state.phase.terminal else again,
        finalizer=(needs_finalizer(case, moves) and not run_state.phase.terminal) or case.resource.deletes_files,
    )


def needs_finalizer(case: DecisionInput, moves: tuple[LedgerTransition, ...] = ()) -> bool:
    """While a paid request is in flight a deletion has to wait for it to be cancelled."""
    state = moves[-1].target if moves else case.observed.purchase and case.observed.purchase.state
    return state in (PurchaseState.INTENT, PurchaseState.SUBMITTED)


def _until_deadline(case: DecisionInput, again: float | None) -> float | None:
    """A deadline is looked at when it is there, however long the wait would be otherwise."""
    if case.resource.deadline_seconds is None:
        return again
    left = (case.run.started_at + timedelta(seconds=case.resource.deadline_seconds) - case.now).total_seconds()
    if left <= 0:  # it is looked at now
        return again
    seconds = max(left, 1.0)
    return seconds if again is None else min(again, seconds)


def fail(case: DecisionInput, reason: Reason, message: str) -> Plan:
    """The run is over without outputs, and what it had planned to buy is not bought."""
    return new_plan(case, RunState(phase=Phase.FAILED, reason=reason, message=message), moves=withdraw_planned(case))


def withdraw_planned(case: DecisionInput) -> tuple[LedgerTransition, ...]:
    """A planned purchase of the run taken back: a process that is about to send it does not."""
    purchase = case.observed.purchase
    if purchase is None or not purchase.planned or purchase.job_id != case.resource.ref.uid:
        return ()
    return (withdrawal_transition(case.key, purchase, case.now),)


def withdrawal_transition(key: PurchaseKey, purchase: Purchase, now: datetime) -> LedgerTransition:
    """Planned to refused: nothing was sent, and whoever asks for the same may plan it again."""
    return LedgerTransition(
        key=key,
        source=PurchaseState.INTENT,
        target=PurchaseState.REFUSED,
        owner=purchase.job_id,
        expected={"step": PurchaseStep.PLANNED.value},
        changes={"changed_at": now, "step": None, "permanent": False, "error": "withdrawn before it was sent"},
    )


def purchase_transition(
    case: DecisionInput, purchase: Purchase, target: PurchaseState, **changes: object
) -> LedgerTransition:
    """A step of the run's purchase, which the resource owns by then (`Plan.adoption`)."""
    changes = {"changed_at": case.now, "step": None} | changes
    expected = {"step": purchase.step}
    return LedgerTransition(
        key=case.key,
        source=purchase.state,
        target=target,
        owner=case.resource.ref.uid,
        expected=expected,
        changes=changes,
    )


def submitting(case: DecisionInput, reason: Reason, message: str) -> RunState:
    """The state between free and paid."""
    return RunState(phase=Phase.SUBMITTING, reason=reason, message=message, step=PROVIDER_STEP[case.kind])


def collecting(message: str) -> RunState:
    """The state after the provider has finished."""
    return RunState(phase=Phase.COLLECTING, reason=Reason.COLLECTING, message=message, step=Step.STORING)
