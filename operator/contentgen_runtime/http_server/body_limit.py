"""Limit of request bodies."""

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

Refuse = Callable[[Scope, str], ASGIApp]
"""The 413 response for a detail, in the format of the app."""


class BodyLimit:
    """ASGI middleware: request bodies of at most `limit` bytes; others are answered 413.

    A function middleware of Starlette costs more time than most requests and buffers streams; its own body limit
    answers in plain text. Bodies of unknown length (chunked) are counted as they arrive if `chunked`, else refused.
    """

    def __init__(self, app: ASGIApp, limit: int, refuse: Refuse, *, chunked: bool) -> None:
        self._app = app
        self._limit = limit
        self._refuse = refuse
        self._chunked = chunked
        self._detail = f"a body has at most {limit} bytes"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request whose body is within the limit, as far as its headers say."""
        if scope["type"] == "http" and self._is_refused(Headers(scope=scope)):
            await self._refuse(scope, self._detail)(scope, receive, send)
            return
        counts = scope["type"] == "http" and self._chunked
        await self._app(scope, self._counting(receive) if counts else receive, send)

    def _is_refused(self, headers: Headers) -> bool:
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._limit:
            return True
        return "transfer-encoding" in headers and not self._chunked

    def _counting(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise HTTPException(413, self._detail)  # FastAPI answers 400 to any other exception
            return message

        return counted
