"""One stage of a run, which is one Job at a time: started, watched, tried again, and its words checked. Pure."""

from datetime import datetime, timedelta

from contentgen_contract.names import VERDICTS, Reason, Stage
from contentgen_contract.records import keys
from contentgen_contract.records.presigned_urls import strip_signatures_from_text
from contentgen_contract.resources.status import MAX_LOGS, MAX_MESSAGE, JobRef, ResourceStatus, RunStatus, StageLog
from contentgen_contract.worker.orders import Outcome, StoredFile
from contentgen_operator.decide import collect_retries
from contentgen_operator.decide.planning import SOON, fail, new_plan
from contentgen_operator.decide.status import job_refused_status, transition_events
from contentgen_operator.state import kinds
from contentgen_operator.state.decision_input import DecisionInput, RunState
from contentgen_operator.state.observed import JobView, Resource
from contentgen_operator.state.plan import Plan, StageJob

_JOB_WAIT_SECONDS = 60.0  # a Job's own events wake us; this is for the event that never came
_START_SECONDS = 4.0  # after which a Job without a running pod is looked at, and then ever less often
_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 10.0, 300.0
_MAX_LOST_ATTEMPTS = 5  # attempts that are not counted, as their node was gone
_DEADLINE_EXCEEDED = "DeadlineExceeded"  # Kubernetes' reason on a Job


def run_stage(case: DecisionInput, stage: Stage, run_state: RunState) -> Plan | Outcome:
    """The stage's outcome once it is there and its files are, else the plan that gets it there."""
    observed, job = case.observed, case.observed.job
    if observed.outcome_problem:
        return _failed(case, stage, run_state, Reason.OUTCOME_INVALID, observed.outcome_problem)
    if observed.outcome is not None:
        return _checked_outcome(case, stage, run_state, observed.outcome)
    if observed.unrecorded_job:
        return start_job(case, stage, run_state, case.run.stage_attempt)
    if job is None and (case.run.job is None or case.run.job.stage is not stage):
        attempt = case.run.stage_attempt if case.run.job is None else 1
        return (
            _wait_for_retry(case, stage, run_state)
            or _refused_for_long(case, stage)
            or start_job(case, stage, run_state, attempt)
        )
    if job is not None and not job.finished and not observed.node_gone:
        attempt = case.run.stage_attempt
        ref = JobRef(name=job.name, uid=job.uid, stage=stage, attempt=attempt, started_at=job.started_at)
        run = case.run.model_copy(update={"job": ref})
        shown = _with_pod_problem(case, stage, _with_progress(case, run_state))
        return new_plan(case, shown, run=run, again=_recheck_seconds(case, job))
    return _ended_without_outcome(case, stage, run_state)


def start_job(case: DecisionInput, stage: Stage, run_state: RunState, attempt: int) -> Plan:
    """Have the Job of one attempt."""
    run = case.run.model_copy(update={"stage_attempt": attempt, "retry_at": None})
    plan = new_plan(case, run_state, run=run, again=_START_SECONDS)
    return plan.model_copy(update={"job": StageJob(stage=stage, attempt=attempt)})


def with_log(run: RunStatus, stage: Stage, text: str) -> RunStatus:
    """The run with what the current attempt of a stage said last."""
    if not text:
        return run
    said = StageLog(stage=stage, attempt=run.stage_attempt, text=strip_signatures_from_text(text))
    others = [each for each in run.logs if (each.stage, each.attempt) != (said.stage, said.attempt)]
    return run.model_copy(update={"logs": tuple([*others, said][-MAX_LOGS:])})


def lost_job(case: DecisionInput, planned: ResourceStatus) -> JobView | None:
    """The Job whose node is gone, once a planned status does not need it: it would never be finished."""
    job, run = case.observed.job, planned.run
    if job is None or job.finished or not case.observed.node_gone:
        return None
    over = planned.phase is not None and planned.phase.terminal
    return job if over or run is None or run.job is None or run.job.uid != job.uid else None


def _recheck_seconds(case: DecisionInput, job: JobView) -> float:
    if (seconds := case.observed.lost_in) is not None:
        return min(max(seconds, 1.0), _JOB_WAIT_SECONDS)
    if job.ready or case.observed.progress is not None:
        return _JOB_WAIT_SECONDS
    return min(max((case.now - job.started_at).total_seconds(), _START_SECONDS), _JOB_WAIT_SECONDS)


def _with_pod_problem(case: DecisionInput, stage: Stage, run_state: RunState) -> RunState:
    """The state with the reason for which the Job has no running pod. The Job controller tries again by itself."""
    trouble = case.observed.trouble
    if trouble is None:
        return run_state
    if trouble.refused:
        bought = case.observed.purchase
        known = {"request_id": bought.request_id, "submitted_at": bought.submitted_at} if bought else {}
        run = case.run.model_copy(update=known)
        message = refused_text(stage, run, kinds.provider_of(case.kind), f"the pod of its Job: {trouble.words}")
        return run_state.model_copy(update={"reason": Reason.JOB_REFUSED, "message": message})
    message = f"the pod of the {stage} stage has not started: {trouble.words}"
    return run_state.model_copy(update={"reason": Reason.POD_NOT_STARTED, "message": message})


def refused_text(stage: Stage, run: RunStatus, provider: str, what: str) -> str:
    """A refused Job or pod in words, with what was paid."""
    text = f"the {stage} stage is refused {what}; it is tried again by itself"
    if stage is Stage.PREPARE:
        return f"{text}, and nothing was paid"
    since = run.submitted_at.strftime(" at %Y-%m-%d %H:%M UTC") if run.submitted_at else ""
    return (
        f"{text}. Request {run.request_id} of {provider} was paid{since}; its answer is kept in the bucket and nothing "
        "is paid again, but the provider deletes the files that the answer names after a while"
    )


def without_job(resource: Resource, plan: Plan, words: str, now: datetime) -> Plan:
    """What is left of a plan whose Job is refused, or whose payment could not be collected: it tells so, and waits."""
    planned, kind = plan.status, resource.ref.kind
    if plan.job is None or planned.run is None:
        message = (
            f"nothing is paid, because the API server would refuse the Job that collects the result: {words}; it is "
            "tried again by itself"
        )
    else:
        message = refused_text(plan.job.stage, planned.run, kinds.provider_of(kind), f"its Job: {words}")
    status = job_refused_status(resource, planned, message, now)
    finalizer = resource.deletes_files if plan.reservation is not None else plan.finalizer
    changes = {"status": status, "notices": transition_events(resource, status), "finalizer": finalizer}
    return plan.model_copy(update=changes | {"reservation": None, "payment": None, "job": None})


def _wait_for_retry(case: DecisionInput, stage: Stage, run_state: RunState) -> Plan | None:
    """The plan while the next attempt is not due: the time is in the status, so that a restart keeps it."""
    at, last = case.run.retry_at, case.resource.status
    left = (at - case.now).total_seconds() if at is not None else 0.0
    longest = _LONGEST_RETRY_SECONDS
    if stage is Stage.COLLECT:
        left, longest = min(left, collect_retries.seconds_left(case)), collect_retries.MAX_PAUSE_SECONDS
    if not 0 < left <= longest:  # more was written by somebody else
        return None
    told = last.message if last.reason == Reason.RETRYING else None
    message = told or f"attempt {case.run.stage_attempt} follows after a pause"
    return new_plan(case, run_state.model_copy(update={"reason": Reason.RETRYING, "message": message}), again=left)


def _refused_for_long(case: DecisionInput, stage: Stage) -> Plan | None:
    """The end of a collect stage whose Job is still refused at the deadline of its retries."""
    last = case.resource.status
    if stage is not Stage.COLLECT or last.reason != Reason.JOB_REFUSED or collect_retries.seconds_left(case) > 0:
        return None
    return _retries_over(case, Reason.DEADLINE_EXCEEDED, last.message or "its Job is refused")


def _ended_without_outcome(case: DecisionInput, stage: Stage, run_state: RunState) -> Plan:
    """The Job ended, was deleted or lost its node, and left no outcome: evicted, out of memory, or the stores were away
    for long.
    """
    job, attempt = case.observed.job, case.run.stage_attempt
    if job is not None and job.reason == _DEADLINE_EXCEEDED:
        return _deadline_exceeded(case, stage, run_state, job)
    why = (case.observed.cause or job.message or "it left no outcome") if job else "its Job was deleted"
    if stage is Stage.COLLECT:
        return _failed(case, stage, run_state, Reason.JOB_FAILED, why)
    lost = min(case.run.lost_attempts + case.observed.node_gone, _MAX_LOST_ATTEMPTS)
    if attempt - lost >= case.policy.stage_attempts:
        return fail(case, Reason.JOB_FAILED, f"the {stage} stage failed {attempt} times, last: {why}")
    seconds = min(_FIRST_RETRY_SECONDS * 2.0 ** (attempt - 1), _LONGEST_RETRY_SECONDS)
    pause = {
        "job": None,
        "stage_attempt": attempt + 1,
        "lost_attempts": lost,
        "retry_at": case.now + timedelta(seconds=seconds),
    }
    message = f"attempt {attempt} of the {stage} stage failed: {why}; attempt {attempt + 1} follows in {seconds:.0f} s"
    again = run_state.model_copy(update={"reason": Reason.RETRYING, "message": message})
    return new_plan(case, again, run=case.run.model_copy(update=pause), again=seconds)


def _deadline_exceeded(case: DecisionInput, stage: Stage, run_state: RunState, job: JobView) -> Plan:
    """The Job reached its deadline. Where its pod was refused until then, that was no attempt: it is made anew."""
    last = case.resource.status
    in_time = stage is Stage.PREPARE or collect_retries.seconds_left(case) > 0
    if in_time and (
        last.reason == Reason.JOB_REFUSED or (stage is Stage.COLLECT and last.reason == Reason.POD_NOT_STARTED)
    ):
        run = case.run.model_copy(update={"job": None})
        kept = run_state.model_copy(
            update={"reason": Reason(last.reason), "message": last.message or run_state.message}
        )
        return new_plan(case, kept, run=run, again=SOON).model_copy(update={"stop_job": True})
    message = f"the {stage} stage ran out of time ({job.message}); it was at: {last.message or 'nothing that is known'}"
    return _failed(case, stage, run_state, Reason.DEADLINE_EXCEEDED, message)


def _checked_outcome(case: DecisionInput, stage: Stage, run_state: RunState, outcome: Outcome) -> Plan | Outcome:
    """A worker's words are checked: names against the stage's patterns, sizes and checksums against the bucket."""
    if not outcome.succeeded and outcome.reason not in VERDICTS:
        message = f"a worker may not give the reason {outcome.reason}"
        return _failed(case, stage, run_state, Reason.OUTCOME_INVALID, message)
    if not outcome.succeeded:
        return _failed(case, stage, run_state, outcome.reason, outcome.message)
    if (wrong := _files_problem(case, stage, outcome)) is not None:
        return _failed(case, stage, run_state, *wrong)
    if not isinstance(outcome.facts, kinds.FACTS[case.kind, stage]):
        return _failed(case, stage, run_state, Reason.OUTCOME_INVALID, f"the {stage} stage does not say what it found")
    problem = kinds.facts_problem(case.spec, outcome.facts, outcome.files, case.policy.recording_seconds)
    return _failed(case, stage, run_state, Reason.OUTCOME_INVALID, problem) if problem else outcome


def _files_problem(case: DecisionInput, stage: Stage, outcome: Outcome) -> tuple[Reason, str] | None:
    names = {file.name for file in outcome.files}
    if len(names) < len(outcome.files):
        return Reason.OUTCOME_INVALID, f"the {stage} stage lists a file twice"
    for file in outcome.files:
        if (wrong := _file_problem(case, stage, file)) is not None:
            return wrong
    missing = kinds.expected_files(case.kind, stage, outcome.facts) - names
    if missing or not outcome.files:
        return Reason.OUTPUT_MISSING, f"the {stage} stage has not stored {sorted(missing)}"
    return None


def _file_problem(case: DecisionInput, stage: Stage, file: StoredFile) -> tuple[Reason, str] | None:
    if not keys.is_output(case.kind, stage, file.name):
        return Reason.OUTCOME_INVALID, f"the {stage} stage may not write {file.name!r}"
    found = case.observed.stored.get(file.name)
    if found is None or found.size_bytes != file.size_bytes:
        return Reason.OUTPUT_MISSING, f"{file.name} is not stored with {file.size_bytes} bytes"
    if found.sha256 != file.sha256:
        return Reason.OUTPUT_CHANGED, f"{file.name} has the SHA-256 {found.sha256}, but the worker stored {file.sha256}"
    return None


def _failed(case: DecisionInput, stage: Stage, run_state: RunState, reason: Reason, message: str) -> Plan:
    """The plan after an attempt of a stage has failed: the end of the run, or after a payment another attempt."""
    if stage is Stage.PREPARE:
        return fail(case, reason, message)
    if not collect_retries.is_retryable(case, reason, case.observed.outcome):
        return _fail_after_payment(case, reason, message)
    if collect_retries.seconds_left(case) <= 0:
        return _retries_over(case, reason, message)
    return _retry_collect(case, run_state, reason, message)


def _retry_collect(case: DecisionInput, run_state: RunState, reason: Reason, message: str) -> Plan:
    """Another attempt of the collect stage, after a pause."""
    attempt, seconds = case.run.stage_attempt, collect_retries.pause_seconds(case)
    said = f"; attempt {attempt + 1} follows in {seconds:.0f} s"
    if case.observed.purchase is not None:
        said += f"; {collect_retries.paid_text(case.observed.purchase)}"
    text = f"attempt {attempt} of the collect stage failed: {message}"[: MAX_MESSAGE - len(said)] + said
    retrying = run_state.model_copy(update={"reason": Reason.RETRYING, "message": text})
    return new_plan(case, retrying, run=collect_retries.next_run(case, reason, seconds), again=seconds)


def _retries_over(case: DecisionInput, reason: Reason, message: str) -> Plan:
    seconds = case.resource.collect_deadline_seconds
    said = f"spec.collectDeadlineSeconds ({seconds}) is over, and the last attempt failed: {message}"
    return _fail_after_payment(case, reason, said)


def _fail_after_payment(case: DecisionInput, reason: Reason, message: str) -> Plan:
    """The end of a run after its payment; the message says how to get the result for free."""
    advice = collect_retries.advice(case)
    return fail(case, reason, message[: MAX_MESSAGE - len(advice)] + advice)


def _with_progress(case: DecisionInput, run_state: RunState) -> RunState:
    report = case.observed.progress
    if report is None:
        return run_state
    remaining = report.remaining_seconds
    return run_state.model_copy(
        update={
            "step": report.step,
            "fraction": report.fraction,
            "message": report.message or run_state.message,
            "remaining_seconds": None if remaining is None else remaining + run_state.after_seconds,
        }
    )
