"""Limits by the Lease: payments, the work of a standby, and the election thread."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from aiohttp import ClientConnectionError
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.api_paths import LEASES
from contentgen_contract.names import Kind, Phase
from contentgen_operator import __main__ as program
from contentgen_operator.fairness.work_queue import WorkQueue
from contentgen_operator.leader.election import LeaderTerm, Lease, Record, Timing
from contentgen_operator.leader.elector import KubeLease, LeaseStore
from contentgen_operator.leader.leadership import Leadership, NotLeading
from contentgen_operator.leader.tasks import LeaderTasks
from contentgen_operator.leader.thread import ElectionThread, LeaseSettings, identity
from contentgen_operator.settings import Settings
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.purchases import PurchaseKey
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.worker_api.tls import WorkerApiTls
from contentgen_runtime.kube import Conflict, KubeApi
from contentgen_simulation.world import SPECS, World, Writes, nothing

IMAGES = Kind.IMAGE_GENERATION
REF = ResourceRef(kind=IMAGES, namespace="ns", name="one", uid="u1")
FREE = Lease("u", "1", Record("", 1, "t", "t", 3))


class Script(Leadership):
    """Leadership that is certain for the listed seconds at each check before a POST, then lost."""

    is_leader = True

    def __init__(self, *seconds_left: float) -> None:
        super().__init__()
        self.asked = list[float]()
        self._left = list(seconds_left)

    def require(self, seconds: float = 0.0) -> None:
        self.asked.append(seconds)
        left = self._left.pop(0) if self._left else 0.0
        if left < seconds or not left:
            raise NotLeading("the Lease is another's")


async def until_it_would_pay(world: World) -> None:
    for _ in range(10):
        await world.reconcile(IMAGES)


@pytest.mark.parametrize("left", [(), (1.9,), (10.0, 0.0), (10.0, 0.9)])
async def test_process_without_the_lease_sends_nothing(
    left: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it is lost after the compare-and-set: then the purchase is planned again."""
    world = World(monkeypatch, Writes())
    world.leadership = script = Script(*left)
    world.restart()
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await until_it_would_pay(world)
    (kept,) = world.database["ledger"].find()
    assert script.asked[: len(left)] == [2.0, 1.0][: len(left)]
    assert (world.provider.posts, kept["state"], kept["sendState"], kept["sentBy"]) == ([], "intent", "planned", None)
    world.leadership = Leadership.always()
    world.restart()
    await world.finish(IMAGES)
    assert len(world.provider.posts) == 1


async def test_send_withdrawn_by_a_frozen_leader_needs_no_person(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next leader has reported a search for the request in the meantime."""
    world = World(monkeypatch, Writes())
    world.leadership = Script()
    world.restart()
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await until_it_would_pay(world)
    former = Ledger(world.database["ledger"])
    (document,) = world.database["ledger"].find()
    run_hash = document["_id"].split("/")[3]
    key = PurchaseKey(namespace="ns", kind=IMAGES, name="it", run_hash=run_hash, rerun=None, attempt=1)
    purchase = await former.get(key)
    assert purchase is not None
    sent_by = await former.send(key, purchase, world.now)
    assert sent_by is not None
    world.leadership = Leadership.always()
    world.restart()
    await world.finish(IMAGES, Phase.SUBMISSION_UNKNOWN)
    await former.withdraw(key, sent_by)
    await world.finish(IMAGES)
    assert len(world.provider.posts) == 1


async def test_a_purchase_that_was_changed_meanwhile_is_not_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Writes())
    ledger = world.database["ledger"]

    class Lost(Script):
        def require(self, seconds: float = 0.0) -> None:
            if len(self.asked) == 1:
                ledger.update_many({}, {"$set": {"sendState": "abandoned"}})
            super().require(seconds)

    world.leadership = Lost(10.0, 0.0)
    world.restart()
    world.kube.apply(IMAGES, SPECS[IMAGES])
    for _ in range(10):
        await world.reconcile(IMAGES)
        if (found := ledger.find_one({})) and found["sendState"] == "abandoned":
            break
    assert ledger.find_one({})["sendState"] == "abandoned"
    assert world.provider.posts == []


async def test_expired_lease_allows_only_the_note_of_a_post(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, Writes())
    world.kube.apply(IMAGES, SPECS[IMAGES])

    async def lost() -> None:
        world.leadership.revoke("the Lease is another's")
        world.writes.done.clear()

    world.provider.sending = lost
    for _ in range(10):
        await world.reconcile(IMAGES)
    assert world.writes.done == ["POST", "bind request", "move to submitted"]
    (kept,) = world.database["ledger"].find()
    assert (kept["state"], kept["requestId"]) == ("submitted", "request-1")
    world.leadership = Leadership.always()
    world.restart()
    world.provider.sending = nothing
    await world.finish(IMAGES)
    assert len(world.provider.posts) == 1


async def test_a_process_that_does_not_lead_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Writes())
    world.leadership = Leadership()
    world.restart()
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await until_it_would_pay(world)
    assert world.writes.done == []


class Losing(Writes):
    """Leadership that is lost after the n-th write of the process."""

    def __init__(self, after: int, lose: Callable[[], None]) -> None:
        super().__init__()
        self._after = after
        self._lose = lose

    async def __call__(self, name: str, write: Callable[[], Awaitable[Any]]) -> Any:
        result = await super().__call__(name, write)
        if len(self.done) == self._after:
            self._lose()
        return result


@pytest.mark.parametrize("after", range(1, 40))
async def test_lost_lease_allows_only_compared_writes(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other writes record only the uid of an existing Job and the id of an existing request."""
    world = World(monkeypatch, Losing(after, lambda: world.leadership.revoke("the Lease is another's")))
    world.leadership = Leadership()
    world.leadership.grant(LeaderTerm(float("-inf"), float("inf")))
    world.restart()
    world.kube.apply(IMAGES, SPECS[IMAGES])
    for _ in range(40):
        if world.leadership.over:
            break
        await world.reconcile(IMAGES)
    compared = {"marker", "content", "evidence", "run document", "finalizers", "status", "event"}  # or created only
    noted = {"POST": {"bind request"}, "job": {"job record"}}
    last, *others = world.writes.done[after - 1 :] or ["none"]
    assert {text for text in others if not text.startswith("move to ")} <= compared | noted.get(last, set())
    world.leadership = Leadership.always()
    world.restart()
    await world.finish(IMAGES)
    assert len(world.provider.posts) == 1


# The work of the leader


class Served:
    """Server that runs until it is stopped."""

    def __init__(self) -> None:
        self.should_exit = False
        self.serving = asyncio.Event()

    async def serve(self) -> None:
        self.serving.set()
        while not self.should_exit:  # noqa: ASYNC110 - uvicorn has an attribute and no event
            await asyncio.sleep(0)


async def test_standby_does_nothing_and_a_new_leader_resumes() -> None:
    elected, looked, server = asyncio.Event(), list[ResourceRef](), Served()
    looped = asyncio.Event()

    async def look(ref: ResourceRef) -> None:
        looked.append(ref)

    async def wait() -> None:
        await elected.wait()

    async def loop() -> None:
        looped.set()
        await asyncio.Event().wait()

    queue = WorkQueue(look)
    subject = LeaderTasks(wait, queue, lambda: (REF,))
    running = asyncio.create_task(subject.run(server, (loop,)))
    await subject.wake(REF.model_copy(update={"name": "finished meanwhile"}))
    await asyncio.sleep(0)
    assert (len(queue), server.serving.is_set(), looped.is_set(), subject.tasks) == (0, False, False, [])
    elected.set()
    await server.serving.wait()
    await looped.wait()
    await subject.wake(REF.model_copy(update={"name": "later"}))
    while len(looked) < 2:  # noqa: ASYNC110 - one turn of the loop each
        await asyncio.sleep(0)
    assert [each.name for each in looked] == ["one", "later"]
    subject.stop_others()
    await asyncio.wait({running})
    assert [task.done() for task in subject.tasks[-1:]] == [False], "the queue is drained first"
    subject.stop()
    await asyncio.wait(subject.tasks)


async def test_an_end_that_nobody_asked_for_is_the_end_of_the_process() -> None:
    async def now() -> None:
        """Elected immediately."""

    async def broken() -> None:
        raise ZeroDivisionError

    subject = LeaderTasks(now, WorkQueue(lambda _: now()), lambda: ())
    with pytest.raises(ZeroDivisionError):
        await subject.run(Served(), (broken,))
    subject.stop()
    await asyncio.wait(subject.tasks)


# The thread


class Shelf:
    """Lease in memory."""

    def __init__(self, lease: Lease | None) -> None:
        self.lease = lease

    async def read(self) -> Lease | None:
        return self.lease

    async def write(self, lease: Lease | None, record: Record) -> Lease:
        if lease != self.lease:
            raise Conflict("changed")
        self.lease = Lease("u", str(int(lease.version if lease else "0") + 1), record)
        return self.lease

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[LeaseStore]:
        yield self


async def test_the_thread_leads_and_releases_at_the_end() -> None:
    shelf, leadership = Shelf(FREE), Leadership()
    election = ElectionThread(shelf.connected, leadership, "me", Timing())
    election.start()
    await election.elected()
    leadership.require(8.0)
    assert shelf.lease is not None
    assert (shelf.lease.record.holder, shelf.lease.record.transitions) == ("me", 4)
    await election.release()
    await election.lost()
    assert (shelf.lease.record.holder, shelf.lease.record.transitions) == ("", 4)
    with pytest.raises(NotLeading, match="released"):
        leadership.require()


async def test_the_thread_tells_that_the_lease_is_lost() -> None:
    shelf, leadership = Shelf(FREE), Leadership()
    election = ElectionThread(shelf.connected, leadership, "me", Timing(0.6, 0.4, 0.02))
    election.start()
    await election.elected()
    shelf.lease = Lease("u", "99", Record("thief", 15, "t", "t", 5))
    await election.lost()
    assert "thief" in leadership.over
    await election.release()
    assert shelf.lease.record.holder == "thief"


async def test_without_a_connection_the_election_ends() -> None:
    @asynccontextmanager
    async def broken() -> AsyncIterator[LeaseStore]:
        raise OSError("no credentials")
        yield

    leadership = Leadership()
    election = ElectionThread(broken, leadership, "me", Timing())
    election.start()
    await election.lost()
    assert leadership.over == "the election has failed"


def test_each_start_has_an_identity_of_its_own() -> None:
    assert identity() != identity()


# Kubernetes


class Api(KubeApi):
    """Server with prepared responses."""

    def __init__(self, answer: dict[str, Any] | int) -> None:
        super().__init__()
        self.answer = answer
        self.asked = list[tuple[str, dict[str, Any] | None]]()

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        assert path.startswith("/apis/coordination.k8s.io/v1/namespaces/ops/leases")
        self.asked.append((method, body))
        if isinstance(self.answer, int):
            raise ApiException(status=self.answer)
        return self.answer


BODY = {
    "apiVersion": LEASES.api_version,
    "kind": "Lease",
    "metadata": {"name": "contentgen", "namespace": "ops", "uid": "u", "resourceVersion": "7"},
    "spec": {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "acquireTime": "t0",
        "renewTime": "t1",
        "leaseTransitions": 2,
    },
}
HELD = Lease("u", "7", Record("me", 15, "t0", "t1", 2))


async def test_each_write_of_the_lease_names_its_version() -> None:
    api = Api(BODY)
    subject = KubeLease(api, "ops", "contentgen")
    assert await subject.read() == HELD
    assert await subject.write(HELD, HELD.record) == HELD
    assert await subject.write(None, HELD.record) == HELD
    assert api.asked == [
        ("GET", None),
        ("PATCH", {"metadata": {"resourceVersion": "7"}, "spec": BODY["spec"]}),
        ("POST", {k: v for k, v in BODY.items() if k != "metadata"} | {"metadata": {"name": "contentgen"}}),
    ]


@pytest.mark.parametrize("code", [404, 409])
async def test_a_write_over_another_version_or_none_is_a_conflict(code: int) -> None:
    with pytest.raises(Conflict):
        await KubeLease(Api(code), "ops", "contentgen").write(HELD, HELD.record)


async def test_leader_tasks_may_be_empty() -> None:
    assert await KubeLease(Api(404), "ops", "contentgen").read() is None


class Certificate:
    """Fails with the given errors."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    async def refresh(self) -> float:
        if self.errors:
            raise self.errors.pop(0)
        return 7.0


async def test_a_start_waits_for_the_api_server_and_a_stop_ends_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that lost its Lease while the API server was unavailable is restarted while it still is."""
    monkeypatch.setattr(program, "_START_SECONDS", 0.0)
    stop = asyncio.Event()
    away = (ClientConnectionError("away"), TimeoutError(), ApiException(status=503))
    assert await program.first_certificate(cast("WorkerApiTls", Certificate(*away)), stop) == 7.0
    with pytest.raises(ApiException):
        await program.first_certificate(cast("WorkerApiTls", Certificate(ApiException(status=403))), stop)
    stop.set()
    assert await program.first_certificate(cast("WorkerApiTls", Certificate(TimeoutError())), stop) is None


def test_settings_with_unsafe_times_are_refused() -> None:
    assert Settings().lease.timing == Timing()
    with pytest.raises(ValueError, match="lease duration"):
        LeaseSettings(seconds=10, renew_seconds=10)


def test_a_term_covers_its_beginning_and_not_its_end() -> None:
    term = LeaderTerm(1.0, 2.0)
    assert [term.covers(at) for at in (0.9, 1.0, 1.9, 2.0)] == [False, True, True, False]
