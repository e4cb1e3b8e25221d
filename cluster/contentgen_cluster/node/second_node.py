"""Second node of the bare cluster for node failure tests: its own kubelet, containerd and kube-proxy.

They run in their own mount and network namespaces, which a sleeping process keeps alive. A veth pair connects them to
the first node and routes the pods' addresses. A taint keeps pods of other suites away. `take_down` and the end of the
cluster remove everything.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from contentgen_cluster.commands import Argument, ClusterError, CommandError, feed, run, succeeds
from contentgen_cluster.layout import Layout
from contentgen_cluster.node import cgroups, network, processes, settings
from contentgen_cluster.node.certificates import ClusterAuthority, Pair
from contentgen_cluster.node.settings import SECOND, Folders
from contentgen_cluster.paths import RUN, STATE

FIRST_AT = Folders(state=STATE, run=RUN)
AT = Folders(state=STATE / "node-2", run=RUN / "node-2")
INTERFACE = "contentgen1"
_ROUTES = (
    ("ip", "link", "set", "lo", "up"),
    ("ip", "link", "set", "eth0", "up"),
    ("ip", "address", "add", f"{SECOND.address}/32", "dev", "eth0"),
    ("ip", "route", "add", network.NODE_ADDRESS, "dev", "eth0", "scope", "link"),
    ("ip", "route", "add", "default", "via", network.NODE_ADDRESS, "src", SECOND.address),
)
_OUTER_ROUTES = (
    ("ip", "link", "set", INTERFACE, "up"),
    ("ip", "route", "add", SECOND.address, "dev", INTERFACE),
    ("ip", "route", "add", SECOND.pods, "via", SECOND.address),
)
# Fixed paths of kubelet and containerd, independent of their configuration; they vanish with the mount namespace.
_PRIVATE = ("/var/lib/kubelet", "/var/log/containers", "/var/lib/cni", "/run/containerd")
_CUT = f"""
table ip contentgen-cut
delete table ip contentgen-cut
table ip contentgen-cut {{
  chain prerouting {{ type filter hook prerouting priority raw; iifname {INTERFACE} drop; }}
  chain postrouting {{ type filter hook postrouting priority 300; oifname {INTERFACE} drop; }}
}}
"""


def issue(authority: ClusterAuthority) -> None:
    """Issue the node's certificates, at the cluster's start: the authority's key is deleted afterwards."""
    user = f"system:node:{SECOND.node}"
    authority.issue("kubelet-2", user, groups=["system:nodes"])
    authority.issue("kubelet-2-server", user, hosts=[SECOND.address, "127.0.0.1", SECOND.node])


@dataclass(frozen=True)
class SecondNode:
    """Second node of a running cluster. `kubernetes` and `kubectl` are programs."""

    kubernetes: Path
    kubectl: Path

    def start(self, layout: Layout, images: Collection[str], *, may_lower_oom_score: bool) -> None:
        """Start the node with the pause image and `images`."""
        take_down()
        for folder in (AT.config / "cni", AT.logs / "pods", AT.pids, AT.run):
            folder.mkdir(parents=True, exist_ok=True)
        _write_configuration(may_lower_oom_score=may_lower_oom_score)
        cgroups.set_up(SECOND.cgroup)
        _make_namespaces()
        _spawn("containerd", "containerd", "--config", AT.config / "containerd.toml")
        _until("containerd answers", lambda: succeeds(*_ctr("version")))
        for reference in (settings.PAUSE_IMAGE, *images):
            _import_image(layout, reference)
        _spawn("kubelet", self.kubernetes, "kubelet", *settings.kubelet(AT, SECOND))
        _spawn("kube-proxy", self.kubernetes, "kube-proxy", *settings.kube_proxy(AT, SECOND))
        _until("the second node is ready", self._ready)

    def stop(self) -> None:
        """Remove the node and its pods from the cluster, and its files from this machine."""
        take_down()
        self._kubectl("delete", "node", SECOND.node, "--ignore-not-found", "--wait=false")
        where = ("--all-namespaces", f"--field-selector=spec.nodeName={SECOND.node}")
        self._kubectl("delete", "pods", *where, "--grace-period=0", "--force", "--wait=false")

    def _ready(self) -> bool:
        ready = "{.status.conditions[?(@.type=='Ready')].status}"
        with suppress(CommandError):
            return self._kubectl("get", "node", SECOND.node, f"--output=jsonpath={ready}") == "True"
        return False

    def _kubectl(self, *arguments: Argument) -> str:
        return run(self.kubectl, "--kubeconfig", FIRST_AT.config / "admin.kubeconfig", *arguments)


def cut_off() -> None:
    """Drop all packets to and from the node; its processes continue."""
    run("nft", "-f", "-", stdin=_CUT)


def connect() -> None:
    """Undo `cut_off`."""
    with suppress(CommandError):
        run("nft", "delete", "table", "ip", "contentgen-cut")


def power_off() -> None:
    """Simulate a power failure: kill all processes at once; the address no longer answers."""
    cut_off()
    records = [record for name, record in components().items() if record is not None and name != "namespaces"]
    records += _shims()
    for record in records:
        if processes.alive(record):
            with suppress(ProcessLookupError):
                os.kill(record.pid, signal.SIGKILL)
    cgroups.take_down(SECOND.cgroup)
    processes.stop(records)  # all are dead, or about to be


def components() -> dict[str, processes.Started | None]:
    """The processes that were started, by component."""
    return {file.stem: processes.read_record(file) for file in sorted(AT.pids.glob("*.json"))}


def take_down() -> None:
    """Stop its processes and remove its files, also after a crash or without a second node."""
    records = {name: record for name, record in components().items() if record is not None}
    keeper = [record for name, record in records.items() if name == "namespaces"]
    processes.stop([record for record in records.values() if record not in keeper])
    processes.stop(_shims(), patience=0)
    cgroups.take_down(SECOND.cgroup)
    processes.stop(keeper, patience=0)
    connect()
    with suppress(CommandError):  # the kernel deletes it asynchronously with its namespace
        run("ip", "link", "delete", INTERFACE)
    run("rm", "--recursive", "--force", "--one-file-system", AT.run, AT.state)


def _shims() -> list[processes.Started]:
    return processes.with_argument(str(AT.containerd_socket))


def _write_configuration(*, may_lower_oom_score: bool) -> None:
    authority = FIRST_AT.certificates / "ca.crt"
    user = (FIRST_AT.config / "kube-proxy.kubeconfig").read_text()
    proxy = settings.kube_proxy_config(AT, SECOND) | {
        # The limits of a network namespace are the machine's.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
    files = {
        "containerd.toml": settings.containerd_config(AT, may_lower_oom_score=may_lower_oom_score),
        "kubelet.json": json.dumps(settings.kubelet_config(AT, authority, _pair("kubelet-2-server"), SECOND), indent=2),
        "kubelet.kubeconfig": settings.kubeconfig(authority, _pair("kubelet-2")),
        "kube-proxy.json": json.dumps(proxy, indent=2),
        "kube-proxy.kubeconfig": user,
        "cni/10-contentgen.conflist": network.cni_config(AT.state, SECOND.pods),
    }
    for name, text in files.items():
        path = AT.config / name
        path.touch(mode=0o600)
        path.write_text(text)


def _pair(name: str) -> Pair:
    return Pair(FIRST_AT.certificates / f"{name}.crt", FIRST_AT.certificates / f"{name}.key")


def _make_namespaces() -> None:
    made = AT.run / "made"
    mounts = " && ".join(f"mkdir -p {folder} && mount -t tmpfs contentgen {folder}" for folder in _PRIVATE)
    keep = f"set -e; {mounts}; touch {made}; exec sleep infinity"
    unshare = ("unshare", "--mount", "--net", "--propagation", "private", "sh", "-c", keep)
    keeper = processes.spawn(unshare, AT.pids / "namespaces.json", AT.logs / "namespaces.log")
    _until("the namespaces are made", made.exists)
    run("ip", "link", "add", INTERFACE, "type", "veth", "peer", "name", "eth0", "netns", str(keeper.pid))
    for command in _ROUTES:
        run(*_inside(keeper), *command)
    run(*_inside(keeper), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    for command in _OUTER_ROUTES:
        run(*command)


def _inside(keeper: processes.Started) -> tuple[Argument, ...]:
    return ("nsenter", f"--net=/proc/{keeper.pid}/ns/net", f"--mount=/proc/{keeper.pid}/ns/mnt")


def _spawn(component: str, *command: Argument) -> None:
    keeper = processes.read_record(AT.pids / "namespaces.json")
    if keeper is None:
        raise ClusterError("the second node has no namespaces")
    processes.spawn((*_inside(keeper), *command), AT.pids / f"{component}.json", AT.logs / f"{component}.log")


def _ctr(*arguments: Argument) -> tuple[Argument, ...]:
    return ("ctr", "--address", AT.containerd_socket, "--namespace", "k8s.io", *arguments)


def _import_image(layout: Layout, reference: str) -> None:
    known = set(run(*_ctr("content", "ls", "--quiet")).split())
    feed(_ctr("images", "import", "-"), lambda pipe: layout.archive(reference, known, pipe))


def _until(what: str, holds: Callable[[], bool], patience: float = 60.0) -> None:
    deadline = time.monotonic() + patience
    while not holds():
        dead = [name for name, record in components().items() if not processes.alive(record)]
        for component in dead:
            end = (AT.logs / f"{component}.log").read_text(errors="replace").splitlines()[-15:]
            raise ClusterError("\n".join([f"{component} of the second node exited; end of its log:", *end]))
        if time.monotonic() > deadline:
            raise ClusterError(f"timeout after {patience:.0f} s: {what}; see {AT.logs}")
        time.sleep(0.2)
