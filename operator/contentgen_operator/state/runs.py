"""Current run of a resource. A run's spec is frozen: changed inputs start the next run after it has ended. Pure."""

from datetime import datetime
from typing import Any

from pydantic import ValidationError

from contentgen_contract.names import Phase, Reason
from contentgen_contract.records import ownership
from contentgen_contract.records.ownership import Owner
from contentgen_contract.resources.addresses import NOT_A_URL, strip_credentials
from contentgen_contract.resources.operator_class import class_of
from contentgen_contract.resources.spec import LoraTrainingSpec, Spec, parse_spec, run_hash
from contentgen_contract.resources.status import ResourceStatus, RunStatus, dump_status
from contentgen_operator.state.observed import Resource, asks_to_collect, is_end
from contentgen_operator.state.purchases import Purchase, PurchaseKey
from contentgen_operator.state.run_document import RunDocument


def current_run(resource: Resource, now: datetime) -> RunStatus:
    """The run in progress, else the last run if it matches the spec, else a new run.

    Raises pydantic.ValidationError if the spec of a new run is wrong.
    """
    run = resource.status.run
    if run is not None and not (ended(resource) and wants_new_run(resource, run)):
        return run
    return _new_run(resource, run, now)


def ended(resource: Resource) -> bool:
    """True if the last run is over, also if an edit after it was invalid."""
    status = resource.status
    if status.phase is None or not status.phase.terminal:
        return False
    return _edit_was_invalid(status) or is_end(dump_status(status))


def _edit_was_invalid(status: ResourceStatus) -> bool:
    """True if InvalidSpec is the result of an edit, which started no run and has no completionTime, and not of the
    run's worker.
    """
    return (status.phase, status.reason, status.completion_time) == (Phase.FAILED, Reason.INVALID_SPEC, None)


def is_of_another_class(resource: Resource, run: RunStatus) -> bool:
    """True if another operator class did the run; the class cannot change during a run."""
    return class_of({"spec": run.spec}) != class_of({"spec": resource.spec})


def collects_again(resource: Resource) -> bool:
    """True if a person asks to retry the collect stage of the last run, which failed or misses outputs."""
    return asks_to_collect(resource.collect, dump_status(resource.status))


def wants_new_run(resource: Resource, run: RunStatus) -> bool:
    """True if the spec or the rerun annotation asks for another run than this one.

    Raises pydantic.ValidationError if the spec is wrong.
    """
    # Removing the annotation starts nothing: it needs no permission to spend, and the earlier run may be unpaid.
    rerun = resource.rerun is not None and resource.rerun != run.rerun
    estimated = was_estimated(resource.status) and not resource.estimates
    return _edit_was_invalid(resource.status) or rerun or estimated or inputs_changed(resource, run)


def was_estimated(status: ResourceStatus) -> bool:
    """True if the last run was a dry run, which has bought nothing."""
    return (status.phase, status.reason) == (Phase.COMPLETED, Reason.ESTIMATED)


def inputs_changed(resource: Resource, run: RunStatus) -> bool:
    """True if an input that affects the result differs from the run's; a LoRA's name does not affect it.

    Raises pydantic.ValidationError if the spec is wrong.
    """
    # A restored etcd reuses generations, so an equal generation alone proves nothing.
    if resource.generation == run.generation and resource.spec == run.spec:
        return False
    spec = parse_spec(resource.ref.kind, resource.spec)
    return run_hash(resource.ref.kind, _with_run_lora_name(spec, run)) != run.run_hash


def _with_run_lora_name(spec: Spec, run: RunStatus) -> Spec:
    """The spec with the run's loraName, which is part of the run hash but does not affect the result."""
    name = run.spec.get("loraName")
    if isinstance(spec, LoraTrainingSpec) and isinstance(name, str):
        return spec.model_copy(update={"lora_name": name})
    return spec


def replacing_run(resource: Resource, run: RunStatus, now: datetime) -> RunStatus | None:
    """The run that replaces one for which nothing was paid; None if no other run is asked for, or the spec
    is wrong.
    """
    try:
        if not wants_new_run(resource, run):
            return None
        new = _new_run(resource, run, now)
        # Prepared files lie under the version, and an upload never replaces a file.
        return new if run.facts is not None else new.model_copy(update={"version": run.version})
    except ValidationError:
        return None


def generation_of_status(resource: Resource, run: RunStatus, *, ended: bool) -> int:
    """observedGeneration of a status: the run's own at its end, if an edit since then starts the next run."""
    try:
        pending = ended and inputs_changed(resource, run)
    except ValidationError:  # the next run reports it
        pending = ended
    return run.generation if pending else resource.generation


def _new_run(resource: Resource, last: RunStatus | None, now: datetime) -> RunStatus:
    spec = parse_spec(resource.ref.kind, resource.spec)
    used, document = resource.status.versions, resource.document
    number, version = (document.number, document.version) if document is not None else (0, 0)
    run = RunStatus(
        number=max(number, last.number if last else 0) + 1,
        version=max(version, last.version if last else 0, *(each_version.version for each_version in used)) + 1,
        run_hash=run_hash(resource.ref.kind, spec),
        rerun=resource.rerun,
        generation=resource.generation,
        spec=resource.spec,
        started_at=now,
    )
    return _continued(run, document) if last is None else run


_OF_PURCHASE = ("rerun", "lora_identity", "same_as", "paid_attempt", "purchase_id", "provider_account")


def _continued(run: RunStatus, document: RunDocument | None) -> RunStatus:
    """The first run of a resource, with the purchase of the expired resource of its name if both have the same inputs.

    The key of that purchase may contain a rerun, a LoRA identity or an attempt that the manifest does not have.
    """
    before = document.predecessor if document is not None else None
    if before is None or before.purchase_id is None or run.rerun is not None or before.run_hash != run.run_hash:
        return run
    return run.model_copy(update={name: getattr(before, name) for name in _OF_PURCHASE})


def frozen_spec(resource: Resource, run: RunStatus) -> Spec:
    """Typed spec of a run. An ended run has bare URLs (`bare_spec`); the rest is taken from the resource's spec if that
    gives the run's hash. Raises pydantic.ValidationError.
    """
    kind = resource.ref.kind
    spec = parse_spec(kind, run.spec)
    left_out = {bare: url for url in _urls(resource.spec) if (bare := strip_credentials(url)) != url}
    if not left_out or run_hash(kind, spec) == run.run_hash:
        return spec
    try:
        whole = parse_spec(kind, _with_urls(run.spec, left_out))
    except ValidationError:  # the resource was edited
        return spec
    return whole if run_hash(kind, whole) == run.run_hash else spec


def bare_spec(spec: dict[str, Any]) -> dict[str, Any]:
    """Spec of an ended run: its URLs keep scheme, host and path, since the rest may be a secret and is not needed."""
    bare = {url: strip_credentials(url) for url in _urls(spec)}
    return _with_urls(spec, {url: without for url, without in bare.items() if without not in (url, NOT_A_URL)})


def _urls(spec: dict[str, Any]) -> list[str]:
    """URLs of files in a spec that may have any content."""
    source, loras = spec.get("source"), spec.get("loras")
    given = [source.get("url")] if isinstance(source, dict) else []
    given += [lora.get("path") for lora in loras if isinstance(lora, dict)] if isinstance(loras, list) else []
    return [url for url in given if isinstance(url, str) and not url.lower().startswith("s3://")]


def _with_urls(spec: dict[str, Any], others: dict[str, str]) -> dict[str, Any]:
    """The spec with other URLs in place of some."""
    if not any(url in others for url in _urls(spec)):
        return spec

    def other(part: Any, name: str) -> Any:
        url = part.get(name) if isinstance(part, dict) else None
        return part | {name: others[url]} if isinstance(url, str) and url in others else part

    changed = dict(spec)
    if "source" in spec:
        changed["source"] = other(spec["source"], "url")
    if isinstance(spec.get("loras"), list):
        changed["loras"] = [other(lora, "path") for lora in spec["loras"]]
    return changed


def asset_user(resource: Resource, spec: Spec) -> str:
    """User that owns the outputs: the spec's, else the namespace."""
    return spec.user_id or resource.ref.namespace


def admitted_user(resource: Resource) -> str:
    """User of the resource's current spec, which the admission policy has checked."""
    given = resource.spec.get("userId")
    return given if isinstance(given, str) and given else resource.ref.namespace


def own_files(resource: Resource, *users: str) -> Owner:
    """Files that the resource's own Jobs may store for these users."""
    return ownership.job_owner(resource.ref.kind, resource.ref.uid, users)


def purchase_key(resource: Resource, run: RunStatus) -> PurchaseKey:
    """Key of the run's purchase in the ledger."""
    inputs = run if run.same_as is None else run.same_as
    return PurchaseKey(
        namespace=resource.ref.namespace,
        kind=resource.ref.kind,
        name=resource.ref.name,
        run_hash=inputs.run_hash if inputs.lora_identity is None else f"{inputs.run_hash}.{inputs.lora_identity}",
        rerun=run.rerun,
        attempt=run.paid_attempt,
        scope=resource.scope,
    )


def own_key(resource: Resource, run: RunStatus) -> PurchaseKey:
    """Key of a run's first attempt by its own spec, also if it goes on with the purchase of the same request."""
    return purchase_key(resource, run.model_copy(update={"same_as": None, "paid_attempt": 1}))


def is_bought_before(run: RunStatus, purchase: Purchase | None) -> bool:
    """True if a run uses the purchase of the same request, for which an earlier run or resource has paid."""
    return run.same_as is not None and purchase is not None and purchase.purchase_id == run.same_as.purchase_id
