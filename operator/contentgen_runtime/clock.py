"""Clocks of the operator and the gateway: a parameter wherever time is read, so that tests can replace it."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Current time, with a time zone."""

MonotonicClock = Callable[[], float]
"""Seconds since an unknown start, to measure durations."""


def utc_now() -> datetime:
    """Current time in UTC, to the microsecond."""
    return datetime.now(UTC)
