"""CRDs and stored resources under `helm upgrade`, `helm rollback` and `helm uninstall`, by both majors of helm.

On an API server without a node, like test_chart.py.
"""

import json
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from contentgen_cluster.paths import REPO
from contentgen_cluster.release import CommandFailed
from contentgen_e2e.api_server import NAMESPACE, STORES, kubectl, run, sets, until_crds_are_served, until_crds_end

TODAY = REPO / "charts/contentgen"
Body = dict[str, Any]
"""Limit of a wait for CRDs: the suite has a low priority, and its API server waits for the processor."""
OPERATOR = (f"--as=system:serviceaccount:{NAMESPACE}:contentgen", "--as-group=system:masters")
"""The account that may write a status despite the chart's policies."""
RUN = {
    "number": 1, "version": 1, "runHash": "00ff", "generation": 1, "startedAt": "2026-11-21T00:00:00Z",
    "spec": {"prompt": "A grey square"}, "requestId": "r-1", "submittedAt": "2026-11-21T00:00:01Z", "paidAttempt": 1,
}  # fmt: skip
NEW: Body = {
    "spec": {
        "collectDeadlineSeconds": 3600, "operatorClass": "default", "approval": "Manual", "dryRun": "Estimate",
        "priority": 5, "queueDeadlineSeconds": 600, "ttlSecondsAfterFinished": 3600,
        "notify": [{"url": "https://example.com/hook", "on": ["Failed"]}],
    },
    "status": {
        "cost": {"actualSource": "billable units", "total": "0.10", "unknown": 1},
        "run": {
            "purchaseId": "0190a", "sentAt": "2026-11-21T00:00:01Z", "loraIdentity": "00000000000000aa",
            "lostAttempts": 1, "requestOpen": True, "retryAt": "2026-11-21T00:00:09Z",
            "queuedAt": "2026-11-21T00:00:01Z", "providerAccount": "studio",
            "collect": {"asked": "1", "askedAt": "2026-11-21T00:00:09Z", "failure": "x", "firstAttempt": 1},
            "approval": {
                "run": 1, "since": "2026-11-21T00:00:00Z", "lapsed": ["00000000000000ab"], "verdict": "Approved",
                "by": "mara", "at": "2026-11-21T00:00:01Z",
            },
        },
    },
}  # fmt: skip
"""Fields of today's CRDs that the earlier ones lack."""


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An earlier chart: today's, without the fields of `NEW`, the rules that read them, and one CRD."""
    chart = tmp_path_factory.mktemp("old") / "contentgen"
    shutil.copytree(TODAY, chart)
    (chart / "files/crds/contentgen.dev_operatorclasses.yaml").unlink()
    path = chart / "files/crds/contentgen.dev_imagegenerations.yaml"
    crd = yaml.safe_load(path.read_text())
    whole = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    status = whole["properties"]["status"]["properties"]
    remove_fields(whole["properties"]["spec"], NEW["spec"])
    remove_fields(status["cost"], NEW["status"]["cost"])
    remove_fields(status["run"], NEW["status"]["run"])
    whole["x-kubernetes-validations"] = [
        each for each in whole["x-kubernetes-validations"] if "operatorClass" not in each["rule"]
    ]
    path.write_text(yaml.safe_dump(crd))
    return chart


def remove_fields(of: Body, names: Iterable[str]) -> None:
    """Remove properties from a schema."""
    for name in names:
        del of["properties"][name]
    if not {*of.get("required", ())} <= {*of["properties"]}:
        pytest.fail(f"the API server requires a field of {', '.join(names)}")


@pytest.fixture
def helm(request: pytest.FixtureRequest) -> Iterator[str]:
    """helm 4, or the given major; the release and its CRDs are gone at the end."""
    program = getattr(request, "param", "helm")
    kubectl(
        "apply", "--filename", "-", given={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    )
    yield program
    if json.loads(run(program, "list", "--namespace", NAMESPACE, "--output", "json")):
        run(program, "uninstall", "contentgen", "--namespace", NAMESPACE, "--no-hooks")
    names = crds()
    if names:
        kubectl("delete", "crd", *names, "--wait=false")
        until_crds_end(names)
    wait_for_discovery()


def wait_for_discovery() -> None:
    """For seconds after its CRDs, the API server lists a group that it does not serve, and helm fails then."""
    deadline = time.monotonic() + 240
    while "contentgen.dev" in kubectl("api-versions"):
        assert time.monotonic() < deadline, "discovery still lists contentgen.dev"
        time.sleep(0.2)


def release(helm: str, *words: str, values: tuple[str, ...] = STORES) -> None:
    """Run helm for the release, without its hooks: nothing runs their pods here."""
    verb, *rest = words
    given = sets(values) if verb in ("install", "upgrade") else []
    run(helm, verb, "contentgen", *rest, "--namespace", NAMESPACE, "--no-hooks", *given)
    if names := crds():
        until_crds_are_served(*names)


def crds() -> list[str]:
    listed = kubectl("get", "crd", "--output", "jsonpath={.items[*].metadata.name}").split()
    return [name for name in listed if name.endswith(".contentgen.dev")]


def schema(name: str) -> Body:
    """Schema of a stored CRD."""
    stored: Body = json.loads(kubectl("get", "crd", name, "--output", "json"))
    found: Body = stored["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return found


def schemas_of(chart: Path) -> dict[str, Body]:
    """Schemas of a chart's CRDs by name."""
    found = (yaml.safe_load(path.read_text()) for path in sorted((chart / "files/crds").glob("*.yaml")))
    return {crd["metadata"]["name"]: crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for crd in found}


def store(name: str) -> None:
    """Store a resource with a paid request in flight."""
    meta = {"name": name, "namespace": NAMESPACE}
    body = {"apiVersion": "contentgen.dev/v1alpha1", "kind": "ImageGeneration", "metadata": meta}
    kubectl("create", "--filename", "-", given=body | {"spec": {"prompt": "A grey square", "userId": NAMESPACE}})
    patch(name, {"status": {"phase": "Processing", "reason": "Processing", "run": RUN}})


def patch(name: str, changes: Body) -> None:
    """Merge a spec as an administrator, and a status as the operator."""
    for part, how in (("spec", ()), ("status", ("--subresource=status", *OPERATOR))):
        if part in changes:
            given = ("--namespace", NAMESPACE, "--type=merge", "--patch", json.dumps({part: changes[part]}))
            kubectl("patch", "imagegeneration", name, *how, *given)


def stored(name: str) -> Body:
    body: Body = json.loads(kubectl("--namespace", NAMESPACE, "get", "imagegeneration", name, "--output", "json"))
    return {"uid": body["metadata"]["uid"], "spec": body["spec"], "status": body["status"]}


def leaves(body: Body, at: str = "") -> dict[str, Any]:
    """Values by dotted path."""
    found: dict[str, Any] = {}
    for key, value in body.items():
        found |= leaves(value, f"{at}{key}.") if isinstance(value, dict) else {f"{at}{key}": value}
    return found


@pytest.mark.parametrize("helm", ["helm", "helm3"], indirect=True)
def test_crd_upgrade_and_rollback_keep_stored_objects(helm: str, old: Path) -> None:
    release(helm, "install", str(old))
    for name in ("idle", "written"):
        store(name)
    before = {name: stored(name) for name in ("idle", "written")}
    release(helm, "upgrade", str(TODAY))
    assert {name: schema(name) for name in crds()} == schemas_of(TODAY)
    for name, was in before.items():
        assert leaves(was).items() <= leaves(stored(name)).items()
        patch(name, NEW)
    complete = {name: leaves(stored(name)) for name in before}
    assert all(leaves(NEW).items() <= each.items() for each in complete.values())
    release(helm, "rollback")
    assert schemas_of(old).items() <= {name: schema(name) for name in crds()}.items()
    assert "operatorclasses.contentgen.dev" in crds()
    for name, was in before.items():
        now = leaves(stored(name))
        assert complete[name].keys() - now.keys() == leaves(NEW).keys()
        assert leaves(was).items() <= now.items()
    kubectl("--namespace", NAMESPACE, "annotate", "imagegeneration", "written", "a-write=1")
    release(helm, "upgrade", str(TODAY))
    # Resources without a write since the rollback have all fields again; the others have lost them.
    assert leaves(stored("idle")) == complete["idle"]
    assert leaves(NEW).keys().isdisjoint(leaves(stored("written")))


def test_the_crds_outlive_the_release(helm: str) -> None:
    release(helm, "install", str(TODAY))
    store("kept")
    before = stored("kept")
    release(helm, "upgrade", str(TODAY), values=(*STORES, "crds.install=false"))
    assert stored("kept") == before
    release(helm, "uninstall")
    assert crds() == sorted(schemas_of(TODAY))
    assert stored("kept") == before
    other = ("another", str(TODAY), "--namespace", NAMESPACE, "--no-hooks", *sets(STORES))
    with pytest.raises(CommandFailed, match="invalid ownership metadata"):
        run(helm, "install", *other)
    run(helm, "install", *other, "--take-ownership")
    assert stored("kept") == before
    run(helm, "uninstall", "another", "--namespace", NAMESPACE, "--no-hooks")
    release(helm, "install", str(TODAY), "--take-ownership")
    assert stored("kept") == before


def test_without_keep_the_crds_end_with_the_release(helm: str) -> None:
    """CRDs after an uninstallation with crds.keep=false: deleted, as the chart's README documents."""
    release(helm, "install", str(TODAY), values=(*STORES, "crds.keep=false"))
    store("lost")
    names = crds()
    run(helm, "uninstall", "contentgen", "--namespace", NAMESPACE, "--no-hooks")
    until_crds_end(names)
    assert crds() == []
    wait_for_discovery()
    # The first where kubectl remembers that the group was served.
    with pytest.raises(CommandFailed, match=r"could not find the requested resource|doesn't have a resource type"):
        stored("lost")
