"""Cancellation of a run by the annotation contentgen.dev/cancel, which names its number; the resource stays. Pure.

Before the POST the run ends at once and costs nothing. Afterwards the provider is asked to cancel, and the status says
whether it bills the run all the same (`run.billed`). An existing result was paid for, so it is stored.
"""

from collections.abc import Callable

from contentgen_contract.names import Reason
from contentgen_operator.decide.collect_retries import open_advice
from contentgen_operator.decide.payment import (
    CANCEL_GRACE_SECONDS,
    CANCEL_POLL_SECONDS,
    cancel_request,
    poll,
    processing,
    search_lost_request,
)
from contentgen_operator.decide.request_endings import MISSING, is_given_up, missing_text
from contentgen_operator.plans.planning import fail, new_plan, stop_before_payment, unpaid_text
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.plan import Plan
from contentgen_operator.state.provider_requests import RequestState
from contentgen_operator.state.purchases import Purchase, PurchaseState

_ENDS = (RequestState.SUCCEEDED, RequestState.FAILED)
_CANCELLED = "cancelled on request"
_MAX_PROBLEM = 400  # characters of a provider's message; advice follows it


def cancel_run(case: DecisionInput, purchase: Purchase | None) -> Plan | None:
    """The plan for a cancelled run; None if its result is paid and stored, or the run ends by itself."""
    if purchase is None:
        return _nothing_sent(case)
    if purchase.planned:
        return _nothing_sent(case)
    if purchase.abandoned:
        return _abandoned(case, purchase)
    end = _BY_STATE.get(purchase.state)
    return end(case, purchase) if end is not None else None


def _nothing_sent(case: DecisionInput, _: Purchase | None = None) -> Plan:
    return stop_before_payment(case, Reason.CANCELLED, f"{_CANCELLED}; {unpaid_text(case)}")


def _lost(case: DecisionInput, purchase: Purchase) -> Plan:
    """The plan for a lost reply: the request can be cancelled once it is found; resubmission is no longer allowed."""
    unasked = case.model_copy(update={"resource": case.resource.model_copy(update={"resubmit": None})})
    plan = search_lost_request(unasked, purchase)
    if plan.status.reason != Reason.SUBMISSION_UNKNOWN:
        return plan
    message = (
        f"{_CANCELLED}; {purchase.provider} may have been paid: its reply was lost and its history does not show the "
        "request; check its dashboard"
    )
    return fail(case, Reason.CANCELLED, message)


def _abandoned(case: DecisionInput, purchase: Purchase) -> Plan:
    message = (
        f"{_CANCELLED}; the reply of {purchase.provider} was lost, it may have been paid; no other attempt is made"
    )
    return fail(case, Reason.CANCELLED, message)


def _submitted(case: DecisionInput, purchase: Purchase) -> Plan:
    view = case.observed.request
    if view is not None and (view.state in _ENDS or is_given_up(purchase, view, case.now)):
        return poll(case, purchase)
    name = f"request {purchase.request_id} of {purchase.provider}"
    if purchase.cancel_asked_at is None:
        run_state = processing(case, purchase, Reason.PROCESSING, f"{name} is being cancelled")
        # An unavailable provider is asked again in the next reconcile; the run continues until then.
        asking = {"cancel": cancel_request(case.key, purchase)}
        again = CANCEL_POLL_SECONDS if view is not None else case.settings.poll_seconds
        return new_plan(case, run_state, again=again).model_copy(update=asking)
    if (case.now - purchase.cancel_asked_at).total_seconds() < CANCEL_GRACE_SECONDS:
        run_state = processing(case, purchase, Reason.PROCESSING, f"the cancellation of {name} was requested")
        return new_plan(case, run_state, again=CANCEL_POLL_SECONDS)
    if view is None or view.state in MISSING:  # a request cancelled in the queue may be unknown afterwards
        why = case.observed.provider_problem if view is None else missing_text(purchase, view, case.now)
        why = why[:_MAX_PROBLEM]
        unknown = f"{_CANCELLED}; it is unknown whether {name} ends and is billed: {why}"
        message = f"{unknown}; {open_advice(case.run)}"
        return fail(case, Reason.CANCELLED, message)
    message = f"{_CANCELLED}; {name} continues nevertheless and is billed; {open_advice(case.run)}"
    case = case.model_copy(update={"run": case.run.model_copy(update={"billed": True})})
    return fail(case, Reason.CANCELLED, message)


def _failed(case: DecisionInput, purchase: Purchase) -> Plan:
    message = f"{_CANCELLED}; {purchase.provider} had failed: {purchase.error}; no other attempt is made"
    return fail(case, Reason.CANCELLED, message)


_BY_STATE: dict[PurchaseState, Callable[[DecisionInput, Purchase], Plan]] = {
    PurchaseState.REFUSED: _nothing_sent,
    PurchaseState.INTENT: _lost,
    PurchaseState.SUBMITTED: _submitted,
    PurchaseState.FAILED: _failed,
}
