"""Documents of the collection `notifications`: the outbox of webhooks, which is also their delivery log.

The operator inserts and delivers them; the gateway shows them and asks for another delivery.
"""

from datetime import timedelta
from enum import StrEnum

KEPT = timedelta(days=30)
"""Time after its end for which a notification stays in the log."""
MOST_OF_A_NAMESPACE = 2000
"""Notifications of one namespace and installation, of about 3 kB each. A new one displaces the oldest."""
DELIVERIES = 20
"""Attempts in the log of one notification, the latest ones."""


class NotificationState(StrEnum):
    """State of a notification."""

    PLANNED = "planned"  # its status is not written yet
    PENDING = "pending"  # to be delivered at `nextAt`
    DELIVERED = "delivered"
    FAILED = "failed"  # for a day
    GONE = "gone"  # the receiver answered 410, which ends all notifications of the job to this URL


ENDED = (NotificationState.DELIVERED, NotificationState.FAILED, NotificationState.GONE)
"""States without a further attempt, unless a person asks for one."""


class DeliveryResult(StrEnum):
    """Result of one attempt."""

    DELIVERED = "delivered"
    FAILED = "failed"
    REFUSED = "refused"  # nothing was sent: the address or the headers are not allowed
    GONE = "gone"
