"""Poll of a submitted request, with the evidence that decides whether the provider has lost it."""

from datetime import datetime

from contentgen_contract.records import keys, ownership
from contentgen_operator.decide import request_endings
from contentgen_operator.providers.base import Provider, Unavailable
from contentgen_operator.state.provider_requests import STORED, RequestState, RequestView
from contentgen_operator.state.purchases import Purchase
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.s3 import Storage

_OTHER_REQUESTS = 3  # that are asked for to tell a key of another account, and a provider that knows nothing


async def poll_or_stored(
    storage: Storage, ledger: Ledger, provider: Provider, purchase: Purchase, now: datetime
) -> RequestView:
    """Answer to a poll; STORED if the provider has no result, but the bucket has: an earlier reconcile crashed between
    bucket and ledger. Raises Unavailable.
    """
    key = provider.key_id
    try:
        view = await provider.poll(purchase.model, purchase.request_id or "")
    except Unavailable:
        if await is_stored(storage, purchase):
            return STORED
        raise
    has_none = view.state in (*request_endings.MISSING, RequestState.FAILED)
    if has_none and await is_stored(storage, purchase):
        return STORED
    asked_by = key if key == provider.key_id else None
    changes: dict[str, object] = {"key_id": asked_by}
    if view.state is RequestState.UNKNOWN:
        same = asked_by is not None and asked_by == purchase.key_id
        asked = same and request_endings.needs_evidence(purchase, now)
        changes |= {"same_key": same, "conclusive": asked and await _knows_another(ledger, provider, purchase)}
    return view.model_copy(update=changes)


async def is_stored(storage: Storage, purchase: Purchase) -> bool:
    """True if the bucket has the purchase's response."""
    key = keys.purchase_response(purchase.purchase_id)
    return await storage.exists(ownership.purchase_owner(purchase.purchase_id), key)


async def _knows_another(ledger: Ledger, provider: Provider, purchase: Purchase) -> bool:
    """True if the provider knows one of our newest other requests of this account by the same key."""
    for other in await ledger.newest_requests(purchase, _OTHER_REQUESTS):
        try:
            view = await provider.poll(other.model, other.request_id or "")
        except Unavailable:
            continue
        if view.result is not None:
            view.result.close()
        if view.state is not RequestState.UNKNOWN:
            return True
    return False
