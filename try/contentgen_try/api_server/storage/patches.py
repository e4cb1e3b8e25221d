"""Patches: JSON merge patch (RFC 7396), JSON patch (RFC 6902), strategic merge patch of built-in types. Pure."""

import copy
from typing import Any

import jsonpatch

from contentgen_try.api_server.refusals import Refusal

Body = dict[str, Any]
MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = ("application/apply-patch+yaml", "application/apply-patch+json")
_MOST_OPERATIONS = 10_000
_KEYS = {
    "ownerReferences": "uid",
    "conditions": "type",
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "ports": "containerPort",
    "imagePullSecrets": "name",
    "secrets": "name",
}
"""Merge key of the lists that a strategic merge patch merges; other lists are replaced."""


def apply_patch(body: Body, patch: Any, content_type: str, *, built_in: bool) -> Body:
    """The patched object; the given one is not changed. Raises Refusal.

    A server-side apply is merged: fields that a manager no longer has stay, because managers are not recorded.
    """
    if content_type == JSON:
        return _json_patched(body, patch)
    if not isinstance(patch, dict):
        raise Refusal(400, "the patch must be a JSON object")
    if content_type == MERGE or content_type in APPLY:
        merged: Body = merge(body, patch)
        return merged
    if content_type == STRATEGIC and built_in:
        return _strategic(body, patch)
    raise Refusal(
        415,
        f"the body of the request was in an unknown format - accepted media types include: {JSON}, {MERGE}"
        + f", {STRATEGIC}" * built_in,
    )


def merge(value: Any, patch: Any) -> Any:
    """The value after a JSON merge patch."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(value) if isinstance(value, dict) else {}
    for key, each in patch.items():
        if each is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), each)
    return result


def _json_patched(body: Body, patch: Any) -> Body:
    if not isinstance(patch, list) or len(patch) > _MOST_OPERATIONS:
        raise Refusal(400, "the patch must be a JSON array of operations")
    try:
        patched = jsonpatch.apply_patch(body, patch)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
        raise Refusal(422, f"the server rejected our request due to an error in our request: {error}") from error
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise Refusal(400, f"the patch has an invalid operation: {error}") from error
    if not isinstance(patched, dict):
        raise Refusal(422, "the patch leaves no object")
    return patched


def _strategic(value: Any, patch: Body) -> Body:
    if patch.get("$patch") == "delete":
        return {}
    result = {} if patch.get("$patch") == "replace" or not isinstance(value, dict) else dict(value)
    for key, each in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            result[name] = [item for item in result.get(name) or () if item not in each]
        elif key.startswith("$"):
            continue
        elif each is None:
            result.pop(key, None)
        elif isinstance(each, dict):
            result[key] = _strategic(result.get(key), each)
        elif isinstance(each, list):
            result[key] = _strategic_list(key, result.get(key), each)
        else:
            result[key] = each
    return result


def _strategic_list(name: str, old: Any, patch: list[Any]) -> list[Any]:
    before = list(old) if isinstance(old, list) else []
    if name == "finalizers":
        return before + [operation for operation in patch if operation not in before]
    key = _KEYS.get(name)
    if key is None or not all(isinstance(each, dict) for each in (*before, *patch)):
        return [copy.deepcopy(operation) for operation in patch]
    for operation in patch:
        found = next((i for i, item in enumerate(before) if item.get(key) == operation.get(key)), None)
        if operation.get("$patch") == "delete":
            before = [item for i, item in enumerate(before) if i != found]
        elif found is None:
            before.append(_strategic(None, operation))
        else:
            before[found] = _strategic(before[found], operation)
    return before
