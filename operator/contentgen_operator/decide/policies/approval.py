"""Approval: a run waits before its payment until a user approves or rejects it (docs/decisions/0031).

A verdict counts only if it names the run, and if its annotations differ from those that the run document lists as
lapsed: everything that was there before the API server showed the run as AwaitingApproval. An accepted verdict is part
of the run document, so a later change of the annotations has no effect.
"""

from contentgen_contract.annotations.approve_run import GivenVerdict, given_verdicts
from contentgen_contract.names import APPROVE_ANNOTATION, APPROVED_BY_ANNOTATION, Phase, Reason, Verdict
from contentgen_contract.resources.prices import format_dollars
from contentgen_contract.resources.spec import Approval
from contentgen_contract.resources.status import ApprovalStatus, RunStatus
from contentgen_operator.decide.planning import (
    fail,
    new_plan,
    recheck_seconds,
    replace_run,
    unpaid_text,
    withdraw_planned,
)
from contentgen_operator.state.decision_input import DecisionInput, RunState
from contentgen_operator.state.plan import Plan
from contentgen_operator.state.runs import replacing_run

_MAX_WAIT_SECONDS = 300.0  # until the namespace's label is read again
_MAX_REJECTIONS = 5  # causes in the message


def with_verdict(case: DecisionInput) -> DecisionInput:
    """The input with the verdict on the run that waits in its run, so that every plan keeps it."""
    waits = current_approval(case.run)
    if waits is None or waits.verdict is not None:
        return case
    given = _given(case)
    if not _is_shown_waiting(case):  # before the wait, or while another cause holds the run
        return _with_approval(case, waits.model_copy(update={"lapsed": tuple(each.digest for each in given)}))
    lapsed = tuple(each.digest for each in given if each.digest in waits.lapsed)
    waits = waits.model_copy(update={"lapsed": lapsed})
    counts = next((each for each in given if each.digest not in lapsed), None)
    if counts is not None and replacing_run(case.resource, case.run, case.now) is None:
        decided = {"verdict": counts.verdict, "by": counts.by, "at": case.now}
        waits = waits.model_copy(update=decided)
    return _with_approval(case, waits)


def hold(case: DecisionInput) -> Plan | None:
    """The plan of a run that waits for an approval, or was rejected."""
    decided = current_approval(case.run)
    verdict = decided.verdict if decided is not None else None
    if verdict is Verdict.REJECTED:
        by = decided.by if decided is not None else None
        return fail(case, Reason.REJECTED, f"rejected by {by}; {unpaid_text(case)}")
    if verdict is Verdict.APPROVED or (decided is None and not is_required(case)):
        return None
    # An edit replaces a run that waits also where it removes the requirement: nobody wants the earlier inputs.
    if (replaced := replace_run(case, Reason.AWAITING_APPROVAL)) is not None:
        return replaced
    return _waiting(case, decided) if is_required(case) else None


def current_approval(run: RunStatus) -> ApprovalStatus | None:
    """The approval of this run; None if it has not waited, or the approval is of another run number."""
    return run.approval if run.approval is not None and run.approval.run == run.number else None


def is_required(case: DecisionInput) -> bool:
    """True if the spec, the namespace or the installation requires an approval: the strictest decides."""
    return case.resource.approval is Approval.MANUAL or case.observed.approval_required or case.policy.approval_required


def _given(case: DecisionInput) -> tuple[GivenVerdict, ...]:
    return tuple(each for each in given_verdicts(case.resource.verdict_annotations) if each.run == case.run.number)


def _is_shown_waiting(case: DecisionInput) -> bool:
    """True if the resource, as read with its annotations, shows that this run waits."""
    last = case.resource.status
    return last.phase is Phase.AWAITING_APPROVAL and last.run is not None and last.run.number == case.run.number


def _with_approval(case: DecisionInput, approval: ApprovalStatus) -> DecisionInput:
    return case.model_copy(update={"run": case.run.model_copy(update={"approval": approval})})


def _waiting(case: DecisionInput, waits: ApprovalStatus | None) -> Plan:
    if waits is None:
        lapsed = tuple(each.digest for each in _given(case))
        case = _with_approval(case, ApprovalStatus(run=case.run.number, since=case.now, lapsed=lapsed))
    number = case.run.number
    paid = "no other attempt" if case.run.paid_attempt > 1 or case.observed.earlier else "nothing"
    message = (
        f"run {number} waits for an approval{_price_text(case)}{_prepared_text(case)}; {paid} is paid before. To "
        f"approve it: kubectl contentgen approve {case.resource.ref.name}, or the annotations "
        f"{APPROVE_ANNOTATION}={number} and {APPROVED_BY_ANNOTATION}=<your user name>"
    )
    run_state = RunState(phase=Phase.AWAITING_APPROVAL, reason=Reason.AWAITING_APPROVAL, message=message)
    # A planned purchase is withdrawn: the minimum was set after it was planned.
    moves = withdraw_planned(case)
    return new_plan(case, run_state, moves=moves, again=recheck_seconds(case, _MAX_WAIT_SECONDS))


def _price_text(case: DecisionInput) -> str:
    micros = case.estimated_micros
    price = "an unknown price" if micros is None else f"about {format_dollars(micros)} USD"
    attempts = case.spec.paid_attempts - case.run.paid_attempt + 1
    return f": {price}" + (f" for each of up to {attempts} attempts" if attempts > 1 else "")


def _prepared_text(case: DecisionInput) -> str:
    """Pictures of a dataset and the frames that were rejected, by cause; empty for other kinds."""
    facts = case.run.facts or {}
    if facts.get("type") != "dataset":
        return ""
    rejected = facts.get("rejected") or {}
    counts = sorted(rejected.items(), key=lambda each: (-each[1], each[0]))[:_MAX_REJECTIONS]
    listed = ", ".join(f"{count} {cause}" for cause, count in counts)
    return f"; {facts.get('images')} pictures of {facts.get('scenes')} scenes" + (
        f", frames rejected: {listed}" if listed else ""
    )
