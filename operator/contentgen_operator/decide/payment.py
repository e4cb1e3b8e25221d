"""Paid request of a run: sent once, searched if its reply was lost, polled, cancelled at a limit. Pure."""

import hashlib
import math
from datetime import datetime, timedelta
from typing import Any

from contentgen_contract.advice import guidance
from contentgen_contract.base import Value
from contentgen_contract.names import ADOPT_ANNOTATION, Phase, Reason, Stage
from contentgen_contract.resources.spec import ImageGenerationSpec, Spec
from contentgen_contract.resources.status import RunStatus
from contentgen_operator.accounts.values import AccountGrant
from contentgen_operator.budgets.claims import claims, purchase_fields
from contentgen_operator.decide.collect_retries import open_advice, retry_advice
from contentgen_operator.decide.request_endings import (
    MISSING,
    Ending,
    missing_pause_seconds,
    missing_text,
    observed_fields,
    request_ending,
)
from contentgen_operator.decide.stages import start_job
from contentgen_operator.plans import history_searches
from contentgen_operator.plans.planning import SOON, collecting, fail, new_plan, purchase_transition, submitting
from contentgen_operator.state import costs
from contentgen_operator.state.decision_input import DecisionInput, RunState
from contentgen_operator.state.kinds import table as kinds
from contentgen_operator.state.kinds.row import CallContext
from contentgen_operator.state.kinds.table import content_of
from contentgen_operator.state.observed import LoraView, Observation, Resource
from contentgen_operator.state.plan import (
    Adoption,
    Cancellation,
    LostPurchase,
    Payment,
    Plan,
    Reservation,
    RestoredPurchase,
    StoredAnswer,
)
from contentgen_operator.state.provider_requests import (
    Call,
    RequestState,
    RequestView,
    arguments_json,
    is_request_id,
)
from contentgen_operator.state.purchases import LedgerTransition, Purchase, PurchaseKey, PurchaseState, SendState
from contentgen_operator.state.runs import asset_user, purchase_key

COLLECT_SECONDS = 15.0  # expected duration of a collect stage, for the ETA
_REFUSED_PAUSE_SECONDS, _BLOCKED_PAUSE_SECONDS = 60.0, 3600.0
_LEDGER_WAIT_SECONDS = 60.0
CANCEL_GRACE_SECONDS = 15.0  # in which a request may end after its cancellation was asked for
CANCEL_POLL_SECONDS = 1.0
_UNREACHABLE_SECONDS = 300.0  # wait for an unavailable provider after a deadline
RESUBMITTED = "a person asked for another submission"
_MAX_PROBLEM = 400  # characters of a provider's message; advice follows it


_ADOPTABLE = (PurchaseState.INTENT, PurchaseState.SUBMITTED, PurchaseState.SUCCEEDED, PurchaseState.COLLECTED)
_SEARCH_REASONS = (Reason.LOOKING_FOR_REQUEST, Reason.SUBMISSION_UNKNOWN)


def adoption(resource: Resource, key: PurchaseKey, purchase: Purchase | None) -> Adoption | None:
    """Change of owner of a purchase that the resource uses; None: its own, or not adoptable."""
    if purchase is None or purchase.job_id == resource.ref.uid or purchase.unpaid or purchase.abandoned:
        return None
    if resource.tenant.block_reason:  # the owner of the tenant's purchases is unknown
        return None
    if purchase.state not in _ADOPTABLE:
        return None
    return Adoption(key=key, purchase=purchase, job_id=resource.ref.uid, tenant=resource.tenant)


def pay(case: DecisionInput) -> Plan:
    """The plan that reserves the purchase; in the next reconcile, the plan that sends the reserved purchase."""
    user, loras = asset_user(case.resource, case.spec), case.observed.loras
    call = call_of(case, loras)
    content = content_of(case.spec, call, case.run.facts or {}, loras)
    purchase = Purchase(
        state=PurchaseState.INTENT,
        send_state=SendState.PLANNED,
        job_id=case.resource.ref.uid,
        **_tenant_fields(case.resource),
        type=case.kind.record_type,
        user_id=user,
        loras=tuple(lora.model_key for lora in loras if lora.model_key),
        provider=call.provider,
        account=case.observed.facts_of(AccountGrant).name,
        model=call.model,
        correlation_key=call.correlation_key,
        content=content.kept,
        sent_input=arguments_json(call.arguments),
        created_at=case.now,
        changed_at=case.now,
        units=kinds.row_of(case.spec).units(case.spec, kinds.duration_seconds(case.run)),
        estimated_micros=case.estimated_micros,
        **costs.price_fields(case.spec, case.price),
        **purchase_fields(case),
    )
    run_state = submitting(case, Reason.SUBMITTING, f"requesting {call.model} from {call.provider}")
    run = case.run.model_copy(update={"provider_account": purchase.account})
    plan = new_plan(case, run_state, run=run, again=SOON)
    plan = plan.model_copy(update={"finalizer": True, "of_features": claims(case)})
    planned = case.observed.purchase
    if planned is None or not _is_reserved(case, planned):
        reservation = Reservation(key=case.key, purchase=purchase, asked=content.asked)
        return plan.model_copy(update={"reservation": reservation})
    if planned.account != purchase.account:  # the namespace was granted another account before anything was sent
        return plan.model_copy(update={"moves": (_account_transition(case, planned, purchase.account),)})
    if case.run.provider_account != purchase.account:
        return plan
    tries = {"send_number": planned.send_number, "ended_by": planned.ended_by}
    purchase = purchase.model_copy(update={"purchase_id": planned.purchase_id, **tries})
    return plan.model_copy(update={"payment": _payment(case, planned, purchase, call)})


def call_of(case: DecisionInput, loras: tuple[LoraView, ...]) -> Call:
    """The paid call of a run with these trained LoRAs."""
    user = asset_user(case.resource, case.spec)
    job = CallContext(provider=case.provider, user_id=user, job_id=case.resource.ref.uid, version=case.run.version)
    return kinds.call_of(case.spec, job, case.key, loras, case.settings.speech_models)


def _account_transition(case: DecisionInput, planned: Purchase, account: str | None) -> LedgerTransition:
    planned_state = SendState.PLANNED.value
    return purchase_transition(case, planned, PurchaseState.INTENT, send_state=planned_state, account=account)


def _tenant_fields(resource: Resource) -> dict[str, Any]:
    tenant = resource.tenant
    return {
        "namespace": resource.ref.namespace,
        "tenant": resource.scope or None,
        "namespace_uid": tenant.uid or None,
        "cluster_uid": tenant.cluster or None,
    }


def _payment(case: DecisionInput, planned: Purchase, purchase: Purchase, call: Call) -> Payment:
    return Payment(key=case.key, purchase=purchase, call=call, planned_at=planned.changed_at)


def _is_reserved(case: DecisionInput, purchase: Purchase) -> bool:
    """True if the purchase is planned for this resource and named in its status: then the bucket names it too."""
    mine = purchase.planned and purchase.job_id == case.resource.ref.uid
    return mine and case.run.purchase_id == purchase.purchase_id and case.resource.purchase_is_named


def was_rewound(case: DecisionInput) -> bool:
    """True if the status is newer than a ledger that would allow the payment: the request may have been sent."""
    run, last, purchase = case.run, case.resource.status, case.observed.purchase
    if purchase is not None and not purchase.unpaid:
        return False
    same_attempt = last.run is not None and (last.run.number, last.run.paid_attempt) == (run.number, run.paid_attempt)
    if run.request_id is not None:
        return True
    if same_attempt and last.reason in _SEARCH_REASONS and not _was_withdrawn(run, purchase):
        return True
    if purchase is None:
        return run.purchase_id is not None
    if run.purchase_id not in (None, purchase.purchase_id):
        return True
    return run.sent_at is not None and (purchase.sent_at is None or purchase.sent_at < run.sent_at)


def _was_withdrawn(run: RunStatus, purchase: Purchase | None) -> bool:
    """True if the ledger says that the POST in the status was stopped before its first byte (`Ledger.withdraw`).

    Nothing else leaves a planned purchase with the time of that POST: a backup has an earlier time, or none.
    """
    if purchase is None or not purchase.planned or purchase.purchase_id != run.purchase_id:
        return False
    return purchase.sent_at is not None and purchase.sent_at.replace(microsecond=0) == run.sent_at


def status_names_purchase(resource: Resource, run: RunStatus) -> bool:
    """True if the status names a purchase, or says that its request is searched."""
    same_run = resource.status.run is not None and resource.status.run.number == run.number
    searched = same_run and resource.status.reason in _SEARCH_REASONS
    return run.request_id is not None or run.purchase_id is not None or searched


def _id_of_lost(key: PurchaseKey) -> str:
    """Purchase id where the status was cleared of it: always the same for a key."""
    return f"lost-{hashlib.sha256(str(key).encode()).hexdigest()[:32]}"


def purchase_from_status(resource: Resource, run: RunStatus, spec: Spec, provider: str) -> Purchase:
    """Purchase that the ledger has lost, rebuilt from the status."""
    key, user = purchase_key(resource, run), asset_user(resource, spec)
    drawn_with = spec.loras if isinstance(spec, ImageGenerationSpec) else ()
    names = [each.lora_ref.name for each in drawn_with if each.lora_ref]
    loras = tuple(LoraView(name=name, model_key=at) for name, at in zip(names, run.loras, strict=False))
    loras += tuple(LoraView(name=name) for name in names[len(loras) :])
    job = CallContext(provider=provider, user_id=user, job_id=resource.ref.uid, version=run.version)
    call = kinds.call_of(spec, job, key, loras)
    sent = run.sent_at or run.started_at
    return Purchase(
        purchase_id=run.purchase_id or _id_of_lost(key),
        state=PurchaseState.INTENT,
        send_state=SendState.SENDING,
        job_id=resource.ref.uid,
        **_tenant_fields(resource),
        type=resource.ref.kind.record_type,
        user_id=user,
        loras=tuple(lora.model_key for lora in loras if lora.model_key),
        provider=call.provider,
        account=run.provider_account,
        model=call.model,
        correlation_key=call.correlation_key,
        content=content_of(spec, call, run.facts or {}, loras).kept,
        created_at=sent,
        changed_at=sent,
        sent_at=sent,
        units=kinds.row_of(spec).units(spec, kinds.duration_seconds(run)),
    )


def purchase_missing(case: DecisionInput) -> Plan:
    """The plan if the ledger lacks a purchase that the status or the bucket names, or has it as unsent: a store was
    restored from a backup. Nothing is paid.
    """
    kept = case.observed.purchase
    blind = case.model_copy(update={"observed": case.observed.model_copy(update={"purchase": None})})
    if case.observed.named is not None and case.observed.named.same and case.resource.adopt is not None:
        return _restore_purchase(blind, kept, case.resource.adopt)
    if case.resource.resubmit == case.key.token:
        return _abandon_purchase(case, next_attempt(blind, RESUBMITTED, resubmitted=True), kept)
    what = f"request {case.run.request_id}" if case.run.request_id else f"purchase {case.run.purchase_id or case.key}"
    message = guidance.join_message(
        f"{what} of {case.provider} was paid, or may have been, and the ledger in MongoDB has lost it"
        f"{_named_text(case)}",
        f": restore the ledger and this goes on, {guidance.adopt_advice(case.run.request_id)}, or "
        f"{guidance.resubmit_advice(case.key.token)}",
    )
    run_state = _unknown(case, message)
    # The finalizer lets a deletion write into the ledger what only the status names.
    return new_plan(blind, run_state, again=_LEDGER_WAIT_SECONDS).model_copy(update={"finalizer": True})


def _unknown(case: DecisionInput, message: str) -> RunState:
    """State of a run whose purchase waits until a person names its request or allows another payment."""
    return RunState(
        phase=Phase.SUBMISSION_UNKNOWN,
        reason=Reason.SUBMISSION_UNKNOWN,
        message=message,
        resubmit_token=case.key.token,
    )


def _named_text(case: DecisionInput) -> str:
    """Message about a refused adopt annotation; empty: none is refused. Its value is included if it is a valid id."""
    named, given = case.observed.named, case.resource.adopt
    if named is None or named.same or given is None:
        return ""
    value = f"={given}" if is_request_id(given) else ""
    return f"; {ADOPT_ANNOTATION}{value} is not adopted: {named.text[:_MAX_PROBLEM]}"


def _restore_purchase(case: DecisionInput, kept: Purchase | None, request_id: str) -> Plan:
    """The plan that restores a lost purchase in the ledger with the request id of the adopt annotation."""
    was = purchase_from_status(case.resource, case.run, case.spec, case.provider)
    run_state = RunState(phase=Phase.PROCESSING, reason=Reason.PROCESSING, message="the named request is verified")
    plan = new_plan(case, run_state, again=SOON)
    plan = plan.model_copy(update={"finalizer": True, "of_features": claims(case, paid=True)})
    changes = {"request_id": request_id, "submitted_at": was.sent_at, "sent_at": was.sent_at, "send_state": None}
    if kept is None:
        update = {"state": PurchaseState.SUBMITTED, "changed_at": case.now, "estimated_micros": case.estimated_micros}
        purchase = was.model_copy(
            update=changes | update | costs.price_fields(case.spec, case.price) | purchase_fields(case)
        )
        return plan.model_copy(update={"restored": RestoredPurchase(key=case.key, purchase=purchase)})
    move = LedgerTransition(
        key=case.key,
        source=kept.state,
        target=PurchaseState.SUBMITTED,
        owner=kept.job_id,
        expected={"send_state": kept.send_state},
        changes=changes
        | {"changed_at": case.now, "correlation_key": was.correlation_key, "loras": was.loras}
        | purchase_fields(case),
        bound_to=kept,
    )
    return plan.model_copy(update={"moves": (move,)})


def _abandon_purchase(case: DecisionInput, plan: Plan, kept: Purchase | None) -> Plan:
    """The plan that marks a lost purchase as abandoned, so that the next attempt follows for any resource with its
    key. It may be paid, so it counts in its budgets.
    """
    plan = plan.model_copy(update={"of_features": claims(case, paid=True)})
    if kept is not None:
        move = LedgerTransition(
            key=case.key,
            source=kept.state,
            target=PurchaseState.INTENT,
            owner=kept.job_id,
            expected={"send_state": kept.send_state},
            changes={"send_state": SendState.ABANDONED.value, "changed_at": case.now} | purchase_fields(case),
        )
        return plan.model_copy(update={"moves": (move,)})
    lost_one = purchase_from_status(case.resource, case.run, case.spec, case.provider).model_copy(
        update={
            "send_state": SendState.ABANDONED,
            "changed_at": case.now,
            "sent_at": case.run.sent_at,
            "error": f"the ledger had lost it; its request was {case.run.request_id}",
        }
        | purchase_fields(case)
    )
    return plan.model_copy(update={"unrecorded": LostPurchase(key=case.key, purchase=lost_one)})


def search_lost_request(case: DecisionInput, purchase: Purchase) -> Plan:
    """The plan for an intent without a request id: it may be paid, so it is searched and never sent again."""
    if case.observed.found_request is not None:
        sent = purchase.sent_at or purchase.created_at
        changes = {"request_id": case.observed.found_request, "submitted_at": sent}
        run_state = RunState(phase=Phase.PROCESSING, reason=Reason.PROCESSING, message="the request was found again")
        move = purchase_transition(case, purchase, PurchaseState.SUBMITTED, **changes)
        moves = (move.model_copy(update={"bound_to": purchase}),)
        return new_plan(case, run_state, moves=moves, again=SOON)
    # The annotation stays on the resource, so its token names one purchase: it must not pay for a later run too.
    if case.resource.resubmit == case.key.token:
        moves = (purchase_transition(case, purchase, PurchaseState.INTENT, send_state=SendState.ABANDONED.value),)
        plan = next_attempt(case, RESUBMITTED, resubmitted=True)
        return plan.model_copy(update={"moves": moves})
    return _not_found(case, purchase)


def _not_found(case: DecisionInput, purchase: Purchase) -> Plan:
    """The plan that continues the search. A run that may be paid does not end at its deadline."""
    waited = (case.now - history_searches.sent_at(purchase)).total_seconds()
    again = history_searches.next_search_seconds(purchase, case.now, case.settings)
    problem = case.observed.provider_problem[:_MAX_PROBLEM]
    late = f"; spec.deadlineSeconds ({case.resource.deadline_seconds}) is over" if deadline_passed(case) else ""
    # A clock that is set back makes the wait shorter; the advice in the status stays all the same.
    advised = case.resource.status.phase is Phase.SUBMISSION_UNKNOWN
    if waited < case.settings.adoption_seconds and not advised:
        message = f"the reply of {purchase.provider} was lost; searching its history for the request"
        message += f", which cannot be read: {problem}" if problem else ""
        run_state = submitting(case, Reason.LOOKING_FOR_REQUEST, message + late + _named_text(case))
        return new_plan(case, run_state, again=again)
    message = guidance.join_message(
        f"{purchase.provider} may have been paid; "
        f"{history_searches.schedule_text(purchase, case.now, case.settings)}{late}"
        f"; its history {_search_result_text(case.observed)}{_named_text(case)}",
        f"; check its dashboard, then {guidance.adopt_advice()}, or {guidance.resubmit_advice(case.key.token)}",
    )
    run_state = _unknown(case, message)
    return new_plan(case, run_state, again=again)


def _search_result_text(observed: Observation) -> str:
    if observed.provider_problem:
        return f"cannot be read ({observed.provider_problem[:_MAX_PROBLEM]})"
    return "does not list the request" if observed.history_complete else "could be read only in part"


def poll(case: DecisionInput, purchase: Purchase) -> Plan:
    """The plan while the provider has the request, or does not know it for a while."""
    view = case.observed.request
    if view is None:
        return _wait_for_request(case, purchase)
    if (end := run_request_ending(case, purchase, view)) is not None:
        return _end_request(case, purchase, view, end)
    plan = _wait_for_request(case, purchase)
    if plan.cancel is not None:  # it changes the purchase too
        return plan
    return plan.model_copy(update={"moves": noted_answer(case.key, purchase, view, case.now, case.resource.ref.uid)})


def noted_answer(
    key: PurchaseKey, purchase: Purchase, view: RequestView, now: datetime, owner: str
) -> tuple[LedgerTransition, ...]:
    """Transition that records an answer which does not end a request; empty: nothing new."""
    changes = observed_fields(purchase, view, now)
    if not changes:
        return ()
    state, expected = purchase.state, {"send_state": purchase.send_state}
    return (LedgerTransition(key=key, source=state, target=state, owner=owner, expected=expected, changes=changes),)


def _wait_for_request(case: DecisionInput, purchase: Purchase) -> Plan:
    view = case.observed.request
    finished = view is not None and view.state is RequestState.GONE  # only its result is missing
    if not finished and (late := passed_limit(case, purchase)) is not None:
        return _cancel_at_limit(case, purchase, late)
    if view is None:
        run_state = processing(case, purchase, unread_reason(case.observed), case.observed.provider_problem)
    elif view.state in MISSING:
        other_key = not view.same_key and purchase.key_id is not None
        reason = Reason.PROVIDER_NOT_CONFIGURED if other_key else Reason.PROVIDER_UNAVAILABLE
        text = f"{missing_text(purchase, view, case.now)}; request {purchase.request_id} is asked for again by itself"
        run_state = processing(case, purchase, reason, text)
    else:
        run_state = processing(case, purchase, Reason.PROCESSING, view.message)
    return new_plan(case, run_state, again=_poll_seconds(case, purchase))


def run_request_ending(case: DecisionInput, purchase: Purchase, view: RequestView) -> Ending | None:
    """Ending of a purchase of the run, at the unit price of the model that was used; None while it goes on."""
    rate: dict[str, Any] = {}
    if view.model_used and purchase.model not in case.settings.own_prices:
        rate = costs.price_fields(case.spec, case.settings.prices.get(f"{purchase.provider}/{view.model_used}"))
    return request_ending(case.kind, purchase, view, case.now, rate)


def _end_request(case: DecisionInput, purchase: Purchase, view: RequestView, end: Ending) -> Plan:
    moves = (purchase_transition(case, purchase, end.target, **end.changes),)
    if "result_key" in end.changes:
        return _start_collect(case, end.answer).model_copy(update={"moves": moves})
    if end.target is PurchaseState.SUCCEEDED:  # too large or given up: polled again at a person's request only
        bought = purchase.model_copy(update=end.changes | {"state": end.target})
        observed = case.observed.model_copy(update={"purchase": bought})
        return result_not_stored(case.model_copy(update={"observed": observed}), bought).model_copy(
            update={"moves": moves}
        )
    run_state = processing(case, purchase, Reason.PROCESSING, f"{purchase.provider} says: {view.message}")
    return new_plan(case, run_state, moves=moves, again=SOON)


def _start_collect(case: DecisionInput, answer: StoredAnswer | None) -> Plan:
    """The plan that stores the response and starts the collect stage; the provider deletes it within an hour.
    `answer` None: it is stored already.
    """
    first = case.model_copy(update={"run": case.run.model_copy(update={"job": None})})
    plan = start_job(first, Stage.COLLECT, collecting("the provider has finished"), 1)
    return plan.model_copy(update={"store": answer, "finalizer": case.resource.deletes_files})


def unread_reason(observed: Observation) -> Reason:
    """Reason of a wait for a provider that cannot be read."""
    return Reason.PROVIDER_NOT_CONFIGURED if observed.access_refused else Reason.PROVIDER_UNAVAILABLE


def cancel_request(key: PurchaseKey, purchase: Purchase, *, last_chance: bool = True) -> Cancellation:
    """Cancellation of a purchase's request."""
    return Cancellation(
        key=key,
        provider=purchase.provider,
        account=purchase.account,
        model=purchase.model,
        request_id=purchase.request_id or "",
        last_chance=last_chance,
    )


class TooLate(Value):
    """Passed time limit of a request."""

    since: datetime
    text: str


def passed_limit(case: DecisionInput, purchase: Purchase) -> TooLate | None:
    """The operator's or the run's limit that a request has passed; None: neither."""
    name = f"{purchase.provider} has not finished request {purchase.request_id}"
    limit = timedelta(seconds=case.settings.provider_seconds)
    end = (purchase.submitted_at or purchase.created_at) + limit
    if case.now > end:
        return TooLate(since=end, text=f"{name} after {case.settings.provider_seconds} s, the operator's limit")
    if deadline_passed(case):
        seconds = case.resource.deadline_seconds or 0
        since = case.run.started_at + timedelta(seconds=seconds)
        return TooLate(since=since, text=f"{name} and spec.deadlineSeconds ({seconds}) is over")
    return None


def _cancel_at_limit(case: DecisionInput, purchase: Purchase, late: TooLate) -> Plan:
    """The plan that cancels a request. The run ends once the provider confirms, or after a grace period."""
    asked, view = purchase.cancel_asked_at, case.observed.request
    cancel = {"cancel": cancel_request(case.key, purchase)}
    if asked is None or asked < late.since:
        long_over = (case.now - late.since).total_seconds() >= _UNREACHABLE_SECONDS
        if view is None and long_over:
            text = f"{late.text}; the cancellation could not be requested{_open_text(case)}"
            return fail(case, Reason.DEADLINE_EXCEEDED, text).model_copy(update=cancel)
        run_state = processing(case, purchase, Reason.PROCESSING, f"{late.text}; it is being cancelled")
        again = case.settings.poll_seconds if view is None or long_over else CANCEL_POLL_SECONDS
        return new_plan(case, run_state, again=again).model_copy(update=cancel)
    if (case.now - asked).total_seconds() < CANCEL_GRACE_SECONDS:
        run_state = processing(case, purchase, Reason.PROCESSING, f"{late.text}; its cancellation was requested")
        return new_plan(case, run_state, again=CANCEL_POLL_SECONDS)
    text = f"{late.text}; it was asked to cancel the request and has not{_open_text(case)}"
    return fail(case, Reason.DEADLINE_EXCEEDED, text)


def cancelled_in_time(case: DecisionInput, purchase: Purchase) -> Plan | None:
    """Failure of a run whose request was cancelled at a limit; None: it was cancelled for another reason."""
    mine = purchase.job_id == case.resource.ref.uid and case.run.request_id == purchase.request_id
    late = passed_limit(case, purchase) if mine and not case.cancelled else None
    return fail(case, Reason.DEADLINE_EXCEEDED, f"{late.text}; it was cancelled") if late is not None else None


def _open_text(case: DecisionInput) -> str:
    return f"{_last_answer_text(case)}; it may still finish and be billed; {open_advice(case.run)}"


def _last_answer_text(case: DecisionInput) -> str:
    view, purchase = case.observed.request, case.observed.purchase
    if view is not None and view.state in MISSING and purchase is not None:
        return f"; {missing_text(purchase, view, case.now)}"
    answer = view.message if view is not None else case.observed.provider_problem
    return f"; its last answer: {answer[:_MAX_PROBLEM]}" if answer else ""


def deadline_passed(case: DecisionInput) -> bool:
    """True if the run takes longer than spec.deadlineSeconds."""
    seconds = case.resource.deadline_seconds
    return seconds is not None and (case.now - case.run.started_at).total_seconds() >= seconds


def _poll_seconds(case: DecisionInput, purchase: Purchase) -> float:
    """Seconds until the next poll: a tenth of the request's age, from 0.5 to `poll_seconds`."""
    view = case.observed.request
    if view is not None and view.state in MISSING:
        return missing_pause_seconds(purchase, case.now)
    since = abs((case.now - (purchase.submitted_at or case.now)).total_seconds())  # the clock may be set back
    return min(max(since / 10, min(0.5, case.settings.poll_seconds)), case.settings.poll_seconds)


def processing(case: DecisionInput, purchase: Purchase, reason: Reason, message: str) -> RunState:
    """State while the provider works."""
    expected = case.provider_seconds
    since = (case.now - (purchase.submitted_at or case.now)).total_seconds()
    # Estimated by time, since the provider reports no progress; below 1, and in fifths, because each change writes
    # the status.
    fraction = math.floor(5 * min(since / max(expected, 1), 0.95)) / 5
    return RunState(
        phase=Phase.PROCESSING,
        reason=reason,
        message=message,
        step=case.kind.info.provider_step,
        fraction=fraction,
        remaining_seconds=max(expected - since, 1) + COLLECT_SECONDS,
    )


def result_not_stored(case: DecisionInput, purchase: Purchase) -> Plan:
    """Failure of a run whose paid result could not be stored. The provider may have it again, or for another key."""
    paid = "may have been paid" if purchase.unresolved else "was paid"
    account = purchase.account or "the default one"
    message = (
        f"request {purchase.request_id} of {purchase.provider} {paid}, but {purchase.error}, so nothing is stored: "
        f"look for it there by this id, in the account that it was sent with ({account}), before another payment; if "
        f"it is there, {retry_advice(case.run, 'it')}"
    )
    return fail(case, Reason.RESULT_INVALID, message)


def provider_failed(case: DecisionInput, purchase: Purchase) -> Plan:
    """The plan after a failure at the provider: another attempt if spec.paidAttempts allows it and the input was not
    refused.
    """
    another = case.run.paid_attempt < case.spec.paid_attempts
    if another and not purchase.permanent:
        return next_attempt(case, purchase.error)
    message = f"{purchase.provider} failed: {purchase.error}"
    if another:
        message += (
            "; it refused the input, and would again, so nothing more is bought although spec.paidAttempts is "
            f"{case.spec.paid_attempts}"
        )
    return fail(case, Reason.PROVIDER_FAILED, message)


def next_attempt(case: DecisionInput, why: str, *, resubmitted: bool = False) -> Plan:
    """The plan for the next paid attempt of the run. One that a person has resubmitted needs an approval of its own:
    the run's covers spec.paidAttempts.
    """
    run = case.run.model_copy(
        update={
            "paid_attempt": case.run.paid_attempt + 1,
            "provider_account": None,
            "purchase_id": None,
            "sent_at": None,
            "request_id": None,
            "submitted_at": None,
            "approval": None if resubmitted else case.run.approval,
        }
    )
    message = f"paid attempt {run.paid_attempt} follows: {why}"
    run_state = submitting(case, Reason.SUBMITTING, message)
    if case.kind.prepares and run.facts is None:
        # An adopted purchase was prepared by its former owner, whose dataset this resource cannot use.
        run_state = run_state.model_copy(
            update={"phase": Phase.PREPARING, "reason": Reason.PREPARING, "step": next(iter(case.kind.info.progress))}
        )
    return new_plan(case, run_state, run=run, again=SOON)


def pause_after_refusal(case: DecisionInput, purchase: Purchase, now: datetime) -> float:
    """Seconds until the next POST after a refusal, with exponential backoff up to a minute, or up to an hour if the
    request is blocked; negative: it is due.
    """
    longest = _BLOCKED_PAUSE_SECONDS if purchase.blocked else _REFUSED_PAUSE_SECONDS
    pause = min(longest, case.settings.poll_seconds * 2.0 ** min(purchase.tries, 10))
    return pause - (now - purchase.changed_at).total_seconds()
