"""Reconcile of one resource: observe → decide → act, with pauses after conflicts and while a store is unavailable."""

import logging
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError

from contentgen_contract.names import GROUP, Phase, Stage
from contentgen_operator import metrics
from contentgen_operator.act import Actor, JobAdmission
from contentgen_operator.buying.stops import Buying
from contentgen_operator.buying.values import BuyingFacts, scope_of
from contentgen_operator.clock import utc_now
from contentgen_operator.decide.decision import decide, invalid_spec
from contentgen_operator.decide.deletion import decide_deletion, grace_is_over
from contentgen_operator.decide.stages import without_job
from contentgen_operator.fairness.work_queue import WorkQueue
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.cache import Body, Cache
from contentgen_operator.kube.selection import DEFAULT, Selection
from contentgen_operator.observe import Observer
from contentgen_operator.plans.status import store_unavailable_status
from contentgen_operator.providers.base import Unavailable
from contentgen_operator.queue import gate as queue
from contentgen_operator.queue.payment_queue import PaymentQueue
from contentgen_operator.queue.preparation_queue import PreparationQueue
from contentgen_operator.state.decision_input import DecisionInput, DecisionSettings, decision_input
from contentgen_operator.state.observed import Observation, Resource, ResourceRef, is_finished
from contentgen_operator.state.plan import Plan
from contentgen_operator.stores.finished_jobs import Room
from contentgen_operator.stores.status_verification import with_owned_versions
from contentgen_runtime.kube import API_ERRORS, Conflict, explain
from contentgen_runtime.store_errors import STORE_ERRORS, short_text, store_of

_log = logging.getLogger(__name__)
_MALFORMED_SECONDS = 300.0
_DELETION_PAUSE_SECONDS = 4.0
_FIRST_CONFLICT_SECONDS, _MAX_CONFLICT_SECONDS = 0.1, 30.0
_FORBIDDEN = 403
_OLDER_FIRST = "a quota of the namespace is used up, and its older paid results come first"
_NO_FINALIZERS = '{"metadata": {"finalizers": null}}'


@dataclass(kw_only=True, eq=False)
class Reconciler:
    """Reconciler with its work queue; repeated wake-ups of a resource are merged."""

    kube: Kube
    cache: Cache
    observer: Observer
    actor: Actor
    settings: DecisionSettings
    selection: Selection = DEFAULT
    buying: Buying
    payment_queue: PaymentQueue = field(default_factory=PaymentQueue)
    preparation_queue: PreparationQueue = field(default_factory=PreparationQueue)

    def __post_init__(self) -> None:
        self._failures: dict[ResourceRef, int] = {}
        self._conflicts: dict[ResourceRef, int] = {}  # in a row
        self.queue: WorkQueue[ResourceRef] = WorkQueue(
            self._reconcile, group=lambda ref: ref.namespace, goes_first=self._goes_first
        )

    async def wake(self, ref: ResourceRef, delay: float = 0) -> None:
        """Queue a resource, after `delay` seconds."""
        await self.queue.wake(ref, delay)

    def _goes_first(self, ref: ResourceRef) -> bool:
        """True for a run that may pay now or has paid: before the new ones of its namespace. A forged status gains
        nothing from other namespaces.
        """
        run = ((self.cache.resource(ref) or {}).get("status") or {}).get("run") or {}
        return self.payment_queue.has_permission(ref.uid) or bool(run.get("sentAt") or run.get("requestId"))

    def _leave_queues(self, ref: ResourceRef) -> None:
        self._give_back(ref)
        self.preparation_queue.collect_ends(ref)

    def _give_back(self, ref: ResourceRef) -> None:
        self._leave(ref.uid)
        self.preparation_queue.leave(ref.uid)

    async def _reconcile(self, ref: ResourceRef) -> None:
        with metrics.reconcile_seconds.labels(ref.kind).time():
            again, result = await self._reconcile_or_pause(ref)
        metrics.reconciles.labels(ref.kind, result).inc()
        if again is not None and again >= 0:
            await self.wake(ref, again)

    async def _reconcile_or_pause(self, ref: ResourceRef) -> tuple[float | None, str]:
        """Seconds until the next reconcile (None: at the next event), and the result's label in the metrics."""
        try:
            again = await self._read_and_reconcile(ref)
        except Conflict:  # the resource has changed since it was read
            self.cache.drop(ref)
            return self._pause_after_conflict(ref), "conflict"
        except API_ERRORS as error:
            again = self._pause(ref)
            advice = self._release_advice(ref, error)
            _log.warning("the API server: %s; again in %.0f s%s", explain(error), again, advice, extra=ref.about)
            return again, "api_error"
        except Exception:  # noqa: BLE001 - no error may stop a resource for ever
            # A resource that always fails is reconciled ever less often, without delaying others.
            again = self._pause(ref)
            _log.exception("reconcile failed; again in %.0f s", again, extra=ref.about)
            return again, "error"
        self._conflicts.pop(ref, None)
        return again, "done"

    def _release_advice(self, ref: ResourceRef, error: Exception) -> str:
        """Advice if the operator may not remove a finalizer, because its Role was deleted with the namespace."""
        body = self.cache.resource(ref) or {"metadata": {}}
        if getattr(error, "status", None) != _FORBIDDEN or "deletionTimestamp" not in body["metadata"]:
            return ""
        what = f"{ref.kind.plural}.{GROUP}/{ref.name} --namespace {ref.namespace}"
        command = f"kubectl patch {what} --type merge --patch '{_NO_FINALIZERS}'"
        return (
            "; without rights it holds its namespace (docs/install.md#uninstall). This releases it, leaves its files "
            f"and cancels no paid request: {command}"
        )

    async def _read_and_reconcile(self, ref: ResourceRef) -> float | None:
        body = self.cache.resource(ref) or await self._read_resource(ref)
        if body is None:
            self._leave_queues(ref)
            await self.actor.gone(ref)
            self._failures.pop(ref, None)
            return None
        if not self.selection.serves(body):  # its class changed between the watch and this read
            self.cache.forget(ref)
            self._leave_queues(ref)
            self._failures.pop(ref, None)
            return None
        try:
            resource = Resource.parse(ref.kind, body)
        except ValidationError as error:  # somebody else wrote the status
            self._leave_queues(ref)
            _log.warning("%s/%s cannot be read: %s", ref.namespace, ref.name, error.errors()[0]["msg"])
            return _MALFORMED_SECONDS
        return await self._observe_decide_act(resource, utc_now())

    async def _read_resource(self, ref: ResourceRef) -> Body | None:
        body = await self.kube.get_resource(ref.kind, ref.namespace, ref.name)
        if body is None or body["metadata"]["uid"] != ref.uid:
            self.cache.forget(ref)
            return None
        if is_finished(body):  # woken by a late report, say: it costs no memory
            self.cache.forget(ref)
        else:
            self.cache.note(ref, body)
        return body

    async def _observe_decide_act(self, resource: Resource, now: datetime) -> float | None:
        try:
            resource = await self._verified(resource, now)
            plan = await self._plan(resource, now)
            if plan.payment is not None and resource.finalized:
                # Without a finalizer, writing it first fails unless the resource is the newest.
                await self._require_unchanged(resource)
            behind = _collects(plan) and self.preparation_queue.is_behind(resource.ref)
            if behind:
                provider = self.settings.providers.of_kind(resource.ref.kind)
                plan = without_job(resource, plan, _OLDER_FIRST, provider, now)
            admission = await self.actor.act(resource, plan, now)
        except STORE_ERRORS as error:
            return await self._report_store_error(resource, error, now)
        except Unavailable as error:  # a cancellation that can still be tried again
            _log.warning("%s", error, extra=resource.ref.about)
            return min(self._pause(resource.ref), _DELETION_PAUSE_SECONDS)
        if behind:
            self.preparation_queue.collect_waits(resource.ref, _paid_at(plan, now))
            return self._pause(resource.ref)
        return self._after(resource.ref, plan, admission, now)

    def _after(self, ref: ResourceRef, plan: Plan, admission: JobAdmission, now: datetime) -> float | None:
        """Seconds until the next reconcile of a run whose plan was carried out."""
        if _collects(plan) and admission.room is not Room.FREE:
            self.preparation_queue.collect_waits(ref, _paid_at(plan, now))
        else:
            self.preparation_queue.collect_ends(ref)
        if admission.room is Room.MADE or not admission.refused:
            self._failures.pop(ref, None)
        if admission.refused:  # others may have its places until the next try
            self._give_back(ref)
            return self._pause(ref)
        return plan.again_seconds

    async def _verified(self, resource: Resource, now: datetime) -> Resource:
        try:
            return await self.observer.verified(resource)
        except STORE_ERRORS:
            if not grace_is_over(resource, now, self.settings):
                raise
            return with_owned_versions(resource, ())  # deleted all the same, with only its own files

    async def _plan(self, resource: Resource, now: datetime) -> Plan:
        if resource.deleting:
            self._leave_queues(resource.ref)
            return decide_deletion(resource, await self._observed_at_deletion(resource, now), now, self.settings)
        try:
            case = decision_input(resource, now, self.settings)
        except ValidationError as error:
            self._leave_queues(resource.ref)
            return invalid_spec(resource, error, now)
        case = case.observing(await self.observer.observe(case))
        plan = await self._plan_in_turn(case)
        if not _only_waits(plan):
            await self.observer.confirm_namespace(case)
        return plan

    async def _plan_in_turn(self, case: DecisionInput) -> Plan:
        """The plan; if it would create a prepare Job, or plan or send a paid request, and has no place or buying is
        stopped, the plan of a run that waits.
        """
        plan, uid = decide(case), case.resource.ref.uid
        if (turn := self.preparation_queue.turn(case, plan)) is not None and not turn.granted:
            plan = decide(case.observing(case.observed.with_facts(turn)))
            if plan.status.phase is not None and plan.status.phase.terminal:  # its deadline is over
                self.preparation_queue.leave(uid)
        if not queue.asks(plan):
            self._leave(uid)
            return plan
        stop = await self.buying.ask(uid, scope_of(case.resource.tenant.uid, case.resource.ref.namespace))
        if stop is not None:
            self._leave(uid)
            return decide(case.observing(case.observed.with_facts(BuyingFacts(stop=stop))))
        turn = await self.payment_queue.ask(case.resource.ref, queue.claimant(case))
        if turn.granted:
            return plan
        self.buying.leave(uid)  # another run may be the probe
        waits = decide(case.observing(case.observed.with_facts(turn)))
        if waits.status.phase is not None and waits.status.phase.terminal:  # its deadline is over
            self.payment_queue.leave(uid)
        return waits

    def _leave(self, uid: str) -> None:
        """Give back the place of a run that does not ask for one, and its permission to buy."""
        self.payment_queue.leave(uid)
        self.buying.leave(uid)

    async def _observed_at_deletion(self, resource: Resource, now: datetime) -> Observation:
        try:
            return await self.observer.observe_deleted(resource, now)
        except STORE_ERRORS:
            if not grace_is_over(resource, now, self.settings):
                raise
            return Observation()  # deleted all the same

    async def _require_unchanged(self, resource: Resource) -> None:
        """Raises Conflict if the resource was changed or deleted since it was read: nothing is paid for it."""
        body = await self._read_resource(resource.ref)
        if body is None or body["metadata"]["resourceVersion"] != resource.resource_version:
            raise Conflict("changed before it was paid")

    async def _report_store_error(self, resource: Resource, error: Exception, now: datetime) -> float:
        again = self._pause(resource.ref)
        store = store_of(error)
        metrics.store_errors.labels(store).inc()
        message = f"{store} is not available: {short_text(error)}; work goes on by itself once it is"
        _log.warning("a store is unavailable: %s; again in %.0f s", message, again, extra=resource.ref.about)
        if resource.deleting:
            return min(again, _DELETION_PAUSE_SECONDS)
        await self.actor.write_status(resource, store_unavailable_status(resource, message, now))
        return again

    def _pause(self, ref: ResourceRef) -> float:
        """Seconds until the next reconcile: 1, 2, 4 … 60."""
        failures = self._failures.get(ref, 0)
        self._failures[ref] = failures + 1
        return float(min(60, 2**failures))

    def _pause_after_conflict(self, ref: ResourceRef) -> float:
        """Seconds until the next reconcile: 0.1, 0.2, 0.4 … 30. The cause may last, such as a Job with a finalizer."""
        before = self._conflicts.get(ref, 0)
        pause = min(_FIRST_CONFLICT_SECONDS * 2.0**before, _MAX_CONFLICT_SECONDS)
        if pause < _MAX_CONFLICT_SECONDS:
            self._conflicts[ref] = before + 1
        return pause


def _only_waits(plan: Plan) -> bool:
    """True if a plan neither reserves nor pays nor fails: labels that were read a few seconds ago suffice for it."""
    return plan.reservation is None and plan.payment is None and plan.status.phase is not Phase.FAILED


def _collects(plan: Plan) -> bool:
    """True if the plan creates a collect Job or waits for one that was created."""
    run = plan.status.run
    named = run.job.stage if run is not None and run.job is not None else None
    return (plan.job.stage if plan.job is not None else named) is Stage.COLLECT


def _paid_at(plan: Plan, now: datetime) -> datetime:
    """Time of the payment; now if it is unknown, so that others come first."""
    return (plan.status.run.submitted_at if plan.status.run is not None else None) or now
