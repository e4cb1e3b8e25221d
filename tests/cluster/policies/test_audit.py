"""Audit on the real cluster: an auditor requests it with the plugin, it finds a request that nobody asked for, it has
no effect, and a tenant is refused.
"""

import json
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from contentgen_cluster import release
from contentgen_contract.names import Kind
from contentgen_e2e.gateway import Gateway, GatewayTenant, eventually, tenant
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import Body, ClusterWorld

PATH = "/api/admin/audit"
FOREIGN_MODEL = "fal-ai/flux/schnell"
SAMPLE = ROOT / "examples" / "policies" / "audit.yaml"


@pytest.fixture(scope="module")
def auditor(world: ClusterWorld, gateway: Gateway) -> Iterator[GatewayTenant]:
    """Account with the ClusterRole of the sample."""
    namespace = f"{world.namespace}-auditor"
    with tenant(gateway, namespace, "auditor") as opened:
        role, binding = yaml.safe_load_all(SAMPLE.read_text())
        binding["subjects"] = [{"kind": "ServiceAccount", "name": "person", "namespace": namespace}]
        listed = {"apiVersion": "v1", "kind": "List", "items": [role, binding]}
        release.kubectl(ROOT, "apply", "--server-side", "--filename", "-", stdin=json.dumps(listed))
        yield opened
    release.kubectl(ROOT, "delete", "--filename", str(SAMPLE))
    release.kubectl(ROOT, "delete", "namespace", namespace, "--wait=false")


def run_audit(
    world: ClusterWorld, gateway: Gateway, auditor: GatewayTenant, *options: str
) -> subprocess.CompletedProcess[str]:
    """`kubectl contentgen audit` with the auditor's token."""
    access = {"CONTENTGEN_GATEWAY": gateway.url, "CONTENTGEN_TOKEN": auditor.token}
    return world.run_plugin("audit", *options, seconds=300, namespaced=False, **access)


def audited(world: ClusterWorld, gateway: Gateway, auditor: GatewayTenant) -> Body:
    """Report of an audit that `kubectl contentgen audit` requests now; it ends with 2 if there are findings.

    The operator audits once a minute at most.
    """
    assert eventually(lambda: auditor.api.get(PATH).status_code == 200), "the gateway remembers rights for 15 s"
    done = run_audit(world, gateway, auditor, "--output", "json", "--timeout", "240")
    report: Body = json.loads(done.stdout)
    assert done.returncode == (2 if report["findings"] else 0), done.stdout + done.stderr
    assert report == auditor.get(PATH)["report"]
    return report


def unknown(report: Body) -> dict[str, Body]:
    """Findings of requests that no purchase of the installation names, by their ids."""
    return {finding["requestId"]: finding for finding in report["findings"] if finding["kind"] == "UnknownRequest"}


def foreign_request(world: ClusterWorld) -> str:
    """Id of a request that somebody else sends with a key of the same account."""
    access = {"Authorization": "Key somebody-elses"}
    order = {"prompt": "nobody asked for this", "image_size": "square", "seed": 4711}
    given = world.sandbox.post(f"/fal/{FOREIGN_MODEL}", headers=access, json=order).raise_for_status().json()
    status = f"/fal/fal-ai/flux/requests/{given['request_id']}/status"
    assert eventually(lambda: world.sandbox.get(status, headers=access).json()["status"] == "COMPLETED")
    return str(given["request_id"])


def test_audit_finds_an_unknown_request_and_changes_nothing(
    world: ClusterWorld, gateway: Gateway, auditor: GatewayTenant
) -> None:
    """The request is no finding while it is younger than an hour, and one once it is older."""
    image = {"size": {"width": 256, "height": 256}}
    world.apply(Kind.IMAGE_GENERATION, "audited", {"model": "flux-dev", "prompt": "audited", "image": image})
    before = world.wait_for_end(Kind.IMAGE_GENERATION, "audited")
    foreign = foreign_request(world)
    billed = world.billed()
    report = audited(world, gateway, auditor)
    assert report["purchases"] >= 1
    requests = [each for each in report["coverage"] if (each["subject"], each["account"]) == ("requests", "default")]
    assert [request["complete"] for request in requests] == [True, True], requests
    assert [finding for finding in report["findings"] if finding["namespace"] == world.namespace] == []
    assert foreign not in {finding["requestId"] for finding in report["findings"]}
    assert world.billed() == billed
    assert world.get(Kind.IMAGE_GENERATION, "audited")["status"] == before["status"]

    world.sandbox.put(f"/sandbox/jobs/{foreign}/age", json={"seconds": 2 * 3600}).raise_for_status()
    later = audited(world, gateway, auditor)
    # Other suites of this release may have left requests that a rewound ledger does not have.
    assert unknown(later).keys() - unknown(report).keys() == {foreign}
    found = unknown(later)[foreign]
    assert (found["provider"], found["account"], found["model"]) == ("fal", "default", FOREIGN_MODEL)
    assert (found["namespace"], found["name"], found["purchaseId"]) == ("", "", "")
    assert found["text"].startswith("in the provider's history, and no purchase of this installation")
    assert [finding for finding in later["findings"] if finding["namespace"] == world.namespace] == []
    last = run_audit(world, gateway, auditor, "--last", "--output", "json")
    assert (last.returncode, json.loads(last.stdout)) == (2, later)


def test_a_tenant_may_neither_see_nor_request_an_audit(ann: GatewayTenant) -> None:
    for method in ("GET", "POST"):
        answer = ann.api.request(method, PATH)
        assert answer.status_code == 403, answer.text
