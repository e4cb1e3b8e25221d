"""kubectl and helm on the server of KUBECONFIG, such as that of `python -m contentgen_cluster api-server`."""

import json
import subprocess
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


def sets(values: tuple[str, ...]) -> list[str]:
    """helm's options for these values."""
    return [part for value in values for part in ("--set", value)]
