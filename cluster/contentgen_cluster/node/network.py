"""Addresses of the bare cluster, and its reversible changes to the machine's network settings.

Each pod has a veth pair of its own and is routed (the `ptp` plugin), so that traffic to a Service passes the machine's
packet filter rules also between pods of one node; with a bridge that would need a kernel module. The bridge here has no
ports: it only holds the node's address, independently of the machine's own network.
"""

import json
from contextlib import suppress
from pathlib import Path

from contentgen_cluster.commands import CommandError, run

INTERFACE = "contentgen0"
NODE_ADDRESS = "10.244.0.1"
POD_RANGE = "10.244.0.0/24"
CLUSTER_RANGE = "10.244.0.0/16"  # pod addresses of all nodes
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_SERVICE_ADDRESS = "10.96.0.10"
DOMAIN = "cluster.local"
CNI_NETWORK = "contentgen"

# Kernel settings that this module, kubelet and kube-proxy change; `take_down` restores them.
_SETTINGS = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
_SYSCTL = Path("/proc/sys")

_MASQUERADE = f"""
table ip contentgen
delete table ip contentgen
table ip contentgen {{
  chain postrouting {{
    type nat hook postrouting priority srcnat;
    ip saddr {CLUSTER_RANGE} ip daddr != {{ {CLUSTER_RANGE}, {SERVICE_RANGE} }} masquerade
  }}
}}
"""
_TABLES = (("ip", "contentgen"), ("ip", "kube-proxy"), ("ip6", "kube-proxy"))


def cni_config(state: Path, pods: str = POD_RANGE) -> str:
    """CNI configuration of a node's pods for containerd. Host ports are not supported."""
    ipam = {
        "type": "host-local",
        "ranges": [[{"subnet": pods}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": str(state / "cni"),
    }
    plugin = {"type": "ptp", "ipMasq": False, "ipam": ipam}
    return json.dumps({"cniVersion": "1.0.0", "name": CNI_NETWORK, "plugins": [plugin]}, indent=2)


def set_up(saved: Path) -> None:
    """Save the machine's settings to the file `saved` and add ours."""
    saved.write_text(json.dumps({name: value for name in _SETTINGS if (value := _read(name)) is not None}))
    run("ip", "link", "add", INTERFACE, "type", "bridge")
    run("ip", "address", "add", f"{NODE_ADDRESS}/32", "dev", INTERFACE)
    run("ip", "link", "set", INTERFACE, "up")
    (_SYSCTL / "net/ipv4/ip_forward").write_text("1")
    run("nft", "-f", "-", stdin=_MASQUERADE)


def take_down(saved: Path) -> None:
    """Remove our settings, if present."""
    with suppress(CommandError):
        run("ip", "link", "delete", INTERFACE)
    for family, table in _TABLES:
        with suppress(CommandError):
            run("nft", "delete", "table", family, table)
    with suppress(FileNotFoundError, ValueError):
        for name, value in json.loads(saved.read_text()).items():
            with suppress(OSError):
                (_SYSCTL / name).write_text(value)


def _read(name: str) -> str | None:
    with suppress(OSError):
        return (_SYSCTL / name).read_text().strip()
    return None
