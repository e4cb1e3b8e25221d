"""The decision: resource + observation + now → plan. Pure; every behaviour is a table of cases in the tests.

    prepare (Job) ──► gate ──► payment ──► poll ──► collect (Job) ──► done

Level-triggered: it asks what is there (the purchase, the Job, the outcome) and not what happened, so that a wake-up
that is lost, doubled or late changes nothing.
"""

from datetime import datetime
from urllib.parse import urlsplit

from pydantic import ValidationError

from contentgen_contract import keys
from contentgen_contract.names import (
    MILESTONES,
    PROVIDER_STEP,
    Phase,
    Reason,
    Step,
)
from contentgen_contract.orders import AudioFacts, DatasetFacts, Outcome
from contentgen_contract.spec import ImageGenerationSpec
from contentgen_contract.status import (
    MAX_FILES,
    MAX_VERSIONS,
    JobRef,
    OutputFile,
    RunStatus,
    VersionStatus,
)
from contentgen_operator import kinds
from contentgen_operator.case import Case, Doing, Policy
from contentgen_operator.observed import Observed, Resource
from contentgen_operator.plan import Payment, Plan, StageJob, StoredDocument
from contentgen_operator.providers.base import RequestState
from contentgen_operator.purchases import Move, Purchase, PurchaseState
from contentgen_operator.runs import current_run, frozen_spec, owner
from contentgen_operator.summary import estimated_micros, invalid, notices_of, seen, status_of

_SOON = 0.0
_LORA_WAIT_SECONDS = 30.0  # a LoRA's own events wake its users; this is for the event that never came
_JOB_WAIT_SECONDS = 60.0  # likewise for a Job's
_CONFIGURATION_WAIT_SECONDS = 30.0
_OUT_OF_TIME = "DeadlineExceeded"  # Kubernetes' reason on a Job


def decide(resource: Resource, observed: Observed, now: datetime, policy: Policy) -> Plan:
    """The plan for a resource."""
    if resource.deleting:
        return Plan(status=resource.status)
    try:
        run = current_run(resource, now)
        spec = frozen_spec(resource, run)
    except ValidationError as error:
        status = invalid(resource, error, now)
        return Plan(status=status, notices=notices_of(resource, status))
    if run == resource.status.run and resource.status.phase and resource.status.phase.terminal:
        return Plan(status=seen(resource))
    case = Case(resource=resource, run=run, spec=spec, observed=observed, now=now, policy=policy)
    return _before_payment(case) if observed.purchase is None else _after_intent(case, observed.purchase)


def _before_payment(case: Case) -> Plan:
    if kinds.has_prepare(case.kind) and case.run.facts is None:
        return _prepare(case)
    waiting = _waits_for_lora(case)
    if waiting is not None:
        return waiting
    return _gate(case)


def _prepare(case: Case) -> Plan:
    refusal = _source_refused(case)
    if refusal is not None:
        return _fail(case, Reason.SOURCE_NOT_ALLOWED, refusal)
    step = next(iter(MILESTONES[case.kind]))
    doing = Doing(phase=Phase.PREPARING, reason=Reason.PREPARING, message="the recording is being prepared", step=step)
    ended = _stage(case, doing)
    if isinstance(ended, Plan):
        return ended
    facts = ended.facts.model_dump(mode="json", by_alias=True) if ended.facts else {}
    run = case.run.model_copy(update={"facts": facts, "job": None, "stage_attempt": 1})
    ready = _submitting(case, Reason.SUBMITTING, _prepared_text(ended))
    return _plan(case, ready, run=run, again=_SOON)


def _source_refused(case: Case) -> str | None:
    """The operator signs s3:// sources with its own rights, so only buckets that it was told may be read."""
    if isinstance(case.spec, ImageGenerationSpec) or not case.spec.source.url.startswith("s3://"):
        return None
    bucket, path = urlsplit(case.spec.source.url)[1:3]
    if not path.strip("/"):
        return f"spec.source.url: s3://{bucket} names a bucket and no file in it"
    if bucket in case.policy.source_buckets:
        return None
    allowed = ", ".join(case.policy.source_buckets) or "none"
    return f"spec.source.url: bucket {bucket!r} may not be read; allowed by the operator's settings: {allowed}"


def _prepared_text(outcome: Outcome) -> str:
    match outcome.facts:
        case DatasetFacts() as facts:
            return f"{facts.images} pictures of {facts.scenes} scenes are ready"
        case AudioFacts() as facts:
            return f"{facts.duration_seconds:.0f} s of sound are ready"
        case _:
            return "ready"


def _waits_for_lora(case: Case) -> Plan | None:
    if not isinstance(case.spec, ImageGenerationSpec):
        return None
    unready = next((lora for lora in case.observed.loras if lora.model_key is None), None)
    if unready is None:
        return None
    if unready.phase is Phase.FAILED:
        message = f"LoraTraining {unready.name} has failed; repair it, then set the annotation contentgen.dev/rerun"
        return _fail(case, Reason.LORA_FAILED, message)
    state = unready.phase.value if unready.phase else "not there yet"
    message = f"waiting for LoraTraining {unready.name}, which is {state}"
    doing = Doing(phase=_before_submission(case), reason=Reason.WAITING_FOR_LORA, message=message)
    return _plan(case, doing, again=_LORA_WAIT_SECONDS)


def _gate(case: Case) -> Plan:
    """Between free and paid: nothing is bought that could not be collected."""
    if not case.observed.provider_configured:
        provider = kinds.provider_of(case.kind)
        message = (
            f"there is no key for {provider}; put {provider}-key into the providers' Secret, see the chart's values"
        )
        doing = Doing(phase=_before_submission(case), reason=Reason.PROVIDER_NOT_CONFIGURED, message=message)
        return _plan(case, doing, again=_CONFIGURATION_WAIT_SECONDS)
    return _pay(case)


def _before_submission(case: Case) -> Phase:
    """Pending, unless the run was further already: phases only go forward."""
    last = case.resource.status
    begun = last.run is not None and last.run.number == case.run.number and last.phase not in (None, Phase.PENDING)
    return Phase.SUBMITTING if begun else Phase.PENDING


def _pay(case: Case) -> Plan:
    job = kinds.Job(user_id=owner(case.resource, case.spec), job_id=case.resource.ref.uid, version=case.run.version)
    call = kinds.call_of(case.spec, job, case.key, case.observed.loras)
    purchase = Purchase(
        state=PurchaseState.INTENT,
        job_id=case.resource.ref.uid,
        provider=call.provider,
        model=call.model,
        marker=call.marker,
        created_at=case.now,
        changed_at=case.now,
        estimated_micros=estimated_micros(case),
    )
    doing = _submitting(case, Reason.SUBMITTING, f"asking {call.provider} for {call.model}")
    payment = Payment(key=case.key, purchase=purchase, call=call)
    return _plan(case, doing, again=_SOON).model_copy(update={"payment": payment})


def _after_intent(case: Case, purchase: Purchase) -> Plan:
    match purchase.state:
        case PurchaseState.INTENT:
            return _lost(case, purchase)
        case PurchaseState.REFUSED:
            return _refused(case, purchase)
        case PurchaseState.SUBMITTED:
            return _poll(case, purchase)
        case PurchaseState.FAILED:
            return _provider_failed(case, purchase)
        case PurchaseState.SUCCEEDED:
            return _collect(case, purchase)
        case PurchaseState.COLLECTED:
            return _adopt(case, purchase)


def _lost(case: Case, purchase: Purchase) -> Plan:
    """There is an intent and no request id: it may be paid, so it is looked for and never sent again."""
    if case.observed.found_request is not None:
        changes = {"request_id": case.observed.found_request, "submitted_at": purchase.created_at}
        doing = Doing(phase=Phase.PROCESSING, reason=Reason.PROCESSING, message="the request was found again")
        moves = (_move(case, purchase, PurchaseState.SUBMITTED, **changes),)
        return _plan(case, doing, moves=moves, again=_SOON)
    # The annotation stays on the resource, so it names one purchase: it must not pay for a later run as well.
    if case.resource.resubmit == case.key.token:
        return _next_attempt(case, "a person asked for another submission")
    waited = (case.now - purchase.created_at).total_seconds()
    if waited < case.policy.adoption_seconds:
        message = f"the reply of {purchase.provider} was lost; looking for the request in its history"
        doing = _submitting(case, Reason.LOOKING_FOR_REQUEST, message)
        return _plan(case, doing, again=case.policy.poll_seconds)
    message = (
        f"{purchase.provider} may have been paid, but its history does not show the request; look at its dashboard, "
        f"then allow another payment with the annotation contentgen.dev/resubmit={case.key.token}"
    )
    doing = Doing(phase=Phase.SUBMISSION_UNKNOWN, reason=Reason.SUBMISSION_UNKNOWN, message=message)
    return _plan(case, doing)


def _refused(case: Case, purchase: Purchase) -> Plan:
    if purchase.job_id != case.resource.ref.uid:
        # Said to a resource that is gone, and nothing was paid: who applies it again may have mended the cause.
        return _before_payment(case)
    if purchase.permanent:
        return _fail(case, Reason.PROVIDER_REFUSED, purchase.error)
    pause = min(60.0, case.policy.poll_seconds * 2 ** min(purchase.tries, 10))
    left = pause - (case.now - purchase.changed_at).total_seconds()
    if left <= 0:
        return _before_payment(case)
    doing = _submitting(case, Reason.PROVIDER_UNAVAILABLE, purchase.error)
    return _plan(case, doing, again=left)


def _poll(case: Case, purchase: Purchase) -> Plan:
    view = case.observed.request
    if view is None:
        doing = _at_provider(case, purchase, Reason.PROVIDER_UNAVAILABLE, case.observed.provider_problem)
        return _plan(case, doing, again=case.policy.poll_seconds)
    if view.state is RequestState.FAILED:
        moves = (_move(case, purchase, PurchaseState.FAILED, error=view.message),)
        doing = _at_provider(case, purchase, Reason.PROCESSING, f"{purchase.provider} says: {view.message}")
        return _plan(case, doing, moves=moves, again=_SOON)
    if view.state is RequestState.SUCCEEDED and view.result is not None:
        return _store_result(case, purchase, view.result)
    return _plan(case, _at_provider(case, purchase, Reason.PROCESSING, view.message), again=case.policy.poll_seconds)


def _at_provider(case: Case, purchase: Purchase, reason: Reason, message: str) -> Doing:
    expected = case.observed.typical_seconds or kinds.expected_seconds(case.spec, kinds.duration_seconds(case.run))
    since = (case.now - (purchase.submitted_at or case.now)).total_seconds()
    return Doing(
        phase=Phase.PROCESSING,
        reason=reason,
        message=message,
        step=PROVIDER_STEP[case.kind],
        # Without a figure from the provider, time is the measure; it never claims to be done.
        fraction=min(since / max(expected, 1), 0.95),
        remaining_seconds=max(expected - since, 1),
    )


def _store_result(case: Case, purchase: Purchase, result: dict[str, object]) -> Plan:
    """The provider deletes its answer within the hour: it is stored before anything else is done with it."""
    key = keys.provider_result(purchase.job_id, case.run.number, case.run.paid_attempt)
    changes = {
        "result_key": key,
        "finished_at": case.now,
        "actual_micros": purchase.estimated_micros,
    }
    moves = (_move(case, purchase, PurchaseState.SUCCEEDED, **changes),)
    plan = _plan(case, _collecting("the provider has finished"), moves=moves, again=_SOON)
    return plan.model_copy(update={"store": StoredDocument(key=key, document=dict(result))})


def _provider_failed(case: Case, purchase: Purchase) -> Plan:
    if case.run.paid_attempt < case.spec.paid_attempts:
        return _next_attempt(case, purchase.error)
    return _fail(case, Reason.PROVIDER_FAILED, f"{purchase.provider} failed: {purchase.error}")


def _next_attempt(case: Case, why: str) -> Plan:
    run = case.run.model_copy(
        update={"paid_attempt": case.run.paid_attempt + 1, "request_id": None, "submitted_at": None}
    )
    message = f"paid attempt {run.paid_attempt} follows: {why}"
    doing = _submitting(case, Reason.SUBMITTING, message)
    return _plan(case, doing, run=run, again=_SOON)


def _collect(case: Case, purchase: Purchase) -> Plan:
    ended = _stage(case, _collecting("the outputs are being stored"))
    if isinstance(ended, Plan):
        return ended
    version = VersionStatus(
        version=case.run.version,
        run_hash=case.run.run_hash,
        rerun=case.run.rerun,
        job_id=case.resource.ref.uid,
        completed_at=case.now,
        files=tuple(
            OutputFile(key=case.prefix + each.name, size_bytes=each.size_bytes, sha256=each.sha256)
            for each in ended.files[:MAX_FILES]
        ),
        facts=ended.facts.model_dump(mode="json", by_alias=True) if ended.facts else {},
    )
    outputs = version.model_dump(mode="json", by_alias=True)
    moves = (_move(case, purchase, PurchaseState.COLLECTED, outputs=outputs),)
    return _complete(case, version, Reason.COMPLETED, f"version {version.version} is stored", moves)


def _adopt(case: Case, purchase: Purchase) -> Plan:
    """What is asked for was bought and collected before: by a crashed reconcile of ours, or by a deleted resource."""
    stored = VersionStatus.model_validate(purchase.outputs or {"version": 0})
    if (stored.job_id, stored.version) == (case.resource.ref.uid, case.run.version):
        return _complete(case, stored, Reason.COMPLETED, f"version {stored.version} is stored", ())
    version = stored.model_copy(update={"version": case.run.version})
    message = f"the same was bought before, for job {stored.job_id}; its outputs are used and nothing is paid"
    return _complete(case, version, Reason.ADOPTED_FINISHED_RUN, message, ())


def _complete(case: Case, version: VersionStatus, reason: Reason, message: str, moves: tuple[Move, ...]) -> Plan:
    doing = Doing(phase=Phase.COMPLETED, reason=reason, message=message, step=Step.DONE)
    run = case.run.model_copy(update={"job": None})
    plan = _plan(case, doing, run=run, moves=moves)
    others = [each for each in case.resource.status.versions if each.version != version.version]
    versions = (*others, version)[-MAX_VERSIONS:]
    return plan.model_copy(update={"status": plan.status.model_copy(update={"versions": tuple(versions)})})


def _submitting(case: Case, reason: Reason, message: str) -> Doing:
    return Doing(phase=Phase.SUBMITTING, reason=reason, message=message, step=PROVIDER_STEP[case.kind])


def _collecting(message: str) -> Doing:
    return Doing(phase=Phase.COLLECTING, reason=Reason.COLLECTING, message=message, step=Step.STORING)


def _stage(case: Case, doing: Doing) -> Plan | Outcome:
    """See one stage through: its outcome once it is there and its files are, else the plan that gets it there."""
    observed, job = case.observed, case.observed.job
    if observed.outcome_problem:
        return _fail(case, Reason.OUTCOME_INVALID, observed.outcome_problem)
    if observed.outcome is not None:
        return _judge(case, observed.outcome)
    if job is None and (case.run.job is None or case.run.job.stage is not case.stage):
        return _start(case, doing, case.run.stage_attempt if case.run.job is None else 1)
    if job is not None and not job.finished:
        ref = JobRef(
            name=job.name, uid=job.uid, stage=case.stage, attempt=case.run.stage_attempt, started_at=job.started_at
        )
        run = case.run.model_copy(update={"job": ref})
        return _plan(case, _with_progress(case, doing), run=run, again=_JOB_WAIT_SECONDS)
    return _stage_died(case, doing)


def _start(case: Case, doing: Doing, attempt: int) -> Plan:
    run = case.run.model_copy(update={"stage_attempt": attempt})
    plan = _plan(case, doing, run=run, again=_JOB_WAIT_SECONDS)
    return plan.model_copy(update={"job": StageJob(stage=case.stage, attempt=attempt)})


def _stage_died(case: Case, doing: Doing) -> Plan:
    """The Job ended, or was deleted, and left no outcome: evicted, out of memory, or the stores were away for long."""
    job = case.observed.job
    if job is not None and job.reason == _OUT_OF_TIME:
        return _fail(case, Reason.DEADLINE_EXCEEDED, f"the {case.stage} stage ran out of time: {job.message}")
    why = (job.message or "it left no outcome") if job else "it was deleted"
    if case.run.stage_attempt >= case.policy.stage_attempts:
        return _fail(
            case, Reason.JOB_FAILED, f"the {case.stage} stage failed {case.run.stage_attempt} times, last: {why}"
        )
    attempt = case.run.stage_attempt + 1
    again = doing.model_copy(update={"message": f"attempt {attempt} of the {case.stage} stage, after: {why}"})
    return _start(case, again, attempt)


def _judge(case: Case, outcome: Outcome) -> Plan | Outcome:
    """A worker's words are checked: names against the stage's patterns, sizes against the bucket's listing."""
    if not outcome.succeeded:
        return _fail(case, outcome.reason, outcome.message)
    for file in outcome.files:
        if not keys.is_output(case.kind, case.stage, file.name):
            return _fail(case, Reason.OUTCOME_INVALID, f"the {case.stage} stage may not write {file.name!r}")
        if case.observed.stored.get(file.name) != file.size_bytes:
            return _fail(case, Reason.OUTPUT_MISSING, f"{file.name} is not stored with {file.size_bytes} bytes")
    missing = kinds.expected_files(case.kind, case.stage, outcome.facts) - {file.name for file in outcome.files}
    if missing or not outcome.files:
        return _fail(case, Reason.OUTPUT_MISSING, f"the {case.stage} stage has not stored {sorted(missing)}")
    if not isinstance(outcome.facts, kinds.FACTS[case.kind, case.stage]):
        return _fail(case, Reason.OUTCOME_INVALID, f"the {case.stage} stage does not say what it found")
    return outcome


def _with_progress(case: Case, doing: Doing) -> Doing:
    report = case.observed.progress
    if report is None:
        return doing
    return doing.model_copy(
        update={
            "step": report.step,
            "fraction": report.fraction,
            "message": report.message or doing.message,
            "remaining_seconds": report.remaining_seconds,
        }
    )


def _fail(case: Case, reason: Reason, message: str) -> Plan:
    return _plan(case, Doing(phase=Phase.FAILED, reason=reason, message=message))


def _move(case: Case, purchase: Purchase, target: PurchaseState, **changes: object) -> Move:
    return Move(key=case.key, source=purchase.state, target=target, changes={"changed_at": case.now} | changes)


def _plan(
    case: Case,
    doing: Doing,
    *,
    run: RunStatus | None = None,
    moves: tuple[Move, ...] = (),
    again: float | None = None,
) -> Plan:
    status = status_of(case, doing, run or case.run)
    return Plan(status=status, moves=moves, notices=notices_of(case.resource, status), again_seconds=again)
