"""Load test clients: requests at fixed times (open loop), and event streams."""

import asyncio
import math
import random
import re
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import httpx

from contentgen_bench.gateway.job_records import RECORDS, USERS, WORDS, job_of, namespace_of, user_of

DATABASE = "bench-gateway"
UPDATES = 100  # a second
_TIMING = re.compile(r"dur=([-\d.]+)")
_PAGE = {"limit": "20"}
STREAMED = tuple(f"20000000-0000-4000-8000-{number:012}" for number in range(1000))


@dataclass(frozen=True)
class TimedAnswer:
    """Latency of one request since its due time, and the parts of the gateway and the store, in milliseconds."""

    what: str
    took: float
    own: float
    stored: float
    status: int


async def open_loop(
    url: str, seconds: float, per_second: float, kinds: Sequence[str], count: int = RECORDS
) -> list[TimedAnswer]:
    """Send the requests of all users at fixed times; slow responses delay no other request."""
    rng, tasks = random.Random(2), []  # noqa: S311
    limits = httpx.Limits(max_connections=200, max_keepalive_connections=200)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=30) as client:
        began = time.perf_counter()
        for number in range(int(seconds * per_second)):
            due = began + number / per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            who = rng.randrange(USERS)
            tasks.append(
                asyncio.create_task(
                    _ask(client, kinds[number % len(kinds)], who, rng.randrange(count // USERS) * USERS, due)
                )
            )
        return list(await asyncio.gather(*tasks))


async def _ask(client: httpx.AsyncClient, what: str, user: int, number: int, due: float) -> TimedAnswer:
    mine = {"userId": user_of(user), "namespace": namespace_of(user)}
    word = WORDS[number // USERS % len(WORDS)]
    path, params = {
        "list": ("/api/jobs", mine | _PAGE),
        "whole list": ("/api/jobs", mine),
        "search": ("/api/assets/search", {"namespace": namespace_of(user), "q": word} | _PAGE),
        "one job": (f"/api/jobs/{job_of(number + user)}", {}),
        "nothing": ("/health", {}),
    }[what]
    try:
        answer = await client.get(path, params=params, headers={"Authorization": f"Bearer {user_of(user)}"})
    except httpx.TransportError:  # includes the timeout of half a minute
        return TimedAnswer(what, math.inf, math.inf, math.inf, 0)
    took = (time.perf_counter() - due) * 1000
    own, stored = map(float, _TIMING.findall(answer.headers["server-timing"]))
    return TimedAnswer(what, took, own, stored, answer.status_code)


async def streams(url: str, seconds: float, opened: asyncio.Event) -> list[float]:
    """Follow every changing job; returns the delays of its events in milliseconds. Raises an ExceptionGroup: of
    RuntimeError for a response other than 200, of TimeoutError if not all streams open within 300 s.
    """
    host, _, port = url.removeprefix("http://").partition(":")
    late: list[float] = []
    ready: set[str] = set()

    async def follow(uid: str) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        with closing(writer):
            head = f"GET /api/stream/job/{uid} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {user_of(0)}\r\n\r\n"
            writer.write(head.encode())
            status = await reader.readline()
            if status.split()[1:2] != [b"200"]:
                raise RuntimeError(f"the stream of {uid}: {status.decode()}")
            while line := await reader.readline():
                if line.startswith(b"data:") and b'"message":"1' in line:
                    sent_at = float(line.partition(b'"message":"')[2].partition(b'"')[0])
                    if opened.is_set():
                        late.append((time.time() - sent_at) * 1000)
                if line.startswith((b"data:", b"event:", b"retry:")) and uid not in ready:
                    ready.add(uid)
                    if len(ready) == len(STREAMED):
                        opened.set()

    tasks = []
    async with asyncio.TaskGroup() as group:
        for uid in STREAMED:
            tasks.append(group.create_task(follow(uid)))
            await asyncio.sleep(0.005)
        await asyncio.wait_for(opened.wait(), 300)
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
    return late
