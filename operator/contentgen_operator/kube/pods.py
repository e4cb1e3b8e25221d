"""Causes, as text: why the API server refused a Job, why a Job has no running pod, why its pod ended. Pure.

Input are JSON objects of the API server. A Job has no condition for a pod that cannot be created (quota, LimitRange,
Pod Security): the Job controller reports it only in events with the reason FailedCreate.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.resources.owner_references import controllers
from contentgen_contract.texts import foreign_text
from contentgen_contract.worker import log
from contentgen_contract.worker.orders import MAX_CAUSE
from contentgen_runtime.kube import Body, explain

LOST_SECONDS = 20.0  # after a deleted pod's grace period; a working node has ended the pod by then
SCHEDULING_SECONDS = 15.0  # grace for a pod without a node, or a Job without a pod
_OVERDUE_SECONDS = 900.0  # after a pod's deadline; a working node has ended the pod by then
_WORDS = 300  # characters of a cause
_TERMINATION_BYTES = 2000  # a longer message may be cut off: kubelets take up to 2048 bytes of a log
_BAD_REQUEST = 400
_INTERNAL = 500  # a validating webhook that cannot be called
_UNDECIDED = (401, 404, 408, 409, 410, 429)  # credentials, deleted namespace, load: not about the Job
_NO_DRY_RUN = "does not support dry run"
_ENDED = ("Succeeded", "Failed")
WORKER_CONTAINER = "worker"  # injected ones may run while it waits for its image
_DEADLINE_EXCEEDED = "DeadlineExceeded"  # the kubelet's reason on a pod
_NODE_GONE = ("DeletionByTaintManager", "DeletionByPodGC")
_STARTING = ("", "ContainerCreating", "PodInitializing")


class JobRefused(Exception):
    """The API server refused a Job; str() is its message."""


def refusal_of(error: ApiException) -> str:
    """The API server's message if it refused an object for its content; empty if the error says nothing about it."""
    code = error.status or 0
    decided = (_BAD_REQUEST <= code < _INTERNAL and code not in _UNDECIDED) or code == _INTERNAL
    return explain(error) if decided else ""


def no_dry_run(error: ApiException) -> bool:
    """True if an admission webhook with side effects prevented a dry run."""
    return error.status == _BAD_REQUEST and _NO_DRY_RUN in str(error.body)


def of_the_job(pods: Sequence[Body], job_uid: str) -> list[Body]:
    """Pods controlled by a Job, oldest first: labels prove nothing, as any user of the namespace may set them."""
    mine = [pod for pod in pods if _controller_uid(pod) == job_uid]
    return sorted(mine, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))


def waiting_cause(pod: Body, seconds: float) -> str:
    """Why a pod has not started after `seconds`; empty if it has started or is starting."""
    status = pod.get("status") or {}
    if status.get("phase", "Pending") != "Pending":
        return ""
    for state in [*_states(status), *_init_states(status)]:
        waiting = state.get("waiting") or {}
        if waiting.get("reason", "") not in _STARTING:
            return _words(waiting["reason"], waiting.get("message"))
    if seconds >= SCHEDULING_SECONDS:
        for condition in status.get("conditions") or ():
            if (condition.get("type"), condition.get("status")) == ("PodScheduled", "False"):
                return _words(str(condition.get("reason", "Unschedulable")), condition.get("message"))
    return ""


def end_cause(pods: Sequence[Body]) -> str:
    """Why the last pod of a Job ended."""
    if not pods:
        return "its pod was deleted"
    pod = pods[-1]
    status = pod.get("status") or {}
    ended = next((state["terminated"] for state in _states(status) if state.get("terminated")), None)
    if ended is not None and ended.get("reason") == "OOMKilled":
        return f"OOMKilled: the worker needed more than its memory limit ({_memory_limit(pod)})"
    if status.get("reason"):
        words = _words(str(status["reason"]), status.get("message"))
        return f"{words}{_added_containers_note(pod)}" if timed_out(pods) else words
    if why := _disruption(status):
        return why
    if ended is not None:
        words = last_words(ended.get("message"))
        end = f"{ended.get('reason') or 'Error'}: the worker ended with exit code {ended.get('exitCode', '?')}"
        return f"{end}: {words}" if words else end
    return waiting_cause(pod, SCHEDULING_SECONDS) or "its pod was deleted"


def _added_containers_note(pod: Body) -> str:
    """Containers that a webhook has added to a pod, and the worker's end before the pod's deadline; empty without them.

    A pod ends when all of its containers do: with a proxy that does not end with the worker, it ends at its deadline.
    """
    spec = pod.get("spec") or {}
    every = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    added = [str(container["name"]) for container in every if not _is_workers(container)]
    if not added:
        return ""
    return f"; its pod has containers that are not the operator's: {', '.join(added)}{_early_end_note(pod)}"[:_WORDS]


def _early_end_note(pod: Body) -> str:
    """End of the worker's container; empty if the kubelet ended it at the pod's deadline."""
    ended = next(iter(_states(pod.get("status") or {})), {}).get("terminated") or {}
    at, started, seconds = _instant(ended.get("finishedAt")), started_at(pod), pod["spec"].get("activeDeadlineSeconds")
    if at is None or started is None or not isinstance(seconds, int) or (at - started).total_seconds() >= seconds:
        return ""
    return f"; the worker had ended with exit code {ended.get('exitCode', '?')} at {at:%H:%M:%S} UTC"


def _is_workers(container: Body) -> bool:
    """True for the worker's container, or its status."""
    return bool(container.get("name", WORKER_CONTAINER) == WORKER_CONTAINER)


def last_words(message: object) -> str:
    """Last line of a container's termination message, for people: printable and without secrets. Any account that may
    exec into the pod can write it.

    It is the end of the container's log; the beginning of a line that is cut off there may be a part of a secret.
    """
    text = str(message or "").strip()
    lines = text.splitlines()
    if not lines:
        return ""
    cut = len(lines) == 1 and len(text.encode(errors="replace")) >= _TERMINATION_BYTES and not text.startswith("{")
    line = text.partition(" ")[2] if cut else "".join(log.format_line(lines[-1]).splitlines()[-1:])
    words = foreign_text(log.redact_secrets(line), len(text))
    return words[-MAX_CAUSE:] if cut else words[:MAX_CAUSE]


def timed_out(pods: Sequence[Body]) -> bool:
    """True if the kubelet ended the last pod of a Job at the pod's `activeDeadlineSeconds`."""
    return bool(pods) and (pods[-1].get("status") or {}).get("reason") == _DEADLINE_EXCEEDED


def ever_ran(pods: Sequence[Body]) -> bool:
    """True if the worker's container was created in any of these pods, whether it still runs or not.

    A container that never was has no id: a kubelet that ends such a pod reports it as terminated, without a start.
    """
    return any(_ran(pod.get("status") or {}) for pod in pods)


def _ran(status: Body) -> bool:
    mine = filter(_is_workers, status.get("containerStatuses") or ())
    return status.get("phase") in ("Running", "Succeeded") or any(map(_was_created, mine))


def _was_created(container: Body) -> bool:
    state = container.get("state") or {}
    started = "running" in state or (state.get("terminated") or {}).get("startedAt")
    return bool(container.get("containerID") or started)


def overdue(pods: Sequence[Body], now: datetime) -> bool:
    """True if the last pod of a Job has not ended a quarter of an hour after its deadline: its node does not answer."""
    pod = pods[-1] if pods else {}
    status, seconds = pod.get("status") or {}, (pod.get("spec") or {}).get("activeDeadlineSeconds")
    started = started_at(pod)
    if started is None or not isinstance(seconds, int) or status.get("phase") in _ENDED:
        return False
    return (now - started).total_seconds() > seconds + _OVERDUE_SECONDS


def started_at(pod: Body) -> datetime | None:
    """Time at which the kubelet took the pod; None before that. Its deadline counts from here."""
    return _instant((pod.get("status") or {}).get("startTime"))


def lost_in(pods: Sequence[Body], now: datetime) -> float | None:
    """Seconds until the pods of a Job count as lost; 0 or less if they do: deleted, past their grace period, and not
    ended by their nodes. None if one was not deleted, or if all have ended.

    A Job is not finished while its pod is being deleted, so never if the node is dead: only the node's kubelet, or an
    administrator, ends such a pod.
    """
    left = [pod for pod in pods if (pod.get("status") or {}).get("phase") not in _ENDED]
    times = [_deleted_at(pod) for pod in left]
    known = [time for time in times if time is not None]
    if not known or len(known) < len(times):
        return None
    return (max(known) - now).total_seconds() + LOST_SECONDS


def lost_cause(pods: Sequence[Body]) -> str:
    """Why the last pod of a Job is lost."""
    pod = pods[-1]
    node = str((pod.get("spec") or {}).get("nodeName") or "its node")
    why = _disruption(pod.get("status") or {})
    what = "was deleted" if pod["metadata"].get("deletionTimestamp") else "is past its deadline"
    return f"its pod {what}, and {node} has not ended it{f' ({why})' if why else ''}"[:_WORDS]


def node_is_gone(pods: Sequence[Body]) -> bool:
    """True if the last pod of a Job was ended because its node did not respond or was removed."""
    return bool(pods) and any(
        (condition.get("type"), condition.get("status")) == ("DisruptionTarget", "True")
        and condition.get("reason") in _NODE_GONE
        for condition in (pods[-1].get("status") or {}).get("conditions") or ()
    )


def no_room(quotas: Sequence[Body]) -> str:
    """ResourceQuota that admits no further pod, in the API server's wording; empty if there is none.

    A dry run of a Job does not check its pod, and a dry run of a pod requires the permission to create one.
    """
    for quota in quotas:
        spec, status = quota.get("spec") or {}, quota.get("status") or {}
        if spec.get("scopes") or spec.get("scopeSelector"):
            continue  # for some pods only
        for counted in ("pods", "count/pods"):
            hard, used = (str((status.get(word) or {}).get(counted, "")) for word in ("hard", "used"))
            if hard.isdecimal() and used.isdecimal() and int(used) >= int(hard):
                name = quota["metadata"]["name"]
                return (
                    f"exceeded quota: {name}, requested: {counted}=1, used: {counted}={used}, limited: {counted}={hard}"
                )
    return ""


def refused_pod(events: Sequence[Body]) -> str:
    """Last message of the Job controller about a pod that it could not create; empty if there is none."""
    failures = [event for event in events if event.get("reason") == "FailedCreate" and event.get("message")]
    newest = max(failures, key=_time, default={})
    return str(newest.get("message", ""))[:_WORDS]


def _time(event: Body) -> str:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return str(next((time for time in times if time), ""))


def _disruption(status: Body) -> str:
    for condition in status.get("conditions") or ():
        if (condition.get("type"), condition.get("status")) == ("DisruptionTarget", "True"):
            return _words(str(condition.get("reason", "")), condition.get("message"))
    return ""


def _deleted_at(pod: Body) -> datetime | None:
    """End of a deleted pod's grace period."""
    return _instant(pod["metadata"].get("deletionTimestamp"))


def _instant(text: object) -> datetime | None:
    """A Kubernetes timestamp; None if it is none."""
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _states(status: Body) -> list[Body]:
    """States of the containers, the worker's first."""
    mine_first = sorted(status.get("containerStatuses") or (), key=lambda container: not _is_workers(container))
    return [container.get("state") or {} for container in mine_first]


def _init_states(status: Body) -> list[Body]:
    """States of the init containers, which only webhooks add: the worker waits for their end."""
    return [container.get("state") or {} for container in status.get("initContainerStatuses") or ()]


def _words(reason: str, message: object) -> str:
    return f"{reason}: {message}"[:_WORDS] if message else reason[:_WORDS]


def _memory_limit(pod: Body) -> str:
    containers = (pod.get("spec") or {}).get("containers") or ()
    mine: Body = next(filter(_is_workers, containers), {})
    return str(((mine.get("resources") or {}).get("limits") or {}).get("memory", "none of its own"))


def _controller_uid(pod: Body) -> str:
    return next((owner.uid for owner in controllers(pod)), "")
