"""In-memory caches: of values that expire, and of a bounded number of entries."""

import time
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class TtlCache(Generic[K, V]):
    """Values for `seconds` each, by a monotonic clock. A full cache of `most` entries is emptied before the next one.

    None cannot be a value: `get` returns it for a missing one.
    """

    def __init__(self, seconds: float, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._entries: dict[K, tuple[float, V]] = {}

    def now(self) -> float:
        """Time of the clock, in seconds; for `put`, where a value may be older than its arrival."""
        return self._clock()

    def get(self, key: K) -> V | None:
        """A value; None if it is missing or has expired."""
        entry = self._entries.get(key)
        if entry is None or self._clock() - entry[0] >= self._seconds:
            return None
        return entry[1]

    def put(self, key: K, value: V, since: float | None = None) -> None:
        """Store a value that was true at `since` (of `now`); None is the present."""
        if len(self._entries) >= self._most:
            self._entries.clear()
        self._entries[key] = (self._clock() if since is None else since, value)

    def clear(self) -> None:
        """Remove all values."""
        self._entries.clear()


class BoundedDict(dict[K, V]):
    """The `most` entries that were assigned last (`[key] = value`), oldest first."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: K, value: V) -> None:
        self.pop(key, None)
        super().__setitem__(key, value)
        if len(self) > self._most:
            del self[next(iter(self))]
