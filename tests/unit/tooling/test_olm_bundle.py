"""The OLM bundle: complete, with the chart's rights and images, and only install modes that the operator supports.

The chart's objects are those of deploy/kustomize/base; tests/chart/test_manifests.py compares both.
`make olm-validate` runs operator-framework's validators.
"""

import json
from pathlib import Path
from typing import Any

import yaml

import olm_bundle

ROOT = Path(__file__).parents[3]
BUNDLE = ROOT / "deploy/olm/bundle"
Manifest = dict[str, Any]


def documents(folder: Path) -> dict[str, list[Manifest]]:
    """Documents of the YAML files by file name; libyaml reads them ten times as fast as Python."""
    return {path.name: list(yaml.load_all(path.read_text(), yaml.CSafeLoader)) for path in folder.glob("*.yaml")}


FILES: dict[str, Manifest] = {name: found for name, (found,) in documents(BUNDLE / "manifests").items()}
CHART: list[Manifest] = [each for found in documents(ROOT / "deploy/kustomize/base").values() for each in found]
CHART_YAML = yaml.safe_load((ROOT / "charts/contentgen/Chart.yaml").read_text())
CSV = FILES["contentgen.clusterserviceversion.yaml"]
SPEC = CSV["spec"]


def of(kind: str) -> dict[str, Manifest]:
    return {resource["metadata"]["name"]: resource for resource in CHART if resource["kind"] == kind}


def rights(kind: str) -> dict[str, list[Manifest]]:
    """The rules of each service account in the chart, by bindings of a kind."""
    found: dict[str, list[Manifest]] = {}
    for binding in of(f"{kind}Binding").values():
        assert binding["roleRef"]["kind"] == kind
        for subject in binding["subjects"]:
            found.setdefault(subject["name"], []).extend(of(kind)[binding["roleRef"]["name"]]["rules"])
    return found


def test_required_fields() -> None:
    """https://olm.operatorframework.io/docs/concepts/crds/clusterserviceversion/"""
    assert CSV["apiVersion"] == "operators.coreos.com/v1alpha1"
    assert CSV["metadata"]["name"] == f"contentgen.v{CHART_YAML['version']}"
    assert SPEC["version"] == CHART_YAML["version"]
    assert SPEC["minKubeVersion"] == "1.31.0"
    assert SPEC["install"]["strategy"] == "deployment"
    assert all(SPEC[name] for name in ("displayName", "description", "maturity", "keywords", "provider"))


def test_the_rights_are_the_charts() -> None:
    install = SPEC["install"]["spec"]
    for field, kind in (("clusterPermissions", "ClusterRole"), ("permissions", "Role")):
        given = {each["serviceAccountName"]: each["rules"] for each in install[field]}
        assert given == rights(kind), field
    assert rights("ClusterRole").keys() == {"contentgen", "contentgen-gateway"}
    # A rule of a ClusterRole binding for another namespace would become one for all.
    assert {each["subjects"][0]["namespace"] for each in of("ClusterRoleBinding").values()} == {"contentgen"}


def test_the_deployments_and_images_are_the_charts() -> None:
    deployments = {deployment["name"]: deployment["spec"] for deployment in SPEC["install"]["spec"]["deployments"]}
    text = json.dumps({name: resource["spec"] for name, resource in of("Deployment").items()})
    assert deployments == json.loads(text.replace(': "kustomize"', ': "olm"'))
    images = {
        container["image"] for spec in deployments.values() for container in spec["template"]["spec"]["containers"]
    }
    assert len(images) == 1
    (operator,) = deployments["contentgen"]["template"]["spec"]["containers"]
    worker = next(each["value"] for each in operator["env"] if each["name"] == "CONTENTGEN_WORKER_IMAGE")
    assert {image["image"] for image in SPEC["relatedImages"]} == {*images, worker}
    assert CSV["metadata"]["annotations"]["containerImage"] in images


def test_the_crds_are_owned_and_have_examples() -> None:
    crds = of("CustomResourceDefinition")
    owned = {each["name"]: each for each in SPEC["customresourcedefinitions"]["owned"]}
    assert owned.keys() == crds.keys()
    for name, crd in crds.items():
        assert FILES[f"{name}_customresourcedefinition.yaml"]["spec"] == crd["spec"]
        assert owned[name]["kind"] == crd["spec"]["names"]["kind"]
        assert owned[name]["version"] in {version["name"] for version in crd["spec"]["versions"]}
    examples = json.loads(CSV["metadata"]["annotations"]["alm-examples"])
    assert examples == [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "samples").glob("*.yaml"))]


def test_the_install_mode_is_the_operators_selection() -> None:
    """All namespaces, because the Deployments select them; OLM's annotation with target namespaces is read nowhere."""
    modes = {mode["type"]: mode["supported"] for mode in SPEC["installModes"]}
    assert modes == {"OwnNamespace": False, "SingleNamespace": False, "MultiNamespace": False, "AllNamespaces": True}
    for deployment in SPEC["install"]["spec"]["deployments"]:
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        variables = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert variables["CONTENTGEN_WATCH_NAMESPACES"] == "[]"
        assert variables["CONTENTGEN_WATCH_NAMESPACE_SELECTOR"] == ""
    assert "olm.targetNamespaces" not in json.dumps(CSV)


def test_chart_objects_are_in_the_bundle_or_listed_as_left_out() -> None:
    made = {("Deployment", deployment["name"]) for deployment in SPEC["install"]["spec"]["deployments"]}
    made |= {(file["kind"], file["metadata"]["name"]) for file in FILES.values()}
    bound = {each["roleRef"]["name"] for each in of("ClusterRoleBinding").values()}
    for resource in CHART:
        kind, name = resource["kind"], resource["metadata"].get("name", "") if "metadata" in resource else ""
        if kind in ("Kustomization", "ServiceAccount", "Role", "RoleBinding", "ClusterRoleBinding") or name in bound:
            continue
        assert ((kind, name) in made) != (kind in olm_bundle.LEFT_OUT), (kind, name)


def test_the_metadata_and_the_image_have_the_same_labels() -> None:
    given = yaml.safe_load((BUNDLE / "metadata/annotations.yaml").read_text())["annotations"]
    lines = (ROOT / "deploy/olm/bundle.Dockerfile").read_text().splitlines()
    assert {line.removeprefix("LABEL ") for line in lines if line.startswith("LABEL ")} == {
        f'{name}="{value}"' for name, value in given.items()
    }
    assert given["operators.operatorframework.io.bundle.package.v1"] == "contentgen"
    for folder in ("manifests", "metadata"):
        assert f"COPY bundle/{folder} /{folder}/" in lines
        assert (BUNDLE / folder).is_dir()
