"""Metrics of paid results that are not stored yet, and of stops of buying. A stop also begins while nobody buys."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from contentgen_operator import metrics
from contentgen_operator.buying.stops import Buying
from contentgen_operator.buying.values import AwaitedResults
from contentgen_operator.clock import utc_now

_MOST_NAMESPACES = 100
_REST = "_other"


@dataclass(frozen=True)
class UncollectedSample:
    """Paid results of a namespace that are not stored yet."""

    namespace: str
    count: int
    oldest: float  # begin of the longest collection, in seconds since the epoch


class BuyingGauges(Collector):
    """Gauges, read at each scrape."""

    def __init__(self) -> None:
        self.uncollected: Sequence[UncollectedSample] = ()
        self.stops: Mapping[tuple[str, str], int] = {}
        self.paused = False  # by an administrator

    def collect(self) -> Iterable[Metric]:
        """Current values."""
        names = ("resource_namespace",)  # Prometheus' own label of the target is `namespace`
        count = GaugeMetricFamily(
            "contentgen_uncollected_results",
            "Paid results that are not stored yet and whose collection is tried; by namespace if readers are named. "
            "Of the leader only.",
            labels=names,
        )
        age = GaugeMetricFamily(
            "contentgen_uncollected_oldest_seconds",
            "Seconds for which the collection of the oldest of them has been tried; by namespace if readers are named. "
            "Of the leader only.",
            labels=names,
        )
        for each in self.uncollected if metrics.gauges.shows_tenants else _together(self.uncollected):
            count.add_metric((each.namespace,), each.count)
            age.add_metric((each.namespace,), max(metrics.gauges.clock() - each.oldest, 0.0))
        yield count
        yield age
        stops = GaugeMetricFamily(
            "contentgen_buying_stops",
            "Stops of buying, by `scope`: namespace, installation, or administrator (buying.paused). `state` is "
            "stopped, or probing: one run is bought at a time. Of the leader only.",
            labels=("scope", "state"),
        )
        paused = {("administrator", "stopped"): 1} if self.paused and metrics.gauges.leader() else {}
        for labels, number in {**self.stops, **paused}.items():
            stops.add_metric(labels, number)
        yield stops


def _together(found: Sequence[UncollectedSample]) -> tuple[UncollectedSample, ...]:
    """One sample of all namespaces, without a name; empty: there is no result."""
    if not found:
        return ()
    return (UncollectedSample("", sum(each.count for each in found), min(each.oldest for each in found)),)


gauges = BuyingGauges()


class Awaited(Protocol):
    """Ledger as this module uses it."""

    async def awaited(self, since: datetime, now: datetime) -> list[AwaitedResults]:
        """Results whose collection began at `since` or before and is still tried. Raises PyMongoError."""
        ...


class BuyingMetrics:
    """Counts of the ledger, read at intervals."""

    def __init__(self, ledger: Awaited, buying: Buying, clock: Callable[[], datetime] = utc_now) -> None:
        self._ledger, self._buying, self._clock = ledger, buying, clock

    async def round(self) -> None:
        """One round. Raises NotLeading or PyMongoError. The counts stay after an error: the ages go on."""
        await self._buying.refresh()
        gauges.stops = self._buying.counts()
        now = self._clock()
        gauges.uncollected = samples(await self._ledger.awaited(now, now))


def samples(found: Sequence[AwaitedResults]) -> tuple[UncollectedSample, ...]:
    """Samples by namespace, the longest waiting first; the rest has one of its own."""
    by_age = sorted(found, key=lambda each: (each.oldest, each.namespace))
    shown, rest = by_age[:_MOST_NAMESPACES], by_age[_MOST_NAMESPACES:]
    listed = [UncollectedSample(each.namespace, each.count, each.oldest.timestamp()) for each in shown]
    if rest:
        count, oldest = sum(each.count for each in rest), min(each.oldest for each in rest)
        listed.append(UncollectedSample(_REST, count, oldest.timestamp()))
    return tuple(listed)
