"""Transitions of an orphan in the ledger. Each is a compare-and-set of state, owner and send state. Pure."""

from datetime import datetime
from typing import Any

from contentgen_operator.decide.request_endings import observed_fields, request_ending
from contentgen_operator.orphans.effects import Retention
from contentgen_operator.state.plan import StoredAnswer
from contentgen_operator.state.provider_requests import RequestView
from contentgen_operator.state.purchases import LedgerTransition, Purchase, PurchaseState, StoredKey


def noted(key: StoredKey, purchase: Purchase, at: datetime | None) -> LedgerTransition:
    """Time since which its resource is gone; None: it has one."""
    return _move(key, purchase, purchase.state, orphaned_at=at, orphan_seen_at=at)


def seen(key: StoredKey, purchase: Purchase, now: datetime) -> LedgerTransition:
    """Time at which its resource was seen as gone again."""
    return _move(key, purchase, purchase.state, orphan_seen_at=now)


def found_again(key: StoredKey, purchase: Purchase, request_id: str, now: datetime) -> LedgerTransition:
    """Transition for the located request of a lost reply."""
    changes = {"request_id": request_id, "submitted_at": purchase.sent_at or purchase.created_at, "send_state": None}
    move = _move(key, purchase, PurchaseState.SUBMITTED, changed_at=now, **changes)
    return move.model_copy(update={"bound_to": purchase})


def after_poll(
    key: StoredKey, purchase: Purchase, view: RequestView, now: datetime, retention: Retention
) -> tuple[StoredAnswer | None, LedgerTransition | None]:
    """Response to store and the transition after it; None while the request is in progress, unless the answer is to be
    recorded.
    """
    end = request_ending(key.kind, purchase, view, now, _rate(purchase, view, retention))
    if end is not None:
        return end.answer, _move(key, purchase, end.target, changed_at=now, **end.changes)
    changes = observed_fields(purchase, view, now)
    return None, _move(key, purchase, purchase.state, **changes) if changes else None


def _rate(purchase: Purchase, view: RequestView, retention: Retention) -> dict[str, Any]:
    """Unit price of the model that ran, if it is not the planned one. The extras are derived from the price at which it
    was planned; None if that does not determine them.
    """
    if not view.model_used or purchase.model in retention.own_prices:
        return {}
    planned, used = (retention.prices.get(each) for each in (purchase.model, f"{purchase.provider}/{view.model_used}"))
    if planned is not None and used is not None:
        extras = {planned.micros + planned.speaker_labels_micros: used.speaker_labels_micros, planned.micros: 0.0}
        extra = extras.get(purchase.unit_micros or -1.0)
        if extra is not None:
            found = {"unit_micros": used.micros + extra, "unit": used.unit, "billing": used.billing}
            return found | {"price_source": used.source[:64]}
    return {"unit_micros": None, "unit": None, "billing": False, "price_source": ""}


def after_cancel(key: StoredKey, purchase: Purchase, ended: bool, now: datetime) -> LedgerTransition:
    """Transition after a cancellation: cancelled, if the provider confirms it, or requested."""
    if ended:
        return _move(key, purchase, PurchaseState.CANCELLED, error="cancelled", finished_at=None, changed_at=now)
    return _move(key, purchase, PurchaseState.SUBMITTED, cancel_asked_at=now)


def discarded(key: StoredKey, purchase: Purchase, now: datetime) -> LedgerTransition:
    """Transition at the end of an orphan, after which none can adopt it. `orphaned_at` stays until its response is
    deleted.
    """
    expired = None if purchase.discard_asked else now
    return _move(key, purchase, PurchaseState.DISCARDED, outputs=None, expired_at=expired, changed_at=now)


def deleted(key: StoredKey, purchase: Purchase) -> LedgerTransition:
    """Transition after the deletion of the response of a discarded orphan."""
    return _move(key, purchase, PurchaseState.DISCARDED, orphaned_at=None, result_key=None)


def _move(key: StoredKey, purchase: Purchase, target: PurchaseState, **changes: Any) -> LedgerTransition:
    unchanged = ("send_state", "orphaned_at", "orphan_seen_at", "request_id", "cancel_asked_at")
    expected = {name: getattr(purchase, name) for name in unchanged}
    return LedgerTransition(
        key=key, source=purchase.state, target=target, owner=purchase.job_id, expected=expected, changes=changes
    )
