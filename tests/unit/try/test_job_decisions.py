"""Decisions of the Job runner: deadlines, deleted and suspended Jobs, failed pods, lost processes."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contentgen_try.kubelet import actions
from contentgen_try.kubelet.decide import decide, orphaned
from contentgen_try.kubelet.manifests import pod_of
from contentgen_try.kubelet.state import Body, Container, Observed

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
STATUS = {"startTime": "2026-01-01T12:00:00Z"}
RUNS = Container(START)


def job(status: Body | None = None, deleted: str | None = None, image: str = "contentgen-worker", **spec: Any) -> Body:
    meta: Body = {"name": "made", "namespace": "default", "uid": "job-1"}
    if deleted:
        meta["deletionTimestamp"] = deleted
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "worker", "image": image}]}}
    common = {"backoffLimit": 0, "activeDeadlineSeconds": 60, "template": template}
    return {"metadata": meta, "spec": common | spec, "status": STATUS if status is None else status}


def pod(owner: Body, phase: str = "Pending", uid: str = "pod-1", deleted: str | None = None) -> Body:
    made = pod_of(owner)
    made["metadata"]["uid"] = uid
    made["status"] = {"phase": phase}
    if deleted:
        made["metadata"]["deletionTimestamp"] = deleted
    return made


def decided(
    owner: Body, *pods: Body, containers: dict[str, Container] | None = None, after: float = 1
) -> tuple[Any, ...]:
    return decide(Observed(owner, pods, containers or {}, START + timedelta(seconds=after)))


def ended(code: int) -> Container:
    return Container(START, START + timedelta(seconds=1), code, "its output")


def conditions(action: actions.PatchJob) -> list[tuple[str, str, str]]:
    return [(condition["type"], condition["status"], condition["reason"]) for condition in action.status["conditions"]]


def test_a_new_job_gets_its_start_time_then_a_pod() -> None:
    [begun] = decided(job({}))
    assert begun == actions.PatchJob({"startTime": "2026-01-01T12:00:01Z", "conditions": [], "active": 0})
    assert decided(job()) == (actions.CreatePod(),)


def test_a_pod_is_controlled_by_its_job() -> None:
    made = pod(job())
    [owner] = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Job", "job-1", True)
    assert made["metadata"]["labels"]["batch.kubernetes.io/job-name"] == "made"
    assert made["metadata"]["labels"]["a"] == "b"


def test_a_pending_pod_is_started_once() -> None:
    made = pod(job())
    assert decided(job(), made)[0] == actions.StartContainer(made)
    plan = decided(job(), made, containers={"pod-1": RUNS})
    assert not any(isinstance(each, actions.StartContainer) for each in plan)
    assert isinstance(plan[0], actions.PatchPod)
    assert plan[0].status["phase"] == "Running"


def test_running_pod_needs_no_action() -> None:
    owner = job(STATUS | {"active": 1, "failed": 0, "ready": 1})
    assert decided(owner, pod(owner, "Running"), containers={"pod-1": RUNS}) == ()


@pytest.mark.parametrize(("code", "phase", "shown"), [(0, "Succeeded", 0), (3, "Failed", 3), (-9, "Failed", 137)])
def test_the_end_of_a_process_is_the_end_of_its_pod(code: int, phase: str, shown: int) -> None:
    made = pod(job(), "Running")
    patch = next(
        each for each in decided(job(), made, containers={"pod-1": ended(code)}) if isinstance(each, actions.PatchPod)
    )
    [container] = patch.status["containerStatuses"]
    assert (patch.status["phase"], container["state"]["terminated"]["exitCode"]) == (phase, shown)
    assert container["state"]["terminated"].get("message") == ("its output" if shown else None)


def test_a_succeeded_pod_completes_the_job() -> None:
    owner = job()
    [done] = decided(owner, pod(owner, "Succeeded"), containers={"pod-1": ended(0)})
    assert conditions(done) == [("Complete", "True", "CompletionsReached")]


def test_a_failed_pod_fails_the_job_beyond_its_limit() -> None:
    owner = job()
    [done] = decided(owner, pod(owner, "Failed"))
    assert conditions(done) == [("Failed", "True", "BackoffLimitExceeded")]


def test_a_failed_pod_is_replaced_within_the_limit() -> None:
    owner = job(backoffLimit=1)
    plan = decided(owner, pod(owner, "Failed"))
    assert actions.CreatePod() in plan
    [*_, done] = decided(owner, pod(owner, "Failed"), pod(owner, "Failed", "pod-2"))
    assert conditions(done) == [("Failed", "True", "BackoffLimitExceeded")]


def test_the_deadline_stops_the_process_and_fails_the_job() -> None:
    owner, made = job(), pod(job(), "Running")
    assert not any(
        isinstance(each, actions.StopContainer) for each in decided(owner, made, containers={"pod-1": RUNS}, after=59)
    )
    stopped, failed = decided(owner, made, containers={"pod-1": RUNS}, after=60)
    assert stopped == actions.StopContainer(made)
    assert conditions(failed) == [("Failed", "True", "DeadlineExceeded")]


def test_pod_deadline_counts_from_its_start_and_fails_it() -> None:
    owner = job({"startTime": "2026-01-01T00:00:00Z"}, activeDeadlineSeconds=None)
    owner["spec"]["template"]["spec"]["activeDeadlineSeconds"] = 60
    made = pod(owner, "Running")
    before = decided(owner, made, containers={"pod-1": RUNS}, after=59)
    assert not any(isinstance(each, actions.StopContainer) for each in before)
    stopped, said, *_ = decided(owner, made, containers={"pod-1": RUNS}, after=60)
    assert stopped == actions.StopContainer(made)
    assert isinstance(said, actions.PatchPod)
    assert (said.status["phase"], said.status["reason"]) == ("Failed", "DeadlineExceeded")
    made["status"] = said.status
    [failed] = decided(owner, made, containers={"pod-1": ended(-9)}, after=61)
    assert conditions(failed) == [("Failed", "True", "BackoffLimitExceeded")], "the Job's reason is not the pod's"


def test_a_deleted_job_deletes_its_pods_and_starts_none() -> None:
    owner, made = job(deleted="2026-01-01T12:00:00Z"), pod(job(), "Running")
    assert decided(owner, made, containers={"pod-1": RUNS}) == (actions.DeletePod(made),)
    assert decided(job({}, deleted="2026-01-01T12:00:00Z")) == ()


def test_pods_without_their_job_are_orphans() -> None:
    made, foreign = pod(job()), {"metadata": {"name": "of-nobody", "uid": "x"}}
    assert orphaned((made, foreign), frozenset({"job-2"})) == (made,)
    assert orphaned((made, foreign), frozenset({"job-1"})) == ()


def test_a_suspended_job_has_no_process_until_it_is_resumed() -> None:
    owner, made = job(suspend=True), pod(job(), "Running")
    deleted, said = decided(owner, made, containers={"pod-1": RUNS})
    assert deleted == actions.DeletePod(made)
    assert conditions(said) == [("Suspended", "True", "JobSuspended")]
    held = job(said.status, suspend=True)
    assert decided(held) == ()
    [resumed] = decided(job(said.status))
    assert conditions(resumed) == [("Suspended", "False", "JobResumed")]


def test_finished_job_starts_nothing_and_is_deleted_in_time() -> None:
    over = {"type": "Failed", "status": "True", "lastTransitionTime": "2026-01-01T12:00:00Z"}
    owner = job(STATUS | {"conditions": [over]}, ttlSecondsAfterFinished=100)
    made = pod(owner, "Running")
    assert decided(owner) == ()
    assert decided(owner, made, containers={"pod-1": RUNS}) == (actions.StopContainer(made),)
    assert decided(owner, made, after=100) == (actions.DeletePod(made), actions.DeleteJob())


def test_a_running_pod_without_a_process_has_failed() -> None:
    [patch, *_] = decided(job(), pod(job(), "Running"))
    assert (patch.status["phase"], patch.status["containerStatuses"][0]["state"]["terminated"]["exitCode"]) == (
        "Failed",
        137,
    )


def test_another_image_is_said_and_never_started() -> None:
    owner = job(image="example.com/other:1")
    made = pod(owner)
    [said, *_] = decided(owner, made)
    waiting = said.status["containerStatuses"][0]["state"]["waiting"]
    assert waiting["reason"] == "ErrImagePull"
    assert "example.com/other:1" in waiting["message"]
    made["status"] = said.status
    assert not any(isinstance(each, (actions.StartContainer, actions.PatchPod)) for each in decided(owner, made))
