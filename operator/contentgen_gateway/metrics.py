"""Prometheus metrics of the gateway, all defined here.

Labels have few values: routes by their template; no names of callers, namespaces or jobs.
"""

from dataclasses import dataclass

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

CONTENT_TYPE = CONTENT_TYPE_LATEST
disable_created_metrics()  # type: ignore[no-untyped-call] # it has no annotations
REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)

OTHER = "other"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)

requests = Counter(
    "contentgen_gateway_requests",
    "Requests, by route template (other: unknown path) and status code; 499 means the client disconnected.",
    ("route", "method", "code"),
    registry=REGISTRY,
)
seconds = Histogram(
    "contentgen_gateway_request_seconds",
    "Time from the request's head to the end of the response, without streams.",
    ("route", "method"),
    buckets=_SECONDS,
    registry=REGISTRY,
)
streams = Gauge("contentgen_gateway_streams_open", "Streams of Server-Sent Events that are open.", registry=REGISTRY)
sign_ins_refused = Counter(
    "contentgen_gateway_sign_ins_refused",
    "Tokens refused: expired, or not issued by this cluster for the gateway.",
    registry=REGISTRY,
)
refused = Counter(
    "contentgen_gateway_rate_limited",
    "Requests refused by a rate limit: per caller, per address before sign-in, or by the limit of open streams.",
    ("counted_by",),
    registry=REGISTRY,
)
ALL = (requests, seconds, streams, sign_ins_refused, refused)
# Prometheus' increase() misses the first event of a series, so both series start at 0.
for _by in ("caller", "address"):
    refused.labels(_by)


@dataclass(frozen=True)
class Description:
    """A metric as Prometheus names it."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str


def described() -> tuple[Description, ...]:
    """Every metric of ours, by name."""
    found = ((each, family) for each in ALL for family in each.describe())
    return tuple(
        Description(
            name=family.name + ("_total" if family.type == "counter" else ""),
            type=family.type,
            labels=tuple(each._labelnames),
            meaning=family.documentation,
        )
        for each, family in sorted(found, key=lambda pair: pair[1].name)
    )


def exposition() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
