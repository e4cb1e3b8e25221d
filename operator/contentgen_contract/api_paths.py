"""Paths of Kubernetes API requests, built from parts that are validated one by one. Pure.

HTTP clients resolve `..` and decode `%2e`, so a name from an owner reference or a status could select another object.
Only `api_path` returns an `ApiPath`, and the type checker rejects any other text as a path.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NewType
from urllib.parse import quote, urlencode

from contentgen_contract.names import API_VERSION, FINAL_PHASES, Kind
from contentgen_contract.resources.content_budget import BUDGET_KIND, BUDGET_PLURAL
from contentgen_contract.resources.operator_class import CLASS_KIND, CLASS_PLURAL

ApiPath = NewType("ApiPath", str)
"""Path and query of a request, percent-encoded."""
Query = Mapping[str, str | int]

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SUBDOMAIN_LENGTH = 253
_SELECTOR_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")


class InvalidName(Exception):
    """A namespace, name or value that Kubernetes does not allow, so no such object exists."""

    def __init__(self, part: str, given: object) -> None:
        shown = ascii(given)
        super().__init__(f"{shown[:100]}{'…' if len(shown) > 100 else ''} is no valid {part}")
        self.part = part


@dataclass(frozen=True, slots=True)
class ApiResource:
    """A collection of the API server; `kind` is the kind of its objects."""

    api_version: str
    plural: str
    kind: str
    namespaced: bool = True
    subresources: frozenset[str] = frozenset()


PODS = ApiResource("v1", "pods", "Pod", subresources=frozenset({"log", "portforward"}))
EVENTS = ApiResource("v1", "events", "Event")
SERVICE_ACCOUNTS = ApiResource("v1", "serviceaccounts", "ServiceAccount", subresources=frozenset({"token"}))
SERVICES = ApiResource("v1", "services", "Service")
SECRETS = ApiResource("v1", "secrets", "Secret")
RESOURCE_QUOTAS = ApiResource("v1", "resourcequotas", "ResourceQuota")
JOBS = ApiResource("batch/v1", "jobs", "Job")
DEPLOYMENTS = ApiResource("apps/v1", "deployments", "Deployment", subresources=frozenset({"scale"}))
LEASES = ApiResource("coordination.k8s.io/v1", "leases", "Lease")
ENDPOINT_SLICES = ApiResource("discovery.k8s.io/v1", "endpointslices", "EndpointSlice")
NAMESPACES = ApiResource("v1", "namespaces", "Namespace", namespaced=False)
TOKEN_REVIEWS = ApiResource("authentication.k8s.io/v1", "tokenreviews", "TokenReview", namespaced=False)
ACCESS_REVIEWS = ApiResource("authorization.k8s.io/v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False)
SELF_REVIEWS = ApiResource("authentication.k8s.io/v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False)
UNFINISHED = ",".join(f"status.phase!={phase.value}" for phase in FINAL_PHASES)
"""Field selector: resources whose last run is not over."""
OPERATOR_CLASSES = ApiResource(API_VERSION, CLASS_PLURAL, CLASS_KIND, namespaced=False)
CONTENT_BUDGETS = ApiResource(
    API_VERSION, BUDGET_PLURAL, BUDGET_KIND, namespaced=False, subresources=frozenset({"status"})
)
_BY_KIND = {
    kind: ApiResource(API_VERSION, kind.plural, kind.value, subresources=frozenset({"status"})) for kind in Kind
}
KNOWN = frozenset(
    {
        *(PODS, EVENTS, SECRETS, RESOURCE_QUOTAS, JOBS, DEPLOYMENTS, NAMESPACES, LEASES, TOKEN_REVIEWS, ACCESS_REVIEWS),
        *(ENDPOINT_SLICES, OPERATOR_CLASSES, CONTENT_BUDGETS, SELF_REVIEWS, SERVICE_ACCOUNTS, SERVICES),
        *_BY_KIND.values(),
    }
)
"""All collections that are requested; `api_path` rejects any other."""


def resource_of(kind: Kind) -> ApiResource:
    """Collection of one of our kinds."""
    return _BY_KIND[kind]


def api_path(
    resource: ApiResource,
    *,
    namespace: str | None = None,
    name: str | None = None,
    subresource: str | None = None,
    query: Query | None = None,
) -> ApiPath:
    """Path of a collection, an object or a subresource.

    `namespace` None: all namespaces, or a cluster-scoped resource. `name` None: the collection. Raises InvalidName,
    also for an empty string.
    """
    if resource not in KNOWN:
        raise InvalidName("resource", resource.plural)
    if namespace is not None and not resource.namespaced:
        raise InvalidName(f"namespace: {resource.plural} have none", namespace)
    if name is not None and namespace is None and resource.namespaced:
        raise InvalidName("namespace", namespace)
    if subresource is not None and (name is None or subresource not in resource.subresources):
        raise InvalidName(f"subresource of {resource.plural}", subresource)
    segments = [
        "api" if "/" not in resource.api_version else "apis",
        *resource.api_version.split("/"),
        *(["namespaces", checked_namespace(namespace)] if namespace is not None else []),
        resource.plural,
        *([checked_name(name)] if name is not None else []),
        *([subresource] if subresource is not None else []),
    ]
    path = "/" + "/".join(quote(segment, safe="") for segment in segments)
    return ApiPath(path + (f"?{_encoded(query)}" if query else ""))


def checked_namespace(given: object) -> str:
    """The namespace, if it is a DNS-1123 label. Raises InvalidName."""
    if not isinstance(given, str) or not _LABEL.fullmatch(given):
        raise InvalidName("namespace", given)
    return given


def checked_name(given: object) -> str:
    """The object name, if it is a DNS-1123 subdomain. Raises InvalidName."""
    if not isinstance(given, str) or len(given) > _SUBDOMAIN_LENGTH or not _SUBDOMAIN.fullmatch(given):
        raise InvalidName("name", given)
    return given


def equals(key: str, value: object) -> str:
    """Field or label selector of one term. Raises InvalidName for a value that could add a term."""
    if not isinstance(value, str) or not _SELECTOR_VALUE.fullmatch(value):
        raise InvalidName(f"value of {key}", value)
    return f"{key}={value}"


def _encoded(query: Query) -> str:
    try:
        return urlencode(query, quote_via=quote, safe="")
    except UnicodeEncodeError:
        raise InvalidName("query", query) from None
