"""One stage of a run, which is one Job at a time: started, watched, tried again, and its words checked. Pure."""

from contentgen_contract import keys
from contentgen_contract.names import Reason, Stage
from contentgen_contract.orders import Outcome, StoredFile
from contentgen_contract.status import MAX_LOGS, JobRef, RunStatus, StageLog
from contentgen_operator import kinds
from contentgen_operator.case import Case, Doing
from contentgen_operator.plan import Plan, StageJob
from contentgen_operator.planning import fail, plan_of

_JOB_WAIT_SECONDS = 60.0  # a Job's own events wake us; this is for the event that never came
_OUT_OF_TIME = "DeadlineExceeded"  # Kubernetes' reason on a Job


def see_through(case: Case, stage: Stage, doing: Doing) -> Plan | Outcome:
    """The stage's outcome once it is there and its files are, else the plan that gets it there."""
    observed, job = case.observed, case.observed.job
    if observed.outcome_problem:
        return fail(case, Reason.OUTCOME_INVALID, observed.outcome_problem)
    if observed.outcome is not None:
        return _judge(case, stage, observed.outcome)
    if job is None and (case.run.job is None or case.run.job.stage is not stage):
        return start(case, stage, doing, case.run.stage_attempt if case.run.job is None else 1)
    if job is not None and not job.finished:
        attempt = case.run.stage_attempt
        ref = JobRef(name=job.name, uid=job.uid, stage=stage, attempt=attempt, started_at=job.started_at)
        run = case.run.model_copy(update={"job": ref})
        return plan_of(case, _with_progress(case, doing), run=run, again=_JOB_WAIT_SECONDS)
    return _died(case, stage, doing)


def start(case: Case, stage: Stage, doing: Doing, attempt: int) -> Plan:
    """Have the Job of one attempt."""
    run = case.run.model_copy(update={"stage_attempt": attempt})
    plan = plan_of(case, doing, run=run, again=_JOB_WAIT_SECONDS)
    return plan.model_copy(update={"job": StageJob(stage=stage, attempt=attempt)})


def with_log(run: RunStatus, stage: Stage, text: str) -> RunStatus:
    """The run with what the current attempt of a stage said last."""
    if not text:
        return run
    said = StageLog(stage=stage, attempt=run.stage_attempt, text=text)
    others = [each for each in run.logs if (each.stage, each.attempt) != (said.stage, said.attempt)]
    return run.model_copy(update={"logs": tuple([*others, said][-MAX_LOGS:])})


def _died(case: Case, stage: Stage, doing: Doing) -> Plan:
    """The Job ended, or was deleted, and left no outcome: evicted, out of memory, or the stores were away for long."""
    job = case.observed.job
    if job is not None and job.reason == _OUT_OF_TIME:
        return fail(case, Reason.DEADLINE_EXCEEDED, f"the {stage} stage ran out of time: {job.message}")
    why = (job.message or "it left no outcome") if job else "it was deleted"
    if case.run.stage_attempt >= case.policy.stage_attempts:
        return fail(case, Reason.JOB_FAILED, f"the {stage} stage failed {case.run.stage_attempt} times, last: {why}")
    attempt = case.run.stage_attempt + 1
    again = doing.model_copy(update={"message": f"attempt {attempt} of the {stage} stage, after: {why}"})
    return start(case, stage, again, attempt)


def _judge(case: Case, stage: Stage, outcome: Outcome) -> Plan | Outcome:
    """A worker's words are checked: names against the stage's patterns, sizes and checksums against the bucket."""
    if not outcome.succeeded:
        return fail(case, outcome.reason, outcome.message + (_paid(case) if stage is Stage.COLLECT else ""))
    for file in outcome.files:
        wrong = _file_problem(case, stage, file)
        if wrong is not None:
            return fail(case, *wrong)
    missing = kinds.expected_files(case.kind, stage, outcome.facts) - {file.name for file in outcome.files}
    if missing or not outcome.files:
        return fail(case, Reason.OUTPUT_MISSING, f"the {stage} stage has not stored {sorted(missing)}")
    if not isinstance(outcome.facts, kinds.FACTS[case.kind, stage]):
        return fail(case, Reason.OUTCOME_INVALID, f"the {stage} stage does not say what it found")
    problem = kinds.facts_problem(case.spec, outcome.facts, outcome.files, case.policy.recording_seconds)
    return fail(case, Reason.OUTCOME_INVALID, problem) if problem else outcome


def _file_problem(case: Case, stage: Stage, file: StoredFile) -> tuple[Reason, str] | None:
    if not keys.is_output(case.kind, stage, file.name):
        return Reason.OUTCOME_INVALID, f"the {stage} stage may not write {file.name!r}"
    found = case.observed.stored.get(file.name)
    if found is None or found.size_bytes != file.size_bytes:
        return Reason.OUTPUT_MISSING, f"{file.name} is not stored with {file.size_bytes} bytes"
    if found.sha256 != file.sha256:
        return Reason.OUTPUT_CHANGED, f"{file.name} has the SHA-256 {found.sha256}, but the worker stored {file.sha256}"
    return None


def _paid(case: Case) -> str:
    """What a person can do about a result that was paid and can't be had."""
    purchase = case.observed.purchase
    if purchase is None:
        return ""
    return (
        f". Request {purchase.request_id} of {purchase.provider} was paid, and its answer is kept: delete this "
        "resource and apply it again to fetch the result once more, which pays nothing; the annotation "
        "contentgen.dev/rerun pays for a new one"
    )


def _with_progress(case: Case, doing: Doing) -> Doing:
    report = case.observed.progress
    if report is None:
        return doing
    remaining = report.remaining_seconds
    return doing.model_copy(
        update={
            "step": report.step,
            "fraction": report.fraction,
            "message": report.message or doing.message,
            "remaining_seconds": None if remaining is None else remaining + doing.after_seconds,
        }
    )
