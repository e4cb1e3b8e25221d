"""Plan for one resource: the whole output of `decide`, as frozen values."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict

from contentgen_contract.base import Value
from contentgen_contract.names import Stage
from contentgen_contract.records.deletion_tombstone import DeletionTombstone
from contentgen_contract.records.ownership import Owner
from contentgen_contract.records.tenancy import Tenant
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.state.effects import Effect, EffectOrder
from contentgen_operator.state.observed import JobView
from contentgen_operator.state.provider_requests import Answer, Call
from contentgen_operator.state.purchases import LedgerTransition, Purchase, PurchaseKey


class Reservation(Effect):
    """Purchase to plan in the ledger, to mark in the bucket and to name in the status. Nothing is sent."""

    ORDER = EffectOrder.RESERVE

    key: PurchaseKey
    purchase: Purchase
    asked: tuple[str, ...] = ()  # hashes of the content by which an equal purchase is searched in the bucket


class LostPurchase(Reservation):
    """Purchase missing in the ledger, to insert there."""

    ORDER = EffectOrder.INSERT_LOST


class RestoredPurchase(Reservation):
    """Purchase missing in the ledger, to insert there with the request id of the adopt annotation."""

    ORDER = EffectOrder.RESTORE


class Payment(Effect):
    """Planned purchase to send: one POST, by the process that moves it to `sending`."""

    ORDER = EffectOrder.PAY

    key: PurchaseKey
    purchase: Purchase
    call: Call
    planned_at: datetime | None = None


class Adoption(Effect):
    """Change of a purchase's owner to this resource, before any other write to it."""

    ORDER = EffectOrder.ADOPT

    key: PurchaseKey
    purchase: Purchase  # as observed
    job_id: str  # the new owner
    tenant: Tenant = Tenant()  # the new owner's


class Pointer(Effect):
    """Key of an equal request, to add to the purchase that it uses and to mark in the bucket."""

    ORDER = EffectOrder.POINT

    key: PurchaseKey  # of the purchase
    purchase_id: str
    also: PurchaseKey
    namespace_uid: str | None = None


class StoredAnswer(Effect):
    """Provider's response to store in the bucket, under a key that `owner` may write."""

    ORDER = EffectOrder.STORE_RESPONSE

    model_config = ConfigDict(arbitrary_types_allowed=True)

    owner: Owner
    key: str
    answer: Answer
    needed: frozenset[str] = frozenset()  # names of signed URLs that stay: the collect stage fetches them


class StageJob(Value):
    """Job to create for the current run."""

    stage: Stage
    attempt: int


class Cancellation(Effect):
    """Request to cancel at the provider; its answer decides the purchase's next state."""

    ORDER = EffectOrder.CANCEL

    key: PurchaseKey
    provider: str
    account: str | None = None  # provider account; None: the default
    model: str
    request_id: str
    last_chance: bool = False  # a failure is not retried


class Event(Value):
    """Kubernetes Event to post."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


class Plan(Value):
    """Writes to make, in the order of `act`."""

    status: ResourceStatus
    adoption: Adoption | None = None
    pointer: Pointer | None = None
    store: StoredAnswer | None = None
    moves: tuple[LedgerTransition, ...] = ()
    reservation: Reservation | None = None
    payment: Payment | None = None
    unrecorded: LostPurchase | None = None
    restored: RestoredPurchase | None = None
    of_features: tuple[Effect, ...] = ()
    job: StageJob | None = None
    notices: tuple[Event, ...] = ()
    finalizer: bool = False  # whether the resource should have our finalizer
    stop_job: bool = False  # delete the newest Job of the resource
    left_job: JobView | None = None  # Job that no run needs, deleted once the status no longer names it
    cancel: Cancellation | None = None
    discard: DeletionTombstone | None = None
    expire: bool = False  # delete the resource, and none of its files: spec.ttlSecondsAfterFinished is over
    hold: bool = False  # a deleted resource keeps our finalizer
    last_chance: bool = False  # a failed deletion is not retried
    again_seconds: float | None = None  # until the next reconcile; None: at the next event

    @property
    def effects(self) -> tuple[Effect, ...]:
        """Writes to purchases and to the stores of features, in their order."""
        first = (self.adoption, self.pointer, self.store, self.cancel, *self.moves, self.unrecorded, self.restored)
        made = [effect for effect in (*first, *self.of_features, self.reservation, self.payment) if effect is not None]
        return tuple(sorted(made, key=lambda each: each.order))
