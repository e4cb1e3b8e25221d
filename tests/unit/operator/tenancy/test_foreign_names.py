"""Names that a tenant wrote (owner references, status fields) never change which path is requested: over real HTTP,
with aiohttp and yarl, which collapse `..` before they send.
"""

import json
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import mongomock
import pytest
from aiohttp import web
from kubernetes.aio import client
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.api_paths import resource_of
from contentgen_contract.names import GROUP, Kind
from contentgen_operator.kube.api import Kube
from contentgen_operator.kube.cache import Cache
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.plan import Event
from contentgen_operator.stores.worker_jobs import WorkerJobs
from contentgen_operator.worker_api.authentication import NotAWorker, Unauthenticated, WorkerAuthenticator
from contentgen_runtime.kube import Conflict

UP = "../../../../../../"
LOG = "/api/v1/namespaces/tenant/pods/json/log"
PODS = "/api/v1/namespaces/tenant/pods"
NAMES = [
    f"{UP}{LOG[1:]}",
    f"{UP}api/v1/namespaces/other/secrets/s3",
    "..%2F..%2Fpods%2Fjson%2Flog",
    "%2e%2e/%2e%2e/pods/json/log",
    "..",
    ".",
    "",
    "it/log",
    "it?watch=true",
    "it#",
    "it\n",
    "it\\..\\x",
    "IT",
    "a..b",
    "\u0131",
    "a" * 254,
    "\ud800",
]


class Server:
    """Answers by path; any other path is 404."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.texts: dict[str, str] = {}
        self.asked: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request.raw_path)
        if request.path.endswith("/tokenreviews"):
            return web.json_response(REVIEW, status=201)
        if request.path in self.texts:
            return web.Response(text=self.texts[request.path], content_type="application/json")
        if request.path in self.answers:
            return web.Response(text=json.dumps(self.answers[request.path]), content_type="application/json")
        return web.json_response({"kind": "Status", "code": 404, "message": "not found"}, status=404)


@pytest.fixture
async def cluster() -> AsyncIterator[tuple[Server, Kube]]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    kube = Kube()
    async with client.ApiClient(client.Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}")) as api:
        kube._api = api
        yield server, kube
    await runner.cleanup()


REVIEW = {
    "status": {
        "authenticated": True,
        "audiences": ["contentgen"],
        "user": {
            "username": "system:serviceaccount:tenant:default",
            "extra": {
                "authentication.kubernetes.io/pod-name": ["worker"],
                "authentication.kubernetes.io/pod-uid": ["pod-uid"],
            },
        },
    }
}


def owner(api: str, kind: str, name: str, uid: str) -> dict[str, Any]:
    return {"apiVersion": api, "kind": kind, "name": name, "uid": uid, "controller": True}


async def test_a_pods_log_never_stands_for_its_job(cluster: tuple[Server, Kube]) -> None:
    """tenants.md 1: the log of the tenant's own pod was taken for the Job and for the resource."""
    server, kube = cluster
    forged = {
        "metadata": {
            "name": NAMES[0], "namespace": "victim", "uid": "forged", "resourceVersion": "1", "generation": 1,
            "creationTimestamp": "2026-11-21T00:00:00Z",
            "ownerReferences": [owner(f"{GROUP}/v1alpha1", Kind.TRANSCRIPTION.value, NAMES[0], "forged")],
        },
        "spec": {"source": {"url": "https://h/a.mp3"}},
        "status": {
            "run": {
                "number": 1, "version": 1, "runHash": "0" * 64, "generation": 1,
                "spec": {"source": {"url": "https://h/a.mp3"}}, "startedAt": "2026-11-21T00:00:00Z",
                "job": {"name": "j", "uid": "forged", "stage": "prepare", "attempt": 0},
            }
        },
    }  # fmt: skip
    server.answers[LOG] = forged
    server.answers[f"{PODS}/worker"] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "worker", "namespace": "tenant", "uid": "pod-uid",
            "ownerReferences": [owner("batch/v1", "Job", NAMES[0], "forged")],
        },
    }  # fmt: skip
    with pytest.raises((NotAWorker, Unauthenticated)):
        await WorkerAuthenticator(
            kube, Cache(), WorkerJobs(mongomock.MongoClient(tz_aware=True)["db"]["worker_jobs"])
        ).assignment("token")
    assert LOG not in server.asked


@pytest.mark.parametrize("name", NAMES)
async def test_a_name_that_is_none_reaches_no_path(cluster: tuple[Server, Kube], name: str) -> None:
    """By every call of the operator that takes a name: there is no such object, and nothing is requested."""
    server, kube = cluster
    server.answers[LOG] = {"metadata": {"name": name, "namespace": "tenant"}}
    kind = Kind.TRANSCRIPTION
    assert await kube.get_job("tenant", name) is None
    assert await kube.get_pod("tenant", name) is None
    assert await kube.get_resource(kind, "tenant", name) is None
    assert await kube.job_log("tenant", name, "u", 100) == ""
    await kube.delete_job("tenant", name, "u")
    for write in (
        lambda: kube.put_status(kind, "tenant", name, {}),
        lambda: kube.put_finalizers(kind, "tenant", name, "1", []),
        lambda: kube.patch_secret_data("tenant", name, "1", {}),
    ):
        with pytest.raises(Conflict):
            await write()
    assert server.asked == []


@pytest.mark.parametrize("namespace", [*NAMES, "a.b", "a" * 64])
async def test_a_namespace_that_is_none_reaches_no_path(cluster: tuple[Server, Kube], namespace: str) -> None:
    server, kube = cluster
    kind = Kind.TRANSCRIPTION
    assert await kube.get_job(namespace, "it") is None
    assert await kube.get_pod(namespace, "it") is None
    assert await kube.get_resource(kind, namespace, "it") is None
    assert await kube.job_log(namespace, "it", "u", 100) == ""
    await kube.delete_job(namespace, "it", "u")
    with pytest.raises(Conflict):
        await kube.put_status(kind, namespace, "it", {})
    ref = ResourceRef(kind=kind, namespace=namespace, name="it", uid="u")
    await kube.post_event(ref, Event(type="Normal", reason="R", message="m"), datetime(2026, 11, 21, tzinfo=UTC))
    assert server.asked == []


# Answers are compared with what was asked for.

JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"namespace": "tenant", "name": "it", "uid": "u", "creationTimestamp": "2026-11-21T00:00:00Z"},
}
JOBS_PATH = "/apis/batch/v1/namespaces/tenant/jobs"


def but(body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The body with other fields; those of the metadata where there are such."""
    meta = {key: value for key, value in changes.items() if key in body["metadata"]}
    rest = {key: value for key, value in changes.items() if key not in meta}
    return body | rest | {"metadata": body["metadata"] | meta}


@pytest.mark.parametrize(
    "answer",
    [
        but(JOB, namespace="victim"),
        but(JOB, name="other"),
        but(JOB, uid="another"),
        but(JOB, kind="Pod"),
        but(JOB, apiVersion="v1"),
        but(JOB, kind=None),
        but(JOB, kind=["Job"]),
        {"metadata": None},
        {"metadata": []},
        {"metadata": {}},
        {},
    ],
    ids=lambda each: ascii(each)[:60] if "uid" not in str(each) else None,
)
async def test_another_object_than_the_one_asked_for_is_none(
    cluster: tuple[Server, Kube], answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server, kube = cluster
    server.answers[f"{JOBS_PATH}/it"] = JOB
    assert await kube.get_job("tenant", "it", uid="u") == JOB
    server.answers[f"{JOBS_PATH}/it"] = answer
    with caplog.at_level(logging.ERROR):
        assert await kube.get_job("tenant", "it", uid="u", asked_by="pod tenant/worker") is None
    (said,) = caplog.messages
    assert "Job 'tenant'/'it', uid u, asked for by pod tenant/worker" in said


async def test_any_uid_will_do_where_none_is_asked_for(cluster: tuple[Server, Kube]) -> None:
    server, kube = cluster
    server.answers[f"{JOBS_PATH}/it"] = JOB
    assert await kube.get_job("tenant", "it") == JOB


@pytest.mark.parametrize("text", ["", "log line", "[]", "null", '"x"', "1", "[" * 100_000])
async def test_invalid_json_is_an_error_of_the_api_server(cluster: tuple[Server, Kube], text: str) -> None:
    """Not "there is none": the operator would start the work anew."""
    server, kube = cluster
    server.texts[f"{JOBS_PATH}/it"] = text
    with pytest.raises(ApiException):
        await kube.get_job("tenant", "it")


async def test_objects_of_another_namespace_are_left_out_of_lists(
    cluster: tuple[Server, Kube], caplog: pytest.LogCaptureFixture
) -> None:
    server, kube = cluster
    path = "/apis/contentgen.dev/v1alpha1/namespaces/tenant/transcriptions"
    mine = {"metadata": {"namespace": "tenant", "name": "mine"}}
    foreign = [{"metadata": {"namespace": "victim", "name": "theirs"}}, {"metadata": {"name": "nobody's"}}, {}, "text"]
    server.answers[path] = {"metadata": {"resourceVersion": "1"}, "items": [foreign[0], mine, *foreign[1:]]}
    assert [each async for each in kube.unfinished(Kind.TRANSCRIPTION, "tenant")] == [mine]
    assert len(caplog.messages) == len(foreign)


async def test_events_of_another_namespace_are_left_out_of_a_watch(cluster: tuple[Server, Kube]) -> None:
    server, kube = cluster
    path = "/apis/contentgen.dev/v1alpha1/namespaces/tenant/transcriptions"
    bodies = [{"metadata": {"namespace": word}} for word in ("tenant", "victim")] + [{"metadata": {}}]
    kinds = ["ADDED", "ADDED", "BOOKMARK"]
    events = [{"type": kind, "object": body} for kind, body in zip(kinds, bodies, strict=True)]
    server.texts[path] = "".join(json.dumps(event) + "\n" for event in events)
    seen = [each async for each in kube.watch(resource_of(Kind.TRANSCRIPTION), "tenant", "1")]
    assert seen == [("ADDED", bodies[0]), ("BOOKMARK", bodies[2])]
