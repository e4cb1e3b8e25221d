"""Checks of all documents of a run before the first is applied: one list of errors, by the rules of the API server."""

import copy
import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from contentgen_contract.names import API_VERSION
from contentgen_try.api_server.refusals import FieldProblem, Refusal, required, shown
from contentgen_try.api_server.schemas.resource_types import (
    CONFIG_MAPS,
    NAMESPACES,
    SECRETS,
    Registry,
    ResourceType,
    load_crds,
)
from contentgen_try.api_server.schemas.rules import UNSET
from contentgen_try.api_server.schemas.structural import Schema
from contentgen_try.api_server.storage import metadata
from contentgen_try.apply import DEFAULT_NAMESPACE, OURS, BadManifest, Document

Body = dict[str, Any]
Stored = Callable[[Document], Body | None]
_PART = re.compile(r"[^.\[\]]+|\[[^\]]*\]")
_SHOWN = 80  # characters of a value in a message
_MISSING = object()
_KINDS = f"must be {', '.join(sorted(OURS))} of {API_VERSION}, or Namespace, Secret or ConfigMap of v1"


class Checks:
    """Checks by the CRDs in a folder. Raises BadCrd."""

    def __init__(self, crds: Path) -> None:
        _, types = load_crds(crds)
        core = (NAMESPACES, SECRETS, CONFIG_MAPS)
        self._types = Registry([*core, *(resource_type for resource_type in types if resource_type.kind in OURS)])

    def require_names(self, documents: Sequence[Document]) -> None:
        """Raises BadManifest with every kind, name and namespace that is wrong."""
        _refuse_any(documents, (self._identity(document.body) for document in documents))

    def require(self, documents: Sequence[Document], stored: Stored | None = None) -> None:
        """Raises BadManifest with all errors of all documents.

        `stored` returns the object that a document would change, None if there is none: values that stay as they are
        count as valid.
        """
        _refuse_any(documents, (self._problems(document, stored) for document in documents))

    def _problems(self, document: Document, stored: Stored | None) -> list[FieldProblem]:
        found = self._identity(document.body)
        kind = self._type(document.body)
        if kind is None or kind.schema is None or not isinstance(document.body.get("metadata", {}), dict):
            return found
        old = stored(document) if stored is not None and not found else None
        whole = copy.deepcopy(document.body)
        whole.pop("status", None)
        _, unknown = metadata.cleaned(whole.get("metadata")) if not found else ({}, [])
        unknown += kind.schema.prune(whole)
        kind.schema.set_defaults(whole)
        found += [FieldProblem(path, "FieldValueForbidden", "", _no_such(kind.schema, path)) for path in unknown]
        return found + kind.schema.problems(whole, UNSET if old is None else old)

    def _type(self, body: Any) -> ResourceType | None:
        version, kind = (body.get("apiVersion"), body.get("kind")) if isinstance(body, dict) else (None, None)
        return self._types.of_kind(version, kind) if isinstance(version, str) and isinstance(kind, str) else None

    def _identity(self, body: Any) -> list[FieldProblem]:
        """Problems of the kind and of the metadata, which the paths of requests are made of."""
        if not isinstance(body, dict):
            return [_wrong("", "must be an object with apiVersion, kind and metadata")]
        if (kind := self._type(body)) is None:
            return [_wrong("kind" if body.get("kind") not in tuple(OURS) else "apiVersion", _KINDS)]
        try:
            own, _ = metadata.cleaned(body.get("metadata"))
        except Refusal as error:
            path, _, expected = error.message.partition(" ")
            return [_wrong(path, expected)]
        if "name" not in own:
            return [required("metadata.name")]
        namespace = {"name": own.get("namespace") or DEFAULT_NAMESPACE}
        wrong = [_wrong("metadata.namespace", problem.expected) for problem in metadata.problems(NAMESPACES, namespace)]
        return metadata.problems(kind, own) + (wrong if kind.namespaced else [])


def _wrong(path: str, expected: str) -> FieldProblem:
    return FieldProblem(path, "FieldValueInvalid", expected, expected)


def _refuse_any(documents: Sequence[Document], problems: Iterator[list[FieldProblem]]) -> None:
    lines = []
    for document, found in zip(documents, problems, strict=True):
        first = {each.path: each.expected for each in reversed(found)}  # a limit says what the rule beside it says
        for path in dict.fromkeys(each.path for each in found):
            expected = re.sub("^should", "must", first[path])
            lines.append(f"  {_title(document.body)}: {path or 'document'}: {_given(document.body, path)}: {expected}")
    if lines:
        files = ", ".join(dict.fromkeys(str(each_document.source) for each_document in documents))
        number = "1 error" if len(lines) == 1 else f"{len(lines)} errors"
        raise BadManifest("\n".join([f"{number} in {files}, nothing was applied:", *lines]))


def _title(body: Any) -> str:
    """Kind and name of a document, for a message."""
    kind, name = _find(body, "kind"), _find(body, "metadata.name")
    return f"{_word(kind, 'document')} {_word(name, 'without a name')}"


def _word(value: object, otherwise: str) -> str:
    return shown(value)[1:-1][:_SHOWN] if isinstance(value, str) and value else otherwise


def _given(body: Any, path: str) -> str:
    """The value at a path, as JSON."""
    value = _find(body, path)
    text = "missing" if value is _MISSING else shown(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _find(body: Any, path: str) -> Any:
    value = body
    for part in _PART.findall(path):
        name = part.strip("[]")
        if isinstance(value, dict) and name in value:
            value = value[name]
        elif isinstance(value, list) and name.isdecimal() and int(name) < len(value):
            value = value[int(name)]
        else:
            return _MISSING
    return value


def _no_such(schema: Schema, path: str) -> str:
    """Message for an unknown field: a field of nearly that name, or those that are there."""
    *parents, name = _PART.findall(path)
    inner: Schema | None = schema
    for part in parents:
        if inner is not None:
            inner = inner.items if part.startswith("[") else inner.properties.get(part) or inner.values
    names = sorted(inner.properties) if inner is not None else []
    near = difflib.get_close_matches(name, names, n=1)
    if near:
        return f"no such field; {near[0]} is one"
    return f"no such field; there are {', '.join(names)}" if names else "no such field"
