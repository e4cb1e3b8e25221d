"""Threads that groups share: one group has at most a share of them, so that the others need not wait for its calls."""

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
    """A pool of threads with at most `share` calls of one group, such as a namespace, queued or running at a time."""

    def __init__(self, threads: int, share: int, name: str) -> None:
        self._share = share
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._turns: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def run(self, group: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Result of `call` in a thread. Raises what it raises."""
        turn = self._turn(group)
        await turn.acquire()
        try:
            running = asyncio.get_running_loop().run_in_executor(self._threads, partial(call, *args, **kwargs))
        except BaseException:
            turn.release()
            raise
        running.add_done_callback(lambda _: turn.release())
        # A thread cannot be interrupted: a call whose caller was cancelled keeps its place until it has ended.
        return await asyncio.shield(running)

    async def map(self, group: str, call: Callable[[V], T], items: Iterable[V]) -> list[T]:
        """Results of `call` for each item, in their order. Raises the first error, and begins no further call then.

        One map has at most `share` calls waiting, so that several maps of a group progress side by side.
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
            for each in workers:
                each.cancel()
        return [results[index] for index in range(len(listed))]

    def _turn(self, group: str) -> asyncio.Semaphore:
        turn = self._turns.get(group)
        if turn is None:
            turn = self._turns[group] = asyncio.Semaphore(self._share)
        return turn
