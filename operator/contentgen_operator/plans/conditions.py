"""Conditions of a run state, on which kstatus, `kubectl wait` and Argo CD agree at every moment. Pure."""

from datetime import datetime

from contentgen_contract.base import Value
from contentgen_contract.names import Condition, Kind, Phase, Reason
from contentgen_contract.resources.status import ConditionStatus, ResourceStatus

_REACHED_SUBMISSION = (Phase.PROCESSING, Phase.COLLECTING, Phase.COMPLETED)
# Once reached they keep their message, such as "12 pictures of 12 scenes are ready".
_MILESTONES = (Condition.SOURCE_READY, Condition.DATASET_READY, Condition.SUBMITTED, Condition.STORED)
_STUCK = (Phase.FAILED, Phase.SUBMISSION_UNKNOWN)


class ConditionInput(Value):
    """Input of the conditions."""

    kind: Kind
    phase: Phase
    reason: Reason
    message: str
    prepared: bool
    submitted: bool
    generation: int


def conditions(state: ConditionInput, last: ResourceStatus, now: datetime) -> tuple[ConditionStatus, ...]:
    """All conditions of a resource; lastTransitionTime changes only with a condition's status."""
    before = {condition.type: condition for condition in last.conditions}
    return tuple(_condition(type_, value, state, before.get(type_), now) for type_, value in _values(state).items())


def _values(state: ConditionInput) -> dict[Condition, bool]:
    done, suspended = state.phase is Phase.COMPLETED, state.phase is Phase.SUSPENDED
    stuck = state.phase in _STUCK or state.reason is Reason.LORA_FAILED
    values = {
        Condition.READY: done,
        Condition.RECONCILING: not (done or stuck or suspended or state.phase is Phase.AWAITING_APPROVAL),
        Condition.STALLED: stuck,
        Condition.COMPLETE: done,
        Condition.FAILED: state.phase is Phase.FAILED,
        Condition.SUSPENDED: suspended,
    }
    if state.kind.prepares:
        values[Condition.SOURCE_READY] = state.prepared
    if state.kind is Kind.LORA_TRAINING:
        values[Condition.DATASET_READY] = state.prepared
    bought = state.reason is not Reason.ESTIMATED
    values[Condition.SUBMITTED] = state.submitted or (state.phase in _REACHED_SUBMISSION and bought)
    values[Condition.STORED] = done and bought
    return values


def _condition(
    type_: Condition, value: bool, state: ConditionInput, before: ConditionStatus | None, now: datetime
) -> ConditionStatus:
    status = "True" if value else "False"
    unchanged = before is not None and before.status == status
    if before is not None and unchanged and value and type_ in _MILESTONES:
        return before.model_copy(update={"observed_generation": state.generation})
    return ConditionStatus(
        type=type_,
        status=status,
        reason=state.reason,
        message=state.message,
        last_transition_time=before.last_transition_time if before and unchanged else now,
        observed_generation=state.generation,
    )
