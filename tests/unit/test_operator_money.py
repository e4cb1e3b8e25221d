"""Prices in whole micro-dollars."""

from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_contract.spec import parse_spec
from contentgen_operator.money import PRICES, Price, Unit, dollars, estimate

SOURCE = {"url": "https://h/x"}
LORA = {"loraName": "n", "triggerWord": "t", "source": SOURCE}


@pytest.mark.parametrize(
    ("kind", "spec", "unit", "seconds", "units"),
    [
        (Kind.LORA_TRAINING, LORA | {"training": {"steps": 700}}, Unit.STEP, 0, 700),
        (Kind.LORA_TRAINING, LORA, Unit.RUN, 0, 1),
        (
            Kind.IMAGE_GENERATION,
            {"prompt": "p", "image": {"size": {"width": 512, "height": 512}}},
            Unit.MEGAPIXEL,
            0,
            1,
        ),
        (Kind.IMAGE_GENERATION, {"prompt": "p", "image": {"count": 3}}, Unit.MEGAPIXEL, 0, 3),
        (
            Kind.IMAGE_GENERATION,
            {"prompt": "p", "image": {"count": 2, "size": {"width": 2048, "height": 1024}}},
            Unit.MEGAPIXEL,
            0,
            4,
        ),
        (Kind.TRANSCRIPTION, {"source": SOURCE}, Unit.MINUTE, 90, 1.5),
    ],
)
def test_an_estimate_counts_units(kind: Kind, spec: dict[str, Any], unit: Unit, seconds: float, units: float) -> None:
    price = Price(micros=2_400, unit=unit, source="test")
    assert estimate(parse_spec(kind, spec), price, seconds) == 2_400 * units


def test_an_estimate_is_whole_and_never_too_low() -> None:
    spec = parse_spec(Kind.TRANSCRIPTION, {"source": SOURCE})
    assert estimate(spec, Price(micros=7, unit=Unit.MINUTE, source="t"), 1) == 1


@pytest.mark.parametrize(
    ("micros", "text"), [(0, "0.00"), (2_000_000, "2.00"), (35_000, "0.0350"), (4_500, "0.0045"), (1_234_567, "1.23")]
)
def test_dollars(micros: int, text: str) -> None:
    assert dollars(micros) == text


def test_each_built_in_price_says_where_it_is_from() -> None:
    assert all(price.micros > 0 and price.source for price in PRICES.values())
