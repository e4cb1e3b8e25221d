"""Token buckets for rate limits, in bounded memory. Pure except for the clock."""

import time
from collections.abc import Callable
from itertools import islice

from contentgen_contract.base import Value
from contentgen_runtime.caches import BoundedDict

_ROUNDING = 1e-9  # tokens


class RateLimit(Value):
    """Token bucket of `burst` requests that refills with `per_second`."""

    burst: float
    per_second: float


class TokenBuckets:
    """Token buckets by key. Beyond `most`, the least recently used one is dropped, and then has a full bucket again."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float] = time.monotonic, most: int = 4096) -> None:
        self._limit = limit
        self._clock = clock
        self._levels: BoundedDict[str, tuple[float, float]] = BoundedDict(most)  # level, and its time

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, key: str, amount: int = 1) -> float:
        """Take an amount; returns 0, or the seconds until it is available."""
        level = self._level(key)
        granted = level >= amount - _ROUNDING
        self._note(key, level - amount if granted else level)
        return 0.0 if granted else (amount - level) / self._limit.per_second

    def give_back(self, key: str, amount: int = 1) -> None:
        """Return an amount."""
        self._note(key, min(self._level(key) + amount, self._limit.burst))

    def _level(self, key: str) -> float:
        level, then = self._levels.get(key, (self._limit.burst, self._clock()))
        return min(level + (self._clock() - then) * self._limit.per_second, self._limit.burst)

    def _note(self, key: str, level: float) -> None:
        self._levels[key] = level, self._clock()
        for oldest in list(islice(self._levels, 2)):  # full ones need no memory
            if self._level(oldest) >= self._limit.burst:
                del self._levels[oldest]
