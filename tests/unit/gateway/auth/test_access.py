"""A right that is taken away is gone after 15 seconds, by a clock that the test sets."""

from typing import Any

import pytest
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import Kind
from contentgen_gateway.auth.authorization import REMEMBERED_SECONDS, Authorizer
from contentgen_simulation.gateway.cluster import WritableWorld

ANN = ("ann", "*", "*", "red")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def world(clock: Clock) -> WritableWorld:
    return WritableWorld(ANN, clock=clock)


async def codes(world: WritableWorld, job: str) -> list[int]:
    """Reads, the question for shares (which needs the right to patch), a page, and a list."""
    async with world.client("ann") as ann:
        answers = [
            await ann.get(f"/api/jobs/{job}"),
            await ann.get(f"/api/assets/{job}/stats"),
            await ann.get(f"/api/assets/{job}/share"),
            await ann.get(f"/jobs/{job}"),
        ]
        listed = (await ann.get("/api/jobs?namespace=red")).json()["jobs"]
    assert [record["jobId"] for record in listed] == ([job] if answers[0].status_code == 200 else [])
    return [answer.status_code for answer in answers]


async def test_revoked_right_ends_after_fifteen_seconds(world: WritableWorld, clock: Clock) -> None:
    job = world.job(1, Kind.IMAGE_GENERATION)
    assert await codes(world, job) == [200] * 4
    world.api.rights.clear()
    clock.now += REMEMBERED_SECONDS - 1
    assert await codes(world, job) == [200] * 4, "remembered: the API server is not asked at every request"
    clock.now += 1
    assert await codes(world, job) == [404] * 4
    assert REMEMBERED_SECONDS == 15, "as docs/threat-model.md has it"


async def test_a_right_that_was_given_counts_after_fifteen_seconds(world: WritableWorld, clock: Clock) -> None:
    job = world.job(1, Kind.IMAGE_GENERATION)
    world.api.rights.clear()
    assert await codes(world, job) == [404] * 4
    world.api.rights.add(ANN)
    clock.now += REMEMBERED_SECONDS
    assert await codes(world, job) == [200] * 4


async def test_a_right_is_remembered_from_the_question_on(world: WritableWorld, clock: Clock) -> None:
    """An answer that takes long is not good for longer."""
    job, call = world.job(1, Kind.IMAGE_GENERATION), world.api.call

    async def slow(method: str, path: str, body: Any = None) -> Any:
        answer = await call(method, path, body)
        clock.now += 10
        return answer

    world.api.call = slow  # type: ignore[method-assign]
    async with world.client("ann") as ann:
        assert (await ann.get(f"/api/jobs/{job}")).status_code == 200
        world.api.rights.clear()
        clock.now += REMEMBERED_SECONDS - 10
        assert (await ann.get(f"/api/jobs/{job}")).status_code == 404


async def test_expired_answers_allow_nothing_without_a_new_answer(world: WritableWorld, clock: Clock) -> None:
    job = world.job(1, Kind.IMAGE_GENERATION)
    assert await codes(world, job) == [200] * 4

    async def away(*_: object) -> Any:
        raise ApiException(status=503)

    world.api.call = away  # type: ignore[method-assign]
    clock.now += REMEMBERED_SECONDS
    async with world.client("ann") as ann:
        answer = await ann.get(f"/api/jobs/{job}")
    assert answer.status_code == 503
    assert job not in answer.text.replace(f"/api/jobs/{job}", "")


def test_the_clock_is_the_monotonic_one() -> None:
    """The wall clock can be set back."""
    assert Authorizer.__init__.__kwdefaults__["clock"].__name__ == "monotonic"
