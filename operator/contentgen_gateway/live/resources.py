"""Requests for job resources at the API server, with the gateway's own rights.

Callers must have been authorized before.
"""

from collections.abc import Awaitable
from typing import Any

from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.api_paths import EVENTS, InvalidName, Query, equals, resource_of
from contentgen_contract.names import API_VERSION, Kind
from contentgen_contract.resources.operator_class import DEFAULT_CLASS, class_of
from contentgen_contract.worker.log import redact_secrets
from contentgen_gateway.problems import BadRequest, Problem
from contentgen_runtime.kube import Body, KubeApi, explain, lies_in

_FORBIDDEN = 403
_REFUSED = (400, 403, 404, 409, 422)


class Unreadable(Problem):
    """The gateway's service account has no rights in a namespace."""

    def __init__(self, namespace: str) -> None:
        super().__init__(
            409,
            f"this gateway may not read resources in {namespace!r}, which is none of the namespaces of this "
            "installation: an administrator adds it by the chart's watchNamespaces",
        )


class JobResources:
    """LoraTrainings, ImageGenerations and Transcriptions of the installation's operator class.

    Resources of other classes are read, to detect names in use, but neither shown nor changed.
    """

    def __init__(self, kube: KubeApi, operator_class: str = DEFAULT_CLASS) -> None:
        self._kube = kube
        self._class = operator_class

    def serves(self, body: Body) -> bool:
        """True if a resource belongs to the installation's operator class."""
        return class_of(body) == self._class

    def require_class(self, body: Body) -> None:
        """Raises Problem 409 for a resource of another class, which another gateway serves."""
        if not self.serves(body):
            raise other_class(body, self._class)

    def require_own_class(self, given: str | None) -> None:
        """Raises BadRequest if a caller requests another class than the installation's."""
        if given not in (None, self._class):
            expected = f"{self._class!r}, the operator class of this installation; leave it out"
            raise BadRequest("operatorClass", given, expected)

    async def get(self, kind: Kind, namespace: str, name: str) -> Body | None:
        """A resource of any class; None if it is missing or the name is not valid, as in some imported records.

        Raises Unreadable if the gateway has no rights in the namespace.
        """
        try:
            return await self._kube.get(resource_of(kind), namespace, name, asked_by="the gateway")
        except ApiException as error:
            if error.status == _FORBIDDEN:
                raise Unreadable(namespace) from None
            raise

    async def events(self, namespace: str, uid: str) -> list[Body]:
        """Up to 50 recent Kubernetes events of a resource, newest first; empty if reading them is forbidden."""
        try:
            query: Query = {"fieldSelector": equals("involvedObject.uid", uid), "limit": 50}
            listed = await self._kube.request("GET", EVENTS, namespace=namespace, query=query)
        except InvalidName:
            return []
        except ApiException as error:
            if error.status in (403, 404):
                return []
            raise
        found = [resource for resource in listed.get("items") or () if lies_in(namespace, resource)]
        return sorted(found, key=lambda each: str(each.get("lastTimestamp") or each.get("eventTime")), reverse=True)

    async def create(
        self, kind: Kind, namespace: str, name: str, spec: dict[str, Any], annotations: dict[str, str]
    ) -> Body:
        """Create a resource of the installation's class.

        Raises Problem with the API server's message if it refuses, 409 if the name is in use.
        """
        body = {
            "apiVersion": API_VERSION,
            "kind": kind.value,
            "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
            "spec": self._with_class(spec),
        }
        return await _refusals_as_problems(
            self._kube.request("POST", resource_of(kind), namespace=namespace, body=body)
        )

    def _with_class(self, spec: dict[str, Any]) -> dict[str, Any]:
        """The spec with the operator class; without the field for the default class."""
        rest = {name: value for name, value in spec.items() if name != "operatorClass"}
        return rest if self._class == DEFAULT_CLASS else rest | {"operatorClass": self._class}

    async def patch(self, kind: Kind, namespace: str, name: str, patch: Body) -> Body:
        """Merge-patch a resource. Raises Problem like `create`."""
        call = self._kube.request("PATCH", resource_of(kind), namespace=namespace, name=name, body=patch)
        return await _refusals_as_problems(call)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete the resource with this uid; a later one of the same name stays. Idempotent."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            await self._kube.request("DELETE", resource_of(kind), namespace=namespace, name=name, body=body)
        except InvalidName:
            return
        except ApiException as error:
            if error.status not in (404, 409):
                raise


def other_class(body: Body, own: str) -> Problem:
    """Problem 409 for a resource of another operator class than the gateway's."""
    name, theirs = body["metadata"]["name"], class_of(body)
    detail = (
        f"{name!r} belongs to the operator class {theirs!r}, and this gateway serves {own!r}: ask the gateway of the "
        f"installation that serves {theirs!r}, or set spec.operatorClass to {own!r} once the run has ended"
    )
    return Problem(409, detail, operatorClass=theirs)


async def _refusals_as_problems(call: Awaitable[Body]) -> Body:
    try:
        return await call
    except InvalidName as error:
        raise Problem(422, str(error)) from None
    except ApiException as error:
        if error.status in _REFUSED:
            raise Problem(422 if error.status == 400 else error.status, redact_secrets(explain(error)[4:])) from None
        raise
