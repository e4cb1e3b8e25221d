"""Queues on the real cluster: limits and turns with the sandbox's providers, the circuit of an endpoint, and Kueue's
labels with a stand-in that resumes Jobs as Kueue does.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from contentgen_cluster import release
from contentgen_contract.names import API_VERSION, QUEUE_LABEL, QUEUE_PRIORITY_LABEL
from contentgen_e2e.gateway import eventually
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import ClusterWorld, installed

KIND = "ImageGeneration"
Body = dict[str, Any]


@pytest.fixture(scope="session")  # as the fixture that it replaces: "film" of the session uses it
def world() -> Iterator[ClusterWorld]:
    """Release in which one request to fal is under way at a time."""
    with installed(ROOT, "queues", "queues.maxConcurrent.fal=1") as opened:
        yield opened


def pictures(prompt: str, **more: Any) -> Body:
    return {"model": "flux-dev", "prompt": prompt, "image": {"size": {"width": 512, "height": 384}}} | more


def faults(world: ClusterWorld, *faults: Body) -> None:
    world.sandbox.put("/sandbox/faults", json=list(faults)).raise_for_status()


def test_runs_wait_for_the_only_place_and_start_by_priority(world: ClusterWorld) -> None:
    faults(world, {"provider": "fal", "model": "fal-ai/flux/dev", "fault": "slow_model", "count": 1, "delay_s": 15})
    world.apply(KIND, "first", pictures("the one with the place"))
    world.wait(KIND, "first", lambda s: s.get("phase") == "Processing")
    world.apply(KIND, "later", pictures("the one that starts last"))
    world.apply(KIND, "urgent", pictures("the one that starts next", priority=10))
    for name in ("later", "urgent"):
        status = world.wait(KIND, name, lambda s: s.get("reason") == "Queued")["status"]
        assert status["message"] == "waiting for a place: all 1 places of fal are in use (queues.maxConcurrent.fal)"
    ends = {name: world.wait_for_end(KIND, name)["status"] for name in ("first", "urgent", "later")}
    assert {end["phase"] for end in ends.values()} == {"Completed"}
    assert ends["urgent"]["run"]["submittedAt"] <= ends["later"]["run"]["submittedAt"]
    assert ends["first"]["completionTime"] <= ends["later"]["completionTime"]


def test_a_wait_ends_unpaid_at_the_queue_deadline(world: ClusterWorld) -> None:
    faults(world, {"provider": "fal", "model": "fal-ai/flux/dev", "fault": "stuck", "count": 1})
    world.apply(KIND, "stuck", pictures("a request that never ends"))
    world.wait(KIND, "stuck", lambda s: s.get("phase") == "Processing")
    paid = len(world.billed())
    world.apply(KIND, "impatient", pictures("one that does not wait for long", queueDeadlineSeconds=60))
    status = world.wait_for_end(KIND, "impatient")["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")
    assert "spec.queueDeadlineSeconds (60)" in status["message"]
    assert len(world.billed()) == paid
    world.kubectl("delete", KIND.lower(), "stuck", "--timeout=60s")


def test_failing_endpoint_is_paused_and_tried_again(world: ClusterWorld) -> None:
    """Its circuit opens after five refusals in a row, for 15 s, and after the sixth one for 30 s."""
    faults(world, {"provider": "fal", "model": "fal-ai/flux/dev", "fault": "refuse_429", "count": 6})
    paid = len(world.billed())
    names = [f"busy-{number}" for number in range(3)]
    for name in names:
        world.apply(KIND, name, pictures(f"a picture of a busy endpoint: {name}"))

    def circuit() -> float:
        return world.metric("contentgen_circuit_open", provider="fal", model="fal-ai/flux/dev")

    assert eventually(lambda: circuit() == 1, 240), "the circuit opens"
    assert len(world.billed()) == paid
    world.apply(KIND, "later-busy", pictures("one that is applied while the circuit is open"))
    status = world.wait(KIND, "later-busy", lambda s: s.get("reason") == "CircuitOpen")["status"]
    assert status["message"].startswith("no request is sent to fal-ai/flux/dev of fal for a while, because ")
    submitted = next(condition for condition in status["conditions"] if condition["type"] == "Submitted")
    assert (submitted["status"], submitted["reason"]) == ("False", "CircuitOpen")
    ends = [world.wait_for_end(KIND, name, seconds=400)["status"] for name in (*names, "later-busy")]
    assert {end["phase"] for end in ends} == {"Completed"}
    assert len(world.billed()) - paid == 4
    assert circuit() == 0


def test_job_with_kueues_label_is_suspended_until_resumed(world: ClusterWorld, film: str) -> None:
    """Stand-in for Kueue: its module is not available here."""
    labels = {QUEUE_LABEL: "team-a", QUEUE_PRIORITY_LABEL: "low"}
    body = {
        "apiVersion": API_VERSION,
        "kind": "Transcription",
        "metadata": {"name": "queued", "namespace": world.namespace, "labels": labels},
        "spec": release.of_class({"source": {"url": film}}),
    }
    applied = json.loads(world.kubectl("apply", "--filename", "-", "--output", "json", stdin=json.dumps(body)))
    selector = f"contentgen.dev/uid={applied['metadata']['uid']}"
    for _ in ("prepare", "collect"):
        world.wait("Transcription", "queued", lambda s: s.get("reason") == "Queued")
        jobs = json.loads(world.kubectl("get", "jobs", "--selector", selector, "--output", "json"))["items"]
        held = [job for job in jobs if job["spec"].get("suspend")]
        assert [labels.items() <= resource["metadata"]["labels"].items() for resource in held] == [True]
        name = held[0]["metadata"]["name"]
        world.kubectl("patch", "job", name, "--type=merge", "--patch", '{"spec": {"suspend": false}}')
        world.wait("Transcription", "queued", lambda s: s.get("reason") != "Queued")
    assert world.wait_for_end("Transcription", "queued")["status"]["phase"] == "Completed"
