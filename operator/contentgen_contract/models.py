"""The providers' models, and the short names that people have for them."""

from contentgen_contract.spec import ImageGenerationSpec, LoraTrainingSpec, Spec

ALIASES = {
    "flux-lora-fast-training": "fal-ai/flux-lora-fast-training",
    "flux-lora": "fal-ai/flux-lora",
    "flux-dev": "fal-ai/flux/dev",
    "flux-schnell": "fal-ai/flux/schnell",
    "flux-pro": "fal-ai/flux-pro/v1.1",
}
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
