"""What the gateway's benchmark is made of: records of 200 users, and requests at fixed times, whatever the answers."""

import asyncio
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from contentgen_contract.derived import terms_of
from contentgen_contract.names import Kind

DATABASE = "bench-gateway"
RECORDS = 20_000
USERS = 200
NAMESPACES = 20
UPDATES = 100  # a second
STREAMED = tuple(f"20000000-0000-4000-8000-{number:012}" for number in range(1000))
_START = datetime(2026, 1, 1, tzinfo=UTC)
_WORDS = ("lighthouse", "avatar", "headshot", "podcast", "wildfires", "campaign", "workshop", "suit", "dusk", "episode")


def user_of(number: int) -> str:
    """A caller."""
    return f"user-{number % USERS}"


def namespace_of(number: int) -> str:
    """Where they work, ten at a time."""
    return f"team-{number % NAMESPACES}"


def job_of(number: int) -> str:
    """The id of a record."""
    return f"10000000-0000-4000-8000-{number:012}"


def records(count: int) -> Iterator[dict[str, Any]]:
    """As the operator writes them."""
    rng = random.Random(1)  # noqa: S311 - the same each time
    for number in range(count):
        kind = tuple(Kind)[number % 3]
        words = rng.sample(_WORDS, 3)
        made = _START + timedelta(minutes=number)
        document: dict[str, Any] = {
            "jobId": job_of(number), "userId": user_of(number), "type": kind.record_type,
            "namespace": namespace_of(number), "name": f"{words[0]}-{number}",
            "config": {"loraName": words[0], "prompt": " ".join(words), "model": "flux-pro"},
            "metadata": {"tags": words[:2], "description": " ".join(words), "isPublic": False},
            "versions": [{"version": 1, "createdAt": made, "s3Key": f"loras/u/{number}/v1/m", "bytes": 9}],
            "status": "completed", "phase": "Completed", "progress": 100, "reason": "Completed", "error": None,
            "cost": None, "createdAt": made, "startedAt": made, "completedAt": made, "uses": [], "bytes": 9,
        }  # fmt: skip
        yield document | {"terms": terms_of(document)}


@dataclass(frozen=True)
class Answer:
    """One request: from when it was due, in milliseconds; and the gateway's own part of it."""

    what: str
    took: float
    own: float
    status: int


async def open_loop(
    url: str, seconds: float, per_second: float, kinds: Sequence[str], count: int = RECORDS
) -> list[Answer]:
    """Requests of all users over so many records, each at its time; a slow answer makes none of them later."""
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


async def _ask(client: httpx.AsyncClient, what: str, user: int, number: int, due: float) -> Answer:
    path, params = {
        "list": ("/api/jobs", {"userId": user_of(user), "namespace": namespace_of(user)}),
        "search": ("/api/assets/search", {"namespace": namespace_of(user), "q": _WORDS[number // USERS % len(_WORDS)]}),
        "one job": (f"/api/jobs/{job_of(number + user)}", {}),
        "nothing": ("/health", {}),
    }[what]
    answer = await client.get(path, params=params, headers={"Authorization": f"Bearer {user_of(user)}"})
    own = float(answer.headers.get("server-timing", "own;dur=0").partition("dur=")[2])
    return Answer(what, (time.perf_counter() - due) * 1000, own, answer.status_code)


async def streams(url: str, seconds: float, opened: asyncio.Event) -> list[float]:
    """Follow every job that moves; how late its events were told, in milliseconds."""
    host, _, port = url.removeprefix("http://").partition(":")
    late: list[float] = []
    ready: set[str] = set()

    async def follow(uid: str) -> None:
        reader, writer = await asyncio.open_connection(host, int(port))
        head = f"GET /api/stream/job/{uid} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {user_of(0)}\r\n\r\n"
        writer.write(head.encode())
        while line := await reader.readline():
            if line.startswith(b"data:") and b'"message":"1' in line:
                told = float(line.partition(b'"message":"')[2].partition(b'"')[0])
                if opened.is_set():
                    late.append((time.time() - told) * 1000)
            if line.startswith((b"data:", b"event:", b"retry:")) and uid not in ready:
                ready.add(uid)
                if len(ready) == len(STREAMED):
                    opened.set()

    tasks = []
    for uid in STREAMED:
        tasks.append(asyncio.create_task(follow(uid)))
        await asyncio.sleep(0.005)
    await asyncio.wait_for(opened.wait(), 60)
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return late
