"""Liveness and readiness: a dead watch, a stuck queue, and failures that are not the operator's."""

import asyncio

import httpx

from contentgen_contract.names import Kind
from contentgen_operator.fairness.work_queue import WorkQueue
from contentgen_operator.stores.requirements import Requirement, UnmetRequirement
from contentgen_operator.telemetry.health import OperatorHealth, health_app
from contentgen_operator.watch.liveness import WatchLiveness


class Clock:
    """Clock in seconds, set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def nothing(key: str) -> None:
    """Work that ends immediately."""


def health(clock: Clock, queue: WorkQueue[str] | None = None) -> tuple[OperatorHealth, WatchLiveness]:
    watches = WatchLiveness(clock)
    queue = WorkQueue(nothing) if queue is None else queue
    return OperatorHealth(watches, queue, watch_seconds=150, stuck_seconds=0.2, clock=clock), watches


def open_all(watches: WatchLiveness) -> None:
    for name in ("jobs", *(kind.plural for kind in Kind)):
        watches.opened(name)


def test_a_watch_that_is_not_opened_anew_is_dead() -> None:
    clock = Clock()
    subject, watches = health(clock)
    open_all(watches)
    clock.now += 149
    for name in ("jobs", "imagegenerations", "transcriptions"):
        watches.opened(name)
    assert subject.dead() == []
    clock.now += 2
    assert subject.dead() == ["the watch of loratrainings was opened 151 s ago"]
    watches.opened("loratrainings")
    assert subject.dead() == []


def test_watches_that_never_open_are_dead_too() -> None:
    clock = Clock()
    subject, watches = health(clock)
    assert subject.dead() == []
    clock.now += 151
    assert subject.dead() == ["the watches are not open 151 s after the start"]
    open_all(watches)
    assert subject.dead() == []


async def test_stalled_queue_is_dead_and_a_long_moving_one_is_not() -> None:
    gate = asyncio.Event()

    async def work(key: str) -> None:
        await gate.wait()

    queue: WorkQueue[str] = WorkQueue(work, workers=1)
    subject, _ = health(Clock(), queue)
    subject.stores_ready = True
    running = asyncio.create_task(queue.run())
    try:
        await queue.wake("one")
        await asyncio.sleep(0.3)
        assert subject.dead() == [], "one is being worked on, and nothing waits"
        for key in map(str, range(50)):
            await queue.wake(key)
        await asyncio.sleep(0.3)
        (reason,) = subject.dead()
        assert "work is due" in reason
        gate.set()
        async with asyncio.timeout(60):
            while len(queue):  # noqa: ASYNC110 - the queue is not to know of the test
                await asyncio.sleep(0.01)
        assert subject.dead() == []
    finally:
        running.cancel()
        await asyncio.wait({running})


async def test_work_that_waits_for_a_store_at_the_start_is_not_stuck() -> None:
    queue: WorkQueue[str] = WorkQueue(nothing)
    subject, _ = health(Clock(), queue)
    await queue.wake("one")
    await asyncio.sleep(0.3)
    assert (subject.dead(), "the stores" in subject.unready()) == ([], True)
    subject.stores_ready = True
    assert subject.dead() != []


async def test_response_to_the_kubelet() -> None:
    clock = Clock()
    subject, watches = health(clock)

    async def metrics() -> tuple[bytes, str]:
        return b"a_metric 1\n", "text/plain; version=1.0.0"

    transport = httpx.ASGITransport(app=health_app(subject, metrics))
    async with httpx.AsyncClient(transport=transport, base_url="http://it") as client:
        assert (await client.get("/healthz")).status_code == 200
        unready = await client.get("/readyz")
        assert (unready.status_code, unready.text) == (503, "the stores; the watches")
        subject.stores_ready = True
        open_all(watches)
        assert (await client.get("/readyz")).text == "ok; leader: true"
        clock.now += 200
        for name in (kind.plural for kind in Kind):
            watches.opened(name)
        dead = await client.get("/healthz")
        assert (dead.status_code, dead.text) == (503, "the watch of jobs was opened 200 s ago")
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.get("/metrics")).text == "a_metric 1\n"


def test_without_any_rights_it_is_not_ready() -> None:
    subject, watches = health(Clock())
    subject.stores_ready = True
    for kind in ("jobs", *(kind.plural for kind in Kind)):
        watches.refused.add(f"namespaces/red/{kind}")
    assert subject.unready() == ["the right to watch any of its namespaces (403)"]
    watches.opened("namespaces/red/jobs")
    assert subject.unready() == []


async def test_what_the_store_lacks_is_served_once_it_is_known() -> None:
    subject, _ = health(Clock())
    app = health_app(subject, metrics=None)  # type: ignore[arg-type]  # not asked for
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://operator") as asking:
        assert (await asking.get("/stores")).status_code == 503
        subject.stores_ready = True
        assert (await asking.get("/stores")).json() == {"unmet": []}
        subject.unmet_requirements = (UnmetRequirement(requirement=Requirement.CREATE_ONLY, text="nothing is paid"),)
        unmet = {"name": "create_only", "stopsPayments": True, "text": "nothing is paid"}
        assert (await asking.get("/stores")).json() == {"unmet": [unmet]}
