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


class SendState(StrEnum):
    """Whether the request of a purchase in the state `intent` was sent; in their order."""

    PLANNED = "planned"  # nothing is sent; the process that moves it to SENDING by compare-and-set may send it
    SENDING = "sending"  # it may have been sent
    ABANDONED = "abandoned"  # a person allowed the next attempt: this one is never sent, but still searched for


# Positions within a try. The ends of a purchase follow those of a try: it has no further try then.
_BEFORE, _SENDING, _NOT_ACCEPTED, _ABANDONED = range(4)
_ACCEPTED: Mapping[PurchaseState, int] = {
    PurchaseState.SUBMITTED: 4,
    PurchaseState.SUCCEEDED: 5,
    PurchaseState.FAILED: 5,
    PurchaseState.CANCELLED: 5,
    PurchaseState.COLLECTED: 6,
    PurchaseState.DISCARDED: 6,
}
_NEVER_RESTORED = {PurchaseState.DISCARDED}  # over anything else: a result may be there
_FINAL = {PurchaseState.FAILED, PurchaseState.CANCELLED, PurchaseState.COLLECTED, PurchaseState.DISCARDED}
_WORTH = (PurchaseState.COLLECTED, PurchaseState.SUCCEEDED, PurchaseState.SUBMITTED)
_MOST_OTHERS = 8

UNCERTAIN = "restored from a backup: it was unsent when that was made, and may have been sent since"
DISPUTED = "the ledger and a backup have different purchases of the same: a person decides whether to pay again"


def merge_restored(stored: Document | None, given: Document) -> Document | None:
    """The document to write, from the ledger's `stored` (None: absent) and the backup's `given`; None: no write.

    The later of both by the number of the try, then by the position within it; times decide nothing. A purchase that is
    unsent by the backup may have been sent since, so it is restored as `sending`: the operator searches for it at the
    provider and does not send it. Keys of equal requests (`alsoUnder`) are taken from both. Of two purchases
    under one key both are kept, and nothing is paid until a person decides. Raises ValueError for an unknown state.
    """
    if stored is None:
        return _possibly_sent(given, UNCERTAIN) if _is_unsent(given) else given
    if _id(stored) != _id(given):
        return _disputed(stored, given)
    known = list(stored.get("alsoUnder") or ())
    also = [*known, *(scope for scope in given.get("alsoUnder") or () if scope not in known)]
    if not _is_later(stored, given):
        return {**stored, "alsoUnder": also} if also != known else None
    number = max(_number(stored), _number(given))
    merged = _possibly_sent(given, UNCERTAIN) if _is_unsent(given) else {**given, "sendNumber": number}
    return {**merged, "alsoUnder": also} if also else merged


def _is_later(stored: Document, given: Document) -> bool:
    """True if the given document is evidence of more than the stored one."""
    before, state = PurchaseState(stored["state"]), PurchaseState(given["state"])
    if state in _NEVER_RESTORED or before in _FINAL or (before in _ACCEPTED and state not in _ACCEPTED):
        return False
    if _is_unsent(stored) and not _is_unsent(given) and not (_position(given)[1] == _SENDING and _number(given)):
        return True  # it has no further try, or nobody knows which one it is
    return _position(given) > _position(stored)


def _position(document: Document) -> tuple[int, int]:
    """Number of the try, and the position within it. A planned purchase is before its next try."""
    state, number = PurchaseState(document["state"]), _number(document)
    if state is PurchaseState.REFUSED:
        return number, _NOT_ACCEPTED
    if state is not PurchaseState.INTENT:
        return max(number, 1), _ACCEPTED[state]
    if _is_unsent(document):
        return number + 1, _BEFORE
    return max(number, 1), _ABANDONED if document.get("sendState") == SendState.ABANDONED else _SENDING


def _id(document: Document) -> str:
    return str(document.get("purchaseId") or "")


def _number(document: Document) -> int:
    return int(document.get("sendNumber") or 0)


def _is_unsent(document: Document) -> bool:
    """True if the operator may send it. One without a send state may have been sent."""
    return document["state"] == PurchaseState.REFUSED or (
        document["state"] == PurchaseState.INTENT and document.get("sendState") == SendState.PLANNED
    )


def _possibly_sent(document: Document, why: str) -> Document:
    """The purchase with a next try that may have been sent."""
    number = _number(document) + (1 if _is_unsent(document) else 0)
    sending = {"state": PurchaseState.INTENT.value, "sendState": SendState.SENDING.value, "sendNumber": number}
    return {**document, **sending, "error": why}


def _disputed(stored: Document, given: Document) -> Document | None:
    """The purchase with a result, else the stored one, with the other in `others`; None if it is there already.

    One that would allow a payment, of this attempt or of the next, is searched instead.
    """
    others = list(stored.get("others") or ())
    if _id(given) in map(_id, others):
        return None
    main, other = (given, stored) if _worth(given) > _worth(stored) else (stored, given)
    kept = {name: value for name, value in other.items() if name not in ("_id", "others", "sentInput")}
    merged = {**main, "others": [*others, kept][-_MOST_OTHERS:]}
    return merged if _worth(main) else _possibly_sent(merged, DISPUTED)


def _worth(document: Document) -> int:
    """Rank of a purchase that has a result, or may get one; 0 for one that allows another payment."""
    state = PurchaseState(document["state"])
    if state in _WORTH:
        return len(_WORTH) + 1 - _WORTH.index(state)
    return 1 if state is PurchaseState.INTENT and _position(document)[1] == _SENDING else 0
