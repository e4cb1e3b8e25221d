"""Catalogue: each entry agrees with the facts about its model, and drift of either is found."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from contentgen_contract.catalogue.entries import (
    ENTRIES,
    CatalogueEntry,
    FieldLimit,
    InputField,
    LimitedField,
    entries_of,
)
from contentgen_contract.names import Kind
from contentgen_contract.resources.prices import BUILT_IN_MODELS
from contentgen_contract.resources.spec import Image, ImageGenerationSpec, ImageSize, Training

FACTS = Path(__file__).parents[3] / "facts/fal/models"
KINDS = {"trainer": Kind.LORA_TRAINING, "image": Kind.IMAGE_GENERATION}
OUTPUTS = {Kind.LORA_TRAINING: {"diffusers_lora_file", "lora_file"}, Kind.IMAGE_GENERATION: {"images"}}
Fact = dict[str, Any]
Schema = Mapping[str, Any]


def fact_of(entry: CatalogueEntry) -> Fact:
    content: Fact = json.loads((FACTS / f"{entry.endpoint.replace('/', '--')}.json").read_text())
    return content


def forms(schema: Schema, root: Schema) -> Iterator[Schema]:
    """A schema, or its alternatives, without references."""
    if "$ref" in schema:
        yield from forms(root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    elif "anyOf" in schema:
        for alternative in schema["anyOf"]:
            yield from forms(alternative, root)
    else:
        yield schema


def member(schema: Schema, name: str, root: Schema) -> Schema:
    """The schema of an object's member."""
    return next(form["properties"][name] for form in forms(schema, root) if form.get("type") == "object")


def crd_bounds() -> dict[LimitedField, tuple[float, float]]:
    """Smallest and largest value that a CRD admits."""
    steps, count = Training.model_json_schema()["properties"]["steps"], Image.model_json_schema()["properties"]["count"]
    size, loras = ImageSize.model_json_schema()["properties"], ImageGenerationSpec.model_json_schema()["properties"]
    return {
        LimitedField.STEPS: (steps["minimum"], steps["maximum"]),
        LimitedField.LEARNING_RATE: (0, 1),
        LimitedField.LORAS: (0, loras["loras"]["maxItems"]),
        LimitedField.SCALE: (0, float("inf")),
        LimitedField.WIDTH: (size["width"]["minimum"], size["width"]["maximum"]),
        LimitedField.HEIGHT: (size["height"]["minimum"], size["height"]["maximum"]),
        LimitedField.COUNT: (count["minimum"], count["maximum"]),
    }


CRD = crd_bounds()


def limited(entry: CatalogueEntry, fact: Fact) -> Iterator[tuple[LimitedField, Schema]]:
    """Each number that the model takes, with its schema; of the LoRAs, their number."""
    root, names = fact["input"], entry.input.names
    inputs = root["properties"]
    for field in (LimitedField.STEPS, LimitedField.LEARNING_RATE, LimitedField.COUNT):
        if (name := names.get(InputField(field))) in inputs:
            yield field, inputs[name]
    if (name := names.get(InputField.SIZE)) in inputs:
        yield LimitedField.WIDTH, member(inputs[name], "width", root)
        yield LimitedField.HEIGHT, member(inputs[name], "height", root)
    if (name := names.get(InputField.LORAS)) in inputs:
        yield LimitedField.LORAS, {"maximum": inputs[name].get("maxItems", float("inf"))}
        yield LimitedField.SCALE, member(inputs[name]["items"], "scale", root)


def limit_problems(entry: CatalogueEntry, fact: Fact) -> Iterator[str]:
    for field, schema in limited(entry, fact):
        limit, (least, most) = entry.input.limits.get(field, FieldLimit()), CRD[field]
        least = max(least, limit.minimum if limit.minimum is not None else least)
        most = min(most, limit.maximum if limit.maximum is not None else most)
        if least < schema.get("minimum", least) or most > schema.get("maximum", most):
            yield f"{field}: {least} to {most} is not within the fact's limits"
        if (step := schema.get("multipleOf")) is not None and (limit.multiple_of or 1) % step:
            yield f"{field}: not a multiple of {step}"


def input_problems(entry: CatalogueEntry, fact: Fact) -> Iterator[str]:
    inputs, roles = fact["input"]["properties"], fact["roles"]
    for field, name in entry.input.names.items():
        if name not in inputs:
            yield f"{field}: there is no input {name}"
        if roles.get(field.value) != name:
            yield f"{field}: the fact's input is {roles.get(field.value)}"
    for name, value in entry.input.constants.items():
        schema = inputs.get(name)
        if schema is None:
            yield f"constant: there is no input {name}"
        elif not jsonschema.Draft202012Validator({**schema, "$defs": fact["input"].get("$defs", {})}).is_valid(value):
            yield f"constant: {name} does not take {value!r}"
    sent = {*entry.input.names.values(), *entry.input.constants}
    yield from (f"the required input {name} is not sent" for name in fact["input"]["required"] if name not in sent)


def problems(entry: CatalogueEntry, fact: Fact) -> list[str]:
    """Contradictions between an entry and the fact about its model."""
    found = [*input_problems(entry, fact), *limit_problems(entry, fact)]
    price, stated = entry.price, fact["price"]
    equal = {
        "endpoint": (entry.endpoint, fact["endpoint"]),
        "kind": (entry.kind, KINDS.get(fact["kind"])),
        "output": (entry.output, fact["result"]),
        "LoRA family": (entry.lora_family, fact["loraFamily"]),
        "price": (price.usd, stated["usd"]),
        "unit": (price.unit, stated["unit"]),
        "minimum": (price.minimum, stated["minimum"] or 0),
        "licence": (entry.licence, (fact["licence"] or {}).get("name")),
    }
    found += [f"{what}: {ours!r}, the fact has {theirs!r}" for what, (ours, theirs) in equal.items() if ours != theirs]
    row = stated["pricingRow"] or {}
    if price.listed_unit not in (None, row.get("unit")):
        found.append(f"listed unit: {price.listed_unit!r}, the fact has {row.get('unit')!r}")
    if entry.output not in fact["output"]["properties"]:
        found.append(f"output: there is no member {entry.output}")
    return found


@pytest.fixture(params=ENTRIES.values(), ids=ENTRIES)
def entry(request: pytest.FixtureRequest) -> CatalogueEntry:
    found: CatalogueEntry = request.param
    return found


def test_entry_agrees_with_its_fact(entry: CatalogueEntry) -> None:
    assert problems(entry, fact_of(entry)) == []


def test_entry_is_consistent(entry: CatalogueEntry) -> None:
    assert entry.output in OUTPUTS[entry.kind]
    assert entry.takes(InputField.LORAS) == (entry.kind is Kind.IMAGE_GENERATION and entry.lora_family is not None)
    assert (entry.price.maximum_usd or entry.price.usd) >= entry.price.usd
    assert not {*entry.input.names.values()} & {*entry.input.constants}
    needed = {Kind.LORA_TRAINING: {InputField.DATASET}, Kind.IMAGE_GENERATION: {InputField.PROMPT, InputField.SEED}}
    assert needed[entry.kind] <= entry.input.names.keys()
    # The correlation key of a picture's request is made of these two names.
    assert all(entry.input.names.get(field, field) == field for field in (InputField.PROMPT, InputField.SEED))


def test_limit_is_narrower_than_the_crd(entry: CatalogueEntry) -> None:
    for field, limit in entry.input.limits.items():
        least, most = CRD[field]
        assert limit.minimum is None or least < limit.minimum
        assert limit.maximum is None or limit.maximum < most


def test_names_and_positions_are_unique() -> None:
    assert len({entry.short_name for entry in ENTRIES.values()}) == len(ENTRIES)
    for kind in Kind:
        positions = [entry.position for entry in entries_of(kind)]
        assert all(before < after for before, after in pairwise(positions))


def test_each_file_has_the_name_of_its_endpoint() -> None:
    names = {file.name for file in files("contentgen_contract.catalogue").joinpath("models").iterdir()}
    assert names == {f"{endpoint.replace('/', '--')}.json" for endpoint in ENTRIES}
    assert set(ENTRIES) == BUILT_IN_MODELS


def _renamed(fact: Fact) -> None:
    fact["input"]["properties"]["images"] = fact["input"]["properties"].pop("num_images")


def _with_required(fact: Fact) -> None:
    fact["input"]["required"].append("guidance_scale")


DRIFT: dict[str, tuple[Callable[[Fact], Any], str]] = {
    "renamed input": (_renamed, "count: there is no input num_images"),
    "another role": (lambda fact: fact["roles"].update(seed="random_seed"), "seed: the fact's input is random_seed"),
    "unit": (lambda fact: fact["price"].update(unit="image"), "unit: 'megapixel', the fact has 'image'"),
    "price": (lambda fact: fact["price"].update(usd=0.05), "price: 0.035, the fact has 0.05"),
    "minimum": (lambda fact: fact["price"].update(minimum=4), "minimum: 0, the fact has 4"),
    "required": (_with_required, "the required input guidance_scale is not sent"),
    "output": (lambda fact: fact["output"]["properties"].pop("images"), "output: there is no member images"),
    "family": (lambda fact: fact.update(loraFamily="flux2"), "LoRA family: 'flux1', the fact has 'flux2'"),
    "limit": (
        lambda fact: fact["input"]["$defs"]["ImageSize"]["properties"]["width"].update(maximum=1440),
        "width: 256 to 2048 is not within the fact's limits",
    ),
    "number of LoRAs": (
        lambda fact: fact["input"]["properties"]["loras"].update(maxItems=2),
        "loras: 0 to 4 is not within the fact's limits",
    ),
}


@pytest.mark.parametrize(("change", "told"), DRIFT.values(), ids=DRIFT)
def test_drift_of_a_fact_is_found(change: Callable[[Fact], Any], told: str) -> None:
    entry = ENTRIES["fal-ai/flux-lora"]
    fact = copy.deepcopy(fact_of(entry))
    change(fact)
    assert told in problems(entry, fact)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"names": {"dataset": "images_data_url", "trigger": "trigger_phrase"}}, "there is no input trigger_phrase"),
        ({"names": {"dataset": "images_data_url"}, "constants": {"rank": 16}}, "constant: there is no input rank"),
        (
            {"names": {"dataset": "images_data_url"}, "constants": {"create_masks": "yes"}},
            "constant: create_masks does not take 'yes'",
        ),
        ({"names": {"trigger": "trigger_word"}}, "the required input images_data_url is not sent"),
    ],
)
def test_drift_of_an_entry_is_found(given: dict[str, Any], told: str) -> None:
    entry = ENTRIES["fal-ai/flux-lora-fast-training"]
    changed = CatalogueEntry.model_validate(entry.model_dump(by_alias=True) | {"input": given})
    assert any(told in problem for problem in problems(changed, fact_of(entry)))
