"""Next effect on a purchase whose resource may be gone. Pure."""

from datetime import datetime, timedelta
from enum import Enum, auto

from contentgen_contract.base import Value
from contentgen_contract.resources.prices import PRICES, Price
from contentgen_operator.orphans.following import FollowState
from contentgen_operator.plans import history_searches
from contentgen_operator.state.purchases import Purchase, PurchaseState, SendState

_POST_TIME = timedelta(minutes=10)  # in which the sending process may still record the request id
_SEARCH_TIME = timedelta(days=1)  # after the provider's longest time
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=60), timedelta(hours=1)
_SEEN_EVERY, _WATCH_GAP = timedelta(days=1), timedelta(days=3)


class Retention(Value):
    """Settings. `prices` are by model; `own_prices` are models whose price the administrator has set."""

    kept: timedelta = timedelta(days=30)
    provider_seconds: int = 86400  # after which a request is cancelled
    prices: dict[str, Price] = PRICES
    own_prices: frozenset[str] = frozenset()


class OrphanEffect(Enum):
    """Next effect on an orphan."""

    NOTHING = auto()
    NOTE = auto()  # record since when its resource is gone, or that it is not
    SEARCH = auto()  # search the provider's history: its reply was lost
    POLL = auto()
    SEEN = auto()  # still gone: recorded once a day
    DISCARD = auto()


def next_effect(purchase: Purchase, state: FollowState, now: datetime, retention: Retention) -> OrphanEffect:
    """Next effect on an open purchase."""
    if state is FollowState.UNSEEN:  # located for as long as the provider keeps a result
        return _locating(purchase, now, retention) if history_searches.is_open(purchase, now) else OrphanEffect.NOTHING
    is_gone, was_gone = state is FollowState.GONE, purchase.orphaned_at is not None
    if was_gone and not is_gone:
        return OrphanEffect.NOTE
    if state is FollowState.FOLLOWED or not may_be_orphan(purchase):
        return OrphanEffect.NOTHING
    # The user has paid for another attempt: nothing to decide before its request is found.
    if is_gone and not was_gone and not purchase.abandoned:
        return OrphanEffect.NOTE
    if purchase.state is PurchaseState.SUCCEEDED:
        return _keeping(purchase, now, retention) if is_gone else OrphanEffect.NOTHING
    return _locating(purchase, now, retention)


def _locating(purchase: Purchase, now: datetime, retention: Retention) -> OrphanEffect:
    if purchase.state is PurchaseState.SUBMITTED:
        return OrphanEffect.POLL
    return OrphanEffect.SEARCH if _is_searched(purchase, now, retention) else OrphanEffect.NOTHING


def _keeping(purchase: Purchase, now: datetime, retention: Retention) -> OrphanEffect:
    """Next effect on a result without a resource. The retention starts again if the resource was not seen as gone all
    the time, such as after a restore of an old ledger or a stop of the operator.
    """
    since = purchase.orphaned_at or now
    seen = purchase.orphan_seen_at or since
    if now - seen > _WATCH_GAP:
        return OrphanEffect.NOTE
    if purchase.discard_asked or now >= since + retention.kept:
        return OrphanEffect.DISCARD
    return OrphanEffect.SEEN if now - seen >= _SEEN_EVERY else OrphanEffect.NOTHING


def may_be_orphan(purchase: Purchase) -> bool:
    """True if it may be paid and is not collected."""
    if purchase.state is PurchaseState.INTENT:
        return purchase.send_state is not SendState.PLANNED
    return purchase.state in (PurchaseState.SUBMITTED, PurchaseState.SUCCEEDED)


def _is_searched(purchase: Purchase, now: datetime, retention: Retention) -> bool:
    """True if the input is stored; without it, as in a purchase rebuilt from a status, only a resource applied
    again can search.
    """
    sent = purchase.sent_at or purchase.created_at
    longest = timedelta(seconds=retention.provider_seconds) + _SEARCH_TIME
    return purchase.sent_input is not None and _POST_TIME <= now - sent <= longest


def pause(purchase: Purchase, now: datetime) -> timedelta:
    """Pause until the next check: a tenth of the request's age, within bounds."""
    since = purchase.submitted_at or purchase.sent_at or purchase.created_at
    return min(max(abs(now - since) / 10, _FIRST_PAUSE), _LONGEST_PAUSE)


def is_to_be_cancelled(purchase: Purchase, now: datetime, retention: Retention) -> bool:
    """True if the provider is asked, once, to cancel a request: its result would be discarded, or the provider's
    deadline is over.
    """
    since = (now - (purchase.submitted_at or purchase.created_at)).total_seconds()
    late = since > retention.provider_seconds
    return purchase.cancel_asked_at is None and (purchase.discard_asked or late)
