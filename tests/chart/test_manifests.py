"""deploy/kustomize: what the chart renders, an example of an overlay."""

import functools
import json
from collections.abc import Sequence
from typing import Any

import yaml

import manifests
from contentgen_cluster import release
from contentgen_contract.names import Kind
from contentgen_e2e.settings import ROOT

Manifest = dict[str, Any]
EXAMPLE = ROOT / "deploy/kustomize/overlays/example"


@functools.cache
def built(folder: str) -> tuple[Manifest, ...]:
    """The objects of a kustomization; cached and read-only."""
    text = release.kubectl(ROOT, "kustomize", str(ROOT / "deploy/kustomize" / folder))
    return tuple(each for each in yaml.load_all(text, yaml.CSafeLoader) if each)


def named(objects: Sequence[Manifest]) -> set[tuple[str, str]]:
    return {(stored_object["kind"], stored_object["metadata"]["name"]) for stored_object in objects}


def one(objects: Sequence[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [
        stored_object
        for stored_object in objects
        if (stored_object["kind"], stored_object["metadata"]["name"]) == (kind, name)
    ]
    return found


def environment(objects: Sequence[Manifest], name: str) -> dict[str, str]:
    (container,) = one(objects, "Deployment", name)["spec"]["template"]["spec"]["containers"]
    return {variable["name"]: variable.get("value", "") for variable in container["env"]}


def test_the_generated_files_are_what_the_chart_renders() -> None:
    assert manifests.drifted(manifests.generated()) == [], "run: make manifests"


def test_a_changed_a_missing_and_a_foreign_file_are_told(tmp_path: Any) -> None:
    files = {"base/a.yaml": "a", "base/b.yaml": "b"}
    (tmp_path / "base").mkdir()
    (tmp_path / "base/a.yaml").write_text("changed")
    (tmp_path / "base/c.yaml").write_text("c")
    assert manifests.drifted(files, tmp_path) == ["base/a.yaml", "base/b.yaml", "base/c.yaml"]


def test_the_base_has_every_object_of_the_chart_but_helms() -> None:
    chart = named(manifests.rendered(*manifests.VALUES))
    assert named(built("base")) == chart
    assert {("Deployment", "contentgen"), ("Deployment", "contentgen-gateway")} < chart
    assert {("CustomResourceDefinition", f"{kind.plural}.contentgen.dev") for kind in Kind} < chart
    assert "helm" not in json.dumps([resource["metadata"] for resource in built("base")]).lower()


def test_overlay_sets_images_bucket_secrets_and_namespace() -> None:
    objects = built("overlays/example")
    for name in ("contentgen", "contentgen-gateway"):
        variables = environment(objects, name)
        assert (variables["CONTENTGEN_S3_BUCKET"], variables["CONTENTGEN_S3_REGION"]) == ("my-bucket", "eu-central-1")
        (container,) = one(objects, "Deployment", name)["spec"]["template"]["spec"]["containers"]
        assert container["image"].startswith("registry.example.com/contentgen-operator:")
    added = named(objects) - named(built("base"))
    assert added == {
        ("Namespace", "contentgen"),
        *(("Secret", word) for word in ("mongodb", "storage", "provider-keys")),
    }
    assert set(one(objects, "Secret", "storage")["data"]) == {"access-key-id", "secret-access-key"}
    assert set(one(objects, "Secret", "mongodb")["data"]) == {"uri"}
    used = {stored_object["metadata"].get("namespace") for stored_object in objects} - {None}
    assert used == {"contentgen"}


def test_the_policy_allows_the_worker_image_of_the_overlay() -> None:
    objects = built("overlays/example")
    image = environment(objects, "contentgen")["CONTENTGEN_WORKER_IMAGE"]
    assert image.startswith("registry.example.com/contentgen-worker:")
    policy = one(objects, "ValidatingAdmissionPolicy", "contentgen-contentgen-workers")
    assert "contentgen/contentgen-worker" not in json.dumps(policy)
    (rule,) = [
        validation for validation in policy["spec"]["validations"] if "container.image ==" in validation["expression"]
    ]
    assert rule["expression"] == f'variables.container.image == "{image}"'
    assert f"expected {image} (worker.image)" in rule["messageExpression"]
