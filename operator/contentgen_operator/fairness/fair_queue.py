"""Round-robin queue of keys with due times, and with a limit of the keys of one group in progress. Pure: the caller
passes the time, in seconds.
"""

import heapq
import itertools
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
_STALE = 64  # obsolete heap entries, left by earlier due times, before the heap is rebuilt
_FIRST_IN_A_ROW = 3  # keys that go first, before one of the others that wait


class _Line(Generic[K]):
    """Due keys of one group, in the order in which they came due; those that go first have three of four turns."""

    def __init__(self) -> None:
        self._first: OrderedDict[K, None] = OrderedDict()
        self._others: OrderedDict[K, None] = OrderedDict()
        self._in_a_row = 0

    def __bool__(self) -> bool:
        return bool(self._first or self._others)

    def append(self, key: K, *, first: bool) -> None:
        """Add a key at the end."""
        (self._first if first else self._others)[key] = None

    def promote(self, key: K) -> None:
        """Move a key of the others to the end of those that go first."""
        if key in self._others:
            del self._others[key]
            self._first[key] = None

    def pop(self) -> K:
        """Remove and return the next key."""
        first = bool(self._first) and (not self._others or self._in_a_row < _FIRST_IN_A_ROW)
        self._in_a_row = self._in_a_row + 1 if first and self._others else 0
        return (self._first if first else self._others).popitem(last=False)[0]


class FairQueue(Generic[K]):
    """Groups take turns; keys of one group are ordered by their due times, with those that go first before the others.

    `places` is the number of keys that may be in progress. One group has at most half of them while another one waits,
    and never all of them, so that a place remains for the next group. A key that is put while it is in progress waits
    for `done`. `goes_first` is asked when a key comes due, and when it is put again: it changes no other group's turns.
    """

    def __init__(
        self, places: int, group: Callable[[K], Hashable], goes_first: Callable[[K], bool] = lambda _: False
    ) -> None:
        self._group = group
        self._goes_first = goes_first
        self._places = places
        self._share = (places + 1) // 2
        self._most = max(places - max(places // 6, 1), 1)
        self._due: dict[K, float] = {}
        self._later: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._waiting: set[K] = set()  # due and not in progress, or due again while in progress
        self._by_group: OrderedDict[Hashable, _Line[K]] = OrderedDict()
        self._taken: set[K] = set()
        self._taken_of: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, key: K) -> bool:
        return key in self._due or key in self._taken

    @property
    def taken(self) -> frozenset[K]:
        """Keys in progress."""
        return frozenset(self._taken)

    @property
    def first_due(self) -> float:
        """Earliest due time; infinity if the queue is empty."""
        return min(self._due.values(), default=math.inf)

    @property
    def next_time(self) -> float | None:
        """Next due time after those that `take` has processed; None if there is none."""
        return self._later[0][0] if self._later else None

    def put(self, key: K, at: float) -> bool:
        """Schedule a key; False if it is already due earlier."""
        if key in self._waiting:
            if key not in self._taken and self._goes_first(key):
                self._by_group[self._group(key)].promote(key)
            return False
        if self._due.get(key, math.inf) <= at:
            return False
        self._due[key] = at
        heapq.heappush(self._later, (at, next(self._order), key))
        if len(self._later) > 2 * len(self._due) + _STALE:
            self._later = [entry for entry in self._later if self._is_current(entry)]
            heapq.heapify(self._later)
        return True

    def take(self, now: float) -> K | None:
        """Next key that is due; None until a key becomes due or is done."""
        self._enqueue_due(now)
        if len(self._taken) >= self._places:
            return None
        limit = self._share if len(self._by_group) > 1 else self._most
        for group, line in self._by_group.items():
            if self._taken_of[group] < limit:
                return self._take_first(group, line)
        return None

    def _take_first(self, group: Hashable, line: _Line[K]) -> K:
        key = line.pop()
        if line:
            self._by_group.move_to_end(group)
        else:
            del self._by_group[group]
        del self._due[key]
        self._waiting.discard(key)
        self._taken.add(key)
        self._taken_of[group] += 1
        return key

    def done(self, key: K) -> None:
        """Free the place of a key in progress."""
        group = self._group(key)
        self._taken.discard(key)
        self._taken_of[group] -= 1
        if not self._taken_of[group]:
            del self._taken_of[group]
        if key in self._waiting:
            self._enqueue(key)

    def _enqueue_due(self, now: float) -> None:
        while self._later and (self._later[0][0] <= now or not self._is_current(self._later[0])):
            entry = heapq.heappop(self._later)
            if self._is_current(entry):
                self._waiting.add(entry[2])
                if entry[2] not in self._taken:
                    self._enqueue(entry[2])

    def _enqueue(self, key: K) -> None:
        self._by_group.setdefault(self._group(key), _Line()).append(key, first=self._goes_first(key))

    def _is_current(self, entry: tuple[float, int, K]) -> bool:
        at, _, key = entry
        return self._due.get(key) == at and key not in self._waiting
