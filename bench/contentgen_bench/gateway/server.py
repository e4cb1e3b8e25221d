"""Gateway over a real MongoDB server with an in-process Kubernetes API that changes jobs:
`python -m contentgen_bench.gateway.server MONGODB-URI PORT`.

The header `Server-Timing` of each response has the time of the store and the gateway's own time.
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
    """Listener that collects the MongoDB time of a request in microseconds; pymongo's threads share its context."""

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Ignored."""

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Record the duration."""
        if (noted := _stored.get()) is not None:
            noted.append(event.duration_micros)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Ignored: the benchmark ends with an error."""


class TimedApp:
    """ASGI middleware that adds `Server-Timing` with the gateway's and the store's time."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
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
    """Serve until the process is terminated."""
    rights = {(user_of(n), "*", "*", namespace_of(n)) for n in range(USERS)}
    client: MongoClient[dict[str, Any]] = MongoClient(uri, tz_aware=True, event_listeners=[Store()])
    world = GatewayWorld(
        *rights, database=client[DATABASE], tenants_clock=time.monotonic, gateway_streams_per_caller=len(STREAMED)
    )
    jobs = [resource(Kind.TRANSCRIPTION, uid, namespace=namespace_of(0), progress=0) for uid in STREAMED]
    world.api.put(*jobs)
    server = gateway_server(TimedApp(world.app), port, trusted=(), request_seconds=30)
    async with asyncio.TaskGroup() as tasks:
        beside = [tasks.create_task(world.dependencies.live.run(world.api, [""])), tasks.create_task(move(world))]
        await server.serve()
        for each in beside:
            each.cancel()


async def move(world: GatewayWorld) -> None:
    """Change jobs in turn once a client follows one; the message has the current time."""
    while not len(world.dependencies.streams):  # noqa: ASYNC110 - a tenth of a second is nothing to them
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
