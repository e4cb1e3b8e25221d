"""Validation of requests by the JSON Schemas of the facts: the keywords that occur in them. Errors have the form of
pydantic's, which fal returns.

Unlike jsonschema it needs no package beyond those of the image; a test compares it with jsonschema.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Schema = Mapping[str, Any]
Place = tuple[str | int, ...]
_TYPES: dict[str, Callable[[object], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "integer": lambda value: (
        not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
}
_LIMITS: dict[str, tuple[str, str, Callable[[float, float], bool]]] = {
    "minimum": ("greater_than_equal", "greater than or equal to", lambda value, limit: value >= limit),
    "maximum": ("less_than_equal", "less than or equal to", lambda value, limit: value <= limit),
    "exclusiveMinimum": ("greater_than", "greater than", lambda value, limit: value > limit),
    "exclusiveMaximum": ("less_than", "less than", lambda value, limit: value < limit),
    "multipleOf": ("multiple_of", "a multiple of", lambda value, limit: value % limit == 0),
}
_SIZES: dict[str, tuple[type, str, str, Callable[[int, int], bool]]] = {
    "minLength": (str, "string_too_short", "at least {} characters", lambda size, limit: size >= limit),
    "maxLength": (str, "string_too_long", "at most {} characters", lambda size, limit: size <= limit),
    "minItems": (list, "too_short", "at least {} items", lambda size, limit: size >= limit),
    "maxItems": (list, "too_long", "at most {} items", lambda size, limit: size <= limit),
    "maxProperties": (dict, "too_long", "at most {} members", lambda size, limit: size <= limit),
}


@dataclass(frozen=True)
class SchemaProblem:
    """Difference between a value and a schema."""

    loc: Place
    message: str
    kind: str


@dataclass(frozen=True)
class SchemaValidator:
    """Validator of a schema whose `$ref`s lead to `definitions`.

    `extra_allowed`: unknown members of objects are no error, whatever the schema says.
    """

    schema: Schema
    definitions: Mapping[str, Schema]
    extra_allowed: bool = False

    def problems(self, value: object) -> list[SchemaProblem]:
        """All differences; empty: the value is valid."""
        return list(self._problems(self.schema, value, ()))

    def unknown(self, value: Mapping[str, Any]) -> tuple[str, ...]:
        """Members of the outermost object that the schema does not have."""
        return tuple(name for name in value if name not in self.schema.get("properties", {}))

    def _valid(self, schema: Schema, value: object) -> bool:
        return next(self._problems(schema, value, ()), None) is None

    def _problems(self, schema: Schema, value: object, loc: Place) -> Iterator[SchemaProblem]:
        while "$ref" in schema:
            schema = self.definitions[schema["$ref"].removeprefix("#/$defs/")]
        kinds = schema.get("type", ())
        kinds = (kinds,) if isinstance(kinds, str) else kinds
        if kinds and not any(_TYPES[kind](value) for kind in kinds):
            yield SchemaProblem(loc, f"Input should be a valid {' or '.join(kinds)}", f"{_pydantic(kinds[0])}_type")
            return
        yield from self._combined(schema, value, loc)
        yield from _of_value(schema, value, loc)
        if isinstance(value, dict):
            yield from self._of_object(schema, value, loc)
        if isinstance(value, list) and "items" in schema:
            for index, item in enumerate(value):
                yield from self._problems(schema["items"], item, (*loc, index))

    def _combined(self, schema: Schema, value: object, loc: Place) -> Iterator[SchemaProblem]:
        for part in schema.get("allOf", ()):
            yield from self._problems(part, value, loc)
        for keyword in ("anyOf", "oneOf"):
            yield from self._alternatives(schema.get(keyword, ()), value, loc, single=keyword == "oneOf")
        if "not" in schema and self._valid(schema["not"], value):
            yield SchemaProblem(loc, "Input is not allowed here", "value_error")
        if "if" in schema and self._valid(schema["if"], value):
            yield from self._problems(schema.get("then", {}), value, loc)

    def _alternatives(
        self, options: Sequence[Schema], value: object, loc: Place, *, single: bool
    ) -> Iterator[SchemaProblem]:
        if not options:
            return
        fitting = sum(self._valid(option, value) for option in options)
        if fitting == 0:
            for option in options:
                yield from self._problems(option, value, loc)
        elif single and fitting > 1:
            yield SchemaProblem(loc, "Input fits several of the permitted forms", "value_error")

    def _of_object(self, schema: Schema, value: dict[str, Any], loc: Place) -> Iterator[SchemaProblem]:
        needed = [*schema.get("required", ())]
        for name, others in schema.get("dependentRequired", {}).items():
            needed += others if name in value else ()
        yield from (SchemaProblem((*loc, name), "Field required", "missing") for name in needed if name not in value)
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        for name, member in value.items():
            if name in known:
                yield from self._problems(known[name], member, (*loc, name))
            elif isinstance(others, dict):
                yield from self._problems(others, member, (*loc, name))
            elif others is False and not self.extra_allowed:
                yield SchemaProblem((*loc, name), "Extra inputs are not permitted", "extra_forbidden")
            if "propertyNames" in schema:
                yield from self._problems(schema["propertyNames"], name, (*loc, name))


def _of_value(schema: Schema, value: object, loc: Place) -> Iterator[SchemaProblem]:
    if "const" in schema and not _equal(value, schema["const"]):
        yield SchemaProblem(loc, f"Input should be {schema['const']!r}", "literal_error")
    if "enum" in schema and not any(_equal(value, member) for member in schema["enum"]):
        permitted = ", ".join(repr(member) for member in schema["enum"])
        yield SchemaProblem(loc, f"Input should be one of {permitted}", "literal_error")
    if isinstance(value, int | float) and not isinstance(value, bool):
        for keyword, (kind, text, holds) in _LIMITS.items():
            if keyword in schema and not holds(value, schema[keyword]):
                yield SchemaProblem(loc, f"Input should be {text} {schema[keyword]}", kind)
    for keyword, (measured, kind, text, fits) in _SIZES.items():
        if keyword in schema and isinstance(value, measured) and not fits(len(value), schema[keyword]):  # type: ignore[arg-type]
            yield SchemaProblem(loc, f"Input should have {text.format(schema[keyword])}", kind)
    if "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        yield SchemaProblem(loc, f"Input should match {schema['pattern']}", "string_pattern_mismatch")


def _equal(value: object, member: object) -> bool:
    """Equality of JSON values: unlike in Python, true is not 1."""
    return isinstance(value, bool) == isinstance(member, bool) and value == member


def _pydantic(kind: str) -> str:
    return {"integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict"}.get(kind, kind)
