"""Stop of buying while paid results cannot be stored: by namespace, and of the installation for a common cause.

    bought ── late results > limit ──► stopped ── late results ≤ limit ──► probing ── a probe is stored ──► bought
                                          ▲                                   │
                                          └────── late results > limit ───────┘

Late results are counted in the ledger at each question, so nothing is bought between two counts, and a restart or a
takeover forgets nothing. Stops are in MongoDB too: results that were given up end no stop, one that is stored does.
While probing, one run at a time is bought.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from contentgen_operator.buying.values import (
    INSTALLATION,
    AwaitedResults,
    BacklogLimit,
    BuyingStop,
    StopState,
    scope_of,
    stopped_scopes,
)
from contentgen_operator.clock import utc_now
from contentgen_operator.state.purchases import Purchase, PurchaseState, SendState
from contentgen_runtime.kube import Conflict
from contentgen_runtime.shared_reads import SharedReads

_log = logging.getLogger(__name__)
_GRANT = timedelta(minutes=2)  # from the permission to buy a probe to its POST
_KEPT = timedelta(days=60)  # longer than a result is tried for
_PROBE = timedelta(hours=1)


class AwaitedLedger(Protocol):
    """Ledger as this module uses it (`stores/ledger.py`). Its methods raise an error of the store."""

    async def awaited(self, since: datetime, now: datetime) -> list[AwaitedResults]:
        """Results whose collection began at `since` or before and is still tried."""
        ...

    async def sent_since(self, since: datetime) -> list[Purchase]:
        """Purchases that were sent since then, and are under way or awaited."""
        ...

    async def stops(self) -> dict[str, datetime]:
        """Begin of the stops, by scope."""
        ...

    async def begin_stop(self, scope: str, since: datetime) -> None:
        """Note a stop."""
        ...

    async def end_stop(self, scope: str) -> None:
        """Delete a stop."""
        ...


class Buying:
    """Permission to buy. All methods are for the leader, and raise errors of the store: without a count, nothing is
    bought.
    """

    def __init__(
        self, ledger: AwaitedLedger, limit: BacklogLimit | None = None, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self.limit = limit or BacklogLimit()
        self._ledger = ledger
        self._clock = clock
        self._stops: dict[str, datetime] | None = None  # None: not read yet
        self._over: frozenset[str] = frozenset()  # scopes over the limit at the last count
        self._proven: set[str] = set()  # scopes of which a probe is stored
        self._probes: dict[str, tuple[str, datetime]] = {}  # by scope: run that may buy one, and until when
        self._changing = asyncio.Lock()
        self._counts: SharedReads[None, frozenset[str]] = SharedReads(lambda _: self.refresh())

    async def ask(self, uid: str, scope: str) -> BuyingStop | None:
        """Stop that holds a run which may be paid otherwise; None: it may be paid."""
        over = await self._counts(None)
        if (stopped := self._first(scope, over)) is not None:
            return self._stop(stopped, StopState.STOPPED)
        if self._first(scope, self._known) is None:
            return None
        async with self._changing:
            return await self._probe(uid, [place for place in (INSTALLATION, scope) if place in self._known])

    async def require(self, scope: str) -> None:
        """Raises Conflict directly before a POST if there is a stop by now."""
        if self._first(scope, await self.refresh()) is not None:
            raise Conflict("paid results are not stored: nothing more is bought")

    def leave(self, uid: str) -> None:
        """Take back the permission of a run that does not ask any more."""
        self._probes = {scope: probe for scope, probe in self._probes.items() if probe[0] != uid}

    def note_purchase(self, purchase: Purchase) -> None:
        """Note that the ledger has changed a purchase: the result of one that was sent during a stop is proof."""
        if purchase.state is not PurchaseState.COLLECTED or purchase.sent_at is None:
            return
        for scope in (scope_of(purchase.namespace_uid, purchase.namespace), INSTALLATION):
            since = self._known.get(scope)
            if since is not None and purchase.sent_at >= since:
                self._proven.add(scope)

    async def refresh(self) -> frozenset[str]:
        """Count the late results, and begin and end stops; returns the scopes over the limit."""
        now = self._clock()
        late = await self._ledger.awaited(now - self.limit.wait, now)
        over = stopped_scopes(late, self.limit)
        if self._stops is None or over != self._over or self._proven:
            async with self._changing:
                await self._change(late, over, now)
        return over

    @property
    def _known(self) -> Mapping[str, datetime]:
        return self._stops or {}

    async def _read(self, now: datetime) -> dict[str, datetime]:
        """The stops in MongoDB, without old ones, such as of deleted namespaces."""
        found = await self._ledger.stops()
        for scope in [purchase_id for purchase_id, since in found.items() if now - since > _KEPT]:
            await self._ledger.end_stop(scope)
            del found[scope]
        return found

    async def _change(self, late: Sequence[AwaitedResults], over: frozenset[str], now: datetime) -> None:
        if self._stops is None:
            self._stops = await self._read(now)
        stops = self._stops
        for scope in over - self._over:  # also of one that was probing: its earlier probes prove nothing any more
            since = now.replace(microsecond=0)
            await self._ledger.begin_stop(scope, since)
            stops[scope] = since
            names = ", ".join(
                sorted(purchase.namespace for purchase in late if scope in (purchase.scope, INSTALLATION))[:10]
            )
            _log.error("buying is stopped: more than %d paid results are not stored in %s", self.limit.results, names)
        self._proven -= over
        self._over = over
        for scope in self._proven & stops.keys():
            await self._ledger.end_stop(scope)
            del stops[scope]
            self._probes.pop(scope, None)
            _log.info("buying goes on: a result was stored again")
        self._proven.clear()

    @staticmethod
    def _first(scope: str, among: Container[str]) -> str | None:
        """The scope, or the installation, if it is among others; the installation first."""
        return next((stopped for stopped in (INSTALLATION, scope) if stopped in among), None)

    async def _probe(self, uid: str, scopes: Sequence[str]) -> BuyingStop | None:
        """Permission for the one run that is bought at a time; else the stop."""
        now = self._clock()
        begun = [self._known[each_scope] for each_scope in scopes if each_scope in self._known]
        sent = await self._ledger.sent_since(min(begun)) if begun else []
        for scope in scopes:
            other, until = self._probes.get(scope, ("", now))
            is_open = any(self._is_probe(purchase, scope, now) for purchase in sent)
            if is_open or (other not in ("", uid) and now < until):
                return self._stop(scope, StopState.PROBING)
        self._probes |= dict.fromkeys(scopes, (uid, now + _GRANT))
        return None

    def _is_probe(self, purchase: Purchase, scope: str, now: datetime) -> bool:
        since = self._known.get(scope)
        its = scope in (INSTALLATION, scope_of(purchase.namespace_uid, purchase.namespace))
        is_later = since is not None and purchase.sent_at is not None and purchase.sent_at >= since
        return its and is_later and _is_open_probe(purchase, now, self.limit)

    def _stop(self, scope: str, state: StopState) -> BuyingStop:
        return BuyingStop(state=state, everywhere=scope == INSTALLATION, limit=self.limit)

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Number of stops by `namespace` or `installation` and their state, for metrics."""
        found: Counter[tuple[str, str]] = Counter()
        for scope in self._known:
            state = StopState.STOPPED if scope in self._over else StopState.PROBING
            found["installation" if scope == INSTALLATION else "namespace", state.value] += 1
        return found


def _is_open_probe(purchase: Purchase, now: datetime, limit: BacklogLimit) -> bool:
    """True while a purchase that was sent during a stop of buying may show whether results are stored.

    An hour at the provider and the time of a late result end it: a single lost or broken one holds nobody for longer.
    """
    if purchase.state is PurchaseState.SUCCEEDED:
        since, until = purchase.awaited_since, purchase.awaited_until
        return since is not None and until is not None and now < min(since + limit.wait, until)
    started = purchase.state in (PurchaseState.INTENT, PurchaseState.SUBMITTED)
    is_sent = started and purchase.send_state not in (SendState.PLANNED, SendState.ABANDONED)
    return is_sent and purchase.sent_at is not None and now - purchase.sent_at < _PROBE
