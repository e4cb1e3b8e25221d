"""Latency of one job at a time on the installed release, with real pods: time between `apply` and Completed.

    apply ─► operator ─► Job ─► pod made ─► container started ─► worker ─► outcome ─► operator … ─► Completed
                                 └── the cluster's start ──┘└── the pods' own run ──┘

The pods' own run is from a container's start to its end, or to Completed if that comes first: the operator continues
as soon as the outcome is stored, while the pod still terminates.
"""

import json
import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from contentgen_bench.latency.api import Api, from_kubeconfig
from contentgen_bench.latency.environment import NAMESPACE
from contentgen_bench.latency.resources import BenchResources, Body, Watcher
from contentgen_bench.processes import is_success, until
from contentgen_bench.report import Row, load
from contentgen_cluster import release
from contentgen_cluster.node.node import AT
from contentgen_contract.names import UID_LABEL, Kind
from contentgen_e2e import small_jobs
from contentgen_e2e.world import wait_for_rollout

_POD_LABEL = "app.kubernetes.io/name"
_OPERATOR = "system:serviceaccount:contentgen:contentgen"


@dataclass(frozen=True)
class OneJob:
    """Durations of one job in seconds."""

    total: float
    pods: float
    start: float

    @property
    def beyond(self) -> float:
        """Seconds outside the pods' own run."""
        return self.total - self.pods

    @property
    def operator(self) -> float:
        """Seconds without the cluster's start of pods either: operator, API server, Job controller."""
        return self.beyond - self.start


class Pods:
    """Context manager that records when a watch first delivered each pod."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._closed = threading.Event()
        self.seen: dict[str, float] = {}

    def __enter__(self) -> "Pods":
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()

    def _watch(self) -> None:
        with self._api.client() as client:
            while not self._closed.is_set():
                with (
                    suppress(httpx.TransportError),
                    client.stream("GET", _PODS, params={"watch": "true"}, timeout=None) as stream,
                ):
                    for line in stream.iter_lines():
                        if self._closed.is_set():
                            return
                        meta = json.loads(line)["object"]["metadata"]
                        self.seen.setdefault(meta.get("uid", ""), time.time())


_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


class Latency:
    """Latency measurement in a namespace of `namespace`."""

    def __init__(self, api: Api, film: str) -> None:
        self._api = api
        self._film = film
        self._client = api.client()

    def job(self, kind: Kind, name: str) -> OneJob:
        """Measure one job."""
        resources = BenchResources(self._api)
        with Watcher(self._api) as watcher, Pods(self._api) as pods:
            time.sleep(0.5)  # until both watches run
            begun = time.time()
            body = resources.apply_spec(kind, name, _spec(kind, name, self._film))
            watcher.wait(lambda w: w.at(name, "Completed") is not None, 120, f"{kind} {name}")
            ended = watcher.at(name, "Completed") or 0
            return self._run(pods, f"{UID_LABEL}={body['metadata']['uid']}", begun, ended)

    def bare(self, name: str, image: str) -> OneJob:
        """Measure the floor: a Job of the same image that does nothing."""
        with Pods(self._api) as pods:
            time.sleep(0.5)
            begun = time.time()
            manifest = _bare_job(name, image)
            self._client.post(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs", json=manifest).raise_for_status()
            path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{name}"
            deadline = time.monotonic() + 60
            while not self._client.get(path).json()["status"].get("succeeded"):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"Job {name}")
                time.sleep(0.05)
            return self._run(pods, f"{_POD_LABEL}={name}", begun, time.time())

    def _run(self, pods: Pods, selector: str, begun: float, ended: float) -> OneJob:
        own, start = 0.0, 0.0
        time.sleep(1.5)  # until the kubelet has reported the pods' end
        listed = self._client.get(_PODS, params={"labelSelector": selector}).json()["items"]
        for pod in listed:
            started, finished = _times(pod)
            own += min(finished, ended) - started
            start += started - pods.seen[pod["metadata"]["uid"]]
        return OneJob(total=ended - begun, pods=own, start=start)


def _times(pod: Body) -> tuple[float, float]:
    """Start and end of the container: from containerd's record if it is on this machine, else from the pod's status in
    whole seconds.
    """
    status = pod["status"]["containerStatuses"][0]
    identity = status["containerID"].removeprefix("containerd://")
    record = AT.state / "containerd/io.containerd.grpc.v1.cri/containers" / identity / "status"
    if record.exists():
        exact = json.loads(record.read_text())
        return exact["StartedAt"] / 1e9, exact["FinishedAt"] / 1e9
    ended = status["state"]["terminated"]
    return tuple(datetime.fromisoformat(ended[each]).timestamp() for each in ("startedAt", "finishedAt"))  # type: ignore[return-value]  # two


def _spec(kind: Kind, name: str, film: str) -> Body:
    match kind:
        case Kind.LORA_TRAINING:
            dataset = {"minImages": 4}
            return {"loraName": name, "triggerWord": "jf", "source": {"url": film}, "dataset": dataset}
        case Kind.IMAGE_GENERATION:
            size = {"width": 256, "height": 256}
            return {"model": "flux-dev", "prompt": f"a lighthouse at dusk, {name}", "image": {"size": size}}
        case Kind.TRANSCRIPTION:
            return {"source": {"url": film}}


def _bare_job(name: str, image: str) -> Body:
    container = {
        "name": "worker",
        "image": image,
        "command": ["python3", "-c", "pass"],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {
        "metadata": {"name": name},
        "spec": {"template": {"metadata": {"labels": {_POD_LABEL: name}}, "spec": pod}},
    }


@contextmanager
def namespace(api: Api) -> Iterator[None]:
    """Temporary namespace for the runs."""
    with api.client() as client:
        meta = {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}
        client.post("/api/v1/namespaces", json={"metadata": meta}).raise_for_status()
        try:
            account = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"
            until("the namespace has a service account", lambda: is_success(client, account))
            yield
        finally:
            client.delete(f"/api/v1/namespaces/{NAMESPACE}")


@contextmanager
def prompt_provider(root: Path) -> Iterator[None]:
    """Configure the release's sandbox so that models take no time."""
    names = ("SANDBOX_TRAINING_SECONDS", "SANDBOX_IMAGE_SECONDS", "SANDBOX_TRANSCRIPT_SECONDS")
    try:
        _set_sandbox(root, *(f"{name}=0" for name in names))
        yield
    finally:
        _set_sandbox(root, *(f"{name}-" for name in names))


def _set_sandbox(root: Path, *environment: str) -> None:
    """Restart the sandbox, which is then empty, and the operator, which creates bucket and indexes at its start."""
    where = ("--namespace", release.NAMESPACE)
    release.kubectl(root, *where, "set", "env", "deployment/contentgen-sandbox", *environment)
    wait_for_rollout(root, "contentgen-sandbox")
    release.kubectl(root, *where, "rollout", "restart", "deployment/contentgen")
    wait_for_rollout(root, "contentgen")


def operator_requests() -> int | None:
    """Number of the operator's API requests so far without watches; None if the audit log is unavailable."""
    log = AT.logs / "audit.log"
    if not log.exists():
        return None
    count = 0
    for path in AT.logs.glob("audit*.log"):
        for line in path.read_text().splitlines():
            event = json.loads(line)
            mine = event["user"].get("username") == _OPERATOR and event["verb"] != "watch"
            count += mine and event["stage"] == "ResponseComplete"
    return count


def medians(runs: Sequence[OneJob]) -> dict[str, float]:
    """Medians for the details column."""
    return {
        "total": round(statistics.median(run.total for run in runs), 2),
        "pods' own run": round(statistics.median(run.pods for run in runs), 2),
        "cluster's start of pods": round(statistics.median(run.start for run in runs), 2),
        "the rest": round(statistics.median(run.operator for run in runs), 2),
        "beyond the pods' own run": round(statistics.median(run.beyond for run in runs), 2),
    }


def run(root: Path, rounds: int) -> tuple[list[Row], Body]:
    """Install the release, measure each kind and the floor in turn, and restore the release."""
    release.install(root, *(f"providers.{name}.key=bench" for name in ("fal", "assemblyai")))
    api = from_kubeconfig(root / ".cluster/kubeconfig")
    image = json.loads((root / ".cluster/images.json").read_text())["worker"]
    names: list[Kind | None] = [*Kind, None]
    runs: dict[Kind | None, list[OneJob]] = {name: [] for name in names}
    with prompt_provider(root), namespace(api):
        latency = Latency(api, _upload(root))
        latency.bare("warm", image)
        asked, begun = operator_requests(), load()
        for number in range(rounds):
            for kind in names:
                name = f"{kind.short_name if kind else 'bare'}-{number}"
                runs[kind].append(latency.job(kind, name) if kind else latency.bare(name, image))
        after = operator_requests()
    details: Body = {kind.value if kind else "a bare Job": medians(each_run) for kind, each_run in runs.items()}
    details["load"] = f"{begun} to {load()}"
    jobs = [each for kind, found in runs.items() if kind for each in found]
    rows = [
        _row("apply to Completed beyond the pods' own run, one job at a time, all kinds", [r.beyond for r in jobs], 2),
        _row("of that, the cluster's start of the pods (one or two a job)", [r.start for r in jobs]),
        _row("of that, operator, API server and Job controller", [r.operator for r in jobs]),
        _row("floor: a bare Job of the same image, beyond its pod's own run", [r.beyond for r in runs[None]]),
    ]
    if asked is not None and after is not None:
        requests = round((after - asked) / len(jobs), 1)
        rows.append(Row(figure="API requests per job, real workers", value=requests, unit="requests", goal=25))
    return rows, details


def _row(figure: str, seconds: Sequence[float], goal: float | None = None) -> Row:
    note = f"median of {len(seconds)}"
    return Row(figure=figure, value=round(statistics.median(seconds), 2), unit="s", goal=goal, note=note)


def _upload(root: Path) -> str:
    with release.port_forward(root, release.NAMESPACE, "svc/contentgen-sandbox", "http") as port:
        url = f"http://127.0.0.1:{port}/media/bench.mp4"
        httpx.put(url, content=small_jobs.film(), timeout=30, trust_env=False).raise_for_status()
    return f"http://contentgen-sandbox.{release.NAMESPACE}.svc/media/bench.mp4"
