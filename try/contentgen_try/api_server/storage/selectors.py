"""Label and field selectors of lists and watches. Pure."""

import re
from collections.abc import Callable
from typing import Any

from contentgen_try.api_server.refusals import Refusal
from contentgen_try.api_server.schemas.resource_types import ResourceType

Body = dict[str, Any]
Selector = Callable[[Body], bool]
_SET = re.compile(r"\s*(?P<key>[\w./-]+)\s+(?P<how>in|notin)\s*\((?P<values>[^()]*)\)\s*")
_EQUAL = re.compile(r"\s*(?P<key>[\w./-]+)\s*(?P<how>==|!=|=)\s*(?P<value>[\w.-]*)\s*")
_EXISTS = re.compile(r"\s*(?P<no>!?)\s*(?P<key>[\w./-]+)\s*")
_FIELDS = (".metadata.name", ".metadata.namespace")


def selector(kind: ResourceType, labels: str, fields: str) -> Selector:
    """Objects that match both selectors. Raises Refusal 400."""
    terms = [*_label_terms(labels), *_field_terms(kind, fields)]
    return lambda body: all(term(body) for term in terms)


def field(body: Any, path: str) -> Any:
    """The value at a path such as `.metadata.name`; None if there is none."""
    for part in path.strip(".").split("."):
        body = body.get(part) if isinstance(body, dict) else None
    return body


def _split(text: str) -> list[str]:
    """Terms at commas that are not in parentheses."""
    return [each_text for each_text in re.split(r",(?![^()]*\))", text) if each_text.strip()]


def _label_terms(text: str) -> list[Selector]:
    found = []
    for term in _split(text):
        if match := _SET.fullmatch(term):
            values = frozenset(each.strip() for each in match["values"].split(","))
            found.append(_in(match["key"], values, negated=match["how"] == "notin"))
        elif match := _EQUAL.fullmatch(term):
            found.append(_in(match["key"], frozenset({match["value"]}), negated=match["how"] == "!="))
        elif match := _EXISTS.fullmatch(term):
            found.append(_exists(match["key"], negated=bool(match["no"])))
        else:
            raise Refusal(400, f"unable to parse requirement: {term!r} is no label selector")
    return found


def _labels(body: Body) -> Body:
    return body["metadata"].get("labels") or {}


def _in(key: str, values: frozenset[str], *, negated: bool) -> Selector:
    return lambda body: (_labels(body).get(key) in values) != negated


def _exists(key: str, *, negated: bool) -> Selector:
    return lambda body: (key in _labels(body)) != negated


def _field_terms(kind: ResourceType, text: str) -> list[Selector]:
    found = []
    for term in _split(text):
        key, sign, value = term.partition("=")
        path = f".{key.rstrip('!=').strip()}"
        known = (*_FIELDS, *kind.selectable)
        if not sign or path not in known:
            raise Refusal(400, f'Unable to find "{kind.api_version}, Resource={kind.plural}" that match label selector '
                               f'"", field selector "{text}": field label not supported: {path[1:]}')  # fmt: skip
        found.append(_equals(path, value.lstrip("=").strip(), negated=key.endswith("!")))
    return found


def _equals(path: str, value: str, *, negated: bool) -> Selector:
    def matches(body: Body) -> bool:
        there = field(body, path)
        text = "" if there is None else str(there)  # no selectable field is a boolean
        return (text == value) != negated

    return matches
