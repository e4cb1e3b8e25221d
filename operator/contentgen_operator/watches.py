"""When each watch was last opened: how a watch is seen to be dead, also where nothing happens for hours.

The API server ends each watch after a minute and kopf opens it anew, so a watch that works is never older than that.
One that died silently is given up by kopf after `CLIENT_SECONDS`; what stays old after that, kopf could not mend.
"""

import time
from collections.abc import Callable
from types import SimpleNamespace

import aiohttp
import kopf

SERVER_SECONDS = 60  # a whole number: the API server refuses others
CLIENT_SECONDS = 75


class Watches:
    """By the plural of what is watched, and its namespace where there is one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._opened: dict[str, float] = {}

    def opened(self, name: str) -> None:
        """A watch has begun to deliver."""
        self._opened[name] = self._clock()

    def ages(self) -> dict[str, float]:
        """Seconds since each watch was last opened."""
        return {name: self._clock() - at for name, at in self._opened.items()}

    def session(self, info: kopf.ConnectionInfo) -> kopf.AiohttpSession:
        """kopf's session with these credentials, told apart by us in what it opens."""
        trace = aiohttp.TraceConfig()
        trace.on_request_end.append(self._ended)
        made = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers=info.as_http_headers(),
            trace_configs=[trace],
        )
        return kopf.AiohttpSession(server=info.server, default_namespace=info.default_namespace, aiohttp_session=made)

    async def _ended(
        self, _: aiohttp.ClientSession, __: SimpleNamespace, request: aiohttp.TraceRequestEndParams
    ) -> None:
        # The headers of a watch come when it is open; its body is the stream.
        if request.url.query.get("watch") == "true" and request.response.status == 200:
            self.opened("/".join(request.url.path.split("/")[4:]))
