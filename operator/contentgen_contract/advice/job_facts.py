"""Fields of a job that decide its state, from its resource or from its record. Pure.

The message is shown, and never read for a decision. Unknown phases and reasons, of a newer release, count as absent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self, TypeVar

from contentgen_contract.advice import guidance
from contentgen_contract.annotations.approve_run import given_verdicts
from contentgen_contract.annotations.collect_again import requests_collect
from contentgen_contract.names import (
    APPROVE_ANNOTATION,
    COLLECT_ANNOTATION,
    REJECT_ANNOTATION,
    Phase,
    Reason,
    Step,
    Verdict,
)
from contentgen_contract.resources.parsing import ResourceBody

_Name = TypeVar("_Name", bound=StrEnum)
_UNPAID = guidance.Facts()


class UserRequest(StrEnum):
    """Request of a user that the operator has not taken yet."""

    RUN = "run"  # another run
    COLLECT = "collect"
    RESUME = "resume"
    DECIDE = "decide"  # an approval or a rejection


@dataclass(frozen=True, slots=True)
class JobFacts:
    """Fields of a job. Those of the resource alone have the defaults in a record."""

    phase: Phase | None = None
    reason: Reason | None = None
    message: str = ""
    stage: Step | None = None
    progress: int = 0
    expected: datetime | None = None  # estimated completion time
    cost: str = ""  # text of the COST column
    estimate: str = ""  # such as "0.14 USD"; empty without a price
    version: int = 0  # of the current or last run's outputs; 0 before the first run
    ended: bool = False  # the run is over, or the job was deleted during it
    paid: guidance.Facts = _UNPAID

    has_resource: bool = False
    deleting: bool = False
    suspended: bool = False  # spec.suspend
    estimates: bool = False  # spec.dryRun
    request: UserRequest | None = None
    unread: bool = False  # a change of the spec that the operator has not read
    amount: str | None = None  # that an approval of the run names
    approve: str = ""  # value of the annotation, which may have no effect
    reject: str = ""

    @classmethod
    def of_resource(cls, body: Mapping[str, Any]) -> Self:
        """Facts of a resource (JSON)."""
        given = ResourceBody.parse(body)
        status, run, deleting = given.status, given.run, given.metadata.deletion_timestamp is not None
        observed, paid = status.get("observedGeneration"), _paid(status)
        return replace(
            cls._of(status, run.version if run else 0),
            paid=paid,
            has_resource=True,
            deleting=deleting,
            suspended=given.spec.get("suspend") is True,
            estimates=given.spec.get("dryRun") is not None,
            request=None if deleting else _request(given, paid),
            unread=isinstance(observed, int) and observed < given.metadata.generation,
            amount=run.approval_amount if run else None,
            approve=given.metadata.annotations.get(APPROVE_ANNOTATION, ""),
            reject=given.metadata.annotations.get(REJECT_ANNOTATION, ""),
        )

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Facts of a record in MongoDB. Its `status` decides what it can: imported records have no phase, and a record
        of a resource that was deleted during its run keeps the phase.

        `requested` and `deleting` are no fields of MongoDB: the gateway sets them by the resource.
        """
        version, request = record.get("runVersion"), _named(UserRequest, record.get("requested"))
        facts = cls._of(record, version if isinstance(version, int) else 0)
        facts = replace(facts, request=request, deleting=record.get("deleting") is True)
        match record.get("status"):
            case "completed":
                return replace(facts, phase=Phase.COMPLETED, ended=True)
            case "failed":
                return replace(facts, phase=Phase.FAILED, ended=True)
            case "cancelled" if facts.reason is Reason.ESTIMATED:
                return replace(facts, phase=Phase.COMPLETED, ended=True)
            case "cancelled":
                return replace(facts, phase=Phase.FAILED, reason=Reason.CANCELLED, ended=True)
            case "processing" if facts.phase is None or facts.ended:  # a phase of another release
                return replace(facts, phase=Phase.PROCESSING, ended=False)
        return facts

    @classmethod
    def _of(cls, given: Mapping[str, Any], version: int) -> Self:
        """Facts that a status and a record have under the same names."""
        cost, phase = given.get("cost"), _named(Phase, given.get("phase"))
        cost = cost if isinstance(cost, Mapping) else {}
        progress, estimated = given.get("progress"), cost.get("estimated")
        return cls(
            phase=phase,
            reason=_named(Reason, given.get("reason")),
            message=str(given.get("message") or ""),
            stage=_named(Step, given.get("stage")),
            progress=min(max(progress, 0), 100) if isinstance(progress, int) else 0,
            expected=_time(given.get("estimatedCompletionTime")),
            cost=str(cost.get("display") or ""),
            estimate=f"{estimated} {cost.get('currency') or 'USD'}" if estimated else "",
            version=version,
            ended=phase is not None and phase.terminal,
        )


def _request(given: ResourceBody, paid: guidance.Facts) -> UserRequest | None:
    annotations, run = given.metadata.annotations, given.run
    if given.ended and given.rerun_requested:
        return UserRequest.RUN
    asked = {"number": paid.number, "collect": {"asked": paid.asked}}
    may_collect = given.phase == Phase.FAILED or paid.incomplete
    if may_collect and requests_collect(annotations.get(COLLECT_ANNOTATION), asked):
        return UserRequest.COLLECT
    if given.phase == Phase.SUSPENDED and given.spec.get("suspend") is not True:
        return UserRequest.RESUME
    if given.phase == Phase.AWAITING_APPROVAL and run is not None:
        for verdict in given_verdicts(annotations):
            counts = verdict.verdict is Verdict.REJECTED or verdict.amount == run.approval_amount
            if counts and verdict.run == run.number and verdict.digest not in run.lapsed_verdicts:
                return UserRequest.DECIDE
    return None


def _paid(status: Mapping[str, Any]) -> guidance.Facts:
    try:
        return guidance.Facts.parse(status)
    except (AttributeError, TypeError):  # another user wrote the status
        return _UNPAID


def _named(names: type[_Name], given: object) -> _Name | None:
    return next((name for name in names if name == given), None)


def _time(given: object) -> datetime | None:
    if isinstance(given, datetime):
        return given
    try:
        return datetime.fromisoformat(given) if isinstance(given, str) else None
    except ValueError:
        return None
