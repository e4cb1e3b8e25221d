"""Access of a test to the installed release: kubectl, stores through port-forwards, and the sandbox's ledger."""

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx
from botocore.config import Config
from prometheus_client.parser import text_string_to_metric_families
from pymongo import MongoClient
from pymongo.collection import Collection

from contentgen_cluster import release
from contentgen_contract.names import API_VERSION, GROUP, VERSION, Kind
from contentgen_e2e.settings import KEYS
from kubernetes import client, config

BUCKET = "content-generation-assets"
DATABASE = "content-generation"
Body = dict[str, Any]


class TookTooLong(Exception):
    """A state was not reached in time; the message is the resource's status, or the condition."""


def until(reached: Callable[[], object], what: str = "the condition", seconds: float = 120, pause: float = 0.5) -> None:
    """Poll until it holds. Raises TookTooLong."""
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            raise TookTooLong(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)


@dataclass(frozen=True)
class ClusterWorld:
    """One namespace of a cluster with the release."""

    root: Path
    namespace: str
    api: Any
    """API client for custom resources: a kubectl process per read costs a tenth of a second of CPU time."""
    s3: Any
    jobs: Collection[Body]
    ledger_collection: Collection[Body]
    sandbox: httpx.Client

    def kubectl(self, *args: str, stdin: str | None = None) -> str:
        """Run kubectl in the test's namespace."""
        return release.kubectl(self.root, "--namespace", self.namespace, *args, stdin=stdin)

    def apply(self, kind: str, name: str, spec: Body, annotations: dict[str, str] | None = None) -> str:
        """Apply a resource; returns its uid."""
        meta = {"name": name, "namespace": self.namespace, "annotations": annotations or {}}
        body = {"apiVersion": API_VERSION, "kind": kind, "metadata": meta, "spec": release.of_class(spec)}
        applied = self.kubectl("apply", "--filename", "-", "--output", "json", stdin=json.dumps(body))
        return str(json.loads(applied)["metadata"]["uid"])

    def get(self, kind: str, name: str) -> Body:
        """Current resource. Raises ApiException, 404 if it does not exist."""
        body: Body = self.api.get_namespaced_custom_object(GROUP, VERSION, self.namespace, Kind(kind).plural, name)
        return body

    def resources(self) -> list[Body]:
        """All resources in the test's namespace."""
        plurals = (kind.plural for kind in Kind)
        lists = (self.api.list_namespaced_custom_object(GROUP, VERSION, self.namespace, plural) for plural in plurals)
        return [body for rows in lists for body in rows["items"]]

    def wait(self, kind: str, name: str, reached: Callable[[Body], bool], seconds: float = 240) -> Body:
        """Poll until `reached(status)`. Raises TookTooLong with the status."""
        deadline = time.monotonic() + seconds
        while True:
            body = self.get(kind, name)
            status: Body = body.get("status") or {}
            if reached(status):
                return body
            if time.monotonic() > deadline:
                story = self.kubectl("describe", kind.lower(), name)
                raise TookTooLong(f"{kind} {name} after {seconds:.0f} s: {json.dumps(status, indent=1)}\n{story}")
            time.sleep(0.15)

    def wait_for_end(self, kind: str, name: str, seconds: float = 240) -> Body:
        """Poll until the run is over."""
        return self.wait(kind, name, lambda s: s.get("phase") in ("Completed", "Failed"), seconds)

    def billed(self) -> list[Body]:
        """Simulated charges in the sandbox's ledger."""
        entries: list[Body] = self.sandbox.get("/sandbox/ledger").raise_for_status().json()["entries"]
        return entries

    def objects(self, uid: str) -> dict[str, int]:
        """Sizes of a job's objects by key."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        listed = (content for page in pages for content in page.get("Contents", ()))
        return {
            stored_object["Key"]: stored_object["Size"]
            for stored_object in listed
            if f"/{uid}/" in stored_object["Key"]
        }

    def read(self, key: str) -> bytes:
        """Content of an object."""
        body: bytes = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        return body

    def leader(self) -> str:
        """Holder of the Lease: pod name, `_`, and a part that is unique per process start; empty if there is none."""
        where = ("--namespace", release.NAMESPACE, "get", "lease", "contentgen", "--ignore-not-found")
        return release.kubectl(self.root, *where, "--output", "jsonpath={.spec.holderIdentity}")

    def operator_pod(self) -> str:
        """Pod that holds the Lease, once one does; after a kill this is the killed pod for 15 s."""
        return self.wait_for_leader().rpartition("_")[0]

    def wait_for_leader(self, other_than: str = "", seconds: float = 60) -> str:
        """Poll until another holder has the Lease. Raises TookTooLong."""
        deadline = time.monotonic() + seconds
        while (leader := self.leader()) in ("", other_than):
            if time.monotonic() > deadline:
                raise TookTooLong(f"no operator but {other_than!r} leads after {seconds:.0f} s")
            time.sleep(0.2)
        return leader

    def kill_operator(self) -> None:
        """Kill the leader without a signal, like the loss of a node."""
        release.kubectl(
            self.root, "--namespace", release.NAMESPACE, "delete", "pod", self.operator_pod(),
            "--grace-period=0", "--force", "--wait=false",
        )  # fmt: skip

    def run_plugin(
        self, *words: str, seconds: int = 60, namespaced: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `kubectl contentgen …` in the test's namespace, with kubectl and the plugin on the PATH.

        `namespaced`: false for a command without the option --namespace.
        """
        path = os.pathsep.join([str(Path(sys.executable).parent), str(self.root / ".cluster/bin"), os.environ["PATH"]])
        mine = {"PATH": path, "KUBECONFIG": str(self.root / ".cluster/kubeconfig")}
        return subprocess.run(
            ["kubectl", "contentgen", *words, *(("--namespace", self.namespace) if namespaced else ())],
            env=os.environ | mine | environment, capture_output=True, text=True, stdin=subprocess.DEVNULL,
            timeout=seconds, check=False,
        )  # fmt: skip

    def plugin(self, *words: str, code: int = 0, seconds: int = 60, **environment: str) -> str:
        """Output of `kubectl contentgen …`, which ends with this code and without a traceback."""
        done = self.run_plugin(*words, seconds=seconds, namespaced=True, **environment)
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def operator_log(self) -> str:
        """Logs of the running operators since their start."""
        selector = "app.kubernetes.io/component=operator"
        where = ("--namespace", release.NAMESPACE, "logs", "--selector", selector, "--tail=-1")
        return release.kubectl(self.root, *where)

    def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric's series of the leader with these labels."""
        path = f"/api/v1/namespaces/{release.NAMESPACE}/pods/{self.operator_pod()}:8080/proxy/metrics"
        families = text_string_to_metric_families(release.kubectl(self.root, "get", "--raw", path))
        samples = (sample for family in families for sample in family.samples)
        return sum(
            sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def worker_pods(self, uid: str) -> list[Body]:
        """Worker pods of a resource."""
        listed = self.kubectl("get", "pods", "--selector", f"contentgen.dev/uid={uid}", "--output", "json")
        pods: list[Body] = json.loads(listed)["items"]
        return pods


@contextmanager
def installed(root: Path, suite: str, *values: str) -> Iterator[ClusterWorld]:
    """Release with these chart values and a new namespace; the values of the main release are reset afterwards."""
    release.install(root, *KEYS, *values)
    # A first leader waits for the Lease of nobody to expire, then takes the class; before that nothing is reconciled.
    release.kubectl(root, "wait", "--for=create", f"operatorclass/{release.CLASS}", "--timeout=60s")
    with open_world(root, release.work_namespace(suite)) as opened:
        yield opened
    if values and release.WATCHED is None:
        release.install(root, *KEYS)


@dataclass(frozen=True)
class Addresses:
    """Host and port of the sandbox's servers."""

    http: str
    s3: str
    mongodb: str


@contextmanager
def open_world(root: Path, namespace: str, of: str = release.NAMESPACE) -> Iterator[ClusterWorld]:
    """Forward the ports of the release in the namespace `of`, with a temporary namespace for the test."""
    with ExitStack() as stack:
        http, s3, mongodb = (
            f"127.0.0.1:{stack.enter_context(release.port_forward(root, of, 'svc/contentgen-sandbox', name))}"
            for name in ("http", "s3", "mongodb")
        )
        yield stack.enter_context(world_at(root, namespace, of, Addresses(http=http, s3=s3, mongodb=mongodb)))


@contextmanager
def world_at(root: Path, namespace: str, of: str, at: Addresses) -> Iterator[ClusterWorld]:
    """Temporary namespace. `of`: the namespace of the release whose sandbox is used."""
    with ExitStack() as stack:
        database = stack.enter_context(
            MongoClient[Body](f"mongodb://{at.mongodb}/?directConnection=true", tz_aware=True)
        )[DATABASE]
        # The sandbox closes a connection after five idle seconds, possibly while a request is being sent on it.
        fresh = httpx.Limits(max_keepalive_connections=0)
        sandbox = stack.enter_context(
            httpx.Client(base_url=f"http://{at.http}", timeout=60, trust_env=False, limits=fresh)
        )
        release.make_namespace(root, namespace)
        stack.callback(release.kubectl, root, "delete", "namespace", namespace, "--wait=false")
        if release.WATCHED:
            stack.callback(release.drop_finalizers, root, namespace)
        yield ClusterWorld(
            root=root,
            namespace=namespace,
            api=client.CustomObjectsApi(stack.enter_context(connected(root))),
            s3=s3_client(root, of, f"http://{at.s3}"),
            jobs=database["jobs"],
            ledger_collection=database["ledger"],
            sandbox=sandbox,
        )


def s3_client(root: Path, of: str, endpoint: str) -> Any:
    """S3 client with the key of the release in the namespace `of`."""
    key = json.loads(
        release.kubectl(root, "--namespace", of, "get", "secret", "contentgen-storage", "--output", "json")
    )["data"]
    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=base64.b64decode(key["access-key-id"]).decode(),
        aws_secret_access_key=base64.b64decode(key["secret-access-key"]).decode(),
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )


def connected(root: Path) -> Any:
    """API client; a context manager."""
    return config.new_client_from_config(str(root / ".cluster/kubeconfig"))


def wait_for_rollout(root: Path, name: str) -> None:
    """Wait until a deployment's pods are all of the newest version: older ones may lead until they exit."""
    where = ("--namespace", release.NAMESPACE)
    release.kubectl(root, *where, "rollout", "status", f"deployment/{name}", "--timeout=120s")
    selector = f"app.kubernetes.io/component={name.removeprefix('contentgen').removeprefix('-') or 'operator'}"
    ending = "jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}"
    deadline = time.monotonic() + 120
    while left := release.kubectl(root, *where, "get", "pods", "--selector", selector, "--output", ending):
        if time.monotonic() > deadline:
            raise TookTooLong(f"pods of an older version of {name} are still terminating: {left}")
        time.sleep(0.3)
