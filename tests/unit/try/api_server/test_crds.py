"""Custom resources are admitted and refused as by the real API server, with messages that name the wrong field."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from contentgen_contract.names import API_VERSION, Kind
from contentgen_contract.resources.spec import SPECS, parse_spec
from contentgen_simulation.crd_cases import (
    EXPECTED,
    IMAGE,
    OTHER_SPELLINGS,
    RIGHT,
    SPEC,
    TRANSCRIPT,
    WRONG,
    Edits,
    case_id,
    edited,
    manifest,
    says_what_was_given,
    without_empty,
)
from contentgen_try.api_server.refusals import Refusal
from contentgen_try.api_server.schemas.resource_types import BadCrd, load_crds
from contentgen_try.api_server.schemas.rules import BadRule, Rule
from contentgen_try.api_server.schemas.structural import Schema
from contentgen_try.api_server.server import ApiServer
from contentgen_try.api_server.storage.objects import How, Place

ROOT = Path(__file__).resolve().parents[4]
CRDS = ROOT / "crds"
COLLECTION = f"/apis/{API_VERSION}/namespaces/default"


@pytest.fixture(scope="module")
def shared() -> Iterator[ApiServer]:
    made = ApiServer(CRDS)
    yield made
    made.close()


def dry_run(server: ApiServer, kind: Kind, body: dict[str, Any]) -> dict[str, Any]:
    found = server.registry.of_kind(API_VERSION, kind.value)
    assert found is not None
    return server.objects.create(Place(found, "default"), body, How(dry_run=True, validation="Strict")).body


@pytest.mark.parametrize(("kind", "edits", "named"), WRONG, ids=case_id)
def test_wrong(shared: ApiServer, kind: Kind, edits: Edits, named: str) -> None:
    with pytest.raises(Refusal) as caught:
        dry_run(shared, kind, manifest(kind, edited(SPEC[kind], edits)))
    message = caught.value.message
    assert caught.value.code in (400, 422)
    assert named in message
    assert says_what_was_given(edits, message), message
    assert any(word in message for word in EXPECTED), message
    assert "should match" not in message


@pytest.mark.parametrize(("kind", "edits"), RIGHT, ids=case_id)
def test_right_with_the_models_defaults(shared: ApiServer, kind: Kind, edits: Edits) -> None:
    spec = edited(SPEC[kind], edits)
    stored = dry_run(shared, kind, manifest(kind, spec))["spec"]
    model = SPECS[kind].model_validate_json(json.dumps(spec), strict=True)
    assert parse_spec(kind, stored) == model
    assert without_empty(stored) == without_empty(model.model_dump(mode="json", by_alias=True, exclude_none=True))


@pytest.mark.parametrize(("kind", "written", "canonical"), OTHER_SPELLINGS, ids=case_id)
def test_another_spelling_is_admitted(shared: ApiServer, kind: Kind, written: Edits, canonical: Edits) -> None:
    stored = dry_run(shared, kind, manifest(kind, edited(SPEC[kind], written)))["spec"]
    assert parse_spec(kind, stored) == parse_spec(kind, edited(SPEC[kind], canonical))


@pytest.mark.parametrize("path", sorted((ROOT / "samples").glob("*.yaml")), ids=lambda path: path.stem)
def test_samples(shared: ApiServer, path: Path) -> None:
    body = yaml.safe_load(path.read_text())
    assert dry_run(shared, Kind(body["kind"]), body)["spec"]


def test_a_resource_needs_a_spec_and_a_short_name(shared: ApiServer) -> None:
    body = manifest(TRANSCRIPT, SPEC[TRANSCRIPT])
    del body["spec"]
    with pytest.raises(Refusal, match="spec: Required value"):
        dry_run(shared, TRANSCRIPT, body)
    dry_run(shared, TRANSCRIPT, manifest(TRANSCRIPT, SPEC[TRANSCRIPT], "a" * 52))
    with pytest.raises(Refusal, match="must have at most 52 characters"):
        dry_run(shared, TRANSCRIPT, manifest(TRANSCRIPT, SPEC[TRANSCRIPT], "a" * 53))


MERGE = {"Content-Type": "application/merge-patch+json"}


async def created(api: httpx.AsyncClient, kind: Kind = IMAGE, **spec: Any) -> str:
    path = f"{COLLECTION}/{kind.plural}"
    answer = await api.post(path, json=manifest(kind, SPEC[kind] | spec))
    assert answer.status_code == 201, answer.text
    return f"{path}/crd-test"


@pytest.mark.parametrize(
    ("status", "moves"),
    [
        (None, True),
        ({"phase": "Pending"}, True),
        ({"phase": "Processing", "run": {"number": 1, "startedAt": "2026-11-21T00:00:00Z"}}, False),
        ({"run": {"number": 1, "startedAt": "2026-11-21T00:00:00Z"}}, False),
        ({"phase": "Completed", "run": {"number": 1, "startedAt": "2026-11-21T00:00:00Z"}}, True),
        (
            {"phase": "Failed", "run": {"number": 1, "startedAt": "2026-11-21T00:00:00Z", "requestOpen": True}},
            False,
        ),
    ],
    ids=str,
)
async def test_the_class_does_not_change_during_a_run(
    api: httpx.AsyncClient, status: dict[str, Any] | None, moves: bool
) -> None:
    path = await created(api, operatorClass="crd-tests-a")
    if status is not None:
        assert (await api.patch(f"{path}/status", json={"status": status}, headers=MERGE)).status_code == 200
    for wanted in ("crd-tests-b", None):  # None: the class default
        edit = {"spec": {"operatorClass": wanted}}
        answer = await api.patch(f"{path}?dryRun=All", json=edit, headers=MERGE)
        assert (answer.status_code == 200) == moves
        assert moves or "spec.operatorClass must not change during a run" in answer.json()["message"]
    edit = {"spec": {"prompt": "another"}}
    assert (await api.patch(path, json=edit, headers=MERGE)).json()["spec"]["prompt"] == "another"


async def test_the_owner_of_a_class_does_not_change(api: httpx.AsyncClient) -> None:
    path = f"/apis/{API_VERSION}/operatorclasses"
    owner = {"namespace": "a", "serviceAccount": "a", "release": "a"}
    body = {"apiVersion": API_VERSION, "kind": "OperatorClass", "metadata": {"name": "a"}, "spec": {"owner": owner}}
    for wrong in ({}, owner | {"namespace": "A"}, owner | {"serviceAccount": ""}, {"namespace": "a"}):
        answer = await api.post(path, json=body | {"spec": {"owner": wrong}})
        assert answer.status_code == 422
        assert "spec.owner" in answer.json()["message"]
    assert (await api.post(path, json=body)).status_code == 201
    for edit in ({"namespace": "b"}, {"serviceAccount": "b"}, {"release": "b"}):
        answer = await api.patch(f"{path}/a", json={"spec": {"owner": edit}}, headers=MERGE)
        assert "spec.owner must not change" in answer.json()["message"]
    labelled = await api.patch(f"{path}/a", json={"metadata": {"labels": {"a": "b"}}}, headers=MERGE)
    assert labelled.status_code == 200


async def test_status_is_validated_and_written_by_its_subresource(api: httpx.AsyncClient) -> None:
    path = await created(api)
    assert (await api.get(path)).json()["status"] == {"observedGeneration": -1}  # kstatus: not reconciled yet
    for wrong, named in (({"phase": "Sleeping"}, "status.phase"), ({"progress": 101}, "status.progress")):
        answer = await api.patch(f"{path}/status", json={"status": wrong}, headers=MERGE)
        assert (answer.status_code, named in answer.json()["message"]) == (422, True)
    both = {"spec": {"prompt": "changed"}, "status": {"phase": "Pending"}}
    by_status = (await api.patch(f"{path}/status", json=both, headers=MERGE)).json()
    assert (by_status["spec"]["prompt"], by_status["status"]["phase"]) == (SPEC[IMAGE]["prompt"], "Pending")
    assert by_status["metadata"]["generation"] == 1
    both["status"]["phase"] = "Failed"
    by_spec = (await api.patch(path, json=both, headers=MERGE)).json()
    assert (by_spec["spec"]["prompt"], by_spec["status"]["phase"]) == ("changed", "Pending")
    assert by_spec["metadata"]["generation"] == 2


async def test_unknown_fields_are_pruned_with_a_warning(api: httpx.AsyncClient) -> None:
    body = manifest(IMAGE, SPEC[IMAGE] | {"sppeed": 1})
    answer = await api.post(f"{COLLECTION}/{IMAGE.plural}", json=body)
    assert answer.headers["Warning"] == '299 - "unknown field \\"spec.sppeed\\""'
    assert "sppeed" not in answer.json()["spec"]


def test_a_rule_that_does_not_compile_is_found_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(BadRule):
        Rule({"rule": "self.("}, "string")
    crd = yaml.safe_load(next(CRDS.glob("*imagegenerations.yaml")).read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["x-kubernetes-validations"] = [{"rule": "self.("}]
    (tmp_path / "crd.yaml").write_text(yaml.safe_dump(crd))
    with pytest.raises(BadCrd, match="does not compile"):
        load_crds(tmp_path)
    with pytest.raises(BadCrd, match="no file"):
        load_crds(CRDS.parent / "samples")


def test_spaces_in_patterns_are_ascii_as_in_the_real_server() -> None:
    rule = Rule({"rule": r"self.matches(r'^[^\s/]+$') && self.matches(r'^\S+$')"}, "string")
    assert rule.check("", "a\u3000b") is None
    assert rule.check("", "a b") is not None


def test_a_rule_that_fails_refuses_the_value() -> None:
    assert Rule({"rule": "self.a.b == 1"}, "object").check("spec", {}) is not None


def test_nulls_are_absent_fields() -> None:
    schema = Schema(
        {
            "type": "object",
            "properties": {
                "plain": {"type": "string"},
                "filled": {"type": "string", "default": "x"},
                "nullable": {"type": "string", "nullable": True},
            },
        }
    )
    value = {"plain": None, "filled": None, "nullable": None}
    schema.set_defaults(value)
    assert value == {"filled": "x", "nullable": None}


def test_an_update_may_leave_what_an_earlier_schema_allowed() -> None:
    """Otherwise the operator could not write the status of a resource that was paid for before the CRDs changed."""
    text = {"type": "string", "maxLength": 1, "x-kubernetes-validations": [{"rule": "self == 'a'"}]}
    schema = Schema({"type": "object", "properties": {"old": text, "new": text, "count": {"type": "integer"}}})
    stored = {"old": "bb", "count": 1}
    assert schema.problems(stored)
    assert schema.problems(stored | {"new": "a"}, stored) == []
    assert schema.problems(stored | {"new": "b"}, stored)
    assert schema.problems(stored | {"old": "cc"}, stored)
    assert schema.problems(stored | {"count": True}, stored)  # equals 1 in Python


def test_transition_rules_see_unchanged_values() -> None:
    rule = {"rule": "self.a != oldSelf.a || !self.sealed"}
    schema = Schema(
        {
            "type": "object",
            "properties": {"a": {"type": "string"}, "sealed": {"type": "boolean"}},
            "x-kubernetes-validations": [rule],
        }
    )
    assert schema.problems({"a": "x", "sealed": True}) == []
    assert schema.problems({"a": "x", "sealed": True}, {"a": "x", "sealed": True})
