"""Settlement of charges: reads the charges of finished purchases from the providers that bill by request, for 30 days
after their end.

First 15 minutes after the end, then hourly for a day, then daily. A round is bounded; the rest waits for the next one.
A purchase never changes its state here, and nothing is bought.
"""

import hashlib
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta

from contentgen_operator.clock import utc_now
from contentgen_operator.leader.leadership import Check, unchecked
from contentgen_operator.providers.base import AccessRefused, Unavailable
from contentgen_operator.providers.billing import Billing
from contentgen_operator.state.provider_requests import is_request_id
from contentgen_operator.state.purchases import BilledAccount, Unsettled, account_name
from contentgen_operator.stores.charges import Charges

_log = logging.getLogger(__name__)
BATCH = 50  # request ids per query, fal's maximum
BATCHES = 4  # per round
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


@dataclass(frozen=True)
class ChargeSettlement:
    """Rounds of queries. A refused key is not used for a day, or until the key changes.

    `check` raises Conflict if this process does not lead.
    """

    charges: Charges
    billing: Mapping[BilledAccount, Billing]
    _: KW_ONLY
    show: Callable[[Unsettled], Awaitable[None]] | None = None
    clock: Callable[[], datetime] = utc_now
    check: Check = unchecked
    _refused: dict[BilledAccount, tuple[str, datetime]] = field(  # the key's digest, time of the refusal
        default_factory=dict, init=False
    )

    async def round(self) -> None:
        """One round. Raises NotLeading or PyMongoError."""
        now = self.clock()
        # Charges of an account are known to its own key only.
        keys = {account: key for account, billing in self.billing.items() if (key := billing.key()) is not None}
        usable = {account: key for account, key in keys.items() if not self._is_refused(account, key, now)}
        if not usable:
            return
        found = await self.charges.unsettled(now, {account.provider for account in usable})
        for account, key in usable.items():
            await self._settle(account, key, [each for each in found if each.billed == account], now)

    async def _settle(self, account: BilledAccount, key: str, found: Sequence[Unsettled], now: datetime) -> None:
        """Read the charges of one account."""
        for batch in batches(found, now):
            try:
                charges = await self.billing[account].charges(batch)
            except AccessRefused:
                self._note_refusal(account, key, now)
                return
            except Unavailable as error:
                _log.info("charges cannot be settled: %s", error)
                await self._put_off(batch, now + _HOURLY)
                return
            for each in batch:
                await self._note(each, charges.get(each.request_id), now)

    async def _note(self, asked: Unsettled, micros: int | None, now: datetime) -> None:
        self.check()
        if micros is None or not await self.charges.settle(asked, micros):
            await self.charges.put_off(asked, next_time(asked, now))
        elif self.show is not None:
            await self.show(asked)

    async def _put_off(self, batch: Sequence[Unsettled], due_at: datetime) -> None:
        # A batch that a provider never answers must not block the others.
        for each in batch:
            self.check()
            await self.charges.put_off(each, due_at)

    def _is_refused(self, account: BilledAccount, key: str, now: datetime) -> bool:
        digest, since = self._refused.get(account, ("", now))
        return digest == _digest(key) and since <= now < since + _DAILY

    def _note_refusal(self, account: BilledAccount, key: str, now: datetime) -> None:
        digest = _digest(key)
        if self._refused.get(account, ("", now))[0] != digest:
            _log.info(
                "the key for %s of the account %s has no permission for billing events (fal's preset Billing has): "
                "costs are billable units × unit price",
                account.provider,
                account_name(account.name),
            )
        self._refused[account] = digest, now


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
