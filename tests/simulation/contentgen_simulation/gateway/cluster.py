"""Resources as the API server keeps them: names once, uids, versions, preconditions, finalizers, merge patches."""

import asyncio
import copy
import itertools
import json
from collections.abc import Callable
from typing import Any

from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import GROUP, Kind
from contentgen_contract.resources.status import ResourceStatus, dump_status
from contentgen_runtime.kube import Body
from contentgen_simulation.gateway.server import FakeApi, GatewayWorld

Place = tuple[str, str, str]
"""Namespace, plural, name."""


def refused(code: int, message: str) -> ApiException:
    """An answer that is no success."""
    error = ApiException(status=code)
    error.body = json.dumps({"message": message})
    return error


class ClusterApi(FakeApi):
    """Rights, and resources. Each request lets others run in between, as a network does; `reacts` is the operator."""

    def __init__(self, rights: Any = ()) -> None:
        super().__init__(rights)
        self.resources: dict[Place, Body] = {}
        self.written: list[tuple[str, Place]] = []
        self.reacts: Callable[[Place], None] = lambda _: None
        self._numbers = itertools.count(1)

    async def call(self, method: str, path: str, body: Body | None = None) -> Body:
        """Reviews, and the resources of our kinds."""
        await asyncio.sleep(0)
        if not path.startswith(f"/apis/{GROUP}/"):
            return await super().call(method, path, body)
        _, _, _, _, _, namespace, plural, *name = path.split("/")
        if method == "POST":
            assert body is not None
            return self._create((namespace, plural, body["metadata"]["name"]), body)
        place = (namespace, plural, name[0])
        if place not in self.resources:
            raise refused(404, f'{plural} "{name[0]}" not found')
        if method == "GET":
            return copy.deepcopy(self.resources[place])
        answer = self._delete(place, body or {}) if method == "DELETE" else self._patch(place, body or {})
        self.written.append((method, place))
        self.reacts(place)
        return answer

    def _create(self, place: Place, body: Body) -> Body:
        if place in self.resources:
            raise refused(409, "already exists")
        self.written.append(("POST", place))
        number = next(self._numbers)
        made = copy.deepcopy(body)
        made["metadata"] |= {
            "uid": f"20000000-0000-4000-8000-{number:012}",
            "generation": 1,
            "resourceVersion": str(next(self._numbers)),
            "creationTimestamp": "2026-11-21T00:00:00Z",
        }
        self.resources[place] = made
        return copy.deepcopy(made)

    def _delete(self, place: Place, options: Body) -> Body:
        meta = self.resources[place]["metadata"]
        if options.get("preconditions", {}).get("uid", meta["uid"]) != meta["uid"]:
            raise refused(409, "the UID in the precondition does not match")
        if meta.get("finalizers"):
            meta["deletionTimestamp"] = "2026-11-21T00:00:00Z"
        else:
            del self.resources[place]
        return {}

    def _patch(self, place: Place, patch: Body) -> Body:
        kept = self.resources[place]
        for field in ("uid", "resourceVersion"):
            if patch.get("metadata", {}).get(field, kept["metadata"][field]) != kept["metadata"][field]:
                raise refused(409, f"the object has been modified: {field}")
        before = copy.deepcopy(kept["spec"])
        merge(kept, copy.deepcopy(patch))
        kept["metadata"]["generation"] += kept["spec"] != before
        kept["metadata"]["resourceVersion"] = str(next(self._numbers))
        return copy.deepcopy(kept)


def merge(into: Body, patch: Body) -> None:
    """RFC 7396."""
    for key, value in patch.items():
        if value is None:
            into.pop(key, None)
        elif isinstance(value, dict):
            merge(into.setdefault(key, {}), value)
        else:
            into[key] = value


class ClusterWorld(GatewayWorld):
    """The app over such a cluster."""

    api_class = ClusterApi
    api: ClusterApi

    def resource(self, kind: Kind, name: str, uid: str, status: ResourceStatus | None = None, **spec: Any) -> Body:
        """Put a resource there."""
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
