"""Prometheus metrics: what the operator's and the gateway's have in common."""

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, disable_created_metrics
from prometheus_client.metrics import MetricWrapperBase

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Buckets of a histogram of request times."""
_PREFIX = "contentgen_"


def new_registry() -> CollectorRegistry:
    """A registry with the metrics of the process (CPU, memory, files)."""
    # Each counter would have a second series, `_created`, that no query uses.
    disable_created_metrics()  # type: ignore[no-untyped-call] # it has no annotations
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry


@dataclass(frozen=True)
class Description:
    """A metric as Prometheus names it."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str


def describe(registry: CollectorRegistry, wrappers: Iterable[MetricWrapperBase]) -> tuple[Description, ...]:
    """The registry's `contentgen_` metrics, by name, without those of the process.

    `wrappers` are its counters, gauges and histograms: their samples alone have no labels before the first use.
    """
    by_name = {family.name: wrapper for wrapper in wrappers for family in wrapper.describe()}
    return tuple(
        Description(
            name=family.name + ("_total" if family.type == "counter" else ""),
            type=family.type,
            labels=tuple(getattr(by_name.get(family.name, family), "_labelnames", ())),
            meaning=family.documentation,
        )
        for family in sorted(registry.collect(), key=lambda family: family.name)
        if family.name.startswith(_PREFIX)
    )
