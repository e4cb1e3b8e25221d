"""The providers' models, and the short names that people have for them."""

from difflib import get_close_matches

from contentgen_contract.names import Kind
from contentgen_contract.resources.spec import ImageGenerationSpec, LoraTrainingSpec, Spec

ALIASES = {
    "flux-lora-fast-training": "fal-ai/flux-lora-fast-training",
    "flux-lora": "fal-ai/flux-lora",
    "flux-dev": "fal-ai/flux/dev",
    "flux-schnell": "fal-ai/flux/schnell",
    "flux-pro": "fal-ai/flux-pro/v1.1",
}
SHORT_NAMES: dict[Kind, tuple[str, ...]] = {
    Kind.LORA_TRAINING: ("flux-lora-fast-training",),
    Kind.IMAGE_GENERATION: ("flux-lora", "flux-dev", "flux-schnell", "flux-pro"),
}
"""The short names by the kind that takes them."""
TRANSCRIBER = "assemblyai/universal"


def full_name(model: str) -> str:
    """The name that the provider has for it."""
    return ALIASES.get(model, model)


def names_of(model: str) -> tuple[str, ...]:
    """All names of the model that this one is a name of."""
    full = full_name(model)
    return (full, *(alias for alias, name in ALIASES.items() if name == full))


def model_of(spec: Spec) -> str:
    """The full name of the model, with aliases resolved."""
    match spec:
        case LoraTrainingSpec():
            return full_name(spec.training.model)
        case ImageGenerationSpec():
            return full_name(spec.model)
        case _:
            return TRANSCRIBER


def short_name_error(kind: Kind, model: str) -> str | None:
    """Expectation for a model name that is certainly wrong: no short name of this kind and no full id with a slash.

    None for all others: only the provider knows its full ids.
    """
    names = SHORT_NAMES.get(kind, ())
    if "/" in model or model in names or not names:
        return None
    example = ALIASES[names[1] if len(names) > 1 else names[0]]
    near = get_close_matches(model, names, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"must be a short name ({', '.join(names)}) or a full fal model id such as {example}{meant}"


def not_found_message(model: str) -> str:
    """Message for a model that its provider does not have: the short names, and the nearest one if any."""
    near = get_close_matches(model, (*ALIASES, *ALIASES.values()), 1)
    meant = f"; did you mean {near[0]}?" if near and near[0] != model else ""
    return f"there is no model {model!r}; the short names are {', '.join(ALIASES)}{meant}"
