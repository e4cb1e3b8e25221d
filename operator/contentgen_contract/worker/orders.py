"""What the desk and a worker say to each other. All of it is JSON over the desk's HTTPS, or the outcome in S3."""

from typing import Annotated, Any, Literal

from pydantic import Field

from contentgen_contract.base import Sha256, Value
from contentgen_contract.names import Kind, Reason, Stage, Step
from contentgen_contract.resources.status import MAX_LOG

MAX_SECONDS = 10_000_000  # of any recording, and of any step of a worker
_MAX_COUNT = 2**53 - 1  # what JSON's readers take for whole; the API server takes 64 bits
Finite = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=_MAX_COUNT)]
Word = Annotated[str, Field(max_length=64)]  # such as a step or a rejection reason


class Limits(Value):
    """What a worker refuses to go beyond."""

    download_bytes: int = Field(8 * 2**30, gt=0, description="Largest file fetched from a user's URL.")
    download_seconds: int = Field(3600, gt=0, description="Longest time for one download.")
    result_bytes: int = Field(4 * 2**30, gt=0, description="Largest file fetched from a provider's URL.")
    pixels: int = Field(8192 * 4320, gt=0, description="Largest frame of a video, width times height.")
    duration_seconds: int = Field(12 * 3600, gt=0, description="Longest recording.")
    frames: int = Field(12 * 3600 * 120, gt=0, description="Most frames of a video.")
    cpu_seconds: int = Field(6 * 3600, gt=0, description="Most CPU time of one process that decodes.")


class Download(Value):
    """A file to fetch. `trusted` URLs were signed by the operator; others pass the worker's address guard."""

    url: str
    trusted: bool = False
    sha256: Sha256 | None = None


class WorkOrder(Value):
    """GET /v1/order: everything that a worker needs to know; it holds no key of anything."""

    job_id: str
    kind: Kind
    stage: Stage
    version: int
    attempt: int
    user_id: str
    spec: dict[str, Any]
    source: Download | None = None  # prepare: the user's recording
    result: Download | None = None  # collect: the provider's answer, a JSON document that the operator stored
    dataset: Download | None = None  # collect of a LoraTraining: dataset.json of its prepare stage
    dataset_previews: tuple[Download, ...] = ()  # some of the training pictures, for the LoRA's contact sheet
    allowed_hosts: tuple[str, ...] = ()  # exact host:port pairs that the address guard lets through
    limits: Limits = Limits()
    outcome_url: str  # a presigned PUT, so that an operator that is away costs no work


class Progress(Value):
    """POST /v1/progress"""

    step: Step
    fraction: float = Field(ge=0, le=1, allow_inf_nan=False)
    message: str = Field("", max_length=256)
    remaining_seconds: int | None = Field(None, ge=0, le=7 * 86400)


class FileClaim(Value):
    """A file that a worker is about to store; length and checksum become part of the signature.

    `content_type` must be the one that `keys.content_type` gives for the name.
    """

    name: str = Field(max_length=128)
    size_bytes: int = Field(ge=1, le=5 * 2**30)  # what S3 takes in a single PUT
    sha256: Sha256
    content_type: str = Field(pattern=r"^[a-z]+/[a-z0-9.+-]+$", max_length=64)


class UploadRequest(Value):
    """POST /v1/uploads"""

    files: tuple[FileClaim, ...] = Field(min_length=1, max_length=256)


class UploadGrant(Value):
    """One PUT of a new object, with exactly these headers. Nothing is to be sent if the file is `stored` already.

    The store answers 412 if the key exists, and 403 when the URL has expired: ask for another grant then.
    """

    name: str
    url: str
    headers: dict[str, str]
    stored: bool = False  # with the claimed size, checksum and content type
    expires_seconds: int | None = Field(None, ge=0, description="Lifetime of the URL from when it was asked for.")


class UploadGrants(Value):
    """The answer to an UploadRequest, in its order."""

    grants: tuple[UploadGrant, ...]


class StoredFile(Value):
    """A file that a worker stored, or the operator found stored. `name` is relative to the stage's prefix."""

    name: str = Field(max_length=128)
    size_bytes: Count
    sha256: Sha256
    content_type: Word


class DatasetFacts(Value):
    """What prepare found out about a video."""

    type: Literal["dataset"] = "dataset"
    images: int = Field(ge=0, le=100_000)
    scenes: Count
    rejected: dict[Word, Count] = Field(default_factory=dict, max_length=32)  # rejection reason -> frames
    duration_seconds: Seconds
    width: Count
    height: Count
    source_bytes: Count


class AudioFacts(Value):
    """What prepare found out about a recording."""

    type: Literal["audio"] = "audio"
    duration_seconds: Seconds  # what is paid for, silence too
    source_bytes: Count
    audible_seconds: Seconds | None = None  # of those, how many stand out from the background
    level: Finite | None = None  # dB below full scale, where it is loud
    track: Count = 1
    tracks: Count = 1
    notes: tuple[Annotated[str, Field(max_length=200)], ...] = Field((), max_length=8)  # what a person should know


class LoraFacts(Value):
    """What collect stored of a training."""

    type: Literal["lora"] = "lora"
    size_bytes: Count


class ImageFact(Value):
    """One generated picture with its true size."""

    name: str = Field(max_length=128)
    thumbnail: str = Field(max_length=128)
    width: Count
    height: Count
    size_bytes: Count
    unsafe: bool = False  # by the provider's safety checker
    black: bool = False  # all of it, as the provider's safety checker leaves a picture


class ImageFacts(Value):
    """What collect stored of a generation."""

    type: Literal["images"] = "images"
    images: tuple[ImageFact, ...] = Field(max_length=16)
    seed: Annotated[int, Field(ge=-_MAX_COUNT, le=_MAX_COUNT)] | None = None


class TranscriptFacts(Value):
    """What collect stored of a transcription."""

    type: Literal["transcript"] = "transcript"
    word_count: Count
    duration_seconds: Seconds
    speakers: Count
    language: str = Field("", max_length=16)


Facts = Annotated[DatasetFacts | AudioFacts | LoraFacts | ImageFacts | TranscriptFacts, Field(discriminator="type")]


class Outcome(Value):
    """What a stage came to: put to `WorkOrder.outcome_url`, then POST /v1/outcome wakes the operator.

    `reason` is Completed, or why it can never succeed; a worker that may succeed when tried again leaves no
    outcome and exits with a code other than 0.
    """

    job_id: str = Field(max_length=64)
    stage: Stage
    attempt: int = Field(ge=1)
    reason: Reason
    message: str = Field("", max_length=1024)
    passing: bool | None = None  # of a failure: whether a later attempt may succeed; None: an older worker's
    files: tuple[StoredFile, ...] = Field((), max_length=4096)
    facts: Facts | None = None
    seconds: dict[Word, Seconds] = Field(default_factory=dict, max_length=64)  # wall time by step
    log: str = Field("", max_length=MAX_LOG)  # the last lines of the worker's log, for when the pod is gone

    @property
    def succeeded(self) -> bool:
        """Whether the stage did its work."""
        return self.reason is Reason.COMPLETED
