"""The operator's process: its parts, put together once and run in one event loop until a signal."""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import kopf

from contentgen_contract.resources.operator_class import ClassOwner
from contentgen_contract.resources.prices import PRICES
from contentgen_operator import metrics
from contentgen_operator.act import Actor
from contentgen_operator.background.charge_display import ChargeDisplay
from contentgen_operator.background.orphans import Orphans, Retention
from contentgen_operator.background.releases import NamespaceReleases
from contentgen_operator.background.settlement import ChargeSettlement
from contentgen_operator.clock import utc_now
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.cache import Cache
from contentgen_operator.kube.job_manifests import JobTemplate
from contentgen_operator.leader.class_claim import ClassClaim, KubeClass
from contentgen_operator.leader.endpoint import EndpointWriter
from contentgen_operator.leader.leadership import Leadership
from contentgen_operator.leader.tasks import LeaderTasks
from contentgen_operator.leader.thread import ElectionThread, identity, kube_lease
from contentgen_operator.observe import Observer
from contentgen_operator.providers.assemblyai import AssemblyAI
from contentgen_operator.providers.base import Provider
from contentgen_operator.providers.billing import FalBilling
from contentgen_operator.providers.fal import Fal
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.providers.pricing import FalPrices
from contentgen_operator.providers.surroundings import reach_cluster_directly, trusted_cas
from contentgen_operator.queues.work_queue import WorkQueue
from contentgen_operator.reconcile import Reconciler
from contentgen_operator.settings import Settings
from contentgen_operator.state.decision_input import Policy
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.plan import Event
from contentgen_operator.state.selection import Selection
from contentgen_operator.stores.charges import Charges
from contentgen_operator.stores.garbage_collector import GarbageCollector
from contentgen_operator.stores.preparation import prepare_stores
from contentgen_operator.stores.records import RecordStore
from contentgen_operator.stores.run_documents import RunDocuments
from contentgen_operator.stores.s3 import Storage
from contentgen_operator.stores.status_verification import StatusVerifier
from contentgen_operator.stores.worker_jobs import WorkerJobs
from contentgen_operator.telemetry.health import OperatorHealth, health_app
from contentgen_operator.telemetry.instrumented import (
    InstrumentedLedger,
    InstrumentedProvider,
    counted_desk,
    exposition,
)
from contentgen_operator.watch.event_handlers import EventHandlers
from contentgen_operator.watch.kopf_handlers import build_registry
from contentgen_operator.watch.liveness import WatchLiveness
from contentgen_operator.watch.lora_names import LoraNames
from contentgen_operator.watch.settled import SettledCheck
from contentgen_operator.worker_api.authentication import WorkerAuthenticator
from contentgen_operator.worker_api.reports import Reports
from contentgen_operator.worker_api.server import WorkerApi, create_app
from contentgen_operator.worker_api.tls import CertificateTerm, KeptSecret, MountedFolder, WorkerApiTls
from contentgen_operator.worker_api.work_orders import SLACK, OrderPolicy
from contentgen_runtime import logs
from contentgen_runtime.kube import API_ERRORS, explain
from contentgen_runtime.namespaces import Namespaces
from contentgen_runtime.rotation import keep_fresh
from contentgen_runtime.servers import plain_server, tls_server
from contentgen_runtime.stores import Stores
from contentgen_runtime.tenancy import Tenancy

_log = logging.getLogger(__name__)
_THREADS = 48
_START_SECONDS = 2.0  # between two tries to reach the API server
_GOODBYE_SECONDS = 1  # for connections


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = Settings()
    reach_cluster_directly()
    logs.configure(settings.log_format, settings.log_level)
    if settings.sentry_dsn:
        from contentgen_operator.telemetry import sentry  # noqa: PLC0415 - the SDK takes memory, and few have a DSN

        sentry.start(settings.sentry_dsn, settings.sentry_environment)
    asyncio.run(_run(settings))


async def _run(settings: Settings) -> None:
    # More than the queue's workers and the desk keep waiting: a store that hangs holds up nobody who needs another.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="store"))
    stop = asyncio.Event()
    _on_signals(stop)
    async with Kube() as kube:
        tls = _desk_tls(settings, kube)
        refresh_in = await first_certificate(tls, stop)
        if refresh_in is not None:
            await _serve(settings, kube, tls, refresh_in, stop)


async def first_certificate(tls: WorkerApiTls, stop: asyncio.Event) -> float | None:
    """Seconds until the desk's certificate is looked at again; None where the process is stopped before.

    An API server that is away is waited for: the kubelet's back-off between new starts would be longer. Raises its
    refusals.
    """
    while not stop.is_set():
        try:
            return await tls.refresh()
        except API_ERRORS as error:
            if (getattr(error, "status", None) or 500) < 500:
                raise
            _log.warning("the API server is waited for: %s", explain(error))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                await stop.wait()
    return None


def _on_signals(stop: asyncio.Event) -> None:
    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)


async def _serve(settings: Settings, kube: Kube, tls: WorkerApiTls, refresh_in: float, stop: asyncio.Event) -> None:
    stores = Stores.of(settings)
    storage, database = _storage(settings, stores), stores.database
    leadership, election = _leader_election(settings)
    claim = _claim(settings, kube, leadership)
    works = partial(_works, leadership, claim)
    selection = _selection(settings)
    check = leadership.check
    leaving = NamespaceReleases(kube, selection, check)
    ledger = InstrumentedLedger(database["ledger"], check, settings.operator_class)
    records = RecordStore(database["jobs"], storage, check)
    providers, jobs = _providers(settings), WorkerJobs(database["worker_jobs"], check)
    runs, reports, cache = RunDocuments(database["runs"], check), Reports(), Cache()
    janitor = GarbageCollector(storage=storage, ledger=ledger, records=records, jobs=jobs, runs=runs, check=check)
    tenancy = Tenancy(kube, database)
    witness = StatusVerifier(ledger=ledger, records=records, runs=runs, tenancy=tenancy)
    names = LoraNames(selection)
    observer = Observer(
        kube=kube,
        cache=cache,
        storage=storage,
        ledger=ledger,
        jobs=jobs,
        providers=providers,
        reports=reports,
        verifier=witness,
        names=names,
        prices=FalPrices(KeyFile(settings.fal_key_file), settings.fal_api_url, tls=trusted_cas(settings.ca_file)),
        limits=settings.limits,
    )
    actor = Actor(
        kube=kube,
        storage=storage,
        ledger=ledger,
        records=records,
        jobs=jobs,
        runs=runs,
        providers=providers,
        template=partial(_template, settings, tls),
        cache=cache,
        garbage_collector=janitor,
        leadership=leadership,
    )
    reconciler = Reconciler(
        kube=kube, cache=cache, observer=observer, actor=actor, policy=_policy(settings), selection=selection
    )
    orphans = Orphans(
        kube=kube,
        cache=cache,
        storage=storage,
        ledger=ledger,
        providers=providers,
        retention=_retention(settings),
        tenancy=tenancy,
        selection=selection,
        check=check,
    )
    desk = WorkerApi(
        gatekeeper=WorkerAuthenticator(kube, cache, jobs, selection),
        storage=storage,
        ledger=ledger,
        reports=reports,
        policy=_order_policy(settings),
        wake=reconciler.wake,
        witness=witness,
        check=check,
    )
    watches = WatchLiveness()
    health = OperatorHealth(
        watches,
        reconciler.queue,
        watch_seconds=settings.watch_dead_seconds,
        stuck_seconds=settings.queue_stuck_seconds,
        leads=works,
        claim=lambda: claim.problem if claim is not None else "",
        scopes=len(selection.namespaces.scopes),
    )
    _register_gauges(settings, tls, watches, works, reconciler.queue)
    desk_server = tls_server(counted_desk(create_app(desk)), settings.desk_port, tls.context)
    health_server = plain_server(health_app(health, partial(exposition, ledger)), settings.health_port)
    showing = _showing(kube, observer, reconciler, selection)
    settler = ChargeSettlement(Charges(database["ledger"]), _billing(settings), show=showing.show, check=check)
    settled = SettledCheck(runs, reconciler.wake)
    leader_tasks = LeaderTasks(partial(_may_begin, election, claim), reconciler.queue, cache.refs)
    loops = [janitor.run, orphans.run, settler.run, settled.run, leaving.run]
    if claim is not None:
        loops.append(claim.kept)
    if settings.endpoint is not None:
        loops.append(EndpointWriter(kube, settings.endpoint, leadership, lambda: desk_server.started).run)
    prepared = _prepared(health, partial(prepare_stores, storage, ledger, records, jobs))
    begun = (
        health_server.serve(),
        _together(prepared, tls.keep_fresh(refresh_in), keep_fresh(stores.refreshed)),
        leader_tasks.run(desk_server, loops),
    )
    tasks = [asyncio.create_task(each) for each in begun]
    intake = EventHandlers(
        cache,
        leader_tasks.wake,
        reports,
        names,
        settled,
        selection=selection,
        left=leaving.note,
        gone=leader_tasks.deleted,
    )
    tasks += await _begin_watching(kube, selection.namespaces, intake, watches, stop)
    if election is not None:
        tasks.append(asyncio.create_task(election.lost()))
    await _until(stop, tasks)
    asyncio.get_running_loop().set_exception_handler(_while_ending)
    await _drain(actor, leader_tasks, reconciler.queue, settings.drain_seconds, lost=bool(leadership.over))
    health_server.should_exit = True
    leader_tasks.stop()
    await asyncio.wait([*tasks, *leader_tasks.tasks], timeout=_GOODBYE_SECONDS)
    if election is not None:
        await election.release()


def _leader_election(settings: Settings) -> tuple[Leadership, ElectionThread | None]:
    """The election has begun; None: this process leads without one."""
    if not settings.leader_election:
        return Leadership.always(), None
    leadership = Leadership()
    connect = kube_lease(settings.namespace, settings.lease_name)
    election = ElectionThread(connect, leadership, identity(), settings.lease_timing)
    election.start()
    return leadership, election


def _claim(settings: Settings, kube: Kube, leadership: Leadership) -> ClassClaim | None:
    """The claim of the operator class; None: this process serves it without one."""
    if not settings.service_account:
        return None
    me = ClassOwner(namespace=settings.namespace, service_account=settings.service_account, release=settings.release)

    async def announce(problem: str) -> None:
        if not settings.pod_uid:
            return
        notice = Event(type="Warning", reason="OperatorClassNotClaimed", message=problem)
        try:
            await kube.post_pod_event(settings.namespace, settings.pod_name, settings.pod_uid, notice, utc_now())
        except API_ERRORS as error:  # for people who look: the log and the readiness say the same
            _log.warning("an event was not posted: %s", explain(error))

    return ClassClaim(KubeClass(kube, settings.operator_class), settings.operator_class, me, leadership, announce)


def _works(leadership: Leadership, claim: ClassClaim | None) -> bool:
    return leadership.is_leader and (claim is None or claim.held)


async def _may_begin(election: ElectionThread | None, claim: ClassClaim | None) -> None:
    """Until this process leads, and its installation owns the operator class."""
    if election is not None:
        watching = asyncio.create_task(claim.watched()) if claim is not None else None
        try:
            await election.elected()
        finally:
            if watching is not None:
                watching.cancel()
    if claim is not None:
        await claim.acquired()


async def _drain(
    actor: Actor, leader_tasks: LeaderTasks, queue: WorkQueue[ResourceRef], seconds: float, *, lost: bool
) -> None:
    """Pay nothing more and let the queue's work end."""
    actor.stop_paying()
    if lost:
        leader_tasks.stop_others()  # the next leader has begun them
    await queue.drain(seconds)


def _register_gauges(
    settings: Settings,
    tls: WorkerApiTls,
    watches: WatchLiveness,
    works: Callable[[], bool],
    queue: WorkQueue[ResourceRef],
) -> None:
    metrics.priced_models.update(settings.prices)
    metrics.gauges.watch_ages = watches.ages
    metrics.gauges.certificate_expiry = lambda: tls.expires_at.timestamp()  # noqa: PLW0108 - it is renewed, so it is asked anew
    metrics.gauges.leader = works
    metrics.gauges.queue = lambda: (len(queue), queue.oldest_due_seconds)


def _selection(settings: Settings) -> Selection:
    namespaces = Namespaces(settings.watch_namespaces, settings.watch_namespace_selector)
    return Selection(operator_class=settings.operator_class, namespaces=namespaces)


async def _together(*works: Coroutine[Any, Any, None]) -> None:
    async with asyncio.TaskGroup() as group:
        for each in works:
            group.create_task(each)


async def _prepared(health: OperatorHealth, prepare: Callable[[], Awaitable[None]]) -> None:
    await prepare()
    health.stores_ready = True


async def _begin_watching(
    kube: Kube, namespaces: Namespaces, intake: EventHandlers, watches: WatchLiveness, stop: asyncio.Event
) -> list[asyncio.Task[None]]:
    following = asyncio.create_task(namespaces.run(kube, partial(intake.look, kube)))
    known, stopping = asyncio.create_task(namespaces.known.wait()), asyncio.create_task(stop.wait())
    # Before the first list of the labels nothing is selected.
    await asyncio.wait({following, known, stopping}, return_when=asyncio.FIRST_COMPLETED)
    known.cancel()
    stopping.cancel()
    await intake.first_look(kube, namespaces.scopes)
    return [following, asyncio.create_task(_watch(namespaces, build_registry(intake, watches), stop))]


async def _watch(namespaces: Namespaces, registry: kopf.OperatorRegistry, stop: asyncio.Event) -> None:
    where: dict[str, Any] = {"namespaces": list(namespaces.names)} if namespaces.names else {"clusterwide": True}
    ready = asyncio.Event()
    watching = asyncio.create_task(
        kopf.operator(registry=registry, standalone=True, stop_flag=stop, ready_flag=ready, **where)
    )
    await asyncio.wait({watching, asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
    # kopf has put its own handlers in place of ours, and would take seconds to stop before we heard of it.
    _on_signals(stop)
    await watching


async def _until(stop: asyncio.Event, tasks: list[asyncio.Task[None]]) -> None:
    """Until a signal, or until a part that should run for ever has ended: then the pod is started anew."""
    stopping = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({stopping, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    for task in done - {stopping}:
        task.result()


def _while_ending(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    # kopf leaves a watch as it is when it is cancelled between two events, and its generator can't be closed later.
    if "asyncgen" in context:
        _log.info("%s", context["message"])
    else:
        loop.default_exception_handler(context)


def _storage(settings: Settings, stores: Stores) -> Storage:
    return Storage(
        bucket=settings.s3_bucket,
        region=settings.s3_region,
        endpoint=settings.s3_endpoint,
        public_endpoint=settings.s3_public_endpoint,
        provider_lifetime=timedelta(seconds=settings.provider_deadline_seconds) + SLACK,
        session=stores.session,
    )


def _providers(settings: Settings) -> dict[str, Provider]:
    tls = trusted_cas(settings.ca_file)
    fal = Fal(KeyFile(settings.fal_key_file), settings.fal_queue_url, settings.fal_api_url, tls=tls)
    assemblyai = AssemblyAI(KeyFile(settings.assemblyai_key_file), settings.assemblyai_url, tls=tls)
    return {each.name: InstrumentedProvider(each.name, each) for each in (fal, assemblyai)}


def _billing(settings: Settings) -> FalBilling:
    keys = KeyFile(settings.fal_billing_key_file), KeyFile(settings.fal_key_file)
    return FalBilling(keys, settings.fal_api_url, tls=trusted_cas(settings.ca_file))


def _showing(kube: Kube, observer: Observer, reconciler: Reconciler, selection: Selection) -> ChargeDisplay:
    async def wake(ref: ResourceRef) -> None:
        observer.note_settled(ref.uid)
        await reconciler.wake(ref)

    return ChargeDisplay(kube, wake, selection)


def _policy(settings: Settings) -> Policy:
    return Policy(
        poll_seconds=settings.poll_seconds,
        adoption_seconds=settings.adoption_seconds,
        stage_attempts=settings.stage_attempts,
        provider_seconds=settings.provider_deadline_seconds,
        bucket=settings.s3_bucket,
        sources=settings.sources,
        allowed_hosts=settings.allowed_hosts,
        recording_seconds=settings.limits.duration_seconds,
        prices=PRICES | settings.prices,
        own_prices=frozenset(settings.prices),
        models_allowed=settings.models_allowed,
    )


def _retention(settings: Settings) -> Retention:
    return Retention(
        kept=timedelta(days=settings.orphan_retention_days),
        provider_seconds=settings.provider_deadline_seconds,
        prices=PRICES | settings.prices,
        own_prices=frozenset(settings.prices),
    )


def _order_policy(settings: Settings) -> OrderPolicy:
    return OrderPolicy(
        limits=settings.limits,
        allowed_hosts=settings.allowed_hosts,
        bucket=settings.s3_bucket,
        sources=settings.sources,
        stage_deadline=timedelta(seconds=settings.stage_deadline_seconds),
    )


def _desk_tls(settings: Settings, kube: Kube) -> WorkerApiTls:
    if settings.desk_tls_folder is not None:
        return WorkerApiTls(MountedFolder(settings.desk_tls_folder, settings.desk_url))
    term = CertificateTerm(
        lifetime=timedelta(seconds=settings.desk_certificate_seconds),
        renew_before=timedelta(seconds=settings.desk_renew_before_seconds),
    )
    return WorkerApiTls(KeptSecret(kube, settings.namespace, settings.desk_secret, settings.desk_url, term))


def _template(settings: Settings, tls: WorkerApiTls) -> JobTemplate:
    return JobTemplate(
        image=settings.worker_image,
        image_pull_policy=settings.worker_image_pull_policy,
        service_account=settings.worker_service_account,
        resources=settings.worker_resources,
        deadline_seconds=settings.stage_deadline_seconds,
        desk_url=settings.desk_url,
        desk_ca=tls.ca,
        pod=settings.worker_pod,
        operator_class=settings.operator_class,
    )


if __name__ == "__main__":
    main()
