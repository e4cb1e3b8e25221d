"""In-memory world of the operator: small working implementations of all its dependencies.

Kubernetes has optimistic locking, finalizers and garbage collection. The provider records every POST. Ledger and
records are the operator's own, on mongomock. Each write is a crash point (`Writes`): a crash is an exception that the
operator never catches, and the process's memory is lost.
"""

# ruff: noqa: ARG002 - the fakes have the signatures of the real methods
import asyncio
import hashlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ParamSpec, TypeVar

import mongomock
import pytest
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import KIND_LABEL, STAGE_LABEL, Kind, Phase, Stage
from contentgen_contract.records import keys
from contentgen_contract.records.ownership import Owner, require_owned
from contentgen_contract.records.tenancy import Tenant
from contentgen_contract.resources.operator_class import DEFAULT_CLASS
from contentgen_contract.resources.status import ResourceStatus
from contentgen_contract.worker.orders import Limits, Outcome
from contentgen_operator import act, reconcile, sending
from contentgen_operator.act import Actor
from contentgen_operator.background.finished import FinishedCheck
from contentgen_operator.budgets.cluster import Budgets
from contentgen_operator.budgets.feature import bound
from contentgen_operator.budgets.keeper import BudgetKeeper
from contentgen_operator.budgets.store import BudgetStore
from contentgen_operator.budgets.values import WindowRef
from contentgen_operator.buying.stops import Buying
from contentgen_operator.buying.values import BacklogLimit
from contentgen_operator.cleanup.expiry_times import Expiries
from contentgen_operator.cleanup.garbage_collector import GarbageCollector
from contentgen_operator.kube.cache import Cache
from contentgen_operator.kube.job_manifests import JobTemplate
from contentgen_operator.kube.selection import DEFAULT
from contentgen_operator.leader.leadership import Check, Leadership, unchecked
from contentgen_operator.notifications.outbox import NotificationOutbox
from contentgen_operator.notifications.values import Notification
from contentgen_operator.observe import Observer
from contentgen_operator.orphans.effects import Retention
from contentgen_operator.orphans.rounds import Orphans
from contentgen_operator.providers.accounts import ProviderAccounts
from contentgen_operator.providers.answers import AnswerFile
from contentgen_operator.providers.base import MaybeAccepted, Unavailable
from contentgen_operator.providers.pricing import NoPrices, PriceSource
from contentgen_operator.providers.sending import BeforeSend
from contentgen_operator.queue.fair_turns import PlaceLimits
from contentgen_operator.queue.open_places import takes_place
from contentgen_operator.queue.payment_queue import PaymentQueue
from contentgen_operator.queue.preparation_queue import PreparationLimits, PreparationQueue
from contentgen_operator.reconcile import Reconciler
from contentgen_operator.state.decision_input import DecisionSettings
from contentgen_operator.state.observed import BucketFile, JobView, ResourceRef, is_finished
from contentgen_operator.state.plan import StoredAnswer
from contentgen_operator.state.provider_requests import (
    UNKNOWN,
    Call,
    Found,
    RequestState,
    RequestView,
    Search,
    Verified,
    same_input,
)
from contentgen_operator.state.purchases import Purchase
from contentgen_operator.state.run_document import RunDocument
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.records import RecordStore
from contentgen_operator.stores.run_documents import RunDocuments
from contentgen_operator.stores.s3 import DeletedPage
from contentgen_operator.stores.status_verification import StatusVerifier
from contentgen_operator.stores.worker_jobs import RecordedJob, WorkerJobs
from contentgen_operator.watch.event_handlers import owner_of
from contentgen_operator.watch.lora_names import LoraNames
from contentgen_operator.worker_api.reports import Reports
from contentgen_runtime.kube import Conflict
from contentgen_runtime.tenancy import SYSTEM, Tenancy
from contentgen_simulation.api_server import CREATED as APPLIED
from contentgen_simulation.api_server import ApiServer, ObjectStore, copied, rejection

_MARGIN = timedelta(minutes=2)  # tolerated clock difference, as in the providers' adapters
CREATED = "2026-01-01T00:00:00Z"
UID = "0c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a01"
SPECS: dict[Kind, dict[str, Any]] = {
    Kind.LORA_TRAINING: {
        "loraName": "jesse",
        "triggerWord": "jf",
        "source": {"url": "https://example.com/talk.mp4"},
    },
    Kind.IMAGE_GENERATION: {"prompt": "a cat", "image": {"count": 2}},
    Kind.TRANSCRIPTION: {"source": {"url": "https://example.com/talk.mp3"}},
}
SHA = "0" * 64
P = ParamSpec("P")
T = TypeVar("T")
TEMPLATE = JobTemplate(
    image="worker",
    image_pull_policy="Never",
    service_account="worker",
    resources={},
    deadline_seconds=600,
    worker_api_url="https://worker-api",
    worker_api_ca="",
)


def resubmit_token(status: ResourceStatus) -> str:
    """Token of a status whose purchase waits for another payment."""
    assert status.run is not None
    assert status.run.resubmit_token, status
    return status.run.resubmit_token


class InlineThreads(ThreadPoolExecutor):
    """Executor that runs calls immediately in the caller's thread: in-memory stores never block."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done = Future[Any]()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - also a crash belongs to the caller of the future
            done.set_exception(error)
        return done


INLINE = InlineThreads()


def blocking(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """The function that a store's method runs in a thread (`in_thread`), for calls in this thread."""
    bound: Any = method
    return partial(bound.__wrapped__, bound.__self__)


class Crash(BaseException):
    """Simulated crash of the process."""


class Writes:
    """Write counter that crashes the process before (2n) or after (2n + 1) a write."""

    def __init__(self, points: tuple[int, ...] = (), error: Callable[[], BaseException] = Crash) -> None:
        self.done: list[str] = []
        self.fired: list[str] = []
        self._points = points
        self._error = error

    async def __call__(self, name: str, write: Callable[[], Awaitable[Any]]) -> Any:
        point = 2 * len(self.done)
        self.done.append(name)
        self._maybe(point, f"before {name}")
        result = await write()
        self._maybe(point + 1, f"after {name}")
        return result

    def _maybe(self, point: int, what: str) -> None:
        if point in self._points:
            self.fired.append(what)
            raise self._error()


class FakeKube:
    """Kubernetes as the operator's client shows it, over an `ApiServer`; each write is a crash point.

    `resources` are keyed by kind and name, `jobs` by name: all are in the namespace `ns`.
    """

    def __init__(self, writes: Writes, now: Callable[[], str] = lambda: APPLIED) -> None:
        self.server = ApiServer(namespaces={SYSTEM: ("a-cluster", CREATED), "ns": ("a-namespace", CREATED)}, now=now)
        self.store = ObjectStore[tuple[Kind, str]](self.server, self._resource_deleted)
        self._jobs = ObjectStore[str](self.server)
        self.events: list[tuple[str, str]] = []
        self.refuses_jobs: tuple[int, str] | None = None  # code and message with which Jobs are not admitted
        self.most_jobs: int | None = None  # that a ResourceQuota of the namespace admits
        self.full: list[dict[str, Any]] = []  # ResourceQuotas
        self.budgets: list[dict[str, Any]] = []  # ContentBudgets
        self.pods: list[dict[str, Any]] = []
        self.pod_refusals: list[dict[str, Any]] = []  # events of the Job controller
        self.statuses: list[ResourceStatus] = []
        self._writes = writes

    @property
    def resources(self) -> dict[tuple[Kind, str], dict[str, Any]]:
        return self.store.objects

    @resources.setter
    def resources(self, objects: dict[tuple[Kind, str], dict[str, Any]]) -> None:
        self.store.objects = objects

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        return self._jobs.objects

    @jobs.setter
    def jobs(self, objects: dict[str, dict[str, Any]]) -> None:
        self._jobs.objects = objects

    @property
    def namespaces(self) -> dict[str, tuple[str, str]]:
        return self.server.namespaces

    @namespaces.setter
    def namespaces(self, namespaces: dict[str, tuple[str, str]]) -> None:
        self.server.namespaces = namespaces

    def _resource_deleted(self, _key: tuple[Kind, str], body: dict[str, Any]) -> None:
        self._jobs.delete_owned(body["metadata"]["uid"])

    def apply(self, kind: Kind, spec: dict[str, Any], uid: str = UID, name: str = "it", **annotations: str) -> None:
        metadata = {"name": name, "namespace": "ns", "uid": uid, "annotations": annotations}
        self.store.apply((kind, name), metadata, spec)

    async def get_namespace(self, name: str) -> dict[str, Any] | None:
        return self.server.namespace(name)

    async def content_budgets(self) -> list[dict[str, Any]]:
        return copied(self.budgets)

    async def put_budget_status(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        kept = next(budget for budget in self.budgets if budget["metadata"]["name"] == name)
        kept["status"] = copied(body["status"])
        return copied(kept)

    async def every(self, kind: Kind, namespace: str = "", asked: Any = None) -> AsyncIterator[dict[str, Any]]:
        for (kept, _), body in list(self.resources.items()):
            if kept is kind and namespace in ("", body["metadata"]["namespace"]):
                yield copied(body)

    async def get_resource(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        return copied(self.resources.get((kind, name)))

    def delete(self, kind: Kind, now: datetime, name: str = "it") -> None:
        """Delete as a person does; an object with finalizers stays, marked."""
        self.store.delete((kind, name), at=now.isoformat())

    def _changed(self, kind: Kind, name: str, version: str) -> dict[str, Any]:
        try:
            return self.store.for_update((kind, name), version)
        except ApiException as error:
            raise Conflict("the object has been modified") from error

    async def put_status(self, kind: Kind, namespace: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        async def write() -> dict[str, Any]:
            kept = self._changed(kind, name, body["metadata"]["resourceVersion"])
            assert kept["metadata"]["uid"] == body["metadata"]["uid"]
            kept["status"] = copied(body["status"])
            self.statuses.append(ResourceStatus.model_validate(body["status"]))
            return copied(kept)

        return dict(await self._writes("status", write))

    async def put_finalizers(
        self, kind: Kind, namespace: str, name: str, version: str, finalizers: list[str]
    ) -> dict[str, Any]:
        async def write() -> dict[str, Any]:
            self._changed(kind, name, version)
            return self.store.finalize((kind, name), finalizers)

        return dict(await self._writes("finalizers", write))

    async def put_label(self, ref: ResourceRef, version: str, name: str, value: str | None) -> dict[str, Any]:
        async def write() -> dict[str, Any]:
            kept = self._changed(ref.kind, ref.name, version)
            labels = kept["metadata"].setdefault("labels", {})
            labels.pop(name, None)
            labels |= {} if value is None else {name: value}
            return copied(kept)

        return dict(await self._writes("label", write))

    async def delete_resource(self, ref: ResourceRef, version: str, *, dry_run: bool = False) -> None:
        async def write() -> None:
            key = (ref.kind, ref.name)
            try:
                self.store.delete(key, ref.uid, version=version)
            except ApiException as error:
                raise Conflict("changed or deleted in between") from error

        if not dry_run:
            await self._writes("deletion", write)

    async def delete_job(self, namespace: str, name: str, uid: str) -> None:
        if name in self.jobs and self.jobs[name]["metadata"]["uid"] == uid:
            self._jobs.delete(name)

    async def job_log(self, namespace: str, job: str, uid: str, characters: int) -> str:
        return f"the last words of {job}"

    async def get_job(self, namespace: str, name: str) -> dict[str, Any] | None:
        return copied(self.jobs.get(name))

    async def job_pods(self, namespace: str, job: str) -> list[dict[str, Any]]:
        return copied(self.pods)

    async def jobs_of_class(self, namespace: str, operator_class: str) -> list[dict[str, Any]]:
        return copied([job for job in self.jobs.values() if job["metadata"]["namespace"] == namespace])

    async def quotas(self, namespace: str) -> list[dict[str, Any]]:
        if self.most_jobs is None:
            return copied(self.full)
        counted = {"hard": {"count/jobs.batch": str(self.most_jobs)}, "used": {"count/jobs.batch": str(len(self.jobs))}}
        return [{"metadata": {"name": "jobs"}, "spec": {}, "status": counted}]

    async def job_events(self, namespace: str, uid: str) -> list[dict[str, Any]]:
        return copied(self.pod_refusals)

    async def check_job(self, namespace: str, manifest: dict[str, Any]) -> None:
        if self.refuses_jobs is not None:
            raise rejection(*self.refuses_jobs)
        if self.most_jobs is not None and len(self.jobs) >= self.most_jobs:
            raise rejection(403, "exceeded quota: jobs, requested: count/jobs.batch=1")

    async def create_job(self, namespace: str, manifest: dict[str, Any]) -> dict[str, Any] | None:
        await self.check_job(namespace, manifest)

        async def write() -> dict[str, Any] | None:
            name = manifest["metadata"]["name"]
            taken = name in self.jobs
            return None if taken else self._jobs.create(name, manifest, lambda version: f"uid-{version}-of-{name}")

        created: dict[str, Any] | None = await self._writes("job", write)
        return created

    async def post_event(self, ref: ResourceRef, notice: Any, now: datetime) -> None:
        async def write() -> None:
            self.events.append((notice.type, notice.reason))

        await self._writes("event", write)


class MemoryStorage:
    """In-memory bucket."""

    def __init__(self, writes: Writes) -> None:
        self.objects: dict[str, Any] = {}
        self._writes = writes

    @property
    def files(self) -> dict[str, Any]:
        """All objects except purchase markers."""
        return {key: value for key, value in self.objects.items() if not key.startswith("purchases/by-key/")}

    async def require_bucket(self) -> None:
        """The bucket always exists."""

    async def outcome(self, owner: Owner, key: str) -> Outcome | None:
        found = self.objects.get(require_owned(owner, key))
        return Outcome.model_validate_json(found) if found is not None else None

    async def stored(
        self, owner: Owner, prefix: str, names: Iterable[str], namespace: str = ""
    ) -> dict[str, BucketFile]:
        there = {name: self.objects.get(require_owned(owner, prefix + name)) for name in names}
        return {name: found for name, found in there.items() if isinstance(found, BucketFile)}

    async def exists(self, owner: Owner, key: str) -> bool:
        return require_owned(owner, key) in self.objects

    async def delete_prefix(
        self, owner: Owner, prefix: str, most: int = 1000, keep: frozenset[str] = frozenset()
    ) -> DeletedPage:
        checked = require_owned(owner, prefix)
        found = [each_key for each_key in self.objects if each_key.startswith(checked) and each_key not in keep]

        async def write() -> None:
            for key in found[:most]:
                self.objects.pop(key, None)

        await self._writes("delete", write)
        return DeletedPage(count=len(found[:most]), more=len(found) > most)

    async def put_answer(self, store: StoredAnswer) -> None:
        async def write() -> None:
            store.answer.cut_signatures(store.needed)
            self.objects.setdefault(require_owned(store.owner, store.key), json.loads(store.answer.file().read()))

        await self._writes("document", write)

    async def put_marker(self, buying_key: str, purchase_id: str, namespace_uid: str | None = None) -> str:
        async def write() -> str:
            body = {"purchaseId": purchase_id, "namespaceUid": namespace_uid}
            marker = self.objects.setdefault(keys.purchase_marker(buying_key), body)
            return str(marker["purchaseId"])

        return str(await self._writes("marker", write))

    async def marker(self, buying_key: str, namespace_uid: str | None = None) -> str | None:
        found = self.objects.get(keys.purchase_marker(buying_key))
        if not found or (namespace_uid is not None and found["namespaceUid"] != namespace_uid):
            return None
        return str(found["purchaseId"])

    async def put_mark(self, key: str) -> None:
        async def write() -> None:
            self.objects.setdefault(key, b"{}")

        await self._writes("content", write)

    async def put_evidence(self, key: str, body: bytes) -> bool:
        async def write() -> bool:
            return self.objects.setdefault(key, body) is body

        return bool(await self._writes("evidence", write))

    async def evidence(self, key: str) -> bytes | None:
        found: bytes | None = self.objects.get(key)
        return found

    async def evidence_keys(self, prefix: str, after: str) -> list[str]:
        return sorted(
            stored_object
            for stored_object in self.objects
            if stored_object.startswith(prefix) and stored_object > after
        )

    async def require_session(self) -> None:
        """An access key, which does not end."""

    def provider_get(self, owner: Owner, key: str) -> str:
        return f"http://s3.example/bucket/{require_owned(owner, key)}?X-Amz-Signature=secret"

    def plain_url(self, key: str) -> str:
        return f"http://s3.example/bucket/{key}"


class FakeProvider:
    """Provider account that records every POST and lists it in its history, with a delay after a lost response.

    `account` is a part of its request ids: another account does not know them.
    """

    def __init__(self, writes: Writes, clock: Callable[[], datetime], account: str = "") -> None:
        self.configured = True
        self.key_id = f"key of {account}"
        self.asked: list[str] = []  # request ids that were polled, cancelled or verified
        self.searches = 0
        self._prefix = f"{account}-request-" if account else "request-"
        self.posts: list[Call] = []
        self.sent_at: list[datetime] = []
        self.connected: Callable[[], Awaitable[None]] = nothing  # hook after the connection is open
        self.sending: Callable[[], Awaitable[None]] = nothing  # hook between the compare-and-set and the POST
        self._clock = clock
        self.cancelled: list[str] = []
        self.cancels = True  # whether requests can be cancelled
        self.fails: set[int] = set()
        self.lose_replies: set[int] = set()
        self.running: set[int] = set()  # requests that do not finish
        self.refuses: Exception | None = None  # instead of taking a request
        self._writes = writes
        self._polls: dict[str, int] = {}
        self._looks = 0

    async def submit(self, call: Call, before_send: BeforeSend) -> str:
        await self.connected()
        await before_send()
        await self.sending()
        if self.refuses is not None:
            raise self.refuses

        async def write() -> str:
            self.posts.append(call)
            self.sent_at.append(self._clock())
            if len(self.posts) in self.lose_replies:
                raise MaybeAccepted("the response was lost")
            return f"{self._prefix}{len(self.posts)}"

        return str(await self._writes("POST", write))

    async def poll(self, model: str, request_id: str) -> RequestView:
        self.asked.append(request_id)
        if not request_id.startswith(self._prefix):
            return UNKNOWN
        self._polls[request_id] = self._polls.get(request_id, 0) + 1
        if self._polls[request_id] == 1 or int(request_id.removeprefix(self._prefix)) in self.running:
            return RequestView(state=RequestState.RUNNING, message="running")
        if int(request_id.removeprefix(self._prefix)) in self.fails:
            return RequestView(state=RequestState.FAILED, message="out of memory")
        return RequestView(state=RequestState.SUCCEEDED, result=AnswerFile.of({"answer": 42, "request": request_id}))

    async def cancel(self, model: str, request_id: str) -> bool:
        self.asked.append(request_id)

        async def write() -> bool:
            self.cancelled.append(request_id)
            return self.cancels

        return bool(await self._writes("cancel", write))

    async def find(self, search: Search) -> Found:
        self._looks += 1
        self.searches += 1
        # Like fal's history, which lists ended requests only.
        late = len(self.posts) in self.lose_replies and self._looks < 3
        listed = self.posts[:-1] if late else self.posts
        matching = [i for i, call in enumerate(listed) if self._matches(i, call, search)]
        free = [i for i in matching if f"{self._prefix}{i + 1}" not in search.taken]
        nearest = min(free, key=lambda i: abs(self.sent_at[i] - search.sent_after), default=None)
        return Found(request_id=None if nearest is None else f"{self._prefix}{nearest + 1}", complete=True)

    async def verify(self, search: Search, request_id: str) -> Verified:
        self.asked.append(request_id)
        if not request_id.startswith(self._prefix):
            return Verified(same=None, text="it is not in the history")
        number = int(request_id.removeprefix(self._prefix)) - 1
        if not 0 <= number < len(self.posts):
            return Verified(same=None, text="it is not in the history")
        return Verified(same=self._matches(number, self.posts[number], search), text="another input, or another time")

    def _matches(self, index: int, call: Call, search: Search) -> bool:
        in_time = search.sent_after - _MARGIN <= self.sent_at[index] <= search.sent_before
        asked, sent = (  # the client of AssemblyAI does not compare these
            {name: argument for name, argument in given.arguments.items() if name != "speech_models"}
            for given in (search.call, call)
        )
        same = same_input(asked, sent)
        return in_time and same and search.call.model == call.model


async def nothing() -> None:
    """No-op."""


class TracedLedger(Ledger):
    """The operator's ledger with crash points."""

    def __init__(
        self, collection: Any, writes: Writes, check: Check = unchecked, operator_class: str = DEFAULT_CLASS
    ) -> None:
        super().__init__(collection, check, operator_class)
        self._writes = writes

    async def intend(self, key: Any, purchase: Any) -> bool:
        return bool(await self._writes("intend", lambda: Ledger.intend(self, key, purchase)))

    async def send(self, key: Any, purchase: Any, now: Any, planned_at: Any = None) -> str | None:
        sent: str | None = await self._writes("sending", lambda: Ledger.send(self, key, purchase, now, planned_at))
        return sent

    async def bind_request(self, purchase: Any, request_id: str, now: Any) -> bool:
        return bool(await self._writes("bind request", lambda: Ledger.bind_request(self, purchase, request_id, now)))

    async def adopt(self, key: Any, purchase: Any, job_id: str, tenant: Tenant | None = None) -> bool:
        return bool(await self._writes("adopt", lambda: Ledger.adopt(self, key, purchase, job_id, tenant)))

    async def point(self, key: Any, purchase_id: str, also: Any) -> None:
        await self._writes("pointer", lambda: Ledger.point(self, key, purchase_id, also))

    async def drop_planned(self, key: Any, purchase_id: str) -> None:
        await self._writes("drop", lambda: Ledger.drop_planned(self, key, purchase_id))

    async def move(self, move: Any) -> Purchase | None:
        moved: Purchase | None = await self._writes(f"move to {move.target}", lambda: Ledger.move(self, move))
        return moved


class TracedRecords(RecordStore):
    """The operator's record store with crash points."""

    def __init__(self, collection: Any, storage: Any, writes: Writes, check: Check = unchecked) -> None:
        super().__init__(collection, storage, check)
        self._writes = writes

    async def write(self, resource: Any, status: Any) -> None:
        await self._writes("record", lambda: RecordStore.write(self, resource, status))


class TracedWorkerJobs(WorkerJobs):
    """The operator's worker jobs with crash points."""

    def __init__(self, collection: Any, writes: Writes, check: Check = unchecked) -> None:
        super().__init__(collection, check)
        self._writes = writes

    async def record(self, job: RecordedJob) -> None:
        await self._writes("job record", lambda: WorkerJobs.record(self, job))


class TracedRunDocuments(RunDocuments):
    """The operator's run documents with crash points."""

    def __init__(self, collection: Any, writes: Writes, check: Check = unchecked) -> None:
        super().__init__(collection, check)
        self._writes = writes

    async def put(self, document: RunDocument) -> RunDocument | None:
        stored: RunDocument | None = await self._writes("run document", lambda: RunDocuments.put(self, document))
        return stored


class TracedBudgets(BudgetStore):
    """The operator's claims of budgets with crash points."""

    def __init__(self, collection: Any, ledger: Any, writes: Writes, check: Check = unchecked) -> None:
        super().__init__(collection, ledger, check)
        self._writes = writes

    async def claim(self, claims: Any, now: Any) -> WindowRef | None:
        refused: WindowRef | None = await self._writes("claim of budgets", lambda: BudgetStore.claim(self, claims, now))
        return refused

    async def release(self, releases: Any) -> None:
        await self._writes("release of budgets", lambda: BudgetStore.release(self, releases))


class TracedOutbox(NotificationOutbox):
    """The operator's outbox of notifications with crash points."""

    def __init__(self, collection: Any, writes: Writes, check: Check = unchecked) -> None:
        super().__init__(collection, check)
        self._writes = writes

    async def plan(self, notifications: Sequence[Notification], now: datetime) -> None:
        await self._writes("notification", lambda: NotificationOutbox.plan(self, notifications, now))

    async def confirm(self, ids: Iterable[str], now: datetime) -> None:
        await self._writes("release of a notification", lambda: NotificationOutbox.confirm(self, ids, now))


class World:
    """Persistent state, and the operator process."""

    limits = PlaceLimits()
    preparation_limits = PreparationLimits()
    template = TEMPLATE  # of the Jobs, as the values of the chart have it
    backlog_limit = BacklogLimit()
    _ticks = itertools.count()  # of the lists of budgets: each read is fresh
    keeper: BudgetKeeper | None = None

    def __init__(self, monkeypatch: pytest.MonkeyPatch, writes: Writes) -> None:
        self.writes = writes
        self.now = datetime(2026, 11, 21, tzinfo=UTC)
        self.kube = FakeKube(writes)
        self.storage = MemoryStorage(writes)
        self.provider = FakeProvider(writes, lambda: self.now)
        self.accounts: dict[str, FakeProvider] = {}  # named provider accounts of the installation
        self.database: Any = mongomock.MongoClient(tz_aware=True)["db"]
        self.decision_settings = DecisionSettings(poll_seconds=300)
        self.prices: PriceSource = NoPrices()
        self.names = LoraNames()
        self.leadership = Leadership.always()
        self.selection = DEFAULT
        self.caches: list[Cache] = []
        self.orphans: list[Orphans] = []
        self.delivers = True  # whether the watch delivers changes
        for module in (reconcile, act, sending):
            monkeypatch.setattr(module, "utc_now", lambda: self.now)
        self.restart()

    def restart(self) -> None:
        self.process = self.operator()

    def add_account(self, name: str) -> FakeProvider:
        """Configure a named provider account, as an upgrade of the chart does."""
        self.accounts[name] = FakeProvider(self.writes, lambda: self.now, name)
        self.restart()
        return self.accounts[name]

    def provider_accounts(self) -> ProviderAccounts:
        """The installation's accounts, as an operator that starts now has them."""
        both: Any = [{"fal": each, "assemblyai": each} for each in (self.provider, *self.accounts.values())]
        return ProviderAccounts(both[0], dict(zip(self.accounts, both[1:], strict=True)))

    def _seconds(self) -> float:
        return self.now.timestamp()

    def operator(self) -> Reconciler:
        kube: Any = self.kube
        storage: Any = self.storage
        check = self.leadership.check
        ledger = TracedLedger(self.database["ledger"], self.writes, check, self.selection.operator_class)
        providers = self.provider_accounts()
        records = TracedRecords(self.database["jobs"], storage, self.writes, check)
        cache = Cache(clock=self._seconds)
        self.caches.append(cache)
        jobs = TracedWorkerJobs(self.database["worker_jobs"], self.writes, check)
        runs = TracedRunDocuments(self.database["runs"], self.writes, check)
        budgets = TracedBudgets(self.database["budgets"], self.database["ledger"], self.writes, check)
        features = (bound(self._listed_budgets(), budgets, self._keeper()),)
        notifications = TracedOutbox(self.database["notifications"], self.writes, check)
        tenancy = Tenancy(kube, self.database, lambda: self.now)
        self.payment_queue = PaymentQueue(
            self.limits,
            open_purchases=ledger.under_way,
            takes_place=lambda purchase: takes_place(purchase, self.now, self.decision_settings.provider_seconds),
            clock=self._seconds,
        )
        self.preparation_queue = PreparationQueue(
            self.preparation_limits, preparing=cache.preparing, clock=self._seconds
        )
        self.buying = Buying(ledger, self.backlog_limit, lambda: self.now)

        def note_purchase(purchase: Purchase) -> None:
            self.payment_queue.note_purchase(purchase)
            self.buying.note_purchase(purchase)

        ledger.on_change = note_purchase
        observer = Observer(
            kube=kube,
            cache=cache,
            storage=storage,
            ledger=ledger,
            jobs=jobs,
            providers=providers,
            reports=Reports(),
            verifier=StatusVerifier(ledger=ledger, records=records, runs=runs, tenancy=tenancy),
            prices={"fal": self.prices},
            names=self.names,
            limits=Limits(),
            features=features,
            template=lambda: self.template,
        )
        retention = Retention(provider_seconds=self.decision_settings.provider_seconds)
        self.orphans.append(
            Orphans(
                kube=kube,
                cache=cache,
                storage=storage,
                ledger=ledger,
                providers=providers,
                retention=retention,
                tenancy=tenancy,
                selection=self.selection,
                check=check,
            )
        )
        actor = Actor(
            kube=kube,
            storage=storage,
            ledger=ledger,
            records=records,
            jobs=jobs,
            runs=runs,
            notifications=notifications,
            providers=providers,
            template=lambda: self.template,
            cache=cache,
            garbage_collector=GarbageCollector(
                storage=storage,
                ledger=ledger,
                records=records,
                jobs=jobs,
                runs=runs,
                notifications=notifications,
                check=check,
            ),
            leadership=self.leadership,
            buying=self.buying,
            payment_queue=self.payment_queue,
            features=features,
        )
        return Reconciler(
            kube=kube,
            cache=cache,
            observer=observer,
            actor=actor,
            settings=self.decision_settings,
            selection=self.selection,
            buying=self.buying,
            payment_queue=self.payment_queue,
            preparation_queue=self.preparation_queue,
        )

    def work(self) -> None:
        """Let the workers of this installation complete their Jobs."""
        for job in self.kube.jobs.values():
            if "status" in job or not self._serves(job):
                continue
            kind, stage = Kind(job["metadata"]["labels"][KIND_LABEL]), Stage(job["metadata"]["labels"][STAGE_LABEL])
            named = owner_of(job)
            status = self.status(kind, named.name if named is not None else "it")
            if status.run is None or status.run.job is None or status.run.job.uid != job["metadata"]["uid"]:
                continue  # the worker API does not know it yet
            self._leave_outcome(kind, stage, status)
            job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
            owner = owner_of(job)
            for cache in self.caches:  # watch event
                if owner is not None and owner in cache:
                    cache.note_job(owner, JobView.parse(job))

    def _serves(self, job: dict[str, Any]) -> bool:
        owner = owner_of(job)
        body = self.kube.resources.get((owner.kind, owner.name)) if owner is not None else None
        return body is None or self.selection.serves(body)

    def _leave_outcome(self, kind: Kind, stage: Stage, status: ResourceStatus) -> None:
        assert status.run is not None
        assert status.job_id is not None
        outcome = outcome_of(kind, stage, status.job_id, status.run.spec)
        if kind is Kind.LORA_TRAINING and stage is Stage.COLLECT:  # each training makes another LoRA
            sha = hashlib.sha256(str(status.run.request_id).encode()).hexdigest()
            outcome = outcome.model_copy(
                update={"files": tuple(file.model_copy(update={"sha256": sha}) for file in outcome.files)}
            )
        user = (status.run.spec or {}).get("userId") or self._namespace_of(status.job_id)
        prefix = keys.prefix(kind, stage, user, status.job_id, status.run.version)
        for file in outcome.files:
            self.storage.objects[prefix + file.name] = BucketFile(size_bytes=file.size_bytes, sha256=file.sha256)
        key = keys.outcome(status.job_id, status.run.number, stage, status.run.stage_attempt)
        self.storage.objects[key] = outcome.model_dump_json(by_alias=True)

    def _namespace_of(self, uid: str) -> str:
        bodies = (body for body in self.kube.resources.values() if body["metadata"]["uid"] == uid)
        return next((str(body["metadata"].get("namespace", "ns")) for body in bodies), "ns")

    def status(self, kind: Kind, name: str = "it") -> ResourceStatus:
        return ResourceStatus.model_validate(self.kube.resources[kind, name]["status"])

    async def sweep(self) -> None:
        """Run the garbage collector once for each mark."""
        collector = self.process.actor.garbage_collector
        for mark in await collector.records.marks(1000):
            await collector.work(mark)

    async def marks(self) -> list[str]:
        """Uids of jobs with files to delete."""
        return [mark.uid for mark in await self.process.actor.garbage_collector.records.marks(1000)]

    def there(self, kind: Kind, name: str = "it") -> bool:
        return (kind, name) in self.kube.resources

    async def until_gone(self, kind: Kind, reconciles: int = 20) -> None:
        """Delete the resource and reconcile until it is gone."""
        self.kube.delete(kind, self.now)
        for _ in range(reconciles):
            await self.reconcile(kind)
            if not self.there(kind):
                await self.reconcile(kind)  # after the watch's DELETED event
                return
        raise AssertionError("the finalizer was not removed")

    def watch(self, ref: ResourceRef) -> bool:
        """Deliver the watch event; returns whether to reconcile."""
        body = self.kube.resources.get((ref.kind, ref.name))
        finished = body is not None and body["metadata"]["uid"] == ref.uid and is_finished(body)
        finished = finished or (body is not None and not self.selection.serves(body))
        for cache in self.caches:
            if body is None or finished:
                cache.forget(ref)
            elif self.delivers:
                cache.note(ref, copied(body))
        return not finished

    async def is_behind(self, ref: ResourceRef) -> bool:
        """Whether a finished status is not of the newest run."""
        if not self.selection.serves(self.kube.resources[ref.kind, ref.name]):
            return False
        behind = list[ResourceRef]()

        async def wake(found: ResourceRef) -> None:
            behind.append(found)

        check = FinishedCheck(RunDocuments(self.database["runs"]), wake)
        check.note(ref, self.kube.resources[ref.kind, ref.name])
        await check.check()
        return bool(behind)

    async def expires(self, ref: ResourceRef) -> bool:
        """Whether the time of a finished resource is over."""
        woken = list[ResourceRef]()

        async def wake(found: ResourceRef) -> None:
            woken.append(found)

        expiries = Expiries(wake, lambda: self.now)
        expiries.note(ref, self.kube.resources[ref.kind, ref.name])
        await expiries.wake_due()
        return bool(woken)

    async def keep_budgets(self, thorough: bool = False) -> None:
        """Run a round over the budgets; a new keeper's first one is thorough."""
        keeper = self.keeper
        if thorough or keeper is None:
            keeper = self.keeper = self._keeper()
        await keeper.round()

    def _listed_budgets(self) -> Budgets:
        kube: Any = self.kube
        return Budgets(kube, self.selection.operator_class, lambda: next(self._ticks))

    def _keeper(self) -> BudgetKeeper:
        kube: Any = self.kube
        return BudgetKeeper(
            budgets=self._listed_budgets(),
            store=BudgetStore(self.database["budgets"], self.database["ledger"], self.leadership.check),
            kube=kube,
            check=self.leadership.check,
            clock=lambda: self.now,
        )

    async def reconcile(self, kind: Kind, name: str = "it") -> None:
        asyncio.get_running_loop().set_default_executor(INLINE)
        uid = self.kube.resources[kind, name]["metadata"]["uid"] if self.there(kind, name) else UID
        ref = ResourceRef(kind=kind, namespace="ns", name=name, uid=uid)
        again: float | None = 1
        try:
            if self.watch(ref) or await self.expires(ref) or await self.is_behind(ref):
                again = await self.process._read_and_reconcile(ref)
        except Conflict:
            self.process.cache.drop(ref)
        except Unavailable:
            again = 4
        except Crash:
            self.restart()
        self.now += timedelta(seconds=max(again or 1, 1))
        self.work()

    async def finish(self, kind: Kind, *stops: Phase) -> ResourceStatus:
        for _ in range(2000):
            await self.reconcile(kind)
            status = self.status(kind)
            if status.phase in (Phase.COMPLETED, Phase.FAILED, *stops):
                return status
        raise AssertionError(f"the run did not end: {self.status(kind)}")

    async def until(self, kind: Kind, over: Callable[[], object]) -> datetime:
        """Reconcile until a condition holds; returns the time of the last reconcile."""
        last = self.now
        for _ in range(500):
            if over():
                return last
            last = self.now
            await self.reconcile(kind)
        raise AssertionError(f"the condition was not reached: {self.status(kind)}")

    async def recover(self, kind: Kind) -> None:
        """Restart, finish what a crash left undone, and check that nothing more is written."""
        self.restart()
        for _ in range(3):  # the faults may strike only here
            await self.reconcile(kind)
        before = len(self.writes.done)
        for _ in range(5):
            await self.reconcile(kind)
        assert self.writes.done[before:] == []


def source_sha(spec: dict[str, Any]) -> str:
    """Checksum of the recording of a spec: each path has other bytes, whatever the query."""
    return hashlib.sha256(str(spec.get("source", {}).get("url")).partition("?")[0].encode()).hexdigest()


def _prepared_sha(spec: dict[str, Any]) -> str:
    """Checksum of the prepared file of a spec, which differs for each spelling of the settings."""
    settings = [spec.get("dataset"), spec.get("triggerWord"), spec.get("options", {}).get("audioTrack")]
    return hashlib.sha256(json.dumps([source_sha(spec), settings], sort_keys=True).encode()).hexdigest()


def _transcripts(spec: dict[str, Any]) -> list[str]:
    formats = spec.get("options", {}).get("formats", ["srt", "vtt"])
    return ["transcript.json", "transcript.txt", *(f"transcript.{word}" for word in ("srt", "vtt") if word in formats)]


def outcome_of(kind: Kind, stage: Stage, uid: str, spec: dict[str, Any] | None = None) -> Outcome:
    """A worker's outcome for a run of this spec, or of the kind's usual one."""
    spec = SPECS[kind] if spec is None else spec
    names, facts = {
        (Kind.LORA_TRAINING, Stage.PREPARE): (
            ["dataset.zip", "dataset.json"],
            {
                "type": "dataset",
                "images": 12,
                "scenes": 4,
                "rejected": {"Blurred": 7, "TooDark": 1},
                "durationSeconds": 60,
                "width": 1,
                "height": 1,
                "sourceBytes": 1,
                "sourceSha256": source_sha(spec),
            },
        ),
        (Kind.LORA_TRAINING, Stage.COLLECT): (["model.safetensors", "config.json"], {"type": "lora", "sizeBytes": 7}),
        (Kind.IMAGE_GENERATION, Stage.COLLECT): (
            ["image_1.png", "image_1_thumb.png"],
            {
                "type": "images",
                "seed": 7,
                "images": [
                    {
                        "name": "image_1.png",
                        "thumbnail": "image_1_thumb.png",
                        "width": 1024,
                        "height": 1024,
                        "sizeBytes": 7,
                    }
                ],
            },
        ),
        (Kind.TRANSCRIPTION, Stage.PREPARE): (
            ["audio.flac"],
            {"type": "audio", "durationSeconds": 60.5, "sourceBytes": 1, "sourceSha256": source_sha(spec)},
        ),
        (Kind.TRANSCRIPTION, Stage.COLLECT): (
            _transcripts(spec),
            {
                "type": "transcript",
                "wordCount": 3,
                "durationSeconds": 60,
                "speakers": 1,
                "subtitles": spec.get("options", {}).get("subtitles"),
            },
        ),
    }[kind, stage]
    sha = _prepared_sha(spec) if stage is Stage.PREPARE else SHA
    files = [{"name": name, "sizeBytes": 7, "sha256": sha, "contentType": "a/b"} for name in names]
    return Outcome.model_validate(
        {"jobId": uid, "stage": stage, "attempt": 1, "reason": "Completed", "files": files, "facts": facts}
    )
