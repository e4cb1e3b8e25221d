"""Artifact Hub's annotations of the chart agree with the chart, the CRDs and the samples."""

import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from contentgen_documents import checks
from contentgen_documents.extract import DocumentedManifest

ROOT = Path(__file__).parents[3]
CHART = yaml.safe_load((ROOT / "charts/contentgen/Chart.yaml").read_text())
ANNOTATIONS: dict[str, str] = CHART["annotations"]


def listed(name: str) -> list[dict[str, Any]]:
    """An annotation that is a list in YAML."""
    found: list[dict[str, Any]] = yaml.safe_load(ANNOTATIONS[f"artifacthub.io/{name}"])
    return found


def test_images_are_the_charts() -> None:
    values = yaml.safe_load((ROOT / "charts/contentgen/values.yaml").read_text())
    images = {"operator": values["image"], "worker": values["worker"]["image"], "sandbox": values["sandbox"]["image"]}
    expected = {name: f"{image['repository']}:{image['tag'] or CHART['appVersion']}" for name, image in images.items()}
    assert {each["name"]: each["image"] for each in listed("images")} == expected


def test_crds_are_the_generated_ones() -> None:
    expected = []
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        crd = yaml.safe_load(path.read_text())
        kind = crd["spec"]["names"]["kind"]
        for version in crd["spec"]["versions"]:
            text = version["schema"]["openAPIV3Schema"]["description"]
            meta = {"kind": kind, "version": version["name"], "name": crd["metadata"]["name"]}
            expected.append(meta | {"displayName": kind, "description": text})
    assert len(expected) >= 4
    assert listed("crds") == expected


def test_examples_are_the_samples_and_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    samples = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "samples").glob("*.yaml"))]
    examples = listed("crdsExamples")
    assert examples == samples
    assert [
        problem for example in examples for problem in checks.manifest_problems(DocumentedManifest("c", 1, example))
    ] == []
    without = examples[0] | {"spec": {}}
    assert checks.manifest_problems(DocumentedManifest("c", 1, without))


def test_other_annotations_have_values_known_to_artifact_hub() -> None:
    """https://artifacthub.io/docs/topics/annotations/helm/"""
    given = {name.removeprefix("artifacthub.io/"): value for name, value in ANNOTATIONS.items()}
    known = {"category", "license", "operator", "operatorCapabilities", "prerelease", "changes", "images", "crds"}
    assert set(given) == known | {"crdsExamples"}
    assert given["category"] == "ai-machine-learning"
    assert given["license"] == "Apache-2.0"
    levels = ("Basic Install", "Seamless Upgrades", "Full Lifecycle", "Deep Insights", "Auto Pilot")
    assert given["operatorCapabilities"] in levels
    assert given["prerelease"] == str("-" in CHART["version"]).lower()
    kinds = {"added", "changed", "deprecated", "removed", "fixed", "security"}
    assert {each["kind"] for each in listed("changes")} <= kinds


def test_the_repositorys_file_is_one() -> None:
    found = yaml.safe_load((ROOT / "charts/artifacthub-repo.yml").read_text())
    assert found.keys() == {"repositoryID", "owners"}
    uuid.UUID(found["repositoryID"])
