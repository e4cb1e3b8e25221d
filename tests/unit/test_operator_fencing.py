"""A former leader, frozen before any of its I/O operations, changes nothing once another process has led and worked."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import stamina

from contentgen_contract.names import Kind, Phase
from contentgen_operator.leading.leadership import Leadership, NotLeading
from contentgen_operator.observed import ResourceRef
from contentgen_operator.storage import NotDeleted
from contentgen_simulation.frozen import FormerLeader, Freezer, contents, effects
from contentgen_simulation.world import INLINE, SPECS, UID, World, Writes

IMAGES, TALKS = Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION
OTHER = "1d9e9b63-7b6f-4b2d-8a4f-3f4d8d2c0b02"
Work = Callable[["Case"], Awaitable[None]]


@pytest.fixture(autouse=True)
def _no_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=2):
        yield


class Case:
    """A world with the process that is frozen, and the one that leads after it."""

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
        """Another process leads."""
        self.world.leadership = Leadership.always()
        self.world.restart()

    async def look(self, process: World) -> str:
        """One reconcile."""
        ref = self.ref
        if not process.watch(ref):
            return "settled"
        again, result = await process.process._look(ref)
        assert result != "error", self.freezer.done[-3:]
        self.world.now += timedelta(seconds=min(max(again or 1, 1), 300))
        return result

    async def gone(self, process: World) -> None:
        """The watch says that the first resource is gone."""
        ref = ResourceRef(kind=self.kind, namespace="ns", name="it", uid=UID)
        for cache in process.caches:
            cache.forget(ref)
        _, result = await process.process._look(ref)
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
        phases = [str(each["status"])[:300] for each in self.world.kube.resources.values()]
        raise AssertionError(f"never over: {phases}")

    def completed(self) -> bool:
        return self.world.there(self.kind) and self.world.status(self.kind).phase is Phase.COMPLETED

    def over(self) -> bool:
        """Whether there is nothing to do for the operator."""
        ends = (Phase.COMPLETED, Phase.FAILED, Phase.SUBMISSION_UNKNOWN)
        return self.world.there(self.kind) and self.world.status(self.kind).phase in ends


# The work of the process that is frozen


async def run(case: Case) -> None:
    """From the first sight to the end."""
    await case.until(FormerLeader(case.world, case.freezer), case.completed)


async def deletion(case: Case) -> None:
    """Of a finished resource."""
    await case.until(case.world, case.completed)
    case.world.kube.delete(case.kind, case.world.now)
    former = FormerLeader(case.world, case.freezer)
    await case.until(former, lambda: not case.world.there(case.kind))
    if not case.freezer.frozen:
        await case.gone(former)


async def deletion_of_a_request(case: Case) -> None:
    """Of a resource whose request is with the provider."""
    await case.until(case.world, lambda: case.world.database["ledger"].find_one({"state": "submitted"}) is not None)
    case.world.provider.cancels = False
    case.world.kube.delete(case.kind, case.world.now)
    await case.until(FormerLeader(case.world, case.freezer), lambda: not case.world.there(case.kind))


async def sweep(case: Case) -> None:
    """Of the files of a resource that is gone."""
    await case.until(case.world, case.completed)
    storage = case.world.storage
    case.world.kube.delete(case.kind, case.world.now)
    pages, storage.delete_prefix = storage.delete_prefix, _away  # type: ignore[method-assign]
    case.world.policy = case.world.policy.model_copy(update={"deletion_seconds": 0})
    case.lead()
    await case.until(case.world, lambda: not case.world.there(case.kind))
    storage.delete_prefix = pages  # type: ignore[method-assign]
    await FormerLeader(case.world, case.freezer).sweep()


async def _away(*_: Any, **__: Any) -> Any:
    raise NotDeleted("the store is away")


async def orphans(case: Case) -> None:
    """Rounds that look for orphans, from the request to the discarded result."""
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


# What another process does meanwhile


async def goes_on(case: Case) -> None:
    """The same, to its end."""
    case.lead()
    if case.world.there(case.kind) and "deletionTimestamp" in case.world.kube.resources[case.kind, "it"]["metadata"]:
        await case.until(case.world, lambda: not case.world.there(case.kind))
        await case.gone(case.world)
    elif case.world.there(case.kind):
        await case.until(case.world, case.over)
    await quiet(case)


async def deletes(case: Case) -> None:
    """A person has deleted the resource."""
    case.lead()
    if case.world.there(case.kind):
        case.world.kube.delete(case.kind, case.world.now)
        await case.until(case.world, lambda: not case.world.there(case.kind))
    await case.gone(case.world)
    await quiet(case)


async def applies_again(case: Case) -> None:
    """A person has deleted the resource, after an edit to Retain, and applied it again."""
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
    """Its loops in the background have nothing to do any more."""
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
    (sweep, IMAGES, "Delete", goes_on),
    (orphans, IMAGES, "Delete", goes_on),
    (orphans, IMAGES, "Retain", applies_again),
]


async def frozen_at(
    monkeypatch: pytest.MonkeyPatch, story: tuple[Work, Kind, str, Work], at: int
) -> tuple[Case, dict[str, Any]]:
    """The effects of what a process does after it was frozen before its operation `at`; no effect if it has no such."""
    asyncio.get_running_loop().set_default_executor(INLINE)
    work, kind, policy, meanwhile = story
    case = Case(monkeypatch, kind, policy, at, meanwhile)
    await work(case)
    if case.freezer.left is None:
        return case, {}
    changed, name = effects(case.freezer.left, contents(case.world)), case.freezer.done[at]
    changed = {what: each for what, each in changed.items() if not allowed(name, what, *each)}
    if not case.world.there(case.kind) or case.ref.uid != UID:
        # Of a resource that is gone they say nothing to anybody; nobody else wrote them.
        for what in (f"runs {UID}", f"worker_jobs {UID}"):
            if case.freezer.met.get(what) == case.freezer.left.get(what) is not None:
                changed.pop(what, None)
    return case, changed


def allowed(operation: str, what: str, before: Any, after: Any) -> bool:
    """Effects that do no harm."""
    if operation.startswith("mongo.request_claims"):  # after a POST: its id is written down
        return what.startswith(("request_claims", "ledger"))
    if what.startswith(("namespaces ", "clusters ")):  # who has a name in the API server: created only
        return before is None
    # A provider compares nothing. The request was to be cancelled when that was decided; twice is like once.
    if operation == "provider.cancel":
        return what == "cancelled" and before == after[:1]
    # Created only, under the id of a purchase or of its key, and the same whoever creates it.
    return operation in ("storage.put_answer", "storage.put_marker") and _is_new_object(what, before)


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
