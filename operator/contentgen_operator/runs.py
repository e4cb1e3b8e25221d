"""Which run a resource is in. A run is frozen: an edit of inputs becomes the next run when this one has ended."""

from datetime import datetime

from pydantic import ValidationError

from contentgen_contract import ownership
from contentgen_contract.names import Reason
from contentgen_contract.ownership import Owner
from contentgen_contract.spec import Spec, parse_spec, run_hash
from contentgen_contract.status import RunStatus
from contentgen_operator.observed import Resource
from contentgen_operator.purchases import PurchaseKey


def current_run(resource: Resource, now: datetime) -> RunStatus:
    """The run under way, or the last one where it made what is asked for, else a new one.

    Raises pydantic.ValidationError where a new run's spec is wrong.
    """
    run = resource.status.run
    if run is not None and not (ended(resource) and wants_another(resource, run)):
        return run
    return _new_run(resource, run, now)


def ended(resource: Resource) -> bool:
    """Whether the last run is over."""
    return resource.status.phase is not None and resource.status.phase.terminal


def wants_another(resource: Resource, run: RunStatus) -> bool:
    """Whether the resource asks for something else than what this run made."""
    if resource.status.reason == Reason.INVALID_SPEC:  # said of a later spec, while the run stayed in the status
        return True
    return resource.rerun != run.rerun or asks_for_else(resource, run)


def asks_for_else(resource: Resource, run: RunStatus) -> bool:
    """Whether the spec has become another in what decides the result."""
    if resource.generation == run.generation:
        return False
    return run_hash(resource.ref.kind, parse_spec(resource.ref.kind, resource.spec)) != run.run_hash


def generation_told(resource: Resource, run: RunStatus, *, ended: bool) -> int:
    """The generation that a status speaks of: the end of a run says nothing of an edit that is the next run's."""
    try:
        pending = ended and asks_for_else(resource, run)
    except ValidationError:  # what the next run will say
        pending = ended
    return run.generation if pending else resource.generation


def _new_run(resource: Resource, last: RunStatus | None, now: datetime) -> RunStatus:
    spec = parse_spec(resource.ref.kind, resource.spec)
    return RunStatus(
        number=last.number + 1 if last else 1,
        version=max((v.version for v in resource.status.versions), default=0) + 1,
        run_hash=run_hash(resource.ref.kind, spec),
        rerun=resource.rerun,
        generation=resource.generation,
        spec=resource.spec,
        started_at=now,
    )


def frozen_spec(resource: Resource, run: RunStatus) -> Spec:
    """The typed spec of a run."""
    return parse_spec(resource.ref.kind, run.spec)


def has_valid_spec(resource: Resource, now: datetime) -> bool:
    """Whether the spec of the current run can be worked on."""
    try:
        frozen_spec(resource, current_run(resource, now))
    except ValidationError:
        return False
    return True


def owner(resource: Resource, spec: Spec) -> str:
    """Whose asset it is."""
    return spec.user_id or resource.ref.namespace


def admitted_user(resource: Resource) -> str:
    """The user of the resource's own spec, which the admission policy let pass."""
    given = resource.spec.get("userId")
    return given if isinstance(given, str) and given else resource.ref.namespace


def own_files(resource: Resource, *users: str) -> Owner:
    """What the resource's own job stores for these users."""
    return ownership.of_job(resource.ref.kind, resource.ref.uid, users)


def purchase_key(resource: Resource, run: RunStatus) -> PurchaseKey:
    """What the run buys."""
    return PurchaseKey(
        namespace=resource.ref.namespace,
        kind=resource.ref.kind,
        name=resource.ref.name,
        run_hash=run.run_hash,
        rerun=run.rerun,
        attempt=run.paid_attempt,
    )
