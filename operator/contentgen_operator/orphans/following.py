"""Whether a resource follows a purchase, by the resource that has the name now. Pure."""

from datetime import datetime
from enum import Enum, auto

from pydantic import ValidationError

from contentgen_contract.names import LORA_WAITS
from contentgen_contract.records.tenancy import Tenant
from contentgen_contract.resources.status import RunStatus
from contentgen_operator.state.observed import Resource
from contentgen_operator.state.purchases import Purchase, StoredKey
from contentgen_operator.state.runs import current_run, ended, purchase_key
from contentgen_runtime.kube import Body


class FollowState(Enum):
    """State of the resource that a purchase belongs to."""

    FOLLOWED = auto()
    ENDED = auto()  # its run has ended before the request has, or an image that waits for its LoRA may ask for it: it
    # is located, and its result is kept
    GONE = auto()
    UNSEEN = auto()  # its namespace has no Role, so its resource cannot be read. It is located, and nothing else


def follow_state(body: Body | None, tenant: Tenant, key: StoredKey, purchase: Purchase, now: datetime) -> FollowState:
    """State by the resource that has the name now. A resource with another uid and the same inputs adopts the purchase
    itself, if its namespace is the buyer's.
    """
    if body is None:
        return FollowState.GONE
    is_owner = body["metadata"]["uid"] == purchase.job_id
    try:
        resource = Resource.parse(key.kind, body)
        if is_owner:
            return _state_of_own(resource, key, now)
        if ended(resource):
            return FollowState.GONE
        if not tenant.has_bought(key.scope, purchase.created_at):
            return FollowState.GONE
        return _state_for_another(resource, current_run(resource, now), key)
    except (ValidationError, KeyError):
        return FollowState.FOLLOWED if is_owner else FollowState.GONE


def _state_for_another(resource: Resource, run: RunStatus, key: StoredKey) -> FollowState:
    """State if the resource is not the owner: it may request the same purchase."""
    if _buys(resource, run, key) and not _waits_for_lora(resource):
        return FollowState.FOLLOWED
    is_undecided = run.purchase_id is None or _waits_for_lora(resource)
    return FollowState.ENDED if is_undecided and _buys_a_variant(resource, run, key) else FollowState.GONE


def _waits_for_lora(resource: Resource) -> bool:
    """True if the trainings of its LoRAs, which determine the purchase, are not known yet."""
    return resource.status.reason in LORA_WAITS


def _state_of_own(resource: Resource, key: StoredKey, now: datetime) -> FollowState:
    """State if the resource is the owner: the reconciler follows purchases of its last run only."""
    run, over = resource.status.run, ended(resource)
    if run is None or not over:
        run = current_run(resource, now)
    is_followed = _buys(resource, run, key) and (not _waits_for_lora(resource) if not over else run.request_open)
    return FollowState.FOLLOWED if is_followed else FollowState.ENDED


def _buys(resource: Resource, run: RunStatus, key: StoredKey) -> bool:
    """True if a purchase is one of a run's attempts."""
    asked = str(purchase_key(resource.model_copy(update={"scope": key.scope}), run))
    return asked.rpartition("/")[0] == key.text.rpartition("/")[0]


def _buys_a_variant(resource: Resource, run: RunStatus, key: StoredKey) -> bool:
    """True if a purchase has the run's inputs, with any trainings of its LoRAs."""
    identity = key.text.split("/")[3].partition(".")[2] or None
    return _buys(resource, run.model_copy(update={"lora_identity": identity}), key)
