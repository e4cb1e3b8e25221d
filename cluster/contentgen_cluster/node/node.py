"""Bare cluster: start of its components on this machine, and their complete removal.

No data survives a restart: `take_down` and `start` give a new cluster from any state.
"""

import datetime
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from contentgen_cluster import mounts
from contentgen_cluster.commands import Argument, ClusterError, CommandError, feed, run, succeeds
from contentgen_cluster.layout import Layout
from contentgen_cluster.node import cgroups, network, processes, second_node, settings
from contentgen_cluster.node.certificates import ClusterAuthority
from contentgen_cluster.node.settings import Folders, Identities
from contentgen_cluster.paths import RUN, STATE

AT = Folders(state=STATE, run=RUN)
_SAVED = STATE / "machine-settings.json"
_FINGERPRINT = STATE / "fingerprint"
_CAP_SYS_RESOURCE = 24
_importing = threading.Lock()
_COMPONENTS = {
    "containerd",
    "coredns",
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubelet",
}
# Folders that kubelet, containerd and buildah create at fixed paths, independently of their configuration.
_FOREIGN = (
    Path("/var/lib/cni/results"),
    Path("/var/lib/cni"),
    Path("/var/lib/kubelet/device-plugins"),
    Path("/var/lib/kubelet"),
    Path("/var/log/containers"),
    Path("/run/containerd/s"),
    Path("/run/containerd"),
    Path("/etc/cni/net.d"),
    Path("/etc/cni"),
    Path("/usr/libexec/kubernetes/kubelet-plugins/volume/exec"),
    Path("/usr/libexec/kubernetes/kubelet-plugins/volume"),
    Path("/usr/libexec/kubernetes/kubelet-plugins"),
    Path("/usr/libexec/kubernetes"),
)


class BareNode:
    """Bare cluster of this machine."""

    def __init__(self, kubernetes: Path, kubectl: Path) -> None:
        self._kubernetes = kubernetes
        self._kubectl = kubectl

    def start(self, fingerprint: str, layout: Layout) -> None:
        """Start a new cluster; `layout` contains the pause image."""
        for folder in (AT.state, AT.run, AT.config / "cni", AT.logs / "pods", AT.pids):
            folder.mkdir(parents=True, exist_ok=True)
        AT.state.chmod(0o711)  # searchable, because containers' volumes are below it; keys are readable by root only
        AT.certificates.mkdir(mode=0o700)
        who = _identities()
        for name, text in settings.config_files(AT, who, may_lower_oom_score=may_lower_oom_score()).items():
            _write_private(AT.config / name, text)
        _write_private(AT.config / "cni/10-contentgen.conflist", network.cni_config(AT.state))
        network.set_up(_SAVED)
        cgroups.set_up(settings.CGROUP)
        self._start_components(who, layout)
        _FINGERPRINT.write_text(fingerprint)

    def _start_components(self, who: Identities, layout: Layout) -> None:
        _spawn("containerd", "containerd", "--config", AT.config / "containerd.toml")
        self._spawn("etcd", settings.etcd(AT, who))
        self._spawn("kube-apiserver", settings.api_server(AT, who))
        _until("containerd answers", lambda: succeeds(*ctr("version")), ["containerd"])
        import_image(layout, settings.PAUSE_IMAGE)
        _until("the API server is ready", self.ready, ["etcd", "kube-apiserver"])
        self._spawn("kube-controller-manager", settings.controller_manager(AT, who))
        self._spawn("kube-scheduler", settings.scheduler(AT))
        self._spawn("kubelet", settings.kubelet(AT))
        self._spawn("kube-proxy", settings.kube_proxy(AT))
        self.kubectl("apply", "--server-side", "-f", "-", stdin=settings.dns_service())
        self._spawn("coredns", ["-conf", str(AT.config / "Corefile")])
        _until("the node is ready", self._node_ready, sorted(_COMPONENTS))
        self.kubectl("wait", "--for=create", "--timeout=30s", "serviceaccount/default", "--namespace=default")
        if dead := dead_components():
            raise ClusterError(f"exited after its start: {', '.join(dead)}; see {AT.logs}")

    def ready(self) -> bool:
        """Whether the API server is ready."""
        try:
            self.kubectl("get", "--raw", "/readyz", "--request-timeout=5s")
        except CommandError:
            return False
        return True

    def answers(self, patience: float = 60.0) -> bool:
        """Whether the API server is ready or becomes ready: on a busy machine it is slow but intact."""
        deadline = time.monotonic() + patience
        while not self.ready():
            if time.monotonic() > deadline or not whole():
                return False
            time.sleep(1)
        return True

    def _node_ready(self) -> bool:
        ready = "{.items[*].status.conditions[?(@.type=='Ready')].status}"
        return self.kubectl("get", "nodes", f"--output=jsonpath={ready}") == "True"

    def kubectl(self, *arguments: Argument, stdin: str | None = None) -> str:
        return run(self._kubectl, "--kubeconfig", admin_kubeconfig(), *arguments, stdin=stdin)

    def _spawn(self, component: str, flags: list[str]) -> None:
        _spawn(component, self._kubernetes, component, *flags)


def admin_kubeconfig() -> Path:
    return AT.config / "admin.kubeconfig"


def fingerprint() -> str | None:
    """Hash of the inputs that the running cluster was started from."""
    with suppress(FileNotFoundError):
        return _FINGERPRINT.read_text()
    return None


def components() -> dict[str, processes.Started | None]:
    """Started processes by component."""
    return {file.stem: processes.read_record(file) for file in sorted(AT.pids.glob("*.json"))}


def dead_components() -> list[str]:
    return [name for name, record in components().items() if not processes.alive(record)]


def whole() -> bool:
    """Whether all components are running."""
    return components().keys() >= _COMPONENTS and not dead_components()


def anything_left() -> bool:
    """Whether this machine has a bare cluster or remains of one."""
    return STATE.exists() or RUN.exists()


def take_down() -> None:
    """Stop all processes and remove all files, also after a crash or a reboot."""
    second_node.take_down()
    records = [record for record in components().values() if record is not None]
    containerd = [record for name, record in components().items() if name == "containerd" and record is not None]
    processes.stop([record for record in records if record not in containerd])
    # containerd starts the shims with the address of our socket. Shims are killed before the containers, so that none
    # restarts anything; the containers then have no parent process and are found by their cgroup.
    processes.stop(containerd)
    processes.stop(processes.with_argument(str(AT.containerd_socket)), patience=0)
    cgroups.take_down(settings.CGROUP)
    sockets = _shim_sockets()
    mounts.unmount_below(RUN)
    mounts.unmount_below(STATE)
    network.take_down(_SAVED)
    _remove_foreign(sockets)
    # --one-file-system skips foreign mounts.
    run("rm", "--recursive", "--force", "--one-file-system", RUN, STATE)


def ctr(*arguments: Argument) -> tuple[Argument, ...]:
    """Run containerd's client in kubelet's image namespace."""
    return ("ctr", "--address", AT.containerd_socket, "--namespace", "k8s.io", *arguments)


def import_image(layout: Layout, reference: str) -> int:
    """Import an image into containerd, only the missing blobs. Returns their bytes."""
    with _importing:  # sequential, so that a later import skips the blobs of an earlier one
        known = set(run(*ctr("content", "ls", "--quiet")).split())
        return feed(ctr("images", "import", "-"), lambda pipe: layout.archive(reference, known, pipe))


def image_names() -> set[str]:
    return set(run(*ctr("images", "ls", "--quiet")).split())


def _spawn(component: str, *command: Argument) -> None:
    processes.spawn(command, AT.pids / f"{component}.json", AT.logs / f"{component}.log")


def _until(what: str, holds: Callable[[], bool], needed: list[str], patience: float = 120.0) -> None:
    deadline = time.monotonic() + patience
    while not holds():
        for component in set(needed).intersection(dead_components()):
            raise ClusterError(f"{component} exited; end of its log:\n{_log_end(component)}")
        if time.monotonic() > deadline:
            raise ClusterError(f"timeout after {patience:.0f} s: {what}; see {AT.logs}")
        time.sleep(0.2)


def _log_end(component: str) -> str:
    lines = (AT.logs / f"{component}.log").read_text(errors="replace").splitlines()
    return "\n".join(lines[-15:])


def _identities() -> Identities:
    authority = ClusterAuthority(AT.certificates, datetime.datetime.now(datetime.UTC))
    here = [network.NODE_ADDRESS, "127.0.0.1"]
    services = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        f"kubernetes.default.svc.{network.DOMAIN}",
    ]
    node_user = f"system:node:{settings.NODE_NAME}"
    users = {
        "admin": authority.issue("admin", "contentgen-admin", groups=["system:masters"]),
        "kube-controller-manager": authority.issue("kube-controller-manager", "system:kube-controller-manager"),
        "kube-scheduler": authority.issue("kube-scheduler", "system:kube-scheduler"),
        "kubelet": authority.issue("kubelet", node_user, groups=["system:nodes"]),
        "kube-proxy": authority.issue("kube-proxy", "system:kube-proxy"),
    }
    second_node.issue(authority)
    return Identities(
        authority=authority.certificate,
        etcd=authority.issue("etcd", "etcd", hosts=here),
        etcd_client=authority.issue("etcd-client", "kube-apiserver"),
        api_server=authority.issue(
            "kube-apiserver", "kube-apiserver", hosts=[*here, network.API_SERVICE_ADDRESS, *services, "localhost"]
        ),
        kubelet_client=authority.issue("kubelet-client", "kube-apiserver", groups=["system:masters"]),
        kubelet_server=authority.issue("kubelet-server", node_user, hosts=[*here, settings.NODE_NAME]),
        service_accounts=authority.signing_key("service-accounts"),
        users=users,
    )


def may_lower_oom_score() -> bool:
    status = Path("/proc/self/status").read_text().splitlines()
    effective = next(line for line in status if line.startswith("CapEff:")).split()[1]
    return bool(int(effective, 16) >> _CAP_SYS_RESOURCE & 1)


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _shim_sockets() -> list[Path]:
    """Sockets of the shims outside our folders, read from the containers' folders."""
    addresses = (RUN / "containerd/io.containerd.runtime.v2.task").glob("*/*/address")
    return [Path(address.read_text().strip().removeprefix("unix://")) for address in addresses]


def _remove_foreign(sockets: list[Path]) -> None:
    """Remove our files from shared folders, and the folders that are then empty."""
    results = Path("/var/lib/cni/results")
    # Each pod has a file for its network, with our network name, and one for its loopback, without it.
    pods = {file.name.split("-")[1] for file in results.glob(f"{network.CNI_NETWORK}-*-*")}
    for socket in [*sockets, *(file for pod in pods for file in results.glob(f"*-{pod}-*"))]:
        socket.unlink(missing_ok=True)
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(AT.logs):
            link.unlink()
    buildah_lock = Path("/etc/cni/net.d/cni.lock")
    if buildah_lock.exists() and [*buildah_lock.parent.iterdir()] == [buildah_lock]:
        buildah_lock.unlink()
    registered = Path("/var/lib/kubelet/device-plugins")
    for file in ("kubelet.sock", "kubelet_internal_checkpoint", "DEPRECATION"):
        (registered / file).unlink(missing_ok=True)
    for folder in _FOREIGN:
        with suppress(OSError):  # missing, or not empty because others use it
            folder.rmdir()
