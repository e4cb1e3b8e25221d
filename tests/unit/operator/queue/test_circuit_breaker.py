"""Circuit breaker of an endpoint: transitions, Retry-After, and the one request after a pause."""

import pytest

from contentgen_operator.queue.circuit_breaker import (
    FAILURES,
    FIRST_PAUSE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    LONGEST_RETRY_AFTER_SECONDS,
    Breaker,
    CircuitState,
)


def failed(times: int, now: float = 0.0, breaker: Breaker | None = None) -> Breaker:
    breaker = breaker or Breaker()
    for _ in range(times):
        breaker = breaker.failed(now, "busy")
    return breaker


def test_breaker_opens_after_consecutive_failures() -> None:
    assert failed(FAILURES - 1).state(0) is CircuitState.CLOSED
    breaker = failed(FAILURES)
    assert breaker.state(0) is CircuitState.OPEN
    assert not breaker.admits(FIRST_PAUSE_SECONDS - 0.1)
    assert breaker.cause == "busy"


def test_a_success_in_between_starts_the_count_again() -> None:
    breaker = failed(FAILURES - 1).succeeded(0)
    assert failed(FAILURES - 1, breaker=breaker).state(0) is CircuitState.CLOSED


def test_half_open_breaker_allows_one_request() -> None:
    breaker, now = failed(FAILURES), FIRST_PAUSE_SECONDS
    assert breaker.state(now) is CircuitState.HALF_OPEN
    assert breaker.admits(now)
    breaker = breaker.admitted("one", now)
    assert not breaker.admits(now)
    assert breaker.succeeded(now) == Breaker()
    again = breaker.failed(now, "busy")
    assert again.state(now) is CircuitState.OPEN
    assert again.until == now + 2 * FIRST_PAUSE_SECONDS


def test_a_request_that_is_not_sent_gives_its_turn_to_another() -> None:
    breaker = failed(FAILURES).admitted("one", FIRST_PAUSE_SECONDS)
    assert not breaker.given_back("other").admits(FIRST_PAUSE_SECONDS)
    assert breaker.given_back("one").admits(FIRST_PAUSE_SECONDS)


def test_a_request_without_a_result_does_not_keep_it_half_open() -> None:
    breaker = failed(FAILURES).admitted("one", FIRST_PAUSE_SECONDS)
    assert breaker.admits(FIRST_PAUSE_SECONDS + 180)


def test_pauses_double_up_to_a_limit() -> None:
    breaker, now, pauses = failed(FAILURES), FIRST_PAUSE_SECONDS, list[float]()
    for _ in range(40):
        breaker = breaker.admitted("one", now).failed(now, "busy")
        pauses.append(breaker.until - now)
        now = breaker.until
    assert pauses[:4] == [30, 60, 120, 240]
    assert set(pauses[4:]) == {LONGEST_PAUSE_SECONDS}


@pytest.mark.parametrize(
    ("asked", "pause"),
    [(1.0, 1.0), (120.0, 120.0), (1e9, LONGEST_RETRY_AFTER_SECONDS), (None, 0.0), (0.0, 0.0), (-5.0, 0.0)],
)
def test_a_retry_after_is_followed_at_once_and_within_limits(asked: float | None, pause: float) -> None:
    breaker = Breaker().failed(10, "busy", asked)
    assert (breaker.until if breaker.opened else 10) == 10 + pause


def test_a_reply_to_an_earlier_request_does_not_end_the_pause() -> None:
    breaker = Breaker().failed(0, "busy", 60)
    assert breaker.succeeded(1) == breaker
    late = breaker.failed(1, "busy")
    assert (late.until, late.opened) == (breaker.until, breaker.opened)
