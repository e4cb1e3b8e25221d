"""Deletion in slices: a bounded number of objects and requests at a time, resumed until nothing is left."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import Kind, Phase
from contentgen_contract.records.deletion_tombstone import DeletionTombstone
from contentgen_contract.records.ownership import Owner
from contentgen_operator.state.observed import ResourceRef
from contentgen_runtime.store_errors import NotDeleted
from contentgen_simulation.world import SPECS, UID, World

IMAGES = Kind.IMAGE_GENERATION
SLICE = 1000  # versions


async def deleted_with(world: World, files: int) -> None:
    """A finished resource with this many more files, and the policy to delete them."""
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"deletionPolicy": "Delete"})
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    world.storage.objects |= {f"runs/{UID}/{number}": 1 for number in range(files)}
    world.kube.delete(IMAGES, world.now)


def count(world: World, monkeypatch: pytest.MonkeyPatch, method: str, calls: list[str]) -> None:
    call: Callable[..., Any] = getattr(world.kube, method)

    async def noted(*args: Any) -> Any:
        calls.append(method)
        return await call(*args)

    monkeypatch.setattr(world.kube, method, noted)


async def test_reconcile_deletes_a_bounded_number_of_files(world: World) -> None:
    await deleted_with(world, 5 * SLICE)
    counts = [len(world.storage.files)]
    while world.there(IMAGES):
        await world.reconcile(IMAGES)
        counts.append(len(world.storage.files))
        assert counts[-2] - counts[-1] <= SLICE
        assert world.there(IMAGES) or not counts[-1], "the finalizer stays until nothing is left"
        assert len(counts) < 10
    assert world.database["jobs"].count_documents({}) == 0


async def test_finalizer_stays_while_files_are_deleted(world: World) -> None:
    await deleted_with(world, 40 * SLICE)
    before = world.now
    for _ in range(60):
        await world.reconcile(IMAGES)
        if not world.there(IMAGES):
            break
        assert world.storage.files
    assert world.now - before > timedelta(seconds=30), "the grace of a deletion is over before"
    assert (world.there(IMAGES), world.storage.files) == (False, {})


async def test_job_and_request_are_stopped_once_and_not_in_every_slice(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.provider.cancels = False
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"deletionPolicy": "Delete"})
    await world.finish(IMAGES, Phase.PROCESSING)
    world.storage.objects |= {f"runs/{UID}/{number}": 1 for number in range(5 * SLICE)}
    asked: list[str] = []
    for method in ("get_job", "delete_job"):
        count(world, monkeypatch, method, asked)
    await world.until_gone(IMAGES)
    assert world.storage.files == {}
    assert world.provider.cancelled == ["request-1"]
    assert len(asked) <= 2


def marks(namespace: str, count: int) -> list[tuple[str, DeletionTombstone]]:
    uids = [f"{namespace}-{number}" for number in range(count)]
    return [(namespace, DeletionTombstone(uid=uid, prefixes=(f"runs/{uid}/",), job_ids=(uid,))) for uid in uids]


async def marked(world: World, wanted: list[tuple[str, DeletionTombstone]], files: int = 1) -> None:
    for namespace, mark in wanted:
        world.database["jobs"].insert_one({"jobId": mark.uid, "namespace": namespace})
        await world.process.actor.garbage_collector.records.mark_discarded(mark)
        world.storage.objects |= {f"{mark.prefixes[0]}{number}": 1 for number in range(files)}


async def test_a_prefix_that_hangs_holds_up_no_other_namespace(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await marked(world, marks("slow", 20) + marks("other", 3))
    delete, over = world.storage.delete_prefix, asyncio.Event()

    async def slow(owner: Owner, prefix: str, *most: int) -> Any:
        if prefix.startswith("runs/slow"):
            await asyncio.Event().wait()
        page = await delete(owner, prefix, *most)
        if not any(key.startswith("runs/other") for key in world.storage.objects):
            over.set()
        return page

    monkeypatch.setattr(world.storage, "delete_prefix", slow)
    janitor = world.process.actor.garbage_collector
    await janitor.sweep()
    running = asyncio.create_task(janitor.queue.run())
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(60):
            await over.wait()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert over.is_set()


async def test_large_prefix_does_not_delay_the_next_ones(world: World) -> None:
    await marked(world, marks("crowd", 3), files=3 * SLICE)
    await marked(world, marks("single", 1))
    before = len(world.storage.objects)
    await world.sweep()
    assert len(world.storage.objects) == before - 3 * SLICE - 1, "a slice of each"
    assert await world.marks() == ["crowd-0", "crowd-1", "crowd-2"]
    for _ in range(3):
        await world.sweep()
    assert (world.storage.objects, await world.marks()) == ({}, [])


async def test_files_that_cannot_be_deleted_are_tried_ever_less_often(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await marked(world, marks("stuck", 1))

    async def kept(*_: object) -> Any:
        raise NotDeleted("runs/stuck-0/0: AccessDenied")

    monkeypatch.setattr(world.storage, "delete_prefix", kept)
    janitor = world.process.actor.garbage_collector
    pauses: list[float] = []

    async def noted(_: object, delay: float = 0) -> None:
        pauses.append(delay)

    monkeypatch.setattr(janitor.queue, "wake", noted)
    for _ in range(8):
        await world.sweep()
    assert pauses == [30, 60, 120, 240, 480, 960, 1800, 1800]
    assert await world.marks() == ["stuck-0"], "it is not forgotten"


async def test_a_sweep_wakes_no_mark_that_waits_after_an_error(world: World) -> None:
    await marked(world, marks("stuck", 1))
    janitor = world.process.actor.garbage_collector
    (mark,) = await janitor.records.marks(10)
    await janitor.queue.wake(mark, 1800)
    await janitor.sweep()
    assert janitor.queue.oldest_due_seconds == 0


async def test_an_operator_that_lost_its_rights_says_what_helps(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The Role of a release that watches one namespace goes with that namespace, before its resources."""
    await deleted_with(world, 0)

    async def forbidden(*_: object) -> Any:
        raise ApiException(status=403, reason="Forbidden")

    monkeypatch.setattr(world.kube, "put_finalizers", forbidden)
    this = ResourceRef(kind=IMAGES, namespace="ns", name="it", uid=UID)
    pauses = [(await world.process._reconcile_or_pause(this))[0] for _ in range(8)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert "imagegenerations.contentgen.dev/it --namespace ns" in caplog.text
    assert "docs/install.md" in caplog.text
    assert "cancels no paid request" in caplog.text
    assert world.there(IMAGES)
