"""Operator classes in the gateway: it creates, shows and changes only the resources of its installation's class."""

import asyncio
from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_contract.resources.operator_class import DEFAULT_CLASS
from contentgen_gateway.live.jobs import LiveJobs
from contentgen_gateway.live.resources import JobResources
from contentgen_gateway.live.watching import ObjectChanged, ObjectDeleted
from contentgen_runtime.kube import KubeApi
from contentgen_simulation.gateway.cluster import WritableWorld
from contentgen_simulation.gateway.server import GatewayWorld, resource

ANN = ("ann", "*", "*", "red")
IMAGE: dict[str, Any] = {"namespace": "red", "model": "flux-lora", "prompt": "a cat"}
TRANSCRIPT = Kind.TRANSCRIPTION
OTHERS = pytest.mark.parametrize(("own", "theirs"), [("batch", None), ("batch", "night"), (DEFAULT_CLASS, "night")])


def of_class(name: str | None, job: str = "a", version: int = 1, **status: Any) -> Any:
    body = resource(TRANSCRIPT, job, version=version, **status)
    body["spec"] |= {"operatorClass": name} if name else {}
    return body


async def created(own: str, **given: Any) -> tuple[Any, list[Any]]:
    world = WritableWorld(ANN, operator_class=own)
    async with world.client("ann") as ann:
        answer = await ann.post("/api/images/generate", json=IMAGE | given)
    return answer, [each_resource["spec"] for each_resource in world.api.resources.values()]


# Creation


@pytest.mark.parametrize("given", [{}, {"operatorClass": "batch"}])
async def test_a_created_resource_is_of_the_installations_class(given: dict[str, Any]) -> None:
    answer, made = await created("batch", **given)
    assert (answer.status_code, [each["operatorClass"] for each in made]) == (202, ["batch"])


@pytest.mark.parametrize("given", [{}, {"operatorClass": DEFAULT_CLASS}])
async def test_the_default_class_is_left_out(given: dict[str, Any]) -> None:
    answer, made = await created(DEFAULT_CLASS, **given)
    assert answer.status_code == 202
    assert [each for each in made if "operatorClass" in each] == []


@pytest.mark.parametrize(("own", "given"), [("batch", "night"), ("batch", DEFAULT_CLASS), (DEFAULT_CLASS, "night")])
async def test_a_caller_cannot_choose_another_class(own: str, given: str) -> None:
    answer, made = await created(own, operatorClass=given)
    assert (answer.status_code, made) == (422, [])
    assert answer.json()["errors"][0]["loc"] == ["operatorClass"]
    assert repr(own) in answer.json()["detail"]


async def test_idempotency_key_of_a_moved_job_creates_no_second_job() -> None:
    world = WritableWorld(ANN)
    async with world.client("ann") as ann:
        key = {"Idempotency-Key": "one"}
        assert (await ann.post("/api/images/generate", json=IMAGE, headers=key)).status_code == 202
        (made,) = world.api.resources.values()
        made["spec"]["operatorClass"] = "night"
        again = await ann.post("/api/images/generate", json=IMAGE, headers=key)
    assert (again.status_code, again.json()["operatorClass"]) == (409, "night")
    assert len(world.api.resources) == 1


# Resources of another class


def shared_with(own: str, theirs: str | None, **record: Any) -> tuple[WritableWorld, str]:
    """A world with a record in the shared database whose resource is of the class `theirs`."""
    world = WritableWorld(ANN, operator_class=own)
    job = world.job(1, Kind.IMAGE_GENERATION, **record)
    kept = world.resource(Kind.IMAGE_GENERATION, "job-1", job, prompt="a cat", suspend=True)
    kept["status"] = {"phase": "Failed", "reason": "ProviderFailed", "run": {"number": 1}}
    kept["spec"] |= {"operatorClass": theirs} if theirs else {}
    return world, job


@OTHERS
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/jobs/{}/cancel", None),
        ("POST", "/api/jobs/{}/retry", None),
        ("POST", "/api/jobs/{}/collect", None),
        ("POST", "/api/jobs/{}/resume", None),
        ("DELETE", "/api/jobs/{}", None),
        ("DELETE", "/api/jobs/{}?force=true", None),
        ("PATCH", "/api/assets/{}", {"tags": ["new"]}),
    ],
)
async def test_action_on_another_class_changes_nothing(
    own: str, theirs: str | None, method: str, path: str, body: Any
) -> None:
    world, job = shared_with(own, theirs)
    before = list(world.database["jobs"].find())
    async with world.client("ann") as ann:
        answer = await ann.request(method, path.format(job), json=body)
    assert (answer.status_code, answer.json()["operatorClass"]) == (409, theirs or DEFAULT_CLASS), answer.text
    assert repr(own) in answer.json()["detail"]
    assert world.api.written == []
    assert list(world.database["jobs"].find()) == before


async def test_the_record_of_another_class_is_listed_by_rights_alone() -> None:
    world, job = shared_with(DEFAULT_CLASS, "night")
    async with world.client("ann") as ann:
        listed = (await ann.get("/api/jobs")).json()
        assert [each_job["jobId"] for each_job in listed["jobs"]] == [job]
        assert (await ann.get(f"/api/jobs/{job}")).status_code == 200


async def test_page_of_another_class_names_it_and_has_no_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    async def events(*_: str) -> list[Any]:
        return []

    monkeypatch.setattr(JobResources, "events", events)
    for theirs, shown in (("night", False), (None, True)):
        world, job = shared_with(DEFAULT_CLASS, theirs)
        kept = world.api.resources["red", Kind.IMAGE_GENERATION.plural, "job-1"]
        kept["status"]["conditions"] = [{"type": "Ready", "status": "False", "reason": "TheirReason"}]
        async with world.client("ann") as ann:
            page = (await ann.get(f"/jobs/{job}")).text
        assert ("Their<wbr>Reason" in page) is shown
        assert ("operator class" in page) is not shown


@OTHERS
async def test_a_stream_of_another_class_is_refused_with_the_class(own: str, theirs: str | None) -> None:
    world, job = shared_with(own, theirs, status="processing", phase="Processing")
    async with world.client("ann") as ann:
        answer = await ann.get(f"/api/stream/job/{job}")
    assert (answer.status_code, answer.json()["operatorClass"]) == (409, theirs or DEFAULT_CLASS)
    assert world.dependencies.live.get(job) is None


# Watch events


def live(own: str) -> LiveJobs:
    return LiveJobs(serves=JobResources(KubeApi(), own).serves)


@OTHERS
def test_jobs_of_another_class_are_not_known(own: str, theirs: str | None) -> None:
    known = live(own)
    known.apply(TRANSCRIPT, ObjectChanged(of_class(theirs, "a")))
    known.apply(TRANSCRIPT, ObjectChanged(of_class(own, "b")))
    assert (known.get("a"), known.get("b") is not None) == (None, True)


async def test_a_job_that_leaves_the_class_is_lost_for_its_readers() -> None:
    known = live(DEFAULT_CLASS)
    known.apply(TRANSCRIPT, ObjectChanged(of_class(None)))
    with known.follow("a") as reader:
        known.apply(TRANSCRIPT, ObjectChanged(of_class("night", version=2)))
        assert await reader.next(1) is None
        known.apply(TRANSCRIPT, ObjectChanged(of_class("night", version=3)))
        known.apply(TRANSCRIPT, ObjectChanged(of_class(None, version=4)))
        now = await reader.next(1)
    assert now is not None
    assert now.version == "4"


async def test_stream_ends_without_an_event_when_the_job_leaves() -> None:
    world = GatewayWorld(ANN)
    world.job(1, TRANSCRIPT, jobId="a", name="job-a", status="processing", phase="Processing")
    world.dependencies.live.apply(TRANSCRIPT, ObjectChanged(of_class(None)))
    world.api.put(of_class("night", version=2))
    async with world.client("ann") as ann:
        following = asyncio.create_task(ann.get("/api/stream/job/a"))
        while not world.dependencies.live._followers:  # noqa: ASYNC110 - the stream has no event for its start
            await asyncio.sleep(0)
        world.dependencies.live.apply(TRANSCRIPT, ObjectChanged(of_class("night", version=2)))
        told = (await asyncio.wait_for(following, 60)).text
    assert "event: end" not in told, "the job goes on, in another class"


def test_end_of_a_deleted_resource_is_told_for_any_class() -> None:
    over: list[str] = []
    known = LiveJobs(on_end=lambda _, job: over.append(job), serves=JobResources(KubeApi(), DEFAULT_CLASS).serves)
    known.apply(TRANSCRIPT, ObjectChanged(of_class("night", phase="Completed")))
    assert over == []
    known.apply(TRANSCRIPT, ObjectDeleted(of_class("night", phase="Completed")))
    assert over == ["a"]
