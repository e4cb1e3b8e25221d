"""Metrics on the real cluster after a job, a restart and a deletion, without names of users or resources."""

import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from contentgen_cluster import release
from contentgen_e2e.gateway import eventually
from contentgen_e2e.settings import ASSEMBLYAI_CANARY, FAL_CANARY, ROOT
from contentgen_e2e.world import ClusterWorld

METRICS = Path(ROOT) / "docs/reference/metrics.md"
KIND = "ImageGeneration"
NAME = "canary-name"
SPEC = {"model": "flux-dev", "prompt": "canary prompt", "image": {"size": {"width": 512, "height": 384}}}


def asked(pod: str, path: str) -> str:
    """Response of the health server of an operator pod."""
    return release.kubectl(ROOT, "get", "--raw", f"/api/v1/namespaces/{release.NAMESPACE}/pods/{pod}:8080/proxy/{path}")


def operators() -> list[str]:
    """Ready operator pods; the Service alternates between them."""
    where = ("--namespace", release.NAMESPACE, "get", "endpointslices", "--output")
    shown = "jsonpath={.items[*].endpoints[?(@.conditions.ready==true)].targetRef.name}"
    return release.kubectl(ROOT, *where, shown, "--selector=kubernetes.io/service-name=contentgen-metrics").split()


def leader() -> str:
    shown = "jsonpath={.spec.holderIdentity}"
    where = ("--namespace", release.NAMESPACE, "get", "lease", "contentgen", "--output")
    return release.kubectl(ROOT, *where, shown).rpartition("_")[0]


def scraped() -> str:
    """Metrics of the leader."""
    return asked(leader(), "metrics")


def total(text: str, name: str, **labels: str) -> float:
    """Sum of a metric's series with these labels."""
    samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items())


def counted_right() -> bool:
    """Whether the gauge matches the API server; namespaces of earlier tests may still terminate."""
    listed = "jsonpath={range .items[*]}{.status.phase} {end}"
    phases = release.kubectl(ROOT, "get", KIND.lower(), "--all-namespaces", "--output", listed).split()
    try:
        text = scraped()
    except release.CommandFailed:  # the new pod is not ready
        return False
    return total(text, "contentgen_resources", kind=KIND, phase="Completed") == phases.count("Completed")


def test_a_job_is_seen_in_every_metric_that_it_concerns(world: ClusterWorld) -> None:
    before = scraped()
    uid = world.apply(KIND, NAME, SPEC)
    world.wait_for_end(KIND, NAME)
    assert eventually(counted_right)
    text = scraped()

    def grown(name: str, **labels: str) -> float:
        return total(text, name, **labels) - total(before, name, **labels)

    price = 0.025  # dollars per megapixel of flux-dev, by the price table
    of = {"provider": "fal", "model": "fal-ai/flux/dev"}
    assert abs(grown("contentgen_estimated_dollars_total", **of) - price) < 1e-9
    assert abs(grown("contentgen_spent_dollars_total", **of) - price) < 1e-9
    assert grown("contentgen_provider_calls_total", provider="fal", call="submit", verdict="ok") == 1
    assert grown("contentgen_reconciles_total", kind=KIND, result="done") >= 2
    assert grown("contentgen_worker_api_requests_total", code="200") >= 2
    # The collect Job, and before the payment the question whether it would be admitted.
    assert grown("contentgen_api_requests_total", method="POST", resource="jobs", code="201") == 2
    collected = world.ledger_collection.count_documents({"state": "collected"})
    assert eventually(lambda: total(scraped(), "contentgen_ledger_purchases", state="collected") == collected)
    assert eventually(lambda: 'contentgen_orphans{state="submitted"}' in scraped())
    assert 0 < total(text, "contentgen_watch_age_seconds", watch="jobs") <= 75
    assert total(text, "contentgen_worker_api_certificate_expiry_timestamp_seconds") > time.time() + 86400
    ours = METRICS.read_text().partition("## The gateway's")[0]
    documented = {line.split("`")[1] for line in ours.splitlines() if line.startswith("| `")}
    families = text_string_to_metric_families(text)
    names = {f.name + "_total" * (f.type == "counter") for f in families if f.name.startswith("contentgen_")}
    assert names == documented
    for private in (world.namespace, NAME, uid, "canary prompt", FAL_CANARY, ASSEMBLYAI_CANARY):
        assert private not in text


def test_resource_counts_after_a_restart_and_a_deletion(world: ClusterWorld) -> None:
    world.apply(KIND, "stays", SPEC)
    world.apply(KIND, "goes", SPEC)
    for name in ("stays", "goes"):
        world.wait_for_end(KIND, name)
    before = world.leader()
    world.kill_operator()
    release.kubectl(
        ROOT, "--namespace", release.NAMESPACE, "rollout", "status", "deployment/contentgen", "--timeout=120s"
    )
    world.wait_for_leader(before)
    assert eventually(counted_right)
    world.kubectl("delete", KIND.lower(), "goes")
    assert eventually(counted_right)


def test_the_kubelets_questions_are_answered(world: ClusterWorld) -> None:
    world.wait_for_leader()
    assert eventually(lambda: len(operators()) == 2)
    pods = operators()
    assert [asked(pod, "healthz") for pod in pods] == ["ok", "ok"]
    assert sorted(asked(pod, "readyz") for pod in pods) == ["ok; leader: false", "ok; leader: true"]
    leads = [total(asked(pod, "metrics"), "contentgen_leader") for pod in pods]
    assert sorted(leads) == [0, 1]


def test_a_standby_shows_all_resources_and_has_no_work(world: ClusterWorld) -> None:
    assert eventually(lambda: len(operators()) == 2)
    (standby,) = (pod for pod in operators() if pod != leader())
    text = asked(standby, "metrics")
    assert total(text, "contentgen_resources", kind=KIND) == total(scraped(), "contentgen_resources", kind=KIND) > 0
    assert total(text, "contentgen_reconciles_total") == total(text, "contentgen_queue_depth") == 0
