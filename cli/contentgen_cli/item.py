"""A resource as the API server gave it, as a frozen value."""

from datetime import UTC, datetime
from typing import Any

from pydantic import Field, ValidationError

from contentgen_cli import target
from contentgen_cli.errors import CliError
from contentgen_contract.advice.remedies import Facts
from contentgen_contract.base import Value
from contentgen_contract.names import FINAL_PHASES, Kind, Phase
from contentgen_contract.resources.operator_class import class_of
from contentgen_contract.resources.parsing import ResourceBody, strict_status
from contentgen_contract.resources.status import ResourceStatus, dump_status

Body = dict[str, Any]
_SETTLED = (*FINAL_PHASES, Phase.SUBMISSION_UNKNOWN, Phase.SUSPENDED)


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

    @classmethod
    def parse(cls, kind: Kind, body: Body) -> "Item":
        """From the JSON object of the API server. Raises CliError where its status cannot be read."""
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
        )

    @property
    def reference(self) -> str:
        """`lora/avatar`."""
        return target.short_reference(self.kind, self.name)

    @property
    def operator_class(self) -> str:
        """The operator class that it belongs to."""
        return class_of({"spec": self.spec})

    @property
    def facts(self) -> Facts:
        """Facts of the status on which advice depends."""
        return Facts.of(dump_status(self.status))

    @property
    def settled(self) -> bool:
        """Whether the operator has seen all that is asked for, and nothing happens until a person does something."""
        status = self.status
        rerun = status.run.rerun if status.run else self.rerun
        seen = status.observed_generation >= self.generation and rerun == self.rerun
        return seen and status.phase in _SETTLED and not self.deleting

    @property
    def succeeded(self) -> bool:
        """Whether the outputs of what is asked for are there."""
        return self.settled and self.status.phase is Phase.COMPLETED


def age(moment: datetime, now: datetime) -> str:
    """As kubectl writes it: `12s`, `5m`, `3h`, `8d`."""
    seconds = max(0, int((now - moment).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length or (unit == "d" and seconds >= length):
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def utc_now() -> datetime:
    """The only clock."""
    return datetime.now(UTC)
