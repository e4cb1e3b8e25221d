"""Text of validation errors: field, value, expectation, and the nearest valid name."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from contentgen_contract import patterns
from contentgen_gateway import problems
from contentgen_gateway.problems import Problem

Error = Mapping[str, Any]
"""Error of pydantic: type, loc, msg, input, ctx."""

NAME = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$"
TITLE = r"^[^\x00-\x1f\x7f]+$"
PRINTABLE = r"^[!-~]([ -~]*[!-~])?$"
WORDS = patterns.EXPECTATIONS | {
    NAME: patterns.EXPECTATIONS[patterns.OBJECT_NAME],
    TITLE: "must be one line without control characters",
    PRINTABLE: "must be printable ASCII without a space at its beginning or end",
}
"""Text of each pattern of a request."""

_Expectation = Callable[[Error, Mapping[str, Any], list[object]], str]
"""Expectation from an error, its context, and the types at its location."""
_MOST_ERRORS = 20
_LONGEST_NAME = 64
_SHORTEST_BEGINNING = 3
_LONGEST_VALUE = 64
_ADDRESS = re.compile(r"://|@")  # may contain a password or a signature
_QUOTED = re.compile(r"'([^']*)'")


def install(app: FastAPI) -> None:
    """Register the handler of validation errors of requests."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return problems.answer(request.scope, of_request(request, error))


def of_request(request: Request, error: RequestValidationError) -> Problem:
    """Problem 422 from the errors of a request."""
    errors: Sequence[Error] = error.errors()
    first = errors[0]
    place = str(first["loc"][0])
    if first["type"] == "json_invalid":
        return malformed_json(str(error.body), int(first["loc"][1]), str(first["ctx"]["error"]))
    if isinstance(error.body, bytes):
        return foreign_content_type(request.headers.get("content-type", ""))
    here = [{**each_error, "loc": each_error["loc"][1:]} for each_error in errors if each_error["loc"][0] == place]
    return refusal(here, place, _model(request, place))


def _model(request: Request, place: str) -> object:
    """Model of an endpoint's body or query; None if it has none, or several parameters."""
    dependant = getattr(request.scope.get("route"), "dependant", None)
    parameters = getattr(dependant, f"{place}_params", ())
    models = [parameter.field_info.annotation for parameter in parameters]
    only = models[0] if len(models) == 1 else None
    return only if isinstance(only, type) and issubclass(only, BaseModel) else None


def refusal(errors: Sequence[Error], place: str, model: object = None) -> Problem:
    """Problem 422 from the errors of one validation. `place` is body, query, path, header or form.

    `model` is the validated type, which tells the valid names beside an unknown field.
    """
    fields = _merged([_FieldError(error, place, model) for error in errors[:_MOST_ERRORS]])
    first = fields[0]
    return Problem(422, first.detail, errors=[{"loc": [place, *field.path], "msg": field.expected} for field in fields])


def malformed_json(document: str, position: int, cause: str) -> Problem:
    """Problem 422 for a body that is not JSON; `position` in characters."""
    before = document[:position]
    line, column = before.count("\n") + 1, position - before.rfind("\n")
    return Problem(
        422,
        f"body: not JSON: {cause}, at line {line}, column {column}",
        errors=[{"loc": ["body"], "msg": f"not JSON: {cause}", "line": line, "column": column}],
    )


def foreign_content_type(given: str) -> Problem:
    """Problem 422 for a body of another content type."""
    expected = "must be application/json, with the body as JSON"
    advice = "curl --header 'Content-Type: application/json' --data '{…}'"
    return Problem(
        422,
        f"Content-Type: {given[:_LONGEST_VALUE]!r} {expected}: {advice}",
        errors=[{"loc": ["header", "Content-Type"], "msg": expected}],
    )


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Known name that is similar, or the only one with this prefix; None if there is none. Ignores case."""
    given, lower = name[:_LONGEST_NAME].lower(), {each_name.lower(): each_name for each_name in known}
    begun = [each_name for each_name in lower if len(given) >= _SHORTEST_BEGINNING and each_name.startswith(given)]
    found = get_close_matches(given, lower, 1) or (begun if len(begun) == 1 else [])
    return lower[found[0]] if found else None


def guess(name: str, known: Iterable[str]) -> str:
    """Hint such as `; did you mean userId?`; empty without a similar name."""
    near = nearest(name, known)
    return f"; did you mean {near}?" if near is not None else ""


def either(names: Sequence[str]) -> str:
    """Alternatives: `a, b or c`."""
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""


class _FieldError:
    """Error of one field: path, value if it may be repeated, and expectation."""

    def __init__(self, error: Error, place: str, model: object) -> None:
        self.path, at = _walk(model, error["loc"], to_unknown=error["type"] == "extra_forbidden")
        self.expected = _expected(error, at)
        # The value of an unknown field does not help.
        self.value = "" if error["type"] in _WITHOUT_VALUE else _quoted_value(error.get("input"))
        self._place = place

    @property
    def detail(self) -> str:
        where = ".".join(map(str, self.path)) or self._place
        return f"{where}: {self.value} {self.expected}" if self.value else f"{where}: {self.expected}"


def _merged(fields: list[_FieldError]) -> list[_FieldError]:
    """One error for each field, with all alternatives of a union."""
    by_path: dict[tuple[int | str, ...], _FieldError] = {}
    for field in fields:
        first = by_path.setdefault(field.path, field)
        if first is not field and field.expected not in first.expected:
            first.expected += f", or {field.expected.removeprefix('must be ')}"
    return list(by_path.values())


# Expectations


def _expected(error: Error, at: list[object]) -> str:
    known = _EXPECTED.get(error["type"])
    return known(error, error.get("ctx") or {}, at) if known is not None else str(error["msg"])


def _unknown_field(error: Error, _: Mapping[str, Any], at: list[object]) -> str:
    name, known = str(error["loc"][-1]), sorted({field for member in at for field in _fields(member)})
    near = guess(name, known)
    return f"unknown field{near}" if near or not known else f"unknown field; the fields here are {', '.join(known)}"


def _pattern(_: Error, context: Mapping[str, Any], __: list[object]) -> str:
    return WORDS.get(str(context.get("pattern")), "has a form that is not allowed")


def _choice(error: Error, context: Mapping[str, Any], _: list[object]) -> str:
    names = _QUOTED.findall(str(context.get("expected")))
    given = error.get("input")
    return f"must be {either(names)}{guess(given, names) if isinstance(given, str) else ''}"


def _constant(text: str) -> _Expectation:
    return lambda *_: text


def _bound(text: str, name: str, what: str = "") -> _Expectation:
    def fields(_: Error, context: Mapping[str, Any], __: list[object]) -> str:
        number = context.get(name)
        number = f"{number:g}" if isinstance(number, float) else number
        return f"{text} {number}{f' {what}' if what else ''}{'s' if what and number != 1 else ''}"

    return fields


def _error_text(error: Error, context: Mapping[str, Any], _: list[object]) -> str:
    return str(context.get("error") or error["msg"])


_NUMBER, _WHOLE, _TEXT = (
    _constant("must be a number"),
    _constant("must be a whole number"),
    _constant("must be a text in quotes"),
)
_OBJECT, _TRUTH = _constant("must be an object"), _constant("must be true or false")
_EXPECTED: dict[str, _Expectation] = {
    "extra_forbidden": _unknown_field,
    "missing": _constant("must be given"),
    "string_pattern_mismatch": _pattern,
    "enum": _choice,
    "literal_error": _choice,
    "value_error": _error_text,
    "greater_than_equal": _bound("must be at least", "ge"),
    "greater_than": _bound("must be more than", "gt"),
    "less_than_equal": _bound("must be at most", "le"),
    "less_than": _bound("must be less than", "lt"),
    "multiple_of": _bound("must be a multiple of", "multiple_of"),
    "string_too_short": _bound("must have at least", "min_length", "character"),
    "string_too_long": _bound("must have at most", "max_length", "character"),
    "too_short": _bound("must have at least", "min_length", "item"),
    "too_long": _bound("must have at most", "max_length", "item"),
    "string_type": _TEXT,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "bool_type": _TRUTH,
    "bool_parsing": _TRUTH,
    "list_type": _constant("must be a list"),
    "tuple_type": _constant("must be a list"),
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
}
_WITHOUT_VALUE = frozenset(
    {"extra_forbidden", "missing", "value_error", "string_too_long", "unknown_parameter", "too_long", "too_short"}
)


def _quoted_value(value: object) -> str:
    """Short value in quotes; empty for objects and addresses."""
    if not isinstance(value, str | int | float) or (isinstance(value, str) and _ADDRESS.search(value)):
        return ""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"


# Types at a location


def _walk(model: object, loc: Sequence[int | str], *, to_unknown: bool) -> tuple[tuple[int | str, ...], list[object]]:
    """Path of a field as the client wrote it, and its possible types; for an unknown field those of its parent.

    Parts of `loc` that name members of a union are left out. Without a model all parts stay.
    """
    if model is None:
        return tuple(map(_short, loc)), []
    path: list[int | str] = []
    at = _members(model)
    for part in loc[:-1] if to_unknown else loc:
        below = [each for member in at for each in _below(member, part)]
        if below:
            path.append(_short(part))
            at = below
    return (*path, _short(loc[-1])) if to_unknown else tuple(path), at


def _below(member: object, part: int | str) -> list[object]:
    """Types of a field, or of the items of a list; empty if there is no such field."""
    if isinstance(part, int):
        items = get_args(member) if get_origin(member) in (list, tuple) else ()
        return _members(items[0]) if items else []
    found = _fields(member)
    return _members(found[part]) if part in found else []


def _fields(member: object) -> dict[str, Any]:
    """Types of a model's fields by the names that clients use; empty for other types."""
    if not (isinstance(member, type) and issubclass(member, BaseModel)):
        return {}
    return {field.alias or name: field.annotation for name, field in member.model_fields.items()}


def _members(annotation: object) -> list[object]:
    """Members of a union, without annotations."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [member for element in get_args(annotation) for member in _members(element)]
    return [annotation]


def _short(part: int | str) -> int | str:
    return part if isinstance(part, int) else part[:_LONGEST_NAME]
