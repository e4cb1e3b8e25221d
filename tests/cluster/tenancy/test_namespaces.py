"""Deletion and re-creation of namespaces with resources; the operator watches all namespaces."""

import json
import zlib
from collections.abc import Iterator

import pytest

from contentgen_cluster import release
from contentgen_contract.names import Kind
from contentgen_e2e.admin import contentgen
from contentgen_e2e.gateway import Gateway, GatewayTenant, eventually, tenant
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import Body, ClusterWorld

KIND = Kind.IMAGE_GENERATION
SIZE = {"width": 512, "height": 384}
STUCK = {"provider": "fal", "model": "fal-ai/flux/dev", "fault": "stuck", "count": 1}
"""The next request never ends."""


def test_a_terminating_namespace_is_never_stuck(world: ClusterWorld) -> None:
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


class Again:
    """Namespace that is deleted and created again, with an ImageGeneration whose seed identifies its requests."""

    def __init__(self, world: ClusterWorld, gateway: Gateway) -> None:
        self.world, self.gateway = world, gateway
        self.name = f"{world.namespace}-again"
        self.seed = zlib.crc32(self.name.encode()) >> 1

    def create(self) -> str:
        """The uid that it has then."""
        release.make_namespace(ROOT, self.name)
        return self._read("namespace", self.name, ".metadata.uid")

    def delete(self) -> None:
        release.kubectl(ROOT, "delete", "namespace", self.name, "--timeout=90s")

    def apply(self) -> Body:
        """The picture, once it is Completed."""
        image = {"size": SIZE, "seed": self.seed}
        spec = {"model": "flux-dev", "prompt": "the same", "image": image}
        meta = {"name": "again", "namespace": self.name}
        body = {"apiVersion": "contentgen.dev/v1alpha1", "kind": KIND, "metadata": meta, "spec": spec}
        release.kubectl(ROOT, "apply", "--filename", "-", stdin=json.dumps(body))
        of = ("--namespace", self.name)
        wanted = "--for=jsonpath={.status.phase}=Completed"
        release.kubectl(ROOT, *of, "wait", f"{KIND.lower()}/again", wanted, "--timeout=120s")
        found: Body = json.loads(release.kubectl(ROOT, *of, "get", f"{KIND.lower()}/again", "--output", "json"))
        return found

    def paid(self) -> list[str]:
        """The ids of its requests that were billed, of all namespaces of its name."""
        return [request["request_id"] for request in self.world.billed() if request["marker"] == f"seed:{self.seed}"]

    def shown(self, person: GatewayTenant) -> list[str]:
        """Ids of the namespace's jobs that a person can list."""
        return [job["jobId"] for job in person.get("/api/jobs", namespace=self.name)["jobs"]]

    def _read(self, kind: str, name: str, path: str) -> str:
        return release.kubectl(ROOT, "get", kind, name, "--output", f"jsonpath={{{path}}}")


@pytest.fixture
def again(world: ClusterWorld, gateway: Gateway) -> Iterator[Again]:
    made = Again(world, gateway)
    yield made
    release.kubectl(ROOT, "delete", "namespace", made.name, "--ignore-not-found", "--wait=false")


def test_recreated_namespace_starts_fresh_until_it_is_mapped(again: Again, gateway: Gateway) -> None:
    again.create()
    first = again.apply()
    job = first["metadata"]["uid"]
    with tenant(gateway, again.name, again.name) as person:
        assert eventually(lambda: again.shown(person) == [job])
        person.get(f"/api/assets/{job}/download")

    again.delete()
    again.create()
    second = again.apply()
    assert len(set(again.paid())) == 2
    assert second["status"]["run"]["requestId"] != first["status"]["run"]["requestId"]
    assert second["status"]["run"]["purchaseId"] != first["status"]["run"]["purchaseId"]
    with tenant(gateway, again.name, again.name) as person:
        assert eventually(lambda: again.shown(person) == [second["metadata"]["uid"]])
        for path in (f"/api/jobs/{job}", f"/api/assets/{job}/download", f"/api/assets/{job}/stats"):
            assert person.api.get(path).status_code == 404, path
        assert job not in person.api.get("/api/assets/images", params={"namespace": again.name}).text

    again.delete()
    uid = again.create()
    contentgen("namespaces", "map", again.name, "--uid", uid, "--to", "unscoped")
    third = again.apply()
    assert third["status"]["reason"] == "AdoptedFinishedRun"
    assert third["status"]["run"]["requestId"] == first["status"]["run"]["requestId"]
    assert len(again.paid()) == 2
    listed, _ = contentgen("namespaces", "list")
    assert f"/{again.name}: uid {uid}, unscoped" in listed.decode()
