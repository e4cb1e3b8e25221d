"""Construction of the operator's components: each is built once, from the settings and from the components it uses.

Nothing is sent and no task is started here, except the thread of the leader election; `__main__` runs the components.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from contentgen_contract.names import QUEUE_LABEL
from contentgen_contract.resources.models import full_name
from contentgen_contract.resources.operator_class import ClassOwner
from contentgen_contract.worker.orders import EgressProxy
from contentgen_operator import metrics
from contentgen_operator.accounts import feature as accounts
from contentgen_operator.act import Actor
from contentgen_operator.approval import feature as approval
from contentgen_operator.audit import feature as audit
from contentgen_operator.audit.rounds import AccountAudit, AuditPlan
from contentgen_operator.audit.store import AuditedLedger, Audits
from contentgen_operator.background.charge_display import ChargeDisplay
from contentgen_operator.background.finished import FinishedCheck
from contentgen_operator.background.releases import NamespaceReleases
from contentgen_operator.background.settlement import ChargeSettlement
from contentgen_operator.background.usage import UsageMetrics, UsagePlan
from contentgen_operator.budgets import feature as budgets
from contentgen_operator.buying import feature as buying
from contentgen_operator.buying.metrics import BuyingMetrics
from contentgen_operator.buying.metrics import gauges as buying_gauges
from contentgen_operator.buying.stops import Buying
from contentgen_operator.cleanup import feature as cleanup
from contentgen_operator.cleanup.expiry_times import Expiries
from contentgen_operator.cleanup.garbage_collector import GarbageCollector
from contentgen_operator.cleanup.left_jobs import LeftJobs
from contentgen_operator.cleanup.temporary_files import TemporaryFileDeletion, TemporaryFiles
from contentgen_operator.clock import utc_now
from contentgen_operator.feature import BoundFeature
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.cache import Cache
from contentgen_operator.kube.job_manifests import JobTemplate
from contentgen_operator.kube.selection import Selection
from contentgen_operator.leader.class_holder import ClassHolder, KubeClass
from contentgen_operator.leader.endpoint import EndpointWriter
from contentgen_operator.leader.leadership import Check, Leadership
from contentgen_operator.leader.loop import LeaderLoop
from contentgen_operator.leader.role import LeaderRole
from contentgen_operator.leader.tasks import LeaderTasks, Loop
from contentgen_operator.leader.thread import ElectionThread
from contentgen_operator.notifications.granted_headers import GrantedHeaders
from contentgen_operator.notifications.guarded_post import GuardedPost
from contentgen_operator.notifications.key_secret import KeySecret
from contentgen_operator.notifications.notifier import Notifier
from contentgen_operator.observe import Observer
from contentgen_operator.operator_stores import OperatorStores
from contentgen_operator.orphans import feature as orphans
from contentgen_operator.orphans.rounds import Orphans
from contentgen_operator.providers.accounts import ProviderAccounts
from contentgen_operator.providers.network import IN_THE_CLUSTER, trusted_cas
from contentgen_operator.providers.table import SHIPPED, InstalledProviders, ProviderTable
from contentgen_operator.queue import feature as queue
from contentgen_operator.queue.fair_turns import PlaceLimits
from contentgen_operator.queue.metrics import gauges as queue_gauges
from contentgen_operator.queue.open_places import takes_place
from contentgen_operator.queue.payment_queue import PaymentQueue
from contentgen_operator.queue.preparation_queue import PreparationQueue
from contentgen_operator.reconcile import Reconciler
from contentgen_operator.settings import Settings
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.plan import Event
from contentgen_operator.state.purchases import Purchase
from contentgen_operator.stores.s3 import Storage
from contentgen_operator.telemetry.health import OperatorHealth
from contentgen_operator.telemetry.instrumented import InstrumentedLedger, InstrumentedProvider
from contentgen_operator.telemetry.worker_job_check import WorkerJobCheck, namespace_for_the_check
from contentgen_operator.watch.event_handlers import EventHandlers
from contentgen_operator.watch.liveness import WatchLiveness
from contentgen_operator.watch.lora_names import LoraNames
from contentgen_operator.worker_api.authentication import WorkerAuthenticator
from contentgen_operator.worker_api.reports import Reports
from contentgen_operator.worker_api.server import WorkerApi
from contentgen_operator.worker_api.tls import WorkerApiTls
from contentgen_operator.worker_api.work_orders import SLACK, OrderSettings
from contentgen_runtime.ca_bundle import LastBundle
from contentgen_runtime.kube import API_ERRORS, explain
from contentgen_runtime.namespaces import Namespaces
from contentgen_runtime.stores import Stores
from contentgen_runtime.tenancy import Tenancy

_log = logging.getLogger(__name__)
FEATURES = (
    orphans.FEATURE,
    accounts.FEATURE,
    approval.FEATURE,
    audit.FEATURE,
    budgets.FEATURE,
    buying.FEATURE,
    queue.FEATURE,
)
GAUGES = tuple(feature.gauges for feature in FEATURES if feature.gauges is not None)


@dataclass(frozen=True)
class Shared:
    """State in memory that several components read and write."""

    cache: Cache
    reports: Reports
    lora_names: LoraNames
    watches: WatchLiveness


@dataclass(frozen=True)
class Foundation:
    """Values that all other components are built from."""

    settings: Settings
    kube: Kube
    tls: WorkerApiTls  # its CA is what worker pods trust
    role: LeaderRole
    selection: Selection
    stores: OperatorStores
    shared: Shared
    providers: InstalledProviders
    features: tuple[BoundFeature, ...]

    @property
    def check(self) -> Check:
        """Raises Conflict if this process does not lead."""
        return self.role.leadership.check


@dataclass(frozen=True)
class ReconcileLoop:
    """Components that reconcile resources."""

    providers: ProviderAccounts
    observer: Observer
    actor: Actor
    reconciler: Reconciler
    payment_queue: PaymentQueue
    preparation_queue: PreparationQueue
    buying: Buying
    garbage_collector: GarbageCollector


@dataclass(frozen=True)
class BackgroundWork:
    """Components that work beside the reconciles, on the leader."""

    features: tuple[BoundFeature, ...]
    settlement: ChargeSettlement
    finished: FinishedCheck
    expiries: Expiries
    left_jobs: LeftJobs
    releases: NamespaceReleases
    notifier: Notifier
    usage: UsageMetrics
    buying: BuyingMetrics


def build_foundation(settings: Settings, kube: Kube, tls: WorkerApiTls, connected: Stores) -> Foundation:
    """Starts the thread of the leader election, if there is one."""
    role, selection = _leader_role(settings, kube), _selection(settings)
    check, database, providers = role.leadership.check, connected.database, installed_providers(settings)
    audits = Audits(database, check, settings.operator_class)
    return Foundation(
        settings=settings,
        kube=kube,
        tls=tls,
        role=role,
        selection=selection,
        stores=_stores(settings, kube, connected, check),
        shared=Shared(cache=Cache(), reports=Reports(), lora_names=LoraNames(selection), watches=WatchLiveness()),
        providers=providers,
        features=(
            audit.bound(audits, build_audit(settings, providers, audits, AuditedLedger(database))),
            budgets.bind(kube, database, settings.operator_class, check),
        ),
    )


def _selection(settings: Settings) -> Selection:
    namespaces = Namespaces(settings.watch_namespaces, settings.watch_namespace_selector)
    return Selection(operator_class=settings.operator_class, namespaces=namespaces)


def _leader_role(settings: Settings, kube: Kube) -> LeaderRole:
    leadership = Leadership() if settings.leader_election else Leadership.always()
    election = None
    if settings.leader_election:
        election = ElectionThread.started(settings.namespace, settings.lease, leadership)
    return LeaderRole(leadership, election, _class_holder(settings, kube, leadership))


def _class_holder(settings: Settings, kube: Kube, leadership: Leadership) -> ClassHolder | None:
    if not settings.service_account:
        return None
    owner = ClassOwner(namespace=settings.namespace, service_account=settings.service_account, release=settings.release)
    announce = partial(_announce_class_problem, settings, kube)
    return ClassHolder(KubeClass(kube, settings.operator_class), settings.operator_class, owner, leadership, announce)


async def _announce_class_problem(settings: Settings, kube: Kube, problem: str) -> None:
    if not settings.pod.uid:
        return
    event = Event(type="Warning", reason="OperatorClassNotOwned", message=problem)
    try:
        await kube.post_pod_event(settings.namespace, settings.pod.name, settings.pod.uid, event, utc_now())
    except API_ERRORS as error:  # the log and the readiness name the problem too
        _log.warning("an event was not posted: %s", explain(error))


def _stores(settings: Settings, kube: Kube, connected: Stores, check: Check) -> OperatorStores:
    database = connected.database
    ledger = InstrumentedLedger(database["ledger"], check, settings.operator_class)
    return OperatorStores.of(database, _storage(settings, connected), ledger, Tenancy(kube, database), check)


def _storage(settings: Settings, connected: Stores) -> Storage:
    return Storage(
        bucket=settings.s3_bucket,
        region=settings.s3_region,
        endpoint=settings.s3_endpoint,
        public_endpoint=settings.s3_public_endpoint,
        provider_lifetime=timedelta(seconds=settings.provider_deadline_seconds) + SLACK,
        least_lifetime=timedelta(seconds=settings.s3_provider_url_seconds),
        session=connected.session,
    )


def build_reconcile_loop(base: Foundation) -> ReconcileLoop:
    """Observer, actor and reconciler, with the providers."""
    stores, providers = base.stores, build_providers(base.settings, base.providers)
    garbage_collector, observer = _garbage_collector(stores, base.check), _observer(base, providers)
    payment_queue, preparation_queue = _payment_queue(base), _preparation_queue(base)
    buying = Buying(stores.ledger, base.settings.collect_backlog)
    stores.ledger.on_change = partial(_note_purchase, payment_queue, buying)
    actor = Actor(
        kube=base.kube,
        storage=stores.storage,
        ledger=stores.ledger,
        records=stores.records,
        jobs=stores.jobs,
        runs=stores.runs,
        notifications=stores.notifications,
        providers=providers,
        template=partial(_template, base.settings, base.tls),
        cache=base.shared.cache,
        garbage_collector=garbage_collector,
        leadership=base.role.leadership,
        buying=buying,
        payment_queue=payment_queue,
        features=base.features,
    )
    reconciler = Reconciler(
        kube=base.kube,
        cache=base.shared.cache,
        observer=observer,
        actor=actor,
        settings=base.settings.decision_settings(base.providers.table.rows),
        selection=base.selection,
        buying=buying,
        payment_queue=payment_queue,
        preparation_queue=preparation_queue,
    )
    return ReconcileLoop(
        providers=providers,
        observer=observer,
        actor=actor,
        reconciler=reconciler,
        payment_queue=payment_queue,
        preparation_queue=preparation_queue,
        buying=buying,
        garbage_collector=garbage_collector,
    )


def _preparation_queue(base: Foundation) -> PreparationQueue:
    settings = base.settings
    if QUEUE_LABEL in settings.worker.pod.job_labels:  # all Jobs are of that queue
        return PreparationQueue()
    return PreparationQueue(settings.max_prepare_jobs, preparing=base.shared.cache.preparing)


def _payment_queue(base: Foundation) -> PaymentQueue:
    settings, ledger = base.settings, base.stores.ledger
    providers = {name: provider.max_concurrent for name, provider in settings.providers.items()}
    limits = PlaceLimits(**dict(settings.max_concurrent), providers=providers)

    def counts(purchase: Purchase) -> bool:
        return takes_place(purchase, utc_now(), settings.provider_deadline_seconds)

    return PaymentQueue(limits, open_purchases=ledger.under_way, takes_place=counts)


def _note_purchase(payment_queue: PaymentQueue, buying: Buying, purchase: Purchase) -> None:
    payment_queue.note_purchase(purchase)
    buying.note_purchase(purchase)


def _observer(base: Foundation, providers: ProviderAccounts) -> Observer:
    settings, stores, shared = base.settings, base.stores, base.shared
    return Observer(
        kube=base.kube,
        cache=shared.cache,
        storage=stores.storage,
        ledger=stores.ledger,
        jobs=stores.jobs,
        providers=providers,
        reports=shared.reports,
        verifier=stores.verifier,
        names=shared.lora_names,
        prices=base.providers.prices(),
        limits=settings.limits,
        features=base.features,
        template=partial(_template, settings, base.tls),
    )


def _garbage_collector(stores: OperatorStores, check: Check) -> GarbageCollector:
    return GarbageCollector(
        storage=stores.storage,
        ledger=stores.ledger,
        records=stores.records,
        jobs=stores.jobs,
        runs=stores.runs,
        notifications=stores.notifications,
        check=check,
    )


def installed_providers(settings: Settings, table: ProviderTable = SHIPPED) -> InstalledProviders:
    """The providers with the keys and base URLs of the settings."""
    folders = {account: settings.provider_accounts_folder / account for account in settings.provider_accounts}
    return InstalledProviders.of(table, settings.providers, folders, trusted_cas(settings.ca_file))


def build_providers(settings: Settings, installed: InstalledProviders) -> ProviderAccounts:
    """Clients of all provider accounts, which metrics measure."""
    rows = installed.table.rows
    metrics.gauges.shows_tenants = settings.metrics_tenants
    queue_gauges.providers = rows.names
    metrics.add_accounts(settings.provider_accounts, rows)
    return installed.paid(InstrumentedProvider)


def _template(settings: Settings, tls: WorkerApiTls) -> JobTemplate:
    return JobTemplate(
        **dict(settings.worker),
        deadline_seconds=settings.stage_deadline_seconds,
        worker_api_url=settings.worker_api.url,
        worker_api_ca=tls.ca,
        operator_class=settings.operator_class,
    )


def build_background(base: Foundation, core: ReconcileLoop) -> BackgroundWork:
    """Components that work beside the reconciles."""
    stores = base.stores
    expiries, left_jobs = Expiries(core.reconciler.wake), LeftJobs(base.shared.cache, core.reconciler.wake)
    return BackgroundWork(
        features=(
            orphans.bound(_orphans(base, core)),
            cleanup.bound(core.garbage_collector, expiries, left_jobs, _temporary_files(base)),
        ),
        settlement=_settlement(base, core),
        finished=FinishedCheck(stores.runs, core.reconciler.wake),
        expiries=expiries,
        left_jobs=left_jobs,
        releases=NamespaceReleases(base.kube, base.selection, base.check),
        notifier=_notifier(base),
        usage=_usage(base),
        buying=BuyingMetrics(stores.ledger, core.buying),
    )


def _orphans(base: Foundation, core: ReconcileLoop) -> Orphans:
    stores = base.stores
    return Orphans(
        kube=base.kube,
        cache=base.shared.cache,
        storage=stores.storage,
        ledger=stores.ledger,
        providers=core.providers,
        retention=base.settings.retention,
        tenancy=stores.tenancy,
        selection=base.selection,
        check=base.check,
    )


def _temporary_files(base: Foundation) -> TemporaryFiles:
    return TemporaryFiles(
        storage=base.stores.storage,
        records=base.stores.records,
        runs=base.stores.runs,
        deletion=TemporaryFileDeletion(base.settings.temporary_files),
        check=base.check,
    )


def _usage(base: Foundation) -> UsageMetrics:
    settings, providers = base.settings, base.providers.table.rows
    plan = UsagePlan.of(settings.usage, settings.operator_class, providers, tenants=settings.metrics_tenants)
    return UsageMetrics(base.stores.charges, plan)


def _notifier(base: Foundation) -> Notifier:
    settings, kube = base.settings, base.kube
    return Notifier(
        outbox=base.stores.notifications,
        kube=kube,
        keys=KeySecret(kube, settings.namespace, settings.notify.keys_secret, check=base.check),
        headers=GrantedHeaders(settings.notify.headers_folder, settings.notify.headers),
        post=GuardedPost(trusted_cas(settings.ca_file), settings.allowed_hosts),
        check=base.check,
    )


def leader_loops(
    base: Foundation, core: ReconcileLoop, background: BackgroundWork, serves: Callable[[], bool]
) -> list[Loop]:
    """Loops that run while this process leads. `serves` is true once the worker API accepts connections."""
    wake, places, prepare = core.reconciler.wake, core.payment_queue, core.preparation_queue
    releases = background.releases
    every_seconds = (
        LeaderLoop("settlement of charges", 900, background.settlement.round),
        *(loop for feature in (*base.features, *background.features) for loop in feature.loops),
        LeaderLoop("comparison of finished statuses", 0, background.finished.round, after_error=30),
        LeaderLoop("release of namespaces", 5, releases.release, changed=releases.changed),
        LeaderLoop("places of paid requests", 15, partial(places.round, wake), changed=places.changed),
        LeaderLoop("places of prepare Jobs", 15, partial(prepare.wake_started, wake), changed=prepare.changed),
        LeaderLoop("metrics of the usage", 300, background.usage.round),
        LeaderLoop("metrics of paid results", 15, background.buying.round),
    )
    loops: list[Loop] = [
        core.garbage_collector.queue.run,
        background.notifier.run,
        *(loop.run for loop in every_seconds),
    ]
    if base.role.class_holder is not None:
        loops.append(base.role.class_holder.kept)
    if base.settings.endpoint is not None:
        loops.append(EndpointWriter(base.kube, base.settings.endpoint, base.role.leadership, serves).run)
    return loops


def _settlement(base: Foundation, core: ReconcileLoop) -> ChargeSettlement:
    show = _charge_display(base, core).show
    return ChargeSettlement(base.stores.charges, base.providers.billing(), show=show, check=base.check)


def build_audit(
    settings: Settings, providers: InstalledProviders, audits: Audits, ledger: AuditedLedger
) -> AccountAudit:
    """Audit of all accounts."""
    plan = AuditPlan(
        limits=settings.audit.limits(settings.operator_class, providers.table.rows),
        table=settings.price_table,
        models=frozenset(map(full_name, settings.models_allowed)),
        daily=settings.audit.daily,
    )
    return AccountAudit(audits, ledger, providers.readers(), plan)


def _charge_display(base: Foundation, core: ReconcileLoop) -> ChargeDisplay:
    async def wake(ref: ResourceRef) -> None:
        core.observer.note_settled(ref.uid)
        await core.reconciler.wake(ref)

    return ChargeDisplay(base.kube, wake, base.selection)


def build_worker_api(base: Foundation, core: ReconcileLoop) -> WorkerApi:
    """The endpoints of worker pods, without their server."""
    stores = base.stores
    return WorkerApi(
        authenticator=WorkerAuthenticator(base.kube, base.shared.cache, stores.jobs, base.selection),
        storage=stores.storage,
        ledger=stores.ledger,
        reports=base.shared.reports,
        settings=_order_settings(base.settings),
        wake=core.reconciler.wake,
        verifier=stores.verifier,
        check=base.check,
    )


def _order_settings(settings: Settings) -> OrderSettings:
    return OrderSettings(
        limits=settings.limits,
        allowed_hosts=settings.allowed_hosts,
        bucket=settings.s3_bucket,
        sources=settings.sources,
        proxy=_worker_proxy(settings),
        ca_certificates=LastBundle(settings.ca_file).read if settings.ca_file is not None else str,
        stage_deadline=timedelta(seconds=settings.stage_deadline_seconds),
    )


def _worker_proxy(settings: Settings) -> EgressProxy | None:
    proxy = settings.worker.proxy
    return proxy and proxy.model_copy(update={"exceptions": (*proxy.exceptions, *IN_THE_CLUSTER)})


def build_health(base: Foundation, core: ReconcileLoop) -> OperatorHealth:
    """Liveness and readiness of this process."""
    return OperatorHealth(
        base.shared.watches,
        core.reconciler.queue,
        watch_seconds=base.settings.watch_dead_seconds,
        stuck_seconds=base.settings.queue_stuck_seconds,
        leads=lambda: base.role.works,
        problem=lambda: base.role.problem,
        namespaces=base.selection.namespaces,
    )


def build_worker_job_check(base: Foundation) -> WorkerJobCheck:
    """Dry run of a worker Job, for `helm test`."""
    settings = base.settings
    place = partial(namespace_for_the_check, base.selection.namespaces, settings.namespace)
    return WorkerJobCheck(base.kube, place, partial(_template, settings, base.tls))


def register_gauges(base: Foundation, core: ReconcileLoop) -> None:
    """Connect the gauges to what they read at each scrape."""
    work = core.reconciler.queue
    metrics.priced_models.update(base.settings.prices)
    metrics.gauges.watch_ages = base.shared.watches.ages
    metrics.gauges.certificate_expiry = lambda: base.tls.expires_at.timestamp()  # noqa: PLW0108 - a renewal replaces it
    metrics.gauges.leader = lambda: base.role.works
    queue_gauges.queue = core.payment_queue
    metrics.gauges.features = GAUGES
    buying_gauges.paused = base.settings.buying_paused
    metrics.gauges.queue = lambda: (len(work), work.oldest_due_seconds)


def build_event_handlers(base: Foundation, background: BackgroundWork, tasks: LeaderTasks) -> EventHandlers:
    """Handlers of watch events, which wake resources through the tasks of the leader."""
    shared = base.shared
    return EventHandlers(
        shared.cache,
        tasks.wake,
        shared.reports,
        shared.lora_names,
        selection=base.selection,
        finished=(background.finished, background.expiries),
        left_jobs=background.left_jobs,
        on_deselected=background.releases.note,
        on_deleted=tasks.deleted,
    )
