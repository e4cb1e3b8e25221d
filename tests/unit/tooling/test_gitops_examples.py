"""deploy/gitops: the examples for Flux and Argo CD fit the tools' CRDs, the chart and its values."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from contentgen_documents import checks

ROOT = Path(__file__).parents[3]
CRDS: dict[str, Any] = json.loads((ROOT / "tests/cluster/contentgen_e2e/gitops_crds.json").read_text())
CHART = yaml.safe_load((ROOT / "charts/contentgen/Chart.yaml").read_text())
Manifest = dict[str, Any]
FILES = {
    str(path.relative_to(ROOT / "deploy/gitops")): [each for each in yaml.safe_load_all(path.read_text()) if each]
    for path in sorted((ROOT / "deploy/gitops").rglob("*.yaml"))
}
EXAMPLES = [(name, each_manifest) for name, manifests in FILES.items() for each_manifest in manifests]


def values_of(manifest: Manifest) -> Manifest:
    """The values of a HelmRelease or an Application."""
    spec = manifest["spec"]
    found: Manifest = spec["values"] if manifest["kind"] == "HelmRelease" else spec["source"]["helm"]["valuesObject"]
    return found


INSTALLATIONS = {name: example for name, example in EXAMPLES if example["kind"] in ("HelmRelease", "Application")}


def problems(manifest: Manifest) -> list[str]:
    """Errors of a manifest by the schema of its CRD; unknown fields are errors."""
    crd = CRDS[manifest["kind"]]
    (version,) = crd["spec"]["versions"]
    wrong = [] if manifest["apiVersion"] == f"{crd['spec']['group']}/{version['name']}" else ["apiVersion"]
    schema = closed(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    return wrong + [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(manifest)]


def closed(schema: Any) -> Any:
    """A CRD's schema in which objects have no unknown fields, as the API server's strict validation sees them."""
    if isinstance(schema, list):
        return [closed(element) for element in schema]
    if not isinstance(schema, dict):
        return schema
    open_ = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    below = {name: closed(member) for name, member in schema.items()}
    has_fields = isinstance(schema.get("properties"), dict) and schema.get("type") == "object"
    return below | {"additionalProperties": False} if has_fields and not open_ else below


def test_every_tool_and_source_has_an_example() -> None:
    assert {name: [manifest["kind"] for manifest in manifests] for name, manifests in FILES.items()} == {
        "argocd/application.yaml": ["Application"],
        "flux/from-git.yaml": ["GitRepository", "HelmRelease"],
        "flux/from-registry.yaml": ["OCIRepository", "HelmRelease"],
    }


@pytest.mark.parametrize(("name", "manifest"), EXAMPLES)
def test_an_example_fits_its_crd(name: str, manifest: Manifest) -> None:
    assert problems(manifest) == []
    unknown = manifest | {"spec": manifest["spec"] | {"intervall": "1h"}}
    assert any("intervall" in problem for problem in problems(unknown)), "the schema is strict"


@pytest.mark.parametrize("name", INSTALLATIONS)
def test_the_values_are_the_charts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    values = values_of(INSTALLATIONS[name])
    assert list(checks.value_problems(values)) == []
    assert list(checks.value_problems(values | {"storages": {}}))


def test_all_examples_have_the_same_values() -> None:
    first, *others = (values_of(installation) for installation in INSTALLATIONS.values())
    assert others == [first] * 2


def test_the_examples_name_this_version_and_existing_things() -> None:
    version = CHART["version"]
    assert INSTALLATIONS["argocd/application.yaml"]["spec"]["source"]["targetRevision"] == version
    assert INSTALLATIONS["argocd/application.yaml"]["spec"]["source"]["chart"] == CHART["name"]
    git, by_git = FILES["flux/from-git.yaml"]
    assert git["spec"]["ref"] == {"tag": f"v{version}"}
    chart = by_git["spec"]["chart"]["spec"]
    assert (ROOT / chart["chart"] / "Chart.yaml").is_file()
    assert chart["sourceRef"] == {"kind": "GitRepository", "name": git["metadata"]["name"]}
    oci, by_oci = FILES["flux/from-registry.yaml"]
    assert oci["spec"]["ref"] == {"semver": f"{version.rpartition('.')[0]}.x"}
    assert by_oci["spec"]["chartRef"] == {"kind": "OCIRepository", "name": oci["metadata"]["name"]}
    assert (
        "charts/contentgen/gitops/argocd/argocd-cm.yaml" in (ROOT / "deploy/gitops/argocd/application.yaml").read_text()
    )
    assert (ROOT / "charts/contentgen/gitops/argocd/argocd-cm.yaml").is_file()
