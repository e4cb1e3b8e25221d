"""The reads. What is read depends on how far the run is; a fresh look at the purchase precedes everything paid."""

from datetime import datetime
from typing import Any

from pydantic import ValidationError

from contentgen_contract import keys
from contentgen_contract.models import model_of
from contentgen_contract.names import Kind, Stage
from contentgen_contract.orders import Outcome
from contentgen_contract.spec import ImageGenerationSpec, Spec
from contentgen_contract.status import MAX_LOG, ResourceStatus, RunStatus
from contentgen_operator import kinds
from contentgen_operator.cache import Cache
from contentgen_operator.kube import Kube, owned_by
from contentgen_operator.ledger import Ledger
from contentgen_operator.observed import JobView, LoraView, Observed, Resource, Stored
from contentgen_operator.providers.base import AccessRefused, Provider, Unavailable
from contentgen_operator.purchases import Purchase, PurchaseState
from contentgen_operator.reports import Reports
from contentgen_operator.runs import current_run, ended, frozen_spec, owner, purchase_key
from contentgen_operator.storage import InvalidOutcome, Storage


class Observer:
    """Reads Jobs, outcomes, the ledger, the provider and the LoRAs that a resource draws with."""

    def __init__(
        self,
        *,
        kube: Kube,
        cache: Cache,
        storage: Storage,
        ledger: Ledger,
        providers: dict[str, Provider],
        reports: Reports,
    ) -> None:
        self._cache = cache
        self._kube = kube
        self._storage = storage
        self._ledger = ledger
        self._providers = providers
        self._reports = reports

    async def observe(self, resource: Resource, now: datetime) -> Observed:
        """Everything that a decision about this resource needs now. Raises ValidationError for a wrong spec."""
        if resource.deleting:
            return await self._of_the_deleted(resource)
        run = current_run(resource, now)
        if run == resource.status.run and ended(resource):
            return Observed()
        spec = frozen_spec(resource, run)
        purchase = await self._ledger.get(purchase_key(resource, run))
        seen: dict[str, Any] = {"purchase": purchase}
        match purchase.state if purchase else None:
            case None | PurchaseState.REFUSED if kinds.has_prepare(resource.ref.kind) and run.facts is None:
                seen |= await self._stage(resource, run, spec, Stage.PREPARE)
                seen["seconds_per_unit"] = await self._ledger.seconds_per_unit(model_of(spec))
            case None | PurchaseState.REFUSED:
                seen |= await self._gate(resource, spec)
            case PurchaseState.INTENT if purchase:
                seen |= await self._search(purchase)
            case PurchaseState.SUBMITTED if purchase:
                seen |= await self._poll(purchase)
            case PurchaseState.SUCCEEDED:
                seen |= await self._stage(resource, run, spec, Stage.COLLECT)
        return Observed(**seen)

    async def _of_the_deleted(self, resource: Resource) -> Observed:
        run = resource.status.run
        if run is None or not resource.finalized:
            return Observed()
        return Observed(purchase=await self._ledger.get(purchase_key(resource, run)))

    async def _stage(self, resource: Resource, run: RunStatus, spec: Spec, stage: Stage) -> dict[str, Any]:
        if run.job is None or run.job.stage is not stage:
            return {}  # to be started; a Job that a crash has left behind is found by its name then
        job = await self._job(resource, run.job.name)
        if job is not None and not job.finished and not self._reports.finished(job.uid):
            return {"job": job, "progress": self._reports.progress(job.uid)}
        if job is None or job.finished:
            self._reports.forget(run.job.uid or "")
        # The worker API replaces no file between the look at the outcome and the look at the files that it lists.
        async with self._reports.exclusive(run.job.uid or ""):
            return await self._left(resource, run, spec, stage, job)

    async def _left(
        self, resource: Resource, run: RunStatus, spec: Spec, stage: Stage, job: JobView | None
    ) -> dict[str, Any]:
        """The outcome of an attempt and the files that it lists."""
        key = keys.outcome(resource.ref.uid, run.number, stage, run.stage_attempt)
        try:
            outcome = await self._storage.outcome(key)
        except InvalidOutcome as error:
            return {"job": job, "outcome_problem": str(error)}
        said = ""
        if job is not None and job.finished and outcome is None:  # killed before it could say anything
            said = await self._kube.job_log(resource.ref.namespace, job.name, MAX_LOG)
        stored = await self._stored(resource, run, spec, stage, outcome)
        progress = self._reports.progress(job.uid) if job else None
        return {"job": job, "outcome": outcome, "stored": stored, "log": said, "progress": progress}

    async def _job(self, resource: Resource, name: str) -> JobView | None:
        known = self._cache.job(resource.ref.namespace, name)
        if known is not None:
            return known
        body = await self._kube.get_job(resource.ref.namespace, name)
        if body is None or not owned_by(body, resource.ref.uid):
            return None
        job = JobView.parse(body)
        self._cache.note_job(resource.ref, job)
        return job

    async def _stored(
        self, resource: Resource, run: RunStatus, spec: Spec, stage: Stage, outcome: Outcome | None
    ) -> dict[str, Stored]:
        if outcome is None or not outcome.succeeded:
            return {}
        kind, user = resource.ref.kind, owner(resource, spec)
        prefix = keys.prefix(kind, stage, user, resource.ref.uid, run.version)
        names = [file.name for file in outcome.files]
        allowed = all(keys.is_output(kind, stage, name) for name in names)  # if not, decide refuses them all
        return await self._storage.stored(prefix, names) if allowed else {}

    async def _gate(self, resource: Resource, spec: Spec) -> dict[str, Any]:
        provider = self._providers[kinds.provider_of(resource.ref.kind)]
        await self._storage.require_bucket()  # nothing is bought that could not be stored
        loras: tuple[LoraView, ...] = ()
        if isinstance(spec, ImageGenerationSpec):
            names = [lora.lora_ref.name for lora in spec.loras if lora.lora_ref]
            loras = tuple([await self._lora(resource.ref.namespace, name) for name in names])
        return {"provider_configured": provider.configured, "loras": loras}

    async def _lora(self, namespace: str, name: str) -> LoraView:
        body = await self._kube.get_resource(Kind.LORA_TRAINING, namespace, name)
        if body is None:
            return LoraView(name=name)
        try:
            status = ResourceStatus.model_validate(body.get("status") or {})
        except ValidationError:  # a foreign hand in its status: not ready
            return LoraView(name=name)
        return LoraView(name=name, phase=status.phase, model_key=_model_key(status))

    async def _search(self, purchase: Purchase) -> dict[str, Any]:
        try:
            known = await self._ledger.request_ids(purchase.marker)
            found = await self._providers[purchase.provider].find(purchase.model, purchase.marker, known)
        except Unavailable as error:
            return _problem(error)
        return {"found_request": found}

    async def _poll(self, purchase: Purchase) -> dict[str, Any]:
        rate = await self._ledger.seconds_per_unit(purchase.model)
        try:
            view = await self._providers[purchase.provider].poll(purchase.model, purchase.request_id or "")
        except Unavailable as error:
            return _problem(error) | {"seconds_per_unit": rate}
        return {"request": view, "seconds_per_unit": rate}


def _problem(error: Unavailable) -> dict[str, Any]:
    return {"provider_problem": str(error), "access_refused": isinstance(error, AccessRefused)}


def _model_key(status: ResourceStatus) -> str | None:
    """The LoRA's file of the newest version; also while a later version is being made, or has failed."""
    if not status.versions:
        return None
    newest = max(status.versions, key=lambda version: version.version)
    return next((file.key for file in newest.files if file.key.endswith("/model.safetensors")), None)
