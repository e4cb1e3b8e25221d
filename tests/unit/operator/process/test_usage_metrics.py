"""Usage metrics: sums of the ledger by chosen labels, with a limit of series."""

from datetime import UTC, datetime, timedelta
from typing import Any

import mongomock
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pymongo.errors import AutoReconnect

from contentgen_contract.names import Kind
from contentgen_contract.records.purchase_costs import UsageLabel
from contentgen_contract.resources.content_budget import ContentBudget
from contentgen_contract.resources.prices import CostSource
from contentgen_operator import metrics
from contentgen_operator.background.usage import SERIES_EACH, UsageMetrics, UsagePlan, UsageSettings
from contentgen_operator.budgets.metrics import gauges as budgets
from contentgen_operator.budgets.store import WindowTotals
from contentgen_operator.budgets.values import windows_of
from contentgen_operator.settings import Settings
from contentgen_operator.stores.charges import Charges
from contentgen_simulation.budget_world import budget_of

NOW = datetime(2026, 11, 22, 1, tzinfo=UTC)
DAY = timedelta(days=1)
L = UsageLabel
ALL = tuple(UsageLabel)
Series = dict[tuple[str, ...], float]


class Stand:
    """Usage over a ledger in memory."""

    def __init__(self, *labels: UsageLabel, most: int = 2000, plan: UsagePlan | None = None) -> None:
        self.database: Any = mongomock.MongoClient(tz_aware=True)["t"]
        self.now = NOW
        self.charges = Charges(self.database["ledger"])
        plan = plan or UsagePlan(labels, most, "default")
        self.usage = UsageMetrics(self.charges, plan, clock=lambda: self.now)
        metrics.gauges.usage = ()

    def buy(self, namespace: str = "red", **changes: Any) -> None:
        """A billed picture of today, for a dollar."""
        given = {
            "namespace": namespace, "userId": "ann", "type": Kind.IMAGE_GENERATION.record_type,
            "provider": "fal", "model": "fal-ai/flux/dev", "state": "collected", "costSource": CostSource.UNITS.value,
            "actualMicros": 1_000_000,
            "createdAt": NOW - timedelta(minutes=5), "operatorClass": "default",
        }  # fmt: skip
        self.database["ledger"].insert_one(given | changes)

    async def dollars(self, *by: str) -> Series:
        """Positive samples of contentgen_usage_dollars, by the values of these labels."""
        await self.usage.round()
        return shown("contentgen_usage_dollars", *by)


def shown(name: str, *by: str) -> Series:
    families = text_string_to_metric_families(metrics.exposition().decode())
    samples = [sample for family in families for sample in family.samples if sample.name == name]
    return {tuple(sample.labels.get(label, "") for label in by): sample.value for sample in samples if sample.value}


async def test_label_combinations_have_sums_of_the_day_and_month() -> None:
    stand = Stand(*ALL)
    stand.buy()
    stand.buy("blue", userId="bob", model="flux-dev", actualMicros=500_000)
    stand.buy("blue", userId="bob", type=Kind.LORA_TRAINING.record_type, model="own/model", createdAt=NOW - 3 * DAY)
    stand.buy(
        "blue", userId="bob", type=Kind.TRANSCRIPTION.record_type, provider="assemblyai", model="assemblyai/universal-2"
    )
    assert await stand.dollars("window", "resource_namespace", "user", "kind", "provider", "model") == {
        ("day", "red", "ann", "ImageGeneration", "fal", "fal-ai/flux/dev"): 1.0,
        ("month", "red", "ann", "ImageGeneration", "fal", "fal-ai/flux/dev"): 1.0,
        ("day", "blue", "bob", "ImageGeneration", "fal", "fal-ai/flux/dev"): 0.5,
        ("month", "blue", "bob", "ImageGeneration", "fal", "fal-ai/flux/dev"): 0.5,
        ("month", "blue", "bob", "LoraTraining", "fal", "other"): 1.0,
        ("day", "blue", "bob", "Transcription", "assemblyai", "assemblyai/universal-2"): 1.0,
        ("month", "blue", "bob", "Transcription", "assemblyai", "assemblyai/universal-2"): 1.0,
    }


async def test_without_the_label_a_user_is_in_no_series() -> None:
    stand = Stand(L.NAMESPACE, L.KIND, L.MODEL)
    stand.buy(userId="ann")
    stand.buy(userId="bob")
    assert await stand.dollars("window", "resource_namespace", "user") == {
        ("day", "red", ""): 2,
        ("month", "red", ""): 2,
    }
    assert 'user="ann"' not in metrics.exposition().decode()


async def test_without_labels_there_is_a_total() -> None:
    stand = Stand()
    stand.buy()
    stand.buy("blue")
    assert await stand.dollars("window", "resource_namespace") == {("day", ""): 2, ("month", ""): 2}


async def test_amounts_are_those_of_the_csv() -> None:
    stand = Stand(L.NAMESPACE)
    stand.buy()
    stand.buy(costSource=None, actualMicros=None, estimatedMicros=200_000)
    stand.buy(state="submitted", costSource=None, actualMicros=None, estimatedMicros=30_000)
    stand.buy(state="intent", sendState="planned", costSource=None, actualMicros=None, estimatedMicros=4_000)
    stand.buy(state="failed", costSource=None, actualMicros=None, estimatedMicros=4_000)
    assert await stand.dollars("window", "amount") == {
        (window, amount): dollars
        for window in ("day", "month")
        for amount, dollars in (("paid", 1.0), ("estimated", 0.2), ("expected", 0.03))
    }
    assert shown("contentgen_usage_purchases", "window") == {("day",): 5, ("month",): 5}


@pytest.mark.parametrize(
    ("at", "windows"),
    [
        (datetime(2026, 11, 22, tzinfo=UTC), {"day", "month"}),
        (datetime(2026, 11, 21, 23, 59, 59, tzinfo=UTC), {"month"}),
        (datetime(2026, 11, 1, tzinfo=UTC), {"month"}),
        (datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC), set()),
    ],
)
async def test_windows_begin_at_midnight_utc(at: datetime, windows: set[str]) -> None:
    stand = Stand(L.NAMESPACE)
    stand.buy(createdAt=at)
    assert {window for (window,) in await stand.dollars("window")} == windows


async def test_the_series_are_limited_and_the_rest_is_added_up() -> None:
    stand = Stand(L.NAMESPACE, L.USER, most=3 * SERIES_EACH)
    for number in range(5):
        stand.buy(f"ns-{number}", actualMicros=(number + 1) * 1_000_000)
    found = await stand.dollars("window", "resource_namespace", "user")
    assert {key: value for key, value in found.items() if key[0] == "month"} == {
        ("month", "ns-4", "ann"): 5,
        ("month", "ns-3", "ann"): 4,
        ("month", "_other", "_other"): 6,
    }
    lines = [
        splitline
        for splitline in metrics.exposition().decode().splitlines()
        if splitline.startswith("contentgen_usage_")
    ]
    assert len(lines) == 3 * SERIES_EACH


async def test_combinations_at_the_limit_need_no_remainder() -> None:
    stand = Stand(L.NAMESPACE, most=2 * SERIES_EACH)
    stand.buy("red")
    stand.buy("blue")
    assert {name for (name,) in await stand.dollars("resource_namespace")} == {"red", "blue"}


async def test_hostile_values_are_unknown() -> None:
    stand = Stand(*ALL)
    stand.buy("_other", userId="_other", type="x", provider="x", model=["m"], actualMicros=float("nan"))
    stand.buy("a\nb", userId={"$gt": ""}, type=None, provider={"fal": 1}, model=None)
    await stand.usage.round()
    labels = ("resource_namespace", "user", "kind", "provider", "model")
    assert set(shown("contentgen_usage_purchases", *labels)) == {("_unknown",) * 5}


async def test_purchases_of_other_classes_are_not_counted() -> None:
    stand = Stand(L.NAMESPACE)
    stand.buy("red", operatorClass="other")
    stand.buy("blue")
    assert {name for (name,) in await stand.dollars("resource_namespace")} == {"blue"}


async def test_zero_series_switch_it_off() -> None:
    stand = Stand(L.NAMESPACE, most=0)
    stand.buy()
    assert await stand.dollars("resource_namespace") == {}


async def test_after_an_error_the_metrics_are_absent() -> None:
    stand = Stand(L.NAMESPACE)
    stand.buy()
    assert await stand.dollars("resource_namespace")

    async def away(*_: Any) -> Any:
        raise AutoReconnect("away")

    usage, stand.charges.usage = stand.charges.usage, away  # type: ignore[assignment, method-assign]
    with pytest.raises(AutoReconnect):
        await stand.usage.round()
    assert shown("contentgen_usage_dollars", "resource_namespace") == {}
    stand.charges.usage = usage  # type: ignore[method-assign]
    assert await stand.dollars("resource_namespace")


@pytest.mark.parametrize("named", [False, True])
async def test_money_by_tenant_is_shown_only_to_named_readers(monkeypatch: pytest.MonkeyPatch, *, named: bool) -> None:
    """Metrics need no token, so every pod of a tenant may be able to read them."""
    monkeypatch.setattr(metrics.gauges, "shows_tenants", named)
    monkeypatch.setattr(metrics.gauges, "features", [budgets])
    budget = ContentBudget.parse(budget_of("of-red", limits={"day": "2"}, warnAtPercent=50))
    (window,) = windows_of(budget, NOW)
    monkeypatch.setattr(budgets, "windows", [(window, WindowTotals(held=1_000_000, spent=1_000_000))])
    monkeypatch.setattr(metrics, "_accounts", {"default", "team-red"})
    stand = Stand(plan=UsagePlan.of(UsageSettings(labels=ALL), "default", tenants=named))
    stand.buy("red", userId="rita")
    stand.buy("blue", userId="bob")
    by_tenant = {("red", "rita"): 1, ("blue", "bob"): 1}
    assert await stand.dollars("resource_namespace", "user") == (by_tenant if named else {("", ""): 2})
    for name in ("contentgen_budget_dollars", "contentgen_budget_warning"):
        assert set(shown(name, "budget")) == ({("of-red",)} if named else set())
    assert metrics.money_account_label("team-red") == ("team-red" if named else "other")
    assert metrics.money_account_label(None) == "default"


def test_readers_are_not_named_unless_the_installation_says_so() -> None:
    assert (Settings().metrics_tenants, metrics.Gauges().shows_tenants) == (False, False)
