"""Queue before the prepare stage: limits, turns, Jobs without a pod, restarts, what ends a wait, and who is exempt."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from contentgen_contract.names import CANCEL_ANNOTATION, QUEUE_LABEL, STAGE_LABEL, Kind, Phase, Reason
from contentgen_contract.resources.queue_position import QueueEntry
from contentgen_operator.queue.preparation_queue import UNSTARTED_SECONDS, PreparationLimits
from contentgen_operator.state.observed import ResourceRef
from contentgen_simulation.world import INLINE, SPECS, World, Writes

TRAINING = Kind.LORA_TRAINING


class Trainings:
    """Trainings in several namespaces. Each round reconciles all of them, but those that wait and were not woken."""

    def __init__(self, patch: pytest.MonkeyPatch, **limits: int) -> None:
        asyncio.get_running_loop().set_default_executor(INLINE)
        self.world = World(patch, Writes())
        self.world.preparation_limits = PreparationLimits(**limits)
        self.world.restart()
        self.refs: dict[str, ResourceRef] = {}
        self.prepared: list[str] = []  # namespaces of the prepare Jobs, in the order of their creation
        self.most = Counter[str]()  # prepare Jobs at a time, by namespace; "" of all
        self._seen: set[str] = set()
        self._woken: set[ResourceRef] = set()

    def apply(self, namespace: str, name: str, labels: dict[str, str] | None = None, **spec: Any) -> None:
        self.world.kube.namespaces.setdefault(namespace, (f"uid-of-{namespace}", "2026-01-01T00:00:00Z"))
        meta = {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-of-{name}",
            "annotations": {},
            "labels": labels or {},
        }
        given = SPECS[TRAINING] | {"loraName": name, "userId": "ns", "source": {"url": f"https://h/{name}"}} | spec
        self.world.kube.store.apply((TRAINING, name), meta, given)
        self.refs[name] = ResourceRef(kind=TRAINING, namespace=namespace, name=name, uid=f"uid-of-{name}")

    async def _wake(self, ref: ResourceRef) -> None:
        self._woken.add(ref)

    async def round(self, *, works: bool = True) -> None:
        for ref in list(self.refs.values()):
            await self.world.preparation_queue.wake_started(self._wake)
            if self.reason(ref.name) == Reason.QUEUED and ref not in self._woken:
                continue
            self._woken.discard(ref)
            await self.reconcile(ref)
        if works:
            self.world.work()

    async def reconcile(self, ref: ResourceRef) -> None:
        if self.world.watch(ref):
            _, result = await self.world.process._reconcile_or_pause(ref)
            assert result == "done"
        jobs = self.jobs()
        running = Counter(job["metadata"]["namespace"] for job in jobs.values() if "status" not in job)
        running[""] = running.total()
        self.most |= running
        self.prepared += [job["metadata"]["namespace"] for name, job in jobs.items() if name not in self._seen]
        self._seen |= jobs.keys()

    def jobs(self) -> dict[str, dict[str, Any]]:
        listed = self.world.kube.jobs.items()
        return {name: job for name, job in listed if job["metadata"]["labels"][STAGE_LABEL] == "prepare"}

    def reason(self, name: str) -> str | None:
        return (self.world.kube.resources[TRAINING, name].get("status") or {}).get("reason")

    def waiting(self) -> list[str]:
        return [name for name in self.refs if self.reason(name) == Reason.QUEUED]


async def test_sixty_trainings_in_a_pool_for_two(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Trainings(monkeypatch, overall=2)
    for namespace, count in {"large": 40, "medium": 15, "small": 5}.items():
        for number in range(count):
            made.apply(namespace, f"{namespace}-{number}")
    for _ in range(400):
        await made.round()
        if all(made.world.status(TRAINING, name).phase is Phase.COMPLETED for name in made.refs):
            break
    assert {made.world.status(TRAINING, name).phase for name in made.refs} == {Phase.COMPLETED}
    assert made.most[""] == 2
    assert len({call.purchase_id for call in made.world.provider.posts}) == len(made.world.provider.posts) == 60
    assert made.prepared[:15].count("small") >= 4, "namespaces take turns"


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            {"overall": 1},
            "waiting for a place: 1 prepare Jobs exist, of all namespaces (queues.maxPrepareJobs.overall)",
        ),
        (
            {"per_namespace": 1},
            "waiting for a place: 1 prepare Jobs of this namespace exist (queues.maxPrepareJobs.perNamespace)",
        ),
    ],
    ids=["overall", "per-namespace"],
)
async def test_a_waiting_run_names_the_limit(
    monkeypatch: pytest.MonkeyPatch, limits: dict[str, int], message: str
) -> None:
    made = Trainings(monkeypatch, **limits)
    for name in ("one", "two"):
        made.apply("a", name)
    await made.round(works=False)
    status = made.world.status(TRAINING, "two")
    assert (status.phase, status.reason, status.message) == (Phase.PENDING, Reason.QUEUED, message)
    entry = QueueEntry.parse(TRAINING, made.world.kube.resources[TRAINING, "two"])
    assert entry is not None
    assert entry.provider == "preparation"


async def test_job_without_a_pod_holds_a_slot_in_its_namespace_only(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Trainings(monkeypatch, overall=1, per_namespace=1)
    for namespace, name in (("a", "a-1"), ("a", "a-2"), ("b", "b-1")):
        made.apply(namespace, name)
    await made.round(works=False)
    assert made.waiting() == ["a-2", "b-1"]
    made.world.now += timedelta(seconds=UNSTARTED_SECONDS + 1)
    await made.round(works=False)
    await made.round(works=False)
    assert made.waiting() == ["a-2"]


async def test_a_restart_keeps_the_places(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Trainings(monkeypatch, overall=2)
    for number in range(4):
        made.apply("a", f"it-{number}")
    await made.round(works=False)
    assert made.waiting() == ["it-2", "it-3"]
    made.world.restart()
    for ref in made.refs.values():
        made.world.watch(ref)
    for name in ("it-3", "it-2", "it-1", "it-0"):
        await made.reconcile(made.refs[name])
    assert (made.waiting(), made.most[""]) == (["it-2", "it-3"], 2)


@pytest.mark.parametrize("end", ["cancelled", "deleted", "suspended", "edited"])
async def test_a_wait_ends_without_a_place(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    made = Trainings(monkeypatch, overall=1)
    for name in ("one", "two", "three"):
        made.apply("a", name)
    await made.round(works=False)
    body, ref = made.world.kube.resources[TRAINING, "two"], made.refs["two"]
    if end == "deleted":
        made.world.kube.store.delete((TRAINING, "two"))
        del made.refs["two"]
    elif end == "cancelled":
        meta = body["metadata"] | {"annotations": {CANCEL_ANNOTATION: "1"}}
        made.world.kube.store.apply((TRAINING, "two"), meta, body["spec"])
    elif end == "suspended":
        made.apply("a", "two", suspend=True)
    else:
        made.apply("a", "two", triggerWord="edited")
    await made.reconcile(ref)
    for _ in range(8):
        await made.round()
    assert made.world.status(TRAINING, "three").phase is Phase.COMPLETED
    if end == "edited":
        assert made.world.status(TRAINING, "two").run.spec["triggerWord"] == "edited"  # type: ignore[union-attr,index]


async def test_a_failed_preparation_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status of a failed run still names its prepare Job."""
    made = Trainings(monkeypatch, overall=1)
    for name in ("one", "two"):
        made.apply("a", name)
    await made.round()
    for key in [each_key for each_key in made.world.storage.objects if each_key.endswith("dataset.zip")]:
        del made.world.storage.objects[key]
    await made.round()
    assert made.world.status(TRAINING, "one").reason == Reason.OUTPUT_MISSING
    for _ in range(8):
        await made.round()
    assert made.world.status(TRAINING, "two").phase is Phase.COMPLETED


@pytest.mark.parametrize("left", ["preparing", "granted"])
async def test_a_run_that_is_reconciled_no_more_loses_its_place(monkeypatch: pytest.MonkeyPatch, left: str) -> None:
    """The watch of a namespace that is no longer selected only forgets its resources."""
    made = Trainings(monkeypatch, overall=1)
    for name in ("one", "two", "three"):
        made.apply("a", name)
    await made.round()
    if left == "granted":
        await made.reconcile(made.refs["one"])
        await made.world.preparation_queue.wake_started(made._wake)
        (granted,) = made._woken
        del made.refs[granted.name]
    else:
        made.world.process.cache.forget(made.refs.pop("one"))
    for _ in range(15):
        made.world.now += timedelta(minutes=1)
        await made.round()
    assert {made.world.status(TRAINING, name).phase for name in made.refs} == {Phase.COMPLETED}


async def test_jobs_of_another_queue_are_not_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Trainings(monkeypatch, overall=1)
    for number in range(3):
        made.apply("a", f"queued-{number}", labels={QUEUE_LABEL: "team-a"})
    made.apply("a", "it")
    await made.round(works=False)
    assert len(made.jobs()) == 4
    assert made.waiting() == []
