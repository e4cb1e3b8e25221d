"""Leadership of this process and its deadline: read by all threads, before anything is sent."""

import time
from collections.abc import Callable

from contentgen_operator.leader.election import LeaderTerm
from contentgen_runtime.clock import MonotonicClock
from contentgen_runtime.kube import Conflict

Check = Callable[[], None]  # raises Conflict where this process does not lead
# Counts also while this process or the machine is suspended.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_clock() -> float:
    """Seconds since the boot of the machine, including time in which it was suspended."""
    return time.clock_gettime(_CLOCK)


class NotLeading(Conflict):
    """The Lease is not held, or not for long enough."""


def unchecked() -> None:
    """Replacement of `Leadership.check` without an election."""


class Leadership:
    """Term of this process. There is one at most: the process ends after it."""

    def __init__(self, clock: MonotonicClock = boot_clock) -> None:
        self._clock = clock
        self._term: LeaderTerm | None = None  # replaced whole, so that threads need no lock
        self._over = ""

    @classmethod
    def always(cls) -> "Leadership":
        """Leadership without an election."""
        alone = cls(lambda: 0.0)
        alone.grant(LeaderTerm(0.0, float("inf")))
        return alone

    @property
    def is_leader(self) -> bool:
        """True if this process leads now."""
        return self.seconds_left > 0

    @property
    def deadline(self) -> float:
        """Time of the clock until which this process may send; minus infinity if it does not lead."""
        term, now = self._term, self._clock()
        return term.ends if term is not None and not self._over and term.covers(now) else float("-inf")

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline; 0 if this process does not lead."""
        return max(self.deadline - self._clock(), 0.0)

    @property
    def granted(self) -> bool:
        """True if this process holds or held the Lease; its term may begin later."""
        return self._term is not None

    @property
    def over(self) -> str:
        """Why this process will not lead again; empty if it may."""
        return self._over

    def require(self, seconds: float = 0.0) -> None:
        """Raises NotLeading unless this process leads for `seconds` more."""
        left = self.seconds_left
        if left <= 0 or left < seconds:
            raise NotLeading(self._over or f"the Lease is valid for {left:.1f} s, and {seconds:.1f} s are required")

    def check(self) -> None:
        """Raises NotLeading unless this process leads now. Called between the read that a write is compared with and
        the write.

        A process that was paused before this call detects the end of its term here; after this call, its
        compare-and-set fails.
        """
        if not self.is_leader:
            raise NotLeading(self._over or "this process does not lead any more")

    def grant(self, term: LeaderTerm) -> None:
        """Begin a term, after the Lease was written. No effect after `revoke`."""
        self._term = term

    def revoke(self, why: str) -> None:
        """End the term for good: the Lease is lost or released."""
        self._over = self._over or why
