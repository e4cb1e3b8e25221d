"""Retry policies: how long to retry each dependency."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import stamina
from stamina.instrumentation import RetryDetails

from contentgen_worker.log import event

T = TypeVar("T")
Tell = Callable[[Exception | None], None]


def _tell_nobody(_error: Exception | None) -> None:
    """No report."""


@dataclass(frozen=True)
class RetryPolicy:
    """Retry with exponential backoff. Seconds; `seconds` or `tries` may be None (unlimited), not both.

    `tell`: called with the error of each try that is followed by another, and with None once one succeeds after it.
    """

    seconds: float | None
    tries: int | None
    first_pause: float
    longest_pause: float
    tell: Tell = _tell_nobody

    def scaled(self, factor: float) -> "RetryPolicy":
        """Policy with all times multiplied by `factor`."""
        seconds = None if self.seconds is None else self.seconds * factor
        first, longest = self.first_pause * factor, self.longest_pause * factor
        return replace(self, seconds=seconds, first_pause=first, longest_pause=longest)

    def telling(self, tell: Tell) -> "RetryPolicy":
        """Policy that reports its failed tries."""
        return replace(self, tell=tell)

    def at_least(self, seconds: float) -> "RetryPolicy":
        """Policy that retries for at least this long."""
        return replace(self, seconds=max(seconds, self.seconds or 0))

    def run(self, action: Callable[[], T], should_retry: Callable[[Exception], bool | float]) -> T:
        """Result of `action`, retried until it succeeds. Raises its last error once `should_retry` returns False or the
        policy is exhausted.

        `should_retry` may return the seconds until the next try.
        """
        told = False

        def is_repeated(error: Exception) -> bool | float:
            nonlocal told
            again = should_retry(error)
            if again:
                told = True
                self.tell(error)
            return again

        for attempt in stamina.retry_context(
            on=is_repeated,
            attempts=self.tries,
            timeout=self.seconds,
            wait_initial=self.first_pause,
            wait_max=self.longest_pause,
            wait_jitter=self.first_pause,
        ):
            with attempt:
                result = action()
                if told:
                    self.tell(None)
                return result
        raise AssertionError("stamina ends with a result or an error")


WORKER_API = RetryPolicy(seconds=600, tries=None, first_pause=0.5, longest_pause=15)  # the operator may be restarting
# Share of the time left until the pod's deadline: at the deadline the run fails instead of being retried.
DEADLINE_SHARE = 0.75
REFUSAL_SECONDS = 30.0  # TokenReview may lag behind a new token
STORE = RetryPolicy(seconds=300, tries=None, first_pause=0.5, longest_pause=15)
# Pauses of 1 2 4 8 16 16 s, about a minute. No try begins after 90 s, since each may time out after 30 s.
SOURCE = RetryPolicy(seconds=90, tries=7, first_pause=1, longest_pause=16)


def log_retries(details: RetryDetails) -> None:
    """Stamina hook: log each failed try, without its arguments, which hold signed URLs."""
    event("again", error=str(details.caused_by)[:300], pause=round(details.wait_for, 2), attempt=details.retry_num)
