"""Published facts about other services, from `facts/`: comparison of requests and answers with them, and examples of
answers.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from jsonschema import Draft202012Validator, FormatChecker

FACTS = Path(__file__).parents[4] / "facts"
Schema = Mapping[str, Any]
_OF_THE_CONNECTION = frozenset({"accept", "accept-encoding", "connection", "content-length", "host", "user-agent"})
_FORMATS = {
    "uuid": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
    "uri": "https://files.example/one",
    "date-time": "2026-11-20T10:00:00Z",
    "date": "2026-11-20",
}
# The first that a pattern accepts is its example.
_TEXTS = (
    "text", "2026-11-20", "2026-11-20T10:00:00.5", "1", "request_timeout", "Key secret", "name=value",
    "A" * 43 + "=", "A" * 22 + "==", "AAAAAA==",
)  # fmt: skip


def load(path: str) -> "PublishedFacts":
    """PublishedFacts of one file below `facts/`."""
    return PublishedFacts(path, json.loads((FACTS / path).read_text()))


def fact_files() -> list[str]:
    """Paths of all files below `facts/`."""
    return sorted(path.relative_to(FACTS).as_posix() for path in FACTS.rglob("*.json"))


@dataclass(frozen=True)
class PublishedFacts:
    """PublishedFacts of one file: endpoints with schemas of their requests and answers."""

    path: str
    document: Mapping[str, Any]

    @cached_property
    def definitions(self) -> Mapping[str, Schema]:
        """Schemas by the name that a `$ref` has."""
        found: Mapping[str, Schema] = self.document.get("$defs", {})
        return found

    def validator(self, schema: Schema) -> Draft202012Validator:
        """Validator of a schema of this file."""
        whole = {"$schema": Draft202012Validator.META_SCHEMA["$id"], "$defs": self.definitions, **schema}
        return Draft202012Validator(whole, format_checker=FormatChecker())

    def problems(self, schema: Schema, instance: object) -> list[str]:
        """Differences between an instance and a schema."""
        return [f"{error.json_path}: {error.message[:200]}" for error in self.validator(schema).iter_errors(instance)]

    def endpoint(self, method: str, url: str) -> str:
        """Name of the endpoint of a request. Raises LookupError for none."""
        for name, endpoint in self.document["endpoints"].items():
            pattern = re.sub(r"\\{endpoint_id\\}", ".+", re.escape(endpoint["base"] + endpoint["path"]))
            pattern = re.sub(r"\\{\w+\\}", "[^/]+", pattern)
            if endpoint["method"] == method and re.fullmatch(pattern, url):
                return str(name)
        raise LookupError(f"{self.path} has no endpoint for {method} {url}")

    def request_problems(self, request: httpx.Request) -> list[str]:
        """Differences of headers, query and body of a request from its endpoint; undocumented names are differences."""
        address = urlsplit(str(request.url))
        endpoint = self.document["endpoints"][self.endpoint(request.method, f"{request.url.copy_with(query=None)}")]
        headers = {name: value for name, value in request.headers.items() if name not in _OF_THE_CONNECTION}
        found = [f"header {problem}" for problem in self.problems(endpoint["headers"], headers)]
        given = parse_qs(address.query, keep_blank_values=True)
        query = {name: self._typed(endpoint["query"], name, values) for name, values in given.items()}
        found += [f"query {problem}" for problem in self.problems(endpoint["query"], query)]
        body = endpoint.get("body", {"not": {}})
        if request.content and not body.keys() & {"facts", "contentType"}:
            found += [f"body {problem}" for problem in self.problems(body, json.loads(request.content))]
        return found

    def answer_problems(self, name: str, reply: httpx.Response) -> list[str]:
        """Differences between a reply and the answers of an endpoint."""
        answer = self.document["endpoints"][name]["responses"].get(str(reply.status_code))
        if answer is None:
            return [f"status {reply.status_code} is not documented"]
        found = [f"header {text}" for text in self.problems(answer.get("headers", {}), dict(reply.headers))]
        body = answer.get("body")
        if body is None or "facts" in body:
            return found
        return found + [f"body {problem}" for problem in self.problems(body, reply.json())]

    def examples(self, schema: Schema) -> Iterator[tuple[str, Any]]:
        """Instances with their names: one with all fields, one with the required ones, and one for each nullable field,
        in which it is null.
        """
        builder = _Builder(self.definitions)
        whole = builder.value(schema, ())
        yield "all fields", whole
        yield "required fields", _Builder(self.definitions, optional=False).value(schema, ())
        for path in builder.nullable:
            yield f"{'.'.join(map(str, path))} is null", _with_null(whole, path)

    def _typed(self, schema: Schema, name: str, values: Sequence[str]) -> Any:
        """Value of a query's parameter; text is read as a number or a boolean if the schema has that type."""
        if len(values) > 1:
            return list(values)
        kind = schema["properties"].get(name, {}).get("type")
        readable = kind in ("integer", "number") and re.fullmatch(r"-?[0-9.]+", values[0])
        return (
            json.loads(values[0]) if readable or (kind == "boolean" and values[0] in ("true", "false")) else values[0]
        )


@dataclass
class _Builder:
    """Builder of one example; `nullable` collects the paths of fields that may be null."""

    definitions: Mapping[str, Schema]
    optional: bool = True
    nullable: list[tuple[str | int, ...]] = field(default_factory=list)

    def value(self, schema: Schema, path: tuple[str | int, ...]) -> Any:
        schema = self._resolved(schema)
        options = [self._resolved(option) for option in (*schema.get("anyOf", ()), *schema.get("oneOf", ()))]
        kinds = schema.get("type", [])
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if "null" in kinds or {"type": "null"} in options:
            self.nullable.append(path)
        if options:
            return self.value(next(option for option in options if option != {"type": "null"}), path)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return next(member for member in schema["enum"] if member is not None)
        return self._of_type(next((kind for kind in kinds if kind != "null"), "object"), schema, path)

    def _of_type(self, kind: str, schema: Schema, path: tuple[str | int, ...]) -> Any:
        match kind:
            case "object":
                return self._object(schema, path)
            case "array":
                filled = self.optional or schema.get("minItems", 0) > 0
                return [self.value(schema.get("items", {}), (*path, 0))] if filled else []
            case "string":
                return _text(schema)
            case "boolean":
                return True
            case _:
                least, most = schema.get("minimum", 0), schema.get("maximum", 1_000)
                return min(max(least, 1), most) if kind == "integer" else min(max(least, 0.5), most)

    def _object(self, schema: Schema, path: tuple[str | int, ...]) -> dict[str, Any]:
        required = schema.get("required", ())
        chosen = {
            name: member for name, member in schema.get("properties", {}).items() if self.optional or name in required
        }
        return {name: self.value(member, (*path, name)) for name, member in chosen.items()}

    def _resolved(self, schema: Schema) -> Schema:
        while "$ref" in schema:
            schema = self.definitions[schema["$ref"].removeprefix("#/$defs/")]
        return schema


def _text(schema: Schema) -> str:
    if "format" in schema:
        return _FORMATS[schema["format"]]
    pattern, least = schema.get("pattern", ""), schema.get("minLength", 0)
    text = next(text for text in _TEXTS if re.search(pattern, text) and len(text) >= least)
    return text[: schema.get("maxLength", len(text))]


def _with_null(instance: Any, path: Sequence[str | int]) -> Any:
    changed = deepcopy(instance)
    holder = changed
    for part in path[:-1]:
        holder = holder[part]
    if not path:
        return None
    holder[path[-1]] = None
    return changed
