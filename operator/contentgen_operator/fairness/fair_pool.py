"""Thread pool with a limit for each group, so that calls of one group do not block the others."""

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar
from weakref import WeakValueDictionary

P = ParamSpec("P")
T = TypeVar("T")
V = TypeVar("V")


class FairPool:
    """Thread pool with at most `share` calls of one group, such as a namespace, queued or running at a time."""

    def __init__(self, threads: int, share: int, name: str) -> None:
        self._share = share
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def run(self, group: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `call` in a thread; returns its result. Raises its error."""
        turn = self._turn(group)
        await turn.acquire()
        try:
            running = asyncio.get_running_loop().run_in_executor(self._threads, partial(call, *args, **kwargs))
        except BaseException:
            turn.release()
            raise
        running.add_done_callback(lambda _: turn.release())
        # A thread cannot be interrupted: after a cancellation the call keeps its slot until it ends.
        return await asyncio.shield(running)

    async def map(self, group: str, call: Callable[[V], T], items: Iterable[V]) -> list[T]:
        """Run `call` for each item; returns the results in order. Raises the first error, after which no further call
        starts.

        At most `share` calls of one map wait at a time, so that several maps of a group progress in parallel.
        """
        listed = list(items)
        results: dict[int, T] = {}
        left = iter(enumerate(listed))

        async def work() -> None:
            for index, item in left:
                results[index] = await self.run(group, call, item)

        workers = [asyncio.ensure_future(work()) for _ in range(min(self._share, len(listed)))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
        return [results[index] for index in range(len(listed))]

    def _turn(self, group: str) -> asyncio.Semaphore:
        turn = self._turns.get(group)
        if turn is None:
            turn = self._turns[group] = asyncio.Semaphore(self._share)
        return turn
