"""End of a paid request by the provider's answer: the purchase's next state, and the response to store. Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from contentgen_contract.base import Value
from contentgen_contract.names import Kind
from contentgen_contract.records import keys, ownership
from contentgen_operator.state import costs, kinds
from contentgen_operator.state.plan import StoredAnswer
from contentgen_operator.state.provider_requests import Answer, RequestState, RequestView
from contentgen_operator.state.purchases import Purchase, PurchaseState

_GONE_SECONDS = 3600.0  # fal keeps a result for an hour; earlier, a missing one may be due to its history's lag


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
    changes = {"finished_at": now} | costs.ending_fields(purchase, target, billable_units=view.billable_units, **rate)
    if view.state is RequestState.SUCCEEDED and view.result is not None:
        answer = _stored_answer(kind, purchase, view.result)
        return Ending(target=target, changes=changes | {"result_key": answer.key}, answer=answer)
    if view.stored:
        return Ending(target=target, changes=changes | {"result_key": keys.purchase_response(purchase.purchase_id)})
    if view.too_large or is_gone(purchase, view, now):
        return Ending(target=target, changes=changes | {"error": view.message})
    return None


def _stored_answer(kind: Kind, purchase: Purchase, result: Answer) -> StoredAnswer:
    """The response to store under the purchase's id."""
    return StoredAnswer(
        owner=ownership.purchase_owner(purchase.purchase_id),
        key=keys.purchase_response(purchase.purchase_id),
        answer=result,
        needed=kinds.fetched_url_names(kind),
    )


def is_gone(purchase: Purchase, view: RequestView, now: datetime) -> bool:
    """True if a paid result is lost for good; a provider may not know a new request on all of its servers yet."""
    since = (now - (purchase.submitted_at or purchase.created_at)).total_seconds()
    return view.state is RequestState.GONE and since >= _GONE_SECONDS
