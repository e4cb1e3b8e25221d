"""Rights are remembered for some seconds only: one that was taken away is gone then."""

import asyncio
import time
from typing import Any, cast

import pytest

from contentgen_contract.names import Kind
from contentgen_gateway.access import Access, Verb
from contentgen_gateway.callers import Caller
from contentgen_runtime.kube import KubeApi

ANN = Caller("ann")


class Reviews:
    """The API server's answers to SubjectAccessReviews."""

    def __init__(self) -> None:
        self.allowed = True
        self.asked = 0

    async def request(self, *_: object, **__: object) -> dict[str, Any]:
        self.asked += 1
        return {"status": {"allowed": self.allowed}}


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock's time, to be changed."""
    moment = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: moment[0])
    return moment


def may(rights: Access, verb: Verb = Verb.GET) -> bool:
    return asyncio.run(rights.may(ANN, verb, Kind.TRANSCRIPTION, "red", "talk"))


def test_a_right_that_was_taken_away_is_gone_after_15_seconds(now: list[float]) -> None:
    reviews = Reviews()
    rights = Access(cast("KubeApi", reviews))
    assert may(rights)
    reviews.allowed = False
    now[0] += 14.9
    assert may(rights)
    assert reviews.asked == 1
    now[0] += 0.2
    assert not may(rights)


def test_a_right_that_was_given_counts_after_15_seconds(now: list[float]) -> None:
    reviews = Reviews()
    rights = Access(cast("KubeApi", reviews))
    reviews.allowed = False
    assert not may(rights)
    reviews.allowed = True
    now[0] += 15.1
    assert may(rights)


@pytest.mark.usefixtures("now")
def test_one_right_says_nothing_of_another() -> None:
    reviews = Reviews()
    rights = Access(cast("KubeApi", reviews))
    assert may(rights, Verb.GET)
    reviews.allowed = False
    assert not may(rights, Verb.SPEND)
