"""CRDs compared with those of the newest git tag: within an API version no field is removed or narrowed.

Rules in CEL cannot be compared; `tests/cluster/chart/test_crds_api_server.py` tests what they refuse.
"""

import copy
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

REPO = Path(__file__).resolve().parents[3]
Body = dict[str, Any]
LOWER = ("maxLength", "maxItems", "maxProperties", "maximum")
HIGHER = ("minLength", "minItems", "minProperties", "minimum")


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=REPO, check=True, capture_output=True, text=True).stdout


def released_crds() -> dict[str, Body]:
    """CRDs of the newest tag by name; today's where there is no tag."""
    tags = git("tag", "--list", "v*", "--merged", "HEAD", "--sort=-version:refname").split()
    if not tags:
        return present_crds()
    paths = git("ls-tree", "--name-only", tags[0], "crds/").split()
    return _by_name(git("show", f"{tags[0]}:{path}") for path in paths)


@cache
def present_crds() -> dict[str, Body]:
    return _by_name(path.read_text() for path in sorted((REPO / "crds").glob("*.yaml")))


def _by_name(texts: Iterator[str]) -> dict[str, Body]:
    return {crd["metadata"]["name"]: crd for crd in map(yaml.safe_load, texts)}


def broken_crds(old: dict[str, Body], new: dict[str, Body]) -> Iterator[str]:
    """Removed and narrowed versions and fields, a line for each."""
    for name, crd in old.items():
        versions = new[name]["spec"]["versions"] if name in new else ()
        served = {version["name"]: version["schema"]["openAPIV3Schema"] for version in versions}
        for version in crd["spec"]["versions"]:
            at = f"{name} {version['name']}"
            if version["name"] in served:
                yield from _broken_fields(at, version["schema"]["openAPIV3Schema"], served[version["name"]])
            else:
                yield f"{at}: removed"


def _broken_fields(at: str, old: Body, new: Body) -> Iterator[str]:
    if old.get("type") != new.get("type"):
        yield f"{at}: type {old.get('type')} is {new.get('type')}"
    if "enum" in new and not {*old.get("enum", [None])} <= {*new["enum"]}:
        yield f"{at}: enum lacks values"
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield f"{at}: another pattern"
    yield from (f"{at}: {name} is lower" for name in LOWER if new.get(name, 1e99) < old.get(name, 1e99))
    yield from (f"{at}: {name} is higher" for name in HIGHER if new.get(name, -1e99) > old.get(name, -1e99))
    yield from (f"{at}.{name}: required" for name in new.get("required", ()) if name not in old.get("required", ()))
    for name, field in old.get("properties", {}).items():
        if name in new.get("properties", {}):
            yield from _broken_fields(f"{at}.{name}", field, new["properties"][name])
        else:
            yield f"{at}.{name}: removed"
    if "items" in old and "items" in new:
        yield from _broken_fields(f"{at}[]", old["items"], new["items"])


def test_released_api_is_neither_removed_nor_narrowed() -> None:
    assert list(broken_crds(released_crds(), present_crds())) == []


FIELD = "imagegenerations.contentgen.dev v1alpha1.spec.prompt"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda spec: spec["properties"].pop("prompt"), f"{FIELD}: removed"),
        (lambda spec: spec["properties"]["prompt"].update(type="integer"), f"{FIELD}: type string is integer"),
        (lambda spec: spec["properties"]["prompt"].update(maxLength=1), f"{FIELD}: maxLength is lower"),
        (lambda spec: spec["properties"]["prompt"].update(pattern="^a"), f"{FIELD}: another pattern"),
        (lambda spec: spec["properties"]["prompt"].update(enum=["a"]), f"{FIELD}: enum lacks values"),
        (lambda spec: spec.update(required=["prompt", "model"]), f"{FIELD[:-6]}model: required"),
        (lambda spec: spec["properties"].update(more={"type": "string"}), None),
    ],
)
def test_client_breaking_changes_are_found(change: Callable[[Body], object], line: str | None) -> None:
    crds = copy.deepcopy(present_crds())
    schema = crds["imagegenerations.contentgen.dev"]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    change(schema["properties"]["spec"])
    assert list(broken_crds(present_crds(), crds)) == ([line] if line else [])


def test_a_version_that_is_removed_is_found() -> None:
    assert list(broken_crds({"a": {"spec": {"versions": [{"name": "v1"}]}}}, {})) == ["a v1: removed"]
