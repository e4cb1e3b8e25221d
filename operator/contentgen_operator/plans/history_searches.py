"""Schedule of searches in a provider's history for requests whose reply was lost. Pure.

fal lists a request only after its end, so the search continues while the request may queue and run, and then for as
long as the history keeps it. A missing entry proves nothing.
"""

from datetime import datetime, timedelta

from contentgen_operator.state.decision_input import DecisionSettings
from contentgen_operator.state.purchases import Purchase, PurchaseState

HISTORY = timedelta(days=30)  # fal keeps inputs and outputs for 30 days; AssemblyAI lists 90 days
_MAX_SECONDS = 600.0  # between two searches while the request may run
_MIN_SECONDS = 10.0
_HOUR, _DAY_SECONDS = 3600.0, 86400.0


def sent_at(purchase: Purchase) -> datetime:
    """Time at which the request was sent, or may have been sent."""
    return purchase.sent_at or purchase.created_at


def may_run_until(purchase: Purchase, settings: DecisionSettings) -> datetime:
    """End of the longest queue and run time that the operator allows."""
    return sent_at(purchase) + timedelta(seconds=max(settings.provider_seconds, settings.adoption_seconds))


def next_search_seconds(purchase: Purchase, now: datetime, settings: DecisionSettings) -> float | None:
    """Seconds until the next search: from `poll_seconds` to ten minutes, then an hour; None: at the operator's next
    start.
    """
    since = max((now - sent_at(purchase)).total_seconds(), 0.0)
    if now < may_run_until(purchase, settings):
        return max(min(since / 10, _MAX_SECONDS), settings.poll_seconds)
    return max(_HOUR, settings.poll_seconds) if since < HISTORY.total_seconds() else None


def schedule_text(purchase: Purchase, now: datetime, settings: DecisionSettings) -> str:
    """Message about the schedule. It stays the same while the schedule does, because each change is a write."""
    until, last = may_run_until(purchase, settings), sent_at(purchase) + HISTORY
    if now < until:
        return f"the search goes on until {until:%Y-%m-%d %H:%M} UTC, then hourly until {last:%Y-%m-%d}"
    if now < last:
        return f"the search goes on hourly until {last:%Y-%m-%d}"
    return f"the search ended on {last:%Y-%m-%d} and is repeated at each start of the operator"


def is_open(purchase: Purchase, now: datetime) -> bool:
    """True if the request may still be found or finish, and the provider still keeps its result."""
    lost = purchase.state is PurchaseState.INTENT and not purchase.planned
    return (lost or purchase.state is PurchaseState.SUBMITTED) and now - sent_at(purchase) < HISTORY


def recheck_seconds(purchase: Purchase, now: datetime) -> float:
    """Seconds between polls of an open request that no run waits for: a tenth of its age, after a day an hour."""
    age = (now - sent_at(purchase)).total_seconds()
    return min(max(age / 10, _MIN_SECONDS), _MAX_SECONDS) if age < _DAY_SECONDS else _HOUR
