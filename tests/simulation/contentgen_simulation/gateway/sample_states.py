"""A job in each state, for the pages: every cause of a wait, work of every phase, requests of users, and ends."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from contentgen_contract.advice.job_state import AT_WORK, WAITS
from contentgen_contract.names import (
    API_VERSION,
    APPROVE_ANNOTATION,
    APPROVED_BY_ANNOTATION,
    COLLECT_ANNOTATION,
    RERUN_ANNOTATION,
    RESUBMIT_ANNOTATION,
    Kind,
    Phase,
    Reason,
    Step,
)
from contentgen_contract.records.record import legacy_status

Document = dict[str, Any]
NAMESPACE, USER = "states", "ann"
_FIRST = 200  # number of the first job
_LONG = "averylongwordwithoutanyspace" * 5
_REQUEST = {"requestId": "r-1", "sentAt": "2026-11-21T00:00:00Z"}
_APPROVAL = {"approval": {"run": 1, "since": "2026-11-21T00:00:00Z", "amount": "0.28"}}
_PHASES = {
    Reason.AWAITING_APPROVAL: Phase.AWAITING_APPROVAL,
    Reason.SUSPENDED: Phase.SUSPENDED,
    Reason.SUBMISSION_UNKNOWN: Phase.SUBMISSION_UNKNOWN,
    Reason.LOOKING_FOR_REQUEST: Phase.SUBMITTING,
    Reason.STORES_DISAGREE: Phase.SUBMISSION_UNKNOWN,
    Reason.PROVIDER_UNAVAILABLE: Phase.PROCESSING,
    Reason.COLLECT_BACKLOG: Phase.COLLECTING,
    Reason.STORE_UNAVAILABLE: Phase.COLLECTING,
}
"""Phases of waits; the others wait as Pending."""


@dataclass(frozen=True)
class SampleState:
    """A job in one state; its name is that of its page in the tests."""

    name: str
    kind: Kind
    phase: Phase
    reason: Reason
    message: str = ""
    progress: int = 0
    version: int = 1
    stage: Step | None = None
    run: Document = field(default_factory=dict)
    spec: Document = field(default_factory=dict)
    metadata: Document = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Title of the job."""
        return f"{self.name} {_LONG}" if self.reason is Reason.QUEUED else self.name


def sample_states() -> tuple[SampleState, ...]:
    """All states, each once, in the order of their jobs."""
    return (*_waits(), *_work(), *_requests(), *_ends())


def _waits() -> Iterator[SampleState]:
    kinds = list(Kind)
    for number, reason in enumerate(WAITS):
        run: Document = {}
        message = f"the cause in the words of the operator; it is tried again in 5 minutes ({_LONG})"
        if reason is Reason.AWAITING_APPROVAL:
            run = _APPROVAL
        elif _PHASES.get(reason) is Phase.SUBMISSION_UNKNOWN:
            run = {"sentAt": _REQUEST["sentAt"], "resubmitToken": "0123abcd"}
            message = f"the reply was lost: set {RESUBMIT_ANNOTATION}=0123abcd"
        phase = _PHASES.get(reason, Phase.PENDING)
        spec = {"suspend": True} if reason is Reason.SUSPENDED else {}
        yield SampleState(
            f"wait-{reason}", kinds[number % 3], phase, reason, message, 0 if phase is Phase.PENDING else 50,
            run=run, spec=spec,
        )  # fmt: skip


def _work() -> Iterator[SampleState]:
    for number, (reason, progress) in enumerate(zip(AT_WORK, (25, 55, 70, 90), strict=True)):
        kind = Kind.TRANSCRIPTION if number % 2 else Kind.LORA_TRAINING
        yield SampleState(f"work-{reason}", kind, Phase(reason.value), reason, "", progress)
    again = Reason.PROCESSING
    yield SampleState("work-again", Kind.IMAGE_GENERATION, Phase.PROCESSING, again, "", 40, version=2, run=_REQUEST)


def _requests() -> Iterator[SampleState]:
    """Requests that the operator has not taken yet."""
    kind, waiting = Kind.LORA_TRAINING, Reason.AWAITING_APPROVAL
    again = {"annotations": {RERUN_ANNOTATION: "2"}}
    decided = {"annotations": {APPROVE_ANNOTATION: "1-0.28", APPROVED_BY_ANNOTATION: "ann"}}
    fetched = {"annotations": {COLLECT_ANNOTATION: "1"}}
    yield SampleState("asked-run", kind, Phase.COMPLETED, Reason.COMPLETED, "", 100, run=_REQUEST, metadata=again)
    yield SampleState("asked-decide", kind, Phase.AWAITING_APPROVAL, waiting, "", 60, run=_APPROVAL, metadata=decided)
    yield SampleState("asked-resume", kind, Phase.SUSPENDED, Reason.SUSPENDED, "", 20)
    yield SampleState(
        "asked-collect", kind, Phase.FAILED, Reason.JOB_FAILED, "the pod was killed", 90, stage=Step.STORING,
        run=_REQUEST, metadata=fetched,
    )  # fmt: skip


def _ends() -> Iterator[SampleState]:
    picture, training, talk = Kind.IMAGE_GENERATION, Kind.LORA_TRAINING, Kind.TRANSCRIPTION
    yield SampleState("end-estimated", picture, Phase.COMPLETED, Reason.ESTIMATED, "", 100, spec={"dryRun": "Estimate"})
    yield SampleState("end-completed", talk, Phase.COMPLETED, Reason.COMPLETED, "", 100, run=_REQUEST)
    yield SampleState("end-cancelled", talk, Phase.FAILED, Reason.CANCELLED, "ann cancelled it", 20)
    yield SampleState("end-rejected", picture, Phase.FAILED, Reason.REJECTED, "ann rejected run 1", 10)
    yield SampleState(
        "end-failed-paid", talk, Phase.FAILED, Reason.JOB_FAILED, f"the pod was killed: {_LONG}", 90,
        stage=Step.STORING, run=_REQUEST,
    )  # fmt: skip
    few = Reason.INSUFFICIENT_FRAMES
    yield SampleState("end-failed-unpaid", training, Phase.FAILED, few, "6 usable pictures of 10", 35)
    yield SampleState("end-invalid", training, Phase.FAILED, Reason.INVALID_SPEC, "spec.steps: at least 100", 0)
    gone = {"deletionTimestamp": "2026-11-21T00:00:00Z", "finalizers": ["contentgen.dev/job"]}
    yield SampleState("end-deleting", picture, Phase.COMPLETED, Reason.COMPLETED, "", 100, metadata=gone)


def index_of(name: str) -> int:
    """Index of the state with this name."""
    return [state.name for state in sample_states()].index(name)


def state_job_id(number: int) -> str:
    """Id of the job of a state by its index in `sample_states`."""
    return f"6f1c2d00-0000-4000-8000-{_FIRST + number:012}"


def record_of(number: int, state: SampleState, record: Document, created: datetime) -> Document:
    """Record in a state; `record` is any other record of its kind, for the other fields."""
    ended = state.phase.terminal
    title = {Kind.LORA_TRAINING: "loraName", Kind.IMAGE_GENERATION: "prompt"}.get(state.kind)
    config = record["config"] | ({title: state.title} if title else {})
    source = {} if title else {"sourceVideo": record["sourceVideo"] | {"filename": state.title}}
    made = state.phase is Phase.COMPLETED and state.reason is Reason.COMPLETED
    return record | source | {
        "jobId": state_job_id(number), "userId": USER, "namespace": NAMESPACE, "name": f"state-{number}",
        "config": config, "versions": record["versions"][:1] if made or state.version > 1 else [],
        "status": legacy_status(state.phase, state.reason), "phase": state.phase.value, "reason": state.reason.value,
        "stage": state.stage, "progress": state.progress, "runVersion": state.version,
        "message": state.message, "error": state.message if state.phase is Phase.FAILED else None,
        "createdAt": created, "startedAt": created, "completedAt": created + timedelta(seconds=90) if ended else None,
        "estimatedCompletionTime": None if ended else created + timedelta(days=1),
    }  # fmt: skip


def resource_of(number: int, state: SampleState, record: Document, told: str) -> Document:
    """Resource of a record in a state; `told` is its creation, in RFC 3339."""
    run = {"number": 1, "version": state.version, "runHash": "h", "generation": 1, "spec": {}, "startedAt": told}
    condition = {"status": "False", "reason": state.reason.value, "message": state.message, "lastTransitionTime": told}
    conditions = [condition | {"type": word} for word in ("Ready", "Reconciling", "Stalled")]
    return {
        "apiVersion": API_VERSION, "kind": state.kind.value,
        "metadata": {
            "name": record["name"], "namespace": NAMESPACE, "uid": record["jobId"], "generation": 1,
            "resourceVersion": "1", "creationTimestamp": told,
        } | state.metadata,
        "spec": state.spec,
        "status": {
            "observedGeneration": 1, "phase": state.phase.value, "reason": state.reason.value, "stage": state.stage,
            "message": state.message, "progress": state.progress, "run": run | state.run, "conditions": conditions,
            "cost": {"estimated": "0.14", "currency": "USD", "source": "prices-2026", "display": "~$0.14"},
        } | ({"completionTime": told} if state.phase.terminal else {}),
    }  # fmt: skip


def beside(job: str, now: datetime) -> dict[str, list[Document]]:
    """Documents of other collections for a job: its notifications, and shares with a user and a namespace."""
    attempt = {"at": now, "result": "failed", "status": 503, "seconds": 1.5, "detail": f"the receiver said {_LONG}"}
    url = f"https://hooks.{_LONG[:50]}.example.com/x"
    notified = [
        {
            "_id": f"msg-{state}", "jobId": job, "event": "Failed", "run": 1, "url": url, "urlHash": "h", "revision": 1,
            "state": state, "createdAt": now, "nextAt": now if state == "pending" else None, "deliveries": [attempt],
        }
        for state in ("pending", "delivered", "failed", "gone")
    ]  # fmt: skip
    share = {"jobId": job, "namespace": NAMESPACE, "type": Kind.TRANSCRIPTION.record_type, "sharedBy": USER}
    grantees = ("user:bob", "namespace:press")
    return {
        "notifications": notified,
        "shares": [share | {"_id": grantee, "to": grantee, "sharedAt": now} for grantee in grantees],
    }


def events_of(job: str, now: datetime) -> list[Document]:
    """Kubernetes events of a job, a warning first."""
    told = {"lastTimestamp": f"{now:%Y-%m-%dT%H:%M:%SZ}", "metadata": {"namespace": NAMESPACE}}
    told |= {"involvedObject": {"uid": job, "namespace": NAMESPACE}}
    return [
        told | {"type": "Warning", "reason": "JobFailed", "message": f"the pod was killed {_LONG}"},
        told | {"type": "Normal", "reason": "Processing", "message": "sent to the provider"},
    ]
