"""Price table and estimates, in whole micro-dollars."""

from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_contract.resources.models import ALIASES, TRANSCRIBER
from contentgen_contract.resources.prices import PRICES, Price, Unit, estimate, format_dollars, is_trainer, upper_bound
from contentgen_contract.resources.spec import parse_spec

SOURCE = {"url": "https://h/x"}
LORA = {"loraName": "n", "triggerWord": "t", "source": SOURCE}
SILENT = {"source": SOURCE, "options": {"speakerLabels": False}}


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
        (Kind.IMAGE_GENERATION, {"prompt": "p", "image": {"count": 3}}, Unit.IMAGE, 0, 3),
        (
            Kind.IMAGE_GENERATION,
            {"prompt": "p", "image": {"count": 2, "size": {"width": 2048, "height": 1024}}},
            Unit.MEGAPIXEL,
            0,
            4,
        ),
        (Kind.TRANSCRIPTION, {"source": SOURCE}, Unit.MINUTE, 90, 1.5),
        (Kind.TRANSCRIPTION, {"source": SOURCE}, Unit.HOUR, 1800, 0.5),
        (Kind.TRANSCRIPTION, {"source": SOURCE}, Unit.SECOND, 1800, 1800),
    ],
)
def test_an_estimate_counts_units(kind: Kind, spec: dict[str, Any], unit: Unit, seconds: float, units: float) -> None:
    price = Price(micros=2_400, unit=unit, source="test")
    assert estimate(parse_spec(kind, spec), price, seconds) == 2_400 * units


@pytest.mark.parametrize(
    ("kind", "spec", "unit"),
    [
        (Kind.TRANSCRIPTION, {"source": SOURCE}, Unit.HOUR),  # the length is not known yet
        (Kind.TRANSCRIPTION, {"source": SOURCE}, Unit.MEGAPIXEL),
        (Kind.LORA_TRAINING, LORA, Unit.MEGAPIXEL),
        (Kind.IMAGE_GENERATION, {"prompt": "p"}, Unit.STEP),
        (Kind.IMAGE_GENERATION, {"prompt": "p"}, Unit.OTHER),
    ],
)
def test_units_that_cannot_be_counted_are_unknown_and_not_one(kind: Kind, spec: dict[str, Any], unit: Unit) -> None:
    assert estimate(parse_spec(kind, spec), Price(micros=7, unit=unit, source="t"), 0) is None


def test_an_estimate_is_whole_and_never_too_low() -> None:
    spec = parse_spec(Kind.TRANSCRIPTION, {"source": SOURCE})
    assert estimate(spec, Price(micros=7, unit=Unit.MINUTE, source="t"), 1) == 1


@pytest.mark.parametrize(
    ("width", "height", "count", "megapixels"),
    [
        (1024, 1024, 1, 1),
        (1032, 1024, 1, 2),
        (512, 512, 1, 1),
        (512, 512, 4, 4),
        (1280, 1024, 3, 6),  # 1.25 each: 3.75 together
        (1536, 1024, 1, 2),
        (2048, 1088, 1, 3),  # 2.125
        (2048, 2048, 2, 8),
    ],
)
def test_megapixels_are_rounded_up_for_each_picture(width: int, height: int, count: int, megapixels: int) -> None:
    image = {"count": count, "size": {"width": width, "height": height}}
    spec, price = parse_spec(Kind.IMAGE_GENERATION, {"prompt": "p", "image": image}), PRICES["fal-ai/flux/dev"]
    assert estimate(spec, price, 0) == upper_bound(spec, price, 0, 0) == 25_000 * megapixels


@pytest.mark.parametrize(
    ("model", "spec", "usd"),
    [
        ("fal-ai/flux-lora-fast-training", LORA | {"training": {"steps": 1000}}, "2.00"),
        ("fal-ai/flux-lora-fast-training", LORA | {"training": {"steps": 10_000}}, "20.00"),
        ("fal-ai/flux-lora-fast-training", LORA | {"training": {"steps": 500}}, "1.00"),
        ("fal-ai/flux-lora-portrait-trainer", LORA | {"training": {"steps": 100}}, "2.40"),  # 1,000 at least
        ("fal-ai/flux-lora-portrait-trainer", LORA | {"training": {"steps": 2500}}, "6.00"),
    ],
)
def test_a_training_costs_by_its_steps(model: str, spec: dict[str, Any], usd: str) -> None:
    found = estimate(parse_spec(Kind.LORA_TRAINING, spec), PRICES[model], 0)
    assert found is not None
    assert format_dollars(found) == usd


@pytest.mark.parametrize(("spec", "usd"), [(SILENT, "0.21"), ({"source": SOURCE}, "0.23")])
def test_speaker_labels_are_paid_in_addition(spec: dict[str, Any], usd: str) -> None:
    found = estimate(parse_spec(Kind.TRANSCRIPTION, spec), PRICES[TRANSCRIBER], 3600)
    assert found is not None
    assert format_dollars(found) == usd


@pytest.mark.parametrize(
    ("micros", "text"), [(0, "0.00"), (2_000_000, "2.00"), (35_000, "0.0350"), (4_500, "0.0045"), (1_234_567, "1.23")]
)
def test_dollars(micros: int, text: str) -> None:
    assert format_dollars(micros) == text


def test_each_built_in_price_says_where_it_is_from_and_of_when() -> None:
    assert all(price.micros > 0 and price.url.startswith("https://") and price.read_on for price in PRICES.values())


def test_each_short_name_has_a_price() -> None:
    assert set(ALIASES.values()) <= set(PRICES)


@pytest.mark.parametrize(
    ("model", "answer"),
    [
        ("flux-lora-fast-training", True),
        ("fal-ai/flux-lora-fast-training", True),
        ("fal-ai/flux-2-trainer/edit", True),
        ("krea-2-turbo-lora", False),
        ("fal-ai/hunyuan-video-lora-training", True),
        ("flux-lora", False),
        ("fal-ai/flux/dev", False),
        ("fal-ai/recraft-v3", None),
    ],
)
def test_trainers_are_told_from_models_that_make_pictures(model: str, answer: bool | None) -> None:
    assert is_trainer(model) is answer
