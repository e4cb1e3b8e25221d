"""Attacks on several installations, two replicas and selected namespaces: found by reading the documents alone."""

import asyncio
import copy
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

import pytest
import stamina

from contentgen_contract.advice.remedies import REASONS
from contentgen_contract.names import FINALIZER, GROUP, RESUBMIT_ANNOTATION, Kind, Phase, Reason
from contentgen_contract.resources.namespaces import LabelSelector
from contentgen_operator.background.releases import NamespaceReleases
from contentgen_operator.fairness.work_queue import WorkQueue
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.cache import Cache
from contentgen_operator.kube.selection import Selection
from contentgen_operator.leader import tasks
from contentgen_operator.leader.leadership import Leadership
from contentgen_operator.leader.tasks import LeaderTasks
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.watch.event_handlers import EventHandlers
from contentgen_operator.worker_api.reports import Reports
from contentgen_runtime.namespaces import Namespaces
from contentgen_simulation.api_server import rejection
from contentgen_simulation.gateway.cluster import WritableWorld
from contentgen_simulation.installations import BATCH, Installations
from contentgen_simulation.world import SPECS, UID, World, Writes, resubmit_token

IMAGE = Kind.IMAGE_GENERATION
HEIR = "1c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a02"


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch, shared: bool) -> Iterator[Installations]:
    with stamina.set_testing(True, attempts=8):
        installations = Installations(monkeypatch, shared=shared)
        if shared:  # and with them the provider's account
            installations.second.provider = installations.first.provider
            installations.second.restart()
        yield installations


async def rounds(two: Installations, count: int, *, every: timedelta = timedelta(minutes=20)) -> None:
    """Both installations look for orphans."""
    for _ in range(count):
        two.first.now = max(world.now for world in two.all) + every
        for each in two.all:
            each.now = two.first.now
            await each.orphans[-1].round(each.now)


def states(two: Installations) -> list[str]:
    return [str(purchase["state"]) for purchase in two.first.database["ledger"].find()]


@pytest.mark.parametrize("shared", [True, False], ids=["shared stores", "different stores"])
@pytest.mark.parametrize("to", [BATCH, "night"], ids=["another class", "a class that nobody serves"])
@pytest.mark.parametrize("lost", [False, True], ids=["submitted", "reply lost"])
async def test_request_is_followed_after_a_move_to_another_class(
    two: Installations, to: str, shared: bool, lost: bool
) -> None:
    """A provider that does not cancel completes after the deletion; the installation that paid stores the response."""
    two.first.provider.cancels = False
    if lost:
        two.first.provider.lose_replies = {1}
    two.apply(IMAGE)
    for _ in range(40):
        if states(two) == (["intent"] if lost else ["submitted"]) and two.first.provider.posts:
            break
        await two.first.reconcile(IMAGE)
    two.body(IMAGE)["metadata"]["finalizers"] = []  # taken off by hand, or by the grace period
    del two.first.kube.resources[IMAGE, "it"]
    two.apply(IMAGE, to, uid=HEIR)
    await rounds(two, 40)
    assert set(states(two)) <= {"succeeded", "collected"}, "its answer is stored"
    await two.go_on(IMAGE)
    await rounds(two, 4, every=timedelta(days=40))
    assert set(states(two)) <= {"succeeded", "collected"}, "and kept"
    if to == BATCH and shared:
        assert (len(two.first.provider.posts), two.status(IMAGE).phase) == (1, Phase.COMPLETED)


# Two replicas


class Idle:
    """Server that receives no requests."""

    should_exit = False

    async def serve(self) -> None:
        await asyncio.Event().wait()


class Standby:
    """Standby process that receives watch events, and leads from the call of `leads` on."""

    def __init__(self) -> None:
        self.worked: list[str] = []
        self.elected = asyncio.Event()
        self.queue: WorkQueue[ResourceRef] = WorkQueue(self._work)
        cache = Cache()
        self.tasks = LeaderTasks(self.elected.wait, self.queue, cache.refs)
        self.handlers = EventHandlers(cache, self.tasks.wake, Reports(), on_deleted=self.tasks.deleted)

    async def _work(self, ref: ResourceRef) -> None:
        self.worked.append(ref.name)

    async def sees(self, name: str, *, deleted: bool) -> None:
        meta = {"namespace": "ns", "name": name, "uid": f"uid-of-{name}", "resourceVersion": "1", "generation": 1}
        body = {"metadata": meta, "spec": {}, "status": {"phase": "Preparing"}}
        await self.handlers.resource(IMAGE, body, deleted=deleted)

    async def leads(self) -> list[str]:
        """Become the leader and return the names of the processed resources, sorted."""
        running = asyncio.create_task(self.tasks.run(Idle(), []))
        self.elected.set()
        for _ in range(20):
            await asyncio.sleep(0)
        running.cancel()
        self.tasks.stop()
        return sorted(self.worked)


async def test_deletion_without_a_leader_is_handled_by_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The record would stay `processing` otherwise, because the watch delivers a deletion only once."""
    clock = [1000.0]
    monkeypatch.setattr(tasks, "monotonic", lambda: clock[0])
    standby = Standby()
    for name in ("long-ago", "one", "two"):
        await standby.sees(name, deleted=False)
    await standby.sees("long-ago", deleted=True)  # processed by the leader of that time
    clock[0] += 3600
    await standby.sees("one", deleted=True)
    clock[0] += 20
    assert await standby.leads() == ["one", "two"]


async def test_a_standby_remembers_a_bounded_number_of_deletions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_MOST_RECENT", 2)
    standby = Standby()
    for name in ("one", "two", "three"):
        await standby.sees(name, deleted=True)
    assert await standby.leads() == ["three", "two"]


async def test_former_leader_releases_nothing_in_a_selected_namespace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The former leader freezes before the labels return; the next leader has a request in flight."""
    world = World(monkeypatch, Writes())
    world.kube.apply(IMAGE, SPECS[IMAGE])
    await world.finish(IMAGE, Phase.PROCESSING)
    body = world.kube.resources[IMAGE, "it"]
    assert body["metadata"]["finalizers"] == [FINALIZER]
    stale = Namespaces(selector=LabelSelector(match_labels={"a": "b"}))
    stale.known.set()
    former = Leadership.always()
    leaving = NamespaceReleases(cast("Kube", world.kube), Selection(namespaces=stale), former.check)
    leaving.note(ResourceRef(kind=IMAGE, namespace="ns", name="it", uid=UID), body)
    read = world.kube.get_resource

    async def thawed(*asked: Any) -> Any:
        former.revoke("the Lease is another's")
        return await read(*asked)

    monkeypatch.setattr(world.kube, "get_resource", thawed)
    await leaving.release()
    assert body["metadata"]["finalizers"] == [FINALIZER]


# Resources that move between classes


async def test_run_of_another_installation_is_a_named_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message about backups alone would lead to a restore or a second payment instead of resetting the class."""
    first, second = World(monkeypatch, Writes()), World(monkeypatch, Writes())
    second.kube = first.kube
    second.restart()
    first.kube.apply(IMAGE, SPECS[IMAGE])
    await first.finish(IMAGE, Phase.PROCESSING)
    second.now = first.now
    for _ in range(5):
        await second.reconcile(IMAGE)
    told = second.status(IMAGE)
    assert (told.reason, len(first.provider.posts), second.provider.posts) == (Reason.STORES_DISAGREE, 1, [])
    assert "an installation with another MongoDB began the run" in (told.message or "")
    assert "kubectl get operatorclasses" in REASONS[Reason.STORES_DISAGREE].where_to_look
    first.now = second.now
    first.restart()
    assert ((await first.finish(IMAGE)).phase, len(first.provider.posts)) == (Phase.COMPLETED, 1), "given back"


async def test_unpaid_run_of_another_installation_waits_for_a_person(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Known limit: no operator can see that the other one has not paid, so a person must confirm the payment."""
    first, second = World(monkeypatch, Writes()), World(monkeypatch, Writes())
    second.kube = first.kube
    second.restart()
    first.kube.apply(Kind.TRANSCRIPTION, SPECS[Kind.TRANSCRIPTION])
    await first.finish(Kind.TRANSCRIPTION, Phase.PREPARING)
    second.now = first.now
    for _ in range(5):
        await second.reconcile(Kind.TRANSCRIPTION)
    first.now = second.now
    first.restart()
    for _ in range(60):
        await first.reconcile(Kind.TRANSCRIPTION)
    status = first.status(Kind.TRANSCRIPTION)
    assert (status.phase, status.reason) == (Phase.SUBMISSION_UNKNOWN, Reason.STORES_DISAGREE)
    assert (len(first.provider.posts), len(second.provider.posts)) == (0, 0)
    allowed = {RESUBMIT_ANNOTATION: resubmit_token(status)}
    first.kube.apply(Kind.TRANSCRIPTION, SPECS[Kind.TRANSCRIPTION], **allowed)
    await first.finish(Kind.TRANSCRIPTION)
    assert first.status(Kind.TRANSCRIPTION).phase is Phase.COMPLETED
    assert (len(first.provider.posts), len(second.provider.posts)) == (1, 0)


@pytest.mark.parametrize("shared", [False])
async def test_deletion_in_an_unserved_class_ends_after_the_move_back(
    two: Installations,
) -> None:
    """Known limit, see docs/install.md: no operator removes the finalizer while the class is unserved."""
    two.apply(IMAGE, deletionPolicy="Delete")
    await two.go_on(IMAGE)
    assert two.body(IMAGE)["metadata"]["finalizers"] == [FINALIZER]
    two.apply(IMAGE, "night", deletionPolicy="Delete")
    two.first.kube.delete(IMAGE, two.first.now)
    await two.go_on(IMAGE)
    assert two.body(IMAGE)["metadata"]["finalizers"] == [FINALIZER]
    two.apply(IMAGE, deletionPolicy="Delete")
    await two.first.until_gone(IMAGE)


# Gateways of two installations over one database


ORDER = {"audioUrl": "https://example.com/podcast.mp3", "namespace": "red"}


def beside(first: WritableWorld, monkeypatch: pytest.MonkeyPatch, *unreadable: str, **settings: Any) -> WritableWorld:
    """Gateway of another installation, without rights in some namespaces."""
    other = WritableWorld(beside=first, **settings)
    api = copy.copy(first.api)

    async def call(method: str, path: str, body: Any = None) -> Any:
        if path.startswith(f"/apis/{GROUP}/") and any(f"/namespaces/{each}/" in path for each in unreadable):
            raise rejection(403, "forbidden")
        return await first.api.call(method, path, body)

    monkeypatch.setattr(api, "call", call)
    monkeypatch.setattr(other.dependencies.creations.resources, "_kube", api)
    return other


@pytest.mark.parametrize("who", ["ann", "bob"])
async def test_job_of_a_foreign_namespace_looks_missing(who: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The response does not reveal the job's namespace, whether or not the caller has rights there."""
    first = WritableWorld(("ann", "*", "*", "red"), ("bob", "*", "*", "blue"))
    second = beside(first, monkeypatch, "red", watch_namespaces=("blue",))
    made = await first.client("ann").post("/api/transcribe", json=ORDER)
    answer = await second.client(who).get(made.headers["location"])
    assert (answer.status_code, "red" in answer.text) == (404, False)


async def test_a_new_job_of_another_class_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    first = WritableWorld(("ann", "*", "*", "red"))
    second = beside(first, monkeypatch, operator_class=BATCH)
    made = await first.client("ann").post("/api/transcribe", json=ORDER)
    assert (await second.client("ann").get(made.headers["location"])).status_code == 404
    assert second.dependencies.live.get(made.json()["jobId"]) is None, "no watch would tell of its end"
