"""The OLM bundle (deploy/olm), made of the chart's objects: `make manifests` writes it.

OLM makes the service accounts, the roles and the Deployments from the ClusterServiceVersion. A bundle may have other
objects of some kinds only: admission policies and network policies are not among them.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

Manifest = dict[str, Any]
PACKAGE = "contentgen"
CHANNEL = "alpha"
MADE_BY_OLM = {"ServiceAccount", "Deployment", "Role", "RoleBinding", "ClusterRoleBinding"}
LEFT_OUT = {"NetworkPolicy", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
"""Kinds that a bundle cannot have: https://olm.operatorframework.io/docs/tasks/creating-operator-bundle/"""
INSTALL_MODES = {"OwnNamespace": False, "SingleNamespace": False, "MultiNamespace": False, "AllNamespaces": True}
"""The Deployments are rendered for all namespaces. OLM's selection is a text with commas; the operator reads none."""


def csv(manifests: Sequence[Manifest], samples: Sequence[Manifest], chart: Manifest) -> Manifest:
    """The ClusterServiceVersion. `chart` is Chart.yaml; the README's first paragraph is not repeated."""
    version = chart["version"]
    deployments = [manifest for manifest in manifests if manifest["kind"] == "Deployment"]
    crds = _of(manifests, "CustomResourceDefinition")
    (operator,) = [deployment for deployment in deployments if deployment["metadata"]["name"] == PACKAGE]
    (container,) = operator["spec"]["template"]["spec"]["containers"]
    worker = next(variable["value"] for variable in container["env"] if variable["name"] == "CONTENTGEN_WORKER_IMAGE")
    annotations = {
        "alm-examples": json.dumps(samples, indent=2, ensure_ascii=False),
        "capabilities": chart["annotations"]["artifacthub.io/operatorCapabilities"],
        "categories": "AI/Machine Learning",
        "containerImage": container["image"],
        "description": chart["description"],
        "operatorframework.io/suggested-namespace": PACKAGE,
        "support": "The repository's issues",
    }
    return {
        "apiVersion": "operators.coreos.com/v1alpha1",
        "kind": "ClusterServiceVersion",
        "metadata": {"name": f"{PACKAGE}.v{version}", "namespace": "placeholder", "annotations": annotations},
        "spec": {
            "displayName": PACKAGE,
            "description": chart["description"],
            "version": version,
            "maturity": CHANNEL,
            "minKubeVersion": chart["kubeVersion"].removeprefix(">=").removesuffix("-0"),
            "keywords": chart["keywords"],
            "provider": {"name": PACKAGE},
            "installModes": [{"type": name, "supported": supported} for name, supported in INSTALL_MODES.items()],
            "customresourcedefinitions": {"owned": [_owned(crd) for crd in crds]},
            "relatedImages": [
                {"name": "operator", "image": container["image"]}, {"name": "worker", "image": worker},
            ],
            "install": {
                "strategy": "deployment",
                "spec": {
                    "clusterPermissions": list(permissions(manifests, "ClusterRole")),
                    "permissions": list(permissions(manifests, "Role")),
                    "deployments": [_deployment(deployment) for deployment in deployments],
                },
            },
        },
    }  # fmt: skip


def permissions(manifests: Sequence[Manifest], kind: str) -> Iterator[Manifest]:
    """The rules of the bound roles of a kind, by service account."""
    roles = {resource["metadata"]["name"]: resource["rules"] for resource in _of(manifests, kind)}
    rules: dict[str, list[Manifest]] = {}
    for binding in _of(manifests, f"{kind}Binding"):
        (subject,) = binding["subjects"]
        rules.setdefault(subject["name"], []).extend(roles[binding["roleRef"]["name"]])
    for account, rule in sorted(rules.items()):
        yield {"serviceAccountName": account, "rules": rule}


def bundle(manifests: Sequence[Manifest], samples: Sequence[Manifest], chart: Manifest) -> dict[str, list[Manifest]]:
    """The files of the bundle by name below deploy/olm/bundle."""
    bound = {each["roleRef"]["name"] for each in _of(manifests, "ClusterRoleBinding")}
    files = {f"manifests/{PACKAGE}.clusterserviceversion.yaml": [csv(manifests, samples, chart)]}
    for manifest in manifests:
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        if kind in MADE_BY_OLM | LEFT_OUT or (kind == "ClusterRole" and name in bound):
            continue
        files[f"manifests/{name}_{kind.lower()}.yaml"] = [manifest]
    return files | {"metadata/annotations.yaml": [{"annotations": labels()}]}


def labels() -> dict[str, str]:
    """The annotations of the bundle, which its image has as labels."""
    prefix = "operators.operatorframework.io.bundle"
    return {
        f"{prefix}.mediatype.v1": "registry+v1",
        f"{prefix}.manifests.v1": "manifests/",
        f"{prefix}.metadata.v1": "metadata/",
        f"{prefix}.package.v1": PACKAGE,
        f"{prefix}.channels.v1": CHANNEL,
        f"{prefix}.channel.default.v1": CHANNEL,
    }


def dockerfile() -> str:
    """The image of the bundle: its files and labels."""
    lines = [f'LABEL {name}="{value}"' for name, value in labels().items()]
    return "\n".join(
        ["FROM scratch", *lines, "COPY bundle/manifests /manifests/", "COPY bundle/metadata /metadata/", ""]
    )


def _of(manifests: Sequence[Manifest], kind: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def _owned(crd: Manifest) -> Manifest:
    version = crd["spec"]["versions"][-1]
    kind = crd["spec"]["names"]["kind"]
    meta = {"name": crd["metadata"]["name"], "version": version["name"], "kind": kind, "displayName": kind}
    return meta | {"description": version["schema"]["openAPIV3Schema"]["description"]}


def _deployment(deployment: Manifest) -> Manifest:
    meta = deployment["metadata"]
    return {"name": meta["name"], "label": meta["labels"], "spec": deployment["spec"]}
