"""Differences between providers' answers and the facts of `facts/`. Pure.

A name that the facts lack is a difference too, also where their schema is open: it is new, and the facts are due.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from jsonschema import ValidationError

from contentgen_contract.texts import foreign_text
from contentgen_simulation.facts import PublishedFacts, load

_PLAIN = re.compile(r"[A-Za-z0-9_ .-]{1,40}")  # a word or number that may be printed
_TYPES = ((bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array"), (dict, "object"))
_INDEX = re.compile(r"\[\d+\]")  # of an array's element in a JSON path
_MOST = 160  # characters of a printed expectation


@dataclass(frozen=True)
class ShapeDifference:
    """One difference. `where` names the request and its status, `path` is a JSON path with `[*]` for all elements of an
    array; no value of a text, URL or key is in it.
    """

    where: str
    path: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.where}, {self.path}: expected {self.expected}, found {self.found}"


def strict(path: str) -> PublishedFacts:
    """PublishedFacts of a file below `facts/` whose schemas refuse unknown names. Raises OSError for no such file."""
    facts = load(path)
    return PublishedFacts(facts.path, _closed(deepcopy(facts.document)))


def body_differences(
    facts: PublishedFacts, where: str, schema: Mapping[str, Any], body: object
) -> list[ShapeDifference]:
    """Differences between a JSON value and a schema of these facts."""
    errors = facts.validator(schema).iter_errors(body)
    told = dict.fromkeys((_INDEX.sub("[*]", path), *texts) for error in errors for path, *texts in _told(error))
    return [ShapeDifference(where, *texts) for texts in told]


@dataclass(frozen=True)
class ReceivedAnswer:
    """A reply. `body` is the JSON value, None without JSON; `output` are the facts of the model whose result it is."""

    status: int
    headers: Mapping[str, str]
    body: object
    output: PublishedFacts | None = None


def answer_differences(facts: PublishedFacts, name: str, answer: ReceivedAnswer) -> list[ShapeDifference]:
    """Differences between a reply and the facts of an endpoint."""
    responses, status = facts.document["endpoints"][name]["responses"], str(answer.status)
    if (known := responses.get(status)) is None:
        return [ShapeDifference(f"{facts.path} {name}", "status", _one_of(responses), status)]
    where = f"{facts.path} {name} {status}"
    found = body_differences(facts, f"{where} headers", known.get("headers", {}), dict(answer.headers))
    schema, output = known.get("body"), answer.output
    if schema is None:
        return found
    if "facts" not in schema:
        return found + body_differences(facts, where, schema, answer.body)
    if output is None:
        return [*found, ShapeDifference(where, "$", "a model with facts", "a result of another model")]
    return found + body_differences(output, f"{output.path} result", output.document["output"], answer.body)


def type_name(value: object) -> str:
    """Type of a JSON value."""
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "null")


def _closed(value: Any) -> Any:
    """The schemas at any depth, in which an object with listed properties has no others."""
    if isinstance(value, dict):
        if value.get("properties") and value.get("additionalProperties") is True:
            value["additionalProperties"] = False
        for member in value.values():
            _closed(member)
    elif isinstance(value, list):
        for member in value:
            _closed(member)
    return value


def _told(error: ValidationError) -> Iterator[tuple[str, str, str]]:
    """Path, expectation and finding of an error; of an alternative, those of the branch that is nearest."""
    if error.validator in ("anyOf", "oneOf") and error.context:
        for nearer in _nearest(error.context):
            yield from _told(nearer)
    elif error.validator in ("required", "additionalProperties"):
        yield from _names_told(error)
    else:
        yield error.json_path, *_value_told(str(error.validator), error.validator_value, error.instance)


def _names_told(error: ValidationError) -> Iterator[tuple[str, str, str]]:
    schema: Any = error.schema
    found: Any = error.instance
    if error.validator == "required":
        for name in schema["required"]:
            if name not in found and f"'{name}'" in error.message:
                yield f"{error.json_path}.{name}", "a value", "nothing"
    else:
        for name in sorted(found.keys() - schema.get("properties", {}).keys()):
            yield f"{error.json_path}.{foreign_text(name, 60)}", "no such name", type_name(found[name])


def _value_told(keyword: str, wanted: Any, found: object) -> tuple[str, str]:
    """Expectation and finding of a value that breaks a keyword of its schema."""
    match keyword:
        case "type":
            return wanted if isinstance(wanted, str) else " or ".join(wanted), type_name(found)
        case "const":
            return _plain(wanted), _plain(found)
        case "enum":
            return _one_of(wanted), _plain(found)
        case _:
            return f"{keyword} {wanted}"[:_MOST], f"another {type_name(found)}"


def _nearest(errors: Iterable[ValidationError]) -> list[ValidationError]:
    """Errors of the branch with the fewest ones; one without another constant is nearer, such as that of a status."""
    by_branch = sorted(errors, key=lambda error: str(error.relative_schema_path[0]))
    branches = [list(group) for _, group in groupby(by_branch, key=lambda error: error.relative_schema_path[0])]
    return min(branches, key=lambda branch: (sum(error.validator == "const" for error in branch), len(branch)))


def _one_of(values: Iterable[object]) -> str:
    return f"one of {', '.join(map(str, values))}"[:_MOST]


def _plain(value: object) -> str:
    """Short word or number; the type of anything else."""
    return str(value) if _PLAIN.fullmatch(str(value)) else type_name(value)
