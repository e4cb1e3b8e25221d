"""EndpointSlice of the worker API's Service, written by the leader, so that workers reach the leader only.

The Service has no selector that matches a pod, so Kubernetes' own controller adds no endpoint (docs/decisions/0026).
The slice is owned by the leader's pod and deleted with it.
"""

import asyncio
import ipaddress
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from contentgen_contract.api_paths import ENDPOINT_SLICES
from contentgen_contract.base import Value
from contentgen_operator.leader.leadership import Leadership
from contentgen_operator.leader.loop import LeaderLoop
from contentgen_runtime.kube import Body, KubeApi, or_conflict

_log = logging.getLogger(__name__)
_LOOK_SECONDS = 5.0  # between two reads of the slice, which others may change
_AGAIN_SECONDS = 0.5  # after an error
_LISTEN_SECONDS = 0.05
_REQUEST_SECONDS = 5.0  # for the read and the write together
_PORT_NAME = "https"  # the Service's name of the port
_SERVICE = "kubernetes.io/service-name"
_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"


class PodSettings(Value):
    """Pod of this process."""

    name: str = Field("", description="Pod of this process, as the next two fields.")
    uid: str = Field("", description="For events about the operator itself; empty: none are created.")
    ip: str = ""


@dataclass(frozen=True, slots=True)
class WorkerEndpoint:
    """Endpoint of this process's worker API: the Service's name and the pod's address."""

    service: str
    port: int
    namespace: str
    pod: str
    pod_uid: str
    address: str

    @property
    def name(self) -> str:
        """Name of the slice; each address family has its own, because a slice's type is immutable."""
        return f"{self.service}-{_family(self.address).lower()}"


def _family(address: str) -> str:
    return f"IPv{ipaddress.ip_address(address).version}"


def wanted(endpoint: WorkerEndpoint) -> Body:
    """EndpointSlice that routes to this process."""
    pod = {"kind": "Pod", "name": endpoint.pod, "uid": endpoint.pod_uid}
    return {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": ENDPOINT_SLICES.kind,
        "metadata": {
            "name": endpoint.name,
            "labels": {_SERVICE: endpoint.service, _MANAGED_BY: "contentgen"},
            "ownerReferences": [{"apiVersion": "v1", **pod}],
        },
        "addressType": _family(endpoint.address),
        "endpoints": [
            {
                "addresses": [str(ipaddress.ip_address(endpoint.address))],
                "conditions": {"ready": True},
                "targetRef": {**pod, "namespace": endpoint.namespace},
            }
        ],
        "ports": [{"name": _PORT_NAME, "port": endpoint.port, "protocol": "TCP"}],
    }


def leads_here(found: Body, want: Body) -> bool:
    """True if a slice as read is the wanted one."""
    meta, labels = found["metadata"], want["metadata"]["labels"]
    return (
        all(found.get(part) == want[part] for part in ("endpoints", "ports"))
        and labels.items() <= (meta.get("labels") or {}).items()
        and meta.get("ownerReferences") == want["metadata"]["ownerReferences"]
    )


@dataclass(frozen=True)
class EndpointWriter:
    """Writer of the slice, run by the leader. `listening` is true if the worker API accepts connections."""

    kube: KubeApi
    endpoint: WorkerEndpoint
    leadership: Leadership
    listening: Callable[[], bool]

    async def run(self) -> None:
        """Write the slice once the worker API listens, and again after each change by others; until cancelled."""
        while not self.listening():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(_LISTEN_SECONDS)
        name = f"EndpointSlice {self.endpoint.name}"
        await LeaderLoop(name, _LOOK_SECONDS, self._publish_in_time, after_error=_AGAIN_SECONDS).run()

    async def _publish_in_time(self) -> None:
        async with asyncio.timeout(_REQUEST_SECONDS):
            await self.publish()

    async def publish(self) -> None:
        """Route the slice to this process. Raises Conflict if it was changed meanwhile, NotLeading, or one of
        API_ERRORS.

        The write names the version that was read while this process led: a process that is paused in between does not
        overwrite its successor's.
        """
        want, where = wanted(self.endpoint), self.endpoint.namespace
        found = await self.kube.get(ENDPOINT_SLICES, where, self.endpoint.name, asked_by="the worker API's endpoint")
        self.leadership.require()
        if found is None:
            await or_conflict(self.kube.request("POST", ENDPOINT_SLICES, namespace=where, body=want))
        elif leads_here(found, want):
            return
        else:
            await or_conflict(self._replace(want, found["metadata"]["resourceVersion"]))
        _log.info("workers are routed to %s", self.endpoint.address)

    async def _replace(self, want: Body, version: str) -> Any:
        meta = {key: value for key, value in want["metadata"].items() if key != "name"}
        body = {**want, "metadata": {**meta, "resourceVersion": version}}
        return await self.kube.request(
            "PATCH", ENDPOINT_SLICES, namespace=self.endpoint.namespace, name=self.endpoint.name, body=body
        )
