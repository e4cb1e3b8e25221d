"""Kubernetes client over real HTTP to a server on loopback: methods, content types, errors."""

import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from aiohttp import ClientConnectorError, web
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import Kind, Stage
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.job_manifests import job_manifest
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.plan import Event
from contentgen_runtime.kube import Conflict
from contentgen_simulation.world import TEMPLATE

REF = ResourceRef(kind=Kind.TRANSCRIPTION, namespace="ns", name="it", uid="u")
OURS = "/apis/contentgen.dev/v1alpha1/namespaces/ns/transcriptions/it"
JOBS = "/apis/batch/v1/namespaces/ns/jobs"
SECRET = "/api/v1/namespaces/ns/secrets/tls"


class Api:
    """Server with prepared responses by (method, path), which records the requests."""

    def __init__(self) -> None:
        self.replies: dict[tuple[str, str], tuple[int, Any]] = {}
        self.texts: dict[str, str] = {}
        self.handlers: dict[str, Callable[[web.Request], Awaitable[web.Response]]] = {}
        self.seen: list[tuple[str, str, str, Any]] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        kind = request.headers.get("Content-Type", "")
        self.seen.append((request.method, request.path, kind, json.loads(body) if body else None))
        if request.path in self.handlers:
            return await self.handlers[request.path](request)
        if request.path in self.texts:
            return web.Response(text=self.texts[request.path])
        status, answer = self.replies.get((request.method, request.path), (404, {"kind": "Status", "code": 404}))
        return web.json_response(answer, status=status)


@pytest.fixture
async def api() -> AsyncIterator[tuple[Api, Kube]]:
    made = Api()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    kube = Kube()
    async with client.ApiClient(client.Configuration(host=f"http://127.0.0.1:{port}")) as connection:
        kube._api = connection
        yield made, kube
    await runner.cleanup()


async def test_a_resource_is_there_or_not(api: tuple[Api, Kube]) -> None:
    server, kube = api
    assert await kube.get_resource(Kind.TRANSCRIPTION, "ns", "it") is None
    body = {"metadata": {"namespace": "ns", "name": "it"}, "spec": {"a": None, "b": 1.5}}
    server.replies["GET", OURS] = (200, body)
    assert await kube.get_resource(Kind.TRANSCRIPTION, "ns", "it") == body
    server.replies["GET", OURS] = (500, {})
    with pytest.raises(ApiException):
        await kube.get_resource(Kind.TRANSCRIPTION, "ns", "it")


async def test_a_status_is_replaced_as_it_is(api: tuple[Api, Kube]) -> None:
    server, kube = api
    body = {"metadata": {"resourceVersion": "7"}, "status": {"run": {"spec": {"x": None}}}}
    server.replies["PUT", f"{OURS}/status"] = (200, {})
    await kube.put_status(Kind.TRANSCRIPTION, "ns", "it", body)
    (_, _, kind, sent) = server.seen[0]
    assert (kind, sent) == ("application/json", body)
    server.replies["PUT", f"{OURS}/status"] = (409, {"message": "changed"})
    with pytest.raises(Conflict):
        await kube.put_status(Kind.TRANSCRIPTION, "ns", "it", body)


async def test_a_job_is_made_once(api: tuple[Api, Kube]) -> None:
    server, kube = api
    manifest = {"metadata": {"namespace": "ns", "name": "job"}}
    server.replies["POST", JOBS] = (201, manifest | {"made": True})
    assert await kube.create_job("ns", manifest) == manifest | {"made": True}
    server.replies["POST", JOBS] = (409, {"message": "exists"})
    assert await kube.create_job("ns", manifest) is None
    server.replies["POST", JOBS] = (403, {"message": "the namespace is being terminated"})
    with pytest.raises(ApiException):
        await kube.create_job("ns", manifest)


async def test_a_job_of_another_uid_is_not_deleted(api: tuple[Api, Kube]) -> None:
    server, kube = api
    server.replies["DELETE", f"{JOBS}/job"] = (409, {"message": "Precondition failed: UID in precondition: u"})
    await kube.delete_job("ns", "job", "u")
    (_, _, _, sent) = server.seen[0]
    assert sent == {"propagationPolicy": "Background", "preconditions": {"uid": "u"}}
    del server.replies["DELETE", f"{JOBS}/job"]
    await kube.delete_job("ns", "job", "u")  # deleted


async def test_a_resource_is_deleted_only_as_it_was_decided_on(api: tuple[Api, Kube]) -> None:
    server, kube = api
    asked: list[Any] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(await request.json())
        return web.json_response({"kind": "Status"})

    server.handlers = {OURS: answer}
    await kube.delete_resource(REF, "7", dry_run=True)
    await kube.delete_resource(REF, "7")
    dry, real = asked
    assert dry == real | {"dryRun": ["All"]}  # the API server ignores the query of a DELETE with a body
    assert real["preconditions"] == {"uid": "u", "resourceVersion": "7"}
    assert real["propagationPolicy"] == "Background"
    server.handlers = {}
    for status in (404, 409):
        server.replies["DELETE", OURS] = (status, {"message": "no"})
        with pytest.raises(Conflict):
            await kube.delete_resource(REF, "7")
    server.replies["DELETE", OURS] = (403, {"message": "no"})
    with pytest.raises(ApiException):
        await kube.delete_resource(REF, "7")


@pytest.mark.parametrize("value", ["true", None])
async def test_patch_changes_one_label_only(api: tuple[Api, Kube], value: str | None) -> None:
    server, kube = api
    server.replies["PATCH", OURS] = (200, {"metadata": {}})
    await kube.put_label(REF, "7", "contentgen.dev/given-up", value)
    (_, _, kind, sent) = server.seen[0]
    assert kind == "application/merge-patch+json"
    assert sent == {"metadata": {"resourceVersion": "7", "labels": {"contentgen.dev/given-up": value}}}


FOUND = {"metadata": {"namespace": "ns"}, "found": True}


async def test_reads_of_a_job_and_its_pods(api: tuple[Api, Kube]) -> None:
    server, kube = api
    asked: list[tuple[str, dict[str, str], str]] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append((request.method, dict(request.query), request.headers["User-Agent"]))
        return web.json_response({"metadata": {"resourceVersion": "1"}, "items": [FOUND]})

    core = "/api/v1/namespaces/ns"
    server.handlers = dict.fromkeys(
        (JOBS, *(f"{core}/{word}" for word in ("pods", "events", "resourcequotas"))), answer
    )
    await kube.check_job("ns", {"metadata": {"name": "job"}})
    assert await kube.job_pods("ns", "job") == [FOUND]
    assert await kube.job_events("ns", "u") == [FOUND]
    assert await kube.quotas("ns") == [FOUND]
    assert asked == [
        ("POST", {"dryRun": "All"}, "contentgen"),
        ("GET", {"labelSelector": "batch.kubernetes.io/job-name=job", "limit": "10"}, "contentgen"),
        ("GET", {"fieldSelector": "involvedObject.uid=u,reason=FailedCreate", "limit": "10"}, "contentgen"),
        ("GET", {"limit": "10"}, "contentgen"),
    ]


async def test_the_secret_is_patched_as_a_merge(api: tuple[Api, Kube]) -> None:
    server, kube = api
    data = {"tls.key": base64.b64encode(b"k").decode()}
    server.replies["GET", SECRET] = (200, {"metadata": {"name": "tls", "resourceVersion": "3"}, "data": data})
    assert await kube.get_secret_data("ns", "tls") == ("3", {"tls.key": b"k"})
    server.replies["PATCH", SECRET] = (200, {"metadata": {"name": "tls"}})
    await kube.patch_secret_data("ns", "tls", "3", {"tls.key": b"k"})
    assert server.seen[-1][2] == "application/merge-patch+json"
    assert server.seen[-1][3] == {"metadata": {"resourceVersion": "3"}, "data": data}
    server.replies["PATCH", SECRET] = (409, {"message": "changed"})
    with pytest.raises(Conflict):
        await kube.patch_secret_data("ns", "tls", "3", {})


async def test_a_pod_and_a_review_are_plain_objects(api: tuple[Api, Kube]) -> None:
    server, kube = api
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "job", "uid": "j", "controller": True}
    pod = {"metadata": {"namespace": "ns", "name": "p", "uid": "pu", "ownerReferences": [owner]}}
    server.replies["GET", "/api/v1/namespaces/ns/pods/p"] = (200, pod)
    found = await kube.get_pod("ns", "p")
    assert found is not None
    assert (found["metadata"]["uid"], found["metadata"]["ownerReferences"]) == ("pu", [owner])
    assert await kube.get_pod("ns", "none") is None
    reviews = "/apis/authentication.k8s.io/v1/tokenreviews"
    server.replies["POST", reviews] = (201, {"status": {"authenticated": True, "audiences": ["contentgen"]}})
    assert (await kube.review_token("t", "contentgen"))["authenticated"] is True
    assert server.seen[-1][3]["spec"] == {"token": "t", "audiences": ["contentgen"]}


async def test_an_event_fits_its_limits(api: tuple[Api, Kube]) -> None:
    server, kube = api
    server.replies["POST", "/api/v1/namespaces/ns/events"] = (201, {"metadata": {}, "involvedObject": {}})
    await kube.post_event(
        REF, Event(type="Warning", reason="Failed", message="é" * 900), datetime(2026, 11, 21, tzinfo=UTC)
    )
    event = server.seen[-1][3]
    assert len(event["message"].encode()) <= 1024
    assert set(event["message"]) == {"é"}
    assert event["involvedObject"]["uid"] == "u"
    assert event["lastTimestamp"].startswith("2026-11-21T00:00:00")


async def test_the_log_of_a_dead_worker_is_told_and_stops_nothing(api: tuple[Api, Kube]) -> None:
    server, kube = api
    pods = "/api/v1/namespaces/ns/pods"
    assert await _said(server, kube, pods, {"metadata": {"resourceVersion": "1"}, "items": []}) == ""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "job", "uid": "job-uid", "controller": True}
    pod = {"metadata": {"namespace": "ns", "name": "p", "ownerReferences": [owner]}}
    there = {"metadata": {"resourceVersion": "1"}, "items": [pod]}
    assert await _said(server, kube, pods, there) == "", "a node that is gone is no reason to stop"
    line = {"time": "2026-11-21T07:08:09.1+00:00", "level": "info", "event": "order", "error": "http://h/a?sig=s"}
    server.texts[f"{pods}/p/log"] = json.dumps(line) + "\nKilled\n"
    assert await _said(server, kube, pods, there) == "07:08:09 order: http://h/a\nKilled"
    server.texts[f"{pods}/planted/log"] = "nothing of a worker"
    there["items"].append({"metadata": {"namespace": "ns", "name": "planted", "creationTimestamp": "2027-01-01"}})
    assert await _said(server, kube, pods, there) == "07:08:09 order: http://h/a\nKilled", "a pod with the Job's label"


async def test_log_is_the_workers_among_several_containers(api: tuple[Api, Kube]) -> None:
    """Without a name, the API server refuses to choose between the worker and a container that a webhook added."""
    server, kube = api
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "job", "uid": "job-uid", "controller": True}
    pod = {"metadata": {"namespace": "ns", "name": "p", "ownerReferences": [owner]}}
    named: list[str | None] = []

    async def log(request: web.Request) -> web.Response:
        named.append(request.query.get("container"))
        return web.Response(text="Killed\n")

    server.handlers["/api/v1/namespaces/ns/pods/p/log"] = log
    there = {"metadata": {"resourceVersion": "1"}, "items": [pod]}
    assert await _said(server, kube, "/api/v1/namespaces/ns/pods", there) == "Killed"
    ref = ResourceRef(kind=Kind.TRANSCRIPTION, namespace="ns", name="it", uid="u")
    made = job_manifest(ref, 1, Stage.PREPARE, 1, TEMPLATE)["spec"]["template"]["spec"]["containers"]
    assert named == [container["name"] for container in made]


async def _said(server: Api, kube: Kube, pods: str, listed: Any) -> str:
    server.replies["GET", pods] = (200, listed)
    return await kube.job_log("ns", "job", "job-uid", 4096)


async def test_unfinished_resources_are_listed_by_pages(api: tuple[Api, Kube]) -> None:
    server, kube = api
    a, b, c = ({"metadata": {"namespace": "ns", "name": name}} for name in "abc")
    pages = {"": ([a, b], "2 &="), "2 &=": ([c], None)}
    asked: list[dict[str, str]] = []

    async def listed(request: web.Request) -> web.Response:
        asked.append(dict(request.query))
        items, after = pages[request.query.get("continue", "")]
        return web.json_response({"metadata": {"resourceVersion": "1", "continue": after}, "items": items})

    server.handlers["/apis/contentgen.dev/v1alpha1/namespaces/ns/loratrainings"] = listed
    server.handlers["/apis/contentgen.dev/v1alpha1/loratrainings"] = listed
    assert [each async for each in kube.unfinished(Kind.LORA_TRAINING, "ns")] == [a, b, c]
    assert [each async for each in kube.unfinished(Kind.LORA_TRAINING)] == [a, b, c]
    assert {each["fieldSelector"] for each in asked} == {"status.phase!=Completed,status.phase!=Failed"}


@pytest.mark.parametrize("exceptions", ["", "127.0.0.1"])
async def test_proxy_of_the_environment_is_used_unless_excepted(
    api: tuple[Api, Kube], monkeypatch: pytest.MonkeyPatch, exceptions: str
) -> None:
    """The proxy is looked up once, not by aiohttp in a thread for each request."""
    proxy, kube = api
    assert kube._api is not None
    monkeypatch.setattr(client.Configuration, "_default", client.Configuration(host="http://127.0.0.1:1"))
    monkeypatch.setattr(config, "load_incluster_config", lambda: None)
    monkeypatch.setenv("http_proxy", kube._api.configuration.host)
    monkeypatch.setenv("no_proxy", exceptions)
    proxy.replies["GET", OURS] = 200, {"metadata": {"name": "it", "namespace": "ns", "uid": "u"}}
    async with Kube() as connection:
        assert connection._api is not None
        if exceptions:
            with pytest.raises(ClientConnectorError):
                await connection.get_resource(Kind.TRANSCRIPTION, "ns", "it")
        else:
            assert await connection.get_resource(Kind.TRANSCRIPTION, "ns", "it")
        session = connection._api.rest_client.pool_manager
        assert session is not None
        assert not session.trust_env
    assert len(proxy.seen) == (0 if exceptions else 1)
