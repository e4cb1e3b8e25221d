"""ContentBudgets: windows in UTC, amounts, scopes, and the sample."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from contentgen_contract.names import Kind
from contentgen_contract.resources.content_budget import (
    BudgetScope,
    ContentBudget,
    ContentBudgetSpec,
    LimitWindow,
    dollars_of,
    micros_of,
)
from contentgen_contract.resources.prices import PRICES, Price, Unit, estimate, upper_bound
from contentgen_contract.resources.spec import parse_spec

SAMPLE = Path(__file__).parents[3] / "examples/policies/budget.yaml"


@pytest.mark.parametrize(
    ("window", "now", "label", "resets"),
    [
        ("day", "2026-11-23T00:00:00+00:00", "day-2026-11-23", "2026-11-24"),
        ("day", "2026-11-23T23:59:59+00:00", "day-2026-11-23", "2026-11-24"),
        ("day", "2026-11-24T00:59:59+01:00", "day-2026-11-23", "2026-11-24"),
        ("day", "2028-02-28T12:00:00+00:00", "day-2028-02-28", "2028-02-29"),
        ("month", "2026-11-30T23:59:59+00:00", "month-2026-11", "2026-12-01"),
        ("month", "2026-12-31T12:00:00+00:00", "month-2026-12", "2027-01-01"),
        ("month", "2028-02-29T12:00:00+00:00", "month-2028-02", "2028-03-01"),
        ("month", "2026-01-31T12:00:00+00:00", "month-2026-01", "2026-02-01"),
    ],
)
def test_windows_are_in_utc(window: str, now: str, label: str, resets: str) -> None:
    found = LimitWindow(window)
    assert found.label(datetime.fromisoformat(now)) == label
    assert found.resets(datetime.fromisoformat(now)) == datetime.fromisoformat(f"{resets}T00:00:00+00:00")


def test_a_total_never_resets() -> None:
    now = datetime(2026, 11, 23, tzinfo=timezone(timedelta(hours=3)))
    assert (LimitWindow.TOTAL.label(now), LimitWindow.TOTAL.resets(now)) == ("total", None)


@pytest.mark.parametrize(
    ("text", "micros", "shown"),
    [("0", 0, "0.00"), ("50", 50_000_000, "50.00"), ("0.07", 70_000, "0.07"), ("1.234567", 1_234_567, "1.234567")],
)
def test_amounts_are_whole_micro_dollars(text: str, micros: int, shown: str) -> None:
    assert (micros_of(text), dollars_of(micros)) == (micros, shown)


@pytest.mark.parametrize("wrong", ["-1", "1e3", "1.2345678", "", "NaN", "1,5", " 1"])
def test_other_amounts_are_refused(wrong: str) -> None:
    with pytest.raises(ValidationError):
        ContentBudgetSpec.model_validate({"limits": {"day": wrong}})


@pytest.mark.parametrize(
    ("scope", "counts"),
    [
        ({}, True),
        ({"namespaceSelector": {}}, True),
        ({"namespaceSelector": {"matchLabels": {"team": "a"}}}, True),
        ({"namespaceSelector": {"matchLabels": {"team": "a", "env": "test"}}}, False),
        ({"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["b"]}]}}, False),
        ({"namespaceSelector": {"matchExpressions": [{"key": "env", "operator": "NotIn", "values": ["test"]}]}}, True),
        ({"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}}, True),
        ({"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "DoesNotExist"}]}}, False),
        ({"providers": ["fal"]}, True),
        ({"providers": ["assemblyai"]}, False),
        ({"kinds": ["LoraTraining", "ImageGeneration"]}, True),
        ({"kinds": ["Transcription"], "providers": ["fal"]}, False),
        ({"users": ["ann"]}, True),
        ({"users": ["bob"]}, False),
    ],
)
def test_all_given_fields_of_a_scope_match(scope: dict[str, Any], counts: bool) -> None:
    given = BudgetScope.model_validate(scope)
    found = given.includes(labels={"team": "a"}, provider="fal", kind=Kind.IMAGE_GENERATION, user="ann")
    assert found is counts


def test_the_sample_is_a_budget() -> None:
    body = yaml.safe_load(SAMPLE.read_text()) | {"metadata": {"name": "marketing", "uid": "u"}}
    budget = ContentBudget.parse(body)
    assert budget.spec is not None
    assert budget.spec.micros == {LimitWindow.DAY: 50_000_000, LimitWindow.MONTH: 1_000_000_000}


@pytest.mark.parametrize(
    ("kind", "spec", "model", "seconds", "micros"),
    [
        (Kind.IMAGE_GENERATION, {"prompt": "a", "image": {"count": 2}}, "fal-ai/flux-lora", 0, 70_000),
        (Kind.TRANSCRIPTION, {"source": {"url": "https://h/a"}}, "assemblyai/universal-2", 59.5, 2881),  # 61 s
        (Kind.TRANSCRIPTION, {"source": {"url": "https://h/a"}}, "assemblyai/universal-2", 60, 2881),
        (Kind.TRANSCRIPTION, {"source": {"url": "https://h/a"}}, "assemblyai/universal-2", 0.2, 95),  # 2 s
        (Kind.TRANSCRIPTION, {"source": {"url": "https://h/a"}}, "assemblyai/universal-2", 0, None),
    ],
)
def test_the_upper_bound(kind: Kind, spec: dict[str, Any], model: str, seconds: float, micros: int | None) -> None:
    price = PRICES[model]
    bound = upper_bound(parse_spec(kind, spec), price, 0, seconds)
    assert bound == micros
    assert bound is None or bound >= (estimate(parse_spec(kind, spec), price, seconds) or 0)


def test_the_upper_bound_has_the_minimum_of_the_table() -> None:
    spec = {"loraName": "a", "triggerWord": "a", "source": {"url": "https://h/a"}, "training": {"steps": 500}}
    price = Price(micros=2400, unit=Unit.STEP, source="the provider")
    assert upper_bound(parse_spec(Kind.LORA_TRAINING, spec), price, 1000, 0) == 2_400_000


def test_times_have_an_offset() -> None:
    assert LimitWindow.DAY.starts(datetime(2026, 11, 23, 5, tzinfo=UTC)) == datetime(2026, 11, 23, tzinfo=UTC)
