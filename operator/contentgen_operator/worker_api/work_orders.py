"""Work order of a Job: instructions for its worker, with all URLs presigned."""

from collections.abc import Callable
from datetime import datetime, timedelta

from contentgen_contract.base import Value
from contentgen_contract.names import Kind, Stage
from contentgen_contract.records.ownership import Owner
from contentgen_contract.resources.sources import SourceGrant, parse_s3_url, refusal
from contentgen_contract.resources.spec import ImageGenerationSpec
from contentgen_contract.worker.orders import DatasetFacts, Download, EgressProxy, Limits, WorkOrder
from contentgen_operator.state.assignment import Assignment
from contentgen_operator.state.purchases import Purchase
from contentgen_operator.state.runs import asset_user
from contentgen_operator.stores.s3 import Storage

_PREVIEWS = 12  # training images on a LoRA's contact sheet
SLACK = timedelta(minutes=15)  # tolerance of deadlines
UPLOAD_LIFETIME = timedelta(minutes=10)  # of a PUT's URL; a worker requests another one while its attempt runs


class SourceRefused(Exception):
    """The source is not granted to the namespace."""


class NotPurchased(Exception):
    """The purchase of the run belongs to another resource."""


class OrderSettings(Value):
    """Settings that work orders depend on."""

    limits: Limits = Limits()
    allowed_hosts: tuple[str, ...] = ()
    bucket: str = ""  # the operator's own
    sources: tuple[SourceGrant, ...] = ()
    proxy: EgressProxy | None = None
    ca_certificates: Callable[[], str] = str  # PEM of private CAs, called for each order; none by default
    stage_deadline: timedelta = timedelta(hours=4)  # from the start of a pod


def lifetime(assignment: Assignment, settings: OrderSettings, now: datetime) -> timedelta:
    """Lifetime of a work order's URLs: until the deadline of the pod, which counts from its start, so that the outcome
    can be stored while no operator runs.
    """
    started = assignment.job.started_at or now
    return max(started + settings.stage_deadline + SLACK - now, timedelta(minutes=1))


def upload_lifetime(assignment: Assignment, settings: OrderSettings, now: datetime) -> timedelta:
    """Lifetime of an upload URL: short, because any holder can use it until then."""
    return min(UPLOAD_LIFETIME, lifetime(assignment, settings, now))


def readable_result(assignment: Assignment, purchase: Purchase | None) -> str | None:
    """Key of the provider's response, for the collect stage. Raises NotPurchased if the purchase has another owner."""
    if purchase is None or assignment.job.stage is not Stage.COLLECT:
        return None
    if purchase.job_id != assignment.resource.ref.uid:
        raise NotPurchased(f"purchase {purchase.purchase_id} belongs to another resource")
    return purchase.result_key


def work_order(
    assignment: Assignment, purchase: Purchase | None, storage: Storage, settings: OrderSettings, now: datetime
) -> WorkOrder:
    """Work order. `purchase` is from the ledger, for a collect stage. Raises NotPurchased, SourceRefused."""
    ref, job = assignment.resource.ref, assignment.job
    result_key = readable_result(assignment, purchase)
    good_for = lifetime(assignment, settings, now)

    # The ledger names the response: only this key is signed.
    readable = assignment.owner | Owner(keys=frozenset({result_key} if result_key else ()))
    earlier = assignment.partial_outcome_key

    def signed(key: str) -> Download:
        return Download(url=storage.worker_get(readable, key, good_for), trusted=True)

    collecting_lora = job.stage is Stage.COLLECT and ref.kind is Kind.LORA_TRAINING and assignment.run.facts is not None
    return WorkOrder(
        job_id=ref.uid,
        kind=ref.kind,
        stage=job.stage,
        version=assignment.run.version,
        attempt=job.attempt,
        user_id=asset_user(assignment.resource, assignment.spec),
        spec=assignment.spec.model_dump(mode="json", by_alias=True),
        source=_source(assignment, storage, settings, good_for) if job.stage is Stage.PREPARE else None,
        result=signed(result_key) if result_key else None,
        earlier=signed(earlier) if earlier else None,
        dataset=signed(assignment.dataset_prefix + "dataset.json") if collecting_lora else None,
        dataset_previews=tuple(map(signed, _previews(assignment))) if collecting_lora else (),
        allowed_hosts=settings.allowed_hosts,
        limits=settings.limits,
        ca_certificates=settings.ca_certificates(),
        proxy=settings.proxy,
        outcome_url=storage.worker_put(assignment.owner, assignment.outcome_key, good_for),
    )


def _source(assignment: Assignment, storage: Storage, settings: OrderSettings, good_for: timedelta) -> Download | None:
    """Source to download. Raises SourceRefused: the run's spec comes from the status, so it is checked again."""
    spec = assignment.spec
    if isinstance(spec, ImageGenerationSpec):
        return None
    url, sha256 = spec.source.url, spec.source.sha256
    if url.startswith("s3://"):
        why = refusal(url, assignment.resource.ref.namespace, settings.sources, settings.bucket)
        address = parse_s3_url(url)
        if why is not None or isinstance(address, str):
            raise SourceRefused(f"spec.source.url: {why}")
        return Download(url=storage.source_get(address, good_for), trusted=True, sha256=sha256)
    return Download(url=url, sha256=sha256)


def _previews(assignment: Assignment) -> list[str]:
    """Keys of images spread evenly over the dataset."""
    count = DatasetFacts.model_validate(assignment.run.facts).images
    shown = min(count, _PREVIEWS)
    numbers = [1 + i * count // shown for i in range(shown)] if shown else []
    return [f"{assignment.dataset_prefix}images/{number:04}.jpg" for number in numbers]
