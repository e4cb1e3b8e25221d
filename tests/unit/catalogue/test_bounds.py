"""Upper bounds by the catalogue: the highest published price where sources disagree or a surcharge applies."""

from datetime import UTC, datetime
from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_contract.resources.prices import PRICES, Price, PriceLookup, Unit
from contentgen_operator.state.decision_input import DecisionInput, DecisionSettings, decision_input
from contentgen_operator.state.observed import Observation, Resource

LORA, IMAGES = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION
NOW = datetime(2026, 11, 27, tzinfo=UTC)
VIDEO = {"loraName": "n", "triggerWord": "jf", "source": {"url": "https://example.com/talk.mp4"}}


def case_of(kind: Kind, spec: dict[str, Any], settings: DecisionSettings, listed: Price | None = None) -> DecisionInput:
    metadata = {"name": "it", "namespace": "ns", "uid": "u", "generation": 1, "resourceVersion": "1"}
    metadata["creationTimestamp"] = "2026-11-27T00:00:00Z"
    case = decision_input(Resource.parse(kind, {"metadata": metadata, "spec": spec}), NOW, settings)
    return case.observing(Observation(price=PriceLookup(price=listed)))


def at_fal(usd: float, unit: Unit) -> Price:
    return Price(micros=usd * 1e6, unit=unit, source="fal's pricing endpoint", billing=True)


@pytest.mark.parametrize(
    ("listed", "estimate", "bound"),
    [
        (None, 6_400_000, 25_500_000),
        (at_fal(0.0064, Unit.STEP), 6_400_000, 25_500_000),
        (at_fal(0.03, Unit.STEP), 30_000_000, 30_000_000),
        (at_fal(0.03, Unit.OTHER), 6_400_000, 25_500_000),
        (at_fal(40, Unit.OTHER), 6_400_000, 40_000_000),  # a training, say: one unit is billed at least
    ],
)
def test_bound_has_the_highest_published_price(listed: Price | None, estimate: int, bound: int) -> None:
    case = case_of(LORA, VIDEO | {"training": {"model": "flux-2-trainer-v2"}}, DecisionSettings(), listed)
    assert (case.estimated_micros, case.bound_micros) == (estimate, bound)


def test_bound_of_an_administrators_price_is_that_price() -> None:
    model = "fal-ai/flux-2-trainer-v2"
    own = Price(micros=5000, unit=Unit.STEP, source="contract")
    settings = DecisionSettings(prices=PRICES | {model: own}, own_prices=frozenset({model}))
    assert case_of(LORA, VIDEO | {"training": {"model": model}}, settings).bound_micros == 5_000_000


def test_bound_of_a_model_without_a_contradiction_is_its_price() -> None:
    assert case_of(IMAGES, {"prompt": "a cat", "model": "flux-2"}, DecisionSettings()).bound_micros == 12_000


def test_bound_has_the_surcharge_for_big_loras() -> None:
    case = case_of(IMAGES, {"prompt": "a cat", "model": "flux-2-lora"}, DecisionSettings())
    assert (case.estimated_micros, case.bound_micros) == (21_000, 52_500)
