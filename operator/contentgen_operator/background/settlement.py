"""Settlement of charges: reads the charges of finished purchases from fal's billing events, for 30 days after their
end.

First 15 minutes after the end, then hourly for a day, then daily. A round is bounded; the rest waits for the next one.
A purchase never changes its state here, and nothing is bought.
"""

import asyncio
import hashlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta

from pymongo.errors import PyMongoError

from contentgen_operator.clock import utc_now
from contentgen_operator.leader.leadership import Check, NotLeading, unchecked
from contentgen_operator.providers.base import AccessRefused, Unavailable
from contentgen_operator.providers.billing import Billing
from contentgen_operator.state.provider_requests import is_request_id
from contentgen_operator.state.purchases import Unsettled
from contentgen_operator.stores.charges import Charges

_log = logging.getLogger(__name__)
BATCH = 50  # request ids per query, fal's maximum
BATCHES = 4  # per round
_ROUND_SECONDS = 900.0
_FIRST, _HOURLY, _DAILY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)
_LONGEST = timedelta(days=30)


def wanted(purchase: Unsettled, now: datetime) -> bool:
    """True if the billing events of a purchase are due."""
    age = now - purchase.ended_at
    if age > _LONGEST or not is_request_id(purchase.request_id):
        return False
    if purchase.due_at is None:
        return age >= _FIRST
    return not now < purchase.due_at <= now + _DAILY  # a later due time: the clock was set back


def next_time(purchase: Unsettled, now: datetime) -> datetime:
    """Time of the next query for a purchase without a charge."""
    return now + (_HOURLY if now - purchase.ended_at < _DAILY else _DAILY)


def batches(found: Iterable[Unsettled], now: datetime) -> list[list[Unsettled]]:
    """Queries of one round, longest waiting first. A request that two purchases name is skipped."""
    listed = tuple(found)
    named = Counter(each.request_id for each in listed)
    due = [each for each in listed if named[each.request_id] == 1 and wanted(each, now)]
    due.sort(key=lambda each: each.due_at or each.ended_at + _FIRST)
    chosen = due[: BATCH * BATCHES]
    return [chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH)]


class ChargeSettlement:
    """Rounds of queries. A refused key is not used for a day, or until the key changes."""

    def __init__(
        self,
        charges: Charges,
        billing: Billing,
        *,
        show: Callable[[Unsettled], Awaitable[None]] | None = None,
        clock: Callable[[], datetime] = utc_now,
        check: Check = unchecked,
    ) -> None:
        """`check` raises Conflict if this process does not lead."""
        self._check = check
        self._charges = charges
        self._show = show
        self._billing = billing
        self._clock = clock
        self._refused: dict[str, datetime] = {}  # time of the refusal, by the key's digest; the last one only

    async def run(self) -> None:
        """A round every 15 minutes until cancelled."""
        while True:
            await self.round()
            await asyncio.sleep(_ROUND_SECONDS)

    async def round(self) -> None:
        """One round. Raises nothing: errors must not stop payments and collection."""
        try:
            await self._round(self._clock())
        except NotLeading as error:
            _log.info("charges are settled by the next leader: %s", error)
        except PyMongoError as error:
            _log.warning("charges cannot be settled: %s", str(error).split("?", maxsplit=1)[0][:200])
        except Exception:  # noqa: BLE001 - an error here must not end the process
            _log.exception("charges cannot be settled")

    async def _round(self, now: datetime) -> None:
        key = self._billing.key()
        if key is None or self._is_refused(key, now):
            return
        for batch in batches(await self._charges.unsettled(now), now):
            try:
                charges = await self._billing.charges(batch)
            except AccessRefused:
                self._note_refusal(key, now)
                return
            except Unavailable as error:
                _log.info("charges cannot be settled: %s", error)
                await self._put_off(batch, now + _HOURLY)
                return
            for each in batch:
                await self._note(each, charges.get(each.request_id), now)

    async def _note(self, asked: Unsettled, micros: int | None, now: datetime) -> None:
        self._check()
        if micros is None or not await self._charges.settle(asked, micros):
            await self._charges.put_off(asked, next_time(asked, now))
        elif self._show is not None:
            await self._show(asked)

    async def _put_off(self, batch: Sequence[Unsettled], due_at: datetime) -> None:
        # A batch that fal never answers must not block the others.
        for each in batch:
            self._check()
            await self._charges.put_off(each, due_at)

    def _is_refused(self, key: str, now: datetime) -> bool:
        since = self._refused.get(_digest(key))
        return since is not None and since <= now < since + _DAILY

    def _note_refusal(self, key: str, now: datetime) -> None:
        digest = _digest(key)
        if digest not in self._refused:
            _log.info(
                "fal's key has no permission for billing events (its preset Billing has): costs are billable units × "
                "unit price"
            )
        self._refused = {digest: now}


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
