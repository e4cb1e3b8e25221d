"""Client of the API server, with JSON objects.

This module and `forwarding` import the Kubernetes client inside of functions: the import takes longer than `--help`
should.
"""

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from contentgen_cli import forwarding
from contentgen_cli.errors import ApiUnreachable, CliError, NotPermitted, ResourceChanged, ResourceNotFound, Waiting
from contentgen_cli.item import Item
from contentgen_cli.target import ResourceName
from contentgen_contract.api_paths import (
    EVENTS,
    JOBS,
    OPERATOR_CLASSES,
    PODS,
    SELF_REVIEWS,
    SERVICE_ACCOUNTS,
    SERVICES,
    ApiPath,
    ApiResource,
    InvalidName,
    Query,
    api_path,
    equals,
    resource_of,
)
from contentgen_contract.names import GATEWAY_AUDIENCE, UID_LABEL, Kind

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Body = dict[str, Any]
_TIMEOUT = (10, 60)  # seconds to connect, and between two reads
_BODY_TYPES = {"PATCH": "application/merge-patch+json", "POST": "application/json"}
_CONTAINER = "worker"
_ADVICE = "request the permission, or use another namespace (-n)"
_FORWARD_SECONDS = 30.0  # to connect, and between two reads
_TOKEN_SECONDS = 600  # the shortest lifetime that Kubernetes gives


@dataclass(frozen=True)
class ClusterFlags:
    """Cluster and namespace, from flags as kubectl has them."""

    kubeconfig: str | None = None
    context: str | None = None
    namespace: str | None = None
    user: str | None = None  # to impersonate

    def flags(self, namespace: str, default: str) -> str:
        """Flags for a suggested command, so that it uses the same cluster and namespace."""
        given = {"--kubeconfig": self.kubeconfig, "--context": self.context, "--as": self.user}
        words = [f" {flag} {value}" for flag, value in given.items() if value]
        return "".join(words) + (f" -n {namespace}" if namespace != default else "")


class ClusterClient:
    """Connection to the API server; a context manager."""

    def __init__(
        self, flags: ClusterFlags, client: "ApiClient", default_namespace: str, *, advice: str = _ADVICE
    ) -> None:
        self._client = client
        self._advice = advice  # for a missing permission
        self._flags = flags
        self._default_namespace = default_namespace
        self.namespace = flags.namespace or default_namespace

    def __enter__(self) -> "ClusterClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def command(self, words: str, namespace: str) -> str:
        """A kubectl command for the user, with the flags that it needs."""
        place = self._default_namespace if "--all-namespaces" in words else namespace
        return f"kubectl {words}{self._flags.flags(place, self._default_namespace)}"

    # --- our resources

    def get(self, kind: Kind, name: str) -> Item:
        """A resource by kind and name. Raises ResourceNotFound."""
        path = _path(resource_of(kind), self.namespace, name)
        return Item.parse(kind, self._json("GET", path, f"{kind.value} {name}"))

    def find(self, wanted: ResourceName) -> Item:
        """The resource of a name, of any kind if none is given. Raises CliError if there is none, or several."""
        if wanted.kind is not None:
            return self.get(wanted.kind, wanted.name)
        found = [item for kind in Kind if (item := self._get_or_none(kind, wanted.name)) is not None]
        match found:
            case [item]:
                return item
            case []:
                raise ResourceNotFound(
                    f"no resource named {wanted.name!r} in namespace {self.namespace!r}{self._near(wanted)}"
                )
            case _:
                names = " or ".join(item.reference for item in found)
                raise CliError(f"{wanted.name!r} is the name of {len(found)} resources in namespace "
                               f"{self.namespace!r}; give one of: {names}")  # fmt: skip

    def _get_or_none(self, kind: Kind, name: str) -> Item | None:
        try:
            return self.get(kind, name)
        except ResourceNotFound:
            return None

    def _near(self, wanted: ResourceName) -> str:
        """Suggestion of similar names; empty if there is none."""
        known = [item for kind in Kind for item in self.all_of(kind)]
        close = difflib.get_close_matches(wanted.name, [item.name for item in known], n=3)
        names = [item.reference for item in known if item.name in close]
        return f"; did you mean {' or '.join(names)}?" if names else ""

    def all_of(self, kind: Kind, *, everywhere: bool = False) -> list[Item]:
        """All resources of a kind, in the namespace or in all namespaces."""
        path = _path(resource_of(kind), None if everywhere else self.namespace)
        items = self._json("GET", path, f"{kind.plural} (all namespaces)" if everywhere else kind.plural)["items"]
        return [Item.parse(kind, body) for body in items]

    def patch(self, item: Item, change: Body) -> Item:
        """Apply a merge patch to the version that was read. Raises ResourceChanged if there is a newer one."""
        return Item.parse(item.kind, self._patch(item, change))

    def refusal(self, item: Item, change: Body) -> str:
        """Error of the API server for a change; empty if it is valid. A dry run."""
        try:
            self._patch(item, change, {"dryRun": "All"})
        except ApiUnreachable:
            raise
        except CliError as error:
            return str(error)
        return ""

    def _patch(self, item: Item, change: Body, query: Query | None = None) -> Body:
        meta = change.get("metadata", {}) | {"resourceVersion": item.resource_version}
        path = _path(resource_of(item.kind), item.namespace, item.name, query=query)
        return self._json("PATCH", path, item.reference, body=change | {"metadata": meta})

    def user_name(self) -> str:
        """Name of the user by which the API server knows this connection; empty if it gives none."""
        review = {"apiVersion": SELF_REVIEWS.api_version, "kind": SELF_REVIEWS.kind}
        found = self._json("POST", _path(SELF_REVIEWS, None), "the name of the user", body=review)
        return str(((found.get("status") or {}).get("userInfo") or {}).get("username") or "")

    def gateway_token(self) -> str:
        """New token of the namespace's service account `default` for the gateway, as `kubectl create token` makes it.

        Raises CliError.
        """
        path = _path(SERVICE_ACCOUNTS, self.namespace, "default", subresource="token")
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [GATEWAY_AUDIENCE], "expirationSeconds": _TOKEN_SECONDS},
        }
        found = self._json("POST", path, "a token of the service account default", body=body)
        return str((found.get("status") or {}).get("token") or "")

    # --- related objects

    def is_served(self, operator_class: str) -> bool | None:
        """True if an operator serves a class; None if the user may not read classes or the cluster has none."""
        try:
            self._json("GET", _path(OPERATOR_CLASSES, None, operator_class), f"OperatorClass {operator_class}")
        except ResourceNotFound:
            return False
        except ApiUnreachable:
            raise
        except CliError:
            return None
        return True

    def lora(self, name: str) -> Item | None:
        """A LoraTraining of the namespace; None if it does not exist."""
        return self._get_or_none(Kind.LORA_TRAINING, name)

    def events(self, uid: str) -> list[Body]:
        """Events of an object, oldest first."""
        found = self._selected(EVENTS, "fieldSelector", "involvedObject.uid", uid)
        return sorted(found, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))

    def jobs(self, uid: str) -> list[Body]:
        """Jobs of a resource, oldest first."""
        return self._labelled(JOBS, uid)

    def pods(self, uid: str) -> list[Body]:
        """Pods of a resource, oldest first."""
        return self._labelled(PODS, uid)

    def _labelled(self, resource: ApiResource, uid: str) -> list[Body]:
        found = self._selected(resource, "labelSelector", UID_LABEL, uid)
        return sorted(found, key=lambda body: str(body["metadata"]["creationTimestamp"]))

    def _selected(self, resource: ApiResource, selector: str, key: str, value: str) -> list[Body]:
        """Objects of the namespace that match a selector of one term."""
        try:
            return self._selected_by(selector, equals(key, value), resource)
        except InvalidName:
            return []

    def _selected_by(self, selector: str, terms: str, resource: ApiResource) -> list[Body]:
        path = _path(resource, self.namespace, query={selector: terms})
        found: list[Body] = self._json("GET", path, resource.plural)["items"]
        return found

    def log(self, pod: str, *, follow: bool) -> Iterator[str]:
        """Lines of a worker's log. Raises Waiting before its container starts, ResourceNotFound without its pod."""
        query = {"container": _CONTAINER} | ({"follow": "true"} if follow else {})
        path = _path(PODS, self.namespace, pod, subresource="log", query=query)
        timeout = (10, None) if follow else _TIMEOUT
        response = self._request("GET", path, f"the log of pod {pod}", timeout=timeout)
        rest = b""
        for chunk in response.response.stream(amt=1, decode_content=True) if follow else [response.read()]:
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
        if rest:
            yield rest.decode(errors="replace")

    # --- other namespaces

    def at(self, namespace: str, advice: str) -> "ClusterClient":
        """The same connection, for objects of another namespace; `advice` is for a missing permission."""
        flags = replace(self._flags, namespace=namespace)
        return ClusterClient(flags, self._client, self._default_namespace, advice=advice)

    def forward(self, service: str) -> forwarding.ForwardedSocket:
        """Connection to the first port of a Service, in a ready pod of it, through the API server. Raises CliError."""
        wanted = f"service {service}"
        found = self._json("GET", _path(SERVICES, self.namespace, service), wanted)
        chosen = forwarding.pod_port(found, self._pods_behind(found))
        if chosen is None:
            raise ApiUnreachable(f"{wanted} has no ready pod in namespace {self.namespace!r}")
        return self._forward(chosen)

    def _pods_behind(self, service: Body) -> list[Body]:
        """Pods of a Service's selector; none without one, which would select all."""
        terms = service["spec"].get("selector") or {}
        try:
            selector = ",".join(equals(key, value) for key, value in terms.items())
        except InvalidName:
            return []
        return self._selected_by("labelSelector", selector, PODS) if selector else []

    def _forward(self, target: forwarding.PodPort) -> forwarding.ForwardedSocket:
        from websocket import WebSocketBadStatusException, WebSocketException

        path = _path(PODS, self.namespace, target.pod, subresource="portforward", query={"ports": target.port})
        _, url, headers, *_ = self._client.param_serialize("GET", path, auth_settings=["BearerToken"])
        try:
            return forwarding.connect(url, headers, self._client.configuration, _FORWARD_SECONDS)
        except WebSocketBadStatusException as error:
            refusal = self._refusal(error.status_code, error.resp_body or b"", f"pod {target.pod}")
            raise refusal.error() from error
        except (WebSocketException, OSError) as error:
            raise ApiUnreachable(f"the port-forward to pod {target.pod} failed: {_cause(error)}") from error

    # --- HTTP

    def _json(self, method: str, path: ApiPath, what: str, body: Body | None = None) -> Body:
        response: Body = json.loads(self._request(method, path, what, body=body).read())
        return response

    def _request(
        self,
        method: str,
        path: ApiPath,
        what: str,
        *,
        body: Body | None = None,
        timeout: tuple[float, float | None] = _TIMEOUT,
    ) -> Any:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        headers = {"Accept": "application/json"} | ({"Content-Type": _BODY_TYPES[method]} if body else {})
        serialized = self._client.param_serialize(
            method,
            path,
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response: Any = self._client.call_api(*serialized, _request_timeout=timeout)
        except (HTTPError, ApiException, OSError) as error:
            host = self._client.configuration.host
            raise ApiUnreachable(f"the cluster at {host} does not respond: {_cause(error)}") from error
        if 200 <= response.status <= 299:
            return response
        raise self._refusal(response.status, response.read(), what).error()

    def _refusal(self, code: int, body: bytes, what: str) -> "_Refusal":
        return _Refusal(code, _message(body), what, self.namespace, self._advice)


@dataclass(frozen=True)
class _Refusal:
    """Error response of the API server."""

    code: int
    message: str
    what: str
    namespace: str
    advice: str

    def error(self) -> CliError:
        """The error, with advice."""
        if self.code == 404 and self.message:
            return ResourceNotFound(f"{self.what} was not found in namespace {self.namespace!r}")
        if self.code == 400 and "waiting to start" in self.message:
            return Waiting(self.message)
        if self.code == 403:
            detail = self.message or self.what
            return NotPermitted(f"permission denied: {detail}; {self.advice}")
        if self.code == 409:
            return ResourceChanged(f"{self.what} was changed concurrently: check it and try again")
        return CliError(self._text())

    def _text(self) -> str:
        match self.code:
            case 401:
                return "the cluster rejects your credentials: log in again, or use another --context"
            case 404:  # without a message: the path does not exist
                return (
                    "the CRDs of contentgen are not installed in this cluster: install the chart (charts/contentgen), "
                    "or use another --context"
                )
            case _:
                return f"{self.what}: the API server returned {self.code} {self.message}".rstrip()


def _message(body: bytes) -> str:
    """Message of a Status object; empty for another response."""
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return ""


def connect(flags: ClusterFlags) -> ClusterClient:
    """Connect with the user's kubeconfig, as kubectl does. Raises CliError."""
    from kubernetes.client import Configuration

    from kubernetes import config

    settings = Configuration()
    settings.retries = False
    try:
        contexts, active = config.list_kube_config_contexts(flags.kubeconfig)
        client = config.new_client_from_config(flags.kubeconfig, flags.context, client_configuration=settings)
    except (config.ConfigException, OSError) as error:
        raise CliError(f"no usable kubeconfig: {error}; give one with --kubeconfig or KUBECONFIG") from error
    chosen = next((context for context in contexts if context["name"] == flags.context), active)
    if flags.user:
        client.set_default_header("Impersonate-User", flags.user)
    return ClusterClient(flags, client, chosen["context"].get("namespace") or "default")


def _path(
    resource: ApiResource,
    namespace: str | None,
    name: str | None = None,
    *,
    subresource: str | None = None,
    query: Query | None = None,
) -> ApiPath:
    """As `api_path`, but raises ResourceNotFound: no object can have an invalid name."""
    try:
        return api_path(resource, namespace=namespace, name=name, subresource=subresource, query=query)
    except InvalidName as error:
        raise ResourceNotFound(f"{error}: names in Kubernetes have lower-case letters, digits and '-'") from None


def _cause(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(reason).rpartition(": ")[2] or type(error).__name__
