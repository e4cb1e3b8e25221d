"""Quotas that are used up: paid results get the room first, the oldest payment before others; pods count too."""

import asyncio
from datetime import timedelta
from typing import Any

from contentgen_contract.names import STAGE_LABEL, Kind, Phase, Reason
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.queue.fair_turns import Claimant
from contentgen_operator.queue.preparation_queue import preparation_claimant
from contentgen_operator.queue.values import Limit, Turn
from contentgen_operator.state.observed import ResourceRef
from contentgen_simulation.world import INLINE, SPECS, World

TALK = Kind.TRANSCRIPTION
PREPARE, COLLECT = "prepare", "collect"
FULL = {"count/pods": "1"}


def status(world: World, name: str) -> ResourceStatus:
    return ResourceStatus.model_validate(world.kube.resources[TALK, name].get("status") or {})


def is_refused(world: World, name: str) -> bool:
    found = status(world, name)
    return found.phase is Phase.COLLECTING and found.reason == Reason.JOB_REFUSED


class Talks:
    """Transcriptions of one namespace whose Jobs end one after the other. The order of reconciles is given."""

    def __init__(self, world: World, *names: str) -> None:
        asyncio.get_running_loop().set_default_executor(INLINE)
        self.world = world
        self.names = list(names)
        self.created: list[tuple[str, str]] = []  # resource and stage of each Job, in their order
        self.overtaken: list[str] = []  # prepare Jobs that took the room of a paid result
        for name in names:
            spec = SPECS[TALK] | {"source": {"url": f"https://h/{name}"}}
            meta = {"name": name, "namespace": "ns", "uid": f"uid-of-{name}", "annotations": {}}
            world.kube.store.apply((TALK, name), meta, spec)
        self._seen: set[str] = set()

    async def reconcile(self, name: str) -> None:
        waits = [each_name for each_name in self.names if is_refused(self.world, each_name)]
        ref = ResourceRef(kind=TALK, namespace="ns", name=name, uid=f"uid-of-{name}")
        if self.world.watch(ref):
            _, result = await self.world.process._reconcile_or_pause(ref)
            assert result == "done"
        for uid, job in list(self.world.kube.jobs.items()):
            if uid not in self._seen:
                stage = job["metadata"]["labels"][STAGE_LABEL]
                self.created.append((name, stage))
                self.overtaken += [name] * (stage == PREPARE and bool(waits))
        self._seen |= self.world.kube.jobs.keys()

    async def until_paid(self, name: str) -> None:
        for _ in range(20):
            if (run := status(self.world, name).run) is not None and run.request_id:
                return
            await self.reconcile(name)
            self.world.work()
        raise AssertionError(f"{name} was not paid")

    async def refuse(self, *names: str) -> None:
        """Let another's Job use up the quota, and reconcile these resources three times."""
        self.world.kube.most_jobs = 1
        self.world.kube.jobs.clear()
        self.world.kube.jobs["another"] = job_of_a_tenant()
        self.world.now += timedelta(minutes=6)
        for name in 3 * names:
            await self.reconcile(name)

    async def delete(self, name: str) -> list[str]:
        """Delete a resource; names of those that are woken."""
        self.world.kube.store.delete((TALK, name))
        self.names.remove(name)
        await self.reconcile(name)
        woken = list[str]()

        async def wake(ref: ResourceRef) -> None:
            woken.append(ref.name)

        await self.world.preparation_queue.wake_started(wake)
        return woken

    async def finish(self) -> None:
        for _ in range(100):
            for name in self.names:
                await self.reconcile(name)
            self.world.now += timedelta(minutes=1)
            self.world.work()
        assert {status(self.world, each_name).phase for each_name in self.names} == {Phase.COMPLETED}


async def test_no_preparation_takes_the_room_of_a_paid_result(world: World) -> None:
    talks = Talks(world, "one", "two", "three", "four")
    await talks.until_paid("four")
    await talks.refuse("four")
    assert is_refused(world, "four")
    for name in ("one", "two", "three"):
        await talks.reconcile(name)
    found = status(world, "one")
    assert (found.phase, found.reason) == (Phase.PENDING, Reason.QUEUED)
    assert "a paid result of this namespace" in (found.message or "")
    del world.kube.jobs["another"]
    await talks.finish()
    assert talks.overtaken == []
    assert len(world.provider.posts) == 4


async def test_the_oldest_payment_is_collected_first(world: World) -> None:
    talks = Talks(world, "new", "old")
    for name in ("old", "new"):
        await talks.until_paid(name)
        world.now += timedelta(minutes=1)
    await talks.refuse("new", "old")
    assert is_refused(world, "new")
    assert is_refused(world, "old")
    del world.kube.jobs["another"]
    talks.created.clear()
    await talks.finish()
    assert talks.created == [("old", COLLECT), ("new", COLLECT)]


async def test_a_deleted_run_gives_its_turn_to_the_next(world: World) -> None:
    talks = Talks(world, "one", "new", "old")
    for name in ("old", "new"):
        await talks.until_paid(name)
        world.now += timedelta(minutes=1)
    await talks.refuse("old", "new", "one")
    assert status(world, "one").reason == Reason.QUEUED
    assert await talks.delete("old") == ["new"]
    assert await talks.delete("new") == ["one"]


async def test_a_paid_run_that_is_gone_holds_nobody(world: World) -> None:
    """The watch of a namespace that is no longer selected only forgets its resources."""
    talks = Talks(world, "one", "two")
    await talks.until_paid("two")
    await talks.refuse("two", "one")
    assert status(world, "one").reason == Reason.QUEUED
    talks.names.remove("two")
    del world.kube.jobs["another"]
    await talks.finish()


async def test_a_place_from_before_is_not_used(world: World) -> None:
    queue = world.preparation_queue
    one, two = (ResourceRef(kind=TALK, namespace="ns", name=name, uid=name) for name in ("one", "two"))
    since = Claimant(uid="one", namespace="ns", provider="", model="", priority=0, since=world.now)
    claimant = preparation_claimant(one, since)
    assert queue.ask(one, claimant).granted
    queue.collect_waits(two, world.now)
    assert queue.ask(one, claimant) == Turn(granted=False, limit=Limit.COLLECT)
    queue.collect_ends(two)
    assert queue.ask(one, claimant).granted


async def test_finished_pods_make_room_for_the_pod_of_a_paid_result(world: World) -> None:
    talks = Talks(world, "one", "two")
    await talks.until_paid("two")
    await talks.reconcile("one")
    world.work()  # the prepare Jobs of both have finished
    world.now += timedelta(minutes=6)
    world.kube.full = [{"metadata": {"name": "pods"}, "status": {"hard": FULL, "used": FULL}}]
    world.kube.pod_refusals = [{"reason": "FailedCreate", "message": "exceeded quota: pods"}]
    for _ in range(3):
        await talks.reconcile("two")
        world.now += timedelta(minutes=1)
    assert is_refused(world, "two")
    assert [job["metadata"]["labels"][STAGE_LABEL] for job in world.kube.jobs.values()] == [COLLECT]
    world.kube.full, world.kube.pod_refusals = [], []
    world.work()
    await talks.finish()


def job_of_a_tenant() -> dict[str, Any]:
    """Running Job that counts in the quota and is not the operator's."""
    return {
        "metadata": {
            "name": "another",
            "namespace": "ns",
            "uid": "uid-of-another",
            "labels": {STAGE_LABEL: "none"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "resourceVersion": "1",
        },
        "status": {"active": 1},
    }
