"""Messages between worker API and worker: JSON over HTTPS, and the outcome in S3. Pure."""

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator

from contentgen_contract.base import Sha256, Value
from contentgen_contract.characters import escape_controls
from contentgen_contract.names import Kind, Reason, Stage, Step
from contentgen_contract.resources.status import MAX_LOG, MAX_MESSAGE, clean_message

MAX_SECONDS = 10_000_000  # of a recording, and of a step of a worker
MAX_PICTURES = 32  # of one answer; each has a thumbnail, and a status lists 64 files
MAX_NOTES = 8
MAX_CAUSE = 400  # characters; with the address of a file
_PIXEL_BYTES = 8  # of a PNG: noise with 16 bits and transparency
_METADATA_BYTES = 16 << 20  # of a picture, such as its provenance
_MAX_COUNT = 2**53 - 1  # largest integer that all JSON readers represent exactly
Finite = Annotated[float, Field(allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, le=_MAX_COUNT)]
Word = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._+/;=-]*$")]  # such as a step
REJECTIONS = (
    "TooDark", "TooBright", "LowContrast", "Blurred", "BlackBorders", "TextCard", "InTransition", "NoFace",
    "SeveralFaces", "BetterInShot", "Duplicate", "OverMaximum", "Damaged",
)  # fmt: skip
"""Reasons why a worker rejects a frame: the person who approves a price reads them."""
_Rejection = Annotated[str, Field(pattern=f"^({'|'.join(REJECTIONS)})$")]
_Sentence = Annotated[str, AfterValidator(clean_message)]
Note = Annotated[
    str, Field(max_length=200), AfterValidator(lambda text: escape_controls(text)[:200])
]  # a remark for the user
Notes = Annotated[tuple[Note, ...], Field(max_length=MAX_NOTES)]
# An integer of 64 bits, signed or not; beyond 2**53 as decimal text, which JSON readers do not round.
Seed = (
    Annotated[int, Field(strict=True, ge=-_MAX_COUNT, le=_MAX_COUNT)]
    | Annotated[str, Field(pattern=r"^-?[0-9]{16,20}$")]
)


def exact_seed(value: int) -> int | str:
    """A seed as `Seed` holds it. Raises ValueError beyond 64 bits."""
    if not -(2**63) <= value < 2**64:
        raise ValueError("a seed has at most 64 bits")
    return value if -_MAX_COUNT <= value <= _MAX_COUNT else str(value)


class Limits(Value):
    """Limits that a worker enforces."""

    download_bytes: int = Field(8 * 2**30, gt=0, description="Maximum size in bytes of a file from a user's URL.")
    download_seconds: int = Field(3600, gt=0, description="Maximum duration of one download in seconds.")
    result_bytes: int = Field(4 * 2**30, gt=0, description="Maximum size in bytes of a file from a provider's URL.")
    pixels: int = Field(8192 * 4320, gt=0, description="Maximum size of a video frame, width times height.")
    picture_pixels: int = Field(
        8192 * 8192, gt=0, description="Maximum size of a provider's picture, width times height."
    )
    duration_seconds: int = Field(12 * 3600, gt=0, description="Maximum duration of a recording in seconds.")
    frames: int = Field(12 * 3600 * 120, gt=0, description="Maximum number of frames of a video.")
    cpu_seconds: int = Field(6 * 3600, gt=0, description="Maximum CPU time in seconds of one decoding process.")

    @property
    def picture_bytes(self) -> int:
        """Maximum size in bytes of a provider's picture, and of the stored one."""
        return min(_PIXEL_BYTES * self.picture_pixels + _METADATA_BYTES, self.result_bytes)


class Download(Value):
    """A file to download. `trusted`: signed by the operator; other URLs pass the worker's address guard."""

    url: str
    trusted: bool = False
    sha256: Sha256 | None = None


class EgressProxy(Value):
    """HTTP proxy of workers, without user and password. A worker asks it for checked addresses, for https only."""

    url: str = Field(pattern=r"^http://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?/?$", max_length=512)
    exceptions: tuple[str, ...] = ()  # addresses, and names with their subdomains, that are reached directly
    stores: bool = False  # S3 is reached through it, by name
    resolves_names: bool = False  # it is asked for names, and refuses private addresses itself

    @field_validator("url")
    @classmethod
    def _usable(cls, url: str) -> str:
        if urlsplit(url).port == 0:  # raises ValueError above 65535
            raise ValueError("expected a port from 1 to 65535")
        return url


class WorkOrder(Value):
    """GET /v1/order: all inputs of a worker. Contains no credentials other than signed URLs."""

    job_id: str
    kind: Kind
    stage: Stage
    version: int
    attempt: int
    user_id: str
    spec: dict[str, Any]
    source: Download | None = None  # prepare: the user's recording
    result: Download | None = None  # collect: the provider's response, a JSON document in S3
    earlier: Download | None = None  # collect: the outcome of an attempt that stored a part of the outputs
    dataset: Download | None = None  # collect of a LoraTraining: dataset.json of its prepare stage
    dataset_previews: tuple[Download, ...] = ()  # some training pictures, for the contact sheet
    allowed_hosts: tuple[str, ...] = ()  # exact host:port pairs that the address guard allows
    limits: Limits = Limits()
    ca_certificates: str = ""  # PEM of CAs that are accepted besides the public ones, for S3 and sources
    proxy: EgressProxy | None = None
    outcome_url: str  # a presigned PUT, which works without the operator


class Progress(Value):
    """POST /v1/progress: the current step, its fraction (0-1), and the estimated remaining seconds.

    `message`: cause for which the worker repeats something, such as a store that does not answer. People read it.
    """

    step: Step
    fraction: float = Field(ge=0, le=1, allow_inf_nan=False)
    message: _Sentence = Field("", max_length=MAX_CAUSE)
    remaining_seconds: int | None = Field(None, ge=0, le=7 * 86400)


class FileOffer(Value):
    """A file to upload; the signature covers its length and checksum.

    `content_type` must equal `keys.content_type(name)`.
    """

    name: str = Field(max_length=128)
    size_bytes: int = Field(ge=1, le=5 * 2**30)  # the maximum of a single S3 PUT
    sha256: Sha256
    content_type: str = Field(pattern=r"^[a-z]+/[a-z0-9.+-]+$", max_length=64)


class UploadRequest(Value):
    """POST /v1/uploads: a request for upload grants."""

    files: tuple[FileOffer, ...] = Field(min_length=1, max_length=256)


class UploadGrant(Value):
    """One PUT of a new object, with exactly these headers; not needed if the file is `stored` already.

    The store returns 412 for an existing key, and 403 for an expired URL, which needs a new grant.
    """

    name: str
    url: str
    headers: dict[str, str]
    stored: bool = False  # with the offered size, checksum and content type
    expires_seconds: int = Field(ge=0, description="Lifetime of the URL in seconds, from the request.")


class UploadGrants(Value):
    """Response to an UploadRequest, in the same order."""

    grants: tuple[UploadGrant, ...]


class StoredFile(Value):
    """A stored file. `name` is relative to the prefix of the stage."""

    name: str = Field(max_length=128)
    size_bytes: Count
    sha256: Sha256
    content_type: Word


class DatasetFacts(Value):
    """Facts about a video, from prepare."""

    type: Literal["dataset"] = "dataset"
    images: int = Field(ge=0, le=100_000)
    scenes: Count
    rejected: dict[_Rejection, Count] = Field(default_factory=dict, max_length=32)  # rejection reason -> frames
    duration_seconds: Seconds
    width: Count
    height: Count
    source_bytes: Count
    source_sha256: Sha256 | None = None
    notes: Notes = ()


class AudioFacts(Value):
    """Facts about a recording, from prepare."""

    type: Literal["audio"] = "audio"
    duration_seconds: Seconds  # billed, including silence
    source_bytes: Count
    source_sha256: Sha256 | None = None
    audible_seconds: Seconds | None = None  # louder than the background
    level: Finite | None = None  # dB below full scale of the loud parts
    track: Count = 1
    tracks: Count = 1
    notes: Notes = ()


class LoraFacts(Value):
    """Facts about a stored LoRA, from collect."""

    type: Literal["lora"] = "lora"
    size_bytes: Count
    notes: Notes = ()


class ImageFact(Value):
    """One generated picture with its actual size. The number in its name is its position in the answer."""

    name: str = Field(max_length=128)
    thumbnail: str | None = Field(None, max_length=128)
    width: Count
    height: Count
    size_bytes: Count
    unsafe: bool | None = False  # by the provider's safety checker; None: its verdict can't be read
    black: bool = False  # entirely black, as the provider's safety checker returns pictures


class MissingImage(Value):
    """A picture of the answer that is not stored. `number`: its position in the answer, from 1."""

    number: int = Field(ge=1, le=MAX_PICTURES)
    cause: str = Field(max_length=MAX_CAUSE)


class ImageFacts(Value):
    """Facts about generated pictures, from collect."""

    type: Literal["images"] = "images"
    images: tuple[ImageFact, ...] = Field(max_length=MAX_PICTURES)
    missing: tuple[MissingImage, ...] = Field((), max_length=MAX_PICTURES)
    seed: Seed | None = None
    notes: Notes = ()


class TranscriptFacts(Value):
    """Facts about a transcript, from collect."""

    type: Literal["transcript"] = "transcript"
    word_count: Count
    duration_seconds: Seconds | None = None
    speakers: Count
    language: str | None = Field(None, max_length=35)  # a language tag at most, by RFC 5646
    subtitles: Annotated[dict[str, Count], Field(max_length=16)] | None = None  # limits that are not the defaults
    notes: Notes = ()


Facts = Annotated[DatasetFacts | AudioFacts | LoraFacts | ImageFacts | TranscriptFacts, Field(discriminator="type")]


class Outcome(Value):
    """Outcome of a stage: uploaded to `WorkOrder.outcome_url`; POST /v1/outcome notifies the operator.

    `reason`: Completed, or the cause of a failure of the file or its server. After another transient failure a worker
    writes no outcome and exits with a nonzero code. A failure with files and facts is partial: they are stored, and a
    later attempt may store the rest.
    """

    job_id: str = Field(max_length=64)
    stage: Stage
    attempt: int = Field(ge=1)
    reason: Reason
    message: _Sentence = Field("", max_length=MAX_MESSAGE)
    passing: bool | None = None  # whether a later attempt may succeed after this failure; None: from an older worker
    files: tuple[StoredFile, ...] = Field((), max_length=4096)
    facts: Facts | None = None
    seconds: dict[Word, Seconds] = Field(default_factory=dict, max_length=64)  # wall time by step
    log: str = Field("", max_length=MAX_LOG)  # last lines of the worker's log, kept after the pod is deleted

    @property
    def succeeded(self) -> bool:
        """True if the stage succeeded."""
        return self.reason is Reason.COMPLETED
