"""Jobs that their runs have moved past and that have not ended, such as one that a queue suspended at its outcome."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from contentgen_contract.names import STAGE_LABEL, Kind, Phase, Stage
from contentgen_contract.resources.operator_class import CLASS_LABEL
from contentgen_operator.cleanup.left_jobs import LeftJobs
from contentgen_operator.kube.cache import Cache
from contentgen_operator.state.observed import JobView, ResourceRef
from contentgen_operator.watch.event_handlers import EventHandlers, owner_of
from contentgen_operator.worker_api.reports import Reports
from contentgen_simulation.world import SPECS, UID, World

pytestmark = pytest.mark.usefixtures("no_waiting")

Body = dict[str, Any]
LORA, IMAGES, SOUND = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION
PREPARED = [LORA, SOUND]


def _suspended(job: Body) -> None:
    job["spec"]["suspend"] = True
    job["status"] = {}


def _running(job: Body) -> None:
    job["status"] = {"active": 1, "ready": 1}


Leave = Callable[[Body], None]


class Leaver:
    """Workers of one stage, which store their outcome and whose Jobs do not end."""

    def __init__(self, world: World, kind: Kind, stage: Stage, leave: Leave) -> None:
        self.world, self.kind, self.stage, self.leave = world, kind, stage, leave
        self.jobs: list[Body] = []
        self._work = world.work
        world.work = self.work  # type: ignore[method-assign]

    def work(self) -> None:
        for job in self.world.kube.jobs.values():
            run = self.world.status(self.kind).run
            named = run is not None and run.job is not None and run.job.uid == job["metadata"]["uid"]
            if job["metadata"]["labels"][STAGE_LABEL] != self.stage or "status" in job or not named:
                continue
            self.world._leave_outcome(self.kind, self.stage, self.world.status(self.kind))
            self.world.process.observer.reports.note_finished(job["metadata"]["uid"])
            self.leave(job)
            self.jobs.append(job)
            self.note(job)
        self._work()

    def note(self, job: Body) -> None:
        """Deliver the watch event of a Job."""
        owner = owner_of(job)
        for cache in self.world.caches:
            if owner is not None and owner in cache:
                cache.note_job(owner, JobView.parse(job))

    @property
    def there(self) -> list[str]:
        """Names of the left Jobs that exist."""
        return [job["metadata"]["name"] for job in self.jobs if job in self.world.kube.jobs.values()]


async def reconcile_for(world: World, kind: Kind, seconds: float) -> None:
    until = world.now + timedelta(seconds=seconds)
    while world.now < until:
        await world.reconcile(kind)


def looks(world: World, kind: Kind) -> LeftJobs:
    """The watch of Jobs, and the wake-ups of finished resources."""

    async def wake(_ref: ResourceRef) -> None:
        await world.process._read_and_reconcile(ResourceRef(kind=kind, namespace="ns", name="it", uid=UID))

    return LeftJobs(world.caches[-1], wake, world._seconds)


async def until_woken(world: World, kind: Kind, found: LeftJobs, seconds: float) -> None:
    """Let time pass after the end of a run: the watch lists the Jobs, and owners are woken."""
    until = world.now + timedelta(seconds=seconds)
    while world.now < until:
        for job in world.kube.jobs.values():
            view = JobView.parse(job)
            found.note(view.uid, None if view.finished else owner_of(job))
        await world.reconcile(kind)
        world.now += timedelta(seconds=15)
        await found.wake_due()


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("leave", [_suspended, _running])
@pytest.mark.parametrize("kind", PREPARED)
async def test_a_preparation_that_is_left_behind_is_deleted(
    kind: Kind, leave: Leave, restarts: bool, world: World
) -> None:
    world.provider.running = {1}  # the request, so that the run is under way
    left = Leaver(world, kind, Stage.PREPARE, leave)
    world.kube.apply(kind, SPECS[kind])
    await world.finish(kind, Phase.PROCESSING)
    assert left.there, "it is given a minute to end by itself"
    if restarts:
        world.restart()
    await reconcile_for(world, kind, 400)
    assert left.there == []
    world.provider.running = set()
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1
    assert "Retrying" not in str(world.kube.events)


@pytest.mark.parametrize("kind", PREPARED)
async def test_job_left_until_the_next_one_exists_is_deleted(kind: Kind, world: World) -> None:
    """The record of the newest Job names those before it."""
    left = Leaver(world, kind, Stage.PREPARE, _suspended)
    world.kube.apply(kind, SPECS[kind])
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert left.there
    await until_woken(world, kind, looks(world, kind), 300)
    assert left.there == []
    assert len(world.kube.jobs) == 1
    assert world.status(kind).phase is Phase.COMPLETED


@pytest.mark.parametrize("kind", Kind)
async def test_collect_job_is_deleted_after_its_purchase_is_collected(kind: Kind, world: World) -> None:
    left = Leaver(world, kind, Stage.COLLECT, _suspended)
    world.kube.apply(kind, SPECS[kind])
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    done = world.kube.resources[kind, "it"]["status"]
    world.restart()
    await until_woken(world, kind, looks(world, kind), 300)
    assert left.there == []
    assert world.kube.resources[kind, "it"]["status"] == done


@pytest.mark.parametrize("state", ["succeeded", "submitted"])
async def test_a_collect_job_stays_while_its_purchase_is_not(state: str, world: World) -> None:
    left = Leaver(world, IMAGES, Stage.COLLECT, _suspended)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES)
    world.database["ledger"].update_many({}, {"$set": {"state": state}})
    found = looks(world, IMAGES)
    await until_woken(world, IMAGES, found, 600)
    assert left.there
    world.database["ledger"].update_many({}, {"$set": {"state": "discarded"}})
    await until_woken(world, IMAGES, found, 3600)
    assert left.there == []


async def test_a_job_that_ends_by_itself_is_kept_for_its_log(world: World) -> None:
    world.provider.running = {1}
    left = Leaver(world, LORA, Stage.PREPARE, _running)
    world.kube.apply(LORA, SPECS[LORA])
    await world.finish(LORA, Phase.PROCESSING)
    (job,) = left.jobs
    job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    left.note(job)
    await reconcile_for(world, LORA, 1000)
    assert left.there


def _of_another_class(_world: World, job: Body) -> None:
    job["metadata"]["labels"][CLASS_LABEL] = "other"


def _of_the_same_name(_world: World, job: Body) -> None:
    job["metadata"]["uid"] = "of-somebody-else"


def _unrecorded(world: World, _job: Body) -> None:
    world.database["worker_jobs"].delete_many({})
    world.restart()


@pytest.mark.parametrize("change", [_of_another_class, _of_the_same_name, _unrecorded])
async def test_a_job_that_is_not_this_installations_stays(change: Callable[[World, Body], None], world: World) -> None:
    world.provider.running = {1}
    left = Leaver(world, LORA, Stage.PREPARE, _suspended)
    world.kube.apply(LORA, SPECS[LORA])
    await world.finish(LORA, Phase.PROCESSING)
    (job,) = left.jobs
    change(world, job)
    await reconcile_for(world, LORA, 1000)
    assert left.there


async def test_the_present_job_is_never_left_behind(world: World) -> None:
    """However long a stage takes."""
    world.work = lambda: None  # type: ignore[method-assign]
    world.kube.apply(LORA, SPECS[LORA])
    await world.reconcile(LORA)
    (job,) = world.kube.jobs.values()
    job["status"] = {"active": 1, "ready": 1}
    await reconcile_for(world, LORA, 4000)
    assert list(world.kube.jobs.values()) == [job]


async def test_the_job_of_an_earlier_run_is_deleted(world: World) -> None:
    """An edit during a wait starts the next run."""
    left = Leaver(world, LORA, Stage.PREPARE, _suspended)
    world.kube.apply(LORA, SPECS[LORA] | {"approval": "Manual"})
    await world.finish(LORA, Phase.AWAITING_APPROVAL)
    world.kube.apply(LORA, SPECS[LORA] | {"approval": "Manual", "triggerWord": "other"})
    await world.until(LORA, lambda: len(left.there) == 2)
    await reconcile_for(world, LORA, 400)
    run = world.status(LORA).run
    assert (run and run.number, left.there) == (2, [])


async def test_a_finished_resource_that_is_woken_is_not_cached(world: World) -> None:
    """A late report of its worker wakes it: the cache is of resources under way."""
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES)
    ref = ResourceRef(kind=IMAGES, namespace="ns", name="it", uid=UID)
    await world.process._read_and_reconcile(ref)
    assert ref not in world.caches[-1]


# Wake-ups of finished resources


class Woken:
    """A cache, its resource, and the wake-ups."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cache = Cache(lambda: self.seconds)
        self.times: list[float] = []
        self.left = LeftJobs(self.cache, self._wake, lambda: self.seconds)
        self.ref = ResourceRef(kind=LORA, namespace="ns", name="it", uid="r")

    async def _wake(self, ref: ResourceRef) -> None:
        assert ref == self.ref
        self.times.append(self.seconds)

    async def passes(self, seconds: float) -> None:
        until = self.seconds + seconds
        while self.seconds < until:
            await self.left.wake_due()
            self.seconds += 15


async def test_a_finished_resource_is_woken_ever_less_often() -> None:
    woken = Woken()
    woken.left.note("j", woken.ref)
    await woken.passes(1000)
    assert woken.times == [60, 180, 420, 900]
    woken.left.note("j", woken.ref)
    woken.left.note("j", None)
    await woken.passes(10_000)
    assert len(woken.times) == 4


async def test_a_resource_under_way_is_not_woken() -> None:
    woken = Woken()
    meta = {"namespace": "ns", "name": "it", "uid": "r", "resourceVersion": "1"}
    woken.cache.note(woken.ref, {"metadata": meta})
    woken.left.note("j", woken.ref)
    await woken.passes(1000)
    assert woken.times == []
    woken.cache.forget(woken.ref)
    await woken.passes(120)
    assert woken.times == [1065]


async def test_the_jobs_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contentgen_operator.cleanup.left_jobs._MOST", 3)
    woken = Woken()
    for number in range(10):
        woken.left.note(f"j{number}", woken.ref)
        await woken.left.wake_due()
    assert len(woken.left._owners) == len(woken.left._pauses) == 3


async def test_the_watch_notes_unfinished_jobs_of_this_class() -> None:
    woken = Woken()
    handlers = EventHandlers(woken.cache, woken._wake, Reports(), left_jobs=woken.left)
    owner = {"apiVersion": "contentgen.dev/v1alpha1", "kind": LORA.value, "name": "it", "uid": "r", "controller": True}
    meta = {"name": "j", "uid": "j", "namespace": "ns", "ownerReferences": [owner]}
    meta |= {"labels": {CLASS_LABEL: "default"}, "creationTimestamp": "2026-11-21T00:00:00Z"}
    job = {"metadata": meta, "status": {}}
    over = {"conditions": [{"type": "Complete", "status": "True"}]}
    for body, deleted, noted in (
        (job, False, ["j"]),
        (job | {"status": over}, False, []),
        (job, False, ["j"]),
        (job, True, []),
        ({"metadata": meta | {"labels": {CLASS_LABEL: "other"}}}, False, []),
        ({"metadata": meta | {"labels": None}}, False, []),
        ({"metadata": meta | {"ownerReferences": []}}, False, []),
    ):
        await handlers.job(body, deleted=deleted)
        assert list(woken.left._owners) == noted
