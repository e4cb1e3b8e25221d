"""What the operator writes to a resource's status. The CRDs' status schemas are generated from these models.

Fields that the schema lacks are pruned by the API server, so whatever the operator has to remember is here.
Everything is optional or has a default: a status grows as a run does, and an older or newer operator reads it too.
Dump with `dump_status`: a null is not the same as an absent field to the API server.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, PlainSerializer

from contentgen_contract import patterns
from contentgen_contract.base import Sha256, Value
from contentgen_contract.names import Phase, Stage, Step


def _whole_seconds(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(microsecond=0)


def _rfc3339(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


Instant = Annotated[AwareDatetime, AfterValidator(_whole_seconds), PlainSerializer(_rfc3339, return_type=str)]
"""A moment in UTC in whole seconds, as Kubernetes writes it; so what is read back equals what was written."""

MAX_MESSAGE = 1024
MAX_VERSIONS = 50
MAX_FILES = 64
MAX_LOG = 4096  # characters
MAX_LOGS = 4  # attempts whose logs are kept


def _truncate(text: object) -> object:
    return text[:MAX_MESSAGE] if isinstance(text, str) else text


Message = Annotated[str, BeforeValidator(_truncate), Field(max_length=MAX_MESSAGE)]
"""A sentence; what is longer is cut, because a status that the API server refuses helps nobody."""


class Cost(Value):
    """Cost of the run with all its paid attempts. Amounts are decimal strings; an empty one is unknown."""

    estimated: str = Field("", max_length=32, description="What the run is expected to cost, a decimal.")
    actual: str = Field("", max_length=32, description="What it cost by what the provider reported, a decimal.")
    currency: str = Field("", max_length=8, description="The currency of both amounts, such as USD.")
    source: str = Field(
        "", max_length=64, description="Where the unit price comes from, such as the price table's name."
    )
    actual_source: str = Field(
        "",
        max_length=128,
        description="Where the actual amount comes from: billing events, billable units × unit price, seconds × rate, "
        "not billed; estimate or unknown where the provider has not reported it, and then there is no actual amount.",
    )
    total: str = Field(
        "", max_length=32, description="What all runs of the resource cost, as far as it is known; a decimal."
    )
    unknown: int = Field(
        0, ge=0, description="Paid requests of all runs whose cost is not known, and not in the total therefore."
    )
    display: str = Field(
        "",
        max_length=32,
        description='What the COST column shows: "~$2.00" for an estimate, "$2.00" for what is known, else "unknown".',
    )


class ConditionStatus(Value):
    """One aspect of the resource's state, as the Kubernetes API conventions have it."""

    type: str = Field(max_length=64, description="Which aspect: Ready, Reconciling, Stalled, Complete, Failed, …")
    status: str = Field("Unknown", pattern="^(True|False|Unknown)$", description="True, False or Unknown.")
    reason: str = Field("", max_length=64, description="Why, in one word; docs/reference/reasons.md explains each.")
    message: Message = Field("", description="Why, in a sentence.")
    last_transition_time: Instant | None = Field(None, description="When the status last changed.")
    observed_generation: int | None = Field(None, description="The generation of the resource that this speaks of.")


class JobRef(Value):
    """The Kubernetes Job that a run has at the moment."""

    name: str = Field(max_length=63, pattern=patterns.JOB_NAME, description="The Job's name.")
    uid: str | None = Field(
        None,
        max_length=64,
        pattern=patterns.UID,
        description="The Job's uid; a Job of this name and another uid is not ours.",
    )
    stage: Stage = Field(description="The stage of the run that the Job works on.")
    attempt: int = Field(1, description="Which attempt of the stage this is, from 1.")
    started_at: Instant | None = Field(None, description="When the Job was created.")


class StageLog(Value):
    """What one attempt of a stage said last: it outlives the pod."""

    stage: Stage = Field(description="The stage.")
    attempt: int = Field(1, description="The attempt of the stage, from 1.")
    text: str = Field("", max_length=MAX_LOG, description="The last lines of the worker's log.")


class CollectStatus(Value):
    """The retries of the collect stage."""

    failure: str | None = Field(None, max_length=64, description="Why the last attempt failed, in one word.")
    asked: str | None = Field(
        None, max_length=64, description="The contentgen.dev/collect annotation that was carried out last."
    )
    asked_at: Instant | None = Field(
        None, description="When the stage began anew; spec.collectDeadlineSeconds counts from then."
    )
    first_attempt: int = Field(1, description="The attempt of the stage with which it began, from 1.")


class RunStatus(Value):
    """The run under way, or the last one. Its spec is frozen: an edit becomes the next run."""

    number: int = Field(1, description="Counts the resource's runs from 1, those that failed too.")
    version: int = Field(description="The version of the outputs that this run makes, from 1.")
    run_hash: str = Field(max_length=64, description="Hash of the fields that decide the result.")
    rerun: str | None = Field(None, max_length=256, description="The contentgen.dev/rerun annotation at the start.")
    generation: int = Field(description="The resource's generation at the start.")
    spec: dict[str, Any] = Field(description="The spec as it was at the start.")
    started_at: Instant = Field(description="When the run started.")
    lora_identity: str | None = Field(
        None,
        max_length=16,
        pattern=patterns.LORA_IDENTITY,
        description="Hash of the purchases of the trained LoRAs, where it is a part of the run's buying key: the same "
        "spec was bought before with LoRAs of other trainings.",
    )
    paid_attempt: int = Field(1, description="Which paid attempt this is, from 1.")
    stage_attempt: int = Field(1, description="Which attempt of the current stage this is, from 1.")
    lost_attempts: int = Field(
        0,
        ge=0,
        description="How many attempts of the current stage don't count, as their node was gone; 5 at most.",
    )
    retry_at: Instant | None = Field(None, description="When the next attempt of the current stage may start.")
    collect: CollectStatus | None = Field(None, description="The retries of the collect stage.")
    job: JobRef | None = Field(None, description="The Kubernetes Job that works for the run at the moment.")
    logs: tuple[StageLog, ...] = Field(
        (), max_length=MAX_LOGS, description="The last lines of the newest attempts' logs, by stage and attempt."
    )
    facts: dict[str, Any] | None = Field(None, description="What the prepare stage found out about the source.")
    purchase_id: str | None = Field(
        None,
        max_length=64,
        pattern=patterns.UID,
        description="The purchase of the run's current attempt, named before anything is sent.",
    )
    sent_at: Instant | None = Field(None, description="When the paid request was sent, or may have been.")
    request_id: str | None = Field(None, max_length=256, description="The provider's name for the paid request.")
    submitted_at: Instant | None = Field(None, description="When the provider accepted the request.")
    billed: bool | None = Field(
        None,
        description="Of a run that has ended: whether the provider bills any of its requests. Absent where nobody "
        "can tell.",
    )
    request_open: bool | None = Field(
        None, description="Whether a paid request of the ended run may still finish; its result is stored then."
    )
    loras: tuple[Annotated[str, Field(max_length=1024, pattern=patterns.KEY)], ...] = Field(
        (), max_length=4, description="The keys of the trained LoRAs that the pictures are drawn with."
    )


class OutputFile(Value):
    """One stored file."""

    key: str = Field(max_length=1024, pattern=patterns.KEY, description="The file's key in the bucket.")
    size_bytes: int = Field(0, description="The file's size in bytes.")
    sha256: Sha256 | None = Field(None, description="The file's sha256 in hexadecimal.")


class VersionStatus(Value):
    """The outputs of one finished run."""

    version: int = Field(description="The version, from 1.")
    run_hash: str = Field("", max_length=64, description="Hash of the fields that decided the result.")
    rerun: str | None = Field(None, max_length=256, description="The contentgen.dev/rerun annotation of the run.")
    job_id: str | None = Field(
        None,
        max_length=64,
        pattern=patterns.UID,
        description="The jobId under which the files lie; another resource's for an adopted run.",
    )
    completed_at: Instant | None = Field(None, description="When the run finished.")
    bucket: str | None = Field(None, max_length=255, description="The bucket in which the files lie.")
    files: tuple[OutputFile, ...] = Field(
        (), max_length=MAX_FILES, description="The files; a larger set is listed in its dataset.json instead."
    )
    facts: dict[str, Any] = Field(default_factory=dict, description="What is known about the outputs.")


class ResourceStatus(Value):
    """The state of the resource, written by the operator alone."""

    observed_generation: int = Field(-1, description="The generation that this status speaks of; -1 before the first.")
    job_id: str | None = Field(None, max_length=64, description="The job's id in keys, records and the API: the uid.")
    phase: Phase | None = Field(None, description="Where the run is; it only goes forward within a run.")
    progress: int = Field(0, ge=0, le=100, description="How much of the run is done, in percent.")
    stage: Step | None = Field(None, description="What is being done right now.")
    reason: str | None = Field(
        None, max_length=64, description="Why the resource is where it is; docs/reference/reasons.md explains each."
    )
    message: Message | None = Field(None, description="The reason in a sentence.")
    estimated_completion_time: Instant | None = Field(None, description="When the run will probably be done.")
    start_time: Instant | None = Field(None, description="When the run started.")
    completion_time: Instant | None = Field(None, description="When the run ended.")
    cost: Cost | None = Field(None, description="What the run costs.")
    conditions: tuple[ConditionStatus, ...] = Field((), max_length=32, description="The aspects of the state, by type.")
    run: RunStatus | None = Field(None, description="The run under way, or the last one.")
    versions: tuple[VersionStatus, ...] = Field(
        (), max_length=MAX_VERSIONS, description="The outputs of finished runs, by version."
    )


def dump_status(status: ResourceStatus) -> dict[str, Any]:
    """The status as JSON for the API server: fields that are not set are absent.

    Only our own fields lose their nulls; `run.spec` and the facts are kept as they are given.
    """
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)
