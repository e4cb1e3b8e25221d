"""Download budget: limits on bytes, time and rate, over all connections of one download."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from contentgen_worker.errors import TooLarge, Unreachable, redacted


@dataclass(frozen=True)
class DownloadLimits:
    """Limits of one download."""

    max_bytes: int
    seconds: float
    bytes_per_second: float = 16 * 1024  # minimum rate ...
    rate_window: float = 30.0  # ... over so many seconds
    answer_seconds: float = 60.0  # until the response begins


class DownloadBudget:
    """Bytes, time and rate of one download. The deadline covers all tries. Thread-safe."""

    def __init__(self, url: object, bounds: DownloadLimits, clock: Callable[[], float] = monotonic) -> None:
        self.bounds = bounds
        self._clock = clock
        self._url = redacted(url)
        self._deadline = self._clock() + bounds.seconds
        self._lock = threading.Lock()
        self.restart()

    def restart(self) -> None:
        """Restart the rate window at the beginning of a try."""
        self._window_start = self._clock()
        self._window_bytes = 0

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline; negative after it."""
        return self._deadline - self._clock()

    def check_size(self, size: int, *, at_least: bool = False) -> None:
        """Raises TooLarge. `at_least`: the size is a lower bound."""
        if size > self.bounds.max_bytes:
            max_bytes = self.bounds.max_bytes
            size_text = f"more than {max_bytes} bytes" if at_least else f"{size} bytes, at most {max_bytes}"
            raise TooLarge(f"{self._url}: {size_text}", advice="use a smaller file")

    def count(self, size: int) -> None:
        """Count received bytes. Raises Unreachable past the deadline or below the minimum rate."""
        if self.seconds_left < 0:
            raise Unreachable(f"{self._url}: not finished within {self.bounds.seconds:g} s", advice="use a faster host")
        with self._lock:
            self._window_bytes += size
            now = self._clock()
            if now - self._window_start >= self.bounds.rate_window:
                self._check_rate(now)

    def _check_rate(self, now: float) -> None:
        rate = self._window_bytes / (now - self._window_start)
        if rate < self.bounds.bytes_per_second:
            minimum = self.bounds.bytes_per_second
            raise Unreachable(f"{self._url}: {rate:.0f} bytes/s, at least {minimum:.0f}", advice="use a faster host")
        self._window_start, self._window_bytes = now, 0
