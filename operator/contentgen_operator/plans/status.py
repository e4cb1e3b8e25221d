"""Status builder: progress, ETA, cost, conditions and events from a run state. Pure."""

from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from contentgen_contract.advice.job_facts import JobFacts
from contentgen_contract.advice.permitted_actions import status_actions
from contentgen_contract.names import COLLECT_ANNOTATION, RERUN_ANNOTATION, Kind, Phase, Reason, Step, progress_at
from contentgen_contract.resources.prices import format_dollars
from contentgen_contract.resources.status import (
    CollectStatus,
    Cost,
    ResourceStatus,
    RunStatus,
    clean_message,
    dump_status,
)
from contentgen_contract.texts import bare_urls
from contentgen_operator.plans import history_searches
from contentgen_operator.plans.conditions import ConditionInput, conditions
from contentgen_operator.state.costs import CostSource, PurchaseCost, cost_of, final_cost, total
from contentgen_operator.state.decision_input import DecisionInput, RunState
from contentgen_operator.state.observed import Observation, Resource
from contentgen_operator.state.plan import Event
from contentgen_operator.state.purchases import Purchase, PurchaseState
from contentgen_operator.state.runs import bare_spec, generation_of_status, is_bought_before

_WARNINGS = (
    Reason.JOB_REFUSED,
    Reason.POD_NOT_STARTED,
    Reason.RETRYING,
    Reason.LORA_FAILED,
    Reason.LORA_MISSING,
    Reason.WAITING_FOR_LORA_NAME,
    Reason.CLUSTER_NOT_CONFIRMED,
)
_OPEN = (PurchaseState.INTENT, PurchaseState.SUBMITTED)
_EACH_ATTEMPT = (Reason.RETRYING, Reason.COLLECTING, Reason.POD_NOT_STARTED)
_AT_WORK = (Phase.PREPARING, Phase.SUBMITTING, Phase.PROCESSING, Phase.COLLECTING)
_WITHOUT_RESULT = (PurchaseState.FAILED, PurchaseState.CANCELLED)  # never adopted


def with_actions(resource: Resource, status: ResourceStatus) -> ResourceStatus:
    """The status with the actions that it permits on the resource as it was read."""
    requests = {RERUN_ANNOTATION: resource.rerun, COLLECT_ANNOTATION: resource.collect}
    metadata = {
        "generation": resource.generation,
        "deletionTimestamp": resource.deleted_at.isoformat() if resource.deleted_at is not None else None,
        "annotations": {**requests, **resource.verdict_annotations},
    }
    body = {"metadata": metadata, "spec": resource.spec, "status": dump_status(status)}
    return status.model_copy(update={"actions": status_actions(JobFacts.of_resource(body))})


def build_status(case: DecisionInput, run_state: RunState, run: RunStatus) -> ResourceStatus:
    run_state = run_state.model_copy(update={"message": clean_message(bare_urls(run_state.message))})
    last = case.resource.status
    fresh = last.run is None or last.run.number != run.number
    purchase = case.observed.purchase
    if purchase is not None and run.paid_attempt == case.run.paid_attempt:  # the next one has no request yet
        run = run.model_copy(update=_purchase_fields(purchase))
    costs = _costs(case, run_state, run)
    billed = _billed(case.observed, run_state, run, costs)
    request_open = _is_open(case, run_state)
    observed = {"billed": billed, "request_open": request_open, "resubmit_token": run_state.resubmit_token}
    run = run.model_copy(update=observed)
    if run_state.phase.terminal and not request_open:  # nothing is sent or searched with this spec any more
        run = run.model_copy(update={"spec": bare_spec(run.spec)})
    state = ConditionInput(
        kind=case.kind,
        phase=run_state.phase,
        reason=run_state.reason,
        message=run_state.message,
        prepared=run.facts is not None or (purchase is not None and not purchase.unpaid and case.kind.prepares),
        submitted=run.request_id is not None,
        generation=generation_of_status(case.resource, run, ended=run_state.phase.terminal),
    )
    progress, stage = _progress(case.kind, run_state, None if fresh else last)
    return ResourceStatus(
        observed_generation=state.generation,
        job_id=case.resource.ref.uid,
        phase=run_state.phase,
        progress=progress,
        stage=stage,
        reason=run_state.reason,
        message=run_state.message,
        estimated_completion_time=_eta(case, run_state, last, progress),
        start_time=run.started_at,
        completion_time=case.now if run_state.phase.terminal else None,
        cost=_cost(case, run_state, run, costs),
        conditions=conditions(state, last, case.now),
        run=run,
        versions=last.versions,
    )


def _is_open(case: DecisionInput, run_state: RunState) -> bool | None:
    """True if a request of the resource is still open at the end of its run; None otherwise."""
    listed = (*case.observed.earlier, case.observed.purchase) if run_state.phase.terminal else ()
    mine = [purchase for purchase in listed if purchase is not None and purchase.job_id == case.resource.ref.uid]
    return True if any(history_searches.is_open(purchase, case.now) for purchase in mine) else None


def _purchase_fields(purchase: Purchase) -> dict[str, object]:
    """Fields of a run that come from its purchase; `act` adds the id of an unsent one once the bucket names it."""
    if purchase.unpaid:
        return {}
    return {
        "submitted_at": purchase.submitted_at,
        "loras": purchase.loras,
        "purchase_id": purchase.purchase_id,
        "provider_account": purchase.account,
        "sent_at": purchase.sent_at,
        "request_id": purchase.request_id,
    }


def _progress(kind: Kind, run_state: RunState, last: ResourceStatus | None) -> tuple[int, Step | None]:
    """Progress in percent and step; neither goes back within a run, also after a restart lost a worker's report."""
    if run_state.phase is Phase.COMPLETED:
        return 100, run_state.step
    progress = progress_at(kind, run_state.step, run_state.fraction)
    if last is not None and (run_state.phase is Phase.FAILED or progress < last.progress):
        return last.progress, last.stage
    return progress, run_state.step


def _eta(case: DecisionInput, run_state: RunState, last: ResourceStatus, progress: int) -> datetime | None:
    """Estimated time of completion; None: unknown. It changes only with phase or progress or once it has passed, and
    by more than five seconds: two operators with different estimates would overwrite each other without end.
    """
    if run_state.phase.terminal or run_state.remaining_seconds is None:
        return None
    eta = case.now + timedelta(seconds=run_state.remaining_seconds)
    before = last.estimated_completion_time
    if before is None or abs((before - eta).total_seconds()) <= 5:
        return before or eta
    unchanged = (last.phase, last.progress) == (run_state.phase, progress)
    return before if unchanged and before > case.now else eta


def _costs(case: DecisionInput, run_state: RunState, run: RunStatus) -> tuple[PurchaseCost, ...]:
    """Cost of each paid attempt of the run; of an attempt that is not bought yet, the estimate."""
    if _adopts(run_state.reason, run, case.observed.purchase):
        return (PurchaseCost(source=CostSource.NOT_BILLED, micros=0, billed=False),)
    earlier, purchase = case.observed.earlier, case.observed.purchase
    if purchase is not None and run.paid_attempt != case.run.paid_attempt:
        earlier, purchase = (*earlier, purchase), None
    # Attempts of another resource are not a cost of this one, which only continues after them.
    mine = [each_purchase for each_purchase in earlier if each_purchase.job_id == case.resource.ref.uid]
    if purchase is not None and purchase.job_id != case.resource.ref.uid and purchase.state in _WITHOUT_RESULT:
        return (*map(final_cost, mine), PurchaseCost(source=CostSource.NOT_BILLED, micros=0, billed=False))
    return (*map(final_cost, mine), *_cost_of_attempt(case, run_state, purchase))


def _cost_of_attempt(case: DecisionInput, run_state: RunState, purchase: Purchase | None) -> tuple[PurchaseCost, ...]:
    over = _is_over(run_state)
    if purchase is not None and (over or not purchase.unpaid):
        return (final_cost(purchase) if over else cost_of(purchase),)
    micros = purchase.estimated_micros if purchase else case.estimated_micros
    if over:  # of a request that the ledger has lost the cost is unknown
        if run_state.phase is Phase.SUBMISSION_UNKNOWN:
            return (PurchaseCost(source=CostSource.UNKNOWN),)
        # The run cost nothing, and its estimate is the price of the next one.
        unsent = run_state.phase is Phase.FAILED and case.run.paid_attempt == 1 and case.run.purchase_id is None
        return (PurchaseCost(source=CostSource.NOT_BILLED, micros=0, billed=False),) if unsent and micros else ()
    if micros is None:  # for want of a price, or because the length of a recording is not known yet
        return (PurchaseCost(source=CostSource.UNKNOWN),) if case.price is None else ()
    return (PurchaseCost(source=CostSource.ESTIMATE, micros=micros),)


def _is_over(run_state: RunState) -> bool:
    """True if the cost is final; after a dry run it remains an estimate."""
    ended = run_state.phase.terminal and run_state.reason is not Reason.ESTIMATED
    return ended or run_state.phase is Phase.SUBMISSION_UNKNOWN


def _cost(case: DecisionInput, run_state: RunState, run: RunStatus, costs: tuple[PurchaseCost, ...]) -> Cost | None:
    if not costs:
        return None
    purchase, price = case.observed.purchase, case.price
    estimated = purchase.estimated_micros if purchase else case.estimated_micros
    others = _paid_by_other_runs(case.observed, case.resource.ref.uid, adopted=_adopts(run_state.reason, run, purchase))
    return Cost(
        estimated="" if estimated is None else format_dollars(estimated),
        currency="USD",
        source=((purchase.price_source if purchase else "") or (price.source if price else ""))[:64],
        **_amounts(costs, others, over=_is_over(run_state)),
    )


def _adopts(reason: Reason | str | None, run: RunStatus, purchase: Purchase | None) -> bool:
    """True if another resource or an earlier run has paid for the run's purchase."""
    return reason == Reason.ADOPTED_FINISHED_RUN or is_bought_before(run, purchase)


def _paid_by_other_runs(observed: Observation, uid: str, *, adopted: bool) -> tuple[Purchase, ...]:
    """Purchases of the resource's other runs; with those of this run that an earlier run of the resource has paid."""
    purchase = observed.purchase
    if not adopted or purchase is None or (purchase.outputs or {}).get("jobId") not in (None, uid):
        return observed.other_runs
    mine = tuple(bought for bought in (*observed.earlier, purchase) if bought.job_id == uid)
    return (*observed.other_runs, *mine)


def _amounts(costs: tuple[PurchaseCost, ...], other_runs: tuple[Purchase, ...], *, over: bool) -> dict[str, Any]:
    """Cost fields of a run and of all runs of its resource; `over`: the run has ended."""
    run = total(costs)
    counted = [cost for cost in costs if cost.known or over]
    runs = total((*map(final_cost, other_runs), *counted))
    return {
        "actual": format_dollars(run.known) if run.exact else "",
        "actual_source": run.source[:128] if run.exact or over else "",
        "total": format_dollars(runs.known) if counted or other_runs else "",
        "unknown": runs.unknown + runs.estimates,
        "display": run.display[:32],
    }


def _billed(observed: Observation, run_state: RunState, run: RunStatus, costs: tuple[PurchaseCost, ...]) -> bool | None:
    """True if the provider bills an ended run; `run.billed` is already True for a request that could not be ended."""
    if run_state.reason is Reason.ESTIMATED and run.paid_attempt == 1:
        return False
    if not run_state.phase.terminal or run.billed:
        return run.billed
    if run_state.reason is Reason.ESTIMATED:  # its own price is not billed
        costs = tuple(cost for cost in costs if cost.source is not CostSource.ESTIMATE or cost.billed)
    return _with_earlier(observed, run, total(costs).billed)


def _with_earlier(observed: Observation, run: RunStatus, billed: bool | None) -> bool | None:
    """None instead of False if an earlier attempt of the run may be billed: one of a deleted resource, whose cost is
    not this resource's, or one that the ledger has lost.
    """
    if billed is not False or run.paid_attempt == 1:
        return billed
    known = [earlier for earlier in observed.earlier if final_cost(earlier).billed is False]
    return False if len(known) >= run.paid_attempt - 1 else None


def transition_events(resource: Resource, status: ResourceStatus) -> tuple[Event, ...]:
    """Events of a transition: a new phase, or a new reason within it."""
    last = resource.status
    same_run = (last.run and last.run.number) == (status.run and status.run.number)
    if same_run and ((last.phase, last.reason) == (status.phase, status.reason) or not _is_worth_event(status)):
        return ()
    bad = status.phase in (Phase.FAILED, Phase.SUBMISSION_UNKNOWN) or status.reason in _WARNINGS
    return (Event(type="Warning" if bad else "Normal", reason=status.reason or "", message=status.message or ""),)


def status_after_end(case: DecisionInput, *, request_open: bool) -> ResourceStatus:
    """Status of an ended run, with the cost of requests that were open at its end."""
    last = generation_observed(case.resource)
    if last.run is None or last.phase is None or last.reason not in list(Reason):
        return last
    run_state = RunState(phase=last.phase, reason=Reason(last.reason), message=last.message or "")
    costs = _costs(case, run_state, case.run)
    purchase = case.observed.purchase
    # An open request had set `billed`; it is decided again once that request has ended.
    run = case.run if purchase is None or purchase.state in _OPEN else case.run.model_copy(update={"billed": None})
    changes = {"billed": _billed(case.observed, run_state, run, costs), "request_open": True if request_open else None}
    request_id = purchase.request_id if purchase is not None else None
    run = last.run.model_copy(update={**changes, "request_id": request_id or last.run.request_id})
    return last.model_copy(update={"run": run, "cost": _cost(case, run_state, case.run, costs)})


def _is_worth_event(status: ResourceStatus) -> bool:
    """True if a status is worth an event. Of failed collect attempts: the first three, then each power of two.

    There may be a hundred attempts a day.
    """
    if status.phase is not Phase.COLLECTING or status.run is None or status.reason not in _EACH_ATTEMPT:
        return True
    failed = status.run.stage_attempt - (status.run.collect or CollectStatus()).first_attempt
    if status.reason == Reason.RETRYING:
        return failed <= 3 or failed.bit_count() == 1
    return failed <= 0


def generation_observed(resource: Resource) -> ResourceStatus:
    """The last status with the present generation as observed; nothing else of an ended run changes."""
    last = resource.status
    if last.observed_generation == resource.generation:
        return last
    noted = tuple(
        condition.model_copy(update={"observed_generation": resource.generation}) for condition in last.conditions
    )
    return last.model_copy(update={"observed_generation": resource.generation, "conditions": noted})


def with_settled_cost(resource: Resource, observed: Observation) -> ResourceStatus:
    """Status of an ended run with the present generation, and with costs that the ledger got after its end."""
    status, uid = generation_observed(resource), resource.ref.uid
    purchase, cost, run = observed.purchase, status.cost, status.run
    if purchase is None or purchase.job_id != uid or cost is None or run is None:
        return status
    if adopted := _adopts(status.reason, run, purchase):
        costs: tuple[PurchaseCost, ...] = (PurchaseCost(source=CostSource.NOT_BILLED, micros=0, billed=False),)
    else:
        costs = tuple(final_cost(bought) for bought in (*observed.earlier, purchase) if bought.job_id == uid)
    billed = _with_earlier(observed, run, total(costs).billed)
    others = _paid_by_other_runs(observed, uid, adopted=adopted)
    changes = {
        "cost": cost.model_copy(update=_amounts(costs, others, over=True)),
        "run": run.model_copy(update={"billed": run.billed if billed is None else billed}),
    }
    return status.model_copy(update=changes)


def invalid_spec_status(resource: Resource, error: ValidationError, now: datetime) -> ResourceStatus:
    """Status of a resource with an invalid spec: one that the CRD's schema cannot refuse, or an older schema let in."""
    first = error.errors()[0]
    message = clean_message(f"{_manifest_field(first['loc'])}: {first['msg']}")
    state = ConditionInput(
        kind=resource.ref.kind,
        phase=Phase.FAILED,
        reason=Reason.INVALID_SPEC,
        message=message,
        prepared=False,
        submitted=False,
        generation=resource.generation,
    )
    return resource.status.model_copy(
        update={
            "observed_generation": resource.generation,
            "job_id": resource.ref.uid,
            "phase": Phase.FAILED,
            "reason": Reason.INVALID_SPEC,
            "message": message,
            "completion_time": None,  # no run has ended with this: see runs.ended
            "conditions": conditions(state, resource.status, now),
        }
    )


def job_refused_status(resource: Resource, planned: ResourceStatus, message: str, now: datetime) -> ResourceStatus:
    """The planned status for a run that waits, because the API server refuses its Job or the Job after its payment."""
    last, run = resource.status, planned.run
    begun = last.phase in _AT_WORK and last.run is not None and run is not None and last.run.number == run.number
    paid = planned.phase is Phase.COLLECTING
    phase = planned.phase if paid or begun else Phase.PENDING
    state = ConditionInput(
        kind=resource.ref.kind,
        phase=phase or Phase.PENDING,
        reason=Reason.JOB_REFUSED,
        message=clean_message(message),
        prepared=run is not None and run.facts is not None,
        submitted=run is not None and run.request_id is not None,
        generation=planned.observed_generation,
    )
    changes = {
        "phase": state.phase,
        "reason": state.reason,
        "message": state.message,
        "run": run.model_copy(update={"job": None}) if run is not None else None,
        # From the planned conditions: a milestone that the plan has reached keeps its message.
        "conditions": conditions(state, planned, now),
    }
    return planned.model_copy(update=changes)


def _manifest_field(location: tuple[int | str, ...]) -> str:
    """Path in the manifest of a validation error's field."""
    if location == ("rerun",):
        return f"metadata.annotations[{RERUN_ANNOTATION}]"
    return ".".join(["spec", *map(str, location)])


def store_unavailable_status(resource: Resource, message: str, now: datetime) -> ResourceStatus:
    """Status while a store is unavailable: the phase stays, and the run goes on later."""
    last = resource.status
    if last.phase is not None and last.phase.terminal:
        return last
    phase = last.phase or Phase.PENDING
    message = clean_message(message)
    state = ConditionInput(
        kind=resource.ref.kind,
        phase=phase,
        reason=Reason.STORE_UNAVAILABLE,
        message=message,
        prepared=last.run is not None and last.run.facts is not None,
        submitted=last.run is not None and last.run.request_id is not None,
        generation=resource.generation,
    )
    return last.model_copy(
        update={
            "observed_generation": resource.generation,
            "job_id": resource.ref.uid,
            "phase": phase,
            "reason": Reason.STORE_UNAVAILABLE,
            "message": message,
            "run": last.run.model_copy(update={"resubmit_token": None}) if last.run is not None else None,
            "conditions": conditions(state, last, now),
        }
    )
