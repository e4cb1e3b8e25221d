"""How many requests somebody may make: a token bucket each, kept in bounded memory. Pure but for the clock."""

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

_MAX_BUCKETS = 65536  # buckets


class TokenBuckets:
    """Token buckets by name. One that is full is not kept; of too many, the one used longest ago is full again."""

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
        """Take one token: 0 when there was one, else the seconds until there will be."""
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
        """The oldest, while it is full or one too many: a step or two for each that is added."""
        for _ in range(2):
            name, full_at = next(iter(self._full_at.items()))
            if full_at > now and len(self._full_at) <= self._max_buckets:
                return
            del self._full_at[name]
            if not self._full_at:
                return


def network_of(address: str) -> str:
    """Whom an address belongs to: itself in IPv4, its /64 in IPv6, where one host has as many as it likes."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((int(parsed), 64), strict=False))
    return str(parsed)
