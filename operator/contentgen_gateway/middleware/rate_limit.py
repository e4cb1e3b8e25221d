"""Token buckets for rate limits, in bounded memory. Pure except for the clock."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

_MAX_BUCKETS = 65536  # buckets


class TokenBuckets:
    """Token buckets by name. Full ones are not stored; beyond `max_buckets`, the least recently used one is reset."""

    def __init__(
        self,
        per_second: float,
        burst: int,
        *,
        max_buckets: int = _MAX_BUCKETS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = 1 / per_second
        self._burst_seconds = burst / per_second
        self._max_buckets = max_buckets
        self._clock = clock
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, name: str) -> float:
        """Take a token. Returns 0, or the seconds until one is available."""
        now = self._clock()
        full_at = max(self._full_at.get(name, now), now) + self._interval
        missing = full_at - now - self._burst_seconds
        if missing > 1e-9:
            return missing
        self._full_at[name] = full_at
        self._full_at.move_to_end(name)
        self._evict(now)
        return 0.0

    def _evict(self, now: float) -> None:
        """Remove up to two of the least recently used buckets, if they are full or there are too many."""
        for _ in range(2):
            name, full_at = next(iter(self._full_at.items()))
            if full_at > now and len(self._full_at) <= self._max_buckets:
                return
            del self._full_at[name]
            if not self._full_at:
                return


def network_of(address: str) -> str:
    """The unit of rate limits: an IPv4 address, or the /64 of an IPv6 address, because one host may use all of it."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), 64), strict=False))
    return str(parsed)
