"""Reads of a store that concurrent callers share."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class SharedReads(Generic[K, V]):
    """Reads by key. Each caller gets the result of a read that began after its call, so nothing older than a caller's
    own read would return; callers that wait for the same read share it, and its error.
    """

    def __init__(self, read: Callable[[K], Awaitable[V]]) -> None:
        self._read = read
        self._running: dict[K, asyncio.Task[V]] = {}
        self._next: dict[K, asyncio.Task[V]] = {}

    async def __call__(self, key: K) -> V:
        """Result of the next read of a key. A cancelled caller does not cancel the read."""
        task = self._next.get(key)
        if task is None:
            task = self._next[key] = asyncio.create_task(self._after(key, self._running.get(key)))
            task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def _after(self, key: K, earlier: asyncio.Task[V] | None) -> V:
        if earlier is not None:
            await asyncio.wait([earlier])
        task = self._running[key] = self._next.pop(key)
        try:
            return await self._read(key)
        finally:
            if self._running.get(key) is task:
                del self._running[key]


def _retrieve(task: asyncio.Task[V]) -> None:
    """Take a task's error, which asyncio logs if every caller was cancelled."""
    if not task.cancelled():
        task.exception()
