"""Purchases as frozen values: their key, under which nothing is paid twice, and their state.

(nothing) ──intend──► intent ─────────────────────► submitted ──► succeeded ──► collected
                      planned ─► sending ──POST──┘      └────────► failed  ▲         │ files gone, response kept
                        ▲   │      │  └─► abandoned                        └─────────┘
                        │   ▼      ▼      (by a person's resubmit)
                       refused (not accepted)       submitted ──► cancelled      discarded (its files are deleted)

`job_id` is the uid of the one resource that owns the purchase; adoption changes it by compare-and-set.
"""

import hashlib
import secrets
import time
import uuid
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import Field

from contentgen_contract.base import Value
from contentgen_contract.names import DEFAULT_ACCOUNT, Kind
from contentgen_contract.records.ledger import PurchaseState, SendState
from contentgen_contract.records.tenancy import scoped, unscoped
from contentgen_contract.resources.prices import Unit
from contentgen_operator.state.effects import Effect, EffectOrder

__all__ = [
    "BilledAccount",
    "LedgerTransition",
    "Purchase",
    "PurchaseKey",
    "PurchaseState",
    "SamePurchase",
    "SendState",
    "StoredKey",
    "Unsettled",
    "new_purchase_id",
]


def new_purchase_id() -> str:
    """UUIDv7 (RFC 9562): ids sort by their creation time, in milliseconds."""
    value = (time.time_ns() // 1_000_000 << 80) | secrets.randbits(80)
    version, variant = 0x7 << 76, 0x2 << 62
    return str(uuid.UUID(int=value & ~(0xF << 76) & ~(0x3 << 62) | version | variant))


class PurchaseKey(Value):
    """Identity of what is bought: one key is paid at most once, whichever resource asks for it."""

    namespace: str
    kind: Kind
    name: str
    run_hash: str
    rerun: str | None
    attempt: int
    scope: str = ""  # the tenant's: a namespace that was deleted and created again has keys of its own

    def __str__(self) -> str:
        # The rerun token is free text, so it is hashed: it could imitate another key.
        rerun = hashlib.sha256(self.rerun.encode()).hexdigest()[:16] if self.rerun is not None else "-"
        return f"{scoped(self.namespace, self.scope)}/{self.kind}/{self.name}/{self.run_hash}/{rerun}/{self.attempt}"

    @property
    def rerun_part(self) -> str:
        """The rerun token as in the key's text."""
        return str(self).split("/")[4]

    @property
    def token(self) -> str:
        """Short hash of the key, which a person repeats in an annotation."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:8]


class StoredKey(Value):
    """Key of a purchase as stored in the ledger: its `_id`, in which the rerun token is hashed."""

    namespace: str
    kind: Kind
    name: str
    scope: str = ""  # the tenant's
    text: str

    @classmethod
    def parse(cls, text: str) -> "StoredKey":
        """The key from an `_id`. Raises ValueError."""
        place, kind, name, *rest = text.split("/")
        if not rest:
            raise ValueError(f"no key of a purchase: {text!r}")
        namespace, scope = unscoped(place)
        return cls(namespace=namespace, kind=Kind(kind), name=name, scope=scope, text=text)

    @property
    def next_attempt(self) -> "StoredKey":
        """Key of the next attempt. Raises ValueError."""
        same, _, attempt = self.text.rpartition("/")
        return self.model_copy(update={"text": f"{same}/{int(attempt) + 1}"})

    def __str__(self) -> str:
        return self.text


class Purchase(Value):
    """One document of the ledger."""

    purchase_id: str = ""  # never changes; the response is stored under it
    state: PurchaseState
    send_state: SendState | None = None  # of state `intent`
    job_id: str  # uid of the resource that owns it now
    former_owners: tuple[str, ...] = ()
    sent_by: str | None = None  # process and attempt
    sent_at: datetime | None = None  # time of the POST, which may not have happened
    namespace: str = ""
    tenant: str | None = None  # scope of the namespace
    namespace_uid: str | None = None
    cluster_uid: str | None = None
    operator_class: str | None = None  # of the installation that plans, sends or adopts it
    type: str = ""  # `Kind.record_type`
    user_id: str = ""
    provider: str
    account: str | None = None  # provider account, whose key the request is sent and asked for with; None: the default
    model: str
    correlation_key: str
    created_at: datetime
    changed_at: datetime
    request_id: str | None = None
    key_id: str | None = None  # fingerprint of the key that it was sent with, or that has seen it since; None: unknown
    last_seen_at: datetime | None = None  # last answer that it is under way, to the hour; None: none since its sending
    missing_since: datetime | None = None  # first answer without it or its result, since it was last seen
    missed: int = 0  # such answers that count as evidence, hours apart
    missed_at: datetime | None = None  # time of the last of them
    submitted_at: datetime | None = None
    cancel_asked_at: datetime | None = None  # last cancellation that did not end the request
    finished_at: datetime | None = None
    tries: int = 1  # POSTs sent, including this one; earlier ones were not accepted
    send_number: int = 0  # of the last try, by which its object in the bucket is named (`state/sends.py`)
    ended_by: str | None = None  # `sent_by` of the last try that is known not to be accepted
    permanent: bool = False  # refused for good, or failed because its input was refused
    key_refused: bool = False  # the operator needs another key
    blocked: bool = False  # refused for a cause outside of the request: the pauses before the next try grow to an hour
    error: str = ""
    loras: tuple[str, ...] = ()  # keys of the LoRA files of the installation that it uses
    units: float = 0  # of work: steps, pictures, seconds of audio
    estimated_micros: int | None = None
    unit_micros: float | None = None  # unit price when it was bought
    unit: Unit | None = None  # unit of that price
    billing: bool = False  # whether the provider's billable units count this unit
    price_source: str = ""
    billable_units: float | None = None  # the provider's figure, for audio in seconds; 0: none reported
    cost_source: str | None = None  # of the cost; actual_micros is None while that is an estimate
    actual_micros: int | None = None
    bound_micros: int | None = None  # upper bound of the estimate; None: unknown
    budgets: tuple[str, ...] = ()  # windows of budgets in which it counts, with `bound_micros` until a charge is known
    content: tuple[str, ...] = ()  # hashes of the canonical request, by any of which an equal request finds it
    also_under: tuple[str, ...] = ()  # keys of equal requests that used it (`SamePurchase`)
    sent_input: str | None = None  # the call's arguments (JSON), only while the reply is lost
    awaited_since: datetime | None = None  # begin of the collection that is tried; None: none is
    awaited_until: datetime | None = None  # its deadline, after which it counts as given up
    orphaned_at: datetime | None = None  # when its resource was first found deleted; None: not an orphan
    orphan_seen_at: datetime | None = None  # when its resource was last found deleted, to the day
    discard_asked: bool = False  # its resource was deleted with deletionPolicy Delete before it was finished
    expired_at: datetime | None = None  # its response was deleted at the end of the orphans' retention
    billed_micros: int | None = None  # charge of the provider's billing events; also in actual_micros then
    billing_due_at: datetime | None = None  # next read of the billing events, which had no charge yet
    result_key: str | None = None  # S3 key of the provider's response
    outputs: dict[str, Any] | None = None  # finished VersionStatus, for a resource that is applied again

    @property
    def planned(self) -> bool:
        """True if it is to be sent, and was not sent."""
        return self.state is PurchaseState.INTENT and self.send_state is SendState.PLANNED

    @property
    def unpaid(self) -> bool:
        """True if nothing was sent, or the provider did not accept it: any resource with its key may send it."""
        return self.planned or self.state is PurchaseState.REFUSED

    @property
    def unresolved(self) -> bool:
        """True if it was given up without a word of the provider about its end: it may have been paid."""
        return self.state is PurchaseState.SUCCEEDED and self.result_key is None and self.missing_since is not None

    @property
    def abandoned(self) -> bool:
        """True if a person allowed the next attempt in its place."""
        return self.state is PurchaseState.INTENT and self.send_state is SendState.ABANDONED


_WORTH = {PurchaseState.COLLECTED: 4, PurchaseState.SUCCEEDED: 3, PurchaseState.SUBMITTED: 2}


def worth(purchase: Purchase) -> int:
    """Rank of a purchase by its result: 4 collected, 3 succeeded, 2 may be paid, 1 no result expected."""
    if purchase.state is PurchaseState.INTENT:
        return 1 if purchase.planned or purchase.abandoned else 2
    return _WORTH.get(purchase.state, 1)


class Variant(Value):
    """Purchase of an image, with the scope and the LoRA identity of its key (empty: LoRAs by name only)."""

    scope: str
    identity: str
    purchase: Purchase


class SamePurchase(Value):
    """Purchase of the same provider request under another key of the resource's name."""

    run_hash: str
    lora_identity: str | None
    attempt: int
    purchase: Purchase

    @classmethod
    def parse(cls, key: str, purchase: Purchase) -> "SamePurchase":
        """From the `_id` of a purchase. Raises ValueError."""
        _, _, _, inputs, _, attempt = key.split("/")
        run_hash, _, identity = inputs.partition(".")
        return cls(run_hash=run_hash, lora_identity=identity or None, attempt=int(attempt), purchase=purchase)

    def pays_again(self, paid_attempts: int) -> bool:
        """True if a run of so many paid attempts pays for another one after it."""
        failed = self.purchase.state is PurchaseState.FAILED and self.attempt < paid_attempts
        return failed or self.purchase.abandoned


def most_advanced(variants: Iterable[Variant]) -> Variant | None:
    """The purchase closest to a result (`worth`), the first of several; None: there is none."""
    return max(variants, key=lambda each: worth(each.purchase), default=None)


def most_useful(found: Iterable[SamePurchase]) -> SamePurchase | None:
    """The purchase closest to a result (`worth`), the newest of several; None: there is none."""
    return max(found, key=lambda each: (worth(each.purchase), each.purchase.created_at), default=None)


class BilledAccount(NamedTuple):
    """Account at a provider; the name None is the default one."""

    provider: str
    name: str | None = None


def account_name(account: str | None) -> str:
    """Name of an account in metrics, messages and reports; `account`: None for the default one."""
    return account or DEFAULT_ACCOUNT


class Unsettled(Value):
    """Finished purchase whose charge is not known from the provider's billing events."""

    key: str  # `_id` of the document
    namespace: str = ""
    type: str = ""  # `Kind.record_type`
    job_id: str = ""
    purchase_id: str
    request_id: str
    provider: str
    account: str | None = None  # provider account; None: the default
    model: str
    created_at: datetime
    ended_at: datetime
    due_at: datetime | None = None  # next read; None: not read yet

    @property
    def billed(self) -> BilledAccount:
        """Account whose bills have the charge."""
        return BilledAccount(self.provider, self.account)


class LedgerTransition(Effect):
    """Transition of a purchase between two states, with the fields (by Python name) that change.

    Compare-and-set: `owner` and `expected` (fields by Python name) must match the document, or nothing is changed.
    """

    ORDER = EffectOrder.MOVE

    key: PurchaseKey | StoredKey
    source: PurchaseState
    target: PurchaseState
    owner: str | None = None
    expected: dict[str, Any] = Field(default_factory=dict)
    changes: dict[str, Any] = Field(default_factory=dict)
    bound_to: Purchase | None = None  # purchase to which the request id in `changes` is bound first
