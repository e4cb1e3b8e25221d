"""Paths of requests to resources. Pure."""

from contentgen_try.api_server.refusals import unknown_path
from contentgen_try.api_server.schemas.resource_types import NAMESPACES, Registry
from contentgen_try.api_server.storage.objects import Place


def place_of(registry: Registry, path: str) -> Place:
    """Resource type and target of a path. Raises Refusal 404."""
    match path.strip("/").split("/"):
        case ["api", version, *rest]:
            group = ""
        case ["apis", group, version, *rest]:
            pass
        case _:
            raise unknown_path()
    namespace = ""
    if rest[:1] == [NAMESPACES.plural] and len(rest) > 2 and rest[2] not in NAMESPACES.subresources:
        _, namespace, *rest = rest
    plural, name, subresource, *more = [*rest, "", "", ""][: max(len(rest), 3)]
    kind = registry.get(group, version, plural)
    if kind is None or more or (namespace and not kind.namespaced) or "" in rest:
        raise unknown_path()
    if (kind.namespaced and name and not namespace) or (subresource and subresource not in kind.subresources):
        raise unknown_path()
    return Place(kind, namespace, name, subresource)
