"""Bodies of `/api/jobs/{jobId}/notifications`, and of the public keys of notifications."""

from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints

from contentgen_contract.records.notifications import DeliveryResult, NotificationState
from contentgen_contract.resources.addresses import NOT_A_URL, split_url
from contentgen_contract.resources.spec import NotificationEvent
from contentgen_gateway.schemas.bodies import Body

NotificationId = Annotated[str, StringConstraints(min_length=1, max_length=68)]


class NotificationAttempt(Body):
    """One attempt to deliver a notification."""

    at: datetime
    result: DeliveryResult = Field(description="`refused`: nothing was sent; `gone`: the receiver answered 410.")
    status: int | None = Field(None, description="HTTP status of the response; null if there was none.")
    seconds: float = 0.0
    detail: str = ""


class JobNotification(Body):
    """One notification: an event of a run, for one URL."""

    notification_id: str = Field(description="The header `webhook-id` of each attempt.")
    event: NotificationEvent
    run: int = Field(description="Number of the run; 0 before the first run.")
    target: str = Field(description="Scheme and host of the URL; its path may be a secret.")
    state: NotificationState
    created_at: datetime
    next_at: datetime | None = Field(None, description="Time of the next attempt; null if none follows.")
    attempts: list[NotificationAttempt]

    @classmethod
    def of(cls, found: dict[str, Any]) -> Self:
        """From a document."""
        attempts = [delivery | {"at": _in_utc(delivery["at"])} for delivery in found.get("deliveries") or ()]
        return cls.model_validate(
            {
                "notificationId": found["_id"],
                "event": found["event"],
                "run": found["run"],
                "target": shown_target(found["url"]),
                "state": found["state"],
                "createdAt": _in_utc(found["createdAt"]),
                "nextAt": _in_utc(found.get("nextAt")),
                "attempts": attempts,
            }
        )


def _in_utc(given: datetime | None) -> datetime | None:
    return given.replace(tzinfo=UTC) if given is not None and given.tzinfo is None else given


class NotificationList(Body):
    """Notifications of a job, latest first."""

    job_id: str
    notifications: list[JobNotification]


def shown_target(url: str) -> str:
    """Scheme and host of a URL. Paths and queries of webhooks contain secrets, such as Slack's."""
    parts = split_url(url)
    if parts is None or not parts.netloc:
        return NOT_A_URL
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}" + ("/…" if parts.path.strip("/") or parts.query else "")


class PublicKeys(Body):
    """JSON Web Key Set (RFC 7517) with the Ed25519 keys that sign notifications."""

    keys: list[dict[str, str]]
