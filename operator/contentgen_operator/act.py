"""The writes, in the one order that survives a crash after each of them:

document → ledger moves → payment → Job → status → events → record.
"""

import logging
from datetime import datetime
from typing import Any

import stamina
from kubernetes.aio.client.exceptions import ApiException
from pymongo.errors import PyMongoError

from contentgen_contract.names import API_VERSION
from contentgen_contract.status import JobRef, ResourceStatus, dump_status
from contentgen_operator.jobs import JobTemplate, job_manifest
from contentgen_operator.kube import Kube, explain
from contentgen_operator.ledger import Ledger
from contentgen_operator.observed import Resource
from contentgen_operator.plan import Notice, Payment, Plan, StageJob
from contentgen_operator.providers.base import Call, MaybeAccepted, NotAccepted, Provider, Refused, StoredObject
from contentgen_operator.purchases import Move, PurchaseState
from contentgen_operator.records import Records
from contentgen_operator.storage import Storage

_log = logging.getLogger(__name__)


class Actor:
    """Carries out plans."""

    def __init__(
        self,
        *,
        kube: Kube,
        storage: Storage,
        ledger: Ledger,
        records: Records,
        providers: dict[str, Provider],
        template: JobTemplate,
    ) -> None:
        self._kube = kube
        self._storage = storage
        self._ledger = ledger
        self._records = records
        self._providers = providers
        self._template = template
        self._recorded: dict[str, ResourceStatus] = {}

    async def act(self, resource: Resource, plan: Plan, now: datetime) -> None:
        """Carry out a plan. Raises Conflict where the resource was changed in between."""
        if resource.deleting:
            return
        if plan.store is not None:
            await self._storage.put_json(plan.store.key, plan.store.document)
        for move in plan.moves:
            await self._ledger.move(move)
        if plan.payment is not None:
            await self._pay(plan.payment, now)
        status = plan.status
        if plan.job is not None:
            status = await self._have_job(resource, status, plan.job, now)
        await self.write_status(resource, status)
        await self._announce(resource, plan.notices, now)
        await self._record(resource, status)

    async def _pay(self, payment: Payment, now: datetime) -> None:
        """The only place that spends money: at most one POST, and only by whoever wrote the intent."""
        if not await self._ledger.intend(payment.key, payment.purchase):
            return
        call = payment.call.model_copy(update={"arguments": self._signed(payment.call.arguments)})
        await self._note(await self._send(payment, call, now))

    async def _send(self, payment: Payment, call: Call, now: datetime) -> Move:
        key, intent = payment.key, PurchaseState.INTENT
        try:
            request_id = await self._providers[call.provider].submit(call)
        except NotAccepted as error:
            changes = {"error": str(error), "permanent": isinstance(error, Refused), "changed_at": now}
            return Move(key=key, source=intent, target=PurchaseState.REFUSED, changes=changes)
        except MaybeAccepted as error:
            _log.warning("the reply to a paid request was lost", extra={"purchase": str(key)})
            return Move(key=key, source=intent, target=intent, changes={"error": str(error), "changed_at": now})
        changes = {"request_id": request_id, "submitted_at": now, "changed_at": now}
        return Move(key=key, source=intent, target=PurchaseState.SUBMITTED, changes=changes)

    @stamina.retry(on=PyMongoError, attempts=8, timeout=60)
    async def _note(self, move: Move) -> None:
        # Should it never succeed, the intent stays, and the request is found by its marker.
        await self._ledger.move(move)

    def _signed(self, value: Any) -> Any:
        """The arguments with every StoredObject replaced by a URL for the provider."""
        match value:
            case StoredObject(key=key):
                return self._storage.provider_get(key)
            case dict():
                return {name: self._signed(each) for name, each in value.items()}
            case list():
                return [self._signed(each) for each in value]
            case _:
                return value

    async def _have_job(
        self, resource: Resource, status: ResourceStatus, job: StageJob, now: datetime
    ) -> ResourceStatus:
        assert status.run is not None  # noqa: S101 - a plan with a Job has a run
        run = status.run
        manifest = job_manifest(resource.ref, run.number, job.stage, job.attempt, self._template)
        created = await self._kube.create_job(resource.ref.namespace, manifest)
        meta = created["metadata"]
        ref = JobRef(name=meta["name"], uid=meta["uid"], stage=job.stage, attempt=job.attempt, started_at=now)
        return status.model_copy(update={"run": run.model_copy(update={"job": ref})})

    async def write_status(self, resource: Resource, status: ResourceStatus) -> None:
        """One write, refused with Conflict where the resource was changed since it was observed."""
        if status == resource.status:
            return
        ref = resource.ref
        body = {
            "apiVersion": API_VERSION,
            "kind": ref.kind.value,
            "metadata": {
                "name": ref.name,
                "namespace": ref.namespace,
                "uid": ref.uid,
                "resourceVersion": resource.resource_version,
            },
            "status": dump_status(status),
        }
        await self._kube.put_status(ref.kind, ref.namespace, ref.name, body)
        if resource.status.phase != status.phase or resource.status.reason != status.reason:
            _log.info(
                "%s %s/%s: %s (%s) %s",
                *(ref.kind.value, ref.namespace, ref.name, status.phase, status.reason, status.message),
                extra={"jobId": ref.uid},
            )

    async def _announce(self, resource: Resource, notices: tuple[Notice, ...], now: datetime) -> None:
        """Events are for people who look: one that cannot be posted is no reason to stop."""
        for notice in notices:
            try:
                await self._kube.post_event(resource.ref, notice, now)
            except ApiException as error:
                _log.warning("an event was not posted: %s", explain(error), extra={"jobId": resource.ref.uid})

    async def _record(self, resource: Resource, status: ResourceStatus) -> None:
        if self._recorded.get(resource.ref.uid) == status:
            return
        await self._records.write(resource, status)
        self._recorded[resource.ref.uid] = status
