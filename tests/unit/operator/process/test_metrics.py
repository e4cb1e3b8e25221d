"""Metrics: correct after restarts and deletions, bounded labels, each dollar counted once."""

# ruff: noqa: ARG002 - the fakes have the signatures of what they stand for
import json
import logging
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import mongomock
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pymongo.errors import ServerSelectionTimeoutError

from contentgen_contract.names import Kind
from contentgen_contract.resources.prices import PRICES, Unit
from contentgen_operator import metrics
from contentgen_operator.kube.api import _resource_of
from contentgen_operator.kube.cache import Cache
from contentgen_operator.orphans.metrics import gauges
from contentgen_operator.providers.base import MaybeAccepted
from contentgen_operator.providers.sending import BeforeSend
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.provider_requests import Call, Found, Search
from contentgen_operator.state.purchases import LedgerTransition, Purchase, PurchaseKey, PurchaseState
from contentgen_operator.stores import preparation
from contentgen_operator.telemetry import instrumented
from contentgen_operator.telemetry.instrumented import InstrumentedLedger, InstrumentedProvider, counted_worker_api
from contentgen_operator.watch.event_handlers import EventHandlers
from contentgen_operator.worker_api.reports import Reports
from contentgen_runtime.logs import JsonFormatter

NOW = datetime(2026, 11, 21, tzinfo=UTC)
KEY = PurchaseKey(namespace="ns", kind=Kind.TRANSCRIPTION, name="it", run_hash="ab", rerun=None, attempt=1)


def scraped() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def value(name: str, **labels: str) -> float:
    return scraped().get((name, tuple(sorted(labels.items()))), 0.0)


async def ignore(ref: ResourceRef) -> None:
    """Wake nothing."""


def body(uid: str, **status: Any) -> dict[str, Any]:
    return {"metadata": {"namespace": "ns", "name": uid, "uid": uid, "resourceVersion": "1"}, "status": status}


async def test_resources_are_counted_as_they_are_now() -> None:
    for uid in list(metrics.gauges._resources):  # of other tests in this process
        metrics.gauges.forget_resource(uid)
    handlers, kind = EventHandlers(Cache(), ignore, Reports()), Kind.LORA_TRAINING
    await handlers.resource(kind, body("m1"), deleted=False)
    await handlers.resource(kind, body("m1", phase="Failed", reason="NoVideo"), deleted=False)
    await handlers.resource(kind, body("m2", phase="Failed", reason="NoVideo"), deleted=False)
    labels = {"kind": "LoraTraining", "phase": "Failed", "reason": "NoVideo"}
    assert value("contentgen_resources", **labels) == 2
    assert value("contentgen_resources", kind="LoraTraining", phase="Pending", reason="") == 0
    for uid in ("m1", "m2", "m2"):
        await handlers.resource(kind, body(uid, phase="Failed", reason="NoVideo"), deleted=True)
    assert ("contentgen_resources", tuple(sorted(labels.items()))) not in scraped(), "no series is left behind"


async def nothing() -> None:
    """Do nothing."""


class Lossy:
    """Provider all of whose replies are lost."""

    configured = True

    async def submit(self, call: Call, before_send: BeforeSend) -> str:
        raise MaybeAccepted("lost")

    async def find(self, search: Search) -> Found:
        return Found(request_id=None, complete=True)


async def test_calls_are_counted_by_their_verdict() -> None:
    lossy: Any = Lossy()
    provider = InstrumentedProvider("fal", lossy)
    call = Call(provider="fal", model="m", arguments={}, correlation_key="x")
    assert provider.configured
    call = Call(provider="fal", model="m", arguments={}, correlation_key="x")
    with pytest.raises(MaybeAccepted):
        await provider.submit(call, nothing)
    await provider.find(Search(call=call, sent_after=NOW, sent_before=NOW))
    assert (
        value(
            "contentgen_provider_calls_total", provider="fal", account="default", call="submit", verdict="MaybeAccepted"
        )
        == 1
    )
    assert value("contentgen_provider_calls_total", provider="fal", account="default", call="find", verdict="ok") == 1
    assert value("contentgen_provider_call_seconds_count", provider="fal", call="submit") == 1


async def test_cost_is_counted_once_and_states_come_from_the_ledger() -> None:
    ledger = InstrumentedLedger(mongomock.MongoClient(tz_aware=True)["db"]["ledger"])
    model = "assemblyai/universal"
    purchase = Purchase(
        state=PurchaseState.INTENT,
        job_id="j",
        provider="assemblyai",
        model=model,
        correlation_key="m",
        created_at=NOW,
        changed_at=NOW,
        estimated_micros=1_500_000,
    )
    await ledger.intend(KEY, purchase)
    submitted = LedgerTransition(key=KEY, source=PurchaseState.INTENT, target=PurchaseState.SUBMITTED)
    done = LedgerTransition(
        key=KEY,
        source=PurchaseState.SUBMITTED,
        target=PurchaseState.SUCCEEDED,
        changes={"billable_units": 3600, "unit_micros": 1_250_000, "unit": Unit.HOUR, "billing": True},
    )
    asked = LedgerTransition(key=KEY, source=PurchaseState.SUBMITTED, target=PurchaseState.SUBMITTED)
    collected = LedgerTransition(key=KEY, source=PurchaseState.SUCCEEDED, target=PurchaseState.COLLECTED)
    again = LedgerTransition(
        key=KEY, source=PurchaseState.COLLECTED, target=PurchaseState.SUCCEEDED
    )  # its files were gone
    for move in (submitted, submitted, asked, done, done, collected, again):
        await ledger.move(move)
    labels = {"provider": "assemblyai", "account": "default", "model": model}
    assert value("contentgen_estimated_dollars_total", **labels) == 1.5
    assert value("contentgen_spent_dollars_total", **labels) == 1.25
    await instrumented.Exposition(ledger)()
    assert value("contentgen_unpriced_requests_total", **labels) == 0
    assert value("contentgen_ledger_purchases", state="succeeded") == 1
    assert value("contentgen_ledger_purchases", state="intent") == 0


async def test_purchases_without_a_resource_are_counted_by_their_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics.gauges, "features", [gauges])
    kept = mongomock.MongoClient(tz_aware=True)["db"]["ledger"]
    kept.insert_many(
        [
            {"_id": "1", "state": "submitted", "orphanedAt": NOW},
            {"_id": "2", "state": "submitted", "orphanedAt": None},
            {"_id": "3", "state": "succeeded", "orphanedAt": NOW},
            {"_id": "4", "state": "discarded", "orphanedAt": NOW},
            {"_id": "5", "state": "succeeded"},
        ]
    )
    await instrumented.Exposition(InstrumentedLedger(kept))()
    assert value("contentgen_orphans", state="submitted") == 1
    assert value("contentgen_orphans", state="succeeded") == 1
    assert value("contentgen_orphans", state="intent") == 0
    assert value("contentgen_ledger_purchases", state="succeeded") == 2


async def test_unknown_cost_is_counted_and_not_0_dollars() -> None:
    ledger = InstrumentedLedger(mongomock.MongoClient(tz_aware=True)["db"]["ledger"])
    model = "fal-ai/flux/schnell"
    fields = {
        "job_id": "j",
        "provider": "fal",
        "model": model,
        "correlation_key": "m",
        "created_at": NOW,
        "changed_at": NOW,
    }
    await ledger.intend(KEY, Purchase(state=PurchaseState.INTENT, **fields))
    await ledger.move(LedgerTransition(key=KEY, source=PurchaseState.INTENT, target=PurchaseState.SUBMITTED))
    await ledger.move(LedgerTransition(key=KEY, source=PurchaseState.SUBMITTED, target=PurchaseState.CANCELLED))
    labels = {"provider": "fal", "account": "default", "model": model}
    assert value("contentgen_unpriced_requests_total", **labels) == 1
    assert value("contentgen_unbilled_requests_total", **labels) == 1
    assert value("contentgen_spent_dollars_total", **labels) == 0


async def test_labels_have_few_values() -> None:
    assert metrics.model_label("fal-ai/flux/dev") == "fal-ai/flux/dev"
    assert metrics.model_label("somebody/else") == "other"
    assert [metrics.account_label(each) for each in (None, "earlier-one")] == ["default", "other"]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404})

    async def send(message: Any) -> None:
        """Discard the message."""

    nothing: Any = None
    for path in ("/v1/order", "/v1/any/other", "/etc/passwd"):
        await counted_worker_api(app)({"type": "http", "path": path}, nothing, send)
    assert value("contentgen_worker_api_requests_total", endpoint="/v1/order", code="404") == 1
    assert value("contentgen_worker_api_requests_total", endpoint="other", code="404") == 2


@pytest.mark.parametrize(
    ("path", "resource"),
    [
        ("/apis/contentgen.dev/v1alpha1/namespaces/ns/loratrainings/jesse/status", "loratrainings/status"),
        ("/apis/contentgen.dev/v1alpha1/namespaces/ns/loratrainings/jesse", "loratrainings"),
        ("/apis/batch/v1/namespaces/ns/jobs/a?propagationPolicy=Background", "jobs"),
        ("/api/v1/namespaces/ns/pods/it/log?tailLines=100", "pods/log"),
        ("/api/v1/namespaces/ns/events", "events"),
        ("/apis/authentication.k8s.io/v1/tokenreviews", "tokenreviews"),
    ],
)
def test_a_path_is_told_by_its_plural_alone(path: str, resource: str) -> None:
    assert _resource_of(path) == resource


def test_every_name_follows_the_rules() -> None:
    for family in metrics.REGISTRY.collect():
        if family.name.startswith("process_"):
            continue
        assert family.name.startswith("contentgen_")
        assert family.documentation.endswith("."), family.name
        assert not family.name.endswith(("_total", "_count", "_sum")), family.name  # prometheus-client adds them
        assert not any(word in family.name for word in ("_ms", "_millis", "_minutes")), "base units"


def test_a_line_says_whom_it_is_about_and_keeps_secrets() -> None:
    ref = ResourceRef(kind=Kind.TRANSCRIPTION, namespace="ns", name="it", uid="u1")
    said = "GET https://s3/x?X-Amz-Signature=abc failed; Authorization: Key fal-secret-123456; 'http://h/p?a=b'"
    said += " mongodb+srv://user:pass-word@db.example/x"
    record = logging.LogRecord("n", logging.INFO, "f", 1, "%s", (said,), None)
    vars(record).update(ref.about)
    line = JsonFormatter().format(record)
    told = json.loads(line)
    assert [told[word] for word in ("jobId", "kind", "namespace", "resource")] == ["u1", "Transcription", "ns", "it"]
    assert "https://s3/x…" in told["message"]
    for secret in ("X-Amz", "abc", "fal-secret", "a=b", "pass-word"):
        assert secret not in line


def test_series_of_money_and_stores_exist_before_their_events() -> None:
    """Prometheus' increase() misses the event that creates a series; a limit of dollars per hour would not hold."""
    program = "from contentgen_operator import metrics; print(metrics.exposition().decode())"
    text = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300
    ).stdout
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    begun = {(s.name, s.labels.get("model") or s.labels.get("store")) for s in samples if s.value == 0}
    for name in ("contentgen_estimated_dollars_total", "contentgen_spent_dollars_total"):
        assert {(name, model) for model in (*PRICES, "other")} <= begun
    assert {("contentgen_store_errors_total", store) for store in ("MongoDB", "S3")} <= begun


async def test_a_store_that_is_away_at_the_start_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([ServerSelectionTimeoutError("no servers"), None])

    class Away:
        def ensure_bucket(self) -> None: ...

        def create_indexes(self) -> None:
            if (error := next(answers, None)) is not None:
                raise error

    monkeypatch.setattr(preparation, "_FIRST_PAUSE_SECONDS", 0.01)
    before = value("contentgen_store_errors_total", store="MongoDB")
    await preparation.prepare_stores(Away(), [Away()] * 4)  # type: ignore[arg-type] # the methods that it calls
    assert value("contentgen_store_errors_total", store="MongoDB") == before + 1


def test_a_scrape_has_what_is_documented_and_nothing_else() -> None:
    metrics.api_requests.labels("GET", "jobs", "200").inc()
    families = text_string_to_metric_families(metrics.exposition().decode())
    names = [f.name + "_total" * (f.type == "counter") for f in families if f.name.startswith("contentgen_")]
    assert sorted(names) == [each.name for each in metrics.described()]


WAITS = ["JobRefused", "PodNotStarted", "Retrying", "Queued", "CircuitOpen", "ClusterNotConfirmed", "CollectBacklog"]


@pytest.mark.parametrize("reason", WAITS)
async def test_the_longest_wait_of_each_reason_is_a_gauge(reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gauges, now = metrics.Gauges(), [1000.0]
    monkeypatch.setattr(metrics, "gauges", gauges)
    gauges.clock = lambda: now[0]
    handlers, kind = EventHandlers(Cache(), ignore, Reports()), Kind.TRANSCRIPTION

    def age() -> float | None:
        family = next(each for each in gauges.collect() if each.name == "contentgen_resource_wait_seconds")
        return {sample.labels["reason"]: sample.value for sample in family.samples}.get(reason)

    await handlers.resource(kind, body("w1", phase="Preparing", reason="Preparing"), deleted=False)
    assert age() is None
    await handlers.resource(kind, body("w1", phase="Pending", reason=reason), deleted=False)
    now[0] += 600
    await handlers.resource(kind, body("w1", phase="Submitting", reason=reason, message="changed"), deleted=False)
    await handlers.resource(kind, body("w2", phase="Pending", reason=reason), deleted=False)
    now[0] += 300
    assert age() == 900
    await handlers.resource(kind, body("w1", phase="Processing", reason="Processing"), deleted=False)
    assert age() == 300
    await handlers.resource(kind, body("w2", phase="Failed", reason=reason), deleted=False)
    assert age() is None, "it waits no more"
