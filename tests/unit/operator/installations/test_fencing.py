"""Fencing: a former leader, paused before any of its I/O operations, changes nothing after another process has led and
worked.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import httpx
import mongomock
import pytest
import stamina

from contentgen_contract.names import Kind, Phase, Stage
from contentgen_contract.records.deletion_tombstone import DeletionTombstone
from contentgen_operator.background.settlement import ChargeSettlement
from contentgen_operator.leader.leadership import Leadership, NotLeading, unchecked
from contentgen_operator.state.observed import JobView, Resource, ResourceRef
from contentgen_operator.state.plan import Plan
from contentgen_operator.state.purchases import Purchase, PurchaseKey, PurchaseState, SendState, Unsettled
from contentgen_operator.state.run_document import RunDocument
from contentgen_operator.stores.charges import Charges
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.records import RecordStore
from contentgen_operator.stores.run_documents import RunDocuments
from contentgen_operator.stores.s3 import Leftovers
from contentgen_operator.stores.worker_jobs import RecordedJob, WorkerJobs
from contentgen_operator.worker_api.reports import Reports
from contentgen_operator.worker_api.server import WorkerApi, create_app
from contentgen_runtime.kube import Conflict
from contentgen_runtime.store_errors import NotDeleted
from contentgen_runtime.tenancy import Tenancy
from contentgen_simulation.frozen import FormerLeader, Freezer, contents, effects
from contentgen_simulation.world import INLINE, SPECS, UID, World, Writes, blocking

IMAGES, TALKS = Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION
OTHER = "1d9e9b63-7b6f-4b2d-8a4f-3f4d8d2c0b02"
Work = Callable[["Case"], Awaitable[None]]


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2):
        yield


class Case:
    """World with the process that is paused, and the one that leads after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: Kind, policy: str, at: int, meanwhile: Work) -> None:
        self.kind = kind
        self.policy = policy
        self.world = World(monkeypatch, Writes())
        self.freezer = Freezer(at, lambda: meanwhile(self), self.world)
        self.apply()

    def apply(self, uid: str = UID, policy: str = "") -> None:
        self.world.kube.apply(self.kind, SPECS[self.kind] | {"deletionPolicy": policy or self.policy}, uid)

    @property
    def ref(self) -> ResourceRef:
        there = self.world.kube.resources.get((self.kind, "it"))
        uid = there["metadata"]["uid"] if there else UID
        return ResourceRef(kind=self.kind, namespace="ns", name="it", uid=uid)

    def lead(self) -> None:
        """Let another process lead."""
        self.world.leadership = Leadership.always()
        self.world.restart()

    async def look(self, process: World) -> str:
        """One reconcile."""
        ref = self.ref
        if not process.watch(ref):
            return "finished"
        again, result = await process.process._reconcile_or_pause(ref)
        assert result != "error", self.freezer.done[-3:]
        self.world.now += timedelta(seconds=min(max(again or 1, 1), 300))
        return result

    async def gone(self, process: World) -> None:
        """Deliver the deletion of the first resource."""
        ref = ResourceRef(kind=self.kind, namespace="ns", name="it", uid=UID)
        for cache in process.caches:
            cache.forget(ref)
        _, result = await process.process._reconcile_or_pause(ref)
        assert result == "done" or process is not self.world, result

    async def until(self, process: World, over: Callable[[], bool]) -> None:
        for _ in range(80):
            if self.freezer.frozen and process is not self.world:
                return
            if over():
                return
            await self.look(process)
            if process is self.world or not self.freezer.frozen:
                self.world.work()
        phases = [str(resource["status"])[:300] for resource in self.world.kube.resources.values()]
        raise AssertionError(f"never over: {phases}")

    def completed(self) -> bool:
        return self.world.there(self.kind) and self.world.status(self.kind).phase is Phase.COMPLETED

    def over(self) -> bool:
        """True if the operator has nothing to do."""
        ends = (Phase.COMPLETED, Phase.FAILED, Phase.SUBMISSION_UNKNOWN)
        return self.world.there(self.kind) and self.world.status(self.kind).phase in ends


# Work of the frozen process


async def run(case: Case) -> None:
    """From the first reconcile to the end."""
    await case.until(FormerLeader(case.world, case.freezer), case.completed)


async def deletion(case: Case) -> None:
    """Deletion of a finished resource."""
    await case.until(case.world, case.completed)
    case.world.kube.delete(case.kind, case.world.now)
    former = FormerLeader(case.world, case.freezer)
    await case.until(former, lambda: not case.world.there(case.kind))
    if not case.freezer.frozen:
        await case.gone(former)


async def deletion_of_a_request(case: Case) -> None:
    """Deletion of a resource whose request is in progress."""
    await case.until(case.world, lambda: case.world.database["ledger"].find_one({"state": "submitted"}) is not None)
    case.world.provider.cancels = False
    case.world.kube.delete(case.kind, case.world.now)
    await case.until(FormerLeader(case.world, case.freezer), lambda: not case.world.there(case.kind))


async def sweep(case: Case) -> None:
    """Deletion of the files of a deleted resource."""
    await case.until(case.world, case.completed)
    storage = case.world.storage
    case.world.kube.delete(case.kind, case.world.now)
    pages, storage.delete_prefix = storage.delete_prefix, _away  # type: ignore[method-assign]
    case.world.decision_settings = case.world.decision_settings.model_copy(update={"deletion_seconds": 0})
    case.lead()
    await case.until(case.world, lambda: not case.world.there(case.kind))
    storage.delete_prefix = pages  # type: ignore[method-assign]
    await FormerLeader(case.world, case.freezer).sweep()


async def _away(*_: Any, **__: Any) -> Any:
    raise NotDeleted("the store is away")


async def orphans(case: Case) -> None:
    """Rounds over the orphans, from the request to the discarded result."""
    await case.until(case.world, lambda: case.world.database["ledger"].find_one({"state": "submitted"}) is not None)
    case.world.provider.cancels = False
    case.world.kube.delete(case.kind, case.world.now)
    await case.until(case.world, lambda: not case.world.there(case.kind))
    former = FormerLeader(case.world, case.freezer)
    for _ in range(6):
        if not case.freezer.frozen:
            await _round(case, former)


async def _round(case: Case, process: World) -> None:
    try:
        await process.orphans[-1].round(case.world.now)
    except NotLeading:
        assert process is not case.world
    if process is case.world or not case.freezer.frozen:
        case.world.now += timedelta(hours=2)


async def suspension(case: Case) -> None:
    """Suspension of a resource, which stops its Job."""
    while not case.world.kube.jobs:
        await case.look(case.world)
    case.world.kube.apply(case.kind, SPECS[case.kind] | {"suspend": True})
    former = FormerLeader(case.world, case.freezer)
    for _ in range(4):
        if not case.freezer.frozen:
            await case.look(former)


# Actions of another process or a user in the meantime


async def resumes(case: Case) -> None:
    """The next leader stops the Job too; the user resumes the resource, which gets another Job."""
    case.lead()
    await case.look(case.world)
    case.world.kube.apply(case.kind, SPECS[case.kind])
    for _ in range(4):
        await case.look(case.world)
    assert case.world.kube.jobs


async def goes_on(case: Case) -> None:
    """The next process continues to the end."""
    case.lead()
    if case.world.there(case.kind) and "deletionTimestamp" in case.world.kube.resources[case.kind, "it"]["metadata"]:
        await case.until(case.world, lambda: not case.world.there(case.kind))
        await case.gone(case.world)
    elif case.world.there(case.kind):
        await case.until(case.world, case.over)
    await quiet(case)


async def deletes(case: Case) -> None:
    """The user deletes the resource."""
    case.lead()
    if case.world.there(case.kind):
        case.world.kube.delete(case.kind, case.world.now)
        await case.until(case.world, lambda: not case.world.there(case.kind))
    await case.gone(case.world)
    await quiet(case)


async def applies_again(case: Case) -> None:
    """The user changes the policy to Retain, deletes the resource and applies it again."""
    case.lead()
    if case.world.there(case.kind):
        resource = case.world.kube.resources[case.kind, "it"]
        case.apply(policy="Retain")
        if deleted := resource["metadata"].get("deletionTimestamp"):
            case.world.kube.resources[case.kind, "it"]["metadata"]["deletionTimestamp"] = deleted
        else:
            case.world.kube.delete(case.kind, case.world.now)
        await case.until(case.world, lambda: not case.world.there(case.kind))
    await case.gone(case.world)
    case.apply(OTHER, "Retain")
    case.lead()
    await case.until(case.world, case.over)
    await quiet(case)


async def quiet(case: Case) -> None:
    """Four rounds, after which the background loops have no work left."""
    for _ in range(4):
        await case.world.sweep()
        await _round(case, case.world)


STORIES: list[tuple[Work, Kind, str, Work]] = [
    (run, IMAGES, "Delete", goes_on),
    (run, TALKS, "Delete", goes_on),
    (run, IMAGES, "Delete", deletes),
    (run, TALKS, "Retain", applies_again),
    (deletion, IMAGES, "Delete", goes_on),
    (deletion, IMAGES, "Delete", applies_again),
    (deletion, IMAGES, "Retain", applies_again),
    (deletion_of_a_request, IMAGES, "Delete", goes_on),
    (deletion_of_a_request, IMAGES, "Delete", applies_again),
    (suspension, TALKS, "Retain", resumes),
    (sweep, IMAGES, "Delete", goes_on),
    (orphans, IMAGES, "Delete", goes_on),
    (orphans, IMAGES, "Retain", applies_again),
]


async def frozen_at(
    monkeypatch: pytest.MonkeyPatch, story: tuple[Work, Kind, str, Work], at: int
) -> tuple[Case, dict[str, Any]]:
    """Effects of a process after a pause before its operation `at`; none if it has fewer operations."""
    asyncio.get_running_loop().set_default_executor(INLINE)
    work, kind, policy, meanwhile = story
    case = Case(monkeypatch, kind, policy, at, meanwhile)
    await work(case)
    if case.freezer.left is None:
        return case, {}
    changed, name = effects(case.freezer.left, contents(case.world)), case.freezer.done[at]
    changed = {what: each for what, each in changed.items() if not allowed(name, what, *each)}
    if not case.world.there(case.kind) or case.ref.uid != UID:
        # Documents of a deleted resource have no reader left, and no other process wrote these.
        for what in (f"runs {UID}", f"worker_jobs {UID}"):
            if case.freezer.met.get(what) == case.freezer.left.get(what) is not None:
                changed.pop(what, None)
    return case, changed


def allowed(operation: str, what: str, before: Any, after: Any) -> bool:
    """Harmless effects."""
    if operation.startswith("mongo.request_bindings"):  # after a POST: stores its request id
        return what.startswith(("request_bindings", "ledger"))
    if what.startswith(("namespaces ", "clusters ")):  # uid of a namespace or cluster: created only
        return before is None
    # A provider checks no precondition. The cancellation was decided before, and a second one changes nothing.
    if operation == "provider.cancel":
        return what == "cancelled" and before == after[:1]
    # A try that the former leader has begun is taken back by its name, and its object is its own.
    if operation == "storage.put_evidence" and what.startswith("ledger "):
        return (before["sendState"], after["sendState"], after["endedBy"]) == ("sending", "planned", before["sentBy"])
    # Created only, under the id of a purchase or of its key, with the same content from every writer.
    created = ("storage.put_answer", "storage.put_marker", "storage.put_mark", "storage.put_evidence")
    return operation in created and _is_new_object(what, before)


def _is_new_object(what: str, before: Any) -> bool:
    return what.startswith("object purchases/") and before is None


@pytest.mark.parametrize(
    "story", STORIES, ids=lambda each: f"{each[0].__name__}-{each[1]}-{each[2]}-{each[3].__name__}"
)
async def test_a_former_leader_changes_nothing(
    story: tuple[Work, Kind, str, Work], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = dict[str, Any]()
    for at in range(1000):
        case, changed = await frozen_at(monkeypatch, story, at)
        if changed:
            found[f"{at} {case.freezer.done[at]}"] = changed
        if not case.freezer.frozen:
            break
    assert at > 2, "the process has done something"
    assert not found


@pytest.mark.parametrize("unrecorded", [False, True])
async def test_a_job_of_the_next_leader_is_not_stopped_late(unrecorded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A former leader that reads the Job's uid, in MongoDB or in Kubernetes, does not delete the Job."""
    asyncio.get_running_loop().set_default_executor(INLINE)
    case = Case(monkeypatch, TALKS, "Retain", 10_000, goes_on)
    while not case.world.kube.jobs:
        await case.look(case.world)
    (job,) = case.world.kube.jobs.values()
    former = FormerLeader(case.world, case.freezer)
    actor, lost = former.process.actor, former.leadership

    async def newest(*_: Any) -> RecordedJob | None:
        if unrecorded:
            return None
        lost.revoke("the Lease is another's")
        return await case.world.process.actor.jobs.by_uid(job["metadata"]["uid"])

    async def get_job(*_: Any) -> Any:
        lost.revoke("the Lease is another's")
        return job

    monkeypatch.setattr(actor.jobs, "newest", newest)
    monkeypatch.setattr(case.world.kube, "get_job", get_job)
    with pytest.raises(NotLeading):
        await actor._stop_job(case.ref, Plan(status=case.world.status(TALKS)))
    assert list(case.world.kube.jobs.values()) == [job]


# Compare-and-set, with another process's write between the read and the write


class Meanwhile:
    """Replacement of `Leadership.check`: the first call lets another process act, later calls fail unless `leads`."""

    def __init__(self, does: Callable[[], object] = lambda: None, *, leads: bool = False) -> None:
        self._does: Callable[[], object] | None = does
        self._leads = leads
        self.asked = 0

    def __call__(self) -> None:
        self.asked += 1
        does, self._does = self._does, None
        if does is not None:
            does()
        elif not self._leads:
            raise NotLeading("the Lease is another's")


DISCARD = DeletionTombstone(uid=UID, prefixes=(), job_ids=(UID,))


class Plain:
    plain_url = staticmethod(lambda key: f"https://s3/{key}")


def database() -> Any:
    return mongomock.MongoClient(tz_aware=True)["db"]


def records(jobs: Any, check: Callable[[], None]) -> RecordStore:
    storage: Any = Plain()
    return RecordStore(jobs, storage, check)


async def completed(monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Resource]:
    """Collection with the record of a finished resource, and that resource."""
    asyncio.get_running_loop().set_default_executor(INLINE)
    world = World(monkeypatch, Writes())
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES)
    return world.database["jobs"], Resource.parse(IMAGES, world.kube.resources[IMAGES, "it"])


@pytest.mark.parametrize(
    "change",
    [
        {"$inc": {"revision": 1}},
        {"$set": {"status": "cancelled"}},
        {"$set": {"message": "another"}},
        {"$set": {"discard": {"uid": UID}}},  # by the gateway
    ],
)
async def test_record_written_by_another_process_is_not_overwritten(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, resource = await completed(monkeypatch)
    late = records(jobs, Meanwhile(lambda: jobs.update_one({}, change)))
    left = jobs.find_one()
    with pytest.raises(Conflict, match="was changed"):
        await late.write(resource, resource.status)
    assert jobs.find_one() != left, "the other process has changed it"
    revision = left["revision"] + change.get("$inc", {}).get("revision", 0)
    assert jobs.find_one()["revision"] == revision, "and nobody else"


async def test_a_record_that_a_former_leader_creates_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, resource = await completed(monkeypatch)
    jobs.delete_many({})
    with pytest.raises(NotLeading):
        await records(jobs, Meanwhile()).write(resource, resource.status)
    assert list(jobs.find()) == []
    with pytest.raises(NotLeading):
        await records(jobs, Meanwhile()).mark_discarded(DISCARD)
    assert list(jobs.find()) == []


async def test_late_mark_spares_a_record_kept_by_the_next_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    """A resource being deleted was edited from Delete to Retain."""
    jobs, _ = await completed(monkeypatch)
    kept = records(jobs, unchecked)
    with pytest.raises(Conflict):
        await records(jobs, Meanwhile(lambda: blocking(kept.end)(UID))).mark_discarded(DISCARD)
    assert await kept.marks(9) == []


async def test_record_adopted_by_another_resource_is_not_marked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs, resource = await completed(monkeypatch)
    mine = {name: jobs.find_one()[name] for name in ("namespace", "tenant", "type")}
    jobs.insert_one(mine | {"jobId": "earlier"})
    version = resource.status.versions[0].model_copy(update={"job_id": "earlier"})
    status = resource.status.model_copy(update={"versions": (version,)})
    newer = {"$set": {"adoptedBy": "newer"}}
    with pytest.raises(Conflict):
        await records(jobs, Meanwhile(lambda: jobs.update_one({"jobId": "earlier"}, newer))).write(resource, status)
    assert jobs.find_one({"jobId": "earlier"})["adoptedBy"] == "newer"


KEY = PurchaseKey(namespace="ns", kind=IMAGES, name="it", run_hash="h", rerun=None, attempt=1)
NOW = datetime(2026, 11, 21, tzinfo=UTC)


def purchase(job_id: str, **changes: Any) -> Purchase:
    given: dict[str, Any] = {
        "purchase_id": f"p-{job_id}", "state": PurchaseState.INTENT, "send_state": SendState.PLANNED, "job_id": job_id,
        "provider": "fal", "model": "m", "correlation_key": "x", "created_at": NOW, "changed_at": NOW,
    }  # fmt: skip
    return Purchase(**(given | changes))


async def test_purchase_planned_by_another_process_is_not_taken() -> None:
    store = database()["ledger"]
    await Ledger(store).intend(KEY, purchase("new"))
    with pytest.raises(NotLeading):
        await Ledger(store, _raises).intend(KEY, purchase("old"))
    assert store.find_one()["jobId"] == "new"


async def test_a_purchase_that_a_former_leader_plans_is_taken_back() -> None:
    store = database()["ledger"]
    with pytest.raises(NotLeading):
        await Ledger(store, _raises).intend(KEY, purchase("old"))
    assert store.find_one() is None


async def test_purchase_planned_by_the_next_leader_is_not_withdrawn() -> None:
    """Its id may be in a status, and a purchase that a status names and the ledger lacks may have been paid."""
    store = database()["ledger"]

    def next_leader_plans() -> None:
        later = purchase("it", changed_at=NOW + timedelta(seconds=20), purchase_id="p-later")
        assert blocking(Ledger(store).intend)(KEY, later)
        raise NotLeading("the Lease is another's")

    with pytest.raises(NotLeading):
        await Ledger(store, next_leader_plans).intend(KEY, purchase("it"))
    kept = store.find_one()
    assert (kept["purchaseId"], kept["sendState"]) == ("p-it", "planned"), "the id that the bucket may have"


async def test_finished_purchases_are_not_taken_over_late() -> None:
    """Our finalizer reserved the name at the decision; another resource may use it now."""
    store = database()["ledger"]
    outputs = {"jobId": "first"}
    bought = purchase("newer", state=PurchaseState.COLLECTED, send_state=None, outputs=outputs)
    await Ledger(store).intend(KEY, bought)
    with pytest.raises(NotLeading):
        await Ledger(store, _raises).take_over("ns/ImageGeneration/it/", ["first"], "old")
    with pytest.raises(NotLeading):
        await Ledger(store, _raises).discard("newer")
    (kept,) = store.find()
    assert (kept["jobId"], kept["state"]) == ("newer", "collected")


@pytest.mark.parametrize("change", [{"orphanedAt": NOW}, {"discardAsked": True}])
async def test_an_adoption_is_compared_with_what_became_of_an_orphan(change: dict[str, Any]) -> None:
    store = database()["ledger"]
    seen = purchase("gone", state=PurchaseState.SUBMITTED, send_state=None)
    await Ledger(store).intend(KEY, seen)
    store.update_one({}, {"$set": change})
    assert not await Ledger(store).adopt(KEY, seen, "old")
    assert store.find_one()["jobId"] == "gone"
    assert await Ledger(store).adopt(KEY, await Ledger(store).get(KEY) or seen, "new")


async def test_purchase_planned_anew_is_not_sent_by_a_stale_reader() -> None:
    store = database()["ledger"]
    await Ledger(store).intend(KEY, purchase("mine", changed_at=NOW + timedelta(hours=1)))
    assert await Ledger(store).send(KEY, purchase("mine"), NOW, NOW) is None
    assert store.find_one()["sendState"] == "planned"


def _raises() -> None:
    raise NotLeading("the Lease is another's")


async def test_the_job_of_the_next_leader_stays_its_resources_newest() -> None:
    jobs = database()["worker_jobs"]
    ref = ResourceRef(kind=IMAGES, namespace="ns", name="it", uid=UID)

    def job(uid: str) -> RecordedJob:
        return RecordedJob(uid=uid, name=uid, owner=ref, run=1, stage=Stage.COLLECT, attempt=1, created_at=NOW)

    with pytest.raises(NotLeading):
        await WorkerJobs(jobs, Meanwhile()).record(job("first"))
    assert jobs.find_one() is None, "it is taken back"
    await WorkerJobs(jobs).record(job("first"))
    next_one = Meanwhile(lambda: blocking(WorkerJobs(jobs).record)(job("next")))
    with pytest.raises(Conflict, match="another Job"):
        await WorkerJobs(jobs, next_one).record(job("late"))
    assert jobs.find_one()["uid"] == "next"


async def test_run_document_is_withdrawn_only_as_it_was_read() -> None:
    store = database()["runs"]
    document = RunDocument(uid=UID, namespace="ns", kind=IMAGES, name="it")
    with pytest.raises(NotLeading):
        await RunDocuments(store, _raises).put(document)
    assert store.find_one() is None
    await RunDocuments(store).put(document)
    await RunDocuments(store, Meanwhile(lambda: store.update_one({}, {"$set": {"revision": 7}}))).forget([UID])
    assert store.find_one()["revision"] == 7


async def test_charges_are_not_written_late() -> None:
    asked = Unsettled(
        key=str(KEY), purchase_id="p", request_id="019f7096-0000-7000-8000-000000000001", provider="fal",
        model="m", created_at=NOW - timedelta(days=1), ended_at=NOW - timedelta(days=1),
    )  # fmt: skip
    done: list[str] = []

    class Memory:
        async def unsettled(self, *_: Any) -> tuple[Unsettled, ...]:
            return (asked,)

        async def settle(self, *_: Any) -> bool:
            done.append("settle")
            return True

        async def put_off(self, *_: Any) -> None:
            done.append("put off")

        def key(self) -> str:
            return "a key"

        async def charges(self, batch: Any) -> dict[str, int]:
            return {each.request_id: 7 for each in batch}

    memory: Any = Memory()
    with pytest.raises(NotLeading):
        await ChargeSettlement(memory, {asked.billed: memory}, clock=lambda: NOW, check=_raises).round()
    assert done == []
    await ChargeSettlement(memory, {asked.billed: memory}, clock=lambda: NOW).round()
    assert done == ["settle"]
    store = database()["ledger"]
    mine = {"_id": str(KEY), "requestId": asked.request_id, "state": "collected", "billedMicros": None}
    store.insert_one(mine | {"billingDueAt": NOW})
    await Charges(store).put_off(asked, NOW - timedelta(hours=1))
    assert store.find_one()["billingDueAt"] == NOW, "it was put off since"


def test_an_administrators_word_on_a_binding_stays() -> None:
    """The change was made between the binding and the read of the other clusters."""
    db = database()
    db["namespaces"].insert_one({"_id": "here/ns", "scope": "", "takenBy": None, "revision": 2})
    db["clusters"].insert_one({"_id": "here", "takenBy": "there"})
    tenancy = Tenancy(cast("Any", None), db)
    tenancy._give_way("here", "ns", {"_id": "here/ns", "scope": "", "revision": 1})
    assert db["namespaces"].find_one()["takenBy"] is None
    tenancy._give_way("here", "ns", {"_id": "here/ns", "scope": "", "revision": 2})
    assert db["namespaces"].find_one()["takenBy"] == "there"


# Workers


def worker_api(check: Callable[[], None], storage: Any = None) -> WorkerApi:
    """Worker API without dependencies: a request for them fails."""
    none = cast("Any", None)
    return WorkerApi(
        authenticator=none, storage=storage, ledger=none, reports=Reports(), settings=none, wake=none, verifier=none,
        check=check,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/order"), ("POST", "/v1/progress"), ("POST", "/v1/uploads"), ("POST", "/v1/outcome")],
)
async def test_a_former_leader_serves_no_worker(method: str, path: str) -> None:
    """The worker retries after 5 seconds and reaches the next leader."""
    transport = httpx.ASGITransport(create_app(worker_api(_raises)))
    async with httpx.AsyncClient(transport=transport, base_url="http://worker-api") as client:
        answer = await client.request(method, path, headers={"Authorization": "Bearer a"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


async def test_files_are_not_removed_late() -> None:
    """Files listed as left by an earlier attempt may have been stored by a worker since."""
    removed: list[Any] = []

    class Bucket:
        async def leftovers(self, *_: Any) -> Leftovers:
            return Leftovers(stale=(("key", "null"),))

        async def remove(self, *given: Any) -> None:
            removed.append(given)

    assignment: Any = SimpleNamespace(
        owner=None,
        prefix="",
        job=SimpleNamespace(uid="j"),
        resource=SimpleNamespace(ref=SimpleNamespace(namespace="n")),
    )
    with pytest.raises(NotLeading):
        await worker_api(_raises, Bucket())._without_leftovers(assignment, ())
    assert removed == []
    await worker_api(unchecked, Bucket())._without_leftovers(assignment, ())
    assert len(removed) == 1


async def test_outcome_heard_by_the_former_leader_is_read_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Reports are only in memory, but the outcome is stored in the bucket before the report."""
    case = Case(monkeypatch, TALKS, "Retain", 10_000, goes_on)
    asyncio.get_running_loop().set_default_executor(INLINE)
    while not case.world.kube.jobs:
        await case.look(case.world)
    (job,) = case.world.kube.jobs.values()
    case.world._leave_outcome(TALKS, Stage.PREPARE, case.world.status(TALKS))
    case.world.process.observer.reports.note_finished(job["metadata"]["uid"])
    case.lead()
    await case.look(case.world)
    assert case.world.status(TALKS).phase is Phase.PREPARING, "nobody has told the next leader"
    job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    for cache in case.world.caches:
        cache.note_job(case.ref, JobView.parse(job))
    await case.until(case.world, case.completed)
    assert len(case.world.provider.posts) == 1
    run = case.world.status(TALKS).run
    assert run is not None
    assert run.stage_attempt == 1
