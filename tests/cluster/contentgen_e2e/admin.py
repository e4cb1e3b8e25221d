"""Actions of an administrator: the `contentgen` command in the gateway's pod, and stopping the operator."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from contentgen_cluster import release
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import wait_for_rollout


def contentgen(*args: str, given: bytes = b"", status: int = 0) -> tuple[bytes, str]:
    """Output of the command (stdout, stderr). Raises AssertionError for another exit status than `status`."""
    kubectl = [str(ROOT / ".cluster/bin/kubectl"), "--kubeconfig", str(ROOT / ".cluster/kubeconfig")]
    where = ["--namespace", release.NAMESPACE, "exec", "--stdin", "deployment/contentgen-gateway", "--"]
    done = subprocess.run(
        [*kubectl, *where, "contentgen", *args], input=given, capture_output=True, timeout=120, check=False
    )
    said = done.stderr.decode()
    assert done.returncode == status, done.stdout.decode(errors="replace")[-2000:] + said
    return done.stdout, said


@contextmanager
def stopped() -> Iterator[None]:
    """Stop the operator within the context."""
    where = ("--namespace", release.NAMESPACE)
    release.kubectl(ROOT, *where, "scale", "deployment/contentgen", "--replicas=0")
    try:
        release.kubectl(
            ROOT, *where, "wait", "pods", "--for=delete", "--timeout=60s",
            "--selector=app.kubernetes.io/component=operator",
        )  # fmt: skip
        yield
    finally:
        release.kubectl(ROOT, *where, "scale", "deployment/contentgen", "--replicas=1")
        wait_for_rollout(ROOT, "contentgen")
