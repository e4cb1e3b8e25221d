"""Resource types that the server knows: built-in ones, and those of the CRDs in a folder."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from contentgen_try.api_server.schemas.rules import BadRule
from contentgen_try.api_server.schemas.structural import Schema

Body = dict[str, Any]
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times faster, where it is built
_READ = ("get", "list", "watch")
_WRITE = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class BadCrd(Exception):
    """A file of the CRDs' folder that cannot be served."""


@dataclass(frozen=True, slots=True)
class Column:
    """Column of `kubectl get`."""

    name: str
    path: str
    type: str = "string"
    priority: int = 0
    description: str = ""


@dataclass(frozen=True, eq=False)
class ResourceType:
    """A collection of the API. `schema` is that of a CRD; None: objects are stored as they are."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = _WRITE
    subresources: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    selectable: tuple[str, ...] = ()
    generations: bool = False
    persistent: bool = False
    schema: Schema | None = None
    openapi: Mapping[str, Any] = field(default_factory=dict)

    @property
    def api_version(self) -> str:
        """The apiVersion of its objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """The plural with its group, as in messages."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified_kind(self) -> str:
        """The kind with its group, as in messages."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def has_status(self) -> bool:
        """True if the status is written by a request of its own."""
        return "status" in self.subresources


_AGE = Column("Age", ".metadata.creationTimestamp", "date")
_PODS = (Column("Status", ".status.phase"), Column("Reason", ".status.reason"), _AGE)
_JOBS = (Column("Active", ".status.active", "integer"), Column("Succeeded", ".status.succeeded", "integer"), _AGE)
_EVENTS = (
    Column("Last Seen", ".lastTimestamp", "date"),
    Column("Type", ".type"),
    Column("Reason", ".reason"),
    Column("Object", ".involvedObject.name"),
    Column("Message", ".message"),
)
_INVOLVED = tuple(f".involvedObject.{each}" for each in ("kind", "namespace", "name", "uid", "apiVersion", "fieldPath"))


def _core(plural: str, kind: str, *short: str, **more: Any) -> ResourceType:
    return ResourceType("", "v1", plural, kind, short_names=short, **more)


NAMESPACES = _core(
    "namespaces", "Namespace", "ns", namespaced=False, subresources=("status",), persistent=True,
    columns=(Column("Status", ".status.phase"), _AGE), selectable=(".status.phase",),
)  # fmt: skip
PODS = _core(
    "pods", "Pod", "po", categories=("all",), subresources=("status", "log"), columns=_PODS,
    selectable=(".status.phase", ".spec.nodeName", ".spec.serviceAccountName", ".status.podIP"),
)  # fmt: skip
SECRETS = _core("secrets", "Secret", persistent=True, selectable=(".type",), columns=(Column("Type", ".type"), _AGE))
CONFIG_MAPS = _core("configmaps", "ConfigMap", "cm", persistent=True)
SERVICE_ACCOUNTS = _core("serviceaccounts", "ServiceAccount", "sa", subresources=("token",))
EVENTS = _core(
    "events", "Event", "ev", columns=_EVENTS, selectable=(*_INVOLVED, ".reason", ".type", ".source.component")
)
JOBS = ResourceType(
    "batch", "v1", "jobs", "Job", categories=("all",), subresources=("status",), columns=_JOBS, generations=True,
    selectable=(".status.successful",),
)  # fmt: skip
CRDS = ResourceType(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False,
    short_names=("crd", "crds"), verbs=_READ,
)  # fmt: skip
BUILT_IN = (
    NAMESPACES,
    PODS,
    SECRETS,
    CONFIG_MAPS,
    SERVICE_ACCOUNTS,
    EVENTS,
    _core("nodes", "Node", "no", namespaced=False, subresources=("status",)),
    _core("services", "Service", "svc"),
    _core("resourcequotas", "ResourceQuota", "quota", subresources=("status",)),
    _core("limitranges", "LimitRange", "limits"),
    JOBS,
    ResourceType("apps", "v1", "deployments", "Deployment", short_names=("deploy",), subresources=("status",),
                 generations=True),
    ResourceType("coordination.k8s.io", "v1", "leases", "Lease",
                 columns=(Column("Holder", ".spec.holderIdentity"), _AGE)),
    ResourceType("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    CRDS,
)  # fmt: skip


def load_crds(folder: Path) -> tuple[list[Body], list[ResourceType]]:
    """The CRDs in a folder and the types that they define. Raises BadCrd."""
    found = []
    for path in sorted((*folder.glob("*.yaml"), *folder.glob("*.yml"))):
        try:
            found += [(path.name, body) for body in yaml.load_all(path.read_text(), Loader=_LOADER) if body]
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise BadCrd(f"{path} cannot be read: {error}") from error
    crds = [body for _, body in found if isinstance(body, dict) and body.get("kind") == CRDS.kind]
    if not crds:
        raise BadCrd(f"{folder} has no file with a CustomResourceDefinition")
    types: list[ResourceType] = []
    for crd in crds:
        try:
            types += _types_of(crd["spec"])
        except BadRule as error:
            raise BadCrd(f"{crd['metadata']['name']}: {error}") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise BadCrd(f"a CustomResourceDefinition in {folder} is incomplete: {error!r}") from error
    return crds, types


def _types_of(spec: Body) -> Iterable[ResourceType]:
    names = spec["names"]
    for version in spec["versions"]:
        if not version.get("served"):
            continue
        schema = version["schema"]["openAPIV3Schema"]
        columns = tuple(
            Column(
                column["name"],
                column["jsonPath"],
                column["type"],
                column.get("priority", 0),
                column.get("description", ""),
            )
            for column in version.get("additionalPrinterColumns") or ()
        )
        yield ResourceType(
            group=spec["group"],
            version=version["name"],
            plural=names["plural"],
            kind=names["kind"],
            namespaced=spec["scope"] == "Namespaced",
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            subresources=tuple(version.get("subresources") or ()),
            columns=columns or (_AGE,),
            selectable=tuple(each_field["jsonPath"] for each_field in version.get("selectableFields") or ()),
            generations=True,
            persistent=True,
            schema=Schema(schema),
            openapi=schema,
        )


class Registry:
    """Types by group, version and plural."""

    def __init__(self, types: Iterable[ResourceType]) -> None:
        self.types = tuple(types)
        self._by_path = {
            (resource_type.group, resource_type.version, resource_type.plural): resource_type
            for resource_type in self.types
        }
        self._by_kind = {(resource_type.api_version, resource_type.kind): resource_type for resource_type in self.types}

    def get(self, group: str, version: str, plural: str) -> ResourceType | None:
        """The type at a path; None if there is none."""
        return self._by_path.get((group, version, plural))

    def of_kind(self, api_version: str, kind: str) -> ResourceType | None:
        """The type of an object; None if there is none."""
        return self._by_kind.get((api_version, kind))

    def groups(self) -> dict[str, list[str]]:
        """Versions by group; the core group is not among them."""
        found: dict[str, list[str]] = {}
        for resource_type in self.types:
            if resource_type.group and resource_type.version not in found.setdefault(resource_type.group, []):
                found[resource_type.group].append(resource_type.version)
        return found
