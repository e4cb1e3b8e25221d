"""`python -m contentgen_bench.gateway.server MONGODB-URI PORT`: the gateway's app over a real MongoDB server, with a
Kubernetes API in this process that knows the benchmark's users, and moves their jobs.

Each answer says in `Server-Timing` how long it waited for the store, and what was the gateway's own.
"""

import asyncio
import sys
import time
from contextvars import ContextVar
from typing import Any

from pymongo import MongoClient, monitoring
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contentgen_bench.gateway.clients import DATABASE, STREAMED, UPDATES
from contentgen_bench.gateway.job_records import USERS, namespace_of, user_of
from contentgen_contract.names import Kind
from contentgen_gateway.__main__ import share_the_interpreter
from contentgen_runtime.http_server.servers import gateway_server
from contentgen_simulation.gateway.server import GatewayWorld, resource

_stored: ContextVar[list[int] | None] = ContextVar("stored", default=None)


class Store(monitoring.CommandListener):
    """Adds up what a request waits for MongoDB, in microseconds; pymongo's threads carry the request's context."""

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Nothing yet."""

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Note it."""
        if (noted := _stored.get()) is not None:
            noted.append(event.duration_micros)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing: the benchmark ends with an error."""


class TimedApp:
    """Says what of a request was the gateway's own, and what the store's."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        noted: list[int] = []
        _stored.set(noted)
        began = time.perf_counter()

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                stored = sum(noted) / 1000
                own = (time.perf_counter() - began) * 1000 - stored
                MutableHeaders(scope=message)["Server-Timing"] = f"own;dur={own:.3f}, store;dur={stored:.3f}"
            await send(message)

        await self._app(scope, receive, answer)


async def serve(uri: str, port: int) -> None:
    """Until the process is ended."""
    rights = {(user_of(n), "*", "*", namespace_of(n)) for n in range(USERS)}
    client: MongoClient[dict[str, Any]] = MongoClient(uri, tz_aware=True, event_listeners=[Store()])
    world = GatewayWorld(*rights, database=client[DATABASE], gateway_streams_per_caller=len(STREAMED))
    jobs = [resource(Kind.TRANSCRIPTION, uid, namespace=namespace_of(0), progress=0) for uid in STREAMED]
    world.api.put(*jobs)
    server = gateway_server(TimedApp(world.app), port, trusted=(), request_seconds=30)
    async with asyncio.TaskGroup() as tasks:
        beside = [tasks.create_task(world.parts.live.run(world.api, "")), tasks.create_task(move(world))]
        await server.serve()
        for each in beside:
            each.cancel()


async def move(world: GatewayWorld) -> None:
    """Moves jobs in turn, as soon as somebody follows one, each time with the moment in the message."""
    while not len(world.parts.streams):  # noqa: ASYNC110 - a tenth of a second is nothing to them
        await asyncio.sleep(0.1)
    number, began = 0, time.monotonic()
    while True:
        number += 1
        await asyncio.sleep(max(0.0, began + number / UPDATES - time.monotonic()))
        uid = STREAMED[number % len(STREAMED)]
        body = resource(
            Kind.TRANSCRIPTION, uid, namespace=namespace_of(0), version=number + 1, progress=number % 90,
            message=f"{time.time():.6f}",
        )  # fmt: skip
        world.api.send("MODIFIED", body)


if __name__ == "__main__":
    share_the_interpreter()
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
