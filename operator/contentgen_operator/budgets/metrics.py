"""Gauges of the budgets' current windows, for readers who may see money by tenant."""

from collections.abc import Iterable, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from contentgen_contract.resources.prices import USD
from contentgen_operator import metrics
from contentgen_operator.budgets.store import WindowTotals
from contentgen_operator.budgets.values import WindowRef


class BudgetGauges(Collector):
    """Gauges, read at each scrape."""

    windows: Sequence[tuple[WindowRef, WindowTotals]] = ()  # as last summed

    def collect(self) -> Iterable[Metric]:
        """Current values; none unless the readers are named."""
        dollars = GaugeMetricFamily(
            "contentgen_budget_dollars",
            "Current window of each ContentBudget, if readers are named. `amount` is limit, reserved (upper bounds of "
            "runs under way), spent (charges of ended runs) or overrun (above the upper bounds, or lost requests "
            "beyond the limit).",
            labels=("budget", "window", "amount"),
        )
        warning = GaugeMetricFamily(
            "contentgen_budget_warning",
            "1 if a ContentBudget is used to spec.warnAtPercent in its current window, else 0; if readers are named.",
            labels=("budget", "window"),
        )
        for ref, totals in self.windows if metrics.gauges.shows_tenants else ():
            amounts = {"limit": ref.limit, "reserved": totals.reserved}
            for amount, micros in (amounts | {"spent": totals.spent, "overrun": totals.overrun}).items():
                dollars.add_metric((ref.budget, ref.window.value, amount), micros / USD)
            warning.add_metric((ref.budget, ref.window.value), totals.warns(ref))
        yield dollars
        yield warning


gauges = BudgetGauges()
