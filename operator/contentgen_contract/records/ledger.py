"""States of a purchase, and the merge of a restored ledger. Pure.

A restored ledger must not cause a second payment: it has the state at the time of the backup, and requests may have
been sent since.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

Document = Mapping[str, Any]


class PurchaseState(StrEnum):
    """State of a purchase."""

    INTENT = "intent"
    REFUSED = "refused"
    SUBMITTED = "submitted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    COLLECTED = "collected"
    CANCELLED = "cancelled"
    DISCARDED = "discarded"


class PurchaseStep(StrEnum):
    """Step of a purchase in the state `intent`, in their order."""

    PLANNED = "planned"  # nothing is sent; the process that moves it to SENDING by compare-and-set may send it
    SENDING = "sending"  # it may have been sent
    ABANDONED = "abandoned"  # a person allowed the next attempt: this one is never sent, but still searched for


_ENDS = {PurchaseState.SUCCEEDED, PurchaseState.FAILED, PurchaseState.CANCELLED, PurchaseState.COLLECTED}
_RESTORABLE: Mapping[PurchaseState, frozenset[PurchaseState]] = {
    PurchaseState.INTENT: frozenset({PurchaseState.SUBMITTED, *_ENDS}),
    PurchaseState.REFUSED: frozenset({PurchaseState.SUBMITTED, *_ENDS}),
    PurchaseState.SUBMITTED: frozenset(_ENDS),
    PurchaseState.SUCCEEDED: frozenset({PurchaseState.COLLECTED}),
}
"""Transitions that a restore may apply. None leads to `discarded` or `refused`: both allow a payment."""

UNCERTAIN = "restored from a backup: it was refused when that was made, and may have been sent again since"


def merge_restored(stored: Document | None, given: Document) -> Document | None:
    """The document to write, from the ledger's `stored` (None: absent) and the backup's `given`; None: no write.

    A purchase that was unsent at the time of the backup is restored as possibly sent: the operator searches for it at
    the provider and does not send it. Raises ValueError for an unknown state.
    """
    state = PurchaseState(given["state"])
    if stored is not None:
        later = state in _RESTORABLE.get(PurchaseState(stored["state"]), ()) or _is_later_step(stored, given)
        return given if later else None
    if state is not PurchaseState.REFUSED and given.get("step") != PurchaseStep.PLANNED:
        return given
    return {**given, "state": PurchaseState.INTENT.value, "step": PurchaseStep.SENDING.value, "error": UNCERTAIN}


def _is_later_step(stored: Document, given: Document) -> bool:
    """True if both are intents and the given one has a later step."""
    if not stored["state"] == given["state"] == PurchaseState.INTENT:
        return False
    return _step_position(given) > _step_position(stored)


def _step_position(document: Document) -> int:
    """Position among the steps; a document without a step may have been sent."""
    steps = [str(step) for step in PurchaseStep]
    step = document.get("step")
    return steps.index(step if step in steps else PurchaseStep.SENDING)
