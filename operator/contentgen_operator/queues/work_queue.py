"""The one queue: keyed, so that a resource is never reconciled twice at a time; early or late is all the same."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from contentgen_operator.queues.fair_queue import FairQueue

K = TypeVar("K", bound=Hashable)
_log = logging.getLogger(__name__)


class WorkQueue(Generic[K]):
    """Runs `work(key)` for each key that is due; a key woken while it is worked on runs once more afterwards.

    Keys of different groups (namespaces) take turns, see `fair_queue.py`.
    """

    def __init__(
        self,
        work: Callable[[K], Awaitable[None]],
        workers: int = 24,
        group: Callable[[K], Hashable] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._work = work
        self._workers = workers
        self._queue: FairQueue[K] = FairQueue(workers, group)
        self._changed = asyncio.Condition()
        self._draining = False
        self._finished_at = self._clock()

    def __len__(self) -> int:
        return len(self._queue)

    def __contains__(self, key: K) -> bool:
        return key in self._queue

    @property
    def oldest_due_seconds(self) -> float:
        """For how long the oldest work has been due; 0 where none is."""
        return max(self._clock() - self._queue.first_due, 0.0)

    @property
    def idle_seconds(self) -> float:
        """Since when nothing was finished, or since `run` was called."""
        return self._clock() - self._finished_at

    async def wake(self, key: K, delay: float = 0) -> None:
        """Have `key` worked on in `delay` seconds, or earlier where that is already asked for."""
        async with self._changed:
            if self._queue.put(key, self._clock() + max(delay, 0)):
                self._changed.notify_all()

    async def run(self) -> None:
        """Work until cancelled."""
        self._finished_at = self._clock()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._worker())

    async def drain(self, seconds: float) -> None:
        """Begin nothing new, and wait for what is being worked on: a POST that was sent should be written down."""
        self._draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._changed:
                self._changed.notify_all()
                await self._changed.wait_for(lambda: not self._queue.taken)

    async def _worker(self) -> None:
        while not self._draining:
            key = await self._next()
            try:
                await self._work(key)
            except Exception:  # noqa: BLE001 - the work handles its errors; what still comes out must not end the operator
                _log.exception("reconcile failed", extra={"key": str(key)})
            finally:
                self._finished_at = self._clock()
                async with self._changed:
                    self._queue.done(key)
                    self._changed.notify_all()

    async def _next(self) -> K:
        async with self._changed:
            while True:
                key = None if self._draining else self._queue.take(self._clock())
                if key is not None:
                    return key
                try:
                    async with asyncio.timeout(self._seconds_left()):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    def _seconds_left(self) -> float | None:
        """Seconds until the next key becomes due; None: until something changes."""
        at = None if self._draining else self._queue.next_time
        return None if at is None else max(at - self._clock(), 0)
