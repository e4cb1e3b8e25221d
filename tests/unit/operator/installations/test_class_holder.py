"""Ownership of an operator class: one installation works on it, and the effects of a deletion of the object."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import aiohttp
import pytest
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import Kind, Phase
from contentgen_contract.resources.operator_class import ClassOwner
from contentgen_operator.fairness.work_queue import WorkQueue
from contentgen_operator.leader.class_holder import ClassHolder, KubeClass
from contentgen_operator.leader.leadership import Leadership
from contentgen_operator.leader.role import LeaderRole
from contentgen_operator.leader.tasks import LeaderTasks
from contentgen_operator.leader.thread import ElectionThread
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.telemetry.health import OperatorHealth
from contentgen_operator.watch.liveness import WatchLiveness
from contentgen_runtime.kube import Conflict, KubeApi
from contentgen_simulation.world import SPECS, World, Writes

IMAGES = Kind.IMAGE_GENERATION
FIRST = ClassOwner(namespace="one", service_account="contentgen", release="contentgen")
SECOND = ClassOwner(namespace="two", service_account="contentgen", release="contentgen")
NO_CRD = ApiException(status=404, reason="Not Found")
AWAY = aiohttp.ClientConnectionError("refused")


class Classes:
    """OperatorClass of one name."""

    def __init__(self, owner: ClassOwner | None = None) -> None:
        self.spec: Any = None if owner is None else {"owner": owner.model_dump(mode="json")}
        self.reads: list[Exception] = []  # errors of the next checks
        self.creations: list[Exception] = []
        self.created = 0

    async def read(self) -> dict[str, Any] | None:
        if self.reads:
            raise self.reads.pop(0)
        return None if self.spec is None else {"spec": self.spec}

    async def create(self, owner: ClassOwner) -> dict[str, Any]:
        if self.creations:
            raise self.creations.pop(0)
        if self.spec is not None:
            raise Conflict("there is one")
        self.created += 1
        self.spec = {"owner": owner.model_dump(mode="json")}
        return {"spec": self.spec}


class Process:
    """Holder whose pauses run the calls of `meanwhile` in turn; after the last one the test ends."""

    def __init__(self, classes: Classes, me: ClassOwner = FIRST, *meanwhile: Callable[[], None]) -> None:
        self.said: list[str] = []
        self.problems: list[str] = []  # of the readiness, at each pause
        self.pauses = list(meanwhile)
        self.slept: list[float] = []
        self.leadership = Leadership.always()
        self.holder = ClassHolder(classes, "team-a", me, self.leadership, self._announce, sleep=self._sleep)

    async def _announce(self, problem: str) -> None:
        self.said.append(problem)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.problems.append(self.holder.problem)
        if not self.pauses:
            raise asyncio.CancelledError
        self.pauses.pop(0)()


async def until_cancelled(work: Any) -> None:
    with pytest.raises(asyncio.CancelledError):
        await work


def pause() -> None:
    """Do nothing."""


async def ignore(_: str) -> None:
    """Do nothing."""


async def test_first_installation_takes_the_class_and_keeps_it() -> None:
    classes = Classes()
    for _ in range(2):
        process = Process(classes)
        await process.holder.acquired()
        assert (process.holder.held, process.holder.problem, process.slept, classes.created) == (True, "", [], 1)
    assert classes.spec == {"owner": {"namespace": "one", "serviceAccount": "contentgen", "release": "contentgen"}}


@pytest.mark.parametrize(
    "other",
    [
        SECOND,
        FIRST.model_copy(update={"service_account": "another"}),
        FIRST.model_copy(update={"release": "second"}),  # in one namespace, with one account
    ],
)
async def test_second_installation_waits_and_logs_it_once(other: ClassOwner) -> None:
    classes = Classes(FIRST)

    def released() -> None:
        classes.spec = None

    process = Process(classes, other, pause, pause, released)
    await process.holder.acquired()
    assert process.slept == [10.0] * 3
    (problem,) = process.said
    assert "the operator class team-a is served by the release contentgen in the namespace one" in problem
    assert "kubectl delete operatorclass team-a" in problem
    assert process.problems == [problem] * 3
    assert (process.holder.problem, classes.spec["owner"]) == ("", other.model_dump(mode="json"))


async def test_of_two_at_the_same_moment_one_has_it() -> None:
    class Slow(Classes):
        async def read(self) -> dict[str, Any] | None:
            found = await super().read()
            await asyncio.sleep(0)  # both read before one of them creates
            return found

    classes = Slow()
    one, two = Process(classes, FIRST, pause), Process(classes, SECOND, pause)
    results = await asyncio.gather(one.holder.acquired(), two.holder.acquired(), return_exceptions=True)
    assert [each.holder.held for each in (one, two)].count(True) == 1
    assert sum(isinstance(result, asyncio.CancelledError) for result in results) == 1
    assert classes.created == 1


async def test_a_standby_says_whose_the_class_is_and_takes_nothing() -> None:
    classes = Classes()

    def owned() -> None:
        classes.spec = {"owner": SECOND.model_dump(mode="json")}

    def free() -> None:
        classes.spec = None

    process = Process(classes, FIRST, owned, free)
    await until_cancelled(process.holder.watched())
    assert ["namespace two" in problem for problem in process.problems] == [False, True, False]
    assert (classes.created, process.holder.held, process.slept) == (0, False, [10.0] * 3)


@pytest.mark.parametrize("spec", [{}, {"owner": None}, {"owner": {"namespace": "one"}}, "text", {"owner": {"x": 1}}])
async def test_an_owner_that_cannot_be_read_is_another(spec: Any) -> None:
    classes = Classes()
    classes.spec = spec
    process = Process(classes)
    await until_cancelled(process.holder.acquired())
    assert "an owner that cannot be read" in process.said[0]


async def test_without_the_api_server_or_the_crd_nothing_is_begun() -> None:
    classes = Classes()
    classes.reads, classes.creations = [AWAY, TimeoutError()], [NO_CRD]
    process = Process(classes, FIRST, pause, pause, pause)
    await process.holder.acquired()
    assert [text.partition(": ")[2][:40] for text in process.said] == [
        "refused", "TimeoutError", "the CRD operatorclasses.contentgen.dev i"
    ]  # fmt: skip
    assert (process.holder.held, classes.created) == (True, 1)


async def test_owner_recreates_a_deleted_class_and_continues() -> None:
    classes = Classes(FIRST)

    def deleted() -> None:
        classes.spec = None

    process = Process(classes, FIRST, deleted, pause)
    await process.holder.acquired()
    await until_cancelled(process.holder.kept())
    assert (classes.created, process.leadership.over, process.slept) == (1, "", [5.0] * 3)


@pytest.mark.parametrize("error", [AWAY, NO_CRD, Conflict("another was quicker")])
async def test_while_it_is_uncertain_the_lease_decides(error: Exception) -> None:
    """Also without the CRD: then all OperatorClasses are deleted, and no other installation can begin."""
    classes = Classes(FIRST)

    def gone() -> None:
        classes.spec, classes.creations = None, [error] * 2

    process = Process(classes, FIRST, gone, pause, pause)
    await process.holder.acquired()
    await until_cancelled(process.holder.kept())
    assert (process.leadership.over, len(process.said), process.problems) == ("", 1, [""] * 4)
    assert classes.created == 1


async def test_the_one_that_works_ends_once_another_owns_the_class() -> None:
    classes = Classes(FIRST)

    def another() -> None:
        classes.spec = {"owner": SECOND.model_dump(mode="json")}

    process = Process(classes, FIRST, pause, another)
    await process.holder.acquired()
    await process.holder.kept()
    assert not process.leadership.is_leader
    assert "is served by the release contentgen in the namespace two" in process.leadership.over
    assert (process.holder.held, process.holder.problem) == (False, process.leadership.over)


async def test_work_begins_with_the_class_and_ends_with_it() -> None:
    """No reconcile before the class is owned, and the process ends with it."""
    ref = ResourceRef(kind=IMAGES, namespace="ns", name="one", uid="u1")
    worked, lost, owned, began = list[ResourceRef](), asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Held:
        held = False
        watching = False

        async def watched(self) -> None:
            self.watching = True
            try:
                await asyncio.Event().wait()
            finally:
                self.watching = False

        async def acquired(self) -> None:
            standby.append(self.watching)
            await owned.wait()
            self.held = True

    class Elected:
        async def elected(self) -> None:
            await asyncio.sleep(0)
            standby.append(holder.watching)

    async def work(found: ResourceRef) -> None:
        worked.append(found)
        began.set()

    async def kept() -> None:
        await lost.wait()

    class Server:
        should_exit = False

        async def serve(self) -> None:
            await asyncio.Event().wait()

    holder, standby = Held(), list[bool]()
    role = LeaderRole(Leadership(), cast("ElectionThread", Elected()), cast("ClassHolder", holder))
    tasks = LeaderTasks(role.acquired, WorkQueue(work), lambda: [ref])
    running = asyncio.create_task(tasks.run(Server(), [kept]))
    for _ in range(5):
        await asyncio.sleep(0)
    await tasks.wake(ref)
    assert (worked, tasks.tasks) == ([], [])
    assert (standby, holder.watching) == ([True, True], False), "it ends at its next turn"
    owned.set()
    await began.wait()
    lost.set()
    await running
    tasks.stop()


def test_the_readiness_names_the_owner() -> None:
    problem, queue = "", WorkQueue[str](ignore)
    health = OperatorHealth(WatchLiveness(), queue, watch_seconds=9, stuck_seconds=9, problem=lambda: problem)
    assert health.unready() == ["the stores", "the watches"]
    problem = "the class is another's"
    assert health.unready() == ["the stores", "the watches", "the class is another's"]


async def test_the_object_has_no_namespace_and_only_409_is_a_conflict() -> None:
    asked = list[tuple[str, str, Any]]()
    answers: list[Any] = [{"spec": {}}, ApiException(status=409), ApiException(status=403, reason="Forbidden")]

    class Api(KubeApi):
        async def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
            asked.append((method, path, body))
            answer = answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return cast("dict[str, Any]", answer)

    store = KubeClass(Api(), "team-a")
    await store.create(FIRST)
    method, path, body = asked[0]
    assert (method, path) == ("POST", "/apis/contentgen.dev/v1alpha1/operatorclasses")
    assert (body["metadata"]["name"], body["spec"]["owner"]["serviceAccount"]) == ("team-a", "contentgen")
    with pytest.raises(Conflict):
        await store.create(FIRST)
    with pytest.raises(ApiException, match="403"):
        await store.create(FIRST)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("point", range(1, 12))
async def test_a_class_that_changes_hands_at_any_write_pays_once(
    point: int, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first installation is paused after some reconciles and continues after the second has worked; with the same
    stores, and with others, where the user must decide.
    """
    first, second = World(monkeypatch, Writes()), World(monkeypatch, Writes())
    second.kube = first.kube
    if shared:
        second.storage, second.database, second.provider = first.storage, first.database, first.provider
    second.restart()
    first.kube.apply(IMAGES, SPECS[IMAGES])
    for _ in range(point):
        await first.reconcile(IMAGES)
    if first.status(IMAGES).phase is Phase.COMPLETED:
        return
    for _ in range(12):
        second.now += (first.now - second.now) if first.now > second.now else (second.now - second.now)
        await second.reconcile(IMAGES)
    first.now = max(first.now, second.now)
    for _ in range(6):
        await first.reconcile(IMAGES)
    posts = [*first.provider.posts, *([] if shared else second.provider.posts)]
    assert len(posts) <= 1
    if shared:
        assert len(posts) == 1
