"""Decisions of the Job runner, as the Job controller and the kubelet would make them; pure.

It runs Jobs of one pod with one container at a time, as those of the operator are: no parallelism, no completions.
"""

from datetime import datetime, timedelta
from typing import Any

from contentgen_try.kubelet import manifests
from contentgen_try.kubelet.actions import (
    Action,
    CreatePod,
    DeleteJob,
    DeletePod,
    PatchJob,
    PatchPod,
    StartContainer,
    StopContainer,
)
from contentgen_try.kubelet.state import Body, Container, Observed

_BACKOFF_LIMIT = 6  # Kubernetes' default
_ENDED = ("Succeeded", "Failed")
_DEADLINE = "Job was active longer than specified deadline"
_BACKOFF = "Job has reached the specified backoff limit"


def decide(seen: Observed) -> tuple[Action, ...]:
    """Actions for a Job, in their order. Each needs no result of the one before."""
    job, now = seen.job, seen.now
    if job["metadata"].get("deletionTimestamp"):
        return tuple(DeletePod(pod) for pod in seen.pods)
    status = job.get("status") or {}
    if end := _end(status):
        return _after_end(seen, end)
    if job["spec"].get("suspend"):
        return _suspended(seen, status)
    started = _time(status.get("startTime"))
    if started is None:
        return (PatchJob({"startTime": manifests.instant(now), "conditions": _resumed(status, now), "active": 0}),)
    deadline = job["spec"].get("activeDeadlineSeconds")
    if deadline is not None and now >= started + timedelta(seconds=deadline):
        return (*_stop_all(seen), PatchJob(_failed(status, "DeadlineExceeded", _DEADLINE, seen)))
    return _progress(seen, status)


def orphaned(pods: tuple[Body, ...], jobs: frozenset[str]) -> tuple[Body, ...]:
    """Pods of ours whose Job does not exist any more."""
    return tuple(pod for pod in pods if (owner := manifests.job_of(pod)) and owner not in jobs)


def _progress(seen: Observed, status: Body) -> tuple[Action, ...]:
    actions: list[Action] = []
    for pod in seen.pods:
        actions += _pod_actions(pod, seen.containers.get(pod["metadata"]["uid"], Container()), seen.now)
    ended = [pod for pod in seen.pods if _phase(pod) in _ENDED]
    alive = [pod for pod in seen.pods if _phase(pod) not in _ENDED and not pod["metadata"].get("deletionTimestamp")]
    if any(_phase(pod) == "Succeeded" for pod in ended):
        return (*actions, PatchJob(_complete(status, seen)))
    failed = sum(_phase(pod) == "Failed" for pod in ended)
    limit = seen.job["spec"].get("backoffLimit")
    if failed > (_BACKOFF_LIMIT if limit is None else limit):
        return (*actions, PatchJob(_failed(status, "BackoffLimitExceeded", _BACKOFF, seen)))
    if not alive and not actions:
        actions.append(CreatePod())
    counts = {"active": len(alive), "failed": failed, "ready": sum(_phase(pod) == "Running" for pod in alive)}
    if any((status.get(name) or 0) != count for name, count in counts.items()):
        actions.append(PatchJob(counts))
    return tuple(actions)


def _pod_actions(pod: Body, container: Container, now: datetime) -> list[Action]:
    if pod["metadata"].get("deletionTimestamp"):
        return [DeletePod(pod)]
    if _phase(pod) in _ENDED:
        return []
    if problem := manifests.problem(pod):
        return [] if _waiting(pod) else [PatchPod(pod, manifests.waiting(pod, *problem))]
    return _process_actions(pod, container, now)


def _process_actions(pod: Body, container: Container, now: datetime) -> list[Action]:
    if container.started is None and _phase(pod) != "Running":
        return [StartContainer(pod)]
    if container.started is None:  # the runner was started again
        lost = Container(started=now, ended=now, exit_code=137, output="the process is gone")
        return [PatchPod(pod, manifests.ended(pod, lost))]
    if container.ended is not None:
        return [PatchPod(pod, manifests.ended(pod, container))]
    deadline = pod["spec"].get("activeDeadlineSeconds")
    if deadline is not None and now >= container.started + timedelta(seconds=deadline):
        return [StopContainer(pod), PatchPod(pod, manifests.timed_out(pod, container, now))]
    return [] if _phase(pod) == "Running" else [PatchPod(pod, manifests.running(pod, container))]


def _after_end(seen: Observed, end: Body) -> tuple[Action, ...]:
    """Processes are stopped; the Job is deleted when its time to live is over."""
    lifetime = seen.job["spec"].get("ttlSecondsAfterFinished")
    at = _time(end.get("lastTransitionTime"))
    if lifetime is not None and at is not None and seen.now >= at + timedelta(seconds=lifetime):
        return (*(DeletePod(pod) for pod in seen.pods), DeleteJob())
    actions = list(_stop_all(seen))
    for pod in seen.pods:
        container = seen.containers.get(pod["metadata"]["uid"], Container())
        if container.ended is not None and _phase(pod) not in _ENDED:
            actions.append(PatchPod(pod, manifests.ended(pod, container)))
    return tuple(actions)


def _suspended(seen: Observed, status: Body) -> tuple[Action, ...]:
    actions: list[Action] = [DeletePod(pod) for pod in seen.pods if _phase(pod) not in _ENDED]
    if not _condition(status, "Suspended"):
        said = manifests.condition("Suspended", "JobSuspended", "Job suspended", seen.now)
        actions.append(PatchJob({"conditions": [*_others(status, "Suspended"), said], "startTime": None, "active": 0}))
    return tuple(actions)


def _stop_all(seen: Observed) -> tuple[Action, ...]:
    return tuple(
        StopContainer(pod)
        for pod in seen.pods
        if seen.containers.get(pod["metadata"]["uid"], Container()).runs
    )  # fmt: skip


def _complete(status: Body, seen: Observed) -> Body:
    reached = manifests.condition(
        "Complete", "CompletionsReached", "Reached expected number of succeeded pods", seen.now
    )
    return {
        "conditions": [*(status.get("conditions") or ()), reached],
        "completionTime": manifests.instant(seen.now),
        "succeeded": 1,
        "active": 0,
        "ready": 0,
    }


def _failed(status: Body, reason: str, message: str, seen: Observed) -> Body:
    said = manifests.condition("Failed", reason, message, seen.now)
    failed = sum(_phase(pod) != "Succeeded" for pod in seen.pods)
    return {"conditions": [*(status.get("conditions") or ()), said], "failed": failed, "active": 0, "ready": 0}


def _resumed(status: Body, now: datetime) -> list[Body]:
    if not _condition(status, "Suspended"):
        return list(status.get("conditions") or ())
    said = manifests.condition("Suspended", "JobResumed", "Job resumed", now, value="False")
    return [*_others(status, "Suspended"), said]


def _end(status: Body) -> Body | None:
    return _condition(status, "Complete") or _condition(status, "Failed")


def _condition(status: Body, kind: str) -> Body | None:
    found = (
        condition
        for condition in status.get("conditions") or ()
        if (condition["type"], condition["status"]) == (kind, "True")
    )
    return next(found, None)


def _others(status: Body, kind: str) -> list[Body]:
    return [condition for condition in status.get("conditions") or () if condition["type"] != kind]


def _phase(pod: Body) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def _waiting(pod: Body) -> bool:
    states = [status.get("state") or {} for status in (pod.get("status") or {}).get("containerStatuses") or ()]
    return any("waiting" in state for state in states)


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
