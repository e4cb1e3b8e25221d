"""Models of the specs. The CRDs and docs/reference are generated from them (`tools/crds.py`), descriptions included.

Decimals are strings, as the Kubernetes API conventions require: some clients change floats.
"""

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from contentgen_contract import patterns
from contentgen_contract.base import Manifest, Sha256
from contentgen_contract.catalogue.entries import InputField, entries_of
from contentgen_contract.characters import escape_controls
from contentgen_contract.names import Kind
from contentgen_contract.resources import languages
from contentgen_contract.resources.addresses import split_url

OperatorClass = Annotated[str, StringConstraints(pattern=patterns.OPERATOR_CLASS, max_length=63)]
UserId = Annotated[str, StringConstraints(pattern=patterns.USER_ID, max_length=63)]
Decimal = Annotated[str, StringConstraints(pattern=patterns.DECIMAL, max_length=15)]
Seconds = Decimal  # since the start of the recording
COLLECT_DEADLINE_SECONDS = 86400
Share = Annotated[str, StringConstraints(pattern=patterns.SHARE, max_length=10)]

Tag = Annotated[str, StringConstraints(pattern=patterns.TAG, max_length=63)]


def _short_names(kind: Kind, taken: InputField | None = None) -> str:
    """Short names of the catalogue's models of this kind; `taken`: of those with this input."""
    return ", ".join(entry.short_name for entry in entries_of(kind) if taken is None or entry.takes(taken))


def _without_unseen(url: str) -> str:
    """Raises ValueError for characters that the pattern can't name in all dialects, such as marks of the direction."""
    if escape_controls(url) != url:
        raise ValueError("expected a URL without control characters and bidirectional marks")
    return url


def _with_readable_host(url: str) -> str:
    if split_url(url) is None:
        raise ValueError("expected a URL whose host can be read, such as https://example.com/talk.mp4")
    return url


def _with_lower_scheme(url: str) -> str:
    """The URL with its scheme in lower case, so that `HTTPS://` and `https://` have one run hash and one payment.

    Host and path are unchanged: their case is part of existing run hashes.
    """
    scheme, separator, rest = url.partition("://")
    return f"{scheme.lower()}{separator}{rest}"


def _canonical_language(code: str) -> str:
    """The code as AssemblyAI writes it. Raises ValueError, with the nearest known code, for an unknown one."""
    if not languages.is_admitted(code):
        raise ValueError(languages.unknown_code_error(code))
    return languages.canonical(code)


SourceUrl = Annotated[
    str,
    StringConstraints(pattern=patterns.SOURCE_URL, max_length=2048),
    AfterValidator(_without_unseen),
    AfterValidator(_with_readable_host),
    AfterValidator(_with_lower_scheme),
]
WebUrl = Annotated[
    str, StringConstraints(pattern=patterns.WEB_URL, max_length=2048), AfterValidator(_with_lower_scheme)
]
ObjectName = Annotated[str, StringConstraints(pattern=patterns.OBJECT_NAME, max_length=253)]
# An alias, or a full fal model id such as fal-ai/flux/dev.
ModelName = Annotated[str, StringConstraints(pattern=patterns.MODEL_NAME, max_length=128)]


class Source(Manifest):
    """The input recording."""

    url: SourceUrl = Field(
        description="URL of the file: https, http or s3, without credentials. The same file under another URL or "
        "signature is prepared again, and not paid again."
    )
    sha256: Sha256 | None = Field(
        None,
        description="SHA-256 of the file in hexadecimal; a file with another checksum is refused. Adding it pays "
        "nothing.",
    )


class Metadata(Manifest):
    """Search fields and visibility; a change starts no run."""

    tags: list[Tag] = Field(default_factory=list, max_length=32, description="Tags for searching.")
    description: str = Field("", max_length=1024, description="Description of the asset.")
    is_public: bool = Field(False, description="true: other users may see the asset in the gateway.")


class Detector(StrEnum):
    """Shot detectors: our own (`auto`), and those of PySceneDetect under its names."""

    AUTO = "auto"
    CONTENT = "content"
    ADAPTIVE = "adaptive"
    HASH = "hash"
    HISTOGRAM = "histogram"
    THRESHOLD = "threshold"


class SceneDetection(Manifest):
    """Shot detection in the video."""

    detector: Detector = Field(
        Detector.AUTO,
        description="Detector of shots. auto detects cuts, dissolves and fades, and needs no settings; the others are "
        "PySceneDetect's.",
    )
    min_scene_length: Seconds | None = Field(
        None,
        description="Minimum length of a shot in seconds, a decimal in quotes; a shorter shot is merged into its "
        "neighbour. If omitted: the detector's own minimum.",
    )
    threshold: Decimal | None = Field(
        None,
        description="Amount of change that makes a cut, on the detector's own scale, a decimal in quotes. If omitted: "
        "content 27, adaptive 3, hash 0.35, histogram 0.2, threshold 12. auto takes none.",
    )

    @model_validator(mode="after")
    def _threshold_fits_detector(self) -> "SceneDetection":
        if self.threshold is not None and self.detector is Detector.AUTO:
            raise ValueError("threshold must only be set with a detector that is not auto")
        return self


class TimeRange(Manifest):
    """A part of the video."""

    start: Seconds = Field("0", description="Start in seconds since the start of the video, a decimal in quotes.")
    end: Seconds | None = Field(
        None, description="End, in the same unit, after start; the end of the video if omitted."
    )

    @model_validator(mode="after")
    def _in_order(self) -> "TimeRange":
        if self.end is not None and float(self.end) <= float(self.start):
            raise ValueError("end must be after start")
        return self


class Speed(StrEnum):
    """Amount of the video that is decoded."""

    EXACT = "Exact"
    FAST = "Fast"


class Crop(StrEnum):
    """Part of a frame that becomes the picture."""

    NONE = "None"
    SQUARE = "Square"
    FACE = "Face"


class FacesMode(StrEnum):
    """Influence of faces on the choice of frames."""

    IGNORE = "Ignore"
    PREFER = "Prefer"
    REQUIRE = "Require"


class Faces(Manifest):
    """Choice of frames by the faces in them."""

    mode: FacesMode = Field(
        FacesMode.IGNORE,
        description="Ignore: faces have no influence. Prefer: frames with a face are preferred. Require: only frames "
        "with a face are used.",
    )
    min_size: Share = Field(
        "0.15",
        description="Minimum height of a face that counts, as a share of the picture's height, a decimal in quotes.",
    )
    single: bool = Field(
        False, description="true: frames with exactly one face that counts, so that the LoRA learns no other person."
    )

    @model_validator(mode="after")
    def _single_needs_a_mode(self) -> "Faces":
        if self.single and self.mode is FacesMode.IGNORE:
            raise ValueError("single needs mode Prefer or Require")
        return self


class Duplicates(Manifest):
    """Removal of near-duplicate pictures."""

    threshold: int = Field(
        8,
        ge=0,
        le=32,
        description="Largest difference of near-duplicates, of which the best one is kept. The difference is from 0 to "
        "64; camera motion, light and blur are evened out first. A higher value removes more pictures: 0 only almost "
        "identical ones, 20 and more all of the same scene and framing.",
    )


class CaptionFact(StrEnum):
    """Facts about a picture that a caption can include."""

    FRAMING = "Framing"
    BRIGHTNESS = "Brightness"
    MOTION = "Motion"
    POSITION = "Position"


class CaptionEngine(StrEnum):
    """Source of the captions."""

    TEMPLATE = "Template"
    VISION = "Vision"


class Captions(Manifest):
    """Captions of the training pictures."""

    template: str = Field(
        "a photo of [trigger]",
        min_length=1,
        max_length=512,
        description="Caption of each picture. Must contain [trigger], which stands for the trigger word.",
    )
    facts: list[CaptionFact] = Field(
        default_factory=list,
        max_length=4,
        description="Facts added to each caption: Framing (close-up to wide shot, by the size of the face), "
        "Brightness, Motion, Position (in the video).",
    )
    engine: CaptionEngine = Field(
        CaptionEngine.TEMPLATE,
        description="Template: the template and the facts. Vision: the same with the description by a vision model, "
        "which the worker image must include.",
    )


class Dataset(Manifest):
    """Making of the training set from the video."""

    speed: Speed = Field(
        Speed.EXACT,
        description="Exact decodes every frame. Fast decodes keyframes, and the frames between two of them only "
        "where the picture changes.",
    )
    time_ranges: list[TimeRange] = Field(
        default_factory=list, max_length=32, description="Parts of the video to use; the whole video if omitted."
    )
    scene_detection: SceneDetection = Field(default_factory=SceneDetection, description="Shot detection.")
    frames_per_scene: int = Field(1, ge=1, le=10, description="Number of pictures taken from each shot.")
    min_images: int = Field(
        10, ge=4, le=1000, description="Minimum number of pictures; with fewer the run fails before the payment."
    )
    max_images: int = Field(
        150, ge=4, le=1000, description="Maximum number of pictures; more are thinned out evenly over the whole video."
    )
    resolution: int = Field(
        1024, ge=256, le=2048, description="Longest side of a picture in pixels; smaller frames are not enlarged."
    )
    multiple_of: int = Field(1, ge=1, le=128, description="Both sides of a picture are cropped to multiples of this.")
    crop: Crop = Field(
        Crop.NONE,
        description="None: the whole frame. Square: the square in its middle. Face: the square around the largest "
        "face; without a face, in the middle. Black borders of the video are always cropped.",
    )
    faces: Faces = Field(default_factory=Faces, description="Choice of frames by the faces in them.")
    duplicates: Duplicates = Field(default_factory=Duplicates, description="Removal of near-duplicate pictures.")
    captions: Captions = Field(default_factory=Captions, description="The text beside each picture.")


class Style(StrEnum):
    """Object of the training."""

    SUBJECT = "Subject"
    STYLE = "Style"


class Training(Manifest):
    """Parameters of the paid training."""

    model: ModelName = Field(
        "flux-lora-fast-training", description=f"Trainer: {_short_names(Kind.LORA_TRAINING)}, or the full fal model id."
    )
    steps: int = Field(1000, ge=1, le=10000, description="Number of training steps.")
    learning_rate: Decimal | None = Field(
        None,
        description="Learning rate, a decimal in quotes. Only for trainers that take one "
        f"({_short_names(Kind.LORA_TRAINING, InputField.LEARNING_RATE)}); a run with another trainer is refused.",
    )
    style: Style = Field(Style.SUBJECT, description="Subject: a person or an object. Style: a visual style.")

    @property
    def rate(self) -> float | None:
        """Learning rate as a number, as in the legacy API; None for the trainer's own."""
        return None if self.learning_rate is None else float(self.learning_rate)


class DeletionPolicy(StrEnum):
    """Treatment of the files when the resource is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class Approval(StrEnum):
    """Approval of a run before its payment."""

    AUTOMATIC = "Automatic"
    MANUAL = "Manual"


class DryRun(StrEnum):
    """Extent of a dry run."""

    ESTIMATE = "Estimate"


class NotificationEvent(StrEnum):
    """Event of which a job notifies a webhook."""

    COMPLETED = "Completed"
    FAILED = "Failed"
    AWAITING_APPROVAL = "AwaitingApproval"
    BUDGET_EXCEEDED = "BudgetExceeded"


DEFAULT_NOTIFICATIONS = (NotificationEvent.COMPLETED, NotificationEvent.FAILED)


class HeaderSecret(Manifest):
    """A Secret in the operator's namespace, which an administrator has granted."""

    name: ObjectName = Field(description="Name of the Secret.")


class HeadersFrom(Manifest):
    """Additional HTTP headers of a notification, such as Authorization."""

    secret_ref: HeaderSecret = Field(
        description="Secret in the operator's namespace whose entries are the headers. The installation's settings "
        "(notifications.headers) name the namespaces that may use it, and the hosts that receive it."
    )


class NotifyTarget(Manifest):
    """A webhook that receives notifications of the job."""

    url: WebUrl = Field(description="https or http URL, without credentials; a public address.")
    on: list[NotificationEvent] | None = Field(
        None,
        max_length=4,
        description="Events to notify of; Completed and Failed if omitted. A cancelled run counts as Failed. Without "
        "quotes, YAML 1.1 reads the key `on` as true, and kubectl sends it as `true`, which means the same here.",
    )
    unquoted_on: list[NotificationEvent] | None = Field(
        None, alias="true", max_length=4, description="`on`, as kubectl sends it if the key is not quoted."
    )
    headers_from: HeadersFrom | None = Field(None, description="Additional HTTP headers, from a granted Secret.")

    @property
    def events(self) -> frozenset[NotificationEvent]:
        """Events to notify of."""
        given = None if self.on is None and self.unquoted_on is None else [*(self.on or ()), *(self.unquoted_on or ())]
        return frozenset(DEFAULT_NOTIFICATIONS if given is None else given)


class JobSpec(Manifest):
    """Fields of every kind."""

    user_id: UserId | None = Field(None, description="Owner of the asset; the namespace if omitted.")
    paid_attempts: int = Field(
        1,
        ge=1,
        le=3,
        description="Maximum number of payments for one run: another attempt is sent only after the provider has "
        "reported that the previous one failed.",
    )
    suspend: bool = Field(
        False,
        description="true: nothing is started and nothing is paid until it is false again. A running Job finishes, "
        "and a paid request is completed.",
    )
    deadline_seconds: int | None = Field(
        None,
        ge=60,
        le=2592000,
        description="Maximum duration of a run in seconds, including waits. After it the run fails with "
        "DeadlineExceeded and the request at the provider is cancelled. If omitted, only the operator's own limits "
        "apply.",
    )
    # No default in the CRD: the API server would write it into each spec.
    collect_deadline_seconds: int | None = Field(
        None,
        ge=60,
        le=2592000,
        description="Seconds after the provider has finished during which a failing collect stage is retried, without "
        f"payment. After them the run fails and the paid result is kept. {COLLECT_DEADLINE_SECONDS} if omitted.",
    )
    deletion_policy: DeletionPolicy = Field(
        DeletionPolicy.RETAIN,
        description="Retain: files and records are kept when the resource is deleted; the same resource applied "
        "again uses them without a payment. Delete: all its files with their versions, and its record, are deleted.",
    )
    # No default in the CRD, as for collectDeadlineSeconds.
    ttl_seconds_after_finished: int | None = Field(
        None,
        ge=0,
        le=2147483647,
        description="Seconds after the end of a run, by status.completionTime, until the resource and its Jobs are "
        "deleted. Files, records and the ledger are kept, also with deletionPolicy Delete. It waits while a request or "
        "a paid result is open. If omitted, the resource is not deleted.",
    )
    # No defaults in the CRD, as for collectDeadlineSeconds.
    priority: int | None = Field(
        None,
        ge=-1000,
        le=1000,
        description="Priority in the queue before the payment, within the namespace: a higher one comes first, and of "
        "equal ones the oldest run. It can be changed while the run waits. 0 if omitted.",
    )
    queue_deadline_seconds: int | None = Field(
        None,
        ge=60,
        le=2592000,
        description="Maximum time in seconds that a run waits in the queue before the payment. After it the run fails "
        "with DeadlineExceeded and nothing is paid. If omitted, it waits until deadlineSeconds.",
    )
    # No default in the CRD, as for collectDeadlineSeconds.
    operator_class: OperatorClass | None = Field(
        None,
        description="Operator class of the resource: each installation serves one. It can be changed before the "
        "first run and after a run has ended; nothing is paid again. The class `default` if omitted.",
    )
    # No default in the CRD, as for collectDeadlineSeconds.
    approval: Approval | None = Field(
        None,
        description="Manual: after its free stages a run waits in the phase AwaitingApproval until a user with the "
        "verb `approve` approves it, and is rejected without a payment otherwise. Automatic: it is paid at once, "
        "unless the label contentgen.dev/approval of its namespace or the installation requires Manual. Automatic "
        "if omitted.",
    )
    dry_run: DryRun | None = Field(
        None,
        description="Estimate: a run executes its free stages, reports its price in status.cost.estimated and ends "
        "with the reason Estimated; nothing is paid. A run that is paid begins once the field is removed.",
    )
    notify: list[NotifyTarget] | None = Field(
        None,
        max_length=8,
        description="Webhooks that are notified of the job's events, signed as Standard Webhooks. A change starts no "
        "run and applies to later events.",
    )


class LoraTrainingSpec(JobSpec):
    """A LoRA trained on pictures of a video."""

    lora_name: Annotated[str, StringConstraints(pattern=patterns.LORA_NAME, max_length=63)] = Field(
        description="Name of the LoRA, unique per owner and namespace."
    )
    trigger_word: Annotated[str, StringConstraints(pattern=patterns.TRIGGER_WORD, max_length=32)] = Field(
        description="Word that activates the LoRA in a prompt."
    )
    source: Source = Field(description="The video.")
    dataset: Dataset = Field(default_factory=Dataset, description="Making of the training set from the video.")
    training: Training = Field(default_factory=Training, description="Parameters of the paid training.")
    metadata: Metadata = Field(default_factory=Metadata, description="Search fields and visibility.")

    @model_validator(mode="after")
    def _consistent(self) -> "LoraTrainingSpec":
        if self.dataset.max_images < self.dataset.min_images:
            raise ValueError("dataset.maxImages must be at least dataset.minImages")
        if "[trigger]" not in self.dataset.captions.template:
            # fal ignores the trigger word if captions are supplied.
            raise ValueError("dataset.captions.template must contain [trigger]")
        return self


class LoraRef(Manifest):
    """A LoraTraining of the same namespace."""

    name: ObjectName = Field(description="Name of the LoraTraining.")


class Lora(Manifest):
    """One LoRA and its weight."""

    lora_ref: LoraRef | None = Field(
        None, description="LoraTraining of this namespace; the generation waits until it is finished."
    )
    path: WebUrl | None = Field(
        None,
        description="https or http URL of a .safetensors file, which only the provider reads. The URL without its "
        "signature counts as input: for a file that changed under the same URL, set contentgen.dev/rerun.",
    )
    scale: Decimal = Field("1.0", description="Weight of the LoRA, a decimal in quotes.")

    @model_validator(mode="after")
    def _one_of(self) -> "Lora":
        if (self.lora_ref is None) == (self.path is None):
            raise ValueError("exactly one of loraRef and path must be set")
        return self


class ImageSize(Manifest):
    """Size in pixels."""

    width: int = Field(1024, ge=256, le=2048, multiple_of=8, description="Width in pixels, a multiple of 8.")
    height: int = Field(1024, ge=256, le=2048, multiple_of=8, description="Height in pixels, a multiple of 8.")


class ImageFormat(StrEnum):
    """File format of pictures."""

    PNG = "png"
    JPEG = "jpeg"


class Image(Manifest):
    """Properties of the pictures."""

    size: ImageSize = Field(default_factory=ImageSize, description="Width and height in pixels.")
    count: int = Field(1, ge=1, le=4, description="Number of pictures.")
    format: ImageFormat = Field(ImageFormat.PNG, description="png or jpeg.")
    seed: int | None = Field(
        None, ge=0, le=2147483647, description="Seed; the same seed and prompt give the same picture."
    )


class ImageGenerationSpec(JobSpec):
    """Pictures generated from a prompt."""

    model: ModelName = Field(
        "flux-lora", description=f"Model: {_short_names(Kind.IMAGE_GENERATION)}, or the full fal model id."
    )
    prompt: str = Field(min_length=1, max_length=4096, description="Text that describes the pictures.")
    loras: list[Lora] = Field(default_factory=list, max_length=4, description="LoRAs to apply.")
    image: Image = Field(default_factory=Image, description="Size, number, format and seed of the pictures.")
    metadata: Metadata = Field(default_factory=Metadata, description="Search fields and visibility.")


class TranscriptFormat(StrEnum):
    """File format of a transcript."""

    JSON = "json"
    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"


class Subtitles(Manifest):
    """Limits of subtitles, kept where the speech leaves room."""

    line_length: int = Field(
        42, ge=20, le=100, description="Maximum length of a line in columns; a Chinese or Japanese character takes 2."
    )
    lines: int = Field(2, ge=1, le=4, description="Maximum number of lines of a subtitle.")
    max_seconds: int = Field(7, ge=2, le=30, description="Maximum time in seconds that a subtitle is shown.")
    characters_per_second: int = Field(
        20, ge=5, le=60, description="Maximum reading speed: a subtitle is shown longer if the next leaves time."
    )
    gap_milliseconds: int = Field(
        84, ge=0, le=1000, description="Minimum time in milliseconds between two subtitles; 84 are two frames of 24/s."
    )

    @property
    def changed(self) -> dict[str, int] | None:
        """The limits that are not the defaults, by their names in a manifest; None if there are none."""
        return self.model_dump(by_alias=True, exclude_defaults=True) or None


class TranscriptionOptions(Manifest):
    """Options of the transcription."""

    speaker_labels: bool = Field(True, description="true: utterances are labelled by speaker.")
    language: Annotated[
        str, StringConstraints(pattern=patterns.LANGUAGE, max_length=16), AfterValidator(_canonical_language)
    ] = Field(
        "auto", description="auto, or a language code of AssemblyAI such as en, en_us or pt; en-US is read as en_us."
    )
    audio_track: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Number of the sound track, from 1. If omitted: the track in `language`, else the default track, "
        "else another in which something is heard.",
    )
    formats: list[TranscriptFormat] = Field(
        default_factory=lambda: list(TranscriptFormat),
        min_length=1,
        max_length=4,
        description="Files to write; json and txt are always written. They are made from the provider's response: an "
        "edit pays nothing.",
    )
    subtitles: Subtitles = Field(
        default_factory=Subtitles, description="Limits of the subtitles in srt and vtt; an edit pays nothing."
    )


class TranscriptionSpec(JobSpec):
    """A transcript of a recording."""

    source: Source = Field(description="The recording: audio, or video with audio.")
    options: TranscriptionOptions = Field(
        default_factory=TranscriptionOptions, description="Options of the transcription."
    )
    metadata: Metadata = Field(default_factory=Metadata, description="Search fields and visibility.")


Spec = LoraTrainingSpec | ImageGenerationSpec | TranscriptionSpec
SPECS: dict[Kind, type[Spec]] = {
    Kind.LORA_TRAINING: LoraTrainingSpec,
    Kind.IMAGE_GENERATION: ImageGenerationSpec,
    Kind.TRANSCRIPTION: TranscriptionSpec,
}
# Fields without influence on the result: a change starts no run and pays nothing.
_NOT_INPUTS = {
    "user_id",
    "metadata",
    "paid_attempts",
    "suspend",
    "deadline_seconds",
    "collect_deadline_seconds",
    "deletion_policy",
    "ttl_seconds_after_finished",
    "operator_class",
    "approval",
    "dry_run",
    "priority",
    "queue_deadline_seconds",
    "notify",
}


def parse_spec(kind: Kind, spec: dict[str, Any]) -> Spec:
    """The typed spec. Raises pydantic.ValidationError with each invalid field."""
    return SPECS[kind].model_validate(spec)


def run_hash(kind: Kind, spec: Spec) -> str:
    """Hash (16 hex digits) of the fields that determine the result.

    Fields with default values are left out, so that a field added later does not change the hash of old resources.
    """
    inputs = spec.model_dump(mode="json", by_alias=True, exclude=_NOT_INPUTS, exclude_defaults=True)
    text = json.dumps([kind, inputs], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
