"""Pods of Jobs, and their status; pure."""

import secrets
from copy import deepcopy
from datetime import datetime

from contentgen_try.kubelet.state import Body, Container

NODE = "this-computer"
IMAGE = "contentgen-worker"
"""The only image: its program is the worker of this installation."""
_JOB_LABELS = ("batch.kubernetes.io/job-name", "job-name")
_UID_LABELS = ("batch.kubernetes.io/controller-uid", "controller-uid")
_MESSAGE = 4096  # characters of a termination message


def instant(at: datetime) -> str:
    """Time as in the API."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(kind: str, reason: str, message: str, now: datetime, value: str = "True") -> Body:
    """Condition of a Job or a pod."""
    at = instant(now)
    said = {"type": kind, "status": value, "reason": reason, "message": message}
    return said | {"lastProbeTime": at, "lastTransitionTime": at}


def pod_of(job: Body) -> Body:
    """New pod of a Job."""
    meta, template = job["metadata"], deepcopy(job["spec"]["template"])
    labels = dict.fromkeys(_JOB_LABELS, meta["name"]) | dict.fromkeys(_UID_LABELS, meta["uid"])
    inside = template.get("metadata") or {}
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": meta["name"], "uid": meta["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{meta['name']}-{secrets.token_hex(3)}",
            "namespace": meta["namespace"],
            "labels": (inside.get("labels") or {}) | labels,
            "annotations": inside.get("annotations") or {},
            "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": True}],
        },
        "spec": template["spec"] | {"nodeName": NODE},
    }


def job_of(pod: Body) -> str:
    """Uid of the Job that controls a pod; empty if none does."""
    owners = pod["metadata"].get("ownerReferences") or ()
    return next((owner["uid"] for owner in owners if owner.get("controller") and owner.get("kind") == "Job"), "")


def problem(pod: Body) -> tuple[str, str] | None:
    """Reason and message why the pod cannot start here; None if it can."""
    containers = pod["spec"].get("containers") or []
    if len(containers) != 1 or pod["spec"].get("initContainers"):
        return "CreateContainerConfigError", "`contentgen try` runs pods of one container"
    image = str(containers[0].get("image"))
    if image != IMAGE:
        return "ErrImagePull", f"`contentgen try` has no image {image}; it runs {IMAGE} only"
    return None


def waiting(pod: Body, reason: str, message: str) -> Body:
    """Status of a pod that cannot start."""
    return {"phase": "Pending", "containerStatuses": [_state(pod, {"waiting": {"reason": reason, "message": message}})]}


def running(pod: Body, container: Container) -> Body:
    """Status of a pod whose process runs."""
    assert container.started is not None  # noqa: S101 - the caller has looked
    at = instant(container.started)
    ready = condition("Ready", "", "", container.started)
    return {
        "phase": "Running",
        "startTime": at,
        "hostIP": "127.0.0.1",
        "podIP": "127.0.0.1",
        "conditions": [condition("PodScheduled", "", "", container.started), ready],
        "containerStatuses": [_state(pod, {"running": {"startedAt": at}}, ready=True)],
    }


def ended(pod: Body, container: Container) -> Body:
    """Status of a pod whose process has ended."""
    assert container.started is not None  # noqa: S101 - the caller has looked
    assert container.ended is not None  # noqa: S101 - likewise
    code = container.exit_code or 0
    shown = 128 - code if code < 0 else code  # a signal, as a shell and a runtime report it
    state = {
        "exitCode": shown,
        "reason": "Completed" if shown == 0 else "Error",
        "startedAt": instant(container.started),
        "finishedAt": instant(container.ended),
    }
    if shown and container.output:
        state["message"] = container.output[-_MESSAGE:]
    return {
        "phase": "Succeeded" if shown == 0 else "Failed",
        "startTime": instant(container.started),
        "containerStatuses": [_state(pod, {"terminated": state})],
    }


def timed_out(pod: Body, container: Container, now: datetime) -> Body:
    """Status of a pod whose process is killed at the pod's deadline."""
    killed = Container(container.started, now, -9)
    said = {"reason": "DeadlineExceeded", "message": "Pod was active on the node longer than the specified deadline"}
    return ended(pod, killed) | said


def _state(pod: Body, state: Body, *, ready: bool = False) -> Body:
    container = pod["spec"]["containers"][0]
    named = {"name": container.get("name", ""), "image": str(container.get("image")), "imageID": ""}
    return named | {"restartCount": 0, "ready": ready, "started": ready, "state": state}
