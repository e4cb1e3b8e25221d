"""Facts about fal's platform, AssemblyAI, S3 and clusters, and the product and the sandbox compared with them."""

import json
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from contentgen_simulation.facts import Facts, fact_files, load

FAL = load("fal/platform.json")
TRANSCRIPTS = load("assemblyai/transcript.json")
OWN = [path for path in fact_files() if not path.startswith("fal/models/")]


def _schemas(value: Any) -> Iterator[Mapping[str, Any]]:
    """Schemas of requests and answers at any depth of a file."""
    if isinstance(value, dict):
        for name, member in value.items():
            if name in ("headers", "query", "body") and isinstance(member, dict) and "facts" not in member:
                yield {} if "contentType" in member else member
            yield from _schemas(member)
    elif isinstance(value, list):
        for member in value:
            yield from _schemas(member)


def _cited(value: Any) -> Iterator[str]:
    """Ids of sources that facts at any depth cite."""
    if isinstance(value, dict):
        named = [*(value.get("sources") or ()), value.get("source")]
        yield from (source for source in named if isinstance(source, str))
    within = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for member in within:
        yield from _cited(member)


@pytest.mark.parametrize("path", OWN)
def test_schemas_are_valid(path: str) -> None:
    facts = load(path)
    for schema in (*facts.definitions.values(), *_schemas(facts.document.get("endpoints", facts.document))):
        Draft202012Validator.check_schema(schema)
        list(facts.examples(schema))  # resolves each $ref


@pytest.mark.parametrize("path", OWN)
def test_sources_are_dated_and_cited(path: str) -> None:
    document = load(path).document
    sources = document["sources"]
    ids = [source["id"] for source in sources]
    assert len(ids) == len(set(ids))
    read = date.fromisoformat(document["readOn"])
    for source in sources:
        assert source.keys() == {"id", "what", "repository", "commit", "path", "url", "date"}
        assert date.fromisoformat(source["date"]) <= read
    assert set(_cited({**document, "sources": []})) <= set(ids)


@pytest.mark.parametrize("facts", [FAL, TRANSCRIPTS], ids=lambda facts: facts.path)
def test_examples_fit_their_schemas(facts: Facts) -> None:
    for definition, schema in facts.definitions.items():
        if definition == "TranscriptParams":  # a request, with rules between its parameters
            continue
        for name, example in facts.examples(schema):
            assert facts.problems(schema, example) == [], f"{definition}, {name}: {json.dumps(example)[:200]}"
