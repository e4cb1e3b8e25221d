"""State of a job for users: badge, sentence, progress, time of its end, cost and permitted actions. Pure.

`job_state` is the only place that turns phase, reason and requests of a job into words: pages, lists, API, plugin and
`try` call it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from contentgen_contract.advice.job_facts import JobFacts, UserRequest
from contentgen_contract.advice.permitted_actions import PermittedAction, permitted_actions
from contentgen_contract.advice.remedies import PHASES, REASONS
from contentgen_contract.names import Phase, Reason
from contentgen_contract.resources.queue_position import QueuePosition


class State(StrEnum):
    """State of a job."""

    QUEUED = "queued"
    WAITING_FOR_APPROVAL = "waiting-for-approval"
    PAUSED = "paused"
    WAITING_FOR_LORA = "waiting-for-lora"
    WAITING = "waiting"  # for another cause, which the badge names
    NEEDS_PERSON = "needs-person"
    RUNNING = "running"
    RUNNING_AGAIN = "running-again"
    ESTIMATED = "estimated"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DELETING = "deleting"


class Tone(StrEnum):
    """Meaning of a badge's colour."""

    WAITING = "waiting"
    ATTENTION = "attention"  # a person must act
    ACTIVE = "active"
    INFO = "info"
    GOOD = "good"
    BAD = "bad"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class NamedWait:
    """Cause of a wait."""

    state: State
    badge: str
    needs_person: bool = False


_APPROVAL = NamedWait(State.WAITING_FOR_APPROVAL, "Waiting for approval", needs_person=True)
_PAUSED = NamedWait(State.PAUSED, "Paused", needs_person=True)
_QUEUED = NamedWait(State.QUEUED, "Queued")
_UNKNOWN = NamedWait(State.NEEDS_PERSON, "Payment unknown", needs_person=True)

WAITS: dict[Reason, NamedWait] = {
    Reason.AWAITING_APPROVAL: _APPROVAL,
    Reason.SUSPENDED: _PAUSED,
    Reason.QUEUED: _QUEUED,
    Reason.WAITING_FOR_LORA: NamedWait(State.WAITING_FOR_LORA, "Waiting for LoRA"),
    Reason.LORA_MISSING: NamedWait(State.WAITING_FOR_LORA, "LoRA missing", needs_person=True),
    Reason.LORA_FAILED: NamedWait(State.WAITING_FOR_LORA, "LoRA failed", needs_person=True),
    Reason.CIRCUIT_OPEN: NamedWait(State.WAITING, "Waiting for provider"),
    Reason.PROVIDER_UNAVAILABLE: NamedWait(State.WAITING, "Waiting for provider"),
    Reason.LOOKING_FOR_REQUEST: NamedWait(State.WAITING, "Looking for request"),
    Reason.BUDGET_EXCEEDED: NamedWait(State.WAITING, "Waiting for budget"),
    Reason.COLLECT_BACKLOG: NamedWait(State.WAITING, "Waiting for results"),
    Reason.STORE_UNAVAILABLE: NamedWait(State.WAITING, "Waiting for store"),
    Reason.JOB_REFUSED: NamedWait(State.WAITING, "Waiting for quota"),
    Reason.POD_NOT_STARTED: NamedWait(State.WAITING, "Waiting for pod"),
    Reason.RETRYING: NamedWait(State.WAITING, "Waiting to retry"),
    Reason.PROVIDER_NOT_CONFIGURED: NamedWait(State.NEEDS_PERSON, "Provider key needed", needs_person=True),
    Reason.BUYING_PAUSED: NamedWait(State.NEEDS_PERSON, "Buying paused", needs_person=True),
    Reason.CLUSTER_NOT_CONFIRMED: NamedWait(State.NEEDS_PERSON, "Cluster not confirmed", needs_person=True),
    Reason.WAITING_FOR_LORA_NAME: NamedWait(State.NEEDS_PERSON, "LoRA name in use", needs_person=True),
    Reason.SUBMISSION_UNKNOWN: _UNKNOWN,
    Reason.STORES_DISAGREE: NamedWait(State.NEEDS_PERSON, "Stores disagree", needs_person=True),
}
"""Reasons of runs that wait. Those at work have the reasons in `AT_WORK`; the others end a run: its phase decides."""

AT_WORK = (Reason.PREPARING, Reason.SUBMITTING, Reason.PROCESSING, Reason.COLLECTING)
_TONES = {
    State.RUNNING: Tone.ACTIVE,
    State.RUNNING_AGAIN: Tone.ACTIVE,
    State.ESTIMATED: Tone.INFO,
    State.COMPLETED: Tone.GOOD,
    State.FAILED: Tone.BAD,
    State.CANCELLED: Tone.NEUTRAL,
    State.DELETING: Tone.NEUTRAL,
}
ENDED = (State.ESTIMATED, State.COMPLETED, State.FAILED, State.CANCELLED)
_NO_BAR = (*ENDED, State.DELETING)


@dataclass(frozen=True, slots=True)
class JobState:
    """State of a job. `expected` is None without an estimate, `progress` where a bar would say nothing."""

    state: State
    badge: str  # two or three words, such as "Running again (version 3)"
    needs_person: bool  # nothing happens until a person acts; of an ended run: False
    sentence: str  # plain text with a full stop
    progress: int | None
    expected: datetime | None
    cost: str  # such as "~$2.00" for an estimate; empty if unknown
    actions: tuple[PermittedAction, ...]  # of anybody; a viewer may lack the rights

    @property
    def tone(self) -> Tone:
        """Meaning of the badge's colour."""
        return Tone.ATTENTION if self.needs_person else _TONES.get(self.state, Tone.WAITING)

    @property
    def at_work(self) -> bool:
        """True while something runs, so that a spinner is true."""
        return self.state in (State.RUNNING, State.RUNNING_AGAIN)

    @property
    def ended(self) -> bool:
        """True if no run is under way or requested."""
        return self.state in ENDED


def state_of_resource(body: Mapping[str, Any], position: QueuePosition | None = None) -> JobState:
    """State of a resource (JSON). `position`: its place in the queue, if it is known."""
    return job_state(JobFacts.of_resource(body), position)


def state_of_record(record: Mapping[str, Any], position: QueuePosition | None = None) -> JobState:
    """State of a record in MongoDB, without actions, which only the resource decides."""
    return job_state(JobFacts.of_record(record), position)


def job_state(facts: JobFacts, position: QueuePosition | None = None) -> JobState:
    """State of a job."""
    state, badge, needs_person = _state(facts)
    return JobState(
        state=state,
        badge=badge,
        needs_person=needs_person,
        sentence=_sentence(state, facts, position),
        progress=_progress(state, facts),
        expected=None if state in _NO_BAR or needs_person or facts.request is not None else facts.expected,
        cost="" if facts.request is UserRequest.RUN else facts.cost,  # that of the run before
        actions=permitted_actions(facts),
    )


def _state(facts: JobFacts) -> tuple[State, str, bool]:
    """State, badge, and whether it needs a person."""
    if facts.deleting:
        return State.DELETING, "Deleting", False
    if facts.suspended and (facts.request is UserRequest.RUN or facts.phase in _PAUSABLE):
        wait = _PAUSED
    elif facts.request is not None:
        return _requested(facts.request, facts.version)
    elif facts.ended:
        return _end(facts)
    elif facts.phase is Phase.SUSPENDED:
        wait = _PAUSED
    elif facts.reason in WAITS:
        wait = WAITS[facts.reason]
    elif facts.phase in _BY_PHASE:
        wait = _BY_PHASE[facts.phase]
    elif facts.version > 1:
        return State.RUNNING_AGAIN, f"Running again (version {facts.version})", False
    else:
        return State.RUNNING, "Running", False
    return wait.state, wait.badge, wait.needs_person


_PAUSABLE = (None, Phase.PENDING, Phase.AWAITING_APPROVAL, Phase.SUSPENDED)  # as soon as spec.suspend is read
_BY_PHASE = {
    None: _QUEUED,
    Phase.PENDING: _QUEUED,
    Phase.AWAITING_APPROVAL: _APPROVAL,
    Phase.SUBMISSION_UNKNOWN: _UNKNOWN,
}


def _requested(request: UserRequest, version: int) -> tuple[State, str, bool]:
    match request:
        case UserRequest.RUN:
            return State.RUNNING_AGAIN, f"Running again (version {version + 1})", False
        case UserRequest.COLLECT:
            return State.RUNNING, "Fetching again", False
        case UserRequest.RESUME:
            return State.QUEUED, "Resuming", False
        case UserRequest.DECIDE:
            return State.QUEUED, "Decided", False


_REQUESTS = {
    UserRequest.RUN: "Another run is requested and begins soon.",
    UserRequest.COLLECT: "The paid result is fetched again soon; nothing is paid for it.",
    UserRequest.RESUME: "It was resumed, and continues soon.",
    UserRequest.DECIDE: "A person has decided on its approval; the run continues or ends soon.",
}


def _end(facts: JobFacts) -> tuple[State, str, bool]:
    match facts.phase, facts.reason:
        case Phase.COMPLETED, Reason.ESTIMATED:
            return State.ESTIMATED, "Estimated", False
        case Phase.COMPLETED, _:
            return State.COMPLETED, "Completed", False
        case _, Reason.CANCELLED:
            return State.CANCELLED, "Cancelled", False
        case _, Reason.REJECTED:
            return State.FAILED, "Rejected", False
    return State.FAILED, "Failed", False


def _progress(state: State, facts: JobFacts) -> int | None:
    if state is State.COMPLETED:
        return 100
    unstarted = facts.request in (UserRequest.RUN, UserRequest.COLLECT) or (
        state is State.QUEUED and not facts.progress
    )
    return None if state in _NO_BAR or unstarted else facts.progress


def _sentence(state: State, facts: JobFacts, position: QueuePosition | None) -> str:
    if facts.request is not None and state is not State.PAUSED:
        return _REQUESTS[facts.request]
    if state is State.QUEUED and position is not None:
        return f"It waits for its turn: {position}."
    return _own_sentence(state, facts) or _as_sentence(facts.message) or _general(facts)


def _own_sentence(state: State, facts: JobFacts) -> str:
    """Sentence of a state that needs no message of the operator; empty for the others."""
    match state:
        case State.DELETING:
            return "It is being deleted."
        case State.PAUSED:
            return "Nothing is started and nothing is paid until it is resumed."
        case State.WAITING_FOR_APPROVAL:
            return _approval_sentence(facts)
        case State.ESTIMATED:
            price = f"about {facts.estimate}" if facts.estimate else "unknown"
            return f"The price of a run is {price}; nothing was paid, and nothing was made."
        case State.COMPLETED if not facts.paid.incomplete:
            return "The outputs are stored."
    return ""


def _approval_sentence(facts: JobFacts) -> str:
    known = facts.amount is not None and facts.amount[:1].isdigit()
    price = f" of at most {facts.amount} USD" if known else f" of about {facts.estimate}" if facts.estimate else ""
    return f"A person with the right to approve must allow the payment{price}; nothing is paid before."


def _general(facts: JobFacts) -> str:
    """Sentence of a job without a message."""
    if facts.reason is not None:
        return REASONS[facts.reason].meaning
    return PHASES[facts.phase] if facts.phase is not None else "The operator has not processed it yet."


def _as_sentence(text: str) -> str:
    """The message with a capital, unless it begins with a field or a number, and a full stop."""
    word = text.partition(" ")[0]
    text = text[:1].upper() + text[1:] if word.isalpha() else text
    return text if not text or text.endswith((".", "!", "?")) else f"{text}."
