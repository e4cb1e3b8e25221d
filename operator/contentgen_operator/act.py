"""Writes of one reconcile, in the only order that survives a crash after each of them:

check of the collect Job → add finalizer → run document (new run, facts, attempt) → effects on purchases and on what
features store (`EffectOrder`) → files deleted → run document (purchase, finished version) → Job → remove finalizer →
label → record → notifications planned → status → notifications released → events → left Job deleted.

The record is written before the status, because a resource with a finished status is not reconciled again.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import stamina
from kubernetes.aio.client.exceptions import ApiException
from pymongo.errors import PyMongoError

from contentgen_contract.advice import given_up
from contentgen_contract.advice.guidance import Facts
from contentgen_contract.names import API_VERSION, FINALIZER, GIVEN_UP_LABEL, Reason, Stage
from contentgen_contract.records import ownership
from contentgen_contract.records.ownership import Owner
from contentgen_contract.records.tenancy import UNSCOPED
from contentgen_contract.resources.status import JobRef, ResourceStatus, RunStatus, dump_status
from contentgen_operator.buying.stops import Buying
from contentgen_operator.buying.values import scope_of
from contentgen_operator.cleanup.garbage_collector import GarbageCollector
from contentgen_operator.clock import utc_now
from contentgen_operator.decide.stages import without_job
from contentgen_operator.feature import BoundFeature
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.cache import Cache
from contentgen_operator.kube.job_manifests import JobTemplate, job_manifest, job_name, template_hash
from contentgen_operator.kube.pods import JobRefused, no_dry_run, no_room, refusal_of
from contentgen_operator.leader.leadership import Leadership
from contentgen_operator.notifications.events import notifications_of
from contentgen_operator.notifications.outbox import NotificationOutbox
from contentgen_operator.notifications.values import Notification
from contentgen_operator.plans.status import with_actions
from contentgen_operator.providers.accounts import ProviderAccounts
from contentgen_operator.providers.base import (
    Blocked,
    InputUnread,
    KeyRefused,
    MaybeAccepted,
    NotAccepted,
    ProviderError,
    Refused,
    Unavailable,
    endpoint_failure,
)
from contentgen_operator.queue.fair_turns import Endpoint
from contentgen_operator.queue.payment_queue import PaymentQueue
from contentgen_operator.sending import Sending
from contentgen_operator.state.effects import Effect
from contentgen_operator.state.observed import JobView, Resource, ResourceRef, is_end, is_finished
from contentgen_operator.state.plan import (
    Adoption,
    Cancellation,
    Event,
    LostPurchase,
    Payment,
    Plan,
    Pointer,
    Reservation,
    RestoredPurchase,
    StageJob,
    StoredAnswer,
)
from contentgen_operator.state.provider_requests import Call, StoredObject
from contentgen_operator.state.purchases import (
    LedgerTransition,
    Purchase,
    PurchaseKey,
    PurchaseState,
    SendState,
    StoredKey,
    new_purchase_id,
)
from contentgen_operator.state.request_marks import equal_purchases, mark_of, marks_prefix
from contentgen_operator.state.run_document import next_document
from contentgen_operator.state.sends import LastSend, Send, SendEnding, input_hash
from contentgen_operator.stores.finished_jobs import FinishedJobs, Room
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.records import RecordStore
from contentgen_operator.stores.run_documents import RunDocuments
from contentgen_operator.stores.s3 import Storage
from contentgen_operator.stores.sends import SendObjects
from contentgen_operator.stores.worker_jobs import RecordedJob, WorkerJobs
from contentgen_runtime.kube import Conflict, explain
from contentgen_runtime.store_errors import STORE_ERRORS

_log = logging.getLogger(__name__)
_JOB_CHECK_SECONDS = 60.0  # validity of the API server's dry run of the collect Job


@dataclass(frozen=True)
class JobAdmission:
    """Answer of the API server to a plan's Job. `room`: in the quotas, if it has refused the Job or its pod."""

    refused: bool = False
    room: Room = Room.FREE


_ADMITTED = JobAdmission()


@dataclass(kw_only=True, eq=False)
class Actor:
    """Executor of plans."""

    kube: Kube
    storage: Storage
    ledger: Ledger
    records: RecordStore
    jobs: WorkerJobs
    runs: RunDocuments
    notifications: NotificationOutbox
    providers: ProviderAccounts
    template: Callable[[], JobTemplate]
    cache: Cache
    garbage_collector: GarbageCollector
    leadership: Leadership
    buying: Buying
    features: Iterable[BoundFeature]
    payment_queue: PaymentQueue = field(default_factory=PaymentQueue)

    def __post_init__(self) -> None:
        self._sends = SendObjects(self.storage)
        self._finished_jobs = FinishedJobs(
            kube=self.kube,
            jobs=self.jobs,
            storage=self.storage,
            operator_class=self.ledger.operator_class,
            check=self.leadership.check,
        )
        self._stopping = False  # the process ends: no POST is begun
        self._stopped_jobs: set[str] = set()  # uids of deleted resources whose Job is stopped
        self._written_records: dict[str, ResourceStatus] = {}
        self._performers: dict[type[Effect], Callable[[Any, datetime], Awaitable[str | None]]] = {
            Adoption: self._adopt,
            Pointer: self._point,
            StoredAnswer: self._store,
            Cancellation: self._cancel,
            LedgerTransition: self._move,
            LostPurchase: self._insert_lost,
            RestoredPurchase: self._restore,
            Reservation: self._reserve,
            Payment: self._pay,
        }
        for feature in self.features:
            self._performers |= feature.effects

    def stop_paying(self) -> None:
        """Begin no more paid requests; one that is being sent goes on."""
        self._stopping = True

    async def act(self, resource: Resource, plan: Plan, now: datetime) -> JobAdmission:
        """Carry out a plan. If its Job is refused, the cause is in the status.

        Raises Conflict if the resource was changed since it was observed.
        """
        if _may_be_uncollectable(plan, now):
            refused, room = await self._collect_job_refusal(resource, plan)
            if refused:
                await self._act(resource, without_job(resource, plan, refused, self._provider(resource), now), now)
                return JobAdmission(refused=True, room=room)
        return await self._act(resource, plan, now)

    async def _act(self, resource: Resource, plan: Plan, now: datetime) -> JobAdmission:
        self.leadership.check()
        if plan.expire:
            await self._expire(resource, plan.status, now)
            return _ADMITTED
        if plan.finalizer and not resource.deleting:
            resource = await self._with_finalizer(resource)
        status = resource.status.model_copy(update={"run": plan.status.run})
        resource = await self._with_run_document(resource, status)
        self.leadership.check()
        plan = await self._perform_all(plan, now)
        self.leadership.check()  # after a POST, whose request id is in the ledger now
        resource = await self._with_run_document(resource, plan.status)
        if plan.stop_job and resource.ref.uid not in self._stopped_jobs:
            await self._stop_job(resource.ref, plan)
        if resource.deleting:
            self._stopped_jobs.add(resource.ref.uid)
            if not plan.hold:
                await self._finish_deletion(resource, plan, now)
            return _ADMITTED
        plan, admission = await self._with_job(resource, plan, now)
        if not plan.finalizer:
            resource = await self._without_finalizer(resource)
        resource = await self._labelled(resource, plan.status)
        self.leadership.check()
        await self._write_record(resource, plan.status)
        notifications = notifications_of(resource, plan.status, now)
        if notifications:
            await self.notifications.plan(notifications, now)
        await self.write_status(resource, plan.status)
        await self._release(notifications, now)
        await self._post_events(resource, plan.notices, now)
        if plan.left_job is not None:
            await self._delete_left(resource.ref, plan.left_job)
        return admission

    async def _delete_left(self, ref: ResourceRef, job: JobView) -> None:
        """Delete a Job after the status: a missing Job that the status names counts as a failed attempt."""
        self.leadership.check()
        _log.info("Job %s (uid %s) is deleted: no run needs it", job.name, job.uid, extra=ref.about)
        await self.kube.delete_job(ref.namespace, job.name, job.uid)

    async def _expire(self, resource: Resource, status: ResourceStatus, now: datetime) -> None:
        """Delete a resource whose time is over, and its Jobs. Raises Conflict if it was changed since it was observed.

        The finalizer goes first: without it nobody deletes the files, also if a person deletes the resource in between.
        """
        document = resource.document
        assert document is not None  # noqa: S101 - decided
        stored = await self.runs.put(document.model_copy(update={"expired_at": now}))
        if stored is None:
            raise Conflict(f"the run document of {resource.ref.name} was changed")
        await self._write_record(resource, status)
        await self.records.note_expiry(resource.ref.uid, now)
        if resource.finalized:
            self.leadership.check()
            await self.kube.delete_resource(resource.ref, resource.resource_version, dry_run=True)
            resource = await self._without_finalizer(resource)
        self.leadership.check()
        await self.kube.delete_resource(resource.ref, resource.resource_version)
        _log.info("deleted: its ttlSecondsAfterFinished is over; its files are kept", extra=resource.ref.about)

    async def _with_run_document(self, resource: Resource, status: ResourceStatus) -> Resource:
        """The resource with its run document, which is written if the status differs from it. Raises Conflict."""
        before = resource.document
        if before is None or resource.deleting:
            return resource
        document = next_document(before, status, allowed=resource.payments_allowed)
        if document == before:
            return resource
        stored = await self.runs.put(document)
        if stored is None:
            raise Conflict(f"the run document of {resource.ref.name} was changed")
        return resource.model_copy(update={"document": stored})

    async def _perform_all(self, plan: Plan, now: datetime) -> Plan:
        """Perform the effects; the plan, whose status names a reserved purchase."""
        for effect in plan.effects:
            named = await self._performers[type(effect)](effect, now)
            if named is not None:
                assert plan.status.run is not None  # noqa: S101 - a plan with a purchase has a run
                run = plan.status.run.model_copy(update={"purchase_id": named})
                plan = plan.model_copy(update={"status": plan.status.model_copy(update={"run": run})})
        return plan

    async def _with_job(self, resource: Resource, plan: Plan, now: datetime) -> tuple[Plan, JobAdmission]:
        """The plan with its Job or the Job's refusal in the status."""
        namespace, run = resource.ref.namespace, plan.status.run
        if plan.job is None:
            refused_pod = plan.status.reason == Reason.JOB_REFUSED and run is not None and run.job is not None
            return plan, JobAdmission(room=await self._finished_jobs.make_room(namespace)) if refused_pod else _ADMITTED
        try:
            status = await self._create_job(resource, plan.status, plan.job, now)
        except JobRefused as error:
            room = await self._finished_jobs.make_room(namespace)
            refused = without_job(resource, plan, str(error), self._provider(resource), now)
            return refused, JobAdmission(refused=True, room=room)
        return plan.model_copy(update={"status": status}), _ADMITTED

    async def _collect_job_refusal(self, resource: Resource, plan: Plan) -> tuple[str, Room]:
        """Cause for which the collect Job or its pod could not be created, even after finished Jobs were deleted;
        empty: none is known.
        """
        words, room = await self._collect_job_refusal_now(resource, plan), Room.FREE
        if words:
            room = await self._finished_jobs.make_room(resource.ref.namespace)
        if room is Room.MADE:
            words = await self._collect_job_refusal_now(resource, plan)
        return words, room

    async def _collect_job_refusal_now(self, resource: Resource, plan: Plan) -> str:
        assert plan.status.run is not None  # noqa: S101 - a plan with a payment has a run
        template, labels = self.template(), resource.queue_labels
        manifest = job_manifest(resource.ref, plan.status.run.number, Stage.COLLECT, 1, template, queue_labels=labels)
        try:
            await self.kube.check_job(resource.ref.namespace, manifest)
        except ApiException as error:
            if error.status == 409 or no_dry_run(error):
                return await self._quota_refusal(resource.ref)
            if words := refusal_of(error):
                return words
            raise
        return await self._quota_refusal(resource.ref)

    async def _quota_refusal(self, ref: ResourceRef) -> str:
        """Cause for which the namespace's quotas would refuse the pod of a Job; empty: none."""
        try:
            return no_room(await self.kube.quotas(ref.namespace))
        except ApiException as error:  # the Role of an older chart lacks the permission; the run goes on
            _log.info("the quotas of %s cannot be read: %s", ref.namespace, explain(error), extra=ref.about)
            return ""

    async def gone(self, ref: ResourceRef) -> None:
        """Forget a deleted resource, and end its record."""
        self.leadership.check()
        self._written_records.pop(ref.uid, None)
        self._stopped_jobs.discard(ref.uid)
        await self.records.end(ref.uid)
        await self.jobs.forget(ref.uid)
        await self.ledger.await_no_more(ref.uid)

    async def _finish_deletion(self, resource: Resource, plan: Plan, now: datetime) -> None:
        """Delete the next files of a deleted resource; remove the finalizer once none is left."""
        try:
            if plan.discard is not None:
                if not await self.garbage_collector.discard(plan.discard, held=True):
                    return
            else:
                await self.records.end(resource.ref.uid)
        except STORE_ERRORS as error:
            if not plan.last_chance:
                raise
            left = plan.discard.prefixes if plan.discard else ()
            _log.warning("a resource is deleted without %s: %s", left, error, extra=resource.ref.about)
        await self._post_events(resource, plan.notices, now)
        await self._without_finalizer(resource)

    async def _cancel(self, cancel: Cancellation, now: datetime) -> None:
        self.leadership.check()  # a provider has no compare-and-set
        try:
            provider = self.providers.provider(cancel.provider, cancel.account)
            ended = await provider.cancel(cancel.model, cancel.request_id)
        except Unavailable as error:
            if not cancel.last_chance:
                raise
            _log.warning("a request was not cancelled: %s", error, extra={"purchase": str(cancel.key)})
            return
        source, mine = PurchaseState.SUBMITTED, {"request_id": cancel.request_id}
        if ended:
            changes = {"error": "cancelled", "finished_at": None, "changed_at": now}
            move = LedgerTransition(
                key=cancel.key, source=source, target=PurchaseState.CANCELLED, expected=mine, changes=changes
            )
        else:
            changes = {"cancel_asked_at": now}
            move = LedgerTransition(key=cancel.key, source=source, target=source, expected=mine, changes=changes)
        await self._move(move, now)

    async def _adopt(self, adoption: Adoption, _: datetime) -> None:
        """Mark the content of a purchase of another class for this one first: a restored MongoDB may lack it.

        Raises Conflict if the purchase was adopted or discarded since it was observed.
        """
        purchase = adoption.purchase
        if purchase.operator_class != self.ledger.operator_class:
            taken = purchase.model_copy(update={"operator_class": self.ledger.operator_class})
            await self._mark_content(adoption.key, taken)
        if not await self.ledger.adopt(adoption.key, purchase, adoption.job_id, adoption.tenant):
            kept = await self.ledger.get(adoption.key)
            _log.warning(
                "%s was not adopted: it was %s, and is %s", adoption.key, _purchase_text(purchase), _purchase_text(kept)
            )
            raise Conflict(f"purchase {adoption.key} was changed before it was adopted")
        _log.info(
            "purchase %s of %s is adopted by %s", purchase.purchase_id, purchase.job_id, adoption.job_id,
            extra={"purchase": str(adoption.key)},
        )  # fmt: skip

    async def _point(self, pointer: Pointer, _: datetime) -> None:
        """Mark the key of an equal request in the bucket first: a restored MongoDB may lack the purchase."""
        self.leadership.check()
        await self.storage.put_marker(str(pointer.also), pointer.purchase_id, pointer.namespace_uid)
        self.leadership.check()
        await self.ledger.point(pointer.key, pointer.purchase_id, pointer.also)

    async def _move(self, move: LedgerTransition, now: datetime) -> None:
        """Raises Conflict if the purchase was changed since it was observed."""
        request_id = move.changes.get("request_id")
        target = move.bound_to
        self.leadership.check()
        if target is not None and request_id and not await self.ledger.bind_request(target, request_id, now):
            raise Conflict(f"request {request_id} is another purchase's")
        if move.changes.get("send_state") == SendState.ABANDONED:
            await self._close(move.key)
        self.leadership.check()  # the claims of budgets of a frozen process may be released
        if await self.ledger.move(move) is None:
            _log_conflict(move, await self.ledger.get(move.key))
            raise Conflict(f"purchase {move.key} was changed")

    async def _close(self, key: PurchaseKey | StoredKey) -> None:
        """Close the try that is abandoned, so that a frozen process which has not created its object never sends it."""
        kept = await self.ledger.get(key)
        if kept is not None and kept.send_state is SendState.SENDING and kept.send_number:
            sent_at = kept.sent_at or kept.changed_at
            await self._sends.close(key, Send.of(kept, kept.send_number, kept.sent_by or "", sent_at))

    async def _store(self, stored: StoredAnswer, _: datetime) -> None:
        await self.storage.put_answer(stored)

    async def _insert_lost(self, lost: LostPurchase, _: datetime) -> None:
        self.leadership.check()
        await self.ledger.intend(lost.key, lost.purchase)

    async def _restore(self, restored: RestoredPurchase, now: datetime) -> None:
        """Raises Conflict if the request is another purchase's, or the ledger has the purchase again."""
        key, purchase = restored.key, restored.purchase
        if not await self.ledger.bind_request(purchase, purchase.request_id or "", now):
            raise Conflict(f"request {purchase.request_id} is another purchase's")
        self.leadership.check()  # as above
        if not await self.ledger.intend(key, purchase):
            raise Conflict(f"purchase {key} is in the ledger again")

    async def _with_finalizer(self, resource: Resource) -> Resource:
        return resource if resource.finalized else await self._finalizers(resource, [*resource.finalizers, FINALIZER])

    async def _without_finalizer(self, resource: Resource) -> Resource:
        others = [finalizer for finalizer in resource.finalizers if finalizer != FINALIZER]
        return await self._finalizers(resource, others) if resource.finalized else resource

    async def _finalizers(self, resource: Resource, finalizers: list[str]) -> Resource:
        ref = resource.ref
        body = await self.kube.put_finalizers(ref.kind, ref.namespace, ref.name, resource.resource_version, finalizers)
        self.cache.note(ref, body)
        changed = {"resource_version": body["metadata"]["resourceVersion"], "finalizers": tuple(finalizers)}
        return resource.model_copy(update=changed)

    async def _labelled(self, resource: Resource, status: ResourceStatus) -> Resource:
        """The resource, with or without the label of given-up work where this status changes that.

        Written at such a change only: a tool that removes the label, or sets it, is not fought with. Before the
        status, because a resource with a finished status is not reconciled again.
        """
        before, after = (given_up.is_given_up(Facts.parse(dump_status(each))) for each in (resource.status, status))
        wanted = "true" if after else None
        if before == after or resource.given_up == wanted:
            return resource
        self.leadership.check()
        body = await self.kube.put_label(resource.ref, resource.resource_version, GIVEN_UP_LABEL, wanted)
        self.cache.note(resource.ref, body)
        version = body["metadata"]["resourceVersion"]
        return resource.model_copy(update={"resource_version": version, "given_up": wanted})

    async def _reserve(self, reservation: Reservation, _: datetime) -> str:
        """Purchase id that the status is to name, after it was planned in the ledger and marked in the bucket."""
        key, wanted = reservation.key, reservation.purchase
        await self.ledger.intend(key, wanted.model_copy(update={"purchase_id": new_purchase_id()}))
        kept = await self.ledger.get(key)
        if kept is None or not kept.planned or kept.job_id != wanted.job_id:
            raise Conflict(f"purchase {key} was changed before it was planned")
        named = await self._lost_equal(reservation, kept) or await self._marker_id(key, kept)
        if named != kept.purchase_id:
            # The ledger was restored from a backup; the next decision stops at this id in the status.
            _log.error("the bucket knows purchase %s as %s, the ledger as %s: not paid", key, named, kept.purchase_id)
            await self.ledger.drop_planned(key, kept.purchase_id)
        else:
            await self._mark_content(key, kept)
        return named

    async def _mark_content(self, key: PurchaseKey, purchase: Purchase) -> None:
        if purchase.content:
            self.leadership.check()
            await self.storage.put_mark(mark_of(key, purchase))

    async def _lost_equal(self, reservation: Reservation, planned: Purchase) -> str | None:
        """Id of a purchase of an equal request, of any spelling, that the bucket has and the ledger lacks; None: none.

        A further attempt was allowed by the end of the one before it, or by a person, so the bucket is not asked.
        """
        key, asked = reservation.key, reservation.asked
        if key.attempt > 1 or not asked:
            return None
        marks = await self.storage.evidence_keys(marks_prefix(key, planned.operator_class), "")
        found = equal_purchases(marks, key, asked, planned)
        return min(await self.ledger.lost(found, frozenset()), default=None) if found else None

    async def _marker_id(self, key: PurchaseKey, planned: Purchase) -> str:
        """Purchase id of the bucket's marker. Markers under other scopes count too, because a restored database may
        lack the binding of the namespace: under its uid, or without a scope after a mapping.
        """
        uid = planned.namespace_uid
        if uid and key.scope != uid:
            mine = key.model_copy(update={"scope": uid})
            if (named := await self.storage.marker(str(mine))) is not None:
                return named
        if uid and key.scope:
            unscoped = key.model_copy(update={"scope": UNSCOPED})
            if (named := await self.storage.marker(str(unscoped), uid)) is not None:
                return named
        self.leadership.check()
        return await self.storage.put_marker(str(key), planned.purchase_id, uid)

    async def _pay(self, payment: Payment, _: datetime) -> None:
        """Send the paid request; the only function that spends money: at most one POST, by the process that moves the
        purchase to `sending`.
        """
        bought, kind = payment.purchase, payment.key.kind
        inputs = ownership.job_owner(kind, bought.job_id, (bought.user_id,)) | Owner(keys=frozenset(bought.loras))
        # Signed before `sending`, so that a failure leaves the purchase unsent.
        if _has_inputs(payment.call.arguments):
            await self.storage.require_session()
        arguments = self._presigned(inputs, payment.call.arguments)
        call = payment.call.model_copy(update={"arguments": arguments, "purchase_id": bought.purchase_id})
        sending = Sending(
            payment=payment,
            number=await self._next_number(payment),
            ledger=self.ledger,
            sends=self._sends,
            leadership=self.leadership,
            stopping=lambda: self._stopping,
            permitted=partial(self.buying.require, scope_of(bought.namespace_uid, bought.namespace)),
        )
        move = await self._send(payment, call, sending)
        try:
            await self._write_result(move)
        except PyMongoError:
            # The purchase stays in `sending`, and its request is found by its input.
            _log.error("not written: %s", _transition_text(move), extra={"purchase": str(move.key)})
            raise
        finally:
            if move.target is PurchaseState.REFUSED:
                await sending.end_refused()

    async def _next_number(self, payment: Payment) -> int:
        """Number of the next try, by the bucket. Raises Conflict if the bucket has a try without an end, of which the
        ledger knows nothing: the ledger was restored, so the purchase is searched and not sent.
        """
        key, bought = payment.key, payment.purchase
        last = await self._sends.last(key, bought.send_number)
        if not last.ended:
            await self._end_or_search(payment, last)
        return max(last.number, bought.send_number) + 1

    async def _end_or_search(self, payment: Payment, last: LastSend) -> None:
        """End the last try if the ledger knows that it was not accepted, else raise Conflict; see `_next_number`."""
        key, bought, now = payment.key, payment.purchase, utc_now()
        send = await self._sends.read(key, last.number)
        if send is not None and send.closed:
            return
        if send is not None and send.sent_by == bought.ended_by:
            await self._sends.end(key, send, SendEnding.REFUSED)
            return
        send = send or Send.of(bought, last.number, "unknown", now)
        sent_input = bought.sent_input if send.input_sha256 == input_hash(bought.sent_input) else None
        correlation_key = send.correlation_key or bought.correlation_key
        facts = {
            "account": send.account,
            "model": send.model,
            "correlation_key": correlation_key,
            "sent_input": sent_input,
        }
        sent = bought.model_copy(update=facts | {"send_number": last.number})
        await self.ledger.note_sent(key, sent, send.sent_by, send.sent_at, now)
        text = f"try {last.number} of purchase {key} was made at {send.sent_at}, and the ledger lacks it"
        _log.error("%s: was it restored from a backup? The request is searched, not sent", text)
        raise Conflict(text)

    async def _send(self, payment: Payment, call: Call, sending: Sending) -> LedgerTransition:
        key, intent = payment.key, PurchaseState.INTENT
        provider = self.providers.provider(call.provider, payment.purchase.account)
        key_id = provider.key_id
        try:
            request_id = await provider.submit(call, sending.begin)
        except NotAccepted as error:
            self._note_answer(payment.purchase, error)
            changes = {
                "error": str(error),
                "permanent": isinstance(error, Refused),
                "key_refused": isinstance(error, KeyRefused),
                "blocked": isinstance(error, Blocked),
                "changed_at": utc_now(),
                "send_state": None,
            }
            changes |= {"ended_by": sending.sent_by} if sending.sent_by else {}
            return LedgerTransition(
                key=key, source=intent, target=PurchaseState.REFUSED, changes=changes, **sending.mine
            )
        except MaybeAccepted as error:
            self._note_answer(payment.purchase, error)
            await sending.ensure_begun()
            _log.warning("the reply to a paid request was lost", extra={"purchase": str(key)})
            changes = {"error": str(error), "changed_at": utc_now()}
            return LedgerTransition(key=key, source=intent, target=intent, changes=changes, **sending.mine)
        # Logged before anything else can fail, so that the request can be found.
        _log.info("%s accepted request %s", call.provider, request_id, extra={"purchase": str(key)})
        self._note_answer(payment.purchase, None)
        await sending.ensure_begun()
        now = utc_now()
        changes = {
            "request_id": request_id,
            "key_id": key_id,
            "submitted_at": now,
            "changed_at": now,
            "send_state": None,
        }
        move = LedgerTransition(key=key, source=intent, target=PurchaseState.SUBMITTED, changes=changes, **sending.mine)
        return move.model_copy(update={"bound_to": payment.purchase})

    def _note_answer(self, purchase: Purchase, error: ProviderError | None) -> None:
        """Note the answer of an endpoint to a paid request for its circuit breaker; None: accepted."""
        endpoint = Endpoint(purchase.provider, purchase.model, purchase.account or "")
        if isinstance(error, Blocked) and not isinstance(error, InputUnread):
            self.payment_queue.note_block(endpoint, purchase.namespace, purchase.job_id)
        elif error is not None and (cause := endpoint_failure(error)):
            self.payment_queue.note_failure(endpoint, cause, error.retry_after)
        else:
            self.payment_queue.note_success(endpoint)

    @stamina.retry(on=PyMongoError, attempts=8, timeout=60)
    async def _write_result(self, move: LedgerTransition) -> None:
        request_id, target = move.changes.get("request_id"), move.bound_to
        if target is not None and request_id and not await self.ledger.bind_request(target, request_id, utc_now()):
            _log.error("request %s is another purchase's; %s has none", request_id, move.key)
            return
        if await self.ledger.move(move) is not None:
            return
        kept = await self.ledger.get(move.key)
        if kept is None or (kept.state, kept.request_id) != (move.target, request_id):  # else an earlier try wrote it
            _log_conflict(move, kept)

    def _presigned(self, inputs: Owner, value: Any) -> Any:
        """The arguments with a presigned URL for every StoredObject."""
        match value:
            case StoredObject(key=key):
                return self.storage.provider_get(inputs, key)
            case dict():
                return {name: self._presigned(inputs, member) for name, member in value.items()}
            case list():
                return [self._presigned(inputs, element) for element in value]
            case _:
                return value

    def _provider(self, resource: Resource) -> str:
        return self.providers.table.of_kind(resource.ref.kind)

    async def _create_job(
        self, resource: Resource, status: ResourceStatus, job: StageJob, now: datetime
    ) -> ResourceStatus:
        assert status.run is not None  # noqa: S101 - a plan with a Job has a run
        run = status.run
        template, labels = self.template(), resource.queue_labels
        manifest = job_manifest(resource.ref, run.number, job.stage, job.attempt, template, queue_labels=labels)
        self.leadership.check()
        try:
            body = await self.kube.create_job(resource.ref.namespace, manifest)
        except ApiException as error:
            if words := refusal_of(error):
                raise JobRefused(words) from error
            raise
        if body is None:
            body = await self._recorded_job(resource.ref, manifest["metadata"]["name"])
        else:
            await self._recorded_or_deleted(_job_record(resource.ref, run, job, body, template_hash(manifest)))
        view = JobView.parse(body)
        self.cache.note_job(resource.ref, view)
        ref = JobRef(name=view.name, uid=view.uid, stage=job.stage, attempt=job.attempt, started_at=now)
        return status.model_copy(update={"run": run.model_copy(update={"job": ref})})

    async def _recorded_or_deleted(self, job: RecordedJob) -> None:
        """Record a new Job. If another process leads or has recorded one, delete it and raise Conflict."""
        try:
            await self.jobs.record(job)
        except Conflict:
            await self.kube.delete_job(job.owner.namespace, job.name, job.uid)
            raise

    async def _recorded_job(self, ref: ResourceRef, name: str) -> dict[str, Any]:
        """The recorded Job of this name. Raises Conflict if it is missing or being deleted, or not recorded and
        therefore deleted.
        """
        found = await self.kube.get_job(ref.namespace, name)
        if found is None:
            raise Conflict(f"Job {name} was deleted")
        uid = found["metadata"]["uid"]
        if "deletionTimestamp" in found["metadata"]:
            raise Conflict(f"Job {name} is being deleted")
        recorded = await self.jobs.newest(ref.uid, uid)
        if recorded is not None and recorded.uid == uid:
            return found
        # Caused by a crash before the Job was recorded, a restored MongoDB, or a tenant who created it.
        self.leadership.check()  # otherwise the leader may be about to record it
        _log.warning("Job %s/%s (uid %s) is not recorded: it is replaced", ref.namespace, name, uid, extra=ref.about)
        await self.kube.delete_job(ref.namespace, name, uid)
        raise Conflict(f"Job {name} is replaced")

    async def _stop_job(self, ref: ResourceRef, plan: Plan) -> None:
        """Delete the recorded Job, and by its computed name one that a crash left unrecorded."""
        run = plan.status.run
        try:
            recorded = await self.jobs.newest(ref.uid, run.job.uid if run and run.job else None)
        except PyMongoError:
            if not plan.last_chance:
                raise
            recorded = None  # Kubernetes deletes the Job with its resource
        self.leadership.check()  # after the uid was read: a Job of the next leader has another one
        if recorded is not None:
            await self.kube.delete_job(ref.namespace, recorded.name, recorded.uid)
        name = job_name(ref.uid, run.number, Stage.PREPARE, run.stage_attempt) if run else ""
        if name and (recorded is None or recorded.name != name):
            found = await self.kube.get_job(ref.namespace, name)
            self.leadership.check()
            if found is not None:
                await self.kube.delete_job(ref.namespace, name, found["metadata"]["uid"])

    async def write_status(self, resource: Resource, status: ResourceStatus) -> None:
        """Write the status. Raises Conflict if the resource was changed since it was observed."""
        status = with_actions(resource, status)
        if status == resource.status and not resource.repaired:
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
        written = await self.kube.put_status(ref.kind, ref.namespace, ref.name, body)
        if is_finished(written):
            self.cache.forget(ref)
        else:
            self.cache.note(ref, written)
        _check_crd(status, written)
        if resource.status.phase != status.phase or resource.status.reason != status.reason:
            _log.info(
                "%s %s/%s: %s (%s) %s",
                *(ref.kind.value, ref.namespace, ref.name, status.phase, status.reason, status.message),
                extra=ref.about,
            )

    async def _release(self, notifications: Sequence[Notification], now: datetime) -> None:
        """Release planned notifications; after an error the notifier does it later (`Notifier.confirm_left`)."""
        if not notifications:
            return
        try:
            await self.notifications.release(notifications, now)
        except PyMongoError as error:
            _log.warning("a notification waits: %s", error, extra=notifications[0].ref.about)

    async def _post_events(self, resource: Resource, notices: tuple[Event, ...], now: datetime) -> None:
        """Post events; a failure is only logged."""
        for notice in notices:
            try:
                await self.kube.post_event(resource.ref, notice, now)
            except ApiException as error:
                _log.warning("an event was not posted: %s", explain(error), extra=resource.ref.about)

    async def _write_record(self, resource: Resource, status: ResourceStatus) -> None:
        looked_at_again = status == resource.status and status.run is not None and status.run.request_open
        if self._written_records.get(resource.ref.uid) == status or looked_at_again:
            return
        await self.records.write(resource, status)
        if is_end(dump_status(status)):  # a finished resource costs no memory
            self._written_records.pop(resource.ref.uid, None)
        else:
            self._written_records[resource.ref.uid] = status


def _has_inputs(value: Any) -> bool:
    """True if the arguments of a call contain a file of the bucket, which the provider downloads."""
    match value:
        case StoredObject():
            return True
        case dict():
            return any(map(_has_inputs, value.values()))
        case list():
            return any(map(_has_inputs, value))
        case _:
            return False


def _may_be_uncollectable(plan: Plan, now: datetime) -> bool:
    """True if the collect Job needs a dry run: before a purchase is planned, and before a late payment."""
    if plan.payment is not None:
        planned_at = plan.payment.planned_at
        return planned_at is None or (now - planned_at).total_seconds() > _JOB_CHECK_SECONDS
    return plan.reservation is not None


def _purchase_text(purchase: Purchase | None) -> str:
    """Text about a purchase for the log."""
    if purchase is None:
        return "not in the ledger"
    sent = f"/{purchase.send_state}" if purchase.send_state and purchase.state is PurchaseState.INTENT else ""
    return f"{purchase.state}{sent} of {purchase.job_id}, request {purchase.request_id}"


def _transition_text(move: LedgerTransition) -> str:
    request = move.changes.get("request_id")
    return f"{move.key} from {move.source} to {move.target}" + (f", request {request}" if request else "")


def _log_conflict(move: LedgerTransition, kept: Purchase | None) -> None:
    expected = {"owner": move.owner} | move.expected
    _log.error(
        "a compare-and-set failed: %s (expected %s); the ledger has %s",
        *(_transition_text(move), expected, _purchase_text(kept)),
        extra={"purchase": str(move.key)},
    )  # fmt: skip


def _check_crd(status: ResourceStatus, written: dict[str, Any]) -> None:
    """Raises RuntimeError if the API server's schema has dropped the purchase id or its provider account, without which
    nothing may be paid, or the collect retries, which would never end then.
    """
    run, kept = status.run, (written.get("status") or {}).get("run") or {}
    named, account = (run.purchase_id, run.provider_account) if run else (None, None)
    pruned = (named and kept.get("purchaseId") != named) or (account and kept.get("providerAccount") != account)
    if pruned or (run and run.collect and "collect" not in kept):
        raise RuntimeError("the CRDs are not those of this operator: apply the ones of its release")


def _job_record(owner: ResourceRef, run: RunStatus, job: StageJob, body: dict[str, Any], template: str) -> RecordedJob:
    view = JobView.parse(body)
    return RecordedJob(
        uid=view.uid,
        name=view.name,
        owner=owner,
        run=run.number,
        stage=job.stage,
        attempt=job.attempt,
        purchase_id=run.purchase_id if job.stage is Stage.COLLECT else None,
        created_at=view.started_at,
        template_hash=template,
    )
