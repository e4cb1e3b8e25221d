"""Limits of a provider's replies: uncompressed, small ones in memory, results streamed to a file."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx

from contentgen_operator.providers.answers import REPLY_BYTES, AnswerFile

HISTORY_BYTES = 4 << 20  # of a list of 100 requests with their inputs
_LIMIT = "contentgen_limit"  # a request's extension: bytes of its reply where it is a 200


class ReplyTooLarge(httpx.RequestError):
    """A provider's reply is larger than its limit."""


class ReplyCompressed(httpx.RequestError):
    """A provider's reply is compressed although that was not requested: its decoded size is unknown."""


def reply_limit(limit: int) -> dict[str, Any]:
    """A request's `extensions` that set the limit of its reply in bytes."""
    return {_LIMIT: limit}


def limit_replies(client: httpx.Client) -> httpx.Client:
    """The client, which now requests uncompressed replies and enforces their limits."""
    client.event_hooks = {"request": [_ask_uncompressed], "response": [_limit_body]}
    return client


def limit_replies_async(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """The async client, with the same limits."""

    async def plain(request: httpx.Request) -> None:
        _ask_uncompressed(request)

    async def limit(response: httpx.Response) -> None:
        _limit_body(response)

    client.event_hooks = {"request": [plain], "response": [limit]}
    return client


def _ask_uncompressed(request: httpx.Request) -> None:
    request.headers["accept-encoding"] = "identity"  # a compressed reply has no limit once it is decoded


def _limit_body(response: httpx.Response) -> None:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ReplyCompressed(
            "the reply is compressed, although the request did not accept that", request=response.request
        )
    most = int(response.request.extensions.get(_LIMIT, REPLY_BYTES)) if response.status_code == 200 else REPLY_BYTES
    if isinstance(response.stream, httpx.AsyncByteStream) and not isinstance(response.stream, httpx.SyncByteStream):
        response.stream = _AsyncLimited(response.stream, most, response.request)
    elif isinstance(response.stream, httpx.SyncByteStream):
        response.stream = _Limited(response.stream, most, response.request)


class _Counter:
    def __init__(self, stream: Any, most: int, request: httpx.Request) -> None:
        self._stream, self._most, self._request = stream, most, request
        self._size = 0

    def _counted(self, chunk: bytes) -> bytes:
        self._size += len(chunk)
        if self._size > self._most:
            raise ReplyTooLarge(f"the reply has more than {self._most} bytes", request=self._request)
        return chunk


class _Limited(_Counter, httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            yield self._counted(chunk)

    def close(self) -> None:
        self._stream.close()


class _AsyncLimited(_Counter, httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            yield self._counted(chunk)

    async def aclose(self) -> None:
        await self._stream.aclose()


async def read_answer(reply: httpx.Response) -> AnswerFile:
    """Body of an open reply. Raises ReplyTooLarge, TooManyAnswers, or ValueError if it is not a JSON object."""
    answer = AnswerFile()
    try:
        async for chunk in reply.aiter_raw():
            answer.write(chunk)
        return answer.checked()
    except BaseException:
        answer.close()
        raise


def read_answer_sync(reply: httpx.Response) -> AnswerFile:
    """Body of an open reply, for a synchronous client. Raises as `read_answer`."""
    answer = AnswerFile()
    try:
        for chunk in reply.iter_raw():
            answer.write(chunk)
        return answer.checked()
    except BaseException:
        answer.close()
        raise
