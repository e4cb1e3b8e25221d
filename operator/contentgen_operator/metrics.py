"""What Prometheus is told: every metric of the operator, each defined here and nowhere else.

Labels have few values: no name of a user, a namespace or a resource. Counters begin at zero with each process, as
Prometheus expects; what must be right for ever is in the ledger, whose states are counted when they are asked for.
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import Counter, Histogram
from prometheus_client import generate_latest as _exposition
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from contentgen_contract.names import Phase, Reason
from contentgen_contract.resources.prices import PRICES
from contentgen_runtime.metrics import SECONDS, Description, describe, new_registry

REGISTRY = new_registry()

_OTHER = "other"
_PHASES, _REASONS = frozenset(Phase), frozenset(Reason) | {""}

reconciles = Counter(
    "contentgen_reconciles",
    "Looks at one resource, by what came of them: done, conflict, api_error or error.",
    ("kind", "result"),
    registry=REGISTRY,
)
reconcile_seconds = Histogram(
    "contentgen_reconcile_seconds", "Time of one look at a resource.", ("kind",), buckets=SECONDS, registry=REGISTRY
)
provider_calls = Counter(
    "contentgen_provider_calls",
    "Requests to paid providers. `call` is submit (which may cost), poll, find or cancel; `verdict` is ok, or the "
    "error: Refused and Busy were not accepted, MaybeAccepted may have been paid.",
    ("provider", "call", "verdict"),
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
    "Estimates of the requests that a provider has accepted; those without one are in contentgen_unpriced_requests. A "
    "crash may lose a count and never doubles one; the ledger is the figure to trust.",
    ("provider", "model"),
    registry=REGISTRY,
)
spent_dollars = Counter(
    "contentgen_spent_dollars",
    "Cost of the requests that have ended, by the provider's figures or else the estimate; those of which nobody knows "
    "it are in contentgen_unbilled_requests.",
    ("provider", "model"),
    registry=REGISTRY,
)
unpriced_requests = Counter(
    "contentgen_unpriced_requests",
    "Requests that a provider has accepted and for which there is no estimate: they are in no amount.",
    ("provider", "model"),
    registry=REGISTRY,
)
unbilled_requests = Counter(
    "contentgen_unbilled_requests",
    "Requests that have ended and of which nobody knows the cost, as most that were cancelled: they are in no amount.",
    ("provider", "model"),
    registry=REGISTRY,
)
store_errors = Counter(
    "contentgen_store_errors",
    "Times that a store kept work from going on: MongoDB or S3.",
    ("store",),
    registry=REGISTRY,
)
api_requests = Counter(
    "contentgen_api_requests",
    "Requests to the Kubernetes API server, watches not counted; code 0 is no answer.",
    ("method", "resource", "code"),
    registry=REGISTRY,
)
desk_requests = Counter(
    "contentgen_desk_requests", "Requests of workers to the desk.", ("endpoint", "code"), registry=REGISTRY
)


class Gauges(Collector):
    """What is looked up at the moment of a scrape."""

    def __init__(self) -> None:
        self.queue: Callable[[], tuple[int, float]] = lambda: (0, 0.0)
        self.watch_ages: Callable[[], Mapping[str, float]] = dict
        self.ledger_states: Mapping[str, int] = {}
        self.orphans: Mapping[str, int] = {}
        self.leader: Callable[[], bool] = lambda: True
        self.certificate_expiry: Callable[[], float] = lambda: 0.0
        self._resources: dict[str, tuple[str, str, str]] = {}
        self._tally: Tally[tuple[str, str, str]] = Tally()

    def note_resource(self, uid: str, kind: str, phase: str, reason: str) -> None:
        """A resource as the watch delivered it."""
        self.forget_resource(uid)
        labels = (kind, _known(phase, _PHASES), _known(reason, _REASONS))
        self._resources[uid] = labels
        self._tally[labels] += 1

    def forget_resource(self, uid: str) -> None:
        """A resource was deleted."""
        before = self._resources.pop(uid, None)
        if before is not None:
            self._tally[before] -= 1
            if not self._tally[before]:
                del self._tally[before]

    def collect(self) -> Iterable[Metric]:
        """The gauges."""
        depth, oldest = self.queue()
        yield GaugeMetricFamily("contentgen_queue_depth", "Resources that are to be looked at, now or later.", depth)
        yield GaugeMetricFamily(
            "contentgen_queue_oldest_due_seconds", "For how long the oldest work has been due.", oldest
        )
        resources = GaugeMetricFamily(
            "contentgen_resources",
            "Resources in the cluster, by kind, phase and reason.",
            labels=("kind", "phase", "reason"),
        )
        for labels, count in self._tally.items():
            resources.add_metric(labels, count)
        yield resources
        ledger = GaugeMetricFamily(
            "contentgen_ledger_purchases", "Purchases in the ledger, by their state.", labels=("state",)
        )
        for state, count in self.ledger_states.items():
            ledger.add_metric((state,), count)
        yield ledger
        orphans = GaugeMetricFamily(
            "contentgen_orphans",
            "Purchases whose resource is gone and that are still looked for or kept, by their state.",
            labels=("state",),
        )
        for state, count in self.orphans.items():
            orphans.add_metric((state,), count)
        yield orphans
        ages = GaugeMetricFamily(
            "contentgen_watch_age_seconds", "Since when each watch has been open; a minute at most.", labels=("watch",)
        )
        for name, age in self.watch_ages().items():
            ages.add_metric((name,), age)
        yield ages
        yield GaugeMetricFamily(
            "contentgen_leader", "1 where this process leads, and does the work; 0 on a standby.", self.leader()
        )
        yield GaugeMetricFamily(
            "contentgen_desk_certificate_expiry_timestamp_seconds",
            "When the desk's certificate ends.",
            self.certificate_expiry(),
        )


def _known(word: str, words: frozenset[str]) -> str:
    """A word of the operator's, else "other": a tenant may have written the status."""
    return word if word in words else _OTHER


gauges = Gauges()
REGISTRY.register(gauges)


def described() -> tuple[Description, ...]:
    """The operator's metrics, by name."""
    return describe(REGISTRY, (each for each in globals().values() if isinstance(each, MetricWrapperBase)))


def exposition() -> bytes:
    """Everything, in Prometheus' text format."""
    return _exposition(REGISTRY)


priced_models: set[str] = set(PRICES)


def model_label(model: str) -> str:
    """A model of the price table, else "other": a user may name any."""
    return model if model in priced_models else _OTHER


# Prometheus' increase() does not see the event that begins a series, so those of money and stores begin at 0.
for _model in (*PRICES, _OTHER):
    for _dollars in (estimated_dollars, spent_dollars, unpriced_requests, unbilled_requests):
        _dollars.labels("assemblyai" if _model.startswith("assemblyai/") else "fal", _model)
for _store in ("MongoDB", "S3"):
    store_errors.labels(_store)
