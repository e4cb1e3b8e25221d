"""The providers' models and their short names. Pure."""

from difflib import get_close_matches

from contentgen_contract.catalogue.entries import ENTRIES, InputField, entries_of
from contentgen_contract.names import Kind
from contentgen_contract.resources.spec import LoraTrainingSpec, Spec, TranscriptionSpec

ALIASES: dict[str, str] = {entry.short_name: entry.endpoint for entry in ENTRIES.values()}
SHORT_NAMES: dict[Kind, tuple[str, ...]] = {
    kind: tuple(entry.short_name for entry in entries_of(kind)) for kind in Kind if entries_of(kind)
}
"""Short names by kind."""
TRANSCRIBER = "assemblyai/universal"
TAKES_LEARNING_RATE = tuple(entry.endpoint for entry in ENTRIES.values() if entry.takes(InputField.LEARNING_RATE))
"""Trainers with an input for the learning rate; flux-lora-fast-training has none."""


def full_name(model: str) -> str:
    """Full model id for a short name; other names unchanged."""
    return ALIASES.get(model, model)


def names_of(model: str) -> tuple[str, ...]:
    """All names of a model: its full id and its short names."""
    full = full_name(model)
    return (full, *(alias for alias, name in ALIASES.items() if name == full))


def model_of(spec: Spec) -> str:
    """Full model id of a spec."""
    return full_name(given_model(spec))


def given_model(spec: Spec) -> str:
    """Model of a spec by the name that the user wrote, which records and the API repeat."""
    match spec:
        case LoraTrainingSpec():
            return spec.training.model
        case TranscriptionSpec():
            return TRANSCRIBER
        case _:
            return spec.model


def short_name_error(kind: Kind, model: str) -> str | None:
    """Error text for a name that is neither a short name of this kind nor a full id with a slash.

    None for all others: full ids are not validated here.
    """
    names = SHORT_NAMES.get(kind, ())
    if "/" in model or model in names or not names:
        return None
    example = ALIASES[names[1] if len(names) > 1 else names[0]]
    near = get_close_matches(model, names, 1)
    meant = f"; did you mean {near[0]}?" if near else ""
    return f"must be a short name ({', '.join(names)}) or a full fal model id such as {example}{meant}"


def not_found_message(model: str) -> str:
    """Error text for a model that the provider does not have, with the short names and the nearest one."""
    near = get_close_matches(model, (*ALIASES, *ALIASES.values()), 1)
    meant = f"; did you mean {near[0]}?" if near and near[0] != model else ""
    return f"there is no model {model!r}; the short names are {', '.join(ALIASES)}{meant}"
