"""Command lines and configuration files of the bare cluster's components, as pure text."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from contentgen_cluster.node import network
from contentgen_cluster.node.certificates import Pair
from contentgen_cluster.node.network import NODE_ADDRESS

API_PORT = 6443
API_URL = f"https://{NODE_ADDRESS}:{API_PORT}"
DNS_PORT = 1053  # 53 may be the machine's own resolver's
NODE_NAME = "contentgen"
PAUSE_IMAGE = "localhost/contentgen-pause:1"
CGROUP = "/contentgen"
SECOND_TAINT = "contentgen.dev/second-node"
"""Key of the second node's taint: pods of other suites don't run there."""
LOOPBACK = "127.0.0.1"
_ETCD = f"https://{NODE_ADDRESS}:2379"


@dataclass(frozen=True)
class Names:
    """Names that differ between the two nodes."""

    node: str
    address: str
    pods: str
    cgroup: str
    taints: tuple[str, ...] = ()


FIRST = Names(NODE_NAME, NODE_ADDRESS, network.POD_RANGE, CGROUP)
SECOND = Names("contentgen-2", "10.244.1.1", "10.244.1.0/24", "/contentgen-2", (SECOND_TAINT,))


@dataclass(frozen=True)
class Folders:
    """Folders of a bare cluster or of its second node."""

    state: Path
    run: Path

    @property
    def certificates(self) -> Path:
        return self.state / "certificates"

    @property
    def config(self) -> Path:
        return self.state / "config"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def pids(self) -> Path:
        return self.state / "pids"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"


@dataclass(frozen=True)
class Identities:
    """All certificates and keys."""

    authority: Path
    etcd: Pair
    etcd_client: Pair
    api_server: Pair
    kubelet_client: Pair
    kubelet_server: Pair
    service_accounts: Path
    users: Mapping[str, Pair]


@dataclass(frozen=True)
class ServerIdentities:
    """Certificates and keys of an API server without a node."""

    authority: Path
    server: Pair
    service_accounts: Path


@dataclass(frozen=True)
class Ports:
    """Ports of an API server without a node, and of its etcd."""

    api: int
    etcd: int
    peer: int

    @property
    def api_url(self) -> str:
        return f"https://{LOOPBACK}:{self.api}"

    @property
    def etcd_url(self) -> str:
        return f"https://{LOOPBACK}:{self.etcd}"


def lone_etcd(data: Path, who: ServerIdentities, ports: Ports) -> list[str]:
    """Flags of etcd on loopback, for clients with a certificate."""
    return _etcd_flags(data, f"https://{LOOPBACK}:{ports.peer}", ports.etcd_url, who.server, who.authority)


def lone_api_server(who: ServerIdentities, ports: Ports) -> list[str]:
    """Flags of an API server on loopback, for clients with a certificate."""
    return [
        f"--bind-address={LOOPBACK}",
        f"--advertise-address={LOOPBACK}",
        "--endpoint-reconciler-type=none",  # an EndpointSlice must not contain a loopback address
        f"--secure-port={ports.api}",
        f"--etcd-servers={ports.etcd_url}",
        f"--etcd-cafile={who.authority}",
        *_flags("etcd-", who.server, "certfile", "keyfile"),
        f"--service-cluster-ip-range={network.SERVICE_RANGE}",
        "--authorization-mode=RBAC",
        f"--client-ca-file={who.authority}",
        *_flags("tls-", who.server, "cert-file", "private-key-file"),
        f"--service-account-issuer=https://kubernetes.default.svc.{network.DOMAIN}",
        f"--service-account-key-file={who.service_accounts}",
        f"--service-account-signing-key-file={who.service_accounts}",
        "--profiling=false",
    ]


def etcd(at: Folders, who: Identities) -> list[str]:
    return _etcd_flags(at.state / "etcd", f"https://{NODE_ADDRESS}:2380", _ETCD, who.etcd, who.authority)


def api_server(at: Folders, who: Identities) -> list[str]:
    return [
        f"--advertise-address={NODE_ADDRESS}",
        f"--bind-address={NODE_ADDRESS}",
        f"--secure-port={API_PORT}",
        f"--etcd-servers={_ETCD}",
        f"--etcd-cafile={who.authority}",
        *_flags("etcd-", who.etcd_client, "certfile", "keyfile"),
        f"--service-cluster-ip-range={network.SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={who.authority}",
        *_flags("tls-", who.api_server, "cert-file", "private-key-file"),
        f"--service-account-issuer=https://kubernetes.default.svc.{network.DOMAIN}",
        f"--service-account-key-file={who.service_accounts}",
        f"--service-account-signing-key-file={who.service_accounts}",
        f"--kubelet-certificate-authority={who.authority}",
        *_flags("kubelet-client-", who.kubelet_client, "certificate", "key"),
        "--kubelet-preferred-address-types=InternalIP",
        f"--audit-policy-file={at.config / 'audit.json'}",
        f"--audit-log-path={at.logs / 'audit.log'}",
        "--audit-log-maxsize=20",
        "--audit-log-maxbackup=2",
        "--profiling=false",
    ]


def controller_manager(at: Folders, who: Identities) -> list[str]:
    return [
        f"--kubeconfig={at.config / 'kube-controller-manager.kubeconfig'}",
        f"--root-ca-file={who.authority}",
        f"--service-account-private-key-file={who.service_accounts}",
        "--use-service-account-credentials",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--kube-api-qps=200",  # the default makes the first namespaces and a hundred Jobs wait
        "--kube-api-burst=400",
        "--terminated-pod-gc-threshold=500",
        "--profiling=false",
    ]


def scheduler(at: Folders) -> list[str]:
    return [
        f"--kubeconfig={at.config / 'kube-scheduler.kubeconfig'}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--profiling=false",
    ]


def kubelet(at: Folders, names: Names = FIRST) -> list[str]:
    return [
        f"--kubeconfig={at.config / 'kubelet.kubeconfig'}",
        f"--config={at.config / 'kubelet.json'}",
        f"--root-dir={at.state / 'kubelet'}",
        f"--hostname-override={names.node}",
        f"--node-ip={names.address}",
        f"--containerd={at.containerd_socket}",  # for its statistics of containers
    ]


def kube_proxy(at: Folders, names: Names = FIRST) -> list[str]:
    return [f"--config={at.config / 'kube-proxy.json'}", f"--hostname-override={names.node}"]


def config_files(at: Folders, who: Identities, *, may_lower_oom_score: bool) -> dict[str, str]:
    """Content of the files in the configuration folder, by name."""
    files = {
        "containerd.toml": containerd_config(at, may_lower_oom_score=may_lower_oom_score),
        "kubelet.json": json.dumps(kubelet_config(at, who.authority, who.kubelet_server), indent=2),
        "kube-proxy.json": json.dumps(kube_proxy_config(at), indent=2),
        "audit.json": json.dumps(_AUDIT_POLICY, indent=2),
        "Corefile": corefile(at, has_resolver=_machine_has_resolver()),
    }
    return files | {f"{user}.kubeconfig": kubeconfig(who.authority, pair) for user, pair in who.users.items()}


def containerd_config(at: Folders, *, may_lower_oom_score: bool) -> str:
    """Configuration of containerd 1.6; all its folders are ours."""
    return f"""version = 2
root = "{at.state / "containerd"}"
state = "{at.run / "containerd"}"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "{at.containerd_socket}"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  # runc fails where the machine's root may not lower the score (CAP_SYS_RESOURCE)
  restrict_oom_score_adj = {"false" if may_lower_oom_score else "true"}
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{at.config / "cni"}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "{at.run / "runc"}"
"""


def kubelet_config(at: Folders, authority: Path, server: Pair, names: Names = FIRST) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": names.address,
        "healthzBindAddress": "127.0.0.1",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(server.certificate),
        "tlsPrivateKeyFile": str(server.key),
        "containerRuntimeEndpoint": f"unix://{at.containerd_socket}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": names.cgroup,
        "failCgroupV1": False,
        "failSwapOn": False,
        "enforceNodeAllocatable": [],
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": False,
        "clusterDNS": [network.DNS_SERVICE_ADDRESS],
        "clusterDomain": network.DOMAIN,
        "podLogsDir": str(at.logs / "pods"),
        "volumePluginDir": str(at.state / "volume-plugins"),
        "serializeImagePulls": False,
        "imageGCHighThresholdPercent": 100,  # an image that is collected could not be pulled again
        "evictionHard": {"memory.available": "64Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "registerWithTaints": [{"key": taint, "effect": "NoSchedule"} for taint in names.taints],
        "nodeStatusUpdateFrequency": "5s",
        "shutdownGracePeriod": "0s",
    }


def kube_proxy_config(at: Folders, names: Names = FIRST) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(at.config / "kube-proxy.kubeconfig")},
        "clusterCIDR": network.CLUSTER_RANGE,
        "bindAddress": names.address,
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        "oomScoreAdj": 0,
        "nftables": {"minSyncPeriod": "100ms"},
    }


_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "None", "users": ["system:apiserver", *(f"system:node:{each.node}" for each in (FIRST, SECOND))]},
        {"level": "None", "verbs": ["get", "list", "watch"], "userGroups": ["system:serviceaccounts:kube-system"]},
        {"level": "None", "nonResourceURLs": ["/healthz*", "/readyz*", "/livez*", "/version"]},
        {"level": "Metadata"},
    ],
}


def corefile(at: Folders, *, has_resolver: bool) -> str:
    """CoreDNS configuration: cluster names, and the machine's resolver for others, if it has one."""
    forward = "forward . /etc/resolv.conf" if has_resolver else ""
    return f""".:{DNS_PORT} {{
  bind {NODE_ADDRESS}
  ready 127.0.0.1:18181
  errors
  cache 10
  kubernetes {network.DOMAIN} in-addr.arpa ip6.arpa {{
    kubeconfig {at.config / "admin.kubeconfig"}
    pods insecure
    fallthrough in-addr.arpa ip6.arpa
    ttl 5
  }}
  {forward}
}}
"""


def kubeconfig(authority: Path, user: Pair, server: str = API_URL) -> str:
    """Self-contained kubeconfig for one user, as JSON."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": NODE_NAME,
            "clusters": [
                {
                    "name": NODE_NAME,
                    "cluster": {"server": server, "certificate-authority-data": _inline(authority)},
                }
            ],
            "users": [
                {
                    "name": NODE_NAME,
                    "user": {
                        "client-certificate-data": _inline(user.certificate),
                        "client-key-data": _inline(user.key),
                    },
                }
            ],
            "contexts": [{"name": NODE_NAME, "context": {"cluster": NODE_NAME, "user": NODE_NAME}}],
        },
        indent=2,
    )


def dns_service() -> str:
    """Service of the DNS with the node as its endpoint, because CoreDNS is not a pod."""
    labels = {"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS"}
    ports = [{"name": "dns", "protocol": "UDP"}, {"name": "dns-tcp", "protocol": "TCP"}]
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": labels},
        "spec": {
            "clusterIP": network.DNS_SERVICE_ADDRESS,
            "ports": [port | {"port": 53, "targetPort": DNS_PORT} for port in ports],
        },
    }
    endpoints = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "kube-dns-node",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "ports": [port | {"port": DNS_PORT} for port in ports],
        "endpoints": [{"addresses": [NODE_ADDRESS], "conditions": {"ready": True}}],
    }
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [service, endpoints]})


def _etcd_flags(data: Path, peers: str, clients: str, pair: Pair, authority: Path) -> list[str]:
    """Flags of an etcd with one member; `peers` and `clients` are its URLs."""
    return [
        "--name=contentgen",
        f"--data-dir={data}",
        f"--listen-client-urls={clients}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=contentgen={peers}",
        *_flags("", pair, "cert-file", "key-file"),
        f"--trusted-ca-file={authority}",
        "--client-cert-auth",
        *_flags("peer-", pair, "cert-file", "key-file"),
        f"--peer-trusted-ca-file={authority}",
        "--peer-client-cert-auth",
        "--unsafe-no-fsync",  # the data does not outlive the cluster
        "--log-level=warn",
    ]


def _flags(prefix: str, pair: Pair, certificate: str, key: str) -> list[str]:
    return [f"--{prefix}{certificate}={pair.certificate}", f"--{prefix}{key}={pair.key}"]


def _inline(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _machine_has_resolver(path: Path = Path("/etc/resolv.conf")) -> bool:
    return path.exists() and any(line.startswith("nameserver") for line in path.read_text().splitlines())
