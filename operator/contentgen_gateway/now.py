"""A job under way as one frozen value, from the JSON object of its resource. Pure."""

from dataclasses import dataclass
from typing import Any, Self

from pydantic import AwareDatetime, Field, ValidationError

from contentgen_contract import record
from contentgen_contract.base import Value
from contentgen_contract.names import RERUN_ANNOTATION, Kind, Phase, Step
from contentgen_contract.spec import Metadata, parse_spec
from contentgen_runtime.kube import Body

_FINAL = {phase.value for phase in Phase if phase.terminal}


class _Run(Value):
    rerun: str | None = None
    spec: dict[str, Any] = Field(default_factory=dict)
    facts: dict[str, Any] | None = None


class _Status(Value):
    """What is read of a status: words that a newer operator may have are taken as they are."""

    phase: str | None = None
    progress: int = 0
    stage: str | None = None
    reason: str | None = None
    message: str | None = None
    estimated_completion_time: AwareDatetime | None = None
    start_time: AwareDatetime | None = None
    completion_time: AwareDatetime | None = None
    cost: dict[str, Any] | None = None
    run: _Run | None = None


class _Meta(Value):
    uid: str
    name: str
    namespace: str
    resource_version: str
    creation_timestamp: AwareDatetime
    annotations: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Now:
    """A resource as it was last told of."""

    kind: Kind
    meta: _Meta
    spec: dict[str, Any]
    status: _Status

    @classmethod
    def of(cls, kind: Kind, body: Body) -> Self:
        """From the API server's object. Raises ValueError where it is none."""
        meta, status = _Meta.model_validate(body.get("metadata")), _Status.model_validate(body.get("status") or {})
        asked = (meta.annotations or {}).get(RERUN_ANNOTATION)
        if status.phase in _FINAL and status.run is not None and asked != status.run.rerun:
            # The next run was asked for, and the operator has not seen it yet.
            status = _Status(phase=Phase.PENDING, stage=Step.WAITING)
        return cls(kind, meta, body.get("spec") or {}, status)

    @property
    def job_id(self) -> str:
        """The resource's uid."""
        return self.meta.uid

    @property
    def version(self) -> str:
        """The resourceVersion: another whenever anything has changed."""
        return self.meta.resource_version

    @property
    def ended(self) -> bool:
        """Whether the run is over."""
        return self.status.phase in _FINAL

    @property
    def word(self) -> str:
        """The seeds' word for where it is."""
        return record.status_word(self.status.phase, self.status.reason)


def document(now: Now) -> dict[str, Any]:
    """The record that the operator is about to write, in the same shape, without versions."""
    status, run = now.status, now.status.run
    given = run.spec if run and run.spec else now.spec
    try:
        spec = parse_spec(now.kind, given)
    except ValidationError:  # the operator will say what is wrong with it
        spec = None
    return {
        "jobId": now.job_id,
        "userId": str(given.get("userId") or now.meta.namespace),
        "type": now.kind.record_type,
        "namespace": now.meta.namespace,
        "name": now.meta.name,
        "config": record.config(spec) if spec else {},
        "metadata": (spec.metadata if spec else Metadata()).model_dump(mode="json", by_alias=True),
        "versions": [],
        "status": now.word,
        "phase": status.phase,
        "progress": status.progress,
        "stage": status.stage,
        "reason": status.reason,
        "message": status.message,
        "error": status.message if status.phase == Phase.FAILED else None,
        "cost": status.cost,
        "estimatedCompletionTime": status.estimated_completion_time,
        "createdAt": now.meta.creation_timestamp,
        "startedAt": status.start_time,
        "completedAt": status.completion_time,
    } | (record.source(spec, (run.facts if run else None) or {}) if spec else {})
