"""Requests that no run waits for: of an attempt that a person has replaced, and of a run that has ended. Pure.

Each is looked for or polled for as long as the provider keeps it, and its result is stored under the purchase id. An
earlier attempt that is found before the next one is sent takes that one's place.
"""

from contentgen_contract.names import Reason
from contentgen_operator.decide import history_searches
from contentgen_operator.decide.payment import cancellation, ending
from contentgen_operator.decide.planning import SOON, plan_of, submitting, withdrawal
from contentgen_operator.decide.status import followed
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.observed import OpenRequest
from contentgen_operator.state.plan import Plan, StoredAnswer
from contentgen_operator.state.provider_requests import RequestState
from contentgen_operator.state.purchases import LedgerTransition, Purchase, PurchaseState

_SOON_SECONDS = 10.0  # until a request that was asked to end is looked at
_GOES_ON = (RequestState.QUEUED, RequestState.RUNNING)
_TAKEN = (PurchaseState.SUBMITTED, PurchaseState.SUCCEEDED, PurchaseState.COLLECTED)


def with_open_requests(case: DecisionInput, plan: Plan) -> Plan:
    """The plan of a run that goes on, with what was found of its earlier attempts."""
    for each in case.observed.open_requests:
        if not _is_mine(case, each) or not history_searches.is_open(each.purchase, case.now):
            continue
        move, store = _step(case, each)
        if move is not None and (store is None or plan.store is None):
            plan = plan.model_copy(update={"moves": (*plan.moves, move), "store": store or plan.store})
        again = SOON if move is not None else history_searches.pause(each.purchase, case.now)
        soonest = again if plan.again_seconds is None else min(again, plan.again_seconds)
        plan = plan.model_copy(update={"again_seconds": soonest})
    return _looked_at_again(plan)


def _looked_at_again(plan: Plan) -> Plan:
    """A run that ends with an open request is looked at again: no event wakes it."""
    run, phase = plan.status.run, plan.status.phase
    if run is None or not run.request_open or phase is None or not phase.terminal:
        return plan
    again = _SOON_SECONDS if plan.again_seconds is None else plan.again_seconds
    return plan.model_copy(update={"again_seconds": again})


def back_to_earlier(case: DecisionInput) -> Plan | None:
    """An earlier attempt exists at the provider after all, and the next one was not sent: nothing more is paid."""
    for each in case.observed.open_requests:
        if each.found_request is not None or _is_taken(each.purchase):
            message = f"the request of paid attempt {each.key.attempt} was found: it goes on, and nothing more is paid"
            run = case.run.model_copy(update=_fresh(each.key.attempt))
            return plan_of(
                case, submitting(case, Reason.SUBMITTING, message), run=run, moves=withdrawal(case), again=SOON
            )
    return None


def _is_taken(purchase: Purchase) -> bool:
    """Whether the provider has the request, or its result is stored; not one that could not be stored."""
    lost = purchase.state is PurchaseState.SUCCEEDED and purchase.result_key is None
    return purchase.state in _TAKEN and not lost


def _fresh(attempt: int) -> dict[str, object]:
    """The fields of a run that begins, or goes back to, a paid attempt."""
    return {"paid_attempt": attempt, "purchase_id": None, "sent_at": None, "request_id": None, "submitted_at": None}


def after_end(case: DecisionInput) -> Plan:
    """The plan of a run that has ended while a request of it was open. Its phase stays."""
    mine = [each for each in case.observed.open_requests if _is_mine(case, each)]
    seen = [each for each in mine if history_searches.is_open(each.purchase, case.now)]
    status = followed(case, request_open=bool(seen))
    plan = Plan(status=status, finalizer=case.resource.deletes_files)
    for each in seen:
        move, store = _step(case, each)
        if move is not None:
            return plan.model_copy(update={"moves": (move,), "store": store, "again_seconds": SOON})
        goes_on = each.view is not None and each.view.state in _GOES_ON
        if goes_on and each.purchase.cancel_asked_at is None:  # nobody waits for its result
            cancel = cancellation(each.key, each.purchase)
            return plan.model_copy(update={"cancel": cancel, "last_chance": True, "again_seconds": _SOON_SECONDS})
    pauses = [history_searches.pause(each.purchase, case.now) for each in seen]
    return plan.model_copy(update={"again_seconds": min(pauses, default=None)})


def _is_mine(case: DecisionInput, each: OpenRequest) -> bool:
    return each.purchase.job_id == case.resource.ref.uid


def _step(case: DecisionInput, each: OpenRequest) -> tuple[LedgerTransition | None, StoredAnswer | None]:
    purchase, view = each.purchase, each.view
    if purchase.state is PurchaseState.INTENT:
        return (_found(case, each, each.found_request), None) if each.found_request is not None else (None, None)
    end = ending(case, purchase, view) if view is not None else None
    return (_move(case, each, end.target, **end.changes), end.answer) if end is not None else (None, None)


def _found(case: DecisionInput, each: OpenRequest, request_id: str) -> LedgerTransition:
    changes = {"request_id": request_id, "submitted_at": history_searches.sent_at(each.purchase)}
    move = _move(case, each, PurchaseState.SUBMITTED, **changes)
    return move.model_copy(update={"claimed_for": each.purchase})


def _move(case: DecisionInput, each: OpenRequest, target: PurchaseState, **changes: object) -> LedgerTransition:
    purchase = each.purchase
    return LedgerTransition(
        key=each.key,
        source=purchase.state,
        target=target,
        owner=purchase.job_id,
        expected={"step": purchase.step},
        changes={"changed_at": case.now, "step": None} | changes,
    )
