"""What the operator will do about one resource: the whole output of `decide`, all of it values."""

from datetime import datetime
from typing import Literal

from pydantic import ConfigDict

from contentgen_contract.base import Value
from contentgen_contract.names import Stage
from contentgen_contract.records.deletion_tombstone import DeletionTombstone
from contentgen_contract.records.ownership import Owner
from contentgen_contract.records.tenancy import Tenant
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.state.observed import JobView
from contentgen_operator.state.provider_answers import Answer
from contentgen_operator.state.provider_requests import Call
from contentgen_operator.state.purchases import LedgerTransition, Purchase, PurchaseKey


class Reservation(Value):
    """Plan a purchase in the ledger, mark it in the bucket, and name it in the status. Nothing is sent."""

    key: PurchaseKey
    purchase: Purchase


class Payment(Value):
    """Send a planned purchase: one POST, by whoever moves it to `sending`."""

    key: PurchaseKey
    purchase: Purchase
    call: Call
    planned_at: datetime | None = None


class Adoption(Value):
    """Become the owner of a purchase of another resource, before anything else is done with it."""

    key: PurchaseKey
    purchase: Purchase  # as it was seen
    job_id: str  # the new owner
    tenant: Tenant = Tenant()  # its


class StoredAnswer(Value):
    """A provider's answer to put into the bucket, where `owner` has its files."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    owner: Owner
    key: str
    answer: Answer
    needed: frozenset[str] = frozenset()  # names of URLs in it that stay as they are: they are fetched later


class StageJob(Value):
    """A Job to have for the current run."""

    stage: Stage
    attempt: int


class Cancellation(Value):
    """Ask the provider to stop; whether it does is its word alone, and the ledger's next state."""

    key: PurchaseKey
    provider: str
    model: str
    request_id: str


class Event(Value):
    """A Kubernetes Event."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


class Plan(Value):
    """Carried out in the order of `act`."""

    status: ResourceStatus
    adoption: Adoption | None = None
    store: StoredAnswer | None = None
    moves: tuple[LedgerTransition, ...] = ()
    reservation: Reservation | None = None
    payment: Payment | None = None
    unrecorded: Reservation | None = None  # a purchase that the ledger has lost, to be written there
    restored: Reservation | None = None  # likewise, with the request id that a person has named
    job: StageJob | None = None
    notices: tuple[Event, ...] = ()
    finalizer: bool = False  # whether the resource is to have ours
    stop_job: bool = False  # the newest Job of the resource
    lost_job: JobView | None = None  # one whose node is gone, deleted once the status does not name it any more
    cancel: Cancellation | None = None
    discard: DeletionTombstone | None = None
    hold: bool = False  # a deleted resource keeps our finalizer
    last_chance: bool = False  # what cannot be done now is not tried again
    again_seconds: float | None = None  # when to look again; None: when something wakes us
