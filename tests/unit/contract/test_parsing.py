"""Parsing of resources and owner references whose parts somebody else wrote, with wrong types or missing."""

import copy
import dataclasses
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest
from pydantic import TypeAdapter, ValidationError

from contentgen_contract.names import Kind, Phase
from contentgen_contract.resources.owner_references import controllers, owner_reference
from contentgen_contract.resources.parsing import ResourceBody, ResourceMetadata, ResourceRun, strict_status

HOSTILE = (None, True, False, 0, -1, 1.5, "", "../x", [], [None], ["a", 1], {}, {"a": None}, {"$ne": 1})
BODY: dict[str, Any] = {
    "metadata": {
        "uid": "u", "name": "n", "namespace": "ns", "resourceVersion": "7", "generation": 2,
        "creationTimestamp": "2026-11-21T00:00:00Z", "deletionTimestamp": "2026-11-21T00:00:01Z",
        "finalizers": ["contentgen.dev/files"], "annotations": {"contentgen.dev/rerun": "again"},
    },
    "spec": {"prompt": "A house"},
    "status": {
        "phase": "Failed", "reason": "Cancelled", "message": "m",
        "run": {"number": 3, "rerun": "again", "billed": False, "spec": {"prompt": "A house"}, "facts": {"seconds": 1}},
    },
}  # fmt: skip


def places(body: dict[str, Any], *before: str) -> Iterator[tuple[str, ...]]:
    """Paths of all fields, objects and their parts."""
    for name, value in body.items():
        yield (*before, name)
        if isinstance(value, dict):
            yield from places(value, *before, name)


def changed(path: tuple[str, ...], value: object) -> dict[str, Any]:
    """The body with this value at a path."""
    body = copy.deepcopy(BODY)
    inner = body
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return body


def require_types(value: Any) -> None:
    """Raises ValidationError if a field of the dataclass has another type than its annotation."""
    hints = get_type_hints(type(value))
    for field in dataclasses.fields(value):
        found = getattr(value, field.name)
        if isinstance(found, ResourceMetadata | ResourceRun):
            require_types(found)
        else:
            TypeAdapter(hints[field.name]).validate_python(found, strict=True)


@pytest.mark.parametrize("path", tuple(places(BODY)), ids=".".join)
def test_a_part_of_a_wrong_type_counts_as_absent(path: tuple[str, ...]) -> None:
    for value in HOSTILE:
        parsed = ResourceBody.parse(changed(path, value))
        require_types(parsed)
        assert isinstance(parsed.ended, bool)
        assert isinstance(parsed.rerun_requested, bool)


def test_a_whole_resource_is_parsed() -> None:
    parsed = ResourceBody.parse(BODY)
    assert (parsed.metadata.uid, parsed.metadata.generation, parsed.rerun) == ("u", 2, "again")
    assert parsed.run is not None
    assert (parsed.run.number, parsed.run.billed, parsed.phase, parsed.ended) == (3, False, "Failed", True)
    assert not parsed.rerun_requested


def test_unknown_phase_is_kept_as_text_but_refused_for_payments() -> None:
    body = changed(("status", "phase"), "Paused")
    assert (ResourceBody.parse(body).phase, ResourceBody.parse(body).ended) == ("Paused", False)
    with pytest.raises(ValidationError, match="phase"):
        strict_status({"status": {"phase": "Paused"}})
    assert strict_status({"status": {"phase": "Pending"}}).phase is Phase.PENDING


@pytest.mark.parametrize("value", [None, 1, True, [], {}])
@pytest.mark.parametrize("part", ["apiVersion", "kind", "name", "uid"])
def test_an_owner_reference_with_a_wrong_part_names_no_resource(part: str, value: object) -> None:
    reference = owner_reference(Kind.IMAGE_GENERATION, "it", "u") | {part: value}
    assert [controller.resource_kind for controller in controllers({"metadata": {"ownerReferences": [reference]}})] in (
        [],
        [None],
    )


@pytest.mark.parametrize(
    "edit",
    [
        {"apiVersion": "contentgen.dev.evil/v1"},
        {"apiVersion": "v1"},
        {"kind": "Secret"},
        {"kind": "imagegeneration"},
        {"controller": False},
    ],
    ids=str,
)
def test_an_owner_of_another_group_or_kind_is_none_of_ours(edit: dict[str, Any]) -> None:
    reference = owner_reference(Kind.IMAGE_GENERATION, "it", "u")
    (ours,) = controllers({"metadata": {"ownerReferences": [reference]}})
    assert (ours.resource_kind, ours.name, ours.uid, ours.is_job) == (Kind.IMAGE_GENERATION, "it", "u", False)
    found = list(controllers({"metadata": {"ownerReferences": [reference | edit]}}))
    assert all(each.resource_kind is None for each in found)
