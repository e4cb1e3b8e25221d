"""What is bought, as frozen values: the key that never pays twice, and how far a purchase is.

(nothing) ──intend──► intent ──POST──► submitted ──► succeeded ──► collected
                        │  ▲              └────────► failed
                        ▼  │ intend again (the provider had said: not accepted)
                      refused                submitted ──► cancelled      anything ──► discarded (its files are gone)
"""

import hashlib
from datetime import datetime
from typing import Any

from pydantic import Field

from contentgen_contract.base import Value
from contentgen_contract.ledger import PurchaseState
from contentgen_contract.names import Kind
from contentgen_contract.prices import Unit

__all__ = ["Move", "Purchase", "PurchaseKey", "PurchaseState"]


class PurchaseKey(Value):
    """What is bought: the same key never pays twice, whichever resource asks for it."""

    namespace: str
    kind: Kind
    name: str
    run_hash: str
    rerun: str | None
    attempt: int

    def __str__(self) -> str:
        # The rerun token is a person's text: hashed, so that it cannot imitate another key.
        rerun = hashlib.sha256(self.rerun.encode()).hexdigest()[:16] if self.rerun is not None else "-"
        return f"{self.namespace}/{self.kind}/{self.name}/{self.run_hash}/{rerun}/{self.attempt}"

    @property
    def token(self) -> str:
        """A short name of this very purchase, for a person to repeat."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:8]


class Purchase(Value):
    """One document of the ledger."""

    state: PurchaseState
    job_id: str  # of the resource that first asked; its outputs are the purchase's
    namespace: str = ""
    type: str = ""  # the records' word for the kind
    user_id: str = ""
    provider: str
    model: str
    marker: str
    created_at: datetime
    changed_at: datetime
    request_id: str | None = None
    submitted_at: datetime | None = None
    cancel_asked_at: datetime | None = None  # and the provider had not ended it then
    finished_at: datetime | None = None
    tries: int = 1  # POSTs that the provider answered with "not accepted", and the one after them
    permanent: bool = False  # refused for good
    key_refused: bool = False  # until the operator has another key
    error: str = ""
    loras: tuple[str, ...] = ()  # keys of our own LoRAs that it is drawn with
    units: float = 0  # of work: steps, pictures, seconds of sound
    estimated_micros: int | None = None
    unit_micros: float | None = None  # of the price when it was bought
    unit: Unit | None = None  # that it is for
    billing: bool = False  # whether the provider's billable units count this unit
    price_source: str = ""
    billable_units: float | None = None  # by the provider's word, seconds of sound where they are; 0: not billed
    cost_source: str | None = None  # of actual_micros; None on a finished purchase: actual_micros is an estimate
    actual_micros: int | None = None
    result_key: str | None = None  # the provider's answer in S3
    outputs: dict[str, Any] | None = None  # the finished VersionStatus, for a resource that is applied again


class Move(Value):
    """A step of a purchase from one state to another, with the fields (by their Python names) that change."""

    key: PurchaseKey
    source: PurchaseState
    target: PurchaseState
    changes: dict[str, Any] = Field(default_factory=dict)
