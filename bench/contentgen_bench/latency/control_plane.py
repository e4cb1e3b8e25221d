"""Separate control plane for the benchmark: real etcd, API server and controller manager.

There is no node, scheduler or Job controller: `simulated_node` replaces them. The shared cluster is not used, so
every request in the audit log was caused by the benchmark.
"""

import json
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from contentgen_bench.latency.api import Api, from_kubeconfig
from contentgen_bench.processes import MeasuredProcess, is_success, running, until
from contentgen_cluster.cache import ContentCache
from contentgen_cluster.images import golang
from contentgen_cluster.node import settings
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
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(settings.kubeconfig(self.authority, who, self.url))
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
    ports = settings.Ports(free_port(), free_port(), free_port())
    identities = settings.ServerIdentities(
        authority.certificate,
        authority.issue("server", "kube-apiserver", hosts=[settings.LOOPBACK]),
        authority.signing_key("service-accounts"),
    )
    plane = ControlPlane(
        url=ports.api_url,
        folder=folder,
        authority=authority.certificate,
        admin=authority.issue("admin", "admin", groups=["system:masters"]),
        operator=authority.issue("operator", OPERATOR_USER, groups=["system:masters"]),
    )
    manager = authority.issue("manager", "system:kube-controller-manager", groups=["system:masters"])
    (folder / "audit.json").write_text(json.dumps(_AUDIT))
    with ExitStack() as stack:

        def run(component: str, flags: list[str]) -> None:
            # Killed at the end: its data does not outlive it.
            process = running([str(program), component, *flags], None, folder / f"{component}.log", end=signal.SIGKILL)
            plane.processes[component] = stack.enter_context(process)

        run("etcd", settings.lone_etcd(folder / "etcd", identities, ports))
        audit = [f"--audit-policy-file={folder / 'audit.json'}", f"--audit-log-path={folder / 'audit.log'}"]
        run("kube-apiserver", [*settings.lone_api_server(identities, ports), *audit])
        with plane.api.client() as client:
            until("the API server is ready", lambda: is_success(client, "/readyz"), 60)
        run("kube-controller-manager", _controller_manager(plane.kubeconfig(manager, "manager"), identities))
        yield plane


def _controller_manager(kubeconfig: Path, identities: settings.ServerIdentities) -> list[str]:
    return [
        f"--kubeconfig={kubeconfig}",
        f"--root-ca-file={identities.authority}",
        f"--service-account-private-key-file={identities.service_accounts}",
        "--use-service-account-credentials",
        f"--secure-port={free_port()}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--controllers=*,-job-controller",  # the stand-in makes the pods and ends the Jobs
        "--kube-api-qps=500",  # as in tests/cluster; the default of 20 would be the bottleneck
        "--kube-api-burst=1000",
        "--profiling=false",
    ]
