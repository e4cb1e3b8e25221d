"""CEL rules of CRDs (`x-kubernetes-validations`), with functions of cel-go's strings library that cel-rust lacks."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cel
from cel import stdlib

from contentgen_try.api_server.refusals import FieldProblem, invalid_value, shown

_MESSAGES = 2048  # characters; a longer message of a messageExpression is ignored
_VERBS = ("%s", "%d", "%%")


class BadRule(Exception):
    """A rule of a CRD that does not compile."""


def _format(template: str, values: list[Any]) -> str:
    """`format` of cel-go, with the verbs %s and %d. Raises ValueError for others, and for another number of values."""
    parts, rest, left = [], template, list(values)
    while rest:
        before, percent, after = rest.partition("%")
        parts.append(before)
        if not percent:
            break
        verb, rest = f"%{after[:1]}", after[1:]
        if verb not in _VERBS or (verb != "%%" and not left):
            raise ValueError(f"format: {verb} in {template!r}")
        parts.append("%" if verb == "%%" else _text(left.pop(0)))
    if left:
        raise ValueError(f"format: {len(left)} values are left over in {template!r}")
    return "".join(parts)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))


_FUNCTIONS = {**stdlib.STDLIB_FUNCTIONS, "format": _format}


def _ascii_classes(source: str) -> str:
    r"""The rule with `\s` and `\S` as in RE2, where they mean ASCII; cel-rust's regular expressions mean Unicode."""
    spaces = r"\t\n\f\r "
    found, in_class, i = [], False, 0
    while i < len(source):
        pair = source[i : i + 2]
        if pair[0] == "\\" and len(pair) == 2:
            inside = {"\\s": spaces}.get(pair, pair)
            outside = {"\\s": f"[{spaces}]", "\\S": f"[^{spaces}]"}.get(pair, pair)
            found.append(inside if in_class else outside)
            i += 2
            continue
        in_class = pair[0] == "[" or (in_class and pair[0] != "]")
        found.append(pair[0])
        i += 1
    return "".join(found)


class _Expression:
    """A compiled expression and the functions that it calls."""

    def __init__(self, source: str) -> None:
        try:
            self._program = cel.compile(_ascii_classes(source))
            called = self._program.functions()
        except ValueError as error:
            raise BadRule(f"the rule {source!r} does not compile: {error}") from error
        self._functions = {name: _FUNCTIONS[name] for name in called if name in _FUNCTIONS}
        self.transition = "oldSelf" in self._program.variables()

    def __call__(self, values: dict[str, Any]) -> Any:
        """The value. Raises ValueError if the expression fails."""
        try:
            return self._program.execute(cel.Context(values, self._functions))
        except (RuntimeError, TypeError, KeyError, ValueError, IndexError, OverflowError) as error:
            raise ValueError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Unset:
    """No previous value."""


UNSET = Unset()


class Rule:
    """One rule; a transition rule, with `oldSelf`, applies to updates alone."""

    def __init__(self, rule: Mapping[str, Any], type_name: str) -> None:
        self.source: str = rule["rule"]
        self._expression = _Expression(self.source)
        worded = rule.get("messageExpression")
        self._worded = _Expression(worded) if worded else None
        self._message = str(rule.get("message") or f"failed rule: {self.source.strip()}")
        self._forbidden = rule.get("reason") == "FieldValueForbidden"
        self._field: str = rule.get("fieldPath") or ""
        self._type = type_name

    @property
    def transition(self) -> bool:
        """True if the rule compares with the previous value."""
        return self._expression.transition

    def check(self, path: str, value: Any, old: Any = UNSET, *, complete: bool = True) -> FieldProblem | None:
        """The problem of a value; None if the rule holds, or does not apply.

        `complete`: no field of the value is missing or has the wrong type; otherwise a rule that fails is no problem.
        """
        if self.transition and isinstance(old, Unset):
            return None
        values = {"self": value} | ({"oldSelf": old} if self.transition else {})
        at = (path + self._field).lstrip(".")
        try:
            if self._expression(values) is True:
                return None
        except ValueError as error:
            if not complete:
                return None
            return invalid_value(at, self._shown(value), f"{self._message} (the rule failed: {error})")
        message = self._message_for(values)
        if self._forbidden:
            return FieldProblem(at, "FieldValueForbidden", f"Forbidden: {message}", message)
        return invalid_value(at, self._shown(value), message)

    def _shown(self, value: Any) -> str:
        """The value in a message; the type of an object or a list."""
        return shown(self._type if isinstance(value, dict | list) else value)

    def _message_for(self, values: dict[str, Any]) -> str:
        if self._worded is None:
            return self._message
        try:
            text = self._worded(values)
        except ValueError:
            return self._message
        usable = isinstance(text, str) and text.strip() and len(text) <= _MESSAGES and "\n" not in text
        return str(text) if usable else self._message
