"""Gauge of the orphans."""

from collections.abc import Iterable, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class OrphanGauges(Collector):
    """Gauge, read at each scrape."""

    counts: Mapping[str, int] = {}  # by state

    def collect(self) -> Iterable[Metric]:
        """Current values."""
        orphans = GaugeMetricFamily(
            "contentgen_orphans",
            "Purchases whose resource is gone and that are still located or kept, by state.",
            labels=("state",),
        )
        for state, count in self.counts.items():
            orphans.add_metric((state,), count)
        yield orphans


gauges = OrphanGauges()
