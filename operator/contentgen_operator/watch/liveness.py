"""Liveness of watches by the time of their last opening, which works for idle watches too.

The API server ends each watch after a minute and kopf reopens it, so a working watch is never older. kopf gives up a
dead one after `CLIENT_SECONDS`; a watch that is older than that is broken.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from types import SimpleNamespace

import aiohttp
import kopf

SERVER_SECONDS = 60  # a whole number: the API server refuses others
CLIENT_SECONDS = 75
_FORBIDDEN = 403
_log = logging.getLogger(__name__)


class WatchLiveness:
    """Openings of watches, by plural and, if any, namespace."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, refused_seconds: float = 15) -> None:
        """`refused_seconds`: pause after a refusal (403)."""
        self._clock = clock
        self._refused_seconds = refused_seconds
        self._opened: dict[str, float] = {}
        self.refused: set[str] = set()

    def opened(self, name: str) -> None:
        """Note that a watch was opened."""
        self._opened[name] = self._clock()
        self.refused.discard(name)

    def ages(self) -> dict[str, float]:
        """Seconds since each watch was last opened."""
        return {name: self._clock() - at for name, at in self._opened.items()}

    def session(self, info: kopf.ConnectionInfo) -> kopf.AiohttpSession:
        """kopf's session with these credentials, which reports the watches that it opens."""
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._ended)
        made = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers=info.as_http_headers(),
            trace_configs=[trace],
            middlewares=(self._without_rights,),
        )
        return kopf.AiohttpSession(server=info.server, default_namespace=info.default_namespace, aiohttp_session=made)

    async def _ended(
        self, _: aiohttp.ClientSession, __: SimpleNamespace, request: aiohttp.TraceRequestEndParams
    ) -> None:
        # Headers arrive when a watch is open; its body is the stream.
        if request.url.query.get("watch") == "true" and request.response.status == 200:
            self.opened(_name_of(request.url.path))

    async def _without_rights(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Response of the API server; a 403 for one namespace becomes a connection error.

        kopf ends at a 403, with the watches of all other namespaces; after a connection error it retries. The Role of a
        namespace is deleted with it, and may be created later.
        """
        answer = await handler(request)
        if answer.status != _FORBIDDEN or "namespaces" not in request.url.parts:
            return answer
        name = _name_of(request.url.path)
        answer.release()
        if name not in self.refused:
            _log.warning("%s may not be listed or watched (403): resources there wait for a Role", name)
        self.refused.add(name)
        self._opened.pop(name, None)
        await asyncio.sleep(self._refused_seconds)
        raise aiohttp.ClientConnectionError(f"{name}: 403 Forbidden")


def _name_of(path: str) -> str:
    return "/".join(path.split("/")[4:])
