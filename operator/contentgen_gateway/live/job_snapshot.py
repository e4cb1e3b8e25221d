"""Snapshot of an unfinished job, parsed from its resource's JSON object. Pure."""

from dataclasses import dataclass
from typing import Any, Self

from pydantic import AwareDatetime, ValidationError

from contentgen_contract.advice.job_facts import JobFacts
from contentgen_contract.advice.job_state import JobState, job_state
from contentgen_contract.base import Value
from contentgen_contract.names import FINAL_PHASES, Kind, Phase, Step
from contentgen_contract.records import record
from contentgen_contract.resources.parsing import ResourceBody
from contentgen_contract.resources.queue_position import QueueEntry
from contentgen_contract.resources.spec import Metadata, parse_spec
from contentgen_runtime.kube import Body

_MAX_SPEC = 2048  # characters


class _Facts(Value):
    source_bytes: int | None = None


class _Status(Value):
    """Parsed fields of a status. Phases and reasons are plain texts, because a newer operator may have others."""

    phase: str | None = None
    progress: int = 0
    stage: str | None = None
    reason: str | None = None
    message: str | None = None
    estimated_completion_time: AwareDatetime | None = None
    start_time: AwareDatetime | None = None
    completion_time: AwareDatetime | None = None
    cost: dict[str, Any] | None = None
    facts: _Facts = _Facts()


class _Meta(Value):
    uid: str
    name: str
    namespace: str
    resource_version: str
    creation_timestamp: AwareDatetime


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """Latest known state of a resource, without long specs: thousands are in memory at a time."""

    kind: Kind
    meta: _Meta
    spec: dict[str, Any]  # the run's frozen spec, or the resource's if there is no run
    status: _Status
    facts: JobFacts
    queue: QueueEntry | None = None  # None: it does not wait in the operator's queue

    @classmethod
    def parse(cls, kind: Kind, body: Body) -> Self:
        """From the API server's object.

        Raises ValueError for incomplete metadata or a field of a wrong type: the caller logs and skips the object,
        instead of showing defaults as progress.
        """
        given = ResourceBody.parse(body)
        meta, run = _Meta.model_validate(given.metadata, from_attributes=True), given.run
        if given.ended and given.rerun_requested:
            status = _Status(phase=Phase.PENDING, stage=Step.WAITING)
        else:
            status = _Status.model_validate(given.status | {"facts": run.facts if run else {}})
        # userId from the resource's spec, which admission has checked; the run's spec is part of the status.
        spec = {**((run.spec if run else None) or given.spec), "userId": given.spec.get("userId")}
        frozen = _trimmed({name: each for name, each in spec.items() if each is not None})
        return cls(kind, meta, frozen, status, JobFacts.of_resource(body), QueueEntry.parse(kind, body))

    @property
    def job_id(self) -> str:
        """The resource's uid."""
        return self.meta.uid

    @property
    def version(self) -> str:
        """The resourceVersion, which differs after each change."""
        return self.meta.resource_version

    def later_than(self, version: str) -> bool:
        """True if this state is later than that resourceVersion; False if either is not a number.

        The API server numbers the writes to a kind of resource in their order.
        """
        numbers = (self.version, version)
        return all(map(_is_number, numbers)) and int(self.version) > int(version)

    def earlier_than(self, version: str) -> bool:
        """True if this state is earlier than that resourceVersion; False if either is not a number."""
        numbers = (self.version, version)
        return all(map(_is_number, numbers)) and int(self.version) < int(version)

    @property
    def ended(self) -> bool:
        """True if the run is in a final phase."""
        return self.status.phase in FINAL_PHASES

    @property
    def legacy_status(self) -> str:
        """Job status as in the legacy API."""
        return record.legacy_status(self.status.phase, self.status.reason)

    @property
    def state(self) -> JobState:
        """State for users."""
        return job_state(self.facts)


def with_request(stored: dict[str, Any], snapshot: JobSnapshot | None) -> dict[str, Any]:
    """The record, with `requested` if the operator has not taken a request about the run that it describes."""
    if snapshot is None or snapshot.facts.request is None or snapshot.facts.version != stored.get("runVersion"):
        return stored
    return stored | {"requested": snapshot.facts.request.value}


def document(snapshot: JobSnapshot) -> dict[str, Any]:
    """The record that the operator is about to write for this state, with an empty list of versions."""
    status = snapshot.status
    try:
        spec = parse_spec(snapshot.kind, snapshot.spec)
    except ValidationError:  # the operator reports InvalidSpec, or the spec was too long for a snapshot
        spec = None
    return {
        "jobId": snapshot.job_id,
        "userId": str(snapshot.spec.get("userId") or snapshot.meta.namespace),
        "type": snapshot.kind.record_type,
        "namespace": snapshot.meta.namespace,
        "name": snapshot.meta.name,
        "config": record.config_fields(spec) if spec else {},
        "metadata": (spec.metadata if spec else Metadata()).model_dump(mode="json", by_alias=True),
        "versions": [],
        "status": snapshot.legacy_status,
        "phase": status.phase,
        "progress": status.progress,
        "stage": status.stage,
        "reason": status.reason,
        "message": status.message,
        "error": status.message if status.phase == Phase.FAILED else None,
        "cost": status.cost,
        "estimatedCompletionTime": status.estimated_completion_time,
        "createdAt": snapshot.meta.creation_timestamp,
        "startedAt": status.start_time,
        "completedAt": status.completion_time,
        "runVersion": snapshot.facts.version,
        "requested": snapshot.facts.request,
        "deleting": snapshot.facts.deleting,
    } | (record.source_fields(spec, status.facts.model_dump()) if spec else {})


def _is_number(version: str) -> bool:
    return version.isascii() and version.isdecimal()


def _trimmed(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec, or only its userId if it is long (up to 64 KiB); the record has all of it soon."""
    return spec if len(repr(spec)) <= _MAX_SPEC else {"userId": spec.get("userId")}
