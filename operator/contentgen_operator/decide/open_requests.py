"""Open requests that no run waits for: of an attempt that a person has replaced, or of a run that has ended. Pure.

Each is searched or polled for as long as the provider keeps it, and its result is stored under the purchase id. An
earlier attempt that is found before the next one is sent replaces that one.
"""

from contentgen_contract.names import Reason
from contentgen_operator.decide.payment import cancel_request, noted_answer, run_request_ending
from contentgen_operator.plans import history_searches
from contentgen_operator.plans.planning import SOON, new_plan, submitting, withdraw_planned
from contentgen_operator.plans.status import status_after_end
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.observed import OpenRequest
from contentgen_operator.state.plan import Plan, StoredAnswer
from contentgen_operator.state.provider_requests import RequestState
from contentgen_operator.state.purchases import LedgerTransition, Purchase, PurchaseState

_SOON_SECONDS = 10.0  # until the next poll of a request whose cancellation was asked for
_IN_PROGRESS = (RequestState.QUEUED, RequestState.RUNNING)
_AT_PROVIDER = (PurchaseState.SUBMITTED, PurchaseState.SUCCEEDED, PurchaseState.COLLECTED)


def with_open_requests(case: DecisionInput, plan: Plan) -> Plan:
    """The plan of a run in progress, extended by transitions of its earlier attempts."""
    for request in case.observed.open_requests:
        if not _is_mine(case, request) or not history_searches.is_open(request.purchase, case.now):
            continue
        move, store = _transition_and_answer(case, request)
        if move is not None and (store is None or plan.store is None):
            plan = plan.model_copy(update={"moves": (*plan.moves, move), "store": store or plan.store})
        elif move is None:
            plan = plan.model_copy(update={"moves": (*plan.moves, *_noted(case, request))})
        again = SOON if move is not None else history_searches.recheck_seconds(request.purchase, case.now)
        soonest = again if plan.again_seconds is None else min(again, plan.again_seconds)
        plan = plan.model_copy(update={"again_seconds": soonest})
    return _with_recheck(plan)


def _with_recheck(plan: Plan) -> Plan:
    """The plan with another reconcile if the run ends with an open request: no event would wake it."""
    run, phase = plan.status.run, plan.status.phase
    if run is None or not run.request_open or phase is None or not phase.terminal:
        return plan
    again = _SOON_SECONDS if plan.again_seconds is None else plan.again_seconds
    return plan.model_copy(update={"again_seconds": again})


def resume_earlier_attempt(case: DecisionInput) -> Plan | None:
    """The plan that returns to an earlier attempt which the provider has after all; None: there is none.

    The next attempt was not sent, so nothing more is paid.
    """
    for request in case.observed.open_requests:
        if request.found_request is not None or _has_request(request.purchase):
            message = (
                f"the request of paid attempt {request.key.attempt} was found: it goes on, and nothing more is paid"
            )
            run = case.run.model_copy(update=_attempt_fields(request.key.attempt))
            return new_plan(
                case, submitting(case, Reason.SUBMITTING, message), run=run, moves=withdraw_planned(case), again=SOON
            )
    return None


def _has_request(purchase: Purchase) -> bool:
    """True if the provider has the request, or its result is stored; False if the result could not be stored."""
    lost = purchase.state is PurchaseState.SUCCEEDED and purchase.result_key is None
    return purchase.state in _AT_PROVIDER and not lost


def _attempt_fields(attempt: int) -> dict[str, object]:
    """Fields of a run at the start of, or after the return to, a paid attempt."""
    return {"paid_attempt": attempt, "purchase_id": None, "sent_at": None, "request_id": None, "submitted_at": None}


def plan_after_end(case: DecisionInput) -> Plan:
    """The plan for an ended run with an open request. Its phase stays."""
    mine = [request for request in case.observed.open_requests if _is_mine(case, request)]
    opened = [each for each in mine if history_searches.is_open(each.purchase, case.now)]
    status = status_after_end(case, request_open=bool(opened))
    noted = tuple(move for request in opened for move in _noted(case, request))
    plan = Plan(status=status, finalizer=case.resource.deletes_files)
    for request in opened:
        move, store = _transition_and_answer(case, request)
        if move is not None:
            return plan.model_copy(update={"moves": (move,), "store": store, "again_seconds": SOON})
        goes_on = request.view is not None and request.view.state in _IN_PROGRESS
        if goes_on and request.purchase.cancel_asked_at is None:  # no run waits for its result
            cancel = cancel_request(request.key, request.purchase)
            return plan.model_copy(update={"cancel": cancel, "again_seconds": _SOON_SECONDS})
    pauses = [history_searches.recheck_seconds(request.purchase, case.now) for request in opened]
    return plan.model_copy(update={"moves": noted, "again_seconds": min(pauses, default=None)})


def _noted(case: DecisionInput, each: OpenRequest) -> tuple[LedgerTransition, ...]:
    """Record of an answer that does not end the request; empty: there is no answer, or nothing new."""
    if each.view is None or each.purchase.state is not PurchaseState.SUBMITTED:
        return ()
    return noted_answer(each.key, each.purchase, each.view, case.now, each.purchase.job_id)


def _is_mine(case: DecisionInput, each: OpenRequest) -> bool:
    return each.purchase.job_id == case.resource.ref.uid


def _transition_and_answer(
    case: DecisionInput, each: OpenRequest
) -> tuple[LedgerTransition | None, StoredAnswer | None]:
    purchase, view = each.purchase, each.view
    if purchase.state is PurchaseState.INTENT:
        return (
            (_found_transition(case, each, each.found_request), None)
            if each.found_request is not None
            else (None, None)
        )
    end = run_request_ending(case, purchase, view) if view is not None else None
    return (_transition(case, each, end.target, **end.changes), end.answer) if end is not None else (None, None)


def _found_transition(case: DecisionInput, each: OpenRequest, request_id: str) -> LedgerTransition:
    changes = {"request_id": request_id, "submitted_at": history_searches.sent_at(each.purchase)}
    move = _transition(case, each, PurchaseState.SUBMITTED, **changes)
    return move.model_copy(update={"bound_to": each.purchase})


def _transition(case: DecisionInput, each: OpenRequest, target: PurchaseState, **changes: object) -> LedgerTransition:
    purchase = each.purchase
    return LedgerTransition(
        key=each.key,
        source=purchase.state,
        target=target,
        owner=purchase.job_id,
        expected={"send_state": purchase.send_state},
        changes={"changed_at": case.now, "send_state": None} | changes,
    )
