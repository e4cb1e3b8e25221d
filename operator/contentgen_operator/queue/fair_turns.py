"""Fair order of runs that wait for a place at a provider. Pure: the caller says which endpoints are open.

Namespaces take turns: of any N starts, each of k namespaces with waiting work gets at least ⌊N/k⌋ - 1. Within a
namespace the highest priority comes first, then the oldest run.
"""

from bisect import bisect_left, insort
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeVar

from pydantic import Field

from contentgen_contract.base import Value
from contentgen_operator.queue.values import Limit

Rank = tuple[int, datetime, str]
T = TypeVar("T")


class Account(NamedTuple):
    """Account at a provider, which has concurrency limits of its own there."""

    provider: str
    name: str = ""  # empty: the default account


class Endpoint(NamedTuple):
    """Endpoint of a provider, as an account sees it: another account has a key, a balance and limits of its own."""

    provider: str
    model: str
    account: str = ""  # empty: the default account

    @property
    def text(self) -> str:
        """Name in the log."""
        return f"{self.provider}/{self.model}" + (f" (account {self.account})" if self.account else "")


class ConcurrencyLimits(Value):
    """Numbers of paid requests that may be under way at a time; 0: no limit."""

    overall: int = Field(0, ge=0)
    per_namespace: int = Field(0, ge=0)


class PlaceLimits(ConcurrencyLimits):
    """The same, with a limit of each account at a provider."""

    providers: dict[str, int] = Field(default_factory=dict)

    @property
    def any(self) -> bool:
        """True if there is a limit."""
        return bool(self.overall or self.per_namespace or any(self.providers.values()))


@dataclass(frozen=True)
class Claimant:
    """Run that wants a place."""

    uid: str
    namespace: str
    provider: str
    model: str
    priority: int
    since: datetime
    account: str = ""  # provider account; empty: the default one

    @property
    def rank(self) -> Rank:
        """Sort key within the namespace."""
        return -self.priority, self.since, self.uid

    @property
    def pays_with(self) -> Account:
        """Account of the paid request."""
        return Account(self.provider, self.account)

    @property
    def endpoint(self) -> Endpoint:
        """Endpoint of the paid request."""
        return Endpoint(self.provider, self.model, self.account)


@dataclass(frozen=True)
class Place:
    """Place of a paid request that is under way or allowed."""

    namespace: str
    account: Account


_Rotation = OrderedDict[str, None]  # namespaces with waiting runs, next turn first
_Head = Callable[[str, Iterable[Account]], Claimant | None]


class FairTurns:
    """Waiting runs and the places in use.

    A namespace that starts a run moves to the end of the rotation, and one that has no waiting run leaves it. A
    namespace that may not start, because of its own limit, keeps its turn. Each account at a provider has its own
    rotation, so that starts with one account cost no turn with another one; the common rotation decides on places of
    the overall limit.
    """

    def __init__(self, limits: PlaceLimits) -> None:
        self.limits = limits
        self._waiting: dict[str, Claimant] = {}
        self._lines: dict[tuple[str, Endpoint], list[Rank]] = {}  # by namespace and endpoint
        self._endpoints: dict[tuple[str, Account], set[Endpoint]] = {}  # by namespace and account
        self._rotations: dict[Account, _Rotation] = {}
        self._common: _Rotation = OrderedDict()
        self._places: dict[str, Place] = {}
        self._taken: Counter[Account] = Counter()
        self._taken_of: Counter[str] = Counter()  # by namespace

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, uid: str) -> bool:
        return uid in self._waiting

    @property
    def waiting(self) -> Mapping[str, int]:
        """Numbers of waiting runs by provider."""
        return Counter(each_waiting.provider for each_waiting in self._waiting.values())

    @property
    def taken(self) -> Mapping[str, int]:
        """Numbers of places in use by provider."""
        found = Counter[str]()
        for account, count in self._taken.items():
            found[account.provider] += count
        return found

    def put(self, claimant: Claimant) -> None:
        """Let a run wait, or change its priority or endpoint."""
        # `_head` needs that each rank is of a run that waits. The opposite, which an error in between leaves, is mended
        # by the next call.
        known = self._waiting.get(claimant.uid)
        if known is not None and known != claimant:
            self._remove(known, changed=known.namespace == claimant.namespace)
        self._waiting[claimant.uid] = claimant
        if not self._is_in_line(claimant):
            insort(self._lines.setdefault((claimant.namespace, claimant.endpoint), []), claimant.rank)
        self._endpoints.setdefault((claimant.namespace, claimant.pays_with), set()).add(claimant.endpoint)
        self._rotations.setdefault(claimant.pays_with, OrderedDict()).setdefault(claimant.namespace)
        self._common.setdefault(claimant.namespace)
        if known is not None:
            self._tidy(known.namespace, known.pays_with)

    def drop(self, uid: str) -> bool:
        """Remove a waiting run; False if it does not wait."""
        known = self._waiting.get(uid)
        if known is None:
            return False
        self._remove(known)
        return True

    def _remove(self, claimant: Claimant, *, changed: bool = False) -> None:
        """Remove a run. `changed`: it waits again at once, so that its namespace keeps its turn."""
        line = self._lines.get((claimant.namespace, claimant.endpoint), [])
        if self._is_in_line(claimant):
            del line[bisect_left(line, claimant.rank)]
        if not line:
            self._lines.pop((claimant.namespace, claimant.endpoint), None)
            self._endpoints.get((claimant.namespace, claimant.pays_with), set()).discard(claimant.endpoint)
        del self._waiting[claimant.uid]
        if not changed:
            self._tidy(claimant.namespace, claimant.pays_with)

    def _is_in_line(self, claimant: Claimant) -> bool:
        line = self._lines.get((claimant.namespace, claimant.endpoint), [])
        at = bisect_left(line, claimant.rank)
        return at < len(line) and line[at] == claimant.rank

    def _tidy(self, namespace: str, account: Account) -> None:
        """Remove a namespace without waiting runs from the rotations."""
        if not self._endpoints.get((namespace, account), True):
            del self._endpoints[namespace, account]
            self._rotations[account].pop(namespace, None)
        if not any((namespace, rotation) in self._endpoints for rotation in self._rotations):
            self._common.pop(namespace, None)

    def occupy(self, name: str, place: Place) -> None:
        """Count a place, which may exceed the limits: the request is under way already."""
        if (known := self._places.get(name)) == place:
            return
        if known is not None:
            self.free(name)
        self._places[name] = place
        self._taken[place.account] += 1
        self._taken_of[place.namespace] += 1

    def free(self, name: str) -> bool:
        """Give a place back; False if it is not in use."""
        place = self._places.pop(name, None)
        if place is None:
            return False
        _decrement(self._taken, place.account)
        _decrement(self._taken_of, place.namespace)
        return True

    def start(self, name_of: Callable[[str], str], is_open: Callable[[Endpoint], bool]) -> Claimant | None:
        """The next run that may start, which then has a place named `name_of` its uid; None: none may."""
        if self._is_full(self.limits.overall, len(self._places)):
            return None

        def head(namespace: str, accounts: Iterable[Account]) -> Claimant | None:
            return self._head(namespace, accounts, is_open)

        claimant = self._next(head)
        if claimant is None:
            return None
        for rotation in (self._common, self._rotations[claimant.pays_with]):
            if claimant.namespace in rotation:
                rotation.move_to_end(claimant.namespace)
        self._remove(claimant)
        self.occupy(name_of(claimant.uid), Place(claimant.namespace, claimant.pays_with))
        return claimant

    def _next(self, head: _Head) -> Claimant | None:
        firsts = dict[Account, Claimant]()
        for account, rotation in self._rotations.items():
            if self._is_used_up(account):
                continue
            first = next((found for namespace in rotation if (found := head(namespace, (account,))) is not None), None)
            if first is not None:
                firsts[account] = first
        if len(firsts) <= 1 or not self.limits.overall:
            return next(iter(firsts.values()), None)
        return next((found for namespace in self._common if (found := head(namespace, firsts)) is not None), None)

    def _head(
        self, namespace: str, accounts: Iterable[Account], is_open: Callable[[Endpoint], bool]
    ) -> Claimant | None:
        """First run of a namespace that may start with one of the accounts."""
        if self._is_full(self.limits.per_namespace, self._taken_of[namespace]):
            return None
        lines = (
            self._lines.get((namespace, endpoint))
            for account in accounts
            for endpoint in self._endpoints.get((namespace, account), ())
            if is_open(endpoint)
        )
        ranks = [line[0] for line in lines if line]
        return self._waiting[min(ranks)[-1]] if ranks else None

    def limit_of(self, claimant: Claimant) -> Limit:
        """Limit that the run waits for."""
        if self._is_used_up(claimant.pays_with):
            return Limit.PROVIDER
        if self._is_full(self.limits.per_namespace, self._taken_of[claimant.namespace]):
            return Limit.PER_NAMESPACE
        if self._is_full(self.limits.overall, len(self._places)):
            return Limit.OVERALL
        return Limit.OTHERS

    def _is_used_up(self, account: Account) -> bool:
        return self._is_full(self.limits.providers.get(account.provider, 0), self._taken[account])

    @staticmethod
    def _is_full(limit: int, taken: int) -> bool:
        return bool(limit) and taken >= limit


def _decrement(counts: Counter[T], what: T) -> None:
    counts[what] -= 1
    if not counts[what]:
        del counts[what]
