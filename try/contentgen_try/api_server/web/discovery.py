"""Discovery documents, and the OpenAPI documents by which kubectl validates and explains. Pure."""

from typing import Any

from contentgen_try.api_server.schemas.resource_types import Registry, ResourceType

Body = dict[str, Any]
VERSION = {
    "major": "1",
    "minor": "35",
    "gitVersion": "v1.35.0+contentgen-try",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
REVIEWS = {
    ("authentication.k8s.io", "tokenreviews"): "TokenReview",
    ("authentication.k8s.io", "selfsubjectreviews"): "SelfSubjectReview",
    ("authorization.k8s.io", "subjectaccessreviews"): "SubjectAccessReview",
    ("authorization.k8s.io", "selfsubjectaccessreviews"): "SelfSubjectAccessReview",
    ("authorization.k8s.io", "selfsubjectrulesreviews"): "SelfSubjectRulesReview",
}
"""Kinds that are created and never stored, by group and plural; all have the version v1."""
_SUBRESOURCE_KINDS = {"token": ("authentication.k8s.io", "v1", "TokenRequest", ["create"])}
_OWN_VERBS = {"status": ["get", "patch", "update"], "log": ["get"]}


def api_versions(host: str) -> Body:
    """The document at /api."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}],
    }


def group_list(registry: Registry) -> Body:
    """The document at /apis."""
    groups = [{"name": name, **_versions(name, versions)} for name, versions in _groups(registry).items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(registry: Registry, name: str) -> Body | None:
    """The document of a group; None if there is none."""
    versions = _groups(registry).get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", "name": name, **_versions(name, versions)} if versions else None


def _groups(registry: Registry) -> dict[str, list[str]]:
    return {**registry.groups(), **{name: ["v1"] for name, _ in REVIEWS}}


def _versions(name: str, versions: list[str]) -> Body:
    found = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"versions": found, "preferredVersion": found[0]}


def resource_list(registry: Registry, group_name: str, version: str) -> Body | None:
    """The document of a group's version; None if there is none."""
    if version not in (["v1"] if not group_name else _groups(registry).get(group_name, ())):
        return None
    resources: list[Body] = []
    for resource_type in registry.types:
        if (resource_type.group, resource_type.version) == (group_name, version):
            resources += _described(resource_type)
    for (review_group, plural), kind in REVIEWS.items():
        if review_group == group_name:
            resources.append(
                {"name": plural, "singularName": kind.lower(), "namespaced": False, "kind": kind, "verbs": ["create"]}
            )
    whole = f"{group_name}/{version}" if group_name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": whole, "resources": resources}


def _described(kind: ResourceType) -> list[Body]:
    own: Body = {
        "name": kind.plural,
        "singularName": kind.kind.lower(),
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    own |= {"shortNames": list(kind.short_names)} if kind.short_names else {}
    own |= {"categories": list(kind.categories)} if kind.categories else {}
    found = [own]
    for name in kind.subresources:
        about: Body = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced}
        if name in _SUBRESOURCE_KINDS:
            group_name, version, kind_name, verbs = _SUBRESOURCE_KINDS[name]
            about |= {"group": group_name, "version": version, "kind": kind_name, "verbs": verbs}
        else:
            about |= {"kind": kind.kind, "verbs": _OWN_VERBS[name]}
        found.append(about)
    return found


def openapi_index(registry: Registry) -> Body:
    """The document at /openapi/v3."""
    versions = {(resource_type.group, resource_type.version) for resource_type in registry.types}
    paths = {
        _path(*version).lstrip("/"): {"serverRelativeURL": f"/openapi/v3{_path(*version)}"}
        for version in sorted(versions)
    }
    return {"paths": paths}


def openapi(registry: Registry, group_name: str, version: str) -> Body | None:
    """The OpenAPI document of a group's version; None if there is none.

    kubectl reads two things from it: whether a PATCH takes `fieldValidation`, and what `kubectl explain` prints.
    """
    types = [
        resource_type
        for resource_type in registry.types
        if (resource_type.group, resource_type.version) == (group_name, version)
    ]
    if not types:
        return None
    schemas = {_schema_name(resource_type): _schema(resource_type) for resource_type in types}
    paths = {
        f"{_path(group_name, version)}{_object_path(resource_type)}": _operations(resource_type)
        for resource_type in types
    }
    info = {"title": "contentgen try", "version": VERSION["gitVersion"]}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def _path(group_name: str, version: str) -> str:
    return f"/apis/{group_name}/{version}" if group_name else f"/api/{version}"


def _object_path(kind: ResourceType) -> str:
    return f"{'/namespaces/{namespace}' if kind.namespaced else ''}/{kind.plural}/{{name}}"


def _schema_name(kind: ResourceType) -> str:
    return ".".join([*reversed(kind.group.split(".")), kind.version, kind.kind]).lstrip(".")


def _gvk(kind: ResourceType) -> Body:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _schema(kind: ResourceType) -> Body:
    shape = dict(kind.openapi) or {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {**shape, "x-kubernetes-group-version-kind": [_gvk(kind)]}


def _operations(kind: ResourceType) -> Body:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{_schema_name(kind)}"}}}
    answer = {"200": {"description": "OK", "content": content}}
    parameters = [
        {"name": name, "in": "query", "schema": {"type": "string"}}
        for name in ("dryRun", "fieldManager", "fieldValidation")
    ]
    about: Body = {"x-kubernetes-group-version-kind": _gvk(kind), "responses": answer}
    return {
        "get": {**about, "x-kubernetes-action": "get"},
        "patch": {**about, "x-kubernetes-action": "patch", "parameters": parameters},
    }
