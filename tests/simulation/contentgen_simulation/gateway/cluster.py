"""Gateway world whose API server accepts writes, notes them, and lets a test react to them."""

import asyncio
from collections.abc import Callable
from typing import Any

from contentgen_contract.names import Kind
from contentgen_contract.resources.status import ResourceStatus, dump_status
from contentgen_runtime.kube import Body
from contentgen_simulation.gateway.server import FakeApi, GatewayWorld, Place


class ClusterApi(FakeApi):
    """API server that yields to other tasks at each request; `reacts` is called after each patch and deletion."""

    def __init__(self, rights: Any = ()) -> None:
        super().__init__(rights)
        self.written: list[tuple[str, Place]] = []
        self.reacts: Callable[[Place], None] = lambda _: None

    async def call(self, method: str, path: str, body: Body | None = None) -> Body:
        """Yield, as a network does, then answer."""
        await asyncio.sleep(0)
        return await super().call(method, path, body)

    def _resource(self, method: str, parents: list[str], last: str, body: Body | None) -> Body:
        answer = super()._resource(method, parents, last, body)
        if method in ("PATCH", "DELETE"):
            place = (parents[1], parents[2], last)
            self.written.append((method, place))
            self.reacts(place)
        return answer

    def _create(self, namespace: str, plural: str, body: Body) -> Body:
        answer = super()._create(namespace, plural, body)
        self.written.append(("POST", (namespace, plural, body["metadata"]["name"])))
        return answer


class WritableWorld(GatewayWorld):
    """The gateway's app over a `ClusterApi`."""

    api_class = ClusterApi
    api: ClusterApi

    def resource(self, kind: Kind, name: str, uid: str, status: ResourceStatus | None = None, **spec: Any) -> Body:
        """Store a resource in the namespace red, unless it is there; returns the stored object."""
        return self.api.resources.setdefault(
            ("red", kind.plural, name),
            {
                "metadata": {
                    "name": name, "namespace": "red", "uid": uid, "generation": 1, "resourceVersion": "0",
                    "creationTimestamp": "2026-11-21T00:00:00Z",
                },
                "spec": spec,
                "status": dump_status(status) if status else {},
            },
        )  # fmt: skip
