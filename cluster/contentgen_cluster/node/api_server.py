"""API server alone, with its etcd, as processes on loopback: no node, no controllers, and no data after its end."""

import datetime
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from contentgen_cluster.commands import Argument, ClusterError, succeeds
from contentgen_cluster.node import processes, settings
from contentgen_cluster.node.certificates import ClusterAuthority

_PATIENCE = 120.0


@contextmanager
def serving(etcd: Sequence[Argument], api_server: Sequence[Argument], kubectl: Path) -> Iterator[Path]:
    """Kubeconfig of an administrator while the server runs. The arguments are the programs, without flags.

    Raises ClusterError with the end of a log if a program exits, or is not ready in two minutes.
    """
    with tempfile.TemporaryDirectory(prefix="contentgen-api-server-") as scratch:
        folder = Path(scratch)
        ports = _free_ports()
        authority = ClusterAuthority(folder / "certificates", datetime.datetime.now(datetime.UTC))
        who = settings.ServerIdentities(
            authority.certificate,
            authority.issue("server", "kube-apiserver", hosts=[settings.LOOPBACK]),
            authority.signing_key("service-accounts"),
        )
        admin = authority.issue("admin", "contentgen-admin", groups=["system:masters"])
        kubeconfig = folder / "kubeconfig"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(settings.kubeconfig(who.authority, admin, ports.api_url))
        commands = {
            "etcd": [*etcd, *settings.lone_etcd(folder / "etcd", who, ports)],
            "kube-apiserver": [*api_server, *settings.lone_api_server(who, ports)],
        }
        started: dict[str, processes.Started] = {}
        try:
            for name, command in commands.items():
                started[name] = processes.spawn(command, folder / f"{name}.json", folder / f"{name}.log")
            ready = (kubectl, "--kubeconfig", kubeconfig, "get", "--raw", "/readyz", "--request-timeout=5s")
            deadline = time.monotonic() + _PATIENCE
            while not succeeds(*ready):
                for name, record in started.items():
                    if not processes.alive(record) or time.monotonic() > deadline:
                        log = (folder / f"{name}.log").read_text(errors="replace").splitlines()
                        raise ClusterError("\n".join([f"{name} is not ready; end of its log:", *log[-15:]]))
                time.sleep(0.3)
            yield kubeconfig
        finally:
            processes.stop(list(started.values())[::-1])


def _free_ports() -> settings.Ports:
    """Free ports of loopback; another process may take one before the servers do."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
        for each_socket in sockets:
            each_socket.bind((settings.LOOPBACK, 0))
        return settings.Ports(*(each_socket.getsockname()[1] for each_socket in sockets))
