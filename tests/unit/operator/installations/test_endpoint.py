"""EndpointSlice that routes workers to the leader: content, time of writes, no overwrite of a successor's."""

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.api_paths import ENDPOINT_SLICES, ApiResource
from contentgen_operator.leader import endpoint as module
from contentgen_operator.leader.endpoint import EndpointWriter, PodSettings, WorkerEndpoint, leads_here, wanted
from contentgen_operator.leader.leadership import Leadership, NotLeading
from contentgen_operator.settings import Settings
from contentgen_operator.worker_api.tls import WorkerApiSettings
from contentgen_runtime.kube import Body, Conflict, KubeApi

HERE = WorkerEndpoint("contentgen-worker-api", 8443, "ops", "contentgen-1", "uid-1", "10.244.0.7")
THERE = WorkerEndpoint("contentgen-worker-api", 8443, "ops", "contentgen-2", "uid-2", "10.244.0.8")


class Api(KubeApi):
    """Collection with creates, merge patches and versions like the API server; fails with the given errors."""

    def __init__(self, slices: dict[str, Body]) -> None:
        super().__init__()
        self.slices = slices
        self.writes = 0
        self.errors = list[Exception]()
        self.after_read: Callable[[], None] = lambda: None

    async def request(
        self,
        method: str,
        resource: ApiResource,
        *,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str | None = None,
        query: Any = None,
        body: Body | None = None,
    ) -> Body:
        assert (resource, namespace, subresource, query) == (ENDPOINT_SLICES, "ops", None, None)
        if self.errors:
            raise self.errors.pop(0)
        if method == "GET":
            return self._read(str(name))
        assert body is not None
        self.writes += 1
        if method == "POST":
            return self._store(body["metadata"]["name"], body, new=True)
        return self._store(str(name), body, new=False)

    def _read(self, name: str) -> Body:
        try:
            if name not in self.slices:
                raise ApiException(status=404)
            return copy.deepcopy(self.slices[name])
        finally:
            self.after_read()

    def _store(self, name: str, body: Body, *, new: bool) -> Body:
        old = self.slices.get(name)
        if new == (old is not None):
            raise ApiException(status=409 if new else 404)
        asked = body["metadata"].get("resourceVersion")
        if old is not None and asked not in (None, old["metadata"]["resourceVersion"]):
            raise ApiException(status=409)
        had: Body = old or {"metadata": {"namespace": "ops", "name": name, "uid": "u", "resourceVersion": "0"}}
        version = str(int(had["metadata"]["resourceVersion"]) + 1)
        labels = {**had["metadata"].get("labels", {}), **body["metadata"]["labels"]}
        meta = {**had["metadata"], **body["metadata"], "labels": labels, "resourceVersion": version}
        self.slices[name] = {**had, **body, "metadata": meta}
        return copy.deepcopy(self.slices[name])


def writer(api: Api, endpoint: WorkerEndpoint = HERE, leadership: Leadership | None = None) -> EndpointWriter:
    return EndpointWriter(api, endpoint, leadership or Leadership.always(), lambda: True)


def led_to(api: Api) -> list[str]:
    return [address for part in api.slices.values() for point in part["endpoints"] for address in point["addresses"]]


def test_the_slice_is_the_services_and_goes_with_the_pod() -> None:
    assert wanted(HERE) == {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "contentgen-worker-api-ipv4",
            "labels": {
                "kubernetes.io/service-name": "contentgen-worker-api",
                "endpointslice.kubernetes.io/managed-by": "contentgen",
            },
            "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "contentgen-1", "uid": "uid-1"}],
        },
        "addressType": "IPv4",
        "endpoints": [
            {
                "addresses": ["10.244.0.7"],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "namespace": "ops", "name": "contentgen-1", "uid": "uid-1"},
            }
        ],
        "ports": [{"name": "https", "port": 8443, "protocol": "TCP"}],
    }


def test_an_ipv6_pod_has_a_slice_of_its_own() -> None:
    found = wanted(WorkerEndpoint("contentgen-worker-api", 8443, "ops", "contentgen-1", "uid-1", "FD00:0::7"))
    assert (found["metadata"]["name"], found["addressType"]) == ("contentgen-worker-api-ipv6", "IPv6")
    assert found["endpoints"][0]["addresses"] == ["fd00::7"]


async def test_each_leader_leads_workers_to_itself() -> None:
    api = Api({})
    await writer(api).publish()
    assert led_to(api) == ["10.244.0.7"]
    await writer(api, THERE).publish()
    assert led_to(api) == ["10.244.0.8"]
    assert api.slices["contentgen-worker-api-ipv4"]["metadata"]["ownerReferences"][0]["uid"] == "uid-2"


async def test_a_slice_that_leads_here_is_not_written_again() -> None:
    api = Api({})
    for _ in range(3):
        await writer(api).publish()
    assert api.writes == 1


def spoil(part: str) -> Callable[[Body], None]:
    def change(body: Body) -> None:
        meta = body["metadata"]
        match part:
            case "endpoints":
                body["endpoints"] = []
            case "address":
                body["endpoints"][0]["addresses"] = ["10.0.0.1"]
            case "ready":
                body["endpoints"][0]["conditions"]["ready"] = False
            case "ports":
                body["ports"][0]["port"] = 1
            case "service":
                meta["labels"]["kubernetes.io/service-name"] = "another"
            case "labels":
                del meta["labels"]
            case "owner":
                meta["ownerReferences"] = []

    return change


@pytest.mark.parametrize("part", ["endpoints", "address", "ready", "ports", "service", "labels", "owner"])
async def test_changed_endpoint_is_repaired(part: str) -> None:
    api = Api({})
    await writer(api).publish()
    spoil(part)(api.slices["contentgen-worker-api-ipv4"])
    await writer(api).publish()
    assert api.writes == 2
    assert leads_here(api.slices["contentgen-worker-api-ipv4"], wanted(HERE))


async def test_labels_of_others_are_left() -> None:
    api = Api({})
    await writer(api).publish()
    api.slices["contentgen-worker-api-ipv4"]["metadata"]["labels"]["team"] = "a"
    await writer(api).publish()
    assert api.writes == 1


@pytest.mark.parametrize("there", [False, True])
async def test_a_former_leader_overwrites_no_successors(there: bool) -> None:
    """The former leader was paused between read and write, and notices the end of its Lease later."""
    api = Api({})
    if there:
        await writer(api, THERE).publish()

    def succeed() -> None:
        api.after_read = lambda: None
        successor = WorkerEndpoint("contentgen-worker-api", 8443, "ops", "contentgen-3", "uid-3", "10.244.0.9")
        version = str(int(api.slices.get("contentgen-worker-api-ipv4", {"metadata": {"resourceVersion": "0"}})
                          ["metadata"]["resourceVersion"]) + 1)  # fmt: skip
        body = wanted(successor)
        body["metadata"] |= {"resourceVersion": version, "namespace": "ops", "uid": "u"}
        api.slices["contentgen-worker-api-ipv4"] = body

    api.after_read = succeed
    with pytest.raises(Conflict):
        await writer(api).publish()
    assert led_to(api) == ["10.244.0.9"]


async def test_former_leader_writes_no_endpoint() -> None:
    api, leadership = Api({}), Leadership.always()
    api.after_read = lambda: leadership.revoke("the Lease is another's")
    with pytest.raises(NotLeading):
        await writer(api, leadership=leadership).publish()
    assert api.writes == 0


async def test_endpoint_waits_for_the_server_and_survives_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    listens, slept = [False, False, True], list[float]()
    api = Api({})
    api.errors = [ApiException(status=500), TimeoutError()]

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        if seconds == module._LISTEN_SECONDS:
            assert api.writes == 0
        if len(slept) == 5:
            raise asyncio.CancelledError

    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    subject = EndpointWriter(api, HERE, Leadership.always(), lambda: listens.pop(0))
    with pytest.raises(asyncio.CancelledError):
        await subject.run()
    assert slept == [0.05, 0.05, 0.5, 0.5, 5.0]
    assert led_to(api) == ["10.244.0.7"]


def test_service_selects_the_pod_without_leader_election() -> None:
    assert Settings(namespace="ops").endpoint is None
    found = Settings(
        namespace="ops",
        worker_api=WorkerApiSettings(service="contentgen-worker-api"),
        pod=PodSettings(name="contentgen-1", uid="uid-1", ip="10.244.0.7"),
    )
    assert found.endpoint == HERE
