"""Watch over real HTTP: resumes, lists again when required, and detects silent connections."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from aiohttp import web
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.api_paths import resource_of
from contentgen_contract.names import Kind
from contentgen_gateway.live.watching import ListComplete, ObjectChanged, ObjectDeleted, Seen, follow
from contentgen_runtime import kube as runtime
from contentgen_runtime.kube import KubeApi

TRANSCRIPTIONS = resource_of(Kind.TRANSCRIPTION)


def thing(name: str, version: int, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "uid": name, "resourceVersion": str(version)}, **more}


def event(kind: str, body: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"


def gone() -> bytes:
    return event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})


class Api:
    """API server that responds with the test's lists and watches in order; a watch is a list of chunks."""

    def __init__(self) -> None:
        self.lists: list[dict[str, Any]] = []
        self.watches: list[list[bytes] | int | None] = []
        self.asked: list[dict[str, str]] = []
        self.counted: list[tuple[str, str, int]] = []
        self.over = asyncio.Event()
        self.kube = KubeApi(lambda *each: self.counted.append(each))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        if "watch" not in request.query:
            return web.json_response(self.lists.pop(0))
        said = self.watches.pop(0) if self.watches else None
        if isinstance(said, int):
            return web.json_response({"message": "no"}, status=said)
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in said or ():
            await response.write(piece)
            await asyncio.sleep(0)
        if said is None:  # says nothing for ever
            await self.over.wait()
        return response


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    made = Api()
    app = web.Application()
    app.router.add_get("/{path:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    async with client.ApiClient(client.Configuration(host=f"http://127.0.0.1:{port}")) as connection:
        made.kube._api = connection
        yield made
    made.over.set()
    await runner.cleanup()


def listed(version: int, *items: dict[str, Any], more: str = "") -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version), "continue": more}, "items": list(items)}


async def at_once(_: float) -> None:
    await asyncio.sleep(0)


async def first(api: Api, count: int, sleep: Callable[[float], Awaitable[None]] = at_once, **how: Any) -> list[Seen]:
    found: list[Seen] = []
    async with asyncio.timeout(60), aclosing(follow(api.kube, TRANSCRIPTIONS, sleep=sleep, **how)) as seen:
        async for each in seen:
            found.append(each)
            if len(found) == count:
                return found
    return found


async def test_a_list_and_what_follows_it(api: Api) -> None:
    api.lists = [listed(5, thing("a", 1), more="next page"), listed(5, thing("b", 2))]
    long = thing("c", 6, spec={"text": "x" * 3_000_000})
    pieces = [event("ADDED", long), event("MODIFIED", thing("a", 7)), event("BOOKMARK", thing("", 8))]
    whole = b"".join(pieces) + event("DELETED", thing("b", 9))
    api.watches = [[whole[at : at + 1_000_003] for at in range(0, len(whole), 1_000_003)]]
    seen = await first(api, 6, selector="status.phase!=Completed")
    assert seen == [
        ObjectChanged(thing("a", 1)),
        ObjectChanged(thing("b", 2)),
        ListComplete(frozenset("ab")),
        ObjectChanged(long),
        ObjectChanged(thing("a", 7)),
        ObjectDeleted(thing("b", 9)),
    ]
    assert api.asked[1]["continue"] == "next page"
    assert [request.get("fieldSelector") for request in api.asked] == ["status.phase!=Completed"] * 2 + [None]
    assert api.asked[2]["resourceVersion"] == "5"
    assert all(each == ("GET", each[1], 200) for each in api.counted)


async def test_labels_select_in_the_list_and_in_the_watch(api: Api) -> None:
    """A watch with the selector would report no deletion for an object that loses its labels."""
    api.lists = [listed(5)]
    api.watches = [[event("DELETED", thing("a", 6))]]
    assert await first(api, 2, labels="a=b") == [ListComplete(frozenset()), ObjectDeleted(thing("a", 6))]
    assert [request.get("labelSelector") for request in api.asked] == ["a=b"] * 2


async def test_a_watch_that_ends_goes_on_where_it_was(api: Api) -> None:
    """Also after a bookmark, and after a response that ended in the middle of an object."""
    api.lists = [listed(5)]
    api.watches = [
        [event("BOOKMARK", thing("", 8))],
        [event("ADDED", thing("a", 9)), event("ADDED", thing("b", 10))[:-9]],
        [event("ADDED", thing("b", 10))],
    ]
    assert await first(api, 3) == [
        ListComplete(frozenset()),
        ObjectChanged(thing("a", 9)),
        ObjectChanged(thing("b", 10)),
    ]
    assert [each["resourceVersion"] for each in api.asked[1:]] == ["5", "8", "9"]


@pytest.mark.parametrize("refusal", [[gone()], 410, 500])
async def test_a_version_that_is_gone_is_listed_again(api: Api, refusal: Any) -> None:
    api.lists = [listed(5, thing("a", 1)), listed(50, thing("b", 40))]
    api.watches = [refusal, [event("MODIFIED", thing("b", 51))]]
    seen = await first(api, 5)
    assert seen[2:] == [ObjectChanged(thing("b", 40)), ListComplete(frozenset("b")), ObjectChanged(thing("b", 51))]
    assert api.asked[-1]["resourceVersion"] == "50"


async def test_a_watch_that_died_silently_is_noticed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The requested server timeout is shorter than the client's."""
    assert runtime.WATCH_SECONDS < runtime._SILENT_SECONDS < 90
    monkeypatch.setattr(runtime, "_SILENT_SECONDS", 0.2)
    api.lists = [listed(5)]
    api.watches = [None, *[[event("ADDED", thing("a", 6))]] * 300]  # a busy machine may be late for some of them
    assert (await first(api, 2))[1] == ObjectChanged(thing("a", 6))
    assert api.asked[1]["timeoutSeconds"] == str(runtime.WATCH_SECONDS)
    _, silent, again, *late = [request.get("resourceVersion") for request in api.asked]
    assert {silent, again, *late} == {"5"}


async def test_pauses_grow_while_nothing_works_and_begin_anew(api: Api) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    api.lists = [{"message": "no list"}] * 8 + [listed(5), listed(6), listed(7)]
    api.watches = [[event("ADDED", thing("a", 6))], [gone()], [gone()], [event("ADDED", thing("a", 6))]]
    await first(api, 5, sleep)
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 0.5, 1, 2]


async def test_a_refusal_is_told_to_who_opened_the_watch(api: Api) -> None:
    api.watches = [403]
    with pytest.raises(ApiException) as refused:
        await anext(api.kube.watch(TRANSCRIPTIONS, None, "5"))
    assert refused.value.status == 403
