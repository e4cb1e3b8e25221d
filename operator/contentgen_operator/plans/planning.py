"""Plan builder: status, events, finalizer, time of the next reconcile, and transitions of the purchase. Pure."""

from datetime import datetime, timedelta

from contentgen_contract.names import Phase, Reason, Step
from contentgen_contract.resources.status import ResourceStatus, RunStatus
from contentgen_operator.plans.status import build_status, transition_events
from contentgen_operator.state.decision_input import DecisionInput, RunState
from contentgen_operator.state.plan import Plan
from contentgen_operator.state.purchases import LedgerTransition, Purchase, PurchaseKey, PurchaseState, SendState
from contentgen_operator.state.runs import replacing_run

SOON = 0.0
_RECHECK_SECONDS = 30.0


def new_plan(
    case: DecisionInput,
    run_state: RunState,
    *,
    run: RunStatus | None = None,
    moves: tuple[LedgerTransition, ...] = (),
    again: float | None = None,
) -> Plan:
    """A plan with a status, events, ledger transitions and the next reconcile; `model_copy` adds other actions."""
    status = build_status(case, run_state, run or case.run)
    return Plan(
        status=status,
        moves=moves,
        notices=transition_events(case.resource, status),
        again_seconds=_until_deadline(case, again) if not run_state.phase.terminal else _after_end(case, status, again),
        finalizer=(needs_finalizer(case, moves) and not run_state.phase.terminal) or case.resource.deletes_files,
    )


def needs_finalizer(case: DecisionInput, moves: tuple[LedgerTransition, ...] = ()) -> bool:
    """True while a paid request is in flight: a deletion has to wait until it is cancelled."""
    state = moves[-1].target if moves else case.observed.purchase and case.observed.purchase.state
    return state in (PurchaseState.INTENT, PurchaseState.SUBMITTED)


def _after_end(case: DecisionInput, status: ResourceStatus, again: float | None) -> float | None:
    """Seconds until the next reconcile of a run that ends: at once after an edit during it, since no event follows."""
    edited = (status.observed_generation or 0) < case.resource.generation
    return SOON if edited else again


def _until_deadline(case: DecisionInput, again: float | None) -> float | None:
    """Seconds until the next reconcile, at the run's deadline at the latest."""
    if case.resource.deadline_seconds is None:
        return again
    left = (case.run.started_at + timedelta(seconds=case.resource.deadline_seconds) - case.now).total_seconds()
    if left <= 0:  # this reconcile handles the deadline
        return again
    seconds = max(left, 1.0)
    return seconds if again is None else min(again, seconds)


def recheck_seconds(case: DecisionInput, longest: float) -> float:
    """Seconds until the next check of a wait that may never end: a tenth of the run's age, 30 to `longest`."""
    age = (case.now - case.run.started_at).total_seconds()
    return min(max(age / 10, _RECHECK_SECONDS), longest)


def unpaid_text(case: DecisionInput) -> str:
    """Clause about the payment of a run whose current attempt has sent nothing. Earlier attempts may have been paid."""
    later = case.run.paid_attempt > 1 or bool(case.observed.earlier)
    return "no other attempt is made" if later else "nothing was paid"


def fail(case: DecisionInput, reason: Reason, message: str) -> Plan:
    """The plan that ends the run without outputs and withdraws its planned purchase."""
    return new_plan(case, RunState(phase=Phase.FAILED, reason=reason, message=message), moves=withdraw_planned(case))


def stop_before_payment(case: DecisionInput, reason: Reason, message: str) -> Plan:
    """The plan that ends a run and its Job before the payment."""
    return fail(case, reason, message).model_copy(update={"stop_job": True})


def replace_run(case: DecisionInput, reason: Reason) -> Plan | None:
    """The plan that replaces an unpaid run that waits after an edit, under a new number; None: there was no edit."""
    run = replacing_run(case.resource, case.run, case.now)
    if run is None:
        return None
    run_state = RunState(phase=Phase.PENDING, reason=reason, message="the changed spec is read")
    return new_plan(case, run_state, run=run, moves=withdraw_planned(case), again=SOON)


def withdraw_planned(case: DecisionInput) -> tuple[LedgerTransition, ...]:
    """Transition that withdraws the run's planned purchase, so that no process sends it; empty: none is planned."""
    purchase = case.observed.purchase
    if purchase is None or not purchase.planned or purchase.job_id != case.resource.ref.uid:
        return ()
    return (withdrawal_transition(case.key, purchase, case.now),)


def withdrawal_transition(key: PurchaseKey, purchase: Purchase, now: datetime) -> LedgerTransition:
    """Transition from planned to refused: nothing was sent, and any resource with the key may plan it again."""
    return LedgerTransition(
        key=key,
        source=PurchaseState.INTENT,
        target=PurchaseState.REFUSED,
        owner=purchase.job_id,
        expected={"send_state": SendState.PLANNED.value},
        changes={"changed_at": now, "send_state": None, "permanent": False, "error": "withdrawn before it was sent"},
    )


def purchase_transition(
    case: DecisionInput, purchase: Purchase, target: PurchaseState, **changes: object
) -> LedgerTransition:
    """Transition of the run's purchase, which the resource owns by then (`Plan.adoption`)."""
    changes = {"changed_at": case.now, "send_state": None} | changes
    expected = {"send_state": purchase.send_state}
    return LedgerTransition(
        key=case.key,
        source=purchase.state,
        target=target,
        owner=case.resource.ref.uid,
        expected=expected,
        changes=changes,
    )


def before_submission(case: DecisionInput) -> Phase:
    """Phase before the payment: Pending, or Submitting for a run that was further already."""
    last = case.resource.status
    unstarted = last.phase in (None, Phase.PENDING, Phase.SUSPENDED) or last.reason == Reason.LORA_FAILED
    waiting = unstarted and case.run.facts is None
    begun = last.run is not None and last.run.number == case.run.number and not waiting
    return Phase.SUBMITTING if begun else Phase.PENDING


def waiting(case: DecisionInput, reason: Reason, message: str, again: float, run: RunStatus | None = None) -> Plan:
    """The plan of a run that waits before its payment."""
    return new_plan(case, RunState(phase=before_submission(case), reason=reason, message=message), run=run, again=again)


def submitting(case: DecisionInput, reason: Reason, message: str) -> RunState:
    """State before the payment."""
    return RunState(phase=Phase.SUBMITTING, reason=reason, message=message, step=case.kind.info.provider_step)


def collecting(message: str) -> RunState:
    """State after the provider has finished."""
    return RunState(phase=Phase.COLLECTING, reason=Reason.COLLECTING, message=message, step=Step.STORING)
