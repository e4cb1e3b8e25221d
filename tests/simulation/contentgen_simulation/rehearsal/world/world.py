"""Discrete-event simulation of one rehearsal: time, events and operator processes."""

import asyncio
import contextlib
import copy
import heapq
import itertools
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import mongomock

from contentgen_contract.names import APPROVE_ANNOTATION, REJECT_ANNOTATION, Kind, Phase, Reason
from contentgen_contract.records.audits import AuditRequest, request_id
from contentgen_contract.records.notifications import NotificationState
from contentgen_contract.records.tenancy import unscoped
from contentgen_contract.resources.operator_class import DEFAULT_CLASS
from contentgen_gateway.migration import backup
from contentgen_gateway.migration.namespaces import CommandRefused, TenantAdministration
from contentgen_operator.cleanup import expiry
from contentgen_operator.state.decision_input import DecisionSettings
from contentgen_operator.state.observed import JobView, Resource, ResourceRef, is_finished
from contentgen_operator.state.run_document import status_digest
from contentgen_operator.watch.event_handlers import owner_of
from contentgen_simulation.api_server import copied
from contentgen_simulation.frozen import contents
from contentgen_simulation.rehearsal.world.actions import Actions
from contentgen_simulation.rehearsal.world.bucket import RehearsalBucket
from contentgen_simulation.rehearsal.world.cluster import RehearsalCluster, Snapshot, ref_of
from contentgen_simulation.rehearsal.world.faults import FaultInjector, IoFault
from contentgen_simulation.rehearsal.world.line_faults import LineTracer
from contentgen_simulation.rehearsal.world.oracles import Oracles, RehearsalViolation
from contentgen_simulation.rehearsal.world.plan import PlannedEvent, RehearsalPlan, Subject
from contentgen_simulation.rehearsal.world.process import RehearsalProcess
from contentgen_simulation.rehearsal.world.provider import ACCOUNTS, Adapters, ProviderWorld
from contentgen_simulation.rehearsal.world.receiver import WebhookReceiver
from contentgen_simulation.rehearsal.world.worker import Workers, is_over
from contentgen_simulation.world import TEMPLATE

Body = dict[str, Any]
Group = tuple[str, ...]
START = datetime(2026, 11, 21, tzinfo=UTC)
_WATCH_SECONDS = 0.05
_RESTART_SECONDS = 5.0
_DRAIN_SECONDS = 20.0
_SECOND_PROCESS_SECONDS = 3.0
_RENEW_DEADLINE_SECONDS, _TAKEOVER_SECONDS = 10.0, 17.0
_MOST_LOOKS = 200
_SWEEP_SECONDS = 900.0
_DELIVERY_SECONDS = 0.05  # between a change of the outbox and the notifier's round
_REST_SECONDS = 4 * 86400.0  # simulated time after the last event
_MOST_RECONCILES = 9000  # six days with a reconcile per minute
_SHORTEST_POLL_SECONDS, _PERSON_SECONDS = 30.0, 3600.0
_MEANWHILE = 3  # reconciles of another process between two operations: enough to plan and to send
_NO_API_SECONDS = 600.0  # delay before a person retries
_PERSONAL = (
    "apply", "edit", "suspend", "unsuspend", "rerun", "cancel", "resubmit", "adopt", "collect", "delete", "approve",
    "reject", "recreate_namespace",
)  # fmt: skip


def _named(purchase: Body) -> str:
    """Namespace, kind and name of a purchase's resource."""
    place, kind, name, *_ = purchase["_id"].split("/")
    return f"{unscoped(place)[0]}/{kind}/{name}"


@dataclass
class _BackupReader:
    """Backup in memory, read like an archive."""

    parts: dict[str, list[Body]]

    def read(self, name: str) -> Iterator[Body]:
        """Documents of a part."""
        return iter(self.parts.get(name, []))


class _LastError(logging.Handler):
    """Log handler that keeps the last exception."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            where = error.__traceback__
            while where is not None and where.tb_next is not None:
                where = where.tb_next
            line = f"{where.tb_frame.f_code.co_filename.rpartition('/')[2]}:{where.tb_lineno}" if where else ""
            self.text = f"{type(error).__name__} at {line}: {error}"[:300]


class RehearsalWorld:
    """Simulation of one plan; `story` is its log, line by line."""

    def __init__(self, plan: RehearsalPlan) -> None:
        self.plan = plan
        self.start = START
        self.seconds = 0.0
        self.skew = 0.0
        self.story: list[str] = []
        self.decision_settings = DecisionSettings(poll_seconds=300)
        self.template = TEMPLATE  # of the Jobs of a process that starts
        self.faults = FaultInjector(self)
        self.lines = LineTracer(self)
        self.oracles = Oracles(self)
        self.provider = ProviderWorld(self)
        self.adapters = Adapters()
        self.account_adapters = {name: Adapters(name) for name in ACCOUNTS}
        self.workers = Workers(self)
        self.receiver = WebhookReceiver(self)
        self.has_notifications = any("notify" in subject.options for subject in plan.subjects)
        self.has_audits = any(event.do == "audit" for event in plan.events)
        self.database: Any = mongomock.MongoClient(tz_aware=True)["db"]
        self.bucket = RehearsalBucket(self.oracles.object_lost)
        self.cluster = RehearsalCluster(
            self.now, self.resource_changed, self.workers.started, self.status_written, self.oracles.expired
        )
        self.cluster.pods_of = self.workers.pods_of
        self.asked: defaultdict[Group, set[str | None]] = defaultdict(set)
        self.resubmitted: Counter[Group] = Counter()
        self._left_looks = 0  # at Jobs that are left
        self.lost_responses = False
        self.rewound: set[str] = set()
        self.granted: defaultdict[str, set[str]] = defaultdict(lambda: {""})  # provider accounts, by namespace
        self.removed: set[str] = set()  # provider accounts that the installation lacks for a while
        self.mongo_restores = 0
        namespaces = sorted({subject.namespace for subject in plan.subjects})
        self._uids = (f"{number:08x}-0000-4000-8000-000000000000" for number in itertools.count(1))
        self.namespace_uid = dict[str, str]()  # by name: the tenant, whose purchases a namespace of this name may use
        self.clusters: list[str] = []  # uids of kube-system, the newest last
        self.confirmed = True  # whether the ledger's owner knows the newest cluster
        self._confirmations = sum(event.do == "confirm" for event in plan.events)  # to come
        self._create_cluster()
        for namespace in namespaces:
            self.create_namespace(namespace)
        if plan.budget:
            metadata = {"name": "all", "uid": "a-budget", "generation": 1, "resourceVersion": "1"}
            self.cluster.budgets = [{"metadata": metadata, "spec": {"limits": {"day": plan.budget}}}]
        self.reconciles = 0
        self._processes: list[RehearsalProcess] = []
        self.elects = False  # leader election by a Lease; without it, compare-and-set alone must suffice
        self._numbers = itertools.count(1)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._pending: list[PlannedEvent] = []
        self._snapshots: list[tuple[Snapshot, dict[str, list[Body]], Body]] = []
        self._backup: dict[str, list[Body]] = {}
        self._resume: list[tuple[RehearsalProcess, bool]] = []
        self._sweep = False
        self._sweeps_go_on = False
        self._delivering: list[RehearsalProcess] = []
        self._stopped = False
        self._states: dict[str, str] = {}  # state of the newest purchase, by namespace/kind/name
        self._send_states: dict[str, str] = {}  # send state of an intent, by namespace/kind/name
        self._last_error = _LastError()
        self._actions = Actions(self)

    # Time

    def now(self) -> datetime:
        """Current simulated time."""
        return START + timedelta(seconds=self.seconds)

    def instant(self, stamp: str) -> datetime:
        """Current simulated time as a Kubernetes timestamp."""
        return datetime.fromisoformat(stamp)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Schedule a callback."""
        heapq.heappush(self._queue, (self.seconds + seconds, next(self._numbers), call))

    def paced(self, ref: ResourceRef, again: float) -> float:
        """Seconds until a reconcile. Hourly where only a person can go on: for days, each poll of the operator reads
        the same. What a person changes wakes it at once.
        """
        if again < _SHORTEST_POLL_SECONDS:  # a retry
            return again
        body = self.cluster.find(ref.kind, ref.namespace, ref.name) or {}
        status = body.get("status") or {}
        waits = status.get("phase") == Phase.AWAITING_APPROVAL or status.get("reason") == Reason.STORES_DISAGREE
        unconfirmed = not self.confirmed and self._confirmations <= 0
        return max(again, _PERSON_SECONDS) if waits or unconfirmed else again

    def tell(self, what: str) -> None:
        """Add a line to the story."""
        self.story.append(f"{self.seconds:10.2f} {what}")

    def stop(self) -> None:
        """End the rehearsal early."""
        self._stopped = True

    # Running

    async def run(self) -> list[RehearsalViolation]:
        """Carry out the plan."""
        log = logging.getLogger("contentgen_operator")
        log.addHandler(self._last_error)
        try:
            await self._run()
        finally:
            log.removeHandler(self._last_error)
            for process in list(self._processes):
                await process.end()
        if not self._stopped and self.reconciles < _MOST_RECONCILES:
            self.oracles.at_the_end()
        return list(self.oracles.violations.values())

    async def _run(self) -> None:
        self._processes = [RehearsalProcess(self, 1)]
        self._elect()
        for index, _ in enumerate(self.plan.subjects):
            self.later(0, lambda who=index: self._actions.apply(who))  # type: ignore[misc]  # a default binds the index
        for event in self.plan.events:
            self._schedule(event) if not event.on else self._pending.append(event)
        self._keep_sweeping()
        while not self._stopped and await self._next():
            pass

    async def _next(self) -> bool:
        """Process one event; False at the end."""
        at = self._queue[0][0] if self._queue else float("inf")
        process, ref, due = self._due()
        last = max((event.at for event in self.plan.events), default=0.0)
        if min(at, due) > last + _REST_SECONDS or self.reconciles >= _MOST_RECONCILES:
            return False
        if process is not None and ref is not None and due < at:
            self.seconds = max(due, self.seconds)
            del process.due[ref]
            self.reconciles += 1
            await process.reconcile(ref)
        else:
            self.seconds, _, call = heapq.heappop(self._queue)
            call()
        await self._resumed()
        return self._anything_left()

    def _anything_left(self) -> bool:
        """Whether events other than sweeps are pending."""
        return bool(self._queue) or any(process.due for process in self._processes)

    def _due(self) -> tuple[RehearsalProcess | None, ResourceRef | None, float]:
        found: tuple[RehearsalProcess | None, ResourceRef | None, float] = (None, None, float("inf"))
        for process in self._processes:
            if process.frozen or process.draining or process.gone or not process.leadership.is_leader:
                continue
            for ref, at in process.due.items():
                if at < found[2]:
                    found = (process, ref, at)
        return found

    async def _resumed(self) -> None:
        while self._resume:
            process, kill = self._resume.pop(0)
            if process.gone:
                continue
            if not kill:
                await process.resume()
            if kill or process.draining or process.leadership.over:
                await process.end()
                self._remove(process)
        while self._delivering:
            process = self._delivering.pop(0)
            if process in self._processes and not process.frozen and process.leadership.is_leader:
                await process.deliver()
                if self._undelivered():
                    self._keep_sweeping()
        if self._sweep:
            self._sweep = False
            for process in [
                each_process
                for each_process in self._processes
                if not each_process.frozen and each_process.leadership.is_leader
            ]:
                await process.sweep()

    def _keep_sweeping(self) -> None:
        if not self._sweeps_go_on:
            self._sweeps_go_on = True
            self.later(_SWEEP_SECONDS, self._sweep_soon)

    def _sweep_soon(self) -> None:
        self._sweep, self._sweeps_go_on = True, False
        left = self._marks() or self._unfinished() or self._undelivered() or self._unaudited() or self._left_jobs()
        if any(process.due for process in self._processes) or self._queue or left:
            self._keep_sweeping()

    def deliver_soon(self, process: RehearsalProcess) -> None:
        """Let a process deliver notifications."""
        if self.has_notifications:
            self.later(_DELIVERY_SECONDS, lambda: self._delivering.append(process))

    def _undelivered(self) -> bool:
        wanted = {"state": {"$in": [NotificationState.PLANNED.value, NotificationState.PENDING.value]}}
        return self.has_notifications and self.database["notifications"].find_one(wanted) is not None

    def _unaudited(self) -> bool:
        return self.has_audits and self.database["audits"].find_one({"_id": request_id(DEFAULT_CLASS)}) is not None

    def request_audit(self) -> None:
        """Ask for an audit, as an administrator does through the gateway."""
        if self.faults.is_unavailable("mongo"):
            self.later(_NO_API_SECONDS, self.request_audit)
            return
        made = AuditRequest(token=f"audit at {self.seconds}", requested_at=self.now(), requested_by="alice")
        identity = {"_id": request_id(DEFAULT_CLASS)}
        self.database["audits"].replace_one(identity, made.model_dump(mode="python", by_alias=True), upsert=True)
        self._sweep = True
        self._keep_sweeping()

    def _marks(self) -> bool:
        return self.database["jobs"].find_one({"discard.uid": {"$gt": ""}}) is not None and self.seconds < 86400

    def _left_jobs(self) -> bool:
        """Whether a Job is unfinished that a finished resource owns; at most so many times, as it may stay for ever."""
        left = any(process.left_jobs._owners for process in self._processes)
        self._left_looks += left
        return left and self._left_looks < _MOST_LOOKS

    def _unfinished(self) -> bool:
        """Whether a purchase may still be found or its result downloaded without a resource."""
        lost = {"state": "intent", "sendState": {"$nin": ["planned", "abandoned"]}}
        wanted = {"$or": [{"state": "submitted"}, lost]}
        return self.database["ledger"].find_one(wanted) is not None

    # Processes

    def start_process(self) -> None:
        """Start an operator process, which lists all resources."""
        process = RehearsalProcess(self, next(self._numbers))
        self._processes.append(process)
        self._elect()
        self._list(process)

    def _list(self, process: RehearsalProcess) -> None:
        self.deliver_soon(process)
        for job in self.cluster.jobs.values():
            process.left_jobs.note(job["metadata"]["uid"], None if is_over(job) else owner_of(job))
        for (kind, _), body in self.cluster.resources.items():
            self._deliver(process, ref_of(kind, body), body)

    def elect(self) -> None:
        """Introduce leader election."""
        self.elects = True

    def _elect(self) -> None:
        """Elect a leader: without election every process leads; with it the oldest, if none leads."""
        there = [process for process in self._processes if not process.gone and not process.leadership.over]
        if self.elects and any(each.leadership.is_leader for each in there):
            return
        for each in there[:1] if self.elects else there:
            each.lead()

    def _lose(self, process: RehearsalProcess) -> None:
        """Expire the Lease of a process that is still frozen."""
        if process.frozen and self.elects:
            process.leadership.revoke("the Lease is another's")

    def _take_over(self) -> None:
        led = {process.number for process in self._processes if process.leadership.is_leader}
        self._elect()
        for each in [
            process for process in self._processes if process.leadership.is_leader and process.number not in led
        ]:
            self._list(each)

    def meanwhile(self, subject: Subject) -> None:
        """Let another process reconcile a resource while this one stands between two operations of a method."""
        body = self.cluster.find(subject.kind, subject.namespace, subject.name)
        if body is None:
            return
        other, ref = RehearsalProcess(self, next(self._numbers)), ref_of(subject.kind, body)
        other.lead()
        self._list(other)

        async def work() -> None:
            for _ in range(_MEANWHILE):
                await other.reconcile(ref)
            await other.end()

        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, work()).result()

    def crashed(self, process: RehearsalProcess) -> None:
        """Handle a crash: schedule the start of another process."""
        process.gone = True
        self._remove(process)
        if not self._processes:
            self.later(_RESTART_SECONDS, self._start_if_none)

    def _start_if_none(self) -> None:
        if not [process for process in self._processes if not process.draining]:
            self.start_process()

    def _remove(self, process: RehearsalProcess) -> None:
        if process in self._processes:
            self._processes.remove(process)
        self._take_over()
        if not self._processes:
            self.later(_RESTART_SECONDS, self._start_if_none)

    def restart(self) -> None:
        """Kill the process and start a new one."""
        for process in list(self._processes):
            self._resume.append((process, True))

    def freeze(self, process: RehearsalProcess, fault: IoFault) -> None:
        """Freeze a process, or drain it after SIGTERM during a call."""
        if fault.action == "sigterm":
            process.draining = True
            cut = fault.seconds > _DRAIN_SECONDS
            self.later(min(fault.seconds, _DRAIN_SECONDS), lambda: self._resume.append((process, cut)))
            return
        self.later(_SECOND_PROCESS_SECONDS, self.start_process)
        if self.elects:
            process.met = contents(self)
            self.later(_RENEW_DEADLINE_SECONDS, lambda: self._lose(process))
            self.later(_TAKEOVER_SECONDS, self._take_over)
        self.later(fault.seconds, lambda: self._resume.append((process, False)))
        self.later(fault.seconds + 60, lambda: self._resume.append((process, True)))

    def skewed(self, seconds: float) -> None:
        """Shift the clocks of all processes."""
        self.skew = seconds

    # Watch events

    def resource_changed(self, ref: ResourceRef) -> None:
        """Handle the creation, change or deletion of a resource."""
        self.later(_WATCH_SECONDS, lambda: self._deliver_to_all(ref))
        self._fire_triggers()

    def _deliver_to_all(self, ref: ResourceRef) -> None:
        body = self.cluster.find(ref.kind, ref.namespace, ref.name)
        mine = body if body is not None and body["metadata"]["uid"] == ref.uid else None
        for process in self._processes:
            self._deliver(process, ref, mine)

    def _deliver(self, process: RehearsalProcess, ref: ResourceRef, body: Body | None) -> None:
        if ref.kind is Kind.LORA_TRAINING:
            for other in process.names.note(copied(body)) if body is not None else process.names.forget(ref.uid):
                process.wake(other)
        if body is None or is_finished(body):
            process.cache.forget(ref)
            if body is None or self._is_behind(ref, body):
                process.wake(ref)
            elif (at := expiry.expires_at(Resource.parse(ref.kind, body))) is not None:  # as `Expiries` does
                self.later(max(at.timestamp() - self.now().timestamp(), 0), lambda: process.wake(ref))
        elif process.cache.note(ref, copied(body)):
            process.wake(ref)

    def _is_behind(self, ref: ResourceRef, body: Body) -> bool:
        """Whether a finished status is not of the newest run, by `FinishedCheck`."""
        found = self.database["runs"].find_one({"_id": ref.uid})
        return found is not None and found["digest"] != status_digest(body["status"])

    def job_changed(self, owner: ResourceRef, job: JobView) -> None:
        """Handle a Job that ended, was suspended or was resumed."""
        for process in self._processes:
            process.left_jobs.note(job.uid, None if job.finished else owner)
            if owner in process.cache and process.cache.note_job(owner, job):
                process.wake(owner)

    def outcome_reported(self, owner: ResourceRef | None, job_uid: str) -> None:
        """Handle the report of a worker that its outcome is stored."""
        for process in [each_process for each_process in self._processes if each_process.leadership.is_leader]:
            process.reconciler.observer.reports.note_finished(job_uid)
            if owner is not None:
                process.wake(owner)

    def status_written(self, ref: ResourceRef, before: Body, after: Body) -> None:
        """Handle a replaced status."""
        old, new = (f"{each.get('phase')}/{each.get('reason')}" for each in (before, after))
        if old != new:
            self.tell(f"{ref.namespace}/{ref.name} ({ref.uid[:8]}): {old} -> {new}: {after.get('message')}")
        self.oracles.status_written(ref, before, after)

    def ledger_changed(self) -> None:
        """Handle a write to the ledger."""
        found = sorted(self.database["ledger"].find(), key=lambda each: each["createdAt"])
        self._states = {_named(each): str(each["state"]) for each in found}
        self._send_states = {
            _named(each): str(each.get("sendState")) if each["state"] == "intent" else "" for each in found
        }
        self.oracles.ledger_changed(found)
        self._fire_triggers()

    # Events

    def _schedule(self, event: PlannedEvent) -> None:
        self.later(event.at, lambda: self._do(event))

    def _do(self, event: PlannedEvent) -> None:
        if event.do in _PERSONAL and self.faults.is_unavailable("kube"):
            self.later(_NO_API_SECONDS, lambda: self._do(event))
            return
        cause = f" on {event.on}" if event.on else ""
        self.tell(f"event: {event.do} {event.args or ''} of subject {event.who}{cause}")
        getattr(self._actions, event.do)(event.who, **event.args)

    def _fire_triggers(self) -> None:
        for event in [each for each in self._pending if self._met(each)]:
            self._pending.remove(event)
            self._schedule(event)

    def _met(self, event: PlannedEvent) -> bool:
        what, _, value = event.on.partition(":")
        if what == "state":
            return value in (self.state_of(event.who), self.send_state_of(event.who))
        body = self.body_of(event.who)
        return body is not None and body["status"].get(what) == value

    # Queries

    def body_of(self, who: int) -> Body | None:
        """Resource of a subject; None if it does not exist."""
        subject = self.plan.subjects[who]
        return self.cluster.find(subject.kind, subject.namespace, subject.name)

    def has_verdict(self, who: int) -> bool:
        """Whether somebody has approved or rejected a run of a subject."""
        given = (self.body_of(who) or {"metadata": {}})["metadata"].get("annotations") or {}
        return APPROVE_ANNOTATION in given or REJECT_ANNOTATION in given

    def is_expired(self, who: int) -> bool:
        """Whether a subject exists although its `ttlSecondsAfterFinished` is over."""
        subject, body = self.plan.subjects[who], self.body_of(who)
        return body is not None and expiry.is_due(Resource.parse(subject.kind, body), self.now())

    def subject_of(self, ref: ResourceRef) -> int:
        """Index of a resource's subject."""
        keys = [(subject.kind, subject.namespace, subject.name) for subject in self.plan.subjects]
        return keys.index((ref.kind, ref.namespace, ref.name))

    def reason_of(self, who: int) -> str:
        """Reason in a subject's status; empty without one."""
        return str((self.body_of(who) or {"status": {}})["status"].get("reason", ""))

    def state_of(self, who: int) -> str:
        """State of a subject's newest purchase; empty without one."""
        subject = self.plan.subjects[who]
        return self._states.get(f"{subject.namespace}/{subject.kind}/{subject.name}", "")

    def send_state_of(self, who: int) -> str:
        """Send state of a subject's newest purchase if that is an intent."""
        subject = self.plan.subjects[who]
        return self._send_states.get(f"{subject.namespace}/{subject.kind}/{subject.name}", "")

    def is_recorded(self, request_id: str) -> bool:
        """Whether a ledger entry has this request id."""
        return self.database["ledger"].find_one({"requestId": request_id}) is not None

    def run_of(self, ref: ResourceRef) -> int:
        """Number of a resource's current run."""
        body = self.cluster.find(ref.kind, ref.namespace, ref.name)
        run = (body or {}).get("status", {}).get("run") or {}
        return int(run.get("number", 1))

    def group_of(self, ref: ResourceRef, given: Body) -> Group:
        """Identity of a purchase: namespace uid, resource name and input."""
        arguments = {name: given[name] for name in ("prompt", "num_images", "steps", "language_code") if name in given}
        return (
            self.namespace_uid[ref.namespace],
            ref.kind,
            ref.namespace,
            ref.name,
            json.dumps(arguments, sort_keys=True),
        )

    def paid_attempts(self, group: Group) -> int:
        """Largest number of paid attempts that a spec of this purchase allowed."""
        bodies = [
            subject for subject in self.plan.subjects if (subject.kind, subject.namespace, subject.name) == group[1:4]
        ]
        return max((int(body.options.get("paidAttempts", 1)) for body in bodies), default=1)

    def living(self) -> Iterator[tuple[Kind, str, Body]]:
        """All resources."""
        for (kind, _), body in list(self.cluster.resources.items()):
            yield kind, body["metadata"]["namespace"], body

    def waits_for(self, about: str, body: Body) -> bool:
        """Whether a resource is blocked by refused Jobs or an unavailable store."""
        if self.seconds < self.faults.unavailable_until.get("kube", -1.0) + 300:
            return False
        if about.startswith("mongo"):
            return bool(body["status"].get("phase"))
        phase = body["status"].get("phase")
        state = self.state_of(self.subject_of(ref_of(Kind(self._kind(body)), body)))
        return phase in ("Preparing", "Collecting") and state in ("", "succeeded") and not self._has_job(body)

    def _kind(self, body: Body) -> str:
        return next(kind for (kind, _), resource in self.cluster.resources.items() if resource is body)

    def _has_job(self, body: Body) -> bool:
        uid = body["metadata"]["uid"]
        return any(
            uid in str(job["metadata"].get("ownerReferences")) for job in self.cluster.jobs.values() if not is_over(job)
        )

    def is_served(self) -> bool:
        """Whether a process leads and works, and the API server answers."""
        works = any(
            not process.frozen and not process.draining and process.leadership.is_leader for process in self._processes
        )
        return works and not self.faults.is_unavailable("kube")

    def will_be_reconciled(self, uid: str) -> bool:
        """Whether a process has scheduled a reconcile of a resource."""
        return any(ref.uid == uid for process in self._processes for ref in process.due)

    def several_processes(self) -> bool:
        """Whether several operators are running."""
        return len([process for process in self._processes if not process.frozen]) > 1

    def last_error(self) -> str:
        """Exception that the operator logged last."""
        return self._last_error.text

    # Used by the actions

    def fresh_uid(self) -> str:
        """Unused uid."""
        return next(self._uids)

    def create_namespace(self, name: str) -> None:
        """Create an empty namespace; purchases of an earlier one of its name belong to another tenant."""
        self.namespace_uid[name] = self.fresh_uid()
        self.cluster.create_namespace(name, self.namespace_uid[name])

    def _create_cluster(self) -> None:
        self.clusters.append(self.fresh_uid())
        self.cluster.create_namespace("kube-system", self.clusters[-1])

    def rebuild_cluster(self) -> None:
        """Replace the cluster; its namespaces have the same names and tenants."""
        self.confirmed = False
        self.cluster.empty()
        self._create_cluster()
        for each in self.namespace_uid:
            self.cluster.create_namespace(each, self.fresh_uid())
        self.restart()

    def confirm_cluster(self) -> None:
        """Run `contentgen namespaces confirm` if the cluster was rebuilt."""
        self._confirmations -= 1
        known = TenantAdministration(self.database, "an administrator", clock=self.now)
        with contextlib.suppress(CommandRefused):  # the operator has not seen the cluster yet
            known.confirm(known.cluster(self.clusters[-1]), force=True)  # the earlier one is gone
            self.confirmed = True

    def snapshot(self) -> None:
        """Back up etcd, MongoDB and the bucket at one moment."""
        mongo = {name: list(self.database[name].find()) for name in self.database.list_collection_names()}
        self._snapshots.append((self.cluster.snapshot(), mongo, dict(self.bucket.objects)))

    def back_up(self) -> None:
        """Back up MongoDB as `contentgen backup` does."""
        self._backup = {each.name: copy.deepcopy(list(self.database[each.name].find())) for each in backup.BACKED_UP}

    def restore_backup(self) -> None:
        """Run `contentgen restore` of the newest backup."""
        reader: Any = _BackupReader(copy.deepcopy(self._backup))
        self.mongo_restores += 1
        done = backup.restore(self.database, reader)
        self.tell(f"restored: {done['ledger']}")
        self.ledger_changed()

    def rewind(self, stores: list[str]) -> None:
        """Restore the newest backup of some stores and restart the operator, as the runbook says."""
        if not self._snapshots:
            return
        etcd, mongo, objects = self._snapshots[-1]
        self.rewound |= set(stores)
        if "mongo" in stores:
            self.mongo_restores += 1
            for name in self.database.list_collection_names():
                self.database[name].delete_many({})
                if mongo.get(name):
                    self.database[name].insert_many(copy.deepcopy(mongo[name]))
            self.ledger_changed()
        if "bucket" in stores:
            self.bucket.restore(objects)
        if "etcd" in stores:
            self.cluster.restore(etcd)
            for job in [each_job for each_job in self.cluster.jobs.values() if not is_over(each_job)]:
                self.workers.started(job)  # the Job controller creates its pod again
        self.restart()
