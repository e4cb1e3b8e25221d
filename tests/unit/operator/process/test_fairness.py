"""Fairness between namespaces: one tenant's resources, annotations and files cost others a bounded delay and memory.

Costs are counted in reconciles and requests, not in seconds.
"""

import asyncio
import contextlib
import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from contentgen_contract.names import Kind, Phase, Reason
from contentgen_contract.records.ownership import Owner
from contentgen_contract.records.tenancy import Tenant
from contentgen_contract.worker.orders import Outcome
from contentgen_operator import metrics
from contentgen_operator.decide.lora_identity import files_of
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.cache import Cache, trimmed
from contentgen_operator.reconcile import Reconciler
from contentgen_operator.state.observed import BucketFile, JobView, ResourceRef
from contentgen_operator.state.purchases import Purchase
from contentgen_operator.stores import ledger
from contentgen_operator.watch.event_handlers import EventHandlers
from contentgen_operator.worker_api.reports import Reports
from contentgen_simulation.world import SPECS, UID, MemoryStorage, World, Writes

IMAGES = Kind.IMAGE_GENERATION


def ref(namespace: str, number: int = 0) -> ResourceRef:
    return ResourceRef(kind=IMAGES, namespace=namespace, name=f"n{number}", uid=f"{namespace}-{number}")


async def order_of(operator: Reconciler, refs: list[ResourceRef], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Namespaces in the order in which the queue starts their reconciles."""
    begun: list[str] = []
    finished = asyncio.Event()

    async def look(each: ResourceRef) -> tuple[float | None, str]:
        begun.append(each.namespace)
        await asyncio.sleep(0)
        if len(begun) == len(refs):
            finished.set()
        return None, "done"

    monkeypatch.setattr(operator, "_reconcile_or_pause", look)
    for ref in refs:
        await operator.wake(ref)
    running = asyncio.create_task(operator.queue.run())
    async with asyncio.timeout(60):
        await finished.wait()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    return begun


async def test_busy_namespace_does_not_delay_another(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = World(monkeypatch, Writes()).process
    refs = [*(ref("crowd", number) for number in range(2000)), ref("single"), ref("pair", 1), ref("pair", 2)]
    begun = await order_of(operator, refs, monkeypatch)
    assert begun.index("single") < 5
    assert [index for index, namespace in enumerate(begun) if namespace == "pair"][-1] < 10
    assert begun.count("crowd") == 2000, "nothing is lost"


async def test_reconciles_of_one_namespace_that_hang_hold_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = World(monkeypatch, Writes()).process
    hung, seen = asyncio.Event(), asyncio.Event()
    held: list[ResourceRef] = []

    async def look(each: ResourceRef) -> tuple[float | None, str]:
        if each.namespace == "single":
            seen.set()
            return None, "done"
        held.append(each)
        if len(held) == 20:
            hung.set()
        await asyncio.Event().wait()
        return None, "never"

    monkeypatch.setattr(operator, "_reconcile_or_pause", look)
    for number in range(100):
        await operator.wake(ref("crowd", number))
    running = asyncio.create_task(operator.queue.run())
    async with asyncio.timeout(60):
        await hung.wait()
        await operator.wake(ref("single"))
        await seen.wait()
    assert len(held) == 20, "of 24"
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


# Cost of resources that wait, are suspended, or are finished


async def reconciles(world: World, duration: timedelta) -> int:
    """Number of reconciles that the resource schedules in this time, without a wake-up."""
    begun, count = world.now, 0
    this = ResourceRef(kind=IMAGES, namespace="ns", name="it", uid=UID)
    while world.now - begun < duration:
        world.watch(this)
        again = await world.process._read_and_reconcile(this)
        count += 1
        if again is None:
            break
        world.now += timedelta(seconds=max(again, 0.1))
    return count


@pytest.mark.parametrize(
    "spec",
    [
        {"suspend": True},
        {"suspend": True, "loras": [{"loraRef": {"name": "none"}}]},
        {"image": {"count": "many"}},
        {"image": {"count": "many"}, "deletionPolicy": "Delete"},
    ],
    ids=["suspended", "suspended and waiting", "invalid", "invalid with files"],
)
async def test_blocked_resource_is_not_polled(spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Writes())
    world.kube.apply(IMAGES, SPECS[IMAGES] | spec)
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert world.status(IMAGES).phase in (Phase.SUSPENDED, Phase.FAILED)
    assert await reconciles(world, timedelta(days=1)) == 1


async def test_an_object_that_is_listed_again_unchanged_wakes_nobody() -> None:
    woken: list[ResourceRef] = []

    async def wake(each: ResourceRef) -> None:
        woken.append(each)

    handlers = EventHandlers(Cache(), wake, Reports())
    meta = {"namespace": "ns", "name": "it", "uid": UID, "resourceVersion": "7"}
    for _ in range(3):
        await handlers.resource(IMAGES, {"metadata": meta, "spec": {"suspend": True}}, deleted=False)
    assert len(woken) == 1


async def test_waiting_for_a_lora_that_never_comes_costs_less_and_less(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Writes())
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"loras": [{"loraRef": {"name": "none"}}]})
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert world.status(IMAGES).reason == "LoraMissing"
    assert await reconciles(world, timedelta(days=1)) < 200


# Memory and requests that a tenant's objects cost


async def test_statuses_of_finished_resources_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Writes())
    world.kube.apply(IMAGES, SPECS[IMAGES])
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert world.process.actor._written_records == {}


def test_annotations_and_labels_that_nobody_reads_are_not_kept() -> None:
    large = {f"contentgen.dev/{number}": "x" * 50_000 for number in range(5)}
    long = {f"contentgen.dev/{name}": "y" * 250_000 for name in ("rerun", "resubmit", "cancel")}
    labels = {f"label-{number}": "z" * 63 for number in range(10_000)}
    owners = [{"name": "o" * 200, "uid": str(number)} for number in range(1000)]
    meta = {"name": "a", "annotations": large | long, "labels": labels, "ownerReferences": owners}
    kept = trimmed({"metadata": meta, "spec": {"prompt": "a cat"}})
    assert len(json.dumps(kept)) < 5000
    assert len(kept["metadata"]["annotations"]["contentgen.dev/rerun"]) > 256, "too long a value is still refused"


def test_forged_jobs_of_a_resource_are_bounded() -> None:
    cache, owner = Cache(), ref("ns")
    for number in range(1000):
        condition = {"type": "Failed", "status": "True", "reason": "r" * 500, "message": "m" * 30_000}
        meta = {"name": f"j{number}", "uid": f"u{number}", "creationTimestamp": "2026-11-21T00:00:00Z"}
        job = JobView.parse({"metadata": meta, "status": {"conditions": [condition]}})
        assert len(job.message + job.reason) < 2000
        cache.note_job(owner, job)
    assert len(cache._jobs) < 100
    cache.forget(owner)
    assert cache._jobs == {}


@pytest.mark.parametrize("what", ["job_events", "quotas", "job_pods"])
async def test_a_bounded_number_of_a_tenants_objects_is_read(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kube, pages = Kube(), list[str]()

    async def call(_: str, path: Any, __: Any = None) -> dict[str, Any]:
        pages.append(str(path))
        assert len(pages) < 1000, "it would go on for ever"
        items = [{"metadata": {"namespace": "ns", "name": "x", "uid": "u"}}] * 10
        return {"metadata": {"resourceVersion": "1", "continue": "more"}, "items": items}

    monkeypatch.setattr(kube, "call", call)
    found = await getattr(kube, what)("ns", *(["j"] if what != "quotas" else []))
    assert len(found) <= 100
    assert len(pages) <= 10


def test_a_forged_reason_makes_no_series_of_its_own() -> None:
    gauges = metrics.Gauges()
    for number in range(100):
        gauges.note_resource(f"u{number}", IMAGES, "Failed", f"forged-{number}")
    gauges.note_resource("u", IMAGES, "Completed", "Completed")
    assert set(gauges._tally) == {(IMAGES, "Failed", "other"), (IMAGES, "Completed", "Completed")}


async def test_refused_purchases_of_a_lora_are_not_read_by_its_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each edit of a spec that a provider refuses adds a document free of charge."""
    world = World(monkeypatch, Writes())
    lora = Kind.LORA_TRAINING
    world.kube.apply(lora, SPECS[lora])
    assert (await world.finish(lora)).phase is Phase.COMPLETED
    documents = world.database["ledger"]
    bought = documents.find_one()
    for number in range(300):
        documents.insert_one(bought | {"_id": f"ns/{lora}/it/{number:064}/-/1", "state": "refused", "outputs": None})
    read: list[str] = []
    parse = ledger._purchase

    def noted(document: dict[str, Any]) -> Purchase:
        read.append(document["_id"])
        return parse(document)

    monkeypatch.setattr(ledger, "_purchase", noted)
    verifier = world.process.observer.verifier
    assert len(files_of(await verifier.trainings(Tenant(), "ns", "it"))) == 2
    assert read == [bought["_id"]]


# Files in a worker's outcome


class CountedStorage(MemoryStorage):
    """Bucket that records the namespaces and numbers of requested files."""

    def __init__(self, writes: Writes) -> None:
        super().__init__(writes)
        self.asked: list[tuple[str, int]] = []
        self.listed: list[dict[str, Any]] | None = None

    async def outcome(self, owner: Owner, key: str) -> Outcome | None:
        found = await super().outcome(owner, key)
        if found is None or self.listed is None:
            return found
        return Outcome.model_validate(found.model_dump(mode="json", by_alias=True) | {"files": self.listed})

    async def stored(
        self, owner: Owner, prefix: str, names: Iterable[str], namespace: str = ""
    ) -> dict[str, BucketFile]:
        names = list(names)
        self.asked.append((namespace, len(names)))
        return await super().stored(owner, prefix, names, namespace)


def listed(name: str, size_bytes: int = 7) -> dict[str, Any]:
    return {"name": name, "sizeBytes": size_bytes, "sha256": "0" * 64, "contentType": "image/jpeg"}


def counted(monkeypatch: pytest.MonkeyPatch) -> tuple[World, CountedStorage]:
    world = World(monkeypatch, Writes())
    world.storage = storage = CountedStorage(world.writes)
    world.restart()
    world.kube.apply(Kind.LORA_TRAINING, SPECS[Kind.LORA_TRAINING])
    return world, storage


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([listed(f"images/{number:04}.jpg") for number in range(4096)], "lists 4096 files; expected at most 304"),
        ([listed("images/0001.jpg"), listed("images/0151.jpg")], "may not write 'images/0151.jpg'"),
        ([listed("images/0000.jpg")], "may not write 'images/0000.jpg'"),
        ([listed("dataset.json"), listed("../other")], "may not write '../other'"),
        ([listed("images/0001.jpg", 2**30)], "images/0001.jpg has 1073741824 bytes; expected at most 4259840"),
    ],
    ids=["too many", "a number too high", "a number too low", "another name", "too large"],
)
async def test_files_of_an_outcome_are_validated_before_the_lookup(
    monkeypatch: pytest.MonkeyPatch, files: list[dict[str, Any]], said: str
) -> None:
    world, storage = counted(monkeypatch)
    storage.listed = files
    status = await world.finish(Kind.LORA_TRAINING)
    assert storage.asked == []
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.OUTCOME_INVALID)
    assert said in (status.message or "")


async def test_files_of_an_outcome_are_read_in_their_namespaces_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, storage = counted(monkeypatch)
    assert (await world.finish(Kind.LORA_TRAINING)).phase is Phase.COMPLETED
    assert storage.asked == [("ns", 2), ("ns", 2)]


# Remaining Job under the name of the operator's next Job


async def test_conflicts_in_a_row_are_tried_again_ever_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A finalizer keeps a deleted Job without a record, so that the next one cannot be created."""
    kind = Kind.LORA_TRAINING
    reference = World(monkeypatch, Writes())
    reference.kube.apply(kind, SPECS[kind])
    await reference.reconcile(kind)
    (job,) = reference.kube.jobs.values()
    world = World(monkeypatch, Writes())
    world.kube.apply(kind, SPECS[kind])
    deleted: list[str] = []

    async def held(_namespace: str, _name: str, uid: str) -> None:
        deleted.append(uid)

    monkeypatch.setattr(world.kube, "delete_job", held)
    this = ResourceRef(kind=kind, namespace="ns", name="it", uid=UID)

    async def looks(count: int) -> list[tuple[float | None, str]]:
        return [await world.process._reconcile_or_pause(this) for _ in range(count)]

    name = job["metadata"]["name"]
    world.kube.jobs[name] = job | {"metadata": job["metadata"] | {"uid": "theirs"}}
    pauses = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]
    assert await looks(10) == [(pause, "conflict") for pause in pauses]
    assert {world.process._pause_after_conflict(this) for _ in range(2000)} == {30.0}
    assert set(deleted) == {"theirs"}
    del world.kube.jobs[name]
    ((_, result),) = await looks(1)
    assert result == "done"
    world.kube.jobs[name]["metadata"]["uid"] = "theirs"
    world.database["worker_jobs"].delete_many({})
    world.process.actor.jobs._known.clear()
    assert await looks(1) == [(0.1, "conflict")], "counted anew after a success"


async def test_resources_without_a_recorded_job_run_in_parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = Kind.LORA_TRAINING
    world = World(monkeypatch, Writes())
    world.kube.apply(kind, SPECS[kind])
    await world.reconcile(kind)
    world.storage.objects.clear()
    world.database["worker_jobs"].delete_many({})
    world.restart()
    reports = world.process.observer.reports
    locked: list[str] = []
    real = reports.exclusive

    def exclusive(uid: str) -> asyncio.Lock:
        locked.append(uid)
        return real(uid)

    monkeypatch.setattr(reports, "exclusive", exclusive)
    await world.reconcile(kind)
    assert locked == [UID]
