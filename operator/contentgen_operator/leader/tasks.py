"""Tasks of the leader only: reconciles, the worker API, and the background loops.

A standby keeps watched objects in the cache and queues nothing. When it begins to lead, it queues all unfinished
resources and the recently deleted ones: nobody may have led at their deletion, and no watch delivers them again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from time import monotonic
from typing import Any, Protocol

from contentgen_operator.fairness.work_queue import WorkQueue
from contentgen_operator.state.observed import ResourceRef

Loop = Callable[[], Coroutine[Any, Any, None]]
_RECENT_SECONDS = 300.0  # longer than a takeover, including the wait for the operator class
_MOST_RECENT = 10_000


class WebServer(Protocol):
    """Interface of uvicorn's server."""

    should_exit: bool

    async def serve(self) -> None:
        """Run until `should_exit`."""
        ...


class LeaderTasks:
    """Tasks that begin once `elected` returns."""

    def __init__(
        self,
        elected: Callable[[], Awaitable[None]],
        queue: WorkQueue[ResourceRef],
        unfinished: Callable[[], Iterable[ResourceRef]],
    ) -> None:
        self._elected = elected
        self._queue = queue
        self._unfinished = unfinished
        self._deleted: dict[ResourceRef, float] = {}  # seen by a standby, with the time, oldest first
        self._server: WebServer | None = None
        self._begun = False
        self._queue_task: asyncio.Task[None] | None = None
        self._others: list[asyncio.Task[None]] = []

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """Running tasks."""
        return [*self._others, *([self._queue_task] if self._queue_task is not None else [])]

    async def wake(self, ref: ResourceRef) -> None:
        """Queue a changed resource, on the leader; for the watches."""
        if self._begun:
            await self._queue.wake(ref)

    async def deleted(self, ref: ResourceRef) -> None:
        """Queue a deleted resource; on a standby, once it begins to lead. For the watches."""
        if self._begun:
            await self._queue.wake(ref)
            return
        now = monotonic()
        self._deleted.pop(ref, None)
        self._deleted[ref] = now
        while len(self._deleted) > _MOST_RECENT or now - next(iter(self._deleted.values())) > _RECENT_SECONDS:
            del self._deleted[next(iter(self._deleted))]

    def _recently_deleted(self) -> tuple[ResourceRef, ...]:
        oldest = monotonic() - _RECENT_SECONDS
        recent = tuple(ref for ref, at in self._deleted.items() if at >= oldest)
        self._deleted.clear()
        return recent

    async def run(self, server: WebServer, loops: Iterable[Loop]) -> None:
        """Run until the first task ends, which none should; raises its error."""
        await self._elected()
        self._begun, self._server = True, server
        for ref in (*self._unfinished(), *self._recently_deleted()):
            await self._queue.wake(ref)
        self._queue_task = asyncio.create_task(self._queue.run())
        self._others = [asyncio.create_task(server.serve()), *(asyncio.create_task(loop()) for loop in loops)]
        done, _ = await asyncio.wait(self.tasks, return_when=asyncio.FIRST_COMPLETED)
        for each in done:
            each.result()

    def stop_others(self) -> None:
        """Stop the worker API and the background loops; the queue continues, for its drain."""
        if self._server is not None:
            self._server.should_exit = True  # closes its connections gracefully
        for each in self._others[1:]:
            each.cancel()

    def stop(self) -> None:
        """Stop all tasks."""
        self.stop_others()
        if self._queue_task is not None:
            self._queue_task.cancel()
