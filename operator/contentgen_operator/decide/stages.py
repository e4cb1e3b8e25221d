"""One stage of a run: its Job is started, watched and retried, and its outcome checked. Pure."""

from datetime import datetime, timedelta

from contentgen_contract.characters import escape_controls
from contentgen_contract.names import VERDICTS, Reason, Stage
from contentgen_contract.records import keys
from contentgen_contract.resources.status import (
    MAX_LOG,
    MAX_LOGS,
    MAX_MESSAGE,
    JobRef,
    ResourceStatus,
    RunStatus,
    StageLog,
)
from contentgen_contract.texts import bare_urls, foreign_text
from contentgen_contract.worker.log import redact_secrets
from contentgen_contract.worker.orders import MAX_CAUSE, Outcome, StoredFile
from contentgen_operator.decide import collect_retries
from contentgen_operator.plans.planning import SOON, fail, new_plan
from contentgen_operator.plans.status import job_refused_status, transition_events
from contentgen_operator.state.decision_input import DecisionInput, RunState
from contentgen_operator.state.effects import EffectOrder
from contentgen_operator.state.kinds import table as kinds
from contentgen_operator.state.observed import JobRecord, JobView, Resource
from contentgen_operator.state.plan import Plan, StageJob

_JOB_WAIT_SECONDS = 60.0  # fallback for a missed event of the Job
_START_SECONDS = 4.0  # until the first check of a Job without a running pod; later checks are further apart
_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS = 10.0, 300.0
_MAX_LOST_ATTEMPTS = 5  # attempts that don't count, because their node was lost
_DEADLINE_EXCEEDED = "DeadlineExceeded"  # Kubernetes' reason on a Job that an earlier release has created


def run_stage(case: DecisionInput, stage: Stage, run_state: RunState) -> Plan | Outcome:
    """The stage's outcome once it and its files are stored and checked, else the next plan."""
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
        plan = _replace_job if observed.outdated_job else _wait_for_job
        return plan(case, stage, run_state, job)
    return _ended_without_outcome(case, stage, run_state)


def _wait_for_job(case: DecisionInput, stage: Stage, run_state: RunState, job: JobView) -> Plan:
    """The plan while a Job is not finished, however long its pod waits for a node."""
    attempt = case.run.stage_attempt
    ref = JobRef(name=job.name, uid=job.uid, stage=stage, attempt=attempt, started_at=job.started_at)
    run = case.run.model_copy(update={"job": ref})
    progress = _with_pod_problem(case, stage, _with_progress(case, run_state))
    return new_plan(case, progress, run=run, again=_recheck_seconds(case, job))


def _replace_job(case: DecisionInput, stage: Stage, run_state: RunState, job: JobView) -> Plan:
    """The plan that deletes a Job whose worker never started; the same attempt is made again, as a Job of its name.

    The status is written first: a Job that it names and that is missing counts as a failed attempt.
    """
    message = f"the settings of workers were changed before the pod of the {stage} stage started: its Job is replaced"
    again = run_state.model_copy(update={"message": message})
    plan = new_plan(case, again, run=case.run.model_copy(update={"job": None}), again=SOON)
    return plan.model_copy(update={"left_job": job})


def start_job(case: DecisionInput, stage: Stage, run_state: RunState, attempt: int) -> Plan:
    """The plan that starts the Job of one attempt."""
    run = case.run.model_copy(update={"stage_attempt": attempt, "retry_at": None})
    plan = new_plan(case, run_state, run=run, again=_START_SECONDS)
    return plan.model_copy(update={"job": StageJob(stage=stage, attempt=attempt)})


def with_log(run: RunStatus, stage: Stage, text: str) -> RunStatus:
    """The run with the last log lines of a stage's current attempt."""
    if not text:
        return run
    log = StageLog(stage=stage, attempt=run.stage_attempt, text=_log_text(text))
    others = [each_log for each_log in run.logs if (each_log.stage, each_log.attempt) != (log.stage, log.attempt)]
    return run.model_copy(update={"logs": tuple([*others, log][-MAX_LOGS:])})


def _log_text(text: str) -> str:
    """A log without queries of URLs and control characters: anybody with exec rights writes into it."""
    return escape_controls(bare_urls(text), "\n\t")[-MAX_LOG:]


def has_passed(case: DecisionInput, job: JobRecord) -> bool:
    """True if the run has moved past the work of a recorded Job: whatever this one still does is not used."""
    run = case.run
    if case.over or job.run != run.number:
        return case.over or job.run < run.number
    if job.stage is not Stage.PREPARE or (run.job is not None and run.job.uid == job.uid):
        return False
    return run.facts is not None or job.attempt < run.stage_attempt


def with_left_job(case: DecisionInput, plan: Plan) -> Plan:
    """The plan with a Job to delete after the status is written: replaced, on a lost node, or left behind."""
    left = plan.left_job or _lost_job(case, plan.status) or case.observed.left_job
    over = plan.status.phase is not None and plan.status.phase.terminal  # then the watch of Jobs wakes it
    left_in = None if over else case.observed.left_in
    times = [each for each in (plan.again_seconds, left_in) if each is not None]
    return plan.model_copy(update={"left_job": left, "again_seconds": min(times, default=None)})


def _lost_job(case: DecisionInput, planned: ResourceStatus) -> JobView | None:
    """The Job on a lost node that the planned status no longer names; None: there is none. It would never finish."""
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
    """The state with the cause for which the Job has no running pod. The Job controller retries by itself."""
    trouble = case.observed.trouble
    if trouble is None:
        return run_state
    if trouble.refused:
        bought = case.observed.purchase
        known = {"request_id": bought.request_id, "submitted_at": bought.submitted_at} if bought else {}
        run = case.run.model_copy(update=known)
        message = refused_text(stage, run, case.provider, f"the pod of its Job: {trouble.words}")
        return run_state.model_copy(update={"reason": Reason.JOB_REFUSED, "message": message})
    if trouble.queued:
        message = f"the {stage} stage waits: {trouble.words}; it continues when the queue resumes it"
        return run_state.model_copy(update={"reason": Reason.QUEUED, "message": message})
    message = f"the pod of the {stage} stage has not started: {trouble.words}"
    return run_state.model_copy(update={"reason": Reason.POD_NOT_STARTED, "message": message})


def refused_text(stage: Stage, run: RunStatus, provider: str, what: str) -> str:
    """Message about a refused Job or pod, with what is known to be paid for this run: the ledger may lack others."""
    text = f"the {stage} stage is refused {what}; it is tried again by itself"
    if stage is Stage.PREPARE:
        return f"{text}, and nothing {'more ' if run.paid_attempt > 1 else ''}is paid for this run"
    since = run.submitted_at.strftime(" at %Y-%m-%d %H:%M UTC") if run.submitted_at else ""
    return (
        f"{text}. Request {run.request_id} of {provider} was paid{since}; its answer is kept in the bucket and nothing "
        "is paid again, but the provider deletes the files that the answer names after a while"
    )


def without_job(resource: Resource, plan: Plan, words: str, provider: str, now: datetime) -> Plan:
    """The plan without its Job, reservation and payment, after the API server has refused the Job: it waits."""
    planned = plan.status
    if plan.job is None or planned.run is None:
        message = (
            f"nothing is paid, because the API server would refuse the Job that collects the result: {words}; it is "
            "tried again by itself"
        )
    else:
        message = refused_text(plan.job.stage, planned.run, provider, f"its Job: {words}")
    status = job_refused_status(resource, planned, message, now)
    finalizer = resource.deletes_files if plan.reservation is not None else plan.finalizer
    changes = {"status": status, "notices": transition_events(resource, status), "finalizer": finalizer}
    kept = tuple(feature for feature in plan.of_features if feature.order < EffectOrder.CLAIM)
    return plan.model_copy(update=changes | {"of_features": kept, "reservation": None, "payment": None, "job": None})


def _wait_for_retry(case: DecisionInput, stage: Stage, run_state: RunState) -> Plan | None:
    """The plan until the next attempt is due; None: it is due. The status has the time, so that a restart keeps it."""
    at, last = case.run.retry_at, case.resource.status
    left = (at - case.now).total_seconds() if at is not None else 0.0
    longest = _LONGEST_RETRY_SECONDS
    if stage is Stage.COLLECT:
        left, longest = min(left, collect_retries.seconds_left(case)), collect_retries.MAX_PAUSE_SECONDS
    if not 0 < left <= longest:  # a longer pause was not written by the operator
        return None
    last_message = last.message if last.reason == Reason.RETRYING else None
    message = last_message or f"attempt {case.run.stage_attempt} follows after a pause"
    return new_plan(case, run_state.model_copy(update={"reason": Reason.RETRYING, "message": message}), again=left)


def _refused_for_long(case: DecisionInput, stage: Stage) -> Plan | Outcome | None:
    """Failure of a collect stage whose Job is still refused at the deadline of its retries; None: go on."""
    last = case.resource.status
    if stage is not Stage.COLLECT or last.reason != Reason.JOB_REFUSED or collect_retries.seconds_left(case) > 0:
        return None
    return _retries_over(case, Reason.DEADLINE_EXCEEDED, last.message or "its Job is refused")


def _ended_without_outcome(case: DecisionInput, stage: Stage, run_state: RunState) -> Plan | Outcome:
    """The plan after a Job without an outcome: it was deleted, evicted, out of memory, on a lost node, or without
    stores for long.
    """
    job, attempt = case.observed.job, case.run.stage_attempt
    if job is not None and (case.observed.timed_out or job.reason == _DEADLINE_EXCEEDED):
        return _deadline_exceeded(case, stage, run_state, job)
    why = (case.observed.cause or job.message or "it left no outcome") if job else "its Job was deleted"
    if stage is Stage.COLLECT:
        return _failed(case, stage, run_state, Reason.JOB_FAILED, why)
    lost = min(case.run.lost_attempts + case.observed.node_gone, _MAX_LOST_ATTEMPTS)
    if attempt - lost >= case.settings.stage_attempts:
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


def _deadline_exceeded(case: DecisionInput, stage: Stage, run_state: RunState, job: JobView) -> Plan | Outcome:
    """The plan after a deadline. A Job whose worker was never started does not count and is created again."""
    last, why = case.resource.status, case.observed.cause or job.message
    waited = last.reason if last.reason in (Reason.JOB_REFUSED, Reason.POD_NOT_STARTED) else None
    in_time = stage is Stage.PREPARE or collect_retries.seconds_left(case) > 0
    if in_time and (case.observed.never_ran or waited is not None):
        message = (last.message if waited else None) or f"the pod of the {stage} stage was not started: {why}"
        kept = run_state.model_copy(update={"reason": Reason(waited or Reason.POD_NOT_STARTED), "message": message})
        plan = new_plan(case, kept, run=case.run.model_copy(update={"job": None}), again=SOON)
        return plan.model_copy(update={"left_job": job})
    message = f"the {stage} stage ran out of time ({why}); last state: {last.message or 'unknown'}"
    return _failed(case, stage, run_state, Reason.DEADLINE_EXCEEDED, message)


def _checked_outcome(case: DecisionInput, stage: Stage, run_state: RunState, outcome: Outcome) -> Plan | Outcome:
    """The outcome, if it is valid: names by the stage's patterns, sizes and checksums by the bucket. Else a plan."""
    if not outcome.succeeded and outcome.reason not in VERDICTS:
        message = f"a worker may not give the reason {outcome.reason}"
        return _failed(case, stage, run_state, Reason.OUTCOME_INVALID, message)
    if not outcome.succeeded and (stage is Stage.PREPARE or not outcome.files):
        return _failed(case, stage, run_state, outcome.reason, outcome.message)
    if (wrong := _files_problem(case, stage, outcome)) is not None:
        return _failed(case, stage, run_state, *wrong)
    if not isinstance(outcome.facts, kinds.ROWS[case.kind].facts[stage]):
        return _failed(case, stage, run_state, Reason.OUTCOME_INVALID, f"the {stage} stage reports no facts")
    problem = kinds.facts_problem(case.spec, outcome.facts, outcome.files, case.settings.recording_seconds)
    if problem:
        return _failed(case, stage, run_state, Reason.OUTCOME_INVALID, problem)
    return outcome if outcome.succeeded else _partial(case, run_state, outcome)


def _partial(case: DecisionInput, run_state: RunState, outcome: Outcome) -> Plan | Outcome:
    """The plan for another attempt that adds the rest of the outputs; the outcome as it is once none may."""
    may_add = collect_retries.is_retryable(case, outcome.reason, outcome) and collect_retries.seconds_left(case) > 0
    if not may_add:
        return outcome
    case = case.model_copy(update={"run": collect_retries.with_part(case.run, case.run.stage_attempt)})
    return _retry_collect(case, run_state, outcome.reason, outcome.message)


def _stored_part(case: DecisionInput) -> Outcome | None:
    """Outcome of an earlier attempt whose files are all in the bucket; None if there is none."""
    part = case.observed.part
    sound = part is not None and isinstance(part.facts, kinds.ROWS[case.kind].facts[Stage.COLLECT])
    return part if part is not None and sound and _files_problem(case, Stage.COLLECT, part) is None else None


def _files_problem(case: DecisionInput, stage: Stage, outcome: Outcome) -> tuple[Reason, str] | None:
    names = {file.name for file in outcome.files}
    if len(names) < len(outcome.files):
        return Reason.OUTCOME_INVALID, f"the {stage} stage lists a file twice"
    for file in outcome.files:
        if (wrong := _file_problem(case, stage, file)) is not None:
            return wrong
    missing = kinds.ROWS[case.kind].expected(stage, outcome.facts) - names
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


def _failed(case: DecisionInput, stage: Stage, run_state: RunState, reason: Reason, message: str) -> Plan | Outcome:
    """The plan after a failed attempt: failure of the run, or after a payment another attempt."""
    if stage is Stage.PREPARE:
        return fail(case, reason, message)
    if not collect_retries.is_retryable(case, reason, case.observed.outcome):
        return _fail_after_payment(case, reason, message)
    if collect_retries.seconds_left(case) <= 0:
        return _retries_over(case, reason, message)
    return _retry_collect(case, run_state, reason, message)


def _retry_collect(case: DecisionInput, run_state: RunState, reason: Reason, message: str) -> Plan:
    """The plan for another attempt of the collect stage after a pause."""
    attempt, seconds = case.run.stage_attempt, collect_retries.pause_seconds(case)
    suffix = f"; attempt {attempt + 1} follows in {seconds:.0f} s"
    if case.observed.purchase is not None:
        suffix += f"; {collect_retries.paid_text(case.observed.purchase)}"
    text = f"attempt {attempt} of the collect stage failed: {message}"[: MAX_MESSAGE - len(suffix)] + suffix
    retrying = run_state.model_copy(update={"reason": Reason.RETRYING, "message": text})
    return new_plan(case, retrying, run=collect_retries.next_run(case, reason, seconds), again=seconds)


def _retries_over(case: DecisionInput, reason: Reason, message: str) -> Plan | Outcome:
    seconds = case.resource.collect_deadline_seconds
    text = f"spec.collectDeadlineSeconds ({seconds}) is over, and the last attempt failed: {message}"
    return _fail_after_payment(case, reason, text)


def _fail_after_payment(case: DecisionInput, reason: Reason, message: str) -> Plan | Outcome:
    """Outcome of an earlier attempt that stored a part; else the failure of a run after its payment, whose message says
    how to get the result for free.
    """
    if (part := _stored_part(case)) is not None:
        return part
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
            "message": foreign_text(redact_secrets(report.message), MAX_CAUSE) or run_state.message,
            "remaining_seconds": None if remaining is None else remaining + run_state.after_seconds,
        }
    )
