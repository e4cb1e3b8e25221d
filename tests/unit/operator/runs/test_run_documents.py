"""Run document: numbers are used once and frozen values stay, also after a restore or a forged status."""

import copy
import itertools
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from contentgen_contract.names import RERUN_ANNOTATION, RESUBMIT_ANNOTATION, Kind, Phase, Stage
from contentgen_contract.records import keys
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.background.finished import FinishedCheck
from contentgen_operator.state.observed import BucketFile, ResourceRef
from contentgen_operator.stores.run_documents import RunDocuments
from contentgen_operator.watch.event_handlers import EventHandlers
from contentgen_operator.worker_api.reports import Reports
from contentgen_runtime.kube import Conflict
from contentgen_simulation.world import SPECS, UID, World, Writes, outcome_of, resubmit_token

pytestmark = pytest.mark.usefixtures("no_waiting")

LORA, IMAGES, TRANSCRIPT = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION
OTHER: dict[Kind, dict[str, Any]] = {
    LORA: SPECS[LORA] | {"triggerWord": "other"},
    IMAGES: SPECS[IMAGES] | {"prompt": "a dog"},
    TRANSCRIPT: SPECS[TRANSCRIPT] | {"source": {"url": "https://example.com/other.mp3"}},
}
THIRD: dict[Kind, dict[str, Any]] = {
    LORA: SPECS[LORA] | {"triggerWord": "third"},
    IMAGES: SPECS[IMAGES] | {"prompt": "a bird"},
    TRANSCRIPT: SPECS[TRANSCRIPT] | {"source": {"url": "https://example.com/third.mp3"}},
}


def world_of(monkeypatch: pytest.MonkeyPatch, writes: Writes | None = None) -> World:
    """World in which no two files have the same bytes."""
    world = World(monkeypatch, writes or Writes())
    numbers = itertools.count(1)

    def leave(kind: Kind, stage: Stage, status: ResourceStatus) -> None:
        assert status.run is not None
        assert status.job_id is not None
        made = outcome_of(kind, stage, status.job_id, status.run.spec)
        files = tuple(file.model_copy(update={"sha256": f"{next(numbers):064x}"}) for file in made.files)
        prefix = keys.prefix(kind, stage, "ns", status.job_id, status.run.version)
        for file in files:
            world.storage.objects[prefix + file.name] = BucketFile(size_bytes=file.size_bytes, sha256=file.sha256)
        key = keys.outcome(status.job_id, status.run.number, stage, status.run.stage_attempt)
        world.storage.objects[key] = made.model_copy(update={"files": files}).model_dump_json(by_alias=True)

    monkeypatch.setattr(world, "_leave_outcome", leave)
    return world


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return world_of(monkeypatch)


async def reconcile_times(world: World, kind: Kind, count: int = 16) -> None:
    for _ in range(count):
        await world.reconcile(kind)


async def made(world: World, kind: Kind, spec: dict[str, Any], **annotations: str) -> ResourceStatus:
    """Apply the spec and finish its run. Returns the status."""
    world.kube.apply(kind, spec, **annotations)
    await world.reconcile(kind)
    status = await world.finish(kind)
    assert status.phase is Phase.COMPLETED, status
    return status


def etcd(world: World) -> dict[Any, Any]:
    return copy.deepcopy(world.kube.resources)


def restore_etcd(world: World, resources: dict[Any, Any]) -> None:
    """Restore etcd: Jobs disappear, a resource keeps its uid and gets a new resourceVersion."""
    world.kube.resources = copy.deepcopy(resources)
    world.kube.jobs.clear()
    for body in world.kube.resources.values():
        body["metadata"]["resourceVersion"] = str(next(world.kube.server.revisions))
    world.restart()


def mongo(world: World) -> dict[str, list[dict[str, Any]]]:
    names = world.database.list_collection_names()
    return {name: copy.deepcopy(list(world.database[name].find())) for name in names}


def restore_mongo(world: World, before: dict[str, list[dict[str, Any]]], *only: str) -> None:
    for name in only or world.database.list_collection_names():
        world.database[name].delete_many({})
        if before.get(name):
            world.database[name].insert_many(copy.deepcopy(before[name]))
    world.restart()


def forge(world: World, kind: Kind, change: Callable[[dict[str, Any]], Any]) -> None:
    """Write the status, as a user with permission for `*/status` may."""
    body = world.kube.resources[kind, "it"]
    change(body["status"])
    body["metadata"]["resourceVersion"] = str(next(world.kube.server.revisions))
    world.restart()


def bytes_of(world: World, status: ResourceStatus) -> dict[str, Any]:
    return {file.key: world.storage.objects[file.key] for version in status.versions for file in version.files}


def assert_numbers_used_once(world: World) -> None:
    """Assert that no two purchases have the same version of the same resource."""
    found = [purchase["outputs"] for purchase in world.database["ledger"].find({"outputs": {"$ne": None}})]
    used = [(record["jobId"], record["version"]) for record in found]
    assert len(used) == len(set(used)), used


def posts(world: World) -> int:
    return len(world.provider.posts)


def document(world: World) -> dict[str, Any]:
    return dict(world.database["runs"].find_one({"_id": UID}) or {})


def token(world: World, kind: Kind) -> str:
    return resubmit_token(world.status(kind))


# Restored stores


@pytest.mark.parametrize("kind", Kind)
async def test_restored_etcd_pays_and_overwrites_nothing(kind: Kind, world: World) -> None:
    """etcd is restored to each moment of two runs, during the second run or after it; then a third run is requested."""
    moments = [await_no_run(world, kind)]
    for number, spec in ((1, SPECS[kind]), (2, OTHER[kind])):
        world.kube.apply(kind, spec)
        while not (posts(world) == number and world.status(kind).phase is Phase.COMPLETED):
            assert len(moments) < 100, world.status(kind)
            await world.reconcile(kind)
            moments.append(etcd(world))
            if number == 2 and posts(world) == 2 and len(moments) % 2:
                under_way = saved(world)
    over = saved(world)
    for end, moment in itertools.product((over, under_way), range(len(moments))):
        put_back(world, end)
        kept = bytes_of(world, world.status(kind))
        restore_etcd(world, moments[moment])
        await reconcile_times(world, kind, 20)
        assert posts(world) == 2, (moment, world.status(kind))
        status = await made(world, kind, THIRD[kind])
        assert posts(world) == 3, (moment, status)
        assert {key: world.storage.objects[key] for key in kept} == kept, moment
        assert_numbers_used_once(world)
        assert document(world)["version"] == max(version.version for version in status.versions)


def await_no_run(world: World, kind: Kind) -> dict[Any, Any]:
    """Create a resource that no operator has processed. Returns the state of etcd."""
    world.kube.apply(kind, SPECS[kind])
    return etcd(world)


def saved(world: World) -> tuple[Any, ...]:
    provider = world.provider
    return (etcd(world), mongo(world), dict(world.storage.objects), list(provider.posts), dict(provider._polls))


def put_back(world: World, end: tuple[Any, ...]) -> None:
    """Restore all stores and the provider's state for another attempt."""
    restore_mongo(world, end[1])
    world.storage.objects, world.provider.posts, world.provider._polls = dict(end[2]), list(end[3]), dict(end[4])
    restore_etcd(world, end[0])


@pytest.mark.parametrize("kind", Kind)
async def test_restored_mongodb_pays_nothing_and_has_advice(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run is in progress or over; MongoDB is older or empty. The bucket has lost its markers too."""
    for since, stop in itertools.product(("first run", "nothing"), (Phase.PROCESSING, Phase.COMPLETED)):
        world = world_of(monkeypatch)
        empty = mongo(world)
        await made(world, kind, SPECS[kind])
        before = mongo(world) if since == "first run" else empty
        world.kube.apply(kind, OTHER[kind])
        await world.reconcile(kind)
        await world.finish(kind, stop)
        kept = bytes_of(world, world.status(kind))
        restore_mongo(world, before)
        for key in [each_key for each_key in world.storage.objects if each_key.startswith("purchases/by-key/")]:
            del world.storage.objects[key]
        await reconcile_times(world, kind)
        assert posts(world) == 2, (since, stop)
        if stop is Phase.COMPLETED:
            assert world.status(kind).phase is Phase.COMPLETED
            world.kube.apply(kind, THIRD[kind])
            await reconcile_times(world, kind)
            assert posts(world) == 2, (since, stop)
        status = world.status(kind)
        assert status.reason == "StoresDisagree", (since, stop, status)
        assert "restore" in (status.message or "")
        assert "MongoDB" in (status.message or "")
        assert {key: world.storage.objects[key] for key in kept} == kept
        # A person decides once.
        spec = world.kube.resources[kind, "it"]["spec"]
        status = await made(world, kind, spec, **{RESUBMIT_ANNOTATION: token(world, kind)})
        assert posts(world) == 3
        assert {key: world.storage.objects[key] for key in kept} == kept
        assert_numbers_used_once(world)
        await world.recover(kind)


async def test_a_mongodb_that_is_put_right_goes_on_without_a_person(world: World) -> None:
    await made(world, IMAGES, SPECS[IMAGES])
    before = mongo(world)
    world.kube.apply(IMAGES, OTHER[IMAGES])
    await world.reconcile(IMAGES)
    await world.finish(IMAGES, Phase.PROCESSING)
    right = mongo(world)
    restore_mongo(world, before)
    await reconcile_times(world, IMAGES)
    assert world.status(IMAGES).reason == "StoresDisagree"
    restore_mongo(world, right)
    status = await world.finish(IMAGES)
    assert (status.phase, posts(world)) == (Phase.COMPLETED, 2)


async def test_etcd_and_mongodb_of_one_backup_agree(world: World) -> None:
    """The marker in the bucket shows the purchase that was made after the backup."""
    await made(world, IMAGES, SPECS[IMAGES])
    both = etcd(world), mongo(world)
    await made(world, IMAGES, OTHER[IMAGES])
    kept = bytes_of(world, world.status(IMAGES))
    restore_etcd(world, both[0])
    restore_mongo(world, both[1])
    world.kube.apply(IMAGES, OTHER[IMAGES])
    await reconcile_times(world, IMAGES)
    assert posts(world) == 2
    assert world.status(IMAGES).reason == "SubmissionUnknown"
    assert {key: world.storage.objects[key] for key in kept if "/v2/" not in key} != {}


# Forged statuses


def numbered(number: int) -> Callable[[dict[str, Any]], None]:
    def change(status: dict[str, Any]) -> None:
        status["run"] |= {"number": number}

    return change


def versioned(version: int) -> Callable[[dict[str, Any]], None]:
    def change(status: dict[str, Any]) -> None:
        status["run"] |= {"version": version}

    return change


def frozen(**fields: Any) -> Callable[[dict[str, Any]], None]:
    def change(status: dict[str, Any]) -> None:
        status["run"] |= fields

    return change


FORGERIES = {
    "number": numbered(99),
    "huge number": numbered(2**63 - 1),
    "number of the past": numbered(-3),
    "version": versioned(99),
    "huge version": versioned(2**63 - 1),
    "version 0": versioned(0),
    "facts": frozen(facts={"type": "audio", "durationSeconds": 1.0}),
    "attempt": frozen(paidAttempt=7),
    "start": frozen(startedAt="2020-01-01T00:00:00Z"),
    "generation": frozen(generation=77),
    "rerun": frozen(rerun="again"),
    "spec": lambda status: status["run"]["spec"].update(source={"url": "https://evil.example.com/"}, prompt="evil"),
    "user": lambda status: status["run"]["spec"].update(userId="victim"),
    "no run": lambda status: status.pop("run"),
    "nothing": dict.clear,
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_forged_status_neither_pays_twice_nor_blocks_for_ever(
    forgery: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The status is forged at every third reconcile of a second run."""
    for moment in itertools.count(0, 3):
        world = world_of(monkeypatch)
        await made(world, TRANSCRIPT, SPECS[TRANSCRIPT])
        kept = bytes_of(world, world.status(TRANSCRIPT))
        world.kube.apply(TRANSCRIPT, OTHER[TRANSCRIPT])
        ended = False
        for _ in range(moment):
            await world.reconcile(TRANSCRIPT)
            ended = world.status(TRANSCRIPT).phase is Phase.COMPLETED and posts(world) == 2
        forge(world, TRANSCRIPT, FORGERIES[forgery])
        await reconcile_times(world, TRANSCRIPT)
        if world.status(TRANSCRIPT).reason == "StoresDisagree":
            assert forgery in ("number", "huge number", "attempt"), (moment, world.status(TRANSCRIPT))
            world.kube.apply(TRANSCRIPT, OTHER[TRANSCRIPT], **{RESUBMIT_ANNOTATION: token(world, TRANSCRIPT)})
            await reconcile_times(world, TRANSCRIPT)
        status = world.status(TRANSCRIPT)
        assert status.phase is Phase.COMPLETED, (moment, status)
        assert posts(world) == 2, (moment, status)
        assert {key: world.storage.objects[key] for key in kept} == kept, moment
        assert "victim" not in str(world.database["ledger"].find_one({"_id": {"$regex": "Transcription"}}))
        assert not any("victim" in key for key in world.storage.objects)
        assert_numbers_used_once(world)
        assert "evil" not in str(status)
        if ended:
            break


async def test_facts_that_somebody_else_wrote_skip_no_preparation(world: World) -> None:
    world.kube.apply(TRANSCRIPT, SPECS[TRANSCRIPT])
    await world.finish(TRANSCRIPT, Phase.PREPARING)
    forge(world, TRANSCRIPT, frozen(facts={"type": "audio", "durationSeconds": 1.0}, job=None))
    await world.finish(TRANSCRIPT)
    run = world.status(TRANSCRIPT).run
    assert run is not None
    assert run.facts is not None
    assert run.facts["durationSeconds"] == 60.5


async def test_status_forged_before_the_first_run_pays_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES])
    other = world_of(monkeypatch)
    other.kube.apply(IMAGES, OTHER[IMAGES])
    forged = await other.finish(IMAGES, Phase.SUBMITTING)
    world.kube.resources[IMAGES, "it"]["status"] = copy.deepcopy(other.kube.resources[IMAGES, "it"]["status"])
    assert forged.run is not None
    await reconcile_times(world, IMAGES)
    assert posts(world) == 0
    assert world.status(IMAGES).reason == "StoresDisagree"
    status = await made(world, IMAGES, SPECS[IMAGES], **{RESUBMIT_ANNOTATION: token(world, IMAGES)})
    assert posts(world) == 1
    assert world.provider.posts[0].arguments["prompt"] == "a cat"
    assert status.run is not None
    assert status.run.number > forged.run.number


async def test_an_allowed_payment_after_a_disagreement_allows_no_other(world: World) -> None:
    await made(world, IMAGES, SPECS[IMAGES])
    world.kube.apply(IMAGES, OTHER[IMAGES])
    forge(world, IMAGES, numbered(5))
    await reconcile_times(world, IMAGES)
    allowed = {RESUBMIT_ANNOTATION: token(world, IMAGES)}
    await made(world, IMAGES, OTHER[IMAGES], **allowed)
    assert posts(world) == 2
    world.kube.apply(IMAGES, THIRD[IMAGES], **allowed)
    forge(world, IMAGES, numbered(50))
    await reconcile_times(world, IMAGES)
    assert (posts(world), world.status(IMAGES).reason) == (2, "StoresDisagree")


# Two operators


@pytest.mark.parametrize("kind", Kind)
async def test_two_operators_begin_one_run(kind: Kind, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second operator decides on data read before the first one's run, and then writes."""
    await made(world, kind, SPECS[kind])
    world.kube.apply(kind, OTHER[kind])
    first, second = world.process, world.operator()
    ref = first.cache  # each operator has its own cache
    assert ref is not second.cache
    planned = second._plan
    entered = list[int]()

    async def plan_late(resource: Any, now: Any) -> Any:
        plan = await planned(resource, now)
        if not entered:
            entered.append(1)
            before = document(world)["number"]
            await world.reconcile(kind)  # the first operator's whole reconcile
            assert document(world)["number"] == before + 1
        return plan

    monkeypatch.setattr(second, "_plan", plan_late)
    with pytest.raises(Conflict):
        await second._read_and_reconcile(ResourceRef(kind=kind, namespace="ns", name="it", uid=UID))
    await world.finish(kind)
    assert (document(world)["number"], document(world)["version"], posts(world)) == (2, 2, 2)
    assert_numbers_used_once(world)


# Documents that MongoDB alone has lost


@pytest.mark.parametrize("kind", Kind)
async def test_runs_without_a_document_are_taken_over(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A status of each phase exists without a run document."""
    for moment in itertools.count(1):
        world = world_of(monkeypatch)
        await made(world, kind, SPECS[kind])
        kept = bytes_of(world, world.status(kind))
        world.kube.apply(kind, OTHER[kind])
        await reconcile_times(world, kind, moment)
        ended = world.status(kind).phase is Phase.COMPLETED and posts(world) == 2
        number = (world.status(kind).run or ResourceStatus.model_validate({})).model_dump().get("number")
        world.database["runs"].drop()
        world.restart()
        await reconcile_times(world, kind)
        status = world.status(kind)
        assert (status.phase, posts(world)) == (Phase.COMPLETED, 2), (moment, status)
        assert status.run is not None
        assert status.run.number == number
        assert [version.version for version in status.versions] == [1, 2]
        status = await made(world, kind, THIRD[kind])
        assert [version.version for version in status.versions] == [1, 2, 3]
        assert {key: world.storage.objects[key] for key in kept} == kept
        if ended:
            break


@pytest.mark.parametrize("kind", Kind)
async def test_runs_after_the_restored_documents_are_taken_over(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ledger, records and status are newer."""
    for moment in itertools.count(1):
        world = world_of(monkeypatch)
        await made(world, kind, SPECS[kind])
        before = mongo(world)
        world.kube.apply(kind, OTHER[kind])
        await reconcile_times(world, kind, moment)
        ended = world.status(kind).phase is Phase.COMPLETED and posts(world) == 2
        restore_mongo(world, before, "runs")
        await reconcile_times(world, kind)
        status = world.status(kind)
        assert (status.phase, posts(world)) == (Phase.COMPLETED, 2), (moment, status)
        assert [version.version for version in status.versions] == [1, 2]
        assert document(world)["number"] == 2
        await made(world, kind, THIRD[kind])
        assert posts(world) == 3
        assert_numbers_used_once(world)
        if ended:
            break


# Numbers


async def test_a_failed_run_keeps_its_version_number(world: World) -> None:
    """The next run does not overwrite the failed run's training set, which identifies a lost request."""
    world.provider.fails = {1}
    world.kube.apply(LORA, SPECS[LORA])
    assert (await world.finish(LORA)).phase is Phase.FAILED
    status = await made(world, LORA, OTHER[LORA])
    assert [version.version for version in status.versions] == [2]
    assert len({post.correlation_key for post in world.provider.posts}) == 2


async def test_a_deletion_with_its_files_takes_the_document_along(world: World) -> None:
    await made(world, IMAGES, SPECS[IMAGES] | {"deletionPolicy": "Delete"})
    assert document(world)
    await world.until_gone(IMAGES)
    await world.sweep()
    assert not document(world)


async def test_files_that_outlive_a_resource_keep_their_document(world: World) -> None:
    """etcd may be restored to before the deletion, and the next version must not overwrite these files."""
    await made(world, IMAGES, SPECS[IMAGES])
    before = etcd(world)
    status = await made(world, IMAGES, OTHER[IMAGES])
    kept = bytes_of(world, status)
    await world.until_gone(IMAGES)
    restore_etcd(world, before)
    await made(world, IMAGES, THIRD[IMAGES])
    assert {key: world.storage.objects[key] for key in kept} == kept
    assert_numbers_used_once(world)


# Number of writes


async def test_a_run_costs_one_write_for_each_transition(world: World) -> None:
    """One write each when the run begins, is prepared, names its purchase and ends; no additional status writes."""
    await made(world, TRANSCRIPT, SPECS[TRANSCRIPT])
    assert world.writes.done.count("run document") == 4
    assert document(world)["revision"] == 4
    await made(world, TRANSCRIPT, SPECS[TRANSCRIPT], **{RERUN_ANNOTATION: "again"})
    assert document(world)["revision"] == 8
    assert world.now - timedelta(days=2) < world.status(TRANSCRIPT).versions[0].completed_at  # type: ignore[operator] # it is there


@pytest.mark.parametrize("kind", Kind)
async def test_fields_normalised_by_the_api_server_need_no_repair(
    kind: Kind, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server returns 60.0 as 60 and may drop a null.

    A status that never equals the document's would be written after each comparison, and each finished resource
    reconciled.
    """
    put = world.kube.put_status

    async def normalized(kind_: Kind, namespace: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        return await put(kind_, namespace, name, body | {"status": _as_in_go(body["status"])})

    monkeypatch.setattr(world.kube, "put_status", normalized)
    await made(world, kind, SPECS[kind])
    ref = ResourceRef(kind=kind, namespace="ns", name="it", uid=UID)
    assert not await world.is_behind(ref)
    before = len(world.writes.done)
    world.restart()
    await world.process._read_and_reconcile(ref)
    assert set(world.writes.done[before:]) <= {"record", "run document"}, "a restart writes the record, no status"


def _as_in_go(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _as_in_go(member) for name, member in value.items() if member is not None}
    if isinstance(value, list):
        return [_as_in_go(element) for element in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


# Finished resources at startup


class _Counted(RunDocuments):
    """Collection that counts queries and may be unavailable."""

    queries = 0
    away = False

    async def digests(self, uids: Iterable[str]) -> dict[str, str]:
        self.queries += 1
        if self.away:
            raise AutoReconnect("away")
        return await super().digests(uids)


async def test_finished_resources_are_compared_in_batches(world: World) -> None:
    """Two of 1,200 resources differ: one is from a restored etcd, and one has no document."""
    await made(world, IMAGES, SPECS[IMAGES])
    documents, woken = _Counted(world.database["runs"]), list[str]()

    async def wake(ref: ResourceRef) -> None:
        woken.append(ref.uid)

    check = FinishedCheck(documents, wake)
    handlers = EventHandlers(world.process.cache, wake, Reports(), finished=[check])
    one = world.database["runs"].find_one()
    body = world.kube.resources[IMAGES, "it"]
    for number in range(1_200):
        uid = f"uid-{number}"
        if number:
            world.database["runs"].insert_one(one | {"_id": uid, "digest": "later" if number == 700 else one["digest"]})
        await handlers.resource(IMAGES, body | {"metadata": body["metadata"] | {"uid": uid}}, deleted=False)
    documents.away = True
    with pytest.raises(AutoReconnect):
        await check.check()
    documents.away = False
    for _ in range(4):
        await check.check()
    assert woken == ["uid-0", "uid-700"]
    assert documents.queries == 5
    assert not check._waiting


async def test_a_resource_that_is_gone_or_changed_is_not_compared(world: World) -> None:
    await made(world, IMAGES, SPECS[IMAGES])
    body = world.kube.resources[IMAGES, "it"]

    async def wake(ref: ResourceRef) -> None:
        """The change itself triggers the reconcile."""

    check = FinishedCheck(RunDocuments(world.database["runs"]), wake)
    handlers = EventHandlers(world.process.cache, wake, Reports(), finished=[check])
    for deleted, spec in ((True, {}), (False, {"suspend": True})):
        await handlers.resource(IMAGES, body, deleted=False)
        assert check._waiting
        meta = body["metadata"] | ({"generation": 9} if spec else {})
        await handlers.resource(IMAGES, body | {"metadata": meta}, deleted=deleted)
        assert not check._waiting
