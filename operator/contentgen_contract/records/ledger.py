"""The states of a purchase, and which of two accounts of one is believed. Pure.

A ledger that is restored must not cause a second payment: what it says is what was known when it was backed up, and a
request may have been sent since.
"""

import hashlib
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


class PurchaseStep(StrEnum):
    """How far a purchase in the state `intent` is. An intent without a step is of an older release: as `SENDING`."""

    PLANNED = "planned"  # nothing is sent; whoever moves it to SENDING by compare-and-set may send it
    SENDING = "sending"  # it may have been sent
    ABANDONED = "abandoned"  # a person allowed the next attempt: this one is never sent, and still looked for


def legacy_id(buying_key: str) -> str:
    """The purchase id of a document that has none: the same for every reader."""
    return f"legacy-{hashlib.sha256(buying_key.encode()).hexdigest()[:32]}"


_ENDS = {PurchaseState.SUCCEEDED, PurchaseState.FAILED, PurchaseState.CANCELLED, PurchaseState.COLLECTED}
_RESTORABLE: Mapping[PurchaseState, frozenset[PurchaseState]] = {
    PurchaseState.INTENT: frozenset({PurchaseState.SUBMITTED, *_ENDS}),
    PurchaseState.REFUSED: frozenset({PurchaseState.SUBMITTED, *_ENDS}),
    PurchaseState.SUBMITTED: frozenset(_ENDS),
    PurchaseState.SUCCEEDED: frozenset({PurchaseState.COLLECTED}),
}
"""What a stored purchase may become by a restore. Nothing becomes `discarded` or `refused`: both allow a payment."""

UNCERTAIN = "restored from a backup: it was refused when that was made, and may have been sent again since"


def merge_restored(stored: Document | None, given: Document) -> Document | None:
    """What to write where the ledger has `stored` (None: nothing) and a backup has `given`; None: leave it.

    A purchase that was not sent when the backup was made comes back as one that may have been sent: the operator looks
    for it at the provider and does not send it by itself. Raises ValueError for a state that is none.
    """
    state = PurchaseState(given["state"])
    if stored is not None:
        later = state in _RESTORABLE.get(PurchaseState(stored["state"]), ()) or _is_later_step(stored, given)
        return given if later else None
    if state is not PurchaseState.REFUSED and given.get("step") != PurchaseStep.PLANNED:
        return given
    return {**given, "state": PurchaseState.INTENT.value, "step": PurchaseStep.SENDING.value, "error": UNCERTAIN}


_STEPS: tuple[str | None, ...] = (PurchaseStep.PLANNED, None, PurchaseStep.SENDING, PurchaseStep.ABANDONED)


def _is_later_step(stored: Document, given: Document) -> bool:
    """Whether both are intents, and the given one has got further."""
    if not stored["state"] == given["state"] == PurchaseState.INTENT:
        return False
    return _STEPS.index(given.get("step")) > _STEPS.index(stored.get("step"))
