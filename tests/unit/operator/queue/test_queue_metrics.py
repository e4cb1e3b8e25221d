"""Metrics of the queue before the payment."""

from datetime import UTC, datetime

import pytest

from contentgen_operator import metrics
from contentgen_operator.queue.fair_turns import Account, Claimant, Endpoint, Place
from contentgen_operator.queue.metrics import gauges
from contentgen_operator.queue.payment_queue import PaymentQueue

FLUX = "fal-ai/flux/dev"


def value(name: str, **labels: str) -> float | None:
    return metrics.REGISTRY.get_sample_value(name, labels)


def test_places_and_circuits_are_gauges(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    queue = PaymentQueue(clock=lambda: now[0])
    for number in range(7):
        queue._turns.put(Claimant(f"w{number}", "ns", "fal", FLUX, 0, datetime(2026, 11, 23, tzinfo=UTC)))
    for name, provider in (("p0", "fal"), ("p1", "fal"), ("p2", "assemblyai")):
        queue._turns.occupy(name, Place("ns", Account(provider)))
    for endpoint in (Endpoint("fal", "a/user's"), Endpoint("fal", FLUX, "removed")):
        queue.note_failure(endpoint, "busy", 10)
    now[0] = 300.0
    queue.note_failure(Endpoint("fal", FLUX), "busy", 10)
    queue.note_failure(Endpoint("fal", "b/user's"), "busy")
    monkeypatch.setattr(gauges, "queue", queue)
    monkeypatch.setattr(metrics.gauges, "features", [gauges])
    assert value("contentgen_queued_runs", provider="fal") == 7
    assert value("contentgen_queued_runs", provider="assemblyai") == 0
    assert value("contentgen_concurrent_requests", provider="fal") == 2
    assert value("contentgen_concurrent_requests", provider="assemblyai") == 1
    assert value("contentgen_circuit_open", provider="fal", account="default", model=FLUX) == 1
    assert value("contentgen_circuit_open", provider="fal", account="other", model=FLUX) == 0.5
    assert value("contentgen_circuit_open", provider="fal", account="default", model="other") == 0.5
