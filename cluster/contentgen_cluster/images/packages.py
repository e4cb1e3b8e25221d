"""Installation of missing Debian packages."""

import os
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

from contentgen_cluster.commands import ClusterError, CommandError, run

# socat: containerd's port-forward runs it. nftables: so does kube-proxy.
NODE = (
    "ca-certificates",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "iproute2",
    "nftables",
    "procps",
    "runc",
    "socat",
)

_one_at_a_time = threading.Lock()  # dpkg has a lock too, but fails instead of waiting
_NO_SERVICES = Path("/usr/sbin/policy-rc.d")  # Debian runs it before a package starts its service


def ensure(packages: Iterable[str]) -> str:
    """Install the missing packages; returns a note that lists them."""
    with _one_at_a_time:
        missing = sorted(set(packages) - _installed())
        if not missing:
            return "all installed"
        if os.geteuid() != 0 or shutil.which("apt-get") is None:
            raise ClusterError(f"installation needs root on Debian: {' '.join(missing)}")
        _install(missing)
    return f"installed {' '.join(missing)}"


def _installed() -> set[str]:
    lines = run("dpkg-query", "--show", "--showformat=${db:Status-Abbrev} ${Package}\n").splitlines()
    return {line.split()[1] for line in lines if line.startswith("ii")}


def _install(missing: list[str]) -> None:
    install = ["apt-get", "install", "-y", "-qq", "-o", "DPkg::Lock::Timeout=300", "--no-install-recommends", *missing]
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    ours = not _NO_SERVICES.exists()
    if ours:  # Debian's own containerd is not to run beside ours
        _NO_SERVICES.write_text("#!/bin/sh\nexit 101\n")
        _NO_SERVICES.chmod(0o755)
    try:
        try:
            run(*install, env=quiet)
        except CommandError:  # the machine's lists of packages are missing or old
            run("apt-get", "update", "-qq")
            run(*install, env=quiet)
    finally:
        if ours:
            _NO_SERVICES.unlink()
