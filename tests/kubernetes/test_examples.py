"""deploy/ on an API server without a node: the Kustomize base and its overlay, and the examples for Flux and Argo CD
with the CRDs of both.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from contentgen_cluster.paths import REPO
from contentgen_cluster.release import CommandFailed
from contentgen_e2e.api_server import kubectl, until_crds_are_served

CRDS: dict[str, Any] = json.loads((REPO / "tests/cluster/contentgen_e2e/gitops_crds.json").read_text())
KINDS = ("Application", "GitRepository", "HelmRelease", "OCIRepository")
FILES = sorted((REPO / "deploy/gitops").rglob("*.yaml"))
NAMESPACE = "gitops-examples"


def read(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


@pytest.fixture(scope="module")
def crds() -> None:
    """The CRDs of Flux and Argo CD, and a namespace for the examples. The API server ends after the tests."""
    bodies = [CRDS[kind] for kind in KINDS]
    listed = {"apiVersion": "v1", "kind": "List", "items": bodies}
    kubectl("apply", "--server-side", "--filename", "-", given=listed)
    names = [body["metadata"]["name"] for body in bodies]
    until_crds_are_served(*names)
    kubectl("create", "namespace", NAMESPACE)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_example_is_applied_and_no_field_is_dropped(path: Path, crds: None) -> None:
    for manifest in read(path):
        there = manifest | {"metadata": manifest["metadata"] | {"namespace": NAMESPACE}}
        how = ("--server-side", "--validate=strict", "--output", "json", "--filename", "-")
        got = json.loads(kubectl("apply", *how, given=there))
        assert contains(got["spec"], manifest["spec"])


def contains(got: Any, given: Any) -> bool:
    """Whether an object has all given fields; the API server adds defaults."""
    if isinstance(given, dict):
        return all(name in got and contains(got[name], value) for name, value in given.items())
    return bool(got == given)


def test_an_unknown_field_is_refused(crds: None) -> None:
    (source, _) = read(REPO / "deploy/gitops/flux/from-git.yaml")
    source["metadata"]["namespace"] = NAMESPACE
    source["spec"]["intervall"] = "1h"
    with pytest.raises(CommandFailed, match="intervall"):
        kubectl("apply", "--server-side", "--validate=strict", "--filename", "-", given=source)


@pytest.mark.parametrize("folder", ["base", "overlays/example"])
def test_every_object_of_a_kustomization_is_applied(folder: str) -> None:
    place = str(REPO / "deploy/kustomize" / folder)
    objects = [each for each in yaml.safe_load_all(kubectl("kustomize", place)) if each]
    namespaces = {stored_object["metadata"].get("namespace") for stored_object in objects} - {None}
    for name in sorted(namespaces):
        kubectl("apply", "--filename", "-", given={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    # Other suites have installed the chart on this server.
    said = kubectl(
        "apply", "--server-side", "--force-conflicts", "--validate=strict", "--output=name", "--kustomize", place
    )
    assert len(said.splitlines()) == len(objects)
