"""Price table of the providers' models, and cost estimates in whole micro-dollars. Pure.

`CONTENTGEN_PRICES` overrides entries of the table; a price from fal's pricing endpoint takes precedence over the table.
The price of a model without an entry is unknown, which never counts as 0.
"""

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum

from pydantic import Field

from contentgen_contract.base import Value
from contentgen_contract.catalogue.entries import CataloguePrice, entries_of
from contentgen_contract.names import Kind
from contentgen_contract.resources.models import TRANSCRIBER, full_name
from contentgen_contract.resources.spec import ImageGenerationSpec, LoraTrainingSpec, Spec, TranscriptionSpec

USD = 1_000_000  # micro-dollars
_MEGAPIXEL = 1024 * 1024  # fal counts 1024 × 1024 pixels as one
_MAX_MICROS = 1e12


class Unit(StrEnum):
    """Unit of a price."""

    RUN = "run"
    STEP = "step"
    IMAGE = "image"
    MEGAPIXEL = "megapixel"  # per picture, rounded up to whole megapixels
    SECOND = "second"  # of audio, like the next two; all three are billed by the second
    MINUTE = "minute"
    HOUR = "hour"
    OTHER = "other"  # a unit of the provider that is unknown before the request


SECONDS = {Unit.SECOND: 1, Unit.MINUTE: 60, Unit.HOUR: 3600}
"""Seconds of audio per unit."""


class CostSource(StrEnum):
    """Source of an amount, for people."""

    BILLING_EVENTS = "billing events"
    UNITS = "billable units × unit price"
    SECONDS = "seconds × rate"
    NOT_BILLED = "not billed"
    ESTIMATE = "estimate"
    UNKNOWN = "unknown"


BILLED = (CostSource.BILLING_EVENTS, CostSource.UNITS, CostSource.SECONDS, CostSource.NOT_BILLED)
"""Sources that are figures of the provider."""


class Price(Value):
    """Price of one unit of a model."""

    micros: float = Field(ge=0, le=_MAX_MICROS, allow_inf_nan=False)
    unit: Unit
    source: str
    url: str = ""
    read_on: str = ""  # date, as 2026-11-22
    minimum: float = Field(0, ge=0, allow_inf_nan=False)  # minimum number of billed units
    speaker_labels_micros: float = Field(0, ge=0, le=_MAX_MICROS, allow_inf_nan=False)  # surcharge per unit
    maximum_micros: float = Field(0, ge=0, le=_MAX_MICROS, allow_inf_nan=False)  # highest published price; 0: this one
    billing: bool = False  # whether the provider's billable units are in this unit


class PriceLookup(Value):
    """Result of a price request. `problem`: no response, and the price is the last known one, if any. Without both, the
    provider states no price.
    """

    price: Price | None = None
    problem: str = ""


def _source(read_on: str) -> str:
    return f"built-in prices of {read_on[:7]}"


def _catalogued(kind: Kind) -> dict[str, Price]:
    return {entry.endpoint: _price(entry.price) for entry in entries_of(kind)}


def _price(given: CataloguePrice) -> Price:
    return Price(
        micros=round(given.usd * USD, 3),
        unit=Unit(given.unit),
        source=_source(given.read_on),
        url=given.url,
        read_on=given.read_on,
        minimum=given.minimum,
        maximum_micros=round((given.maximum_usd or 0) * USD, 3),
        billing=given.billing,
    )


def _assemblyai(model: str, usd_an_hour: float) -> dict[str, Price]:
    price = Price(
        micros=round(usd_an_hour * USD, 3),
        unit=Unit.HOUR,
        source=_source("2026-11-22"),
        url="https://www.assemblyai.com/pricing",
        read_on="2026-10-07",
        speaker_labels_micros=20_000,
        billing=True,
    )
    return {model: price}


_TRAINER_PRICES = _catalogued(Kind.LORA_TRAINING)
_IMAGE_PRICES = _catalogued(Kind.IMAGE_GENERATION)
PRICES: dict[str, Price] = (
    _TRAINER_PRICES
    | _IMAGE_PRICES
    | _assemblyai(TRANSCRIBER, 0.21)  # the first of SPEECH_MODELS
    | _assemblyai("assemblyai/universal-3-5-pro", 0.21)
    | _assemblyai("assemblyai/universal-2", 0.15)
)
SPEECH_MODELS = ("universal-3-5-pro", "universal-2")
"""Models of AssemblyAI that each request names: without them it takes a model by the age of the account. The first has
a published price, which its successor assemblyai-stt-3-7 has not yet, and works unchanged until a retirement that is
announced 90 days before; the second has the languages that the first lacks.
"""
TRAINERS = frozenset(_TRAINER_PRICES)
"""Models of the catalogue that train a LoRA."""
IMAGE_MODELS = frozenset(_IMAGE_PRICES)
"""Models of the catalogue that generate pictures."""
BUILT_IN_MODELS = TRAINERS | IMAGE_MODELS
"""fal models whose inputs the operator sends by their names, and whose output it collects: those that may be bought.
fal prices every endpoint, so a price says nothing about that.
"""


def speech_prices(prices: Mapping[str, Price], models: Sequence[str]) -> tuple[Price | None, ...]:
    """Price of each speech model; None: unknown."""
    return tuple(prices.get(f"assemblyai/{name}") for name in models)


def site_prices(own: Mapping[str, Price], speech_models: Sequence[str]) -> dict[str, Price]:
    """The built-in table, overridden by an administrator's prices. A transcript has that of the first speech model."""
    prices = PRICES | dict(own)
    first = speech_prices(prices, speech_models)[0]
    if first is None:
        del prices[TRANSCRIBER]
    else:
        prices[TRANSCRIBER] = first
    return prices | dict(own)


def is_trainer(model: str) -> bool | None:
    """True for a fal model that trains a LoRA, False for one that generates pictures, None if unknown."""
    full = full_name(model)
    if full in IMAGE_MODELS:
        return False
    # Naming convention of fal: flux-2-trainer, hunyuan-video-lora-training.
    return True if full in TRAINERS or "trainer" in full or "training" in full else None


def unit_rate(spec: Spec, price: Price) -> float:
    """Micro-dollars per unit, with the surcharges of the spec."""
    labels = isinstance(spec, TranscriptionSpec) and spec.options.speaker_labels
    return price.micros + (price.speaker_labels_micros if labels else 0)


def estimate(spec: Spec, price: Price, duration_seconds: float) -> int | None:
    """Expected cost of a run in micro-dollars, rounded up; None if the number of units is unknown.

    `duration_seconds`: length of the audio, for prices per time.
    """
    units = _units(spec, price.unit, duration_seconds)
    return None if units is None else amount(unit_rate(spec, price), max(units, price.minimum))


def upper_bound(
    spec: Spec, price: Price, minimum: float, duration_seconds: float, *, maximum_micros: float = 0
) -> int | None:
    """Upper bound of the cost of a run in micro-dollars; None if the number of units is unknown.

    `minimum` and `maximum_micros`: smallest number of billed units and highest published price by the table, which a
    provider's price lacks. The audio counts with one second more than measured: a provider may round up, and may
    decode its padding.
    """
    seconds = math.ceil(duration_seconds) + 1 if duration_seconds > 0 else 0
    highest = {"minimum": max(price.minimum, minimum), "micros": max(price.micros, maximum_micros)}
    return estimate(spec, price.model_copy(update=highest), seconds)


def amount(micros: float, units: float) -> int:
    """Price of some units in whole micro-dollars, rounded up."""
    return math.ceil(round(micros * units, 6))


def _units(spec: Spec, unit: Unit, duration_seconds: float) -> float | None:
    match unit, spec:
        case Unit.RUN, _:
            return 1
        case Unit.STEP, LoraTrainingSpec():
            return spec.training.steps
        case Unit.IMAGE, ImageGenerationSpec():
            return spec.image.count
        case Unit.MEGAPIXEL, ImageGenerationSpec():
            return _megapixels(spec)
        case ((Unit.SECOND | Unit.MINUTE | Unit.HOUR), TranscriptionSpec()) if duration_seconds > 0:
            return duration_seconds / SECONDS[unit]
        case _:
            return None


def _megapixels(spec: ImageGenerationSpec) -> int:
    return math.ceil(spec.image.size.width * spec.image.size.height / _MEGAPIXEL) * spec.image.count


def format_dollars(micros: int) -> str:
    """Dollars with two decimals, or four for fractions of a cent below a dollar: `2.00`, `0.0045`."""
    total = micros / USD
    return f"{total:.2f}" if micros % 10_000 == 0 or total >= 1 else f"{total:.4f}"
