"""The specs that a user writes. The CRDs are generated from these models (`crds.py`); descriptions are documentation.

Decimals are strings, as the Kubernetes API conventions ask: a float does not survive every client unchanged.
"""

import hashlib
import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel

from contentgen_contract import patterns
from contentgen_contract.base import Manifest, Sha256
from contentgen_contract.names import Kind
from contentgen_contract.resources import languages
from contentgen_contract.resources.addresses import split_url

OperatorClass = Annotated[str, StringConstraints(pattern=patterns.OPERATOR_CLASS, max_length=63)]
UserId = Annotated[str, StringConstraints(pattern=patterns.USER_ID, max_length=63)]
Decimal = Annotated[str, StringConstraints(pattern=patterns.DECIMAL, max_length=15)]
Seconds = Decimal  # from the recording's start
COLLECT_DEADLINE_SECONDS = 86400
Share = Annotated[str, StringConstraints(pattern=patterns.SHARE, max_length=10)]
SignedShare = Annotated[str, StringConstraints(pattern=patterns.SIGNED_SHARE, max_length=11)]
Tag = Annotated[str, StringConstraints(pattern=patterns.TAG, max_length=63)]


def _with_readable_host(url: str) -> str:
    if split_url(url) is None:
        raise ValueError("expected a URL whose host can be read, such as https://example.com/talk.mp4")
    return url


def _with_lower_scheme(url: str) -> str:
    """The URL with its scheme in lower case: `HTTPS://` and `https://` are one source, one hash and one payment.

    Host and path stay as they are: their case has always counted in run hashes.
    """
    scheme, separator, rest = url.partition("://")
    return f"{scheme.lower()}{separator}{rest}"


def _canonical_language(code: str) -> str:
    """The code as AssemblyAI writes it. Raises ValueError naming the nearest one where AssemblyAI has none such."""
    if not languages.is_admitted(code):
        raise ValueError(languages.unknown_code_error(code))
    return languages.canonical(code)


SourceUrl = Annotated[
    str,
    StringConstraints(pattern=patterns.SOURCE_URL, max_length=2048),
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
    """The recording to work on."""

    url: SourceUrl = Field(description="Where the file is: an https, http or s3 URL without credentials in it.")
    sha256: Sha256 | None = Field(None, description="The file's sha256 in hexadecimal; a different file is refused.")


class Metadata(Manifest):
    """What people search by; changing it starts no new run."""

    tags: list[Tag] = Field(default_factory=list, max_length=32, description="Tags to find the asset by.")
    description: str = Field("", max_length=1024, description="A sentence about the asset.")
    is_public: bool = Field(False, description="Whether others may see the asset in the gateway.")


class Detector(StrEnum):
    """How shots are found: our own way, and PySceneDetect's under its names."""

    AUTO = "auto"
    CONTENT = "content"
    ADAPTIVE = "adaptive"
    HASH = "hash"
    HISTOGRAM = "histogram"
    THRESHOLD = "threshold"


class ThresholdMethod(StrEnum):
    """What `threshold` looks for."""

    FLOOR = "Floor"
    CEILING = "Ceiling"


class SceneDetection(Manifest):
    """How the video is cut into shots."""

    detector: Detector = Field(
        Detector.AUTO,
        description="How shots are found. auto knows cuts, dissolves and fades, and needs no settings; the others are "
        "PySceneDetect's.",
    )
    min_scene_length: Seconds | None = Field(
        None,
        description="Shortest shot in seconds, a decimal in quotes; a shorter one is joined to its neighbour. "
        "Left out: as the detector does by itself.",
    )
    threshold: Decimal | None = Field(
        None,
        description="How much must change, on the scale of the detector named, a decimal in quotes. Left out: content "
        "27, adaptive 3, hash 0.35, histogram 0.2, threshold 12. auto takes none.",
    )
    window_width: int | None = Field(
        None, ge=1, le=32, description="adaptive: frames before and after that a frame is compared with; 2 if left out."
    )
    min_content_val: Decimal | None = Field(
        None, description="adaptive: change below this is never a cut, a decimal in quotes; 15 when left out."
    )
    luma_only: bool | None = Field(
        None, description="content, adaptive: brightness alone counts, for black-and-white films."
    )
    size: int | None = Field(
        None, ge=2, le=32, multiple_of=2, description="hash: side of the square of low frequencies; 8 when left out."
    )
    lowpass: int | None = Field(None, ge=1, le=8, description="hash: how much detail is ignored; 2 when left out.")
    bins: int | None = Field(None, ge=2, le=256, description="histogram: steps of brightness; 128 when left out.")
    method: ThresholdMethod | None = Field(
        None, description="threshold: Floor finds fades to black, Ceiling fades to white; Floor when left out."
    )
    fade_bias: SignedShare | None = Field(
        None,
        description="threshold: where in a fade the cut is, from -1 (as it begins to fade out) to 1 (as it is back), "
        "a decimal in quotes; 0 when left out.",
    )

    @model_validator(mode="after")
    def _parameters_fit_detector(self) -> "SceneDetection":
        for name, detectors in DETECTORS_BY_PARAMETER.items():
            if getattr(self, name) is not None and self.detector not in detectors:
                raise ValueError(f"{to_camel(name)} must only be set with {join_names(detectors)}, not {self.detector}")
        return self


# Which detectors take a parameter.
DETECTORS_BY_PARAMETER: dict[str, tuple[Detector, ...]] = {
    "threshold": tuple(each for each in Detector if each is not Detector.AUTO),
    "window_width": (Detector.ADAPTIVE,),
    "min_content_val": (Detector.ADAPTIVE,),
    "luma_only": (Detector.CONTENT, Detector.ADAPTIVE),
    "size": (Detector.HASH,),
    "lowpass": (Detector.HASH,),
    "bins": (Detector.HISTOGRAM,),
    "method": (Detector.THRESHOLD,),
    "fade_bias": (Detector.THRESHOLD,),
}


def join_names(detectors: Sequence[Detector]) -> str:
    """Detectors in words: a, b or c."""
    return " or ".join(filter(None, (", ".join(detectors[:-1]), detectors[-1])))


class TimeRange(Manifest):
    """A part of the video."""

    start: Seconds = Field("0", description="Where it begins, in seconds from the video's start, a decimal in quotes.")
    end: Seconds | None = Field(
        None, description="Where it ends, likewise; the end of the video when left out. After start."
    )

    @model_validator(mode="after")
    def _in_order(self) -> "TimeRange":
        if self.end is not None and float(self.end) <= float(self.start):
            raise ValueError("end must be after start")
        return self


class Speed(StrEnum):
    """How much of the video is decoded."""

    EXACT = "Exact"
    FAST = "Fast"


class Crop(StrEnum):
    """Which part of a frame becomes the picture."""

    NONE = "None"
    SQUARE = "Square"
    FACE = "Face"


class FacesMode(StrEnum):
    """What faces decide."""

    IGNORE = "Ignore"
    PREFER = "Prefer"
    REQUIRE = "Require"


class Faces(Manifest):
    """How faces decide which frames are kept."""

    mode: FacesMode = Field(
        FacesMode.IGNORE,
        description="Ignore: faces do not decide. Prefer: where there is a choice, frames with a face are taken. "
        "Require: only frames with a face are taken.",
    )
    min_size: Share = Field(
        "0.15",
        description="The smallest face that counts, as a share of the picture's height, a decimal in quotes.",
    )
    single: bool = Field(
        False, description="true: exactly one face that counts, so that others do not get into the LoRA."
    )

    @model_validator(mode="after")
    def _single_needs_a_mode(self) -> "Faces":
        if self.single and self.mode is FacesMode.IGNORE:
            raise ValueError("single needs mode Prefer or Require")
        return self


class Duplicates(Manifest):
    """When two pictures count as the same."""

    threshold: int = Field(
        8,
        ge=0,
        le=32,
        description="Pictures of the same colours whose 64-bit perceptual hashes differ in at most so many bits are "
        "near-duplicates, and the best of them is kept. 0 leaves out only what is all but equal.",
    )


class CaptionFact(StrEnum):
    """What a caption can say of a picture by itself."""

    FRAMING = "Framing"
    BRIGHTNESS = "Brightness"
    MOTION = "Motion"
    POSITION = "Position"


class CaptionEngine(StrEnum):
    """Who writes the captions."""

    TEMPLATE = "Template"
    VISION = "Vision"


class Captions(Manifest):
    """The text beside each picture."""

    template: str = Field(
        "a photo of [trigger]",
        min_length=1,
        max_length=512,
        description="The caption of each picture; [trigger] stands for the trigger word and must be in it.",
    )
    facts: list[CaptionFact] = Field(
        default_factory=list,
        max_length=4,
        description="What is added to each caption: Framing (close-up to wide shot, from the size of the face), "
        "Brightness, Motion, Position (in the video).",
    )
    engine: CaptionEngine = Field(
        CaptionEngine.TEMPLATE,
        description="Template: the template and the facts. Vision: what a vision model sees is added to them; it needs "
        "a worker image with one.",
    )


class Dataset(Manifest):
    """How the training set is made from the video."""

    speed: Speed = Field(
        Speed.EXACT,
        description="Exact decodes every frame. Fast decodes keyframes, and the frames between them only where "
        "something changes.",
    )
    time_ranges: list[TimeRange] = Field(
        default_factory=list, max_length=32, description="The parts of the video to use; all of it when left out."
    )
    scene_detection: SceneDetection = Field(default_factory=SceneDetection, description="How shots are found.")
    frames_per_scene: int = Field(1, ge=1, le=10, description="Pictures taken from each shot.")
    min_images: int = Field(10, ge=4, le=1000, description="Fewer pictures than this fail the run, before it costs.")
    max_images: int = Field(
        150, ge=4, le=1000, description="More pictures than this are thinned out, evenly over the whole video."
    )
    resolution: int = Field(1024, ge=256, le=2048, description="Longest side of a picture in pixels; never enlarged.")
    multiple_of: int = Field(
        1, ge=1, le=128, description="Both sides of a picture are multiples of this; what is over is cropped."
    )
    crop: Crop = Field(
        Crop.NONE,
        description="None: the whole frame. Square: the square in its middle. Face: the square around the largest "
        "face, in the middle where there is none. Black borders of the video are cropped in any case.",
    )
    faces: Faces = Field(default_factory=Faces, description="How faces decide which frames are kept.")
    duplicates: Duplicates = Field(default_factory=Duplicates, description="When two pictures count as the same.")
    captions: Captions = Field(default_factory=Captions, description="The text beside each picture.")


class Style(StrEnum):
    """What the LoRA learns."""

    SUBJECT = "Subject"
    STYLE = "Style"


class Training(Manifest):
    """What the provider is asked to do."""

    model: ModelName = Field("flux-lora-fast-training", description="The trainer: an alias or a full fal model id.")
    steps: int = Field(1000, ge=1, le=10000, description="Training steps.")
    learning_rate: Decimal | None = Field(
        None, description="Learning rate, a decimal in quotes; kept in config.json, sent to trainers that take one."
    )
    style: Style = Field(Style.SUBJECT, description="Subject learns a person or thing, Style a look.")


class DeletionPolicy(StrEnum):
    """What becomes of the files when the resource is deleted."""

    RETAIN = "Retain"
    DELETE = "Delete"


class JobSpec(Manifest):
    """What every kind has."""

    user_id: UserId | None = Field(None, description="Whose asset it is; the namespace when left out.")
    paid_attempts: int = Field(
        1,
        ge=1,
        le=3,
        description="How often the provider may be paid for one run: another attempt follows only after the provider "
        "has said that the one before failed.",
    )
    suspend: bool = Field(
        False,
        description="true: nothing new is started and nothing is bought until it is false again. A Job that runs is "
        "let finish, and what was paid for is seen through.",
    )
    deadline_seconds: int | None = Field(
        None,
        ge=60,
        le=2592000,
        description="The run fails with DeadlineExceeded when it is not done this long after its start, waiting "
        "included; the request at the provider is cancelled. Without it only the operator's own limits hold.",
    )
    # Without a default in the CRD: the API server would put it into each spec, and an older release refuses the field.
    collect_deadline_seconds: int | None = Field(
        None,
        ge=60,
        le=2592000,
        description="How long after the provider has finished a failing collect stage is tried again, which costs "
        f"nothing. The run fails then, and the paid result is kept. {COLLECT_DEADLINE_SECONDS} when left out.",
    )
    deletion_policy: DeletionPolicy = Field(
        DeletionPolicy.RETAIN,
        description="Retain keeps files and records when the resource is deleted, and applied again it uses them "
        "without paying. Delete removes all its files, their versions and its record.",
    )
    # Without a default in the CRD, as collectDeadlineSeconds.
    operator_class: OperatorClass | None = Field(
        None,
        description="The operator class that works on the resource: each installation serves one. It can be changed "
        "before the first run and after a run has ended; nothing is bought again. The class default when left out.",
    )


class LoraTrainingSpec(JobSpec):
    """A LoRA trained on the pictures of a video."""

    lora_name: Annotated[str, StringConstraints(pattern=patterns.LORA_NAME, max_length=63)] = Field(
        description="The LoRA's name among its owner's."
    )
    trigger_word: Annotated[str, StringConstraints(pattern=patterns.TRIGGER_WORD, max_length=32)] = Field(
        description="The word that calls the LoRA up in a prompt."
    )
    source: Source = Field(description="The video.")
    dataset: Dataset = Field(default_factory=Dataset, description="How the training set is made from the video.")
    training: Training = Field(default_factory=Training, description="What the provider is asked to do.")
    metadata: Metadata = Field(default_factory=Metadata, description="What people search by.")

    @model_validator(mode="after")
    def _consistent(self) -> "LoraTrainingSpec":
        if self.dataset.max_images < self.dataset.min_images:
            raise ValueError("dataset.maxImages must be at least dataset.minImages")
        if "[trigger]" not in self.dataset.captions.template:
            # fal ignores the trigger word where captions are supplied.
            raise ValueError("dataset.captions.template must contain [trigger]")
        return self


class LoraRef(Manifest):
    """A LoraTraining of the same namespace."""

    name: ObjectName = Field(description="The LoraTraining's name.")


class Lora(Manifest):
    """One LoRA and how strongly it counts."""

    lora_ref: LoraRef | None = Field(None, description="A LoraTraining of this namespace; it is waited for.")
    path: WebUrl | None = Field(None, description="A web address of a .safetensors file.")
    scale: Decimal = Field("1.0", description="How strongly the LoRA counts, a decimal in quotes.")

    @model_validator(mode="after")
    def _one_of(self) -> "Lora":
        if (self.lora_ref is None) == (self.path is None):
            raise ValueError("exactly one of loraRef and path must be set")
        return self


class ImageSize(Manifest):
    """Pixels."""

    width: int = Field(1024, ge=256, le=2048, multiple_of=8, description="Width in pixels, a multiple of 8.")
    height: int = Field(1024, ge=256, le=2048, multiple_of=8, description="Height in pixels, a multiple of 8.")


class ImageFormat(StrEnum):
    """The file format of pictures."""

    PNG = "png"
    JPEG = "jpeg"


class Image(Manifest):
    """The pictures to make."""

    size: ImageSize = Field(default_factory=ImageSize, description="Width and height in pixels.")
    count: int = Field(1, ge=1, le=4, description="How many pictures.")
    format: ImageFormat = Field(ImageFormat.PNG, description="png or jpeg.")
    seed: int | None = Field(None, ge=0, le=2147483647, description="Same seed and prompt, same picture.")


class ImageGenerationSpec(JobSpec):
    """Pictures made from a prompt."""

    model: ModelName = Field(
        "flux-lora", description="An alias (flux-lora, flux-dev, flux-schnell, flux-pro) or a full fal model id."
    )
    prompt: str = Field(min_length=1, max_length=4096, description="What the pictures should show.")
    loras: list[Lora] = Field(default_factory=list, max_length=4, description="LoRAs to draw with.")
    image: Image = Field(default_factory=Image, description="Size, number, format and seed.")
    metadata: Metadata = Field(default_factory=Metadata, description="What people search by.")

    @model_validator(mode="after")
    def _loras_fit_model(self) -> "ImageGenerationSpec":
        # The provider ignores LoRAs that a model cannot take: a paid picture of somebody else.
        if self.loras and "lora" not in self.model:
            raise ValueError("loras needs a model that takes LoRAs, such as flux-lora")
        return self


class TranscriptFormat(StrEnum):
    """The files of a transcript."""

    JSON = "json"
    TXT = "txt"
    SRT = "srt"
    VTT = "vtt"


class TranscriptionOptions(Manifest):
    """What the transcript should have."""

    speaker_labels: bool = Field(True, description="Tell speakers apart.")
    language: Annotated[
        str, StringConstraints(pattern=patterns.LANGUAGE, max_length=16), AfterValidator(_canonical_language)
    ] = Field("auto", description="auto, or a language code of AssemblyAI such as en, en_us or pt; en-US is en_us.")
    audio_track: int | None = Field(
        None,
        ge=1,
        le=64,
        description="Which of the recording's sound tracks, from 1. Left out: the one in `language`, else the default.",
    )
    formats: list[TranscriptFormat] = Field(
        default_factory=lambda: list(TranscriptFormat),
        min_length=1,
        max_length=4,
        description="Which files to write; json and txt are always written.",
    )


class TranscriptionSpec(JobSpec):
    """A transcript of a recording."""

    source: Source = Field(description="The recording: sound, or a video with sound.")
    options: TranscriptionOptions = Field(
        default_factory=TranscriptionOptions, description="What the transcript should have."
    )
    metadata: Metadata = Field(default_factory=Metadata, description="What people search by.")


Spec = LoraTrainingSpec | ImageGenerationSpec | TranscriptionSpec
SPECS: dict[Kind, type[LoraTrainingSpec] | type[ImageGenerationSpec] | type[TranscriptionSpec]] = {
    Kind.LORA_TRAINING: LoraTrainingSpec,
    Kind.IMAGE_GENERATION: ImageGenerationSpec,
    Kind.TRANSCRIPTION: TranscriptionSpec,
}
# Fields that do not decide the result: a change of these starts nothing and buys nothing.
_NOT_INPUTS = {
    "user_id",
    "metadata",
    "paid_attempts",
    "suspend",
    "deadline_seconds",
    "collect_deadline_seconds",
    "deletion_policy",
    "operator_class",
}


def parse_spec(kind: Kind, spec: dict[str, Any]) -> Spec:
    """The typed spec. Raises pydantic.ValidationError naming each wrong field."""
    return SPECS[kind].model_validate(spec)


def run_hash(kind: Kind, spec: Spec) -> str:
    """Hash (16 hex digits) of the fields that decide the result.

    Defaults are left out, so that a field added later does not make old resources buy again.
    """
    inputs = spec.model_dump(mode="json", by_alias=True, exclude=_NOT_INPUTS, exclude_defaults=True)
    text = json.dumps([kind, inputs], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
