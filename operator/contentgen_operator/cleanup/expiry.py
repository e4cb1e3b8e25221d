"""Cleanup: a resource is deleted `spec.ttlSecondsAfterFinished` after the end of its run. Pure.

Only the resource and its Jobs are deleted. The operator removes its finalizer before, so that the deletion never gets
to `deletion.py`, which deletes files: there is no mark that somebody could forge to have files kept or deleted.
"""

from datetime import datetime, timedelta

from contentgen_contract.names import Phase, Reason
from contentgen_contract.resources.status import dump_status
from contentgen_operator.plans import history_searches
from contentgen_operator.plans.planning import SOON
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.observed import Resource, is_end
from contentgen_operator.state.plan import Plan
from contentgen_operator.state.purchases import Purchase, PurchaseState

_LONGEST_WAIT = timedelta(days=1).total_seconds()


def expires_at(resource: Resource) -> datetime | None:
    """Time at which the resource is to be deleted; None: never, or its run has not ended."""
    seconds, ended = resource.ttl_seconds, resource.status.completion_time
    if seconds is None or ended is None or not is_end(dump_status(resource.status)):
        return None
    try:
        return ended + timedelta(seconds=seconds)
    except OverflowError:  # a time of a forged status, near the year 9999
        return None


def is_due(resource: Resource, now: datetime) -> bool:
    """True if the resource is to be deleted, unless something of it is open (`obstacle`)."""
    at = expires_at(resource)
    return at is not None and at <= now


def with_expiry(case: DecisionInput, plan: Plan) -> Plan:
    """The plan for a run that is over, with the deletion of its resource, or the time until then."""
    resource, at = case.resource, expires_at(case.resource)
    if at is None:
        return plan
    if case.now < at:
        seconds = (at - case.now).total_seconds()
        return plan.model_copy(update={"again_seconds": min(seconds, _LONGEST_WAIT)})
    if plan.status != resource.status or resource.repaired:  # the last status and record are written first
        return plan.model_copy(update={"again_seconds": SOON})
    if obstacle(case):
        return plan.model_copy(update={"again_seconds": _LONGEST_WAIT})
    return plan.model_copy(update={"expire": True, "finalizer": False})


def obstacle(case: DecisionInput) -> str:
    """Why the resource is kept although its time is over; empty if nothing is open. A purchase whose resource is gone
    is an orphan, whose result is deleted after a time.
    """
    resource, observed, uid = case.resource, case.observed, case.resource.ref.uid
    if resource.tenant.block_reason:
        return resource.tenant.block_reason
    if resource.document is None or resource.document.unrecorded is not None:
        return "MongoDB does not confirm its run"
    own = [each for each in (observed.purchase, *observed.earlier, *observed.other_runs) if each and each.job_id == uid]
    if any(history_searches.is_open(each, case.now) for each in own):
        return "a paid request may still finish"
    current, run = observed.purchase, resource.status.run
    if current is None and resource.status.reason == Reason.ESTIMATED and run is not None and run.purchase_id is None:
        confirmed = True  # it has bought nothing
    else:
        confirmed = current is not None and current.state is PurchaseState.COLLECTED
    if resource.status.phase is Phase.COMPLETED and not confirmed:
        return "the ledger does not confirm its result"
    if any(map(_has_result, _waiting(case))):
        return "a paid result is not collected"
    cancelled = resource.status.reason == Reason.CANCELLED and (current is None or current.unpaid)
    return "its run was cancelled before the payment; applied again, it would be paid" if cancelled else ""


def _waiting(case: DecisionInput) -> tuple[Purchase, ...]:
    """Purchases whose result a person may still collect: not the attempts before one that was collected."""
    observed, uid = case.observed, case.resource.ref.uid
    current = observed.purchase
    done = current is not None and current.state is PurchaseState.COLLECTED
    mine = (current, *(() if done else observed.earlier), *observed.other_runs)
    return tuple(each for each in mine if each is not None and each.job_id == uid)


def _has_result(purchase: Purchase) -> bool:
    return purchase.state is PurchaseState.SUCCEEDED and purchase.result_key is not None
