"""Limits on what a provider sends: small replies are read whole, a result goes to a temporary file and is never parsed.

A result is opaque to the operator: it knows that it begins and ends as a JSON object does, and its size. The worker, in
a pod of its own, reads it.
"""

import json
import mmap
import re
import tempfile
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import IO, Any

import httpx

REPLY_BYTES = 1 << 20  # of a reply that is read whole
HISTORY_BYTES = 4 << 20  # of a list of 100 requests with their inputs
ANSWER_BYTES = 64 << 20  # of a result; 12 hours of words are about 30 MB
_HELD_BYTES = 512 << 20  # of all results that wait to be stored; /tmp has 1 GiB
_IN_MEMORY_BYTES = 1 << 20  # a smaller result needs no file
_BLOCK = 1 << 20
_LIMIT = "contentgen_limit"  # a request's extension: bytes of its reply where it is a 200
# Of a transcript, whatever nested objects there are: inside of a string the quotes would be escaped, and the other
# objects that have a status know other words.
_STATUS = re.compile(rb'"status"\s*:\s*"(queued|processing|completed|error)"')
_held = 0


class ReplyTooLarge(httpx.RequestError):
    """A provider's reply is larger than what is read."""


class ReplyCompressed(httpx.RequestError):
    """A provider's reply is compressed, although that was not asked for: unpacked it may be of any size."""


class TooManyAnswers(ValueError):
    """Other results wait to be stored; this one is read later."""


class Answer:
    """A provider's result in a temporary file, which goes with the object."""

    def __init__(self) -> None:
        self.size = 0
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115 - the finalizer closes it
        self._sizes = [0]  # counted against _HELD_BYTES
        self._given_back = weakref.finalize(self, _give_back, self._file, self._sizes)

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Answer":
        """An answer with this document."""
        answer = cls()
        answer.write(json.dumps(document).encode())
        return answer.checked()

    def write(self, content: bytes) -> None:
        """More of it. Raises TooManyAnswers."""
        global _held  # noqa: PLW0603 - all results share one volume
        if _held + len(content) > _HELD_BYTES:
            raise TooManyAnswers(f"{_held >> 20} MiB of other results wait to be stored")
        _held += len(content)
        self._sizes[0] += len(content)
        self.size += len(content)
        self._file.write(content)

    def checked(self) -> "Answer":
        """The same. Raises ValueError where it is no JSON object."""
        start = self._at(0).lstrip()[:1]
        end = self._at(max(self.size - _BLOCK, 0)).rstrip()[-1:]
        if (start, end) != (b"{", b"}"):
            raise ValueError("the answer is no JSON object")
        return self

    def status(self) -> str:
        """The status of a transcript; empty where it has none."""
        if self.size <= REPLY_BYTES:
            document = json.loads(self.read())
            return str(document.get("status"))
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            found = _STATUS.search(content)
            return found[1].decode() if found else ""

    def read(self) -> bytes:
        """All of it. For small ones."""
        self._file.seek(0)
        return self._file.read()

    def file(self) -> IO[bytes]:
        """The open file, at its beginning; read by one at a time."""
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Remove the file. Any number of times."""
        self._given_back()

    def _at(self, start: int) -> bytes:
        self._file.flush()
        self._file.seek(start)
        return self._file.read(_BLOCK)


def _give_back(file: IO[bytes], sizes: list[int]) -> None:
    global _held  # noqa: PLW0603 - see above
    file.close()
    _held -= sizes[0]


def large(limit: int) -> dict[str, Any]:
    """A request's `extensions` for a reply that may be so large."""
    return {_LIMIT: limit}


def limited(client: httpx.Client) -> httpx.Client:
    """The same client: it asks for plain bytes, and takes no more of them than its limits."""
    client.event_hooks = {"request": [_plain], "response": [_limit]}
    return client


def limited_async(client: httpx.AsyncClient) -> httpx.AsyncClient:
    """Likewise."""

    async def plain(request: httpx.Request) -> None:
        _plain(request)

    async def limit(response: httpx.Response) -> None:
        _limit(response)

    client.event_hooks = {"request": [plain], "response": [limit]}
    return client


def _plain(request: httpx.Request) -> None:
    request.headers["accept-encoding"] = "identity"  # a compressed reply is as large as its sender likes


def _limit(response: httpx.Response) -> None:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ReplyCompressed("the reply is compressed, which was not asked for", request=response.request)
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


async def received(reply: httpx.Response) -> Answer:
    """The body of an open reply. Raises ReplyTooLarge, TooManyAnswers, or ValueError where it is no JSON object."""
    answer = Answer()
    try:
        async for chunk in reply.aiter_raw():
            answer.write(chunk)
        return answer.checked()
    except BaseException:
        answer.close()
        raise


def received_now(reply: httpx.Response) -> Answer:
    """Likewise, in a thread."""
    answer = Answer()
    try:
        for chunk in reply.iter_raw():
            answer.write(chunk)
        return answer.checked()
    except BaseException:
        answer.close()
        raise
