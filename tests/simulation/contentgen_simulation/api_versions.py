"""A trial of a second API version, for docs/api-versions.md: CRDs with both versions, and their conversion. Pure.

The product has v1alpha1 only. This v1beta1 is an example of the most that the policy permits: fields that move, in spec
and status. `review` is what a conversion webhook answers; the API server calls it for each read and write in a version
other than the stored one.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from contentgen_contract.names import GROUP, VERSION, Kind
from crds import crd

Body = dict[str, Any]
FieldPath = tuple[str, ...]

V1BETA1 = "v1beta1"
MOVES: Mapping[FieldPath, FieldPath] = {
    ("spec", "paidAttempts"): ("spec", "runPolicy", "paidAttempts"),
    ("spec", "suspend"): ("spec", "runPolicy", "suspend"),
    ("spec", "deadlineSeconds"): ("spec", "runPolicy", "deadlineSeconds"),
    ("spec", "collectDeadlineSeconds"): ("spec", "runPolicy", "collectDeadlineSeconds"),
    ("status", "estimatedCompletionTime"): ("status", "eta"),
}
"""Fields of v1alpha1 and their places in v1beta1. All other fields are the same in both."""

_CONTAINERS = (("spec", "runPolicy"),)  # objects of v1beta1 that contain nothing but moved fields


class UnknownVersion(Exception):
    """A version or kind that has no conversion."""


def converted(resource: Body, version: str) -> Body:
    """The resource in another version. Raises UnknownVersion."""
    group, _, present = str(resource.get("apiVersion")).partition("/")
    if group != GROUP or {present, version} - {VERSION, V1BETA1}:
        raise UnknownVersion(f"{resource.get('apiVersion')} cannot be converted to {version}")
    result = copy.deepcopy(resource) | {"apiVersion": f"{GROUP}/{version}"}
    if version != present:
        for before, after in MOVES.items():
            _move(result, *((before, after) if version == V1BETA1 else (after, before)))
        for *parents, last in _CONTAINERS:
            if (parent := _at(result, parents)) is not None and parent.get(last) == {}:
                del parent[last]
    return result


def _at(value: Any, path: Sequence[str], *, create: bool = False) -> Body | None:
    """The object at a path; None where there is none."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.setdefault(key, {}) if create else value.get(key)
    return value if isinstance(value, dict) else None


def _move(resource: Body, source: FieldPath, target: FieldPath) -> None:
    parent = _at(resource, source[:-1])
    if parent is None or source[-1] not in parent:
        return
    value = parent.pop(source[-1])
    into = _at(resource, target[:-1], create=True)
    if into is None:
        raise UnknownVersion(f"{'.'.join(target[:-1])} is no object")
    into[target[-1]] = value


def review(request: Body) -> Body:
    """The ConversionReview with a response: all objects converted in their order, or a failure with its message."""
    asked = request["request"]
    version = asked["desiredAPIVersion"].rpartition("/")[2]
    try:
        objects = [converted(stored_object, version) for stored_object in asked["objects"]]
    except UnknownVersion as error:
        result, objects = {"status": "Failed", "message": str(error)}, []
    else:
        result = {"status": "Success"}
    response = {"uid": asked["uid"], "result": result, "convertedObjects": objects}
    return {"apiVersion": request["apiVersion"], "kind": "ConversionReview", "response": response}


def both_versions(kind: Kind, *, stored: str = VERSION, webhook: Body | None = None) -> Body:
    """The CRD with both versions, one of them stored.

    `webhook`: its clientConfig. None: the strategy None, by which the API server changes `apiVersion` alone; the two
    schemas are equal.
    """
    definition = crd(kind)
    (alpha,) = definition["spec"]["versions"]
    beta = copy.deepcopy(alpha) | {"name": V1BETA1}
    if webhook is not None:
        _move_schema(beta["schema"]["openAPIV3Schema"])
        for key in ("additionalPrinterColumns", "selectableFields"):
            beta[key] = [each | {"jsonPath": _moved_path(each["jsonPath"])} for each in beta[key]]
        definition["spec"]["conversion"] = {
            "strategy": "Webhook",
            "webhook": {"clientConfig": webhook, "conversionReviewVersions": ["v1"]},
        }
    else:
        definition["spec"]["conversion"] = {"strategy": "None"}
    definition["spec"]["versions"] = [each | {"storage": each["name"] == stored} for each in (alpha, beta)]
    return definition


def _move_schema(schema: Body) -> None:
    """Move fields of a schema from their places in v1alpha1 to those in v1beta1."""
    for before, after in MOVES.items():
        field = _properties(schema, before[:-1]).pop(before[-1])
        _properties(schema, after[:-1])[after[-1]] = field


def _properties(schema: Body, path: Sequence[str]) -> Body:
    """The properties of the object at a path of a schema; a container of moved fields is created."""
    for key in path:
        # Defaults below an absent object need a default of the object. An empty one would not survive v1alpha1.
        new = {"type": "object", "description": "How a run is paid and limited.", "default": {}, "minProperties": 1}
        schema = schema["properties"].setdefault(key, new | {"properties": {}})
    properties: Body = schema["properties"]
    return properties


def _moved_path(json_path: str) -> str:
    """A JSON path of v1alpha1 in v1beta1."""
    path = tuple(json_path.removeprefix(".").split("."))
    return "." + ".".join(MOVES.get(path, path))
