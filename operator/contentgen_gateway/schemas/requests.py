"""Bodies that create jobs, and their conversion to specs. Pure.

Each body accepts the fields of its kind's spec and those of the legacy API. Unknown fields are refused by name.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, ValidationError, model_validator

from contentgen_contract import patterns
from contentgen_contract.advice import lora_links
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
    WebUrl,
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
Path = tuple[str | int, ...]
Prompt = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


def _decimal(given: object) -> object:
    """Converts a number to the decimal string of our specs."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        return given
    return f"{given:.8f}".rstrip("0").rstrip(".")


Number = Annotated[Decimal, BeforeValidator(_decimal, json_schema_input_type=Decimal | Annotated[float, Field(ge=0)])]
"""Number, or decimal string."""


class JobOrder(JobSpec):
    """Fields of every body."""

    namespace: ObjectName | None = Field(None, description="Namespace of the job; a service account's own if left out.")
    name: ObjectName | None = Field(None, description="Name of the resource; generated if left out.")
    user_id: UserId | None = Field(None, description="Owner of the asset; the namespace if left out.")
    metadata: Metadata = Field(default_factory=Metadata, description="Metadata for the search.")
    operator_class: OperatorClass | None = Field(
        None, description="The operator class of this installation, which it also is when left out; no other is taken."
    )

    webhook_url: WebUrl | None = Field(
        None, description="Webhook that is notified of the end of the job; same as `notify: [{url}]`."
    )

    @model_validator(mode="after")
    def _webhook_once(self) -> "JobOrder":
        if self.webhook_url is not None and self.notify is not None:
            raise ValueError("only one of webhookUrl and notify must be given")
        return self

    @property
    def kind(self) -> Kind:
        """Kind of the resource."""
        raise NotImplementedError

    def spec(self) -> dict[str, Any]:
        """Spec with the given fields only, so that the API server sets defaults."""
        raise NotImplementedError

    @property
    def sent_as(self) -> dict[Path, Path]:
        """Fields of the body by the fields of the spec that they became; the others have the same path."""
        return {("notify", 0, "url"): ("webhookUrl",)} if self.webhook_url is not None else {}

    def _common(self) -> dict[str, Any]:
        names = {*JobSpec.model_fields, "metadata"}
        webhook = {"notify": [{"url": self.webhook_url}]} if self.webhook_url is not None else {}
        return self._given(*names) | webhook

    def _given(self, *names: str) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True, include=set(names))


class TrainOrder(JobOrder):
    """POST /api/lora/train."""

    video_url: SourceUrl | None = Field(None, description="Video; alternative to `source`.")
    source: Source | None = Field(None, description="Video; alternative to `videoUrl`.")
    lora_name: Annotated[str, StringConstraints(pattern=patterns.LORA_NAME, max_length=63)]
    trigger_word: Annotated[str, StringConstraints(pattern=patterns.TRIGGER_WORD, max_length=32)] | None = Field(
        None,
        description="Word that activates the LoRA in a prompt; alternative to `trigger`. If both are left out, it is "
        "`loraName`, with `_` for each dot, cut to 32 characters: the legacy API has no such field.",
    )
    trigger: Annotated[str, StringConstraints(pattern=patterns.TRIGGER_WORD, max_length=32)] | None = Field(
        None, description="Same as `triggerWord`."
    )
    steps: int | None = Field(None, ge=1, le=10000, description="Same as `training.steps`.")
    learning_rate: Number | None = Field(None, description="Same as `training.learningRate`.")
    dataset: Dataset = Field(default_factory=Dataset, description="Options of the training set.")
    training: Training = Field(default_factory=Training, description="Options of the training.")

    @model_validator(mode="after")
    def _each_once(self) -> "TrainOrder":
        _one_of(self, "video_url", "source")
        if self.trigger_word is not None:
            _one_of(self, "trigger_word", "trigger")
        return self

    @property
    def kind(self) -> Kind:
        """LoraTraining."""
        return Kind.LORA_TRAINING

    @property
    def sent_as(self) -> dict[Path, Path]:
        """As for every body."""
        names: dict[str, Path] = {
            "video_url": ("source", "url"),
            "steps": ("training", "steps"),
            "learning_rate": ("training", "learningRate"),
            "trigger": ("triggerWord",),
        }
        return super().sent_as | _sent(self, names)

    def spec(self) -> dict[str, Any]:
        """Spec of a LoraTraining."""
        given = self._given("lora_name", "source", "dataset", "training")
        short = self._given("steps", "learning_rate")
        spec = self._common() | given | {"triggerWord": self.trigger_word or self.trigger or _word(self.lora_name)}
        if self.video_url is not None:
            spec["source"] = {"url": self.video_url}
        return spec | ({"training": spec.get("training", {}) | short} if short else {})


def _word(name: str) -> str:
    """Default trigger word, from the LoRA's name: clients of the legacy API give none."""
    return name.replace(".", "_")[:32]


class LoraOrder(Manifest):
    """LoRA of a generation."""

    path: SourceUrl | None = Field(None, description="URL of a .safetensors file, or of a model of this installation.")
    lora_ref: LoraRef | None = Field(None, description="LoraTraining of the same namespace.")
    scale: Number = Field("1.0", description="Weight of the LoRA.")

    @model_validator(mode="after")
    def _each_once(self) -> "LoraOrder":
        _one_of(self, "path", "lora_ref")
        return self


Loras = Annotated[list[LoraOrder], Field(max_length=4)]


class Inputs(Manifest):
    """`inputs` of the legacy API, with fal's names for the optional fields."""

    prompt: Prompt
    loras: Loras = Field(default_factory=list, description="LoRAs of the generation.")
    image_size: ImageSize | SizeName | None = Field(None, alias="image_size", description="Same as `image.size`.")
    num_images: int | None = Field(None, alias="num_images", ge=1, le=4, description="Same as `image.count`.")
    output_format: ImageFormat | None = Field(None, alias="output_format", description="Same as `image.format`.")
    seed: int | None = Field(None, ge=0, le=2147483647, description="Same as `image.seed`.")

    @property
    def sent_as(self) -> dict[Path, Path]:
        """As for every body, below `inputs`."""
        names: dict[str, Path] = {
            "prompt": ("prompt",),
            "loras": ("loras",),
            "image_size": ("image", "size"),
            "num_images": ("image", "count"),
            "output_format": ("image", "format"),
            "seed": ("image", "seed"),
        }
        return {at: ("inputs", *path) for at, path in _sent(self, names).items()}

    def image(self) -> dict[str, Any]:
        """Fields of `spec.image`."""
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


class GenerateOrder(JobOrder):
    """POST /api/images/generate."""

    model: ModelName | None = Field(None, description="Alias such as flux-lora, or full fal model id.")
    inputs: Inputs | None = Field(
        None, description="Inputs of the legacy API; alternative to `prompt`, `loras` and `image`."
    )
    prompt: Prompt | None = Field(None, description="Prompt; alternative to `inputs.prompt`.")
    loras: Loras | None = Field(None, description="LoRAs of the generation; alternative to `inputs.loras`.")
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
        """ImageGeneration."""
        return Kind.IMAGE_GENERATION

    @property
    def sent_as(self) -> dict[Path, Path]:
        """As for every body."""
        return super().sent_as | (self.inputs.sent_as if self.inputs is not None else {})

    @property
    def drawn_with(self) -> list[LoraOrder]:
        """LoRAs of the body."""
        return self.inputs.loras if self.inputs else self.loras or []

    @property
    def loras_at(self) -> str:
        """Field of the LoRAs in the body."""
        return "inputs.loras" if self.inputs else "loras"

    def spec(self) -> dict[str, Any]:
        """Spec of an ImageGeneration."""
        spec = self._common() | self._given("model", "prompt", "image")
        if self.inputs is not None:
            spec["prompt"] = self.inputs.prompt
            spec |= {"image": image} if (image := self.inputs.image()) else {}
        loras = [training.model_dump(mode="json", exclude_none=True) for training in self.drawn_with]
        return spec | ({"loras": loras} if loras else {})


class TranscribeOrder(JobOrder):
    """POST /api/transcribe."""

    audio_url: SourceUrl | None = Field(None, description="Recording; alternative to `videoUrl`, `url` and `source`.")
    video_url: SourceUrl | None = None
    url: SourceUrl | None = None
    source: Source | None = None
    options: TranscriptionOptions = Field(
        default_factory=TranscriptionOptions, description="Options of the transcription."
    )

    @model_validator(mode="after")
    def _each_once(self) -> "TranscribeOrder":
        _one_of(self, "audio_url", "video_url", "url", "source")
        return self

    @property
    def kind(self) -> Kind:
        """Transcription."""
        return Kind.TRANSCRIPTION

    @property
    def sent_as(self) -> dict[Path, Path]:
        """As for every body."""
        return super().sent_as | _sent(self, dict.fromkeys(("url", "video_url", "audio_url"), ("source", "url")))

    def spec(self) -> dict[str, Any]:
        """Spec of a Transcription."""
        spec = self._common() | self._given("source", "options")
        url = self.audio_url or self.video_url or self.url
        return spec | ({"source": {"url": url}} if url else {})


def _sent(order: Manifest, names: dict[str, Path]) -> dict[Path, Path]:
    """Fields that a body has, by the paths in the spec that they became; `names`: these paths by field."""
    fields = type(order).model_fields
    return {at: (fields[name].alias or name,) for name, at in names.items() if getattr(order, name) is not None}


def checked(order: JobOrder, spec: dict[str, Any]) -> dict[str, Any]:
    """Valid spec of an order. Raises Problem 422 for inconsistent fields, before the API server is asked; it names the
    fields as the client sent them.
    """
    try:
        return _checked(order.kind, spec)
    except Problem as problem:
        errors, sent = problem.more["errors"], order.sent_as
        found = [error | {"loc": [error["loc"][0], *_as_sent(error["loc"][1:], sent)]} for error in errors]
        detail = _renamed(problem.detail, errors[0]["loc"][1:], found[0]["loc"][1:])
        raise Problem(problem.status, detail, errors=found) from None


def _as_sent(path: Sequence[str | int], sent: dict[Path, Path]) -> Path:
    """A path in the spec as one in the body."""
    for end in range(len(path), 0, -1):
        if (at := sent.get(tuple(path[:end]))) is not None:
            return (*at, *path[end:])
    return tuple(path)


def _renamed(detail: str, old: Sequence[str | int], new: Sequence[str | int]) -> str:
    """The text of an error with another path at its beginning."""
    for written in (_dotted, _with_indexes):
        if old and detail.startswith(written(old)):
            return written(new) + detail.removeprefix(written(old))
    return detail


def _dotted(path: Sequence[str | int]) -> str:
    return ".".join(map(str, path))


def _with_indexes(path: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _checked(kind: Kind, spec: dict[str, Any]) -> dict[str, Any]:
    try:
        parsed = SPECS[kind].model_validate(spec)
    except ValidationError as error:
        raise refusal(error.errors(), "body", SPECS[kind]) from None
    _require_known_model(kind, parsed)
    _require_known_language(parsed)
    _require_weights(parsed)
    if (found := first_problem(parsed)) is not None:
        raise Problem(
            422, str(found).removeprefix("spec."), errors=[{"loc": ["body", *found.field], "msg": found.expected}]
        )
    return spec


def _require_known_model(kind: Kind, spec: Spec) -> None:
    """Raises Problem 422 for an unknown short name, which the provider would only report as not found."""
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
    """Raises Problem 422 for a language code that the CRD admits and AssemblyAI does not support."""
    why = languages.unknown_code_error(spec.options.language) if isinstance(spec, TranscriptionSpec) else ""
    if why:
        errors = [{"loc": ["body", "options", "language"], "msg": why}]
        raise Problem(422, f"options.language: {why}", errors=errors)


def _require_weights(spec: Spec) -> None:
    """Raises Problem 422 for the address of a LoRA that is a page or a pickle, which the provider would bill."""
    for index, lora in enumerate(spec.loras if isinstance(spec, ImageGenerationSpec) else ()):
        if lora.path is not None and (why := lora_links.refusal(lora.path)):
            raise Problem(
                422, f"loras[{index}].path: {why}", errors=[{"loc": ["body", "loras", index, "path"], "msg": why}]
            )
