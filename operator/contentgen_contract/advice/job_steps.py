"""Steps of a job, as far as its state proves them. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from contentgen_contract.advice.job_facts import JobFacts, UserRequest
from contentgen_contract.advice.job_state import State, job_state
from contentgen_contract.names import Kind, Phase, Step


class StepMark(StrEnum):
    """State of a step."""

    DONE = "done"
    NOW = "now"
    FAILED = "failed"
    WAITING = "waiting"
    SKIPPED = "skipped"  # the run ended before it, or never does it


@dataclass(frozen=True, slots=True)
class JobStep:
    """Step of a job."""

    step: Step
    mark: StepMark
    paid: bool  # the provider does it


_PREPARED = (
    Phase.AWAITING_APPROVAL,
    Phase.SUBMITTING,
    Phase.SUBMISSION_UNKNOWN,
    Phase.PROCESSING,
    Phase.COLLECTING,
)
"""Phases that follow the free stages."""


def job_steps(kind: Kind, facts: JobFacts) -> tuple[JobStep, ...]:
    """Steps of a kind in order. At most one is `now` or `failed`; none is `now` while the job waits or is being
    deleted.
    """
    state = job_state(replace(facts, deleting=False)).state
    paid, steps = kind.info.provider_step, tuple(kind.info.progress)
    prepared = state is State.ESTIMATED or facts.phase in _PREPARED or facts.paid.sent
    reached = -1 if state is State.ESTIMATED else facts.progress  # which is 100 after an estimate
    free = steps.index(paid)
    done = [(prepared and place < free) or reached >= end for place, (_, end) in enumerate(kind.info.progress.values())]
    return tuple(
        JobStep(step, mark, step is paid) for step, mark in zip(steps, _marks(state, facts, done), strict=True)
    )


def _marks(state: State, facts: JobFacts, done: list[bool]) -> Iterator[StepMark]:
    """Marks in order; the first step that is not done is the current one."""
    if facts.request is UserRequest.RUN:
        yield from (StepMark.WAITING for _ in done)
        return
    stopped = facts.deleting and not facts.ended
    current, later = _UNDONE.get(State.CANCELLED if stopped else state, (StepMark.WAITING, StepMark.WAITING))
    for index, is_done in enumerate(done):
        if is_done or state is State.COMPLETED:
            yield StepMark.DONE
        else:
            yield current if all(done[:index]) else later


_UNDONE = {
    State.RUNNING: (StepMark.NOW, StepMark.WAITING),
    State.RUNNING_AGAIN: (StepMark.NOW, StepMark.WAITING),
    State.FAILED: (StepMark.FAILED, StepMark.SKIPPED),
    State.CANCELLED: (StepMark.SKIPPED, StepMark.SKIPPED),
    State.ESTIMATED: (StepMark.SKIPPED, StepMark.SKIPPED),
}
"""Marks of the current step and of the later ones; in the other states they wait."""
