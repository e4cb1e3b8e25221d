"""Metrics of paid results that are not stored yet, and of stops of buying. A stop also begins while nobody buys."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from contentgen_operator import metrics
from contentgen_operator.clock import utc_now
from contentgen_operator.queues.buying import Buying
from contentgen_operator.state.policies.buying import AwaitedResults

_MOST_NAMESPACES = 100
_REST = "_other"


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
        metrics.gauges.stops = self._buying.counts()
        now = self._clock()
        metrics.gauges.uncollected = samples(await self._ledger.awaited(now, now))


def samples(found: Sequence[AwaitedResults]) -> tuple[metrics.UncollectedSample, ...]:
    """Samples by namespace, the longest waiting first; the rest has one of its own."""
    by_age = sorted(found, key=lambda each: (each.oldest, each.namespace))
    shown, rest = by_age[:_MOST_NAMESPACES], by_age[_MOST_NAMESPACES:]
    listed = [metrics.UncollectedSample(each.namespace, each.count, each.oldest.timestamp()) for each in shown]
    if rest:
        count, oldest = sum(each.count for each in rest), min(each.oldest for each in rest)
        listed.append(metrics.UncollectedSample(_REST, count, oldest.timestamp()))
    return tuple(listed)
