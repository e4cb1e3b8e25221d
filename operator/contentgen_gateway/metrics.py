"""Prometheus metrics of the gateway, all defined here.

Labels have few values: routes by their template; no names of callers, namespaces or jobs.
"""

from prometheus_client import Counter, Gauge, Histogram, generate_latest

from contentgen_runtime.metrics import SECONDS, Description, describe, new_registry

REGISTRY = new_registry()

OTHER = "other"

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
    buckets=SECONDS,
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


def described() -> tuple[Description, ...]:
    """The gateway's metrics, by name."""
    return describe(REGISTRY, ALL)


def exposition() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
