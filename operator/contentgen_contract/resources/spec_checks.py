"""Specs that the provider would take and bill although they cannot give what is asked for. Pure.

The CRDs' rules (`crds.py`) refuse the same at admission. `parse_spec` takes such a spec, because runs of older releases
have one and keep it: the check is for what is about to be created or bought.
"""

import re
from collections.abc import Iterator

from contentgen_contract.base import Value
from contentgen_contract.names import Kind
from contentgen_contract.resources.prices import is_trainer
from contentgen_contract.resources.spec import ImageGenerationSpec, Lora, LoraTrainingSpec, Spec

# Code points that no prompt has: controls but for tab and line ends, and those that change the direction of writing.
_REFUSED = (
    (0x00, 0x08), (0x0B, 0x0C), (0x0E, 0x1F), (0x7F, 0x9F), (0x61C, 0x61C), (0x200E, 0x200F), (0x202A, 0x202E),
    (0x2066, 0x2069),
)  # fmt: skip
REFUSED_CHARACTERS = "[" + "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" for first, last in _REFUSED) + "]"
"""As a regular expression of RE2, for CEL."""
NOT_BLANK = r"[^\s\p{Z}]"
"""Likewise."""
_REFUSED_PATTERN = re.compile("[" + "".join(f"{chr(first)}-{chr(last)}" for first, last in _REFUSED) + "]")
_LONGEST_VALUE = 80

BLANK = "must have a character that is no space"
NO_CONTROL_CHARACTERS = (
    "must have no NUL, no other control character but tabs and line ends, and no mark of writing direction"
)
SCALE = "must be greater than 0, such as 0.8: with 0 the LoRA changes nothing"
LEARNING_RATE = "must be greater than 0 and at most 1, such as 0.0004"
DISTINCT = "must name each LoRA once"
NOT_A_TRAINER = "must be a model that makes pictures, such as flux-dev, and this one trains a LoRA"
NOT_AN_IMAGE_MODEL = "must be a trainer, such as flux-lora-fast-training, and this model makes pictures"


class SpecProblem(Value):
    """A field that is wrong, by its path below the spec."""

    field: tuple[str | int, ...]
    value: str  # as it may be shown; empty: not to be repeated
    expected: str

    @property
    def path(self) -> str:
        """The field as `spec.loras[0].scale`."""
        return "spec" + "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in self.field)

    def __str__(self) -> str:
        return f"{self.path}: {f'{self.value!r} ' if self.value else ''}{self.expected}"


def first_problem(spec: Spec) -> SpecProblem | None:
    """The first field that is wrong; None: nothing."""
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


def _image_problems(spec: ImageGenerationSpec) -> Iterator[SpecProblem]:
    if makes_other_output(Kind.IMAGE_GENERATION, spec.model):
        yield SpecProblem(field=("model",), value=spec.model, expected=NOT_A_TRAINER)
    if not spec.prompt.strip():
        yield SpecProblem(field=("prompt",), value=spec.prompt[:_LONGEST_VALUE], expected=BLANK)
    if found := _REFUSED_PATTERN.search(spec.prompt):
        yield SpecProblem(
            field=("prompt",), value="", expected=f"has U+{ord(found[0]):04X}; it {NO_CONTROL_CHARACTERS}"
        )
    for index, lora in enumerate(spec.loras):
        if float(lora.scale) == 0:
            yield SpecProblem(field=("loras", index, "scale"), value=lora.scale, expected=SCALE)
        if _lora_identity(lora) in map(_lora_identity, spec.loras[:index]):
            # Not its value: an address may hold a signature.
            yield SpecProblem(
                field=("loras", index), value=lora.lora_ref.name if lora.lora_ref else "", expected=DISTINCT
            )


def _lora_identity(lora: Lora) -> tuple[str, str]:
    return ("name", lora.lora_ref.name) if lora.lora_ref else ("path", lora.path or "")


def makes_other_output(kind: Kind, model: str) -> bool:
    """Whether a model is known to make something else than this kind asks for."""
    return is_trainer(model) is (kind is Kind.IMAGE_GENERATION)
