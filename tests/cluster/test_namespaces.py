"""A namespace that is deleted with resources in it, by an operator that works on all namespaces."""

import json

from contentgen_cluster import release
from contentgen_contract.names import Kind
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import World

KIND = Kind.IMAGE_GENERATION
SIZE = {"width": 512, "height": 384}
STUCK = {"provider": "fal", "model": "fal-ai/flux/dev", "fault": "stuck", "count": 1}
"""The next request never ends."""


def test_a_terminating_namespace_is_never_stuck(world: World) -> None:
    name = f"{world.namespace}-leaving"
    release.kubectl(ROOT, "create", "namespace", name)
    world.sandbox.put("/sandbox/faults", json=[STUCK]).raise_for_status()
    for kept, policy, phase in (("flying", "Retain", "Processing"), ("done", "Delete", "Completed")):
        spec = {"model": "flux-dev", "prompt": kept, "image": {"size": SIZE}, "deletionPolicy": policy}
        meta = {"name": kept, "namespace": name}
        body = {"apiVersion": "contentgen.dev/v1alpha1", "kind": KIND, "metadata": meta, "spec": spec}
        release.kubectl(ROOT, "apply", "--filename", "-", stdin=json.dumps(body))
        wanted = f"--for=jsonpath={{.status.phase}}={phase}"
        release.kubectl(ROOT, "--namespace", name, "wait", f"{KIND.lower()}/{kept}", wanted, "--timeout=120s")
    release.kubectl(ROOT, "delete", "namespace", name, "--timeout=60s")


def test_only_namespaces_of_test_lanes_are_taken_down() -> None:
    """On a cluster of the user's, another namespace may have any name."""
    for name, labels in (("lane-somebody", {}), ("lane-ours", {release.LANE_LABEL: "lane-ours"})):
        meta = {"name": name, "labels": labels}
        release.kubectl(
            ROOT,
            "apply",
            "--filename",
            "-",
            stdin=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": meta}),
        )
    release.lanes_down(ROOT)
    left = release.kubectl(ROOT, "get", "namespaces", "--output", "name").split()
    assert "namespace/lane-ours" not in left
    assert "namespace/lane-somebody" in left
    release.kubectl(ROOT, "delete", "namespace", "lane-somebody", "--wait=false")
