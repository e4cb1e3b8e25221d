"""How long to try again, as values: which thing may be away for how long is decided in one place."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import stamina
from stamina.instrumentation import RetryDetails

from contentgen_worker.log import event

T = TypeVar("T")


@dataclass(frozen=True)
class RetryPolicy:
    """Seconds, and the growing pauses within them. Either bound may be None, not both."""

    seconds: float | None
    tries: int | None
    first_pause: float
    longest_pause: float

    def scaled(self, factor: float) -> "RetryPolicy":
        """The same, faster or slower."""
        seconds = None if self.seconds is None else self.seconds * factor
        return RetryPolicy(seconds, self.tries, self.first_pause * factor, self.longest_pause * factor)

    def at_least(self, seconds: float) -> "RetryPolicy":
        """The same for this long, where that is longer."""
        return replace(self, seconds=max(seconds, self.seconds or 0))

    def run(self, action: Callable[[], T], should_retry: Callable[[Exception], bool | float]) -> T:
        """The result of `action`, tried until it succeeds, `should_retry` says no, or patience ends (its last error).

        `should_retry` may name the seconds until the next try.
        """
        for attempt in stamina.retry_context(
            on=should_retry,
            attempts=self.tries,
            timeout=self.seconds,
            wait_initial=self.first_pause,
            wait_max=self.longest_pause,
            wait_jitter=self.first_pause,
        ):
            with attempt:
                return action()
        raise AssertionError("stamina ends with a result or an error")


WORKER_API = RetryPolicy(seconds=600, tries=None, first_pause=0.5, longest_pause=15)  # the operator may be restarting
DEADLINE_SHARE = (
    0.75  # of what is left until the Job's deadline: past that, the run would fail instead of being tried again
)
REFUSAL_SECONDS = 30.0  # TokenReview may lag behind a new token
STORE = RetryPolicy(seconds=300, tries=None, first_pause=0.5, longest_pause=15)
# 1 2 4 8 16 16: about a minute; no further try after 90 s, as each may take 30 s to say nothing.
SOURCE = RetryPolicy(seconds=90, tries=7, first_pause=1, longest_pause=16)


def log_retries(details: RetryDetails) -> None:
    """A stamina hook: one line for each try that failed, without its arguments (they hold signed URLs)."""
    event("again", error=str(details.caused_by)[:300], pause=round(details.wait_for, 2), attempt=details.retry_num)
