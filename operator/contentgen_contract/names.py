"""Names shared by several programs: API group, kinds, labels, annotations, phases, conditions, reasons."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

GROUP = "contentgen.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "contentgen"  # `kubectl get contentgen` lists all kinds

TOKEN_AUDIENCE = "contentgen"  # noqa: S105 - the audience of a worker's token, not a token
GATEWAY_AUDIENCE = "contentgen-gateway"  # of tokens for the gateway, which rejects workers' tokens
TOKEN_FOLDER = "/var/run/secrets/contentgen"  # noqa: S105 - mount path of the worker's token

FINALIZER = f"{GROUP}/finalizer"  # set only during a paid request, or with deletionPolicy Delete

RERUN_ANNOTATION = f"{GROUP}/rerun"  # each new value requests another paid run of the same inputs
RESUBMIT_ANNOTATION = f"{GROUP}/resubmit"  # a purchase's token: allows another payment after a lost reply
RERUN_ADVICE = f"give the annotation {RERUN_ANNOTATION} a new value"
ADOPT_ANNOTATION = f"{GROUP}/adopt"  # the provider's ID of the request whose reply was lost
COLLECT_ANNOTATION = f"{GROUP}/collect"  # <run> or <run>-<anything>: repeats the collect stage of that run, free
CANCEL_ANNOTATION = f"{GROUP}/cancel"  # the number of a run (status.run.number): cancels that run
APPROVE_ANNOTATION = f"{GROUP}/approve"  # <run> or <run>-<anything>: allows the payment of the run that waits
REJECT_ANNOTATION = f"{GROUP}/reject"  # likewise: ends the run that waits, unpaid
APPROVED_BY_ANNOTATION = f"{GROUP}/approved-by"  # the user who approves or rejects; required beside either
APPROVAL_LABEL = f"{GROUP}/approval"  # on namespaces, set by the platform: the minimum of spec.approval
CALLER_ANNOTATION = f"{GROUP}/caller"  # the user who created the resource through the gateway
CHANGED_BY_ANNOTATION = f"{GROUP}/changed-by"  # the user who changed it last through the gateway
REQUEST_ANNOTATION = f"{GROUP}/request"  # hashes of the Idempotency-Key and of the request body of the creation

GIVEN_UP_LABEL = f"{GROUP}/given-up"  # "true" on failed resources that a person can retry; an index, no evidence
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"  # of a resource, copied to its Jobs
QUEUE_PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
QUEUE_LABELS = (QUEUE_LABEL, QUEUE_PRIORITY_LABEL)

UID_LABEL = f"{GROUP}/uid"  # on Jobs and pods: the UID of their resource
KIND_LABEL = f"{GROUP}/kind"
STAGE_LABEL = f"{GROUP}/stage"
DEFAULT_ACCOUNT = "default"  # in labels and metrics; the ledger and the status have no name for this account
ACCOUNT_LABEL = f"{GROUP}/provider-account"  # on a Namespace: the provider account that the platform grants it


class Kind(StrEnum):
    """Kind of a resource."""

    LORA_TRAINING = "LoraTraining"
    IMAGE_GENERATION = "ImageGeneration"
    TRANSCRIPTION = "Transcription"

    @property
    def info(self) -> "KindInfo":
        """Row of the kind."""
        return KINDS[self]

    @property
    def plural(self) -> str:
        """Plural name in URLs and RBAC rules."""
        return f"{self.value.lower()}s"

    @property
    def record_type(self) -> str:
        """Name of the kind in MongoDB and in the HTTP API."""
        return self.info.record_type

    @property
    def short_name(self) -> str:
        """Short name for `kubectl get`."""
        return self.info.short_name

    @property
    def prepares(self) -> bool:
        """True if the kind has a prepare stage before the payment."""
        return Stage.PREPARE in self.info.stages


class Stage(StrEnum):
    """Work of one Job: the free part before the paid call, or the free part after it."""

    PREPARE = "prepare"
    COLLECT = "collect"


class Phase(StrEnum):
    """Phase of a run. Phases only advance, except from Suspended and AwaitingApproval, and from Failed by
    contentgen.dev/collect.
    """

    PENDING = "Pending"
    SUSPENDED = "Suspended"
    PREPARING = "Preparing"
    AWAITING_APPROVAL = "AwaitingApproval"
    SUBMITTING = "Submitting"
    PROCESSING = "Processing"
    COLLECTING = "Collecting"
    COMPLETED = "Completed"
    FAILED = "Failed"
    SUBMISSION_UNKNOWN = "SubmissionUnknown"

    @property
    def terminal(self) -> bool:
        """True if the run is over."""
        return self in FINAL_PHASES


FINAL_PHASES = (Phase.COMPLETED, Phase.FAILED)
"""Phases of a run that is over."""


class Verdict(StrEnum):
    """Answer of a user to a run that waits for an approval."""

    APPROVED = "Approved"
    REJECTED = "Rejected"


class Step(StrEnum):
    """Current step for users: the STAGE column."""

    WAITING = "Waiting"
    DOWNLOADING = "Downloading"
    DETECTING_SCENES = "DetectingScenes"
    EXTRACTING_FRAMES = "ExtractingFrames"
    BUILDING_DATASET = "BuildingDataset"
    UPLOADING_DATASET = "UploadingDataset"
    EXTRACTING_AUDIO = "ExtractingAudio"
    UPLOADING_AUDIO = "UploadingAudio"
    TRAINING = "Training"
    GENERATING = "Generating"
    TRANSCRIBING = "Transcribing"
    STORING = "Storing"
    DONE = "Done"


class StageFiles(NamedTuple):
    """Files of one stage: first folder of their keys, pattern of their names, and whether version 1 has a folder."""

    folder: str
    names: str
    numbered: bool = False


@dataclass(frozen=True)
class KindInfo:
    """Row of a kind. `progress`: shares of the whole progress (0-100) of its steps, in their order."""

    record_type: str
    short_name: str
    provider_step: Step
    progress: Mapping[Step, tuple[int, int]]
    stages: Mapping[Stage, StageFiles]


# The legacy API defines progress 0, 10, 20, 35, 50, 60, 85, 95 and 100; between two of them it is interpolated.
KINDS: dict[Kind, KindInfo] = {
    Kind.LORA_TRAINING: KindInfo(
        "lora-training",
        "lora",
        Step.TRAINING,
        progress={
            Step.DOWNLOADING: (0, 10),
            Step.DETECTING_SCENES: (10, 20),
            Step.EXTRACTING_FRAMES: (20, 35),
            Step.BUILDING_DATASET: (35, 50),
            Step.UPLOADING_DATASET: (50, 60),
            Step.TRAINING: (60, 85),
            Step.STORING: (85, 95),
        },
        stages={
            Stage.PREPARE: StageFiles(
                "datasets", r"(images/\d{4}\.jpg|captions/\d{4}\.txt|dataset\.(json|zip)|(preview|rejected)\.jpg)"
            ),
            Stage.COLLECT: StageFiles("loras", r"(model\.safetensors|config\.json|preview\.png)", numbered=True),
        },
    ),
    Kind.IMAGE_GENERATION: KindInfo(
        "image-generation",
        "imagegen",
        Step.GENERATING,
        progress={Step.GENERATING: (10, 85), Step.STORING: (85, 95)},
        stages={Stage.COLLECT: StageFiles("generated-images", r"image_\d{1,2}(_thumb)?\.(png|jpg)")},
    ),
    Kind.TRANSCRIPTION: KindInfo(
        "transcription",
        "transcript",
        Step.TRANSCRIBING,
        progress={
            Step.DOWNLOADING: (0, 20),
            Step.EXTRACTING_AUDIO: (20, 35),
            Step.UPLOADING_AUDIO: (35, 50),
            Step.TRANSCRIBING: (50, 85),
            Step.STORING: (85, 95),
        },
        stages={
            Stage.PREPARE: StageFiles("transcripts", r"audio\.flac"),
            Stage.COLLECT: StageFiles("transcripts", r"transcript\.(json|txt|srt|vtt)"),
        },
    ),
}
"""All kinds, by name."""


def progress_at(kind: Kind, step: Step, fraction: float) -> int:
    """Overall progress (0-100) at `fraction` (0-1) of a step."""
    start, end = kind.info.progress.get(step, (0, 0))
    return start + int((end - start) * min(max(fraction, 0.0), 1.0))


class Condition(StrEnum):
    """Condition types. The first three are kstatus's, the next three those of a Job, for `kubectl wait`."""

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    COMPLETE = "Complete"
    FAILED = "Failed"
    SUSPENDED = "Suspended"
    SOURCE_READY = "SourceReady"
    DATASET_READY = "DatasetReady"
    SUBMITTED = "Submitted"
    STORED = "Stored"


class Reason(StrEnum):
    """Reason of a phase: the REASON column, condition reasons, and verdicts of workers."""

    # on the way
    PREPARING = "Preparing"
    SUBMITTING = "Submitting"
    PROCESSING = "Processing"
    COLLECTING = "Collecting"
    SUSPENDED = "Suspended"
    WAITING_FOR_LORA = "WaitingForLora"
    LORA_MISSING = "LoraMissing"
    WAITING_FOR_LORA_NAME = "WaitingForLoraName"
    CLUSTER_NOT_CONFIRMED = "ClusterNotConfirmed"
    STORE_UNAVAILABLE = "StoreUnavailable"
    PROVIDER_UNAVAILABLE = "ProviderUnavailable"
    PROVIDER_NOT_CONFIGURED = "ProviderNotConfigured"
    BUDGET_EXCEEDED = "BudgetExceeded"
    LOOKING_FOR_REQUEST = "LookingForRequest"
    JOB_REFUSED = "JobRefused"
    POD_NOT_STARTED = "PodNotStarted"
    RETRYING = "Retrying"
    AWAITING_APPROVAL = "AwaitingApproval"
    QUEUED = "Queued"
    CIRCUIT_OPEN = "CircuitOpen"
    COLLECT_BACKLOG = "CollectBacklog"
    BUYING_PAUSED = "BuyingPaused"
    # the end
    COMPLETED = "Completed"
    ADOPTED_FINISHED_RUN = "AdoptedFinishedRun"
    ADOPTED_SAME_REQUEST = "AdoptedSameRequest"
    ESTIMATED = "Estimated"
    REJECTED = "Rejected"
    INVALID_SPEC = "InvalidSpec"
    SUBMISSION_UNKNOWN = "SubmissionUnknown"
    STORES_DISAGREE = "StoresDisagree"
    MODEL_NOT_ALLOWED = "ModelNotAllowed"
    PROVIDER_REFUSED = "ProviderRefused"
    PROVIDER_FAILED = "ProviderFailed"
    JOB_FAILED = "JobFailed"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    LORA_FAILED = "LoraFailed"
    OUTPUT_MISSING = "OutputMissing"
    OUTPUT_CHANGED = "OutputChanged"
    OUTCOME_INVALID = "OutcomeInvalid"
    OUTPUTS_DELETED = "OutputsDeleted"
    CANCELLED = "Cancelled"
    # a worker's verdict on its input
    SOURCE_NOT_ALLOWED = "SourceNotAllowed"
    SOURCE_UNREACHABLE = "SourceUnreachable"
    SOURCE_TOO_LARGE = "SourceTooLarge"
    SOURCE_CHECKSUM_MISMATCH = "SourceChecksumMismatch"
    SOURCE_EMPTY = "SourceEmpty"
    UNSUPPORTED_MEDIA = "UnsupportedMedia"
    NO_VIDEO = "NoVideo"
    NO_AUDIO = "NoAudio"
    INSUFFICIENT_FRAMES = "InsufficientFrames"
    RESULT_UNREACHABLE = "ResultUnreachable"
    RESULT_INVALID = "ResultInvalid"


LORA_WAITS = (Reason.WAITING_FOR_LORA, Reason.LORA_MISSING, Reason.LORA_FAILED)
"""Reasons of an ImageGeneration that waits for a LoraTraining."""

# Reasons with which a worker may end a run: about the source, the provider's result, or a spec that its image does not
# support. The operator rejects an outcome with any other reason.
VERDICTS = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.SOURCE_NOT_ALLOWED,
        Reason.SOURCE_UNREACHABLE,
        Reason.SOURCE_TOO_LARGE,
        Reason.SOURCE_CHECKSUM_MISMATCH,
        Reason.SOURCE_EMPTY,
        Reason.UNSUPPORTED_MEDIA,
        Reason.NO_VIDEO,
        Reason.NO_AUDIO,
        Reason.INSUFFICIENT_FRAMES,
        Reason.RESULT_UNREACHABLE,
        Reason.RESULT_INVALID,
    }
)
