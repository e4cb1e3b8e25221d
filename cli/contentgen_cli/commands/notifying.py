"""Log of the notifications of a job, and another delivery: read from and requested at the gateway."""

from typing import Any
from urllib.parse import quote

from contentgen_cli.errors import CliError
from contentgen_cli.gateway import checked_access, request

HEADS = ("ID", "EVENT", "RUN", "TARGET", "STATE", "ATTEMPTS", "LAST", "NEXT", "DETAILS")
Notification = dict[str, Any]


def of_job(gateway: str, token: str | None, namespace: str, uid: str) -> list[Notification]:
    """Notifications of a resource, latest first. Raises CliError."""
    answer = request("GET", _url(gateway, uid), checked_access(gateway, token, namespace))
    found = answer.get("notifications")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def resend(gateway: str, token: str | None, namespace: str, uid: str, identity: str) -> Notification:
    """Request another delivery of one notification of the resource. Raises CliError."""
    access = checked_access(gateway, token, namespace)
    if identity not in {each.get("notificationId") for each in of_job(gateway, token, namespace, uid)}:
        raise CliError(f"the resource has no notification {identity!r}; list them without --resend")
    return request("POST", f"{_url(gateway, uid)}/{quote(identity, safe='')}/resend", access)


def _url(gateway: str, uid: str) -> str:
    return f"{gateway.rstrip('/')}/api/jobs/{quote(uid, safe='')}/notifications"


def rows(found: list[Notification]) -> list[tuple[str, ...]]:
    """Rows of the table."""
    return [_row(notification) for notification in found]


def _row(notification: Notification) -> tuple[str, ...]:
    words = [_word(notification.get(name)) for name in ("notificationId", "event", "run", "target", "state")]
    given = notification.get("attempts")
    attempts = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else []
    last = max(attempts, key=lambda each: str(each.get("at")), default={})
    answer = last.get("status") or last.get("result")
    times = (_word(last.get("at"))[:19], _word(notification.get("nextAt"))[:19])
    return (*words, str(len(attempts)), *times, _word(last.get("detail") or answer))


def _word(given: object) -> str:
    return "" if given is None else str(given)
