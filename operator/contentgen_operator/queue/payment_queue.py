"""Queue before the payment: limits of concurrency, fair turns, and circuit breakers. In memory of the leader.

A run that no other policy holds asks for a place in each reconcile (`ask`), and leaves the queue when it no longer asks
(`leave`). Places in use are the open purchases of the ledger, read at the first question and again every five minutes,
and updated with each transition: a restart or a takeover neither loses nor leaks places. A permission that is not used
within two minutes is given back.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping

from contentgen_operator.queue.circuit_breaker import FIRST_PAUSE_SECONDS, Breaker, CircuitState
from contentgen_operator.queue.fair_turns import Account, Claimant, Endpoint, FairTurns, Place, PlaceLimits
from contentgen_operator.queue.values import Limit, Turn
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.purchases import Purchase

_log = logging.getLogger(__name__)
_GRANT_SECONDS = 120.0
_RELOAD_SECONDS = 300.0
_RETRY_SECONDS = 10.0
_BLOCKED_NAMESPACES = 3  # whose requests were blocked since the last answer: then it is no longer about one of them
_MOST_BLOCKED = 100  # namespaces that are remembered per endpoint
_GRANTED = Turn(granted=True)
_NO_LIMITS = PlaceLimits()

OpenPurchases = Callable[[], Awaitable[Iterable[Purchase]]]
"""Read of the open purchases. Raises an error of the store."""


async def _none() -> Iterable[Purchase]:
    return ()


class PaymentQueue:
    """The queue before the payment."""

    def __init__(
        self,
        limits: PlaceLimits = _NO_LIMITS,
        *,
        open_purchases: OpenPurchases = _none,
        takes_place: Callable[[Purchase], bool] = lambda _: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._turns = FairTurns(limits)
        self._open_purchases = open_purchases
        self._takes_place = takes_place
        self._clock = clock
        self._loaded_at: float | None = None
        self._loading = asyncio.Lock()
        self._changed_meanwhile: set[str] | None = None  # purchases that changed during a read of the ledger
        self._purchases: set[str] = set()  # ids of purchases that take a place
        self._refs: dict[str, ResourceRef] = {}  # of waiting runs, by uid
        self._grants: dict[str, tuple[Claimant, float]] = {}  # permissions and their ends, by uid
        self._breakers: dict[Endpoint, Breaker] = {}
        self._blocked: dict[Endpoint, set[str]] = {}  # namespaces whose requests were blocked
        self._to_wake: list[ResourceRef] = []
        self.changed = asyncio.Event()

    async def ask(self, ref: ResourceRef, claimant: Claimant) -> Turn:
        """Turn of a run that may be paid otherwise. Raises an error of the store at the first question."""
        await self._reload()
        uid = claimant.uid
        if (granted := self._grants.get(uid)) is not None:
            same = granted[0].endpoint == claimant.endpoint
            if same and granted[1] > self._clock() and self._may_send(uid, claimant.endpoint):
                return _GRANTED  # until the same time: a run that fails before it pays keeps no place
            self._take_back(uid)
        self._turns.put(claimant)
        self._refs[uid] = ref
        self._start(asking=uid)
        return _GRANTED if uid in self._grants else self._wait(claimant)

    def _may_send(self, uid: str, endpoint: Endpoint) -> bool:
        breaker, now = self._breakers.get(endpoint), self._clock()
        return breaker is None or breaker.probe == uid or breaker.state(now) is CircuitState.CLOSED

    def _wait(self, claimant: Claimant) -> Turn:
        breaker, limits = self._breakers.get(claimant.endpoint), self._turns.limits
        if breaker is not None and not breaker.admits(self._clock()):
            return Turn(granted=False, limit=Limit.CIRCUIT, cause=breaker.cause)
        limit = self._turns.limit_of(claimant)
        most = {
            Limit.PROVIDER: limits.providers.get(claimant.provider, 0),
            Limit.PER_NAMESPACE: limits.per_namespace,
            Limit.OVERALL: limits.overall,
        }
        return Turn(granted=False, limit=limit, most=most.get(limit, 0))

    def has_permission(self, uid: str) -> bool:
        """True if a run was granted a place and has not used it."""
        return uid in self._grants

    def leave(self, uid: str) -> None:
        """Remove a run that does not ask for a place any more, and give back one that it was granted."""
        self._refs.pop(uid, None)
        if self._take_back(uid) | self._turns.drop(uid):
            self.changed.set()

    def _take_back(self, uid: str) -> bool:
        granted = self._grants.pop(uid, None)
        if granted is None:
            return False
        endpoint = granted[0].endpoint
        if endpoint in self._breakers:
            self._breakers[endpoint] = self._breakers[endpoint].given_back(uid)
        return self._turns.free(_grant_name(uid))

    def note_purchase(self, purchase: Purchase) -> None:
        """Count or give back the place of a purchase that the ledger has changed."""
        if self._changed_meanwhile is not None:
            self._changed_meanwhile.add(purchase.purchase_id)
        if self._takes_place(purchase):
            if self._grants.pop(purchase.job_id, None) is not None:
                self._turns.free(_grant_name(purchase.job_id))
            self._occupy(purchase)
        elif self._free(purchase.purchase_id):
            self.changed.set()

    def _occupy(self, purchase: Purchase) -> None:
        self._purchases.add(purchase.purchase_id)
        place = Place(purchase.namespace, Account(purchase.provider, purchase.account or ""))
        self._turns.occupy(_purchase_name(purchase.purchase_id), place)

    def _free(self, purchase_id: str) -> bool:
        self._purchases.discard(purchase_id)
        return self._turns.free(_purchase_name(purchase_id))

    def note_success(self, endpoint: Endpoint) -> None:
        """Note that an endpoint has answered a paid request, or refused its input."""
        self._blocked.pop(endpoint, None)
        breaker = self._breakers.get(endpoint)
        if breaker is None:
            return
        after = breaker.succeeded(self._clock())
        if after == Breaker():
            del self._breakers[endpoint]
            if breaker.opened:
                _log.info("the circuit of %s is closed", endpoint.text)
            self.changed.set()
        else:
            self._breakers[endpoint] = after

    def note_failure(self, endpoint: Endpoint, cause: str, retry_after: float | None = None) -> None:
        """Note a failure of an endpoint at a paid request."""
        before = self._breakers.get(endpoint, Breaker())
        after = self._breakers[endpoint] = before.failed(self._clock(), cause, retry_after)
        if after.opened > before.opened:
            pause = after.until - self._clock()
            _log.warning("the circuit of %s is open for %.0f s: %s", endpoint.text, pause, cause)
        self.changed.set()

    def note_block(self, endpoint: Endpoint, namespace: str, uid: str) -> None:
        """Note that a run's request was blocked, maybe for a cause of its own; several namespaces open the circuit."""
        blocked = self._blocked.setdefault(endpoint, set())
        if len(blocked) < _MOST_BLOCKED:
            blocked.add(namespace)
        if len(blocked) >= _BLOCKED_NAMESPACES:
            cause = "the provider, or something before it, blocks the requests of several namespaces (403)"
            self.note_failure(endpoint, cause, FIRST_PAUSE_SECONDS)
        elif (breaker := self._breakers.get(endpoint)) is not None:
            self._breakers[endpoint] = breaker.given_back(uid)
            self.changed.set()

    @property
    def waiting(self) -> Mapping[str, int]:
        """Numbers of waiting runs by provider."""
        return self._turns.waiting

    @property
    def taken(self) -> Mapping[str, int]:
        """Numbers of places in use by provider."""
        return self._turns.taken

    @property
    def circuits(self) -> Mapping[Endpoint, CircuitState]:
        """States of the endpoints that had failures."""
        now = self._clock()
        return {endpoint: breaker.state(now) for endpoint, breaker in self._breakers.items()}

    async def round(self, wake: Callable[[ResourceRef], Awaitable[None]]) -> None:
        """Wake runs whose turn it is."""
        if self._loaded_at is not None:
            await self._reload()
        await self.wake_started(wake)

    async def wake_started(self, wake: Callable[[ResourceRef], Awaitable[None]]) -> None:
        """Grant free places, and wake the runs that have got one."""
        self._start()
        started, self._to_wake = self._to_wake, []
        for ref in started:
            await wake(ref)

    async def _reload(self) -> None:
        """Read the places in use, if that was long ago. Raises an error of the store at the first time only."""
        if self._is_fresh:
            return
        try:
            await self._load()
        except Exception as error:
            if self._loaded_at is None:
                raise
            self._loaded_at = self._clock() - _RELOAD_SECONDS + _RETRY_SECONDS  # the places that are known stay
            _log.warning("the open purchases cannot be read: %s", type(error).__name__)

    @property
    def _is_fresh(self) -> bool:
        return self._loaded_at is not None and self._clock() - self._loaded_at < _RELOAD_SECONDS

    async def _load(self) -> None:
        async with self._loading:
            if self._is_fresh:  # another reconcile has read them meanwhile
                return
            self._changed_meanwhile = set()
            try:
                found = {
                    purchase.purchase_id: purchase
                    for purchase in await self._open_purchases()
                    if self._takes_place(purchase)
                }
                known = self._changed_meanwhile
            finally:
                self._changed_meanwhile = None
            for gone in self._purchases - found.keys() - known:
                self._free(gone)
            for purchase_id in found.keys() - known:
                self._occupy(found[purchase_id])
            self._loaded_at = self._clock()

    def _start(self, asking: str = "") -> None:
        """Grant free places to waiting runs, in turn. `asking`: the run that asks now and needs no wake-up."""
        if self._loaded_at is None:
            return
        now = self._clock()
        for uid in [grant for grant, (_, until) in self._grants.items() if until <= now]:
            self._take_back(uid)
        while (started := self._turns.start(_grant_name, self._is_open)) is not None:
            self._grants[started.uid] = (started, now + _GRANT_SECONDS)
            if (breaker := self._breakers.get(started.endpoint)) is not None:
                self._breakers[started.endpoint] = breaker.admitted(started.uid, now)
            ref = self._refs.pop(started.uid, None)
            if ref is not None and started.uid != asking:
                self._to_wake.append(ref)
                self.changed.set()

    def _is_open(self, endpoint: Endpoint) -> bool:
        breaker = self._breakers.get(endpoint)
        return breaker is None or breaker.admits(self._clock())


def _grant_name(uid: str) -> str:
    return f"run {uid}"


def _purchase_name(purchase_id: str) -> str:
    return f"purchase {purchase_id}"
