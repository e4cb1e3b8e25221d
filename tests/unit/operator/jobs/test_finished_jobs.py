"""Finished Jobs make room in a quota that is used up: recorded ones of this class, whose outcome is stored."""

import copy
from typing import Any

import pytest

from contentgen_contract.names import Kind, Phase, Reason
from contentgen_operator.stores.finished_jobs import Room, is_full
from contentgen_simulation.world import SPECS, World

NAMES = {Kind.TRANSCRIPTION: "talk", Kind.LORA_TRAINING: "lora", Kind.IMAGE_GENERATION: "picture"}


def apply(world: World, kind: Kind) -> None:
    meta = {"name": NAMES[kind], "namespace": "ns", "uid": f"uid-of-{NAMES[kind]}", "annotations": {}}
    world.kube.store.apply((kind, NAMES[kind]), meta, SPECS[kind])


@pytest.mark.parametrize("kinds", [(Kind.TRANSCRIPTION,), tuple(NAMES)], ids=["alone", "together"])
async def test_a_quota_of_one_job_is_enough(world: World, kinds: tuple[Kind, ...]) -> None:
    world.kube.most_jobs = 1
    for kind in kinds:
        apply(world, kind)
    for _ in range(300):
        for kind in kinds:
            await world.reconcile(kind, NAMES[kind])
        assert len(world.kube.jobs) <= 1
    assert {world.status(kind, NAMES[kind]).phase for kind in kinds} == {Phase.COMPLETED}
    assert len(world.provider.posts) == len(kinds)


def finished(world: World) -> dict[str, Any]:
    (job,) = world.kube.jobs.values()
    assert "status" in job
    return job


@pytest.mark.parametrize("what", ["unrecorded", "without-outcome", "unfinished", "deleted"])
async def test_other_jobs_keep_their_room(world: World, what: str) -> None:
    """The next run waits, and nothing is paid for it."""
    apply(world, Kind.TRANSCRIPTION)
    await world.reconcile(Kind.TRANSCRIPTION, "talk")
    world.kube.most_jobs = 1
    job = finished(world)
    match what:
        case "unrecorded":  # of a tenant, who copied labels, owner and name
            job["metadata"]["uid"] = "another"
        case "without-outcome":
            world.storage.objects.clear()
        case "unfinished":
            del job["status"]
        case "deleted":
            job["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    kept = copy.deepcopy(world.kube.jobs)
    assert await world.process.actor._finished_jobs.make_room("ns") is Room.NONE
    assert world.kube.jobs == kept
    apply(world, Kind.LORA_TRAINING)
    await world.reconcile(Kind.LORA_TRAINING, "lora")
    assert world.status(Kind.LORA_TRAINING, "lora").reason == Reason.JOB_REFUSED


@pytest.mark.parametrize(
    ("hard", "used", "full"),
    [
        ({"count/jobs.batch": "3"}, {"count/jobs.batch": "3"}, True),
        ({"count/jobs.batch": "3"}, {"count/jobs.batch": "2"}, False),
        ({"count/pods": "2"}, {"count/pods": "5"}, True),
        ({"pods": "2"}, {"pods": "2"}, False),
        ({"count/jobs.batch": "1k"}, {"count/jobs.batch": "x"}, False),
        ({}, {}, False),
    ],
)
def test_full_quotas(hard: dict[str, str], used: dict[str, str], full: bool) -> None:
    """`pods` counts running pods alone, of which finished Jobs have none."""
    assert is_full([{"status": {}}, {"status": {"hard": hard, "used": used}}]) is full
