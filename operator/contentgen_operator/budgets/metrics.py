"""Gauges of the budgets' current windows, for readers who may see money by tenant."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from contentgen_contract.resources.prices import USD
from contentgen_operator import metrics


class WindowSample(NamedTuple):
    """Amounts of a window in micro-dollars."""

    budget: str
    window: str
    limit: int
    reserved: int
    settled: int
    overrun: int
    warned_from: float  # share of the limit


class BudgetGauges(Collector):
    """Gauges, read at each scrape."""

    windows: Sequence[WindowSample] = ()

    def collect(self) -> Iterable[Metric]:
        """Current values; none unless the readers are named."""
        dollars = GaugeMetricFamily(
            "contentgen_budget_dollars",
            "Current window of each ContentBudget, if readers are named. `amount` is limit, reserved (upper bounds of "
            "runs under way), settled (charges of ended runs) or overrun (above the upper bounds, or lost requests "
            "beyond the limit).",
            labels=("budget", "window", "amount"),
        )
        warning = GaugeMetricFamily(
            "contentgen_budget_warning",
            "1 if a ContentBudget is used to spec.warnAtPercent in its current window, else 0; if readers are named.",
            labels=("budget", "window"),
        )
        for each in self.windows if metrics.gauges.shows_tenants else ():
            for amount in ("limit", "reserved", "settled", "overrun"):
                dollars.add_metric((each.budget, each.window, amount), getattr(each, amount) / USD)
            used = each.reserved + each.settled >= each.limit * each.warned_from
            warning.add_metric((each.budget, each.window), used)
        yield dollars
        yield warning


gauges = BudgetGauges()
