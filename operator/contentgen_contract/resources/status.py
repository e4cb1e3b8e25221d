"""Models of a resource's status. The status schemas of the CRDs are generated from them.

The API server prunes fields that the schema lacks, so all that the operator stores is listed here. Fields are optional
or have a default: a status grows during a run, and older and newer operators read it.
Serialize with `dump_status`: the API server distinguishes a null from an absent field.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, PlainSerializer

from contentgen_contract import patterns
from contentgen_contract.base import Sha256, Value
from contentgen_contract.characters import escape_controls
from contentgen_contract.names import Phase, Stage, Step, Verdict


def _whole_seconds(instant: datetime) -> datetime:
    return instant.astimezone(UTC).replace(microsecond=0)


def _rfc3339(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


Instant = Annotated[AwareDatetime, AfterValidator(_whole_seconds), PlainSerializer(_rfc3339, return_type=str)]
"""A time in UTC in whole seconds, as Kubernetes writes it, so that a value read back equals the one written."""

MAX_MESSAGE = 1024
MAX_VERSIONS = 50
MAX_FILES = 64
MAX_LOG = 4096  # characters
MAX_LOGS = 4  # attempts
MAX_ACTIONS = 16


def clean_message(text: str) -> str:
    """A sentence that may repeat the words of others: without control characters, truncated to `MAX_MESSAGE`."""
    return escape_controls(text)[:MAX_MESSAGE]


def _clean(text: object) -> object:
    return clean_message(text) if isinstance(text, str) else text


Message = Annotated[str, BeforeValidator(_clean), Field(max_length=MAX_MESSAGE)]
"""A sentence of at most `MAX_MESSAGE` characters: the API server would refuse the whole status for a longer one."""


class Cost(Value):
    """Cost of the run with all its paid attempts. Amounts are decimal strings; empty means unknown."""

    estimated: str = Field("", max_length=32, description="Expected cost of the run, a decimal.")
    actual: str = Field("", max_length=32, description="Cost by the provider's figures, a decimal; empty if unknown.")
    currency: str = Field("", max_length=8, description="The currency of both amounts, such as USD.")
    source: str = Field("", max_length=64, description="Source of the unit price, such as the name of the price table.")
    actual_source: str = Field(
        "",
        max_length=128,
        description="Source of the actual amount: billing events, billable units × unit price, seconds × rate, not "
        "billed. estimate or unknown: the provider has not reported it, and there is no actual amount.",
    )
    total: str = Field("", max_length=32, description="Known cost of all runs of the resource, a decimal.")
    unknown: int = Field(
        0, ge=0, description="Number of paid requests of all runs whose cost is unknown and not in the total."
    )
    display: str = Field(
        "",
        max_length=32,
        description='Text of the COST column: "~$2.00" for an estimate, "$2.00" for a known cost, else "unknown".',
    )


class ConditionStatus(Value):
    """A condition as the Kubernetes API conventions define it."""

    type: str = Field(max_length=64, description="Type: Ready, Reconciling, Stalled, Complete, Failed, …")
    status: str = Field("Unknown", pattern="^(True|False|Unknown)$", description="True, False or Unknown.")
    reason: str = Field("", max_length=64, description="Reason in one word; see docs/reference/reasons.md.")
    message: Message = Field("", description="Reason in a sentence.")
    last_transition_time: Instant | None = Field(None, description="Time of the last change of `status`.")
    observed_generation: int | None = Field(
        None, description="Generation of the resource that the condition describes."
    )


class JobRef(Value):
    """The current Kubernetes Job of a run."""

    name: str = Field(max_length=63, pattern=patterns.JOB_NAME, description="Name of the Job.")
    uid: str | None = Field(
        None,
        max_length=64,
        pattern=patterns.UID,
        description="UID of the Job; a Job of this name with another UID is foreign.",
    )
    stage: Stage = Field(description="Stage of the run that the Job executes.")
    attempt: int = Field(1, description="Attempt of the stage, from 1.")
    started_at: Instant | None = Field(None, description="Creation time of the Job.")


class StageLog(Value):
    """Last log lines of one attempt, kept after the pod is deleted."""

    stage: Stage = Field(description="Stage of the attempt.")
    attempt: int = Field(1, description="Attempt of the stage, from 1.")
    text: str = Field("", max_length=MAX_LOG, description="Last lines of the worker's log.")


class CollectStatus(Value):
    """Retries of the collect stage."""

    failure: str | None = Field(None, max_length=64, description="Reason of the last failed attempt, in one word.")
    asked: str | None = Field(
        None, max_length=64, description="Value of the contentgen.dev/collect annotation that was executed last."
    )
    asked_at: Instant | None = Field(
        None, description="Time when the retry was requested; spec.collectDeadlineSeconds counts from it."
    )
    first_attempt: int = Field(1, description="First attempt of the retry, from 1.")
    partial: int | None = Field(
        None, ge=1, description="Attempt that stored a part of the outputs; the next attempts add the rest."
    )


class ApprovalStatus(Value):
    """Approval or rejection of a run that waits for it."""

    run: int = Field(description="Number of the run that waits, or waited.")
    since: Instant = Field(description="Time when the run began to wait.")
    lapsed: tuple[Annotated[str, Field(max_length=64, pattern=patterns.LORA_IDENTITY)], ...] = Field(
        (),
        max_length=2,
        description="Digests of the approval and the rejection that were set before the run waited; they do not count.",
    )
    bound: str | None = Field(
        None,
        max_length=32,
        pattern=patterns.AMOUNT,
        description="Lowest upper bound of one paid attempt that the status has shown during this wait, in US dollars, "
        "or unknown. Of an approved run: the bound that the approval covers.",
    )
    amount: str | None = Field(
        None,
        max_length=32,
        pattern=patterns.AMOUNT,
        description="Amount that an approval of the run names: the bound of all attempts left, in US dollars, or "
        "unknown.",
    )
    earlier_bound: str | None = Field(
        None,
        max_length=32,
        pattern=patterns.AMOUNT,
        description="Bound of an earlier wait or approval of the run, which the price has exceeded since.",
    )
    verdict: Verdict | None = Field(None, description="Approved or Rejected; absent while the run waits.")
    by: str | None = Field(
        None, max_length=256, description="User who approved or rejected, from contentgen.dev/approved-by."
    )
    at: Instant | None = Field(None, description="Time when the operator accepted the approval or rejection.")


class SameRequest(Value):
    """A purchase of the same provider request under another key, with which a run goes on."""

    run_hash: str = Field(max_length=64, pattern=patterns.LORA_IDENTITY, description="Run hash in the purchase's key.")
    lora_identity: str | None = Field(
        None, max_length=16, pattern=patterns.LORA_IDENTITY, description="LoRA identity in the purchase's key."
    )
    purchase_id: str = Field(max_length=64, pattern=patterns.UID, description="ID of the purchase.")


class RunStatus(Value):
    """The current run, or the last one. Its spec is frozen: an edit starts the next run."""

    number: int = Field(1, description="Number of the run, from 1, including failed runs.")
    version: int = Field(description="Version of the outputs of this run, from 1.")
    run_hash: str = Field(max_length=64, description="Hash of the fields that determine the result.")
    rerun: str | None = Field(
        None, max_length=256, description="Value of the contentgen.dev/rerun annotation at the start."
    )
    generation: int = Field(description="Generation of the resource at the start.")
    spec: dict[str, Any] = Field(description="The spec at the start.")
    started_at: Instant = Field(description="Start of the run.")
    lora_identity: str | None = Field(
        None,
        max_length=16,
        pattern=patterns.LORA_IDENTITY,
        description="Hash of the purchases of the trained LoRAs, where the buying key includes it: the same spec was "
        "bought before with LoRAs of other trainings.",
    )
    same_as: SameRequest | None = Field(
        None, description="The purchase of the same provider request, which an earlier run or resource has made."
    )
    approval: ApprovalStatus | None = Field(None, description="Approval of the run, where one is required.")
    paid_attempt: int = Field(1, description="Current paid attempt, from 1.")
    stage_attempt: int = Field(1, description="Current attempt of the current stage, from 1.")
    lost_attempts: int = Field(
        0,
        ge=0,
        description="Attempts of the current stage that do not count because their node was lost; at most 5.",
    )
    retry_at: Instant | None = Field(None, description="Earliest start of the next attempt of the current stage.")
    queued_at: Instant | None = Field(
        None, description="Time since which the run waits in the queue before the payment."
    )
    collect: CollectStatus | None = Field(None, description="Retries of the collect stage.")
    job: JobRef | None = Field(None, description="Current Kubernetes Job of the run.")
    logs: tuple[StageLog, ...] = Field(
        (), max_length=MAX_LOGS, description="Last log lines of the newest attempts, by stage and attempt."
    )
    facts: dict[str, Any] | None = Field(None, description="Facts about the source, from the prepare stage.")
    resubmit_token: str | None = Field(
        None,
        max_length=16,
        pattern=patterns.RESUBMIT_TOKEN,
        description="Value of the contentgen.dev/resubmit annotation that allows another payment, while the phase is "
        "SubmissionUnknown. It names one purchase.",
    )
    purchase_id: str | None = Field(
        None,
        max_length=64,
        pattern=patterns.UID,
        description="ID of the purchase of the current paid attempt, set before anything is sent.",
    )
    provider_account: str | None = Field(
        None,
        max_length=40,
        pattern=patterns.ACCOUNT,
        description="Provider account of the purchase, set before anything is sent. Absent: the default account.",
    )
    sent_at: Instant | None = Field(None, description="Time when the paid request was, or may have been, sent.")
    request_id: str | None = Field(None, max_length=256, description="The provider's ID of the paid request.")
    submitted_at: Instant | None = Field(None, description="Time when the provider accepted the request.")
    billed: bool | None = Field(
        None,
        description="After the end of a run: whether the provider bills any of its requests. Absent if unknown.",
    )
    request_open: bool | None = Field(
        None, description="Whether a paid request of the ended run may still finish; its result is stored if it does."
    )
    loras: tuple[Annotated[str, Field(max_length=1024, pattern=patterns.KEY)], ...] = Field(
        (), max_length=4, description="S3 keys of the trained LoRAs that are applied."
    )


class OutputFile(Value):
    """One stored file."""

    key: str = Field(max_length=1024, pattern=patterns.KEY, description="S3 key of the file.")
    size_bytes: int = Field(0, description="Size of the file in bytes.")
    sha256: Sha256 | None = Field(None, description="SHA-256 of the file in hexadecimal.")


class VersionStatus(Value):
    """Outputs of one finished run."""

    version: int = Field(description="Number of the version, from 1.")
    run_hash: str = Field("", max_length=64, description="Hash of the fields that determined the result.")
    rerun: str | None = Field(
        None, max_length=256, description="Value of the contentgen.dev/rerun annotation of the run."
    )
    job_id: str | None = Field(
        None,
        max_length=64,
        pattern=patterns.UID,
        description="The jobId in the keys of the files; of another resource for an adopted run.",
    )
    purchase_id: str | None = Field(
        None,
        max_length=64,
        pattern=patterns.UID,
        description="ID of the purchase, which the ledger must know before anything else is paid.",
    )
    operator_class: str | None = Field(
        None, max_length=63, description="Operator class whose ledger has the purchase; another one may lack it."
    )
    completed_at: Instant | None = Field(None, description="End of the run.")
    bucket: str | None = Field(None, max_length=255, description="Bucket of the files.")
    files: tuple[OutputFile, ...] = Field(
        (), max_length=MAX_FILES, description="The files; a larger set is listed in its dataset.json."
    )
    facts: dict[str, Any] = Field(default_factory=dict, description="Facts about the outputs.")


class ActionStatus(Value):
    """An action on the runs of the resource. Verbs and rights are no enumerations: a newer release may have others."""

    verb: str = Field(
        max_length=16,
        description="Name of the action, as in the API's paths: approve, reject, resume, cancel, collect, pay, retry "
        "or resubmit. resume clears spec.suspend, and pay removes spec.dryRun; the others are annotations.",
    )
    annotation: str | None = Field(
        None, max_length=64, description="Annotation that asks for the action; absent for resume and pay."
    )
    value: str | None = Field(
        None,
        max_length=64,
        description="Value of the annotation that has an effect now; absent if any new value has one. approve and "
        "reject also need contentgen.dev/approved-by.",
    )
    rights: tuple[Annotated[str, Field(max_length=16)], ...] = Field(
        (), max_length=4, description="Verbs of an RBAC rule on the resource that the action needs, all of them."
    )
    pays: bool = Field(False, description="Whether a payment follows.")


class ResourceStatus(Value):
    """State of the resource; only the operator writes it."""

    observed_generation: int = Field(
        -1, description="Generation of the resource that the status describes; -1 before the first."
    )
    job_id: str | None = Field(
        None, max_length=64, description="ID of the job in keys, records and the API: the resource's UID."
    )
    phase: Phase | None = Field(None, description="Phase of the run; within a run it only advances.")
    progress: int = Field(0, ge=0, le=100, description="Progress of the run in percent.")
    stage: Step | None = Field(None, description="Current step.")
    reason: str | None = Field(None, max_length=64, description="Reason of the phase; see docs/reference/reasons.md.")
    message: Message | None = Field(None, description="The reason in a sentence, for people; no program reads it.")
    actions: tuple[ActionStatus, ...] = Field(
        (),
        max_length=MAX_ACTIONS,
        description="Actions on the runs that the status permits. As of its write: void while metadata.generation is "
        "newer than observedGeneration, and during a deletion.",
    )
    estimated_completion_time: Instant | None = Field(None, description="Estimated end of the run.")
    start_time: Instant | None = Field(None, description="Start of the run.")
    completion_time: Instant | None = Field(None, description="End of the run.")
    cost: Cost | None = Field(None, description="Cost of the run.")
    conditions: tuple[ConditionStatus, ...] = Field((), max_length=32, description="Conditions by type.")
    run: RunStatus | None = Field(None, description="The current run, or the last one.")
    versions: tuple[VersionStatus, ...] = Field(
        (), max_length=MAX_VERSIONS, description="Outputs of finished runs, by version."
    )


def dump_status(status: ResourceStatus) -> dict[str, Any]:
    """The status as JSON for the API server, without unset fields.

    Nulls inside `run.spec` and the facts are kept.
    """
    return status.model_dump(mode="json", by_alias=True, exclude_none=True)
