"""Metadata of objects: what a client may set, and what the server sets."""

import re
import secrets
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from contentgen_try.api_server.refusals import FieldProblem, Refusal, invalid_value, required
from contentgen_try.api_server.schemas.resource_types import NAMESPACES, ResourceType

Body = dict[str, Any]
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([a-z0-9][-a-z0-9.]{0,252}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_GENERATED = "bcdfghjklmnpqrstvwxz2456789"
_ANNOTATIONS = 256 * 1024  # bytes
_SET_BY_THE_SERVER = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation",
                      "resourceVersion", "selfLink", "managedFields")  # fmt: skip
_KEPT = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")
_FIELDS: Mapping[str, type] = {
    "name": str,
    "generateName": str,
    "namespace": str,
    "labels": dict,
    "annotations": dict,
    "finalizers": list,
    "ownerReferences": list,
    "uid": str,
    "resourceVersion": str,
    "creationTimestamp": str,
    "deletionTimestamp": str,
    "deletionGracePeriodSeconds": int,
    "generation": int,
    "selfLink": str,
    "managedFields": list,
}


def now() -> str:
    """The time as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def cleaned(given: Any) -> tuple[Body, list[str]]:
    """Known fields of metadata that are not null, and the paths of the others. Raises Refusal 400 for a wrong type."""
    if given is None:
        given = {}
    if not isinstance(given, dict):
        raise Refusal(400, "metadata must be an object")
    metadata: Body = {}
    for name, value in given.items():
        if value is None or name not in _FIELDS:
            continue
        if not isinstance(value, _FIELDS[name]) or not _is_plain(name, value):
            raise Refusal(400, f"metadata.{name} has an invalid type")
        metadata[name] = value
    for name in ("labels", "annotations", "finalizers", "ownerReferences"):
        if name in metadata and not metadata[name]:
            del metadata[name]
    return metadata, [f"metadata.{name}" for name in given if name not in _FIELDS]


def _is_plain(name: str, value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(each, str) for each in value.values())
    if name == "finalizers":
        return all(isinstance(element, str) for element in value)
    if name == "ownerReferences":
        return all(isinstance(element, dict) for element in value)
    return True


def of_new(kind: ResourceType, namespace: str, given: Body) -> Body:
    """Metadata of an object to create. Raises Refusal."""
    if given.get("resourceVersion"):
        raise Refusal(400, "resourceVersion should not be set on objects to be created")
    if given.get("namespace", namespace) != namespace:
        raise Refusal(400, "the namespace of the provided object does not match the namespace sent on the request")
    metadata = {name: value for name, value in given.items() if name not in _SET_BY_THE_SERVER}
    if not metadata.get("name") and (prefix := metadata.get("generateName")):
        metadata["name"] = prefix[:58] + "".join(secrets.choice(_GENERATED) for _ in range(5))
    if kind.namespaced:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)
    metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": now()}
    return metadata | ({"generation": 1} if kind.generations else {})


def of_changed(kind: ResourceType, old: Body, given: Body) -> Body:
    """Metadata of an object after a write to it. Raises Refusal 422."""
    metadata = {name: value for name, value in given.items() if name not in _SET_BY_THE_SERVER}
    metadata |= {name: old[name] for name in (*_KEPT, "name", "namespace", "resourceVersion") if name in old}
    if "deletionTimestamp" in old:
        new = set(metadata.get("finalizers") or ()) - set(old.get("finalizers") or ())
        if new:
            raise Refusal(
                422,
                f'{kind.qualified_kind} "{old["name"]}" is invalid: metadata.finalizers: Forbidden: no new finalizers '
                f"can be added if the object is being deleted, found new finalizers {sorted(new)}",
            )
    return metadata


def problems(kind: ResourceType, metadata: Body) -> list[FieldProblem]:
    """Invalid fields of metadata."""
    found: list[FieldProblem] = []
    name = metadata.get("name") or ""
    if not name:
        found.append(
            FieldProblem("metadata.name", "FieldValueRequired", "Required value: name or generateName is required")
        )
    elif not is_name(name) or (kind is NAMESPACES and not _LABEL.fullmatch(name)):
        shown = repr(name).replace("'", '"')
        detail = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
        expected = "must be lower case letters, digits, '-' or '.', and begin and end with a letter or digit"
        found.append(FieldProblem("metadata.name", "FieldValueInvalid", f"Invalid value: {shown}: {detail}", expected))
    for key, value in (metadata.get("labels") or {}).items():
        if not _QUALIFIED.fullmatch(key) or not _VALUE.fullmatch(value):
            found.append(invalid_value("metadata.labels", f'"{key}={value}"', "is no valid label"))
    annotations = metadata.get("annotations") or {}
    found += [
        invalid_value("metadata.annotations", f'"{key}"', "is no valid annotation key")
        for key in annotations
        if not _QUALIFIED.fullmatch(key.lower())
    ]
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > _ANNOTATIONS:
        found.append(
            FieldProblem("metadata.annotations", "FieldValueTooLong", "Too long: may not be more than 262144 bytes")
        )
    found += [
        invalid_value("metadata.finalizers", f'"{finalizer}"', "name part must consist of alphanumeric characters")
        for finalizer in metadata.get("finalizers") or ()
        if not _QUALIFIED.fullmatch(finalizer)
    ]
    for i, owner in enumerate(metadata.get("ownerReferences") or ()):
        found += [
            required(f"metadata.ownerReferences[{i}].{part}")
            for part in ("apiVersion", "kind", "name", "uid")
            if not isinstance(owner.get(part), str) or not owner[part]
        ]
    return found


def is_name(name: str) -> bool:
    """True for a DNS-1123 subdomain."""
    return len(name) <= 253 and _SUBDOMAIN.fullmatch(name) is not None
