"""Price table of the providers' models, and estimates from it, in whole micro-dollars. Pure.

`CONTENTGEN_PRICES` replaces entries of the table; fal's pricing endpoint, where it answers, comes before the table.
A model that is in none of them has no price: it is unknown, which is never counted as 0.
"""

import math
from enum import StrEnum

from pydantic import Field

from contentgen_contract.base import Value
from contentgen_contract.resources.models import TRANSCRIBER, full_name
from contentgen_contract.resources.spec import ImageGenerationSpec, LoraTrainingSpec, Spec, TranscriptionSpec

USD = 1_000_000  # micro-dollars
_MEGAPIXEL = 1024 * 1024  # as fal counts: 1024 by 1024 is one
_MOST_MICROS = 1e12


class Unit(StrEnum):
    """The unit that a price is for."""

    RUN = "run"
    STEP = "step"
    IMAGE = "image"
    MEGAPIXEL = "megapixel"  # each picture is rounded up to whole megapixels
    SECOND = "second"  # of sound, as are the next two; all three are billed by the second
    MINUTE = "minute"
    HOUR = "hour"
    OTHER = "other"  # of the provider's own, which cannot be counted before it has


SECONDS = {Unit.SECOND: 1, Unit.MINUTE: 60, Unit.HOUR: 3600}
"""Seconds of sound in a unit."""


class CostSource(StrEnum):
    """The source of an amount, in words for people."""

    BILLING_EVENTS = "billing events"
    UNITS = "billable units × unit price"
    SECONDS = "seconds × rate"
    NOT_BILLED = "not billed"
    ESTIMATE = "estimate"
    UNKNOWN = "unknown"


BILLED = (CostSource.BILLING_EVENTS, CostSource.UNITS, CostSource.SECONDS, CostSource.NOT_BILLED)
"""Those by the provider's own figures."""


class Price(Value):
    """The price of one unit of a model."""

    micros: float = Field(ge=0, le=_MOST_MICROS, allow_inf_nan=False)
    unit: Unit
    source: str
    url: str = ""
    read_on: str = ""  # date, as 2026-11-22
    minimum: float = Field(0, ge=0, allow_inf_nan=False)  # units that are billed at least
    speaker_labels_micros: float = Field(0, ge=0, le=_MOST_MICROS, allow_inf_nan=False)  # a unit, in addition
    billing: bool = False  # whether the provider's billable units are known to count this unit


class PriceLookup(Value):
    """A provider's answer about its price. `problem` where there was no answer; neither: it names no price."""

    price: Price | None = None
    problem: str = ""


_READ_ON = "2026-11-22"
_BUILT_IN = f"built-in prices of {_READ_ON[:7]}"


def _fal(model: str, usd: float, unit: Unit, *, minimum: float = 0, billing: bool = False) -> dict[str, Price]:
    price = Price(
        micros=round(usd * USD, 3),
        unit=unit,
        source=_BUILT_IN,
        url=f"https://fal.ai/models/{model}",
        read_on=_READ_ON,
        minimum=minimum,
        billing=billing,
    )
    return {model: price}


def _assemblyai(model: str, usd_an_hour: float) -> dict[str, Price]:
    price = Price(
        micros=round(usd_an_hour * USD, 3),
        unit=Unit.HOUR,
        source=_BUILT_IN,
        url="https://www.assemblyai.com/pricing",
        read_on="2026-10-07",
        speaker_labels_micros=20_000,
        billing=True,
    )
    return {model: price}


# Trainers that take the operator's request and give the file that it collects.
_TRAINER_PRICES: dict[str, Price] = _fal("fal-ai/flux-lora-fast-training", 0.002, Unit.STEP) | _fal(
    "fal-ai/flux-lora-portrait-trainer", 0.0024, Unit.STEP, minimum=1000
)
_IMAGE_PRICES: dict[str, Price] = (
    _fal("fal-ai/flux-lora", 0.035, Unit.MEGAPIXEL, billing=True)
    | _fal("fal-ai/flux/dev", 0.025, Unit.MEGAPIXEL, billing=True)
    | _fal("fal-ai/flux/schnell", 0.003, Unit.MEGAPIXEL, billing=True)
    | _fal("fal-ai/flux-pro/v1.1", 0.04, Unit.MEGAPIXEL, billing=True)
)
PRICES: dict[str, Price] = (
    _TRAINER_PRICES
    | _IMAGE_PRICES
    # A request names no model: AssemblyAI takes the first of its list, so that is the estimate.
    | _assemblyai(TRANSCRIBER, 0.21)
    | _assemblyai("assemblyai/universal-3-5-pro", 0.21)
    | _assemblyai("assemblyai/universal-2", 0.15)
)
TRAINERS = frozenset(_TRAINER_PRICES)
"""Models that make a LoRA, as far as the table knows them."""
IMAGE_MODELS = frozenset(_IMAGE_PRICES)
"""Models that make pictures, likewise."""


def is_trainer(model: str) -> bool | None:
    """Whether a fal model makes a LoRA and no pictures; None: unknown."""
    full = full_name(model)
    if full in IMAGE_MODELS:
        return False
    # fal names its trainers so: flux-2-trainer, hunyuan-video-lora-training.
    return True if full in TRAINERS or "trainer" in full or "training" in full else None


def unit_rate(spec: Spec, price: Price) -> float:
    """Micro-dollars of one unit, with what the spec asks for in addition."""
    labels = isinstance(spec, TranscriptionSpec) and spec.options.speaker_labels
    return price.micros + (price.speaker_labels_micros if labels else 0)


def estimate(spec: Spec, price: Price, duration_seconds: float) -> int | None:
    """Micro-dollars that a run will cost, rounded up; None where the units are unknown, or not known yet.

    `duration_seconds` of sound count where the price is for a time.
    """
    units = _units(spec, price.unit, duration_seconds)
    return None if units is None else amount(unit_rate(spec, price), max(units, price.minimum))


def amount(micros: float, units: float) -> int:
    """Units at a price, in whole micro-dollars, rounded up."""
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
    """Two decimals, more where the amount is smaller than a cent: `2.00`, `0.0045`."""
    total = micros / USD
    return f"{total:.2f}" if micros % 10_000 == 0 or total >= 1 else f"{total:.4f}"
