"""The paid call: sent once, found again when its reply was lost, polled, cancelled when it takes too long. Pure."""

import math
from datetime import datetime
from typing import Any

from contentgen_contract import keys, ownership
from contentgen_contract.ledger import legacy_id
from contentgen_contract.models import model_of
from contentgen_contract.names import PROVIDER_STEP, Phase, Reason, Stage
from contentgen_operator import costs, kinds
from contentgen_operator.case import Case, Doing
from contentgen_operator.observed import Observed, Resource
from contentgen_operator.plan import Adoption, Cancellation, Payment, Plan, Reservation, StoredAnswer
from contentgen_operator.planning import SOON, collecting, fail, move_of, plan_of, submitting
from contentgen_operator.providers.answers import Answer
from contentgen_operator.providers.base import Call, RequestState, RequestView
from contentgen_operator.purchases import Move, Purchase, PurchaseKey, PurchaseState, PurchaseStep
from contentgen_operator.runs import owner
from contentgen_operator.stages import start

COLLECT_SECONDS = 15.0  # what a collect stage takes, for the ETA
_GONE_SECONDS = 3600.0  # fal keeps a result for an hour; before that, and while its history lags, it is asked again
_GONE_PAUSE_SECONDS = 60.0
_LEDGER_WAIT_SECONDS = 60.0


_ADOPTABLE = (PurchaseState.INTENT, PurchaseState.SUBMITTED, PurchaseState.SUCCEEDED, PurchaseState.COLLECTED)
_SEARCHED = (Reason.LOOKING_FOR_REQUEST, Reason.SUBMISSION_UNKNOWN)


def adoption(resource: Resource, key: PurchaseKey, purchase: Purchase | None) -> Adoption | None:
    """The change of owner of a purchase that a resource goes on with; None for its own, and for one without a use."""
    if purchase is None or purchase.job_id == resource.ref.uid or purchase.unpaid or purchase.abandoned:
        return None
    if purchase.state not in _ADOPTABLE:
        return None
    return Adoption(key=key, purchase=purchase, job_id=resource.ref.uid)


def pay(case: Case) -> Plan:
    """Everything is there: plan the purchase, and at the next look send the planned one."""
    job = kinds.Job(user_id=owner(case.resource, case.spec), job_id=case.resource.ref.uid, version=case.run.version)
    call = kinds.call_of(case.spec, job, case.key, case.observed.loras)
    purchase = Purchase(
        state=PurchaseState.INTENT,
        step=PurchaseStep.PLANNED,
        job_id=case.resource.ref.uid,
        **_place(case.resource),
        type=case.kind.record_type,
        user_id=job.user_id,
        loras=tuple(each.model_key for each in case.observed.loras if each.model_key),
        provider=call.provider,
        model=call.model,
        marker=call.marker,
        created_at=case.now,
        changed_at=case.now,
        units=kinds.work_units(case.spec, kinds.duration_seconds(case.run)),
        estimated_micros=case.estimated_micros,
        **costs.priced(case.spec, case.price),
    )
    doing = submitting(case, Reason.SUBMITTING, f"asking {call.provider} for {call.model}")
    plan = plan_of(case, doing, again=SOON).model_copy(update={"finalizer": True})
    planned = case.observed.purchase
    if planned is None or not _is_reserved(case, planned):
        return plan.model_copy(update={"reservation": Reservation(key=case.key, purchase=purchase)})
    purchase = purchase.model_copy(update={"purchase_id": planned.purchase_id})
    return plan.model_copy(update={"payment": _payment(case, planned, purchase, call)})


def _place(resource: Resource) -> dict[str, Any]:
    tenant = resource.tenant
    return {
        "namespace": resource.ref.namespace,
        "tenant": resource.scope or None,
        "namespace_uid": tenant.uid or None,
        "cluster_uid": tenant.cluster or None,
    }


def _payment(case: Case, planned: Purchase, purchase: Purchase, call: Call) -> Payment:
    return Payment(key=case.key, purchase=purchase, call=call, planned_at=planned.changed_at)


def _is_reserved(case: Case, purchase: Purchase) -> bool:
    """Whether the purchase is planned for this resource, and its status names it: then it is marked in the bucket."""
    mine = purchase.planned and purchase.job_id == case.resource.ref.uid
    return mine and case.run.purchase_id == purchase.purchase_id


def was_rewound(case: Case) -> bool:
    """Whether the status knows more of a purchase than a ledger that would allow the payment: it may have been sent."""
    run, last, purchase = case.run, case.resource.status, case.observed.purchase
    if purchase is not None and not purchase.unpaid:
        return False
    told = last.run is not None and (last.run.number, last.run.paid_attempt) == (run.number, run.paid_attempt)
    if run.request_id is not None or (told and last.reason in _SEARCHED):
        return True
    if purchase is None:
        return run.purchase_id is not None
    if run.purchase_id not in (None, purchase.purchase_id):
        return True
    return run.sent_at is not None and (purchase.sent_at is None or purchase.sent_at < run.sent_at)


def forgotten(case: Case) -> Plan:
    """The status, or the marker in the bucket, names a purchase that the ledger lacks, or knows it as it was before it
    was sent: a store was restored from a backup. Nothing is paid.
    """
    kept = case.observed.purchase
    blind = case.model_copy(update={"observed": case.observed.model_copy(update={"purchase": None})})
    if case.resource.resubmit == case.key.token:
        return _abandoned(case, next_attempt(blind, "a person asked for another submission"), kept)
    what = f"request {case.run.request_id}" if case.run.request_id else f"purchase {case.run.purchase_id or case.key}"
    message = (
        f"{what} of {kinds.provider_of(case.kind)} was paid, or may have been, and the ledger in MongoDB has lost it: "
        "restore the ledger and this goes on, or allow another payment with the annotation "
        f"contentgen.dev/resubmit={case.key.token}"
    )
    doing = Doing(phase=Phase.SUBMISSION_UNKNOWN, reason=Reason.SUBMISSION_UNKNOWN, message=message)
    return plan_of(blind, doing, again=_LEDGER_WAIT_SECONDS)


def _abandoned(case: Case, plan: Plan, kept: Purchase | None) -> Plan:
    """The plan with a purchase that the ledger has lost marked as abandoned: whoever asks for it again goes on with
    the next attempt.
    """
    if kept is not None:
        step = Move(
            key=case.key,
            source=kept.state,
            target=PurchaseState.INTENT,
            owner=kept.job_id,
            expected={"step": kept.step},
            changes={"step": PurchaseStep.ABANDONED.value, "changed_at": case.now},
        )
        return plan.model_copy(update={"moves": (step,)})
    purchase = Purchase(
        purchase_id=case.run.purchase_id or legacy_id(str(case.key)),
        state=PurchaseState.INTENT,
        step=PurchaseStep.ABANDONED,
        job_id=case.resource.ref.uid,
        **_place(case.resource),
        type=case.kind.record_type,
        user_id=owner(case.resource, case.spec),
        provider=kinds.provider_of(case.kind),
        model=model_of(case.spec),
        marker="",
        created_at=case.now,
        changed_at=case.now,
        sent_at=case.run.sent_at,
        error=f"the ledger had lost it; its request was {case.run.request_id}",
    )
    return plan.model_copy(update={"abandoned": Reservation(key=case.key, purchase=purchase)})


def lost(case: Case, purchase: Purchase) -> Plan:
    """There is an intent and no request id: it may be paid, so it is looked for and never sent again."""
    if case.observed.found_request is not None:
        sent = purchase.sent_at or purchase.created_at
        changes = {"request_id": case.observed.found_request, "submitted_at": sent}
        doing = Doing(phase=Phase.PROCESSING, reason=Reason.PROCESSING, message="the request was found again")
        move = move_of(case, purchase, PurchaseState.SUBMITTED, **changes)
        moves = (move.model_copy(update={"claimed_for": purchase}),)
        return plan_of(case, doing, moves=moves, again=SOON)
    # The annotation stays on the resource, so it names one purchase: it must not pay for a later run as well.
    if case.resource.resubmit == case.key.token:
        moves = (move_of(case, purchase, PurchaseState.INTENT, step=PurchaseStep.ABANDONED.value),)
        plan = next_attempt(case, "a person asked for another submission")
        return plan.model_copy(update={"moves": moves})
    waited = (case.now - (purchase.sent_at or purchase.created_at)).total_seconds()
    problem = case.observed.provider_problem
    if waited < case.policy.adoption_seconds:
        message = f"the reply of {purchase.provider} was lost; looking for the request in its history"
        message += f", which cannot be read: {problem}" if problem else ""
        doing = submitting(case, Reason.LOOKING_FOR_REQUEST, message)
        return plan_of(case, doing, again=case.policy.poll_seconds)
    message = (
        f"{purchase.provider} may have been paid, but its history "
        f"{_not_shown(case.observed)}; look at its dashboard, then "
        f"allow another payment with the annotation contentgen.dev/resubmit={case.key.token}"
    )
    doing = Doing(phase=Phase.SUBMISSION_UNKNOWN, reason=Reason.SUBMISSION_UNKNOWN, message=message)
    return plan_of(case, doing, again=case.policy.poll_seconds if problem else None)


def _not_shown(observed: Observed) -> str:
    if observed.provider_problem:
        return f"cannot be read ({observed.provider_problem})"
    return "does not show the request" if observed.history_complete else "could be read only in part"


def poll(case: Case, purchase: Purchase) -> Plan:
    """The provider has the request."""
    view = case.observed.request
    if view is not None and view.state is RequestState.FAILED:
        # One that ended by itself has failed, also where somebody had asked for its end before.
        asked = purchase.cancel_asked_at is not None
        end = PurchaseState.CANCELLED if asked and view.cancelled else PurchaseState.FAILED
        billing = costs.finished(purchase, end, billable_units=view.billable_units)
        moves = (move_of(case, purchase, end, error=view.message, **billing),)
        doing = at_provider(case, purchase, Reason.PROCESSING, f"{purchase.provider} says: {view.message}")
        return plan_of(case, doing, moves=moves, again=SOON)
    if view is not None and view.state is RequestState.SUCCEEDED and view.result is not None:
        return _store_result(case, purchase, view, view.result)
    if view is not None and (view.too_large or is_lost(case, purchase, view)):
        return _unstorable(case, purchase, view)
    late = _too_late(case, purchase)
    if late:
        cancel = cancellation(case.key, purchase)
        plan = fail(case, Reason.DEADLINE_EXCEEDED, late)
        return plan.model_copy(update={"cancel": cancel, "last_chance": True})
    if view is None:
        doing = at_provider(case, purchase, _why_unread(case.observed), case.observed.provider_problem)
    else:
        doing = at_provider(case, purchase, Reason.PROCESSING, view.message)
    return plan_of(case, doing, again=_poll_after(case, purchase))


def _why_unread(observed: Observed) -> Reason:
    return Reason.PROVIDER_NOT_CONFIGURED if observed.access_refused else Reason.PROVIDER_UNAVAILABLE


def cancellation(key: PurchaseKey, purchase: Purchase) -> Cancellation:
    """Ask for the end of a request."""
    request_id = purchase.request_id or ""
    return Cancellation(key=key, provider=purchase.provider, model=purchase.model, request_id=request_id)


def _too_late(case: Case, purchase: Purchase) -> str:
    since = (case.now - (purchase.submitted_at or purchase.created_at)).total_seconds()
    if since > case.policy.provider_seconds:
        return (
            f"{purchase.provider} has not finished request {purchase.request_id} after "
            f"{case.policy.provider_seconds} s, the operator's limit; it was cancelled{_said_last(case)}"
        )
    if deadline_passed(case):
        return (
            f"{purchase.provider} has not finished request {purchase.request_id} and spec.deadlineSeconds "
            f"({case.resource.deadline_seconds}) is over; it was cancelled{_said_last(case)}"
        )
    return ""


def _said_last(case: Case) -> str:
    view = case.observed.request
    said = view.message if view is not None else case.observed.provider_problem
    return f"; its last answer: {said}" if said else ""


def deadline_passed(case: Case) -> bool:
    """Whether the run takes longer than its spec allows."""
    seconds = case.resource.deadline_seconds
    return seconds is not None and (case.now - case.run.started_at).total_seconds() >= seconds


def _poll_after(case: Case, purchase: Purchase) -> float:
    """Often at first, for what takes seconds; ever less often for what takes minutes."""
    view = case.observed.request
    if view is not None and view.state is RequestState.GONE:
        return _GONE_PAUSE_SECONDS
    since = abs((case.now - (purchase.submitted_at or case.now)).total_seconds())  # the clock may have been set back
    return min(max(since / 10, min(0.5, case.policy.poll_seconds)), case.policy.poll_seconds)


def at_provider(case: Case, purchase: Purchase, reason: Reason, message: str) -> Doing:
    """The state while the provider works."""
    expected = case.provider_seconds
    since = (case.now - (purchase.submitted_at or case.now)).total_seconds()
    # Without a figure from the provider, time is the measure; it never claims to be done. In fifths, because each
    # figure is a write of the status.
    fraction = math.floor(5 * min(since / max(expected, 1), 0.95)) / 5
    return Doing(
        phase=Phase.PROCESSING,
        reason=reason,
        message=message,
        step=PROVIDER_STEP[case.kind],
        fraction=fraction,
        remaining_seconds=max(expected - since, 1) + COLLECT_SECONDS,
    )


def _store_result(case: Case, purchase: Purchase, view: RequestView, result: Answer) -> Plan:
    """The provider deletes its answer within the hour: it is stored before anything else is done with it."""
    key = keys.purchase_response(purchase.purchase_id)
    changes = {"result_key": key, "finished_at": case.now} | _billing(case, purchase, view)
    move = move_of(case, purchase, PurchaseState.SUCCEEDED, **changes)
    first = case.run.model_copy(update={"job": None})
    plan = start(case.model_copy(update={"run": first}), Stage.COLLECT, collecting("the provider has finished"), 1)
    kept_by = ownership.of_purchase(purchase.purchase_id)
    store = StoredAnswer(owner=kept_by, key=key, answer=result, needed=kinds.fetched_under(case.kind))
    return plan.model_copy(update={"moves": (move,), "store": store, "finalizer": case.resource.deletes_files})


def is_lost(case: Case, purchase: Purchase, view: RequestView) -> bool:
    """Whether a paid result is gone for good. A provider that has just taken a request may not know it everywhere."""
    since = (case.now - (purchase.submitted_at or purchase.created_at)).total_seconds()
    return view.state is RequestState.GONE and since >= _GONE_SECONDS


def _billing(case: Case, purchase: Purchase, view: RequestView) -> dict[str, Any]:
    """What a finished request cost, at the rate of the model that did it."""
    rate: dict[str, Any] = {}
    if view.model_used and purchase.model not in case.policy.own_prices:
        rate = costs.priced(case.spec, case.policy.prices.get(f"{purchase.provider}/{view.model_used}"))
    return costs.finished(purchase, PurchaseState.SUCCEEDED, billable_units=view.billable_units, **rate)


def _unstorable(case: Case, purchase: Purchase, view: RequestView) -> Plan:
    """The request is paid and finished, and its result is too large or gone: it is not asked for again."""
    changes = {"finished_at": case.now, "error": view.message} | _billing(case, purchase, view)
    move = move_of(case, purchase, PurchaseState.SUCCEEDED, **changes)
    bought = purchase.model_copy(update=changes | {"state": PurchaseState.SUCCEEDED})
    seen = case.observed.model_copy(update={"purchase": bought})
    plan = unstored(case.model_copy(update={"observed": seen}), bought)
    return plan.model_copy(update={"moves": (move,)})


def unstored(case: Case, purchase: Purchase) -> Plan:
    """The end of a run whose paid result could not be stored."""
    message = (
        f"request {purchase.request_id} of {purchase.provider} was paid, but {purchase.error}, so nothing is "
        "stored: look for it there by this id; the annotation contentgen.dev/rerun pays for a new one"
    )
    return fail(case, Reason.RESULT_INVALID, message)


def provider_failed(case: Case, purchase: Purchase) -> Plan:
    """The provider has said so: another attempt where the spec allows it."""
    if case.run.paid_attempt < case.spec.paid_attempts:
        return next_attempt(case, purchase.error)
    return fail(case, Reason.PROVIDER_FAILED, f"{purchase.provider} failed: {purchase.error}")


def next_attempt(case: Case, why: str) -> Plan:
    """Another purchase of the same."""
    run = case.run.model_copy(
        update={
            "paid_attempt": case.run.paid_attempt + 1,
            "purchase_id": None,
            "sent_at": None,
            "request_id": None,
            "submitted_at": None,
        }
    )
    message = f"paid attempt {run.paid_attempt} follows: {why}"
    return plan_of(case, submitting(case, Reason.SUBMITTING, message), run=run, again=SOON)


def pause_after_refusal(case: Case, purchase: Purchase, now: datetime) -> float:
    """Seconds until the provider is asked again, after it was busy: ever longer, at most a minute."""
    pause = min(60.0, case.policy.poll_seconds * 2.0 ** min(purchase.tries, 10))
    return pause - (now - purchase.changed_at).total_seconds()
