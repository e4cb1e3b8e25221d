"""Where a run is, as far as a person can do something about it: told from the resource's JSON object alone. Pure."""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Self

from contentgen_contract.advice import remedies
from contentgen_contract.advice.reasons import Action
from contentgen_contract.advice.remedies import Facts
from contentgen_contract.annotations import collect_again
from contentgen_contract.annotations.cancel_run import CannotCancel, describe_ignored, run_to_cancel
from contentgen_contract.names import COLLECT_ANNOTATION, FINAL_PHASES, RERUN_ADVICE, RERUN_ANNOTATION, Phase, Reason
from contentgen_contract.resources.parsing import ResourceBody
from contentgen_gateway.problems import Problem
from contentgen_runtime.kube import Body

_ACTIONS = (
    (re.compile(re.escape(RERUN_ADVICE)), "retry"),
    (re.compile(rf"the annotation {re.escape(RERUN_ANNOTATION)}(?: with a new value)?"), "retry"),
    (re.compile(rf"the annotation {re.escape(COLLECT_ANNOTATION)}=[0-9-]+"), "collect"),
)


@dataclass(frozen=True, slots=True)
class JobRunState:
    """The run under way, or the last one."""

    phase: str | None
    reason: str | None
    message: str
    number: int  # of the run; 0 before the first
    billed: bool | None  # of a cancelled run; None: nobody can tell
    asked_again: bool  # another run was asked for, and has not begun
    rerun: str | None

    @classmethod
    def parse(cls, body: Body) -> Self:
        """Of a resource."""
        given = ResourceBody.parse(body)
        return cls(
            phase=given.phase,
            reason=given.reason,
            message=given.message,
            number=given.run.number if given.run else 0,
            billed=given.run.billed if given.run else None,
            asked_again=given.rerun_requested,
            rerun=given.rerun,
        )

    @property
    def ended(self) -> bool:
        """Whether there is nothing under way."""
        return self.phase in FINAL_PHASES and not self.asked_again

    @property
    def cancelled(self) -> bool:
        """Whether it ended so."""
        return self.ended and self.reason == Reason.CANCELLED

    @property
    def legacy_status(self) -> str:
        """The seeds' word for it."""
        if not self.ended:
            return "processing"
        return "cancelled" if self.cancelled else "completed" if self.phase == Phase.COMPLETED else "failed"

    @property
    def current(self) -> int:
        """The number of the run that is under way, or is about to begin."""
        return self.number + 1 if self.phase in FINAL_PHASES and self.asked_again else max(self.number, 1)


@dataclass(frozen=True, slots=True)
class Estimate:
    """The price that a run of the same inputs is expected to have."""

    amount: str  # a decimal
    currency: str
    source: str  # such as the price table's name


def estimate_of(body: Body) -> Estimate | None:
    """The operator's estimate for the run under way or the last one; None where it knows no price."""
    cost = (body.get("status") or {}).get("cost") or {}
    amount = str(cost.get("estimated") or "")
    try:
        known = Decimal(amount).is_finite()
    except InvalidOperation:
        known = False
    return Estimate(amount, str(cost.get("currency") or ""), str(cost.get("source") or "")) if known else None


def is_suspended(body: Body) -> bool:
    """Whether nothing is started or bought for a resource until it is resumed."""
    return (body.get("spec") or {}).get("suspend") is True


def require_cancellable(state: JobRunState) -> int:
    """The number of the run that is to end. Raises Problem 409 where it is too late."""
    try:
        return run_to_cancel(state.phase, state.reason, state.number, asked_again=state.asked_again)
    except CannotCancel as error:
        more: dict[str, Any] = {"billed": True} if error.paid else {}
        raise Problem(409, str(error), **more) from None


def _unknown_submission(facts: Facts, name: str) -> str:
    """Text of the refusal: meaning of the reason, free remedies, and the cost of another payment."""
    row, resubmit = remedies.explanation(facts), remedies.find_remedy(facts, Action.RESUBMIT)
    means = (row.meaning,) if row is not None else ()
    cost = f" ({resubmit.costs.value})" if resubmit is not None else ""
    return " ".join([*means, *remedies.free_advice_lines(facts, name), f"To allow another payment{cost}"])


def require_retryable(state: JobRunState, body: Body) -> None:
    """Raises Problem 409 where there is nothing to run again."""
    if is_suspended(body):
        job_id = body["metadata"]["uid"]
        raise Problem(409, f"it is suspended, and goes on by itself once it is resumed: POST /api/jobs/{job_id}/resume")
    if state.phase == Phase.SUBMISSION_UNKNOWN:
        facts = Facts.parse(body.get("status") or {})
        raise Problem(409, f"{_unknown_submission(facts, body['metadata']['name'])}, retry with resubmit={facts.token}")
    if state.reason == Reason.INVALID_SPEC:
        raise Problem(409, f"it would fail again: {state.message}")
    if not state.ended and not state.asked_again:
        raise Problem(409, f"it is under way ({state.phase or 'not started'}): there is nothing to run again")


def collect_annotation(state: JobRunState, body: Body) -> str | None:
    """The value of the annotation that has the last run's result fetched once more; None where that was asked for and
    has not begun. Raises Problem 409 where there is nothing to fetch.
    """
    facts = Facts.parse(body.get("status") or {})
    if not state.ended and state.phase == Phase.FAILED:
        raise Problem(409, "another run was asked for: only the result of a failed run is fetched again")
    if why := remedies.collect_obstacle(facts):
        raise Problem(409, why)
    given = (body["metadata"].get("annotations") or {}).get(COLLECT_ANNOTATION)
    if collect_again.requests_collect(given, {"number": facts.number, "collect": {"asked": facts.asked}}):
        return None
    return remedies.collect_value(facts)


def with_http_requests(message: str, job_id: str) -> str:
    """A message of the operator with requests to this API in place of annotations."""
    for pattern, action in _ACTIONS:
        message = pattern.sub(f"POST /api/jobs/{job_id}/{action}", message)
    return message


def ignored_annotations(body: Body) -> tuple[str, ...]:
    """A sentence for each of a person's annotations that names no run or purchase, with what it should name."""
    state = JobRunState.parse(body)
    return describe_ignored(body["metadata"].get("annotations") or {}, state.phase, state.number, resubmit_token(state))


def require_resubmit_token(state: JobRunState, given: str) -> None:
    """Raises Problem 422 where `resubmit` names no purchase that waits for another payment."""
    token = resubmit_token(state)
    if given == token:
        return
    expected = (
        f"the one that waits for another payment is resubmit={token}"
        if token is not None
        else f"none waits for another payment, as the job is {state.phase or 'not started'}; "
        "for another run retry without resubmit"
    )
    detail = f"resubmit: {given[:64]!r} names no purchase of this job; {expected}"
    raise Problem(422, detail, errors=[{"loc": ["query", "resubmit"], "msg": expected}])


def resubmit_token(state: JobRunState) -> str | None:
    """The word that allows one more payment for a request that nobody can find."""
    return remedies.resubmit_token(state.phase, state.message)
