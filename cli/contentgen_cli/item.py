"""A resource as a frozen value."""

from datetime import UTC, datetime
from typing import Any

from pydantic import Field, ValidationError

from contentgen_cli import target
from contentgen_cli.errors import CliError
from contentgen_contract.advice.guidance import Facts
from contentgen_contract.advice.job_facts import JobFacts
from contentgen_contract.advice.job_state import JobState, job_state
from contentgen_contract.base import Value
from contentgen_contract.names import FINAL_PHASES, Kind, Phase
from contentgen_contract.resources.operator_class import class_of
from contentgen_contract.resources.parsing import ResourceBody, strict_status
from contentgen_contract.resources.queue_position import QueueEntry
from contentgen_contract.resources.status import ResourceStatus, dump_status

Body = dict[str, Any]
_IDLE = (*FINAL_PHASES, Phase.SUBMISSION_UNKNOWN, Phase.SUSPENDED, Phase.AWAITING_APPROVAL)


class Item(Value):
    """One LoraTraining, ImageGeneration or Transcription."""

    kind: Kind
    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    created_at: datetime
    deleting: bool
    rerun: str | None
    annotations: dict[str, str] = Field(default_factory=dict)
    spec: Body
    status: ResourceStatus
    job: JobFacts = Field(default_factory=JobFacts)

    @classmethod
    def parse(cls, kind: Kind, body: Body) -> "Item":
        """From the JSON object of the API server.

        Raises CliError for an invalid status: commands that pay must not work on defaults.
        """
        given = ResourceBody.parse(body)
        meta = given.metadata
        try:
            status = strict_status(body)
        except ValidationError as error:
            field, reason = ".".join(map(str, error.errors()[0]["loc"])), error.errors()[0]["msg"]
            raise CliError(
                f"{target.short_reference(kind, str(meta.name))}: status.{field} cannot be read: {reason}; "
                "this plugin and the operator may be of different releases"
            ) from None
        return cls(
            kind=kind,
            namespace=meta.namespace,
            name=meta.name,
            uid=meta.uid,
            generation=meta.generation,
            resource_version=meta.resource_version,
            created_at=meta.creation_timestamp,
            deleting=meta.deletion_timestamp is not None,
            rerun=given.rerun,
            annotations=meta.annotations,
            spec=given.spec,
            status=status,
            job=JobFacts.of_resource(body),
        )

    @property
    def state(self) -> JobState:
        """State in words, as in pages and API."""
        return job_state(self.job)

    @property
    def reference(self) -> str:
        """Short kind and name: `lora/avatar`."""
        return target.short_reference(self.kind, self.name)

    @property
    def operator_class(self) -> str:
        """Operator class of the resource."""
        return class_of({"spec": self.spec})

    @property
    def facts(self) -> Facts:
        """Fields of the status that determine the advice."""
        return Facts.parse(dump_status(self.status))

    @property
    def queue_entry(self) -> QueueEntry | None:
        """The run in the operator's queue; None if it does not wait there."""
        body = {"metadata": {"uid": self.uid}, "spec": self.spec, "status": dump_status(self.status)}
        return QueueEntry.parse(self.kind, body)

    @property
    def idle(self) -> bool:
        """True if the operator has processed the spec and annotations, and nothing happens until a user acts."""
        seen = self.status.observed_generation >= self.generation and self.job.request is None
        return seen and self.status.phase in _IDLE and not self.deleting

    @property
    def succeeded(self) -> bool:
        """True if the outputs of the current spec are stored."""
        return self.idle and self.status.phase is Phase.COMPLETED


def age(moment: datetime, now: datetime) -> str:
    """Age in kubectl's format: `12s`, `5m`, `3h`, `8d`."""
    seconds = max(0, int((now - moment).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length or (unit == "d" and seconds >= length):
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def utc_now() -> datetime:
    """Current time in UTC."""
    return datetime.now(UTC)
