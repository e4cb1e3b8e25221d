"""Watches over HTTPS, and the clients that the product has: the operator's, kopf, the plugin's."""

import asyncio
import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import kopf
import pytest

from contentgen_cli.cluster import ClusterFlags, connect
from contentgen_contract.api_paths import LEASES, resource_of
from contentgen_contract.names import API_VERSION, GROUP, VERSION, Kind
from contentgen_contract.resources.operator_class import ClassOwner
from contentgen_gateway.live.watching import ListComplete, ObjectChanged, ObjectDeleted, follow
from contentgen_operator.kube.api import Kube
from contentgen_operator.leader.class_holder import KubeClass
from contentgen_operator.leader.election import Record
from contentgen_operator.leader.elector import KubeLease
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.plan import Event
from contentgen_runtime.clock import utc_now
from contentgen_runtime.kube import Conflict
from contentgen_simulation.crd_cases import IMAGE, SPEC, manifest
from contentgen_try.api_server.refusals import Refusal
from contentgen_try.api_server.schemas.resource_types import CONFIG_MAPS
from contentgen_try.api_server.storage import store as stores
from contentgen_try.api_server.storage.store import Ended, Store

GENERATIONS = f"/apis/{API_VERSION}/namespaces/default/imagegenerations"
CORE = "/api/v1/namespaces/default"
AS_MERGE = {"Content-Type": "application/merge-patch+json"}
Body = dict[str, Any]


@pytest.fixture
def process(start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "logs" / "default").mkdir(parents=True)
    started = start("--logs", str(tmp_path / "logs"))
    monkeypatch.setenv("KUBECONFIG", str(started.kubeconfig))
    # Read from the environment at the import.
    monkeypatch.setattr("kubernetes.aio.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(started.kubeconfig))
    return started


@pytest.fixture
def client(process: Any) -> Iterator[httpx.Client]:
    with process.client() as made:
        yield made


def create(client: httpx.Client, name: str, **metadata: Any) -> Body:
    body = manifest(IMAGE, SPEC[IMAGE], name)
    body["metadata"] |= metadata
    answer = client.post(GENERATIONS, json=body)
    assert answer.status_code == 201, answer.text
    made: Body = answer.json()
    return made


def open_files() -> int:
    """Number of this process's file descriptors."""
    return len(list(Path("/proc/self/fd").iterdir()))


def events(client: httpx.Client, count: int, path: str = GENERATIONS, **query: str) -> list[tuple[str, str]]:
    """Types and names of the first events of a watch."""
    found = []
    with client.stream("GET", path, params={"watch": "true", **query}) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            event = json.loads(line)
            found.append((event["type"], event["object"].get("metadata", {}).get("name", "")))
            if len(found) == count:
                break
    return found


def test_a_watch_continues_from_a_version(client: httpx.Client) -> None:
    since = create(client, "a")["metadata"]["resourceVersion"]
    create(client, "b")
    client.patch(f"{GENERATIONS}/b/status", json={"status": {"phase": "Failed"}}, headers=AS_MERGE)
    client.delete(f"{GENERATIONS}/a")
    expected = [("ADDED", "b"), ("MODIFIED", "b"), ("DELETED", "a")]
    assert events(client, 3, resourceVersion=since) == expected
    everywhere = f"/apis/{API_VERSION}/imagegenerations"
    assert events(client, 3, everywhere, resourceVersion=since) == expected
    assert events(client, 1, resourceVersion="0") == [("ADDED", "b")]
    assert events(client, 1, resourceVersion=since, fieldSelector="metadata.name=a") == [("DELETED", "a")]
    assert events(client, 1, f"{GENERATIONS}/a", resourceVersion=since) == [("DELETED", "a")]


def test_objects_entering_or_leaving_the_selector_are_events(client: httpx.Client) -> None:
    since = create(client, "a")["metadata"]["resourceVersion"]
    for value in ("x", None):
        client.patch(f"{GENERATIONS}/a", json={"metadata": {"labels": {"l": value}}}, headers=AS_MERGE)
    assert events(client, 2, resourceVersion=since, labelSelector="l=x") == [("ADDED", "a"), ("DELETED", "a")]


def test_an_initial_list_ends_with_a_bookmark(client: httpx.Client) -> None:
    create(client, "a")
    query = {"sendInitialEvents": "true", "allowWatchBookmarks": "true", "resourceVersionMatch": "NotOlderThan"}
    assert events(client, 2, **query) == [("ADDED", "a"), ("BOOKMARK", "")]


def test_a_watch_ends_after_its_time(client: httpx.Client) -> None:
    create(client, "a")
    lines = client.get(GENERATIONS, params={"watch": "1", "timeoutSeconds": "1"}).text.splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["ADDED"]


def test_tables_are_watched(client: httpx.Client) -> None:
    create(client, "a")
    create(client, "b")
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
    query = {"watch": "1", "timeoutSeconds": "1"}
    lines = client.get(GENERATIONS, params=query, headers=accept).text.splitlines()
    first, second = (json.loads(line)["object"] for line in lines)
    assert (first["kind"], first["rows"][0]["cells"][0], second["rows"][0]["cells"][0]) == ("Table", "a", "b")
    assert first["columnDefinitions"]
    assert not second["columnDefinitions"]


async def test_the_history_is_limited_and_slow_watches_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "_BEHIND", 3)
    store = Store(version=10)
    with pytest.raises(Refusal, match="too old resource version"):
        store.subscribe(CONFIG_MAPS, 9)
    with pytest.raises(Refusal):
        store.subscribe(CONFIG_MAPS, 11)
    slow = store.subscribe(CONFIG_MAPS, 10)
    for number in range(stores._HISTORY + 1):
        store.put(CONFIG_MAPS, {"metadata": {"name": f"c{number}"}})
    with pytest.raises(Refusal):
        store.subscribe(CONFIG_MAPS, 10)
    assert await store.subscribe(CONFIG_MAPS, 11).next(0) is not None
    assert [getattr(await slow.next(0), "version", 0) for _ in range(3)] == [11, 12, 13]
    with pytest.raises(Ended):
        await slow.next(0)


def test_an_ended_watch_is_forgotten(client: httpx.Client, server: Any) -> None:
    kind = server.registry.get(GROUP, VERSION, IMAGE.plural)
    subscription = server.store.subscribe(kind, server.store.version)
    assert server.store._of(kind).watches == {subscription}
    server.store.unsubscribe(kind, subscription)
    assert not server.store._of(kind).watches


# --- the operator's client


async def test_the_operators_client(client: httpx.Client) -> None:
    made = create(client, "a", finalizers=["contentgen.dev/x"])
    uid = made["metadata"]["uid"]
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "j",
            "ownerReferences": [{"apiVersion": API_VERSION, "kind": IMAGE.value, "name": "a", "uid": uid}],
        },
        "spec": {"template": {"spec": {"containers": [{"name": "worker"}], "restartPolicy": "Never"}}},
    }
    async with Kube() as kube:
        assert [resource["metadata"]["name"] async for resource in kube.unfinished(IMAGE)] == ["a"]
        assert await kube.get_resource(IMAGE, "default", "a", uid=uid) == made
        assert await kube.get_resource(IMAGE, "default", "a", uid="other") is None
        written = await kube.put_status(IMAGE, "default", "a", made | {"status": {"phase": "Completed"}})
        with pytest.raises(Conflict):
            await kube.put_status(IMAGE, "default", "a", made | {"status": {"phase": "Failed"}})
        assert [each async for each in kube.unfinished(IMAGE)] == []
        await kube.check_job("default", job)
        assert await kube.get_job("default", "j") is None
        created = await kube.create_job("default", job)
        assert created is not None
        assert await kube.create_job("default", job) is None
        assert (await kube.job_pods("default", "j"), await kube.quotas("default")) == ([], [])
        ref = ResourceRef(kind=IMAGE, namespace="default", name="a", uid=uid)
        await kube.post_event(ref, Event(type="Normal", reason="Started", message="A message"), utc_now())
        assert await kube.job_events("default", uid) == []
        await kube.delete_job("default", "j", "other")
        assert await kube.get_job("default", "j") is not None
        await kube.delete_job("default", "j", created["metadata"]["uid"])
        assert await kube.get_job("default", "j") is None
        version = written["metadata"]["resourceVersion"]
        await kube.put_finalizers(IMAGE, "default", "a", version, [])
        with pytest.raises(Conflict):
            await kube.put_finalizers(IMAGE, "default", "a", version, ["contentgen.dev/x"])
    query = {"fieldSelector": f"involvedObject.uid={uid}"}
    listed = (await asyncio.to_thread(client.get, f"{CORE}/events", params=query)).json()["items"]
    assert [each["message"] for each in listed] == ["A message"]


async def test_the_operators_lease_and_class(client: httpx.Client) -> None:
    owner = ClassOwner(namespace="contentgen", service_account="contentgen", release="try")
    now = "2026-11-23T12:00:00.000000Z"
    async with Kube() as kube:
        lease = KubeLease(kube, "contentgen", "contentgen")
        assert await lease.read() is None
        record = Record(holder="one", seconds=15, acquired=now, renewed=now, transitions=0)
        first = await lease.write(None, record)
        assert await lease.read() == first
        with pytest.raises(Conflict):
            await lease.write(None, record)
        await lease.write(first, replace(record, transitions=1))
        with pytest.raises(Conflict):
            await lease.write(first, replace(record, transitions=2))
        classes = KubeClass(kube, "default")
        assert await classes.read() is None
        made = await classes.create(owner)
        assert await classes.read() == made
        with pytest.raises(Conflict):
            await classes.create(owner)
        assert (await kube.get(LEASES, "contentgen", "contentgen", asked_by="a test")) is not None


async def test_the_gateways_watch(client: httpx.Client) -> None:
    create(client, "a")
    seen = []
    async with Kube() as kube:
        async for each in follow(kube, resource_of(IMAGE)):
            seen.append(each)
            if isinstance(each, ListComplete):
                await asyncio.to_thread(client.delete, f"{GENERATIONS}/a")
            if isinstance(each, ObjectDeleted):
                break
    assert [type(each) for each in seen] == [ObjectChanged, ListComplete, ObjectDeleted]


async def test_kopf_watches(client: httpx.Client) -> None:
    registry, stop, ready = kopf.OperatorRegistry(), asyncio.Event(), asyncio.Event()
    seen: asyncio.Queue[tuple[str | None, str]] = asyncio.Queue()

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> Any:
        return kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.event(GROUP, VERSION, IMAGE.plural, registry=registry)
    async def handle(type: str | None, name: str | None, **_: Any) -> None:  # noqa: A002 - kopf's name
        await seen.put((type, str(name)))

    create(client, "a")
    before = open_files()
    running = asyncio.create_task(
        kopf.operator(registry=registry, standalone=True, clusterwide=True, stop_flag=stop, ready_flag=ready)
    )
    async with asyncio.timeout(60):
        assert await seen.get() == (None, "a")  # listed
        await asyncio.to_thread(create, client, "b")
        assert await seen.get() == ("ADDED", "b")
        await asyncio.to_thread(client.delete, f"{GENERATIONS}/a")
        assert await seen.get() == ("DELETED", "a")
    stop.set()
    await running
    async with asyncio.timeout(60):
        while open_files() > before:  # noqa: ASYNC110 - kopf does not wait for its TLS connections
            await asyncio.sleep(0.02)
    for name in ("kopf", "asyncio"):
        logging.getLogger(name).handlers.clear()


def test_the_plugins_client_and_logs(client: httpx.Client, process: Any, tmp_path: Path) -> None:
    made = create(client, "a")
    labels = {"contentgen.dev/uid": made["metadata"]["uid"]}
    pod = {"metadata": {"name": "p", "labels": labels}, "spec": {"containers": [{"name": "worker"}], "nodeName": "n"}}
    client.post(f"{CORE}/pods", json=pod)
    with connect(ClusterFlags(kubeconfig=str(process.kubeconfig))) as cluster:
        item = cluster.get(IMAGE, "a")
        assert [each.name for each in cluster.all_of(IMAGE, everywhere=True)] == ["a"]
        changed = cluster.patch(item, {"metadata": {"annotations": {"a": "b"}}})
        assert changed.resource_version != item.resource_version
        assert "must not be negative" not in cluster.refusal(changed, {"spec": {"suspend": True}})
        assert "spec.image.seed" in cluster.refusal(changed, {"spec": {"image": {"seed": -1}}})
        assert cluster.is_served("default") is False
        assert cluster.lora("a") is None
        path = f"{CORE}/pods/p/log"
        answer = client.get(path)
        assert (answer.status_code, "is waiting to start" in answer.json()["message"]) == (400, True)
        file = tmp_path / "logs" / "default" / "p.log"
        file.write_text("one\ntwo\nthree\n")
        assert list(cluster.log("p", follow=False)) == ["one", "two", "three"]
        for query, expected in (
            ({"tailLines": "2"}, "two\nthree\n"),
            ({"tailLines": "0"}, ""),
            ({"tailLines": "9", "limitBytes": "5"}, "one\nt"),
        ):
            assert client.get(path, params=query).text == expected
        followed = cluster.log("p", follow=True)
        assert [next(followed) for _ in range(3)] == ["one", "two", "three"]
        with file.open("a") as stream:
            stream.write("four\n")
        assert next(followed) == "four"
        client.patch(f"{CORE}/pods/p/status", json={"status": {"phase": "Succeeded"}}, headers=AS_MERGE)
        assert list(followed) == []
    assert client.get(f"{CORE}/pods/q/log").status_code == 404
    file.unlink()
    file.symlink_to("/etc/passwd")
    assert client.get(path).status_code == 400


def test_the_process_ends_with_its_watches_and_verifies(process: Any, client: httpx.Client) -> None:
    """The certificate in the kubeconfig is that of the server; SIGTERM ends it in spite of an open watch."""
    create(client, "a")
    with client.stream("GET", GENERATIONS, params={"watch": "1"}) as answer:
        assert next(answer.iter_lines())
        process.process.terminate()
        assert process.process.wait(60) == 0


def test_bad_options_are_messages(tmp_path: Path) -> None:
    command = ["-m", "contentgen_try.api_server", "--crds", str(tmp_path), "--kubeconfig", str(tmp_path / "k")]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert (done.returncode, "has no file with a CustomResourceDefinition" in done.stderr) == (1, True)
    assert "Traceback" not in done.stderr


def test_kinds_are_those_of_the_contract(server: Any) -> None:
    for kind in Kind:
        assert server.registry.get(GROUP, VERSION, kind.plural).kind == kind.value
