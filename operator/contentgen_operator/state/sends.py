"""Tries to send a purchase, as the bucket knows them. Pure.

Each try has a create-only object, written between its compare-and-set to `sending` and its first byte. A try that was
not accepted has a second one, its end. A ledger that was restored may lack tries; the bucket has them.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum

from contentgen_contract.base import Value
from contentgen_contract.records import keys
from contentgen_contract.records.presigned_urls import strip_signatures_from_text
from contentgen_operator.state.purchases import Purchase


class SendEnding(StrEnum):
    """Ending of a try that was not accepted."""

    REFUSED = "refused"  # by the provider, or it could not be reached
    UNSENT = "unsent"  # stopped before its first byte


class Send(Value):
    """Object of one try: what a search for its request needs, without prompt and URLs."""

    sent_by: str  # process and try
    purchase_id: str
    number: int
    account: str | None = None  # provider account; None: the default
    model: str
    correlation_key: str | None = None  # key of the file by which a history is searched; None: it is made of the prompt
    sent_at: datetime
    input_sha256: str
    closed: bool = False  # created in the place of the sender's object: this try is never sent

    @classmethod
    def of(cls, purchase: Purchase, number: int, sent_by: str, at: datetime) -> "Send":
        """Object of a try that is about to be sent."""
        return cls(
            sent_by=sent_by,
            purchase_id=purchase.purchase_id,
            number=number,
            account=purchase.account,
            model=purchase.model,
            correlation_key=purchase.correlation_key if keys.run_of(purchase.correlation_key) is not None else None,
            sent_at=at,
            input_sha256=input_hash(purchase.sent_input),
        )


class SendEnd(Value):
    """Object beside that of a try which was not accepted."""

    sent_by: str
    ending: SendEnding


def input_hash(sent_input: str | None) -> str:
    """SHA-256 of a call's arguments without signatures, which change with each try."""
    return hashlib.sha256(strip_signatures_from_text(sent_input or "").encode()).hexdigest()


class LastSend(Value):
    """Highest try of a purchase in the bucket."""

    number: int = 0  # 0: there is none
    ended: bool = True


def last_send(found: Iterable[str]) -> LastSend:
    """The highest try among the keys of its purchase's objects. An end whose try is missing counts as well."""
    tries = [send for send in map(keys.send_of, found) if send is not None]
    number = max((each_try.number for each_try in tries), default=0)
    return LastSend(number=number, ended=not number or keys.SendKey(number, is_end=True) in tries)
