"""Differences between answers and facts: JSON path, expectation, finding."""

from typing import Any

import pytest

from contentgen_real.checked import shape
from contentgen_real.conformance import ReceivedAnswer, answer_differences, body_differences, strict
from contentgen_simulation.facts import PublishedFacts

OBJECT = {
    "type": "object",
    "required": ["id"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "pattern": "^a"},
        "size": {"type": ["integer", "null"], "minimum": 1},
        "state": {"enum": ["open", "closed"]},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}},
    },
}
FACTS = PublishedFacts(
    "own.json", {"$defs": {"part": {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}}}
)
FAL = strict("fal/platform.json")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"id": "a1", "size": None, "state": "open", "parts": [{"n": 1}, {"n": 2.5}]}, []),
        ({}, ["$.id: expected a value, found nothing"]),
        ({"id": 7}, ["$.id: expected string, found integer"]),
        ({"id": "b"}, ["$.id: expected pattern ^a, found another string"]),
        ({"id": "a", "size": "1"}, ["$.size: expected integer or null, found string"]),
        ({"id": "a", "size": 0}, ["$.size: expected minimum 1, found another integer"]),
        ({"id": "a", "state": "gone"}, ["$.state: expected one of open, closed, found gone"]),
        ({"id": "a", "state": "https://a.example/?key=1"}, ["$.state: expected one of open, closed, found string"]),
        ({"id": "a", "new": {}}, ["$.new: expected no such name, found object"]),
        ({"id": "a", "parts": [{"n": "x"}, {"n": True}]}, [
            "$.parts[*].n: expected number, found string", "$.parts[*].n: expected number, found boolean",
        ]),
        ({"id": "a", "parts": [{}, {}]}, ["$.parts[*].n: expected a value, found nothing"]),
        (None, ["$: expected object, found null"]),
    ],
)  # fmt: skip
def test_difference_has_path_expectation_and_finding(body: Any, expected: list[str]) -> None:
    assert [str(difference) for difference in body_differences(FACTS, "GET", OBJECT, body)] == [
        f"GET, {text}" for text in expected
    ]


def test_difference_of_an_alternative_is_that_of_the_nearest(pending: dict[str, Any]) -> None:
    del pending["queue_position"]
    answer = ReceivedAnswer(202, {}, pending)
    assert [difference.path for difference in answer_differences(FAL, "status", answer)] == ["$.queue_position"]


@pytest.fixture
def pending() -> dict[str, Any]:
    facts = PublishedFacts("", FAL.document)
    example: dict[str, Any] = next(iter(facts.examples(FAL.definitions["inQueue"])))[1]
    return example


def test_unknown_status_is_a_difference() -> None:
    [difference] = answer_differences(FAL, "cancel", ReceivedAnswer(418, {}, {}))
    assert (difference.path, difference.found) == ("status", "418")
    assert "202" in difference.expected


def test_answer_without_json_is_a_difference() -> None:
    [difference] = answer_differences(FAL, "cancel", ReceivedAnswer(202, {}, None))
    assert (difference.path, difference.found) == ("$", "null")


def test_header_of_another_form_is_a_difference() -> None:
    answer = ReceivedAnswer(422, {"x-fal-billable-units": "many"}, {"detail": [{"loc": [], "msg": "", "type": ""}]})
    [difference] = answer_differences(FAL, "result", answer)
    assert (difference.where, difference.found) == ("fal/platform.json result 422 headers", "another string")
    assert "x-fal-billable-units" in difference.path


def test_result_of_a_model_without_facts_is_a_difference() -> None:
    [difference] = answer_differences(FAL, "result", ReceivedAnswer(200, {}, {}))
    assert difference.expected == "a model with facts"


def test_name_that_open_facts_lack_is_a_difference() -> None:
    facts = strict("fal/models/fal-ai--flux--schnell.json")
    image = {"url": "u", "width": 1, "height": 1, "file_name": "a.png"}
    body = {"images": [image], "timings": {"inference": 1.0}, "seed": 1, "has_nsfw_concepts": [False], "prompt": "p"}
    found = body_differences(facts, "result", facts.document["output"], body)
    assert [str(difference) for difference in found] == [
        "result, $.images[*].file_name: expected no such name, found string"
    ]


def test_shape_holds_no_values() -> None:
    assert shape({"b": [{"c": "secret", "d": None}, {}], "a": 1}) == {
        "a": "integer",
        "b": [{"c": "string", "d": "null"}],
    }
