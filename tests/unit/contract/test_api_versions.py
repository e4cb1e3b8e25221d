"""The trial of docs/api-versions.md: no field is lost between v1alpha1 and v1beta1, and no purchase is made again."""

import copy
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from contentgen_contract.names import API_VERSION, GROUP, VERSION, Kind
from contentgen_contract.resources.spec import parse_spec, run_hash
from contentgen_simulation.api_versions import MOVES, V1BETA1, Body, both_versions, converted, review
from crds import resource_schema

WEBHOOK = {"service": {"name": "contentgen", "namespace": "contentgen", "path": "/convert"}}
SETTINGS = settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
TEXTS = st.text(max_size=5)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS, lambda each: st.dictionaries(TEXTS, each, max_size=2)
)


def schema_of(kind: Kind, version: str) -> Body:
    versions = both_versions(kind, webhook=WEBHOOK)["spec"]["versions"]
    (found,) = [
        each_version["schema"]["openAPIV3Schema"] for each_version in versions if each_version["name"] == version
    ]
    schema: Body = found
    return schema


def filled(schema: Body, name: str = "") -> Any:
    """A value that has every field of a schema, each text with the name of its field."""
    if "properties" in schema:
        return {key: filled(field, key) for key, field in schema["properties"].items()}
    if "items" in schema:
        return [filled(schema["items"], name)] * max(1, schema.get("minItems", 1))
    if "enum" in schema:
        return schema["enum"][-1]
    values = {
        "string": f"of {name}",
        "integer": len(name),
        "number": 0.5,
        "boolean": True,
        "object": {name: [None, {}]},
    }
    return values[schema["type"]]


def values(schema: Body) -> SearchStrategy[Any]:
    """Values with any of a schema's fields, and with their types."""
    if "properties" in schema:
        some = st.fixed_dictionaries({}, optional={key: values(field) for key, field in schema["properties"].items()})
        return some.filter(bool) if schema.get("minProperties") else some
    if "items" in schema:
        return st.lists(values(schema["items"]), max_size=2)
    types = {"string": TEXTS, "integer": st.integers(), "number": st.integers(), "boolean": st.booleans()}
    return types.get(schema["type"], st.dictionaries(TEXTS, ANYTHING, max_size=2))


def resource(kind: Kind, version: str, fields: Body) -> Body:
    metadata = {
        "name": "avatar",
        "annotations": {"contentgen.dev/rerun": "1"},
        "managedFields": [{"manager": "kubectl", "apiVersion": API_VERSION}],
    }
    return fields | {"apiVersion": f"{GROUP}/{version}", "kind": kind.value, "metadata": metadata}


def paths(value: Any, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    if isinstance(value, dict):
        return {path}.union(*(paths(member, (*path, key)) for key, member in value.items()))
    return {path}


@pytest.mark.parametrize("kind", Kind)
def test_every_field_survives(kind: Kind) -> None:
    full = resource(kind, VERSION, filled(resource_schema(kind)))
    assert len(paths(full)) > 70
    beta = converted(full, V1BETA1)
    assert beta["apiVersion"] == "contentgen.dev/v1beta1"
    found = paths(beta)
    assert set(MOVES.values()) <= found
    assert not set(MOVES) & found
    assert converted(beta, VERSION) == full


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(("version", "other"), [(VERSION, V1BETA1), (V1BETA1, VERSION)])
def test_any_fields_survive_in_both_directions(kind: Kind, version: str, other: str) -> None:
    schema = schema_of(kind, version)
    below = {key: values(schema["properties"][key]) for key in ("spec", "status")}

    @SETTINGS
    @given(st.fixed_dictionaries({}, optional=below))
    def check(fields: Body) -> None:
        before = resource(kind, version, fields)
        kept = copy.deepcopy(before)
        after = converted(before, other)
        assert before == kept
        assert converted(after, version) == before

    check()


@pytest.mark.parametrize("kind", Kind)
def test_converted_object_fits_the_schema_of_its_version(kind: Kind) -> None:
    spec = {"paidAttempts": 2, "suspend": True, "deadlineSeconds": 3600}
    alpha = resource(kind, VERSION, {"spec": spec, "status": {"estimatedCompletionTime": "2026-11-23T00:00:00Z"}})
    schema = _closed(schema_of(kind, V1BETA1))
    del schema["properties"]["metadata"], schema["properties"]["spec"]["required"]
    jsonschema.validate(converted(alpha, V1BETA1), schema)
    refused = " ".join(error.message for error in jsonschema.Draft7Validator(schema).iter_errors(alpha))
    assert "'paidAttempts'" in refused
    assert "'estimatedCompletionTime'" in refused


def _closed(schema: Body) -> Body:
    """The schema, with unknown fields refused; the API server drops them."""
    closed = copy.deepcopy(schema)
    for part in ("spec", "status"):
        closed["properties"][part]["additionalProperties"] = False
    return closed


def test_a_conversion_buys_nothing() -> None:
    """The run hash is computed from v1alpha1, and the copy of the spec in the status keeps its form."""
    spec = {"source": {"url": "https://example.com/talk.mp3"}, "paidAttempts": 2, "deadlineSeconds": 600}
    frozen = {"run": {"number": 1, "spec": dict(spec), "runHash": "0123456789abcdef"}}
    alpha = resource(Kind.TRANSCRIPTION, VERSION, {"spec": spec, "status": frozen})
    beta = converted(alpha, V1BETA1)
    assert beta["status"] == frozen
    back = converted(beta, VERSION)
    before, after = (
        run_hash(Kind.TRANSCRIPTION, parse_spec(Kind.TRANSCRIPTION, each_resource["spec"]))
        for each_resource in (alpha, back)
    )
    assert before == after


def asked(*objects: Body, version: str = V1BETA1) -> Body:
    request = {"uid": "a-uid", "desiredAPIVersion": f"{GROUP}/{version}", "objects": list(objects)}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "request": request}


def test_a_review_converts_all_objects_in_their_order() -> None:
    specs: list[Body] = [{"suspend": True}, {}, {"paidAttempts": 3}]
    objects = [resource(Kind.TRANSCRIPTION, VERSION, {"spec": spec}) for spec in specs]
    answer = review(asked(*objects, converted(objects[0], V1BETA1)))
    assert (answer["apiVersion"], answer["kind"]) == ("apiextensions.k8s.io/v1", "ConversionReview")
    assert answer["response"]["uid"] == "a-uid"
    assert answer["response"]["result"] == {"status": "Success"}
    found = [stored_object["spec"] for stored_object in answer["response"]["convertedObjects"]]
    assert found == [
        {"runPolicy": {"suspend": True}},
        {},
        {"runPolicy": {"paidAttempts": 3}},
        {"runPolicy": {"suspend": True}},
    ]
    assert [stored_object["metadata"] for stored_object in answer["response"]["convertedObjects"][:3]] == [
        stored_object["metadata"] for stored_object in objects
    ]


@pytest.mark.parametrize(
    ("change", "version"),
    [({}, "v2"), ({"apiVersion": "contentgen.dev/v1"}, V1BETA1), ({"apiVersion": "apps/v1beta1"}, VERSION)],
)
def test_a_review_fails_whole_for_an_unknown_version(change: Body, version: str) -> None:
    known = resource(Kind.TRANSCRIPTION, VERSION, {"spec": {}})
    response = review(asked(known, known | change, version=version))["response"]
    assert response["result"]["status"] == "Failed"
    assert "cannot be converted to" in response["result"]["message"]
    assert response["convertedObjects"] == []


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("stored", [VERSION, V1BETA1])
def test_a_crd_stores_one_version_and_its_columns_exist(kind: Kind, stored: str) -> None:
    for webhook in (None, WEBHOOK):
        spec = both_versions(kind, stored=stored, webhook=webhook)["spec"]
        assert spec["conversion"]["strategy"] == ("Webhook" if webhook else "None")
        assert {
            each_version["name"]: (each_version["served"], each_version["storage"]) for each_version in spec["versions"]
        } == {version: (True, version == stored) for version in (VERSION, V1BETA1)}
        for version in spec["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            for column in (*version["additionalPrinterColumns"], *version["selectableFields"]):
                assert _has(schema, column["jsonPath"].split(".")[1:]), column
        alpha, beta = (each_version["schema"]["openAPIV3Schema"] for each_version in spec["versions"])
        assert (alpha == beta) is (webhook is None)


def _has(schema: Body, path: list[str]) -> bool:
    if path[:1] == ["metadata"] or not path:
        return True
    return path[0] in schema.get("properties", {}) and _has(schema["properties"][path[0]], path[1:])
