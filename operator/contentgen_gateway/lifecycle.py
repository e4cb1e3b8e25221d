"""When requests should come, and how it ends: the gateway says that it is not ready, Kubernetes sends new requests
elsewhere, streams end (their clients come back to another replica), what was begun is finished, and then it stops.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from pymongo.errors import PyMongoError

_PING_SECONDS = 2.0


class Lifecycle:
    """Ready is what has reached the database once and is not on its way out. A database that goes away later is told to
    each caller (503): no other replica would have it either.
    """

    def __init__(self) -> None:
        self.draining = False
        self._reached = False
        self._over = False
        self._endless: set[Callable[[], None]] = set()

    async def unready(self, ping: Callable[[], Awaitable[None]]) -> str:
        """Why no request should come here; empty when they may."""
        if self.draining:
            return "this replica is about to stop"
        if not self._reached:
            try:
                await asyncio.wait_for(ping(), _PING_SECONDS)
            except (PyMongoError, TimeoutError):
                return "MongoDB does not answer"
            self._reached = True
        return ""

    @contextmanager
    def endless(self, end: Callable[[], None]) -> Iterator[None]:
        """Something goes on until its client leaves, or `end` is called: at once after the others have ended."""
        if self._over:
            end()
        self._endless.add(end)
        try:
            yield
        finally:
            self._endless.discard(end)

    async def drain(self, seconds: float, stop: Callable[[], None]) -> None:
        """Serve for so long while the others learn of it; then end what is endless, and stop."""
        self.draining = True
        await asyncio.sleep(seconds)
        self._over = True
        for end in tuple(self._endless):
            end()
        stop()
