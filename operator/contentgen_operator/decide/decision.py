"""Decision: resource + observation + now → plan. Pure; each behaviour is a table of cases in the tests.

    prepare (Job) ──► gate ──► payment ──► poll ──► collect (Job) ──► done

Level-triggered: it depends on the present state (purchase, Job, outcome) and not on events, so that a lost, repeated
or late wake-up changes nothing.
"""

from collections.abc import Callable, Iterator
from datetime import datetime

from pydantic import ValidationError

from contentgen_contract.advice import lora_links
from contentgen_contract.names import RERUN_ADVICE, Phase, Reason, Stage, Step
from contentgen_contract.records import keys
from contentgen_contract.resources import languages, sources
from contentgen_contract.resources.addresses import literal_refusal, strip_credentials
from contentgen_contract.resources.operator_class import class_of
from contentgen_contract.resources.spec import ImageGenerationSpec, TranscriptionSpec
from contentgen_contract.resources.status import (
    MAX_FILES,
    MAX_MESSAGE,
    MAX_VERSIONS,
    OutputFile,
    RunStatus,
    VersionStatus,
)
from contentgen_contract.worker.orders import AudioFacts, DatasetFacts, Outcome
from contentgen_operator.approval import gate as approval
from contentgen_operator.budgets.claims import with_unused_released
from contentgen_operator.cleanup import expiry
from contentgen_operator.decide import collect_retries, lora_families, purchasable
from contentgen_operator.decide.cancellation import cancel_run
from contentgen_operator.decide.open_requests import plan_after_end, resume_earlier_attempt, with_open_requests
from contentgen_operator.decide.payment import (
    COLLECT_SECONDS,
    RESUBMITTED,
    adoption,
    cancelled_in_time,
    deadline_passed,
    next_attempt,
    pause_after_refusal,
    pay,
    poll,
    provider_failed,
    purchase_missing,
    result_not_stored,
    run_request_ending,
    search_lost_request,
    unread_reason,
    was_rewound,
)
from contentgen_operator.decide.policies import awaited_results, estimate, gate_order, same_request
from contentgen_operator.decide.request_endings import has_result, stored_answer
from contentgen_operator.decide.stages import run_stage, with_left_job, with_log
from contentgen_operator.plans.planning import (
    SOON,
    before_submission,
    collecting,
    fail,
    new_plan,
    purchase_transition,
    stop_before_payment,
    submitting,
    unpaid_text,
    withdraw_planned,
)
from contentgen_operator.plans.status import invalid_spec_status, transition_events, with_settled_cost
from contentgen_operator.queue import gate as queue
from contentgen_operator.state.decision_input import DecisionInput, RunState
from contentgen_operator.state.kinds import table as kinds
from contentgen_operator.state.observed import Resource
from contentgen_operator.state.plan import Plan
from contentgen_operator.state.purchases import LedgerTransition, Purchase, PurchaseState
from contentgen_operator.state.runs import replacing_run

_WAIT_SECONDS = 30.0


def decide(case: DecisionInput) -> Plan:
    """The plan for a resource that is not being deleted (`decide_deletion` has that one)."""
    return with_left_job(case, _plan(case))


def _plan(case: DecisionInput) -> Plan:
    resource = case.resource
    if case.over and not case.collects_again:
        if case.run.request_open:
            return plan_after_end(case)
        plan = Plan(status=with_settled_cost(resource, case.observed), finalizer=resource.deletes_files)
        return expiry.with_expiry(case, plan)
    if case.collects_again:
        if why := collect_retries.missing_result(case):
            return collect_retries.refused_retry(case, why)
        case = case.model_copy(update={"run": collect_retries.restarted(case, case.run, resource.collect)})
    case = approval.with_verdict(_in_wanted_scope(case))
    return _with_retrained_loras(case) or _plan_with_purchase(case)


def invalid_spec(resource: Resource, error: ValidationError, now: datetime) -> Plan:
    """The plan for a resource whose spec is wrong (`decision_input`)."""
    status = invalid_spec_status(resource, error, now)
    return Plan(status=status, notices=transition_events(resource, status), finalizer=resource.deletes_files)


def _in_wanted_scope(case: DecisionInput) -> DecisionInput:
    """The input with the scope under which the purchase with the image's LoRAs was made."""
    wanted = case.observed.wanted
    if wanted is None or wanted.scope is None:
        return case
    return case.model_copy(update={"resource": case.resource.model_copy(update={"scope": wanted.scope})})


def _plan_with_purchase(case: DecisionInput) -> Plan:
    plan = queue.without_wait(with_open_requests(case, _suspended(case, _plan_for_tenant(_with_stage_log(case)))))
    used = None if case.observed.superseded else case.observed.purchase
    changes = {
        "moves": awaited_results.with_mark(case, plan),
        "adoption": adoption(case.resource, case.key, used),
        "pointer": same_request.pointer(case, used),
        "of_features": with_unused_released(case, plan),
    }
    return plan.model_copy(update=changes)


def _with_stage_log(case: DecisionInput) -> DecisionInput:
    """The input with the stage's latest log in the run, so that every plan keeps it."""
    log = case.observed.outcome.log if case.observed.outcome else case.observed.log
    return case.model_copy(update={"run": with_log(case.run, case.stage, log)})


def _plan_for_tenant(case: DecisionInput) -> Plan:
    return _tenant_unconfirmed(case) if case.resource.tenant.block_reason else _plan_for_run(case)


def _with_retrained_loras(case: DecisionInput) -> Plan | None:
    """The plan that changes the run's purchase key: the purchase under the old key used LoRAs of other trainings.
    None: the key stays.
    """
    wanted = case.observed.wanted
    if wanted is None or wanted.waits or wanted.identity == case.run.lora_identity:
        return None
    if was_rewound(case) or case.cancelled or case.resource.tenant.block_reason:
        return None
    moves = withdraw_planned(case)
    blind = case.model_copy(update={"observed": case.observed.model_copy(update={"purchase": None})})
    run = case.run.model_copy(update={"lora_identity": wanted.identity})
    named = case.run.purchase_id is not None or bool(moves)
    if named:  # the status names a planned purchase of the old key: it belongs to another run
        document = case.resource.document
        number = max(run.number, document.number if document is not None else 0) + 1
        run = run.model_copy(update={"number": number, "purchase_id": None, "sent_at": None})
    phase = Phase.PENDING if named else before_submission(case)
    run_state = RunState(
        phase=phase, reason=Reason.WAITING_FOR_LORA, message="the LoRAs were trained again since the last purchase"
    )
    return new_plan(blind, run_state, run=run, moves=moves, again=SOON)


def _plan_for_run(case: DecisionInput) -> Plan:
    purchase = case.observed.purchase
    if was_rewound(case):
        return same_request.adopt_restored(case) or purchase_missing(case)
    if case.cancelled and (plan := cancel_run(case, purchase)) is not None:
        return plan
    if (purchase is None or purchase.unpaid) and (plan := resume_earlier_attempt(case)) is not None:
        return plan
    if purchase is None or purchase.planned:
        return _before_payment(case)
    if purchase.abandoned or case.observed.superseded:
        why = RESUBMITTED if purchase.abandoned else "its files are stored"
        return next_attempt(case, why, resubmitted=purchase.abandoned)
    return same_request.adopt(case) or _BY_STATE[purchase.state](case, purchase)


def _tenant_unconfirmed(case: DecisionInput) -> Plan:
    """Wait for the confirmation of the cluster: the tenant's purchases may be under another scope."""
    phase = case.resource.status.phase or Phase.PENDING
    run_state = RunState(
        phase=Phase.PENDING if phase.terminal else phase,
        reason=Reason.CLUSTER_NOT_CONFIRMED,
        message=case.resource.tenant.block_reason,
    )
    return new_plan(case, run_state, again=_WAIT_SECONDS)


def _suspended(case: DecisionInput, plan: Plan) -> Plan:
    """The plan while suspended: nothing is started or bought, but a running Job and a paid request are finished."""
    purchase, job = case.observed.purchase, case.observed.job
    bought = purchase is not None and not purchase.unpaid
    at_work = plan.job is None and job is not None and not job.finished
    if not case.resource.suspended or bought or at_work or plan.status.phase in (None, Phase.FAILED):
        return plan
    message = "spec.suspend is true: nothing is started and nothing is bought until it is false"
    run_state = RunState(phase=Phase.SUSPENDED, reason=Reason.SUSPENDED, message=message)
    run = plan.status.run if plan.job is None else case.run  # keeps the facts of the prepare stage
    return new_plan(case, run_state, run=run)


def _before_payment(case: DecisionInput) -> Plan:
    if deadline_passed(case):
        seconds, last = case.resource.deadline_seconds, case.resource.status
        message = f"the run is not finished after spec.deadlineSeconds ({seconds}); {unpaid_text(case)}"
        if last.run is not None and last.run.number == case.run.number and last.message:
            message += f"; it waited ({last.reason}): {last.message}"
        return stop_before_payment(case, Reason.DEADLINE_EXCEEDED, message)
    if (plan := same_request.adopt(case) or _not_purchasable(case)) is not None:
        return plan
    if case.kind.prepares and case.run.facts is None:
        return _prepare(case)
    if (refusal := _lora_refused(case)) is not None:
        return fail(case, Reason.SOURCE_NOT_ALLOWED, refusal)
    if (refusal := _lora_unusable(case) or lora_families.refusal(case)) is not None:
        return fail(case, Reason.INVALID_SPEC, refusal)
    return estimate.end(case) or gate_order.hold(case) or pay(case)


def _not_purchasable(case: DecisionInput) -> Plan | None:
    """Failure or wait of a run that may not buy; it waits only after a running Job has finished. None: it may buy."""
    if (plan := purchasable.refused(case)) is not None:
        return plan
    if case.run.job is not None:
        return None
    waiting = purchasable.waits(case)
    if waiting is None:
        return None
    # Nothing has started, so an edit, such as another loraName, replaces this run at once.
    run = replacing_run(case.resource, case.run, case.now) if case.run.facts is None else None
    if run is None:
        return waiting
    run_state = RunState(
        phase=Phase.PENDING, reason=Reason(waiting.status.reason or ""), message="the changed spec is read"
    )
    return new_plan(case, run_state, run=run, moves=withdraw_planned(case), again=SOON)


def _prepare(case: DecisionInput) -> Plan:
    refusal = _source_refused(case)
    if refusal is not None:
        return fail(case, Reason.SOURCE_NOT_ALLOWED, refusal)
    refusal = _language_refused(case)
    if refusal is not None:
        return fail(case, Reason.INVALID_SPEC, refusal)
    run_state = RunState(
        phase=Phase.PREPARING,
        reason=Reason.PREPARING,
        message="the recording is being prepared",
        step=next(iter(case.kind.info.progress)),
        after_seconds=case.provider_seconds + COLLECT_SECONDS,
    )
    ended = run_stage(case, Stage.PREPARE, run_state)
    if isinstance(ended, Plan):
        held = queue.hold(case) if queue.asks_to_prepare(case, ended) else None
        return held or ended
    facts = kinds.prepared_facts(case.kind, ended.facts, ended.files)
    run = case.run.model_copy(update={"facts": facts, "job": None, "stage_attempt": 1, "lost_attempts": 0})
    # Still Preparing: whether the payment follows, or a wait such as that for an approval, is decided next.
    prepared = RunState(phase=Phase.PREPARING, reason=Reason.PREPARING, message=_prepared_text(ended))
    return new_plan(case, prepared, run=run, again=SOON)


def _source_refused(case: DecisionInput) -> str | None:
    """Reason to refuse an s3:// source, or None; the operator would sign its URL with its own permissions."""
    if isinstance(case.spec, ImageGenerationSpec) or not case.spec.source.url.startswith("s3://"):
        return None
    settings, namespace = case.settings, case.resource.ref.namespace
    why = sources.refusal(case.spec.source.url, namespace, settings.sources, settings.bucket)
    return f"spec.source.url: {why}" if why else None


def _language_refused(case: DecisionInput) -> str | None:
    """Reason to refuse the language, or None; the CRD accepts some codes that AssemblyAI does not support."""
    if not isinstance(case.spec, TranscriptionSpec):
        return None
    why = languages.unknown_code_error(case.spec.options.language)
    return f"spec.options.language: {why}; {unpaid_text(case)}" if why else None


def _lora_refused(case: DecisionInput) -> str | None:
    """Reason to refuse an address of spec.loras, or None; the provider fetches it, so only its text is checked here."""
    for where, path in _lora_paths(case):
        if why := literal_refusal(path, case.settings.allowed_hosts):
            return f"{where}: {why}; fal fetches it from the internet: expected a public address; {unpaid_text(case)}"
    return None


def _lora_unusable(case: DecisionInput) -> str | None:
    """Reason to refuse an address of spec.loras that names no weights which the provider could load, or None."""
    found = ((where, lora_links.refusal(path)) for where, path in _lora_paths(case))
    return next((f"{where}: {why}; {unpaid_text(case)}" for where, why in found if why), None)


def _lora_paths(case: DecisionInput) -> Iterator[tuple[str, str]]:
    """Addresses in spec.loras, each with its field and address for a message."""
    loras = case.spec.loras if isinstance(case.spec, ImageGenerationSpec) else ()
    for index, lora in enumerate(loras):
        if lora.path is not None:
            yield f"spec.loras[{index}].path: {strip_credentials(lora.path)}", lora.path


def _prepared_text(outcome: Outcome) -> str:
    match outcome.facts:
        case DatasetFacts() as facts:
            return "; ".join([f"{facts.images} pictures of {facts.scenes} scenes are ready", *facts.notes])
        case AudioFacts() as facts:
            return _audio_text(facts)
        case _:
            return "ready"


def _audio_text(facts: AudioFacts) -> str:
    text = f"{facts.duration_seconds:.0f} s of audio are ready"
    if facts.audible_seconds is not None:
        text += f", {facts.audible_seconds:.0f} s of them audible"
    if facts.tracks > 1:
        text += f", from track {facts.track} of {facts.tracks}"
    return "; ".join([text, *facts.notes])


def _refused(case: DecisionInput, purchase: Purchase) -> Plan:
    if purchase.job_id != case.resource.ref.uid:
        # The refusal was of a deleted resource and nothing was paid: retry, since the cause may be fixed.
        return _before_payment(case)
    if purchase.permanent:
        return fail(case, Reason.PROVIDER_REFUSED, purchase.error)
    plan, left = _before_payment(case), pause_after_refusal(case, purchase, case.now)
    if left <= 0 or plan.reservation is None:  # the pause delays nothing but a payment
        return plan
    reason = Reason.PROVIDER_NOT_CONFIGURED if purchase.key_refused else Reason.PROVIDER_UNAVAILABLE
    return new_plan(case, submitting(case, reason, purchase.error), again=left)


def _collect(case: DecisionInput, purchase: Purchase) -> Plan:
    if (purchase.result_key is None and purchase.error) or case.observed.response_missing:
        why = "the provider's response was not stored"
        return _read_again(case, purchase, why) or _without_response(case, purchase)
    ended = run_stage(case, Stage.COLLECT, collecting("the outputs are being stored"))
    if isinstance(ended, Plan):
        return ended
    version = VersionStatus(
        version=case.run.version,
        run_hash=case.run.run_hash,
        rerun=case.run.rerun,
        job_id=case.resource.ref.uid,
        purchase_id=purchase.purchase_id,
        operator_class=class_of({"spec": case.resource.spec}),
        completed_at=case.now,
        bucket=case.settings.bucket,
        files=tuple(
            OutputFile(key=case.prefix + file.name, size_bytes=file.size_bytes, sha256=file.sha256)
            for file in ended.files[:MAX_FILES]
        ),
        facts=ended.facts.model_dump(mode="json", by_alias=True) if ended.facts else {},
    )
    if version.facts.get("missing") and ended is not case.observed.part:
        case = case.model_copy(update={"run": collect_retries.with_part(case.run, case.run.stage_attempt)})
    outputs = version.model_dump(mode="json", by_alias=True)
    moves = (purchase_transition(case, purchase, PurchaseState.COLLECTED, outputs=outputs),)
    reason, message = same_request.ending(case, purchase, Reason.COMPLETED, _stored_text(case, version))
    return _complete(case, version, reason, message, moves)


def _stored_text(case: DecisionInput, version: VersionStatus) -> str:
    text = "; ".join([f"version {version.version} is stored", *kinds.shortfalls(case.spec, version.facts)])
    advice = f"; {collect_retries.rest_advice(case.run)}" if version.facts.get("missing") else ""
    return text[: MAX_MESSAGE - len(advice)] + advice


def _adopt_outputs(case: DecisionInput, purchase: Purchase) -> Plan:
    """Complete with an already collected purchase: of a reconcile that crashed, or of a deleted resource."""
    if not case.observed.outputs_stored:
        return _outputs_missing(case, purchase)
    if case.collects_again and case.resource.status.phase is Phase.COMPLETED:
        return _collect_again(
            case, purchase, case.run, "the missing outputs are collected from the provider's response"
        )
    owned = {"purchaseId": purchase.purchase_id, "operatorClass": class_of({"spec": case.resource.spec})}
    stored = VersionStatus.model_validate((purchase.outputs or {"version": 0}) | owned)
    if (stored.job_id, stored.version) == (case.resource.ref.uid, case.run.version):
        reason, message = same_request.ending(case, purchase, Reason.COMPLETED, _stored_text(case, stored))
        return _complete(case, stored, reason, message, ())
    missing = ", ".join(kinds.row_of(case.spec).missing_formats(case.spec, map(_name_of, stored.files), stored.facts))
    if missing and case.observed.response_kept:
        run = collect_retries.restarted(case, case.run, collect_retries.state_of(case.run).asked, whole=True)
        return _collect_again(case, purchase, run, f"{missing} is made from the provider's response")
    version = stored.model_copy(update={"version": case.run.version})
    used = f"the outputs of job {stored.job_id} are used"
    message = f"the same inputs were bought before, for job {stored.job_id}; its outputs are used and nothing is paid"
    reason, message = same_request.ending(case, purchase, Reason.ADOPTED_FINISHED_RUN, message, used)
    gone = f"{missing} cannot be made, because the provider's response is gone from the bucket"
    message = "; ".join([message, *kinds.shortfalls(case.spec, stored.facts), *([gone] if missing else [])])
    return _complete(case, version, reason, message, ())


def _name_of(file: OutputFile) -> str:
    return file.key.rpartition("/")[2]


def _outputs_missing(case: DecisionInput, purchase: Purchase) -> Plan:
    """Collect again from the stored response, for free, outputs that are missing or changed in the bucket; fail if the
    response is missing too.
    """
    if case.observed.response_kept:
        run = collect_retries.restarted(case, case.run, collect_retries.state_of(case.run).asked, whole=True)
        words = "the stored files are missing or changed; they are collected again from the provider's response"
        return _collect_again(case, purchase, run, words)
    why = "the stored files and the provider's response are gone from the bucket"
    return _read_again(case, purchase, why) or _outputs_deleted(case, purchase, "its files were stored, but they are")


def _without_response(case: DecisionInput, purchase: Purchase) -> Plan:
    if purchase.result_key is None:
        return result_not_stored(case, purchase)
    return _outputs_deleted(case, purchase, "its response was stored, but it is")


def _outputs_deleted(case: DecisionInput, purchase: Purchase, what: str) -> Plan:
    answer = collect_retries.provider_text(case, purchase)
    gone = f"{what} gone from the bucket" + (f"; {answer}" if answer else "")
    message = (
        f"request {purchase.request_id} of {purchase.provider} was paid, and {gone}; once "
        f"a backup of the bucket is restored, or the provider has it, {collect_retries.retry_advice(case.run, 'it')}"
    )
    return fail(case, Reason.OUTPUTS_DELETED, message)


def _collect_again(case: DecisionInput, purchase: Purchase, run: RunStatus, message: str) -> Plan:
    moves = (purchase_transition(case, purchase, PurchaseState.SUCCEEDED, outputs=None),)
    return new_plan(case, collecting(message), run=run, moves=moves, again=SOON)


def _read_again(case: DecisionInput, purchase: Purchase, why: str) -> Plan | None:
    """The plan that stores the provider's response, which the provider still has, and collects it for free, or waits
    while the provider cannot be read; None: it has none.
    """
    view = case.observed.request
    if view is None:
        if not case.observed.provider_problem or collect_retries.seconds_left(case) <= 0:
            return None
        waiting = collecting(f"{why}; it is asked for again; {collect_retries.provider_text(case, purchase)}")
        reason = unread_reason(case.observed)
        return new_plan(case, waiting.model_copy(update={"reason": reason}), again=_WAIT_SECONDS)
    if not has_result(view):
        return None
    answer = stored_answer(case.kind, purchase, view.result) if view.result is not None else None
    changes: dict[str, object] = {"outputs": None, "result_key": keys.purchase_response(purchase.purchase_id)}
    if purchase.result_key is None and (end := run_request_ending(case, purchase, view)) is not None:
        changes |= {"error": ""} | end.changes  # its cost was not known
    run = collect_retries.restarted(case, case.run, collect_retries.state_of(case.run).asked, whole=True)
    moves = (purchase_transition(case, purchase, PurchaseState.SUCCEEDED, **changes),)
    run_state = collecting(f"{why}; the provider has it, and its files are collected")
    plan = new_plan(case, run_state, run=run, moves=moves, again=SOON)
    return plan.model_copy(update={"store": answer})


def _complete(
    case: DecisionInput, version: VersionStatus, reason: Reason, message: str, moves: tuple[LedgerTransition, ...]
) -> Plan:
    run_state = RunState(phase=Phase.COMPLETED, reason=reason, message=message, step=Step.DONE)
    run = case.run.model_copy(update={"job": None})
    plan = new_plan(case, run_state, run=run, moves=moves)
    others = [each_version for each_version in case.resource.status.versions if each_version.version != version.version]
    versions = (*others, version)[-MAX_VERSIONS:]
    return plan.model_copy(update={"status": plan.status.model_copy(update={"versions": tuple(versions)})})


_NOT_BOUGHT_AGAIN = f"nothing is bought again automatically; to buy, {RERUN_ADVICE}"


def _cancelled(case: DecisionInput, purchase: Purchase) -> Plan:
    if (plan := cancelled_in_time(case, purchase)) is not None:
        return plan
    message = f"the paid request for the same was cancelled before it was finished; {_NOT_BOUGHT_AGAIN}"
    return fail(case, Reason.CANCELLED, message)


def _discarded(case: DecisionInput, purchase: Purchase) -> Plan:
    how = "its files were deleted with deletionPolicy Delete"
    if purchase.expired_at is not None:
        how = f"its resource was deleted; its result was kept until {purchase.expired_at:%Y-%m-%d}, and is deleted now"
    message = f"the same inputs were bought before, and {how}; {_NOT_BOUGHT_AGAIN}"
    return fail(case, Reason.OUTPUTS_DELETED, message)


_BY_STATE: dict[PurchaseState, Callable[[DecisionInput, Purchase], Plan]] = {
    PurchaseState.INTENT: search_lost_request,
    PurchaseState.REFUSED: _refused,
    PurchaseState.SUBMITTED: poll,
    PurchaseState.SUCCEEDED: _collect,
    PurchaseState.FAILED: provider_failed,
    PurchaseState.COLLECTED: _adopt_outputs,
    PurchaseState.CANCELLED: _cancelled,
    PurchaseState.DISCARDED: _discarded,
}
