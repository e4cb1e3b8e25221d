"""The writes, in the one order that survives a crash after each of them:

finalizer wanted → document → cancellation → ledger moves → payment → files deleted → Job → finalizer not wanted →
record → status → events.

The record goes before the status: a resource whose status says that it is finished is not looked at again.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any

import stamina
from botocore.exceptions import BotoCoreError, ClientError
from kubernetes.aio.client.exceptions import ApiException
from pymongo.errors import PyMongoError

from contentgen_contract.names import API_VERSION, FINALIZER
from contentgen_contract.status import JobRef, ResourceStatus, dump_status
from contentgen_operator.cache import Cache
from contentgen_operator.janitor import Janitor
from contentgen_operator.jobs import JobTemplate, job_manifest
from contentgen_operator.kube import Kube
from contentgen_operator.ledger import Ledger
from contentgen_operator.observed import JobView, Resource, ResourceRef, is_settled
from contentgen_operator.plan import Cancellation, Notice, Payment, Plan, StageJob
from contentgen_operator.providers.base import (
    Call,
    KeyRefused,
    MaybeAccepted,
    NotAccepted,
    Provider,
    Refused,
    StoredObject,
    Unavailable,
)
from contentgen_operator.purchases import Move, PurchaseState
from contentgen_operator.records import Records
from contentgen_operator.storage import NotDeleted, Storage
from contentgen_runtime.kube import explain

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
        template: Callable[[], JobTemplate],
        cache: Cache,
        janitor: Janitor,
    ) -> None:
        self._cache = cache
        self._janitor = janitor
        self._kube = kube
        self._storage = storage
        self._ledger = ledger
        self._records = records
        self._providers = providers
        self._template = template
        self._recorded: dict[str, ResourceStatus] = {}

    async def act(self, resource: Resource, plan: Plan, now: datetime) -> None:
        """Carry out a plan. Raises Conflict where the resource was changed in between."""
        if plan.finalizer and not resource.deleting:
            resource = await self._with_finalizer(resource)
        if plan.store is not None:
            await self._storage.put_answer(plan.store.key, plan.store.answer)
        if plan.cancel is not None:
            await self._cancel(plan.cancel, now, last_chance=plan.last_chance)
        for move in plan.moves:
            await self._ledger.move(move)
        if plan.payment is not None:
            await self._pay(plan.payment, now)
        status = plan.status
        if plan.stop_job is not None:
            await self._kube.delete_job(resource.ref.namespace, plan.stop_job)
        if resource.deleting:
            await self._let_go(resource, plan)
            return
        if plan.job is not None:
            status = await self._have_job(resource, status, plan.job, now)
        if not plan.finalizer:
            resource = await self._without_finalizer(resource)
        await self._record(resource, status)
        await self.write_status(resource, status)
        await self._announce(resource, plan.notices, now)

    async def gone(self, ref: ResourceRef) -> None:
        """The resource is not there any more."""
        self._recorded.pop(ref.uid, None)
        await self._records.end(ref.uid)

    async def _let_go(self, resource: Resource, plan: Plan) -> None:
        """The last that is done for a deleted resource."""
        try:
            if plan.discard is not None:
                await self._janitor.discard(plan.discard)
            else:
                await self._records.end(resource.ref.uid)
        except (PyMongoError, BotoCoreError, ClientError, NotDeleted) as error:
            if not plan.last_chance:
                raise
            left = plan.discard.prefixes if plan.discard else ()
            _log.warning("a deleted resource goes, and %s stays: %s", left, error, extra=resource.ref.about)
        await self._without_finalizer(resource)

    async def _cancel(self, cancel: Cancellation, now: datetime, *, last_chance: bool) -> None:
        try:
            ended = await self._providers[cancel.provider].cancel(cancel.model, cancel.request_id)
        except Unavailable as error:
            if not last_chance:
                raise
            _log.warning("a request was not cancelled: %s", error, extra={"purchase": str(cancel.key)})
            return
        source = PurchaseState.SUBMITTED
        if ended:
            changes = {"error": "cancelled", "finished_at": None, "changed_at": now}
            move = Move(key=cancel.key, source=source, target=PurchaseState.CANCELLED, changes=changes)
        else:
            move = Move(key=cancel.key, source=source, target=source, changes={"cancel_asked_at": now})
        await self._ledger.move(move)

    async def _with_finalizer(self, resource: Resource) -> Resource:
        return resource if resource.finalized else await self._finalizers(resource, [*resource.finalizers, FINALIZER])

    async def _without_finalizer(self, resource: Resource) -> Resource:
        others = [each for each in resource.finalizers if each != FINALIZER]
        return await self._finalizers(resource, others) if resource.finalized else resource

    async def _finalizers(self, resource: Resource, finalizers: list[str]) -> Resource:
        ref = resource.ref
        body = await self._kube.put_finalizers(ref.kind, ref.namespace, ref.name, resource.resource_version, finalizers)
        self._cache.note(ref, body)
        changed = {"resource_version": body["metadata"]["resourceVersion"], "finalizers": tuple(finalizers)}
        return resource.model_copy(update=changed)

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
            changes = {
                "error": str(error),
                "permanent": isinstance(error, Refused),
                "key_refused": isinstance(error, KeyRefused),
                "changed_at": now,
            }
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
        manifest = job_manifest(resource.ref, run.number, job.stage, job.attempt, self._template())
        created = await self._kube.create_job(resource.ref.namespace, manifest)
        self._cache.note_job(resource.ref, JobView.parse(created))
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
        written = await self._kube.put_status(ref.kind, ref.namespace, ref.name, body)
        if is_settled(written):
            self._cache.forget(ref)
        else:
            self._cache.note(ref, written)
        if resource.status.phase != status.phase or resource.status.reason != status.reason:
            _log.info(
                "%s %s/%s: %s (%s) %s",
                *(ref.kind.value, ref.namespace, ref.name, status.phase, status.reason, status.message),
                extra=ref.about,
            )

    async def _announce(self, resource: Resource, notices: tuple[Notice, ...], now: datetime) -> None:
        """Events are for people who look: one that cannot be posted is no reason to stop."""
        for notice in notices:
            try:
                await self._kube.post_event(resource.ref, notice, now)
            except ApiException as error:
                _log.warning("an event was not posted: %s", explain(error), extra=resource.ref.about)

    async def _record(self, resource: Resource, status: ResourceStatus) -> None:
        if self._recorded.get(resource.ref.uid) == status:
            return
        await self._records.write(resource, status)
        self._recorded[resource.ref.uid] = status
