"""A job under way as one frozen value, from the JSON object of its resource. Pure."""

from dataclasses import dataclass
from typing import Any, Self

from pydantic import AwareDatetime, ValidationError

from contentgen_contract.base import Value
from contentgen_contract.names import FINAL_PHASES, Kind, Phase, Step
from contentgen_contract.records import record
from contentgen_contract.resources.parsing import ResourceBody
from contentgen_contract.resources.spec import Metadata, parse_spec
from contentgen_runtime.kube import Body

_LONG_SPEC = 2048  # characters


class _Facts(Value):
    source_bytes: int | None = None


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
    facts: _Facts = _Facts()


class _Meta(Value):
    uid: str
    name: str
    namespace: str
    resource_version: str
    creation_timestamp: AwareDatetime


@dataclass(frozen=True, slots=True)
class JobSnapshot:
    """A resource as it was last told of, without what may be large: thousands of them are known at a time."""

    kind: Kind
    meta: _Meta
    spec: dict[str, Any]  # of the run, where there is one
    status: _Status

    @classmethod
    def parse(cls, kind: Kind, body: Body) -> Self:
        """From the API server's object.

        Raises ValueError for incomplete metadata or a field of a wrong type: the caller logs and skips the object,
        instead of showing defaults as progress.
        """
        given = ResourceBody.parse(body)
        meta, run = _Meta.model_validate(given.metadata, from_attributes=True), given.run
        if given.ended and given.rerun_requested:
            # The next run was asked for, and the operator has not seen it yet.
            status = _Status(phase=Phase.PENDING, stage=Step.WAITING)
        else:
            status = _Status.model_validate(given.status | {"facts": run.facts if run else {}})
        # The user is the resource's own, which was admitted: the run's spec is a part of the status.
        spec = {**((run.spec if run else None) or given.spec), "userId": given.spec.get("userId")}
        return cls(kind, meta, _kept({name: each for name, each in spec.items() if each is not None}), status)

    @property
    def job_id(self) -> str:
        """The resource's uid."""
        return self.meta.uid

    @property
    def version(self) -> str:
        """The resourceVersion: another whenever anything has changed."""
        return self.meta.resource_version

    def later_than(self, version: str) -> bool:
        """Whether this is a later state than one with a resourceVersion; False where that is no number.

        The API server numbers the writes to a kind of resource in their order.
        """
        numbers = (self.version, version)
        return all(map(_is_number, numbers)) and int(self.version) > int(version)

    def earlier_than(self, version: str) -> bool:
        """Likewise."""
        numbers = (self.version, version)
        return all(map(_is_number, numbers)) and int(self.version) < int(version)

    @property
    def ended(self) -> bool:
        """Whether the run is over."""
        return self.status.phase in FINAL_PHASES

    @property
    def word(self) -> str:
        """The seeds' word for where it is."""
        return record.legacy_status(self.status.phase, self.status.reason)


def document(now: JobSnapshot) -> dict[str, Any]:
    """The record that the operator is about to write, in the same shape, without versions."""
    status = now.status
    try:
        spec = parse_spec(now.kind, now.spec)
    except ValidationError:  # the operator will say what is wrong with it, or it was too long to keep
        spec = None
    return {
        "jobId": now.job_id,
        "userId": str(now.spec.get("userId") or now.meta.namespace),
        "type": now.kind.record_type,
        "namespace": now.meta.namespace,
        "name": now.meta.name,
        "config": record.config_fields(spec) if spec else {},
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
    } | (record.source_fields(spec, status.facts.model_dump()) if spec else {})


def _is_number(version: str) -> bool:
    return version.isascii() and version.isdecimal()


def _kept(spec: dict[str, Any]) -> dict[str, Any]:
    """A spec has 64 KiB at most; of a long one the record will tell in a moment."""
    return spec if len(repr(spec)) <= _LONG_SPEC else {"userId": spec.get("userId")}
