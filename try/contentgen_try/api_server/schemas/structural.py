"""Structural schemas of CRDs: pruning, defaults, and validation with the messages of the Kubernetes API server."""

import copy
import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from contentgen_try.api_server.refusals import FieldProblem, invalid_value, required, shown
from contentgen_try.api_server.schemas.rules import UNSET, Rule

_EMBEDDED = frozenset({"apiVersion", "kind", "metadata"})
_NAMES = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}
_BLOCKING = frozenset(
    {"FieldValueRequired", "FieldValueNotSupported", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"}
)


class Schema:
    """Schema of one value, with its rules compiled. Raises BadRule."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.type: str = schema.get("type") or ""
        self.nullable: bool = schema.get("nullable", False)
        self.preserves: bool = schema.get("x-kubernetes-preserve-unknown-fields", False)
        self.int_or_string: bool = schema.get("x-kubernetes-int-or-string", False)
        self.properties = {
            name: Schema(property_name) for name, property_name in (schema.get("properties") or {}).items()
        }
        more = schema.get("additionalProperties")
        self.values = Schema(more) if isinstance(more, Mapping) else None
        self.preserves = self.preserves or more is True
        self.items = Schema(schema["items"]) if "items" in schema else None
        self.rules = tuple(Rule(each, self.type) for each in schema.get("x-kubernetes-validations") or ())
        self.has_default = "default" in schema
        self._schema = schema
        pattern = schema.get("pattern")
        self._pattern = re.compile(pattern) if pattern else None

    @property
    def default(self) -> Any:
        """A copy of the default."""
        return copy.deepcopy(self._schema.get("default"))

    # --- pruning and defaults, in place

    def prune(self, value: Any, path: str = "", *, root: bool = True) -> list[str]:
        """Remove unknown fields; returns their paths."""
        found: list[str] = []
        if isinstance(value, dict):
            for name in list(value):
                if root and name in _EMBEDDED:
                    continue
                at = f"{path}.{name}".lstrip(".")
                inner = self.properties.get(name) or self.values
                if inner is not None:
                    found += inner.prune(value[name], at, root=False)
                elif not self.preserves:
                    del value[name]
                    found.append(at)
        elif isinstance(value, list) and self.items is not None:
            for i, element in enumerate(value):
                found += self.items.prune(element, f"{path}[{i}]", root=False)
        return found

    def set_defaults(self, value: Any) -> None:
        """Set the defaults of absent fields; a null of a field that is not nullable counts as absent."""
        if isinstance(value, dict):
            for name, inner in self.properties.items():
                null = name in value and value[name] is None and not inner.nullable
                if inner.has_default and (name not in value or null):
                    value[name] = inner.default
                elif null:
                    del value[name]
                if name in value:
                    inner.set_defaults(value[name])
            if self.values is not None:
                for element in value.values():
                    self.values.set_defaults(element)
        elif isinstance(value, list) and self.items is not None:
            for element in value:
                self.items.set_defaults(element)

    # --- validation

    def problems(self, value: Any, old: Any = UNSET) -> list[FieldProblem]:
        """All problems of a whole object; `old` is the stored object, if it is an update.

        The rules are checked besides invalid fields too, so that one answer has all errors; the API server of a
        cluster checks them once the fields are valid.
        Values that an update leaves as they are count as valid: objects that earlier CRDs allowed can still be written
        (CRD validation ratcheting).
        """
        found = list(self._check(value, "", old))
        blocking = tuple(each.path for each in found if each.kind in _BLOCKING)
        return found + list(self._broken_rules(value, old, "", blocking))

    def _check(self, value: Any, path: str, old: Any) -> Iterator[FieldProblem]:
        if (value is None and self.nullable) or same(value, old):
            return
        if not self._fits(value):
            kind = "null" if value is None else _NAMES.get(type(value), "unknown")
            wanted = "integer,string" if self.int_or_string else self.type
            detail = f'{path} in body must be of type {wanted}: "{kind}"'
            message = f'Invalid value: "{kind}": {detail}'
            yield FieldProblem(path, "FieldValueTypeInvalid", message, f"must be of type {wanted}")
            return
        yield from self._check_limits(value, path)
        if isinstance(value, dict):
            yield from self._check_object(value, path, old if isinstance(old, dict) else {})
        elif isinstance(value, list):
            yield from self._check_list(value, path)

    def _fits(self, value: Any) -> bool:  # noqa: PLR0911 - one per type
        if self.int_or_string:
            return isinstance(value, int | str) and not isinstance(value, bool)
        match self.type:
            case "string":
                return isinstance(value, str)
            case "boolean":
                return isinstance(value, bool)
            case "integer":
                whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
                return whole and not isinstance(value, bool)
            case "number":
                return isinstance(value, int | float) and not isinstance(value, bool)
            case "object":
                return isinstance(value, dict)
            case "array":
                return isinstance(value, list)
            case _:
                return self.preserves

    def _check_object(self, value: dict[str, Any], path: str, old: dict[str, Any]) -> Iterator[FieldProblem]:
        for name in self._schema.get("required") or ():
            if name not in value:
                yield required(f"{path}.{name}".lstrip("."))
        for name, member in value.items():
            inner = self.properties.get(name) or self.values
            if inner is not None and not (path == "" and name in _EMBEDDED):
                at = f"{path}.{name}".lstrip(".") if name in self.properties else f"{path}[{name}]"
                yield from inner._check(member, at, old.get(name, UNSET))

    def _check_list(self, value: list[Any], path: str) -> Iterator[FieldProblem]:
        how = self._schema.get("x-kubernetes-list-type")
        keys = self._schema.get("x-kubernetes-list-map-keys") or ()
        seen: set[str] = set()
        for i, each in enumerate(value):
            if self.items is not None:
                yield from self.items._check(each, f"{path}[{i}]", UNSET)
            if how not in ("set", "map"):
                continue
            named = {key: each.get(key) for key in keys} if how == "map" and isinstance(each, dict) else each
            text = json.dumps(named, sort_keys=True)
            if text in seen:
                yield FieldProblem(f"{path}[{i}]", "FieldValueDuplicate", f"Duplicate value: {shown(named)}")
            seen.add(text)

    def _check_limits(self, value: Any, path: str) -> Iterator[FieldProblem]:
        text = shown(value)
        limit = self._schema.get
        if isinstance(value, str):
            yield from self._check_text(value, path, text)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield from self._check_number(value, path, text)
        elif isinstance(value, list):
            if (most := limit("maxItems")) is not None and len(value) > most:
                yield FieldProblem(
                    path,
                    "FieldValueTooMany",
                    f"Too many: {len(value)}: must have at most {most} item{'s' * (most != 1)}",
                )
            if (least := limit("minItems")) is not None and len(value) < least:
                yield invalid_value(path, text, f"{path} in body should have at least {least} items")
        elif isinstance(value, dict) and (most := limit("maxProperties")) is not None and len(value) > most:
            yield FieldProblem(path, "FieldValueTooMany", f"Too many: {len(value)}: must have at most {most} items")
        if (allowed := limit("enum")) is not None and value not in allowed:
            names = ", ".join(json.dumps(each, ensure_ascii=False) for each in allowed)
            message = f"Unsupported value: {text}: supported values: {names}"
            yield FieldProblem(path, "FieldValueNotSupported", message, f"must be one of {names}")

    def _check_text(self, value: str, path: str, text: str) -> Iterator[FieldProblem]:
        limit = self._schema.get
        if (most := limit("maxLength")) is not None and len(value) > most:
            yield FieldProblem(path, "FieldValueTooLong", f"Too long: may not be more than {most} bytes")
        if (least := limit("minLength")) is not None and len(value) < least:
            yield invalid_value(path, text, f"{path} in body should be at least {least} chars long")
        if self._pattern is not None and self._pattern.search(value) is None:
            yield invalid_value(path, text, f"{path} in body should match '{limit('pattern')}'")
        if limit("format") == "date-time" and not _is_time(value):
            yield invalid_value(path, text, f"{path} in body must be of type date-time: {text}")

    def _check_number(self, value: float, path: str, text: str) -> Iterator[FieldProblem]:
        limit = self._schema.get
        if (least := limit("minimum")) is not None and value < least:
            yield invalid_value(path, text, f"{path} in body should be greater than or equal to {least}")
        if (most := limit("maximum")) is not None and value > most:
            yield invalid_value(path, text, f"{path} in body should be less than or equal to {most}")
        if (step := limit("multipleOf")) is not None and value % step:
            yield invalid_value(path, text, f"{path} in body should be a multiple of {step}")
        bits = {"int32": 32, "int64": 64}.get(limit("format") or "", 64)
        if self.type == "integer" and not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1):
            yield invalid_value(path, text, f"{path} in body must be of type int{bits}: {text}")

    def _broken_rules(self, value: Any, old: Any, path: str, blocking: tuple[str, ...]) -> Iterator[FieldProblem]:
        """Rules that do not hold. `blocking`: paths of values for which no rule can be evaluated."""
        if value is None or path in blocking or not (self.rules or self.properties or self.values or self.items):
            return
        unchanged = same(value, old)
        complete = not any(each.startswith((f"{path}.", f"{path}[") if path else "") for each in blocking)
        for rule in self.rules:
            if unchanged and not rule.transition:
                continue
            problem = rule.check(path, value, old, complete=complete)
            if problem is not None:
                yield problem
        if isinstance(value, dict):
            before = old if isinstance(old, dict) else {}
            for name, member in value.items():
                inner = self.properties.get(name) or self.values
                if inner is not None:
                    at = f"{path}.{name}".lstrip(".") if name in self.properties else f"{path}[{name}]"
                    yield from inner._broken_rules(member, before.get(name, UNSET), at, blocking)
        elif isinstance(value, list) and self.items is not None:
            for i, element in enumerate(value):  # items of an atomic list have no previous value
                yield from self.items._broken_rules(element, UNSET, f"{path}[{i}]", blocking)


def same(value: Any, other: Any) -> bool:
    """True for equal JSON values; unlike Python's, true is not 1."""
    return value == other and json.dumps(value, sort_keys=True) == json.dumps(other, sort_keys=True)


def _is_time(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None and "T" in value.upper()
    except ValueError:
        return False
