"""What is bought, as frozen values: the key that never pays twice, and how far a purchase is.

(nothing) ──intend──► intent ─────────────────────► submitted ──► succeeded ──► collected
                      planned ─► sending ──POST──┘      └────────► failed  ▲         │ files gone, response kept
                        ▲   │      │  └─► abandoned                        └─────────┘
                        │   ▼      ▼      (by a person's resubmit)
                       refused (not accepted)       submitted ──► cancelled      discarded (its files are gone)

`job_id` is the uid of the resource that owns the purchase: one at a time, moved by compare-and-set (adoption).
"""

import hashlib
import secrets
import time
import uuid
from datetime import datetime
from typing import Any

from pydantic import Field

from contentgen_contract.base import Value
from contentgen_contract.names import Kind
from contentgen_contract.records.ledger import PurchaseState, PurchaseStep
from contentgen_contract.records.tenancy import scoped, unscoped
from contentgen_contract.resources.prices import Unit

__all__ = [
    "LedgerTransition",
    "Purchase",
    "PurchaseKey",
    "PurchaseState",
    "PurchaseStep",
    "StoredKey",
    "Unsettled",
    "new_purchase_id",
]


def new_purchase_id() -> str:
    """A UUIDv7 (RFC 9562): ids sort by the time at which they were made, in milliseconds."""
    value = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    version, variant = 0x7 << 76, 0x2 << 62
    return str(uuid.UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | version | variant))


class PurchaseKey(Value):
    """What is bought: the same key never pays twice, whichever resource asks for it."""

    namespace: str
    kind: Kind
    name: str
    run_hash: str
    rerun: str | None
    attempt: int
    scope: str = ""  # the tenant's: a namespace that was created again buys under keys of its own

    def __str__(self) -> str:
        # The rerun token is a person's text: hashed, so that it cannot imitate another key.
        rerun = hashlib.sha256(self.rerun.encode()).hexdigest()[:16] if self.rerun is not None else "-"
        return f"{scoped(self.namespace, self.scope)}/{self.kind}/{self.name}/{self.run_hash}/{rerun}/{self.attempt}"

    @property
    def token(self) -> str:
        """A short name of this very purchase, for a person to repeat."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:8]


class StoredKey(Value):
    """The key of a purchase that is already in the ledger: its `_id`, in which the rerun token is hashed."""

    namespace: str
    kind: Kind
    name: str
    scope: str = ""  # the tenant's
    text: str

    @classmethod
    def parse(cls, text: str) -> "StoredKey":
        """From `_id`. Raises ValueError."""
        place, kind, name, *rest = text.split("/")
        if not rest:
            raise ValueError(f"no key of a purchase: {text!r}")
        namespace, scope = unscoped(place)
        return cls(namespace=namespace, kind=Kind(kind), name=name, scope=scope, text=text)

    @property
    def next_attempt(self) -> "StoredKey":
        """The key of the attempt that follows. Raises ValueError."""
        same, _, attempt = self.text.rpartition("/")
        return self.model_copy(update={"text": f"{same}/{int(attempt) + 1}"})

    def __str__(self) -> str:
        return self.text


class Purchase(Value):
    """One document of the ledger."""

    purchase_id: str = ""  # never changes; what is kept of the purchase lies under it
    state: PurchaseState
    step: PurchaseStep | None = None  # of the state intent; None there: of an older release, so it may have been sent
    job_id: str  # the uid of the resource that owns it now
    former_owners: tuple[str, ...] = ()
    sent_by: str | None = None  # the process and its try
    sent_at: datetime | None = None  # or may have been
    namespace: str = ""
    tenant: str | None = None  # the scope of the namespace
    namespace_uid: str | None = None
    cluster_uid: str | None = None
    operator_class: str | None = None  # of the installation that plans, sends or adopts it; None: of an older release
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
    sent_input: str | None = None  # the call's arguments (JSON), only while the reply is lost
    orphaned_at: datetime | None = None  # when its resource was first seen gone; None: it has one
    orphan_seen_at: datetime | None = None  # when its resource was last seen gone, to the day
    discard_asked: bool = False  # its resource was deleted with deletionPolicy Delete before it was finished
    expired_at: datetime | None = None  # its response was deleted at the end of the orphans' retention
    billed_micros: int | None = None  # the charge by the provider's billing events; also in actual_micros then
    billing_due_at: datetime | None = None  # the billing events had no charge yet, and are read again then
    result_key: str | None = None  # the provider's answer in S3
    outputs: dict[str, Any] | None = None  # the finished VersionStatus, for a resource that is applied again

    @property
    def planned(self) -> bool:
        """Whether it is to be sent, and was not."""
        return self.state is PurchaseState.INTENT and self.step is PurchaseStep.PLANNED

    @property
    def unpaid(self) -> bool:
        """Whether nothing was sent, or the provider did not take it: whoever asks for it may send it."""
        return self.planned or self.state is PurchaseState.REFUSED

    @property
    def abandoned(self) -> bool:
        """Whether a person allowed the next attempt in its place."""
        return self.state is PurchaseState.INTENT and self.step is PurchaseStep.ABANDONED


_WORTH = {PurchaseState.COLLECTED: 4, PurchaseState.SUCCEEDED: 3, PurchaseState.SUBMITTED: 2}


def worth(purchase: Purchase) -> int:
    """Rank of a purchase by its result: 4 collected, 3 succeeded, 2 it may be paid, 1 none will come."""
    if purchase.state is PurchaseState.INTENT:
        return 1 if purchase.planned or purchase.abandoned else 2
    return _WORTH.get(purchase.state, 1)


class Variant(Value):
    """A purchase of an image: under which scope, and with which LoRAs in its key (empty: by their names alone)."""

    scope: str
    identity: str
    purchase: Purchase


class Unsettled(Value):
    """A finished purchase whose charge is not known from the provider's billing events."""

    key: str  # `_id` of the document
    namespace: str = ""
    type: str = ""  # the records' word for the kind
    job_id: str = ""
    purchase_id: str
    request_id: str
    model: str
    created_at: datetime
    ended_at: datetime
    due_at: datetime | None = None  # None: not asked for yet


class LedgerTransition(Value):
    """A step of a purchase from one state to another, with the fields (by their Python names) that change.

    `owner` and `expected` (fields by their Python names) must be the document's, or nothing is changed.
    """

    key: PurchaseKey | StoredKey
    source: PurchaseState
    target: PurchaseState
    owner: str | None = None
    expected: dict[str, Any] = Field(default_factory=dict)
    changes: dict[str, Any] = Field(default_factory=dict)
    claimed_for: Purchase | None = None  # whose the request id in `changes` is claimed to be first
