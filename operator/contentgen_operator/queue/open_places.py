"""Paid requests that count against the limits of the queue. Pure."""

from datetime import datetime, timedelta

from contentgen_operator.state.purchases import Purchase, PurchaseState, SendState

_LOST_REPLY = timedelta(hours=1)
_GRACE = timedelta(hours=1)  # after the operator's limit of a request
_MISSING = timedelta(hours=1)


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
    if purchase.state is not PurchaseState.INTENT or purchase.send_state in (SendState.PLANNED, SendState.ABANDONED):
        return False
    return now - (purchase.sent_at or purchase.changed_at) < _LOST_REPLY
