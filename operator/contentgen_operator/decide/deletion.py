"""Deletion of a resource: its Job is stopped, its paid request cancelled, and its files deleted if the spec says so.
Pure.

Our finalizer keeps the resource meanwhile. Files are deleted in slices, one per reconcile, until none is left. After
`deletion_seconds` an error no longer delays the deletion, so that an unavailable store or provider does not block a
namespace.
"""

from datetime import datetime

from pydantic import ValidationError

from contentgen_contract.names import Kind, Reason
from contentgen_contract.records import ownership
from contentgen_contract.records.deletion_tombstone import DeletionTombstone, purchase_id_prefix
from contentgen_contract.records.ownership import Owner
from contentgen_contract.resources.status import RunStatus, VersionStatus
from contentgen_operator.decide.payment import adoption, cancel_request, purchase_from_status, status_names_purchase
from contentgen_operator.plans import history_searches
from contentgen_operator.plans.planning import withdrawal_transition
from contentgen_operator.state.decision_input import DecisionSettings
from contentgen_operator.state.observed import Observation, Resource
from contentgen_operator.state.plan import Event, LostPurchase, Plan
from contentgen_operator.state.purchases import LedgerTransition, Purchase, PurchaseState
from contentgen_operator.state.runs import admitted_user, frozen_spec, own_files, purchase_key

_NEXT_SLICE_SECONDS = 0.5  # until the next files are deleted
_SEARCH_AGAIN_SECONDS = 4.0


def decide_deletion(resource: Resource, observed: Observation, now: datetime, settings: DecisionSettings) -> Plan:
    """The plan for a resource that is being deleted; without our finalizer there is nothing to do."""
    plan = Plan(status=resource.status, last_chance=grace_is_over(resource, now, settings))
    run, purchase = resource.status.run, observed.purchase
    if not resource.finalized or run is None:
        return plan
    if resource.tenant.block_reason:  # another cluster may own or adopt the purchases: only remove the finalizer
        return plan.model_copy(update={"stop_job": True})
    discard = deletion_tombstone_of(resource) if resource.deletes_files else None
    again = _NEXT_SLICE_SECONDS if discard is not None else None
    changes: dict[str, object] = {"stop_job": True, "discard": discard, "again_seconds": again}
    if (
        _ledger_lacks_purchase(resource, run, purchase)
        and (lost := _reservation_from_status(resource, run, settings)) is not None
    ):
        return plan.model_copy(update=changes | {"unrecorded": lost})
    if purchase is not None and is_searched_at_deletion(resource, purchase):
        return plan.model_copy(
            update=changes | _search_lost_request(resource, observed, purchase, now, last_chance=plan.last_chance)
        )
    if purchase is not None and (purchase.job_id == resource.ref.uid or _uses_purchase(resource, run, purchase)):
        changes |= _end_purchase(resource, run, purchase, now, last_chance=plan.last_chance)
    return plan.model_copy(update=changes)


def _ledger_lacks_purchase(resource: Resource, run: RunStatus, purchase: Purchase | None) -> bool:
    """True if the ledger lacks a purchase that the status names."""
    return purchase is None and status_names_purchase(resource, run)


def _reservation_from_status(resource: Resource, run: RunStatus, settings: DecisionSettings) -> LostPurchase | None:
    """Purchase that the ledger has lost, to insert there; None: its spec is invalid. Only the status names it."""
    try:
        spec = frozen_spec(resource, run)
    except ValidationError:
        return None
    lost = purchase_from_status(resource, run, spec, settings.providers.of_kind(resource.ref.kind))
    return LostPurchase(key=purchase_key(resource, run), purchase=lost)


def is_searched_at_deletion(resource: Resource, purchase: Purchase) -> bool:
    """True if the reply to a paid request of the resource was lost: the request is searched, and cancelled if found."""
    if resource.tenant.block_reason:
        return False
    lost = purchase.state is PurchaseState.INTENT and not purchase.planned and not purchase.abandoned
    return lost and purchase.job_id == resource.ref.uid


def _search_lost_request(
    resource: Resource, observed: Observation, purchase: Purchase, now: datetime, *, last_chance: bool
) -> dict[str, object]:
    """Changes to the plan after one search; it is repeated only while the history cannot be read."""
    run = resource.status.run
    if observed.found_request is not None and run is not None:
        changes = {"request_id": observed.found_request, "submitted_at": history_searches.sent_at(purchase)}
        move = LedgerTransition(
            key=purchase_key(resource, run),
            source=PurchaseState.INTENT,
            target=PurchaseState.SUBMITTED,
            owner=purchase.job_id,
            expected={"send_state": purchase.send_state},
            changes=changes | {"changed_at": now, "send_state": None},
            bound_to=purchase,
        )
        return {"moves": (move,), "hold": True, "again_seconds": 0.0}
    problem = observed.provider_problem
    if problem and not last_chance:
        return {"hold": True, "again_seconds": _SEARCH_AGAIN_SECONDS}
    why = f"its history cannot be read: {problem[:300]}" if problem else "its history does not list the request"
    message = (
        f"deleted although {purchase.provider} may have been paid for purchase {purchase.purchase_id}: the reply was "
        f"lost, and {why}; the ledger keeps the purchase, and a resource applied again under this name searches it"
    )
    return {"notices": (Event(type="Warning", reason=Reason.SUBMISSION_UNKNOWN, message=message),)}


def _uses_purchase(resource: Resource, run: RunStatus, purchase: Purchase) -> bool:
    """True if the run uses a purchase that an earlier resource owns: the ledger was restored from a backup
    of before the adoption.

    False if another resource has adopted the purchase since.
    """
    if resource.ref.uid in purchase.former_owners:
        return False
    return purchase.request_id is not None and run.request_id == purchase.request_id


def _end_purchase(
    resource: Resource, run: RunStatus, purchase: Purchase, now: datetime, *, last_chance: bool
) -> dict[str, object]:
    """Changes to the plan that withdraw or cancel the run's own purchase."""
    key = purchase_key(resource, run)
    if purchase.planned:
        return {"moves": (withdrawal_transition(key, purchase, now),)}
    if purchase.state is not PurchaseState.SUBMITTED or _cancel_was_asked(resource, purchase):
        return {}
    cancel = cancel_request(key, purchase, last_chance=last_chance)
    return {"cancel": cancel, "adoption": adoption(resource, key, purchase)}


def _cancel_was_asked(resource: Resource, purchase: Purchase) -> bool:
    """True if the provider was asked to cancel since the deletion, so that not every slice asks again."""
    asked, deleted = purchase.cancel_asked_at, resource.deleted_at
    return asked is not None and deleted is not None and asked >= deleted


def grace_is_over(resource: Resource, now: datetime, settings: DecisionSettings) -> bool:
    """True if errors no longer delay the deletion."""
    return resource.deleted_at is not None and (now - resource.deleted_at).total_seconds() >= settings.deletion_seconds


def deletion_tombstone_of(resource: Resource) -> DeletionTombstone:
    """Tombstone with all files of the resource, also those of an earlier resource whose purchase it adopted.

    The versions of its status have been verified (`stores/status_verification.py`).
    """
    run, uid = resource.status.run, resource.ref.uid
    users = {resource.ref.namespace, admitted_user(resource)}
    users |= {str(run.spec["userId"])} if run and run.spec.get("userId") else set()
    own = own_files(resource, *users)
    earlier = [_files_of(resource.ref.kind, version) for version in resource.status.versions]
    jobs = {uid, *(version.job_id for version in resource.status.versions if version.job_id)}
    return DeletionTombstone(
        uid=uid,
        prefixes=tuple(sorted(ownership.union([own, *earlier]).folders)),
        job_ids=tuple(sorted(jobs)),
        bought_under=purchase_id_prefix(resource.ref.namespace, resource.ref.kind, resource.ref.name, resource.scope),
    )


def _files_of(kind: Kind, version: VersionStatus) -> Owner:
    return ownership.outputs_owner(kind, [version.model_dump(mode="json", by_alias=True)])
