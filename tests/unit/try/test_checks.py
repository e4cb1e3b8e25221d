"""Errors of manifests: one list for all documents, with field, value and expectation, before anything starts."""

from pathlib import Path
from typing import Any

import pytest

from contentgen_try.apply import BadManifest, read
from contentgen_try.checks import Checks

ROOT = Path(__file__).resolve().parents[3]
CRDS, PAGE = ROOT / "crds", ROOT / "docs/try.md"
HEAD = "apiVersion: contentgen.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"
GOOD = "{model: flux-dev, prompt: A lighthouse}"


def picture(name: str = "one", spec: str = GOOD) -> str:
    return HEAD.format(kind="ImageGeneration", name=name, spec=spec)


@pytest.fixture(scope="module")
def checks() -> Checks:
    """Checks by the CRDs of the repository."""
    return Checks(CRDS)


def errors(checks: Checks, folder: Path, *texts: str, **given: Any) -> list[str]:
    path = folder / "my.yaml"
    path.write_text("---\n".join(texts))
    try:
        checks.require(read([path]), **given)
    except BadManifest as error:
        heading, *lines = str(error).splitlines()
        assert heading.split(" in ")[0] == f"{len(lines)} error{'s' * (len(lines) != 1)}"
        assert heading.endswith("my.yaml, nothing was applied:")
        return [line.strip() for line in lines]
    return []


def test_all_errors_of_all_documents_are_in_one_list(checks: Checks, tmp_path: Path) -> None:
    """Name, unknown field, limit, type and rule at once: the API server of a cluster needs an attempt for each."""
    training = """
apiVersion: contentgen.dev/v1alpha1
kind: LoraTraining
metadata: {name: Bad_Name}
spec:
  loraName: bad name!
  triggerWord: jf
  source: {url: "ftp://x"}
  dataset: {minImages: 0, maxImage: 9}
  training: {model: flux-lora-fast-training, steps: many}
"""
    found = errors(checks, tmp_path, training, picture(), picture("two", "{model: flux-dev, image: {count: 99}}"))
    name = "must be lower case letters, digits, '-' or '.', and begin and end with a letter or digit"
    assert found[:4] == [
        f'LoraTraining Bad_Name: metadata.name: "Bad_Name": {name}',
        "LoraTraining Bad_Name: spec.dataset.maxImage: 9: no such field; maxImages is one",
        "LoraTraining Bad_Name: spec.dataset.minImages: 0: must be greater than or equal to 4",
        'LoraTraining Bad_Name: spec.training.steps: "many": must be of type integer',
    ]
    assert found[4].startswith('LoraTraining Bad_Name: spec.loraName: "bad name!": must be up to 63 letters')
    assert found[5].startswith('LoraTraining Bad_Name: spec.source.url: "ftp://x": must start with https://')
    assert found[6:] == [
        "ImageGeneration two: spec.prompt: missing: is required",
        "ImageGeneration two: spec.image.count: 99: must be less than or equal to 4",
    ]


def test_the_documents_show_what_is_printed(checks: Checks, tmp_path: Path) -> None:
    spec = "{model: flux-dev, image: {cuont: 3, size: {width: 99, height: 512}}}"
    found = errors(checks, tmp_path, picture("poster", spec))
    assert (
        "\n".join(["✗ 3 errors in my.yaml, nothing was applied:", *(f"  {each}" for each in found)]) in PAGE.read_text()
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- 1", "document without a name: document: [1]: must be an object with apiVersion, kind and metadata"),
        ("kind: [1]", "kind: [1]: must be ImageGeneration, "),
        ("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}", 'Deployment a: kind: "Deployment": must be '),
        (picture().replace("/v1alpha1", "/v1"), 'apiVersion: "contentgen.dev/v1": must be ImageGeneration, '),
        (picture("../../secrets"), 'metadata.name: "../../secrets": must be lower case letters'),
        (picture("[]"), "metadata.name: []: has an invalid type"),
        (picture("{}").replace("metadata: {name: {}}", "metadata: 1"), "metadata: 1: must be an object"),
        (picture("''"), 'metadata.name: "": Required value'),
        (picture("one, namespace: a/b"), 'metadata.namespace: "a/b": must be lower case letters'),
        (picture("one, label: a"), 'metadata.label: "a": no such field'),
        (picture("a" * 53), "must have at most 52 characters"),
        (picture(spec="[]"), 'spec: []: must be of type object'),
        (picture(spec="{model: flux-dev, prompt: [a]}"), 'spec.prompt: ["a"]: must be of type string'),
        (picture('"\\e[31m"'), r'ImageGeneration \u001b[31m: metadata.name: "\u001b[31m": must be'),
        (picture(spec="{model: flux-dev, prompt: a, zzz: 1}"), "spec.zzz: 1: no such field; there are "),
    ],
)  # fmt: skip
def test_an_error_has_field_value_and_expectation(text: str, said: str, checks: Checks, tmp_path: Path) -> None:
    [found] = errors(checks, tmp_path, text)
    assert said in found
    assert "<nil>" not in found


def test_a_good_manifest_has_no_errors(checks: Checks, tmp_path: Path) -> None:
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: s, namespace: mine}\nstringData: {a: b}\n"
    assert errors(checks, tmp_path, picture(), secret) == []


def test_a_stored_value_that_stays_is_valid(checks: Checks, tmp_path: Path) -> None:
    """A later release may allow less: then a paid request must still be followed."""
    spec = {"model": "flux-dev", "prompt": "a", "image": {"count": 99}}
    stored = {"apiVersion": "contentgen.dev/v1alpha1", "kind": "ImageGeneration", "metadata": {}, "spec": spec}
    text = picture(spec="{model: flux-dev, prompt: a, image: {count: 99}}")
    assert errors(checks, tmp_path, text, stored=lambda _: stored) == []
    assert len(errors(checks, tmp_path, text, stored=lambda _: None)) == 1


def test_names_alone_are_checked_without_stored_objects(checks: Checks, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("---\n".join([picture(spec="{}"), picture("A"), picture("B")]))
    with pytest.raises(BadManifest, match="2 errors in"):
        checks.require_names(read([tmp_path / "my.yaml"]))
