"""State of kopf's watches, by the requests that it makes.

The API server ends each watch after a minute and kopf reopens it, so a working watch is never older, also an idle one.
kopf gives up a dead one after `CLIENT_SECONDS`; a watch that is older than that is broken.
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
    """Watches by plural and, if any, namespace: `loratrainings`, `namespaces/red/loratrainings`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, refused_seconds: float = 15) -> None:
        """`refused_seconds`: pause after a refusal (403)."""
        self._clock = clock
        self._refused_seconds = refused_seconds
        self._listed: set[str] = set()
        self._opened: dict[str, float] = {}
        self.refused: set[str] = set()
        self.missed: dict[str, None] = {}
        """Watches that were listed again because their history was lost. kopf reports no deletions in between."""
        self.has_missed = asyncio.Event()

    def opened(self, name: str) -> None:
        """Note that a watch was opened."""
        self._opened[name] = self._clock()
        self.refused.discard(name)

    def listed(self, name: str) -> None:
        """Note that a list has begun."""
        if name in self._listed:
            self.missed[name] = None
            self.has_missed.set()
        self._listed.add(name)

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
            middlewares=(self._without_refusals,),
        )
        return kopf.AiohttpSession(server=info.server, default_namespace=info.default_namespace, aiohttp_session=made)

    async def _ended(
        self, _: aiohttp.ClientSession, __: SimpleNamespace, request: aiohttp.TraceRequestEndParams
    ) -> None:
        # Headers arrive when a watch is open; its body is the stream.
        name, query = _name_of(request.url.path), request.url.query
        if not name or request.response.status != 200:
            return
        if query.get("watch") == "true":
            self.opened(name)
        elif "continue" not in query:
            self.listed(name)

    async def _without_refusals(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Response of the API server; a 403 or 5xx of a list or watch becomes a connection error.

        kopf ends at those after a minute, with all its watches; after a connection error it retries. The Role of a
        namespace is deleted with it, and may be created later.
        """
        answer = await handler(request)
        name = _name_of(request.url.path)
        if not name or (answer.status < 500 and answer.status != _FORBIDDEN):
            return answer
        answer.release()
        if answer.status == _FORBIDDEN:
            if name not in self.refused:
                _log.warning("%s may not be listed or watched (403): resources there wait for a Role", name)
            self.refused.add(name)
            self._opened.pop(name, None)
            await asyncio.sleep(self._refused_seconds)
        raise aiohttp.ClientConnectionError(f"{name}: {answer.status}")


def _name_of(path: str) -> str:
    """Name of a watch by the path of its requests; empty for other requests, those of the discovery."""
    return "/".join(path.split("/")[3 if path.startswith("/api/") else 4 :])
