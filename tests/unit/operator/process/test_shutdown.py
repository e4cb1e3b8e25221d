"""Shutdown of the operator: a paid request in progress is awaited, and none is started."""

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from contentgen_contract.names import Kind
from contentgen_operator import __main__ as program
from contentgen_operator.providers import sending
from contentgen_operator.providers.base import MaybeAccepted
from contentgen_operator.providers.fal import Fal
from contentgen_operator.settings import Settings
from contentgen_operator.state.provider_requests import Call
from contentgen_simulation.world import SPECS, World, Writes

IMAGES = Kind.IMAGE_GENERATION
CHART = Path(__file__).parents[4] / "charts/contentgen"


def test_drain_grace_and_the_time_of_a_post_fit_together() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())["properties"]["drainSeconds"]
    template = (CHART / "templates/operator.yaml").read_text()
    found = re.search(r"terminationGracePeriodSeconds: \{\{ add \(int64 \.Values\.drainSeconds\) (\d+) \}\}", template)
    assert found is not None
    drain = values["drainSeconds"]
    assert drain == Settings().drain_seconds
    assert min(drain, schema["minimum"]) >= sending.POST_SECONDS
    release = Settings().lease.timing.request + 1
    assert int(found[1]) > program._GOODBYE_SECONDS + release, "the grace is longer than the drain and what follows it"


def test_a_drain_that_is_shorter_than_a_post_is_refused() -> None:
    with pytest.raises(ValueError, match="drain_seconds"):
        Settings(drain_seconds=sending.POST_SECONDS - 1)


async def until(world: World, posts: int = 1) -> None:
    for _ in range(10):
        await world.reconcile(IMAGES)
        if len(world.provider.posts) == posts:
            return


async def test_ending_process_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even by a reconcile with an open connection."""
    world = World(monkeypatch, Writes())
    world.kube.apply(IMAGES, SPECS[IMAGES])

    async def ends() -> None:
        world.process.actor.stop_paying()

    world.provider.connected = ends
    await until(world)
    (kept,) = world.database["ledger"].find()
    assert (world.provider.posts, kept["state"], kept["sendState"]) == ([], "intent", "planned")

    async def nothing() -> None:
        """Event of the next process."""

    world.provider.connected = nothing
    world.restart()
    await until(world)
    assert len(world.provider.posts) == 1


async def test_a_post_that_is_under_way_is_awaited_and_written_down(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Writes())
    world.kube.apply(IMAGES, SPECS[IMAGES])
    drained = list[asyncio.Task[None]]()

    async def ends() -> None:
        world.process.actor.stop_paying()
        drained.append(asyncio.create_task(world.process.queue.drain(60)))

    world.provider.sending = ends
    await until(world)
    await drained[0]
    (kept,) = world.database["ledger"].find()
    assert (kept["state"], kept["requestId"], len(world.provider.posts)) == ("submitted", "request-1", 1)


async def test_a_reply_that_drips_is_lost_after_the_time_of_a_post(monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout of the HTTP client restarts with each byte."""

    class Dripping(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            class Sent:
                method = b"POST"

            await request.extensions["trace"]("http11.send_request_headers.started", {"request": Sent()})
            await asyncio.Event().wait()
            raise AssertionError

    class Key:
        def read(self) -> str:
            return "key"

    monkeypatch.setattr(sending, "POST_SECONDS", 0.0)
    key: Any = Key()
    fal = Fal(key, "http://queue.example", "http://api.example")
    fal._paying._transport = Dripping()
    begun = list[bool]()

    async def begin() -> None:
        begun.append(True)

    call = Call(provider="fal", model="fal-ai/flux/dev", arguments={}, correlation_key="m")
    with pytest.raises(MaybeAccepted, match="there was no reply within"):
        await fal.submit(call, begin)
    assert begun == [True]
    await fal.close()
