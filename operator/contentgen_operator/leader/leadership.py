"""Whether this process leads, and for how long it may be sure of it: asked by any thread, before anything is sent."""

import time
from collections.abc import Callable

from contentgen_operator.leader.election import LeaderTerm
from contentgen_runtime.kube import Conflict

Clock = Callable[[], float]
Check = Callable[[], None]  # raises Conflict where this process does not lead
# Of the machine since its boot, and also while this process or the machine was stopped.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_clock() -> float:
    """Seconds since the machine has booted, the time in which it was suspended included."""
    return time.clock_gettime(_CLOCK)


class NotLeading(Conflict):
    """The Lease is not held, or not for long enough."""


def unchecked() -> None:
    """Without an election: stands for `Leadership.check`."""


class Leadership:
    """The term of this process. It has one at most: once it is over, the process ends."""

    def __init__(self, clock: Clock = boot_clock) -> None:
        self._clock = clock
        self._term: LeaderTerm | None = None  # replaced whole, so that threads need no lock
        self._over = ""

    @classmethod
    def always(cls) -> "Leadership":
        """Without an election."""
        alone = cls(lambda: 0.0)
        alone.grant(LeaderTerm(0.0, float("inf")))
        return alone

    @property
    def is_leader(self) -> bool:
        """Whether this process leads now."""
        return self.seconds_left > 0

    @property
    def deadline(self) -> float:
        """Time of the clock until which this process may send; minus infinity where it does not lead."""
        term, now = self._term, self._clock()
        return term.ends if term is not None and not self._over and term.covers(now) else float("-inf")

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline; 0 where this process does not lead."""
        return max(self.deadline - self._clock(), 0.0)

    @property
    def granted(self) -> bool:
        """Whether this process holds the Lease, or did; its term may begin later."""
        return self._term is not None

    @property
    def over(self) -> str:
        """Why this process will not lead again; empty where it may."""
        return self._over

    def require(self, seconds: float = 0.0) -> None:
        """Raises NotLeading unless this process leads, for `seconds` at least."""
        left = self.seconds_left
        if left <= 0 or left < seconds:
            raise NotLeading(self._over or f"the Lease is sure for {left:.1f} s, and {seconds:.1f} s are needed")

    def check(self) -> None:
        """Raises NotLeading unless this process leads now: between what a write is compared with and the write.

        A process that was frozen before this question learns here that its term is over; one that is frozen after it
        finds that its compare-and-set fails.
        """
        if not self.is_leader:
            raise NotLeading(self._over or "this process does not lead any more")

    def grant(self, term: LeaderTerm) -> None:
        """The Lease was written. Without effect after `revoke`."""
        self._term = term

    def revoke(self, why: str) -> None:
        """The Lease is lost or given up, for good."""
        self._over = self._over or why
