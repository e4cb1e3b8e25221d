"""What people ask for, in the seeds' bodies, and the spec that says the same. Pure.

Each body is the spec of its kind with the seeds' names beside ours; what neither knows is refused by name.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError, model_validator

from contentgen_contract import patterns
from contentgen_contract.base import Manifest
from contentgen_contract.names import Kind
from contentgen_contract.resources import languages
from contentgen_contract.resources.models import short_name_error
from contentgen_contract.resources.spec import (
    SPECS,
    Dataset,
    Decimal,
    Image,
    ImageFormat,
    ImageGenerationSpec,
    ImageSize,
    JobSpec,
    LoraRef,
    LoraTrainingSpec,
    Metadata,
    ModelName,
    ObjectName,
    OperatorClass,
    Source,
    SourceUrl,
    Spec,
    Training,
    TranscriptionOptions,
    TranscriptionSpec,
    UserId,
)
from contentgen_contract.resources.spec_checks import first_problem
from contentgen_gateway.problems import Problem
from contentgen_gateway.schemas.refusals import refusal

_SIZES = {  # fal's names
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
SizeName = Literal["square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"]
Prompt = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


def _decimal(given: object) -> object:
    """A number as the decimal that our specs have."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        return given
    return f"{given:.8f}".rstrip("0").rstrip(".")


Number = Annotated[Decimal, BeforeValidator(_decimal, json_schema_input_type=Decimal | Annotated[float, Field(ge=0)])]
"""A number, or a decimal in quotes."""


class Order(JobSpec):
    """What every body has."""

    namespace: ObjectName | None = Field(None, description="Where it is made; a service account's own if left out.")
    name: ObjectName | None = Field(None, description="The resource's name; one is made up if left out.")
    user_id: UserId | None = Field(None, description="Whose asset it is; the namespace when left out.")
    metadata: Metadata = Field(default_factory=Metadata, description="What people search by.")
    operator_class: OperatorClass | None = Field(
        None, description="The operator class of this installation, which it also is when left out; no other is taken."
    )

    @property
    def kind(self) -> Kind:
        """What is made."""
        raise NotImplementedError

    def spec(self) -> dict[str, Any]:
        """The spec that says the same: only what was given, so that defaults stay the API server's."""
        raise NotImplementedError

    def _common(self) -> dict[str, Any]:
        names = {*JobSpec.model_fields, "metadata"}
        return self._given(*names)

    def _given(self, *names: str) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True, include=set(names))


class TrainOrder(Order):
    """POST /api/lora/train."""

    video_url: SourceUrl | None = Field(None, description="The video; or `source`.")
    source: Source | None = Field(None, description="The video; or `videoUrl`.")
    lora_name: Annotated[str, StringConstraints(pattern=patterns.LORA_NAME, max_length=63)]
    trigger_word: Annotated[str, StringConstraints(pattern=patterns.TRIGGER_WORD, max_length=32)] | None = Field(
        None, description="The word that calls the LoRA up in a prompt; or `trigger`; `loraName` when left out."
    )
    trigger: Annotated[str, StringConstraints(pattern=patterns.TRIGGER_WORD, max_length=32)] | None = None
    steps: int | None = Field(None, ge=1, le=10000, description="As `training.steps`.")
    learning_rate: Number | None = Field(None, description="As `training.learningRate`.")
    dataset: Dataset = Field(default_factory=Dataset, description="How the training set is made from the video.")
    training: Training = Field(default_factory=Training, description="What the provider is asked to do.")

    @model_validator(mode="after")
    def _each_once(self) -> "TrainOrder":
        _one_of(self, "video_url", "source")
        if self.trigger_word is not None:
            _one_of(self, "trigger_word", "trigger")
        return self

    @property
    def kind(self) -> Kind:
        """A LoRA."""
        return Kind.LORA_TRAINING

    def spec(self) -> dict[str, Any]:
        """As a LoraTraining's."""
        given = self._given("lora_name", "source", "dataset", "training")
        short = self._given("steps", "learning_rate")
        spec = self._common() | given | {"triggerWord": self.trigger_word or self.trigger or _word(self.lora_name)}
        if self.video_url is not None:
            spec["source"] = {"url": self.video_url}
        return spec | ({"training": spec.get("training", {}) | short} if short else {})


def _word(name: str) -> str:
    """A LoRA's name as the word that calls it up: the seeds' clients give no other."""
    return name.replace(".", "_")[:32]


class LoraOrder(Manifest):
    """One LoRA to draw with."""

    path: SourceUrl | None = Field(None, description="An address of a .safetensors file, or of a model made here.")
    lora_ref: LoraRef | None = Field(None, description="A LoraTraining of the same namespace.")
    scale: Number = Field("1.0", description="How strongly the LoRA counts.")

    @model_validator(mode="after")
    def _each_once(self) -> "LoraOrder":
        _one_of(self, "path", "lora_ref")
        return self


Loras = Annotated[list[LoraOrder], Field(max_length=4)]


class Inputs(Manifest):
    """The seeds' `inputs`, with fal's names for what they leave open."""

    prompt: Prompt
    loras: Loras = Field(default_factory=list, description="LoRAs to draw with.")
    image_size: ImageSize | SizeName | None = Field(None, alias="image_size", description="As `image.size`.")
    num_images: int | None = Field(None, alias="num_images", ge=1, le=4, description="As `image.count`.")
    output_format: ImageFormat | None = Field(None, alias="output_format", description="As `image.format`.")
    seed: int | None = Field(None, ge=0, le=2147483647, description="As `image.seed`.")

    def image(self) -> dict[str, Any]:
        """In our words."""
        size = self.image_size
        if isinstance(size, str):
            width, height = _SIZES[size]
            size = ImageSize(width=width, height=height)
        found = {
            "size": size.model_dump() if size else None,
            "count": self.num_images,
            "format": self.output_format and self.output_format.value,
            "seed": self.seed,
        }
        return {name: value for name, value in found.items() if value is not None}


class GenerateOrder(Order):
    """POST /api/images/generate."""

    model: ModelName | None = Field(None, description="An alias such as flux-lora, or a full fal model id.")
    inputs: Inputs | None = Field(None, description="What to draw; or `prompt`, `loras` and `image` beside it.")
    prompt: Prompt | None = Field(None, description="What the pictures should show; or `inputs.prompt`.")
    loras: Loras | None = Field(None, description="LoRAs to draw with; or `inputs.loras`.")
    image: Image | None = Field(None, description="Size, number, format and seed.")

    @model_validator(mode="after")
    def _each_once(self) -> "GenerateOrder":
        if self.inputs is None and self.prompt is None:
            raise ValueError("inputs.prompt must be given")
        for name in ("prompt", "loras", "image") if self.inputs is not None else ():
            if getattr(self, name) is not None:
                raise ValueError(f"{name} must not be given beside inputs")
        return self

    @property
    def kind(self) -> Kind:
        """Pictures."""
        return Kind.IMAGE_GENERATION

    @property
    def drawn_with(self) -> list[LoraOrder]:
        """The LoRAs as they were given."""
        return self.inputs.loras if self.inputs else self.loras or []

    @property
    def loras_at(self) -> str:
        """Where they were given."""
        return "inputs.loras" if self.inputs else "loras"

    def spec(self) -> dict[str, Any]:
        """As an ImageGeneration's."""
        spec = self._common() | self._given("model", "prompt", "image")
        if self.inputs is not None:
            spec["prompt"] = self.inputs.prompt
            spec |= {"image": image} if (image := self.inputs.image()) else {}
        loras = [each.model_dump(mode="json", exclude_none=True) for each in self.drawn_with]
        return spec | ({"loras": loras} if loras else {})


class TranscribeOrder(Order):
    """POST /api/transcribe."""

    audio_url: SourceUrl | None = Field(None, description="The recording; or `videoUrl`, `url` or `source`.")
    video_url: SourceUrl | None = None
    url: SourceUrl | None = None
    source: Source | None = None
    options: TranscriptionOptions = Field(default_factory=TranscriptionOptions, description="What it should have.")

    @model_validator(mode="after")
    def _each_once(self) -> "TranscribeOrder":
        _one_of(self, "audio_url", "video_url", "url", "source")
        return self

    @property
    def kind(self) -> Kind:
        """A transcript."""
        return Kind.TRANSCRIPTION

    def spec(self) -> dict[str, Any]:
        """As a Transcription's."""
        spec = self._common() | self._given("source", "options")
        url = self.audio_url or self.video_url or self.url
        return spec | ({"source": {"url": url}} if url else {})


def checked(kind: Kind, spec: dict[str, Any]) -> dict[str, Any]:
    """The same spec. Raises Problem 422 where its parts don't fit together: the API server's words would come later."""
    try:
        parsed = SPECS[kind].model_validate(spec)
    except ValidationError as error:
        raise refusal(error.errors(), "body", SPECS[kind]) from None
    _require_known_model(kind, parsed)
    _require_known_language(parsed)
    if (found := first_problem(parsed)) is not None:
        raise Problem(
            422, str(found).removeprefix("spec."), errors=[{"loc": ["body", *found.field], "msg": found.expected}]
        )
    return spec


def _require_known_model(kind: Kind, spec: Spec) -> None:
    """Raises Problem 422 for a short name that no model has: the provider would only answer that it is not found."""
    match spec:
        case LoraTrainingSpec():
            where, model = "training.model", spec.training.model
        case ImageGenerationSpec():
            where, model = "model", spec.model
        case _:
            return
    expected = short_name_error(kind, model)
    if expected is not None:
        errors = [{"loc": ["body", *where.split(".")], "msg": expected}]
        raise Problem(422, f"{where}: {model[:64]!r} {expected}", errors=errors)


def _one_of(order: Manifest, *names: str) -> None:
    given = [name for name in names if getattr(order, name) is not None]
    if len(given) != 1:
        words = [type(order).model_fields[name].alias or name for name in names]
        raise ValueError(f"exactly one of {', '.join(words)} must be given")


def _require_known_language(spec: Spec) -> None:
    """Raises Problem 422 for a code that the CRD admits and AssemblyAI does not have."""
    why = languages.unknown_code_error(spec.options.language) if isinstance(spec, TranscriptionSpec) else ""
    if why:
        errors = [{"loc": ["body", "options", "language"], "msg": why}]
        raise Problem(422, f"options.language: {why}", errors=errors)
