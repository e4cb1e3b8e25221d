"""Refused Jobs and pods, and causes of a pod's end: messages, and the resource's next state."""

import json
from typing import Any

import pytest
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import Kind, Phase, Reason
from contentgen_operator.kube import pods
from contentgen_operator.state.observed import ResourceRef
from contentgen_simulation.world import SPECS, UID, World

LORA, IMAGES = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION
QUOTA = (403, 'jobs.batch "contentgen" is forbidden: exceeded quota: q, limited: count/jobs.batch=0')


def pod(uid: str = "j1", **status: Any) -> dict[str, Any]:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "uid": uid, "controller": True}
    limits = {"limits": {"memory": "1Gi"}}
    return {"metadata": {"ownerReferences": [owner]}, "spec": {"containers": [{"resources": limits}]}, "status": status}


def state(**given: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"state": given}]}


def condition(kind: str, status: str, why: str, message: str) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": status, "reason": why, "message": message}]}


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (
            state(terminated={"reason": "OOMKilled", "exitCode": 137}),
            "OOMKilled: the worker needed more than its memory",
        ),
        ({"reason": "Evicted", "message": "the node was low on ephemeral-storage"}, "Evicted: the node was low on"),
        ({"reason": "NodeLost"}, "NodeLost"),
        (
            condition("DisruptionTarget", "True", "DeletionByTaintManager", "deleting due to NoExecute taint")
            | state(terminated={"reason": "Error", "exitCode": 143}),
            "DeletionByTaintManager: deleting due to NoExecute taint",
        ),
        (state(terminated={"reason": "Error", "exitCode": 1}), "Error: the worker ended with exit code 1"),
        (state(waiting={"reason": "ErrImagePull", "message": "not found"}), "ErrImagePull: not found"),
        ({}, "its pod was deleted"),
    ],
)
def test_causes_of_a_pods_end(status: dict[str, Any], cause: str) -> None:
    assert pods.end_cause([pod(), pod(**status)]).startswith(cause)


LATE = {"reason": "DeadlineExceeded", "message": "Pod was active on the node longer than the specified deadline"}
PROXY = {"name": "istio-proxy", "state": {"running": {}}}


def injected(finished_at: str | None) -> dict[str, Any]:
    """Pod with a proxy, at its deadline of 00:10:00."""
    ended = {"exitCode": 1, "finishedAt": finished_at}
    statuses = [PROXY, {"name": "worker", "state": {"terminated": ended} if finished_at else {"running": {}}}]
    made = pod(**LATE, startTime="2026-11-21T00:00:00Z", containerStatuses=statuses)
    limits = {"limits": {"memory": "1Gi"}}
    made["spec"] = {
        "activeDeadlineSeconds": 600,
        "initContainers": [{"name": "istio-init"}],
        "containers": [{"name": "istio-proxy"}, {"name": "worker", "resources": limits}],
    }
    return made


@pytest.mark.parametrize(
    ("finished_at", "note"),
    [
        ("2026-11-21T00:00:40Z", "; the worker had ended with exit code 1 at 00:00:40 UTC"),
        ("2026-11-21T00:10:00Z", ""),
        ("2026-11-21T00:10:05Z", ""),
        ("soon", ""),
        (None, ""),
    ],
)
def test_end_at_the_deadline_names_containers_of_others(finished_at: str | None, note: str) -> None:
    said = pods.end_cause([injected(finished_at)])
    added = "; its pod has containers that are not the operator's: istio-init, istio-proxy"
    assert said == f"DeadlineExceeded: {LATE['message']}{added}{note}"


def test_end_at_the_deadline_without_other_containers_names_none() -> None:
    assert pods.end_cause([pod(**LATE)]) == f"DeadlineExceeded: {LATE['message']}"


def test_memory_limit_is_the_workers_among_other_containers() -> None:
    killed = injected(None)
    killed["status"] = {
        "containerStatuses": [{"name": "worker", "state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}]
    }
    assert "(1Gi)" in pods.end_cause([killed])


def test_failing_init_container_is_a_cause_of_a_late_start() -> None:
    """Only webhooks add init containers; the worker's container is PodInitializing meanwhile."""
    waits = {
        "waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container=istio-init"}
    }
    status = state(waiting={"reason": "PodInitializing"}) | {"phase": "Pending"}
    status |= {"initContainerStatuses": [{"name": "istio-init", "state": waits}]}
    assert pods.waiting_cause(pod(**status), 99).startswith("CrashLoopBackOff: back-off 5m0s")


def test_a_job_without_a_pod_has_lost_it() -> None:
    assert pods.end_cause([]) == "its pod was deleted"


@pytest.mark.parametrize(
    ("status", "seconds", "cause"),
    [
        (
            state(waiting={"reason": "ImagePullBackOff", "message": "no such image"}),
            4,
            "ImagePullBackOff: no such image",
        ),
        (state(waiting={"reason": "ContainerCreating"}), 99, ""),
        (state(running={}) | {"phase": "Running"}, 99, ""),
        (condition("PodScheduled", "False", "Unschedulable", "0/1 nodes"), 4, ""),
        (condition("PodScheduled", "False", "Unschedulable", "0/1 nodes"), 30, "Unschedulable: 0/1 nodes"),
    ],
)
def test_causes_of_a_pods_late_start(status: dict[str, Any], seconds: float, cause: str) -> None:
    assert pods.waiting_cause(pod(**{"phase": "Pending"} | status), seconds) == cause


def test_label_of_a_job_alone_makes_no_pod_its_own() -> None:
    other = pod("another-job")
    without = {"metadata": {}, "status": {"reason": "Evicted"}}
    loose = pod()
    loose["metadata"]["ownerReferences"][0]["controller"] = False
    assert pods.of_the_job([other, without, loose], "j1") == []
    assert pods.of_the_job([other, pod()], "j1") == [pod()]


def test_newest_job_event_counts_and_is_bounded() -> None:
    said = [
        {"reason": "FailedCreate", "message": "old", "lastTimestamp": "2026-11-21T00:00:00Z"},
        {"reason": "FailedCreate", "message": "new" * 500, "lastTimestamp": "2026-11-21T00:01:00Z"},
        {"reason": "SuccessfulCreate", "message": "x", "lastTimestamp": "2026-11-21T00:02:00Z"},
    ]
    assert pods.refused_pod(said) == ("new" * 500)[:300]
    assert pods.refused_pod([]) == ""


@pytest.mark.parametrize(
    ("code", "refused"),
    [
        (400, True),
        (403, True),
        (422, True),
        (500, True),
        *((number, False) for number in (401, 404, 409, 429, 503, 504)),
    ],
)
def test_answers_that_refuse_an_object(code: int, refused: bool) -> None:
    error = ApiException(status=code)
    error.body = json.dumps({"message": "the words"})
    assert pods.refusal_of(error) == (f"{code} the words" if refused else "")


def quota(hard: dict[str, str], used: dict[str, str], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "q"}, "spec": spec, "status": {"hard": hard, "used": used}}


@pytest.mark.parametrize(
    ("given", "full"),
    [
        (quota({"pods": "0"}, {"pods": "0"}), True),
        (quota({"count/pods": "3"}, {"count/pods": "3"}), True),
        (quota({"pods": "3"}, {"pods": "2"}), False),
        (quota({"pods": "0"}, {"pods": "0"}, scopes=["BestEffort"]), False),
        (quota({"pods": "1k"}, {"pods": "1"}), False),
        (quota({"secrets": "0"}, {"secrets": "0"}), False),
        ({"metadata": {"name": "new"}}, False),
    ],
)
def test_quotas_without_room_for_a_pod(given: dict[str, Any], full: bool) -> None:
    assert pods.no_room([given]).startswith("exceeded quota: q, requested:" if full else "")
    assert bool(pods.no_room([given])) is full


# In the simulated world


async def looked_at(world: World, kind: Kind, times: int = 1) -> None:
    for _ in range(times):
        await world.reconcile(kind)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("refused", [QUOTA, (422, "Job is invalid"), (500, "failed calling webhook")])
async def test_a_refused_job_before_payment_costs_nothing_and_goes_on(
    kind: Kind, refused: tuple[int, str], world: World
) -> None:
    world.kube.refuses_jobs = refused
    world.kube.apply(kind, SPECS[kind])
    await looked_at(world, kind)
    status = world.status(kind)
    assert (status.phase, status.reason) == (Phase.PENDING, Reason.JOB_REFUSED)
    assert refused[1] in (status.message or "")
    assert "nothing" in (status.message or "")
    assert {condition.reason for condition in status.conditions} == {Reason.JOB_REFUSED}
    assert world.kube.events == [("Warning", "JobRefused")]
    await looked_at(world, kind, 20)
    assert world.status(kind) == status, "told once"
    assert (world.kube.events, world.provider.posts, world.kube.jobs) == ([("Warning", "JobRefused")], [], {})
    assert world.database["ledger"].count_documents({}) == 0
    world.kube.refuses_jobs = None
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


@pytest.mark.parametrize("kind", Kind)
async def test_job_refused_after_payment_reports_it_and_continues(kind: Kind, world: World) -> None:
    world.kube.apply(kind, SPECS[kind])
    await world.finish(kind, Phase.PROCESSING)
    world.kube.refuses_jobs = QUOTA
    while world.status(kind).phase is Phase.PROCESSING:
        await world.reconcile(kind)
    status = world.status(kind)
    assert (status.phase, status.reason) == (Phase.COLLECTING, Reason.JOB_REFUSED)
    for words in (QUOTA[1], "Request request-1 of", "was paid", "its answer is kept"):
        assert words in (status.message or "")
    assert world.kube.events[-1] == ("Warning", "JobRefused")
    (bought,) = world.database["ledger"].find()
    assert bought["state"] == "succeeded"
    world.restart()
    await looked_at(world, kind, 20)
    later = world.status(kind)
    assert (later.phase, later.reason, later.message) == (status.phase, status.reason, status.message)
    assert world.kube.events.count(("Warning", "JobRefused")) == 1
    world.kube.refuses_jobs = None
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


async def test_full_quota_stops_the_payment(world: World) -> None:
    world.kube.full = [quota({"pods": "0"}, {"pods": "0"})]
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await looked_at(world, IMAGES, 5)
    status = world.status(IMAGES)
    assert (status.phase, status.reason, world.provider.posts) == (Phase.PENDING, Reason.JOB_REFUSED, [])
    assert "exceeded quota: q" in (status.message or "")
    world.kube.full = []
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED


async def test_a_webhook_that_knows_no_dry_run_holds_no_payment_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:

    async def no_dry_run(namespace: str, manifest: dict[str, Any]) -> None:
        error = ApiException(status=400)
        error.body = json.dumps({"message": 'admission webhook "w" does not support dry run'})
        raise error

    monkeypatch.setattr(world.kube, "check_job", no_dry_run)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await looked_at(world, IMAGES, 2)
    assert len(world.provider.posts) == 1


@pytest.mark.parametrize(
    ("there", "why"),
    [
        ({"pod_refusals": [{"reason": "FailedCreate", "message": "exceeded quota: pods=0"}]}, Reason.JOB_REFUSED),
        ({"pods": [pod(phase="Pending", **state(waiting={"reason": "ErrImagePull"}))]}, Reason.POD_NOT_STARTED),
    ],
)
async def test_refused_or_stuck_pod_is_reported_within_seconds(
    there: dict[str, Any], why: Reason, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(world, "work", lambda: None)
    world.kube.apply(LORA, SPECS[LORA])
    for name, value in there.items():
        setattr(world.kube, name, value)
    begun = world.now
    await looked_at(world, LORA)
    for each_pod in world.kube.pods:
        each_pod["metadata"]["ownerReferences"][0]["uid"] = next(iter(world.kube.jobs.values()))["metadata"]["uid"]
    await looked_at(world, LORA)
    assert world.status(LORA).reason == why
    assert world.kube.events[-1] == ("Warning", why)
    assert (world.now - begun).total_seconds() <= 10
    status = world.status(LORA)
    await looked_at(world, LORA, 5)
    assert world.status(LORA) == status, "told once"


async def test_the_cause_of_a_workers_end_is_read_from_its_pod(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "work", lambda: None)
    world.kube.apply(LORA, SPECS[LORA])
    seen = []
    for _ in range(40):
        await world.reconcile(LORA)
        for job in world.kube.jobs.values():
            job["status"] = {"conditions": [{"type": "Failed", "status": "True", "message": "backoff limit"}]}
            world.kube.pods = [pod(job["metadata"]["uid"], **state(terminated={"reason": "OOMKilled"}))]
            for cache in world.caches:
                cache.drop_job(ResourceRef(kind=LORA, namespace="ns", name="it", uid=UID), job["metadata"]["name"])
        seen.append(world.status(LORA))
        if seen[-1].phase is Phase.FAILED:
            break
    assert (seen[-1].reason, len(world.kube.jobs)) == (Reason.JOB_FAILED, 3)
    assert "OOMKilled: the worker needed more than its memory limit (1Gi)" in (seen[-1].message or "")
    assert world.kube.events.count(("Warning", "Retrying")) == 2, "an event for each attempt that failed"
