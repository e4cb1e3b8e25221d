"""Work queue by key: one key is never processed twice at a time, and repeated wake-ups are merged."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from contentgen_operator.fairness.fair_queue import FairQueue

K = TypeVar("K", bound=Hashable)
_log = logging.getLogger(__name__)


class WorkQueue(Generic[K]):
    """Calls `work(key)` for each key that is due; a key that is woken while in progress is processed once more.

    Keys of different groups (namespaces) take turns, and within a group some go first, see `fair_queue.py`.
    """

    def __init__(
        self,
        work: Callable[[K], Awaitable[None]],
        workers: int = 24,
        group: Callable[[K], Hashable] = lambda _: None,
        goes_first: Callable[[K], bool] = lambda _: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._work = work
        self._workers = workers
        self._queue: FairQueue[K] = FairQueue(workers, group, goes_first)
        self._changed = asyncio.Condition()
        self._draining = False
        self._finished_at = self._clock()

    def __len__(self) -> int:
        return len(self._queue)

    def __contains__(self, key: K) -> bool:
        return key in self._queue

    @property
    def oldest_due_seconds(self) -> float:
        """Seconds since the oldest key became due; 0 if none is."""
        return max(self._clock() - self._queue.first_due, 0.0)

    @property
    def idle_seconds(self) -> float:
        """Seconds since a key was finished, or since `run` was called."""
        return self._clock() - self._finished_at

    async def wake(self, key: K, delay: float = 0) -> None:
        """Schedule a key in `delay` seconds, or earlier if it is already scheduled earlier."""
        async with self._changed:
            if self._queue.put(key, self._clock() + max(delay, 0)):
                self._changed.notify_all()

    async def run(self) -> None:
        """Process keys until cancelled."""
        self._finished_at = self._clock()
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._worker())

    async def drain(self, seconds: float) -> None:
        """Start nothing new and wait for the keys in progress, at most `seconds`: the reply of a sent POST must be
        recorded.
        """
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
            except Exception:  # noqa: BLE001 - an error that the work does not handle must not end the operator
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
        """Seconds until the next key is due; None: until something changes."""
        at = None if self._draining else self._queue.next_time
        return None if at is None else max(at - self._clock(), 0)
