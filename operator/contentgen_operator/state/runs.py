"""Which run a resource is in. A run is frozen: an edit of inputs becomes the next run when this one has ended."""

from datetime import datetime

from pydantic import ValidationError

from contentgen_contract.names import Phase, Reason
from contentgen_contract.records import ownership
from contentgen_contract.records.ownership import Owner
from contentgen_contract.resources.operator_class import class_of
from contentgen_contract.resources.spec import LoraTrainingSpec, Spec, parse_spec, run_hash
from contentgen_contract.resources.status import ResourceStatus, RunStatus, dump_status
from contentgen_operator.state.observed import Resource, asks_to_collect, has_stored_version, is_end
from contentgen_operator.state.purchases import PurchaseKey


def current_run(resource: Resource, now: datetime) -> RunStatus:
    """The run under way, or the last one where it made what is asked for, else a new one.

    Raises pydantic.ValidationError where a new run's spec is wrong.
    """
    run = resource.status.run
    if run is not None and not (ended(resource) and wants_new_run(resource, run)):
        return run
    return _new_run(resource, run, now)


def ended(resource: Resource) -> bool:
    """Whether the last run is over, or an edit after it was invalid."""
    status = resource.status
    if status.phase is None or not status.phase.terminal:
        return False
    return _edit_was_invalid(status) or is_end(dump_status(status))


def _edit_was_invalid(status: ResourceStatus) -> bool:
    """Whether InvalidSpec was said of an edit, which started no run, and not by the run's worker.

    Such a status has no completionTime. Those of older releases kept the completionTime of the run before.
    """
    if (status.phase, status.reason) != (Phase.FAILED, Reason.INVALID_SPEC):
        return False
    return status.completion_time is None or has_stored_version(dump_status(status))


def is_of_another_class(resource: Resource, run: RunStatus) -> bool:
    """Whether a run was done by the installation of another operator class: the class does not change during a run."""
    return class_of({"spec": run.spec}) != class_of({"spec": resource.spec})


def collects_again(resource: Resource) -> bool:
    """Whether a person asks for the collect stage of the last run, which has failed, once more."""
    return asks_to_collect(resource.collect, dump_status(resource.status))


def wants_new_run(resource: Resource, run: RunStatus) -> bool:
    """Whether the resource asks for something else than what this run made.

    Raises pydantic.ValidationError where the spec is wrong.
    """
    # To take the annotation off starts nothing: it needs no right to spend, and what it would ask for may be unpaid.
    rerun = resource.rerun is not None and resource.rerun != run.rerun
    return _edit_was_invalid(resource.status) or rerun or inputs_changed(resource, run)


def inputs_changed(resource: Resource, run: RunStatus) -> bool:
    """Whether the spec differs from the run's in what decides the result; the name of a LoRA does not.

    Raises pydantic.ValidationError where the spec is wrong.
    """
    # An etcd that was restored counts generations anew.
    if resource.generation == run.generation and resource.spec == run.spec:
        return False
    spec = parse_spec(resource.ref.kind, resource.spec)
    return run_hash(resource.ref.kind, _with_run_lora_name(spec, run)) != run.run_hash


def _with_run_lora_name(spec: Spec, run: RunStatus) -> Spec:
    """The spec with the run's loraName, which is a part of the run's hash and decides nothing of the result."""
    name = run.spec.get("loraName")
    if isinstance(spec, LoraTrainingSpec) and isinstance(name, str):
        return spec.model_copy(update={"lora_name": name})
    return spec


def replacing_run(resource: Resource, run: RunStatus, now: datetime) -> RunStatus | None:
    """The run that takes the place of one for which nothing was started or paid; None where the resource asks for no
    other, or its spec is wrong.
    """
    try:
        if not wants_new_run(resource, run):
            return None
        return _new_run(resource, run, now).model_copy(update={"version": run.version})
    except ValidationError:
        return None


def generation_of_status(resource: Resource, run: RunStatus, *, ended: bool) -> int:
    """The generation that a status speaks of: the end of a run says nothing of an edit that is the next run's."""
    try:
        pending = ended and inputs_changed(resource, run)
    except ValidationError:  # what the next run will say
        pending = ended
    return run.generation if pending else resource.generation


def _new_run(resource: Resource, last: RunStatus | None, now: datetime) -> RunStatus:
    spec = parse_spec(resource.ref.kind, resource.spec)
    used, document = resource.status.versions, resource.document
    number, version = (document.number, document.version) if document is not None else (0, 0)
    return RunStatus(
        number=max(number, last.number if last else 0) + 1,
        version=max(version, last.version if last else 0, *(each.version for each in used)) + 1,
        run_hash=run_hash(resource.ref.kind, spec),
        rerun=resource.rerun,
        generation=resource.generation,
        spec=resource.spec,
        started_at=now,
    )


def frozen_spec(resource: Resource, run: RunStatus) -> Spec:
    """The typed spec of a run."""
    return parse_spec(resource.ref.kind, run.spec)


def asset_user(resource: Resource, spec: Spec) -> str:
    """Whose asset it is."""
    return spec.user_id or resource.ref.namespace


def admitted_user(resource: Resource) -> str:
    """The user of the resource's own spec, which the admission policy let pass."""
    given = resource.spec.get("userId")
    return given if isinstance(given, str) and given else resource.ref.namespace


def own_files(resource: Resource, *users: str) -> Owner:
    """What the resource's own job stores for these users."""
    return ownership.job_owner(resource.ref.kind, resource.ref.uid, users)


def purchase_key(resource: Resource, run: RunStatus) -> PurchaseKey:
    """What the run buys."""
    return PurchaseKey(
        namespace=resource.ref.namespace,
        kind=resource.ref.kind,
        name=resource.ref.name,
        run_hash=run.run_hash if run.lora_identity is None else f"{run.run_hash}.{run.lora_identity}",
        rerun=run.rerun,
        attempt=run.paid_attempt,
        scope=resource.scope,
    )
