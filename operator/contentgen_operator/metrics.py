"""Prometheus metrics of the operator. Those of features are in `metrics.py` of their folders.

Labels have few values: no name of a user, a namespace or a resource, except for the usage, whose series are limited.
Everybody may be able to read them: money by tenant is only there where `Gauges.shows_tenants`. Counters begin at zero
with each process, as Prometheus expects; permanent figures are in the ledger, whose states are counted at a scrape.
"""

import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import Counter, Histogram
from prometheus_client import generate_latest as _exposition
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from contentgen_contract.names import DEFAULT_ACCOUNT, FINAL_PHASES, Phase, Reason
from contentgen_contract.records.purchase_costs import UsageLabel
from contentgen_contract.resources.prices import PRICES, USD
from contentgen_contract.resources.providers import PROVIDERS, Providers
from contentgen_runtime.metrics import SECONDS, Description, describe, new_registry

REGISTRY = new_registry()

_OTHER = "other"
_PHASES, _REASONS = frozenset(Phase), frozenset(Reason) | {""}
# Reasons whose age is shown: the run waits, and none of its phases.
_WAITS = frozenset(
    {
        *(Reason.JOB_REFUSED, Reason.POD_NOT_STARTED, Reason.RETRYING, Reason.QUEUED, Reason.CIRCUIT_OPEN),
        *(Reason.CLUSTER_NOT_CONFIRMED, Reason.STORE_UNAVAILABLE, Reason.PROVIDER_UNAVAILABLE),
        *(Reason.PROVIDER_NOT_CONFIGURED, Reason.BUDGET_EXCEEDED, Reason.COLLECT_BACKLOG, Reason.BUYING_PAUSED),
    }
)

reconciles = Counter(
    "contentgen_reconciles",
    "Reconciles of one resource, by result: done, conflict, api_error or error.",
    ("kind", "result"),
    registry=REGISTRY,
)
reconcile_seconds = Histogram(
    "contentgen_reconcile_seconds", "Time of one reconcile.", ("kind",), buckets=SECONDS, registry=REGISTRY
)
provider_calls = Counter(
    "contentgen_provider_calls",
    "Requests to paid providers. `account` is the provider account: default, one of the chart's, or other. `call` is "
    "submit (which may cost), poll, find or cancel; `verdict` is ok, or the error: Refused and Busy were not accepted, "
    "MaybeAccepted may be billed.",
    ("provider", "account", "call", "verdict"),
    registry=REGISTRY,
)
provider_seconds = Histogram(
    "contentgen_provider_call_seconds",
    "Time of requests to paid providers.",
    ("provider", "call"),
    buckets=SECONDS,
    registry=REGISTRY,
)
estimated_dollars = Counter(
    "contentgen_estimated_dollars",
    "Estimated cost of accepted requests; those without an estimate are in contentgen_unpriced_requests. In amounts "
    "`account` is other for all but the default one unless readers are named. A crash may "
    "lose a count but never doubles one; the ledger has the exact figure.",
    ("provider", "account", "model"),
    registry=REGISTRY,
)
spent_dollars = Counter(
    "contentgen_spent_dollars",
    "Cost of ended requests, by the provider's figures or else the estimate; those of unknown cost are in "
    "contentgen_unbilled_requests.",
    ("provider", "account", "model"),
    registry=REGISTRY,
)
unpriced_requests = Counter(
    "contentgen_unpriced_requests",
    "Accepted requests without an estimate, which no amount includes.",
    ("provider", "account", "model"),
    registry=REGISTRY,
)
unbilled_requests = Counter(
    "contentgen_unbilled_requests",
    "Ended requests of unknown cost, as most cancelled ones, which no amount includes.",
    ("provider", "account", "model"),
    registry=REGISTRY,
)
store_errors = Counter(
    "contentgen_store_errors",
    "Errors of a store that delayed work: MongoDB or S3.",
    ("store",),
    registry=REGISTRY,
)
api_requests = Counter(
    "contentgen_api_requests",
    "Requests to the Kubernetes API server, without watches; code 0 is no response.",
    ("method", "resource", "code"),
    registry=REGISTRY,
)
worker_api_requests = Counter(
    "contentgen_worker_api_requests", "Requests of workers to the worker API.", ("endpoint", "code"), registry=REGISTRY
)

notification_attempts = Counter(
    "contentgen_notification_attempts",
    "Attempts to deliver a notification, by result: delivered, failed, refused (nothing was sent) or gone (410).",
    ("result",),
    registry=REGISTRY,
)
notifications_failed = Counter(
    "contentgen_notifications_failed",
    "Notifications that could not be delivered for a day, or until newer ones of their namespace displaced them.",
    registry=REGISTRY,
)


@dataclass(frozen=True)
class UsageSample:
    """Usage of one combination of labels in a window. Amounts are micro-dollars."""

    window: str
    labels: tuple[str, ...]  # values of UsageLabel, in its order
    amounts: Mapping[str, int]
    purchases: int


class Gauges(Collector):
    """Gauges, read at each scrape."""

    def __init__(self) -> None:
        self.queue: Callable[[], tuple[int, float]] = lambda: (0, 0.0)
        self.watch_ages: Callable[[], Mapping[str, float]] = dict
        self.ledger_states: Mapping[str, int] = {}
        self.features: Sequence[Collector] = ()
        self.usage: Sequence[UsageSample] = ()
        self.clock: Callable[[], float] = time.time
        self.shows_tenants = False  # money by budget and provider account, because the readers are named
        self.leader: Callable[[], bool] = lambda: True
        # To be delivered; seconds since the oldest was created, and since an attempt has been due.
        self.notifications: tuple[int, float, float] = (0, 0.0, 0.0)
        self.certificate_expiry: Callable[[], float] = lambda: 0.0
        self.store_requirements: Mapping[str, bool] = {}  # by name, whether the store met it at the start
        self._resources: dict[str, tuple[tuple[str, str, str], float]] = {}  # labels, and since when
        self._tally: Tally[tuple[str, str, str]] = Tally()

    def note_resource(self, uid: str, kind: str, phase: str, reason: str) -> None:
        """Count a resource in its current phase, as delivered by the watch."""
        labels = (kind, _known(phase, _PHASES), _known(reason, _REASONS))
        before, since = self._resources.get(uid, (("", "", ""), 0.0))
        kept = since if (before[0], before[2]) == (kind, labels[2]) else self.clock()
        self.forget_resource(uid)
        self._resources[uid] = labels, kept
        self._tally[labels] += 1

    def forget_resource(self, uid: str) -> None:
        """Stop counting a deleted resource."""
        before = self._resources.pop(uid, None)
        if before is not None:
            labels, _ = before
            self._tally[labels] -= 1
            if not self._tally[labels]:
                del self._tally[labels]

    def collect(self) -> Iterable[Metric]:
        """Current values of the gauges."""
        depth, oldest = self.queue()
        yield GaugeMetricFamily("contentgen_queue_depth", "Resources in the work queue, due now or later.", depth)
        yield GaugeMetricFamily(
            "contentgen_queue_oldest_due_seconds", "Seconds since the oldest key in the work queue became due.", oldest
        )
        resources = GaugeMetricFamily(
            "contentgen_resources",
            "Resources in the cluster, by kind, phase and reason.",
            labels=("kind", "phase", "reason"),
        )
        for labels, count in self._tally.items():
            resources.add_metric(labels, count)
        yield resources
        yield self._waits()
        ledger = GaugeMetricFamily(
            "contentgen_ledger_purchases", "Purchases in the ledger, by state.", labels=("state",)
        )
        for state, count in self.ledger_states.items():
            ledger.add_metric((state,), count)
        yield ledger
        for feature in self.features:
            yield from feature.collect()
        yield from self._usage()
        pending, age, overdue = self.notifications
        yield GaugeMetricFamily(
            "contentgen_notifications_pending", "Notifications that are to be delivered, now or later.", pending
        )
        yield GaugeMetricFamily(
            "contentgen_notifications_oldest_seconds", "Seconds since the oldest of them was caused.", age
        )
        yield GaugeMetricFamily(
            "contentgen_notifications_overdue_seconds",
            "Seconds since the first of them should have been sent, or sent again; also while many wait for one host.",
            overdue,
        )
        ages = GaugeMetricFamily(
            "contentgen_watch_age_seconds", "Seconds since each watch was opened; a minute at most.", labels=("watch",)
        )
        for name, age in self.watch_ages().items():
            ages.add_metric((name,), age)
        yield ages
        yield GaugeMetricFamily("contentgen_leader", "1 if this process leads, 0 on a standby.", self.leader())
        yield GaugeMetricFamily(
            "contentgen_worker_api_certificate_expiry_timestamp_seconds",
            "End of validity of the worker API's certificate.",
            self.certificate_expiry(),
        )
        yield self._store_requirements()

    def _store_requirements(self) -> Metric:
        met = GaugeMetricFamily(
            "contentgen_store_requirement",
            "1 if S3 met a requirement at the start of the process, else 0: region and create_only, without which "
            "nothing is paid, versions, bulk_deletion and checksums.",
            labels=("requirement",),
        )
        for requirement, is_met in self.store_requirements.items():
            met.add_metric((requirement,), is_met)
        return met

    def _waits(self) -> Metric:
        """Ages of waits. A run that is at work changes its reason by itself, and one that is over never."""
        oldest: dict[tuple[str, str], float] = {}
        for (kind, phase, reason), since in self._resources.values():
            if reason in _WAITS and phase not in FINAL_PHASES:
                oldest[kind, reason] = min(oldest.get((kind, reason), since), since)
        ages = GaugeMetricFamily(
            "contentgen_resource_wait_seconds",
            "Longest time for which a resource has had the same reason of a wait, as seen by this process: a restart "
            "begins it anew.",
            labels=("kind", "reason"),
        )
        for labels, since in oldest.items():
            ages.add_metric(labels, max(self.clock() - since, 0.0))
        return ages

    def _usage(self) -> Iterable[Metric]:
        # Prometheus' own label of the target is `namespace`.
        names = tuple(f"resource_{each}" if each is UsageLabel.NAMESPACE else each.value for each in UsageLabel)
        dollars = GaugeMetricFamily(
            "contentgen_usage_dollars",
            "Cost of the purchases that were planned in the current UTC day or month (`window`), by the labels of "
            "monitoring.usage; of all namespaces and users together unless readers are named. `amount` is paid (billed "
            "by the provider), estimated (finished, not billed yet) or expected (in progress). Purchases of unknown "
            "cost are not in it. `_other` is the rest beyond monitoring.usage.maxSeries. Of the leader only.",
            labels=("window", "amount", *names),
        )
        purchases = GaugeMetricFamily(
            "contentgen_usage_purchases",
            "Number of these purchases, with those of unknown cost.",
            labels=("window", *names),
        )
        for each in self.usage:
            for amount, micros in each.amounts.items():
                dollars.add_metric((each.window, amount, *each.labels), micros / USD)
            purchases.add_metric((each.window, *each.labels), each.purchases)
        yield dollars
        yield purchases


def _known(value: str, known: frozenset[str]) -> str:
    """A known value, else "other": a tenant may have written the status."""
    return value if value in known else _OTHER


gauges = Gauges()
REGISTRY.register(gauges)


def described() -> tuple[Description, ...]:
    """The operator's metrics, by name."""
    return describe(REGISTRY, (value for value in globals().values() if isinstance(value, MetricWrapperBase)))


def exposition() -> bytes:
    """All metrics in Prometheus' text format."""
    return _exposition(REGISTRY)


priced_models: set[str] = set(PRICES)


def model_label(model: str) -> str:
    """Model as a label: one of the price table, else "other", because a user may name any."""
    return model if model in priced_models else _OTHER


_accounts: set[str] = set()


def add_accounts(names: Iterable[str], providers: Providers = PROVIDERS) -> None:
    """Start the amounts of provider accounts at 0: Prometheus' increase() misses the event that creates a series."""
    _accounts.update(names)
    for account in {money_account_label(each_account) for each_account in _accounts}:
        for model in (*PRICES, _OTHER):
            for dollars in (estimated_dollars, spent_dollars, unpriced_requests, unbilled_requests):
                dollars.labels(providers.of_model(model), account, model)


def account_label(account: str | None) -> str:
    """Provider account as a label: a configured one, else "other", because the ledger may name earlier ones."""
    name = account or DEFAULT_ACCOUNT
    return name if name in _accounts else _OTHER


def money_account_label(account: str | None) -> str:
    """Provider account of an amount: an account may be one team's, so `other` unless `Gauges.shows_tenants`."""
    name = account_label(account)
    return name if gauges.shows_tenants or name == DEFAULT_ACCOUNT else _OTHER


add_accounts((DEFAULT_ACCOUNT,))
for _store in ("MongoDB", "S3"):
    store_errors.labels(_store)
