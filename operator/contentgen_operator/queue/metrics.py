"""Gauges of the queue before the payment: places, waiting runs and circuits."""

from collections.abc import Iterable, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from contentgen_contract.resources.providers import PROVIDERS
from contentgen_operator import metrics
from contentgen_operator.queue.circuit_breaker import CircuitState
from contentgen_operator.queue.payment_queue import PaymentQueue

_CIRCUIT_VALUES = {CircuitState.OPEN: 1.0, CircuitState.HALF_OPEN: 0.5}


class QueueGauges(Collector):
    """Gauges, read at each scrape."""

    queue = PaymentQueue()  # replaced by the operator's
    providers: Sequence[str] = PROVIDERS.names

    def collect(self) -> Iterable[Metric]:
        """Current values."""
        waiting = GaugeMetricFamily(
            "contentgen_queued_runs", "Runs that wait for a place for their paid request.", labels=("provider",)
        )
        taken = GaugeMetricFamily(
            "contentgen_concurrent_requests",
            "Places in use: paid requests under way, and those that may be sent next.",
            labels=("provider",),
        )
        for family, counts in ((waiting, self.queue.waiting), (taken, self.queue.taken)):
            for provider in sorted(self.providers):
                family.add_metric((provider,), counts.get(provider, 0))
            yield family
        yield self._circuits()

    def _circuits(self) -> Metric:
        circuits = GaugeMetricFamily(
            "contentgen_circuit_open",
            "1 if no paid requests are sent to the endpoint after failures in a row, 0.5 while one is tried.",
            labels=("provider", "account", "model"),
        )
        values: dict[tuple[str, str, str], float] = {}
        for (provider, model, account), state in self.queue.circuits.items():
            labels = (provider, metrics.account_label(account), metrics.model_label(model))
            values[labels] = max(values.get(labels, 0.0), _CIRCUIT_VALUES.get(state, 0.0))
        for labels, value in values.items():
            circuits.add_metric(labels, value)
        return circuits


gauges = QueueGauges()
