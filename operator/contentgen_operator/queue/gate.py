"""Queue: a run waits until there is a place for its prepare Job, then until there is one for its request, and while the
circuit of its endpoint is open.
"""

from datetime import datetime, timedelta

from contentgen_contract.names import QUEUE_LABEL, Reason, Stage
from contentgen_contract.resources.models import model_of
from contentgen_operator.accounts.values import AccountGrant
from contentgen_operator.plans.planning import replace_run, stop_before_payment, unpaid_text, waiting
from contentgen_operator.queue.fair_turns import Claimant
from contentgen_operator.queue.values import Limit, Turn
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.plan import Plan

_REASONS = (Reason.QUEUED, Reason.CIRCUIT_OPEN)
_WAIT_SECONDS = 300.0  # fallback: a run is woken when its turn comes


def asks(plan: Plan) -> bool:
    """True if the plan needs a place: it plans or sends a paid request."""
    return plan.reservation is not None or plan.payment is not None


def asks_to_prepare(case: DecisionInput, plan: Plan) -> bool:
    """True if the plan needs a place for a prepare Job: it creates one that no queue such as Kueue holds."""
    created = plan.job is not None and plan.job.stage is Stage.PREPARE
    return created and not case.resource.queue_labels.get(QUEUE_LABEL)


def is_preparing(case: DecisionInput, plan: Plan) -> bool:
    """True if a run that goes on names a prepare Job that no queue such as Kueue holds. A failed one names its own."""
    run, phase = plan.status.run, plan.status.phase
    named = run is not None and run.job is not None and run.job.stage is Stage.PREPARE
    over = phase is not None and phase.terminal
    return named and not over and not case.resource.queue_labels.get(QUEUE_LABEL)


def claimant(case: DecisionInput) -> Claimant:
    """The run as the queue orders it."""
    ref = case.resource.ref
    return Claimant(
        uid=ref.uid,
        namespace=ref.namespace,
        provider=case.provider,
        model=model_of(case.spec),
        priority=case.resource.priority,
        since=case.run.started_at,
        account=case.observed.facts_of(AccountGrant).name or "",
    )


def hold(case: DecisionInput) -> Plan | None:
    """The plan of a run without a place."""
    turn = case.observed.facts_of(Turn)
    if turn.granted:
        return None
    # Nothing was prepared or paid, so an edit replaces this run at once.
    if case.run.facts is None and (replaced := replace_run(case, Reason.QUEUED)) is not None:
        return replaced
    since = _queued_at(case)
    left = _seconds_left(case, since)
    if left is not None and left <= 0:
        message = (
            f"the run had no place after spec.queueDeadlineSeconds ({case.resource.queue_deadline_seconds}); "
            f"{unpaid_text(case)}; it waited: {_text(case)}"
        )
        return stop_before_payment(case, Reason.DEADLINE_EXCEEDED, message)
    reason = Reason.CIRCUIT_OPEN if turn.limit is Limit.CIRCUIT else Reason.QUEUED
    run = case.run.model_copy(update={"queued_at": since})
    again = _WAIT_SECONDS if left is None else min(left, _WAIT_SECONDS)
    return waiting(case, reason, _text(case), again, run)


def without_wait(plan: Plan) -> Plan:
    """The plan; unless its run waits in the queue or has just left it, the next wait begins anew."""
    status = plan.status
    if status.run is None or status.run.queued_at is None or asks(plan) or status.reason in _REASONS:
        return plan
    run = status.run.model_copy(update={"queued_at": None})
    return plan.model_copy(update={"status": status.model_copy(update={"run": run})})


def _queued_at(case: DecisionInput) -> datetime:
    """Time since which the run waits. It is in the status only, which a user may have written."""
    since = (case.run.queued_at or case.now).replace(microsecond=0)
    return min(max(since, case.run.started_at), case.now)


def _seconds_left(case: DecisionInput, since: datetime) -> float | None:
    seconds = case.resource.queue_deadline_seconds
    return None if seconds is None else (since + timedelta(seconds=seconds) - case.now).total_seconds()


def _text(case: DecisionInput) -> str:
    """Cause of the wait. It has no number that changes, because each change writes the status."""
    turn, provider = case.observed.facts_of(Turn), case.provider
    match turn.limit:
        case Limit.CIRCUIT:
            return (
                f"no request is sent to {model_of(case.spec)} of {provider} for a while, because {turn.cause}; one is "
                "tried after each pause, and this continues by itself"
            )
        case Limit.PROVIDER:
            name = case.observed.facts_of(AccountGrant).name
            account = f" with the account {name}" if name else ""
            what = f"all {turn.most} places of {provider}{account} are in use (queues.maxConcurrent.{provider})"
        case Limit.PREPARATION:
            what = f"{turn.most} prepare Jobs exist, of all namespaces (queues.maxPrepareJobs.overall)"
        case Limit.PREPARATION_PER_NAMESPACE:
            what = f"{turn.most} prepare Jobs of this namespace exist (queues.maxPrepareJobs.perNamespace)"
        case Limit.COLLECT:
            what = "a paid result of this namespace waits for room in a quota, and is stored first"
        case Limit.PER_NAMESPACE:
            what = f"all {turn.most} places of this namespace are in use (queues.maxConcurrent.perNamespace)"
        case Limit.OVERALL:
            what = f"all {turn.most} places of the operator are in use (queues.maxConcurrent.overall)"
        case _:
            what = "other runs come first"
    return f"waiting for a place: {what}"
