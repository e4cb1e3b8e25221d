"""Environment of the measured operator: stores, providers and processes on this machine."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import yaml

from contentgen_bench.latency.control_plane import ControlPlane
from contentgen_bench.processes import MeasuredProcess, is_success, running, until
from contentgen_bench.report import ROOT
from contentgen_contract.names import GROUP, VERSION, Kind
from contentgen_sandbox.stores import minimal_environment
from contentgen_sandbox.testing import BUILT, free_port

SYSTEM_NAMESPACE = "contentgen"
NAMESPACE = "bench"
_SECRET = "contentgen-worker-api-tls"  # noqa: S105 - a Secret's name
_PROVIDER_KEY = "bench"


@dataclass(frozen=True)
class BenchStores:
    """Ports of the sandbox."""

    folder: Path
    http: int
    s3: int
    mongo: int
    process: MeasuredProcess

    @property
    def url(self) -> str:
        """URL of the providers and their faults."""
        return f"http://127.0.0.1:{self.http}"


@contextmanager
def stores(folder: Path) -> Iterator[BenchStores]:
    """Run the sandbox: S3, MongoDB, and providers that answer at once."""
    http, s3, mongo = free_port(), free_port(), free_port()
    environment = minimal_environment() | {
        "SANDBOX_DATA": str(folder / "sandbox"),
        "SANDBOX_HOST": "127.0.0.1",
        "SANDBOX_PORT": str(http),
        "SANDBOX_S3_PORT": str(s3),
        "SANDBOX_MONGO_PORT": str(mongo),
        "SANDBOX_TRAINING_SECONDS": "0",
        "SANDBOX_IMAGE_SECONDS": "0",
        "SANDBOX_TRANSCRIPT_SECONDS": "0",
        "SANDBOX_KEPT_JOBS": "5000",
        "VERSITYGW": str(BUILT / "versitygw"),
        "MONGO_JARS": str(BUILT / "mongo"),
        "ROOT_ACCESS_KEY": "sandbox",
        "ROOT_SECRET_KEY": "sandbox-secret",
    }
    (folder / "sandbox").mkdir()
    with running([sys.executable, "-m", "contentgen_sandbox", "all"], environment, folder / "sandbox.log") as process:
        at = BenchStores(folder=folder, http=http, s3=s3, mongo=mongo, process=process)
        with httpx.Client(base_url=at.url, trust_env=False) as client:
            until("the sandbox answers", lambda: is_success(client, "/healthz"), 60)
        yield at


@contextmanager
def operator(
    plane: ControlPlane, at: BenchStores, *, log: str = "operator", wrapper: tuple[str, ...] = ()
) -> Iterator[MeasuredProcess]:
    """Run the real operator as a process."""
    keys = at.folder / "keys"
    keys.mkdir(exist_ok=True)
    for name in ("fal-key", "assemblyai-key"):
        (keys / name).write_text(_PROVIDER_KEY)
    worker_api = free_port()
    environment = minimal_environment() | {
        "KUBECONFIG": str(plane.kubeconfig(plane.operator, "operator")),
        "AWS_ACCESS_KEY_ID": "sandbox",
        "AWS_SECRET_ACCESS_KEY": "sandbox-secret",
        "PYTHONUNBUFFERED": "1",
        "CONTENTGEN_NAMESPACE": SYSTEM_NAMESPACE,
        "CONTENTGEN_HEALTH_PORT": str(free_port()),
        "CONTENTGEN_MONGODB_URI": f"mongodb://127.0.0.1:{at.mongo}/?directConnection=true",
        "CONTENTGEN_S3_ENDPOINT": f"http://127.0.0.1:{at.s3}",
        "CONTENTGEN_FAL_KEY_FILE": str(keys / "fal-key"),
        "CONTENTGEN_FAL_QUEUE_URL": f"{at.url}/fal",
        "CONTENTGEN_FAL_API_URL": f"{at.url}/fal-api",
        "CONTENTGEN_ASSEMBLYAI_KEY_FILE": str(keys / "assemblyai-key"),
        "CONTENTGEN_ASSEMBLYAI_URL": f"{at.url}/assemblyai",
        "CONTENTGEN_POLL_SECONDS": "1",
        "CONTENTGEN_WORKER_API_URL": f"https://localhost:{worker_api}",
        "CONTENTGEN_WORKER_API_PORT": str(worker_api),
        "CONTENTGEN_WORKER_API_SECRET": _SECRET,
    }
    command = [*(wrapper or (sys.executable,)), "-m", "contentgen_operator"]
    with running(command, environment, at.folder / f"{log}.log") as process:
        yield process


@contextmanager
def simulated_node(plane: ControlPlane, folder: Path) -> Iterator[MeasuredProcess]:
    """Run the replacement of kubelet and worker as a process."""
    command = [
        sys.executable,
        "-m",
        "contentgen_bench.latency.simulated_node",
        str(plane.kubeconfig(plane.admin, "stand-in")),
    ]
    with running(command, minimal_environment(), folder / "stand-in.log") as process:
        yield process


def prepare(client: httpx.Client) -> None:
    """Create the CRDs of this tree, the namespaces, and the Secret that the chart creates empty."""
    for path in sorted((ROOT / "crds").glob("*.yaml")):
        for body in yaml.safe_load_all(path.read_text()):
            _post(client, "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body)
    for name in (SYSTEM_NAMESPACE, NAMESPACE):
        _post(client, "/api/v1/namespaces", {"metadata": {"name": name}})
    _post(client, f"/api/v1/namespaces/{SYSTEM_NAMESPACE}/secrets", {"metadata": {"name": _SECRET}, "data": {}})
    served = [f"/apis/{GROUP}/{VERSION}/{kind.plural}" for kind in Kind]
    for url in (*served, f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"):
        until(f"{url} is served", partial(is_success, client, url))


def _post(client: httpx.Client, path: str, body: object) -> None:
    answer = client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
    if answer.is_error:
        raise RuntimeError(f"POST {path}: {answer.status_code} {answer.text[:500]}")
