"""Live snapshots of unfinished jobs: before the first record, until the end, for authorized callers only."""

import asyncio
from typing import Any

import pytest

from contentgen_contract.names import RERUN_ANNOTATION, Kind
from contentgen_gateway.live.job_snapshot import JobSnapshot, document
from contentgen_gateway.live.jobs import LiveJobs
from contentgen_gateway.live.watching import ListComplete, ObjectChanged, ObjectDeleted
from contentgen_simulation.gateway.server import GatewayWorld, resource

SOUND = Kind.TRANSCRIPTION


def changed(job: str, version: int = 1, **status: Any) -> ObjectChanged:
    return ObjectChanged(resource(SOUND, job, version=version, **status))


async def test_a_job_is_found_before_it_has_a_record() -> None:
    world = GatewayWorld(("ann", "*", "*", "red"), ("bob", "*", "*", "blue"))
    world.dependencies.live.add(SOUND, resource(SOUND, "new", status=None))
    async with world.client("ann") as ann, world.client("bob") as bob:
        given, foreign = await ann.get("/api/jobs/new"), await bob.get("/api/jobs/new")
    shown = given.json()
    assert (given.status_code, foreign.status_code) == (200, 404)
    assert (shown["jobId"], shown["namespace"], shown["status"], shown["progress"]) == ("new", "red", "queued", 0)
    assert shown["sourceVideo"] == {"url": "https://example.com/a/talk.mp3", "filename": "talk.mp3", "sizeBytes": None}
    assert shown["metadata"]["tags"] == ["podcast"]


async def test_a_record_that_is_there_is_the_answer() -> None:
    world = GatewayWorld(("ann", "*", "*", "red"))
    job = world.job(1, SOUND, progress=35)
    world.dependencies.live.add(SOUND, resource(SOUND, job, progress=10))
    async with world.client("ann") as ann:
        assert (await ann.get(f"/api/jobs/{job}")).json()["progress"] == 35


@pytest.mark.parametrize("kind", list(Kind))
def test_a_document_says_what_the_operator_will_write(kind: Kind) -> None:
    now = JobSnapshot.parse(
        kind, resource(kind, "it", phase="Processing", stage="Training", progress=70, reason="Processing")
    )
    made = document(now)
    assert (made["type"], made["status"], made["progress"], made["userId"]) == (
        kind.record_type,
        "processing",
        70,
        "ann",
    )
    assert made["config"]
    assert made["versions"] == []


@pytest.mark.parametrize("phase", ["Completed", "Failed"])
def test_finished_jobs_are_forgotten(phase: str) -> None:
    live = LiveJobs()
    live.apply(SOUND, changed("a"))
    assert live.get("a") is not None
    live.apply(SOUND, changed("a", 2, phase=phase))
    assert live.get("a") is None
    assert live.add(SOUND, resource(SOUND, "a", phase=phase)).ended
    assert live.get("a") is None


def test_snapshot_of_a_job_is_small() -> None:
    body = resource(SOUND, "a", run={"rerun": None, "spec": {"x": "y" * 65_000}, "facts": {"x": "y" * 65_000}})
    body["metadata"] |= {"annotations": {"x": "y" * 262_000}, "managedFields": ["y" * 65_000]}
    body["spec"] |= {"x": "y" * 65_000}
    now = JobSnapshot.parse(SOUND, body)
    assert len(repr(now)) < 2000
    made = document(JobSnapshot.parse(SOUND, body | {"status": {}}))
    assert (made["userId"], made["config"], made["status"]) == ("ann", {}, "queued")


def test_local_writes_do_not_hide_the_watch() -> None:
    live = LiveJobs()
    live.apply(SOUND, changed("a", 7, progress=20))
    assert live.add(SOUND, resource(SOUND, "a", version=5)).version == "7"


def test_an_ended_job_that_is_to_run_again_is_under_way() -> None:
    live = LiveJobs()
    body = resource(SOUND, "a", phase="Completed", progress=100, run={"rerun": None, "spec": {}})
    body["metadata"]["annotations"] = {RERUN_ANNOTATION: "once more"}
    live.apply(SOUND, ObjectChanged(body))
    now = live.get("a")
    assert now is not None
    assert (now.legacy_status, now.status.progress) == ("queued", 0)


def test_a_list_ends_what_it_lacks_of_its_kind() -> None:
    live = LiveJobs()
    for job in "abc":
        live.apply(SOUND, changed(job))
    live.apply(Kind.LORA_TRAINING, ObjectChanged(resource(Kind.LORA_TRAINING, "d")))
    live.apply(SOUND, ListComplete(frozenset("ac")))
    assert [job for job in "abcd" if live.get(job)] == ["a", "c", "d"]
    live.apply(SOUND, ObjectDeleted(resource(SOUND, "a")))
    assert [job for job in "abcd" if live.get(job)] == ["c", "d"]


def test_deletions_are_known_until_the_resource_is_gone() -> None:
    live = LiveJobs(serves=lambda body: "other" not in body["metadata"])
    gone = {"deletionTimestamp": "2026-11-21T00:00:00Z"}
    for job, phase in (("ended", "Completed"), ("running", "Processing"), ("left", "Failed"), ("missed", "Failed")):
        seen = changed(job, phase=phase)
        live.apply(SOUND, seen)
        assert not live.is_deleting("red", job)
        seen.body["metadata"] |= gone
        live.apply(SOUND, seen)
    assert live.deleting() == {"ended", "running", "left", "missed"}
    assert live.get("ended") is None
    live.apply(SOUND, ObjectDeleted(changed("running").body))
    moved = changed("left")
    moved.body["metadata"]["other"] = True
    live.apply(SOUND, moved)
    live.apply(SOUND, ListComplete(frozenset({"ended"})))
    assert live.deleting() == live.deleting(["red", "other"]) == {"ended"}
    assert live.deleting(["other"]) == set()
    assert live.is_deleting("red", "ended")
    assert not live.is_deleting("other", "ended")


def test_deletions_of_a_namespace_are_bounded() -> None:
    """A tenant's finalizers hold deleted resources for ever, and other tenants' queries do not have their ids."""
    live = LiveJobs()
    for number in range(1_001):
        seen = changed(f"job-{number}", phase="Completed")
        seen.body["metadata"] |= {"deletionTimestamp": "2026-11-21T00:00:00Z"}
        live.apply(SOUND, seen)
    assert len(live.deleting()) == 1_000
    assert not live.is_deleting("red", "job-0")


def test_of_more_than_can_be_known_the_quietest_are_left_out() -> None:
    live = LiveJobs(max_jobs=2)
    for version, job in enumerate("abac"):
        live.apply(SOUND, changed(job, version))
    assert [job for job in "abc" if live.get(job)] == ["a", "c"]


async def test_a_slow_reader_gets_what_is_newest_and_holds_nobody_up() -> None:
    live = LiveJobs()
    with live.follow("a") as slow, live.follow("a") as quick, live.follow("b") as other:
        got = []
        for version in range(1, 101):
            live.apply(SOUND, changed("a", version))
            got.append(await quick.next(1))
        assert [each.version for each in got if each] == [str(version) for version in range(1, 101)]
        newest = await slow.next(1)
        assert newest is not None
        assert newest.version == "100"
        for reader in (slow, other):
            with pytest.raises(TimeoutError):
                await reader.next(0)
    assert live._followers == {}


async def test_readers_learn_of_the_end_and_of_what_vanished() -> None:
    live = LiveJobs()
    with live.follow("a") as reader:
        live.apply(SOUND, changed("a"))
        live.apply(SOUND, changed("a", 2, phase="Completed"))
        now = await reader.next(1)
        assert now is not None
        assert now.ended
        live.apply(SOUND, ObjectDeleted(resource(SOUND, "a")))
        assert await reader.next(1) is None


async def test_the_list_of_one_namespace_says_nothing_about_another() -> None:
    live = LiveJobs()
    for number, namespace in enumerate(("red", "blue")):
        live.apply(SOUND, ObjectChanged(resource(SOUND, f"{number}", namespace=namespace)), namespace)
    live.apply(SOUND, ListComplete(frozenset()), "red")
    assert (live.get("0"), live.get("1") is not None) == (None, True)
    live.apply(SOUND, ListComplete(frozenset()))
    assert live.get("1") is None


async def test_odd_resource_of_any_kind_hides_no_other() -> None:
    world = GatewayWorld()
    live = world.dependencies.live
    world.api.put(
        {"kind": SOUND.value, "metadata": {"uid": "odd"}},
        *(resource(kind, kind.value) for kind in Kind),
        resource(SOUND, "done", phase="Completed"),
    )
    running = asyncio.create_task(live.run(world.api, [""]))
    with live.follow(SOUND.value) as sound, live.follow(Kind.LORA_TRAINING.value) as lora:
        assert [await reader.next(5) for reader in (sound, lora)] == [live.get(SOUND.value), live.get("LoraTraining")]
        world.api.send("MODIFIED", resource(SOUND, SOUND.value, version=2, progress=40))
        now = await sound.next(5)
    running.cancel()
    assert now is not None
    assert now.status.progress == 40
    assert (live.get("done"), live.get("odd")) == (None, None)
