"""Approval: a run waits before its payment until a user approves or rejects it (docs/decisions/0031).

A verdict counts only if it names the run, and if its annotations differ from those that the run document lists as
lapsed: everything that was there before the API server showed the run as AwaitingApproval. An accepted verdict is part
of the run document, so a later change of the annotations has no effect.

An approval names the amount that its user was shown. It covers at most the lowest upper bound that the status showed
during the wait; a run whose bound is above that at the payment waits again.
"""

from contentgen_contract.annotations.approve_run import UNKNOWN_AMOUNT, GivenVerdict, given_verdicts
from contentgen_contract.names import APPROVE_ANNOTATION, APPROVED_BY_ANNOTATION, Phase, Reason, Verdict
from contentgen_contract.resources.content_budget import dollars_of, micros_of
from contentgen_contract.resources.models import model_of
from contentgen_contract.resources.namespaces import requires_approval
from contentgen_contract.resources.prices import format_dollars
from contentgen_contract.resources.spec import Approval
from contentgen_contract.resources.status import ApprovalStatus, RunStatus
from contentgen_operator.plans.planning import (
    before_submission,
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
_PRICE_WAIT_SECONDS = 60.0


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
    if counts is None or replacing_run(case.resource, case.run, case.now) is not None:
        return _with_approval(case, waits)
    decided: dict[str, object] = {"verdict": counts.verdict, "by": counts.by, "at": case.now}
    if counts.verdict is Verdict.APPROVED:
        covered = _covered(case, waits, counts)
        decided = decided | {"bound": covered} if covered is not None else {"lapsed": (*lapsed, counts.digest)}
    return _with_approval(case, waits.model_copy(update=decided))


def _covered(case: DecisionInput, waits: ApprovalStatus, given: GivenVerdict) -> str | None:
    """Bound of one attempt that an approval covers; None: its amount is below the price, or was never shown."""
    if given.amount is None or waits.bound is None:
        return None
    if UNKNOWN_AMOUNT in (given.amount, waits.bound):
        covered = UNKNOWN_AMOUNT if given.amount == waits.bound else None
    else:
        covered = dollars_of(min(micros_of(given.amount) // _attempts(case), micros_of(waits.bound)))
    price = waits.bound if _is_unread(case) else _bound_text(case)
    return covered if _covers(covered, price) else None


def _covers(covered: str | None, price: str) -> bool:
    """True if a bound covers another one. An unknown price is covered by an unknown one only."""
    if covered is None or UNKNOWN_AMOUNT in (covered, price):
        return covered == price
    return micros_of(price) <= micros_of(covered)


def _bound_text(case: DecisionInput) -> str:
    """Upper bound of one attempt by the current price, in US dollars, or unknown."""
    return UNKNOWN_AMOUNT if case.bound_micros is None else dollars_of(case.bound_micros)


def _attempts(case: DecisionInput) -> int:
    """Attempts that the run may still pay for."""
    return max(case.spec.paid_attempts - case.run.paid_attempt + 1, 1)


def _is_unread(case: DecisionInput) -> bool:
    """True if the provider's price can't be read now: the built-in one may be another."""
    return bool(case.observed.price.problem) and model_of(case.spec) not in case.settings.own_prices


def hold(case: DecisionInput) -> Plan | None:
    """The plan of a run that waits for an approval, or was rejected."""
    decided = current_approval(case.run)
    verdict = decided.verdict if decided is not None else None
    if decided is not None and verdict is Verdict.REJECTED:
        return fail(case, Reason.REJECTED, f"rejected by {decided.by}; {unpaid_text(case)}")
    if not is_required(case) and (decided is None or verdict is Verdict.APPROVED):
        return None
    if decided is not None and verdict is Verdict.APPROVED:
        if _is_unread(case):
            return _price_unread(case)
        if _covers(decided.bound, _bound_text(case)):
            return None
    # An edit replaces a run that waits also where it removes the requirement: nobody wants the earlier inputs.
    return replace_run(case, Reason.AWAITING_APPROVAL) or (_waiting(case, decided) if is_required(case) else None)


def current_approval(run: RunStatus) -> ApprovalStatus | None:
    """The approval of this run; None if it has not waited, or the approval is of another run number."""
    return run.approval if run.approval is not None and run.approval.run == run.number else None


def is_required(case: DecisionInput) -> bool:
    """True if the spec, the namespace or the installation requires an approval: the strictest decides."""
    namespace = case.observed.namespace_labels
    by_namespace = namespace is not None and (bool(namespace.problem) or requires_approval(namespace.labels))
    return case.resource.approval is Approval.MANUAL or by_namespace or case.settings.approval_required


def _given(case: DecisionInput) -> tuple[GivenVerdict, ...]:
    return tuple(
        verdict for verdict in given_verdicts(case.resource.verdict_annotations) if verdict.run == case.run.number
    )


def _is_shown_waiting(case: DecisionInput) -> bool:
    """True if the resource, as read with its annotations, shows that this run waits."""
    last = case.resource.status
    return last.phase is Phase.AWAITING_APPROVAL and last.run is not None and last.run.number == case.run.number


def _with_approval(case: DecisionInput, approval: ApprovalStatus) -> DecisionInput:
    return case.model_copy(update={"run": case.run.model_copy(update={"approval": approval})})


def _price_unread(case: DecisionInput) -> Plan:
    """Wait for the price: there is none to show, or to compare with the approved one."""
    message = (
        f"the price of the run can't be read now, because {case.observed.price.problem}; it is read again, and nothing "
        "is paid until then"
    )
    run_state = RunState(phase=before_submission(case), reason=Reason.PROVIDER_UNAVAILABLE, message=message)
    return new_plan(case, run_state, moves=withdraw_planned(case), again=_PRICE_WAIT_SECONDS)


def _waiting(case: DecisionInput, decided: ApprovalStatus | None) -> Plan:
    if _is_unread(case) and (decided is None or decided.bound is None):
        return _price_unread(case)
    waits = _wait(case, decided)
    case = _with_approval(case, waits)
    number = case.run.number
    paid = "no other attempt" if case.run.paid_attempt > 1 or case.observed.earlier else "nothing"
    about = f"{_price_text(case, waits)}{_prepared_text(case)}"
    message = (
        f"run {number} waits for an approval{about}; {paid} is paid before. To approve it: "
        f"kubectl contentgen approve {case.resource.ref.name}, or the annotations "
        f"{APPROVE_ANNOTATION}={number}-{waits.amount} and {APPROVED_BY_ANNOTATION}=<your user name>"
    )
    run_state = RunState(phase=Phase.AWAITING_APPROVAL, reason=Reason.AWAITING_APPROVAL, message=message)
    # A planned purchase is withdrawn: the minimum was set after it was planned, or the price has risen since.
    moves = withdraw_planned(case)
    return new_plan(case, run_state, moves=moves, again=recheck_seconds(case, _MAX_WAIT_SECONDS))


def _wait(case: DecisionInput, decided: ApprovalStatus | None) -> ApprovalStatus:
    """The wait with the lowest bound that it shows; a higher price, or an unknown one, begins another wait."""
    bound, micros = _bound_text(case), case.bound_micros
    amount = UNKNOWN_AMOUNT if micros is None else dollars_of(micros * _attempts(case))
    if decided is not None and decided.verdict is None and decided.bound is not None:
        if _is_unread(case):
            return decided
        if _covers(decided.bound, bound):
            return decided.model_copy(update={"bound": bound, "amount": amount})
    lapsed = tuple(each.digest for each in _given(case))
    earlier = decided.bound if decided is not None else None
    return ApprovalStatus(
        run=case.run.number, since=case.now, lapsed=lapsed, bound=bound, amount=amount, earlier_bound=earlier
    )


def _price_text(case: DecisionInput, waits: ApprovalStatus) -> str:
    micros, attempts = case.estimated_micros, _attempts(case)
    price = "an unknown price" if micros is None else f"about {format_dollars(micros)} USD"
    parts = [f": {price}" + (f" for each of up to {attempts} attempts" if attempts > 1 else "")]
    known = waits.amount != UNKNOWN_AMOUNT
    parts.append(f"at most {waits.amount} USD" + (" in all" if attempts > 1 else "") if known else "without a limit")
    text = ", ".join(parts)
    if waits.earlier_bound is not None:
        before = waits.earlier_bound
        price = "unknown" if before == UNKNOWN_AMOUNT else f"at most {before} USD for an attempt"
        text += f"; the price was {price} before, and an approval of that has lapsed"
    return text + ("; the price can't be read now" if _is_unread(case) else "")


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
