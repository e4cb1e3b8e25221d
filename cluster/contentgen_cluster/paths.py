"""Where everything lies, in one place: what is of the clone, of the machine, and of the content cache.

The clone's folder (`.cluster/`) holds only what points at the cluster, so that several clones can share one.
The machine's folders hold the one bare cluster, and `down` removes them whole.
"""

import os
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
GO_MODULE = REPO / "cluster/kubernetes"
HELM_UNITTEST = REPO / "cluster/helm-unittest"
KSTATUS = REPO / "cluster/kstatus"
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
    """The content cache: CONTENTGEN_CACHE, else the user's cache folder."""
    if chosen := os.environ.get("CONTENTGEN_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "contentgen"
