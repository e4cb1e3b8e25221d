"""Reads of one reconcile. They depend on the run's progress; every payment is preceded by a read of its purchase."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from kubernetes.aio.client.exceptions import ApiException
from pydantic import ValidationError

from contentgen_contract.advice.job_state import State, state_of_resource
from contentgen_contract.names import Kind, Phase, Reason, Stage
from contentgen_contract.records import keys
from contentgen_contract.records.ownership import Owner
from contentgen_contract.records.tenancy import Tenant
from contentgen_contract.resources.models import model_of
from contentgen_contract.resources.operator_class import CLASS_LABEL
from contentgen_contract.resources.prices import PriceLookup
from contentgen_contract.resources.spec import ImageGenerationSpec, Spec
from contentgen_contract.resources.status import MAX_LOG, ResourceStatus, VersionStatus
from contentgen_contract.worker.orders import Limits
from contentgen_operator.accounts.values import AccountGrant, granted
from contentgen_operator.cleanup import expiry
from contentgen_operator.decide import lora_identity
from contentgen_operator.decide.deletion import is_searched_at_deletion
from contentgen_operator.decide.payment import call_of, purchase_from_status, status_names_purchase, was_rewound
from contentgen_operator.decide.policies import same_request
from contentgen_operator.decide.stages import has_passed
from contentgen_operator.feature import BoundFeature
from contentgen_operator.kube import pods
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.cache import Cache
from contentgen_operator.kube.job_manifests import JobTemplate, job_manifest, template_hash
from contentgen_operator.kube.namespace_labels import NamespaceLabelReader
from contentgen_operator.plans import history_searches
from contentgen_operator.polling import poll_or_stored
from contentgen_operator.providers.accounts import ProviderAccounts
from contentgen_operator.providers.base import AccessRefused, Provider, Unavailable
from contentgen_operator.providers.pricing import PriceSource
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.kinds import table as kinds
from contentgen_operator.state.kinds.table import content_of, file_limits
from contentgen_operator.state.observed import (
    BucketFile,
    FeatureFacts,
    JobRecord,
    JobView,
    LoraView,
    NamespaceLabels,
    Observation,
    OpenRequest,
    PodTrouble,
    Resource,
    ResourceRef,
    is_stored,
)
from contentgen_operator.state.provider_requests import (
    Call,
    Found,
    Search,
    Verified,
    is_request_id,
)
from contentgen_operator.state.purchases import Purchase, PurchaseKey, PurchaseState, SamePurchase
from contentgen_operator.state.runs import asset_user, frozen_spec, own_files, purchase_key
from contentgen_operator.state.upload_limits import files_problem
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.s3 import InvalidOutcome, Storage
from contentgen_operator.stores.status_verification import StatusVerifier
from contentgen_operator.stores.worker_jobs import RecordedJob, WorkerJobs
from contentgen_operator.watch.lora_names import LoraNames
from contentgen_operator.worker_api.reports import Reports
from contentgen_runtime.caches import BoundedDict
from contentgen_runtime.kube import explain

_log = logging.getLogger(__name__)
_CLOCK_ERROR = timedelta(hours=25)  # of our own clock, for a request that a person names
_AFTER_SENT = timedelta(minutes=20)  # duration of a POST, and difference of a provider's clock from ours
_AT_DELETION = "deletion"
_MAX_POLL_TIMES = 10_000  # open requests whose last poll is remembered; others are polled more often
_LEFT_SECONDS = 60.0  # until a Job is deleted that its run has moved past: most end by themselves, and keep their log
_MAX_LEFT_JOBS = 10_000  # that are remembered; others are read again
_STARTING_SECONDS = 3.0  # shortest time in which a pod is created, scheduled and started


@dataclass(kw_only=True, eq=False)
class Observer:
    """Reader of Jobs, outcomes, the ledger, the provider and the LoRAs of a resource."""

    kube: Kube
    cache: Cache
    storage: Storage
    ledger: Ledger
    jobs: WorkerJobs
    providers: ProviderAccounts
    reports: Reports
    verifier: StatusVerifier
    limits: Limits
    features: Sequence[BoundFeature]
    template: Callable[[], JobTemplate]
    prices: Mapping[str, PriceSource] = field(default_factory=dict)
    names: LoraNames = field(default_factory=LoraNames)

    def __post_init__(self) -> None:
        self._labels = NamespaceLabelReader(self.kube)
        self._settled: set[str] = set()  # uids of resources with a new charge that their status lacks
        # Jobs that their runs have moved past, by uid: the time at which one was first seen, None: it has ended.
        self._left_since: BoundedDict[str, datetime | None] = BoundedDict(_MAX_LEFT_JOBS)
        # By purchase id and state.
        self._polled_at: BoundedDict[tuple[str, str], datetime] = BoundedDict(_MAX_POLL_TIMES)

    def note_settled(self, uid: str) -> None:
        """Have the costs of a resource read in its next reconcile, although its run is over."""
        self._settled.add(uid)

    async def observe(self, case: DecisionInput) -> Observation:
        """Observation for the decision about a resource that is not being deleted."""
        observation, left = await self._observe(case), await self._observe_left(case)
        return observation.model_copy(update=left) if left else observation

    async def confirm_namespace(self, case: DecisionInput) -> None:
        """Read the namespace again, before a plan that pays. Raises Conflict if it was deleted or its labels are not
        those of the observation, or one of API_ERRORS.
        """
        ref, used = case.resource.ref, case.observed.namespace_labels
        if used is not None:
            await self._labels.confirm(ref.namespace, case.resource.tenant, case.now, used)

    async def _observe(self, case: DecisionInput) -> Observation:
        if case.over and not case.collects_again:
            if case.run.request_open:
                return await self._observe_ended(case)
            if expiry.is_due(case.resource, case.now):
                return await self._observe_purchases(case)
            return await self._observe_settled(case)
        purchase = await self.ledger.get(case.key)
        fields: dict[str, Any] = {"purchase": purchase}
        if case.run.number > 1 or case.run.paid_attempt > 1:
            fields["earlier"], fields["other_runs"] = await self.ledger.others(case.key, case.resource.ref.uid)
            fields["open_requests"] = await self._open_requests(case, purchase)
        if case.over:
            fields |= await self._find_result(case, purchase)
        elif case.run.same_as is None and lora_identity.decides_purchase(case.resource, case.run, case.spec, purchase):
            fields |= await self._observe_lora_image(case, purchase)
        elif purchase is None or purchase.unpaid:
            fields |= await self._observe_unpaid(case, purchase)
            fields["loras"] = lora_identity.with_earlier_files(fields.get("loras", ()), fields.get("earlier", ()))
            if case.resource.adopt is not None and status_names_purchase(case.resource, case.run):
                fields["named"] = await self._verify_for_missing_purchase(case)
        else:
            fields |= await self._observe_sent(case, purchase)
        return Observation(**fields)

    async def _observe_left(self, case: DecisionInput) -> dict[str, Any]:
        """Fields of a recorded Job that its run has moved past: one that a queue has suspended just as its outcome was
        stored, say. One that is about to end is given a minute.
        """
        ref, run, now = case.resource.ref, case.run, case.now
        if not (case.over or run.number > 1 or run.stage_attempt > 1 or run.facts is not None):
            return {}  # no Job was before the run's present one
        newest = await self.jobs.newest(ref.uid)
        passed = (
            [record for record in (newest, *newest.earlier) if has_passed(case, record)] if newest is not None else []
        )
        left_in: dict[str, Any] = {}
        for job in [record for record in passed if await self._is_left(ref, record)]:
            seconds = _LEFT_SECONDS - max((now - self._note_left(job, now)).total_seconds(), 0.0)
            if seconds > 0:
                left_in = {"left_in": min(seconds, left_in.get("left_in", seconds))}
            elif (view := await self._left_job(ref, job)) is not None:
                self._left_since[job.uid] = now  # the next try, if it is there then
                return {"left_job": view, "left_in": _LEFT_SECONDS}
        return left_in

    async def _is_left(self, ref: ResourceRef, job: JobRecord) -> bool:
        """True if a passed Job may not have ended and nothing is expected of it: the purchase of a collect Job is
        collected or discarded.
        """
        known = self.cache.job(ref.namespace, job.name)
        if known is not None and known.finished:
            self._left_since[job.uid] = None
        if job.uid in self._left_since and self._left_since[job.uid] is None:
            return False
        bought = job.purchase_id if job.stage is Stage.COLLECT else None
        return job.stage is Stage.PREPARE or (bought is not None and await self.ledger.is_stored_or_discarded(bought))

    def _note_left(self, job: JobRecord, now: datetime) -> datetime:
        """Time at which a passed Job was first seen."""
        if job.uid not in self._left_since:
            self._left_since[job.uid] = now
        return self._left_since[job.uid] or now

    async def _left_job(self, ref: ResourceRef, job: JobRecord) -> JobView | None:
        """A recorded Job that has not ended. None, and not looked at again: it has, or is of another operator class."""
        body = await self.kube.get_job(ref.namespace, job.name)
        if body is not None and body["metadata"]["uid"] == job.uid:
            labels, view = body["metadata"].get("labels") or {}, JobView.parse(body)
            if labels.get(CLASS_LABEL) == self.ledger.operator_class and not view.finished:
                return view
        self._left_since[job.uid] = None
        return None

    async def _observe_sent(self, case: DecisionInput, purchase: Purchase) -> dict[str, Any]:
        """Fields of a purchase that was sent, or may have been."""
        if await self._is_superseded(case, purchase):
            return {"superseded": True}
        if same_request.may_be_anothers(case, purchase) and (
            found := await self.ledger.elsewhere(case.resource.tenant, case.key, purchase.purchase_id)
        ):
            return {"same": same_request.chosen(case, found)}
        return {} if purchase.abandoned else await self._observe_purchase(case, purchase)

    async def _observe_lora_image(self, case: DecisionInput, purchase: Purchase | None) -> dict[str, Any]:
        """Fields of an image whose purchase depends on the trainings of its LoRAs."""
        resource, run = case.resource, case.run
        loras = await self._observe_loras(case)
        variants = await self.verifier.variants(resource, run)
        wanted = lora_identity.wanted_purchase(run, loras, variants, case.now, resource.tenant.cluster)
        fields: dict[str, Any] = {"loras": loras, "wanted": wanted}
        if wanted.scope is not None and wanted.scope != resource.scope:
            case = case.model_copy(update={"resource": resource.model_copy(update={"scope": wanted.scope})})
            fields["purchase"] = purchase = await self.ledger.get(case.key)
        if wanted.identity == run.lora_identity and (same := await self._same_request(case, purchase, loras)):
            return fields | {"same": same}
        namespace = await self._labels.recent(resource.ref.namespace, resource.tenant, case.now)
        fields |= await self._observe_gate(case, purchase, namespace)
        if purchase is None or purchase.unpaid or wanted.identity != run.lora_identity:
            return fields
        return fields | ({"purchase": None} if wanted.waits else await self._observe_sent(case, purchase))

    async def _is_superseded(self, case: DecisionInput, purchase: Purchase) -> bool:
        """True if the purchase is of a deleted resource, and the files of the next attempt are stored."""
        located = purchase.state in (PurchaseState.SUBMITTED, PurchaseState.SUCCEEDED)
        if not located or purchase.job_id == case.resource.ref.uid:
            return False
        following = await self.ledger.get(case.key.model_copy(update={"attempt": case.key.attempt + 1}))
        if following is None or following.state is not PurchaseState.COLLECTED:
            return False
        return bool((await self._find_outputs(following, case.spec)).get("outputs_stored"))

    async def _observe_settled(self, case: DecisionInput) -> Observation:
        uid = case.resource.ref.uid
        if uid not in self._settled:
            return Observation()
        return await self._observe_purchases(case)

    async def _observe_purchases(self, case: DecisionInput) -> Observation:
        """Observation of all purchases of an ended run's resource."""
        uid = case.resource.ref.uid
        purchase = await self.ledger.get(case.key)
        earlier, other_runs = await self.ledger.others(case.key, uid)
        self._settled.discard(uid)
        return Observation(purchase=purchase, earlier=earlier, other_runs=other_runs)

    async def _observe_ended(self, case: DecisionInput) -> Observation:
        """Observation of requests that were open when the run ended."""
        purchase = await self.ledger.get(case.key)
        earlier, other_runs = await self.ledger.others(case.key, case.resource.ref.uid)
        opened = await self._open_requests(case, purchase)
        if purchase is not None:
            opened += (await self._polled_if_due(case, OpenRequest(key=case.key, purchase=purchase), None),)
        return Observation(purchase=purchase, earlier=earlier, other_runs=other_runs, open_requests=opened)

    async def _open_requests(self, case: DecisionInput, purchase: Purchase | None) -> tuple[OpenRequest, ...]:
        """Attempts before the run's current one, with the provider's answer for those that are due."""
        kept = await self.ledger.attempts(case.key)
        opened = list[OpenRequest]()
        for index, (at, each) in enumerate(kept):
            following = kept[index + 1][1] if index + 1 < len(kept) else purchase
            opened.append(await self._polled_if_due(case, OpenRequest(key=at, purchase=each), following))
        return tuple(opened)

    async def _polled_if_due(self, case: DecisionInput, each: OpenRequest, following: Purchase | None) -> OpenRequest:
        """The attempt, polled or searched if it is the resource's, open and due."""
        purchase, now = each.purchase, case.now
        if purchase.job_id != case.resource.ref.uid or not history_searches.is_open(purchase, now):
            return each
        at = self._polled_at.get((purchase.purchase_id, purchase.state))
        if at is not None and timedelta(0) <= now - at < timedelta(
            seconds=history_searches.recheck_seconds(purchase, now)
        ):
            return each
        self._polled_at[purchase.purchase_id, purchase.state] = now
        if purchase.state is PurchaseState.SUBMITTED:
            view = (await self._poll(purchase, now)).get("request")
            return each.model_copy(update={"view": view})
        before = following.sent_at if following is not None else None
        found = (await self._search(each.key, case.spec, purchase, before)).get("found_request")
        return each.model_copy(update={"found_request": found})

    async def _observe_unpaid(self, case: DecisionInput, purchase: Purchase | None) -> dict[str, Any]:
        loras = await self._observe_loras(case)
        if same := await self._same_request(case, purchase, loras):
            return {"loras": loras, "same": same}
        if not case.kind.prepares or case.run.facts is not None:
            read = self._labels.recent if purchase is None else self._labels.current  # it may be withdrawn at once
            namespace = await read(case.resource.ref.namespace, case.resource.tenant, case.now)
            return {"loras": loras} | await self._observe_gate(case, purchase, namespace)
        fields = await self._observe_stage(case, Stage.PREPARE)
        namespace = await self._labels.last(case.resource.ref.namespace, case.resource.tenant, case.now)
        account = granted(namespace, self.providers.names)
        return fields | {
            "facts": (account,),
            "seconds_per_unit": await self.ledger.seconds_per_unit(model_of(case.spec)),
            "price": await self._price(case, account),
            "same_lora_name": await self._older_same_name(case.resource),
        }

    async def _same_request(
        self, case: DecisionInput, purchase: Purchase | None, loras: tuple[LoraView, ...]
    ) -> SamePurchase | None:
        """Purchase of the same provider request where the run's own key has none: by the key of a run that has used it,
        else by content once the inputs are known.
        """
        if not same_request.is_searched(case, purchase) or await self._is_lost(case.run.purchase_id, purchase):
            return None
        if case.kind.prepares and (found := await self.ledger.pointed(case.key)):
            return same_request.chosen(case, found)
        if case.kind.prepares and case.run.facts is None:
            return None
        asked = content_of(case.spec, call_of(case, loras), case.run.facts or {}, loras).asked
        if not asked:
            return None
        return same_request.chosen(case, await self.ledger.same_requests(case.resource.tenant, case.key, asked))

    async def _is_lost(self, named: str | None, purchase: Purchase | None) -> bool:
        """True if the ledger lacks the purchase that a run names, which is not its own: see `Actor._lost_equal`."""
        if named is None or (purchase is not None and purchase.purchase_id == named):
            return False
        return bool(await self.ledger.lost(frozenset({named}), frozenset()))

    async def _observe_purchase(self, case: DecisionInput, purchase: Purchase) -> dict[str, Any]:
        match purchase.state:
            case PurchaseState.INTENT:
                return await self._find_lost_request(case.resource, case.key, case.spec, purchase)
            case PurchaseState.SUBMITTED:
                return await self._poll(purchase, case.now)
            case PurchaseState.SUCCEEDED if case.run.job is None:  # before each attempt to collect it
                return await self._find_response(purchase, case.now)
            case PurchaseState.SUCCEEDED:
                return await self._observe_stage(case, Stage.COLLECT)
            case PurchaseState.COLLECTED:
                return await self._find_collected(purchase, case.spec, case.now)
            case _:
                return {}

    async def _find_outputs(self, purchase: Purchase, spec: Spec) -> dict[str, Any]:
        """`outputs_stored`: the files that the ledger lists are in the bucket. If one is missing there that was in the
        answer, or that the spec asks for: `response_kept`.
        """
        outputs = VersionStatus.model_validate(purchase.outputs or {"version": 0})
        listed = [file.key for file in outputs.files]
        stored = await self.storage.stored(Owner(keys=frozenset(listed)), "", listed)
        there = is_stored(outputs, stored)
        missing = outputs.facts.get("missing") or kinds.row_of(spec).missing_formats(
            spec, (key.rpartition("/")[2] for key in listed), outputs.facts
        )
        if there and not missing:
            return {"outputs_stored": True}
        return {"outputs_stored": there, "response_kept": await self._response_kept(purchase)}

    async def _find_collected(self, purchase: Purchase, spec: Spec, now: datetime) -> dict[str, Any]:
        """Fields of a collected purchase: its files, else its response, else the provider's answer."""
        found = await self._find_outputs(purchase, spec)
        return found if found.get("outputs_stored") or found["response_kept"] else await self._read_again(purchase, now)

    async def _find_response(self, purchase: Purchase, now: datetime) -> dict[str, Any]:
        """`response_kept`, else the provider's answer."""
        kept = await self._response_kept(purchase)
        return {"response_kept": True} if kept else {"response_missing": True} | await self._read_again(purchase, now)

    async def _read_again(self, purchase: Purchase, now: datetime) -> dict[str, Any]:
        """The provider's answer about a finished request whose response is not in the bucket; nothing is asked about
        one whose result was, or is to be, deleted.
        """
        if purchase.request_id is None or purchase.discard_asked or purchase.expired_at is not None:
            return {}
        return await self._poll(purchase, now)

    async def _find_result(self, case: DecisionInput, purchase: Purchase | None) -> dict[str, Any]:
        """Fields that say whether a failed run's result can be collected."""
        if purchase is None:
            return {}
        match purchase.state:
            case PurchaseState.SUBMITTED:
                return await self._poll(purchase, case.now)
            case PurchaseState.SUCCEEDED:
                return await self._find_response(purchase, case.now)
            case PurchaseState.COLLECTED:
                return await self._find_collected(purchase, case.spec, case.now)
            case _:
                return {}

    async def _response_kept(self, purchase: Purchase) -> bool:
        key = purchase.result_key
        return key is not None and await self.storage.exists(Owner(keys=frozenset({key})), key)

    async def verified(self, resource: Resource) -> Resource:
        """The resource with the part of its status that MongoDB confirms. Raises PyMongoError."""
        return await self.verifier.verified(resource)

    async def observe_deleted(self, resource: Resource, now: datetime) -> Observation:
        """Observation for the decision about a resource that is being deleted."""
        run = resource.status.run
        if run is None or not resource.finalized:
            return Observation()
        key = purchase_key(resource, run)
        purchase = await self.ledger.get(key)
        if purchase is None or not is_searched_at_deletion(resource, purchase):
            return Observation(purchase=purchase)
        try:
            spec = frozen_spec(resource, run)
        except ValidationError:
            return Observation(purchase=purchase, provider_problem="the spec of its run cannot be read")
        if (purchase.purchase_id, _AT_DELETION) in self._polled_at:  # once, although files are deleted in slices
            return Observation(purchase=purchase)
        fields = await self._find_lost_request(resource, key, spec, purchase)
        if not fields.get("provider_problem") and fields.get("found_request") is None:
            self._polled_at[purchase.purchase_id, _AT_DELETION] = now
        return Observation(purchase=purchase, **fields)

    async def _observe_stage(self, case: DecisionInput, stage: Stage) -> dict[str, Any]:
        resource, run, now = case.resource, case.run, case.now
        if run.job is None or run.job.stage is not stage:
            return await self._earlier_part(case, stage)  # not started; a Job left by a crash is found by its name
        attempt = run.stage_attempt
        recorded = await self.jobs.newest(resource.ref.uid, run.job.uid)
        if recorded is not None and (recorded.run, recorded.stage, recorded.attempt) != (run.number, stage, attempt):
            recorded = None
        job = await self._job(recorded) if recorded is not None else None
        lost = await self._observe_termination(resource.ref.namespace, job, now)
        if job is not None and not job.finished and not lost.get("node_gone") and not self.reports.finished(job.uid):
            trouble = await self._pod_problem(resource.ref.namespace, job, now)
            outdated = (
                trouble is not None and not trouble.queued and await self._is_outdated(case, stage, recorded, job)
            )
            progress = self.reports.progress(job.uid)
            return {"job": job, "progress": progress, "trouble": trouble, "outdated_job": outdated} | lost
        # Not the uid in the status: it may be another tenant's Job. Without a record no Job may upload; then the
        # resource's uid is the lock's name, so that no other resource uses it.
        uid = recorded.uid if recorded is not None else resource.ref.uid
        if job is None or job.finished or lost.get("node_gone"):
            self.reports.forget(uid)
        # The worker API replaces no file between the reads of the outcome and of the files that it lists.
        async with self.reports.exclusive(uid):
            left = await self._read_outcome(case, stage, job)
        return left | lost | {"unrecorded_job": recorded is None}

    async def _read_outcome(self, case: DecisionInput, stage: Stage, job: JobView | None) -> dict[str, Any]:
        """Fields of an attempt's outcome and of the files that it lists."""
        resource, run, spec = case.resource, case.run, case.spec
        key = keys.outcome(resource.ref.uid, run.number, stage, run.stage_attempt)
        try:
            outcome = await self.storage.outcome(own_files(resource, asset_user(resource, spec)), key)
        except InvalidOutcome as error:
            return {"job": job, "outcome_problem": str(error)}
        taken = outcome is not None and (outcome.succeeded or stage is Stage.COLLECT)
        files = outcome.files if outcome is not None and taken else ()
        if problem := files_problem(resource.ref.kind, stage, files, file_limits(spec, stage, self.limits)):
            return {"job": job, "outcome": outcome, "outcome_problem": problem}
        killed = job is not None and job.finished and outcome is None  # before it stored an outcome
        fields = await self._observe_end(resource.ref.namespace, job) if job is not None and killed else {}
        stored = await self._stored(case, stage, [file.name for file in files])
        part = {} if files else await self._earlier_part(case, stage)
        progress = self.reports.progress(job.uid) if job else None
        return {"job": job, "outcome": outcome, "stored": stored, "progress": progress} | fields | part

    async def _observe_end(self, namespace: str, job: JobView) -> dict[str, Any]:
        """Fields of a Job that ended without an outcome: the log and the cause of its last pod."""
        ended = await self._pods(namespace, job)
        return {
            "log": await self.kube.job_log(namespace, job.name, job.uid, MAX_LOG),
            "cause": pods.end_cause(ended),
            "node_gone": pods.node_is_gone(ended),
            "timed_out": pods.timed_out(ended),
            "never_ran": bool(ended) and not pods.ever_ran(ended),
        }

    async def _earlier_part(self, case: DecisionInput, stage: Stage) -> dict[str, Any]:
        """Fields of the outcome of an earlier collect attempt that stored a part of the outputs, and of its files."""
        resource, run = case.resource, case.run
        attempt = run.collect.partial if run.collect and stage is Stage.COLLECT else None
        if attempt is None:
            return {}
        key = keys.outcome(resource.ref.uid, run.number, stage, attempt)
        try:
            part = await self.storage.outcome(own_files(resource, asset_user(resource, case.spec)), key)
        except InvalidOutcome:
            return {}
        files = part.files if part else ()
        if not files or files_problem(resource.ref.kind, stage, files, file_limits(case.spec, stage, self.limits)):
            return {}
        return {"part": part, "stored": await self._stored(case, stage, [file.name for file in files])}

    async def _observe_termination(self, namespace: str, job: JobView | None, now: datetime) -> dict[str, Any]:
        """Fields of a Job whose pod was deleted, or is past its deadline, and has not ended: its node is lost."""
        if job is None or job.finished:
            return {}
        if not job.terminating:
            return await self._observe_overdue(namespace, job, now)
        mine = await self._pods(namespace, job)
        seconds = pods.lost_in(mine, now)
        if seconds is None or seconds > 0:
            return {"lost_in": seconds}
        return {"node_gone": True, "cause": pods.lost_cause(mine)}

    async def _observe_overdue(self, namespace: str, job: JobView, now: datetime) -> dict[str, Any]:
        """Fields of a Job whose pod should have ended by its deadline. Pods of younger Jobs are not read."""
        if job.deadline_seconds is None or (now - job.started_at).total_seconds() <= job.deadline_seconds:
            return {}
        mine = await self._pods(namespace, job)
        return {"node_gone": True, "cause": pods.lost_cause(mine)} if pods.overdue(mine, now) else {}

    async def _pod_problem(self, namespace: str, job: JobView, now: datetime) -> PodTrouble | None:
        """Cause for which the Job has no running pod; None: it runs, or may still be starting.

        Reads pods only of Jobs whose worker should have started.
        """
        seconds = (now - job.started_at).total_seconds()
        if job.suspended:
            return PodTrouble(refused=False, queued=True, words=f"Job {job.name} is suspended: a queue holds it")
        if job.ready or self.reports.progress(job.uid) is not None or seconds < _STARTING_SECONDS:
            return None
        mine = await self._pods(namespace, job)
        if mine:
            words = pods.waiting_cause(mine[-1], seconds)
            return PodTrouble(refused=False, words=words) if words else None
        words = await self._refused_pod(namespace, job)
        if words:
            return PodTrouble(refused=True, words=words)
        if seconds < pods.SCHEDULING_SECONDS:
            return None
        return PodTrouble(refused=False, words="the Job has no pod, and no event says why")

    async def _is_outdated(self, case: DecisionInput, stage: Stage, recorded: RecordedJob | None, job: JobView) -> bool:
        """True if the Job would be made of another pod template now and no worker of it was ever started.

        Reads the Job and its pods again: a queue that holds it, or a pod that has just started, keeps it.
        """
        ref, run = case.resource.ref, case.run
        template, labels = self.template(), case.resource.queue_labels
        manifest = job_manifest(ref, run.number, stage, run.stage_attempt, template, queue_labels=labels)
        if recorded is None or recorded.template_hash == template_hash(manifest):
            return False
        body = await self.kube.get_job(ref.namespace, job.name)
        now = JobView.parse(body) if body is not None else job
        if now.uid != job.uid or now.finished or now.suspended or now.ready or now.terminating:
            return False
        return not pods.ever_ran(await self._pods(ref.namespace, job))

    async def _pods(self, namespace: str, job: JobView) -> list[dict[str, Any]]:
        return pods.of_the_job(await self.kube.job_pods(namespace, job.name), job.uid)

    async def _refused_pod(self, namespace: str, job: JobView) -> str:
        try:
            return pods.refused_pod(await self.kube.job_events(namespace, job.uid))
        except ApiException as error:  # the Role of an older chart lacks the permission; the run goes on
            _log.info("the events of Job %s cannot be read: %s", job.name, explain(error))
            return ""

    async def _job(self, recorded: RecordedJob) -> JobView | None:
        ref = recorded.owner
        known = self.cache.job(ref.namespace, recorded.name)
        if known is not None and known.uid == recorded.uid:
            return known
        body = await self.kube.get_job(ref.namespace, recorded.name)
        if body is None or body["metadata"]["uid"] != recorded.uid:
            return None
        job = JobView.parse(body)
        self.cache.note_job(ref, job)
        return job

    async def _stored(self, case: DecisionInput, stage: Stage, names: list[str]) -> dict[str, BucketFile]:
        if not names:
            return {}
        ref, user = case.resource.ref, asset_user(case.resource, case.spec)
        prefix = keys.prefix(ref.kind, stage, user, ref.uid, case.run.version)
        return await self.storage.stored(own_files(case.resource, user), prefix, names, ref.namespace)

    async def _observe_gate(
        self, case: DecisionInput, purchase: Purchase | None, namespace: NamespaceLabels
    ) -> dict[str, Any]:
        account = granted(namespace, self.providers.names)
        provider = self.providers.provider(case.provider, account.name)
        await self.storage.require_bucket()  # without it a paid result could not be stored
        price = await self._price(case, account)
        name = await self._older_same_name(case.resource)
        account = account.model_copy(update={"has_key": provider.configured})
        facts = (account, *await self._facts(case, purchase, namespace))
        return {"namespace_labels": namespace, "price": price, "same_lora_name": name, "facts": facts}

    async def _observe_loras(self, case: DecisionInput) -> tuple[LoraView, ...]:
        """Trained LoRAs of an image, in the spec's order."""
        if not isinstance(case.spec, ImageGenerationSpec):
            return ()
        tenant, namespace = case.resource.tenant, case.resource.ref.namespace
        names = [lora.lora_ref.name for lora in case.spec.loras if lora.lora_ref]
        return tuple([await self._observe_lora(tenant, namespace, name) for name in names])

    async def _facts(
        self, case: DecisionInput, purchase: Purchase | None, namespace: NamespaceLabels
    ) -> tuple[FeatureFacts, ...]:
        """Facts of features about a payment now, or at the time of the POST of a purchase that the ledger has lost."""
        seen = case.model_copy(update={"observed": Observation(purchase=purchase)})
        at = (case.run.sent_at if was_rewound(seen) else None) or case.now
        return tuple([await observe(case, namespace, at) for feature in self.features if (observe := feature.observe)])

    async def _older_same_name(self, resource: Resource) -> str | None:
        """Name of an older LoraTraining with the same loraName; None: there is none. The index is incomplete after a
        restart, so the end of a wait is confirmed by a list.
        """
        if resource.ref.kind is not Kind.LORA_TRAINING:
            return None
        other = self.names.older(resource)
        if other is None and resource.status.reason == Reason.WAITING_FOR_LORA_NAME:
            async for body in self.kube.every(Kind.LORA_TRAINING, resource.ref.namespace):
                self.names.note(body)
            other = self.names.older(resource)
        return other

    async def _price(self, case: DecisionInput, account: AccountGrant) -> PriceLookup:
        source = self.prices.get(case.provider)
        if source is None or account.problem:
            return PriceLookup()
        return await source.price(model_of(case.spec), account.name)

    async def _observe_lora(self, tenant: Tenant, namespace: str, name: str) -> LoraView:
        body = await self.kube.get_resource(Kind.LORA_TRAINING, namespace, name)
        if body is None:
            return await self._observe_expired_lora(tenant, namespace, name)
        try:
            status = ResourceStatus.model_validate(body.get("status") or {})
        except ValidationError:  # somebody else wrote its status: not ready
            return LoraView(name=name)
        trainings = await self.verifier.trainings(tenant, namespace, name)
        key = _model_key(status.versions, lora_identity.files_of(trainings))
        message = (status.message or "")[:200]
        phase = status.phase or Phase.PENDING
        now = state_of_resource(body)
        return LoraView(
            name=name,
            phase=phase,
            model_key=key,
            message=message,
            state=now.badge.lower() + (f", {now.progress} %" if now.progress is not None and not now.ended else ""),
            estimated=now.state is State.ESTIMATED,
            trainings=trainings,
        )

    async def _observe_expired_lora(self, tenant: Tenant, namespace: str, name: str) -> LoraView:
        """A LoraTraining that is gone: usable if its spec.ttlSecondsAfterFinished was over, missing if a person
        deleted it.
        """
        trainings = await self.verifier.trainings(tenant, namespace, name)
        document = await self.verifier.expired(
            Kind.LORA_TRAINING, namespace, name, (training.job_id for training in trainings)
        )
        if document is None:
            return LoraView(name=name)
        key = _model_key(document.versions, lora_identity.files_of(trainings))
        return LoraView(name=name, phase=Phase.COMPLETED, model_key=key, trainings=trainings)

    async def _find_lost_request(
        self, resource: Resource, key: PurchaseKey, spec: Spec, purchase: Purchase
    ) -> dict[str, Any]:
        """Fields of a lost request: the one of the adopt annotation if it is valid, else the result of a search."""
        sent = history_searches.sent_at(purchase)
        named = await self._verify_named(resource, key, spec, purchase, sent + _AFTER_SENT)
        if named is not None and named.same:
            return {"named": named, "found_request": resource.adopt}
        return await self._search(key, spec, purchase) | {"named": named}

    async def _verify_for_missing_purchase(self, case: DecisionInput) -> Verified | None:
        """Verdict on the adopt annotation for a purchase that the ledger has lost; the status has the POST's time."""
        resource, run, spec = case.resource, case.run, case.spec
        before = run.sent_at + _AFTER_SENT if run.sent_at is not None else case.now
        lost = purchase_from_status(resource, run, spec, case.provider)
        return await self._verify_named(resource, case.key, spec, lost, before)

    async def _verify_named(
        self, resource: Resource, key: PurchaseKey, spec: Spec, purchase: Purchase, before: datetime
    ) -> Verified | None:
        """Verdict on the request of the adopt annotation, which may have any content; None: there is no annotation.

        The time of the POST is from this process's clock, which may be wrong: a named request may differ by a day.
        """
        given = resource.adopt
        if given is None:
            return None
        if not is_request_id(given):
            return Verified(same=False, text="it is not a request id")
        if await self.ledger.is_anothers(purchase, given):
            return Verified(same=False, text="it belongs to another purchase")
        search = Search(
            call=kinds.sent_call(spec, key, purchase),
            sent_after=history_searches.sent_at(purchase) - _CLOCK_ERROR,
            sent_before=before + _CLOCK_ERROR,
            taken=await self.ledger.request_ids(purchase),
        )
        if given in search.taken:
            return Verified(same=False, text="it belongs to another purchase")
        try:
            return await self._provider_of(purchase).verify(search, given)
        except Unavailable as error:
            return Verified(same=None, text=str(error))

    async def _search(
        self, key: PurchaseKey, spec: Spec, purchase: Purchase, before: datetime | None = None
    ) -> dict[str, Any]:
        """Fields of a search for the request of a lost reply, sent before the next attempt's (`before`)."""
        call = kinds.sent_call(spec, key, purchase)
        try:
            found = await find_lost(self.ledger, self._provider_of(purchase), purchase, call, before)
        except Unavailable as error:
            return _read_problem(error)
        return {"found_request": found.request_id, "history_complete": found.complete}

    def _provider_of(self, purchase: Purchase) -> Provider:
        """Client of the account that the request was sent with, whatever its namespace is granted now."""
        return self.providers.provider(purchase.provider, purchase.account)

    async def _poll(self, purchase: Purchase, now: datetime) -> dict[str, Any]:
        rate = await self.ledger.seconds_per_unit(purchase.model)
        try:
            view = await poll_or_stored(self.storage, self.ledger, self._provider_of(purchase), purchase, now)
        except Unavailable as error:
            return _read_problem(error) | {"seconds_per_unit": rate}
        return {"request": view, "seconds_per_unit": rate}


async def find_lost(
    ledger: Ledger, provider: Provider, purchase: Purchase, call: Call, before: datetime | None = None
) -> Found:
    """Result of one search for the request of a lost reply, sent before the next attempt's (`before`). A request that
    is bound to another purchase is not found. Raises Unavailable.
    """
    sent = history_searches.sent_at(purchase)
    search = Search(
        call=call,
        sent_after=sent,  # the nearest one is taken
        sent_before=min(sent + _AFTER_SENT, before or sent + _AFTER_SENT),
        taken=await ledger.request_ids(purchase),
    )
    found = await provider.find(search)
    if found.request_id is not None and await ledger.is_anothers(purchase, found.request_id):
        return Found(request_id=None, complete=False)
    return found


def _read_problem(error: Unavailable) -> dict[str, Any]:
    return {"provider_problem": str(error), "access_refused": isinstance(error, AccessRefused)}


def _model_key(listed: tuple[VersionStatus, ...], collected: frozenset[str]) -> str | None:
    """Key of the LoRA file of the newest version that the ledger lists, also while a later run works or has failed."""
    versions = sorted(listed, key=lambda version: version.version, reverse=True)
    models = (
        file.key for each_version in versions for file in each_version.files if file.key.endswith("/model.safetensors")
    )
    return next((key for key in models if key in collected), None)
