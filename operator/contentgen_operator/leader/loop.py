"""Loop of the leader: background work that is repeated, and that no error ends."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from contentgen_operator.leader.leadership import NotLeading
from contentgen_runtime.kube import API_ERRORS, Conflict, explain
from contentgen_runtime.store_errors import STORE_ERRORS, short_text

_log = logging.getLogger(__name__)
_EXPECTED = (*STORE_ERRORS, *API_ERRORS, Conflict)


@dataclass(frozen=True)
class LeaderLoop:
    """Work that is repeated every `every` seconds, or `after_error` seconds after an error, and at once after `changed`
    is set.
    """

    name: str  # of the work, for the log
    every: float
    work: Callable[[], Awaitable[None]]
    changed: asyncio.Event | None = None
    after_error: float | None = None

    async def run(self) -> None:
        """Repeat until cancelled. An error must not stop payments and collection: it is logged, once until it changes
        or a round succeeds. A process that does not lead any more is ended by its election.
        """
        problem = ""
        while True:
            if self.changed is not None:
                self.changed.clear()
            problem = await self._round(problem)
            await self._pause(failed=bool(problem))

    async def _round(self, known: str) -> str:
        """Problem of one round; empty if there is none."""
        try:
            await self.work()
        except Exception as error:  # noqa: BLE001 - see `run`
            problem = explain(error) if isinstance(error, API_ERRORS) else short_text(error)
            if problem != known and isinstance(error, NotLeading):
                _log.info("%s waits for the Lease: %s", self.name, problem)
            elif problem != known and isinstance(error, _EXPECTED):
                _log.warning("%s failed, and will be tried again: %s", self.name, problem)
            elif problem != known:
                _log.exception("%s failed, and will be tried again", self.name)
            return problem
        return ""

    async def _pause(self, *, failed: bool) -> None:
        seconds = self.after_error if failed and self.after_error is not None else self.every
        if self.changed is None:
            await asyncio.sleep(seconds)
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.changed.wait()
