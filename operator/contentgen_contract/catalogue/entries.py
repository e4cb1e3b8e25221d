"""Entries of the catalogue, from `models/*.json`, read once. Pure afterwards.

An entry names the inputs of a model by the product's fields. `facts/fal/models` holds what the provider documents of
the same model; tests/unit/catalogue/test_catalogue.py compares the two.
"""

from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from importlib.resources import files
from typing import Any, Literal

from pydantic import Field

from contentgen_contract.base import Manifest
from contentgen_contract.names import Kind


class InputField(StrEnum):
    """Input of a model by what it carries, whatever its name at the provider."""

    DATASET = "dataset"  # URL of the archive of pictures and captions
    TRIGGER = "trigger"
    STEPS = "steps"
    STYLE = "style"  # whether a style is trained
    MASKS = "masks"  # whether a subject is trained, whose masks the trainer makes
    LEARNING_RATE = "learningRate"
    PROMPT = "prompt"
    SIZE = "size"  # object with width and height
    COUNT = "count"
    FORMAT = "format"
    SEED = "seed"
    LORAS = "loras"  # list of objects with path and scale


class LimitedField(StrEnum):
    """A number of a spec that a model may limit."""

    STEPS = "steps"
    LEARNING_RATE = "learningRate"
    LORAS = "loras"  # their number
    SCALE = "scale"  # of each LoRA
    WIDTH = "width"
    HEIGHT = "height"
    COUNT = "count"


def _plain(number: float) -> str:
    """The number without an exponent: `0.000001`, `4`."""
    return format(Decimal(str(number)).normalize() + 0, "f")


class FieldLimit(Manifest):
    """Values that a model takes, within those of the CRD."""

    minimum: float | None = None
    maximum: float | None = None
    multiple_of: int | None = Field(None, ge=1)

    def admits(self, value: float) -> bool:
        """True if the model takes the value."""
        least = self.minimum is None or value >= self.minimum
        most = self.maximum is None or value <= self.maximum
        return least and most and (self.multiple_of is None or value % self.multiple_of == 0)

    @property
    def text(self) -> str:
        """The limits in words, such as `at least 100 and a multiple of 100`."""
        bounds = (("at least", self.minimum), ("at most", self.maximum), ("a multiple of", self.multiple_of))
        return " and ".join(f"{words} {_plain(bound)}" for words, bound in bounds if bound is not None)


class InputMapping(Manifest):
    """Inputs of a model."""

    names: Mapping[InputField, str]  # name of the input by what it carries
    constants: Mapping[str, Any] = {}  # value of other inputs, by their names
    limits: Mapping[LimitedField, FieldLimit] = {}


class CataloguePrice(Manifest):
    """Price of one unit of a model, as its page states it."""

    usd: float = Field(gt=0)
    maximum_usd: float | None = Field(None, gt=0)  # for bounds, where published prices disagree or a surcharge applies
    unit: Literal["step", "image", "megapixel"]
    listed_unit: str | None = None  # the provider's word for it in its price list, if that is of no fixed meaning
    minimum: int = Field(0, ge=0)  # minimum number of billed units
    billing: bool  # whether the provider's billable units are in this unit
    url: str
    read_on: str  # date, as 2026-11-22


class CatalogueEntry(Manifest):
    """A model that may be bought."""

    endpoint: str  # full model id
    kind: Kind
    short_name: str
    position: int  # in lists of the kind's models
    input: InputMapping
    output: Literal["diffusers_lora_file", "lora_file", "images"]  # member of the answer with what was paid for
    lora_family: str | None  # that a trainer makes and a generator takes; None: it takes no LoRAs
    price: CataloguePrice
    licence: str | None  # None: no source states one

    def takes(self, field: InputField) -> bool:
        """True if the model has an input for it."""
        return field in self.input.names


def _read() -> dict[str, CatalogueEntry]:
    folder = files(__package__).joinpath("models")
    texts = (file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(".json"))
    entries = sorted(map(CatalogueEntry.model_validate_json, texts), key=lambda entry: entry.position)
    return {entry.endpoint: entry for kind in Kind for entry in entries if entry.kind is kind}


ENTRIES: Mapping[str, CatalogueEntry] = _read()
"""The entries by endpoint, ordered by kind and position."""


def entries_of(kind: Kind) -> tuple[CatalogueEntry, ...]:
    """Entries of a kind, in the order of lists; none for a kind whose model is not chosen."""
    of_kind = (entry for entry in ENTRIES.values() if entry.kind is kind)
    return tuple(sorted(of_kind, key=lambda entry: entry.position))
