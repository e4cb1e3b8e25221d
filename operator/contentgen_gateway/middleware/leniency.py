"""Query and JSON parsing: repeated query parameters are refused; JSON bodies need no Content-Type."""

from collections import Counter

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Receive, Scope, Send

from contentgen_gateway.problems import Problem

_REPEATABLE = frozenset({"users", "namespaces"})
"""Query parameters that may be repeated."""
_API = "/api/"
_CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_JSON = "application/json"
_PLAIN = "text/plain"


async def reject_repeated_parameters(request: Request) -> None:
    """Raises Problem 422 for a repeated parameter: of `?userId=ann&userId=bob` only one would be used."""
    counted = Counter(name for name, _ in request.query_params.multi_items() if name not in _REPEATABLE)
    repeated = next((name for name, number in counted.items() if number > 1), None)
    if repeated is not None:
        name = repeated[:64]
        errors = [{"loc": ["query", name], "msg": "given more than once"}]
        raise Problem(422, f"{name}: the parameter is given more than once; give it once", errors=errors)


class JsonWithoutContentType:
    """Middleware: bodies of `/api/` without a Content-Type, or with text/plain, are parsed as JSON.

    Clients of the legacy API pass a string to `fetch`, which browsers send as text/plain. The CSRF checks of origin and
    token apply to any Content-Type.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the app, with Content-Type application/json where it was missing or text/plain."""
        if scope["type"] == "http" and scope["method"] in _CHANGES and scope["path"].startswith(_API):
            headers = MutableHeaders(scope=scope)
            if headers.get("content-type", _PLAIN).partition(";")[0].strip().lower() == _PLAIN:
                headers["content-type"] = _JSON
        await self._app(scope, receive, send)
