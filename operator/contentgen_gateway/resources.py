"""The resources of jobs, as the gateway makes, changes and deletes them: with its own rights, once the caller's have
been asked for.
"""

import re
from typing import Any

from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import API_VERSION, GROUP, VERSION, Kind
from contentgen_contract.story import scrubbed
from contentgen_gateway.problems import Problem
from contentgen_runtime.kube import Body, KubeApi, explain, or_none

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_REFUSALS = (400, 403, 404, 409, 422)


class Resources:
    """LoraTrainings, ImageGenerations and Transcriptions."""

    def __init__(self, kube: KubeApi) -> None:
        self._kube = kube

    async def get(self, kind: Kind, namespace: str, name: str) -> Body | None:
        """A resource, or None: a record that was taken over from elsewhere may name what no resource can be called."""
        if not (_NAME.fullmatch(namespace) and _NAME.fullmatch(name)):
            return None
        return await or_none(self._kube.call("GET", _path(kind, namespace, name)))

    async def events(self, namespace: str, uid: str) -> list[Body]:
        """What was noted of a resource lately, the newest first; nothing where we may not read it."""
        path = f"/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.uid%3D{uid}&limit=50"
        try:
            found: list[Body] = (await self._kube.call("GET", path)).get("items") or []
        except ApiException as error:
            if error.status in (403, 404):
                return []
            raise
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
        return await self._or_problem("POST", _path(kind, namespace), body)

    async def patch(self, kind: Kind, namespace: str, name: str, patch: Body) -> Body:
        """Merge into a resource. Raises Problem as above."""
        return await self._or_problem("PATCH", _path(kind, namespace, name), patch)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete this resource, and none of the same name that was made later. One that is gone is fine."""
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            await self._kube.call("DELETE", _path(kind, namespace, name), body)
        except ApiException as error:
            if error.status not in (404, 409):
                raise

    async def _or_problem(self, method: str, path: str, body: Body) -> Body:
        try:
            return await self._kube.call(method, path, body)
        except ApiException as error:
            if error.status in _REFUSALS:
                raise Problem(422 if error.status == 400 else error.status, scrubbed(explain(error)[4:])) from None
            raise


def _path(kind: Kind, namespace: str, name: str = "") -> str:
    return f"/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{kind.plural}" + (f"/{name}" if name else "")
