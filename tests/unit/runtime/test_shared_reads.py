"""Reads that concurrent callers share: none gets a value older than its call."""

import asyncio
from collections import deque

import pytest

from contentgen_runtime.shared_reads import SharedReads


class Store:
    """Store whose reads end when the test says so; each returns the value at the time it began."""

    def __init__(self) -> None:
        self.value = 0
        self.begun: deque[tuple[int, asyncio.Future[None]]] = deque()
        self.reads = SharedReads(self._read)

    async def _read(self, key: str) -> str:
        value, end = self.value, asyncio.get_running_loop().create_future()
        self.begun.append((value, end))
        await end
        return f"{key} {value}"

    async def end(self, error: Exception | None = None) -> None:
        """End the oldest read that has begun."""
        await until_idle()
        _, end = self.begun.popleft()
        end.set_exception(error) if error else end.set_result(None)
        await until_idle()


async def until_idle() -> None:
    """Let all tasks run until they wait for the store."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_callers_during_a_read_share_the_next_one() -> None:
    store = Store()
    first = asyncio.ensure_future(store.reads("a"))
    await until_idle()
    store.value = 1  # after the first read began
    later = [asyncio.ensure_future(store.reads("a")) for _ in range(3)]
    await until_idle()
    assert len(store.begun) == 1
    await store.end()
    assert len(store.begun) == 1
    await store.end()
    assert await first == "a 0"
    assert [await each for each in later] == ["a 1"] * 3
    assert not store.begun


async def test_keys_are_read_independently() -> None:
    store = Store()
    reads = [asyncio.ensure_future(store.reads(key)) for key in "ab"]
    await until_idle()
    assert len(store.begun) == 2
    await store.end()
    await store.end()
    assert [await each for each in reads] == ["a 0", "b 0"]


async def test_an_error_reaches_the_callers_of_its_read_only() -> None:
    store = Store()
    first = asyncio.ensure_future(store.reads("a"))
    await until_idle()
    second = asyncio.ensure_future(store.reads("a"))
    await store.end(OSError("away"))
    await store.end()
    with pytest.raises(OSError, match="away"):
        await first
    assert await second == "a 0"


async def test_a_cancelled_caller_leaves_the_read_to_the_others() -> None:
    store = Store()
    first, second = (asyncio.ensure_future(store.reads("a")) for _ in range(2))
    await until_idle()
    first.cancel()
    await store.end()
    assert await second == "a 0"
    assert first.cancelled()
