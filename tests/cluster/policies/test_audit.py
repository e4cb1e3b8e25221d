"""Audit on the real cluster: requested through the gateway by an auditor, refused to a tenant, and without effect."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from contentgen_cluster import release
from contentgen_contract.names import Kind
from contentgen_e2e.gateway import Gateway, GatewayTenant, eventually, tenant
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import Body, ClusterWorld

PATH = "/api/admin/audit"
SAMPLE = ROOT / "samples" / "policies" / "audit.yaml"


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


def audited(auditor: GatewayTenant) -> Body:
    """Report of an audit that is requested now."""
    assert eventually(lambda: auditor.api.get(PATH).status_code == 200), "the gateway remembers rights for 15 s"
    token = auditor.ask(PATH)["token"]
    reports: list[Body] = []

    def is_answered() -> bool:
        report: Any = auditor.get(PATH)["report"]
        reports[:] = [report] if report is not None and report["request"] == token else []
        return bool(reports)

    # One a minute at most.
    assert eventually(is_answered, seconds=180), auditor.get(PATH)
    return reports[0]


def test_an_audit_is_answered_and_changes_nothing(world: ClusterWorld, auditor: GatewayTenant) -> None:
    image = {"size": {"width": 256, "height": 256}}
    world.apply(Kind.IMAGE_GENERATION, "audited", {"model": "flux-dev", "prompt": "audited", "image": image})
    before = world.wait_for_end(Kind.IMAGE_GENERATION, "audited")
    billed = world.billed()
    report = audited(auditor)
    assert report["purchases"] >= 1
    requests = [each for each in report["coverage"] if (each["subject"], each["account"]) == ("requests", "default")]
    assert [each["complete"] for each in requests] == [True, True], requests
    mine = [each for each in report["findings"] if each["namespace"] == world.namespace]
    assert mine == []
    assert world.billed() == billed
    assert world.get(Kind.IMAGE_GENERATION, "audited")["status"] == before["status"]


def test_a_tenant_may_neither_see_nor_request_an_audit(ann: GatewayTenant) -> None:
    for method in ("GET", "POST"):
        answer = ann.api.request(method, PATH)
        assert answer.status_code == 403, answer.text
