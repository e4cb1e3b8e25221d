"""Notifications that a new status causes: a pure function of the status before and after."""

from datetime import datetime

from pydantic import TypeAdapter, ValidationError

from contentgen_contract.names import Phase, Reason
from contentgen_contract.resources.spec import NotificationEvent, NotifyTarget
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.notifications.values import Notification, notification_id, payload_of
from contentgen_operator.state.observed import Resource

_TARGETS = TypeAdapter(list[NotifyTarget])
_PHASES = {
    Phase.COMPLETED.value: NotificationEvent.COMPLETED,
    Phase.FAILED.value: NotificationEvent.FAILED,
    "AwaitingApproval": NotificationEvent.AWAITING_APPROVAL,
}
_REASONS = {"BudgetExceeded": NotificationEvent.BUDGET_EXCEEDED}


def notifications_of(resource: Resource, status: ResourceStatus, now: datetime) -> tuple[Notification, ...]:
    """Notifications of the change from the resource's status to `status`, one for each event and URL.

    The current spec counts: like `suspend`, `notify` is no input of the run.
    """
    events = events_of_change(resource.status, status)
    if not events:
        return ()
    run = status.run.number if status.run else 0
    made = {}
    for target in targets(resource):
        for event in sorted(events & target.events):
            identity = notification_id(resource.ref.uid, run, event, occurrence(status), target.url)
            made[identity] = Notification(
                id=identity,
                ref=resource.ref,
                run=run,
                event=event,
                url=target.url,
                headers_secret=target.headers_from.secret_ref.name if target.headers_from else None,
                payload=payload_of(resource.ref, event, status, now),
            )
    return tuple(made.values())


def targets(resource: Resource) -> list[NotifyTarget]:
    """Webhooks of the resource; none if the field is invalid, which the status reports as InvalidSpec."""
    try:
        return _TARGETS.validate_python(resource.spec.get("notify") or [])
    except ValidationError:
        return []


def events_of_change(before: ResourceStatus, after: ResourceStatus) -> frozenset[NotificationEvent]:
    """Events that begin with the status `after`."""
    begun = _events(after)
    same = _run(before) == _run(after) and occurrence(before) == occurrence(after)
    return begun - _events(before) if same else begun


def holds_event(status: ResourceStatus, run: int, event: NotificationEvent) -> bool:
    """True if a status of this run, or of a later one, has the event: the one that caused it was written."""
    return _run(status) > run or (_run(status) == run and event in _events(status))


def occurrence(status: ResourceStatus) -> str:
    """Text that differs between repetitions of an event in one run: the retry of the collect stage, or the generation
    of an invalid spec.
    """
    if status.reason == Reason.INVALID_SPEC:
        return f"generation {status.observed_generation}"
    return (status.run.collect.asked or "") if status.run and status.run.collect else ""


def _run(status: ResourceStatus) -> int:
    return status.run.number if status.run else 0


def _events(status: ResourceStatus) -> frozenset[NotificationEvent]:
    found = (_PHASES.get(status.phase or ""), _REASONS.get(status.reason or ""))
    return frozenset(each for each in found if each is not None)
