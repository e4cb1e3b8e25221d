"""End of a paid request by the provider's answer: the purchase's next state, and the response to store. Pure.

An answer that the provider does not know a request, or has no result of it, may be wrong for a while: it ends nothing
before it was given several times over a day, hours apart. One to another key than the request was sent with is no
evidence, and neither is one to a key that knows no request of ours. A request that the provider does not know stays
open for as long as the provider keeps results, since it may still run.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from contentgen_contract.base import Value
from contentgen_contract.names import Kind
from contentgen_contract.records import keys, ownership
from contentgen_operator.plans import history_searches
from contentgen_operator.state import costs
from contentgen_operator.state.kinds import table as kinds
from contentgen_operator.state.plan import StoredAnswer
from contentgen_operator.state.provider_requests import Answer, RequestState, RequestView
from contentgen_operator.state.purchases import Purchase, PurchaseState

MISSING = (RequestState.GONE, RequestState.UNKNOWN)
_IN_PROGRESS = (RequestState.QUEUED, RequestState.RUNNING)
_SEEN_EVERY = timedelta(hours=1)  # between two writes of `last_seen_at`
_MISSED_EVERY, _MISSED = timedelta(hours=8), 4  # answers that count as evidence
_MISSING_DAY = timedelta(days=1)
_FIRST_PAUSE, _LONGEST_PAUSE = 60.0, 600.0


class Ending(Value):
    """Transition of a submitted purchase. `answer` is stored first; None: there is none, or it is stored already."""

    target: PurchaseState
    changes: dict[str, Any]
    answer: StoredAnswer | None = None


def request_ending(
    kind: Kind, purchase: Purchase, view: RequestView, now: datetime, rate: Mapping[str, Any]
) -> Ending | None:
    """Ending of a submitted purchase; None while its request goes on.

    `rate` has the unit price fields of the model that was used (`costs.price_fields`); empty: as planned.
    """
    if view.state is RequestState.FAILED:
        # A request that ended by itself has failed, also if its cancellation was asked for.
        asked = purchase.cancel_asked_at is not None
        target = PurchaseState.CANCELLED if asked and view.cancelled else PurchaseState.FAILED
        billing = costs.ending_fields(purchase, target, billable_units=view.billable_units)
        return Ending(target=target, changes={"error": view.message, "permanent": not view.repeatable} | billing)
    target = PurchaseState.SUCCEEDED
    changes: dict[str, Any] = {"finished_at": now}
    if view.state is not RequestState.UNKNOWN and purchase.missing_since is not None:
        purchase = purchase.model_copy(update={"missing_since": None})
        changes["missing_since"] = None
    changes |= costs.ending_fields(purchase, target, billable_units=view.billable_units, **rate)
    if view.state is RequestState.SUCCEEDED and view.result is not None:
        answer = stored_answer(kind, purchase, view.result)
        return Ending(target=target, changes=changes | {"result_key": answer.key}, answer=answer)
    if view.stored:
        return Ending(target=target, changes=changes | {"result_key": keys.purchase_response(purchase.purchase_id)})
    if view.too_large or is_given_up(purchase, view, now):
        return Ending(target=target, changes=changes | {"error": view.message})
    return None


def stored_answer(kind: Kind, purchase: Purchase, result: Answer) -> StoredAnswer:
    """The response to store under the purchase's id."""
    return StoredAnswer(
        owner=ownership.purchase_owner(purchase.purchase_id),
        key=keys.purchase_response(purchase.purchase_id),
        answer=result,
        needed=kinds.ROWS[kind].fetched,
    )


def has_result(view: RequestView | None) -> bool:
    """True if an answer has the request's result, or it is stored."""
    return view is not None and view.state is RequestState.SUCCEEDED and (view.result is not None or view.stored)


# Requests that the provider does not know, or of which it has no result


def seen_at(purchase: Purchase) -> datetime:
    """Time at which the provider is last known to have had the request, to the hour."""
    return purchase.last_seen_at or purchase.submitted_at or purchase.created_at


def is_given_up(purchase: Purchase, view: RequestView, now: datetime) -> bool:
    """True if a paid result is lost for good; what the provider does not know is polled while it would be kept."""
    if view.state not in MISSING or not _is_evidence(view) or now - seen_at(purchase) < _MISSING_DAY:
        return False
    proven = purchase.missed >= _MISSED - 1 and _is_spaced(purchase, now)
    return proven and (view.state is RequestState.GONE or not history_searches.is_open(purchase, now))


def needs_evidence(purchase: Purchase, now: datetime) -> bool:
    """True if an answer without the request counts now, if it is conclusive."""
    counts = purchase.missed < _MISSED - 1 or not history_searches.is_open(purchase, now)
    return counts and _is_spaced(purchase, now)


def _is_evidence(view: RequestView) -> bool:
    return view.state is RequestState.GONE or view.conclusive


def _is_spaced(purchase: Purchase, now: datetime) -> bool:
    return purchase.missed_at is None or now - purchase.missed_at >= _MISSED_EVERY


def observed_fields(purchase: Purchase, view: RequestView, now: datetime) -> dict[str, Any]:
    """Fields of a submitted purchase that an answer changes without ending it; mostly empty: each change is a write."""
    if view.state in _IN_PROGRESS:
        key = view.key_id or purchase.key_id
        same = key == purchase.key_id and purchase.missing_since is None
        if same and now - seen_at(purchase) < _SEEN_EVERY:
            return {}
        return {"last_seen_at": now, "key_id": key, "missing_since": None, "missed": 0, "missed_at": None}
    if view.state not in MISSING:
        return {}
    changes: dict[str, Any] = {"missing_since": now} if purchase.missing_since is None else {}
    if _is_evidence(view) and purchase.missed < _MISSED - 1 and _is_spaced(purchase, now):
        changes |= {"missed": purchase.missed + 1, "missed_at": now}
    return changes


def missing_text(purchase: Purchase, view: RequestView, now: datetime) -> str:
    """Message about a request that the provider does not know, or of which it has no result."""
    since = f"{purchase.missing_since or now:%Y-%m-%d %H:%M} UTC"
    if view.state is RequestState.GONE:
        return f"{purchase.provider} has finished, but since {since} it has no result of the request"
    if not view.same_key and purchase.key_id is not None:
        account = purchase.account or "the default one"
        return (
            f"{purchase.provider} does not know the request by the operator's key since {since}, and that key is not "
            f"the one that it was sent with: a key of the account that paid ({account}) is needed"
        )
    return f"{purchase.provider} does not know the request since {since}, which may pass"


def missing_pause_seconds(purchase: Purchase, now: datetime) -> float:
    """Seconds until the next poll of a missing request that a run waits for."""
    since = abs((now - (purchase.missing_since or now)).total_seconds())
    return min(max(since / 10, _FIRST_PAUSE), _LONGEST_PAUSE)
