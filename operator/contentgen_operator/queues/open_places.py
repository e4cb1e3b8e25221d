"""Paid requests that count against the limits of the queue, and open probes of a stop of buying. Pure."""

from datetime import datetime, timedelta

from contentgen_operator.state.policies.buying import BacklogLimit
from contentgen_operator.state.purchases import Purchase, PurchaseState, PurchaseStep

_LOST_REPLY = timedelta(hours=1)
_GRACE = timedelta(hours=1)  # after the operator's limit of a request
_MISSING = timedelta(hours=1)
_PROBE = timedelta(hours=1)


def takes_place(purchase: Purchase, now: datetime, provider_seconds: float) -> bool:
    """True while a request is, or may be, under way at its provider.

    A request whose reply was lost, or that its provider does not know, counts for an hour, and a submitted one until an
    hour after the operator's own limit: a request that nobody can find must not take a place for ever.
    """
    if purchase.state is PurchaseState.SUBMITTED:
        if purchase.missing_since is not None and now - purchase.missing_since >= _MISSING:
            return False
        since = purchase.submitted_at or purchase.changed_at
        return now - since < timedelta(seconds=provider_seconds) + _GRACE
    if purchase.state is not PurchaseState.INTENT or purchase.step in (PurchaseStep.PLANNED, PurchaseStep.ABANDONED):
        return False
    return now - (purchase.sent_at or purchase.changed_at) < _LOST_REPLY


def is_open_probe(purchase: Purchase, now: datetime, limit: BacklogLimit) -> bool:
    """True while a purchase that was sent during a stop of buying may show whether results are stored.

    An hour at the provider and the time of a late result end it: a single lost or broken one holds nobody for longer.
    """
    if purchase.state is PurchaseState.SUCCEEDED:
        since, until = purchase.awaited_since, purchase.awaited_until
        return since is not None and until is not None and now < min(since + limit.wait, until)
    started = purchase.state in (PurchaseState.INTENT, PurchaseState.SUBMITTED)
    is_sent = started and purchase.step not in (PurchaseStep.PLANNED, PurchaseStep.ABANDONED)
    return is_sent and purchase.sent_at is not None and now - purchase.sent_at < _PROBE
