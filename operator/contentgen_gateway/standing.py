"""Where a run is, as far as a person can do something about it: told from the resource's JSON object alone. Pure."""

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Self

from contentgen_contract import collecting_again
from contentgen_contract.cancelling import CannotCancel, ignored, run_to_cancel
from contentgen_contract.names import COLLECT_ANNOTATION, RERUN_ADVICE, RERUN_ANNOTATION, Phase, Reason
from contentgen_gateway.problems import Problem
from contentgen_runtime.kube import Body

_FINAL = {phase.value for phase in Phase if phase.terminal}
_ACTIONS = (
    (re.compile(re.escape(RERUN_ADVICE)), "retry"),
    (re.compile(rf"the annotation {re.escape(RERUN_ANNOTATION)}"), "retry"),
    (re.compile(rf"the annotation {re.escape(COLLECT_ANNOTATION)}=[0-9-]+"), "collect"),
)
_TOKEN = re.compile(r"contentgen\.dev/resubmit=([0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class Standing:
    """The run under way, or the last one."""

    phase: str | None
    reason: str | None
    message: str
    number: int  # of the run; 0 before the first
    billed: bool | None  # of a cancelled run; None: nobody can tell
    asked_again: bool  # another run was asked for, and has not begun
    rerun: str | None

    @classmethod
    def of(cls, body: Body) -> Self:
        """Of a resource."""
        status = body.get("status") or {}
        run = status.get("run") or {}
        rerun = (body["metadata"].get("annotations") or {}).get(RERUN_ANNOTATION)
        return cls(
            phase=status.get("phase"),
            reason=status.get("reason"),
            message=status.get("message") or "",
            number=run.get("number", 0),
            billed=run.get("billed"),
            asked_again=bool(run) and rerun != run.get("rerun"),
            rerun=rerun,
        )

    @property
    def ended(self) -> bool:
        """Whether there is nothing under way."""
        return self.phase in _FINAL and not self.asked_again

    @property
    def cancelled(self) -> bool:
        """Whether it ended so."""
        return self.ended and self.reason == Reason.CANCELLED

    @property
    def word(self) -> str:
        """The seeds' word for it."""
        if not self.ended:
            return "processing"
        return "cancelled" if self.cancelled else "completed" if self.phase == Phase.COMPLETED else "failed"

    @property
    def current(self) -> int:
        """The number of the run that is under way, or is about to begin."""
        return self.number + 1 if self.phase in _FINAL and self.asked_again else max(self.number, 1)


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


def to_cancel(standing: Standing) -> int:
    """The number of the run that is to end. Raises Problem 409 where it is too late."""
    try:
        return run_to_cancel(standing.phase, standing.reason, standing.number, asked_again=standing.asked_again)
    except CannotCancel as error:
        more: dict[str, Any] = {"billed": True} if error.paid else {}
        raise Problem(409, str(error), **more) from None


def _doubt(standing: Standing) -> str:
    if standing.reason == Reason.STORES_DISAGREE:
        return (
            "MongoDB lacks what the status had named, so nothing is paid: restore its newest backup, and it goes on by "
            "itself. To allow payments all the same"
        )
    return "nobody can tell whether the provider was paid; look at its dashboard first. To pay once more"


def to_retry(standing: Standing, body: Body) -> None:
    """Raises Problem 409 where there is nothing to run again."""
    if is_suspended(body):
        job_id = body["metadata"]["uid"]
        raise Problem(409, f"it is suspended, and goes on by itself once it is resumed: POST /api/jobs/{job_id}/resume")
    if standing.phase == Phase.SUBMISSION_UNKNOWN:
        raise Problem(409, f"{_doubt(standing)}, retry with resubmit={token_of(standing)}")
    if standing.reason == Reason.INVALID_SPEC:
        raise Problem(409, f"it would fail again: {standing.message}")
    if not standing.ended and not standing.asked_again:
        raise Problem(409, f"it is under way ({standing.phase or 'not started'}): there is nothing to run again")


def to_collect(standing: Standing, body: Body) -> str | None:
    """The value of the annotation that has the last run's result fetched once more; None where that was asked for and
    has not begun. Raises Problem 409 where there is nothing to fetch.
    """
    run = (body.get("status") or {}).get("run") or {}
    if not standing.ended or standing.phase != Phase.FAILED:
        raise Problem(409, f"it is {standing.phase or 'not started'}: only the result of a failed run is fetched again")
    if not run.get("requestId"):
        raise Problem(409, "nothing was paid for the run that has failed: there is no result to fetch")
    given = (body["metadata"].get("annotations") or {}).get(COLLECT_ANNOTATION)
    if collecting_again.asks(given, run):
        return None
    asked = (run.get("collect") or {}).get("asked")
    return collecting_again.next_value(standing.number, asked)


def in_http_terms(message: str, job_id: str) -> str:
    """A message of the operator with requests to this API in place of annotations."""
    for pattern, action in _ACTIONS:
        message = pattern.sub(f"POST /api/jobs/{job_id}/{action}", message)
    return message


def ignored_annotations(body: Body) -> tuple[str, ...]:
    """A sentence for each of a person's annotations that names no run or purchase, with what it should name."""
    standing = Standing.of(body)
    return ignored(body["metadata"].get("annotations") or {}, standing.phase, standing.number, token_of(standing))


def require_token(standing: Standing, given: str) -> None:
    """Raises Problem 422 where `resubmit` names no purchase that waits for another payment."""
    token = token_of(standing)
    if given == token:
        return
    expected = (
        f"the one that waits for another payment is resubmit={token}"
        if token is not None
        else f"none waits for another payment, as the job is {standing.phase or 'not started'}; "
        "for another run retry without resubmit"
    )
    detail = f"resubmit: {given[:64]!r} names no purchase of this job; {expected}"
    raise Problem(422, detail, errors=[{"loc": ["query", "resubmit"], "msg": expected}])


def token_of(standing: Standing) -> str | None:
    """The word that allows one more payment for a request that nobody can find."""
    found = _TOKEN.search(standing.message)
    return found[1] if found and standing.phase == Phase.SUBMISSION_UNKNOWN else None


def annotated(body: Body, annotations: dict[str, str], **more: Any) -> Body:
    """A patch of exactly this version of a resource."""
    meta = body["metadata"]
    here = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"], "annotations": annotations}
    return {"metadata": here | more}
