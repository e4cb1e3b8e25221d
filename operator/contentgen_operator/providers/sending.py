"""Hook before a paid POST: it runs when the connection is open and no byte of the request is written yet.

httpcore calls the `trace` extension before each event of a request: an exception raised there stops the request and
closes the connection. A proxy's CONNECT is traced as well; only the POST counts.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any

BeforeSend = Callable[[], Awaitable[None]]
_HEADERS_EVENT = "send_request_headers.started"  # after "http11." or "http2."
POST_SECONDS = 60.0  # from the first byte of a paid request to the end of its reply
_SECONDS = 60.0  # limit of a thread's wait for `before_send`: a stopped event loop never answers


class SendStopped(Exception):
    """`before_send` failed, or the caller was cancelled: no byte of the request was written."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Gate:
    """Hook that awaits `before_send` of one POST. `opened`: it has succeeded, so the request may have been sent."""

    def __init__(self, before_send: BeforeSend, limit: asyncio.Timeout | None = None) -> None:
        self._before_send = before_send
        self._limit = limit
        self.opened = False

    async def trace(self, event: str, info: dict[str, Any]) -> None:
        """Callback for the `trace` extension of an async client; starts `limit`. Raises SendStopped."""
        if not _is_the_post(event, info):
            return
        try:
            await self._before_send()
        except Exception as error:
            raise SendStopped(error) from error
        self.opened = True
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time() + POST_SECONDS)


class ThreadGate:
    """The same hook for a synchronous client in a thread; `before_send` runs on the loop that made this object."""

    def __init__(self, before_send: BeforeSend) -> None:
        self._before_send = before_send
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._running: Future[None] | None = None
        self._closed = False
        self.opened = False

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Callback for the `trace` extension of a synchronous client. Raises SendStopped."""
        if not _is_the_post(event, info):
            return
        try:
            self._start().result(_SECONDS)
        # Includes CancelledError, which does not derive from Exception.
        except BaseException as error:
            self.close()
            raise SendStopped(error) from error
        self.opened = True

    def _start(self) -> "Future[None]":
        with self._lock:
            if self._closed:
                raise asyncio.CancelledError("the payment was cancelled")
            waiting = self._awaited()
            try:
                self._running = asyncio.run_coroutine_threadsafe(waiting, self._loop)
            except RuntimeError:  # the loop is closed: the operator ends
                waiting.close()
                raise
            return self._running

    def _awaited(self) -> Coroutine[Any, Any, None]:
        async def awaited() -> None:
            await self._before_send()

        return awaited()

    def close(self) -> None:
        """Stop a request that is not written yet: the thread outlives the task that waits for it."""
        with self._lock:
            self._closed = True
            if self._running is not None:
                self._running.cancel()


def _is_the_post(event: str, info: dict[str, Any]) -> bool:
    return event.endswith(_HEADERS_EVENT) and info["request"].method == b"POST"
