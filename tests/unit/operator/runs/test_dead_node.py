"""Lost node with a worker's pod: the stage is retried under a new Job name, and nothing is paid again."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from contentgen_contract.names import STAGE_LABEL, Kind, Phase, Reason, Stage
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.kube import pods
from contentgen_operator.kube.job_manifests import WorkerPod
from contentgen_operator.state.observed import JobView, ResourceRef
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.records import RecordStore
from contentgen_operator.stores.run_documents import RunDocuments
from contentgen_operator.stores.s3 import Storage
from contentgen_operator.stores.status_verification import StatusVerifier
from contentgen_operator.watch.event_handlers import EventHandlers, owner_of
from contentgen_operator.worker_api.authentication import WorkerAuthenticator
from contentgen_operator.worker_api.reports import Reports
from contentgen_operator.worker_api.server import WorkerApi, create_app
from contentgen_operator.worker_api.work_orders import OrderSettings
from contentgen_runtime.stores import in_thread
from contentgen_runtime.tenancy import Tenancy
from contentgen_simulation.object_storage import unreached_storage
from contentgen_simulation.world import SPECS, World

pytestmark = pytest.mark.usefixtures("no_waiting")

LORA = Kind.LORA_TRAINING
STAGES = [(kind, stage) for kind in Kind for stage in Stage if (kind, stage) != (Kind.IMAGE_GENERATION, Stage.PREPARE)]
GRACE_SECONDS = 5
TAINTED = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "DeletionByTaintManager",
    "message": "Taint manager: deleting due to NoExecute taint",
}


def pod_of(job: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """Pod on node-2, with the last status that the API server received."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "uid": job["metadata"]["uid"], "controller": True}
    name = job["metadata"]["name"]
    return {
        "metadata": {"name": f"{name}-x", "uid": f"pod-of-{name}", "ownerReferences": [owner]} | metadata,
        "spec": {"nodeName": "node-2"},
        "status": {"phase": "Running", "conditions": [TAINTED] if metadata else []},
    }


class DeadNode:
    """Lost node for the next Jobs of a stage: their pods are deleted and never terminate."""

    def __init__(self, world: World, stage: Stage, times: int = 1_000_000) -> None:
        self.world, self.stage, self.times = world, stage, times
        self.names: list[str] = []
        self.refs: list[ResourceRef] = []
        self._work = world.work
        world.work = self.work  # type: ignore[method-assign]

    def work(self) -> None:
        for job in list(self.world.kube.jobs.values()):
            on_it = "status" not in job and job["metadata"]["labels"][STAGE_LABEL] == self.stage
            if on_it and len(self.names) < self.times:
                self.names.append(job["metadata"]["name"])
                self.dies(job)
        self._work()

    def dies(self, job: dict[str, Any]) -> None:
        """Set the Job and pod to the state that the taint manager and the Job controller leave."""
        over = (self.world.now + timedelta(seconds=GRACE_SECONDS)).isoformat()
        self.world.kube.pods = [pod_of(job, deletionTimestamp=over)]
        job["status"] = {"active": 0, "ready": 0, "terminating": 1}
        owner = owner_of(job)
        assert owner is not None
        self.refs.append(owner)
        for cache in self.world.caches:
            if owner in cache:
                cache.note_job(owner, JobView.parse(job))


async def dead_node(world: World, kind: Kind, stage: Stage) -> DeadNode:
    """A run until the node of its first Job of this stage is lost; later Jobs have another node."""
    dead = DeadNode(world, stage, times=1)
    world.kube.apply(kind, SPECS[kind])
    while not dead.names:
        await world.reconcile(kind)
    return dead


def run_of(status: ResourceStatus) -> tuple[int, int]:
    assert status.run is not None
    return status.run.stage_attempt, status.run.lost_attempts


@pytest.mark.parametrize(("kind", "stage"), STAGES)
async def test_a_job_whose_node_is_gone_is_replaced_under_a_new_name(kind: Kind, stage: Stage, world: World) -> None:
    dead = await dead_node(world, kind, stage)
    died_at = world.now
    while dead.names[0] in world.kube.jobs:
        assert (world.now - died_at).total_seconds() < 60
        await world.reconcile(kind)
    assert (world.now - died_at).total_seconds() >= GRACE_SECONDS + pods.LOST_SECONDS
    status = world.status(kind)
    assert (status.reason, world.kube.events[-1]) == (Reason.RETRYING, ("Warning", Reason.RETRYING))
    for words in ("attempt 1", "node-2 has not ended it", "DeletionByTaintManager", "attempt 2 follows in 10 s"):
        assert words in (status.message or "")
    assert status.run is not None
    assert "last words" not in str(status.run.logs), "the log of a node that is gone is not asked for"
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert sum(job["metadata"]["labels"][STAGE_LABEL] == stage for job in world.kube.jobs.values()) == 1
    assert len(world.provider.posts) == 1


async def test_a_pod_that_ends_in_its_grace_period_is_not_lost(world: World) -> None:
    dead = await dead_node(world, LORA, Stage.PREPARE)
    await world.reconcile(LORA)
    assert world.status(LORA).reason != Reason.RETRYING
    assert list(world.kube.jobs) == dead.names


async def test_an_outcome_that_was_left_before_the_node_died_is_used(world: World) -> None:
    dead = await dead_node(world, LORA, Stage.PREPARE)
    world._leave_outcome(LORA, Stage.PREPARE, world.status(LORA))
    assert (await world.finish(LORA)).phase is Phase.COMPLETED
    assert "Retrying" not in str(world.kube.events)
    assert dead.names[0] not in world.kube.jobs, "it would never be finished"


async def test_lost_nodes_use_no_attempts_and_are_bounded(world: World) -> None:
    dead = DeadNode(world, Stage.PREPARE)
    world.kube.apply(LORA, SPECS[LORA])
    status = await world.finish(LORA)
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.JOB_FAILED)
    assert len(dead.names) == world.decision_settings.stage_attempts + 5
    assert run_of(status) == (8, 5)
    assert world.provider.posts == []
    assert not world.kube.jobs


async def test_failures_of_the_worker_are_counted_beside_them(world: World) -> None:
    """After two lost nodes and two failures, the third failure is the last."""
    DeadNode(world, Stage.PREPARE, times=2)
    world.kube.apply(LORA, SPECS[LORA])
    await world.reconcile(LORA)
    while run_of(world.status(LORA)) != (3, 2):
        await world.reconcile(LORA)
    failed = list[str]()

    def worked() -> None:
        for job in world.kube.jobs.values():
            if "status" not in job:
                failed.append(job["metadata"]["name"])
                job["status"] = {"conditions": [{"type": "Failed", "status": "True", "message": "backoff limit"}]}
                world.process.cache.drop_job(dead_owner(job), job["metadata"]["name"])

    world.kube.pods = []
    world.work = worked  # type: ignore[method-assign]
    status = await world.finish(LORA)
    assert (len(failed), status.reason) == (3, Reason.JOB_FAILED)


def dead_owner(job: dict[str, Any]) -> ResourceRef:
    owner = owner_of(job)
    assert owner is not None
    return owner


@pytest.mark.parametrize("why", ["DeletionByTaintManager", "DeletionByPodGC"])
async def test_a_job_that_ended_with_its_node_is_not_counted_either(why: str, world: World) -> None:
    """After the cloud deletes the node, the pod garbage collector ends its pods."""
    await dead_node(world, LORA, Stage.PREPARE)
    (job,) = world.kube.jobs.values()
    world.kube.pods = [pod_of(job)]
    world.kube.pods[0]["status"] = {"phase": "Failed", "conditions": [TAINTED | {"reason": why}]}
    job["status"] = {"conditions": [{"type": "Failed", "status": "True", "message": "backoff limit"}]}
    world.caches[-1].note_job(dead_owner(job), JobView.parse(job))
    await world.reconcile(LORA)
    assert run_of(world.status(LORA)) == (2, 1)


async def test_the_count_begins_anew_with_the_next_stage(world: World) -> None:
    DeadNode(world, Stage.PREPARE, times=1)
    world.kube.apply(LORA, SPECS[LORA])
    await world.finish(LORA, Phase.PROCESSING)
    assert run_of(world.status(LORA)) == (1, 0)


async def test_a_conflict_at_the_status_counts_nothing_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Job is deleted after its name left the status; otherwise its deletion would count as an external one."""
    dead = await dead_node(world, LORA, Stage.PREPARE)
    put, refused = world.kube.put_status, list[str]()

    async def changed(kind: Kind, namespace: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        if body["status"]["reason"] == Reason.RETRYING and not refused:
            refused.append(name)
            world.kube.resources[kind, name]["metadata"]["resourceVersion"] = "changed"
        return await put(kind, namespace, name, body)

    async def deleted(_namespace: str, name: str, _uid: str) -> None:
        del world.kube.jobs[name]
        world.caches[-1].drop_job(dead.refs[0], name)  # the watch reports it

    monkeypatch.setattr(world.kube, "put_status", changed)
    monkeypatch.setattr(world.kube, "delete_job", deleted)
    while run_of(world.status(LORA)) == (1, 0):
        await world.reconcile(LORA)
    assert refused
    assert run_of(world.status(LORA)) == (2, 1)


async def test_a_stage_that_ran_out_of_time_on_a_dead_node_ends(world: World) -> None:
    """The Job controller deletes the pod at the deadline and waits for its end if workers tolerate the node."""
    await dead_node(world, LORA, Stage.PREPARE)
    (job,) = world.kube.jobs.values()
    job["status"]["conditions"] = [{"type": "FailureTarget", "status": "True", "reason": "DeadlineExceeded"}]
    world.caches[-1].note_job(dead_owner(job), JobView.parse(job))
    status = await world.finish(LORA)
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED)
    assert not world.kube.jobs


async def test_the_deletion_of_a_pod_wakes_its_resource(world: World) -> None:
    woken = list[ResourceRef]()

    async def wake(ref: ResourceRef) -> None:
        woken.append(ref)

    DeadNode(world, Stage.PREPARE, times=0)
    world.kube.apply(LORA, SPECS[LORA])
    world.work = lambda: None  # type: ignore[method-assign]
    await world.reconcile(LORA)
    (job,) = world.kube.jobs.values()
    handlers = EventHandlers(world.caches[-1], wake, Reports())
    for status in ({"active": 1, "ready": 1}, {"active": 1, "ready": 0}, {"terminating": 1, "active": 1}):
        await handlers.job(job | {"status": status}, deleted=False)
    assert woken == []
    for _ in range(2):
        await handlers.job(job | {"status": {"terminating": 1, "active": 0}}, deleted=False)
    assert woken == [dead_owner(job)]


# Pod status, which any account that may create pods in the namespace can forge


def times(*deleted: str | None, **status: Any) -> list[dict[str, Any]]:
    job = {"metadata": {"name": "job", "uid": "job-uid"}}
    made = [pod_of(job, **({"deletionTimestamp": each} if each else {})) for each in deleted]
    for each in made:
        each["status"] |= status
    return made


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ([], None),
        (times(None), None),
        (times("2026-11-21T00:00:00Z"), 20),
        (times("2026-11-20T23:59:30Z"), -10),
        (times("2026-11-20T23:59:30Z", "2026-11-21T00:00:05Z"), 25),
        (times("2026-11-20T23:59:30Z", None), None),
        (times("2026-11-20T23:59:30Z", phase="Failed"), None),
        (times("never"), None),
        (times("2026-11-21T00:00:00"), 20),
    ],
)
def test_lost_pods(given: list[dict[str, Any]], seconds: float | None, world: World) -> None:
    assert pods.lost_in(given, world.now) == seconds


def test_the_words_of_a_pod_are_bounded() -> None:
    pod = times("2026-11-21T00:00:00Z")[0]
    pod["spec"]["nodeName"] = "n" * 5000
    assert len(pods.lost_cause([pod])) <= 300
    assert pods.lost_cause([{"metadata": {}}]) == "its pod is past its deadline, and its node has not ended it"


def test_a_status_with_a_negative_count_is_not_read() -> None:
    with pytest.raises(ValidationError):
        ResourceStatus.model_validate({"run": {"lostAttempts": -1}})


async def test_a_count_that_somebody_else_wrote_is_bounded(world: World) -> None:
    dead = DeadNode(world, Stage.PREPARE)
    world.kube.apply(LORA, SPECS[LORA])
    await world.reconcile(LORA)
    world.kube.resources[LORA, "it"]["status"]["run"]["lostAttempts"] = 1_000_000
    assert (await world.finish(LORA)).reason == Reason.JOB_FAILED
    assert len(dead.names) <= world.decision_settings.stage_attempts + 5


# Worker that continues on a disconnected node


@pytest.fixture
def storage(monkeypatch: pytest.MonkeyPatch) -> Storage:
    monkeypatch.setattr(Storage, "exists", in_thread(lambda *_: False))
    return unreached_storage()


class CutOff:
    """Disconnected worker and the operator's worker API."""

    def __init__(self, world: World, storage: Storage) -> None:
        self.world = world
        kube: Any = world.kube
        kube.review_token, kube.get_pod = self._review, self._pod
        self.pods: dict[str, dict[str, Any]] = {}
        ledger = Ledger(world.database["ledger"])
        self.woken = list[ResourceRef]()
        worker_api = WorkerApi(
            authenticator=WorkerAuthenticator(kube, world.caches[-1], world.process.actor.jobs),
            storage=storage,
            ledger=ledger,
            reports=world.process.observer.reports,
            settings=OrderSettings(stage_deadline=timedelta(hours=1)),
            wake=self._wake,
            verifier=StatusVerifier(
                ledger=ledger,
                records=RecordStore(world.database["jobs"], storage),
                runs=RunDocuments(world.database["runs"]),
                tenancy=Tenancy(kube, world.database, lambda: world.now),
            ),
        )
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(worker_api)), base_url="https://worker-api"
        )

    async def _wake(self, ref: ResourceRef, _delay: float = 0) -> None:
        self.woken.append(ref)

    async def _review(self, token: str, _audience: str) -> dict[str, Any]:
        uid = self.pods[token]["metadata"]["uid"]
        extra = {"authentication.kubernetes.io/pod-name": [token], "authentication.kubernetes.io/pod-uid": [uid]}
        user = {"username": "system:serviceaccount:ns:default", "extra": extra}
        return {"authenticated": True, "audiences": ["contentgen"], "user": user}

    async def _pod(self, _namespace: str, name: str) -> dict[str, Any] | None:
        return self.pods.get(name)

    def worker(self, job: dict[str, Any]) -> str:
        """Token of a Job's pod."""
        self.pods[job["metadata"]["name"]] = pod_of(job)
        return str(job["metadata"]["name"])

    async def says(self, token: str) -> set[int]:
        """Responses of the worker API to all requests of a worker."""
        headers = {"Authorization": f"Bearer {token}"}
        offer = {"name": "audio.flac", "sizeBytes": 7, "sha256": "ab" * 32, "contentType": "audio/flac"}
        answers = [
            await self.client.get("/v1/order", headers=headers),
            await self.client.post("/v1/uploads", json={"files": [offer]}, headers=headers),
            await self.client.post("/v1/progress", json={"step": "PreparingAudio", "fraction": 0.5}, headers=headers),
            await self.client.post("/v1/outcome", headers=headers),
        ]
        return {answer.status_code for answer in answers}


async def test_a_worker_that_was_cut_off_has_no_effect(world: World, storage: Storage) -> None:
    kind = Kind.TRANSCRIPTION
    dead = DeadNode(world, Stage.PREPARE, times=1)
    worker_api = CutOff(world, storage)
    world.kube.apply(kind, SPECS[kind])
    while not dead.names:
        await world.reconcile(kind)
    old = world.kube.jobs[dead.names[0]]
    token = worker_api.worker(old)
    assert (await worker_api.client.get("/v1/order", headers={"Authorization": f"Bearer {token}"})).status_code == 200
    while dead.names[0] in world.kube.jobs:
        await world.reconcile(kind)
    world._leave_outcome(kind, Stage.PREPARE, with_attempt(world.status(kind), 1))  # with the signed URL of its order
    left = {key for key in world.storage.objects if "/r1/" in key or "outcome" in key}
    assert await worker_api.says(token) <= {403, 425}, "between the attempts"
    assert world.process.observer.reports.ended(old["metadata"]["uid"]), "nothing more is signed for it"

    works, world.work = world.work, lambda: None  # type: ignore[method-assign]
    while not world.kube.jobs:
        await world.reconcile(kind)
    (new,) = world.kube.jobs.values()
    assert new["metadata"]["name"] != dead.names[0]
    worker_api.woken.clear()
    assert await worker_api.says(token) == {403}, "the next attempt has begun"
    assert worker_api.woken == []
    for _ in range(3):
        await world.reconcile(kind)
    run = world.status(kind).run
    assert run is not None
    assert run.job is not None
    assert (run.facts, run.job.uid) == (None, new["metadata"]["uid"]), "the outcome of another attempt is not read"
    other = await worker_api.client.get("/v1/order", headers={"Authorization": f"Bearer {worker_api.worker(new)}"})
    assert other.status_code == 200, "the control"

    world.work = works  # type: ignore[method-assign]
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    done = world.kube.resources[kind, "it"]["status"]
    assert await worker_api.says(token) == {403}, "it has finished"
    assert worker_api.woken == []
    await world.reconcile(kind)
    assert world.kube.resources[kind, "it"]["status"] == done
    assert len(world.provider.posts) == 1
    assert left <= set(world.storage.objects)


def with_attempt(status: ResourceStatus, attempt: int) -> ResourceStatus:
    assert status.run is not None
    return status.model_copy(update={"run": status.run.model_copy(update={"stage_attempt": attempt})})


# Tolerations


def tolerations(*given: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = WorkerPod(tolerations=given).spec()["tolerations"]
    return found


NOT_READY, UNREACHABLE = (
    {
        "key": f"node.kubernetes.io/{name}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 30,
    }
    for name in ("not-ready", "unreachable")
)


@pytest.mark.parametrize(
    ("given", "added"),
    [
        ([], [NOT_READY, UNREACHABLE]),
        ([{"key": "media", "operator": "Exists"}], [NOT_READY, UNREACHABLE]),
        ([{"operator": "Exists"}], []),
        ([{"operator": "Exists", "effect": "NoSchedule"}], [NOT_READY, UNREACHABLE]),
        ([UNREACHABLE | {"tolerationSeconds": 600}], [NOT_READY]),
        ([{"key": None, "operator": "Exists", "effect": None}], []),
    ],
)
def test_a_worker_leaves_a_node_that_is_gone_after_half_a_minute(
    given: list[dict[str, Any]], added: list[dict[str, Any]]
) -> None:
    assert tolerations(*given) == [*given, *added]
