"""Fields that the API server sets in objects of built-in types, and the few that it requires."""

import base64
import binascii
from typing import Any

from contentgen_try.api_server.refusals import FieldProblem, invalid_value, required, shown
from contentgen_try.api_server.schemas.resource_types import CONFIG_MAPS, JOBS, NAMESPACES, PODS, SECRETS, ResourceType

Body = dict[str, Any]
_JOB = {"parallelism": 1, "completions": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": False}
_POD = {"restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst"}


def with_defaults(kind: ResourceType, body: Body) -> Body:
    """A new object of a built-in type with its defaults; its metadata is complete."""
    if kind is JOBS:
        return _job(body)
    if kind is PODS:
        return {**body, "spec": _POD | {"serviceAccountName": "default"} | body["spec"], "status": {"phase": "Pending"}}
    if kind is NAMESPACES:
        labels = {"kubernetes.io/metadata.name": body["metadata"]["name"]}
        metadata = body["metadata"] | {"labels": (body["metadata"].get("labels") or {}) | labels}
        return {**body, "metadata": metadata, "spec": {"finalizers": ["kubernetes"]}, "status": {"phase": "Active"}}
    return normalized(kind, {"type": "Opaque", **body} if kind is SECRETS else body)


def normalized(kind: ResourceType, body: Body) -> Body:
    """An object of a built-in type as it is stored: the texts of a Secret become data."""
    texts = body.get("stringData")
    if kind is not SECRETS or texts is None:
        return body
    data = {name: base64.b64encode(text.encode()).decode() for name, text in texts.items()}
    whole = {name: value for name, value in body.items() if name != "stringData"}
    return whole | {"data": (body.get("data") or {}) | data}


def _job(body: Body) -> Body:
    """A Job with the selector and the labels of its pods that Kubernetes generates."""
    uid, name = body["metadata"]["uid"], body["metadata"]["name"]
    spec = _JOB | body["spec"]
    template = spec["template"]
    metadata = dict(template.get("metadata") or {})
    own = {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }
    metadata["labels"] = (metadata.get("labels") or {}) | own
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    spec["template"] = {**template, "metadata": metadata, "spec": _POD | template["spec"]}
    return {**body, "spec": spec}


def problems(kind: ResourceType, body: Body) -> list[FieldProblem]:
    """Fields of a built-in type that have the wrong type or are missing, of those that this server reads."""
    found = [
        path for path in ("spec", "status", "spec.template", "spec.template.metadata") if not _is_object(body, path)
    ]
    wrong = [invalid_value(path, "null", "must be an object") for path in found]
    if kind in (SECRETS, CONFIG_MAPS):
        wrong += _wrong_data(kind, body)
    if wrong or kind not in (JOBS, PODS):
        return wrong
    spec = "spec.template.spec" if kind is JOBS else "spec"
    containers, grace = _at(body, f"{spec}.containers"), _at(body, f"{spec}.terminationGracePeriodSeconds")
    good = isinstance(containers, list) and containers and all(isinstance(container, dict) for container in containers)
    wrong += [] if good else [required(f"{spec}.containers")]
    labels = _at(body, "spec.template.metadata.labels")
    if labels is not None and not isinstance(labels, dict):
        wrong.append(invalid_value("spec.template.metadata.labels", shown(labels), "must be an object"))
    if grace is not None and type(grace) is not int:
        wrong.append(invalid_value(f"{spec}.terminationGracePeriodSeconds", shown(grace), "must be a whole number"))
    return wrong


def _wrong_data(kind: ResourceType, body: Body) -> list[FieldProblem]:
    """Data of a Secret or a ConfigMap that is no text, or no base64 where that is needed."""
    found = []
    for field in ("data", "stringData", "binaryData"):
        texts = body.get(field)
        if texts is None:
            continue
        encoded = field == "binaryData" or (field == "data" and kind is SECRETS)
        if not isinstance(texts, dict):
            found.append(invalid_value(field, shown(texts), "must be an object"))
        elif any(not isinstance(text, str) or (encoded and not _is_base64(text)) for text in texts.values()):
            detail = "must have values in base64" if encoded else "must have texts as values"
            found.append(FieldProblem(field, "FieldValueInvalid", f"Invalid value: {detail}"))
    return found


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _is_object(body: Body, path: str) -> bool:
    value = _at(body, path)
    return value is None or isinstance(value, dict)


def _at(body: Any, path: str) -> Any:
    """The value at a path; None if there is none."""
    for part in path.split("."):
        body = body.get(part) if isinstance(body, dict) else None
    return body
