"""Limits of a provider's replies: small ones in memory, results streamed to a file, compressed ones decoded within the
limit. Replies are requested uncompressed, which not every gateway follows.

The body of an error reply (4xx, 5xx) only describes it: what cannot be read of it is left out and raises nothing,
because the status alone decides whether a request was accepted.
"""

import zlib
from collections.abc import AsyncIterator, Iterator
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import httpx

from contentgen_operator.providers.answers import REPLY_BYTES, AnswerFile

HISTORY_BYTES = 4 << 20  # of a list of 100 requests with their inputs
_LIMIT = "contentgen_limit"  # a request's extension: bytes of its reply where it is a success
_BLOCK = 1 << 16
_ZLIB_HEADER = 2  # bytes
_GZIP, _DEFLATE = ("gzip", "x-gzip"), ("deflate",)
# Registered content codings (IANA) that are not decoded here. A name that is none means nothing.
_UNREADABLE = ("aes128gcm", "br", "compress", "dcb", "dcz", "exi", "pack200-gzip", "x-compress", "zstd")
_MOST_CODINGS = 2
# One with other characters than ASCII could not be sent back, and would stop every later request of the client.
_NO_COOKIES = DefaultCookiePolicy(allowed_domains=[])


class ReplyTooLarge(httpx.RequestError):
    """A provider's reply is larger than its limit."""


class ReplyCompressed(httpx.RequestError):
    """A provider's reply is compressed in a way that cannot be decoded."""


def reply_limit(limit: int) -> dict[str, Any]:
    """A request's `extensions` that set the limit of its reply in bytes."""
    return {_LIMIT: limit}


def limit_replies(client: httpx.Client) -> httpx.Client:
    """The client, which now requests uncompressed replies, enforces their limits and keeps no cookies."""
    client.cookies.jar.set_policy(_NO_COOKIES)
    client.event_hooks = {"request": [_ask_uncompressed], "response": [_limit_body]}
    return client


def limit_replies_async(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """The async client, with the same limits."""

    async def plain(request: httpx.Request) -> None:
        _ask_uncompressed(request)

    async def limit(response: httpx.Response) -> None:
        _limit_body(response)

    client.cookies.jar.set_policy(_NO_COOKIES)
    client.event_hooks = {"request": [plain], "response": [limit]}
    return client


def _ask_uncompressed(request: httpx.Request) -> None:
    request.headers["accept-encoding"] = "identity"


def _limit_body(response: httpx.Response) -> None:
    body = _Body(response)
    if response.is_success and body.unreadable:
        raise ReplyCompressed(
            f"the reply is compressed as {body.unreadable}, although the request did not accept that",
            request=response.request,
        )
    response.headers.pop("content-encoding", None)  # httpx would decode it without a limit
    if isinstance(response.stream, httpx.AsyncByteStream) and not isinstance(response.stream, httpx.SyncByteStream):
        response.stream = _AsyncLimited(response.stream, body)
    elif isinstance(response.stream, httpx.SyncByteStream):
        response.stream = _Limited(response.stream, body)


def _codings(response: httpx.Response) -> list[str]:
    """Content codings of a reply in the order in which they were applied; those that mean nothing are left out."""
    given = response.headers.get("content-encoding", "").lower().split(",")
    return [each for name in given if (each := name.strip()) in (*_GZIP, *_DEFLATE, *_UNREADABLE)]


class _Body:
    """Counted and decoded chunks of one reply's body."""

    def __init__(self, response: httpx.Response) -> None:
        codings = _codings(response)
        undecodable = len(codings) > _MOST_CODINGS or any(coding in _UNREADABLE for coding in codings)
        self.unreadable = ", ".join(codings)[:60] if undecodable else ""
        self.is_error = response.is_error
        self._request = response.request
        asked = int(response.request.extensions.get(_LIMIT, REPLY_BYTES))
        self._left_encoded = self._left = self._most = asked if response.is_success else REPLY_BYTES
        self._decoders = [] if self.unreadable else [_Decoder(coding) for coding in reversed(codings)]

    def read(self, chunk: bytes) -> Iterator[bytes]:
        """Decoded parts of a chunk. Raises ReplyTooLarge, ReplyCompressed."""
        if self.unreadable:  # of an error reply
            return
        self._left_encoded -= len(chunk)
        self._require(self._left_encoded)
        for part in self._decoded(chunk, 0):
            self._left -= len(part)
            self._require(self._left)
            yield part

    def _require(self, left: int) -> None:
        if left < 0:
            raise ReplyTooLarge(f"the reply has more than {self._most} bytes", request=self._request)

    def _decoded(self, chunk: bytes, index: int) -> Iterator[bytes]:
        if index == len(self._decoders):
            yield chunk
            return
        try:
            for part in self._decoders[index].decode(chunk):
                yield from self._decoded(part, index + 1)
        except zlib.error as error:
            raise ReplyCompressed(f"the reply cannot be decompressed: {error}", request=self._request) from error

    def end(self) -> None:
        """Raises ReplyCompressed if the compressed body ended too early."""
        if any(not decoder.ended for decoder in self._decoders):
            raise ReplyCompressed("the compressed reply is cut off", request=self._request)


class _Decoder:
    """Decoder of one content coding, in blocks, so that a small body never becomes a large one in memory."""

    def __init__(self, coding: str) -> None:
        self._is_deflate = coding in _DEFLATE
        self._bits = zlib.MAX_WBITS if self._is_deflate else zlib.MAX_WBITS | 16
        self._inner = zlib.decompressobj(self._bits)
        self._fresh = True  # nothing of this member was decoded
        self._head = b""  # bytes that are too few to tell the form of `deflate`

    @property
    def ended(self) -> bool:
        """True if the body may end here."""
        return self._inner.eof or (self._fresh and not self._head)

    def decode(self, chunk: bytes) -> Iterator[bytes]:
        """Decoded blocks. Raises zlib.error."""
        chunk, self._head = self._head + chunk, b""
        if self._is_deflate and self._fresh and len(chunk) < _ZLIB_HEADER:
            self._head = chunk
            return
        while True:
            if self._inner.eof:
                if self._is_deflate or chunk[:1] != b"\x1f":
                    return  # bytes after the end mean nothing
                self._inner, self._fresh = zlib.decompressobj(self._bits), True  # the next member
            part = self._block(chunk)
            if part:
                yield part
            chunk = self._inner.unused_data if self._inner.eof else self._inner.unconsumed_tail
            if not chunk and len(part) < _BLOCK:
                return

    def _block(self, chunk: bytes) -> bytes:
        try:
            part = self._inner.decompress(chunk, _BLOCK)
        except zlib.error:
            if not (self._is_deflate and self._fresh):
                raise
            self._inner = zlib.decompressobj(-zlib.MAX_WBITS)  # without zlib's header, as some servers send it
            part = self._inner.decompress(chunk, _BLOCK)
        self._fresh = False
        return part


class _Limited(httpx.SyncByteStream):
    def __init__(self, stream: Any, body: _Body) -> None:
        self._stream, self._body = stream, body

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._stream:
                yield from self._body.read(chunk)
            self._body.end()
        except httpx.RequestError:
            if not self._body.is_error:
                raise

    def close(self) -> None:
        self._stream.close()


class _AsyncLimited(httpx.AsyncByteStream):
    def __init__(self, stream: Any, body: _Body) -> None:
        self._stream, self._body = stream, body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                for part in self._body.read(chunk):
                    yield part
            self._body.end()
        except httpx.RequestError:
            if not self._body.is_error:
                raise

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
