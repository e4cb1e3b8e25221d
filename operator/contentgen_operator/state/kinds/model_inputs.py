"""Arguments of a call by the names of the catalogue. Pure."""

from collections.abc import Mapping
from typing import Any

from contentgen_contract.catalogue.entries import ENTRIES, InputField, InputMapping, entries_of
from contentgen_contract.names import Kind


def arguments_for(kind: Kind, model: str, values: Mapping[InputField, Any]) -> dict[str, Any]:
    """The values that the model has an input for, under its names, and its constants. A value of None is not sent.

    A model without an entry has the names of the kind's first one: a request that was sent before the catalogue is
    searched by them if its ledger entry has lost what was sent. No such model is bought.
    """
    mapping = ENTRIES[model].input if model in ENTRIES else _uncatalogued(kind)
    named = {mapping.names[field]: value for field, value in values.items() if field in mapping.names}
    return {name: value for name, value in named.items() if value is not None} | dict(mapping.constants)


def _uncatalogued(kind: Kind) -> InputMapping:
    first = entries_of(kind)[0].input
    return first.model_copy(update={"names": {InputField.LEARNING_RATE: "learning_rate", **first.names}})
