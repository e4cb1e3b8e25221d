"""State of a run, and the actions that it allows, from the resource's JSON object. Pure."""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Self

from contentgen_contract.advice import guidance
from contentgen_contract.advice.guidance import Facts
from contentgen_contract.advice.remedies import Action
from contentgen_contract.annotations import collect_again
from contentgen_contract.annotations.approve_run import CannotDecide, describe_ignored_verdict, waiting_run
from contentgen_contract.annotations.cancel_run import CannotCancel, describe_ignored, run_to_cancel
from contentgen_contract.names import COLLECT_ANNOTATION, FINAL_PHASES, Phase, Reason
from contentgen_contract.records.record import legacy_status
from contentgen_contract.resources.parsing import ResourceBody
from contentgen_gateway.problems import Problem
from contentgen_runtime.kube import Body


@dataclass(frozen=True, slots=True)
class JobRunState:
    """State of the current or last run."""

    phase: str | None
    reason: str | None
    message: str
    number: int  # of the run; 0 before the first run
    billed: bool | None  # of a cancelled run; None: unknown
    asked_again: bool  # another run is requested and has not begun
    rerun: str | None
    amount: str | None  # that an approval of the run names
    resubmit_token: str | None  # that allows another payment after a lost reply; None: no purchase waits for that

    @classmethod
    def parse(cls, body: Body) -> Self:
        """State from a resource."""
        given = ResourceBody.parse(body)
        return cls(
            phase=given.phase,
            reason=given.reason,
            message=given.message,
            number=given.run.number if given.run else 0,
            billed=given.run.billed if given.run else None,
            asked_again=given.rerun_requested,
            rerun=given.rerun,
            amount=given.run.approval_amount if given.run else None,
            resubmit_token=guidance.resubmit_token(given.phase, given.run.resubmit_token) if given.run else None,
        )

    @property
    def ended(self) -> bool:
        """True if no run is in progress or requested."""
        return self.phase in FINAL_PHASES and not self.asked_again

    @property
    def cancelled(self) -> bool:
        """True if the last run ended as cancelled."""
        return self.ended and self.reason == Reason.CANCELLED

    @property
    def legacy_status(self) -> str:
        """Status in the legacy API."""
        if not self.ended:
            return "processing"
        return "cancelled" if self.cancelled else legacy_status(self.phase, self.reason)

    @property
    def current(self) -> int:
        """Number of the run in progress, or of the next one."""
        return self.number + 1 if self.phase in FINAL_PHASES and self.asked_again else max(self.number, 1)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated price of a run with the same inputs."""

    amount: str  # a decimal
    currency: str
    source: str  # such as the name of the price table


def estimate_of(body: Body) -> Estimate | None:
    """The operator's estimate for the current or last run; None without a price."""
    cost = (body.get("status") or {}).get("cost") or {}
    amount = str(cost.get("estimated") or "")
    try:
        known = Decimal(amount).is_finite()
    except InvalidOperation:
        known = False
    return Estimate(amount, str(cost.get("currency") or ""), str(cost.get("source") or "")) if known else None


def require_amount(state: JobRunState, amount: str | None) -> str:
    """Amount that an approval of the run that waits names. Raises Problem 422 without one, 409 for another one."""
    if state.amount is None:
        raise Problem(409, "the operator has not shown the price of the run yet")
    expected = f"run {state.number} costs at most {state.amount} USD; an approval names that: amount={state.amount}"
    if amount is None:
        errors = [{"loc": ["query", "amount"], "msg": expected}]
        raise Problem(422, f"amount: {expected}", errors=errors, amount=state.amount)
    if amount != state.amount:
        raise Problem(409, f"the price is another than {amount[:32]!r}: {expected}", amount=state.amount)
    return amount


def require_waiting(state: JobRunState, run: int | None) -> int:
    """Number of the run that waits for an approval. Raises Problem 409 if none does, or not the given one."""
    try:
        number = waiting_run(state.phase, state.reason, state.number)
    except CannotDecide as error:
        raise Problem(409, str(error)) from None
    if run not in (None, number):
        raise Problem(409, f"run {number} waits for an approval, and not run {run}: it was replaced by an edit")
    return number


def is_suspended(body: Body) -> bool:
    """True if the resource is suspended: nothing is started or paid until it is resumed."""
    return (body.get("spec") or {}).get("suspend") is True


def is_dry_run(body: Body) -> bool:
    """True if a run of the resource ends with its estimate, and pays nothing."""
    return (body.get("spec") or {}).get("dryRun") is not None


def require_estimated(state: JobRunState, body: Body) -> None:
    """Raises Problem 409 if the job is no dry run that has ended with an estimate."""
    if not is_dry_run(body) or state.reason != Reason.ESTIMATED:
        raise Problem(409, "only an estimated dry run goes on to a paid run; for another run, retry without paid")


def require_cancellable(state: JobRunState) -> int:
    """Number of the run to cancel. Raises Problem 409 if it is too late."""
    try:
        return run_to_cancel(state.phase, state.reason, state.number, asked_again=state.asked_again)
    except CannotCancel as error:
        more: dict[str, Any] = {"billed": True} if error.paid else {}
        raise Problem(409, str(error), **more) from None


def _unknown_submission(facts: Facts, name: str) -> str:
    """Text of the refusal: meaning of the reason, free remedies, and the cost of another payment."""
    row, resubmit = guidance.explanation(facts), guidance.find_remedy(facts, Action.RESUBMIT)
    means = (row.meaning,) if row is not None else ()
    cost = f" ({resubmit.costs.value})" if resubmit is not None else ""
    return " ".join([*means, *guidance.free_advice_lines(facts, name), f"To allow another payment{cost}"])


def require_retryable(state: JobRunState, body: Body) -> None:
    """Raises Problem 409 if no other run can be started."""
    if is_suspended(body):
        job_id = body["metadata"]["uid"]
        raise Problem(409, f"the job is suspended and continues once it is resumed: POST /api/jobs/{job_id}/resume")
    if (token := state.resubmit_token) is not None:
        facts = Facts.parse(body.get("status") or {})
        detail = f"{_unknown_submission(facts, body['metadata']['name'])}, retry with resubmit={token}"
        raise Problem(409, detail, resubmit=token)
    if state.reason == Reason.INVALID_SPEC:
        raise Problem(409, f"another run would fail too: {state.message}")
    if not state.ended and not state.asked_again:
        raise Problem(409, f"the run has not ended ({state.phase or 'not started'})")


def collect_annotation(state: JobRunState, body: Body) -> str | None:
    """Value of the annotation that has the last run's result collected again; None if that is already requested.

    Raises Problem 409 if there is no result to collect.
    """
    facts = Facts.parse(body.get("status") or {})
    if not state.ended and state.phase == Phase.FAILED:
        raise Problem(409, "another run is requested: only the result of a failed run can be collected again")
    if why := guidance.collect_obstacle(facts):
        raise Problem(409, why)
    given = (body["metadata"].get("annotations") or {}).get(COLLECT_ANNOTATION)
    if collect_again.requests_collect(given, {"number": facts.number, "collect": {"asked": facts.asked}}):
        return None
    return guidance.collect_value(facts)


def ignored_annotations(body: Body) -> tuple[str, ...]:
    """Sentences about annotations that name no run or purchase, each with the expected value."""
    state = JobRunState.parse(body)
    given = body["metadata"].get("annotations") or {}
    verdicts = describe_ignored_verdict(given, state.phase, state.number, state.amount)
    return (*describe_ignored(given, state.phase, state.number, state.resubmit_token), *verdicts)


def require_resubmit_token(state: JobRunState, given: str) -> None:
    """Raises Problem 422 if `resubmit` is not the token of a purchase that waits for another payment."""
    token = state.resubmit_token
    if given == token:
        return
    expected = (
        f"the one that waits for another payment is resubmit={token}"
        if token is not None
        else f"none waits for another payment, as the job is {state.phase or 'not started'}; "
        "for another run retry without resubmit"
    )
    detail = f"resubmit: {given[:64]!r} names no purchase of this job; {expected}"
    more: dict[str, Any] = {"resubmit": token} if token is not None else {}
    raise Problem(422, detail, errors=[{"loc": ["query", "resubmit"], "msg": expected}], **more)
