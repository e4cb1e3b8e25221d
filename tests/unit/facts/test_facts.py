"""Facts about the models of fal.ai: each file has the form that facts/README.md describes."""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

MODELS = Path(__file__).parents[3] / "facts/fal/models"
FILES = sorted(MODELS.glob("*.json"))
KINDS = {"trainer", "image", "video"}
UNITS = {"step", "image", "megapixel", "videoMegapixel", "second"}
MEMBERS = {
    "endpoint",
    "kind",
    "sources",
    "readOn",
    "input",
    "output",
    "roles",
    "result",
    "price",
    "loraFamily",
    "licence",
    "notes",
}
PRICE_MEMBERS = {"usd", "per", "unit", "minimum", "statement", "source", "pricingRow"}
KEYWORDS = {
    *("$defs", "$ref", "additionalProperties", "anyOf", "default", "description", "enum", "items", "properties"),
    *("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"),
    *("maxItems", "maxLength", "minItems", "minLength", "pattern", "required", "type"),
}
DRAFT = jsonschema.Draft202012Validator

Fact = dict[str, Any]


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def path(request: pytest.FixtureRequest) -> Path:
    file: Path = request.param
    return file


@pytest.fixture
def fact(path: Path) -> Fact:
    content: Fact = json.loads(path.read_text())
    return content


def objects(schema: object) -> Iterator[Mapping[str, Any]]:
    """Each object in a schema, at any depth."""
    if isinstance(schema, dict):
        yield schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for member in schema:
            yield from objects(member)


def schemas(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A schema and those in it; names of properties are none of its keywords."""
    yield schema
    members = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values(), *schema.get("anyOf", ())]
    for member in (*members, *([schema["items"]] if "items" in schema else ())):
        yield from schemas(member)


def sources(fact: Fact) -> list[Mapping[str, Any]]:
    return [found for found in objects(fact) if {"what", "date"} <= found.keys()]


def test_there_are_facts() -> None:
    assert len(FILES) >= 20


def test_members_are_those_of_the_readme(fact: Fact) -> None:
    assert fact.keys() == MEMBERS
    assert fact["kind"] in KINDS


def test_file_is_named_after_its_endpoint(path: Path, fact: Fact) -> None:
    assert path.name == fact["endpoint"].replace("/", "--") + ".json"


@pytest.mark.parametrize("side", ["input", "output"])
def test_schema_is_valid(fact: Fact, side: str) -> None:
    DRAFT.check_schema(fact[side])


@pytest.mark.parametrize("side", ["input", "output"])
def test_schema_has_no_keywords_of_the_provider(fact: Fact, side: str) -> None:
    assert not {keyword for schema in schemas(fact[side]) for keyword in schema} - KEYWORDS


@pytest.mark.parametrize("side", ["input", "output"])
def test_references_lead_to_definitions(fact: Fact, side: str) -> None:
    used = {found["$ref"] for found in objects(fact[side]) if isinstance(found.get("$ref"), str)}
    assert used == {f"#/$defs/{name}" for name in fact[side].get("$defs", {})}


@pytest.mark.parametrize(("side", "open_"), [("input", False), ("output", True)])
def test_unknown_names_are_refused_in_input_only(fact: Fact, side: str, open_: bool) -> None:
    for found in [fact[side], *fact[side].get("$defs", {}).values()]:
        assert found["additionalProperties"] is open_


@pytest.mark.parametrize("side", ["input", "output"])
def test_required_names_are_properties(fact: Fact, side: str) -> None:
    for found in [fact[side], *fact[side].get("$defs", {}).values()]:
        assert set(found["required"]) <= found["properties"].keys()


def test_defaults_fit_their_schemas(fact: Fact) -> None:
    definitions = fact["input"].get("$defs", {})
    for name, schema in fact["input"]["properties"].items():
        if "default" in schema:
            validator = DRAFT(schema | {"$defs": definitions})
            assert validator.is_valid(schema["default"]), name


def test_roles_name_inputs(fact: Fact) -> None:
    named = {name for role in fact["roles"].values() for name in ([role] if isinstance(role, str) else role)}
    assert named <= fact["input"]["properties"].keys()


def test_result_is_an_output_that_is_always_there(fact: Fact) -> None:
    assert fact["result"] in fact["output"]["required"]


def test_each_source_has_a_commit_or_a_page(fact: Fact) -> None:
    assert fact["sources"]
    for source in sources(fact):
        at_commit = source["repository"] and source["path"] and re.fullmatch("[0-9a-f]{40}", source["commit"] or "")
        assert at_commit or str(source["url"]).startswith("https://"), source


def test_dates_are_iso_dates_that_are_past(fact: Fact) -> None:
    today = datetime.now(UTC).date()
    for given in (fact["readOn"], *(source["date"] for source in sources(fact))):
        assert date.fromisoformat(given) <= today


def test_price_has_a_known_unit_and_known_inputs(fact: Fact) -> None:
    price = fact["price"]
    if price is None:
        return
    assert price.keys() - {"rates"} == PRICE_MEMBERS
    assert price["usd"] > 0
    assert price["unit"] in UNITS
    for rate in price.get("rates", ()):
        assert rate["when"].keys() <= fact["input"]["properties"].keys()


def test_takers_of_loras_and_trainers_have_a_family(fact: Fact) -> None:
    assert (fact["loraFamily"] is not None) == (fact["kind"] == "trainer" or "loras" in fact["roles"])


def test_family_of_a_trainer_has_a_generator(fact: Fact) -> None:
    facts = [json.loads(file.read_text()) for file in FILES]
    generators = {other["loraFamily"] for other in facts if other["kind"] != "trainer"}
    assert fact["kind"] != "trainer" or fact["loraFamily"] in generators


def test_texts_are_short(fact: Fact) -> None:
    descriptions = [schema.get("description", "") for side in ("input", "output") for schema in schemas(fact[side])]
    assert all(len(text) <= 120 for text in (*descriptions, fact["price"]["statement"] if fact["price"] else ""))
    assert all(len(note) <= 220 for note in fact["notes"])
