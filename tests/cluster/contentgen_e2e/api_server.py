"""kubectl and helm on the server of KUBECONFIG, such as that of `python -m contentgen_cluster api-server`."""

import json
import subprocess
import time
from collections.abc import Collection
from typing import Any

from contentgen_cluster.paths import BIN
from contentgen_cluster.release import CommandFailed

NAMESPACE = "contentgen"
STORES = ("mongodb.existingSecret=m", "storage.existingSecret=s", "providers.existingSecret=p")
"""The chart's required values."""


def run(program: str, *arguments: str, stdin: str | None = None) -> str:
    """Standard output of a program of `.cluster/bin`. Raises CommandFailed."""
    command = [str(BIN / program), *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise CommandFailed(done.stderr or done.stdout)
    return done.stdout


def kubectl(*arguments: str, given: dict[str, Any] | None = None) -> str:
    """Run kubectl; `given` is an object for its standard input."""
    return run("kubectl", *arguments, stdin=json.dumps(given) if given is not None else None)


def until_crds_are_served(*names: str) -> None:
    """Wait until the API server serves the CRDs; without names, all. Raises CommandFailed.

    By path: kubectl's wait for a condition fails on an object whose conditions are null, as those of a new CRD are.
    """
    established = "--for=jsonpath={.status.conditions[?(@.type=='Established')].status}=True"
    kubectl("wait", "crd", *(names or ("--all",)), established, "--timeout=240s")


def sets(values: tuple[str, ...]) -> list[str]:
    """helm's options for these values."""
    return [part for value in values for part in ("--set", value)]


def until_crds_end(names: Collection[str], seconds: float = 240) -> None:
    """Wait until the CRDs are deleted. Raises TimeoutError.

    Each is changed meanwhile: since Kubernetes 1.34 the API server may forget one whose cleanup it could not begin
    ("storage is (re)initializing") until it looks at all CRDs again, every 5 minutes.
    """
    deadline = time.monotonic() + seconds
    while left := set(names) & set(kubectl("get", "crd", "--output", "jsonpath={.items[*].metadata.name}").split()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"CRDs that stay: {', '.join(sorted(left))}")
        time.sleep(0.5)
        run_if_there("annotate", "crd", *sorted(left), "--overwrite", f"contentgen.dev/retry={time.monotonic()}")


def run_if_there(*arguments: str) -> None:
    """Run kubectl for objects that may be gone meanwhile. Raises CommandFailed for another cause."""
    try:
        kubectl(*arguments)
    except CommandFailed as error:
        if "NotFound" not in str(error):
            raise
