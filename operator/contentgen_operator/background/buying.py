"""Metrics of paid results that are not stored yet, and of stops of buying. A stop also begins while nobody buys."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from pymongo.errors import PyMongoError

from contentgen_operator import metrics
from contentgen_operator.clock import utc_now
from contentgen_operator.leader.leadership import NotLeading
from contentgen_operator.queues.buying import Buying
from contentgen_operator.state.policies.buying import AwaitedResults

_log = logging.getLogger(__name__)
_PAUSE_SECONDS = 15.0
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

    async def run(self) -> None:
        """Rounds until cancelled."""
        while True:
            await self.round()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def round(self) -> None:
        """One round. Raises nothing. The counts stay after an error: the ages go on."""
        try:
            await self._buying.refresh()
            metrics.gauges.stops = self._buying.counts()
            now = self._clock()
            metrics.gauges.uncollected = samples(await self._ledger.awaited(now, now))
        except NotLeading as error:
            _log.info("paid results are counted by the next leader: %s", error)
        except PyMongoError as error:
            _log.warning("paid results cannot be counted: %s", str(error).split("?", maxsplit=1)[0][:200])
        except Exception:  # noqa: BLE001 - an error here must not end the process
            _log.exception("paid results cannot be counted")


def samples(found: Sequence[AwaitedResults]) -> tuple[metrics.UncollectedSample, ...]:
    """Samples by namespace, the longest waiting first; the rest has one of its own."""
    by_age = sorted(found, key=lambda each: (each.oldest, each.namespace))
    shown, rest = by_age[:_MOST_NAMESPACES], by_age[_MOST_NAMESPACES:]
    listed = [metrics.UncollectedSample(each.namespace, each.count, each.oldest.timestamp()) for each in shown]
    if rest:
        count, oldest = sum(each.count for each in rest), min(each.oldest for each in rest)
        listed.append(metrics.UncollectedSample(_REST, count, oldest.timestamp()))
    return tuple(listed)
