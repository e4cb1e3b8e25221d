"""Invalid Kubernetes names in imported records are not requested from the API server."""

from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_gateway.live.resources import JobResources
from contentgen_gateway.problems import Problem
from contentgen_runtime.kube import Body
from contentgen_simulation.gateway.cluster import WritableWorld
from contentgen_simulation.gateway.server import FakeApi

NAMES = ["..", ".", "", "a/b", "../../secrets/s3", "a?watch=true", "a#", "a..b", "A", "a\n", "%2e%2e", "x" * 254]
KIND = Kind.TRANSCRIPTION


class Answering(FakeApi):
    """API server that returns the same object for any path, and records requests."""

    def __init__(self, answer: Body) -> None:
        super().__init__()
        self.answer = answer

    async def call(self, method: str, path: str, body: Body | None = None) -> Body:  # noqa: ARG002 - as the client has it
        self.requests.append((method, path))
        return self.answer


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_that_is_none_is_not_asked_for(name: str) -> None:
    api = Answering({"metadata": {"namespace": "red", "name": name}})
    resources = JobResources(api)
    assert await resources.get(KIND, "red", name) is None
    assert await resources.get(KIND, name, "it") is None
    assert await resources.events(name, "uid") == []
    await resources.delete(KIND, "red", name, "uid")
    await resources.delete(KIND, name, "it", "uid")
    for refused in (
        lambda: resources.patch(KIND, "red", name, {}),
        lambda: resources.patch(KIND, name, "it", {}),
        lambda: resources.create(KIND, name, "it", {}, {}),
    ):
        with pytest.raises(Problem) as problem:
            await refused()
        assert problem.value.status == 422
    assert api.requests == []


@pytest.mark.parametrize("uid", ["", "a,involvedObject.name=b", "a=b", "a b", "a\\", "x" * 64, "\ud800"])
async def test_a_uid_adds_no_term_to_a_selector(uid: str) -> None:
    api = Answering({"items": []})
    assert await JobResources(api).events("red", uid) == []
    assert api.requests == []


async def test_another_object_than_the_one_asked_for_is_none(caplog: pytest.LogCaptureFixture) -> None:
    for meta in ({"namespace": "blue", "name": "it"}, {"namespace": "red", "name": "other"}, {}):
        assert await JobResources(Answering({"metadata": meta})).get(KIND, "red", "it") is None
    assert len(caplog.messages) == 3
    assert all("asked for by the gateway" in message for message in caplog.messages)
    event = {"metadata": {"namespace": "red"}}
    foreign = {"metadata": {"namespace": "blue"}}
    assert await JobResources(Answering({"items": [foreign, event]})).events("red", "uid") == [event]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/jobs/{}"), ("DELETE", "/api/jobs/{}"), ("POST", "/api/jobs/{}/cancel"),
        ("POST", "/api/jobs/{}/retry"), ("PATCH", "/api/assets/{}"),
    ],
)  # fmt: skip
async def test_a_record_with_such_a_name_has_no_resource(method: str, path: str, name: str) -> None:
    world = WritableWorld(("ann", "*", "*", "red"))
    job = world.job(1, name=name)
    body: dict[str, Any] = {"json": {"tags": ["x"]}} if method == "PATCH" else {}
    async with world.client("ann") as client:
        answer = await client.request(method, path.format(job), **body)
    assert answer.status_code < 500, answer.text
    assert world.api.written == []
