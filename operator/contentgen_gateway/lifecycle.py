"""Readiness and shutdown.

A replica that shuts down first reports that it is not ready, so that Kubernetes sends new requests elsewhere. Then it
ends its streams, whose clients reconnect to another replica, finishes requests in progress, and stops.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from pymongo.errors import PyMongoError

_PING_SECONDS = 2.0


class Lifecycle:
    """State of the process. A replica is ready once it has reached the database, until it shuts down.

    It stays ready while the database is unavailable later and answers 503: no other replica could reach it either.
    """

    def __init__(self) -> None:
        self.draining = False
        self._reached = False
        self._over = False
        self._endless: set[Callable[[], None]] = set()

    async def unready(self, ping: Callable[[], Awaitable[None]]) -> str:
        """Reason why the replica is not ready; empty if it is ready."""
        if self.draining:
            return "this replica is shutting down"
        if not self._reached:
            try:
                await asyncio.wait_for(ping(), _PING_SECONDS)
            except (PyMongoError, TimeoutError):
                return "MongoDB does not answer"
            self._reached = True
        return ""

    @contextmanager
    def endless(self, end: Callable[[], None]) -> Iterator[None]:
        """Register a stream, which lasts until its client leaves or `end` is called; at once during a shutdown."""
        if self._over:
            end()
        self._endless.add(end)
        try:
            yield
        finally:
            self._endless.discard(end)

    async def drain(self, seconds: float, stop: Callable[[], None]) -> None:
        """Keep serving for `seconds` while Kubernetes updates its endpoints, then end all streams and call `stop`."""
        self.draining = True
        await asyncio.sleep(seconds)
        self._over = True
        for end in tuple(self._endless):
            end()
        stop()
