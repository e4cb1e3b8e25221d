"""Paths of the clone, the machine and the content cache.

The clone's folder (`.cluster/`) contains only references to the cluster, so that several clones can share one.
The machine's folders contain the bare cluster, and `down` removes them.
"""

import os
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
GO_MODULE = REPO / "cluster/kubernetes"
API_SERVERS = REPO / "cluster/apiserver"
HELM_UNITTEST = REPO / "cluster/helm-unittest"
KSTATUS = REPO / "cluster/kstatus"
OLM_VALIDATE = REPO / "cluster/olm"
TOOL_REQUIREMENTS = REPO / "requirements/tools.txt"
SANDBOX_BUILD = REPO / "build/sandbox"

CLONE = REPO / ".cluster"
KUBECONFIG = CLONE / "kubeconfig"
IMAGES = CLONE / "images.json"
BIN = CLONE / "bin"

STATE = Path("/var/lib/contentgen-cluster")
RUN = Path("/run/contentgen-cluster")
LOCK = Path("/run")  # a folder can be locked too, and then no file is left behind


def cache_root() -> Path:
    """Folder of the content cache: CONTENTGEN_CACHE, else in the user's cache folder."""
    if chosen := os.environ.get("CONTENTGEN_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "contentgen"
