"""Separate control plane for the benchmark: real etcd, API server and controller manager.

There is no node, scheduler or Job controller: `simulated_node` replaces them. The shared cluster is not used, so
every request in the audit log was caused by the benchmark.
"""

import base64
import json
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx

from contentgen_bench.latency.api import Api, from_kubeconfig
from contentgen_bench.processes import MeasuredProcess
from contentgen_cluster.cache import ContentCache
from contentgen_cluster.images import golang
from contentgen_cluster.node.certificates import ClusterAuthority, Pair
from contentgen_cluster.paths import cache_root
from contentgen_sandbox.testing import free_port

OPERATOR_USER = "contentgen-operator"
_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "users": [OPERATOR_USER]}, {"level": "None"}],
}
_START_SECONDS = 60


@dataclass(frozen=True)
class ControlPlane:
    """Address, files and credentials of the control plane."""

    url: str
    folder: Path
    authority: Path
    admin: Pair
    operator: Pair
    processes: dict[str, MeasuredProcess] = field(default_factory=dict)

    @property
    def api(self) -> Api:
        """Connection of an administrator."""
        return from_kubeconfig(self.kubeconfig(self.admin, "admin"))

    def kubeconfig(self, who: Pair, name: str) -> Path:
        """Kubeconfig for one user."""
        user = {"client-certificate-data": _inline(who.certificate), "client-key-data": _inline(who.key)}
        cluster = {"server": self.url, "certificate-authority-data": _inline(self.authority)}
        body = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": cluster}],
            "users": [{"name": "bench", "user": user}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        }
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(json.dumps(body))
        return path

    def operator_requests(self) -> Counter[str]:
        """Number of the operator's requests so far, by verb and resource; a watch counts once."""
        seen: Counter[str] = Counter()
        for log in sorted(self.folder.glob("audit*.log")):
            for line in log.read_text().splitlines():
                event = json.loads(line)
                # A watch is logged when it starts and when it ends.
                if event["stage"] != ("ResponseStarted" if event["verb"] == "watch" else "ResponseComplete"):
                    continue
                about = event.get("objectRef") or {}
                name = "/".join(filter(None, (about.get("resource"), about.get("subresource"))))
                seen[f"{event['verb']} {name or event['requestURI']}"] += 1
        return seen


@contextmanager
def control_plane(folder: Path) -> Iterator[ControlPlane]:
    """Run a control plane in `folder` within the context."""
    program = golang.kubernetes(ContentCache(cache_root()))
    authority = ClusterAuthority(folder / "certificates", datetime.now(UTC))
    here = ["127.0.0.1", "localhost"]
    etcd_port, peer_port, port = free_port(), free_port(), free_port()
    server = authority.issue("api", "kube-apiserver", hosts=[*here, "10.97.0.1", "kubernetes.default.svc"])
    etcd = authority.issue("etcd", "etcd", hosts=here)
    plane = ControlPlane(
        url=f"https://127.0.0.1:{port}",
        folder=folder,
        authority=authority.certificate,
        admin=authority.issue("admin", "admin", groups=["system:masters"]),
        operator=authority.issue("operator", OPERATOR_USER, groups=["system:masters"]),
    )
    manager = authority.issue("manager", "system:kube-controller-manager", groups=["system:masters"])
    service_accounts = authority.signing_key("service-accounts")
    (folder / "audit.json").write_text(json.dumps(_AUDIT))
    with ExitStack() as stack:

        def run(component: str, flags: list[str]) -> None:
            plane.processes[component] = stack.enter_context(_running(program, folder, component, flags))

        run("etcd", _etcd(folder, authority, etcd, etcd_port, peer_port))
        flags = _api_server(
            folder,
            authority,
            pair=server,
            etcd=etcd,
            service_accounts=service_accounts,
            port=port,
            etcd_port=etcd_port,
        )
        run("kube-apiserver", flags)
        with plane.api.client() as client:
            _until_ready(client)
        flags = _controller_manager(plane.kubeconfig(manager, "manager"), authority, service_accounts)
        run("kube-controller-manager", flags)
        yield plane


def _etcd(folder: Path, authority: ClusterAuthority, pair: Pair, port: int, peer_port: int) -> list[str]:
    client, peer = f"https://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    return [
        "--name=bench",
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=bench={peer}",
        f"--cert-file={pair.certificate}",
        f"--key-file={pair.key}",
        f"--trusted-ca-file={authority.certificate}",
        "--client-cert-auth",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _api_server(
    folder: Path,
    authority: ClusterAuthority,
    *,
    pair: Pair,
    etcd: Pair,
    service_accounts: Path,
    port: int,
    etcd_port: int,
) -> list[str]:
    return [
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--endpoint-reconciler-type=none",
        f"--etcd-servers=https://127.0.0.1:{etcd_port}",
        f"--etcd-cafile={authority.certificate}",
        f"--etcd-certfile={etcd.certificate}",
        f"--etcd-keyfile={etcd.key}",
        "--service-cluster-ip-range=10.97.0.0/16",
        "--authorization-mode=Node,RBAC",
        f"--client-ca-file={authority.certificate}",
        f"--tls-cert-file={pair.certificate}",
        f"--tls-private-key-file={pair.key}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={service_accounts}",
        f"--service-account-signing-key-file={service_accounts}",
        f"--audit-policy-file={folder / 'audit.json'}",
        f"--audit-log-path={folder / 'audit.log'}",
        "--profiling=false",
    ]


def _controller_manager(kubeconfig: Path, authority: ClusterAuthority, service_accounts: Path) -> list[str]:
    return [
        f"--kubeconfig={kubeconfig}",
        f"--root-ca-file={authority.certificate}",
        f"--service-account-private-key-file={service_accounts}",
        "--use-service-account-credentials",
        f"--secure-port={free_port()}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--controllers=*,-job-controller",  # the stand-in makes the pods and ends the Jobs
        "--kube-api-qps=500",  # as in tests/cluster; the default of 20 would be the bottleneck
        "--kube-api-burst=1000",
        "--profiling=false",
    ]


@contextmanager
def _running(program: Path, folder: Path, component: str, flags: list[str]) -> Iterator[MeasuredProcess]:
    with (folder / f"{component}.log").open("wb") as log:
        process = subprocess.Popen([str(program), component, *flags], stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        yield MeasuredProcess(process.pid)
        if process.poll() is not None:
            raise RuntimeError(f"{component} ended with {process.returncode}; see {folder / component}.log")
    finally:
        process.kill()  # its data does not outlive it
        process.wait()


def _until_ready(client: httpx.Client) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"the API server is not ready after {_START_SECONDS} s")
        time.sleep(0.2)


def _inline(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
