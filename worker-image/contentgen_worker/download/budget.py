"""What one download may cost: bytes, time, and how slow it may be; counted over all its connections."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from contentgen_worker.errors import TooLarge, Unreachable, redacted


@dataclass(frozen=True)
class DownloadLimits:
    """What one download may cost."""

    max_bytes: int
    seconds: float
    bytes_per_second: float = 16 * 1024  # a slower sender is given up ...
    rate_window: float = 30.0  # ... after being slower for this many seconds
    answer_seconds: float = 60.0  # until an answer begins


class DownloadBudget:
    """Bytes, time and rate of one download. `deadline` counts all its tries."""

    def __init__(self, url: object, bounds: DownloadLimits, clock: Callable[[], float] = monotonic) -> None:
        self.bounds = bounds
        self._clock = clock
        self._url = redacted(url)
        self._deadline = self._clock() + bounds.seconds
        self._lock = threading.Lock()
        self.restart()

    def restart(self) -> None:
        """A try begins anew."""
        self._window_start = self._clock()
        self._window_bytes = 0

    @property
    def seconds_left(self) -> float:
        """Seconds."""
        return self._deadline - self._clock()

    def check_size(self, size: int, *, at_least: bool = False) -> None:
        """Raises TooLarge. `at_least`: the file has at least so many bytes."""
        if size > self.bounds.max_bytes:
            max_bytes = self.bounds.max_bytes
            size_text = f"more than {max_bytes} bytes" if at_least else f"{size} bytes, at most {max_bytes}"
            raise TooLarge(f"{self._url}: {size_text}; use a smaller file")

    def count(self, size: int) -> None:
        """So many bytes have come. Raises Unreachable where it takes too long."""
        if self.seconds_left < 0:
            raise Unreachable(f"{self._url}: not done within {self.bounds.seconds:g} s; use a faster host")
        with self._lock:
            self._window_bytes += size
            now = self._clock()
            if now - self._window_start >= self.bounds.rate_window:
                self._check_rate(now)

    def _check_rate(self, now: float) -> None:
        rate = self._window_bytes / (now - self._window_start)
        if rate < self.bounds.bytes_per_second:
            minimum = self.bounds.bytes_per_second
            raise Unreachable(f"{self._url}: {rate:.0f} bytes/s, at least {minimum:.0f}; use a faster host")
        self._window_start, self._window_bytes = now, 0
