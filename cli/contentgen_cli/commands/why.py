"""State of a resource, its cause, and advice, as text. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from contentgen_cli.item import Item, age
from contentgen_contract.advice import guidance as advice
from contentgen_contract.advice.job_state import State
from contentgen_contract.advice.remedies import PHASES, REASONS, Action, Costs, Remedy
from contentgen_contract.annotations.approve_run import describe_ignored_verdict
from contentgen_contract.annotations.cancel_run import describe_ignored
from contentgen_contract.names import LORA_WAITS, Kind, Phase, Reason
from contentgen_contract.resources.operator_class import DEFAULT_CLASS
from contentgen_contract.resources.queue_position import QueuePosition
from contentgen_contract.worker.log import human_bytes

Body = dict[str, Any]
_MAX_EVENTS = 5
_UNSEEN_SECONDS = 30  # a running operator processes a new resource within this time
_PULL = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_ENDED_JOB = ("Complete", "Failed")


@dataclass(frozen=True)
class ResourceContext:
    """Objects related to a resource."""

    events: Sequence[Body] = ()
    jobs: Sequence[Body] = ()
    job_events: Sequence[Body] = ()
    pods: Sequence[Body] = ()
    loras: dict[str, Item | None] = field(default_factory=dict)
    position: QueuePosition | None = None  # in the operator's queue
    served: bool | None = None  # an operator serves the resource's class; None: unknown


@dataclass(frozen=True)
class ResourceReport:
    """Report: a headline, paragraphs with a label each, and commands without their flags."""

    headline: str
    parts: tuple[tuple[str, tuple[str, ...]], ...]
    commands: tuple[str, ...]


def loras_of(item: Item) -> tuple[str, ...]:
    """Names of the LoraTrainings of an ImageGeneration."""
    given = item.spec.get("loras") or []
    return tuple(each["loraRef"]["name"] for each in given if each.get("loraRef"))


def explain(item: Item, context: ResourceContext, now: datetime) -> ResourceReport:
    """Report on a resource."""
    pods = _pods(item, context)
    parts = (
        ("State", _state(item, now)),
        ("Message", _message(item)),
        ("Queue", (str(context.position),) if context.position is not None else ()),
        ("Ignored", _ignored(item)),
        ("Meaning", _meaning(item, now)),
        ("Class", _class(item, context)),
        ("Do", _advice(item, context, pods, now)),
        ("LoRAs", tuple(_lora(name, lora) for name, lora in context.loras.items())),
        ("Pods", pods),
        ("Files", _files(item)),
        ("Cost", _cost(item)),
        ("Events", tuple(_event(event, now) for event in context.events[-_MAX_EVENTS:])),
    )
    return ResourceReport(_headline(item), tuple(part for part in parts if part[1]), _commands(item, context))


def _headline(item: Item) -> str:
    status = item.status
    where = f"{item.kind.value} {item.namespace}/{item.name}"
    if item.deleting:
        return f"{where} is being deleted"
    if status.phase is None:
        return f"{where} has not been processed by the operator"
    state = item.state
    known = item.job.request is not None or status.reason in (None, "", status.phase, state.badge)
    why = "" if known else f" ({status.reason})"
    done = f", {state.progress} %" if state.progress is not None and not state.ended else ""
    return f"{where} is {state.badge}{why}{done}"


def _state(item: Item, now: datetime) -> tuple[str, ...]:
    """State in a sentence; empty where the message or the meaning is that sentence."""
    said = item.state.sentence
    known = [text.rstrip(".").casefold() for text in (*_message(item), *_meaning(item, now))]
    return () if item.deleting or item.status.phase is None or said.rstrip(".").casefold() in known else (said,)


def _message(item: Item) -> tuple[str, ...]:
    status = item.status
    pending = () if item.idle or not status.phase or not status.phase.terminal else (_NEXT_RUN,)
    return tuple(text for text in (status.message, *pending) if text)


_NEXT_RUN = "This is the message of the last run; the change since then has not been processed yet."


def _ignored(item: Item) -> tuple[str, ...]:
    run, phase = item.status.run, item.status.phase
    number, amount = run.number if run else 0, run.approval.amount if run and run.approval else None
    ignored = describe_ignored(item.annotations, phase, number, item.facts.token)
    return (*ignored, *describe_ignored_verdict(item.annotations, phase, number, amount))


def _meaning(item: Item, now: datetime) -> tuple[str, ...]:
    if item.status.phase is None:
        return (f"It was applied {age(item.created_at, now)} ago.",)
    reason = item.facts.reason
    return (REASONS[reason].meaning if reason else PHASES[item.status.phase],)


def _class(item: Item, context: ResourceContext) -> tuple[str, ...]:
    """Operator class, if it is not the default one or no operator serves it."""
    if context.served is False:
        done = "its deletion waits" if item.deleting else "this resource is not processed"
        return (f"{item.operator_class}: no operator serves it, so {done}.",)
    return () if item.operator_class == DEFAULT_CLASS else (item.operator_class,)


def _advice(item: Item, context: ResourceContext, pods: tuple[str, ...], now: datetime) -> tuple[str, ...]:
    if context.served is False and not item.idle:
        return ("Install or start a release with this operatorClass, or, between runs, move the resource.",)
    if item.status.phase is None:
        late = (now - item.created_at).total_seconds() > _UNSEEN_SECONDS
        check = f"Check that an operator of the class {item.operator_class!r} runs and watches this namespace."
        return (check if late else "Wait a moment.",)
    if any(": Pending: " in line or ": none: " in line for line in pods) and not item.idle:
        return ("Remove the cause of the pod's wait (below); the run then continues by itself.",)
    return advice.advice_lines(item.facts, item.reference)


def _lora(name: str, lora: Item | None) -> str:
    if lora is None:
        return f"lora/{name}: does not exist in this namespace"
    status = lora.status
    state = f"{lora.state.badge}, {status.progress} %"
    return f"lora/{name}: {state}{f', {status.message}' if status.message else ''}"


def _files(item: Item) -> tuple[str, ...]:
    if not item.status.versions:
        return ()
    newest = max(item.status.versions, key=lambda version: version.version)
    place = f"s3://{newest.bucket}/" if newest.bucket else ""
    listed = tuple(f"{place}{file.key} ({human_bytes(file.size_bytes)})" for file in newest.files[:8])
    more = len(newest.files) - len(listed)
    return (f"version {newest.version}:", *listed, *((f"and {more} more",) if more > 0 else ()))


def _cost(item: Item) -> tuple[str, ...]:
    cost = item.status.cost
    if cost is None:
        return ()
    if cost.actual:
        return (f"{cost.actual} {cost.currency} paid{f' ({cost.actual_source})' if cost.actual_source else ''}",)
    if cost.actual_source or not cost.estimated:
        return (f"{cost.display}: the provider has not reported the cost",) if cost.display else ()
    return (f"about {cost.estimated} {cost.currency}, by the {cost.source}",)


def _event(event: Body, now: datetime) -> str:
    when = event.get("lastTimestamp") or event.get("eventTime")
    ago = age(datetime.fromisoformat(str(when)), now) if when else "?"
    mark = "" if event.get("type") == "Normal" else f"{event.get('type')} "
    return f"{ago:>4} ago  {mark}{event.get('reason')}: {event.get('message')}"


# --- pods


def _pods(item: Item, context: ResourceContext) -> tuple[str, ...]:
    """States of the current Job's pods; after the end of the run only of failed ones."""
    mine = _current(item, context)
    if item.idle:
        mine = [pod for pod in mine if item.status.phase is Phase.FAILED and pod["status"].get("phase") == "Failed"]
        return _pod_lines(mine)
    return _pod_lines(mine) or _without_pod(context)


def _pod_lines(pods: Sequence[Body]) -> tuple[str, ...]:
    return tuple(f"{pod['metadata']['name']}: {describe_pod(pod)}" for pod in pods)


def _current(item: Item, context: ResourceContext) -> list[Body]:
    run = item.status.run
    job = run.job.name if run and run.job else None
    return [pod for pod in context.pods if job in (None, _job_of(pod))]


def _job_of(pod: Body) -> str:
    return str((pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/job-name", ""))


def _without_pod(context: ResourceContext) -> tuple[str, ...]:
    """Cause for a Job without a pod: a quota, a missing service account, Pod Security."""
    open_jobs = [job for job in context.jobs if not _ended(job)]
    refusals = [event for event in context.job_events if event.get("reason") == "FailedCreate"]
    return (f"{open_jobs[-1]['metadata']['name']}: none: {refusals[-1]['message']}",) if open_jobs and refusals else ()


def _ended(job: Body) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or []
    return any(condition["type"] in _ENDED_JOB and condition["status"] == "True" for condition in conditions)


def describe_pod(pod: Body) -> str:
    """State of a pod as text."""
    status = pod["status"]
    phase = status.get("phase", "Pending")
    states = [each_status.get("state") or {} for each_status in status.get("containerStatuses") or []]
    waiting: Body = next((state["waiting"] for state in states if state.get("waiting")), {})
    ended: Body = next((state["terminated"] for state in states if state.get("terminated")), {})
    if phase == "Pending":
        return f"Pending: {_unscheduled(status) or _not_started(waiting)}"
    if phase == "Failed":
        return f"Failed: {_killed(pod, ended)}"
    return str(phase)


def _unscheduled(status: Body) -> str:
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"no node has room for it: {condition.get('message', condition.get('reason'))}"
    return ""


def _not_started(waiting: Body) -> str:
    reason, message = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    if reason in _PULL:
        return f"its image cannot be pulled ({reason}): {message}"
    if "Config" in reason or reason.endswith("Error"):
        return f"its container cannot be created ({reason}): {message}"
    return "it is starting"


def _killed(pod: Body, ended: Body) -> str:
    status = pod["status"]
    if status.get("reason") in ("Evicted", "Preempting", "NodeLost", "DeadlineExceeded"):
        return f"{status['reason']}: {status.get('message', '')}".rstrip(": ")
    if ended.get("reason") == "OOMKilled":
        container = pod["spec"]["containers"][0]
        limit = ((container.get("resources") or {}).get("limits") or {}).get("memory", "none")
        return f"it ran out of memory (limit {limit})"
    return f"{ended.get('reason', 'Error')}, exit code {ended.get('exitCode', '?')}"


# --- next commands


def _commands(item: Item, context: ResourceContext) -> tuple[str, ...]:
    name, status = item.reference, item.status
    if found := _unserved(item, context):
        return found
    match status.phase:
        case _ if not item.idle:
            return _under_way(item, context)
        case Phase.COMPLETED if item.state.state is State.ESTIMATED:
            return (f"contentgen retry {name} --paid",)
        case Phase.COMPLETED | Phase.SUSPENDED | Phase.AWAITING_APPROVAL as phase:
            return tuple(each.format(name) for each in _BY_PHASE[phase])
        case Phase.SUBMISSION_UNKNOWN:
            # With StoresDisagree no request is searched for; `retry` explains the restore of MongoDB.
            adopt = () if status.reason == Reason.STORES_DISAGREE else (f"contentgen adopt {name} REQUEST_ID",)
            return (*adopt, f"contentgen retry {name}")
        case _:
            return _after_failure(item)


def _unserved(item: Item, context: ResourceContext) -> tuple[str, ...]:
    """Commands for a resource that possibly no operator processes."""
    if context.served is False and item.deleting:
        return ("get operatorclasses",)
    if context.served is False and not item.idle:
        return ("get operatorclasses", f"contentgen move {item.reference} --to CLASS")
    if context.served is None and item.status.phase is None and item.operator_class != DEFAULT_CLASS:
        return (f"get operatorclass {item.operator_class}",)
    if item.deleting or item.status.phase is None:
        return ("get pods --all-namespaces --selector app.kubernetes.io/name=contentgen",)
    return ()


def _under_way(item: Item, context: ResourceContext) -> tuple[str, ...]:
    pending = [pod for pod in _current(item, context) if (pod["status"].get("phase") or "Pending") == "Pending"]
    if pending:
        return (f"describe pod {pending[-1]['metadata']['name']}",)
    if item.status.reason in LORA_WAITS:
        missing = [name for name, lora in context.loras.items() if lora is None]
        unready = [name for name, lora in context.loras.items() if lora is not None and not lora.status.versions]
        return (*(f"contentgen why lora/{name}" for name in unready), *(("get loratrainings",) if missing else ()))
    return (f"contentgen watch {item.reference}",)


def _after_failure(item: Item) -> tuple[str, ...]:
    """Commands for logs and free remedies; without a free one, the first remedy that pays."""
    logs = (f"contentgen logs {item.reference}",) if item.status.run and item.status.run.logs else ()
    if item.status.reason == Reason.LORA_FAILED:
        return (*logs, *(f"contentgen why lora/{name}" for name in loras_of(item)))
    remedies = [remedy for remedy in advice.applicable_remedies(item.facts) if remedy.action in _COMMANDS]
    free = [remedy for remedy in remedies if remedy.costs is Costs.FREE]
    return (*logs, *dict.fromkeys(_command(each, item) for each in free or remedies[:1]))


_BY_PHASE = {
    Phase.COMPLETED: ("contentgen get files {}",),
    Phase.SUSPENDED: ("contentgen resume {}",),
    Phase.AWAITING_APPROVAL: ("contentgen approve {}", "contentgen reject {}"),
}
_COMMANDS = {
    Action.COLLECT: "contentgen collect {reference}",
    Action.RESTORE: "contentgen collect {reference}",  # of a failed run: it adopts what was restored
    Action.EDIT: "edit {kind} {name}",
    Action.RERUN: "contentgen retry {reference}",
}


def _command(remedy: Remedy, item: Item) -> str:
    return _COMMANDS[remedy.action].format(reference=item.reference, kind=item.kind.value.lower(), name=item.name)


def needs_loras(item: Item) -> bool:
    """True if the state of its LoRAs belongs in the report."""
    waits = item.status.reason in LORA_WAITS
    return item.kind is Kind.IMAGE_GENERATION and (waits or not item.idle)
