"""Prometheus metrics of the gateway, all defined here.

Labels have few values: routes by their template; no names of callers, namespaces or jobs.
"""

from prometheus_client import Counter, Gauge, Histogram, generate_latest

from contentgen_runtime.metrics import SECONDS, Description, describe, new_registry

REGISTRY = new_registry()

OTHER = "other"

requests = Counter(
    "contentgen_gateway_requests",
    "Requests, by the route's template (other: none of ours) and the code of the answer; 499 is a client that left.",
    ("route", "method", "code"),
    registry=REGISTRY,
)
seconds = Histogram(
    "contentgen_gateway_request_seconds",
    "Time of requests from their head to the answer's end, streams not counted.",
    ("route", "method"),
    buckets=SECONDS,
    registry=REGISTRY,
)
streams = Gauge("contentgen_gateway_streams_open", "Streams of Server-Sent Events that are open.", registry=REGISTRY)
sign_ins_refused = Counter(
    "contentgen_gateway_sign_ins_refused",
    "Tokens that this cluster did not give for the gateway, or that have expired.",
    registry=REGISTRY,
)
refused = Counter(
    "contentgen_gateway_rate_limited",
    "Requests that were too many, by what they were counted under: a caller, an address before sign-in, or streams.",
    ("counted_by",),
    registry=REGISTRY,
)
ALL = (requests, seconds, streams, sign_ins_refused, refused)
# Prometheus' increase() does not see the event that begins a series.
for _by in ("caller", "address"):
    refused.labels(_by)


def described() -> tuple[Description, ...]:
    """The gateway's metrics, by name."""
    return describe(REGISTRY, ALL)


def exposition() -> bytes:
    """Everything, in Prometheus' text format."""
    return generate_latest(REGISTRY)
