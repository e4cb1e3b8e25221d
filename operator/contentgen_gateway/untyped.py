"""A body that says nothing of its type, or that it is plain text, is read as JSON.

The first service's clients give `fetch` a string, and browsers say of one that it is plain text. What another site's
page sends is refused for its origin, or for want of a token, whatever type it has.
"""

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

_API = "/api/"
_CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_JSON = "application/json"
_PLAIN = "text/plain"


class Untyped:
    """Around the endpoints, whose framework takes JSON for JSON only where it is called so."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, with the type that was meant."""
        if scope["type"] == "http" and scope["method"] in _CHANGES and scope["path"].startswith(_API):
            headers = MutableHeaders(scope=scope)
            if headers.get("content-type", _PLAIN).partition(";")[0].strip().lower() == _PLAIN:
                headers["content-type"] = _JSON
        await self._app(scope, receive, send)
