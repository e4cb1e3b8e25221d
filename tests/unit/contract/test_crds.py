"""The CRDs are structural schemas equivalent to the models, and the generated files are up to date."""

import importlib.util
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import BaseModel, Field

from contentgen_contract.advice.remedies import CONDITIONS, PHASES, REASONS
from contentgen_contract.names import Condition, Kind, Phase, Reason, Stage, Step
from contentgen_contract.resources.operator_class import ClassOwner, class_of
from contentgen_contract.resources.spec import SPECS, parse_spec
from contentgen_contract.resources.status import (
    MAX_MESSAGE,
    ConditionStatus,
    Cost,
    JobRef,
    OutputFile,
    ResourceStatus,
    RunStatus,
    VersionStatus,
    dump_status,
)
from crds import (
    content_budget_schema,
    crd,
    model_schema,
    operator_class_crd,
    operator_class_schema,
    resource_schema,
)

ROOT = Path(__file__).resolve().parents[3]
NOT_STRUCTURAL = {"$ref", "$defs", "anyOf", "oneOf", "allOf", "title", "const"}
MINIMAL: dict[Kind, dict[str, Any]] = {
    Kind.LORA_TRAINING: {"loraName": "a", "triggerWord": "jf", "source": {"url": "https://example.com/a.mp4"}},
    Kind.IMAGE_GENERATION: {"prompt": "A house"},
    Kind.TRANSCRIPTION: {"source": {"url": "s3://recordings/a.mp3"}},
}
NOW = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
FULL_STATUS = ResourceStatus(
    observed_generation=3,
    job_id="0b1c",
    phase=Phase.PROCESSING,
    progress=61,
    stage=Step.TRAINING,
    reason=Reason.PROCESSING,
    message="Step 10 of 1000",
    estimated_completion_time=NOW,
    start_time=NOW,
    completion_time=NOW,
    cost=Cost(estimated="2.00", actual="1.90", currency="USD", source="2026-01", display="$1.90"),
    conditions=(
        ConditionStatus(
            type=Condition.READY,
            status="False",
            reason=Reason.PROCESSING,
            message="m",
            last_transition_time=NOW,
            observed_generation=3,
        ),
    ),
    run=RunStatus(
        version=2,
        run_hash="00ff",
        rerun="again",
        generation=3,
        spec=MINIMAL[Kind.LORA_TRAINING],
        started_at=NOW,
        job=JobRef(name="j", uid="u", stage=Stage.PREPARE, attempt=2, started_at=NOW),
        facts={"images": 12},
        request_id="r",
        submitted_at=NOW,
    ),
    versions=(
        VersionStatus(
            version=1,
            run_hash="00fe",
            rerun="once",
            job_id="0b1c",
            completed_at=NOW,
            files=(OutputFile(key="loras/a/b/v1/model.safetensors", size_bytes=9, sha256="0" * 64),),
            facts={"sizeBytes": 9},
        ),
    ),
)


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """tools/generate.py as a module; it is in no package. Its output is generated once."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "tools" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.__dict__["generated"] = cache(module.generated)
    return module


def below(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """All nested schemas with their paths, the schema itself first."""
    yield path, schema
    for name, field in schema.get("properties", {}).items():
        yield from below(field, f"{path}.{name}")
    for part in ("items", "additionalProperties"):
        if isinstance(schema.get(part), dict):
            yield from below(schema[part], f"{path}[]")


def everything() -> list[tuple[str, dict[str, Any]]]:
    return [found for kind in Kind for found in below(resource_schema(kind), kind.value)]


def with_defaults(schema: dict[str, Any], value: Any) -> Any:
    """Defaulting as in the API server, from the outside in."""
    if not isinstance(value, dict):
        return value
    filled = dict(value)
    for name, field in schema.get("properties", {}).items():
        if name not in filled and "default" in field:
            filled[name] = field["default"]
        if name in filled:
            filled[name] = with_defaults(field, filled[name])
    return filled


def test_crd_schemas_are_structural() -> None:
    schemas = everything()
    assert len(schemas) > 150
    for path, schema in schemas:
        assert not NOT_STRUCTURAL & schema.keys(), path
        assert "type" in schema, path
        assert "additionalProperties" not in schema or "properties" not in schema, path


def test_every_field_is_described() -> None:
    for path, schema in everything():
        scalar_item = path.endswith("[]") and schema["type"] != "object"
        if not scalar_item and path.partition(".")[2] != "metadata":
            assert schema.get("description"), path


def test_every_list_is_bounded_and_says_how_it_merges() -> None:
    lists = [(path, schema) for path, schema in everything() if schema["type"] == "array"]
    assert lists
    for path, schema in lists:
        assert "maxItems" in schema, path
        assert "x-kubernetes-list-type" in schema, path


def test_every_string_of_a_spec_is_bounded() -> None:
    """Bounds limit the size of a spec, and the cost estimate of CEL rules in the API server."""
    for kind in Kind:
        for path, schema in below(model_schema(SPECS[kind]), kind.value):
            if schema["type"] == "string":
                assert {"maxLength", "enum"} & schema.keys() or schema.get("pattern", "").endswith("{64}$"), path


@pytest.mark.parametrize("kind", Kind)
def test_every_default_is_valid(kind: Kind) -> None:
    for path, schema in below(resource_schema(kind), kind.value):
        if "default" in schema:
            jsonschema.validate(with_defaults(schema, schema["default"]), schema)
            assert schema["default"] is not None, path


@pytest.mark.parametrize("kind", Kind)
def test_the_api_servers_defaults_are_the_models(kind: Kind) -> None:
    filled = with_defaults(model_schema(SPECS[kind]), MINIMAL[kind])
    assert parse_spec(kind, filled) == parse_spec(kind, MINIMAL[kind])
    assert filled.keys() > MINIMAL[kind].keys()


class _Bounds(BaseModel):
    above: float = Field(gt=0, lt=2, description="Between.")
    listed: dict[str, int] = Field(default_factory=dict, description="Counts.")
    maybe: str | None = Field(None, description="Or not.")


def test_bounds_maps_and_optional_fields_are_normalised() -> None:
    fields = model_schema(_Bounds)["properties"]
    assert fields["above"] == {
        "description": "Between.",
        "type": "number",
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 2,
        "exclusiveMaximum": True,
    }
    assert fields["listed"]["additionalProperties"] == {"type": "integer"}
    assert fields["maybe"] == {"description": "Or not.", "type": "string"}


def test_columns_and_selectable_fields() -> None:
    for kind in Kind:
        version = crd(kind)["spec"]["versions"][0]
        names = [column["name"] for column in version["additionalPrinterColumns"]]
        assert names == ["Phase", "Progress", "Stage", "ETA", "Cost", "Reason", "Class", "Age"]
        assert version["subresources"] == {"status": {}}
        assert [field["jsonPath"] for field in version["selectableFields"]] == [
            ".status.phase",
            ".status.reason",
            ".spec.userId",
        ]


def test_a_full_status_fits_the_schema_and_comes_back_unchanged() -> None:
    dumped = json.loads(json.dumps(dump_status(FULL_STATUS)))
    jsonschema.validate(dumped, resource_schema(Kind.LORA_TRAINING)["properties"]["status"])
    assert ResourceStatus.model_validate(dumped) == FULL_STATUS
    assert dumped["startTime"] == "2026-01-02T03:04:05Z"
    assert pruned(resource_schema(Kind.LORA_TRAINING)["properties"]["status"], dumped) == dumped


def pruned(schema: dict[str, Any], value: Any) -> Any:
    """Pruning as in the API server."""
    if isinstance(value, list):
        return [pruned(schema["items"], item) for item in value]
    if not isinstance(value, dict) or schema.get("x-kubernetes-preserve-unknown-fields"):
        return value
    return {
        name: pruned(schema["properties"][name], item) for name, item in value.items() if name in schema["properties"]
    }


def test_an_empty_status_has_no_nulls() -> None:
    assert dump_status(ResourceStatus()) == {
        "observedGeneration": -1,
        "progress": 0,
        "actions": [],
        "conditions": [],
        "versions": [],
    }


def test_a_new_budget_is_not_reconciled_yet() -> None:
    """For kstatus: an object without observedGeneration and conditions would count as reconciled."""
    status = content_budget_schema()["properties"]["status"]
    assert status["default"] == {"observedGeneration": -1}
    assert status["properties"]["observedGeneration"]["default"] == -1


def test_a_long_message_is_cut_rather_than_refused() -> None:
    assert len(ResourceStatus(message="x" * 5000).message or "") == MAX_MESSAGE


def test_everything_is_explained() -> None:
    assert set(REASONS) == set(Reason)
    assert set(PHASES) == set(Phase)
    assert set(CONDITIONS) == set(Condition)
    for reason, text in REASONS.items():
        assert text.meaning, reason
        assert text.advice, reason


def test_generated_files_are_up_to_date(generate: ModuleType) -> None:
    assert generate.drifted() == []


def test_a_difference_is_found(generate: ModuleType, tmp_path: Path) -> None:
    generate.write(tmp_path)
    assert generate.drifted(tmp_path) == []
    changed = tmp_path / "crds" / "contentgen.dev_loratrainings.yaml"
    changed.write_text(changed.read_text() + "#\n")
    (tmp_path / "crds" / "contentgen.dev_novels.yaml").write_text("{}")
    assert generate.drifted(tmp_path) == ["crds/contentgen.dev_loratrainings.yaml", "crds/contentgen.dev_novels.yaml"]
    generate.write(tmp_path)
    assert generate.drifted(tmp_path) == []


@pytest.mark.parametrize("path", sorted((ROOT / "samples").glob("*.yaml")), ids=lambda path: path.stem)
def test_samples_are_valid(path: Path) -> None:
    manifest = yaml.safe_load(path.read_text())
    kind = Kind(manifest["kind"])
    parse_spec(kind, manifest["spec"])
    jsonschema.validate(manifest, resource_schema(kind))


def test_every_kind_has_a_sample() -> None:
    kinds = {yaml.safe_load(path.read_text())["kind"] for path in (ROOT / "samples").glob("*.yaml")}
    assert kinds == set(Kind)


@pytest.mark.parametrize("kind", Kind)
def test_a_spec_has_at_most_64_kib(kind: Kind) -> None:
    """By the bounds of texts and lists. kubectl stores a copy in an annotation (at most 256 KiB)."""
    spec = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert 1024 < largest(spec) <= 64 * 1024


def largest(schema: dict[str, Any]) -> int:
    """Maximum size in bytes of JSON that a schema accepts: up to four per character, six for an escape."""
    match schema["type"]:
        case "object":
            return 2 + sum(len(name) + 4 + largest(field) for name, field in schema["properties"].items())
        case "array":
            return 2 + schema["maxItems"] * (1 + largest(schema["items"]))
        case "string" if "enum" in schema:
            return 2 + max(map(len, schema["enum"]))
        case "string":
            rules = [
                rule["rule"] for rule in schema.get("x-kubernetes-validations", ()) if ".matches(r" in rule["rule"]
            ]
            plain = [rule for rule in rules if "\\s" not in rule]  # the others take all but spaces
            return 2 + schema["maxLength"] * (1 if plain else 6)
        case _:
            return 24


SECRET_URLS = (
    "https://u:hunter2@example.com/a.mp4", "HTTPS://u:hunter2@example.com/a", "u:hunter2@example.com",
    "https://u:hun/ter2@exa mple.com/a", "//u:hunter2@h", "https://exa mple.com/a?X-Amz-Signature=hunter2",
    "ftp://example.com/a?token=hunter2", "https://exa mple.com/a#hunter2", "s3://u:hunter2@bucket/a.mp4",
)  # fmt: skip
"""URLs that are refused, and not repeated in the error."""


def url_fields(schema: Any) -> Iterator[Any]:
    """Schemas of the URLs in a spec."""
    for name, field in schema.get("properties", {}).items():
        if name in ("url", "path") and field["type"] == "string":
            yield field
        yield from url_fields(field)
    if "items" in schema:
        yield from url_fields(schema["items"])


def holds(rule: str, given: str) -> bool:
    """Evaluation of a CEL rule of contains, matches, ! and ||, for one text."""
    python = re.sub(r"self\.contains\(('[^']*')\)", r"(\1 in given)", rule)
    python = (
        python.replace("self.matches(", "matches(").replace("||", " or ").replace("!", " not ", rule.startswith("!"))
    )
    return bool(eval(python, {"given": given, "matches": lambda pattern: re.search(pattern, given)}))  # noqa: S307 - ours


@pytest.mark.parametrize("kind", Kind)
def test_the_api_server_repeats_no_password_and_no_query(kind: Kind) -> None:
    """The API server includes the value in the error, except for the reason FieldValueForbidden."""
    spec = crd(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    fields = list(url_fields(spec))
    assert fields
    for field in fields:
        rules = field["x-kubernetes-validations"]
        for url in SECRET_URLS:
            broken = [rule for rule in rules if not holds(rule["rule"], url)]
            assert [rule.get("reason") for rule in broken] == ["FieldValueForbidden"], url
        (shown,) = [rule for rule in rules if not holds(rule["rule"], "ftp://example.com/a")]
        assert "reason" not in shown, "an address without secrets is repeated"
        for good in ("https://example.com/a.mp4", "https://example.com/a.mp4?signature=a%20b&user=a@b"):
            assert all(holds(rule["rule"], good) for rule in rules), good


@pytest.mark.parametrize("kind", Kind)
def test_the_class_is_optional_and_has_a_rule_of_its_own(kind: Kind) -> None:
    """No default: the API server would write it into each spec."""
    schema = resource_schema(kind)
    field = schema["properties"]["spec"]["properties"]["operatorClass"]
    assert "default" not in field
    (rule,) = [each for each in schema["x-kubernetes-validations"] if "operatorClass" in each["rule"]]
    assert "oldSelf.status.phase in ['Completed', 'Failed']" in rule["rule"]
    assert "&& !(has(oldSelf.status.run.requestOpen) && oldSelf.status.run.requestOpen)" in rule["rule"]
    assert "must not change during a run" in rule["message"]
    given = MINIMAL[kind] | {"operatorClass": "team-a"}
    assert parse_spec(kind, given).operator_class == "team-a"
    assert (class_of({"spec": given}), class_of({"spec": MINIMAL[kind]})) == ("team-a", "default")


def test_operator_class_is_cluster_scoped_with_immutable_owner() -> None:
    definition = operator_class_crd()
    assert definition["spec"]["scope"] == "Cluster"
    schema = operator_class_schema()
    (rule,) = schema["properties"]["spec"]["x-kubernetes-validations"]
    assert rule["rule"] == "self.owner == oldSelf.owner"
    owner = ClassOwner(namespace="a", service_account="b", release="c")
    jsonschema.validate({"spec": {"owner": owner.model_dump(mode="json")}}, schema)
    with pytest.raises(jsonschema.ValidationError, match="release"):
        jsonschema.validate({"spec": {"owner": {"namespace": "a", "serviceAccount": "b"}}}, schema)
    assert {column["jsonPath"] for column in definition["spec"]["versions"][0]["additionalPrinterColumns"]} == {
        ".spec.owner.namespace", ".spec.owner.serviceAccount", ".spec.owner.release", ".metadata.creationTimestamp"
    }  # fmt: skip
