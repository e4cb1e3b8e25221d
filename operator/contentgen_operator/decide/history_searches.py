"""Schedule of the searches of a provider's history for a request whose reply was lost. Pure.

fal lists a request once it has ended, so the search goes on for as long as the request may queue and run, and then for
as long as the history keeps it. A missing entry proves nothing.
"""

from datetime import datetime, timedelta

from contentgen_operator.state.decision_input import Policy
from contentgen_operator.state.purchases import Purchase, PurchaseState

HISTORY = timedelta(days=30)  # fal keeps inputs and outputs for so long; AssemblyAI lists 90 days
_MAX_SECONDS = 600.0  # between two searches while the request may run
_MIN_SECONDS = 10.0
_HOUR, _DAY_SECONDS = 3600.0, 86400.0


def sent_at(purchase: Purchase) -> datetime:
    """When the request was sent, or may have been."""
    return purchase.sent_at or purchase.created_at


def may_run_until(purchase: Purchase, policy: Policy) -> datetime:
    """The end of the longest queue and run time that the operator allows."""
    return sent_at(purchase) + timedelta(seconds=max(policy.provider_seconds, policy.adoption_seconds))


def next_search_seconds(purchase: Purchase, now: datetime, policy: Policy) -> float | None:
    """Seconds until the next search: `poll_seconds` at first, up to ten minutes, then an hour; None: at the next
    start of the operator.
    """
    since = max((now - sent_at(purchase)).total_seconds(), 0.0)
    if now < may_run_until(purchase, policy):
        return max(min(since / 10, _MAX_SECONDS), policy.poll_seconds)
    return max(_HOUR, policy.poll_seconds) if since < HISTORY.total_seconds() else None


def schedule_text(purchase: Purchase, now: datetime, policy: Policy) -> str:
    """Until when it is looked for. The same text for as long as the schedule holds: each change is a write."""
    until, last = may_run_until(purchase, policy), sent_at(purchase) + HISTORY
    if now < until:
        return f"it is looked for until {until:%Y-%m-%d %H:%M} UTC, then once an hour until {last:%Y-%m-%d}"
    if now < last:
        return f"it is looked for once an hour until {last:%Y-%m-%d}"
    return f"it was looked for until {last:%Y-%m-%d}, and is at each start of the operator"


def is_open(purchase: Purchase, now: datetime) -> bool:
    """Whether the request may still be found or finish, and the provider keeps what comes of it."""
    lost = purchase.state is PurchaseState.INTENT and not purchase.planned
    return (lost or purchase.state is PurchaseState.SUBMITTED) and now - sent_at(purchase) < HISTORY


def recheck_seconds(purchase: Purchase, now: datetime) -> float:
    """Seconds between two looks at an open request that no run waits for: a tenth of its age, then an hour."""
    age = (now - sent_at(purchase)).total_seconds()
    return min(max(age / 10, _MIN_SECONDS), _MAX_SECONDS) if age < _DAY_SECONDS else _HOUR
