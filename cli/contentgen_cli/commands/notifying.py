"""Log of the notifications of a job, and another delivery: read from and requested at the gateway."""

from typing import Any
from urllib.parse import quote

from contentgen_cli.errors import CliError
from contentgen_cli.gateway import GatewayClient

HEADS = ("ID", "EVENT", "RUN", "TARGET", "STATE", "ATTEMPTS", "LAST", "NEXT", "DETAILS")
Notification = dict[str, Any]


def of_job(gateway: GatewayClient, uid: str) -> list[Notification]:
    """Notifications of a resource, latest first. Raises CliError."""
    found = gateway.request("GET", _path(uid)).get("notifications")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def resend(gateway: GatewayClient, uid: str, identity: str) -> Notification:
    """Request another delivery of one notification of the resource. Raises CliError."""
    if identity not in {each.get("notificationId") for each in of_job(gateway, uid)}:
        raise CliError(f"the resource has no notification {identity!r}; list them without --resend")
    return gateway.request("POST", f"{_path(uid)}/{quote(identity, safe='')}/resend")


def _path(uid: str) -> str:
    return f"/api/jobs/{quote(uid, safe='')}/notifications"


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
