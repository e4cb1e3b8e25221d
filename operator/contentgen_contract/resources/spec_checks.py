"""Checks for specs that the provider would accept and bill without a usable result. Pure.

The CRD rules (`crds.py`) refuse the same at admission, except what the model's entry in the catalogue narrows, such as
a learning rate that the trainer does not take: the spec of a finished resource may have it, and must stay editable.
`parse_spec` accepts these specs: the check applies before a creation or a payment, and a run that is paid for goes on.
"""

import re
from collections.abc import Iterator

from contentgen_contract.base import Value
from contentgen_contract.catalogue.entries import ENTRIES, CatalogueEntry, InputField, LimitedField
from contentgen_contract.names import Kind
from contentgen_contract.resources.models import TAKES_LEARNING_RATE, model_of
from contentgen_contract.resources.prices import is_trainer
from contentgen_contract.resources.spec import ImageGenerationSpec, Lora, LoraTrainingSpec, Spec, Style

# Code points that are refused in prompts: controls except tab and line ends, and bidirectional marks.
_REFUSED = (
    (0x00, 0x08), (0x0B, 0x0C), (0x0E, 0x1F), (0x7F, 0x9F), (0x61C, 0x61C), (0x200E, 0x200F), (0x202A, 0x202E),
    (0x2066, 0x2069),
)  # fmt: skip
REFUSED_CHARACTERS = "[" + "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in _REFUSED) + "]"
"""RE2 pattern for CEL."""
# Code points without a shape besides spaces: controls, format characters, fillers, variation selectors and tags.
_SHAPELESS = (
    (0x00, 0x1F), (0x7F, 0x9F), (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5),
    (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x2800, 0x2800), (0x3164, 0x3164),
    (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF9, 0xFFFB), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
NOT_BLANK = r"[^\s\p{Z}" + "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in _SHAPELESS) + "]"
"""RE2 pattern for CEL."""
_VISIBLE = re.compile(r"[^\s" + "".join(f"{chr(first)}-{chr(last)}" for first, last in _SHAPELESS) + "]")
_REFUSED_PATTERN = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in _REFUSED) + "]")
_LONGEST_VALUE = 80

BLANK = "must contain a character other than spaces and invisible ones"
NO_CONTROL_CHARACTERS = "must contain no control characters except tabs and line ends, and no bidirectional marks"
SCALE = "must be greater than 0, such as 0.8: with 0 the LoRA has no effect"
LEARNING_RATE = "must be greater than 0 and at most 1, such as 0.0004"
NO_LEARNING_RATE = f"must be omitted: only {', '.join(TAKES_LEARNING_RATE)} take a learning rate"
NO_STYLE = "must be Subject: the trainer has no input for a style, and learns what the captions leave out"
NO_LORAS = "needs a model that takes LoRAs, such as flux-lora"
DISTINCT = "must contain each LoRA only once"
NOT_A_TRAINER = "must be a model that generates pictures, such as flux-dev; this one trains a LoRA"
NOT_AN_IMAGE_MODEL = "must be a trainer, such as flux-lora-fast-training; this model generates pictures"


class SpecProblem(Value):
    """An invalid field of a spec."""

    field: tuple[str | int, ...]  # path below the spec
    value: str  # for the message; empty: must not be repeated
    expected: str

    @property
    def path(self) -> str:
        """The field as `spec.loras[0].scale`."""
        return "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.field)

    def __str__(self) -> str:
        return f"{self.path}: {f'{self.value!r} ' if self.value else ''}{self.expected}"


def first_problem(spec: Spec) -> SpecProblem | None:
    """The first invalid field; None if there is none."""
    return next(_problems(spec), None)


def _problems(spec: Spec) -> Iterator[SpecProblem]:
    match spec:
        case LoraTrainingSpec():
            yield from _training_problems(spec)
        case ImageGenerationSpec():
            yield from _image_problems(spec)
        case _:
            return


def _training_problems(spec: LoraTrainingSpec) -> Iterator[SpecProblem]:
    if makes_other_output(Kind.LORA_TRAINING, spec.training.model):
        yield SpecProblem(field=("training", "model"), value=spec.training.model, expected=NOT_AN_IMAGE_MODEL)
    given = spec.training.learning_rate
    if given is not None and not 0 < float(given) <= 1:
        yield SpecProblem(field=("training", "learningRate"), value=given, expected=LEARNING_RATE)
    if given is not None and model_of(spec) not in TAKES_LEARNING_RATE:
        yield SpecProblem(field=("training", "learningRate"), value=given, expected=NO_LEARNING_RATE)
    if (entry := ENTRIES.get(model_of(spec))) is not None:
        yield from _outside(entry, LimitedField.STEPS, ("training", "steps"), spec.training.steps)
        if given is not None:
            yield from _outside(entry, LimitedField.LEARNING_RATE, ("training", "learningRate"), given)
        if spec.training.style is Style.STYLE and not entry.takes(InputField.STYLE):
            yield SpecProblem(field=("training", "style"), value=Style.STYLE.value, expected=NO_STYLE)


def _image_problems(spec: ImageGenerationSpec) -> Iterator[SpecProblem]:
    if makes_other_output(Kind.IMAGE_GENERATION, spec.model):
        yield SpecProblem(field=("model",), value=spec.model, expected=NOT_A_TRAINER)
    if not _VISIBLE.search(spec.prompt):
        yield SpecProblem(field=("prompt",), value=spec.prompt[:_LONGEST_VALUE], expected=BLANK)
    if found := _REFUSED_PATTERN.search(spec.prompt):
        yield SpecProblem(
            field=("prompt",), value="", expected=f"contains U+{ord(found[0]):04X}; it {NO_CONTROL_CHARACTERS}"
        )
    for index, lora in enumerate(spec.loras):
        if float(lora.scale) == 0:
            yield SpecProblem(field=("loras", index, "scale"), value=lora.scale, expected=SCALE)
        if _lora_identity(lora) in map(_lora_identity, spec.loras[:index]):
            # Without the path: a URL may contain a signature.
            yield SpecProblem(
                field=("loras", index), value=lora.lora_ref.name if lora.lora_ref else "", expected=DISTINCT
            )

    if (entry := ENTRIES.get(model_of(spec))) is not None:
        yield from _entry_problems(spec, entry)


def _entry_problems(spec: ImageGenerationSpec, entry: CatalogueEntry) -> Iterator[SpecProblem]:
    """Fields of a valid spec with values that this model does not take."""
    size = spec.image.size
    yield from _outside(entry, LimitedField.WIDTH, ("image", "size", "width"), size.width)
    yield from _outside(entry, LimitedField.HEIGHT, ("image", "size", "height"), size.height)
    yield from _outside(entry, LimitedField.COUNT, ("image", "count"), spec.image.count)
    if spec.loras and not entry.takes(InputField.LORAS):
        yield SpecProblem(field=("loras",), value="", expected=NO_LORAS)
        return
    yield from _outside(entry, LimitedField.LORAS, ("loras",), len(spec.loras), " LoRAs")
    for index, lora in enumerate(spec.loras):
        yield from _outside(entry, LimitedField.SCALE, ("loras", index, "scale"), lora.scale)


def _outside(
    entry: CatalogueEntry, field: LimitedField, path: tuple[str | int, ...], given: int | str, counted: str = ""
) -> Iterator[SpecProblem]:
    """The problem of a number outside the limits of the model. `counted`: what it is a number of."""
    limit = entry.input.limits.get(field)
    if limit is not None and not limit.admits(float(given)):
        yield SpecProblem(
            field=path, value=f"{given}{counted}", expected=f"must be {limit.text} for {entry.short_name}"
        )


def _lora_identity(lora: Lora) -> tuple[str, str]:
    return ("name", lora.lora_ref.name) if lora.lora_ref else ("path", lora.path or "")


def makes_other_output(kind: Kind, model: str) -> bool:
    """True if a model is known not to generate the outputs of this kind."""
    return is_trainer(model) is (kind is Kind.IMAGE_GENERATION)
