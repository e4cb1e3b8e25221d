"""Providers behind the real clients: recorded answers over HTTP transports in memory, of which one is a mutant."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import httpx

from contentgen_operator.providers.assemblyai import AssemblyAI
from contentgen_operator.providers.fal import Fal
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.providers.network import trusted_cas
from contentgen_operator.providers.sending import BeforeSend
from contentgen_operator.state.provider_requests import Call
from contentgen_simulation.mutated_answers.mutants import MutatedAnswer, unchanged

URL = "https://provider.example"
_HEADERS_SENT = "http11.send_request_headers.started"
TLS = trusted_cas()
_THREADS = ThreadPoolExecutor(2)
_MOST_REQUESTS = 2000


class Key(KeyFile):
    """A key that is there."""

    def __init__(self) -> None:
        super().__init__("/nowhere/key")

    def read(self) -> str | None:
        return "k3y"


class _Chunks(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._parts = [content[:1], content[1:]]

    def __iter__(self) -> Iterator[bytes]:
        yield from self._parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part


class Wire:
    """Answers of one provider account. `names` are the recorded answers by what is asked for."""

    def __init__(self, mutant: MutatedAnswer, names: dict[str, str]) -> None:
        self.mutant = mutant
        self.names = names
        self.posts = 0
        self.requests = 0

    def answer(self, asked: str) -> MutatedAnswer:
        """The answer to a request: the mutant, where it is of that one."""
        name = self.names.get(asked, "fal unknown")
        return self.mutant if self.mutant.name == name else unchanged(name)

    def reply(self, request: httpx.Request) -> httpx.Response:
        """The reply to a request."""
        self.requests += 1
        assert self.requests < _MOST_REQUESTS, "an endless loop"
        self.posts += request.method == "POST"
        chosen = self.answer(self.asked(request))
        return httpx.Response(
            chosen.recorded.status, headers=list(chosen.headers), stream=_Chunks(chosen.content), request=request
        )

    def asked(self, request: httpx.Request) -> str:
        """What a request asks for."""
        path = request.url.path
        match request.method:
            case "POST":
                return "submit"
            case "PUT":
                return "cancel"
        last = path.rpartition("/")[2]
        named = {"status": "status", "by-endpoint": "history", "pricing": "pricing", "billing-events": "bills"}
        return named.get(last, "list" if last == "transcript" else "result")


class _Async(httpx.AsyncBaseTransport):
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        if (trace := request.extensions.get("trace")) is not None:
            await trace(_HEADERS_SENT, {"request": SimpleNamespace(method=request.method.encode())})
        return self._wire.reply(request)


class _Sync(httpx.BaseTransport):
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.read()
        if (trace := request.extensions.get("trace")) is not None:
            trace(_HEADERS_SENT, {"request": SimpleNamespace(method=request.method.encode())})
        return self._wire.reply(request)


def async_transport(wire: Wire) -> httpx.AsyncBaseTransport:
    """Transport of an async client."""
    return _Async(wire)


def fal_over(wire: Wire) -> Fal:
    """fal's client."""
    return Fal(Key(), URL, URL, tls=TLS, transport=_Async(wire))


class ThreadedAssemblyAI(AssemblyAI):
    """AssemblyAI's client, whose POST waits for the event loop and so needs a thread also where calls run inline."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(Key(), URL, tls=TLS, transport=_Sync(wire))

    async def submit(self, call: Call, before_send: BeforeSend) -> str:
        """See Provider."""
        loop: Any = asyncio.get_running_loop()
        before = loop._default_executor
        loop.set_default_executor(_THREADS)
        try:
            return await super().submit(call, before_send)
        finally:
            if before is not None:
                loop.set_default_executor(before)


def body_of(request: httpx.Request) -> dict[str, Any]:
    """JSON of a request."""
    return dict(json.loads(request.content))
