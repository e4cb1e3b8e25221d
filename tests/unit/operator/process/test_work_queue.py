"""Work queue: one reconcile of a resource at a time, none lost, a clean end."""

# ruff: noqa: ASYNC110 - the code under test is not to know of the test
import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from contentgen_operator.fairness.work_queue import WorkQueue


class Work:
    """Counts calls, and detects two at a time for one key."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.busy: set[str] = set()
        self.twice = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.started = asyncio.Event()

    async def __call__(self, key: str) -> None:
        self.twice |= key in self.busy
        self.busy.add(key)
        self.started.set()
        await self.gate.wait()
        await asyncio.sleep(0)
        self.busy.discard(key)
        self.done.append(key)
        if key == "bad":
            raise ValueError("poisoned")


@contextlib.asynccontextmanager
async def running(work: Work, workers: int = 4) -> AsyncIterator[WorkQueue[str]]:
    queue = WorkQueue(work, workers=workers)
    task = asyncio.create_task(queue.run())
    yield queue
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert not work.twice, "never two at a time"


async def until(work: Work, count: int) -> None:
    async with asyncio.timeout(60):
        while len(work.done) < count:
            await asyncio.sleep(0.001)
    await asyncio.sleep(0.02)
    assert len(work.done) == count


async def test_wake_ups_of_one_key_are_joined() -> None:
    work = Work()
    async with running(work) as queue:
        for _ in range(100):
            await queue.wake("a", 0.02)
        assert len(queue) == 1
        await until(work, 1)


async def test_key_woken_while_busy_runs_once_more() -> None:
    work = Work()
    work.gate.clear()
    async with running(work) as queue:
        await queue.wake("a")
        await work.started.wait()
        for _ in range(50):
            await queue.wake("a")
        await queue.wake("b")
        async with asyncio.timeout(60):
            while work.busy != {"a", "b"}:  # a busy key holds up no other
                await asyncio.sleep(0.001)
        work.gate.set()
        await until(work, 3)
        assert work.done.count("a") == 2


async def test_the_earlier_of_two_times_wins() -> None:
    work = Work()
    async with running(work) as queue:
        await queue.wake("a", 3600)
        await queue.wake("a", 0.01)
        await until(work, 1)
        assert len(queue) == 0
        await queue.wake("b", 0.01)
        await queue.wake("b", 3600)
        await until(work, 2)


async def test_the_order_is_that_of_time() -> None:
    work = Work()
    async with running(work, workers=1) as queue:
        for key, delay in (("c", 0.06), ("a", 0.02), ("b", 0.04), ("now", -5)):
            await queue.wake(key, delay)
        await until(work, 4)
        assert work.done == ["now", "a", "b", "c"]


async def test_a_poisoned_key_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    work = Work()
    async with running(work, workers=1) as queue:
        for _ in range(3):
            await queue.wake("bad")
            await queue.wake("good")
            await until(work, len(work.done) + 2)
        assert work.done.count("good") == 3
        assert caplog.text.count("ValueError: poisoned") == 3


async def test_drain_finishes_what_is_under_way_and_begins_nothing() -> None:
    work = Work()
    work.gate.clear()
    async with running(work) as queue:
        await queue.wake("a")
        await work.started.wait()
        draining = asyncio.create_task(queue.drain(60))
        await asyncio.sleep(0.01)
        await queue.wake("b")
        await asyncio.sleep(0.01)
        assert not draining.done()
        work.gate.set()
        await draining
        await asyncio.sleep(0.02)
        assert work.done == ["a"]


async def test_drain_gives_up_after_its_time() -> None:
    work = Work()
    work.gate.clear()
    async with running(work) as queue:
        await queue.wake("a")
        await work.started.wait()
        await queue.drain(0.05)
        assert work.busy == {"a"}


async def test_many_keys_many_times() -> None:
    work = Work()
    async with running(work, workers=8) as queue:
        for n in range(500):
            await queue.wake(f"k{n % 50}", (n % 7) / 1000)
        async with asyncio.timeout(60):
            while len(queue) or work.busy:
                await asyncio.sleep(0.001)
        assert set(work.done) == {f"k{n}" for n in range(50)}
