"""Circuit breaker of a provider's endpoint (provider, model and account). Pure: the caller passes the time, in seconds.

    closed ── failures in a row, or a Retry-After ──► open ── pause over ──► half-open ── success ──► closed
                                                        ▲                        │
                                                        └──────── failure ───────┘

Only new paid requests pass it; requests that are under way are polled and collected in any state.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

FAILURES = 5  # in a row, until it opens
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 15.0, 300.0
LONGEST_RETRY_AFTER_SECONDS = 3600.0  # of a provider's Retry-After
_MAX_DOUBLINGS = 10
_PROBE_SECONDS = 180.0


class CircuitState(StrEnum):
    """State of a breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True)
class Breaker:
    """State of one endpoint. `failures` are in a row; `opened` counts pauses in a row."""

    failures: int = 0
    opened: int = 0
    until: float = 0.0  # end of the pause
    probe: str = ""  # the one request that is let through after the pause
    probe_until: float = 0.0  # then another one is let through: the first one's result is not known
    cause: str = ""

    def state(self, now: float) -> CircuitState:
        """State at a time."""
        if not self.opened:
            return CircuitState.CLOSED
        return CircuitState.OPEN if now < self.until else CircuitState.HALF_OPEN

    def admits(self, now: float) -> bool:
        """True if one more request may be sent."""
        state = self.state(now)
        if state is CircuitState.HALF_OPEN:
            return not self.probe or now >= self.probe_until
        return state is CircuitState.CLOSED

    def admitted(self, name: str, now: float) -> "Breaker":
        """The breaker after a request was let through."""
        if self.state(now) is not CircuitState.HALF_OPEN:
            return self
        return replace(self, probe=name, probe_until=now + _PROBE_SECONDS)

    def given_back(self, name: str) -> "Breaker":
        """The breaker after a request that was let through is not sent."""
        return replace(self, probe="") if name and self.probe == name else self

    def succeeded(self, now: float) -> "Breaker":
        """The breaker after the endpoint has answered. A reply to a request of before the pause does not end it."""
        return self if self.state(now) is CircuitState.OPEN else Breaker()

    def failed(self, now: float, cause: str, retry_after: float | None = None) -> "Breaker":
        """The breaker after a failure. A Retry-After opens it at once.

        A failure of a request that was sent before the pause began neither prolongs nor doubles it.
        """
        failures, state = self.failures + 1, self.state(now)
        asked = min(max(retry_after or 0.0, 0.0), LONGEST_RETRY_AFTER_SECONDS)
        if state is CircuitState.OPEN:
            return replace(self, failures=failures, until=max(self.until, now + asked))
        if state is CircuitState.CLOSED and failures < FAILURES and not asked:
            return replace(self, failures=failures, cause=cause)
        doubled = FIRST_PAUSE_SECONDS * 2.0 ** min(self.opened, _MAX_DOUBLINGS)
        pause = asked if state is CircuitState.CLOSED and failures < FAILURES else min(doubled, LONGEST_PAUSE_SECONDS)
        return Breaker(failures=failures, opened=self.opened + 1, until=now + max(pause, asked), cause=cause)
