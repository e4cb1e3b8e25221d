"""Open-loop load test of the gateway in its own process, over the embedded MongoDB server."""

import asyncio
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
from pymongo import MongoClient

from contentgen_bench import report
from contentgen_bench.gateway import clients as load
from contentgen_bench.gateway import job_records
from contentgen_bench.processes import MeasuredProcess, is_success, until
from contentgen_bench.report import Row
from contentgen_contract.records import indexes
from contentgen_sandbox.stores import LARGE_JVM
from contentgen_sandbox.testing import free_port, mongo_server

_KINDS = ("list", "search", "one job")
_GOALS = {"list": 100.0, "search": 150.0, "one job": 30.0}
_PER_SECOND = 20.0
_PAGED = {"list": ", 20 a page", "search": ", 20 a page"}
_KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "of the benchmark"}  # addresses are signed with them


@dataclass(frozen=True)
class LoadSize:
    """Size of the load test."""

    records: int
    seconds: float


FULL = LoadSize(job_records.RECORDS, 60)
SMALL = LoadSize(2_000, 3)


def run(size: LoadSize) -> list[Row]:
    """Run the load test; figures are measured at the client, with the client's own cost beside them."""
    with mongo_server(jvm=LARGE_JVM) as uri:
        _fill(uri, size.records)
        with _gateway(uri) as (url, process):
            # Warm-up: token reviews and access reviews are cached, and MongoDB has compiled each kind of query.
            asyncio.run(load.open_loop(url, max(5, size.seconds / 3), _PER_SECOND, _KINDS, size.records))
            nothing = asyncio.run(load.open_loop(url, size.seconds / 4, _PER_SECOND, ("nothing",)))
            answers = asyncio.run(load.open_loop(url, size.seconds, _PER_SECOND, _KINDS, size.records))
            machine_load = f"load {report.load()}"
            longer = asyncio.run(load.open_loop(url, size.seconds / 4, _PER_SECOND / 3, ("whole list",), size.records))
            streaming = asyncio.run(_streams(url, process, size.seconds / 2))
    wrong = [answer for answer in (*answers, *longer) if answer.status != 200]
    rows = [
        Row(
            figure=f"{size.records:,} records, 20 requests a second: answers other than 200",
            value=len(wrong),
            unit="",
            goal=0,
            note=machine_load,
        )
    ]
    for what in _KINDS:
        took = [answer.took for answer in answers if answer.what == what]
        stored = [answer.stored for answer in answers if answer.what == what]
        note = f"p50 {percentile(took, 50):.1f}, of which the store {percentile(stored, 50):.1f}"
        rows.append(_row(f"{what}{_PAGED.get(what, '')}: p99", percentile(took, 99), "ms", _GOALS[what], note=note))
        rows.append(_row(f"{what}: the store's part of it: p99", percentile(stored, 99), "ms", None))
    note = f"p50 {percentile([each.took for each in longer], 50):.1f}, {size.records // job_records.USERS} records"
    rows.append(
        _row(
            "all of a user's records, without a limit, alone: p99",
            percentile([each.took for each in longer], 99),
            "ms",
            None,
            note=note,
        )
    )
    own = [answer.own for answer in answers]
    rows.append(_row("the gateway's own part, store excluded: p99", percentile(own, 99), "ms", 10))
    rows.append(
        _row("the client's own part (`/health`): p99", percentile([each.took for each in nothing], 99), "ms", None)
    )
    return [*rows, *streaming]


async def _streams(url: str, process: MeasuredProcess, seconds: float) -> list[Row]:
    before = process.resident_mb()
    opened = asyncio.Event()
    following = asyncio.create_task(load.streams(url, seconds, opened))
    await asyncio.wait({following, asyncio.create_task(opened.wait())}, return_when=asyncio.FIRST_COMPLETED)
    if following.done():
        following.result()
    await asyncio.sleep(seconds / 2)
    kilobytes = (process.resident_mb() - before) * 1024 / len(load.STREAMED)
    late = await following
    count = f"{len(late)} events to {len(load.STREAMED):,} streams"
    return [
        _row("memory of a stream", kilobytes, "KB", 100),
        _row("delay of an event: p99", percentile(late, 99), "ms", 500, note=count),
    ]


def _row(figure: str, value: float, unit: str, goal: float | None, note: str = "") -> Row:
    return Row(figure=figure, value=round(value, 1), unit=unit, goal=goal, note=note)


def percentile(values: Sequence[float], percent: float) -> float:
    """Nearest-rank percentile; infinite without measurements."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else float("inf")


def _fill(uri: str, count: int) -> None:
    with MongoClient[dict[str, object]](uri) as client:
        jobs = client[load.DATABASE]["jobs"]
        jobs.drop()
        for name, keys in indexes.JOBS.items():
            jobs.create_index(list(keys), name=name, unique=name == "job_id")
        made = job_records.records(count)
        while batch := list(itertools.islice(made, 1000)):
            jobs.insert_many(batch)


@contextmanager
def _gateway(uri: str) -> Iterator[tuple[str, MeasuredProcess]]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    paths = os.pathsep.join([str(report.ROOT / "tests/simulation"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "contentgen_bench.gateway.server", uri, str(port)]
    with subprocess.Popen(command, env=os.environ | _KEYS | {"PYTHONPATH": paths}) as child:
        try:
            with httpx.Client(base_url=url, trust_env=False) as client:
                until("the gateway answers", lambda: is_success(client, "/health"))
            yield url, MeasuredProcess(child.pid)
        finally:
            child.kill()
