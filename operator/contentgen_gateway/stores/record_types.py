"""Schema of a record's fields, for imports and for readers. Pure.

Stored records may have values of wrong types: earlier imports did not validate `config`, and other clients of MongoDB
validate nothing. `wrong_values` lists them, so that an import is refused. `readable` removes them from stored records,
so that one record does not break a list.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from contentgen_contract.names import Kind

Record = dict[str, Any]
_MAX_DEPTH = 20  # levels of nesting in a field without a schema
_MAX_FORMATTED = 64  # characters of a value in an error message


@dataclass(frozen=True, slots=True)
class Scalar:
    """A single value. None is valid for every type."""

    expected: str
    fits: Callable[[object], bool]


@dataclass(frozen=True, slots=True)
class Many:
    """A list whose elements have one type."""

    element: "Type"


@dataclass(frozen=True, slots=True)
class Object:
    """An object with fields of these types; other fields may have any JSON value."""

    fields: Mapping[str, "Type"] = field(default_factory=dict)


Type = Scalar | Many | Object


def _is_whole(given: object) -> bool:
    if isinstance(given, float):
        return math.isfinite(given) and given.is_integer()
    return isinstance(given, int) and not isinstance(given, bool)


def _is_number(given: object) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)


TEXT = Scalar("a text", lambda given: isinstance(given, str))
WHOLE = Scalar("a whole number", _is_whole)
NUMBER = Scalar("a number", _is_number)
SEED = Scalar("a whole number, or one of 64 bits as text", lambda given: _is_whole(given) or isinstance(given, str))
FLAG = Scalar("true or false", lambda given: isinstance(given, bool))
TIME = Scalar("a time", lambda given: isinstance(given, datetime))

_CONFIG = Object(
    {"loraName": TEXT, "trigger": TEXT, "model": TEXT, "prompt": TEXT, "steps": WHOLE, "frame_count": WHOLE}
)
_IMAGE = Object({"url": TEXT, "s3Key": TEXT, "thumbnailUrl": TEXT, "width": WHOLE, "height": WHOLE, "sizeBytes": WHOLE})
_COST = Object({"display": TEXT})
_VERSION = Object(
    dict.fromkeys(
        (
            "modelUrl",
            "s3Key",
            "previewUrl",
            "transcriptUrl",
            "textUrl",
            "srtUrl",
            "vttUrl",
            "language",
            "model",
            "prompt",
        ),
        TEXT,
    )
    | dict.fromkeys(("version", "sizeBytes", "bytes", "wordCount", "speakers"), WHOLE)
    | {
        "seed": SEED,
        "duration": NUMBER,
        "warnings": Many(TEXT),
        "createdAt": TIME,
        "loras": Many(TEXT),
        "images": Many(_IMAGE),
        "config": _CONFIG,
        "cost": _COST,
    }
)
RECORD = Object(
    dict.fromkeys(
        (
            "jobId", "userId", "type", "namespace", "name", "status", "phase", "stage", "reason", "message", "error",
            "importedBy", "adoptedBy", "tenant",
        ),
        TEXT,
    )
    | dict.fromkeys(("progress", "downloads", "bytes", "pictures", "revision", "runVersion", "costMicros"), WHOLE)
    | dict.fromkeys(
        ("createdAt", "startedAt", "completedAt", "lastAccessed", "estimatedCompletionTime", "updatedAt"), TIME
    )
    | {
        "config": _CONFIG,
        "metadata": Object({"tags": Many(TEXT), "description": TEXT, "isPublic": FLAG}),
        "sourceVideo": Object({"url": TEXT, "filename": TEXT, "sizeBytes": WHOLE}),
        "cost": _COST,
        "adoptedFrom": Many(TEXT),
        "uses": Many(TEXT),
        "scopes": Many(TEXT),
        "versions": Many(_VERSION),
    }
)  # fmt: skip
_NEVER_NONE: Mapping[str, Callable[[], object]] = {"config": dict, "metadata": dict, "versions": list, "progress": int}
_IDENTITY = ("jobId", "userId", "status")
_TYPES = frozenset(kind.record_type for kind in Kind)


@dataclass(frozen=True, slots=True)
class WrongType:
    """A value that does not have its field's type."""

    path: str  # dotted: versions.0.config.steps
    given: object
    expected: str

    def __str__(self) -> str:
        return f"{_format_value(self.given)}: expected {self.expected}"


def wrong_values(record: Mapping[str, Any]) -> tuple[WrongType, ...]:
    """All values of a record with a wrong type."""
    return tuple(_find_wrong(record, RECORD, ()))


def _find_wrong(given: object, type_: Type, at: tuple[str, ...]) -> Iterator[WrongType]:
    match type_, given:
        case _, None:
            return
        case Object(), Mapping():
            for name, member in given.items():
                if (known := type_.fields.get(name)) is not None:
                    yield from _find_wrong(member, known, (*at, name))
        case Many(), list():
            for index, element in enumerate(given):
                yield from _find_wrong(element, type_.element, (*at, str(index)))
        case Scalar(), _ if type_.fits(given):
            return
        case _:
            yield WrongType(".".join(at), given, _expected(type_))


def _expected(type_: Type) -> str:
    match type_:
        case Scalar():
            return type_.expected
        case Many():
            return "a list"
        case Object():
            return "an object"


def _format_value(given: object) -> str:
    """A value for an error message. Texts that may be URLs are not repeated, because they may contain a password."""
    match given:
        case Mapping():
            return "an object"
        case list():
            return "a list"
        case str():
            return "a text" if "/" in given or "@" in given else repr(given[:_MAX_FORMATTED])
        case bool() | int() | float():
            return json.dumps(given)
        case _:
            return f"a {type(given).__name__}"


def readable(record: Record) -> Record | None:
    """The record with each value of a wrong type replaced by None, an empty object or an empty list.

    None for a record without a valid job id, user, type or status.
    """
    found: Record = _read_object(record, RECORD)
    if found.get("type") not in _TYPES or not all(isinstance(found.get(name), str) for name in _IDENTITY):
        return None
    found |= {name: empty() for name, empty in _NEVER_NONE.items() if name in found and found[name] is None}
    for version in found.get("versions", ()):
        version["version"] = version.get("version") or 1
    return found


def _read(given: object, type_: Type) -> Any:
    match type_:
        case Scalar():
            return (int(given) if type_ is WHOLE else given) if type_.fits(given) else None  # type: ignore[call-overload]  # fits() has checked that it is a number
        case Many():
            elements = (_read(element, type_.element) for element in given) if isinstance(given, list) else ()
            return [element for element in elements if element is not None]
        case Object():
            return _read_object(given, type_) if isinstance(given, dict) else None


def _read_object(given: Mapping[str, Any], type_: Object) -> Record:
    known = type_.fields
    return {
        name: _read(member, known[name]) if name in known else _json_value(member, 0) for name, member in given.items()
    }


def _json_value(given: object, depth: int) -> Any:
    """A value of a field without a schema, limited to JSON types and 20 levels; anything else becomes None."""
    match given:
        case None | str() | bool() | int() | datetime():
            return given
        case float():
            return given if math.isfinite(given) else None
        case dict() if depth < _MAX_DEPTH:
            return {str(name): _json_value(member, depth + 1) for name, member in given.items()}
        case list() if depth < _MAX_DEPTH:
            return [_json_value(element, depth + 1) for element in given]
        case _:
            return None
