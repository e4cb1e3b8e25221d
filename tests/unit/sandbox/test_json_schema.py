"""The sandbox's validator against jsonschema, with the schemas of the facts."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from contentgen_sandbox.facts import files
from contentgen_sandbox.facts.json_schema import SchemaValidator
from contentgen_sandbox.fal.endpoints import ENDPOINTS

TRANSCRIPTS = files.read("assemblyai/transcript.json")["$defs"]
ODD = (
    None,
    True,
    False,
    0,
    1,
    -1,
    7,
    1e9,
    0.5,
    1.0,
    150,
    "",
    "x",
    "jpeg",
    "4s",
    "en",
    [],
    [1],
    ["x"],
    {},
    {"path": "u"},
)
REQUESTS: tuple[dict[str, Any], ...] = (
    {"audio_url": "https://files.example/a"},
    {"audio_url": "https://files.example/a", "speech_models": ["universal-2"], "language_detection": True},
    {"audio_url": "https://files.example/a", "language_code": "hu", "language_detection": True},
    {"audio_url": "https://files.example/a", "speaker_labels": True, "speakers_expected": 2},
    {"audio_url": "https://files.example/a", "webhook_auth_header_name": "X"},
    {"audio_url": "https://files.example/a", "redact_static_entities": {"names": ["Ann"]}, "redact_pii": True},
    {"audio_url": "https://files.example/a", "summary_type": "bullets", "unknown": 1},
    {"audio_url": "https://files.example/a", "custom_spelling": [{"from": ["a"], "to": "b"}]},
)


def variants(request: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The request with each odd value in each input, with an unknown one, and without each of its own."""
    yield dict(request)
    yield dict(request) | {"unknown": 1}
    for name in schema["properties"]:
        yield from (copy.deepcopy(dict(request)) | {name: value} for value in ODD)
    for name in request:
        yield {other: value for other, value in request.items() if other != name}


def compare(schema: Mapping[str, Any], definitions: Mapping[str, Any], request: Mapping[str, Any]) -> None:
    ours = SchemaValidator(schema, definitions)
    theirs = Draft202012Validator({**schema, "$defs": definitions})
    for variant in variants(request, schema):
        assert (ours.problems(variant) == []) == theirs.is_valid(variant), variant


@pytest.mark.parametrize("name", ENDPOINTS)
def test_inputs_are_valid_as_by_jsonschema(name: str) -> None:
    schema = ENDPOINTS[name].document["input"]
    defaults = {key: member["default"] for key, member in schema["properties"].items() if "default" in member}
    required = {key: ["x"] if "items" in schema["properties"][key] else "text" for key in schema["required"]}
    compare(schema, schema.get("$defs", {}), defaults | required)


@pytest.mark.parametrize("request_", REQUESTS, ids=",".join)
def test_transcript_requests_are_valid_as_by_jsonschema(request_: dict[str, Any]) -> None:
    compare(TRANSCRIPTS["TranscriptParams"], TRANSCRIPTS, request_)


@pytest.mark.parametrize(
    ("arguments", "loc", "kind"),
    [
        ({}, ("prompt",), "missing"),
        ({"prompt": 1}, ("prompt",), "string_type"),
        ({"prompt": "x", "num_images": 5}, ("num_images",), "less_than_equal"),
        ({"prompt": "x", "output_format": "gif"}, ("output_format",), "literal_error"),
        ({"prompt": "x", "loras": [{"scale": 1}]}, ("loras", 0, "path"), "missing"),
    ],
)
def test_problem_has_the_place_and_the_kind(arguments: dict[str, Any], loc: tuple[Any, ...], kind: str) -> None:
    (problem,) = ENDPOINTS["fal-ai/flux-lora"].problems(arguments)
    assert (problem.loc, problem.kind) == (loc, kind)


def test_unknown_inputs_are_named_and_no_problem() -> None:
    endpoint = ENDPOINTS["fal-ai/flux-lora"]
    assert endpoint.problems({"prompt": "x", "trigger_word": "jf"}) == []
    assert endpoint.validator.unknown({"prompt": "x", "trigger_word": "jf"}) == ("trigger_word",)
