"""Retry policy of the collect stage after a payment: errors, pauses, deadline, and advice afterwards. Pure.

A transient failure is retried until spec.collectDeadlineSeconds after the provider has finished; the annotation
contentgen.dev/collect restarts the retries. Neither pays anything, because the provider's response is kept.
"""

from datetime import datetime, timedelta

from contentgen_contract.advice import guidance as words
from contentgen_contract.annotations import collect_again
from contentgen_contract.names import COLLECT_ANNOTATION, Phase, Reason
from contentgen_contract.resources.status import MAX_MESSAGE, CollectStatus, RunStatus
from contentgen_contract.worker.orders import Outcome
from contentgen_operator.decide.request_endings import MISSING, has_result, missing_text
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.plan import Plan
from contentgen_operator.state.purchases import Purchase, PurchaseState

MAX_PAUSE_SECONDS = 900.0
_FIRST_PAUSE_SECONDS = 10.0
_MAX_DOUBLINGS = 16
_SOON_SECONDS = 1.0
_MAX_PROBLEM = 300  # characters of a provider's message
_DID_NOTHING = f" ({COLLECT_ANNOTATION}="
_KEPT = (PurchaseState.SUCCEEDED, PurchaseState.COLLECTED)
_OF_FILES = (Reason.OUTPUT_MISSING, Reason.OUTPUT_CHANGED, Reason.OUTCOME_INVALID)  # what is stored is not trusted
# Failures that a store, a node or the provider's server may have caused.
_RETRYABLE = (Reason.JOB_FAILED, Reason.DEADLINE_EXCEEDED, Reason.OUTPUT_MISSING, Reason.OUTPUT_CHANGED)


def state_of(run: RunStatus) -> CollectStatus:
    """Retry state of a run's collect stage."""
    return run.collect or CollectStatus()


def seconds_left(case: DecisionInput) -> float:
    """Seconds until the deadline of the retries; negative after it."""
    deadline = started_at(case) + timedelta(seconds=case.resource.collect_deadline_seconds)
    return (deadline - case.now).total_seconds()


def started_at(case: DecisionInput) -> datetime:
    """Start of the retries: the provider's end, or for an adopted older purchase the run's start."""
    purchase, asked_at = case.observed.purchase, state_of(case.run).asked_at
    finished = (purchase.finished_at or purchase.changed_at) if purchase is not None else case.now
    began = [case.run.started_at, finished, *([asked_at] if asked_at else [])]
    return max((each for each in began if each <= case.now), default=case.now)  # the status may be forged


def failures(run: RunStatus) -> int:
    """Number of consecutive failed attempts, including the current one."""
    return max(run.stage_attempt - state_of(run).first_attempt + 1, 1)


def pause_seconds(case: DecisionInput) -> float:
    """Seconds until the next attempt: 10, 20, 40 … 900, and the last attempt at the deadline."""
    pause = _FIRST_PAUSE_SECONDS * 2.0 ** min(failures(case.run) - 1, _MAX_DOUBLINGS)
    return max(min(pause, MAX_PAUSE_SECONDS, seconds_left(case)), 1.0)


def is_retryable(case: DecisionInput, reason: Reason, outcome: Outcome | None = None) -> bool:
    """True if a later attempt may succeed. An invalid outcome is retried once: its upload may have been cut off."""
    if reason is Reason.OUTCOME_INVALID:
        return state_of(case.run).failure != Reason.OUTCOME_INVALID
    if reason is Reason.RESULT_UNREACHABLE:
        return outcome is None or outcome.passing is not False
    return reason in _RETRYABLE


def next_run(case: DecisionInput, reason: Reason, pause: float) -> RunStatus:
    """The run that waits for the next attempt."""
    return case.run.model_copy(
        update={
            "job": None,
            "stage_attempt": case.run.stage_attempt + 1,
            "retry_at": case.now + timedelta(seconds=pause),
            "collect": state_of(case.run).model_copy(
                update={"failure": reason.value} | ({"partial": None} if reason in _OF_FILES else {})
            ),
        }
    )


def with_part(run: RunStatus, attempt: int) -> RunStatus:
    """The run whose next collect attempts add to what this attempt has stored."""
    return run.model_copy(update={"collect": state_of(run).model_copy(update={"partial": attempt})})


def restarted(case: DecisionInput, run: RunStatus, asked: str | None, *, whole: bool = False) -> RunStatus:
    """The run with the next collect attempt due now, and a new deadline.

    `whole`: the attempt stores all outputs again, and does not add to what an earlier one has stored.
    """
    attempt = run.stage_attempt + 1  # so that an earlier attempt's outcome is not taken for the next one's
    partial = None if whole else state_of(run).partial
    collect = CollectStatus(asked=asked, asked_at=case.now, first_attempt=attempt, partial=partial)
    return run.model_copy(update={"job": None, "stage_attempt": attempt, "retry_at": None, "collect": collect})


def paid_text(purchase: Purchase) -> str:
    """Message about a paid request whose response is kept."""
    return f"request {purchase.request_id} of {purchase.provider} was paid, and its answer is kept"


def advice(case: DecisionInput) -> str:
    """Advice after the stage has failed for good; empty if nothing was paid."""
    if (purchase := case.observed.purchase) is None:
        return ""
    paid = paid_text(purchase)
    return f". R{paid[1:]}: {retry_advice(case.run, 'the result once more')}"


def open_advice(run: RunStatus) -> str:
    """Advice after the end of a run whose request may still finish."""
    return f"once it has finished, {retry_advice(run, 'its result')}"


def retry_advice(run: RunStatus, what: str) -> str:
    """Advice with the annotation that retries for free, and what another run costs."""
    return words.collect_advice(run.number, state_of(run).asked, what)


def rest_advice(run: RunStatus) -> str:
    """Advice on a completed run that misses outputs."""
    return words.collect_clause(run.number, state_of(run).asked, "what is missing")


def missing_result(case: DecisionInput) -> str:
    """Reason for which a failed run has no result to collect; empty if its paid result is kept."""
    purchase, observed = case.observed.purchase, case.observed
    if purchase is None:
        return "the ledger has no purchase of this run"
    if purchase.state not in (*_KEPT, PurchaseState.SUBMITTED):
        return f"the purchase of this run is {purchase.state}, so that no result of it is kept"
    whole = observed.outputs_stored and case.resource.status.phase is not Phase.COMPLETED
    if whole or observed.response_kept or has_result(observed.request):
        return ""
    where = "" if purchase.state is PurchaseState.SUBMITTED else "the provider's answer is not in the bucket"
    return "; ".join(each for each in (where, provider_text(case, purchase)) if each)


def provider_text(case: DecisionInput, purchase: Purchase) -> str:
    """Message with the provider's last answer about a request that has no stored response; empty: it was not asked."""
    view, problem = case.observed.request, case.observed.provider_problem
    if view is None:
        return f"{purchase.provider} cannot be read: {problem[:_MAX_PROBLEM]}" if problem else ""
    if view.state in MISSING:
        return missing_text(purchase, view, case.now)
    return f"{purchase.provider} says: {view.message[:_MAX_PROBLEM]}"


def refused_retry(case: DecisionInput, why: str) -> Plan:
    """The plan for a retry that is impossible: the end stays as it is, with the cause in its message."""
    last, value = case.resource.status, case.resource.collect
    suffix = f"{_DID_NOTHING}{value} did nothing and paid nothing: {why})"
    before = _with_next_value(last.message or "", case.run, value).partition(_DID_NOTHING)[0][
        : MAX_MESSAGE - len(suffix)
    ]
    run = case.run.model_copy(update={"collect": state_of(case.run).model_copy(update={"asked": value})})
    status = last.model_copy(update={"message": before + suffix, "run": run})
    again = _SOON_SECONDS if run.request_open else None  # its request is still followed
    return Plan(status=status, finalizer=case.resource.deletes_files, again_seconds=again)


def _with_next_value(message: str, run: RunStatus, value: str | None) -> str:
    """The message with the next value of the annotation: each value works once, and `value` is used now."""
    named = f"{COLLECT_ANNOTATION}={collect_again.next_value(run.number, state_of(run).asked)} "
    return message.replace(named, f"{COLLECT_ANNOTATION}={collect_again.next_value(run.number, value)} ", 1)
