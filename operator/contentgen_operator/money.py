"""Money in whole micro-dollars, and the price table behind every estimate and charge.

Trainers' prices differ and change, so the table is configuration: `CONTENTGEN_PRICES` overrides any entry.
"""

import math
from enum import StrEnum

from contentgen_contract.base import Value
from contentgen_contract.spec import ImageGenerationSpec, LoraTrainingSpec, Spec

USD = 1_000_000  # micro-dollars
_MEGAPIXEL = 1024 * 1024  # as fal counts: 1024 by 1024 is one


class Unit(StrEnum):
    """What a price is for."""

    RUN = "run"
    STEP = "step"
    MEGAPIXEL = "megapixel"  # each picture is rounded up to whole megapixels
    MINUTE = "minute"  # of sound


class Price(Value):
    """The price of one unit of a model."""

    micros: int
    unit: Unit
    source: str


_BUILT_IN = "built-in estimate of 2026-11"
PRICES: dict[str, Price] = {
    "fal-ai/flux-lora-fast-training": Price(micros=2_000_000, unit=Unit.RUN, source=_BUILT_IN),
    "fal-ai/flux-lora": Price(micros=35_000, unit=Unit.MEGAPIXEL, source=_BUILT_IN),
    "fal-ai/flux/dev": Price(micros=25_000, unit=Unit.MEGAPIXEL, source=_BUILT_IN),
    "fal-ai/flux/schnell": Price(micros=3_000, unit=Unit.MEGAPIXEL, source=_BUILT_IN),
    "fal-ai/flux-pro/v1.1": Price(micros=40_000, unit=Unit.MEGAPIXEL, source=_BUILT_IN),
    "assemblyai/universal": Price(micros=6_170, unit=Unit.MINUTE, source=_BUILT_IN),
}


def estimate(spec: Spec, price: Price, duration_seconds: float) -> int:
    """What a run will cost, in micro-dollars; `duration_seconds` of sound count where the price is by the minute."""
    return math.ceil(price.micros * _units(spec, price.unit, duration_seconds))


def _units(spec: Spec, unit: Unit, duration_seconds: float) -> float:
    match unit:
        case Unit.RUN:
            return 1
        case Unit.STEP:
            return spec.training.steps if isinstance(spec, LoraTrainingSpec) else 1
        case Unit.MEGAPIXEL:
            return _megapixels(spec) if isinstance(spec, ImageGenerationSpec) else 1
        case Unit.MINUTE:
            return duration_seconds / 60


def _megapixels(spec: ImageGenerationSpec) -> int:
    return math.ceil(spec.image.size.width * spec.image.size.height / _MEGAPIXEL) * spec.image.count


def dollars(micros: int) -> str:
    """Two decimals, more where the amount is smaller than a cent: `2.00`, `0.0045`."""
    amount = micros / USD
    return f"{amount:.2f}" if micros % 10_000 == 0 or amount >= 1 else f"{amount:.4f}"
