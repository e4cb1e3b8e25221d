"""The states of a purchase, and which of two accounts of one is believed. Pure.

A ledger that is restored must not cause a second payment: what it says is what was known when it was backed up, and a
request may have been sent since.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

Document = Mapping[str, Any]


class PurchaseState(StrEnum):
    """How far a purchase is."""

    INTENT = "intent"
    REFUSED = "refused"
    SUBMITTED = "submitted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    COLLECTED = "collected"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"


_ENDS = {PurchaseState.SUCCEEDED, PurchaseState.FAILED, PurchaseState.CANCELLED, PurchaseState.COLLECTED}
_LATER: Mapping[PurchaseState, frozenset[PurchaseState]] = {
    PurchaseState.INTENT: frozenset({PurchaseState.SUBMITTED, *_ENDS}),
    PurchaseState.REFUSED: frozenset({PurchaseState.SUBMITTED, *_ENDS}),
    PurchaseState.SUBMITTED: frozenset(_ENDS),
    PurchaseState.SUCCEEDED: frozenset({PurchaseState.COLLECTED}),
}
"""What a stored purchase may become by a restore. Nothing becomes `discarded` or `refused`: both allow a payment."""

UNCERTAIN = "restored from a backup: it was refused when that was made, and may have been sent again since"


def restored(stored: Document | None, given: Document) -> Document | None:
    """What to write where the ledger has `stored` (None: nothing) and a backup has `given`; None: leave it.

    A refused purchase comes back as an intent: the operator looks for it at the provider and does not send it by
    itself. Raises ValueError for a state that is none.
    """
    state = PurchaseState(given["state"])
    if stored is not None:
        return given if state in _LATER.get(PurchaseState(stored["state"]), ()) else None
    if state is not PurchaseState.REFUSED:
        return given
    return {**given, "state": PurchaseState.INTENT.value, "error": UNCERTAIN}
