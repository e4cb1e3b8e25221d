"""The resources of jobs, as the gateway makes, changes and deletes them: with its own rights, once the caller's have
been asked for.
"""

from collections.abc import Awaitable
from typing import Any

from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.api_paths import EVENTS, InvalidName, Query, equals, resource_of
from contentgen_contract.names import API_VERSION, Kind
from contentgen_contract.story import scrubbed
from contentgen_gateway.problems import Problem
from contentgen_runtime.kube import Body, KubeApi, explain, lies_in

_REFUSALS = (400, 403, 404, 409, 422)


class Resources:
    """LoraTrainings, ImageGenerations and Transcriptions."""

    def __init__(self, kube: KubeApi) -> None:
        self._kube = kube

    async def get(self, kind: Kind, namespace: str, name: str) -> Body | None:
        """A resource, or None: a record that was taken over from elsewhere may name what no resource can be called."""
        return await self._kube.get(resource_of(kind), namespace, name, asked_by="the gateway")

    async def events(self, namespace: str, uid: str) -> list[Body]:
        """What was noted of a resource lately, the newest first; nothing where we may not read it."""
        try:
            query: Query = {"fieldSelector": equals("involvedObject.uid", uid), "limit": 50}
            listed = await self._kube.request("GET", EVENTS, namespace=namespace, query=query)
        except InvalidName:
            return []
        except ApiException as error:
            if error.status in (403, 404):
                return []
            raise
        found = [each for each in listed.get("items") or () if lies_in(namespace, each)]
        return sorted(found, key=lambda each: str(each.get("lastTimestamp") or each.get("eventTime")), reverse=True)

    async def create(
        self, kind: Kind, namespace: str, name: str, spec: dict[str, Any], annotations: dict[str, str]
    ) -> Body:
        """A new resource. Raises Problem with the API server's own words where it refuses, 409 where there is one."""
        body = {
            "apiVersion": API_VERSION,
            "kind": kind.value,
            "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
            "spec": spec,
        }
        return await _or_problem(self._kube.request("POST", resource_of(kind), namespace=namespace, body=body))

    async def patch(self, kind: Kind, namespace: str, name: str, patch: Body) -> Body:
        """Merge into a resource. Raises Problem as above."""
        call = self._kube.request("PATCH", resource_of(kind), namespace=namespace, name=name, body=patch)
        return await _or_problem(call)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete this resource, and none of the same name that was made later. One that is gone is fine."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            await self._kube.request("DELETE", resource_of(kind), namespace=namespace, name=name, body=body)
        except InvalidName:
            return
        except ApiException as error:
            if error.status not in (404, 409):
                raise


async def _or_problem(call: Awaitable[Body]) -> Body:
    try:
        return await call
    except InvalidName as error:
        raise Problem(422, str(error)) from None
    except ApiException as error:
        if error.status in _REFUSALS:
            raise Problem(422 if error.status == 400 else error.status, scrubbed(explain(error)[4:])) from None
        raise
