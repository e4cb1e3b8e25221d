"""Records of the Jobs that the operator created, and the handling of Jobs without a record."""

from datetime import UTC, datetime, timedelta
from typing import Any

import mongomock
import pytest

from contentgen_contract.names import Kind, Phase, Stage
from contentgen_operator.state.observed import JobRecord, ResourceRef
from contentgen_operator.stores import worker_jobs
from contentgen_operator.stores.worker_jobs import RecordedJob, WorkerJobs
from contentgen_simulation.world import SPECS, UID, World, Writes, blocking

LORA = Kind.LORA_TRAINING
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def job(uid: str, resource: str = "r", created_at: datetime = NOW, after: str | None = None) -> RecordedJob:
    owner = ResourceRef(kind=LORA, namespace="ns", name="it", uid=resource)
    work: dict[str, Any] = {"name": "job", "run": 1, "stage": Stage.COLLECT, "attempt": 2}
    earlier = () if after is None else (JobRecord(uid=after, **work),)
    return RecordedJob(uid=uid, owner=owner, created_at=created_at, earlier=earlier, **work)


def collection(*, aware: bool = True) -> Any:
    return mongomock.MongoClient(tz_aware=aware)["db"]["worker_jobs"]


@pytest.mark.parametrize("aware", [True, False])
async def test_a_record_survives_the_process(aware: bool) -> None:
    store = collection(aware=aware)
    await WorkerJobs(store).record(job("a"))
    later = WorkerJobs(store)
    assert await later.newest("r") == await later.by_uid("a") == job("a")
    assert await later.newest("other") is None
    assert await later.by_uid("other") is None


async def test_the_record_of_another_process_is_seen() -> None:
    """Two operators by mistake, or one that was paused and resumed."""
    store = collection()
    first, second = WorkerJobs(store), WorkerJobs(store)
    await first.record(job("a"))
    await second.record(job("b"))
    assert await first.newest("r", "b") == job("b", after="a")
    assert await first.newest("r") == job("b", after="a")
    assert await first.newest("r", "forged") == job("b", after="a")


async def test_the_expected_job_costs_no_read(monkeypatch: pytest.MonkeyPatch) -> None:
    store = collection()
    jobs = WorkerJobs(store)
    await jobs.record(job("a"))
    monkeypatch.setattr(store, "find_one", None)
    assert await jobs.newest("r", "a") == await jobs.newest("r") == job("a")


async def test_only_the_newest_job_of_a_resource_is_listed() -> None:
    jobs = WorkerJobs(collection())
    await jobs.record(job("a"))
    await jobs.record(job("b"))
    assert await jobs.newest("r") == job("b", after="a")
    assert await jobs.by_uid("a") is None


async def test_the_jobs_before_the_newest_are_known_and_bounded() -> None:
    store = collection()
    for uid in "abcdefg":
        await WorkerJobs(store).record(job(uid))
    newest = await WorkerJobs(store).newest("r")
    assert newest is not None
    assert [each.uid for each in newest.earlier] == ["f", "e", "d", "c"]
    assert newest.earlier[0] == JobRecord.model_validate(job("f").model_dump())
    assert [await WorkerJobs(store).by_uid(uid) for uid in "abcdef"] == [None] * 6, "they are no workers any more"


async def test_records_of_what_is_gone_are_deleted() -> None:
    store = collection()
    jobs = WorkerJobs(store)
    await jobs.record(job("a"))
    await jobs.forget("r")
    assert await jobs.newest("r") is None
    await jobs.record(job("a", "old", NOW - timedelta(days=31)))
    await jobs.record(job("b", "new"))
    await jobs.expire(NOW - timedelta(days=30))
    assert [document["uid"] for document in store.find()] == ["b"]


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_jobs, "_REMEMBERED", 3)
    jobs = WorkerJobs(collection())
    for number in range(10):
        await jobs.record(job(f"j{number}", f"r{number}"))
    assert len(jobs._known) == 3
    assert await jobs.newest("r0") == job("j0", "r0")


async def test_a_slow_read_does_not_bring_an_older_job_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's token is looked up while the next attempt's Job is recorded."""
    store = collection()
    jobs = WorkerJobs(store)
    await WorkerJobs(store).record(job("a"))
    read = store.find_one

    def meanwhile(where: dict[str, Any]) -> Any:
        found = read(where)
        monkeypatch.setattr(store, "find_one", read)
        blocking(jobs.record)(job("b"))
        return found

    monkeypatch.setattr(store, "find_one", meanwhile)
    assert await jobs.by_uid("a") == job("a")
    assert await jobs.newest("r") == job("b", after="a")


def only_job(world: World) -> dict[str, Any]:
    (found,) = world.kube.jobs.values()
    return found


async def test_a_job_that_a_tenant_prepared_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of the next Job can be computed, and an owner reference copied."""
    reference = World(monkeypatch, Writes())
    reference.kube.apply(LORA, SPECS[LORA])
    await reference.reconcile(LORA)
    name = only_job(reference)["metadata"]["name"]
    world = World(monkeypatch, Writes())
    world.kube.apply(LORA, SPECS[LORA])
    owner = {"apiVersion": "contentgen.dev/v1alpha1", "kind": LORA.value, "name": "it", "uid": UID, "controller": True}
    theirs = {"name": name, "uid": "theirs", "ownerReferences": [owner], "creationTimestamp": "2026-11-21T00:00:00Z"}
    world.kube.jobs[name] = {"metadata": theirs, "status": {}}
    assert (await world.finish(LORA)).phase is Phase.COMPLETED
    assert "theirs" not in {job["metadata"]["uid"] for job in world.kube.jobs.values()}
    assert len(world.provider.posts) == 1


@pytest.mark.parametrize("same_name", [True, False])
async def test_two_operators_leave_the_job_of_the_other(
    world: World, monkeypatch: pytest.MonkeyPatch, same_name: bool
) -> None:
    """The first one has cached a Job that the second one has replaced, or followed by another attempt.

    Without a fresh read each would delete the other's Job as unrecorded, without end.
    """
    monkeypatch.setattr(world, "work", lambda: None)
    world.kube.apply(LORA, SPECS[LORA])
    await world.reconcile(LORA)
    first, before = world.process, only_job(world)
    if same_name:
        world.database["worker_jobs"].update_one({}, {"$set": {"attempt": 7, "uid": "older"}})
    else:
        before["status"] = {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}
    world.restart()
    for _ in range(4):
        await world.reconcile(LORA)
    (mine,) = [job["metadata"]["uid"] for job in world.kube.jobs.values() if "status" not in job]
    assert mine != before["metadata"]["uid"]
    world.process = first
    for _ in range(4):
        await world.reconcile(LORA)
    assert [job["metadata"]["uid"] for job in world.kube.jobs.values() if "status" not in job] == [mine]
    status = world.status(LORA)
    assert status.run is not None
    assert status.run.job is not None
    assert (status.run.job.uid, status.run.stage_attempt) == (mine, 1 if same_name else 2)


async def test_a_job_that_only_the_status_names_is_replaced(world: World) -> None:
    """After a restore of MongoDB, or if a tenant wrote the status."""
    world.kube.apply(LORA, SPECS[LORA])
    await world.reconcile(LORA)
    before = only_job(world)["metadata"]
    del only_job(world)["status"]  # its worker is still busy
    world.storage.objects.clear()
    world.database["worker_jobs"].delete_many({})
    world.restart()
    for _ in range(3):
        await world.reconcile(LORA)
    after = only_job(world)["metadata"]
    assert (after["name"], after["uid"] != before["uid"]) == (before["name"], True)
    assert (await world.finish(LORA)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


async def test_a_record_of_another_attempt_does_not_count(world: World) -> None:
    """MongoDB was restored from a backup older than the Job."""
    world.kube.apply(LORA, SPECS[LORA])
    await world.reconcile(LORA)
    before = only_job(world)["metadata"]["uid"]
    del only_job(world)["status"]
    world.storage.objects.clear()
    world.database["worker_jobs"].update_one({}, {"$set": {"attempt": 7, "uid": "older"}})
    world.restart()
    for _ in range(3):
        await world.reconcile(LORA)
    assert only_job(world)["metadata"]["uid"] != before
    assert (await world.finish(LORA)).phase is Phase.COMPLETED


async def test_a_forged_job_in_the_status_is_corrected(world: World) -> None:
    world.kube.apply(LORA, SPECS[LORA])
    await world.reconcile(LORA)
    recorded = only_job(world)["metadata"]["uid"]
    del only_job(world)["status"]
    world.storage.objects.clear()
    world.kube.resources[LORA, "it"]["status"]["run"]["job"] |= {"name": "theirs", "uid": "theirs"}
    world.restart()
    await world.reconcile(LORA)
    run = world.status(LORA).run
    assert run is not None
    assert run.job is not None
    assert run.job.uid == recorded
    assert (await world.finish(LORA)).phase is Phase.COMPLETED


async def test_a_forged_job_name_in_the_status_deletes_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.kube.apply(LORA, SPECS[LORA] | {"deletionPolicy": "Delete"})
    await world.reconcile(LORA)
    world.kube.jobs["theirs"] = {"metadata": {"name": "theirs", "uid": "theirs"}, "status": {}}
    body = world.kube.resources[LORA, "it"]
    body["status"]["run"]["job"] |= {"name": "theirs", "uid": "theirs"}
    deleted: list[str] = []
    real = world.kube.delete_job

    async def delete_job(namespace: str, name: str, uid: str) -> None:
        deleted.append(name)
        await real(namespace, name, uid)

    monkeypatch.setattr(world.kube, "delete_job", delete_job)
    world.kube.delete(LORA, world.now)
    await world.reconcile(LORA)
    assert deleted
    assert "theirs" not in deleted
