"""Jobs whose worker has not started: they wait without a limit, and follow a change of the workers' settings."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from contentgen_contract.names import STAGE_LABEL, Kind, Phase, Reason, Stage
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.kube import pods
from contentgen_operator.state.observed import JobView, ResourceRef
from contentgen_operator.watch.event_handlers import owner_of
from contentgen_simulation.world import SPECS, TEMPLATE, UID, World, Writes

pytestmark = pytest.mark.usefixtures("no_waiting")

Body = dict[str, Any]
LORA = Kind.LORA_TRAINING
STAGES = [(kind, stage) for kind in Kind for stage in Stage if (kind, stage) != (Kind.IMAGE_GENERATION, Stage.PREPARE)]
UNSCHEDULABLE = {
    "phase": "Pending",
    "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}],
}
PULLS = {
    "phase": "Pending",
    "startTime": "2026-11-21T00:00:00Z",
    "containerStatuses": [{"name": "worker", "state": {"waiting": {"reason": "ErrImagePull", "message": "no such"}}}],
}
RUNS = {"phase": "Running", "containerStatuses": [{"name": "worker", "state": {"running": {}}}]}
LATE = {
    "phase": "Failed",
    "reason": "DeadlineExceeded",
    "message": "Pod was active on the node longer than the deadline",
}
# As a kubelet reports a container at the pod's end: without a start and an id if it never was.
NEVER_STARTED = {
    "containerStatuses": [
        {"name": "worker", "state": {"terminated": {"reason": "ContainerStatusUnknown", "exitCode": 137}}}
    ]
}
STARTED = {
    "containerStatuses": [
        {
            "name": "worker",
            "containerID": "containerd://1",
            "state": {"terminated": {"exitCode": 137, "startedAt": "2026-11-21T00:00:09Z"}},
        }
    ]
}


def pod(status: Body, uid: str = "j1", seconds: int | None = 600) -> Body:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "uid": uid, "controller": True}
    spec: Body = {} if seconds is None else {"activeDeadlineSeconds": seconds}
    spec["containers"] = [{"name": container["name"]} for container in status.get("containerStatuses", ())]
    return {"metadata": {"name": "p", "ownerReferences": [owner]}, "spec": spec, "status": status}


class Node:
    """Kubelet and Job controller for the Jobs of one stage: their pods get a status; the others are worked on."""

    def __init__(self, world: World, stage: Stage, status: Body) -> None:
        self.world, self.stage, self.status = world, stage, status
        self.seen: list[str] = []  # uids of the Jobs
        self._work = world.work
        world.work = self.work  # type: ignore[method-assign]

    @property
    def jobs(self) -> list[Body]:
        return [job for job in self.world.kube.jobs.values() if job["metadata"]["labels"][STAGE_LABEL] == self.stage]

    def work(self) -> None:
        for job in self.jobs:
            uid = job["metadata"]["uid"]
            self.seen += [uid] if uid not in self.seen else []
            self.world.kube.pods = [pod(self.status, uid)]
            job.setdefault("status", {"active": 1, "ready": 0})
        self._work()

    def ends(self, status: Body) -> None:
        """End the pod, and with it the Job, as `backoffLimit: 0` does."""
        self.status = status
        for job in self.jobs:
            self.world.kube.pods = [pod(status, job["metadata"]["uid"])]
            failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "backoff limit"}
            job["status"] = {"conditions": [failed]}
            self.note(job)

    def note(self, job: Body) -> None:
        """Deliver the watch event of a Job."""
        for cache in self.world.caches:
            if (owner := owner_of(job)) is not None and owner in cache:
                cache.note_job(owner, JobView.parse(job))

    def repaired(self) -> None:
        """Let the workers start from now on."""
        self.world.work = self._work  # type: ignore[method-assign]
        for job in self.jobs:
            job.pop("status", None)


async def waiting(world: World, kind: Kind, stage: Stage, status: Body) -> Node:
    """A run whose Job of this stage waits for its pod."""
    node = Node(world, stage, status)
    world.kube.apply(kind, SPECS[kind])
    await world.until(kind, lambda: world.status(kind).reason == Reason.POD_NOT_STARTED)
    return node


async def reconcile_for(world: World, kind: Kind, seconds: float) -> ResourceStatus:
    until = world.now + timedelta(seconds=seconds)
    while world.now < until:
        await world.reconcile(kind)
    return world.status(kind)


def restarted(world: World, **changes: Any) -> None:
    """An upgrade of the chart: the operator starts with other settings of the workers."""
    world.template = TEMPLATE.model_copy(update=changes)
    world.restart()


# The time of a stage counts from the start of its pod


@pytest.mark.parametrize(("kind", "stage"), STAGES)
async def test_a_job_that_waits_for_a_node_waits_without_a_limit(kind: Kind, stage: Stage, world: World) -> None:
    node = await waiting(world, kind, stage, UNSCHEDULABLE)
    status = await reconcile_for(world, kind, 20 * TEMPLATE.deadline_seconds)
    assert (status.phase is Phase.FAILED, status.reason) == (False, Reason.POD_NOT_STARTED)
    assert "Unschedulable: 0/3 nodes" in (status.message or "")
    assert len(node.seen) == len(node.jobs) == 1, "the place in the autoscaler is kept"
    assert "activeDeadlineSeconds" not in node.jobs[0]["spec"]
    node.repaired()
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


async def test_the_deadline_of_the_resource_ends_a_wait_for_a_node(world: World) -> None:
    kind = Kind.TRANSCRIPTION
    Node(world, Stage.PREPARE, UNSCHEDULABLE)
    world.kube.apply(kind, SPECS[kind] | {"deadlineSeconds": 3600})
    begun = world.now
    status = await world.finish(kind)
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED)
    assert "Unschedulable: 0/3 nodes" in (status.message or "")
    assert 3600 <= (world.now - begun).total_seconds() < 3700
    assert (world.kube.jobs, world.provider.posts) == ({}, [])


async def test_cause_of_a_wait_for_a_node_is_told_in_half_a_minute(world: World) -> None:
    begun, kind = world.now, Kind.LORA_TRAINING
    Node(world, Stage.PREPARE, UNSCHEDULABLE)
    world.kube.apply(kind, SPECS[kind])
    told = await world.until(kind, lambda: world.status(kind).reason == Reason.POD_NOT_STARTED)
    assert (told - begun).total_seconds() <= 30


@pytest.mark.parametrize("kind", [Kind.LORA_TRAINING, Kind.TRANSCRIPTION])
async def test_a_worker_that_ran_out_of_time_fails_its_run(kind: Kind, world: World) -> None:
    node = Node(world, Stage.PREPARE, RUNS)
    world.kube.apply(kind, SPECS[kind])
    await reconcile_for(world, kind, 30)
    node.ends(LATE | STARTED)
    status = await world.finish(kind)
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED)
    assert "DeadlineExceeded: Pod was active on the node longer" in (status.message or "")
    assert world.provider.posts == []


# A container that a webhook added to the pod runs on after the worker: the Job never completes

PROXIED = RUNS | {
    "startTime": "2026-11-21T00:00:00Z",
    "containerStatuses": [
        {
            "name": "worker",
            "containerID": "1",
            "state": {"terminated": {"exitCode": 1, "finishedAt": "2026-11-21T00:00:40Z"}},
        },
        {"name": "istio-proxy", "state": {"running": {}}},
    ],
}


@pytest.mark.parametrize("kind", [LORA, Kind.TRANSCRIPTION])
async def test_sidecar_is_named_when_the_deadline_ends_the_run(kind: Kind, world: World) -> None:
    node = Node(world, Stage.PREPARE, PROXIED)
    world.kube.apply(kind, SPECS[kind])
    await reconcile_for(world, kind, TEMPLATE.deadline_seconds)
    assert world.status(kind).phase is Phase.PREPARING
    node.ends(PROXIED | LATE)
    status = await world.finish(kind)
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED)
    said = "containers that are not the operator's: istio-proxy; the worker had ended with exit code 1 at 00:00:40 UTC"
    assert said in (status.message or "")
    assert (len(node.seen), world.provider.posts) == (1, [])


@pytest.mark.parametrize("kind", Kind)
async def test_sidecar_at_the_collect_stage_pays_nothing_twice(kind: Kind, world: World) -> None:
    """Each attempt ends at the deadline; the paid result is kept for the next ones."""
    node = Node(world, Stage.COLLECT, PROXIED)
    world.kube.apply(kind, SPECS[kind])
    await world.until(kind, lambda: node.seen)
    for _ in range(3):
        before = len(node.seen)
        node.ends(PROXIED | LATE)
        await world.until(kind, lambda: world.status(kind).reason == Reason.RETRYING)
        assert "istio-proxy" in (world.status(kind).message or "")
        await world.until(kind, lambda before=before: len(node.seen) > before)  # type: ignore[misc]
    node.repaired()
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


@pytest.mark.parametrize(("kind", "stage"), STAGES)
async def test_outcome_counts_though_a_sidecar_keeps_the_job_running(kind: Kind, stage: Stage, world: World) -> None:
    """The worker reports its outcome, whether its pod ends or not."""
    world.kube.apply(kind, SPECS[kind])
    work, kept = world.work, list[str]()

    def runs_on() -> None:
        work()
        for job in world.kube.jobs.values():
            if job["metadata"]["labels"][STAGE_LABEL] == stage and "conditions" in job.get("status", {}):
                kept.append(job["metadata"]["uid"])
                job["status"] = {"active": 1, "ready": 0}
                world.process.observer.reports.note_finished(job["metadata"]["uid"])

    world.work = runs_on  # type: ignore[method-assign]
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert kept
    assert len(world.provider.posts) == 1


async def test_job_that_a_webhook_changed_is_not_replaced(world: World) -> None:
    """The operator compares what it would create with what it created, and never with the stored Job."""
    node = await waiting(world, LORA, Stage.PREPARE, PULLS)
    (job,) = node.jobs
    job["metadata"]["annotations"]["autopilot.gke.io/warden-version"] = "2.9.37"
    job["spec"]["template"]["spec"]["tolerations"].append({"key": "kubernetes.io/arch", "operator": "Exists"})
    job["spec"]["template"]["spec"]["containers"][0]["resources"] = {"limits": {"cpu": "500m"}}
    node.note(job)
    await reconcile_for(world, LORA, 300)
    assert (node.jobs, len(node.seen)) == ([job], 1)
    node.repaired()
    assert (await world.finish(LORA)).phase is Phase.COMPLETED


async def test_a_collect_stage_that_ran_out_of_time_is_tried_again(world: World) -> None:
    kind = Kind.IMAGE_GENERATION
    node = Node(world, Stage.COLLECT, RUNS)
    world.kube.apply(kind, SPECS[kind])
    await world.until(kind, lambda: node.seen)
    node.ends(LATE | STARTED)
    status = await reconcile_for(world, kind, 1)
    assert (status.phase, status.reason) == (Phase.COLLECTING, Reason.RETRYING)
    node.repaired()
    assert (await world.finish(kind)).phase is Phase.COMPLETED


@pytest.mark.parametrize(("kind", "stage"), STAGES)
async def test_a_pod_that_ended_without_a_start_counts_as_no_attempt(kind: Kind, stage: Stage, world: World) -> None:
    """Its image cannot be pulled: the pod is on its node, so that the kubelet ends it at its deadline."""
    node = await waiting(world, kind, stage, PULLS)
    for _ in range(5):
        before = list(node.seen)
        node.ends(LATE | NEVER_STARTED)
        await world.until(kind, lambda before=before: node.seen != before)  # type: ignore[misc]  # the default binds it
        node.status = PULLS
    status = world.status(kind)
    assert status.phase in (Phase.PREPARING, Phase.COLLECTING)
    assert status.run is not None
    assert status.run.stage_attempt == 1
    node.repaired()
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


async def test_pod_past_its_deadline_is_on_a_lost_node(world: World) -> None:
    """A toleration without tolerationSeconds keeps it there, and only the kubelet ends it."""
    node = Node(world, Stage.PREPARE, RUNS | {"startTime": world.now.isoformat()})
    world.kube.apply(LORA, SPECS[LORA])
    begun = world.now
    await reconcile_for(world, LORA, 30)
    (job,) = node.jobs
    job["status"]["ready"] = 1
    told = await world.until(LORA, lambda: world.status(LORA).reason == Reason.RETRYING)
    assert 900 < (told - begun).total_seconds() - TEMPLATE.deadline_seconds < 1000
    status = world.status(LORA)
    assert "its pod is past its deadline, and its node has not ended it" in (status.message or "")
    assert status.run is not None
    assert (status.run.stage_attempt, status.run.lost_attempts) == (2, 1)
    assert job["metadata"]["name"] not in world.kube.jobs


@pytest.mark.parametrize(
    ("status", "seconds", "late"),
    [
        ({"startTime": "2026-11-21T00:00:00Z"}, 600, False),
        ({"startTime": "2026-11-20T23:34:00Z"}, 600, True),
        ({"startTime": "2026-11-20T23:36:00Z"}, 600, False),
        ({"startTime": "2026-11-20T23:34:00Z", "phase": "Failed"}, 600, False),
        ({"startTime": "2026-11-20T23:34:00Z"}, None, False),
        ({"startTime": "soon"}, 600, False),
        ({}, 600, False),
    ],
)
def test_overdue_pods(status: Body, seconds: int | None, late: bool, world: World) -> None:
    assert pods.overdue([pod(status, seconds=seconds)], world.now) is late
    assert pods.overdue([], world.now) is False


@pytest.mark.parametrize(
    ("status", "ran"),
    [
        ({}, False),
        (UNSCHEDULABLE, False),
        (PULLS, False),
        (LATE | NEVER_STARTED, False),
        (LATE, False),
        (RUNS, True),
        (LATE | STARTED, True),
        ({"phase": "Succeeded"}, True),
        ({"phase": "Pending", "containerStatuses": [{"name": "injected", "state": {"running": {}}}]}, False),
        ({"phase": "Pending", "containerStatuses": [{"name": "worker", "containerID": "containerd://1"}]}, True),
    ],
)
def test_started_workers(status: Body, ran: bool) -> None:
    assert pods.ever_ran([pod(status)]) is ran
    assert pods.ever_ran([pod(RUNS), pod(status)]) is True


# Settings that were repaired


@pytest.mark.parametrize(("kind", "stage"), STAGES)
@pytest.mark.parametrize(
    "changes",
    [
        {"image": "worker:2"},
        {"resources": {"limits": {"memory": "1Gi"}}},
        {"pod": TEMPLATE.pod.model_copy(update={"node_selector": {"gpu": "no"}})},
    ],
)
async def test_job_that_never_started_is_replaced_with_new_settings(
    changes: Body, kind: Kind, stage: Stage, world: World
) -> None:
    node = await waiting(world, kind, stage, PULLS)
    (old,) = node.jobs
    restarted(world, **changes)
    begun = world.now
    assert (await world.until(kind, lambda: len(node.seen) == 2) - begun).total_seconds() < 30
    (new,) = node.jobs
    assert new["metadata"]["name"] == old["metadata"]["name"], "it is the same attempt"
    assert new["spec"]["template"] != old["spec"]["template"]
    await reconcile_for(world, kind, 300)
    assert node.jobs == [new], "it is made once"
    run = world.status(kind).run
    assert run is not None
    assert (run.stage_attempt, run.lost_attempts) == (1, 0)
    node.repaired()
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


async def test_a_refused_pod_is_made_again_with_the_new_settings(world: World) -> None:
    world.work = lambda: None  # type: ignore[method-assign]
    world.kube.apply(LORA, SPECS[LORA])
    world.kube.pod_refusals = [{"reason": "FailedCreate", "message": "maximum memory usage per Container is 1Gi"}]
    await reconcile_for(world, LORA, 20)
    assert world.status(LORA).reason == Reason.JOB_REFUSED
    restarted(world, resources={"limits": {"memory": "1Gi"}})
    await reconcile_for(world, LORA, 20)
    (job,) = world.kube.jobs.values()
    assert job["spec"]["template"]["spec"]["containers"][0]["resources"] == {"limits": {"memory": "1Gi"}}


def _running(node: Node, job: Body) -> None:
    node.status = RUNS
    node.world.kube.pods = [pod(RUNS, job["metadata"]["uid"])]


def _resumed(node: Node, job: Body) -> None:
    job["status"]["ready"] = 1


def _held(node: Node, job: Body) -> None:
    job["spec"]["suspend"] = True


def _forged(node: Node, job: Body) -> None:
    """Another template in the Job: the operator compares its own record."""
    job["spec"]["template"]["spec"]["containers"][0]["image"] = "worker:2"


@pytest.mark.parametrize("keeps", [_running, _resumed, _held])
async def test_a_job_that_started_or_is_held_by_a_queue_is_kept(
    keeps: Callable[[Node, Body], None], world: World
) -> None:
    """Also if the operator's cache does not know of it yet."""
    node = await waiting(world, LORA, Stage.PREPARE, PULLS)
    (job,) = node.jobs
    restarted(world, image="worker:2")
    keeps(node, job)
    await reconcile_for(world, LORA, 50)
    assert [each_job["metadata"]["uid"] for each_job in node.jobs] == node.seen == [job["metadata"]["uid"]]


def _suspended_meanwhile(job: Body) -> None:
    job["spec"]["suspend"] = True


def _ready_meanwhile(job: Body) -> None:
    job["status"]["ready"] = 1


@pytest.mark.parametrize("changes", [_suspended_meanwhile, _ready_meanwhile])
async def test_a_stale_cache_replaces_no_job(changes: Callable[[Body], None], world: World) -> None:
    """A queue preempts the Job, or its pod starts, just as the next leader looks at it."""
    node = await waiting(world, LORA, Stage.PREPARE, PULLS)
    (job,) = node.jobs
    restarted(world, image="worker:2")
    world.watch(ResourceRef(kind=LORA, namespace="ns", name="it", uid=UID))
    node.note(job)
    changes(job)
    await world.reconcile(LORA)
    assert node.jobs == [job]


async def test_a_pod_that_starts_just_now_keeps_its_job(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    node = await waiting(world, LORA, Stage.PREPARE, PULLS)
    (job,) = node.jobs
    restarted(world, image="worker:2")
    reads = [PULLS]

    async def listed(*_: Any) -> list[Body]:
        return [pod(reads.pop() if reads else RUNS, job["metadata"]["uid"])]

    monkeypatch.setattr(world.kube, "job_pods", listed)
    await reconcile_for(world, LORA, 50)
    assert (reads, node.jobs) == ([], [job])


async def test_changed_template_of_a_job_is_not_compared(world: World) -> None:
    node = await waiting(world, LORA, Stage.PREPARE, PULLS)
    (job,) = node.jobs
    _forged(node, job)
    await reconcile_for(world, LORA, 300)
    assert node.jobs == [job], "only the record counts"
    restarted(world, image="worker:2")
    await reconcile_for(world, LORA, 30)
    assert len(node.seen) == 2


async def test_a_job_of_an_earlier_release_is_made_again(world: World) -> None:
    """It has a deadline of its own, which would end its wait."""
    node = await waiting(world, LORA, Stage.PREPARE, UNSCHEDULABLE)
    world.database["worker_jobs"].update_many({}, {"$unset": {"templateHash": ""}})
    world.restart()
    await reconcile_for(world, LORA, 30)
    assert len(node.seen) == 2
    await reconcile_for(world, LORA, 300)
    assert len(node.seen) == 2


@pytest.mark.parametrize("point", range(24))
async def test_a_crash_at_any_write_makes_it_again_once(point: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, Writes())
    node = await waiting(world, LORA, Stage.PREPARE, PULLS)
    restarted(world, image="worker:2")
    world.writes._points = (2 * len(world.writes.done) + point,)
    await reconcile_for(world, LORA, 60)
    (job,) = node.jobs
    assert job["spec"]["template"]["spec"]["containers"][0]["image"] == "worker:2"
    run = world.status(LORA).run
    assert run is not None
    assert (run.stage_attempt, run.job and run.job.uid) == (1, job["metadata"]["uid"])
    assert len(node.seen) <= 3
    node.repaired()
    assert (await world.finish(LORA)).phase is Phase.COMPLETED


async def test_a_crash_before_the_deletion_counts_no_attempt(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    node = await waiting(world, LORA, Stage.PREPARE, PULLS)
    restarted(world, image="worker:2")
    delete = world.kube.delete_job

    async def crashes(*_: Any) -> None:
        monkeypatch.setattr(world.kube, "delete_job", delete)
        world.restart()

    monkeypatch.setattr(world.kube, "delete_job", crashes)
    await reconcile_for(world, LORA, 60)
    run = world.status(LORA).run
    assert run is not None
    assert (run.stage_attempt, len(node.seen)) == (1, 2)


async def test_job_in_deletion_is_not_mistaken_for_the_new_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A finalizer of others holds it; when it goes, the status must not name it."""
    node = await waiting(world, LORA, Stage.PREPARE, PULLS)
    restarted(world, image="worker:2")
    delete = world.kube.delete_job

    async def marks(namespace: str, name: str, uid: str) -> None:
        if world.kube.jobs[name]["metadata"]["uid"] == uid:
            world.kube.jobs[name]["metadata"]["deletionTimestamp"] = world.now.isoformat()

    monkeypatch.setattr(world.kube, "delete_job", marks)
    await reconcile_for(world, LORA, 60)
    status = world.status(LORA)
    assert status.run is not None
    assert (status.run.stage_attempt, status.run.job) == (1, None)
    (job,) = node.jobs
    await delete("ns", job["metadata"]["name"], job["metadata"]["uid"])
    await reconcile_for(world, LORA, 60)
    run = world.status(LORA).run
    assert run is not None
    assert (run.stage_attempt, len(node.seen)) == (1, 2)


async def test_the_former_leader_does_not_delete_the_next_ones_job(world: World) -> None:
    """Two versions of the settings, during an upgrade: the uid is a precondition."""
    node = await waiting(world, LORA, Stage.PREPARE, PULLS)
    (old,) = node.jobs
    restarted(world, image="worker:2")
    await reconcile_for(world, LORA, 30)
    (new,) = node.jobs
    await world.kube.delete_job("ns", old["metadata"]["name"], old["metadata"]["uid"])
    assert node.jobs == [new]
