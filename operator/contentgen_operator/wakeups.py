"""The one queue: keyed, so that a resource is never reconciled twice at a time; early or late is all the same."""

import asyncio
import contextlib
import heapq
import itertools
import logging
import math
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
_log = logging.getLogger(__name__)


class WakeUps(Generic[K]):
    """Runs `work(key)` for each key that is due; a key woken while it is worked on runs once more afterwards."""

    def __init__(self, work: Callable[[K], Awaitable[None]], workers: int = 24) -> None:
        self._work = work
        self._workers = workers
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._order = itertools.count()
        self._busy: set[K] = set()
        self._changed = asyncio.Condition()
        self._draining = False
        self._finished_at = time.monotonic()

    def __len__(self) -> int:
        return len(self._due)

    @property
    def oldest_due_seconds(self) -> float:
        """For how long the oldest work has been due; 0 where none is."""
        return max(time.monotonic() - min(self._due.values(), default=math.inf), 0.0)

    @property
    def idle_seconds(self) -> float:
        """Since when nothing was finished."""
        return time.monotonic() - self._finished_at

    async def wake(self, key: K, delay: float = 0) -> None:
        """Have `key` worked on in `delay` seconds, or earlier where that is already asked for."""
        at = time.monotonic() + max(delay, 0)
        async with self._changed:
            if key in self._due and self._due[key] <= at:
                return
            self._due[key] = at
            heapq.heappush(self._heap, (at, next(self._order), key))
            self._changed.notify_all()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._worker())

    async def drain(self, seconds: float) -> None:
        """Begin nothing new, and wait for what is being worked on: a POST that was sent should be written down."""
        self._draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._changed:
                self._changed.notify_all()
                await self._changed.wait_for(lambda: not self._busy)

    async def _worker(self) -> None:
        while not self._draining:
            key = await self._next()
            try:
                await self._work(key)
            except Exception:  # noqa: BLE001 - the work handles its errors; what still comes out must not end the operator
                _log.exception("reconcile failed", extra={"key": str(key)})
            finally:
                self._finished_at = time.monotonic()
                async with self._changed:
                    self._busy.discard(key)
                    self._changed.notify_all()

    async def _next(self) -> K:
        async with self._changed:
            while True:
                key, wait = self._pick()
                if key is not None:
                    self._busy.add(key)
                    return key
                try:
                    async with asyncio.timeout(wait):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    def _pick(self) -> tuple[K | None, float | None]:
        """A key that is due and not busy, else how long there is none (None: until something changes)."""
        if self._draining:
            return None, None
        now = time.monotonic()
        held: list[tuple[float, int, K]] = []
        try:
            while self._heap:
                at, _, key = self._heap[0]
                if self._due.get(key) != at:  # an entry that an earlier wake-up replaced
                    heapq.heappop(self._heap)
                elif at > now:
                    return None, at - now
                elif key in self._busy:
                    held.append(heapq.heappop(self._heap))
                else:
                    heapq.heappop(self._heap)
                    del self._due[key]
                    return key, None
            return None, None
        finally:
            for entry in held:
                heapq.heappush(self._heap, entry)
